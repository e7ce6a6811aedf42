//! The complete list of changes between two versions of a roster.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{LineDifference, LineTone, PrintableText, Screen, draw_differences};
use documents::{ForeignKey, Roster, SshKey};
use verdict::TrustedRoster;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Kind of the change: `added`, `removed` or `changed`.
    pub what: &'static str,
    /// Description of the change in one line.
    pub says: String,
}

/// The tables of a roster, each with the noun for one entry.
const TABLES: [(&str, &str); 6] = [
    ("approvers", "approver"),
    ("groups", "group"),
    ("proposers", "proposer"),
    ("operators", "operator"),
    ("boundaries", "boundary"),
    ("witnesses", "witness"),
];

/// Returns all differences between two versions, except in the fields `version`, `previous` and `policy`.
pub fn changes(before: &Roster, next: &Roster) -> Vec<Change> {
    let mut found = Vec::new();
    let mut note = |what, says: String| found.push(Change { what, says });
    if before.name != next.name {
        note(
            "changed",
            format!("the roster's name: {:?} to {:?}", before.name, next.name),
        );
    }
    if before.threshold != next.threshold {
        note(
            "changed",
            format!(
                "the number of approvers who must sign the next version: {} to {}",
                before.threshold, next.threshold
            ),
        );
    }
    let json = |roster: &Roster| serde_json::to_value(roster).unwrap_or_default();
    let (before, next) = (json(before), json(next));
    let empty = Map::new();
    for (table, noun) in TABLES {
        let [old, new] = [&before, &next].map(|roster| roster[table].as_object().unwrap_or(&empty));
        for (name, entry) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            note("removed", format!("{noun} {name}{}", described(entry)));
        }
        for (name, entry) in new {
            match old.get(name) {
                None => note("added", format!("{noun} {name}{}", described(entry))),
                Some(other) => fields(&format!("{noun} {name}"), other, entry, &mut note),
            }
        }
    }
    found
}

fn fields(holder: &str, old: &Value, new: &Value, note: &mut impl FnMut(&'static str, String)) {
    let objects = [old, new].map(|entry| entry.as_object());
    let keys: BTreeSet<&String> = objects
        .iter()
        .copied()
        .flatten()
        .flat_map(Map::keys)
        .collect();
    for field in keys {
        match (old.get(field), new.get(field)) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                for item in old.iter().filter(|item| !new.contains(item)) {
                    let words = item_words(field, item);
                    note("removed", format!("{holder}: {field}: {words}"));
                }
                for item in new.iter().filter(|item| !old.contains(item)) {
                    let words = item_words(field, item);
                    note("added", format!("{holder}: {field}: {words}"));
                }
                let both = |of: &[Value], within: &[Value]| {
                    of.iter()
                        .filter(|item| within.contains(item))
                        .cloned()
                        .collect::<Vec<_>>()
                };
                if both(old, new) != both(new, old) {
                    note("changed", format!("{holder}: the order of its {field}"));
                }
            }
            (old, new) if old != new => {
                let words = |value: Option<&Value>| {
                    value.map_or_else(|| "none".to_owned(), ToString::to_string)
                };
                note(
                    "changed",
                    format!("{holder}: {field}: {} to {}", words(old), words(new)),
                );
            }
            _ => {}
        }
    }
}

fn described(entry: &Value) -> String {
    let mut text = String::new();
    for (field, value) in entry.as_object().into_iter().flatten() {
        let words = match value {
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            Value::Array(items) => items
                .iter()
                .map(|item| item_words(field, item))
                .collect::<Vec<_>>()
                .join(", "),
            other => other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned),
        };
        text.push_str(&format!("; {field}: {words}"));
    }
    text
}

