//! Edits of `roster.toml` that keep comments, order and blank lines.
//!
//! The functions return the new text of the file. The caller parses this text and compares it with the intended change.
//! If the file has an unsupported form, the operator must edit it by hand.

use toml_edit::{Array, ArrayOfTables, Decor, DocumentMut, Item, RawString, Value};

use documents::{ForeignKey, KeyId, SshKey};

documents::words! {
    /// A table of `roster.toml`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Table {
        /// Table of approvers.
        Approver = "approver",
        /// Table of operators.
        Operator = "operator",
        /// Table of proposers that sign with a key.
        Proposer = "proposer",
        /// Table of boundaries.
        Boundary = "boundary",
    }
}

/// A new entry, or additions to an existing entry.
#[derive(Debug, Clone)]
pub struct RosterEntry {
    /// Table of the entry.
    pub table: Table,
    /// Name of the entry.
    pub name: String,
    /// Public keys as lines in OpenSSH's format.
    pub keys: Vec<String>,
    /// Groups of an approver.
    pub groups: Vec<String>,
    /// Owners of a proposer.
    pub owners: Vec<String>,
    /// Fields `valid_after` and `valid_before` of an approver.
    pub valid: [Option<String>; 2],
}

/// Reason why an edit is impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EditError(String);

/// Adds an entry. If an entry with this name exists, the function adds the given keys, groups and owners to it.
///
/// # Errors
/// Returns an error if the entry already has all given values, or if the file has an unsupported form.
pub fn add(text: &str, entry: &RosterEntry) -> Result<String, EditError> {
    let mut document = read(text)?;
    let Some((_, found)) = find(&mut document, entry.table, &entry.name) else {
        add_table(&mut document, entry)?;
        return Ok(written(&document, text));
    };
    if let Some(what) = ["valid_after", "valid_before"]
        .iter()
        .zip(&entry.valid)
        .find_map(|(what, set)| set.as_ref().map(|_| what))
    {
        return Err(EditError(format!(
            "{} {} exists already: change its `{what}` in the file, then run `countersign roster draft`",
            entry.table.word(),
            entry.name
        )));
    }
    let mut changed = false;
    for (list, items) in [
        ("keys", &entry.keys),
        ("groups", &entry.groups),
        ("owners", &entry.owners),
    ] {
        let known = texts(found, list);
        let same = |one: &str, other: &str| {
            one == other || (list == "keys" && keyid(one).is_some() && keyid(one) == keyid(other))
        };
        let fresh: Vec<&String> = items
            .iter()
            .filter(|item| !known.iter().any(|(_, known)| same(known, item)))
            .collect();
        if fresh.is_empty() {
            continue;
        }
        let node = found
            .get_mut(list)
            .ok_or_else(|| by_hand(&format!("add `{list}` to {}", entry.name)))?;
        let array = node
            .as_array_mut()
            .ok_or_else(|| by_hand(&format!("add to `{list}` of {}", entry.name)))?;
        fresh
            .into_iter()
            .rev()
            .for_each(|item| put_first(array, item));
        changed = true;
    }
    if !changed {
        return Err(EditError(format!(
            "{} {} exists already with these values",
            entry.table.word(),
            entry.name
        )));
    }
    Ok(written(&document, text))
}

/// Removes an entry, or one key of an entry.
///
/// # Errors
/// Returns an error if the entry or the key is missing, or if the file has an unsupported form.
pub fn remove(
    text: &str,
    table: Table,
    name: &str,
    key: Option<&KeyId>,
) -> Result<String, EditError> {
    let mut document = read(text)?;
    let (at, entry) = find(&mut document, table, name).ok_or_else(|| {
        EditError(format!(
            "there is no {} {name} in the file: nothing was changed",
            table.word()
        ))
    })?;
    let Some(key) = key else {
        remove_table(&mut document, table, at);
        return Ok(written(&document, text));
    };
    let keys = texts(entry, "keys");
    let at = keys
        .iter()
        .find(|(_, line)| keyid(line).as_ref() == Some(key))
        .map(|(at, _)| *at);
    let at = at.ok_or_else(|| {
        EditError(format!(
            "{} {name} has no key {key}: nothing was changed",
            table.word()
        ))
    })?;
    if keys.len() == 1 {
        return Err(EditError(format!(
            "{key} is the only key of {name}: add another key first, or remove {name} completely"
        )));
    }
    let array = entry
        .get_mut("keys")
        .and_then(Item::as_array_mut)
        .ok_or_else(|| by_hand("remove the key"))?;
    let removed = array.remove(at);
    // `toml_edit` stores a comment that follows the removed key in the prefix of the next key.
    if let Some(next) = array.get_mut(at) {
        next.decor_mut().set_prefix(prefix(removed.decor()));
    }
    Ok(written(&document, text))
}

