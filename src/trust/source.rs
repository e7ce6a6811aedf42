//! `roster.toml`: the roster as people write it.
//!
//! `previous` and `policy` are filled in by the program. All errors are reported together, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::crypto::digest::PolicyDigest;
use crate::crypto::sshsig::SshKey;
use crate::record::ident::Name;
use crate::record::roster::{
    Approver, Group, MAX_ROSTER_BYTES, Operator, PresenceRule, Proposer, Roster, RosteredBoundary, Witness,
};
use crate::record::validity::Timestamp;
use crate::trust::roster;

/// Reads `roster.toml` into the tables that are signed.
///
/// Every list is there afterwards, empty ones too. `previous` is left out: whoever makes a later version fills it in.
///
/// # Errors
/// Everything wrong with it, sorted by place.
pub fn parse(text: &str, policy: PolicyDigest) -> Result<Roster, Vec<SourceError>> {
    if text.len() > MAX_ROSTER_BYTES {
        let message = format!("the roster is larger than {MAX_ROSTER_BYTES} bytes: shorten it");
        return Err(vec![SourceError { line: 1, column: 1, message }]);
    }
    let (tree, broken) = DeTable::parse_recoverable(text);
    let mut source = Source { text, places: BTreeMap::new(), errors: Vec::new() };
    if !broken.is_empty() {
        for error in broken {
            let at = error.span().map_or(0, |span| span.start);
            source.errors.push((at, error.message().lines().collect::<Vec<_>>().join(", ")));
        }
        return Err(source.into_errors());
    }
    let roster = source.roster(&Table { pointer: String::new(), table: tree.get_ref(), at: 0 }, policy);
    if let (Some(roster), true) = (&roster, source.errors.is_empty()) {
        source.check(roster);
    }
    match roster {
        Some(roster) if source.errors.is_empty() => Ok(roster),
        _ => Err(source.into_errors()),
    }
}

/// What is wrong in `roster.toml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for SourceError {}

struct Source<'t> {
    text: &'t str,
    /// Where a JSON pointer of the tables stands in the text.
    places: BTreeMap<String, usize>,
    errors: Vec<(usize, String)>,
}

struct Table<'a, 'i> {
    pointer: String,
    table: &'a DeTable<'i>,
    at: usize,
}

impl<'a, 'i> Table<'a, 'i> {
    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }
}

