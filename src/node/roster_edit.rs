//! Edits of `roster.toml` that leave all else as it was written.
//!
//! Text in, text out: comments, order and blanks stay. What comes out is read again by whoever asked, and compared with
//! what was meant; a file that is written in another way than these edits understand is then left for its author.

use std::fmt;

use crate::crypto::sshsig::{ForeignKey, KeyId, SshKey};
use crate::node::tree;
use crate::yaml::{Kind, Node, Place};

/// A table of people or boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Who may approve.
    Approver,
    /// Who may cancel and revoke.
    Operator,
    /// Who may propose by a key.
    Proposer,
    /// A boundary.
    Boundary,
}

impl Table {
    /// Its name in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Proposer => "proposer",
            Self::Boundary => "boundary",
        }
    }
}

/// An entry, or what is added to one that is there.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where.
    pub table: Table,
    /// Whose.
    pub name: String,
    /// OpenSSH lines.
    pub keys: Vec<String>,
    /// Of an approver.
    pub groups: Vec<String>,
    /// Of a proposer.
    pub owners: Vec<String>,
    /// Of an approver: from when on, and until when.
    pub valid: [Option<String>; 2],
}

/// Why an edit can't be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditError(String);

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EditError {}

/// Adds an entry, or keys, groups and owners to the one of that name.
///
/// # Errors
/// When it is there already, or the file is not written as these edits understand it.
pub fn add(text: &str, entry: &Entry) -> Result<String, EditError> {
    let (tree, _) = tree::read(text);
    let Some((_, found)) = find(&tree, entry.table, &entry.name) else { return Ok(add_table(text, entry)) };
    if let Some(what) =
        ["valid_after", "valid_before"].iter().zip(&entry.valid).find_map(|(what, set)| set.as_ref().map(|_| what))
    {
        return Err(EditError(format!(
            "{} {} is there already: change its `{what}` in the file, then run `countersign roster draft`",
            entry.table.word(),
            entry.name
        )));
    }
    let mut edited = text.to_owned();
    let mut changed = false;
    // From the end of the file to its beginning: places before an edit stay where they are.
    let mut lists: Vec<(&str, &[String])> =
        vec![("keys", &entry.keys), ("groups", &entry.groups), ("owners", &entry.owners)];
    lists.sort_by_key(|(list, _)| found.value(list).map_or(Place::default(), |node| node.place));
    for (list, items) in lists.into_iter().rev() {
        let known: Vec<&str> =
            found.value(list).map_or_else(Vec::new, |node| texts(node).map(|(_, text)| text).collect());
        let same = |one: &str, other: &str| {
            one == other || (list == "keys" && keyid(one).is_some() && keyid(one) == keyid(other))
        };
        let fresh: Vec<String> =
            items.iter().filter(|item| !known.iter().any(|known| same(known, item))).map(|item| quoted(item)).collect();
        if fresh.is_empty() {
            continue;
        }
        let node = found.value(list).ok_or_else(|| by_hand(&format!("add `{list}` to {}", entry.name)))?;
        let open = offset(text, node.place);
        if text.as_bytes().get(open) != Some(&b'[') {
            return Err(by_hand(&format!("add to `{list}` of {}", entry.name)));
        }
        let comma = if known.is_empty() { "" } else { ", " };
        edited.insert_str(open + 1, &format!("{}{comma}", fresh.join(", ")));
        changed = true;
    }
    if !changed {
        return Err(EditError(format!("{} {} is there already, as it would be", entry.table.word(), entry.name)));
    }
    Ok(edited)
}

/// Removes an entry, or one of its keys.
///
/// # Errors
/// When it is not there, or the file is not written as these edits understand it.
pub fn remove(text: &str, table: Table, name: &str, key: Option<&KeyId>) -> Result<String, EditError> {
    let (tree, _) = tree::read(text);
    let (at, entry) = find(&tree, table, name)
        .ok_or_else(|| EditError(format!("there is no {} {name} in the file, nothing was changed", table.word())))?;
    let Some(key) = key else { return remove_table(text, table, at) };
    let keys: Vec<(Place, &str)> = entry.value("keys").map_or_else(Vec::new, |node| texts(node).collect());
    let at = keys.iter().position(|(_, line)| keyid(line).as_ref() == Some(key));
    let at = at.ok_or_else(|| EditError(format!("{} {name} has no key {key}, nothing was changed", table.word())))?;
    if keys.len() == 1 {
        return Err(EditError(format!("{key} is the only key of {name}: add another first, or remove {name} whole")));
    }
    // Up to the next item, or from the end of the one before.
    let (from, to) = match (keys.get(at + 1), at.checked_sub(1)) {
        (Some((next, _)), _) => (offset(text, keys[at].0), offset(text, *next)),
        (None, Some(before)) => {
            (end_of_text(text, offset(text, keys[before].0))?, end_of_text(text, offset(text, keys[at].0))?)
        }
        (None, None) => return Err(by_hand("remove the key")),
    };
    Ok(format!("{}{}", &text[..from], &text[to..]))
}

