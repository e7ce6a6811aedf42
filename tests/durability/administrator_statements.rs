//! Statements of a hostile administrator of the database, which a superuser executes against the tables of a boundary.

use crate::store_by_hand::UNSEEN;
use crate::support::postgres::cluster::Cluster;

/// What the administrator can change unnoticed, in addition to `UNSEEN`: rows, a column or a kind of statement (`*` stands
/// for all, `|` separates several), and the reason why no run and no evidence depends on it.
const UNNAMED: &[(&str, &str, &str)] = &[
    (
        "artifact",
        "*",
        "a lost upload is uploaded again, and the bytes are compared with the signed digest before a run",
    ),
    (
        "piece",
        "*",
        "an upload that nobody finds is uploaded again; the pieces of outputs are compared with the receipts",
    ),
    (
        "checkpoint",
        "DELETE",
        "a checkpoint is signed again when it is needed, and each node keeps its newest one",
    ),
    (
        "cosignature",
        "*",
        "verified again when it is read; without it, the witness is asked again",
    ),
    (
        "node",
        "*",
        "a sign of life: it decides only who waits for whom",
    ),
    (
        "kept_head",
        "*",
        "each node compares the log with its own file, and writes this row from the file at each start",
    ),
    (
        "batch",
        "*",
        "the number keeps two writers apart; another number or term only stops the service",
    ),
    ("state", "term", "another term only stops the service"),
    (
        "state",
        "server",
        "a difference only makes the nodes compare their checkpoints once more",
    ),
    (
        "state",
        "lost",
        "the word of the operator about a lost node, which no document has",
    ),
    (
        "crossing",
        "node|deadline",
        "decides only when another node may close a run, whose nonce stays spent",
    ),
    (
        "proposal",
        "created_ms",
        "lists are sorted by it, and no document states its milliseconds; a check compares the seconds",
    ),
    (
        "proposal WHERE ended",
        "INSERT|DELETE",
        "a proposal that did not run stands in no document",
    ),
    (
        "signature",
        "*",
        "verified again before anything runs by it",
    ),
    (
        "event",
        "*",
        "an event decides nothing: at worst, somebody is told too late, or something wrong",
    ),
    (
        "standing",
        "*",
        "a grant is verified again at each use, and its row leads only to the bytes that people signed",
    ),
    (
        "standing_use",
        "*",
        "a start compares the uses of the last day with the log, and audits count all",
    ),
    (
        "owed",
        "*",
        "an audit counts the open emergencies and the unsettled runs in the log, and a check compares the rows",
    ),
    (
        "review",
        "*",
        "the log has the signed reviews, by which an audit decides, and a check compares the rows",
    ),
    (
        "told",
        "*",
        "decides only which messages are sent again or lost",
    ),
    ("payload", "DELETE", "only of proposals that did not run"),
    (
        "output_order",
        "*",
        "only how the two streams are shown together",
    ),
    (
        "id_token",
        "*",
        "no document has it: the administrator can let an ID token open its token again",
    ),
    ("admitted", "*", "only shown, as the boundary's word"),
    (
        "token WHERE ended",
        "*",
        "a revoked token has no rights, and stands in no seal",
    ),
    (
        SEVERAL,
        "the second signature is forged|the service runs and gets a forged signature",
        "a stored signature is verified again before anything runs by it",
    ),
    (
        SEVERAL,
        "the service runs and loses its term",
        "another term only stops the service",
    ),
];

/// The name of changes in several tables.
pub(crate) const SEVERAL: &str = "several";

/// A change of the administrator.
pub(crate) struct Attack {
    pub(crate) table: String,
    /// The changed column, the kind of the statement, or the aim.
    pub(crate) what: String,
    /// True if the changed row is a proposal that did not run, or a revoked token.
    ended: bool,
    /// Statements that a superuser executes while the service is down. The last one returns a row if it changed one.
    pub(crate) sql: String,
    /// Statements that follow while the service runs.
    pub(crate) live: String,
}

impl Attack {
    /// Returns the reason why nothing has to name this change.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        let listed = |(rows, what, _): &&(&str, &str, &str)| {
            let (table, only_ended) = rows
                .split_once(' ')
                .map_or((*rows, false), |(table, _)| (table, true));
            let same = *what == "*" || what.split('|').any(|what| what == self.what);
            table == self.table && same && (self.ended || !only_ended)
        };
        UNNAMED
            .iter()
            .chain(UNSEEN)
            .find(listed)
            .map(|(.., reason)| *reason)
    }
}

