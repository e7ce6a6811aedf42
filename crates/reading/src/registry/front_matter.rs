//! Reads the front matter of Countersign Markdown.
//!
//! ```yaml
//! countersign: 1
//! title: Restart a service
//! params:                       # each with its schema; a proposer may omit a parameter that has a default
//!   host: {type: string, pattern: "^[a-z0-9-]{1,32}$", description: where}
//!   drain: {type: boolean, default: true}
//! approvals: {required: 1, from: [ops]}
//! defaults: {timeout: 60s, memory: 256MiB, interpreter: bash}
//! ```
//!
//! `params` may also be a complete schema (`type: object`, `properties`, `required`). Only a complete schema allows a
//! parameter that has no default and may be absent. Both forms become the same normal form in the definition of a
//! step.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use crate::{
    LIMITS, ParameterSchema, SandboxPermission, YamlFlaw, YamlKind, YamlNode, attributes, nearest,
    noted, read_approvals, refuse, registry::attributes::limit, yaml::unknown,
};
use documents::{Approvals, DeclaredSandbox, GroupSource, Parameter};

/// Settings in the front matter for every step of the file.
pub struct FrontMatter {
    pub title: Option<String>,
    /// Declaration of all parameters, which most steps of the file share.
    pub params: Arc<Parameter>,
    /// True if the parameters have a flaw, so that they are unknown.
    pub params_unread: bool,
    pub approvals: Approvals,
    /// Limits and sandbox permissions of every step. Sandbox permissions that only a single step may declare are not
    /// included.
    pub sandbox: DeclaredSandbox,
    pub interpreter: Option<String>,
}

impl FrontMatter {
    /// Returns the settings of a file without front matter.
    pub fn absent() -> Self {
        Self {
            title: None,
            params: Parameter::object(BTreeMap::new(), Vec::new()).into(),
            params_unread: false,
            approvals: Approvals::unspecified(),
            sandbox: DeclaredSandbox::default(),
            interpreter: None,
        }
    }
}

/// Reads the YAML tree of a front matter. If a field has a flaw, the field keeps its default and reading continues.
///
/// A key that resembles a setting is an error, because its author expects an effect. Any other unknown key is a remark.
pub fn read(
    tree: &YamlNode,
    yaml: &str,
    flaws: &mut Vec<YamlFlaw>,
    remarks: &mut Vec<YamlFlaw>,
) -> FrontMatter {
    let mut found = FrontMatter::absent();
    let mut known = [&KEYS[..], &["meta"]].concat();
    let settings = [&known[..], &attributes::known(), &OF_POLICY].concat();
    for (key, _) in tree.entries() {
        let name = key.name.as_str();
        if known.contains(&name) {
            continue;
        }
        known.push(name);
        match nearest(name, &settings).filter(|_| !EVERYDAY.contains(&name)) {
            Some(near) => {
                let advice = if near == name {
                    "it is a word of a block or of policy, so write it there.".to_owned()
                } else {
                    format!("did you mean {near:?}?")
                };
                let message = format!(
                    "unknown key in the front matter: {name:?}; {advice} Write a note for people below `meta:`"
                );
                refuse(flaws, key.place, message);
            }
            None => remarks.push(YamlFlaw::new(
                key.place,
                format!("nobody reads {name:?} in the front matter: write it below `meta:`, which is for people only"),
            )),
        }
    }
    for (key, value) in tree.closed_map("the front matter", &known, flaws) {
        match key.name.as_str() {
            "countersign" if value.kind != YamlKind::Integer(1) => {
                refuse(
                    flaws,
                    value.place,
                    "this program version supports only `countersign: 1`: write countersign: 1",
                );
            }
            "title" => {
                if let Some(text) = value.text("`title`", flaws) {
                    // The first line of the front matter is line 2.
                    let line = yaml
                        .lines()
                        .nth(value.place.line.saturating_sub(2))
                        .unwrap_or_default();
                    if line
                        .split_once(" #")
                        .is_some_and(|(before, _)| before.trim_end().ends_with(text))
                    {
                        let message = format!(
                            "` #` begins a comment, so the title is only {text:?}: put it in quotes"
                        );
                        remarks.push(YamlFlaw::new(value.place, message));
                    }
                    found.title = noted(title(text), value.place, flaws);
                }
            }
            "params" => match params(value, flaws) {
                Some(params) => found.params = params.into(),
                None => found.params_unread = true,
            },
            "approvals" => {
                found.approvals = read_approvals(value, GroupSource::OrWhomPolicyNames, flaws)
                    .unwrap_or(found.approvals);
            }
            "defaults" => defaults(value, &mut found, flaws),
            "meta" if !matches!(value.kind, YamlKind::Map(_)) => {
                refuse(
                    flaws,
                    value.place,
                    "`meta` must be a map: write the notes as `name: value` below it",
                );
            }
            _ => {}
        }
    }
    found
}

