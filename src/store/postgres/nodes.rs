//! The nodes of a boundary, for the operator.

use crate::store::fault::StoreFault;
use crate::store::postgres::columns::Fields;
use crate::store::postgres::link::Link;
use crate::store::postgres::role::server_of;
use crate::store::postgres::schema;
use crate::store::postgres::settings::{ServerSettings, refused};
use crate::store::server::NodeState;
use documents::record::ident::Name;

const DURING: &str = "reading the nodes of the boundary";
const LIST: &str = "SELECT n.name, n.keyid, n.version, extract(epoch FROM clock_timestamp() - n.beat)::bigint, \
    n.lost_at IS NOT NULL, n.name = (SELECT b.node FROM batch b JOIN state s ON b.term = s.term ORDER BY b.n LIMIT 1), \
    (SELECT count(*) FROM crossing c WHERE c.node = n.name) FROM node n ORDER BY n.name";
/// If the kept head of the node was not compared after a change of the server, no run may start before a new epoch.
const LOSE: &str = "WITH gone AS (UPDATE node SET lost_at = clock_timestamp() \
    WHERE name = $1 AND beat < clock_timestamp() - interval '15 seconds' RETURNING name) \
    UPDATE state SET lost = CASE WHEN server IS DISTINCT FROM $2 THEN name ELSE lost END FROM gone WHERE one = 1 \
    RETURNING lost IS NOT NULL";

/// Returns all nodes by name.
pub(crate) fn list(settings: &ServerSettings) -> Result<Vec<NodeState>, StoreFault> {
    let link = Link::open(settings, "")?;
    schema::check(&link, settings)?;
    let rows = link.query(DURING, LIST, values![])?;
    let one = |row: &tokio_postgres::Row| {
        let row = Fields::new(DURING, row);
        Ok(NodeState {
            name: row.text(0)?,
            keyid: row.get(1)?,
            version: row.get(2)?,
            beat_age_s: row.get(3)?,
            lost: row.get(4)?,
            active: row.get::<Option<bool>>(5)?.unwrap_or(false),
            open_runs: row.number(6)?,
        })
    };
    rows.iter().map(one).collect()
}

/// Notes that a node will never come back. Returns true if no run may start before a new epoch.
pub(crate) fn lose(settings: &ServerSettings, name: &Name) -> Result<bool, StoreFault> {
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