struct Column {
    /// The quoted name.
    name: String,
    kind: String,
    is_key: bool,
}

impl Column {
    /// Returns zero, a shifted value, and the value of another row than `victim`.
    fn values(&self, table: &str, keys: &str, victim: &str) -> [String; 3] {
        let name = &self.name;
        let bytes = format!("coalesce(nullif({name}, '\\x'), '\\x00')");
        let (zero, shifted) = match self.kind.as_str() {
            "bytea" => (
                "'\\x'",
                format!(
                    "set_byte({bytes}, length({bytes}) - 1, get_byte({bytes}, length({bytes}) - 1) # 1)"
                ),
            ),
            "text" => ("''", format!("coalesce({name}, '') || 'x'")),
            "boolean" => ("false", format!("NOT {name}")),
            "timestamp with time zone" => (
                "'epoch'",
                format!("coalesce({name}, now()) + interval '1 day'"),
            ),
            _ => ("0", format!("coalesce({name}, 0) + 1")),
        };
        let of_victim = format!("(SELECT c.{name} FROM {table} c WHERE c.ctid = {victim})");
        let other = format!(
            "(SELECT b.{name} FROM {table} b WHERE b.{name} IS DISTINCT FROM {of_victim} ORDER BY ROW({keys}) LIMIT 1)"
        );
        [zero.to_owned(), shifted, other]
    }
}

/// Returns the tables of the boundary with their columns, except those that PostgreSQL generates.
fn tables(server: &Cluster) -> Vec<(String, Vec<Column>)> {
    let lines = server.psql(
        "SELECT c.table_name, c.column_name, c.data_type, EXISTS (SELECT FROM information_schema.key_column_usage k \
         JOIN information_schema.table_constraints t USING (constraint_schema, constraint_name) \
         WHERE t.constraint_type = 'PRIMARY KEY' AND k.table_schema = 'countersign' AND k.table_name = c.table_name \
         AND k.column_name = c.column_name) FROM information_schema.columns c WHERE c.table_schema = 'countersign' \
         AND c.is_identity = 'NO' ORDER BY c.table_name, c.ordinal_position",
    );
    let mut tables: Vec<(String, Vec<Column>)> = Vec::new();
    for line in lines.lines() {
        let [table, column, kind, key] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        if tables.last().is_none_or(|(last, _)| last != table) {
            tables.push((table.to_owned(), Vec::new()));
        }
        let column = Column {
            name: format!("\"{column}\""),
            kind: kind.to_owned(),
            is_key: key == "t",
        };
        tables.last_mut().unwrap().1.push(column);
    }
    tables
}

/// Returns conditions for the rows of a table that differ in kind. The second value is true for proposals that did not
/// run, and for revoked tokens.
fn rows_of(table: &str) -> Vec<(String, bool)> {
    let plain = |conditions: &[&str]| {
        conditions
            .iter()
            .map(|condition| ((*condition).to_owned(), false))
            .collect()
    };
    match table {
        "proposal" => (0..7)
            .map(|status| (format!("status = {status}"), status > 1))
            .collect(),
        "leaf" => (1..6)
            .chain([9])
            .map(|kind| (format!("kind = {kind}"), false))
            .collect(),
        "output" => plain(&["data IS NULL", "data IS NOT NULL"]),
        "token" => vec![
            ("revoked_at IS NULL".to_owned(), false),
            ("revoked_at IS NOT NULL".to_owned(), true),
        ],
        "piece" => plain(&[
            "name IN (SELECT name FROM output)",
            "name NOT IN (SELECT name FROM output)",
        ]),
        _ => plain(&["true"]),
    }
}