impl Source<'_> {
    fn roster(&mut self, root: &Table<'_, '_>, policy: PolicyDigest) -> Option<Roster> {
        for field in ["previous", "policy"] {
            if let Some(value) = root.value(field) {
                self.error(value.span().start, format!("`{field}` is filled in by the program: remove it"));
            }
        }
        let known = [
            "name",
            "version",
            "threshold",
            "approver",
            "group",
            "proposer",
            "operator",
            "boundary",
            "witness",
            "previous",
            "policy",
        ];
        self.closed(root, &known);
        let name = self.text(root, "name");
        let version = self.number(root, "version");
        if version == Some(0) {
            self.error(root.value("version").map_or(0, |value| value.span().start), "versions count from 1".to_owned());
        }
        let threshold = self.number(root, "threshold");
        let approver =
            self.each(root, "approver", &["name", "groups", "keys", "valid_after", "valid_before"], |source, table| {
                let (name, groups, keys) =
                    (source.parsed(table, "name"), source.list(table, "groups"), source.list(table, "keys"));
                let (valid_after, valid_before) =
                    (source.time(table, "valid_after"), source.time(table, "valid_before"));
                Some(Approver { name: name?, groups, keys, valid_after, valid_before })
            });
        let group = self.each(root, "group", &["name", "presence"], |source, table| {
            let name = source.parsed(table, "name");
            let presence = match table.value("presence") {
                None => None,
                Some(value) if value.get_ref().as_str() == Some("required") => Some(PresenceRule::Required),
                Some(value) => {
                    source.error(value.span().start, "`presence` is \"required\" or left out".to_owned());
                    None
                }
            };
            Some(Group { name: name?, presence })
        });
        let proposer = self.each(root, "proposer", &["name", "owners", "keys"], |source, table| {
            let (name, owners, keys) =
                (source.parsed(table, "name"), source.list(table, "owners"), source.list(table, "keys"));
            Some(Proposer { name: name?, owners, keys })
        });
        let operator = self.each(root, "operator", &["name", "keys"], |source, table| {
            let (name, keys) = (source.parsed(table, "name"), source.list(table, "keys"));
            Some(Operator { name: name?, keys })
        });
        let boundary = self.each(root, "boundary", &["name", "keys"], |source, table| {
            let (name, keys) = (source.parsed(table, "name"), source.list(table, "keys"));
            Some(RosteredBoundary { name: name?, keys })
        });
        let witness = self.each(root, "witness", &["name", "vkey", "url"], |source, table| {
            let (name, vkey, url) = (source.text(table, "name"), source.text(table, "vkey"), source.text(table, "url"));
            Some(Witness { name: name?, vkey: vkey?, url: url? })
        });
        let (name, version, threshold) = (name?, version?, threshold?);
        Some(Roster {
            name,
            version,
            threshold,
            previous: None,
            policy,
            approver,
            group,
            proposer,
            operator,
            boundary,
            witness,
        })
    }

    /// The rules of rosters, and what nobody would write on purpose.
    fn check(&mut self, roster: &Roster) {
        if let Err(faults) = roster::check_tables(roster) {
            for fault in faults {
                self.error(self.place(&fault.pointer), fault.message);
            }
        }
        let people: BTreeSet<&Name> = roster
            .approver
            .iter()
            .map(|entry| &entry.name)
            .chain(roster.operator.iter().map(|entry| &entry.name))
            .collect();
        for (at, proposer) in roster.proposer.iter().enumerate() {
            for (place, owner) in proposer.owners.iter().enumerate().filter(|(_, owner)| !people.contains(owner)) {
                let message = format!(
                    "owner {owner} is neither an approver nor an operator: a misspelt owner could approve for itself"
                );
                self.error(self.place(&format!("/proposer/{at}/owners/{place}")), message);
            }
        }
        let entries = [
            ("approver", roster.approver.iter().map(|entry| &entry.keys).collect::<Vec<_>>()),
            ("operator", roster.operator.iter().map(|entry| &entry.keys).collect()),
            ("boundary", roster.boundary.iter().map(|entry| &entry.keys).collect()),
        ];
        for (table, entries) in entries {
            for at in entries.iter().enumerate().filter(|(_, keys)| keys.is_empty()).map(|(at, _)| at) {
                self.error(
                    self.place(&format!("/{table}/{at}")),
                    format!("this {table} has no key: add keys = [\"ssh-ed25519 …\"]"),
                );
            }
        }
        for (at, boundary) in roster.boundary.iter().enumerate() {
            for (place, line) in boundary.keys.iter().enumerate() {
                if SshKey::parse(line).is_ok_and(|key| key.is_security_key()) {
                    let message =
                        "a boundary signs by itself, nobody touches its key: give it an ssh-ed25519 key".to_owned();
                    self.error(self.place(&format!("/boundary/{at}/keys/{place}")), message);
                }
            }
        }
    }

    fn error(&mut self, at: usize, message: String) {
        self.errors.push((at, message));
    }

    /// Where a pointer stands, or the nearest thing around it.
    fn place(&self, pointer: &str) -> usize {
        let mut pointer = pointer;
        loop {
            if let Some(at) = self.places.get(pointer) {
                return *at;
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent,
                None => return 0,
            }
        }
    }

    fn closed(&mut self, table: &Table<'_, '_>, known: &[&str]) {
        for (key, value) in table.table {
            self.places.insert(format!("{}/{}", table.pointer, key.get_ref()), value.span().start);
            if !known.contains(&&**key.get_ref()) {
                let shown: String = key.get_ref().chars().take(60).collect();
                self.error(key.span().start, format!("unknown field {shown:?}, known are: {}", known.join(", ")));
            }
        }
    }

    fn required<'a, 'i>(&mut self, table: &Table<'a, 'i>, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        let value = table.value(key);
        if value.is_none() {
            self.error(table.at, format!("`{key}` is missing"));
        }
        value
    }

    fn text(&mut self, table: &Table<'_, '_>, key: &str) -> Option<String> {
        let value = self.required(table, key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.error(value.span().start, format!("`{key}` must be text, not {}", value.get_ref().type_str()));
        }
        text.map(str::to_owned)
    }

    fn number(&mut self, table: &Table<'_, '_>, key: &str) -> Option<u64> {
        let value = self.required(table, key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| *number <= crate::crypto::json::MAX_INTEGER);
        if number.is_none() {
            self.error(value.span().start, format!("`{key}` must be a whole number from 0 on"));
        }
        number
    }

    fn parsed<T: FromStr>(&mut self, table: &Table<'_, '_>, key: &str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let text = self.text(table, key)?;
        let parsed = text.parse().map_err(|error: T::Err| error.to_string());
        if let Err(error) = &parsed {
            self.error(table.value(key).map_or(table.at, |value| value.span().start), error.clone());
        }
        parsed.ok()
    }

    fn list<T: FromStr>(&mut self, table: &Table<'_, '_>, key: &str) -> Vec<T>
    where
        T::Err: fmt::Display,
    {
        let Some(value) = self.required(table, key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.error(value.span().start, format!("`{key}` must be a list of texts, [] for none"));
            return Vec::new();
        };
        let mut list = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let start = item.span().start;
            self.places.insert(format!("{}/{key}/{at}", table.pointer), start);
            match item.get_ref().as_str().map(str::parse::<T>) {
                Some(Ok(parsed)) => list.push(parsed),
                Some(Err(error)) => self.error(start, error.to_string()),
                None => self.error(start, format!("`{key}` must be a list of texts")),
            }
        }
        list
    }

    /// A time, as text or as TOML's own.
    fn time(&mut self, table: &Table<'_, '_>, key: &str) -> Option<Timestamp> {
        let value = table.value(key)?;
        let text = match value.get_ref() {
            DeValue::Datetime(time) => time.to_string(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let parsed = text.parse();
        if let Err(error) = &parsed {
            self.error(value.span().start, format!("{error}"));
        }
        parsed.ok()
    }

    fn each<T>(
        &mut self,
        root: &Table<'_, '_>,
        key: &str,
        known: &[&str],
        read: impl Fn(&mut Self, &Table<'_, '_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = root.value(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.error(value.span().start, format!("write each {key} as [[{key}]]"));
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let start = item.span().start;
            let pointer = format!("/{key}/{at}");
            self.places.insert(pointer.clone(), start);
            match item.get_ref().as_table() {
                Some(table) => {
                    let table = Table { pointer, table, at: start };
                    self.closed(&table, known);
                    entries.extend(read(self, &table));
                }
                None => self.error(start, format!("write each {key} as [[{key}]]")),
            }
        }
        entries
    }

    fn into_errors(self) -> Vec<SourceError> {
        let mut errors: Vec<_> = self
            .errors
            .into_iter()
            .map(|(at, message)| {
                let before = self.text.get(..at.min(self.text.len())).unwrap_or_default();
                let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
                SourceError {
                    line: 1 + before.matches('\n').count(),
                    column: 1 + before[line_start..].chars().count(),
                    message,
                }
            })
            .collect();
        errors.sort();
        errors.dedup();
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c alice";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU bob";

    fn read(text: &str) -> Result<Roster, Vec<String>> {
        parse(text, PolicyDigest::of(b"{}")).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn sample() -> String {
        format!(
            r#"name = "example"
version = 1
threshold = 1

[[group]]
name = "ops"

[[approver]]
name = "alice"
groups = ["ops"]
keys = ["{ALICE}"]
valid_before = 2027-01-01T00:00:00Z

[[boundary]]
name = "prod-eu"
keys = ["{BOB}"]
"#
        )
    }

    #[test]
    fn the_tables_are_read_and_every_list_is_there() {
        let roster = read(&sample()).expect("a roster");
        assert_eq!((roster.name.as_str(), roster.version, roster.threshold), ("example", 1, 1));
        assert_eq!(
            roster.approver[0].valid_before.map(|time| time.to_string()).as_deref(),
            Some("2027-01-01T00:00:00Z")
        );
        assert!(roster.proposer.is_empty() && roster.operator.is_empty() && roster.witness.is_empty());
        let payload = roster.into_statement().and_then(|statement| statement.to_payload()).expect("a payload");
        assert!(roster::TrustedRoster::from_payload(&payload).is_ok());
    }

    #[test]
    fn all_errors_are_told_together_each_with_its_place() {
        let text = r#"version = 0
threshold = "1"
policy = "sha256:x"
[[group]]
name = "Ops"
presence = "maybe"
[[approver]]
name = "alice"
groups = "ops"
keys = [1]
nmae = "x"
[[proposer]]
name = "agent"
keys = []
"#;
        let errors = read(text).expect_err("broken");
        let starts: Vec<_> =
            errors.iter().map(|error| error.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(
            starts,
            ["1:1:", "1:11:", "2:13:", "3:10:", "5:8:", "6:12:", "9:10:", "10:9:", "11:1:", "12:1:"],
            "{errors:#?}"
        );
        assert!(errors[9].contains("owners"), "an empty list is written out");
    }

    #[test]
    fn rules_of_rosters_are_held_with_their_places() {
        let two = |more: &str| read(&format!("{}{more}", sample())).expect_err(more);
        let lines = sample().lines().count();
        let shared = two(&format!("[[operator]]\nname = \"oscar\"\nkeys = [\n  \"{ALICE}\",\n]\n"));
        assert_eq!(shared.len(), 1, "{shared:?}");
        assert!(
            shared[0].starts_with(&format!("{}:3: ", lines + 4)) && shared[0].contains("approver alice"),
            "{shared:?}"
        );
        let name = two("[[operator]]\nname = \"alice\"\nkeys = []\n");
        assert_eq!(name.len(), 2, "the name twice, and no key: {name:?}");
        let owner = two("[[proposer]]\nname = \"agent\"\nowners = [\"alcie\"]\nkeys = []\n");
        assert!(owner[0].contains("alcie"), "{owner:?}");
        let high = read(&sample().replace("threshold = 1", "threshold = 2")).expect_err("threshold");
        assert!(high[0].starts_with("3:13: "), "{high:?}");
    }

    #[test]
    fn broken_toml_is_told_with_its_place() {
        let errors = read("name = \"x\nversion = ]\n").expect_err("broken");
        assert!(errors[0].starts_with("1:"), "{errors:?}");
        for text in [
            "",
            "=",
            "[[[",
            "name = 1979-05-27",
            "\u{feff}name = \"é\"",
            "a.b.c = {d = [[]]}",
            "approver = 3\n[group]\nname='x'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
