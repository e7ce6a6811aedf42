//! Upgrade of a store of version 0.1.0. The old store is kept, and a new log that names the old log begins.
//!
//! The directory `0.1.0` in the private directory contains the old data:
//!
//! ```text
//! countersign.db   the old store
//! outputs/         outputs that are files
//! checkpoint       checkpoint of the old log that the new log names
//! closed/          earlier logs
//! ```
//!
//! The upgrade deletes no old file. This program cannot read the old documents, so an audit of the old log needs
//! version 0.1.0.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::crypto::digest::SealDigest;
use crate::crypto::merkle;
use crate::crypto::note::{self, Note, NoteError};
use crate::node::config::Config;
use crate::node::file_problem::{FileProblem, Problems};
use crate::node::kept_checkpoint::was_interrupted;
use crate::node::places::{CLOSED, DATABASE, OUTPUTS};
use crate::node::{kept_checkpoint, places, restore, start};
use crate::record::checkpoint::{Checkpoint, origin};
use crate::record::seal::FollowedLog;
use crate::store::crash_points;
use crate::store::lock::StoreLock;
use crate::store::sqlite::old::{self, OldStore};
use crate::trust::signer::{FileSigner, Signer as _};

/// Result of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// Id of the new boundary.
    pub id: SealDigest,
    /// Id of the old boundary.
    pub follows: SealDigest,
    /// Number of entries in the old log.
    pub entries: u64,
    /// Checkpoint of the old log that the new log names.
    pub checkpoint: String,
    /// True if the boundary's key signed this checkpoint.
    pub verified: bool,
    /// Directory of the old store.
    pub kept: PathBuf,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

/// Treatment of runs in the old log that have no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenRuns {
    /// Stop the upgrade.
    Refused,
    /// Continue the upgrade. The runs get no receipt.
    Accepted,
}

/// Moves the store of version 0.1.0 into its own directory, and begins a new log that names the last checkpoint of the
/// old log.
///
/// # Errors
/// Returns an error if the store is missing, damaged or in use, if runs have no receipt, or if a new log cannot begin.
/// After an error, nothing is moved.
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
            let known = kept_checkpoint::read(&config.kept_checkpoint());
            let nothing = |_| "there is no store, so there is nothing to upgrade".to_owned();
            return Err(at(
                &config.database,
                &known.map_or_else(nothing, |(_, known)| kept_checkpoint::lost(&known, &config.kept_checkpoint())),
            ));
        }
    };
    let store = old::read(source).map_err(|fault| at(source, &fault))?;
    if *source != database && database.exists() {
        let message = "this directory already contains an old store: move the directory away, then run `countersign store \
             upgrade` again";
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
    // The new log is built under a temporary name. After a crash before the directory `kept` is created, the old store
    // is unchanged.
    let clear = || places::clear(&config.database).map_err(|error| at(&places::beside(&config.database, ""), &error));
    clear()?;
    let begun = begin(config, &store, &head);
    if begun.is_err() {
        let _ = clear();
    }
    let (id, new_head) = begun?;
    // After a crash from here on, the old store is at its old path or in the directory `0.1.0`. A repeated `upgrade`
    // looks at both paths.
    places::private_directory(&kept).map_err(|error| at(&kept, &error))?;
    kept_checkpoint::replace(&kept.join(kept_checkpoint::FILE), head.note.as_bytes())
        .map_err(|error| at(&kept, &error))?;
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
    // The new boundary is now in force. After a crash at this point, the checkpoint file still contains a checkpoint of
    // the old log. The next start accepts this checkpoint, because the new log names the old log.
    kept_checkpoint::replace(&config.kept_checkpoint(), new_head.as_bytes())
        .map_err(|error| at(&config.data, &error))?;
    drop(lock);
    let Head { note: checkpoint, verified } = head;
    let entries = store.leaves.len() as u64;
    Ok(Upgraded { id, follows: store.id, entries, checkpoint, verified, kept, notes })
}