/// Returns statements for each column of each table, and for the rows of each table.
pub(crate) fn of_all_tables(server: &Cluster) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (table, columns) in &tables(server) {
        let names = |keys: bool| {
            let names = columns
                .iter()
                .filter(|column| column.is_key == keys)
                .map(|column| column.name.clone());
            names.collect::<Vec<_>>().join(", ")
        };
        let (keys, others) = (names(true), names(false));
        let row = |condition: &str, order: &str| {
            format!(
                "(SELECT ctid FROM {table} WHERE {condition} ORDER BY ROW({keys}) {order} LIMIT 1)"
            )
        };
        let mut add = |what: &str, ended: bool, sql: String| {
            let (table, what) = (table.clone(), what.trim_matches('"').to_owned());
            attacks.push(Attack {
                table,
                what,
                ended,
                sql: format!("{sql} RETURNING 1"),
                live: String::new(),
            });
        };
        for (condition, ended) in rows_of(table) {
            let victim = row(&condition, "DESC");
            for column in columns {
                let name = &column.name;
                for value in column.values(table, &keys, &victim) {
                    let update =
                        format!("UPDATE {table} SET {name} = {value} WHERE ctid = {victim}");
                    add(
                        name,
                        ended,
                        format!("{update} AND {name} IS DISTINCT FROM {value}"),
                    );
                }
            }
            add(
                "DELETE",
                ended,
                format!("DELETE FROM {table} WHERE ctid = {victim}"),
            );
            let first = columns.iter().find(|column| column.is_key).unwrap();
            let name = &first.name;
            let new = match first.kind.as_str() {
                "bytea" => format!("substring(sha256({name}) for length({name}))"),
                "text" => format!("{name} || '-copy'"),
                _ => format!("{name} + (SELECT max({name}) + 1 FROM {table})"),
            };
            let all = if others.is_empty() {
                keys.clone()
            } else {
                format!("{keys}, {others}")
            };
            let copied = all.replacen(name.as_str(), &new, 1);
            let copy = format!("SELECT {copied} FROM {table} WHERE ctid = {victim}");
            add(
                "INSERT",
                ended,
                format!("INSERT INTO {table} ({all}) {copy}"),
            );
        }
        add(
            "DELETE",
            false,
            format!("DELETE FROM {table} WHERE ctid = {}", row("true", "ASC")),
        );
        add("DELETE", false, format!("DELETE FROM {table}"));
        if !others.is_empty() {
            let two = format!("({}, {})", row("true", "ASC"), row("true", "DESC"));
            let of_other = format!(
                "SELECT {others} FROM {table} b WHERE b.ctid IN {two} AND b.ctid <> a.ctid"
            );
            let list = if others.contains(", ") {
                format!("({others})")
            } else {
                others.clone()
            };
            add(
                "SWAP",
                false,
                format!("UPDATE {table} a SET {list} = ({of_other}) WHERE a.ctid IN {two}"),
            );
        }
    }
    attacks
}

/// What a change with an aim needs to know about the history.
pub(crate) struct Known<'a> {
    pub(crate) tables: Vec<&'a str>,
    /// The proposal with one of two signatures, as bytes in SQL.
    pub(crate) half: String,
    /// The key of the missing approver, who is bob.
    pub(crate) bob: String,
}

/// Forgets the runs, but not their nonces.
const FORGET_RUNS: &str = "DELETE FROM proposal WHERE status = 1";
/// Forgets the spent nonces.
const FORGET: &str = "DELETE FROM nonce; DELETE FROM proposal WHERE status = 1";
/// Forgets the spent nonces of the first tile.
const FORGET_OLD: &str = "DELETE FROM nonce WHERE spent < 256 * 64; DELETE FROM proposal WHERE status = 1 AND spent < 256 * 64";
/// Moves the end of a nonce to 1970.
const ENDED: &str = "nonce = '\\x0000000000000001'::bytea || substr(nonce, 9)";
/// Forgets the denials.
const FORGET_DENIALS: &str = "DELETE FROM denial; DELETE FROM proposal WHERE status = 4";
/// Deletes denials while the service runs.
pub(crate) const HIDDEN_DENIALS: &str = "the service runs and the denials disappear";

/// Returns statements that put an earlier copy of these tables back.
fn dump(tables: &[&str]) -> String {
    let back = |table: &&str| {
        format!(
            "DELETE FROM {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM earlier.{table}"
        )
    };
    tables.iter().map(back).collect::<Vec<_>>().join("; ")
}

