//! The profile of a step on this host: the profile under the seal, and the files of the listed programs.

use crate::crossing::refusal::Refusal;
use crate::decision::in_force::StepInForce;
use crate::policy::signed_programs::moved;
use crate::record::code::Code;
use crate::record::profile::Profile;
use crate::sandbox::program_lookup::{self, ListError};

/// Returns the profile of a run. If the step may execute only listed programs, the names are resolved on this host now.
///
/// # Errors
/// Returns `sandbox-unavailable` if this host does not have a required program, or has a program that no list may
/// contain. Returns `too-large` if the list is too large for a profile.
pub fn profile_on_host(held: &StepInForce) -> Result<Profile, Refusal> {
    let profile = (*held.profile).clone();
    let Some(names) = held.programs() else { return Ok(profile) };
    match program_lookup::list_of(&names.required, &names.optional) {
        Ok(list) => Ok(profile.with_programs(list)),
        Err(error) => {
            let code = match error {
                ListError::TooLarge(_) => Code::TooLarge,
                ListError::Program(_) => Code::SandboxUnavailable,
            };
            Err(Refusal::new(code, format!("{}: {error}", held.hashed.definition().reference)))
        }
    }
}

/// Checks that each listed program has the file that the approvers signed.
///
/// # Errors
/// Returns `sandbox-unavailable` with the programs that have another file now.
pub fn check_not_moved(here: &Profile, signed: &Profile) -> Result<(), Refusal> {
    let (Some(now), Some(before)) = (&here.programs, &signed.programs) else { return Ok(()) };
    match moved(now, before) {
        Some(why) => Err(Refusal::new(Code::SandboxUnavailable, why)),
        None => Ok(()),
    }
}
