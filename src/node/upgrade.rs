//! A store of version 0.1.0 is kept, and a new log begins that names it.
//!
//! What is kept, in the directory `0.1.0` of the private directory:
//! ```text
//! countersign.db   the old store
//! outputs/         its outputs that are files
//! checkpoint       the head of its log that the new log names
//! closed/          the logs that it follows
//! ```
//! Nothing of it is deleted, and this program reads no document in it: 0.1.0 audits it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::crypto::digest::SealDigest;
use crate::crypto::merkle;
use crate::crypto::note::{self, Note, NoteError};
use crate::node::config::Config;
use crate::node::kept::was_interrupted;
use crate::node::places::{CLOSED, DATABASE, OUTPUTS};
use crate::node::problem::{FileProblem, Problems};
use crate::node::{kept, places, restore, start};
use crate::record::checkpoint::{Checkpoint, origin};
use crate::record::seal::FollowedLog;
use crate::store::crash_points;
use crate::store::lock::StoreLock;
use crate::store::sqlite::old::{self, OldStore};
use crate::trust::signer::{FileSigner, Signer as _};

/// A log that follows the one of a store of 0.1.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// The new boundary's id.
    pub id: SealDigest,
    /// The log that it follows.
    pub follows: SealDigest,
    /// Entries of that log.
    pub entries: u64,
    /// The checkpoint of that log which the new log names.
    pub checkpoint: String,
    /// Whether the boundary's key signed that checkpoint.
    pub verified: bool,
    /// Where the old store is kept.
    pub kept: PathBuf,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Whether to go on if runs of the old log have no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenRuns {
    /// They stop the upgrade.
    Refused,
    /// They stay without a receipt.
    Accepted,
}

/// Keeps the boundary's store of version 0.1.0 in a directory of its own, and begins a new log that names its last checkpoint.
///
/// # Errors
/// When there is no such store, it is damaged or in use, runs are open in it, or a new log can't begin. Nothing was moved then.
pub fn upgrade(config: &Config, open_runs: OpenRuns) -> Result<Upgraded, Problems> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let at = |path: &Path, error: &dyn std::fmt::Display| Problems::from(FileProblem::whole(path, error.to_string()));
    start::check_clock(config)?;
    let key = restore::open_key(config)?;
    let lock = StoreLock::alone(&config.database).map_err(|fault| at(&config.database, &fault))?;
    let kept = config.old_store();
    let database = kept.join(DATABASE);
    let source = match config.database.exists() {
        true => &config.database,
        false if was_interrupted(config) => &database,
        false => {
            let known = kept::read(&config.kept_checkpoint());
            let nothing = |_| "there is no store, so there is nothing to upgrade".to_owned();
            return Err(at(&config.database, &known.map_or_else(nothing, |(_, known)| kept::lost(&known))));
        }
    };
    let store = old::read(source).map_err(|fault| at(source, &fault))?;
    if *source != database && database.exists() {
        let message =
            "a store is kept here already: move this directory away, then run `countersign store upgrade` again";
        return Err(at(&kept, &message));
    }
    let mut notes = Vec::new();
    match (store.open_runs, open_runs) {
        (0, _) => {}
        (open, OpenRuns::Accepted) => notes.push(format!("runs of the old log without a receipt: {open}")),
        (open, OpenRuns::Refused) => {
            let message = format!(
                "runs without a receipt: {open}. Start and stop the boundary once with the program of 0.1.0, which writes \
                 the receipts; without that program, `--accept-open-runs` leaves these runs without a receipt"
            );
            return Err(at(source, &message));
        }
    }
    let head = last_head(config, &key, &store)?;
    if !head.verified {
        notes.push(format!(
            "the signature of the old log's last checkpoint was not verified: the key in {} did not sign this checkpoint",
            config.key.display()
        ));
    }
    // The new log, out of sight until it is whole. A crash up to here leaves the old store as it was.
    let clear = || places::clear(&config.database).map_err(|error| at(&places::beside(&config.database, ""), &error));
    clear()?;
    let begun = begin(config, &store, &head);
    if begun.is_err() {
        let _ = clear();
    }
    let (id, new_head) = begun?;
    // From here on a crash leaves the old store in one of its two places, and `upgrade` again finds it there.
    places::private_directory(&kept).map_err(|error| at(&kept, &error))?;
    kept::replace(&kept.join(kept::FILE), head.note.as_bytes()).map_err(|error| at(&kept, &error))?;
    if *source != database {
        old::settle(source).map_err(|fault| at(source, &fault))?;
        places::clear_logs(source)?;
        move_to(source, &database)?;
        places::sync(source.parent().unwrap_or(Path::new("/"))).map_err(|error| at(source, &error))?;
        places::sync(&kept).map_err(|error| at(&kept, &error))?;
    }
    crash_points::point("upgrade-old-store-kept");
    for (from, name) in [(config.outputs(), OUTPUTS), (config.closed(), CLOSED)] {
        move_to(&from, &kept.join(name))?;
    }
    places::sync(&kept).and_then(|()| places::sync(&config.data)).map_err(|error| at(&kept, &error))?;
    crash_points::point("upgrade-old-outputs-kept");
    places::put_in_place(&config.database).map_err(|error| at(&config.database, &error))?;
    crash_points::point("upgrade-new-log-in-place");
    // From here on the boundary is the new one. A crash leaves the old checkpoint, which names the log that is followed.
    kept::replace(&config.kept_checkpoint(), new_head.as_bytes()).map_err(|error| at(&config.data, &error))?;
    drop(lock);
    let Head { note: checkpoint, verified } = head;
    let entries = store.leaves.len() as u64;
    Ok(Upgraded { id, follows: store.id, entries, checkpoint, verified, kept, notes })
}

