//! The identity of a database server. A restored or promoted server has another identity.

use crate::{Link, StoreResult};

const DURING: &str = "reading the identity of the server";
const SERVER: &str = "SELECT concat_ws(' ', (pg_control_system()).system_identifier, \
    extract(epoch FROM pg_postmaster_start_time()), pg_walfile_name(pg_current_wal_lsn())::bpchar(8))";

/// Returns start, identity and timeline of the server. The timeline comes from the log that the server writes: the control
/// file gets the timeline of a promoted server some seconds later.
pub fn server_of(link: &Link) -> StoreResult<String> {
    link.value(DURING, SERVER, values![])
}