/// Creates the new log next to its final path.
fn begin(config: &Config, store: &OldStore, head: &Head) -> Result<(SealDigest, String), Problems> {
    let fresh = places::beside(&config.database, "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| FileProblem::whole(&fresh, error.to_string()))?;
    let followed = FollowedLog { id: store.id, checkpoint: head.note.clone() };
    // The first entry of the new log must not be older than the old log's last entry, even if the clock was set back.
    let begun = runtime.block_on(start::begin_after(config, &fresh, followed, store.last_at))?;
    places::settle(&config.database)?;
    Ok(begun)
}

struct Head {
    note: String,
    verified: bool,
}

/// Returns the newest known checkpoint of the old log. The old log must agree with all known checkpoints.
fn last_head(config: &Config, key: &FileSigner, store: &OldStore) -> Result<Head, Problems> {
    let origin = origin(&config.name, &store.id);
    let entries = store.leaves.len() as u64;
    let own = config.kept_checkpoint();
    let mut found = Vec::new();
    if let Some(note) = &store.checkpoint {
        found.push((config.database.clone(), kept_checkpoint::parse(note)));
    }
    let beside = Some(config.old_store().join(kept_checkpoint::FILE)).filter(|path| path.exists());
    for path in kept_checkpoint::known(config).into_iter().chain(beside) {
        let read = kept_checkpoint::read(&path);
        found.push((path, read));
    }
    let mut best: Option<(PathBuf, Note, Checkpoint)> = None;
    for (path, read) in found {
        let problem = |message: String| Problems::from(FileProblem::whole(&path, message));
        let (note, known) = read.map_err(problem)?;
        if known.origin != origin {
            // This configured checkpoint belongs to another log, so it says nothing about the old log.
            if path != own && path != config.database {
                continue;
            }
            let message = format!(
                "the file is a checkpoint of the log {}, but the old store's log is {origin}: put the store and the \
                 checkpoint of one boundary here; nothing was changed",
                known.origin
            );
            return Err(problem(message));
        }
        if known.size > entries {
            let message = format!(
                "the file is a checkpoint of {} entries, but the old store has only {entries}: replace the store by \
                 its newest copy; nothing was changed",
                known.size
            );
            return Err(problem(message));
        }
        let leaves = usize::try_from(known.size).ok().and_then(|size| store.leaves.get(..size)).unwrap_or_default();
        if merkle::root(leaves) != known.root {
            let message = format!(
                "the file is a checkpoint of {} entries of another log than the log in the old store: the store was \
                 changed by hand, or the checkpoint is false; nothing was changed",
                known.size
            );
            return Err(problem(message));
        }
        if best.as_ref().is_none_or(|(_, _, best)| known.size > best.size) {
            best = Some((path, note, known));
        }
    }
    let Some((path, note, known)) = best else {
        let message = "there is no checkpoint of the old log: restore the file `checkpoint` that was next to the \
            store";
        return Err(FileProblem::whole(&own, message).into());
    };
    match note::verify_note(&note, &origin, key.key().public()) {
        Ok(_) if known.size == entries => Ok(Head { note: note.to_string(), verified: true }),
        // The old process was killed before it signed a checkpoint over the last entries.
        Ok(_) => sign(config, key, Checkpoint { origin, size: entries, root: merkle::root(&store.leaves) }),
        Err(NoteError::NotSignedBy(_)) => Ok(Head { note: note.to_string(), verified: false }),
        Err(error) => {
            let message =
                format!("the signature of this boundary's key is not valid ({error}): restore the right file");
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

/// Moves a file or a directory to a path that must not exist yet. A missing source is no error.
fn move_to(from: &Path, to: &Path) -> Result<(), FileProblem> {
    let by_hand = |error: &dyn std::fmt::Display| {
        let message = format!(
            "this path can't be moved to {} ({error}): move the path by hand, then run `countersign store upgrade` \
             again",
            to.display()
        );
        FileProblem::whole(from, message)
    };
    if !from.exists() {
        return Ok(());
    }
    if to.exists() {
        // An interrupted upgrade has already moved the directory, and the source is a new empty directory.
        let is_empty = fs::read_dir(from).is_ok_and(|mut entries| entries.next().is_none());
        return if is_empty { Ok(()) } else { Err(by_hand(&"something is there already")) };
    }
    fs::rename(from, to).map_err(|error| by_hand(&error))
}
