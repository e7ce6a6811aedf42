//! Parser of `roster.toml`, the source file of the roster.
//!
//! The file has the fields of `record::roster` except `previous` and `policy`. The program adds these two fields to the
//! signed statement (`node::rosters`). Only version 1 takes effect without signatures, before the log begins.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::node::toml_tree;
use documents::{
    Malformed, PolicyDigest, Roster, RosterDigest, YamlFlaw, YamlKind, YamlNode, json as strict,
};
use reading::FileProblem;
use verdict::{RosterError, TrustedRoster};

/// Content of a valid roster file, without signatures. The fields `previous` and `policy` are placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRoster(Roster);

impl DraftRoster {
    /// Returns the content of the file as a statement. Its fields `previous` and `policy` are placeholders.
    pub const fn tables(&self) -> &Roster {
        &self.0
    }

    /// Returns the version number, which starts at 1.
    pub const fn version(&self) -> u64 {
        self.0.version
    }

    /// Returns true if this draft and the signed `roster` have the same content, apart from `previous` and `policy`.
    pub fn says_the_same_as(&self, roster: &TrustedRoster) -> bool {
        let stated = roster.tables();
        let own = Roster {
            previous: stated.previous,
            policy: stated.policy,
            ..self.0.clone()
        };
        own == *stated
    }

    /// Creates the statement of this roster.
    ///
    /// # Errors
    /// Returns an error if the statement is too large, or if `previous` does not fit the version.
    pub fn state(
        &self,
        previous: Option<RosterDigest>,
        policy: PolicyDigest,
    ) -> Result<TrustedRoster, RosterError> {
        state(Roster {
            previous,
            policy,
            ..self.0.clone()
        })
        .map_err(|error| match error {
            Stated::Malformed(error) => RosterError::Malformed(error),
            Stated::Roster(error) => error,
        })
    }
}

/// Parses the text of the roster file at `path`.
///
/// # Errors
/// Returns all errors of the file, each with its line and column.
pub fn read(path: &Path, text: &str) -> Result<DraftRoster, Vec<FileProblem>> {
    let (tree, mut flaws) = toml_tree::read(text);
    let found = check_form(&tree, &mut flaws).and_then(|()| roster(&tree, &mut flaws));
    match found {
        Some(roster) if flaws.is_empty() => Ok(DraftRoster(roster)),
        _ => Err(flaws
            .iter()
            .map(|flaw| FileProblem::at(path, flaw))
            .collect()),
    }
}

enum Stated {
    Malformed(Malformed),
    Roster(RosterError),
}

fn state(tables: Roster) -> Result<TrustedRoster, Stated> {
    let statement = tables.into_statement().map_err(Stated::Malformed)?;
    let payload = statement.to_payload().map_err(Stated::Malformed)?;
    TrustedRoster::from_statement(statement, &payload).map_err(Stated::Roster)
}

/// Tables in the file, each with its known keys and its required keys.
const TABLES: [(&str, &[&str], &[&str]); 6] = [
    (
        "approver",
        &["name", "groups", "keys", "valid_after", "valid_before"],
        &["name", "keys"],
    ),
    ("group", &["name", "presence"], &["name"]),
    (
        "proposer",
        &["name", "owners", "keys"],
        &["name", "owners", "keys"],
    ),
    ("operator", &["name", "keys"], &["name", "keys"]),
    ("boundary", &["name", "keys"], &["name", "keys"]),
    (
        "witness",
        &["name", "vkey", "url"],
        &["name", "vkey", "url"],
    ),
];
const KEYS: [&str; 9] = [
    "name",
    "version",
    "threshold",
    "approver",
    "group",
    "proposer",
    "operator",
    "boundary",
    "witness",
];

