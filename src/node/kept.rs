//! The last checkpoint that this boundary signed, kept beside the store: a store that is behind it is not served.
//!
//! The file is written at most once a second, by the by, and once more at the end: a run never waits for it. What was
//! signed in the last second before a crash may therefore be missing; the file is then older, never wrong.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::crypto::json;
use crate::crypto::note::{self, Note};
use crate::crypto::sshsig::SshKey;
use crate::node::config::Config;
use crate::node::places;
use crate::node::places::DATABASE;
use crate::node::problem::{FileProblem, Problems};
use crate::record::checkpoint::{Checkpoint, origin};
use crate::record::document::Statement;
use crate::record::envelope::{Base64, Envelope};
use crate::record::seal::{FollowedLog, Genesis, Seal};
use crate::store::ledger::Ledger;

/// How often the file is written at most.
const EVERY: Duration = Duration::from_secs(1);
/// The largest file that is read as a checkpoint.
const MAX_BYTES: u64 = 64 << 10;
/// How the name of one begins that is on its way into its place.
const TEMPORARY: &str = ".checkpoint-";
/// The name of a checkpoint's file in a directory of `log export`, and in a backup.
pub const FILE: &str = "checkpoint";

/// Compares the log with every checkpoint that is known of it; gives what an operator should know.
///
/// # Errors
/// For each one that the log does not contain: the store was put back from an older copy, or is another one.
pub fn check(config: &Config, ledger: &Ledger, key: &SshKey) -> Result<Vec<String>, Problems> {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    for path in known(config) {
        let found = read(&path);
        match look(&path, found, ledger, key, &earlier(config, ledger)) {
            Ok(note) => notes.extend(note),
            Err(message) => problems.push(FileProblem::whole(&path, message)),
        }
    }
    if problems.is_empty() { Ok(notes) } else { Err(Problems::new(problems)) }
}

/// The files that a checkpoint is expected in: our own where there is one, and those that the configuration names.
#[must_use]
pub fn known(config: &Config) -> Vec<PathBuf> {
    let own = Some(config.kept_checkpoint()).filter(|path| path.exists());
    let named = config.known_checkpoints.iter();
    own.into_iter().chain(named.map(|path| if path.is_dir() { path.join(FILE) } else { path.clone() })).collect()
}

/// Compares the log with the checkpoint that was read from a file; gives what is worth a word. The file is read before
/// the log: that may have grown since.
///
/// # Errors
/// In words: the log does not contain it, or it can't be read.
pub fn look(
    path: &Path,
    found: Result<(Note, Checkpoint), String>,
    ledger: &Ledger,
    key: &SshKey,
    earlier: &[String],
) -> Result<Option<String>, String> {
    let (note, known) = found?;
    // Nobody's signature is needed to be careful: a false one keeps the service from starting, and is named.
    let whose = match note::verify_note(&note, &known.origin, key.public()) {
        Ok(_) => "this boundary signed",
        Err(_) => "is said to be of this boundary, although its key in use did not sign it,",
    };
    let entries = ledger.state().size;
    let ours = ledger.origin();
    if ours.as_ref() != Some(&known.origin) {
        if earlier.contains(&known.origin) {
            let size = known.size;
            return Ok(Some(format!("{} is of a log that this one follows, at {size} entries", path.display())));
        }
        let ours = ours.unwrap_or_else(|| "empty".to_owned());
        return Err(format!(
            "it is a checkpoint of the log {}, and the store's log is {ours}: put the right store back, or restore a backup \
             with `countersign store restore BACKUP`; to begin a new log on purpose, move this file away",
            known.origin
        ));
    }
    match ledger.root_at(known.size) {
        Ok(Some(root)) if root == known.root => Ok(None),
        Ok(found) => {
            let what = if found.is_none() {
                format!("the store has {entries}: it is an older copy")
            } else {
                format!("the store's log of {entries} is another one from there on")
            };
            Err(format!(
                "{whose} a checkpoint of {} entries, and {what}. It is not served: spent nonces could be spent again, and two \
                 histories would bear one name. Put the newest store back; where there is none, `countersign store restore \
                 BACKUP` begins a new log that names this one",
                known.size
            ))
        }
        Err(fault) => Err(fault.to_string()),
    }
}

