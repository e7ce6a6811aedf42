//! Reads the sandbox that a step declares, and the lists of a rule of policy.
//!
//! In the first line of a code block, commas separate the items of a list (`read=/srv/a,/srv/b`). In YAML, a list is a
//! sequence of texts.

use serde::de::DeserializeOwned;

use crate::{YamlFlaw, YamlKind, YamlNode, yaml::unknown};
use documents::{AllowedHost, DeclaredNetwork, IdentError, OWN_PROGRAMS, Program, check_host};

pub fn word<T: DeserializeOwned>(name: &str, text: &str, known: &[&str]) -> Result<T, String> {
    serde_json::from_value(text.into())
        .map_err(|_| unknown(&format!("value of {name}"), text, known))
}

/// Reads `none`, `host` or `{allow: [name:port]}`. `read` reads the list.
fn network<H: DeserializeOwned>(
    node: &YamlNode,
    read: impl FnOnce(&YamlNode, &mut Vec<YamlFlaw>) -> Option<Vec<H>>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork<H>> {
    if let YamlKind::Text(text) = &node.kind {
        let read = word("`network`", text, &["none", "host"]);
        return read
            .map_err(|message| flaws.push(YamlFlaw::new(node.place, message)))
            .ok();
    }
    node.closed_map("network", &["allow"], flaws);
    let Some(allow) = node.value("allow") else {
        if matches!(node.kind, YamlKind::Map(_)) {
            flaws.push(YamlFlaw::new(
                node.place,
                "`network` names no host: write `none`, `host`, or `allow` with a list of name:port",
            ));
        }
        return None;
    };
    read(allow, flaws).map(DeclaredNetwork::Allow)
}

/// Reads the network that a step declares.
pub fn network_of_step(node: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<DeclaredNetwork> {
    network(
        node,
        |allow, flaws| list(allow, "`allow`", check_host, flaws),
        flaws,
    )
}

/// Reads the network that a rule of policy allows.
pub fn network_of_rule(
    node: &YamlNode,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<DeclaredNetwork<AllowedHost>> {
    network(
        node,
        |allow, flaws| list_of(allow, "`allow`", allowed_host, |host| &host.host, flaws),
        flaws,
    )
}

/// Reads `"name:port"` or `{host: "name:port", private: true, localhost: true}`.
fn allowed_host(item: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<AllowedHost> {
    let mut found = AllowedHost::default();
    let mut text = item;
    if let YamlKind::Map(_) = item.kind {
        for (key, value) in item.closed_map("a host", &["host", "private", "localhost"], flaws) {
            match (key.name.as_str(), &value.kind) {
                ("private", YamlKind::Boolean(word)) => found.private = *word,
                ("localhost", YamlKind::Boolean(word)) => found.localhost = *word,
                ("private" | "localhost", _) => {
                    flaws.push(YamlFlaw::new(
                        value.place,
                        format!("`{}` must be true or false", key.name),
                    ));
                }
                _ => {}
            }
        }
        let Some(host) = item.value("host") else {
            let message = "the map names no host: write {host: \"name:port\", private: true}";
            flaws.push(YamlFlaw::new(item.place, message));
            return None;
        };
        text = host;
    }
    found.host = checked_text(text, check_host, flaws)?;
    Some(found)
}

/// Reads a list of texts and checks each text.
pub fn list(
    node: &YamlNode,
    what: &str,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<String>> {
    list_of(
        node,
        what,
        |item, flaws| checked_text(item, check, flaws),
        |text| text,
        flaws,
    )
}

fn checked_text(
    item: &YamlNode,
    check: fn(&str) -> Result<(), String>,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<String> {
    let text = item.text("an entry", flaws)?;
    check(text)
        .map_err(|message| flaws.push(YamlFlaw::new(item.place, message)))
        .ok()?;
    Some(text.to_owned())
}

/// Reads a list, and sorts the items by the text that `name` returns.
fn list_of<T>(
    node: &YamlNode,
    what: &str,
    read: impl Fn(&YamlNode, &mut Vec<YamlFlaw>) -> Option<T>,
    name: fn(&T) -> &String,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<Vec<T>> {
    let before = flaws.len();
    let mut found: Vec<T> = Vec::new();
    for item in node.list(what, flaws)? {
        let Some(one) = read(item, flaws) else {
            continue;
        };
        if found.iter().any(|other| name(other) == name(&one)) {
            let text = name(&one);
            flaws.push(YamlFlaw::new(
                item.place,
                format!("{text:?} is listed twice: remove one of the two"),
            ));
        } else {
            found.push(one);
        }
    }
    found.sort_by(|one, other| name(one).cmp(name(other)));
    if found.is_empty() && flaws.len() == before {
        flaws.push(YamlFlaw::new(
            node.place,
            format!("{what} is empty: add an element, or remove {what}"),
        ));
    }
    (flaws.len() == before).then_some(found)
}

/// Checks each text of a list, and sorts the texts.
pub fn checked(
    mut items: Vec<String>,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    items.iter().try_for_each(|item| check(item))?;
    items.sort();
    match items.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!(
            "{:?} is listed twice: remove one of the two",
            pair[0]
        )),
        None => Ok(items),
    }
}

/// Checks the text for a program that a person writes in a policy or a runbook.
///
/// # Errors
/// Returns an error if the text is neither a name, nor an absolute path, nor `{work}/**`.
pub fn check_written_program(text: &str) -> Result<(), String> {
    let _word: Program = text
        .parse()
        .map_err(|error: IdentError| error.to_string())?;
    let plain = !text.contains(['*', '?', '[', '{', '"', '\\', ' '])
        && (text.starts_with('/') || !text.contains('/'));
    if text == OWN_PROGRAMS || plain {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not a program: write a name such as jq, an absolute path, or {OWN_PROGRAMS} for what the step builds"
    ))
}
