//! The store of a boundary: whether it exists, and how it is opened; also how a closed log or a backup is opened
//! for reading.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use crate::{
    Config, DATABASE, InFile as _, InStore as _, StandbyKey,
    node::{kept_checkpoint, places},
};
use client::{FileSigner, Signer as _, now};
use documents::SecretKey;
use reading::{FileProblem, Problems};
use store::{
    CheckpointRow, Database, Ledger, NodeLock, OpenStore, Role, RoleCandidate, Spender, StoredLog,
    Turn, shared, small_file,
};

/// Returns true if the store exists.
///
/// # Errors
/// Returns an error if the store existed before and is missing now, or if a restore was interrupted.
pub fn has_store(config: &Config) -> Result<bool, FileProblem> {
    let restoring = places::workplace(config);
    if restoring.exists() {
        let message = "a restore into this boundary was interrupted. Run `countersign store restore` again, or \
             remove this directory. If you remove this directory and no store exists, the next start begins a new \
             log";
        return Err(message).at(&restoring);
    }
    if config.database.exists().in_store(&config.database)? {
        return Ok(true);
    }
    match kept_checkpoint::read(&config.kept_checkpoint()) {
        Ok((_, known)) => Err(FileProblem::of_store(
            &config.database,
            kept_checkpoint::lost(&known, &config.kept_checkpoint()),
        )),
        Err(_) => Ok(false),
    }
}

/// Returns true if the store contains a log. A first start that failed leaves a store without a log.
///
/// # Errors
/// Returns the errors of [`has_store`], or an error if the store can't be read.
pub fn has_log(config: &Config) -> Result<bool, FileProblem> {
    if !has_store(config)? {
        return Ok(false);
    }
    let (_, head) = config.database.at_rest().in_store(&config.database)?;
    Ok(head.size > 0)
}

/// Creates the private directories, locks the store and then deletes temporary files. Without the lock, another process
/// could be using these files.
///
/// # Errors
/// Returns an error if a directory cannot be created or another process has locked the store.
pub fn take_store(config: &Config, role: Role) -> Result<OpenStore, Problems> {
    // Do not create an empty store if the store was lost. SQLite would apply the write-ahead log of the empty store to
    // the store that the operator copies back.
    let _there = has_store(config)?;
    make_directories(config)?;
    let store = config.database.open(role).in_store(&config.database)?;
    small_file::sweep(&config.data).at(&config.data)?;
    Ok(store)
}

/// Locks the private directory of this node.
///
/// # Errors
/// Returns an error if another process uses the directory.
pub fn lock_node(config: &Config) -> Result<NodeLock, Problems> {
    make_directories(config)?;
    let lock = config
        .database
        .node()
        .map(|_| config.database.lock(&config.data).map(Arc::new));
    Ok(lock.transpose().in_store(&config.database)?)
}

/// Returns this node as a candidate for the role of the active node, without a connection yet.
///
/// # Errors
/// Returns an error if a file of this node cannot be read.
pub fn candidate(
    config: &Config,
    lock: &NodeLock,
    key: &FileSigner,
) -> Result<RoleCandidate, Problems> {
    let kept = config.kept_checkpoint();
    let read = move || {
        kept.exists()
            .then(|| kept_checkpoint::row(&kept))
            .transpose()
    };
    let candidate = config.database.candidate(
        &config.data,
        lock.clone(),
        &key.key().keyid(),
        Arc::new(read),
    );
    Ok(candidate.in_store(&config.database)?)
}

/// Takes the role of the active node for a command.
///
/// # Errors
/// Returns an error if another node is active.
pub fn role_of_command(config: &Config, key: &FileSigner) -> Result<Role, Problems> {
    let elsewhere = |why: &dyn std::fmt::Display| {
        let message = format!(
            "this node can't become active ({why}): run this command on the host of the active node"
        );
        Problems::from(FileProblem::of_store(&config.database, message))
    };
    let mut sealed_key = StandbyKey::new(config, key);
    // If the service of this node stands by, it holds the lock of the node, and has no control socket.
    let stands_by = |found| {
        if config.database.node().is_some() {
            elsewhere(&found)
        } else {
            found
        }
    };
    let lock = lock_node(config).map_err(stands_by)?;
    let turn = candidate(config, &lock, key)?.attempt(&mut || sealed_key.waits());
    match turn.in_store(&config.database)? {
        Turn::Active(role) => Ok(role),
        Turn::Waits(why) => Err(elsewhere(&why)),
    }
}

