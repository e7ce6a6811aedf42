//! The `sandbox` map of a policy rule, as written in the file.

use crate::{
    ProgramsRule, SandboxPermission, SandboxRule, YamlFlaw, YamlKind, YamlNode, check_deny,
    check_written_program, choice, network_of_rule, policy::possible_names, refuse,
    written::declared_sandbox::list,
};
use documents::{DeclaredLimits, DeclaredSandbox, Limit, MAX_PROGRAMS};

/// Reads the rule. `of_all` is true for the rule `default`.
pub fn read(
    node: &YamlNode,
    is_sealed: bool,
    of_all: bool,
    flaws: &mut Vec<YamlFlaw>,
) -> SandboxRule {
    let own = [
        &["limits", "programs"][..],
        &SandboxPermission::ALL.map(SandboxPermission::rule_key),
    ]
    .concat();
    node.closed_map("a sandbox rule", &own, flaws);
    // A step declares its needs with the same keys, so the same parser reads both.
    let (mut most, mut network, mut may_be_off, mut programs) =
        (DeclaredSandbox::default(), None, None, None);
    for (key, value) in node.entries() {
        let known = SandboxPermission::ALL
            .into_iter()
            .find(|permission| permission.rule_key() == key.name);
        match known {
            Some(permission) if of_all && !permission.is_for_all() => {
                let message = format!(
                    "`{}` is allowed only for named runbooks: move the key into an override",
                    key.name
                );
                refuse(flaws, key.place, message);
            }
            Some(SandboxPermission::Deny) => {
                let check = if is_sealed {
                    check_deny
                } else {
                    possible_names::check_deny
                };
                most.deny = list(value, "`deny`", check, flaws);
            }
            Some(SandboxPermission::Off) => may_be_off = value.boolean("`may_be_off`", flaws),
            Some(SandboxPermission::Network) => network = network_of_rule(value, flaws),
            Some(permission) => permission.read_yaml(value, &mut most, flaws),
            None if key.name == "limits" => most.limits = Some(limits(value, flaws)),
            None if key.name == "programs" => {
                programs = Some(programs_rule(value, is_sealed, flaws))
            }
            None => {}
        }
    }
    SandboxRule::allowing(most, network, may_be_off, programs)
}

/// Reads `{mode: any | listed, allow: [program]}`.
fn programs_rule(node: &YamlNode, is_sealed: bool, flaws: &mut Vec<YamlFlaw>) -> ProgramsRule {
    let mut rule = ProgramsRule::default();
    // A sealed policy may contain names of no program, and a verifier must still read it.
    let check = if is_sealed {
        check_written_program
    } else {
        possible_names::check_program
    };
    for (key, value) in node.closed_map("`programs`", &["mode", "allow"], flaws) {
        if key.name == "mode" {
            rule.mode = choice(value, "`mode`", &["listed", "any"], flaws);
        } else if let Some(names) = list(value, "`allow`", check, flaws) {
            if names.len() > MAX_PROGRAMS {
                let message = format!(
                    "`allow` has {} programs, but at most {MAX_PROGRAMS} are allowed",
                    names.len()
                );
                refuse(flaws, value.place, message);
            }
            rule.allow = Some(names.iter().filter_map(|name| name.parse().ok()).collect());
        }
    }
    rule
}

fn limits(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> DeclaredLimits {
    let mut limits = DeclaredLimits::default();
    for (key, value) in node.closed_map("limits", &Limit::ALL.map(Limit::field), flaws) {
        let Some(limit) = Limit::ALL
            .into_iter()
            .find(|limit| limit.field() == key.name)
        else {
            continue;
        };
        let message = match value.kind {
            YamlKind::Integer(number) if number > 0 => {
                limits.declare(limit, number.unsigned_abs());
                continue;
            }
            YamlKind::Integer(_) => {
                format!("`{}` must be above 0: 0 is not a valid limit", key.name)
            }
            _ => format!(
                "`{}` must be a whole number, not {}",
                key.name,
                value.word()
            ),
        };
        refuse(flaws, value.place, message);
    }
    limits
}
