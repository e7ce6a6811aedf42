//! Checks that the signed list of programs is the list that follows from the sealed state.
//!
//! The sealed state decides the names in the list. Only the boundary states the path of each name, because only the
//! boundary knows the files of its host.

use std::collections::{BTreeSet, HashSet};

use crate::{ProgramNames, Ruling, base_name};
use documents::{
    Layer, ListedProgram, OWN_PROGRAMS, PermissionKind, Profile, Program, ProgramList,
    StepDefinition, joined, listed_name,
};

/// Reason why a signed list of programs is not the derived list.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProgramsError {
    message: String,
    /// True if another program version may decide differently, because the decision depends on the parsing of the
    /// script.
    pub rests_on_reading: bool,
}

fn wrong_list(message: impl Into<String>) -> Result<(), ProgramsError> {
    Err(ProgramsError {
        message: message.into(),
        rests_on_reading: false,
    })
}

/// Checks the rules of a signed list that do not depend on the script. A verifier that does not parse scripts checks
/// these rules too. `needed` has the derived names, or is `None` if a run may execute every program.
///
/// # Errors
/// Returns the first broken rule.
pub fn check_list(
    ruling: &Ruling,
    step: &StepDefinition,
    needed: Option<&ProgramNames>,
    signed: &Profile,
) -> Result<(), ProgramsError> {
    match check_programs(needed, signed.programs.as_ref()) {
        Err(error) if !error.rests_on_reading => return Err(error),
        _ => {}
    }
    let (Some(needed), Some(list)) = (needed, &signed.programs) else {
        return Ok(());
    };
    if !signed.require.contains(&Layer::Programs) {
        return wrong_list(
            "the signed sandbox has a list of programs, but does not require the layer programs, so no sandbox must \
             enforce the list",
        );
    }
    // A pattern for names matches the last segment of a path, so the directory of the program does not matter.
    let deny = &ruling.written.of(PermissionKind::Run).deny;

    let denied = list
        .programs()
        .iter()
        .filter(|one| one.path.as_str() != OWN_PROGRAMS)
        .filter(|one| {
            [one.name.as_str(), base_name(one.path.as_str())]
                .iter()
                .any(|name| deny.find_name(name).is_some())
                && !is_interpreter(step, needed, &one.name)
        });
    let mut names: Vec<Program> = denied.map(|one| one.name.clone()).collect();
    names.dedup();
    if names.is_empty() {
        Ok(())
    } else {
        wrong_list(format!(
            "the signed list of programs has {}, which the policy file denies",
            joined(&names, ", ")
        ))
    }
}

/// Returns true if the name is the interpreter of the step. Policy does not decide about a shell that runs the step, so
/// policy can deny this shell to the script.
fn is_interpreter(step: &StepDefinition, needed: &ProgramNames, name: &Program) -> bool {
    let is_declared = step
        .programs
        .iter()
        .flatten()
        .any(|declared| listed_name(declared) == *name);
    !is_declared
        && needed
            .required
            .iter()
            .any(|required| listed_name(required) == *name)
}

/// Leaves out the programs whose file a deny list of the policy file names, for example the file behind a link. A
/// script whose interpreter is denied is left out too.
///
/// # Errors
/// Returns a message if the step declares such a program.
pub fn without_denied(
    ruling: &Ruling,
    step: &StepDefinition,
    needed: &ProgramNames,
    list: ProgramList,
) -> Result<ProgramList, String> {
    let deny = &ruling.written.of(PermissionKind::Run).deny;
    let is_denied = |one: &ListedProgram| {
        one.path.as_str() != OWN_PROGRAMS
            && deny.find_denied(one.path.as_str(), None).is_some()
            // A denied name is in a list only if the person at the terminal allowed the name.
            && deny.find_denied(one.name.as_str(), None).is_none()
            && !is_interpreter(step, needed, &one.name)
    };
    let is_required = |one: &&ListedProgram| {
        needed
            .required
            .iter()
            .any(|name| listed_name(name) == one.name)
    };
    if let Some(one) = list
        .programs()
        .iter()
        .filter(is_required)
        .find(|one| is_denied(one))
    {
        return Err(format!(
            "the program {} is the file {}, which policy denies (run.deny): remove the program from the step, or change the \
             policy",
            one.name, one.path
        ));
    }
    let denied: BTreeSet<Program> = list
        .programs()
        .iter()
        .filter(|one| is_denied(one))
        .map(|one| one.name.clone())
        .collect();
    if denied.is_empty() {
        return Ok(list);
    }
    let mut allowed = list.programs().to_vec();
    allowed.retain(|one| !denied.contains(&one.name));
    ProgramList::of(allowed).map_err(|error| error.to_string())
}

/// Checks the names of a signed list. `needed` has the derived names, or is `None` if a run may execute every program.
///
/// A list may lack a program of the script, of policy or of a closure, because the host may not have this program.
///
/// # Errors
/// Returns the first difference.
pub fn check_programs(
    needed: Option<&ProgramNames>,
    signed: Option<&ProgramList>,
) -> Result<(), ProgramsError> {
    let (needed, signed) = match (needed, signed) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            return wrong_list(
                "a run may execute only listed programs, but the signed sandbox has no list of programs",
            );
        }
        (None, Some(_)) => {
            return wrong_list(
                "the signed sandbox has a list of programs, but neither policy nor the step asks for a list",
            );
        }
        (Some(needed), Some(signed)) => (needed, signed),
    };
    if !signed.is_known() {
        let missing = format!("the list of programs {} is missing", signed.digest());
        return wrong_list(missing);
    }
    let listed: HashSet<&Program> = signed.programs().iter().map(|one| &one.name).collect();
    let lacking: Vec<Program> = needed
        .required
        .iter()
        .filter(|name| !listed.contains(&listed_name(name)))
        .cloned()
        .collect();
    if !lacking.is_empty() {
        return wrong_list(format!(
            "the signed list of programs lacks {}, which the step needs",
            joined(&lacking, ", ")
        ));
    }
    let mut surplus: Vec<Program> = signed
        .programs()
        .iter()
        .map(|one| one.name.clone())
        .collect();
    let allowed: HashSet<Program> = needed
        .required
        .iter()
        .chain(&needed.optional)
        .map(listed_name)
        .collect();
    surplus.retain(|name| !allowed.contains(name));
    surplus.dedup();
    if surplus.is_empty() {
        Ok(())
    } else {
        Err(ProgramsError {
            message: format!(
                "the signed list of programs has {}, but neither script, step, policy nor closures name this program",
                joined(&surplus, ", ")
            ),
            rests_on_reading: true,
        })
    }
}

/// Returns the signed profile without its list of programs, if `derived` requires the layer `programs`. So both
/// profiles can be compared, and [`check_programs`] checks the list.
pub fn without_list(signed: &Profile, derived: &Profile) -> Profile {
    let mut signed = signed.clone();
    if derived.require.contains(&Layer::Programs) {
        signed.programs = None;
    }
    signed
}