/// Sets the version number.
///
/// # Errors
/// Returns an error if the file has no version number.
pub fn set_version(text: &str, version: u64) -> Result<String, EditError> {
    let missing = || by_hand(&format!("write `version = {version}`"));
    let mut document = read(text)?;
    let value = document
        .get_mut("version")
        .and_then(Item::as_value_mut)
        .filter(|value| value.is_integer());
    let value = value.ok_or_else(missing)?;
    let decor = value.decor().clone();
    *value = i64::try_from(version).map_err(|_| missing())?.into();
    *value.decor_mut() = decor;
    Ok(written(&document, text))
}

fn by_hand(what: &str) -> EditError {
    EditError(format!(
        "the file is written in a way that this command does not edit: {what} by hand, then run `countersign roster draft`"
    ))
}

fn read(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|_| by_hand("change it"))
}

/// Returns the document as text, with the line ends of `before`, because `toml_edit` always writes a line feed.
fn written(document: &DocumentMut, before: &str) -> String {
    let text = document.to_string();
    if before.contains("\r\n") {
        text.replace('\n', "\r\n")
    } else {
        text
    }
}

fn find<'d>(
    document: &'d mut DocumentMut,
    table: Table,
    name: &str,
) -> Option<(usize, &'d mut toml_edit::Table)> {
    let entries = document.get_mut(table.word())?.as_array_of_tables_mut()?;
    entries
        .iter_mut()
        .enumerate()
        .find(|(_, entry)| entry.get("name").and_then(Item::as_str) == Some(name))
}

/// Returns the texts of a list with their indexes.
fn texts(entry: &toml_edit::Table, list: &str) -> Vec<(usize, String)> {
    let items = entry
        .get(list)
        .and_then(Item::as_array)
        .into_iter()
        .flatten()
        .enumerate();
    items
        .filter_map(|(at, item)| Some((at, item.as_str()?.to_owned())))
        .collect()
}

fn keyid(line: &str) -> Option<KeyId> {
    SshKey::parse(line)
        .map(|key| key.keyid())
        .or_else(|_| ForeignKey::parse(line).map(|key| key.keyid()))
        .ok()
}

