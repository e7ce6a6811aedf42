//! Opens, checks, copies and replaces a store. Only this file chooses the engine. No other crate names an engine.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    KeyWaits, MoveEnd, NodesReader, Objects, OldFile, ReadRole, Replicas, RoleState, ServerRole,
    ServerSettings, ServerTable, Store, StoreHead, StoreLock, StoreReads, StoreReport, StoreResult,
    StoreScope, Turn, copied_check, lock,
    postgres::{
        self,
        role::{NodeCandidate, ReadKeptHead},
    },
    refused, small_file,
    sqlite::{
        self,
        backup::{self, BackupUpdate},
        check, new_store,
    },
};
use documents::{Blake3Digest, KeyId, Name};

/// Name of the lock of a node, in its private directory.
const NODE_LOCK: &str = "node";

/// Where a boundary stores its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file. Closed logs and backups always are such files.
    File(PathBuf),
    /// A schema of a PostgreSQL database.
    Server(Box<ServerSettings>),
}

/// The lock on the private directory of a node. A store in a file has no nodes, and has a lock of its own.
pub type NodeLock = Option<Arc<StoreLock>>;

/// A process that can become the active node. A store in a file has only one node.
pub struct RoleCandidate(Option<NodeCandidate>);

/// The right to write to the store, as the only active node.
pub struct Role(Option<ServerRole>);

impl Role {
    /// Returns the role for a store in a file of this host, which has only one node.
    pub fn of_file() -> Self {
        Self(None)
    }

    /// Returns a function that returns the present state of the role.
    pub fn state(&self) -> ReadRole {
        match &self.0 {
            None => Box::new(|| RoleState::Held),
            Some(role) => role.state(),
        }
    }
}

impl RoleCandidate {
    /// Attempts to become the active node, if the key of this node may sign.
    ///
    /// # Errors
    /// Returns a fault if the database went back to an earlier time, or if it cannot be reached.
    pub fn attempt(&mut self, key_waits: &mut KeyWaits<'_>) -> StoreResult<Turn<Role>> {
        let Some(candidate) = &mut self.0 else {
            return Ok(Turn::Active(Role(None)));
        };
        Ok(match candidate.attempt(key_waits)? {
            Turn::Active(role) => Turn::Active(Role(Some(role))),
            Turn::Waits(why) => Turn::Waits(why),
        })
    }
}

/// Writer and readers of a store. The writer locks the store for this process.
pub struct OpenStore {
    /// The writer.
    pub store: Box<dyn Store>,
    /// The readers.
    pub reads: Arc<StoreReads>,
    /// The large objects. `None` if the database is a file of this host.
    pub objects: Option<Arc<Objects>>,
}

impl Database {
    /// Parses the value of `database` in the configuration. A path is relative to `directory`.
    ///
    /// # Errors
    /// Returns a message if no engine has the scheme of the URL, or if the settings of the server are not usable.
    pub fn parse(
        text: &str,
        directory: &Path,
        table: Option<&ServerTable>,
    ) -> Result<Self, String> {
        match text
            .split_once("://")
            .or_else(|| text.split_once(':'))
            .map(|(scheme, _)| scheme)
        {
            None => Ok(Self::File(directory.join(text))),
            Some("sqlite") => {
                let rest = text.trim_start_matches("sqlite:").trim_start_matches("//");
                Ok(Self::File(directory.join(rest)))
            }
            Some("postgres" | "postgresql") => {
                let table = table
                    .ok_or("a PostgreSQL database needs the table [postgres] with `node`, the name of this node")?;
                let settings =
                    ServerSettings::new(text, table).map_err(|fault| fault.to_string())?;
                Ok(Self::Server(Box::new(settings)))
            }
            Some(scheme) => Err(format!(
                "no engine has the scheme {scheme:?}: name a SQLite file, or a postgres:// URL"
            )),
        }
    }

    /// Returns the engine and its version, for the operator.
    pub fn version(&self) -> String {
        match self {
            Self::File(_) => format!("SQLite {}", sqlite::version()),
            Self::Server(_) => "PostgreSQL".to_owned(),
        }
    }

