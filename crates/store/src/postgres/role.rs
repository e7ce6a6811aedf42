//! The role of the active node. Several services can use one schema, but only the node with the role writes.
//!
//! The role is a lock of a connection. Each takeover raises the term of the boundary, so that a batch of the earlier node
//! fails. A server that restarted, changed its identity or changed its timeline may have lost committed batches. Before
//! the next consumption, the checkpoints that all nodes keep on their own disks are compared with the log.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::{
    BATCH, BEGIN, COMMIT, CheckpointRow, Fields, KeyWaits, LOCK, Link, ReadRole, RoleState,
    ServerSettings, StoreFault, StoreLock, StoreResult, Turn, batch_id, lock_key,
    postgres::{
        durability, known_nodes::KnownNodes, link::first, reads, schema, statements::signed,
    },
    refused, root_of, server_of, waits,
};
use documents::locked;

const DURING: &str = "taking the role of the active node";
/// Pause between two beats of a node. A beat shows that the node works.
const BEAT: Duration = Duration::from_secs(5);
/// Pause between two looks at the connection, and between two attempts to reach the server again.
const LOOK: Duration = Duration::from_millis(500);
const OPTIONS: &str = "-c lock_timeout=5000 -c statement_timeout=10000 -c synchronous_commit=on";

/// Reads the newest signed checkpoint that this node keeps on its own disk, if any.
pub type ReadKeptHead = Arc<dyn Fn() -> Result<Option<CheckpointRow>, String> + Send + Sync>;

const ENTER: &str = "INSERT INTO node (name, keyid, beat, started_at, version) \
    VALUES ($1, $2, clock_timestamp(), clock_timestamp(), $3) ON CONFLICT (name) DO UPDATE \
    SET keyid = excluded.keyid, beat = excluded.beat, started_at = excluded.started_at, version = excluded.version";
const IS_SHOWN: &str = "SELECT count(*) > 0 FROM node WHERE name = $1 AND keyid = $2";
const FOUND: &str = "UPDATE node SET lost_at = NULL WHERE name = $1 AND lost_at IS NOT NULL";
const LOST: &str = "SELECT lost_at IS NOT NULL FROM node WHERE name = $1";
const BEATS: &str = "UPDATE node SET beat = clock_timestamp() WHERE name = $1";
const POST: &str = "INSERT INTO kept_head (node, server, size, root) VALUES ($1, $2, $3, $4) ON CONFLICT (node) \
    DO UPDATE SET server = excluded.server, size = excluded.size, root = excluded.root";
const TAKE: &str = "SELECT pg_try_advisory_lock($1)";
const STATE: &str = "SELECT term, coalesce(server, '') FROM state";
/// The node that has the lock of the role, with the age of its last beat in seconds.
const HOLDER: &str = "SELECT h.node, extract(epoch FROM clock_timestamp() - n.beat)::bigint \
    FROM (SELECT replace(a.application_name, 'countersign:', '') AS node FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND (l.classid::bigint << 32) | l.objid::bigint = $1) h LEFT JOIN node n ON n.name = h.node LIMIT 1";
/// Age of the last beat in seconds, from which on another node takes over.
const STALE_S: i64 = 15;
const END_HOLDER: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE application_name = $1 AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()";
/// Ends the connections of a node whose last beat is old.
const END_SILENT: &str = "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a, node n WHERE a.application_name = $1 \
    AND a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid() AND n.name = $2 \
    AND n.beat < clock_timestamp() - make_interval(secs => $3::bigint)";
const ABSENT: &str = "SELECT n.name FROM node n LEFT JOIN kept_head k ON k.node = n.name AND k.server = $1 \
    WHERE n.lost_at IS NULL AND k.node IS NULL ORDER BY n.name";
const HEADS: &str = "SELECT k.node, k.size, k.root FROM kept_head k JOIN node n ON n.name = k.node \
    WHERE n.lost_at IS NULL ORDER BY k.size DESC";
const LAST: &str =
    "SELECT coalesce((SELECT n FROM batch ORDER BY n DESC LIMIT 1), 0), term FROM state";
