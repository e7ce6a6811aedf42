//! The connection of the writer: its session, its lock, and the decision about an unknown commit.

use crate::{
    BATCH, BEGIN, BatchRow, COMMIT, LOCK, Link, ServerSettings, StoreFault, StoreResult,
    batch_questions, batch_rows, lock_key,
    postgres::{durability, link::first, questions, schema, writes},
    rare_changes::{self, OF_PIECES},
};

/// Options of the writer's session. The plans must use indexes, also on tables that were empty when a plan was made. The
/// time limit of a lock is short, because the writer then ends the connection of a frozen holder and tries again.
const OPTIONS: &str = "-c lock_timeout=5000 -c statement_timeout=30000 -c idle_in_transaction_session_timeout=5000 \
    -c synchronous_commit=on -c client_encoding=UTF8 -c plan_cache_mode=force_generic_plan \
    -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off";
/// Number of attempts to take the lock, 5 s each.
pub const LOCK_ATTEMPTS: usize = 4;

const SESSION: &str = "SELECT current_database()::text, pg_backend_pid(), backend_start::text \
    FROM pg_stat_activity WHERE pid = pg_backend_pid()";
const END_OLD: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2 AND pid <> pg_backend_pid()";
/// Ends the connections that have held the lock for more than 4 s and wait for their client.
const END_FROZEN: &str = "SELECT pg_terminate_backend(a.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
    AND (l.classid::bigint << 32) | l.objid::bigint = $1 \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND a.pid <> pg_backend_pid() \
    AND clock_timestamp() - a.xact_start > interval '4 seconds' \
    AND (a.state LIKE 'idle in transaction%' OR a.wait_event_type = 'Client')";
const OWN_BATCH: &str = "SELECT coalesce((SELECT n FROM batch ORDER BY n DESC LIMIT 1), 0), \
    (SELECT n FROM batch WHERE id = $1), (SELECT id FROM batch ORDER BY n DESC LIMIT 1)";

/// A connection whose server and tables are checked.
pub struct WriterLink {
    pub link: Link,
    /// Key of the lock that excludes other writers.
    pub key: i64,
    pub session: OldSession,
}

/// The server process of a connection.
#[derive(Clone, Default)]
pub struct OldSession {
    pid: i32,
    began: String,
}

/// A batch whose commit was not confirmed.
#[derive(Clone)]
pub struct UnknownBatch {
    pub id: Vec<u8>,
    pub term: i64,
    pub session: OldSession,
}

/// Returns all statements of the writer.
pub fn statements() -> Vec<&'static str> {
    let rows = [
        batch_questions::ALL,
        batch_rows::ALL,
        rare_changes::ALL,
        OF_PIECES,
    ]
    .concat();
    let rows = rows.iter().map(|statement| statement.postgres);
    rows.chain([questions::ALL, writes::ALL].concat()).collect()
}

/// The decision about an unknown commit.
pub struct Settled {
    pub durable: bool,
    /// Number and id of the last batch, which `settle` committed.
    pub last: (i64, Vec<u8>),
    /// Id of the batch before the last batch.
    pub before: Option<Vec<u8>>,
}

impl WriterLink {
    /// Connects, and checks the server, the schema and the locks.
    pub fn open(settings: &ServerSettings) -> StoreResult<Self> {
        const DURING: &str = "opening the database";
        let link = Link::open(settings, OPTIONS)?;
        durability::check(&link, settings)?;
        schema::check(&link, settings)?;
        let rows = link.query(DURING, SESSION, values![])?;
        let row = first(DURING, &rows)?;
        let key = lock_key(row.get(0)?, &settings.schema);
        let session = OldSession {
            pid: row.get(1)?,
            began: row.get(2)?,
        };
        let other = Link::open(settings, OPTIONS)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| StoreFault::broken(DURING, error))?;
        durability::check_locks(&link, &other, i64::from_ne_bytes(random))?;
        link.prepare(DURING, statements())?;
        link.take_warnings();
        Ok(Self { link, key, session })
    }

    /// Ends the connections of frozen services that hold the lock.
    pub fn end_frozen(&self) -> StoreResult {
        self.link
            .query("ending a frozen connection", END_FROZEN, values![self.key])
            .map(drop)
    }

    /// Searches for the row of an unknown batch, and then commits a batch of its own. A visible row may be missing on
    /// all replicas, for example after a restart of the server. A later commit without a warning shows that the row is
    /// durable.
    pub fn settle(&self, unknown: &UnknownBatch, node: &str, id: Vec<u8>) -> StoreResult<Settled> {
        const DURING: &str = "finding out whether a batch is stored";
        // The lock below shows whether the old connection has ended, so a failure here does no harm.
        drop(self.link.query(
            DURING,
            END_OLD,
            values![unknown.session.pid, &unknown.session.began],
        ));
        let mut attempt = 0;
        let rows = loop {
            let flight = [
                (BEGIN, values![]),
                (LOCK, values![self.key]),
                (OWN_BATCH, values![&unknown.id]),
            ];
            match self.link.rows(DURING, &flight) {
                Ok(mut rows) => break rows.pop().unwrap_or_default(),
                Err(fault) => {
                    self.link.script(DURING, "ROLLBACK")?;
                    attempt += 1;
                    if attempt == LOCK_ATTEMPTS {
                        return Err(fault);
                    }
                    self.end_frozen()?;
                }
            }
        };
        let row = first(DURING, &rows)?;
        let durable = row.get::<Option<i64>>(1)?.is_some();
        let batch = BatchRow {
            number: row.get::<i64>(0)? + 1,
            term: unknown.term,
            node: node.to_owned(),
            id,
        };
        self.link.take_warnings();
        let values = values![batch.number, batch.term, batch.node, batch.id.clone()];
        self.link
            .rows(DURING, &[(BATCH, values), (COMMIT, values![])])?;
        self.link.confirm(DURING)?;
        Ok(Settled {
            durable,
            last: (batch.number, batch.id),
            before: row.get(2)?,
        })
    }
}