    /// Returns the path of the database if the database is a file of this host.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    /// Returns the settings of the database server.
    fn server(&self) -> Option<&ServerSettings> {
        match self {
            Self::File(_) => None,
            Self::Server(server) => Some(server),
        }
    }

    /// Returns the paths of all files of the database. No run may see these files.
    pub fn private_files(&self) -> Vec<PathBuf> {
        match self {
            Self::File(path) => ["", "-wal", "-shm"]
                .map(|suffix| small_file::with_suffix(path, suffix))
                .into(),
            Self::Server(server) => server.private_files.clone(),
        }
    }

    /// Returns true if the file exists, even if its store is empty, or if the log in the database server has an entry.
    ///
    /// # Errors
    /// Returns a fault if the database server cannot answer this.
    pub fn exists(&self) -> StoreResult<bool> {
        match self {
            Self::File(path) => Ok(path.exists()),
            Self::Server(server) => Ok(postgres::reads::at_rest(*server.clone())?.1.size > 0),
        }
    }

    /// Checks that no other user can access the files of the store, as far as the files exist.
    ///
    /// # Errors
    /// Returns a fault for the first file that other users can access.
    pub fn check_modes(&self) -> StoreResult {
        match self {
            Self::File(path) => lock::check_modes(path),
            Self::Server(_) => Ok(()),
        }
    }

    /// Locks the store for this process without opening or creating the store. `data` is the private directory of this
    /// node.
    ///
    /// # Errors
    /// Returns a fault if another process holds the lock, or if other users can access the store.
    pub fn lock(&self, data: &Path) -> StoreResult<StoreLock> {
        match self {
            Self::File(path) => StoreLock::alone(path),
            Self::Server(_) => StoreLock::alone(&data.join(NODE_LOCK)),
        }
    }

    /// Returns true if the log of this store was moved to a database server.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read.
    pub fn is_marked(&self) -> StoreResult<bool> {
        match self {
            Self::File(path) if path.is_file() => OldFile::is_marked(path),
            Self::File(_) | Self::Server(_) => Ok(false),
        }
    }

