//! Backups: made of a living store, and put back as a new log that names the old one.
//!
//! A backup, and a log that a restore has closed, is a directory of one form:
//! ```text
//! countersign.db   the store at one moment
//! outputs/         its outputs that are files
//! checkpoint       its log's head, signed
//! closed/          the logs that it follows, each a directory like this
//! ```
//! Key, roster, policy, configuration and runbooks are not in it: they are the operator's files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::boundary::sealing::{material_of, tokens_in_force, write_seal};
use crate::crossing::boundary_key::BoundaryKey;
use crate::crossing::sealed::SealPredecessor;
use crate::crypto::digest::SealDigest;
use crate::node::config::Config;
use crate::node::places::{
    CLOSED, DATABASE, OUTPUTS, beside, clear, clear_logs, directories, private_directory, put_in_place, settle, sync,
    workplace,
};
use crate::node::problem::{FileProblem, Problems};
use crate::node::{kept, start};
use crate::record::ident::Epoch;
use crate::record::seal::{FollowedLog, Genesis};
use crate::store::care::{StoreDefect, StoreScope, StoreSurvey};
use crate::store::fault::StoreFault;
use crate::store::ledger::Ledger;
use crate::store::lock::StoreLock;
use crate::store::sqlite::{self, backup, survey};
use crate::store::{CheckpointRow, crash_points};
use crate::trust::signer::{FileSigner, Signer as _};

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeBackup {
    /// Where it is.
    pub backup: PathBuf,
    /// The boundary whose log it has.
    pub id: SealDigest,
    /// Entries in its log.
    pub entries: u64,
    /// Its bytes on the disk.
    pub bytes: u64,
    /// Outputs that are files.
    pub outputs: usize,
    /// The log's head, signed.
    pub checkpoint: String,
}

/// A log that a restore began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredLog {
    /// The new boundary's id.
    pub id: SealDigest,
    /// The log that it follows.
    pub follows: SealDigest,
    /// Entries of that log in the backup.
    pub entries: u64,
    /// The last checkpoint that is known of that log.
    pub checkpoint: String,
    /// Entries that the last known checkpoint says there were, and the backup has not.
    pub lost: u64,
    /// Tokens that are valid still.
    pub tokens: usize,
    /// Where the old log is kept.
    pub closed: PathBuf,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Copies the store as it is at one moment, of a boundary that serves too: it reads beside the service, which goes on.