/// Returns statements that cut the log to this size, with all that later entries left in other tables.
fn cut(size: u32) -> String {
    format!(
        "DELETE FROM leaf WHERE idx >= {size}; DELETE FROM tile WHERE {size} < 256; \
         DELETE FROM checkpoint WHERE size > {size}; DELETE FROM seal WHERE idx >= {size}; \
         UPDATE state SET seal = (SELECT digest FROM seal ORDER BY idx DESC LIMIT 1); \
         DELETE FROM nonce WHERE spent >= {size} * 64; DELETE FROM proposal WHERE spent >= {size} * 64; \
         DELETE FROM denial WHERE leaf >= {size}"
    )
}

/// Returns statements that make a proposal a run in progress.
fn running(proposal: &str) -> String {
    format!(
        "UPDATE proposal SET status = 0, started_at = created_ms / 1000, ended_at = NULL, spent = 17000 WHERE id = {proposal}; \
         INSERT INTO crossing SELECT 17000, p.id, NULL, 'one', c.deadline FROM crossing c, proposal p WHERE p.spent = 17000; \
         INSERT INTO nonce SELECT nonce, spent, id FROM proposal WHERE spent = 17000"
    )
}

/// Returns a statement that replaces text in the bytes of rows.
fn replaced(table: &str, from: &str, to: &str, condition: &str) -> String {
    format!(
        "UPDATE {table} SET data = convert_to(replace(convert_from(data, 'UTF8'), '{from}', '{to}'), 'UTF8') WHERE {condition}"
    )
}

