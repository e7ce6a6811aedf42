//! Makes backups of the store: whole backups, and updates of earlier backups.
//!
//! A backup and a closed log have the same directory layout:
//!
//! ```text
//! countersign.db   copy of the store
//! outputs/         outputs that are files
//! checkpoint       newest signed checkpoint of the log
//! closed/          earlier logs, each a directory with this layout
//! ```
//!
//! A backup does not contain the operator's files: key, roster, policy, configuration and runbooks.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    CLOSED, Config, DATABASE, InFile as _, InStore as _, OUTPUTS,
    node::{
        kept_checkpoint, open_store,
        places::{directories, hide_new_files},
    },
    private_directory,
};
use documents::{Blake3Digest, SealDigest, unhex32};
use reading::{FileProblem, Problems};
use store::{Database, Ledger, StoreFault, StoreResult, refused, root_of, small_file};

/// Time between two reports of the progress.
const EVERY: Duration = Duration::from_millis(500);

/// Result of a backup.
#[derive(Serialize)]
pub struct MadeBackup {
    /// Directory of the backup.
    pub backup: PathBuf,
    /// Id of the boundary.
    pub id: SealDigest,
    /// Number of entries in the log.
    pub entries: u64,
    /// Number of entries that an earlier backup in this directory did not have.
    pub added: u64,
    /// Size of the backup on disk in bytes.
    pub bytes: u64,
    /// Number of outputs that are files.
    pub outputs: usize,
    /// Newest signed checkpoint of the log.
    pub checkpoint: String,
}

/// Callback that gets the number of finished parts of the work, and the number of all parts.
pub type BackupProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Copies the store at one moment into the new directory `into`. The function also works while the service runs.
///
/// # Errors
/// Returns an error if `into` exists or cannot be written, or if the store cannot be read.
pub fn back_up(
    config: &Config,
    into: &Path,
    progress: BackupProgress<'_>,
) -> Result<MadeBackup, Problems> {
    hide_new_files();
    let into = std::path::absolute(into).unwrap_or_else(|_| into.to_owned());
    let refused = |why: &str| Err(FileProblem::whole(&into, why).into());
    if into.exists() {
        return refused(
            "the path exists already, and a backup never overwrites a file: name a new directory, or bring an earlier \
              backup up to date with `--onto`",
        );
    }
    let parent = into.parent().unwrap_or(Path::new("/"));
    let unusable = |error| {
        format!("the parent directory can't be used ({error}): create the parent directory")
    };
    let real = parent.canonicalize().map_err(unusable).at(&into)?;
    if config
        .runbooks
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .any(|path| real.starts_with(path))
    {
        return refused(
            "a backup is private, but this path is in a runbook directory: name another path",
        );
    }
    // The backup is written under a temporary name and then renamed, so a directory with the final name is complete.
    let work = temporary(parent).at(&into)?;
    private_directory(&work.path().join(OUTPUTS)).at(&into)?;
    let target = work.path().join(DATABASE);
    let copy = watched(config, &target, progress, || {
        config.database.back_up(&target)
    })
    .in_store(&config.database)?;
    let names = copy.files().at(&into)?;
    let gone = copy_outputs(config, &names, work.path(), work.path()).at(&into)?;
    copy.forget(&gone).at(&into)?;
    copy_closed(config, work.path(), work.path()).at(&into)?;
    let (id, entries, checkpoint) = write_checkpoint(config, &copy.database(), work.path(), &into)?;
    let bytes = sync_tree(work.path()).at(&into)?;
    fs::rename(work.path(), &into).at(&into)?;
    drop(work.keep());
    small_file::sync(parent).at(&into)?;
    Ok(MadeBackup {
        backup: into,
        id,
        entries,
        added: entries,
        bytes,
        outputs: names.len() - gone.len(),
        checkpoint,
    })
}

/// Brings the backup in `onto` up to date. Afterwards the backup has the rows and outputs of a whole backup. If the
/// update is interrupted at any moment, the backup keeps its earlier state.
///
/// # Errors
/// Returns an error if `onto` is no backup of this log, if it cannot be written, or if the store cannot be read.
pub fn back_up_onto(
    config: &Config,
    onto: &Path,
    progress: BackupProgress<'_>,
) -> Result<MadeBackup, Problems> {
    hide_new_files();
    let into = onto
        .canonicalize()
        .map_err(|error| format!("there is no backup to bring up to date ({error})"))
        .at(onto)?;
    if config
        .data
        .canonicalize()
        .is_ok_and(|data| into.starts_with(data))
    {
        let why = "this is the boundary's own directory: name a directory that `store backup` made";
        return Err(FileProblem::whole(onto, why).into());
    }
    let work = temporary(into.parent().unwrap_or(Path::new("/"))).at(onto)?;
    let copy = into.join(DATABASE);
    let earlier = begins_alike(config, &copy).at(onto)?;
    let update = config
        .database
        .update_backup(&copy, earlier, work.path(), &mut |done, all| {
            progress(done, all)
        })
        .map_err(|fault| match fault {
            StoreFault::Full { .. } => {
                "the disk of the backup is full, so the backup keeps its earlier state: free space"
                    .to_owned()
            }
            fault => fault.to_string(),
        })
        .at(onto)?;
    let names = update.files().at(onto)?;
    let gone = copy_outputs(config, &names, work.path(), &into).at(onto)?;
    update.forget(&gone).at(onto)?;
    copy_closed(config, work.path(), &into).at(onto)?;
    // The rows must not name an output before its file is durable.
    sync_tree(&into).at(onto)?;
    update.commit().at(onto)?;
    // After a crash from here on, the backup still has its earlier checkpoint. That checkpoint is valid, because it
    // covers a beginning of this log.
    let (id, entries, checkpoint) = write_checkpoint(config, &Database::File(copy), &into, &into)?;
    delete_others(&into.join(OUTPUTS), &names).at(onto)?;
    let bytes = sync_tree(&into).at(onto)?;
    let outputs = names.len() - gone.len();
    Ok(MadeBackup {
        backup: into,
        id,
        entries,
        added: entries - earlier,
        bytes,
        outputs,
        checkpoint,
    })
}