    /// Moves the log of the SQLite store `from` into this store, which must be empty. This store continues the same
    /// log. `outputs` is the directory of large outputs. `progress` gets the number of copied rows and the number of
    /// all rows. The same call continues an interrupted move.
    ///
    /// # Errors
    /// Returns a fault if one of the stores is in use or cannot be used, or if this store has another log.
    pub fn move_here(
        &self,
        from: &Path,
        outputs: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> StoreResult<MoveEnd> {
        match self {
            Self::File(_) => Err(refused(
                "`database` in countersign.toml names an SQLite file; set it to the URL of the PostgreSQL database \
                          that takes the log, then run this command again",
            )),
            Self::Server(server) => postgres::import::move_into(server, from, outputs, progress),
        }
    }

    /// Prepares this process to become the active node of the boundary, without a connection yet. `keyid` names the key of
    /// this node, and `kept_head` reads the newest signed checkpoint that this node keeps on its own disk.
    ///
    /// # Errors
    /// Returns a fault if a file of this node cannot be read.
    pub fn candidate(
        &self,
        data: &Path,
        lock: NodeLock,
        keyid: &KeyId,
        kept_head: ReadKeptHead,
    ) -> StoreResult<RoleCandidate> {
        let node = self.server().zip(lock).map(|(server, lock)| {
            NodeCandidate::new(server.clone(), keyid.to_string(), kept_head, data, lock)
        });
        Ok(RoleCandidate(node.transpose()?))
    }

    /// Returns the name of this node, if the store has nodes.
    pub fn node(&self) -> Option<&Name> {
        self.server().map(|server| &server.node)
    }

    /// Returns the network addresses of the database server, each with its port.
    pub fn addresses(&self) -> Vec<(String, u16)> {
        self.server()
            .map(ServerSettings::addresses)
            .unwrap_or_default()
    }

    /// Returns what keeps a committed batch after the loss of the database server, if the store is on a server.
    pub fn replicas(&self) -> Option<Replicas> {
        self.server().map(|server| server.replicas)
    }

    /// Returns a reader of the nodes, without a connection yet. A store in a file has no nodes.
    pub fn nodes(&self) -> Option<NodesReader> {
        self.server().cloned().map(NodesReader::new)
    }

    /// Notes that a node will never come back. Other nodes can then close the node's open runs, and do not wait for its
    /// checkpoint. Returns true if no run may start before a new epoch, because the node's checkpoint was not compared
    /// with the log.
    ///
    /// # Errors
    /// Returns a fault if the node does not exist or still works.
    pub fn lose_node(&self, name: &Name) -> StoreResult<bool> {
        match self {
            Self::File(_) => Err(refused("a SQLite store has only one node")),
            Self::Server(server) => postgres::nodes::lose(server, name),
        }
    }

    /// Locks the store for this process and opens the store for writing. A missing SQLite store is created.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be locked or opened.
    pub fn open(&self, role: Role) -> StoreResult<OpenStore> {
        match self {
            Self::File(path) => {
                let (store, reads) = sqlite::open(path)?;
                Ok(OpenStore {
                    store: Box::new(store),
                    reads: Arc::new(reads),
                    objects: None,
                })
            }
            Self::Server(server) => {
                let (store, reads) = postgres::open(*server.clone(), role.0)?;
                let objects = Objects::new(*server.clone());
                Ok(OpenStore {
                    store: Box::new(store),
                    reads: Arc::new(reads),
                    objects: Some(Arc::new(objects)),
                })
            }
        }
    }

    /// Opens the store for reading, without the lock, and returns the state of the store. Nothing is changed.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read.
    pub fn at_rest(&self) -> StoreResult<(Arc<StoreReads>, StoreHead)> {
        let (reads, head) = match self {
            Self::File(path) => sqlite::reads::at_rest(path)?,
            Self::Server(server) => postgres::reads::at_rest(*server.clone())?,
        };
        Ok((Arc::new(reads), head))
    }

    /// Compares every row with the log, and all bytes with their digests. `progress` gets the number of checked log
    /// entries and the number of all log entries.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be opened. Problems inside the store are defects.
    pub fn check(
        &self,
        scope: &StoreScope,
        progress: &mut dyn FnMut(u64, u64),
    ) -> StoreResult<StoreReport> {
        match self {
            Self::File(path) => check::check(path, scope, progress),
            Self::Server(server) => copied_check::check_copy(server, scope, progress),
        }
    }

    /// Copies the store at one moment into the new file `into`. A running service can write to the store during the copy.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read or the copy cannot be written.
    pub fn back_up(&self, into: &Path) -> StoreResult<BackupFile> {
        match self {
            Self::File(path) => backup::copy(path, into)?,
            Self::Server(server) => {
                let outputs = into.with_file_name("outputs");
                postgres::export::export(server, into, &outputs, 0, &outputs)?;
            }
        }
        Ok(BackupFile(into.to_owned()))
    }

    /// Copies to the backup `copy` what the store got since the backup. The log of the backup has `entries` entries.
    /// Nothing is changed before [`BackupUpdate::commit`]. `work` is an empty directory on the same disk. A database
    /// server stores large outputs as rows, and this function writes them as files in `work`.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read, or if the copy is not a backup or cannot be written.
    pub fn update_backup(
        &self,
        copy: &Path,
        entries: u64,
        work: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> StoreResult<BackupUpdate> {
        match self {
            Self::File(path) => BackupUpdate::begin(path, copy, progress),
            Self::Server(server) => {
                let news = work.join("news.db");
                let have = copy.with_file_name("outputs");
                postgres::export::export(server, &news, &work.join("outputs"), entries, &have)?;
                BackupUpdate::begin(&news, copy, progress)
            }
        }
    }

    /// Returns the backup in the file `copy`, after undoing an interrupted update.
    ///
    /// # Errors
    /// Returns a fault if the file cannot be written.
    pub fn settled(copy: &Path) -> StoreResult<Self> {
        backup::settle(copy)?;
        Ok(Self::File(copy.to_owned()))
    }

    /// Makes room for the new log of a restore. A store whose log has not begun is deleted, because a refused start can leave
    /// such a store.
    ///
    /// # Errors
    /// Returns a fault if the store has rows, or if a write-ahead log of another store would become a part of the new store.
    pub fn make_room(&self) -> StoreResult {
        let remedy = match self {
            Self::File(path) => {
                if sqlite::reads::at_rest(path).is_ok_and(|(_, head)| head.size == 0) {
                    std::fs::remove_file(path).map_err(refused)?;
                }
                if !path.exists() {
                    return new_store::clear_logs(path);
                }
                let name = path.display();
                format!(
                    "move the store away first (`mv {name} {name}.old`, the same with {name}-wal and {name}-shm if these \
                     files exist)"
                )
            }
            Self::Server(server) if postgres::import::is_empty(server)? => return Ok(()),
            Self::Server(_) => "name another schema with `?schema=` in the URL".to_owned(),
        };
        Err(refused(format!(
            "a store exists already, and a restore never replaces a store: {remedy}"
        )))
    }

    /// Returns the new store that a restore builds and later puts in the place of this store. A crash must not leave a
    /// part of a store in the place of this store.
    pub fn new_store(&self, work: &Path) -> Self {
        Self::File(new_store::beside(&self.new_file(work), ""))
    }

    /// Returns the file next to which a restore builds the new store. `work` is the work directory of the restore.
    fn new_file(&self, work: &Path) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Server(_) => work.join("new.db"),
        }
    }