const RAISE: &str = "UPDATE state SET term = $1, server = $2 WHERE one = 1";

/// A node that is not active yet.
pub struct NodeCandidate {
    settings: ServerSettings,
    keyid: String,
    kept_head: ReadKeptHead,
    known: KnownNodes,
    /// Lock on the directory of this node.
    lock: Arc<StoreLock>,
    /// The connection that holds the locks of the node, and the facts about its server.
    entered: Option<Entered>,
}

struct Entered {
    link: Link,
    database: String,
    server: String,
    has_role: bool,
    /// True if the other nodes can see this node.
    shown: bool,
    /// True if the other nodes can see the kept head of this node.
    posted: bool,
    beat: Instant,
}

impl Entered {
    /// Returns true if the kept heads of all nodes were compared with the log of this server.
    fn is_compared(&self) -> StoreResult<bool> {
        let rows = self.link.query(DURING, STATE, values![])?;
        Ok(first(DURING, &rows)?.get::<String>(1)? == self.server)
    }
}

/// Checks that the log has this root at this size. A node waits for entries that are missing. A log with other entries
/// is an error, because no later state of this log can match the checkpoint.
fn check_head(node: &str, size: u64, root: &[u8], settings: &ServerSettings) -> StoreResult {
    let found = root_of(&reads::readers(settings.clone()), size)?;
    let what = match found {
        Some(known) if known[..] == *root => return Ok(()),
        Some(_) => {
            "the first log entries of the database differ from it: somebody changed the log, or the database"
        }
        None => "the database does not contain them all: the database",
    };
    let message = format!(
        "the node {node} keeps a signed checkpoint of {size} log entries, but {what} went back to an earlier time, and spent \
         nonces could be spent again ({settings}). Put the newest state of the database back. If it is gone, `countersign \
         node lost {node}` gives up these entries, which auditors can see, and a restore of a backup begins a new log"
    );
    Err(if found.is_some() {
        refused(message)
    } else {
        waits(message)
    })
}

/// The role of the active node, until the value is dropped.
pub struct ServerRole {
    pub(super) watch: Arc<RoleWatch>,
    /// The thread with the connection ends when this sender is dropped.
    _end: mpsc::Sender<()>,
}

impl ServerRole {
    /// Returns a function that returns the present state of the role.
    pub fn state(&self) -> ReadRole {
        let watch = self.watch.clone();
        Box::new(move || match locked(&watch.why).clone() {
            _ if watch.lost.load(Ordering::SeqCst) => RoleState::Lost,
            Some(why) => RoleState::Unconfirmed(why),
            None => RoleState::Held,
        })
    }
}

/// What the writer must know about the role.
pub struct RoleWatch {
    /// Term of this node.
    pub term: i64,
    /// The server at the last comparison of the kept heads.
    server: Mutex<String>,
    /// The server of the writer's connection.
    of_writer: Mutex<String>,
    /// Counter that is raised when the server may have changed, before this node shows its kept head to the other
    /// nodes.
    pub changes: AtomicU64,
    /// False while the kept heads must be compared before the next consumption.
    pub compared: AtomicBool,
    /// True if another node has taken over.
    pub lost: AtomicBool,
    /// The reason why this node can't confirm its role.
    why: Mutex<Option<String>>,
}

impl RoleWatch {
    /// Notes the server of a new connection of the writer. No consumption is possible before the kept heads are
    /// compared again. The only exception is the first connection, if it leads to the server at which the heads were
    /// compared. Returns by how much this call raised `changes`.
    pub fn see(&self, server: &str, is_first: bool) -> u64 {
        server.clone_into(&mut locked(&self.of_writer));
        let stops = !is_first || *locked(&self.server) != server;
        if stops {
            self.stop_consumptions();
        }
        u64::from(stops)
    }

