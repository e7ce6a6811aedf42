//! Reads approval rules.

use crate::{YamlFlaw, YamlKind, YamlNode};
use documents::{Approvals, GroupName, GroupSource};

/// Reads a rule that a person wrote, such as `{required: 2, from: [ops], each: true}`. An absent `required` means
/// 1. The field `from` may be absent only if `groups` allows a rule without groups (in a step).
pub fn read_approvals(
    node: &YamlNode,
    groups: GroupSource,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Approvals> {
    approvals_among(
        "approvals",
        &["required", "from", "each"],
        groups,
        node,
        flaws,
    )
}

/// Reads `required` and `from` of a map that has the keys `known`.
pub fn approvals_among(
    what: &str,
    known: &[&str],
    groups: GroupSource,
    node: &YamlNode,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Approvals> {
    let before = flaws.len();
    let mut rule = Approvals::unspecified();
    let mut from_place = node.place;
    for (key, value) in node.closed_map(what, known, flaws) {
        match (key.name.as_str(), &value.kind) {
            ("required", YamlKind::Integer(count)) => match u64::try_from(*count) {
                Ok(0) => flaws.push(YamlFlaw::new(
                    value.place,
                    "`required: 0` would let a step run without a signature: write 1 or more",
                )),
                Ok(count) => rule.required = count,
                Err(_) => flaws.push(YamlFlaw::new(value.place, "`required` must be 1 or more")),
            },
            ("required", _) => flaws.push(YamlFlaw::new(
                value.place,
                format!("`required` must be a whole number, not {}", value.word()),
            )),
            ("from", _) => {
                from_place = value.place;
                for item in value.list("`from`", flaws).unwrap_or_default() {
                    let Some(text) = item.text("a group", flaws) else {
                        continue;
                    };
                    match text.parse::<GroupName>() {
                        Ok(name) if rule.from.contains(&name) => {
                            flaws.push(YamlFlaw::new(
                                item.place,
                                format!("{name} is listed twice: list each group once"),
                            ));
                        }
                        Ok(name) => rule.from.push(name),
                        Err(error) => flaws.push(YamlFlaw::new(item.place, error.to_string())),
                    }
                }
            }
            ("each", YamlKind::Boolean(each)) if known.contains(&"each") => {
                rule.each = each.then_some(true)
            }
            ("each", _) if known.contains(&"each") => {
                flaws.push(YamlFlaw::new(
                    value.place,
                    format!("`each` must be true or false, not {}", value.word()),
                ));
            }
            _ => {}
        }
    }
    if flaws.len() > before {
        return None;
    }
    match rule.fault(groups) {
        None => Some(rule),
        Some(fault) => {
            flaws.push(YamlFlaw::new(from_place, fault));
            None
        }
    }
}
