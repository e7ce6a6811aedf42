//! Restore of the store from a backup. A restore begins a new log that names the old log.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    CLOSED, Config, DATABASE, InFile as _, InStore as _, OUTPUTS,
    node::{
        backup::{copy_file, copy_tree, sync_tree},
        kept_checkpoint, open_store,
        places::{directories, hide_new_files, workplace},
        start,
    },
    private_directory,
};
use boundary::{material_of, tokens_in_force, write_seal};
use client::{FileSigner, Signer as _, now};
use crossing::{BoundaryKey, SealPredecessor, revocations};
use documents::{Epoch, FollowedLog, Genesis, Name, SealDigest, SealedToken, joined};
use reading::{FileProblem, Problems};
use store::{
    BackupFile, CheckpointRow, Database, KNOWN_NODES, Ledger, LedgerConfig, OpenStore, OwedReview,
    Role, StoreDefect, StoreReport, StoreResult, StoreScope, Token, crash_points, small_file,
};
use wire::TokenView;

/// Result of a restore.
#[derive(Serialize)]
pub struct RestoredLog {
    /// Id of the new boundary.
    pub id: SealDigest,
    /// Id of the old boundary, which the new log names.
    pub follows: SealDigest,
    /// Number of the old log's entries that the backup contains.
    pub entries: u64,
    /// Newest known checkpoint of the old log.
    pub checkpoint: String,
    /// Number of entries that the newest known checkpoint covers but the backup lacks.
    pub lost: u64,
    /// Number of valid tokens.
    pub tokens: usize,
    /// Tokens that were valid in the backup, and that are not valid any more.
    pub void_tokens: Vec<TokenView>,
    /// Directory of the old log.
    pub closed: PathBuf,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

/// Name in `keep_tokens` that stands for all tokens.
const ALL: &str = "all";

/// Begins a new log with the roster, policy, runbooks and spent nonces of a backup. The old log stays on disk as a
/// closed log. Its pending proposals are void, because they name the old boundary. A backup does not know which tokens
/// were revoked later, so its tokens are void, except those that `keep_tokens` names.
///
/// # Errors
/// Returns an error if a store already exists, if the backup is damaged, if the backup is of another boundary, or if it
/// has no valid token of a name in `keep_tokens`. After an error, nothing is changed.
pub fn restore(
    config: &Config,
    from: &Path,
    keep_tokens: &[Name],
) -> Result<RestoredLog, Problems> {
    hide_new_files();
    let (key, database) = (open_store::open_key(config)?, &config.database);
    private_directory(&config.data).at(&config.data)?;
    let _lock = database.lock(&config.data).in_store(database)?;
    database.make_room().in_store(database)?;
    let work = workplace(config);
    if work.exists() {
        fs::remove_dir_all(&work).at(&work)?;
    }
    private_directory(&work.join("old")).at(&work)?;
    let restored = build(config, &key, from, &work, keep_tokens);
    if restored.is_err() {
        let _ = database.clear_new(&work);
        let _ = fs::remove_dir_all(&work);
    }
    restored
}

/// Copies the backup to the directory `old`, and returns the copied database. `source` is the database of the backup.
fn copy_backup(from: &Path, source: &Path, old: &Path) -> Result<BackupFile, FileProblem> {
    // The restore works on a copy of the backup, because it may have to undo an interrupted update.
    let database = old.join(DATABASE);
    copy_file(source, &database)
        .map_err(|error| {
            format!(
                "the file can't be copied ({error}): name a backup that `countersign store backup` made"
            )
        })
        .at(source)?;
    // If an update of the backup was interrupted, the journal restores the earlier state of the backup.
    let journal = source.with_file_name(format!("{DATABASE}-journal"));
    if journal.exists() {
        let target = old.join(format!("{DATABASE}-journal"));
        copy_file(&journal, &target).at(&journal)?;
    }
    let copy = BackupFile::copied(database).at(source)?;
    if from.is_dir() {
        for name in [OUTPUTS, CLOSED] {
            if from.join(name).is_dir() {
                copy_tree(&from.join(name), &old.join(name)).at(from)?;
            }
        }
    }
    Ok(copy)
}

fn build(
    config: &Config,
    key: &FileSigner,
    from: &Path,
    work: &Path,
    keep_tokens: &[Name],
) -> Result<RestoredLog, Problems> {
    let old = &work.join("old");
    let source = if from.is_dir() {
        from.join(DATABASE)
    } else {
        from.to_owned()
    };
    let copy = copy_backup(from, &source, old)?;
    private_directory(&old.join(OUTPUTS)).at(from)?;
    let now = now();
    let found =
        look_through(config, &copy.database(), &old.join(OUTPUTS), &mut |_, _| {}).at(&source)?;
    // A missing output does not stop the restore, because all other data is intact.
    let (lost, broken): (Vec<&StoreDefect>, Vec<&StoreDefect>) = found
        .defects
        .iter()
        .partition(|defect| defect.fix == store::LOST);
    if let Some(first) = broken.first() {
        let message = format!(
            "the backup has {} defects, the first: {}: {}; nothing was restored. Use an older backup; `countersign store check BACKUP` lists all defects",
            broken.len(),
            first.place,
            first.what
        );
        return Err(FileProblem::whole(&source, message).into());
    }
    let mut notes: Vec<String> = lost
        .iter()
        .map(|defect| format!("{}: {}", defect.place, defect.what))
        .collect();
    let settings = open_store::settings(config, key)?;
    let (reads, head) = copy.database().at_rest().at(&source)?;
    let follows = head
        .boundary
        .ok_or("the log in the backup has not begun: there is nothing to restore")
        .at(&source)?;
    let entries = head.size;
    let before = Ledger::at_rest(reads, head, settings.clone(), None).at(&source)?;
    let seals = before.reads().seals().at(&source)?;
    let last = seals
        .last()
        .ok_or("the log in the backup has no seal")
        .at(&source)?;
    let secret = open_store::copy_of(config, key)?;
    let signer = BoundaryKey::new(secret, key.key().keyid());
    let sealed = start::read_seal(config, &before, last.index, None)?;
    if sealed
        .roster
        .boundary_key(&config.name, &signer.keyid)
        .is_none()
    {
        return Err(start::other_key(config, ""));
    }
    let closing = before
        .checkpoint()
        .at(&source)?
        .ok_or("its log is empty")
        .at(&source)?;
    notes.extend(unreviewed_runs(&before).at(&source)?);
    let all = before.tokens().at(&source)?;
    let revoked = revocations(&[], &before.revocations());
    let valid = tokens_in_force(&sealed.tokens, &revoked, now);
    let chosen = choose_tokens(&all, valid, keep_tokens).at(&source)?;
    small_file::replace(&old.join(kept_checkpoint::FILE), closing.note.as_bytes()).at(from)?;
    let (checkpoint, known) = last_known(config, from, &before, closing)?;
    let fresh = config.database.new_store(work);
    config.database.clear_new(work).in_store(&fresh)?;
    drop(fresh.open(Role::of_file()).in_store(&fresh)?);
    fresh.take_over(&copy, &chosen.left_out).in_store(&fresh)?;
    let OpenStore { store, reads, .. } = fresh.open(Role::of_file()).in_store(&fresh)?;
    // The first entry of the new log must not be older than the old log's last entry, even if the clock was set back. The
    // ledger would refuse this date as a leap of the clock, because the new log has no entry yet.
    let since = now.max(before.state().last_at);
    let settings = LedgerConfig {
        clock: Arc::new(move || since),
        ..settings
    };
    let ledger = Ledger::open(store, reads, settings)
        .in_store(&fresh)?
        .ledger();
    let count = chosen.kept.len();
    let mut material = material_of(&sealed);
    material.tokens = chosen.kept;
    let genesis = Genesis::Follows {
        follows: FollowedLog {
            id: follows,
            checkpoint: checkpoint.clone(),
        },
    };
    let basis = SealPredecessor::First {
        genesis,
        epoch: Epoch::new(start::surroundings().bytes()),
    };
    let draft = material.draft(basis, since).at(&source)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .at(from)?;
    let id = runtime.block_on(async {
        let begun = write_seal(&ledger, &signer, draft, Vec::new(), 0)
            .await
            .map_err(|stop| FileProblem::of_store(&fresh, stop))?;
        ledger.close().await.in_store(&fresh)?;
        Ok::<_, FileProblem>(begun.digest)
    })?;
    let head = ledger
        .checkpoint()
        .in_store(&fresh)?
        .map(|row| row.note)
        .unwrap_or_default();
    drop((ledger, before));
    config.database.settle_new(work).in_store(&fresh)?;
    // Move the old log before the new log, because the new log names the old log. After a crash between the two moves,
    // the operator runs the restore again.
    let closed = config.closed();
    private_directory(&closed).at(from)?;
    let place = closed.join(&follows.hex()[..16]);
    put(old, &place).at(&place)?;
    for earlier in directories(&place.join(CLOSED)) {
        let name = earlier.file_name().unwrap_or_default().to_owned();
        put(&earlier, &closed.join(name)).at(from)?;
    }
    let _ = fs::remove_dir(place.join(CLOSED));
    sync_tree(&closed).at(from)?;
    crash_points::point("restore-old-log-kept");
    config
        .database
        .put_in_place(work)
        .in_store(&config.database)?;
    crash_points::point("restore-new-log-in-place");
    // The new boundary is now in force. After a crash at this point, the checkpoint file still contains a checkpoint of
    // the old log. The next start accepts this checkpoint, because the new log names the old log.
    small_file::replace(&config.kept_checkpoint(), head.as_bytes()).at(from)?;
    // No approval of the old log is valid in the new log, so this node need not wait for the nodes of the old log.
    let nodes = config.data.join(KNOWN_NODES);
    if nodes.exists() {
        fs::remove_file(&nodes).at(&nodes)?;
    }
    fs::remove_dir_all(work).at(work)?;
    small_file::sync(&config.data).at(from)?;
    let lost = known.saturating_sub(entries);
    if lost > 0 {
        notes.push(format!(
            "{lost} entries are newer than the backup, so the restored log does not contain them; receipts of these \
             entries are still valid for everyone who has a copy"
        ));
    }
    let view = |token: SealedToken| TokenView {
        token,
        revoked_at: None,
    };
    let void_tokens = chosen.void.into_iter().map(view).collect();
    Ok(RestoredLog {
        id,
        follows,
        entries,
        checkpoint,
        lost,
        tokens: count,
        void_tokens,
        closed: place,
        notes,
    })
}

/// Returns a note about each run of the old log that people can no longer review or settle, at most 1000.
fn unreviewed_runs(before: &Ledger) -> StoreResult<Vec<String>> {
    let note = |owed: OwedReview| {
        let run = owed.proposal.receipt();
        format!(
            "people can no longer settle or review the run of {run}, which needed it, because the old log is closed"
        )
    };
    Ok(before
        .reads()
        .owed_open(1000)?
        .into_iter()
        .map(note)
        .collect())
}

/// The tokens of a backup.
struct ChosenTokens {
    kept: Vec<SealedToken>,
    void: Vec<SealedToken>,
    /// Names of the tokens that the new store does not contain: the void tokens, and expired tokens, because the clock
    /// can be wrong.
    left_out: Vec<Name>,
}

fn choose_tokens(
    all: &[Token],
    valid: Vec<SealedToken>,
    keep: &[Name],
) -> Result<ChosenTokens, String> {
    let keeps = |name: &Name| keep.iter().any(|kept| kept.as_str() == ALL || kept == name);
    let (kept, void): (Vec<_>, Vec<_>) = valid.into_iter().partition(|token| keeps(&token.name));
    if let Some(name) = keep
        .iter()
        .find(|name| name.as_str() != ALL && !kept.iter().any(|token| token.name == **name))
    {
        let names = joined(kept.iter().chain(&void).map(|token| &token.name), ", ");
        let names = if names.is_empty() { "none" } else { &names };
        return Err(format!(
            "the backup has no valid token {name}, so nothing was restored: its valid tokens are {names}"
        ));
    }
    let left_out = all
        .iter()
        .filter(|row| row.revoked_at.is_none() && !keeps(&row.token.name));
    let left_out = left_out.map(|row| row.token.name.clone()).collect();
    Ok(ChosenTokens {
        kept,
        void,
        left_out,
    })
}

/// Returns the newest known checkpoint of the old log as text, with its size. It must not contradict the backup.
fn last_known(
    config: &Config,
    from: &Path,
    before: &Ledger,
    closing: CheckpointRow,
) -> Result<(String, u64), FileProblem> {
    let mut best = (closing.note, closing.size);
    let beside = Some(from.join(kept_checkpoint::FILE)).filter(|path| path.is_file());
    for path in kept_checkpoint::known(config).into_iter().chain(beside) {
        let (note, known) = kept_checkpoint::read(&path).at(&path)?;
        if before.origin().as_ref() != Some(&known.origin) {
            // This checkpoint belongs to an earlier log or to another boundary, so it says nothing about the backup.
            continue;
        }
        if known.size <= closing.size {
            let root = before.root_at(known.size).at(&path)?;
            if root != Some(known.root) {
                let message = format!(
                    "the file is a checkpoint of {} entries of this log, but the backup contains another log: \
                     nothing was restored; use a backup of the right log, or move the checkpoint file away if the \
                     file is wrong",
                    known.size
                );
                return Err(message).at(&path);
            }
        } else if known.size > best.1 {
            best = (note.to_string(), known.size);
        }
    }
    Ok(best)
}

/// Checks the integrity of a store: the current store, a closed log, or a backup.
///
/// # Errors
/// Returns an error if the store cannot be opened.
pub fn look_through(
    config: &Config,
    database: &Database,
    outputs: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> StoreResult<StoreReport> {
    let scope = StoreScope {
        name: config.name.clone(),
        outputs: outputs.to_owned(),
        retention: config.retention,
        now: now(),
    };
    database.check(&scope, progress)
}

/// Moves a directory to its final path. A directory that an interrupted restore left at this path is deleted.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::rename(from, to)
}
