//! The schema in the database: its migration by the owner, and the check that nobody changed it by hand.

use crate::{
    Fields, Link, ServerSettings, StoreResult, differences_of, lock_key,
    postgres::durability::LOG_TABLES, refused,
};
use documents::joined;

/// Number of the schema that this program writes. A released migration never changes.
const NUMBER: i32 = 2;
const FIRST: &str = include_str!("0001_first.sql");
/// The tables, columns and indexes after the migration. The test `the_listed_schema_is_the_migrated_schema` writes this
/// list.
pub const OBJECTS: &str = include_str!("0001_first.objects");

/// The tables to which the service may add rows, but whose rows it must not change: the log and what the log names.
pub const ADD_ONLY: &[&str] = &["checkpoint", "blob", "review"];
/// The tables whose rows the service may change.
pub const CHANGED: &[&str] = &[
    "proposal",
    "payload",
    "crossing",
    "nonce",
    "signature",
    "output",
    "output_of",
    "output_order",
    "piece",
    "artifact",
    "cosignature",
    "token",
    "node",
    "kept_head",
    "event",
    "told",
    "standing",
    "standing_use",
    "owed",
    "admitted",
    "id_token",
];

/// Every connection sets this option.
const SESSION: &str = "SELECT coalesce(current_setting('countersign.session', true), '') = 'on'";
/// One line for each table, column, constraint and index of the schema.
const LISTING: &str = "SELECT format('%s %s', CASE c.relkind WHEN 'r' THEN 'table' ELSE 'relation' END, c.relname) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 WHERE c.relkind NOT IN ('i', 'S', 't') \
    UNION ALL SELECT format('column %s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), \
    CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, CASE WHEN a.attidentity = 'a' THEN ' identity' \
    ELSE coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') END) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relkind NOT IN ('i', 'S', 't') \
    UNION ALL SELECT format('index %s of %s%s: %s%s', x.relname, c.relname, \
    CASE WHEN NOT (i.indisvalid AND i.indisready) THEN ' (not valid)' WHEN i.indisunique THEN ' unique' ELSE '' END, \
    (SELECT string_agg(pg_get_indexdef(x.oid, k::int, true), ', ' ORDER BY k) \
    FROM generate_series(1, i.indnkeyatts::int) k), coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), '')) \
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid AND c.relkind = 'r' \
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 \
    UNION ALL SELECT format('check %s of %s: %s', o.conname, c.relname, pg_get_constraintdef(o.oid)) \
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    AND n.nspname = $1 WHERE o.contype NOT IN ('p', 'u', 'n') \
    UNION ALL SELECT format('trigger %s of %s', t.tgname, c.relname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 WHERE NOT t.tgisinternal ORDER BY 1";

/// Returns the objects of the schema, one on each line.
pub fn objects(link: &Link, schema: &str) -> StoreResult<Vec<String>> {
    const DURING: &str = "reading the schema of the database";
    link.query(DURING, LISTING, values![schema])?
        .iter()
        .map(|row| Fields::new(DURING, row).get(0))
        .collect()
}

/// Refuses a schema that is empty, incomplete, newer than this program, or changed by hand, and a schema with only a
/// part of the rows of another store.
pub fn check(link: &Link, settings: &ServerSettings) -> StoreResult {
    check_objects(link, settings)?;
    if !link.value::<bool>(
        DURING,
        "SELECT EXISTS (SELECT FROM state WHERE term < 0)",
        values![],
    )? {
        return Ok(());
    }
    Err(refused(format!(
        "a move or a restore into the schema `{}` of the database {} is unfinished, so the store stays closed; run \
         `countersign store move` again. After an interrupted restore, drop the schema, run `countersign store migrate`, \
         then run the restore again",
        settings.schema,
        settings.place()
    )))
}

const DURING: &str = "checking the schema of the database";

