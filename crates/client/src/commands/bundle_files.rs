//! Reads bundles from named files and directories, and explains what another kind of file is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{CommandResult, DATABASE, PrintableText, fail_check, fail_usage, read_beginning};
use documents::{
    Base64, KINDS, MAX_BUNDLE_BYTES, Predicate as _, Receipt, Roster, json, predicate_type,
};

/// Maximum number of files of a directory, so that a table of them has a bounded size in memory.
pub const MOST_FILES: usize = 100_000;
/// Maximum depth of directories below the named directory.
const MOST_DEEP: usize = 16;

/// Reads a bundle file. The function refuses any other kind of document.
///
/// # Errors
/// Returns an error if the file cannot be read, or if it is no bundle.
pub fn read_bundle(path: &Path) -> CommandResult<Vec<u8>> {
    // One byte more than the maximum lets the check `bundle` report a file that is too large.
    let bytes = bundle_of(path, read_beginning(path, MAX_BUNDLE_BYTES + 1)?)?;
    // Return a truncated bundle too, because its verification reports where the text ends too early.
    let is_cut = bytes.starts_with(b"{") && json::parse(&bytes, MAX_BUNDLE_BYTES).is_err();
    if is_cut || !fields_in(&bytes).is_empty() {
        return Ok(bytes);
    }
    let place = PrintableText::file(path);
    let why = format!(
        "{place} is no bundle: get the bundle of a run with `countersign wait ID --bundle FILE`"
    );
    fail_check(why)
}

/// Returns the bytes of a bundle that was read from `path`. The function refuses any other kind of document that the
/// program recognizes.
///
/// # Errors
/// Returns an error that says what the document is and what to do with it.
pub fn bundle_of(path: &Path, bytes: Vec<u8>) -> CommandResult<Vec<u8>> {
    if has_fields(&bytes) {
        return Ok(bytes);
    }
    let Some(what) = other_kind(&bytes) else {
        return Ok(bytes);
    };
    let place = PrintableText::file(path);
    fail_check(format!("{place} is {what}"))
}

/// Compressed files: the first bytes, the name of the format, and the program that unpacks the file.
const COMPRESSED: [(&[u8], &str, &str); 5] = [
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"\xfd7zXZ\x00", "xz", "unxz"),
    (b"BZh", "bzip2", "bunzip2"),
];

/// Says what kind of document the bytes are if they are no bundle, and what to do with it. Returns `None` for a bundle
/// and for unknown bytes.
fn other_kind(bytes: &[u8]) -> Option<String> {
    if let Some((_, form, program)) = COMPRESSED
        .iter()
        .find(|(first, ..)| bytes.starts_with(first))
    {
        return Some(format!(
            "compressed ({form}) and no bundle: unpack the file with `{program}`, and give the file in it"
        ));
    }
    let value = json::parse(bytes, MAX_BUNDLE_BYTES).ok()?;
    let statement = statement_in(&value)?;
    let is = |word: &str| statement["predicateType"] == predicate_type(word);
    if is(Receipt::KIND) {
        // An answer of a boundary also has the authorization.
        let authorization = statement_in(&value["authorization"]).unwrap_or_default();
        let proposal = authorization["predicate"]["proposal"].as_str();
        let id = PrintableText::text(proposal.unwrap_or("ID"));
        return Some(format!(
            "a receipt without its bundle: get the bundle with `countersign wait {id} --bundle FILE`"
        ));
    }
    if is(Roster::KIND) {
        return Some(
            "a roster and no bundle: give a roster with --roster, and name the file of a bundle"
                .to_owned(),
        );
    }
    let kind = KINDS.into_iter().find(|kind| is(kind.word))?;
    Some(format!(
        "a document of the kind {} and no bundle: get the bundle of a run with `countersign wait ID --bundle FILE`",
        kind.word
    ))
}

/// Returns the statement of a payload, of an envelope, of an answer of the API with an envelope, or of the first of
/// several envelopes.
fn statement_in(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) => statement_in(items.first()?),
        Value::Object(fields) if fields.contains_key("predicateType") => Some(value.clone()),
        // A bundle has envelopes in its fields, but has no field `payload` or `envelope` itself.
        Value::Object(fields) => match fields.get("payload").and_then(Value::as_str) {
            Some(payload) => {
                let payload = Base64::Lenient.decode("/payload", payload).ok()?;
                json::parse(&payload, MAX_BUNDLE_BYTES)
                    .ok()
                    .filter(|value| value["predicateType"].is_string())
            }
            None => statement_in(fields.get("envelope")?),
        },
        _ => None,
    }
}