    /// Deletes the unfinished new store.
    ///
    /// # Errors
    /// Returns a fault if a part of the new store cannot be deleted.
    pub fn clear_new(&self, work: &Path) -> StoreResult {
        new_store::clear(&self.new_file(work))
    }

    /// Makes the closed new store durable.
    ///
    /// # Errors
    /// Returns a fault if the new store cannot be written.
    pub fn settle_new(&self, work: &Path) -> StoreResult {
        new_store::settle(&self.new_file(work))
    }

    /// Puts the settled new store in the place of this store, in one atomic step. In a database server, one commit
    /// makes the rows usable.
    ///
    /// # Errors
    /// Returns a fault if the new store cannot be moved.
    pub fn put_in_place(&self, work: &Path) -> StoreResult {
        match self {
            Self::File(path) => new_store::put_in_place(path),
            Self::Server(server) => {
                let file = new_store::beside(&self.new_file(work), "");
                postgres::import::fill(server, &file, &work.join("outputs"))
            }
        }
    }

    /// Copies blobs, tokens except `void`, the low-water mark and spent nonces from a backup to this store, which must be
    /// empty. The nonces stay spent, and the names of the copied tokens stay in use.
    ///
    /// # Errors
    /// Returns a fault if the backup cannot be read or the store cannot be written.
    pub fn take_over(&self, old: &BackupFile, void: &[Name]) -> StoreResult {
        match self {
            Self::File(path) => backup::take_over(&old.0, path, void),
            // A restore builds the new store in a file first.
            Self::Server(_) => Err(refused("a backup is taken over into a file")),
        }
    }
}

/// Shows the database to the operator, in messages and reports.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => server.fmt(f),
        }
    }
}

/// Creates the schema of a store in a PostgreSQL database. `url` names the owner of the database, and `service` is the role
/// that the services use. `say` gets messages for the operator.
///
/// # Errors
/// Returns a fault if the database cannot be used, or if the schema exists already. Nothing is then created.
pub fn migrate(
    url: &str,
    table: &ServerTable,
    service: &str,
    say: &mut dyn FnMut(&str),
) -> StoreResult {
    postgres::schema::migrate(&ServerSettings::new(url, table)?, service, say)
}

/// A copy of a store that this process may change: a backup in progress, or a backup that a restore reads.
pub struct BackupFile(PathBuf);

impl BackupFile {
    /// Checks that a copied backup has the schema of this program.
    ///
    /// # Errors
    /// Returns a fault if the file is no store, or if another program wrote the store.
    pub fn copied(path: PathBuf) -> StoreResult<Self> {
        backup::check_copy(&path)?;
        Ok(Self(path))
    }

    /// Returns the copy as a database.
    pub fn database(&self) -> Database {
        Database::File(self.0.clone())
    }

    /// Returns the names of all outputs that are files.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be read.
    pub fn files(&self) -> StoreResult<Vec<Blake3Digest>> {
        backup::files(&self.0)
    }

    /// Deletes outputs whose files were deleted while the copy was made.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be written.
    pub fn forget(&self, gone: &[Blake3Digest]) -> StoreResult {
        backup::forget(&self.0, gone)
    }
}