/// Checks the schema without its rows.
pub fn check_objects(link: &Link, settings: &ServerSettings) -> StoreResult {
    let schema = &settings.schema;
    let place = settings.place();
    if !link.value::<bool>(DURING, SESSION, values![])? {
        return Err(refused(format!(
            "the database {place} is reached through a connection pooler (such as PgBouncer), which drops the options of a \
             session; name the server itself in the URL"
        )));
    }
    let found = objects(link, schema)?;
    if found.is_empty() {
        return Err(refused(format!(
            "the database {place} has no schema `{schema}` for this service; run once, as the owner of the database: \
             countersign store migrate '{}' --service-role {}",
            settings.url_of_owner(),
            settings.config.get_user().unwrap_or_default()
        )));
    }
    if !found
        .iter()
        .any(|line| line == "column meta.schema integer not null")
    {
        return Err(refused(format!(
            "the schema `{schema}` of the database {place} has other tables or an unfinished migration; name another \
             schema with `?schema=` in the URL, or drop this schema and run `countersign store migrate` again"
        )));
    }
    let rows = link.query(DURING, "SELECT schema FROM meta WHERE one = 1", values![])?;
    let number = rows
        .first()
        .map(|row| Fields::new(DURING, row).get::<i32>(0))
        .transpose()?;
    let number = number.unwrap_or_default();
    if (1..NUMBER).contains(&number) {
        return Err(refused(format!(
            "the schema `{schema}` of the database {place} was made before 1.0, so this program can't read it: make a new \
             boundary in another schema, and keep this schema and the program that made it for audits"
        )));
    }
    if number != NUMBER {
        return Err(refused(format!(
            "the schema `{schema}` of the database {place} has the number {number}, but this program needs the number \
             {NUMBER}; use the program that made the schema"
        )));
    }
    let Some(first) = differences(&found).into_iter().next() else {
        return Ok(());
    };
    Err(refused(format!(
        "the schema `{schema}` of the database {place} differs from the schema of this program ({first}), so the store \
         stays closed; undo the change that somebody made by hand, or restore a backup"
    )))
}

fn differences(found: &[String]) -> Vec<String> {
    let found = found.iter().map(String::as_str).collect();
    // `column leaf.idx bigint` and `column leaf.idx integer` are the same object with another definition.
    differences_of(&OBJECTS.lines().collect(), &found, |line| {
        joined(line.split(' ').take(2), " ")
    })
}

/// Creates the schema, its tables and the rights of the role `service`. `settings` names the owner. `say` gets messages
/// for the operator.
///
/// # Errors
/// Returns a fault if the schema exists already, or if the database refuses a statement. Nothing is then created.
pub fn migrate(settings: &ServerSettings, service: &str, say: &mut dyn FnMut(&str)) -> StoreResult {
    const DURING: &str = "creating the schema of the store";
    let link = Link::open(
        settings,
        "-c lock_timeout=20000 -c statement_timeout=30000 -c synchronous_commit=on",
    )?;
    let rows = link.query(
        DURING,
        "SELECT current_setting('synchronous_standby_names') <> '' \
         AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')), \
         EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND rolcanlogin), current_user = $1, current_database()::text",
        values![service],
    )?;
    let fields = Fields::new(DURING, &rows[0]);
    if !fields.get::<bool>(1)? || fields.get::<bool>(2)? {
        return Err(refused(format!(
            "the role `{service}` of the service does not exist, cannot log in, or is the owner itself; make the role with \
             `createuser {service}`"
        )));
    }
    if fields.get(0)? {
        say(
            "the server waits for synchronous replicas, but no replica is connected: the commit waits for at most 30 s",
        );
    }
    let key = lock_key(fields.get(3)?, &settings.schema);
    let schema = &settings.schema;
    link.take_warnings();
    link.script(DURING, "BEGIN ISOLATION LEVEL READ COMMITTED")?;
    link.query(DURING, "SELECT pg_advisory_xact_lock($1)", values![key])?;
    if !objects(&link, schema)?.is_empty() {
        return Err(refused(format!(
            "the schema `{schema}` of the database {} already has tables; start the service, or name another schema with \
             `?schema=` in the URL",
            settings.place()
        )));
    }
    let rights = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}; \
         GRANT INSERT ON {} TO {role}; GRANT INSERT, UPDATE, DELETE ON {} TO {role}; GRANT UPDATE ON state TO {role};",
        [LOG_TABLES, ADD_ONLY].concat().join(", "),
        CHANGED.join(", "),
        role = quoted(service)
    );
    link.script(
        DURING,
        &format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path = {schema}; {FIRST} {rights}"),
    )?;
    link.script(DURING, "COMMIT")?;
    match link.take_warnings().first() {
        None => Ok(()),
        Some(warning) => Err(refused(format!(
            "the schema `{schema}` was created, but the server reported: {warning}; connect a replica before the service \
             starts"
        ))),
    }
}

/// Quotes a name for a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
