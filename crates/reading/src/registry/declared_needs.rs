//! Needs of a block in a format of another system: limits, access to the host, and programs.
//!
//! Gruntwork blocks declare needs as attributes of the tag, `network="api.example.com:443"`. Rundown blocks declare
//! needs in braces after the language, `bash {network=api.example.com:443}`. The other systems ignore both.

use std::sync::Arc;

use crate::{
    LIMITS, LINKS, RunLinks, RunbookFiles, SandboxPermission, declared_secrets, named_files,
    put_files,
    registry::{front_matter::declare, markdown::program_names},
};
use documents::{DeclaredSandbox, Program, StepDefinition, StepSecret};

/// Needs that a block declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredNeeds {
    /// Limits and access to the host.
    pub sandbox: DeclaredSandbox,
    /// Programs that the block starts.
    pub programs: Option<Vec<Program>>,
    /// Links to other runs.
    pub links: RunLinks,
    /// Secrets that the block needs.
    pub secrets: Vec<StepSecret>,
    /// Files of the runbook's directory, as the block names them.
    pub files: Option<String>,
}

/// Returns the names of all needs. A block can't switch off the sandbox.
pub fn names() -> impl Iterator<Item = &'static str> {
    let permissions = SandboxPermission::ALL
        .into_iter()
        .filter(|permission| *permission != SandboxPermission::Off);
    let limits = LIMITS.into_iter().map(|(name, _)| name);
    limits
        .chain(permissions.map(SandboxPermission::attribute))
        .chain(["programs", "secrets", "files"])
        .chain(LINKS)
}

impl DeclaredNeeds {
    /// Adds the need with this name, which is one of [`names`].
    ///
    /// # Errors
    /// Returns a message that names the error in the text.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        if name == "programs" {
            self.programs = Some(program_names(text)?);
            return Ok(());
        }
        if name == "files" {
            self.files = Some(text.to_owned());
            return Ok(());
        }
        if name == "secrets" {
            self.secrets = declared_secrets(text)?;
            return Ok(());
        }
        if LINKS.contains(&name) {
            return self.links.add(name, text);
        }
        declare(&mut self.sandbox, name, text)
    }

    /// Writes the files into the definition of a step, and returns their contents.
    ///
    /// # Errors
    /// Returns a message about a name that is no file of the directory.
    pub fn put_files(
        &self,
        step: &mut StepDefinition,
        directory: &RunbookFiles,
    ) -> Result<Vec<Arc<[u8]>>, String> {
        let found = self
            .files
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), |text| named_files(text, directory))?;
        Ok(put_files(step, &found))
    }
}