///
/// # Errors
/// When `into` exists or can't be written, or the store can't be read.
pub fn back_up(config: &Config, into: &Path) -> Result<MadeBackup, Problems> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let into = std::path::absolute(into).unwrap_or_else(|_| into.to_owned());
    let at = |error: &dyn std::fmt::Display| Problems::from(FileProblem::whole(&into, error.to_string()));
    let key = open_key(config)?;
    if into.exists() {
        return Err(at(&"it is there already: name a new directory, a backup is never written over another"));
    }
    let parent = into.parent().unwrap_or(Path::new("/"));
    let real = parent.canonicalize().map_err(|error| at(&format!("its directory can't be used ({error}): make it")))?;
    if config.runbooks.iter().filter_map(|path| path.canonicalize().ok()).any(|path| real.starts_with(path)) {
        return Err(at(&"a backup is private, and this lies in a runbook directory: name another place"));
    }
    // Written beside and renamed when it is whole: what bears the name is a backup.
    let work = tempfile::Builder::new()
        .prefix(".countersign-backup-")
        .tempdir_in(parent)
        .map_err(|error| at(&format!("can't be written ({error})")))?;
    private_directory(&work.path().join(OUTPUTS)).map_err(|error| at(&error))?;
    let database = work.path().join(DATABASE);
    backup::copy(&config.database, &database)
        .map_err(|fault| FileProblem::whole(&config.database, fault.to_string()))?;
    let broken = |fault: StoreFault| at(&fault);
    let names = backup::files(&database).map_err(broken)?;
    let mut gone = Vec::new();
    for name in &names {
        let hex = name.hex();
        let place = Path::new(&hex[..2]).join(&hex);
        match copy_file(&config.outputs().join(&place), &work.path().join(OUTPUTS).join(&place)) {
            Ok(()) => {}
            // Its retention ended while we copied, or it was lost before: `store check` tells the two apart.
            Err(error) if error.kind() == io::ErrorKind::NotFound => gone.push(*name),
            Err(error) => return Err(at(&error)),
        }
    }
    backup::forget(&database, &gone).map_err(broken)?;
    if config.closed().is_dir() {
        copy_tree(&config.closed(), &work.path().join(CLOSED)).map_err(|error| at(&error))?;
    }
    let around = start::surroundings();
    let (reads, head) = sqlite::reads::at_rest(&database).map_err(broken)?;
    let id = head.boundary.ok_or_else(|| at(&"the store's log has not begun: there is nothing to back up yet"))?;
    let entries = head.size;
    let settings = start::settings(config, &key, &around)?;
    let ledger = Ledger::at_rest(Arc::new(reads), head, settings, None).map_err(broken)?;
    let checkpoint = ledger.checkpoint().map_err(broken)?.map(|row| row.note).unwrap_or_default();
    kept::replace(&work.path().join(kept::FILE), checkpoint.as_bytes()).map_err(|error| at(&error))?;
    let bytes = sync_tree(work.path()).map_err(|error| at(&error))?;
    fs::rename(work.path(), &into).map_err(|error| at(&error))?;
    drop(work.keep());
    sync(parent).map_err(|error| at(&error))?;
    Ok(MadeBackup { backup: into, id, entries, bytes, outputs: names.len() - gone.len(), checkpoint })
}

/// Begins a new log with the state of a backup: its tokens, roster, policy and runbooks as they were sealed, its spent
/// nonces spent. The old log is kept beside, at rest; what waited in it is void, since it names the old boundary.
///
/// # Errors
/// When there is a store already, or the backup is damaged or of another boundary. Nothing was changed then.
pub fn restore(config: &Config, from: &Path) -> Result<RestoredLog, Problems> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let at = |path: &Path, error: &dyn std::fmt::Display| Problems::from(FileProblem::whole(path, error.to_string()));
    let key = open_key(config)?;
    private_directory(&config.data).map_err(|error| at(&config.data, &error))?;
    let _lock = StoreLock::alone(&config.database).map_err(|fault| at(&config.database, &fault))?;
    if config.database.exists() {
        let name = config.database.display();
        let message = format!(
            "there is a store already, and a restore never replaces one: move it away first (`mv {name} {name}.old`, the same \
             with {name}-wal and {name}-shm where they are)"
        );
        return Err(at(&config.database, &message));
    }
    clear_logs(&config.database)?;
    let work = workplace(config);
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|error| at(&work, &error))?;
    }
    let old = work.join("old");
    private_directory(&old).map_err(|error| at(&work, &error))?;
    let restored = build(config, &key, from, &work, &old);
    if restored.is_err() {
        let _ = clear(&config.database);
        let _ = fs::remove_dir_all(&work);
    }
    restored
}

