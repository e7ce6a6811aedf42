//! The variables that a session carries from run to run.

use std::{collections::BTreeSet, sync::Arc};

use documents::PermissionKind;
use reading::Ruling;
use sandbox::is_carried;

/// The variables that the sessions of a runbook carry. A value that only a sourced file or a program sets is not carried,
/// because approvers have not seen its name.
#[derive(Clone)]
pub struct CarriedVariables {
    /// The variables that the scripts of the runbook set or export by name.
    pub names: Arc<BTreeSet<String>>,
    /// The ruling of policy, whose list `env.allow` also names variables.
    pub ruling: Arc<Ruling>,
}

impl CarriedVariables {
    pub fn contains(&self, name: &[u8]) -> bool {
        let env = self.ruling.written.of(PermissionKind::Env);
        let allowed =
            |name| env.allow.find_name(name).is_some() && env.deny.find_name(name).is_none();
        std::str::from_utf8(name).is_ok_and(|name| self.names.contains(name) || allowed(name))
    }

    /// Returns the names, and the patterns of policy.
    pub fn listed(&self) -> Vec<String> {
        let patterns = self
            .ruling
            .written
            .of(PermissionKind::Env)
            .allow
            .entries()
            .iter();
        let names = self
            .names
            .iter()
            .filter(|name| is_carried(name.as_bytes()))
            .cloned();
        names
            .chain(patterns.map(|entry| entry.listed.text().to_string()))
            .collect()
    }
}