/// Returns the blanks and comments before a value or a table.
fn prefix(decor: &Decor) -> String {
    decor
        .prefix()
        .and_then(RawString::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Inserts a text at the start of an array, because a comment after the last value must stay next to this value. The
/// new value gets its own line if the other values do.
fn put_first(array: &mut Array, text: &str) {
    let mut value = Value::from(text);
    if let Some(first) = array.get_mut(0) {
        let blanks = prefix(first.decor());
        match blanks.rfind('\n') {
            Some(line) => value.decor_mut().set_prefix(&blanks[line..]),
            None => first
                .decor_mut()
                .set_prefix(format!(" {}", blanks.trim_start())),
        }
    }
    array.insert_formatted(0, value);
}

/// Inserts a table after the last table of the same kind, or at the end of the document.
fn add_table(document: &mut DocumentMut, entry: &RosterEntry) -> Result<(), EditError> {
    let list = |items: &[String]| toml_edit::value(items.iter().collect::<Array>());
    let mut table = toml_edit::Table::new();
    table.insert("name", toml_edit::value(&entry.name));
    match entry.table {
        Table::Approver => drop(table.insert("groups", list(&entry.groups))),
        Table::Proposer => drop(table.insert("owners", list(&entry.owners))),
        Table::Operator | Table::Boundary => {}
    }
    table.insert("keys", list(&entry.keys));
    for (what, time) in ["valid_after", "valid_before"].iter().zip(&entry.valid) {
        if let Some(time) = time {
            table.insert(what, toml_edit::value(time));
        }
    }
    let word = entry.table.word();
    let last = document
        .get(word)
        .and_then(Item::as_array_of_tables)
        .and_then(|tables| tables.iter().last());
    let mut before = "\n".to_owned();
    let position = match last {
        Some(last) => last.position(),
        None => {
            // Comments at the end of the document stay before the new table.
            before.insert_str(0, document.trailing().as_str().unwrap_or_default());
            document.set_trailing("");
            tables(document)
                .filter_map(|table| table.position())
                .max()
                .map(|last| last + 1)
        }
    };
    table.decor_mut().set_prefix(before);
    table.set_position(position);
    let entries = document
        .entry(word)
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let entries = entries.as_array_of_tables_mut();
    entries
        .ok_or_else(|| by_hand(&format!("add the {word} {}", entry.name)))?
        .push(table);
    Ok(())
}

/// Removes a table. Comments before the table stay, because they may also describe other tables.
fn remove_table(document: &mut DocumentMut, table: Table, at: usize) {
    let Some(entries) = document
        .get_mut(table.word())
        .and_then(Item::as_array_of_tables_mut)
    else {
        return;
    };
    let removed = entries.remove(at);
    if entries.is_empty() {
        document.remove(table.word());
    }
    let before = prefix(removed.decor());
    let comments = before.trim_end_matches(['\n', ' ', '\t']);
    if comments.is_empty() {
        return;
    }
    let position = removed.position();
    match tables(document)
        .filter(|table| table.position() > position)
        .min_by_key(|table| table.position())
    {
        Some(next) => {
            let after = format!("{comments}\n{}", prefix(next.decor()));
            next.decor_mut().set_prefix(after);
        }
        None => {
            let after = format!(
                "{comments}\n{}",
                document.trailing().as_str().unwrap_or_default()
            );
            document.set_trailing(after);
        }
    }
}

/// Returns all tables below the root table.
fn tables(document: &mut DocumentMut) -> impl Iterator<Item = &mut toml_edit::Table> {
    document.iter_mut().flat_map(|(_, item)| match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().collect(),
        Item::Table(table) => vec![table],
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../keys/roster.toml");
    const NEW: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c dave";

    fn dave() -> RosterEntry {
        RosterEntry {
            table: Table::Approver,
            name: "dave".to_owned(),
            keys: vec![NEW.to_owned()],
            groups: vec!["ops".to_owned()],
            owners: Vec::new(),
            valid: [None, Some("2027-01-01T00:00:00Z".to_owned())],
        }
    }

    fn lines_gone(before: &str, after: &str) -> Vec<String> {
        before
            .lines()
            .filter(|line| !after.lines().any(|other| other == *line))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_new_roster_entry_is_added_after_its_table_and_all_other_text_is_unchanged() {
        let text = add(SAMPLE, &dave()).expect("added");
        assert_eq!(lines_gone(SAMPLE, &text), Vec::<String>::new());
        let place = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("{needle}: {text}"))
        };
        assert!(
            place("name = \"carol\"") < place("name = \"dave\"")
                && place("name = \"dave\"") < place("# A group stands")
        );
        let back = remove(&text, Table::Approver, "dave", None).expect("removed");
        assert_eq!(back, SAMPLE, "and taken out again");
        assert!(
            add(
                &text,
                &RosterEntry {
                    valid: [None, None],
                    ..dave()
                }
            )
            .is_err(),
            "there already"
        );
        let first = add("name = \"x\"\nversion = 1\nthreshold = 0", &dave()).expect("added");
        assert!(
            first.contains("threshold = 0\n\n[[approver]]\nname = \"dave\"\n"),
            "{first}"
        );
    }

    #[test]
    fn keys_and_groups_of_an_existing_entry_can_be_added_and_removed() {
        let entry = RosterEntry {
            name: "alice".to_owned(),
            groups: vec!["security".to_owned()],
            valid: [None, None],
            ..dave()
        };
        let text = add(SAMPLE, &entry).expect("added");
        assert!(text.contains("groups = [\"security\", \"ops\"]"), "{text}");
        let keys = |name: &str| {
            let mut document = read(&text).expect("a document");
            let (_, entry) = find(&mut document, Table::Approver, name).expect("there");
            texts(entry, "keys").len()
        };
        assert_eq!((keys("alice"), keys("bob")), (2, 1));
        let fresh = SshKey::parse(NEW).expect("a key").keyid();
        let back = remove(&text, Table::Approver, "alice", Some(&fresh)).expect("removed");
        assert!(
            back.contains("keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDlS"),
            "{back}"
        );
        let old = SAMPLE
            .lines()
            .find(|line| line.contains(" alice\""))
            .expect("alice's key");
        let old = SshKey::parse(old.split('"').nth(1).expect("a line"))
            .expect("a key")
            .keyid();
        let swapped = remove(&text, Table::Approver, "alice", Some(&old)).expect("removed");
        assert!(
            swapped.contains(&format!("keys = [\"{NEW}\"]")),
            "{swapped}"
        );
        assert!(
            remove(&swapped, Table::Approver, "alice", Some(&fresh)).is_err(),
            "the only key stays"
        );
        assert!(remove(SAMPLE, Table::Operator, "alice", None).is_err());
    }

    #[test]
    fn an_edit_of_the_version_number_changes_no_other_text() {
        let text = set_version(SAMPLE, 12).expect("set");
        assert_eq!(text, SAMPLE.replace("version = 1", "version = 12"));
        assert!(set_version("name = \"x\"", 2).is_err());
        assert_eq!(
            set_version("version = 0x1 # one\n", 2).as_deref(),
            Ok("version = 2 # one\n")
        );
    }

    #[test]
    fn a_roster_edit_preserves_comments_and_line_ends() {
        let text = "# Who is who\r\nname = 'x' # ours\r\nversion = 1\r\n\r\n# People\r\n[[approver]]\r\nname = \"alice\"\r\n\
                    groups = [] # none\r\nkeys = [\r\n  # new\r\n  'k1', # laptop\r\n  'k2', # phone\r\n]\r\n\r\n\
                    [[operator]]\r\nname = 'olga'\r\n\r\n# Bob\r\n[[approver]]\r\nname = 'bob'\r\n# the end\r\n";
        let entry = |name: &str, table| RosterEntry {
            table,
            name: name.to_owned(),
            groups: vec!["g".to_owned()],
            valid: [None, None],
            ..dave()
        };
        let added = add(text, &entry("alice", Table::Approver)).expect("added");
        let changed = text
            .replace("groups = []", "groups = [\"g\"]")
            .replace("  'k1'", &format!("  \"{NEW}\",\r\n  'k1'"))
            .replace("  # new\r\n  \"ssh", "  \"ssh")
            .replace("\r\n  'k1'", "\r\n  # new\r\n  'k1'");
        assert_eq!(added, changed);
        let fresh = SshKey::parse(NEW).expect("a key").keyid();
        let back = remove(&added, Table::Approver, "alice", Some(&fresh)).expect("removed");
        assert!(
            back.contains("'k1', # laptop\r\n  'k2', # phone\r\n]"),
            "{back}"
        );
        let gone = remove(text, Table::Approver, "alice", None).expect("removed");
        assert!(
            gone.contains("version = 1\r\n\r\n# People\r\n\r\n[[operator]]"),
            "{gone}"
        );
        let last = remove(text, Table::Approver, "bob", None).expect("removed");
        assert!(
            last.ends_with("name = 'olga'\r\n\r\n# Bob\r\n# the end\r\n"),
            "{last}"
        );
        let new = add(text, &entry("release-bot", Table::Proposer)).expect("added");
        assert!(
            new.starts_with(text)
                && new.contains("# the end\r\n\r\n[[proposer]]\r\nname = \"release-bot\"\r\n"),
            "{new}"
        );
        let third = add(text, &entry("carol", Table::Approver)).expect("added");
        assert!(
            third.contains("name = 'bob'\r\n\r\n[[approver]]\r\nname = \"carol\"\r\n"),
            "{third}"
        );
        assert!(
            set_version(text, 2).is_ok_and(|two| two == text.replace("version = 1", "version = 2"))
        );
    }

    #[test]
    fn unusual_files_never_cause_a_panic() {
        for text in [
            "",
            "[[approver]]",
            "approver = 1",
            "approver = [{name = \"alice\", keys = 1}]",
            "approver = [{name = \"alice\", keys = [\"a\", '''b''']}]",
            "[[approver]]\nname = \"alice\"\nkeys = '''\n[x\n'''",
            "é = \"é\"\n[[approver]]\nname = \"alice\"\nkeys = [\n  \"é\",\n]\n",
            "\u{feff}[[",
        ] {
            for name in ["alice", "dave"] {
                let _ = add(
                    text,
                    &RosterEntry {
                        name: name.to_owned(),
                        ..dave()
                    },
                );
                let _ = add(
                    text,
                    &RosterEntry {
                        name: name.to_owned(),
                        valid: [None, None],
                        ..dave()
                    },
                );
                let _ = remove(text, Table::Approver, name, None);
                let _ = remove(
                    text,
                    Table::Approver,
                    name,
                    SshKey::parse(NEW).ok().map(|key| key.keyid()).as_ref(),
                );
            }
            let _ = set_version(text, 3);
        }
    }
}
