//! File outside the store with the last checkpoint that this boundary signed. A start of the service refuses a store
//! that is older than this checkpoint.
//!
//! The service writes the file at most once per second and at its end, so no run waits for the write. After a crash,
//! the file may lack the checkpoints of the last second. The checkpoint in the file may be older than the log, but it
//! is always a checkpoint of the log.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use crate::{
    Config, InFile as _,
    node::{places, private, watchdog::every},
};
use documents::{Checkpoint, FollowedLog, Genesis, Note, Seal, SshKey, locked, note, origin};
use reading::{FileProblem, Problems};
use store::{CheckpointRow, Ledger, opened, replace};

const EVERY: Duration = Duration::from_secs(1);
/// Maximum size of a checkpoint file in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Name of the checkpoint file in a backup and in a directory of `log export`.
pub const FILE: &str = "checkpoint";

/// Compares the log with every known checkpoint. Returns notes for the operator.
///
/// # Errors
/// Returns an error for each checkpoint that the log does not contain. The store is then an old copy, or the store of
/// another boundary.
pub fn check(config: &Config, ledger: &Ledger, key: &SshKey) -> Result<Vec<String>, Problems> {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    for (_, compared) in compare(config, read_known(config), ledger, key) {
        match compared {
            Ok(note) => notes.extend(note),
            Err(problem) => {
                // A database server that lacks entries can get them back. A store in a file can't.
                let can_pass = config.database.file().is_none() && problem.can_pass;
                problems.push(FileProblem {
                    can_pass,
                    ..problem
                });
            }
        }
    }
    if problems.is_empty() {
        Ok(notes)
    } else {
        Err(Problems::new(problems))
    }
}

/// A known checkpoint file with its content, or with the reason why it can't be read.
pub type KnownCheckpoint = (PathBuf, Result<(Note, Checkpoint), String>);

/// A known checkpoint file with the result of [`look`].
pub type ComparedCheckpoint = (PathBuf, Result<Option<String>, FileProblem>);

/// Reads all known checkpoint files.
pub fn read_known(config: &Config) -> Vec<KnownCheckpoint> {
    known(config)
        .into_iter()
        .map(|path| (path.clone(), read(&path)))
        .collect()
}

/// Compares the log with all known checkpoints, which the caller must read before the log.
pub fn compare(
    config: &Config,
    known: Vec<KnownCheckpoint>,
    ledger: &Ledger,
    key: &SshKey,
) -> Vec<ComparedCheckpoint> {
    let earlier = earlier(config, ledger);
    let compared = |(path, found): KnownCheckpoint| {
        let result = look(&path, found, ledger, key, &earlier);
        (path, result)
    };
    known.into_iter().map(compared).collect()
}

/// Returns true if the file is outside the private directory of the service. A file in this directory is lost or replaced
/// together with the store, so it proves nothing about the age of the store.
pub fn is_from_another_place(config: &Config, path: &Path) -> bool {
    !private::real(path).starts_with(private::real(&config.data))
}

/// Returns the paths of the known checkpoint files: the boundary's own file if it exists, and the paths in the
/// configuration.
pub fn known(config: &Config) -> Vec<PathBuf> {
    let own = Some(config.kept_checkpoint()).filter(|path| path.exists());
    let named = config.known_checkpoints.iter();
    own.into_iter()
        .chain(named.map(|path| {
            if path.is_dir() {
                path.join(FILE)
            } else {
                path.clone()
            }
        }))
        .collect()
}

/// Compares the log with a checkpoint. Returns a note for the operator if the checkpoint belongs to an earlier log of
/// this boundary. The caller must read the checkpoint file before the log, because the log may grow between the two
/// reads.
///
/// # Errors
/// Returns a problem if the log does not contain the checkpoint, or if the checkpoint file is unreadable. The problem can
/// pass if the log only lacks entries.
fn look(
    path: &Path,
    found: Result<(Note, Checkpoint), String>,
    ledger: &Ledger,
    key: &SshKey,
    earlier: &[String],
) -> Result<Option<String>, FileProblem> {
    let (note, known) = found.at(path)?;
    // A checkpoint without a valid signature also stops the start, because the store may be an old copy.
    let whose = match note::verify_note(&note, &known.origin, key.public()) {
        Ok(_) => "this boundary signed",
        Err(_) => "without a signature of this boundary's current key, the file contains",
    };
    let entries = ledger.state().size;
    let ours = ledger.origin();
    if ours.as_ref() != Some(&known.origin) {
        if earlier.contains(&known.origin) {
            let size = known.size;
            return Ok(Some(format!(
                "{} is a checkpoint of an earlier log of this boundary, at {size} entries, so this log was not \
                 compared with the checkpoint",
                path.display()
            )));
        }
        let ours = ours.unwrap_or_else(|| "empty".to_owned());
        let why = format!(
            "the file is a checkpoint of the log {}, but the store's log is {ours}: put the right store back, or \
             restore a backup with `countersign store restore BACKUP`; to begin a new log on purpose, move this \
             file away",
            known.origin
        );
        return Err(why).at(path);
    }
    match ledger.root_at(known.size).at(path)? {
        Some(root) if root == known.root => Ok(None),
        found => {
            let what = match found {
                None => format!("the store has only {entries}: the store is an older copy"),
                Some(_) => format!(
                    "the first entries of the store's log of {entries} differ from the checkpoint"
                ),
            };
            let why = format!(
                "{whose} a checkpoint of {} entries, but {what}. The boundary does not serve this store, because \
                 spent nonces could be spent again and two logs would have the same name. Put the newest store \
                 back; if the newest store is lost, `countersign store restore BACKUP` begins a new log that names \
                 this log",
                known.size
            );
            Err(FileProblem {
                can_pass: found.is_none(),
                ..FileProblem::whole(path, why)
            })
        }
    }
}

