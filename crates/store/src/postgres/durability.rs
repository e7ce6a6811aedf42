//! Checks at each connection that the server keeps what it commits, that the tables are ordinary tables without rules
//! and row security, and that the service can only add rows to the tables of the log.

use tokio_postgres::Row;

use crate::{
    Fields, Link, Replicas, ServerSettings, StoreResult, postgres::settings::fault, refused, waits,
};

const DURING: &str = "checking the database server";
/// The major versions of PostgreSQL that this program is tested with.
const MAJORS: std::ops::RangeInclusive<i32> = 15..=18;
/// Number of connections that must be free for this node or in use by it.
const FREE: i64 = 8;

/// The tables to which the service may only add rows.
pub const LOG_TABLES: &[&str] = &["leaf", "tile", "seal", "denial", "batch"];

/// The service cannot see the type of a connection of another role. The service can see the database and the role of a
/// connection, and only connections of clients have both.
const SERVER: &str = "SELECT version(), current_setting('server_version_num')::int, pg_is_in_recovery(), \
    current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', current_setting('synchronous_commit'), \
    current_setting('synchronous_standby_names'), current_setting('server_encoding'), \
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint - coalesce(current_setting('reserved_connections', true), '0')::bigint \
    - (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL \
    AND (application_name = current_setting('application_name')) IS NOT TRUE), \
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), current_user::text, \
    current_setting('default_transaction_read_only') = 'on'";

const TABLES: &str = "SELECT c.relname::text, c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relispartition, \
    EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)), \
    (SELECT min(rulename)::text FROM pg_rewrite r WHERE r.ev_class = c.oid), \
    c.relrowsecurity, pg_has_role(current_user, c.relowner, 'USAGE') OR pg_has_role(current_user, n.nspowner, 'USAGE'), \
    CASE WHEN has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' \
    WHEN has_table_privilege(c.oid, 'TRUNCATE') THEN 'TRUNCATE' END \
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid \
    WHERE n.nspname = $1 AND c.relkind NOT IN ('i', 'I', 'S', 't', 'c') ORDER BY c.relname";

/// Checks the server of this connection, then the tables.
///
/// # Errors
/// Returns a fault with the first property that puts committed rows at risk. A node waits until the administrator of
/// the server has changed this property.
pub fn check(link: &Link, settings: &ServerSettings) -> StoreResult {
    // Another product can lack these catalogs, so its name is checked first.
    let server = link.send(DURING, &[(SERVER, values![])])?.remove(0);
    match server {
        Ok(rows) => check_server(&Fields::new(DURING, &rows[0]), settings)?,
        Err(error) => {
            check_product(&link.value::<String>(DURING, "SELECT version()", values![])?)?;
            return Err(fault(DURING, &error));
        }
    }
    for row in &link.query(DURING, TABLES, values![&settings.schema])? {
        check_table(row, settings)?;
    }
    Ok(())
}

fn check_product(version: &str) -> StoreResult {
    let foreign = ["-YB-", "Greenplum", "Redshift", "CockroachDB"]
        .iter()
        .any(|name| version.contains(name));
    if foreign || !version.starts_with("PostgreSQL ") {
        return Err(waits(format!(
            "the database server is `{}`, which is not PostgreSQL; use PostgreSQL 15 to 18",
            version.split(" on ").next().unwrap_or(version)
        )));
    }
    Ok(())
}