fn defaults(node: &YamlNode, found: &mut FrontMatter, flaws: &mut Vec<YamlFlaw>) {
    let permissions = SandboxPermission::ALL
        .into_iter()
        .filter(|permission| permission.is_for_files());
    let limits = LIMITS.iter().map(|(name, _)| *name);
    let known: Vec<&str> = limits
        .chain(["interpreter"])
        .chain(permissions.map(SandboxPermission::attribute))
        .collect();
    for (key, value) in node.closed_map("defaults", &known, flaws) {
        if let Some(permission) =
            SandboxPermission::of_attribute(&key.name).filter(|one| one.is_for_files())
        {
            permission.read_yaml(value, &mut found.sandbox, flaws);
            continue;
        }
        let text = match &value.kind {
            YamlKind::Text(text) => text.clone(),
            YamlKind::Integer(number) => number.to_string(),
            _ => {
                refuse(
                    flaws,
                    value.place,
                    format!("`{}` must be text, not {}", key.name, value.word()),
                );
                continue;
            }
        };
        let read = match key.name.as_str() {
            "interpreter" => interpreter(&text).map(|name| found.interpreter = Some(name)),
            limit => declare(&mut found.sandbox, limit, &text),
        };
        noted(read, value.place, flaws);
    }
}

/// Adds a limit or a sandbox permission to a declaration. The caller has refused all other names.
pub fn declare(sandbox: &mut DeclaredSandbox, name: &str, text: &str) -> Result<(), String> {
    if let Some((_, kind)) = LIMITS.iter().find(|(known, _)| *known == name) {
        return limit(*kind, text)
            .map(|value| sandbox.limits.get_or_insert_default().declare(*kind, value));
    }
    SandboxPermission::of_attribute(name)
        .map_or(Ok(()), |permission| permission.read_text(text, sandbox))
}

/// Checks a title: one line that fits on a screen.
pub fn title(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("the title is empty: write a title, or remove `title`".to_owned())
    } else if text.len() > MAX_TITLE_BYTES || text.chars().any(char::is_control) {
        Err(format!(
            "the title must be one line of at most {MAX_TITLE_BYTES} bytes without control characters: shorten the \
             title"
        ))
    } else {
        Ok(text.trim().to_owned())
    }
}

pub fn interpreter(text: &str) -> Result<String, String> {
    if INTERPRETERS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(unknown("interpreter", text, &INTERPRETERS))
}

/// Returns the declaration of all parameters, or `None` if the declaration has a flaw.
fn params(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Parameter> {
    if !matches!(node.kind, YamlKind::Map(_)) {
        refuse(
            flaws,
            node.place,
            format!(
                "`params` must be a map of names to schemas, not {}",
                node.word()
            ),
        );
        return None;
    }
    // If the value of `type` is a text, `params` is a complete schema. If the value of `type` is a map, `type` is the
    // name of a parameter.
    let whole = node.value("type").and_then(YamlNode::as_text).is_some();
    let written = if whole {
        node.to_json()
    } else {
        let has_default = |value: &YamlNode| value.value("default").is_some();
        let required = node
            .entries()
            .iter()
            .filter(|(_, value)| !has_default(value));
        let required: Vec<&str> = required.map(|(key, _)| key.name.as_str()).collect();
        json!({"type": "object", "properties": node.to_json(), "required": required})
    };
    match ParameterSchema::parse(&written) {
        Ok(schema) => {
            let mut all = Parameter::clone(schema.declared());
            all.required.get_or_insert_default().sort();
            Some(all)
        }
        Err(found) => {
            for flaw in found {
                let inner = flaw.pointer.strip_prefix("/properties").filter(|_| !whole);
                let place = node.place_of(inner.unwrap_or(&flaw.pointer));
                refuse(flaws, place, flaw.message);
            }
            None
        }
    }
}

/// Returns the beginning and the end of the first line that is one of the marks.
pub fn end_of(text: &str, marks: &[&str]) -> Option<(usize, usize)> {
    let mut at = 0;
    text.split_inclusive('\n').find_map(|line| {
        let begin = at;
        at += line.len();
        marks.contains(&line.trim_end()).then_some((begin, at))
    })
}

/// Keys whose values the program reads.
pub const KEYS: [&str; 5] = ["countersign", "title", "params", "approvals", "defaults"];

/// Keys of other programs that resemble a setting by chance.
const EVERYDAY: [&str; 4] = ["language", "region", "risk", "version"];

/// Words of a policy and words for the people who approve, which have no effect in a front matter.
const OF_POLICY: [&str; 20] = [
    "approvers",
    "quorum",
    "signatures",
    "signers",
    "groups",
    "required",
    "from",
    "each",
    "mode",
    "run",
    "env",
    "allow",
    "extends",
    "overrides",
    "grants",
    "emergency",
    "settle",
    "revoke",
    "unattended",
    "limits",
];

/// Interpreters that can run a step.
pub const INTERPRETERS: [&str; 9] = [
    "bash", "sh", "zsh", "python", "python3", "node", "ruby", "go", "perl",
];
const MAX_TITLE_BYTES: usize = 200;