pub fn make_directories(config: &Config) -> Result<(), FileProblem> {
    let make = |path: &Path, mode: u32| {
        let made = places::directory(path, mode).and_then(|()| {
            // The umask may have removed bits from the mode of the new directory. Runs must be able to enter the
            // scratch directory.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        });
        made.map_err(|error| {
            format!("the directory can't be created ({error}): create it, or change the mode of its parent directory")
        })
        .at(path)
    };
    make(&config.data, 0o700)?;
    make(&config.outputs(), 0o700)?;
    make(&config.spool(), 0o700)?;
    make(&config.scratch(), 0o711)
}

pub fn open_ledger(
    config: &Config,
    key: &FileSigner,
    store: OpenStore,
) -> Result<Spender, Problems> {
    let settings = shared::LedgerConfig {
        objects: store.objects,
        ..settings(config, key)?
    };
    Ok(Ledger::open(store.store, store.reads, settings).in_store(&config.database)?)
}

/// Reads the boundary's key.
///
/// # Errors
/// Returns an error if the key cannot be used.
pub fn open_key(config: &Config) -> Result<FileSigner, Problems> {
    Ok(FileSigner::open(&config.key).at(&config.key)?)
}

/// Returns the settings of this boundary's ledger.
///
/// # Errors
/// Returns an error if the key cannot be used.
pub fn settings(config: &Config, key: &FileSigner) -> Result<shared::LedgerConfig, Problems> {
    let secret = copy_of(config, key)?;
    let signer = shared::LogSigner {
        key: secret.public(),
        keyid: key.key().keyid(),
        sign: Arc::new(move |bytes| secret.sign(bytes)),
    };
    let kept = config.kept_checkpoint();
    // A database on another host can lose committed rows that this host has seen.
    let keep_head: Option<shared::KeepHead> = match config.database.file() {
        Some(_) => None,
        None => Some(Arc::new(move |row: &CheckpointRow| {
            kept_checkpoint::keep_newer(&kept, row)
        })),
    };
    Ok(shared::LedgerConfig {
        name: config.name.clone(),
        signer,
        clock: Arc::new(now),
        boottime: Arc::new(boottime),
        on_fatal: Arc::new(shared::abort),
        outputs: config.outputs(),
        objects: None,
        limits: shared::LedgerLimits {
            of_proposer: config.limits.pending_per_proposer,
            of_all: config.limits.pending,
            ..shared::LedgerLimits::default()
        },
        metrics: Arc::default(),
        keep_head,
    })
}

/// Opens the closed logs. An unreadable closed log only causes a note, because new runs do not need it.
pub fn closed_ledgers(
    config: &Config,
    key: &FileSigner,
    notes: &mut Vec<String>,
) -> Result<Vec<Ledger>, Problems> {
    let mut closed = Vec::new();
    for directory in places::closed(config) {
        let settings = shared::LedgerConfig {
            outputs: directory.join(places::OUTPUTS),
            ..settings(config, key)?
        };
        match at_rest(&directory, settings) {
            Ok(ledger) => closed.push(ledger),
            Err(message) => notes.push(format!(
                "the closed log in {} is not available: {message}",
                directory.display()
            )),
        }
    }
    Ok(closed)
}

/// Copies the private key, because the ledger and the boundary each need one. `SecretKey` does not implement `Clone`,
/// so that code cannot copy a key by accident.
pub fn copy_of(config: &Config, key: &FileSigner) -> Result<SecretKey, Problems> {
    Ok(SecretKey::from_pkcs8_pem(&key.secret().to_pkcs8_v1_pem()).at(&config.key)?)
}

pub fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Opens a closed log for reading.
///
/// # Errors
/// Returns a message if the log cannot be read.
fn at_rest(directory: &Path, settings: shared::LedgerConfig) -> Result<Ledger, String> {
    let (reads, head) = Database::File(directory.join(DATABASE))
        .at_rest()
        .map_err(|fault| fault.to_string())?;
    let row = kept_checkpoint::row(&directory.join(kept_checkpoint::FILE))?;
    Ledger::at_rest(reads, head, settings, Some(row)).map_err(|fault| fault.to_string())
}

/// Opens the log in a backup or in the directory of a closed log, for an export or an audit. No key and no
/// configuration is needed.
///
/// # Errors
/// Returns a message if the log cannot be read.
pub fn log_in(directory: &Path) -> Result<StoredLog, String> {
    let (reads, head) = Database::File(directory.join(DATABASE))
        .at_rest()
        .map_err(|fault| fault.to_string())?;
    let beside = directory.join(kept_checkpoint::FILE);
    let beside = beside
        .is_file()
        .then(|| kept_checkpoint::row(&beside))
        .transpose()?;
    StoredLog::new(reads, &head, beside.map(|row| row.note)).map_err(|fault| fault.to_string())
}
