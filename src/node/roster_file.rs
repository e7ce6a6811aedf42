//! `roster.toml`: who is who, as operators write it.
//!
//! The tables of `record::roster` without `previous` and `policy`, which the seal fills in. Version 1 only: a later
//! version needs signatures, which this version can't collect.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::crypto::digest::PolicyDigest;
use crate::crypto::json as strict;
use crate::node::problem::Problem;
use crate::node::tree;
use crate::record::roster::Roster;
use crate::trust::roster::{RosterError, TrustedRoster};
use crate::yaml::{Flaw, Kind, Node, not_yet};

/// Reads the text of the roster at `path`, which goes with `policy`.
///
/// # Errors
/// Everything that is wrong with it, with line and column.
pub fn read(path: &Path, text: &str, policy: PolicyDigest) -> Result<TrustedRoster, Vec<Problem>> {
    let (tree, mut flaws) = tree::read(text);
    let found = check_form(&tree, &mut flaws).and_then(|()| roster(&tree, policy, &mut flaws));
    match found {
        Some(roster) if flaws.is_empty() => Ok(roster),
        _ => Err(flaws.iter().map(|flaw| Problem::at(path, flaw)).collect()),
    }
}

/// The keys of each table, all of them lists of tables.
const TABLES: [(&str, &[&str], &[&str]); 6] = [
    ("approver", &["name", "groups", "keys", "valid_after", "valid_before"], &["name", "keys"]),
    ("group", &["name", "presence"], &["name"]),
    ("proposer", &["name", "owners", "keys"], &["name", "owners", "keys"]),
    ("operator", &["name", "keys"], &["name", "keys"]),
    ("boundary", &["name", "keys"], &["name", "keys"]),
    ("witness", &["name", "vkey", "url"], &["name", "vkey", "url"]),
];
const KEYS: [&str; 9] =
    ["name", "version", "threshold", "approver", "group", "proposer", "operator", "boundary", "witness"];

/// Names unknown and missing keys; gives nothing when what is there is no roster at all.
fn check_form(tree: &Node, flaws: &mut Vec<Flaw>) -> Option<()> {
    let before = flaws.len();
    tree.closed_map("the roster", &KEYS, &["previous", "policy"], flaws);
    if let Some(name) = tree.value("name") {
        name.text("`name`", flaws);
    } else {
        flaws.push(Flaw::new(tree.place, "`name` is missing: give the roster a name"));
    }
    match tree.value("version").map(|node| (node.place, &node.kind)) {
        Some((_, Kind::Integer(1))) => {}
        Some((place, Kind::Integer(number))) if *number > 1 => {
            flaws.push(Flaw::new(place, not_yet("a roster of a version above 1, which needs signatures,")));
        }
        found => flaws.push(Flaw::new(found.map_or(tree.place, |(place, _)| place), "write `version = 1`")),
    }
    match tree.value("threshold").map(|node| (node.place, &node.kind)) {
        Some((_, Kind::Integer(0..))) => {}
        found => flaws.push(Flaw::new(
            found.map_or(tree.place, |(place, _)| place),
            "write `threshold = N`: how many approvers must sign the next version (0: nobody, called unguarded)",
        )),
    }
    for (table, known, required) in TABLES {
        let Some(node) = tree.value(table) else { continue };
        let Some(entries) = node.list(&format!("`{table}`"), flaws) else { continue };
        for entry in entries {
            entry.closed_map(&format!("[[{table}]]"), known, &[], flaws);
            for key in required.iter().filter(|key| entry.value(key).is_none()) {
                flaws.push(Flaw::new(entry.place, format!("`{key}` is missing in this [[{table}]]: add it")));
            }
        }
    }
    (flaws.len() == before).then_some(())
}