fn check_server(server: &Fields<'_>, settings: &ServerSettings) -> StoreResult {
    check_product(server.get(0)?)?;
    let place = settings.place();
    let wrong =
        |what: String, advice: &str| Err(waits(format!("the database {place} {what}; {advice}")));
    let major = server.get::<i32>(1)? / 10_000;
    if !MAJORS.contains(&major) {
        return wrong(
            format!("runs on PostgreSQL {major}"),
            "use PostgreSQL 15 to 18",
        );
    }
    if server.get(2)? {
        return wrong(
            "is a standby, which takes no writes".to_owned(),
            "name the primary server in the URL",
        );
    }
    if server.get(11)? {
        let what = "has `default_transaction_read_only = on`, so it takes no writes".to_owned();
        return wrong(
            what,
            "end this setting of the server, of the database or of the role",
        );
    }
    for (at, name) in [(3, "fsync"), (4, "full_page_writes")] {
        if !server.get::<bool>(at)? {
            let what = format!("has `{name}` off, so a power cut can destroy committed rows");
            return wrong(
                what,
                &format!("set `{name} = on` in postgresql.conf and reload the server"),
            );
        }
    }
    let commit: &str = server.get(5)?;
    let remote = matches!(commit, "on" | "remote_apply");
    if !remote && (settings.replicas == Replicas::Synchronous || commit != "remote_write") {
        let what = format!("has `synchronous_commit = {commit}`, so a committed row can be lost");
        return wrong(
            what,
            "remove the forced setting of the server or of the role",
        );
    }
    if settings.replicas == Replicas::Synchronous && server.get::<&str>(6)?.trim().is_empty() {
        let what = "has no synchronous replica, but `replicas` in [postgres] is \"synchronous\""
            .to_owned();
        return wrong(
            what,
            "set `synchronous_standby_names` on the server, or change `replicas`",
        );
    }
    let encoding: &str = server.get(7)?;
    if encoding != "UTF8" {
        let what = format!("has the encoding {encoding}");
        return wrong(
            what,
            "make the database with `createdb --encoding=UTF8 --template=template0`",
        );
    }
    let free: i64 = server.get(8)?;
    if free < FREE {
        let what = format!("has only {free} free connections, and the service needs {FREE}");
        return wrong(
            what,
            "raise `max_connections` of the server, or end other connections",
        );
    }
    let user: &str = server.get(10)?;
    if server.get::<Option<bool>>(9)?.unwrap_or(true) {
        let what = format!("is opened as the superuser `{user}`, who can change the log");
        return wrong(
            what,
            "make a role of its own for the service, and run `countersign store migrate`",
        );
    }
    Ok(())
}

fn check_table(row: &Row, settings: &ServerSettings) -> StoreResult {
    let table = Fields::new(DURING, row);
    let (name, schema) = (table.get::<&str>(0)?, &settings.schema);
    let wrong = |what: String, advice: String| {
        Err(waits(format!(
            "the table `{schema}.{name}` of the database {} {what}; {advice}",
            settings.place()
        )))
    };
    let owner = || "ask the owner of the schema to undo this change".to_owned();
    if !table.get::<bool>(1)? || table.get::<bool>(2)? {
        return wrong(
            "is no ordinary table (it is unlogged, partitioned, inherited or a view)".to_owned(),
            owner(),
        );
    }
    if let Some(rule) = table.get::<Option<&str>>(3)? {
        return wrong(
            format!("has the rule `{rule}`, which somebody added by hand"),
            owner(),
        );
    }
    if table.get(4)? {
        return wrong("has row security, which can hide rows".to_owned(), owner());
    }
    let user = settings.config.get_user().unwrap_or_default();
    if table.get(5)? {
        let what = format!(
            "or its schema belongs to the role `{user}` of the service, which can then change the log"
        );
        return wrong(
            what,
            "use another role for the service than for `countersign store migrate`".to_owned(),
        );
    }
    if LOG_TABLES.contains(&name)
        && let Some(right) = table.get::<Option<&str>>(6)?
    {
        let what =
            format!("is a table of the log, but the role `{user}` has the right {right} on it");
        return wrong(
            what,
            format!("run as the owner: REVOKE {right} ON {schema}.{name} FROM {user}"),
        );
    }
    Ok(())
}

/// Checks that a lock of one connection excludes another connection. A pooler in transaction mode gives both
/// connections the same connection to the server.
pub fn check_locks(link: &Link, other: &Link, key: i64) -> StoreResult {
    let take = "SELECT pg_try_advisory_lock($1), pg_backend_pid()";
    let row = |link: &Link| -> StoreResult<(bool, i32)> {
        let rows = link.query(DURING, take, values![key])?;
        Fields::new(DURING, &rows[0]).pair()
    };
    let (first, second) = (row(link)?, row(other)?);
    link.query(DURING, "SELECT pg_advisory_unlock($1)", values![key])?;
    if !first.0 || second.0 || first.1 == second.1 {
        return Err(refused(
            "two connections to the database share one connection to the server, so a connection pooler (such as PgBouncer \
             in transaction mode) answers in place of PostgreSQL; name the server itself in the URL",
        ));
    }
    Ok(())
}