fn item_words(field: &str, item: &Value) -> String {
    let text = item.as_str().unwrap_or_default();
    if field != "keys" {
        return text.to_owned();
    }
    match (SshKey::parse(text), ForeignKey::parse(text)) {
        (Ok(key), _) => format!("{} ({text})", key.keyid()),
        (_, Ok(key)) => {
            let passkey = key
                .passkey()
                .map(|passkey| format!(", a passkey of {}", passkey.host()));
            format!("{}{} ({text})", key.keyid(), passkey.unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

/// What the review shows of the new policy.
#[derive(Default)]
pub struct ShownPolicy {
    /// All differences from the policy of the version before, or nothing if the policies were not compared.
    pub differences: Vec<LineDifference>,
    /// Sentence about a policy that changed.
    pub sentence: String,
    /// Text of the policy, or an empty text if the policy was not given. The review shows the text of a changed policy if
    /// there are no differences.
    pub text: String,
}

/// Sentence about a new policy that was not given.
const UNREAD: &str = "The policy itself is not shown: give the policy file with --policy FILE and read the policy. Signing this \
                      roster puts the policy in force.";

/// Creates the review of the next roster version: the changes and the warnings. With `whole`, also the whole statement and
/// the whole policy.
pub fn review(
    before: &TrustedRoster,
    next: &TrustedRoster,
    policy: &ShownPolicy,
    whole: bool,
) -> Screen {
    let mut screen = Screen::default();
    screen.heading("What this version changes");
    screen.field("roster", PrintableText::quoted(&next.tables().name));
    screen.field(
        "version",
        format!("{} to {}", before.version(), next.version()),
    );
    let changes = changes(before.tables(), next.tables());
    if changes.is_empty() {
        screen.say(LineTone::Plain, "nobody is added, removed or changed");
    }
    for change in &changes {
        let tone = if change.what == "removed" {
            LineTone::Bad
        } else {
            LineTone::Strong
        };
        screen.push(tone, format!("  {:<13} ", change.what), &change.says);
    }
    let is_known = |key: &ForeignKey| {
        before
            .foreign_keys()
            .iter()
            .any(|(_, known)| known.keyid() == key.keyid())
    };
    for (holder, key) in next
        .foreign_keys()
        .iter()
        .filter(|(_, key)| whole || !is_known(key))
    {
        screen.push(
            LineTone::Bad,
            format!("  {:<13} ", "warning"),
            key.warning(holder),
        );
    }
    screen.heading("Policy");
    let is_changed = before.policy() != next.policy();
    if is_changed {
        screen.field_in(LineTone::Bad, "before", before.policy().to_string());
        screen.field_in(LineTone::Bad, "CHANGED to", next.policy().to_string());
    } else {
        screen.field("unchanged", next.policy().to_string());
    }
    draw_differences(&mut screen, policy.differences.iter());
    if is_changed {
        screen.say(
            LineTone::Bad,
            if policy.text.is_empty() {
                UNREAD
            } else {
                &policy.sentence
            },
        );
    }
    if !policy.text.is_empty() && (whole || is_changed && policy.differences.is_empty()) {
        screen.numbered(&policy.text, &[]);
    }
    if !next.is_guarded() {
        screen.heading("UNGUARDED");
        screen.say(
            LineTone::Bad,
            "The threshold is 0: the operator of the boundary can replace this roster, its people and the policy \
             without any signature.",
        );
    } else if next.tables().threshold < before.tables().threshold {
        screen.say(
            LineTone::Bad,
            "Fewer people than before will be able to change the roster.",
        );
    }
    if whole {
        screen.heading("The version in full");
        screen.exact(
            &serde_json::to_value(next.tables()).unwrap_or_default(),
            &[],
        );
    }
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Roster {
        let payload =
            include_bytes!("../../../../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload)
            .expect("golden")
            .tables()
            .clone()
    }

    fn told(edit: impl Fn(&mut Roster)) -> Vec<String> {
        let mut next = golden();
        edit(&mut next);
        changes(&golden(), &next)
            .into_iter()
            .map(|change| format!("{} {}", change.what, change.says))
            .collect()
    }

    #[test]
    fn every_changed_field_of_every_roster_table_is_reported() {
        assert!(told(|_| {}).is_empty());
        // The loop changes each field of the tables that has no test of its own.
        let whole = serde_json::to_value(golden()).expect("tables");
        let apart = ["version", "previous", "policy", "name", "threshold"];
        let fields = whole.as_object().expect("an object").keys();
        assert!(
            fields
                .clone()
                .all(|field| TABLES.iter().any(|(table, _)| table == field)
                    || apart.contains(&&**field)),
            "{fields:?}"
        );
        let mut tried = 0;
        for (table, _) in TABLES {
            for (name, entry) in whole[table].as_object().expect("a table") {
                for (field, value) in entry.as_object().expect("an entry") {
                    let mut edited = whole.clone();
                    let place = &mut edited[table][name][field];
                    match value {
                        Value::Array(items) if items.is_empty() => continue,
                        Value::Array(items) => *place = Value::Array(items[1..].to_vec()),
                        _ => *place = Value::from("other"),
                    }
                    let Ok(next) = serde_json::from_value::<Roster>(edited) else {
                        continue;
                    };
                    tried += 1;
                    assert!(
                        !changes(&golden(), &next).is_empty(),
                        "{table} {name} {field}"
                    );
                }
            }
        }
        assert!(tried >= 8, "{tried}");
        assert_eq!(
            told(|tables| tables.threshold = 0),
            ["changed the number of approvers who must sign the next version: 2 to 0"]
        );
        let gone = told(|tables| drop(tables.operators.pop_first()));
        assert!(
            gone[0].starts_with("removed operator oscar; keys: SHA256:"),
            "{gone:?}"
        );
        let until = told(|tables| {
            tables
                .approvers
                .values_mut()
                .next()
                .expect("alice")
                .valid_before = "2027-01-01T00:00:00Z".parse().ok()
        });
        assert_eq!(
            until,
            ["changed approver alice: valid_before: none to \"2027-01-01T00:00:00Z\""]
        );
    }

    #[test]
    fn the_roster_review_warns_of_an_unguarded_version_and_a_changed_policy() {
        let roster = |edit: &dyn Fn(&mut Roster)| {
            let mut tables = golden();
            edit(&mut tables);
            let payload = tables
                .into_statement()
                .and_then(|statement| statement.to_payload())
                .expect("payload");
            TrustedRoster::from_payload(&payload).expect("a roster")
        };
        let other = |tables: &mut Roster| {
            tables.threshold = 0;
            tables.policy = documents::PolicyDigest::of(b"another");
        };
        let text = review(
            &roster(&|_| {}),
            &roster(&other),
            &ShownPolicy::default(),
            true,
        )
        .paint(100, false);
        for words in [
            "== UNGUARDED ==",
            "CHANGED to",
            "is not shown",
            "threshold = 0",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let (text, sentence) = (
            "version: 1\n\u{202e}x".to_owned(),
            "the boundary is silent".to_owned(),
        );
        let whole = ShownPolicy {
            text,
            sentence,
            ..ShownPolicy::default()
        };
        let text = review(&roster(&|_| {}), &roster(&other), &whole, false).paint(100, false);
        assert!(
            text.contains("1 | version: 1") && !text.contains('\u{202e}'),
            "{text}"
        );
        assert!(
            text.contains("the boundary is silent") && !text.contains("alice"),
            "{text}"
        );
    }
}