/// Returns changes with an aim, each of several statements.
pub(crate) fn with_an_aim(known: &Known<'_>) -> Vec<Attack> {
    let (all, half) = (&known.tables[..], &known.half);
    let rows: Vec<&str> = all
        .iter()
        .copied()
        .filter(|table| !["node", "kept_head", "batch"].contains(table))
        .collect();
    let old = "kind = 2 AND idx < 256";
    let second = format!(
        "INSERT INTO signature SELECT proposal, '{}', 1, 'bob', presence, at, sig FROM signature WHERE proposal = {half}; \
         UPDATE proposal SET status = 3, approved_at = created_ms / 1000 WHERE id = {half}",
        known.bob
    );
    let ahead = format!("{FORGET}; UPDATE state SET mark = mark + 90000");
    let before = [
        ("spent nonces are forgotten", FORGET.to_owned()),
        ("spent nonces are moved", format!("UPDATE nonce SET nonce = sha256(nonce); {FORGET_RUNS}")),
        ("spent nonces have ended", format!("UPDATE nonce SET {ENDED}; {FORGET_RUNS}")),
        ("an earlier log spent", format!("UPDATE nonce SET spent = -1, {ENDED}; {FORGET_RUNS}")),
        ("consumptions are destroyed", format!("{FORGET}; UPDATE leaf SET data = 'x' WHERE kind = 2")),
        ("consumptions are destroyed below a tile", format!("{FORGET_OLD}; UPDATE leaf SET data = 'x' WHERE {old}")),
        (
            "consumptions and their hashes are replaced below a tile",
            format!("{FORGET_OLD}; UPDATE leaf SET data = 'x', hash = sha256('\\x0078') WHERE {old}"),
        ),
        (
            "consumptions become another entry",
            format!("{FORGET_OLD}; UPDATE leaf SET data = (SELECT data FROM leaf WHERE kind = 4 LIMIT 1) WHERE {old}"),
        ),
        (
            "consumptions are a thousand years older",
            format!("{FORGET_OLD}; {}", replaced("leaf", "OnsiYXQiOiIyMDI", "OnsiYXQiOiIxMDI", old)),
        ),
        ("consumptions have another kind", format!("{FORGET}; UPDATE leaf SET kind = 5 WHERE kind = 2")),
        ("the times of the log go back", format!("{FORGET}; UPDATE leaf SET at = 0")),
        ("the low-water mark goes ahead", ahead.clone()),
        ("the log has only its beginning", cut(8)),
        ("the log ends at its tile", cut(257)),
        ("the log lacks its last run", cut(271)),
        ("the log lacks its last run, and nobody saw it", format!("{}; DELETE FROM kept_head; DELETE FROM node", cut(271))),
        ("an old dump", dump(all)),
        ("an old dump without the nodes", dump(&rows)),
        ("an old dump and another server", format!("{}; UPDATE state SET server = 'x'", dump(all))),
        (
            "an old dump, another server and no nodes",
            format!("{}; UPDATE state SET server = 'x'; DELETE FROM node; DELETE FROM kept_head", dump(all)),
        ),
        ("an old dump of the nonces", dump(&["nonce", "proposal"])),
        ("an old dump of the log", dump(&["leaf", "tile", "checkpoint"])),
        ("denials are forgotten", FORGET_DENIALS.to_owned()),
        ("denied proposals are approved", "DELETE FROM denial; UPDATE proposal SET status = 3 WHERE status = 4".to_owned()),
        (
            "denials are of another authorization",
            "UPDATE denial SET \"authorization\" = sha256(\"authorization\"); DELETE FROM proposal WHERE status = 4".to_owned(),
        ),
        ("denials are destroyed", format!("{FORGET_DENIALS}; UPDATE leaf SET data = 'x' WHERE kind = 4 AND idx < 256")),
        (
            "expired proposals are approved",
            "UPDATE state SET mark = 0; UPDATE proposal SET status = 3, ended_at = NULL, expires_at = expires_at + 90000 \
             WHERE expires_at < extract(epoch FROM now())"
                .to_owned(),
        ),
        ("the second signature is forged", second.clone()),
        (
            "the first signature counts twice",
            format!("INSERT INTO signature SELECT proposal, keyid || 'x', 1, person, presence, at, sig FROM signature; \
                     UPDATE proposal SET status = 3 WHERE id = {half}"),
        ),
        ("all proposals are approved", "UPDATE proposal SET status = 3, ended_at = NULL WHERE status > 3".to_owned()),
        ("an unapproved proposal runs", running(half)),
        ("a denied proposal runs", running("(SELECT id FROM proposal WHERE status = 4 LIMIT 1)")),
        (
            "the approvers see another payload",
            format!("UPDATE payload SET data = (SELECT b.data FROM payload b WHERE b.proposal <> {half} LIMIT 1) \
                     WHERE proposal = {half}"),
        ),
        (
            "the sealed policy asks for one approver",
            replaced("blob", "\"required\":2", "\"required\":1", "position('\"required\":2'::bytea in data) > 0"),
        ),
        ("the first seal is in force", "UPDATE state SET seal = boundary".to_owned()),
        ("later seals are forgotten", "DELETE FROM seal WHERE idx > 0; UPDATE state SET seal = boundary".to_owned()),
        ("tokens have more rights", "UPDATE token SET entry = (entry::jsonb || '{\"scopes\": [\"propose\", \"read\"], \"patterns\": []}')::text".to_owned()),
        ("a revoked token is valid", "UPDATE token SET revoked_at = NULL, entry = (entry::jsonb - 'expires_at')::text".to_owned()),
        ("tokens have no owners", "UPDATE token SET entry = jsonb_set(entry::jsonb, '{owners}', '[]')::text".to_owned()),
    ];
    let live = [
        ("the service runs and forgets", FORGET.to_owned()),
        (
            "the service runs and its log changes",
            format!("{FORGET_OLD}; UPDATE leaf SET data = 'x' WHERE {old}"),
        ),
        (
            "the service runs and its mark goes back",
            format!("{FORGET}; UPDATE state SET mark = 0"),
        ),
        ("the service runs on an old dump", dump(all)),
        (
            "the service runs on old nonces",
            dump(&["nonce", "proposal"]),
        ),
        (HIDDEN_DENIALS, FORGET_DENIALS.to_owned()),
        ("the service runs and gets a forged signature", second),
        (
            "the service runs and loses its term",
            "UPDATE state SET term = term + 1".to_owned(),
        ),
        (
            "the service runs and loses entries",
            "DELETE FROM leaf WHERE idx > 260".to_owned(),
        ),
    ];
    let attack = |what: &str, sql: String, live: String| {
        let (table, what) = (SEVERAL.to_owned(), what.to_owned());
        Attack {
            table,
            what,
            ended: false,
            sql: format!("{sql}; SELECT 1"),
            live,
        }
    };
    let mut attacks: Vec<_> = before
        .into_iter()
        .map(|(what, sql)| attack(what, sql, String::new()))
        .collect();
    attacks.extend(
        live.into_iter()
            .map(|(what, sql)| attack(what, "SELECT 1".to_owned(), sql)),
    );
    let back = "UPDATE state SET mark = mark - 90000".to_owned();
    attacks.push(attack(
        "the low-water mark goes ahead and back",
        ahead,
        back,
    ));
    attacks
}