/// Begins the new log beside its place.
fn begin(config: &Config, store: &OldStore, head: &Head) -> Result<(SealDigest, String), Problems> {
    let fresh = places::beside(&config.database, "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| FileProblem::whole(&fresh, error.to_string()))?;
    let followed = FollowedLog { id: store.id, checkpoint: head.note.clone() };
    // Not before the old log's last entry, whatever the clock says.
    let begun = runtime.block_on(start::begin_after(config, &fresh, followed, store.last_at))?;
    places::settle(&config.database)?;
    Ok(begun)
}

/// The checkpoint that the new log names.
struct Head {
    note: String,
    verified: bool,
}

/// The largest checkpoint that is known of the old log. The log must contain each checkpoint that is known of it.
fn last_head(config: &Config, key: &FileSigner, store: &OldStore) -> Result<Head, Problems> {
    let origin = origin(&config.name, &store.id);
    let entries = store.leaves.len() as u64;
    let own = config.kept_checkpoint();
    let mut found = Vec::new();
    if let Some(note) = &store.checkpoint {
        found.push((config.database.clone(), kept::parse(note)));
    }
    let beside = Some(config.old_store().join(kept::FILE)).filter(|path| path.exists());
    for path in kept::known(config).into_iter().chain(beside) {
        let read = kept::read(&path);
        found.push((path, read));
    }
    let mut best: Option<(PathBuf, Note, Checkpoint)> = None;
    for (path, read) in found {
        let problem = |message: String| Problems::from(FileProblem::whole(&path, message));
        let (note, known) = read.map_err(problem)?;
        if known.origin != origin {
            // A mirror of another log says nothing about this one.
            if path != own && path != config.database {
                continue;
            }
            let message = format!(
                "it is a checkpoint of the log {}, and the old store's log is {origin}: put the store and the checkpoint \
                 of one boundary here; nothing was changed",
                known.origin
            );
            return Err(problem(message));
        }
        if known.size > entries {
            let message = format!(
                "it is a checkpoint of {} entries, and the old store has {entries}: put the newest copy of that store in \
                 its place; nothing was changed",
                known.size
            );
            return Err(problem(message));
        }
        let leaves = usize::try_from(known.size).ok().and_then(|size| store.leaves.get(..size)).unwrap_or_default();
        if merkle::root(leaves) != known.root {
            let message = format!(
                "it is a checkpoint of {} entries of another log than the one in the old store: the store was changed by \
                 hand, or the checkpoint is false; nothing was changed",
                known.size
            );
            return Err(problem(message));
        }
        if best.as_ref().is_none_or(|(_, _, best)| known.size > best.size) {
            best = Some((path, note, known));
        }
    }
    let Some((path, note, known)) = best else {
        let message = "there is no checkpoint of the old log: put the file `checkpoint` back that lay beside the store";
        return Err(FileProblem::whole(&own, message).into());
    };
    match note::verify_note(&note, &origin, key.key().public()) {
        Ok(_) if known.size == entries => Ok(Head { note: note.to_string(), verified: true }),
        // The process was killed: the last entries have no checkpoint yet.
        Ok(_) => sign(config, key, Checkpoint { origin, size: entries, root: merkle::root(&store.leaves) }),
        Err(NoteError::NotSignedBy(_)) => Ok(Head { note: note.to_string(), verified: false }),
        Err(error) => {
            let message =
                format!("its signature by this boundary's key does not hold ({error}): put the right file back");
            Err(FileProblem::whole(&path, message).into())
        }
    }
}

fn sign(config: &Config, key: &FileSigner, head: Checkpoint) -> Result<Head, Problems> {
    let sign = |text: &[u8]| Ok::<_, std::convert::Infallible>(key.secret().sign(text));
    let note = note::sign_note(&head.body(), &head.origin, key.key().public(), sign)
        .map_err(|error| FileProblem::whole(&config.key, error.to_string()))?;
    Ok(Head { note: note.to_string(), verified: true })
}

/// Moves what is there to a place where nothing is yet.
fn move_to(from: &Path, to: &Path) -> Result<(), FileProblem> {
    let by_hand = |error: &dyn std::fmt::Display| {
        let message = format!(
            "can't be moved to {} ({error}): move it by hand, then run `countersign store upgrade` again",
            to.display()
        );
        FileProblem::whole(from, message)
    };
    if !from.exists() {
        return Ok(());
    }
    if to.exists() {
        // An upgrade that was interrupted moved the directory, and made a new one.
        let is_empty = fs::read_dir(from).is_ok_and(|mut entries| entries.next().is_none());
        return if is_empty { Ok(()) } else { Err(by_hand(&"something is there already")) };
    }
    fs::rename(from, to).map_err(|error| by_hand(&error))
}