/// Returns true if a file is a bundle, or probably was a bundle before the file was damaged.
pub fn looks_like_bundle(name: &str, bytes: &[u8]) -> bool {
    name.ends_with(".bundle.json") || has_fields(bytes)
}

fn has_fields(bytes: &[u8]) -> bool {
    fields_in(bytes).len() == 3
}

/// Returns the names of a bundle's fields that the text contains.
fn fields_in(bytes: &[u8]) -> Vec<&'static str> {
    let text = String::from_utf8_lossy(bytes);
    ["\"receipt\"", "\"consumption\"", "\"proofs\""]
        .into_iter()
        .filter(|field| text.contains(field))
        .collect()
}

/// Returns true if a directory looks like a copy of a log or like a store.
pub fn is_log(path: &Path) -> bool {
    path.join("checkpoint").exists() || path.join("tile").is_dir() || path.join(DATABASE).is_file()
}

/// Returns the logs in a directory that is no log itself, in the order of their names.
pub fn logs_below(path: &Path) -> Vec<PathBuf> {
    if is_log(path) {
        return Vec::new();
    }
    let entries = path
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut logs: Vec<PathBuf> = entries.filter(|entry| is_log(entry)).collect();
    logs.sort();
    logs
}

/// Bundles of named files and directories, and the other files of these directories with the reasons.
type NamedBundles = (Vec<PathBuf>, Vec<(String, String)>);

/// Returns the named files and the bundles of the named directories, and the other files of these directories with the
/// reasons.
///
/// # Errors
/// Returns an error if a directory has no bundle, or is a copy of a log.
pub fn bundles_of(named: &[PathBuf]) -> CommandResult<NamedBundles> {
    let (mut paths, mut skipped) = (Vec::new(), Vec::new());
    for path in named {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let shown = PrintableText::file(path).to_string();
        if is_log(path) {
            let words = format!(
                "{shown} is a copy of a log and no directory with bundles: run `countersign audit {shown}`"
            );
            return fail_usage(words);
        }
        let before = paths.len();
        let found = FoundFiles::below(path);
        for (name, file) in found.files {
            match read_beginning(&file, MAX_BUNDLE_BYTES + 1) {
                Ok(bytes) if !looks_like_bundle(&name, &bytes) => {
                    let why = bundle_of(Path::new(&name), bytes).err();
                    skipped.push((
                        name,
                        why.map_or_else(|| "no bundle".to_owned(), |why| why.message),
                    ));
                }
                _ => paths.push(file),
            }
        }
        skipped.extend(found.skipped);
        if found.left_out > 0 {
            skipped.push((
                shown.clone(),
                format!("{} files are left out: name fewer at once", found.left_out),
            ));
        }
        if paths.len() == before {
            return fail_usage(format!(
                "the directory {shown} has no bundle: name another directory"
            ));
        }
    }
    Ok((paths, skipped))
}

/// Files of a directory and of the directories in it.
#[derive(Default)]
pub struct FoundFiles {
    /// Each file, with its path below the directory as its name.
    pub files: Vec<(String, PathBuf)>,
    /// Each path that is left out, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Number of files beyond the maximum.
    pub left_out: u64,
}

impl FoundFiles {
    /// Collects the files of a directory, in the order of their names.
    pub fn below(root: &Path) -> Self {
        let mut found = Self::default();
        found.find(root, root, 0);
        found.files.sort();
        found
    }

    fn skip(&mut self, name: &str, why: impl Into<String>) {
        self.skipped.push((name.to_owned(), why.into()));
    }

    fn find(&mut self, root: &Path, directory: &Path, depth: usize) {
        let below = |path: &Path| {
            path.strip_prefix(root)
                .unwrap_or(path)
                .to_string_lossy()
                .into_owned()
        };
        let unreadable = |error: std::io::Error| format!("the directory can't be read: {error}");
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.skip(&below(directory), unreadable(error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.skip(&below(directory), unreadable(error));
                    continue;
                }
            };
            let (path, kind) = (entry.path(), entry.file_type());
            let name = below(&path);
            match kind {
                Ok(kind) if kind.is_dir() && is_log(&path) => {
                    self.skip(
                        &name,
                        "a copy of a log: audit it alone, and name this directory",
                    );
                }
                Ok(kind) if kind.is_dir() && depth < MOST_DEEP => self.find(root, &path, depth + 1),
                Ok(kind) if kind.is_dir() => self.skip(&name, "the directory is too deep"),
                Ok(kind) if kind.is_file() && self.files.len() < MOST_FILES => {
                    self.files.push((name, path))
                }
                Ok(kind) if kind.is_file() => self.left_out += 1,
                Ok(_) => self.skip(&name, "a link, or no regular file"),
                Err(error) => self.skip(&name, error.to_string()),
            }
        }
    }
}
