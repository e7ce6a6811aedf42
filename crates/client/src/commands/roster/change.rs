//! Reads a version of the roster that people will sign, with the versions before it, and lists all changes:
//!
//! - between two versions of a roster
//! - from one policy to the next: values, and verdicts on the steps of a boundary

use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    ChosenTrust, Client, CommandFailure, CommandResult, DecidingRoster, LineDifference, LineTone,
    PATIENCE, PrintableText, Screen, draw_differences, fail_refused, fail_usage, leaves, newest_of,
    newest_unconnected, read_bounded, review::compare::changed_places, seem_same,
};
use documents::{
    Base64, Configuration, Envelope, ForeignKey, MAX_DEFINITION_BYTES, PolicyDigest, RegistryLeaf,
    Roster, RosterDigest, RosterVersion, SshKey, StepDefinition, canonical_of, first_of, joined,
    json, merkle,
};
use reading::{
    Builtins, Policy, PolicyProfile, Ruling, profile_of_step, required_permissions::needs, resolve,
};
use verdict::{
    Chain, MAX_FILE_BYTES, Pinned, TrustedRoster, VersionFacts, directory_of, payload_of,
};
use wire::RegistryView;

/// One change.
#[derive(Serialize)]
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
            Value::Array(items) => joined(items.iter().map(|item| item_words(field, item)), ", "),
            other => other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned),
        };
        text += &format!("; {field}: {words}");
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

/// Creates the review of the next roster version: the changes and the warnings. If `whole` is true, the review also
/// shows the whole statement and the whole policy.
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

/// Maximum number of steps that the sentence names.
const MOST_NAMED: usize = 20;

/// Reads a policy from the log of the boundary.
///
/// # Errors
/// Returns an error if the boundary can't be read or does not have the policy.
pub fn sealed_policy(client: &Client, digest: PolicyDigest) -> Result<Policy, String> {
    let bytes = client.blob(digest.as_bytes()).map_err(words)?;
    let value = json::parse(&bytes, bytes.len()).map_err(words)?;
    Policy::from_sealed(&value).map_err(|errors| joined(&errors, "; "))
}

fn words(error: impl ToString) -> String {
    error.to_string()
}