/// Reports unknown and missing keys. Returns `None` if there are such keys.
fn check_form(tree: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<()> {
    let before = flaws.len();
    tree.closed_map("the roster", &KEYS, flaws);
    if let Some(name) = tree.value("name") {
        name.text("`name`", flaws);
    } else {
        flaws.push(YamlFlaw::new(
            tree.place,
            "`name` is missing: give the roster a name",
        ));
    }
    match tree.value("version").map(|node| (node.place, &node.kind)) {
        Some((_, YamlKind::Integer(1..))) => {}
        found => flaws.push(YamlFlaw::new(
            found.map_or(tree.place, |(place, _)| place),
            "write `version = 1`; later, `countersign roster draft` raises the version",
        )),
    }
    match tree.value("threshold").map(|node| (node.place, &node.kind)) {
        Some((_, YamlKind::Integer(0..))) => {}
        found => flaws.push(YamlFlaw::new(
            found.map_or(tree.place, |(place, _)| place),
            "write `threshold = N`, the number of approvers who must sign the next version (0 means that no \
             signature is needed: unguarded)",
        )),
    }
    for (table, known, required) in TABLES {
        let Some(node) = tree.value(table) else {
            continue;
        };
        let Some(entries) = node.list(&format!("`{table}`"), flaws) else {
            continue;
        };
        for entry in entries {
            entry.closed_map(&format!("[[{table}]]"), known, flaws);
            for key in required.iter().filter(|key| entry.value(key).is_none()) {
                flaws.push(YamlFlaw::new(
                    entry.place,
                    format!("`{key}` is missing in this [[{table}]]: add it"),
                ));
            }
        }
    }
    (flaws.len() == before).then_some(())
}

fn roster(tree: &YamlNode, flaws: &mut Vec<YamlFlaw>) -> Option<Roster> {
    let mut tables = tree.to_json();
    // Placeholders, so that the rules of a roster can be checked before the statement exists.
    tables["policy"] = Value::from(PolicyDigest::from_bytes([0; 32]).to_string());
    if tables["version"] != 1 {
        tables["previous"] = Value::from(RosterDigest::from_bytes([0; 32]).to_string());
    }
    let mut groups = Vec::new();
    for (table, _, _) in TABLES {
        let entries = tables.get(table).cloned().unwrap_or_else(|| json!([]));
        tables[table] = entries;
    }
    for approver in tables["approver"].as_array_mut().into_iter().flatten() {
        let Some(approver) = approver.as_object_mut() else {
            continue;
        };
        let own = approver.entry("groups").or_insert_with(|| json!([]));
        groups.extend(
            own.as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
    }
    // The file lists only the groups with their own requirement, but the statement lists every group.
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
    let at = |pointer: &str| tree.place_of(pointer);
    let tables: Roster = match strict::typed(&tables) {
        Ok(tables) => tables,
        Err(error) => {
            let text = error.to_string();
            flaws.push(YamlFlaw::new(at(pointer_in(&error)), text));
            return None;
        }
    };
    match state(tables) {
        Ok(roster) => Some(roster.tables().clone()),
        Err(Stated::Malformed(error) | Stated::Roster(RosterError::Malformed(error))) => {
            flaws.push(YamlFlaw::new(tree.place, error.to_string()));
            None
        }
        Err(Stated::Roster(RosterError::Faults(faults))) => {
            flaws.extend(
                faults
                    .iter()
                    .map(|fault| YamlFlaw::new(at(&fault.pointer), fault.message.clone())),
            );
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

    fn read_it(text: &str) -> Result<DraftRoster, String> {
        read(Path::new("roster.toml"), text).map_err(|problems| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    #[test]
    fn the_sample_roster_is_parsed_and_lists_all_groups() {
        let roster = read_it(SAMPLE).expect("a roster");
        let groups: Vec<&str> = roster
            .tables()
            .group
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        assert_eq!(groups, ["ops", "security"]);
        let policy = PolicyDigest::from_bytes([7; 32]);
        let state = |written: DraftRoster| written.state(None, policy).expect("a statement");
        let stated = state(roster.clone());
        assert_eq!(stated.policy(), policy);
        assert!(roster.says_the_same_as(&stated));
        assert_eq!(
            read_it(SAMPLE).map(|again| state(again).digest()),
            Ok(stated.digest()),
            "the same file, the same digest"
        );
    }

    #[test]
    fn a_later_version_names_the_previous_version() {
        let policy = PolicyDigest::from_bytes([7; 32]);
        let first = read_it(SAMPLE)
            .expect("a roster")
            .state(None, policy)
            .expect("a statement");
        let second = read_it(&SAMPLE.replace("version = 1", "version = 2")).expect("a roster");
        assert!(!second.says_the_same_as(&first));
        assert!(
            second.state(None, policy).is_err(),
            "version 2 without the one before"
        );
        let stated = second
            .state(Some(first.digest()), policy)
            .expect("a statement");
        assert_eq!(
            (stated.version(), stated.tables().previous),
            (2, Some(first.digest()))
        );
        assert!(second.says_the_same_as(&stated));
    }

    #[test]
    fn every_roster_error_has_a_line_and_column() {
        let key = SAMPLE
            .lines()
            .find(|line| line.starts_with("keys"))
            .expect("a key");
        let text = format!(
            "name = \"r\"\nversion = 1\nthreshold = 9\n[[approver]]\nname = \"a\"\n{key}\n[[approver]]\nname = \"a\"\n{key}\n"
        );
        let found = read_it(&text).expect_err("errors");
        for words in [
            "roster.toml:3:13: the next version would need 9 approvers, but only 2 have keys that can sign: lower the threshold",
            "roster.toml:8:8: the name a is used twice",
            "roster.toml:9:9: this key",
        ] {
            assert!(found.contains(words), "{words}\n{found}");
        }
        let found =
            read_it("nam = 1\nversion = 0\nprevious = \"x\"\n[[approver]]\nname = \"a\"\n[[boundary]]\nkey = 1\n")
                .expect_err("errors");
        for words in [
            "1:1: unknown key",
            "2:11: write `version = 1`",
            "3:1: unknown key in the roster: \"previous\"",
            "`threshold = N`",
            "`keys` is missing in this [[approver]]",
            "7:1: unknown key in [[boundary]]",
        ] {
            assert!(found.contains(words), "{words}\n{found}");
        }
    }

    #[test]
    fn values_of_a_wrong_type_never_cause_a_panic() {
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
                let _ = read_it(
                    &SAMPLE.replace("threshold = 1", &format!("{key} = {value}\nthreshold = 1")),
                );
            }
        }
    }
}
