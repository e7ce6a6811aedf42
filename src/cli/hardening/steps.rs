//! The point about steps that reach beyond the sandbox.

use crate::{
    DoctorFinding, InspectedBoundary,
    cli::doctor::finding::{pass, unread, yours},
};
use documents::StepDefinition;
use reading::SandboxPermission;

/// Lists the steps with access to the host, and the interpreters whose scripts policy can't read.
pub fn check(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let files = match &boundary.files {
        Err(problems) => return unread(boundary, problems.list()),
        Ok(files) => files,
    };
    let steps: Vec<&StepDefinition> = files
        .registry
        .steps()
        .map(|step| &*step.definition)
        .collect();
    vec![of_host(&steps), interpreters(&steps)]
}

fn of_host(steps: &[&StepDefinition]) -> DoctorFinding {
    let open: Vec<String> = steps
        .iter()
        .filter_map(|step| {
            let holes = SandboxPermission::ALL
                .into_iter()
                .filter(|one| one.is_hole(&step.sandbox));
            let holes: Vec<&str> = holes.map(SandboxPermission::rule_key).collect();
            (!holes.is_empty()).then(|| format!("{} ({})", step.reference, holes.join(", ")))
        })
        .collect();
    if open.is_empty() {
        return pass(
            "no step turns the sandbox off, writes in place, uses a socket, has another user, or uses the whole network",
        );
    }
    yours(format!(
        "policy opens the sandbox for {}: require two approvals for these steps",
        open.join("; ")
    ))
}

fn interpreters(steps: &[&StepDefinition]) -> DoctorFinding {
    let mut names: Vec<&str> = steps.iter().map(|step| step.interpreter.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let general: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !matches!(*name, "bash" | "sh"))
        .collect();
    if general.is_empty() {
        return pass(format!(
            "the interpreters are {}, and policy can read their commands",
            names.join(", ")
        ));
    }
    yours(format!(
        "steps use {}: policy can't read their scripts, so only the sandbox restricts them; remember this when you \
         approve such steps",
        general.join(", ")
    ))
}