/// Returns the error message for a missing store whose checkpoint `file` still exists.
pub fn lost(known: &Checkpoint, file: &Path) -> String {
    format!(
        "there is no store, but this boundary signed a checkpoint of {} entries of the log {}: put the newest store \
         back, or begin a new log that names this log with `countersign store restore BACKUP`; to begin a log that \
         names no earlier log, move the file {} away",
        known.size,
        known.origin,
        file.display()
    )
}

/// Reads and parses a checkpoint file. Signatures are not verified.
///
/// # Errors
/// Returns a message if the file is unreadable or contains no checkpoint.
pub fn read(path: &Path) -> Result<(Note, Checkpoint), String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|error| {
        format!("the checkpoint can't be read ({error}): name a checkpoint's file, or a directory with one")
    })?;
    parse(&text)
}

/// Reads the file of a checkpoint as a row of the store. Signatures are not verified.
///
/// # Errors
/// Returns a message if the file is no checkpoint.
pub fn row(path: &Path) -> Result<CheckpointRow, String> {
    let (note, known) = read(path)?;
    Ok(CheckpointRow {
        size: known.size,
        root: known.root,
        note: note.to_string(),
    })
}

/// Parses a checkpoint. Signatures are not verified.
///
/// # Errors
/// Returns a message if the text is no checkpoint.
pub fn parse(text: &str) -> Result<(Note, Checkpoint), String> {
    let read = || {
        let note = Note::parse(text)?;
        let checkpoint = Checkpoint::parse(note.unverified_text())?;
        Ok((note, checkpoint))
    };
    read().map_err(|error: Box<dyn Error>| {
        format!(
            "the file is no checkpoint ({error}): replace the file with the checkpoint (`countersign log checkpoint` \
             prints the present one), or move it away and remove its name from `known_checkpoints`"
        )
    })
}

/// Returns the origins of the earlier logs: the logs that a restore closed, and the log that the first entry of the
/// current log names.
pub fn earlier(config: &Config, ledger: &Ledger) -> Vec<String> {
    let closed = places::closed(config);
    let names = closed.iter().filter_map(|path| path.file_name()?.to_str());
    let mut origins: Vec<String> = names
        .map(|name| format!("{}/{name}", config.name))
        .collect();
    origins.extend(followed(ledger).map(|followed| origin(&config.name, &followed.id)));
    origins
}

fn followed(ledger: &Ledger) -> Option<FollowedLog> {
    let leaf = ledger.leaf(0).ok()??;
    let (_, statement) = opened::<Seal>(&leaf.data).ok()?;
    match statement.predicate.genesis? {
        Genesis::Follows { follows } => Some(follows),
        Genesis::New(_) => None,
    }
}

/// Writes each new checkpoint of the log to the file until the task is dropped. If the log does not grow for a second,
/// the checkpoint is recorded in the store too, because a node with another key can wait for this checkpoint.
pub async fn keep(ledger: Ledger, path: PathBuf) {
    let mut every = every(EVERY);
    let (mut kept, mut recorded) = (0, 0);
    let mut told = String::new();
    loop {
        every.tick().await;
        let size = ledger.state().size;
        if size == kept {
            ledger.metrics().checkpoint_is_current();
            if recorded != kept && ledger.ping().await.is_ok() {
                recorded = kept;
            }
            continue;
        }
        let (log, path) = (ledger.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || write(&log, &path)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                kept = size;
                ledger.metrics().checkpoint_is_current();
            }
            // The write is repeated every second, but each error is logged only once.
            Err(error) if error.to_string() != told => {
                tracing::error!("the last checkpoint can't be written: {error}");
                told = error.to_string();
            }
            Err(_) => {}
        }
    }
}

/// Writes the newest checkpoint of the log to the file. The write is atomic and durable.
///
/// # Errors
/// Returns an error if the log cannot be read or the file cannot be written.
pub fn write(ledger: &Ledger, path: &Path) -> io::Result<()> {
    let head = ledger.checkpoint().map_err(io::Error::other)?;
    head.map_or(Ok(()), |head| keep_newer(path, &head))
}

/// Replaces the checkpoint in the file, unless this process has written a newer checkpoint of the same log.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn keep_newer(path: &Path, row: &CheckpointRow) -> io::Result<()> {
    /// Size of the newest checkpoint by file and origin.
    static WRITTEN: Mutex<BTreeMap<(PathBuf, String), u64>> = Mutex::new(BTreeMap::new());
    let origin = row.note.lines().next().unwrap_or_default().to_owned();
    let mut written = locked(&WRITTEN);
    let newest = written.entry((path.to_owned(), origin)).or_default();
    if row.size > *newest || !path.exists() {
        replace(path, row.note.as_bytes())?;
        *newest = row.size;
    }
    Ok(())
}
