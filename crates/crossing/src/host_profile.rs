//! The profile of a step on this host: the profile under the seal, and the files of the listed programs.

use std::{collections::HashMap, sync::Arc};

use crate::{Refusal, check_files};
use documents::{Code, Profile, ProgramList};
use reading::{ProgramNames, without_denied};
use sandbox::{ListError, SMALLER_LIST, WantedPrograms, list_of, missing_interpreter};
use verdict::StepInForce;

/// Returns the profile of a run. If the step may execute only listed programs, the names are resolved on this host now.
///
/// # Errors
/// Returns `sandbox-unavailable` if this host does not have the interpreter or a required program, or has a program that
/// no list may contain, or if the step has files and starts in a directory of the host. Returns `too-large` if the list is too large for a profile.
pub fn profile_on_host(held: &StepInForce) -> Result<Profile, Refusal> {
    let definition = held.hashed.definition();
    if let Some(why) = missing_interpreter(&definition.source, &definition.interpreter) {
        return Err(Refusal::new(
            Code::SandboxUnavailable,
            format!("{}: {why}", definition.reference),
        ));
    }
    let profile = (*held.profile).clone();
    check_files(definition, &profile).map_err(|error| {
        Refusal::new(
            Code::SandboxUnavailable,
            format!("{}: {error}", definition.reference),
        )
    })?;
    match ListsOnHost::default().list_of_step(held) {
        Ok(Some(list)) => Ok(profile.with_programs(list)),
        Ok(None) => Ok(profile),
        Err(error) => {
            let code = match error {
                ListError::TooLarge(_) => Code::TooLarge,
                ListError::Program(_) => Code::SandboxUnavailable,
            };
            Err(Refusal::new(
                code,
                format!("{}: {error}", held.hashed.definition().reference),
            ))
        }
    }
}

/// The lists of programs on this host, by the names of the programs. Many steps have the same names, so each list is
/// found once.
#[derive(Default)]
pub struct ListsOnHost(HashMap<(Arc<ProgramNames>, bool), Result<ProgramList, ListError>>);

impl ListsOnHost {
    /// Returns the list of programs of a step on this host, or `None` if the step may execute every program.
    ///
    /// # Errors
    /// Returns the first program that is missing or that no list may contain.
    pub fn list_of_step(&mut self, held: &StepInForce) -> Result<Option<ProgramList>, ListError> {
        let Some(names) = held.programs() else {
            return Ok(None);
        };
        let step = held.hashed.definition();
        let is_host_user = step.sandbox.run_as.is_some();
        let list = self
            .0
            .entry((Arc::clone(names), is_host_user))
            .or_insert_with(|| {
                let ProgramNames {
                    required,
                    optional,
                    starters,
                } = &**names;
                let wanted = WantedPrograms {
                    required,
                    optional,
                    starters,
                    is_host_user,
                };
                list_of(&wanted).map_err(|error| error.advised(SMALLER_LIST))
            });
        without_denied(&held.ruling, step, names, list.clone()?)
            .map(Some)
            .map_err(ListError::Program)
    }
}
