//! The pages that one command opens. A page is read once: the bytes that are shown are the bytes that run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use console::page::prose::{Heading, Part, prose};
use documents::crypto::digest::sha256;
use documents::record::step_definition::StepDefinition;
use judgement::registry::prose_tree::prose_tree;
use judgement::registry::registered_step::RegisteredStep;
use serde_json::Map;

use crate::local::project::Project;
use crate::local::runbook::Runbook;
use client::terminal::exit::CommandFailure;
use client::terminal::printable_text::PrintableText;

/// Maximum number of pages that one command opens.
const MOST: usize = 500;

/// A runbook that is open in the browser.
#[derive(Debug)]
pub struct OpenPage {
    /// The runbook.
    pub runbook: Runbook,
    /// Steps in the order of the file.
    pub steps: Vec<Arc<RegisteredStep>>,
    /// Headings of the prose.
    pub headings: Vec<Heading>,
    /// Prose and steps in the order of the file.
    pub parts: Vec<Part>,
    /// Images of the prose, as the page names them.
    pub images: Vec<String>,
    /// What the person confirms before each step.
    pub confirmations: Vec<Vec<String>>,
    /// Digest of the file's bytes.
    digest: [u8; 32],
}

/// A file of a directory: an open page, or the reason why it is not open.
#[derive(Debug)]
pub struct ListedFile {
    /// Path as the person gave it, with the path below the directory.
    pub shown: String,
    /// The page, or all errors in the file.
    pub page: Result<OpenPage, String>,
}

impl OpenPage {
    /// Reads a runbook.
    ///
    /// # Errors
    /// Returns all errors in the file.
    pub fn read(file: &str, project: &Project) -> Result<Self, CommandFailure> {
        let runbook = Runbook::read(file, &[], Map::new(), project)?;
        let text = std::fs::read_to_string(&runbook.real).map_err(|error| {
            CommandFailure::usage(format!("can't read {}: {error}", PrintableText::text(file).as_str()))
        })?;
        let steps: Vec<Arc<RegisteredStep>> = match &runbook.workflow {
            Some(workflow) => workflow.steps.values().cloned().collect(),
            None => runbook.steps.iter().map(|one| one.step.clone()).collect(),
        };
        let mut steps: Vec<(usize, Arc<RegisteredStep>)> =
            steps.into_iter().map(|step| (step.place.as_ref().map_or(0, |place| place.place.line), step)).collect();
        steps.sort_by_key(|(line, _)| *line);
        let lines: Vec<usize> = steps.iter().map(|(line, _)| *line).collect();
        let found = match prose_tree(file, &text) {
            Ok(tree) => prose(&tree, &lines),
            Err(why) => return Err(CommandFailure::usage(format!("{}: {why}", PrintableText::text(file).as_str()))),
        };
        Ok(Self {
            runbook,
            steps: steps.into_iter().map(|(_, step)| step).collect(),
            headings: found.headings,
            parts: found.parts,
            images: found.images,
            confirmations: found.confirmations,
            digest: sha256(text.as_bytes()),
        })
    }

    /// Returns the definition of a step.
    pub fn definition(&self, at: usize) -> Option<&StepDefinition> {
        self.steps.get(at).map(|step| &*step.definition)
    }

    /// Returns true if the file has other bytes now than the page that is open.
    pub fn has_changed(&self) -> bool {
        std::fs::read(&self.runbook.real).map_or(true, |bytes| sha256(&bytes) != self.digest)
    }
}

/// Opens a file, or all runbooks of a directory and the directories in it.
///
/// # Errors
/// Returns the errors of the file. The errors of a file in a directory are shown on the page instead.
pub fn open(path: &str, project: &Project) -> Result<Vec<ListedFile>, CommandFailure> {
    let place = project.cwd.join(path);
    if !place.is_dir() {
        return Ok(vec![ListedFile { shown: path.to_owned(), page: Ok(OpenPage::read(path, project)?) }]);
    }
    let mut files = Vec::new();
    collect(&place, &mut files);
    files.sort();
    files.truncate(MOST);
    if files.is_empty() {
        let shown = PrintableText::text(path);
        return Err(CommandFailure::usage(format!(
            "{} is a directory without a file that ends in .md, .runbook.md or .mdx: name a runbook",
            shown.as_str()
        )));
    }
    let listed = files.into_iter().map(|file| {
        let shown = file.strip_prefix(&project.cwd).unwrap_or(&file).to_string_lossy().into_owned();
        let page = OpenPage::read(&shown, project).map_err(|failure| failure.message);
        ListedFile { shown, page }
    });
    Ok(listed.collect())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type();
        if name.starts_with('.') || files.len() > MOST {
            continue;
        }
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
            collect(&path, files);
        } else if kind.is_ok_and(|kind| kind.is_file()) && (name.ends_with(".md") || name.ends_with(".mdx")) {
            files.push(path);
        }
    }
}
