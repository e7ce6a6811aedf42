//! The policy of each page. A page that appears while the program runs gets its policy with its first step.

use std::path::Path;
use std::sync::OnceLock;

use client::{CommandFailure, CommandResult};

use crate::{LocalRules, OpenFiles, Project, RuleArgs, notebook::open_pages::MOST};

/// The policy of each page, by its place.
pub struct PageRules {
    options: RuleArgs,
    project: Project,
    rules: Vec<OnceLock<LocalRules>>,
}

impl PageRules {
    /// Reads the policies of all files that are open.
    ///
    /// # Errors
    /// Returns an error if a policy can't be read.
    pub fn read(options: &RuleArgs, project: &Project, files: &OpenFiles) -> CommandResult<Self> {
        let rules = std::iter::repeat_with(OnceLock::new).take(MOST).collect();
        let own = Self {
            options: options.clone(),
            project: project.clone(),
            rules,
        };
        for at in 0..files.all().len() {
            own.of(at, files)?;
        }
        Ok(own)
    }

    /// Returns the policy of a page.
    ///
    /// # Errors
    /// Returns an error if there is no such page, or if its policy can't be read.
    pub fn of(&self, at: usize, files: &OpenFiles) -> CommandResult<&LocalRules> {
        let none = || CommandFailure::usage("no such page");
        let (place, file) = self.rules.get(at).zip(files.get(at)).ok_or_else(none)?;
        if let Some(known) = place.get() {
            return Ok(known);
        }
        let name = self.project.runbook(Path::new(&file.shown))?;
        let made = LocalRules::of_name(&self.options, &self.project, &name)?.asked_elsewhere();
        Ok(place.get_or_init(|| made))
    }
}