/// Returns every difference between the signed bytes of two policies.
pub fn differences(old: &Policy, new: &Policy) -> Vec<LineDifference> {
    let (before, after) = (lines(old), lines(new));
    let keys = |lines: &[(String, PrintableText)]| {
        lines.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    let line = |(was, at): (bool, usize)| {
        let (_, text) = if was { &before[at] } else { &after[at] };
        LineDifference {
            was,
            number: None,
            text: text.clone(),
        }
    };
    changed_places(&keys(&before), &keys(&after))
        .into_iter()
        .map(line)
        .collect()
}

/// Returns the values of a policy in their order, each with a key for the comparison. The key has no positions of
/// entries, so that an added override does not change the keys of the later ones.
fn lines(policy: &Policy) -> Vec<(String, PrintableText)> {
    let value: Value = serde_json::from_slice(policy.canonical()).unwrap_or_default();
    let found = leaves(&value);
    let line = |(path, leaf): (String, &Value)| {
        let tokens: Vec<&str> = path
            .split(['.', '[', ']'])
            .filter(|token| !token.is_empty())
            .collect();
        let names: Vec<_> = tokens
            .iter()
            .filter(|token| token.parse::<usize>().is_err())
            .collect();
        let runbook = match tokens[..] {
            [list, at, ..] => at
                .parse::<usize>()
                .map_or(&Value::Null, |at| &value[list][at]["runbook"]),
            _ => &Value::Null,
        };
        let mut text =
            PrintableText::path(path.trim_start_matches('.')).then(PrintableText::value(leaf));
        // Name the runbook, because a person recognizes an override by its runbook.
        if runbook.is_string() {
            text = text
                .and(" (runbook ")
                .then(PrintableText::value(runbook))
                .and(")");
        }
        (format!("{runbook} {names:?} {leaf}"), text)
    };
    found.into_iter().map(line).collect()
}

/// Returns a sentence about the steps of the seal whose verdict differs between two policies: people, permissions,
/// programs and sandbox. A step whose rules differ counts too if its definition can't be read.
///
/// # Errors
/// Returns an error if the boundary can't be read.
pub fn changed_steps(client: &Client, old: &Policy, new: &Policy) -> Result<String, String> {
    let view: RegistryView = client.get("/v1/registry").map_err(words)?;
    let bytes = client
        .blob(view.seal.configuration.as_bytes())
        .map_err(words)?;
    let given =
        PolicyProfile::of(&json::parse_as::<Configuration>(&bytes, bytes.len()).map_err(words)?);
    let (begun, mut hashes, mut changed, mut are_read) =
        (Instant::now(), Vec::new(), Vec::new(), true);
    for step in &view.steps {
        let leaf = RegistryLeaf {
            digest: step.digest,
            reference: step.reference.clone(),
        };
        hashes.push(merkle::leaf_hash(&canonical_of(&leaf).map_err(words)?));
        let [before, after] =
            [old, new].map(|policy| resolve(policy, Builtins::current(), &step.reference));
        if before == after {
            continue;
        }
        let bytes = if begun.elapsed() < PATIENCE {
            client.blob(step.digest.as_bytes()).ok()
        } else {
            None
        };
        match bytes.and_then(|bytes| json::parse_as(&bytes, MAX_DEFINITION_BYTES).ok()) {
            Some(step) if verdict(&before, &step, &given) == verdict(&after, &step, &given) => {
                continue;
            }
            Some(_) => {}
            None => are_read = false,
        }
        changed.push(&step.reference);
    }
    let is_proven = are_read && merkle::root(&hashes) == *view.seal.registry_root.as_bytes();
    let (count, all) = (changed.len(), view.steps.len());
    let word = if is_proven {
        ""
    } else {
        ", the boundary's word"
    };
    let between = if changed.is_empty() { "" } else { ": " };
    let named = first_of(&changed, MOST_NAMED);
    Ok(format!(
        "The verdict changes for {count} of {all} steps{word}{between}{named}"
    ))
}

/// Returns what policy decides about a step, without the origins of the rules.
fn verdict(
    ruling: &Ruling,
    step: &StepDefinition,
    given: &PolicyProfile,
) -> impl PartialEq + use<> {
    let needs = needs(ruling, step);
    let people = (
        ruling.approvals.as_ref().map(|rule| rule.value.clone()),
        ruling.people_rules(),
        ruling.passkeys,
    );
    (
        people,
        needs.permissions.ok(),
        needs.programs,
        profile_of_step(ruling, step, given).ok(),
    )
}

/// A new roster version, and the versions before it.
pub struct ProposedRoster {
    /// Envelope of the version. The payload is encoded again, because documents require strict base64.
    pub envelope: Envelope,
    /// File of the envelope: the given file, or `VERSION.json` beside a draft.
    pub file: PathBuf,
    /// The new version.
    pub next: TrustedRoster,
    /// The version directly before the new version.
    pub before: TrustedRoster,
    /// Chain of all versions from 1 to `before`, if all these versions were found.
    chain: Option<Chain>,
}

/// Maximum number of files in the directory that are read.
const MOST_FILES: usize = 65_536 + 16;

impl ProposedRoster {
    /// Reads the file, which may be a draft, and finds the previous version in the directory of the file, in `earlier`, or
    /// among the trusted rosters.
    ///
    /// # Errors
    /// Returns an error if the file is no roster, is version 1, or if its previous version was not found. A draft is also
    /// refused if the file of its version has another content, because that content may have signatures.
    pub fn read(file: &Path, earlier: &[PathBuf], trust: &[ChosenTrust]) -> CommandResult<Self> {
        let place = PrintableText::file(file).as_str().to_owned();
        let wrong =
            |error: &dyn std::fmt::Display| CommandFailure::usage(format!("{place}: {error}"));
        let (mut envelope, next, is_draft) = read_version(file)?;
        let Some(previous) = next.tables().previous else {
            return fail_usage(format!(
                "{place} is version 1 of a roster, which has no signatures: compare its digest {} with the person \
                 who maintains it",
                next.digest()
            ));
        };
        let own = if is_draft {
            file.with_file_name(format!("{}.json", next.version()))
        } else {
            file.to_owned()
        };
        if is_draft && own.symlink_metadata().is_ok() {
            let (there, other, _) = read_version(&own)?;
            if other.digest() != next.digest() {
                return fail_refused(format!(
                    "nothing was changed: {} contains another version {} with {} signatures: name that file, or \
                         delete the file, which discards its signatures",
                    PrintableText::file(&own),
                    other.version(),
                    there.signatures.len()
                ));
            }
            envelope = there;
        }
        let mut known: HashMap<RosterDigest, (Option<Envelope>, TrustedRoster)> = HashMap::new();
        for roster in trust.iter().filter_map(ChosenTrust::roster) {
            known.insert(roster.digest(), (None, roster.clone()));
        }
        // Files in the same directory are untrusted, so use a file only if its digest matches.
        for beside in siblings(file) {
            if let Ok((envelope, roster, _)) = read_version(&beside) {
                known.insert(roster.digest(), (Some(envelope), roster));
            }
        }
        for path in earlier {
            let (envelope, roster, _) = read_version(path)?;
            known.insert(roster.digest(), (Some(envelope), roster));
        }
        let Some((_, before)) = known.get(&previous) else {
            return fail_usage(format!(
                "{place} follows the roster {previous}, which was not found: put the file of version {} into the \
                 same directory, or name that file with --earlier",
                next.version().saturating_sub(1)
            ));
        };
        let before = before.clone();
        if next.version() != before.version() + 1 {
            return Err(wrong(&format!(
                "version {} can't follow version {}",
                next.version(),
                before.version()
            )));
        }
        // Collects the earlier versions back to version 1, or to the first gap.
        let mut versions = Vec::new();
        let mut at = Some(previous);
        while let Some(digest) = at {
            let Some((envelope, roster)) = known.get(&digest) else {
                break;
            };
            let envelope = match envelope {
                Some(envelope) => envelope.clone(),
                // A trusted version needs no signatures, unless the user trusts an older version.
                None => Envelope::new(roster.payload(), Vec::new()),
            };
            versions.push(envelope);
            at = roster.tables().previous;
            if at.is_none() {
                versions.reverse();
            }
        }
        let whole = at.is_none();
        let chain = if whole {
            // Here the last version of the chain counts as pinned. If the user trusts an older version, `trusted_by`
            // verifies the versions after it.
            let versions: Vec<_> = versions.into_iter().map(RosterVersion::Whole).collect();
            let chain = Chain::connect(&Pinned::Digest(previous), &versions)
                .map_err(|error| wrong(&error))?;
            let _follows = chain
                .check_follows(&envelope)
                .map_err(|error| wrong(&error))?;
            Some(chain)
        } else {
            None
        };
        Ok(Self {
            envelope,
            file: own,
            next,
            before,
            chain,
        })
    }

    /// Returns the reason why the previous version is trusted, as text.
    ///
    /// # Errors
    /// Returns an error if no trusted roster is connected with the previous version, or if a newer version is already
    /// trusted.
    pub fn trusted_by(&self, trust: &[ChosenTrust]) -> CommandResult<String> {
        let already = |trust: &ChosenTrust, version| {
            vec![format!(
                "{} is version {version} already",
                PrintableText::text(&trust.from)
            )]
        };
        let connect = |trust: &ChosenTrust| match &self.chain {
            _ if trust.pinned.digest() == self.before.digest() => {
                Ok(VersionFacts::of(&self.before))
            }
            Some(chain) => Chain::connect(&trust.pinned, &chain.versions_from(1))
                .map(|chain| VersionFacts::of(chain.newest()))
                .map_err(|error| format!("{}: {error}", trust.from)),
            None => Err(format!(
                "{}: the versions between were not found",
                trust.from
            )),
        };
        let why = match newest_of(trust, |trust| connect(trust).map(|newest| (newest, newest))) {
            Err(refused) => refused.into_iter().map(|(_, why)| why).collect(),
            Ok(DecidingRoster { trust, found, .. }) if found.version > self.before.version() => {
                already(trust, found.version)
            }
            Ok(DecidingRoster {
                trust, unconnected, ..
            }) => {
                let newer = newest_unconnected(&unconnected, |roster| {
                    roster.version() > self.before.version() && seem_same(roster, &self.before)
                });
                match newer {
                    Some((newer, roster)) => already(newer, roster.version()),
                    None if trust.pinned.digest() == self.before.digest() => {
                        return Ok(format!(
                            "version {}, from {}",
                            self.before.version(),
                            trust.from
                        ));
                    }
                    None => {
                        return Ok(format!(
                            "version {}, which follows from {} ({})",
                            self.before.version(),
                            trust.from,
                            trust.pinned.digest()
                        ));
                    }
                }
            }
        };
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" ({})", why.join("; "))
        };
        Err(CommandFailure::no_trust(format!(
            "nothing was signed: you trust no roster that this version follows{why}; this version follows \
                 version {} ({}): ask the person who maintains the roster for the digest, over another channel than \
                 this file; if the digest is the same, give --roster {}",
            self.before.version(),
            self.before.digest(),
            self.before.digest()
        )))
    }

    /// Returns true if all versions, starting with version 1, were found. A removed key can be detected only with all
    /// versions.
    pub fn is_whole(&self) -> bool {
        self.chain.is_some()
    }
}