/// What to say where a store is missing of which there was a checkpoint.
#[must_use]
pub fn lost(known: &Checkpoint) -> String {
    format!(
        "there is no store, and this boundary signed a checkpoint of {} entries of the log {}: put the newest store back, or \
         begin a log that follows it with `countersign store restore BACKUP`; to begin one that follows none, move \
         the file `{FILE}` away",
        known.size, known.origin
    )
}

/// A checkpoint's file, parsed and not verified.
///
/// # Errors
/// In words: it can't be read, or is no checkpoint.
pub fn read(path: &Path) -> Result<(Note, Checkpoint), String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|error| {
        format!("the checkpoint can't be read ({error}): name a checkpoint's file, or a directory with one")
    })?;
    parse(&text)
}

/// A checkpoint's text, parsed and not verified.
///
/// # Errors
/// In words: it is no checkpoint.
pub fn parse(text: &str) -> Result<(Note, Checkpoint), String> {
    let odd = |error: &dyn std::fmt::Display| {
        format!("it is no checkpoint ({error}): look what wrote it, and move it away if it was nobody")
    };
    let note = Note::parse(text).map_err(|error| odd(&error))?;
    let checkpoint = Checkpoint::parse(note.unverified_text()).map_err(|error| odd(&error))?;
    Ok((note, checkpoint))
}

/// The origins of the logs that this one follows: those that restores have closed, and the one that its first entry names.
#[must_use]
pub fn earlier(config: &Config, ledger: &Ledger) -> Vec<String> {
    let closed = places::closed(config);
    let names = closed.iter().filter_map(|path| path.file_name()?.to_str());
    let mut origins: Vec<String> = names.map(|name| format!("{}/{name}", config.name)).collect();
    origins.extend(followed(ledger).map(|followed| origin(&config.name, &followed.id)));
    origins
}

fn followed(ledger: &Ledger) -> Option<FollowedLog> {
    let leaf = ledger.leaf(0).ok()??;
    let envelope: Envelope = json::parse_as(&leaf.data, leaf.data.len()).ok()?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload).ok()?;
    match Statement::<Seal>::from_payload(&payload).ok()?.predicate.genesis? {
        Genesis::Follows { follows } => Some(follows),
        Genesis::New(_) => None,
    }
}

/// Keeps the log's head as it grows, until the task is dropped.
pub async fn keep(ledger: Ledger, path: PathBuf) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut kept = 0;
    let mut told = String::new();
    loop {
        every.tick().await;
        let size = ledger.state().size;
        if size == kept {
            continue;
        }
        let (ledger, path) = (ledger.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || write(&ledger, &path)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => kept = size,
            // Tried again every second; told once.
            Err(error) if error.to_string() != told => {
                tracing::error!("the last checkpoint is not kept: {error}");
                told = error.to_string();
            }
            Err(_) => {}
        }
    }
}

/// Writes the log's head: durable, and whole whenever somebody looks.
///
/// # Errors
/// When the log can't be read or the file can't be written.
pub fn write(ledger: &Ledger, path: &Path) -> io::Result<()> {
    let Some(head) = ledger.checkpoint().map_err(io::Error::other)? else { return Ok(()) };
    replace(path, head.note.as_bytes())
}

/// Removes what a crash left of a checkpoint on its way into its place.
///
/// # Errors
/// When the directory can't be read.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Replaces a small file: durable, and whole whenever somebody looks. A crash leaves the old one or the new one.
///
/// # Errors
/// When it can't be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// Whether an upgrade has moved the old store away, and the new one is not in place.
#[must_use]
pub fn was_interrupted(config: &Config) -> bool {
    let kept = config.old_store();
    if config.database.exists() || !kept.join(DATABASE).exists() {
        return false;
    }
    // A store that was lost after an upgrade left a checkpoint of another log.
    match (read(&config.kept_checkpoint()), read(&kept.join(FILE))) {
        (Ok((_, last)), Ok((_, old))) => last.origin == old.origin,
        _ => true,
    }
}