fn build(config: &Config, key: &FileSigner, from: &Path, work: &Path, old: &Path) -> Result<RestoredLog, Problems> {
    let at = |path: &Path, error: &dyn std::fmt::Display| Problems::from(FileProblem::whole(path, error.to_string()));
    let failed = |error: io::Error| at(from, &error);
    // A copy, so that the backup is never changed: an older one is brought to this program's schema.
    let database = old.join(DATABASE);
    let source = if from.is_dir() { from.join(DATABASE) } else { from.to_owned() };
    copy_file(&source, &database).map_err(|error| {
        at(&source, &format!("can't be copied ({error}): name what `countersign store backup` made"))
    })?;
    backup::bring_up(&database).map_err(|fault| at(&source, &fault))?;
    if from.is_dir() {
        for name in [OUTPUTS, CLOSED] {
            if from.join(name).is_dir() {
                copy_tree(&from.join(name), &old.join(name)).map_err(failed)?;
            }
        }
    }
    private_directory(&old.join(OUTPUTS)).map_err(failed)?;
    let around = start::surroundings();
    let now = (around.now)();
    let found =
        look_through(config, &database, &old.join(OUTPUTS), &mut |_, _| {}).map_err(|fault| at(&source, &fault))?;
    // What only keeps an output from being shown is no reason to lose the rest.
    let (lost, broken): (Vec<&StoreDefect>, Vec<&StoreDefect>) =
        found.defects.iter().partition(|defect| defect.mend == crate::store::care::LOST);
    if let Some(first) = broken.first() {
        let message = format!(
            "the backup has {} defects, the first: {}: {}; nothing was restored. Take an older one; `countersign store check \
             BACKUP` says all",
            broken.len(),
            first.place,
            first.what
        );
        return Err(at(&source, &message));
    }
    let mut notes: Vec<String> = lost.iter().map(|defect| format!("{}: {}", defect.place, defect.what)).collect();
    let broken = |fault: StoreFault| at(&source, &fault);
    let settings = start::settings(config, key, &around)?;
    let (reads, head) = sqlite::reads::at_rest(&database).map_err(broken)?;
    let follows = head.boundary.ok_or_else(|| at(&source, &"its log has not begun: there is nothing to restore"))?;
    let entries = head.size;
    let before = Ledger::at_rest(Arc::new(reads), head, settings.clone(), None).map_err(broken)?;
    let last = before.seals().map_err(broken)?.last().copied();
    let last = last.ok_or_else(|| at(&source, &"its log has no seal"))?;
    let signer = BoundaryKey { secret: start::copy_of(config, key)?, keyid: key.key().keyid() };
    let sealed = start::read_seal(config, &before, last.index, None)?;
    if sealed.roster.boundary_key(&config.name, &signer.keyid).is_none() {
        let message = format!(
            "this key is not in the [[boundary]] {} of the roster that the backup sealed, nothing it signs would count: use the \
             key that is",
            config.name
        );
        return Err(at(&config.key, &message));
    }
    let closing = before.checkpoint().map_err(broken)?.ok_or_else(|| at(&source, &"its log is empty"))?;
    kept::replace(&old.join(kept::FILE), closing.note.as_bytes()).map_err(failed)?;
    let (checkpoint, known) = last_known(config, from, &before, closing)?;
    // The new log, out of sight until it is whole.
    // Beside its place, which may be on another disk than the private directory.
    let fresh = beside(&config.database, "");
    clear(&config.database).map_err(|error| at(&fresh, &error))?;
    let broken = |fault: StoreFault| at(&fresh, &fault);
    drop(sqlite::open(&fresh).map_err(broken)?);
    backup::take_over(&database, &fresh).map_err(broken)?;
    let (store, reads) = sqlite::open(&fresh).map_err(broken)?;
    let ledger = Ledger::open(Box::new(store), Arc::new(reads), settings).map_err(broken)?;
    let tokens = tokens_in_force(&ledger.tokens().map_err(broken)?, now);
    let count = tokens.len();
    let mut material = material_of(&sealed);
    material.tokens = tokens;
    let genesis = Genesis::Follows { follows: FollowedLog { id: follows, checkpoint: checkpoint.clone() } };
    let basis = SealPredecessor::First { genesis, epoch: Epoch::new(around.bytes()) };
    // Not before the old log's last entry, whatever the clock says.
    let draft = material.draft(basis, now.max(before.state().last_at)).map_err(|error| at(&source, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(failed)?;
    let id = runtime.block_on(async {
        let begun = write_seal(&ledger, &signer, draft, Vec::new()).await.map_err(|stop| at(&fresh, &stop))?;
        ledger.close().await.map_err(broken)?;
        Ok::<_, Problems>(begun.digest)
    })?;
    let head = ledger.checkpoint().map_err(broken)?.map(|row| row.note).unwrap_or_default();
    drop((ledger, before));
    settle(&config.database)?;
    // First what the new log names, then the log itself: a crash in between is mended by restoring again.
    let closed = config.closed();
    private_directory(&closed).map_err(failed)?;
    let place = closed.join(&follows.hex()[..16]);
    put(old, &place).map_err(|error| at(&place, &error))?;
    for earlier in directories(&place.join(CLOSED)) {
        let name = earlier.file_name().unwrap_or_default().to_owned();
        put(&earlier, &closed.join(name)).map_err(failed)?;
    }
    let _ = fs::remove_dir(place.join(CLOSED));
    sync_tree(&closed).map_err(failed)?;
    crash_points::point("restore-old-log-kept");
    put_in_place(&config.database).map_err(|error| at(&config.database, &error))?;
    crash_points::point("restore-new-log-in-place");
    // From here on the boundary is the new one. A crash leaves the old checkpoint, which names the log that is followed.
    kept::replace(&config.kept_checkpoint(), head.as_bytes()).map_err(failed)?;
    fs::remove_dir_all(work).map_err(|error| at(work, &error))?;
    sync(&config.data).map_err(failed)?;
    let lost = known.saturating_sub(entries);
    if lost > 0 {
        notes.push(format!(
            "{lost} entries came after the backup and are lost here; receipts of them that somebody holds verify still"
        ));
    }
    Ok(RestoredLog { id, follows, entries, checkpoint, lost, tokens: count, closed: place, notes })
}

/// The largest checkpoint that is known of the old log, as text, and its size; it must agree with the backup where the
/// backup reaches.
fn last_known(
    config: &Config,
    from: &Path,
    before: &Ledger,
    closing: CheckpointRow,
) -> Result<(String, u64), Problems> {
    let mut best = (closing.note, closing.size);
    let beside = Some(from.join(kept::FILE)).filter(|path| path.is_file());
    for path in kept::known(config).into_iter().chain(beside) {
        let problem = |message: String| Problems::from(FileProblem::whole(&path, message));
        let (note, known) = kept::read(&path).map_err(problem)?;
        if before.origin().as_ref() != Some(&known.origin) {
            // Of a log that was closed before, or of another boundary: no word about this one.
            continue;
        }
        if known.size <= closing.size {
            let root = before.root_at(known.size).map_err(|fault| problem(fault.to_string()))?;
            if root != Some(known.root) {
                return Err(problem(format!(
                    "it is a checkpoint of {} entries of this log, and the backup's log is another one: nothing was \
                     restored; take a backup that agrees with it, or move it away if it is false",
                    known.size
                )));
            }
        } else if known.size > best.1 {
            best = (note.to_string(), known.size);
        }
    }
    Ok(best)
}

/// Looks through one store: the one that serves, a closed one, or a backup.
///
/// # Errors
/// When it can't be opened.
pub fn look_through(
    config: &Config,
    database: &Path,
    outputs: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<StoreSurvey, StoreFault> {
    let scope = StoreScope {
        name: config.name.clone(),
        outputs: outputs.to_owned(),
        retention: config.retention,
        now: (start::surroundings().now)(),
    };
    survey::survey(database, &scope, progress)
}

/// The boundary's key.
///
/// # Errors
/// When it can't be used.
pub fn open_key(config: &Config) -> Result<FileSigner, Problems> {
    FileSigner::open(&config.key).map_err(|error| FileProblem::whole(&config.key, error.to_string()).into())
}

/// Moves a directory to its place, replacing what an interrupted restore left there.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::rename(from, to)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    private_directory(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    private_directory(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_file() {
            copy_file(&source, &target)?;
        }
    }
    Ok(())
}

/// Makes a directory's entries durable, all the way down; gives the bytes of its files.
fn sync_tree(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { sync_tree(&entry.path())? } else { metadata.len() };
    }
    sync(path)?;
    Ok(bytes)
}