/// Reads a version of a roster: an envelope, or a draft, which becomes an envelope without signatures. Returns true for a
/// draft.
///
/// # Errors
/// Returns an error if the file cannot be read or contains no roster.
pub fn read_version(path: &Path) -> CommandResult<(Envelope, TrustedRoster, bool)> {
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    let read = || -> Result<_, Box<dyn Error>> {
        let value = json::parse(&bytes, MAX_FILE_BYTES)?;
        if value.get("payload").is_none() {
            let roster = TrustedRoster::from_tables(json::typed(&value)?)?;
            return Ok((Envelope::new(roster.payload(), Vec::new()), roster, true));
        }
        let envelope: Envelope = json::typed(&value)?;
        let payload = payload_of(&envelope, Base64::Lenient)?;
        let roster = TrustedRoster::from_payload(&payload)?;
        Ok((Envelope::new(&payload, envelope.signatures), roster, false))
    };
    read().map_err(|error| {
        let (place, error) = (
            PrintableText::file(path),
            PrintableText::text(&error.to_string()),
        );
        CommandFailure::usage(format!("{place} is no version of a roster: {error}"))
    })
}

fn siblings(file: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory_of(file))
        .into_iter()
        .flatten()
        .flatten()
        .take(MOST_FILES);
    let numbered = |path: &PathBuf| {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        path.extension().is_some_and(|ending| ending == "json")
            && (stem.bytes().all(|c| c.is_ascii_digit()) || stem == "roster")
            && path != file
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(numbered).collect();
    found.sort();
    found
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