/// Returns the number of the backup's entries, if its log is a beginning of the configured store's log.
fn begins_alike(config: &Config, copy: &Path) -> StoreResult<u64> {
    let (earlier, head) = Database::settled(copy)?.at_rest()?;
    let (reads, now) = config.database.at_rest()?;
    let alike = head.boundary == now.boundary
        && head.size <= now.size
        && root_of(&earlier, head.size)? == root_of(&reads, head.size)?;
    let message = "this is a backup of another log, or of a later state of this log: make a whole backup in a new directory";
    if alike {
        Ok(head.size)
    } else {
        Err(refused(message))
    }
}

/// Writes the signed checkpoint of the copied log into `dir`. Returns the boundary's id, the number of entries and the
/// checkpoint. `shown` is the path of the backup in messages.
fn write_checkpoint(
    config: &Config,
    copy: &Database,
    dir: &Path,
    shown: &Path,
) -> Result<(SealDigest, u64, String), Problems> {
    let (reads, head) = copy.at_rest().at(shown)?;
    let id = head
        .boundary
        .ok_or("the store's log has not begun: there is nothing to back up yet")
        .at(shown)?;
    let entries = head.size;
    let settings = open_store::settings(config, &open_store::open_key(config)?)?;
    let ledger = Ledger::at_rest(reads, head, settings, None).at(shown)?;
    let note = ledger
        .checkpoint()
        .at(shown)?
        .map(|row| row.note)
        .unwrap_or_default();
    small_file::replace(&dir.join(kept_checkpoint::FILE), note.as_bytes()).at(shown)?;
    Ok((id, entries, note))
}

fn temporary(parent: &Path) -> io::Result<tempfile::TempDir> {
    let failed = |error: io::Error| io::Error::other(format!("can't be written ({error})"));
    tempfile::Builder::new()
        .prefix(".countersign-backup-")
        .tempdir_in(parent)
        .map_err(failed)
}

/// Calls `copy`, and meanwhile reports the size of the file `target` against the size of the store.
fn watched<T>(
    config: &Config,
    target: &Path,
    progress: BackupProgress<'_>,
    copy: impl FnOnce() -> T,
) -> T {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let all = config.database.file().map_or(0, size);
    // The end of the copy drops `ending`, which ends the reports at once.
    let (ending, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while all > 0 && ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                progress(size(target).min(all), all);
            }
        });
        let _ending = ending;
        copy()
    })
}

/// Copies the outputs that are files into the backup `into`, except the outputs that the backup already has. Each file
/// gets its final name only when it is complete. Returns the names of outputs without a file: deleted during the copy,
/// or lost. `store check` reports which outputs are lost.
fn copy_outputs(
    config: &Config,
    names: &[Blake3Digest],
    work: &Path,
    into: &Path,
) -> io::Result<Vec<Blake3Digest>> {
    let mut gone = Vec::new();
    for name in names {
        let hex = name.hex();
        let place = Path::new(OUTPUTS).join(&hex[..2]).join(&hex);
        let (target, copied) = (into.join(&place), work.join(&place));
        if target.exists() {
            continue;
        }
        if !copied.exists() {
            // With PostgreSQL, the copy of the rows has already written the output to `copied`.
            match copy_file(&config.data.join(&place), &copied) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    gone.push(*name);
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        if copied != target {
            private_directory(target.parent().unwrap_or(into))?;
            fs::rename(&copied, &target)?;
        }
    }
    Ok(gone)
}

/// Copies the closed logs that the backup `into` lacks. They never change.
fn copy_closed(config: &Config, work: &Path, into: &Path) -> io::Result<()> {
    for log in directories(&config.closed()) {
        let name = Path::new(CLOSED).join(log.file_name().unwrap_or_default());
        let (copied, target) = (work.join(&name), into.join(&name));
        if target.exists() {
            continue;
        }
        copy_tree(&log, &copied)?;
        if copied != target {
            private_directory(&into.join(CLOSED))?;
            fs::rename(&copied, &target)?;
        }
    }
    Ok(())
}

/// Deletes the outputs in `dir` that are not among `names`, which are sorted. Other files stay.
fn delete_others(dir: &Path, names: &[Blake3Digest]) -> io::Result<()> {
    for place in directories(dir) {
        for entry in fs::read_dir(&place)? {
            let name = entry?.file_name();
            let Some(bytes) = name.to_str().and_then(unhex32) else {
                continue;
            };
            if names
                .binary_search(&Blake3Digest::from_bytes(bytes))
                .is_err()
            {
                fs::remove_file(place.join(&name))?;
            }
        }
    }
    Ok(())
}

pub fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    private_directory(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to)?;
    small_file::sync(to)
}

pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
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

/// Syncs a directory and all its subdirectories to disk. Returns the total size of the files in the directory, in
/// bytes.
pub fn sync_tree(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            sync_tree(&entry.path())?
        } else {
            metadata.len()
        };
    }
    small_file::sync(path)?;
    Ok(bytes)
}