/// Writes another version number.
///
/// # Errors
/// When the file has none.
pub fn set_version(text: &str, version: u64) -> Result<String, EditError> {
    let (tree, _) = tree::read(text);
    let node = tree.value("version").filter(|node| matches!(node.kind, Kind::Integer(_)));
    let from = offset(text, node.ok_or_else(|| by_hand(&format!("write `version = {version}`")))?.place);
    let digits = text[from..].bytes().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'+')).count();
    Ok(format!("{}{version}{}", &text[..from], &text[from + digits..]))
}

fn by_hand(what: &str) -> EditError {
    EditError(format!(
        "the file is written in a way that this command does not edit: {what} by hand, then run `countersign roster draft`"
    ))
}

fn find<'t>(tree: &'t Node, table: Table, name: &str) -> Option<(usize, &'t Node)> {
    let Kind::List(entries) = &tree.value(table.word())?.kind else { return None };
    entries
        .iter()
        .enumerate()
        .find(|(_, entry)| entry.value("name").is_some_and(|node| node.kind == Kind::Text(name.to_owned())))
}

fn texts(node: &Node) -> impl Iterator<Item = (Place, &str)> {
    let items = if let Kind::List(items) = &node.kind { &**items } else { &[] };
    items.iter().filter_map(|item| match &item.kind {
        Kind::Text(text) => Some((item.place, text.as_str())),
        _ => None,
    })
}

