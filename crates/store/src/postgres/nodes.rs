//! The nodes of a boundary, for the operator.

use crate::{
    Fields, Link, NodeState, NodesReport, Pool, ServerSettings, StoreResult, lock_key,
    postgres::{link::first, schema},
    refused, server_of,
};
use documents::Name;

const DURING: &str = "reading the nodes of the boundary";
const LIST: &str = "SELECT n.name, n.keyid, n.version, extract(epoch FROM clock_timestamp() - n.beat)::bigint, \
    n.lost_at IS NOT NULL, n.name = (SELECT b.node FROM batch b JOIN state s ON b.term = s.term ORDER BY b.n LIMIT 1), \
    (SELECT count(*) FROM crossing c WHERE c.node = n.name) FROM node n ORDER BY n.name";
const CLOCK: &str = "SELECT term, floor(extract(epoch FROM clock_timestamp()))::bigint, current_database()::text FROM state";
/// The server processes that have held the lock of the batches ($1) for 10 s, or that hold the lock of the role ($2).
const HOLDERS: &str = "SELECT k.key = $2, a.pid, replace(a.application_name, 'countersign:', ''), \
    coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, 0), coalesce(a.wait_event, '') = 'SyncRep' \
    FROM pg_locks l CROSS JOIN LATERAL (SELECT (l.classid::bigint << 32) | l.objid::bigint AS key) k \
    JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND (k.key = $2 OR k.key = $1 AND a.xact_start < clock_timestamp() - interval '10 seconds')";
/// A short time limit of the server, so that a report does not wait for a slow server.
const OPTIONS: &str = "-c statement_timeout=5000";
/// Seconds without a beat. After this time, another node has ended the connection of the holder of the role, unless the
/// server process of this connection hangs.
const HANGS_S: i64 = NodeState::SILENT_S + 10;
/// If the kept head of the node was not compared after a change of the server, no run may start before a new epoch.
const LOSE: &str = "WITH gone AS (UPDATE node SET lost_at = clock_timestamp() \
    WHERE name = $1 AND beat < clock_timestamp() - interval '15 seconds' RETURNING name) \
    UPDATE state SET lost = CASE WHEN server IS DISTINCT FROM $2 THEN name ELSE lost END FROM gone WHERE one = 1 \
    RETURNING lost IS NOT NULL";

/// A connection that reads the nodes of a boundary.
pub struct NodesReader(Pool);

impl NodesReader {
    /// Connects when the nodes are read for the first time.
    pub fn new(settings: ServerSettings) -> Self {
        Self(Pool::of_readers(settings, OPTIONS, 1))
    }

    /// Reads the nodes now.
    ///
    /// # Errors
    /// Returns a fault if the database cannot be read.
    pub fn read(&self) -> StoreResult<NodesReport> {
        self.0.with(|link| {
            let settings = &self.0.settings;
            // If the schema is changed or missing, report this fault instead, because it explains the first fault.
            report(link, &settings.schema)
                .or_else(|fault| schema::check(link, settings).and(Err(fault)))
        })
    }
}

fn report(link: &Link, schema: &str) -> StoreResult<NodesReport> {
    let rows = link.rows(DURING, &[(LIST, values![]), (CLOCK, values![])])?;
    let nodes = nodes(&rows[0])?;
    let state = first(DURING, &rows[1])?;
    let database = state.get(2)?;
    let keys = values![
        lock_key(database, schema),
        lock_key(database, &format!("{schema} role"))
    ];
    let mut hanging = Vec::new();
    for row in &link.query(DURING, HOLDERS, keys)? {
        let row = Fields::new(DURING, row);
        let (is_role, pid, name, held_s): (bool, i32, &str, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let silent_s = nodes
            .iter()
            .find(|node| node.name.as_str() == name)
            .map_or(0, |node| node.beat_age_s);
        let end = format!(
            "on the host of the database server, run `kill -CONT {pid}`, or restart the server"
        );
        if is_role && silent_s >= HANGS_S {
            hanging.push(format!(
                "the node {name} gives no sign for {silent_s} s, but its server process {pid} keeps the role of the active \
                 node; {end}"
            ));
        } else if !is_role && row.get(4)? {
            hanging.push(format!(
                "the server process {pid} of the node {name} waits for a synchronous replica for {held_s} s, and nothing is \
                 stored meanwhile; start the replica"
            ));
        } else if !is_role {
            hanging.push(format!(
                "the server process {pid} of the node {name} holds the lock of the log for {held_s} s, and nothing is stored \
                 meanwhile; {end}"
            ));
        }
    }
    Ok(NodesReport {
        nodes,
        term: state.get(0)?,
        clock: state.get(1)?,
        hanging,
    })
}

/// Returns all nodes by name.
fn nodes(rows: &[tokio_postgres::Row]) -> StoreResult<Vec<NodeState>> {
    let one = |row: &tokio_postgres::Row| {
        let row = Fields::new(DURING, row);
        Ok(NodeState {
            name: row.text(0)?,
            keyid: row.get(1)?,
            version: row.get(2)?,
            beat_age_s: row.get(3)?,
            lost: row.get(4)?,
            active: row.get::<Option<bool>>(5)?.unwrap_or(false),
            open_runs: row.get(6)?,
        })
    };
    rows.iter().map(one).collect()
}

/// Notes that a node will never come back. Returns true if no run may start before a new epoch.
pub fn lose(settings: &ServerSettings, name: &Name) -> StoreResult<bool> {
    const DURING: &str = "noting that a node is lost";
    let link = Link::open(settings, "")?;
    schema::check(&link, settings)?;
    let rows = link.query(DURING, LOSE, values![name.as_str(), server_of(&link)?])?;
    let Some(row) = rows.first() else {
        return Err(refused(format!(
            "the boundary has no node {name}, or this node gave a sign in the last 15 s: see `countersign node list`, and end \
             the node before you call it lost"
        )));
    };
    Fields::new(DURING, row).get(0)
}