fn roster(tree: &Node, policy: PolicyDigest, flaws: &mut Vec<Flaw>) -> Option<TrustedRoster> {
    let mut tables = tree.to_json();
    tables["policy"] = Value::from(policy.to_string());
    let mut groups = Vec::new();
    for (table, _, _) in TABLES {
        let entries = tables.get(table).cloned().unwrap_or_else(|| json!([]));
        tables[table] = entries;
    }
    for approver in tables["approver"].as_array_mut().into_iter().flatten() {
        let Some(approver) = approver.as_object_mut() else { continue };
        let own = approver.entry("groups").or_insert_with(|| json!([]));
        groups.extend(own.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    // A group stands in the file only when it asks for more than membership; in the statement all of them stand.
    let listed = tables["group"].as_array_mut()?;
    groups.sort();
    groups.dedup();
    for name in groups {
        if !listed.iter().any(|group| group["name"] == name.as_str()) {
            let mut group = Map::new();
            group.insert("name".to_owned(), Value::from(name));
            listed.push(Value::Object(group));
        }
    }
    let at = |pointer: &str| {
        let tokens: Vec<&str> = pointer.split('/').filter(|token| !token.is_empty()).collect();
        tree.place_of(&tokens, false)
    };
    let tables: Roster = match strict::typed(&tables) {
        Ok(tables) => tables,
        Err(error) => {
            let text = error.to_string();
            flaws.push(Flaw::new(at(pointer_in(&error)), text));
            return None;
        }
    };
    let statement = match tables.into_statement().and_then(|statement| Ok((statement.to_payload()?, statement))) {
        Ok((payload, statement)) => TrustedRoster::from_statement(statement, &payload),
        Err(error) => Err(RosterError::Malformed(error)),
    };
    match statement {
        Ok(roster) => Some(roster),
        Err(RosterError::Malformed(error)) => {
            flaws.push(Flaw::new(tree.place, error.to_string()));
            None
        }
        Err(RosterError::Faults(faults)) => {
            flaws.extend(faults.iter().map(|fault| Flaw::new(at(&fault.pointer), fault.message.clone())));
            None
        }
    }
}

fn pointer_in(error: &strict::ReadError) -> &str {
    match error {
        strict::ReadError::Json(_) => "",
        strict::ReadError::Type { pointer, .. } => pointer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../keys/roster.toml");

    fn read_it(text: &str) -> Result<TrustedRoster, String> {
        read(Path::new("roster.toml"), text, PolicyDigest::from_bytes([7; 32]))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_sample_roster_is_read_and_its_groups_are_written_out() {
        let roster = read_it(SAMPLE).expect("a roster");
        assert_eq!(roster.policy(), PolicyDigest::from_bytes([7; 32]));
        let groups: Vec<&str> = roster.tables().group.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(groups, ["ops", "security"]);
        assert_eq!(read_it(SAMPLE).map(|again| again.digest()), Ok(roster.digest()), "the same file, the same digest");
    }

    #[test]
    fn every_error_of_a_roster_has_its_place() {
        let key = SAMPLE.lines().find(|line| line.starts_with("keys")).expect("a key");
        let text = format!(
            "name = \"r\"\nversion = 1\nthreshold = 9\n[[approver]]\nname = \"a\"\n{key}\n[[approver]]\nname = \"a\"\n{key}\n"
        );
        let found = read_it(&text).expect_err("errors");
        for words in [
            "roster.toml:3:13: the next version would need 9 of 2",
            "roster.toml:8:8: the name a stands twice",
            "roster.toml:9:9: this key",
        ] {
            assert!(found.contains(words), "{words}\n{found}");
        }
        let found =
            read_it("nam = 1\nversion = 2\nprevious = \"x\"\n[[approver]]\nname = \"a\"\n[[boundary]]\nkey = 1\n")
                .expect_err("errors");
        for words in [
            "1:1: unknown key",
            "2:11: a roster of a version above 1",
            "3:1: `previous`",
            "`threshold = N`",
            "`keys` is missing in this [[approver]]",
            "7:1: unknown key in [[boundary]]",
        ] {
            assert!(found.contains(words), "{words}\n{found}");
        }
    }

    #[test]
    fn wrong_kinds_never_panic() {
        for key in KEYS {
            for value in [
                "1",
                "true",
                "\"\"",
                "[]",
                "[1]",
                "{}",
                "[{}]",
                "[{name = 1}]",
                "[{name = \"a\", keys = [1], groups = 1, owners = 2, vkey = 3, url = 4}]",
            ] {
                let _ = read_it(&format!("{key} = {value}\n"));
                let _ = read_it(&SAMPLE.replace("threshold = 1", &format!("{key} = {value}\nthreshold = 1")));
            }
        }
    }
}