    fn stop_consumptions(&self) {
        self.compared.store(false, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

impl NodeCandidate {
    /// Makes no connection yet.
    pub fn new(
        settings: ServerSettings,
        keyid: String,
        kept_head: ReadKeptHead,
        data: &Path,
        lock: Arc<StoreLock>,
    ) -> StoreResult<Self> {
        let known = KnownNodes::read(data)?;
        Ok(Self {
            settings,
            keyid,
            kept_head,
            known,
            lock,
            entered: None,
        })
    }

    /// Connects with all checks if there is no connection. The check fails if another process runs as the same node.
    fn connect(&mut self) -> StoreResult<&mut Entered> {
        if self
            .entered
            .as_ref()
            .is_none_or(|entered| entered.link.is_lost())
        {
            self.entered = None;
            let link = Link::open(&self.settings, OPTIONS)?;
            durability::check(&link, &self.settings)?;
            schema::check(&link, &self.settings)?;
            let database: String =
                link.value(DURING, "SELECT current_database()::text", values![])?;
            let server = server_of(&link)?;
            let node = self.settings.node.as_str();
            let key = lock_key(&database, &format!("{} node {node}", self.settings.schema));
            if !link.value::<bool>(DURING, TAKE, values![key])? {
                // If a host disappears, the server can keep its connection open for hours.
                link.query(
                    DURING,
                    END_SILENT,
                    values![format!("countersign:{node}"), node, STALE_S],
                )?;
                return Err(waits(format!(
                    "another process is the node `{node}` of this boundary; give each service its own `node` in [postgres], or \
                     end the other process"
                )));
            }
            server.clone_into(&mut locked(&self.settings.server));
            let beat = Instant::now();
            self.entered = Some(Entered {
                link,
                database,
                server,
                has_role: false,
                shown: false,
                posted: false,
                beat,
            });
        }
        self.entered
            .as_mut()
            .ok_or_else(|| StoreFault::broken(DURING, "there is no connection"))
    }

    /// Connects, and adds this node to the table of the nodes.
    fn enter(&mut self) -> StoreResult<&mut Entered> {
        if !self.connect()?.shown
            && let Some(entered) = &mut self.entered
        {
            let (node, version) = (self.settings.node.as_str(), env!("CARGO_PKG_VERSION"));
            entered
                .link
                .query(DURING, ENTER, values![node, self.keyid.as_str(), version])?;
            self.known.enter(&entered.link)?;
            self.known.note(&entered.link)?;
            entered.shown = true;
        }
        self.connect()
    }

    /// Attempts to become the active node, if the key of this node may sign.
    pub fn attempt(&mut self, key_waits: &mut KeyWaits<'_>) -> StoreResult<Turn<ServerRole>> {
        let (node, keyid) = (self.settings.node.clone(), self.keyid.clone());
        let is_shown =
            self.connect()?
                .link
                .value(DURING, IS_SHOWN, values![node.as_str(), keyid.as_str()])?;
        if let Some(wait) = key_waits()? {
            // The end of the connection releases the role, so that another node may take the role.
            drop(self.entered.take_if(|entered| entered.has_role));
            // After a change of the server, all nodes wait for the checkpoint of each node in the table. So a service
            // whose key was never in force must not be in the table, for example a service with the URL of another
            // boundary.
            if is_shown || wait.is_in_force {
                self.give_sign()?;
            }
            return Ok(Turn::Waits(wait.why));
        }
        // After a failed comparison, another node can take the role and compare the checkpoints itself.
        if let Some(why) = self
            .take_role()
            .inspect_err(|_| drop(self.entered.take_if(|entered| entered.has_role)))?
        {
            return Ok(Turn::Waits(why));
        }
        let Some(entered) = &self.entered else {
            return Err(StoreFault::broken(DURING, "there is no connection"));
        };
        let term = raise(entered, &self.settings, None)?;
        let watch = Arc::new(RoleWatch {
            term,
            server: Mutex::new(entered.server.clone()),
            of_writer: Mutex::new(entered.server.clone()),
            changes: AtomicU64::new(0),
            compared: AtomicBool::new(true),
            lost: AtomicBool::new(false),
            why: Mutex::default(),
        });
        let (end, ended) = mpsc::channel();
        let mine = Self {
            settings: self.settings.clone(),
            keyid: self.keyid.clone(),
            kept_head: self.kept_head.clone(),
            known: self.known.clone(),
            lock: self.lock.clone(),
            entered: self.entered.take(),
        };
        let watched = watch.clone();
        let work = move || mine.hold(&watched, &ended);
        std::thread::Builder::new()
            .name("store-role".to_owned())
            .spawn(work)
            .map_err(|error| StoreFault::broken(DURING, error))?;
        Ok(Turn::Active(ServerRole { watch, _end: end }))
    }

    /// Takes the lock of the role, and compares the kept heads if the server changed. Returns the reason to wait.
    fn take_role(&mut self) -> StoreResult<Option<String>> {
        self.give_sign()?;
        let (settings, entered) = (self.settings.clone(), self.enter()?);
        let key_of_role = lock_key(&entered.database, &format!("{} role", settings.schema));
        if !entered.has_role {
            entered.has_role = entered.link.value(DURING, TAKE, values![key_of_role])?;
        }
        if !entered.has_role {
            let rows = entered.link.query(DURING, HOLDER, values![key_of_role])?;
            let Some(row) = rows.first() else {
                return Ok(Some("standby of a node that is just starting".to_owned()));
            };
            let row = Fields::new(DURING, row);
            let holder: String = row.get(0)?;
            if row.get::<Option<i64>>(1)?.is_none_or(|age| age >= STALE_S) {
                tracing::warn!(
                    "the node {holder} gave no sign for {STALE_S} s: its connections are ended"
                );
                entered
                    .link
                    .query(DURING, END_HOLDER, values![format!("countersign:{holder}")])?;
            }
            return Ok(Some(format!("standby of {holder}")));
        }
        self.compare()
    }

    /// Shows the other nodes this node and its kept head.
    fn give_sign(&mut self) -> StoreResult {
        self.post()?;
        self.beat_if_due().map(drop)
    }

    /// Tells the other nodes that this node works, at most once in [`BEAT`]. Returns true if this call told them.
    fn beat_if_due(&mut self) -> StoreResult<bool> {
        let node = self.settings.node.clone();
        let entered = self.enter()?;
        let is_due = entered.beat.elapsed() >= BEAT;
        if is_due {
            entered.link.query(DURING, BEATS, values![node.as_str()])?;
            entered.beat = Instant::now();
            if let Some(entered) = &self.entered {
                self.known.note(&entered.link)?;
            }
        }
        Ok(is_due)
    }

    /// Shows the kept head of this node to the other nodes, once for each connection. The kept head can only change
    /// while this node consumes, and each new connection begins with a comparison.
    fn post(&mut self) -> StoreResult {
        if self.enter()?.posted {
            return Ok(());
        }
        let kept = (self.kept_head)().map_err(refused)?;
        let settings = self.settings.clone();
        let (node, entered) = (settings.node.as_str(), self.enter()?);
        let (size, root) = kept.map_or((0, Vec::new()), |kept| (kept.size, kept.root.to_vec()));
        if size > 0 && entered.is_compared()? {
            check_head(node, size, &root, &settings).or_else(|fault| {
                if !entered.link.value::<bool>(DURING, LOST, values![node])? {
                    return Err(fault);
                }
                // A lost node comes back. Its checkpoint must not stop the other nodes, which went on in a new epoch.
                Err(refused(format!(
                    "this node keeps a signed checkpoint of {size} log entries that the log does not contain, because the \
                     boundary went on without this node. Keep the file of the checkpoint as evidence, and move it away to \
                     join again"
                )))
            })?;
        }
        entered.link.query(
            DURING,
            POST,
            values![node, entered.server.clone(), signed(size), root],
        )?;
        entered.link.query(DURING, FOUND, values![node])?;
        entered.posted = true;
        Ok(())
    }

    /// Compares the kept heads of all nodes with the log. After a change of the server, each node must have shown its head to
    /// this server. Returns the reason to wait.
    fn compare(&mut self) -> StoreResult<Option<String>> {
        let settings = self.settings.clone();
        let entered = self.enter()?;
        let absent = entered
            .link
            .query(DURING, ABSENT, values![entered.server.clone()])?;
        let absent: Vec<String> = absent
            .iter()
            .map(|row| Fields::new(DURING, row).get(0))
            .collect::<StoreResult<_>>()?;
        if !absent.is_empty() && !entered.is_compared()? {
            return Ok(Some(format!(
                "the database server restarted or changed, so the newest checkpoints of all nodes are compared first: start \
                 {}. If such a node will never come back, run `countersign node lost NAME`",
                absent.join(", ")
            )));
        }
        for row in &entered.link.query(DURING, HEADS, values![])? {
            let row = Fields::new(DURING, row);
            let (node, size, root): (String, u64, Vec<u8>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if size > 0 {
                check_head(&node, size, &root, &settings)?;
            }
        }
        Ok(None)
    }

    /// Holds the role until the sender of `ended` is dropped, and checks the connection after each [`LOOK`].
    fn hold(mut self, watch: &RoleWatch, ended: &mpsc::Receiver<()>) {
        while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
            let why = self.look(watch).err().map(|fault| fault.to_string());
            let before = std::mem::replace(&mut *locked(&watch.why), why.clone());
            if let Some(why) = why.filter(|why| before.as_ref() != Some(why)) {
                tracing::warn!("the node cannot confirm its role: {why}");
            }
        }
    }

    /// Sends a beat if it is due, and checks that no other node has taken over. If the connection was lost or the
    /// server changed, confirms the role of this node.
    fn look(&mut self, watch: &RoleWatch) -> StoreResult {
        if watch.lost.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self
            .entered
            .as_ref()
            .is_none_or(|entered| entered.link.is_lost())
        {
            // Stop the consumptions first. Only then may the other nodes see the kept head of this node.
            watch.stop_consumptions();
        }
        if self.enter()?.has_role && watch.compared.load(Ordering::SeqCst) && !self.beat_if_due()? {
            return Ok(());
        }
        if self.enter()?.link.value::<i64>(DURING, STATE, values![])? != watch.term {
            watch.lost.store(true, Ordering::SeqCst);
            return Ok(());
        }
        if watch.compared.load(Ordering::SeqCst) {
            return Ok(());
        }
        if let Some(why) = self.take_role()? {
            return Err(waits(why));
        }
        let Some(entered) = &self.entered else {
            return Ok(());
        };
        if *locked(&watch.of_writer) != entered.server {
            // One of the two connections leads to a server that is not the primary any more.
            self.entered = None;
            return Err(waits(
                "the service is still connected to the old and the new server; it connects again",
            ));
        }
        raise(entered, &self.settings, Some(watch.term))?;
        locked(&watch.server).clone_from(&entered.server);
        watch.compared.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Raises the term, or confirms the term `mine`, and notes the server. The commit is a batch, so the commit fails if
/// another batch is committed at the same time.
fn raise(entered: &Entered, settings: &ServerSettings, mine: Option<i64>) -> StoreResult<i64> {
    let link = &entered.link;
    link.take_warnings();
    let changed = (|| {
        let key = lock_key(&entered.database, &settings.schema);
        let flight = [(BEGIN, values![]), (LOCK, values![key]), (LAST, values![])];
        let rows = link.rows(DURING, &flight)?;
        let last = first(DURING, &rows[2])?;
        let (number, term): (i64, i64) = (last.get(0)?, last.get(1)?);
        if mine.is_some_and(|mine| mine != term) {
            return Err(waits("another node has taken over this boundary"));
        }
        let term = mine.unwrap_or(term + 1);
        let batch = values![number + 1, term, settings.node.to_string(), batch_id()?];
        let flight = [
            (RAISE, values![term, entered.server.clone()]),
            (BATCH, batch),
            (COMMIT, values![]),
        ];
        link.rows(DURING, &flight)?;
        link.confirm(DURING).map(|()| term)
    })();
    if changed.is_err() {
        // After a failed statement, the next statement needs a new transaction.
        let _ = link.script(DURING, "ROLLBACK");
    }
    changed
}
