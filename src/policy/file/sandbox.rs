//! The `sandbox` map of a policy rule, as written in the file.

use crate::policy::file::Reading;
use crate::policy::host::{SandboxRule, check_deny};
use crate::record::declared;
use crate::record::declared::{DeclaredLimits, DeclaredSandbox, Limit};
use crate::record::profile::Proc;
use crate::yaml::{self, YamlFlaw, YamlKind, YamlNode};

/// Keys that only an override may have, because an override names its runbooks.
const OF_ONE_STEP: [&str; 7] = ["read", "write", "workdir", "network", "sockets", "run_as", "may_be_off"];
/// Keys of newer versions.
const LATER: [&str; 3] = ["level", "require", "off_reason"];

impl SandboxRule {
    /// Reads the rule. `of_all` is true for the default, which applies to all runbooks. The returned bool is true if
    /// the rule has keys that this version cannot evaluate. Only a sealed policy may have such keys.
    pub(super) fn read(node: &YamlNode, reading: Reading, of_all: bool, flaws: &mut Vec<YamlFlaw>) -> (Self, bool) {
        let own = [&["limits", "proc", "deny"][..], &OF_ONE_STEP].concat();
        match reading {
            Reading::ToServe => node.closed_map("a sandbox rule", &own, &LATER, flaws),
            Reading::Sealed => node.closed_map("a sandbox rule", &[&own[..], &LATER].concat(), &[], flaws),
        };
        let says_more = node.entries().iter().any(|(key, _)| LATER.contains(&key.name.as_str()));
        let mut rule = Self::default();
        // A step declares its needs with the same keys, so the same parser reads both.
        let mut declared = DeclaredSandbox::default();
        for (key, value) in node.entries() {
            if of_all && OF_ONE_STEP.contains(&key.name.as_str()) {
                let message = format!("`{}` needs a named runbook: write it into an override", key.name);
                flaws.push(YamlFlaw::new(key.place, message));
                continue;
            }
            match key.name.as_str() {
                "limits" => rule.limits = Some(limits(value, flaws)),
                "proc" => rule.proc = proc(value, flaws),
                "deny" => rule.deny = declared::list(value, "`deny`", check_deny, flaws),
                "may_be_off" => match value.kind {
                    YamlKind::Boolean(may) => rule.may_be_off = Some(may),
                    _ => flaws.push(YamlFlaw::new(value.place, "`may_be_off` must be true or false")),
                },
                of_a_step if OF_ONE_STEP.contains(&of_a_step) => declared.take(of_a_step, value, flaws),
                _ => {}
            }
        }
        let DeclaredSandbox { read, write, workdir, network, sockets, run_as, .. } = declared;
        (Self { read, write, workdir, network, sockets, run_as, ..rule }, says_more)
    }
}

fn proc(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Proc> {
    match node.text("`proc`", flaws)? {
        "minimal" => Some(Proc::Minimal),
        "full" => Some(Proc::Full),
        other => {
            flaws.push(YamlFlaw::new(node.place, yaml::unknown("value of `proc`", other, &["minimal", "full"])));
            None
        }
    }
}

fn limits(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> DeclaredLimits {
    let mut limits = DeclaredLimits::default();
    for (key, value) in node.closed_map("limits", &Limit::ALL.map(Limit::field), &[], flaws) {
        let Some(limit) = Limit::ALL.into_iter().find(|limit| limit.field() == key.name) else { continue };
        let message = match value.kind {
            YamlKind::Integer(number) if number > 0 => {
                limits.declare(limit, number.unsigned_abs());
                continue;
            }
            YamlKind::Integer(_) => format!("`{}` must be above 0: zero is no limit", key.name),
            _ => format!("`{}` must be a whole number, not {}", key.name, value.word()),
        };
        flaws.push(YamlFlaw::new(value.place, message));
    }
    limits
}