fn keyid(line: &str) -> Option<KeyId> {
    SshKey::parse(line).map(|key| key.keyid()).or_else(|_| ForeignKey::parse(line).map(|key| key.keyid())).ok()
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Bytes before a place.
fn offset(text: &str, place: Place) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(place.line.saturating_sub(1)).map(str::len).sum();
    let line = &text[line_start..];
    line_start + line.char_indices().nth(place.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
}

/// Where the one-line string ends that begins here.
fn end_of_text(text: &str, from: usize) -> Result<usize, EditError> {
    let bytes = text.as_bytes();
    let quote = *bytes.get(from).filter(|c| matches!(c, b'"' | b'\'')).ok_or_else(|| by_hand("remove the key"))?;
    let mut at = from + 1;
    while let Some(c) = bytes.get(at) {
        match *c {
            b'\n' => break,
            b'\\' if quote == b'"' => at += 1,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
        at += 1;
    }
    Err(by_hand("remove the key"))
}

fn add_table(text: &str, entry: &Entry) -> String {
    let list = |items: &[String]| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
    let mut block = format!("[[{}]]\nname = {}\n", entry.table.word(), quoted(&entry.name));
    match entry.table {
        Table::Approver => block.push_str(&format!("groups = [{}]\n", list(&entry.groups))),
        Table::Proposer => block.push_str(&format!("owners = [{}]\n", list(&entry.owners))),
        Table::Operator | Table::Boundary => {}
    }
    block.push_str(&format!("keys = [{}]\n", list(&entry.keys)));
    for (what, time) in ["valid_after", "valid_before"].iter().zip(&entry.valid) {
        if let Some(time) = time {
            block.push_str(&format!("{what} = {}\n", quoted(time)));
        }
    }
    // Behind the last of its kind, or at the end.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let last = blocks(&lines).into_iter().rfind(|(kind, _)| *kind == entry.table.word());
    let at: usize = lines[..last.map_or(lines.len(), |(_, range)| range.end)].iter().map(|line| line.len()).sum();
    let (before, after) = text.split_at(at);
    let newline = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{newline}\n{block}{after}")
}

fn remove_table(text: &str, table: Table, at: usize) -> Result<String, EditError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let block = blocks(&lines).into_iter().filter(|(kind, _)| *kind == table.word()).nth(at);
    let (_, range) = block.ok_or_else(|| by_hand(&format!("remove the [[{}]] table", table.word())))?;
    // The blank lines before it go with it, unless it is the first thing.
    let start =
        lines[..range.start].iter().rposition(|line| !line.trim().is_empty()).map_or(range.start, |line| line + 1);
    Ok(lines[..start].iter().chain(&lines[range.end..]).copied().collect())
}

/// Tables of lists: their name, and their lines up to the comment that belongs to what comes after.
fn blocks<'t>(lines: &[&'t str]) -> Vec<(&'t str, std::ops::Range<usize>)> {
    let mut blocks: Vec<(&str, std::ops::Range<usize>)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            let name =
                line.strip_prefix("[[").and_then(|rest| rest.split_once("]]")).map_or("", |(name, _)| name.trim());
            blocks.push((name, at..at + 1));
        } else if let Some((_, range)) = blocks.last_mut()
            && !line.is_empty()
            && !line.starts_with('#')
        {
            range.end = at + 1;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../keys/roster.toml");
    const NEW: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c dave";

    fn dave() -> Entry {
        Entry {
            table: Table::Approver,
            name: "dave".to_owned(),
            keys: vec![NEW.to_owned()],
            groups: vec!["ops".to_owned()],
            owners: Vec::new(),
            valid: [None, Some("2027-01-01T00:00:00Z".to_owned())],
        }
    }

    fn lines_gone(before: &str, after: &str) -> Vec<String> {
        before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(str::to_owned).collect()
    }

    #[test]
    fn an_entry_is_added_behind_its_kind_and_nothing_else_is_touched() {
        let text = add(SAMPLE, &dave()).expect("added");
        assert_eq!(lines_gone(SAMPLE, &text), Vec::<String>::new());
        let place = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle}: {text}"));
        assert!(
            place("name = \"carol\"") < place("name = \"dave\"")
                && place("name = \"dave\"") < place("# A group stands")
        );
        let back = remove(&text, Table::Approver, "dave", None).expect("removed");
        assert_eq!(back, SAMPLE, "and taken out again");
        assert!(add(&text, &Entry { valid: [None, None], ..dave() }).is_err(), "there already");
        let first = add("name = \"x\"\nversion = 1\nthreshold = 0", &dave()).expect("added");
        assert!(first.contains("threshold = 0\n\n[[approver]]\nname = \"dave\"\n"), "{first}");
    }

    #[test]
    fn keys_and_groups_are_added_to_who_is_there_and_taken_out() {
        let entry =
            Entry { name: "alice".to_owned(), groups: vec!["security".to_owned()], valid: [None, None], ..dave() };
        let text = add(SAMPLE, &entry).expect("added");
        assert!(text.contains("groups = [\"security\", \"ops\"]"), "{text}");
        let (tree, flaws) = tree::read(&text);
        assert!(flaws.is_empty());
        let keys = |tree: &Node, name: &str| {
            let (_, entry) = find(tree, Table::Approver, name).expect("there");
            texts(entry.value("keys").expect("keys")).count()
        };
        assert_eq!((keys(&tree, "alice"), keys(&tree, "bob")), (2, 1));
        let fresh = SshKey::parse(NEW).expect("a key").keyid();
        let back = remove(&text, Table::Approver, "alice", Some(&fresh)).expect("removed");
        assert!(back.contains("keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDlS"), "{back}");
        let old = SAMPLE.lines().find(|line| line.contains(" alice\"")).expect("alice's key");
        let old = SshKey::parse(old.split('"').nth(1).expect("a line")).expect("a key").keyid();
        let swapped = remove(&text, Table::Approver, "alice", Some(&old)).expect("removed");
        assert!(swapped.contains(&format!("keys = [\"{NEW}\"]")), "{swapped}");
        assert!(remove(&swapped, Table::Approver, "alice", Some(&fresh)).is_err(), "the only key stays");
        assert!(remove(SAMPLE, Table::Operator, "alice", None).is_err());
    }

    #[test]
    fn the_version_is_written_in_its_place() {
        let text = set_version(SAMPLE, 12).expect("set");
        assert_eq!(text, SAMPLE.replace("version = 1", "version = 12"));
        assert!(set_version("name = \"x\"", 2).is_err());
        assert_eq!(set_version("version = 0x1 # one\n", 2).as_deref(), Ok("version = 2 # one\n"));
    }

    #[test]
    fn odd_files_never_panic() {
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
                let _ = add(text, &Entry { name: name.to_owned(), ..dave() });
                let _ = add(text, &Entry { name: name.to_owned(), valid: [None, None], ..dave() });
                let _ = remove(text, Table::Approver, name, None);
                let _ = remove(text, Table::Approver, name, SshKey::parse(NEW).ok().map(|key| key.keyid()).as_ref());
            }
            let _ = set_version(text, 3);
        }
    }
}
