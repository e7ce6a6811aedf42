//! Manual changes to the rows, the schema or the low-water mark of a store: `store check` reports them, and no step
//! runs again because of them.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::issuer::SigningKey;
use crate::support::grants;
use crate::support::people::{alice, bob, envelope};
use crate::support::reviews;
use crate::support::{World, assert_says, exited, id_of, people, said, said_at_exit};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

/// Columns whose changes `store check` cannot detect, with the reason why that is harmless. A `WHERE` clause limits an
/// entry to some rows of its table.
pub(crate) const UNSEEN: &[(&str, &str, &str)] = &[
    (
        "state",
        "version",
        "a counter of this process: it says that something changed, not what",
    ),
    (
        "state",
        "mark",
        "the past of a clock is written nowhere; far ahead of it and of the log is seen, and deletes nothing",
    ),
    (
        "proposal",
        "request",
        "the digest of a body that nobody keeps: only the answer to the same request again",
    ),
    (
        "proposal",
        "approved_at",
        "only shown: when its last signature came stands in no document",
    ),
    (
        "proposal WHERE status > 1",
        "status",
        "how far it got without running; signatures and denials are judged again at the run",
    ),
    (
        "proposal WHERE status > 1",
        "ended_at",
        "only shown, and retention deletes nothing before its window has closed",
    ),
    ("proposal WHERE status > 1", "detail", "only shown"),
    (
        "crossing",
        "exclusive",
        "a name that the sealed step has; held only while it runs",
    ),
    (
        "crossing",
        "decision",
        "goes into the receipt, where every verifier decides it again",
    ),
    ("signature", "number", "the order of arrival is only shown"),
    (
        "signature",
        "presence",
        "only shown: what counts is read from the signature",
    ),
    ("signature", "at", "only shown"),
    (
        "signature",
        "sig",
        "verified again before anything runs by it",
    ),
    (
        "denial",
        "at",
        "shown, and counted by for the day's limit of early denials: a denial states no time",
    ),
    (
        "denial",
        "ahead",
        "says only whether it counts for the day's limit of early denials; it denies all the same",
    ),
    (
        "output_order",
        "data",
        "only how the two streams are shown together",
    ),
    ("token", "created_at", "only shown"),
    ("admitted", "proposal", "only shown, as the boundary's word"),
    ("admitted", "job", "only shown, as the boundary's word"),
    ("id_token", "digest", USED),
    ("id_token", "expires_at", USED),
    ("standing", "created_at", "only shown"),
    (
        "review",
        "reviewer",
        "an audit reads the person from the signature of the review in the log",
    ),
    (
        "review",
        "counts_review",
        "an audit decides again for which groups a review counts",
    ),
    (
        "review",
        "counts_settle",
        "an audit decides again for which groups a review counts",
    ),
    ("event", "seq", EVENT),
    ("event", "at", EVENT),
    ("event", "kind", EVENT),
    ("event", "proposal", EVENT),
    ("event", "step", EVENT),
    ("event", "proposer", EVENT),
    ("event", "entry", EVENT),
    ("event", "words", EVENT),
];

const USED: &str =
    "no document has it: anyone who can write the file can let an ID token open its token again";

const EVENT: &str =
    "an event decides nothing: at worst, somebody is told too late, or something wrong";

fn program(world: &World, arguments: &[&str]) -> Output {
    world
        .program(arguments)
        .arg("--config")
        .arg(world.path("b"))
        .output()
        .expect("countersign")
}

fn sql(path: &Path, statement: &str) {
    Connection::open(path)
        .unwrap()
        .execute_batch(statement)
        .unwrap();
}

/// A boundary with rows in every table: one open run, and proposals and runs in every other state. Also returns its
/// backup.
fn full() -> (World, PathBuf) {
    const EMERGENCY: &str = "  emergency: {required: 1, from: [ops], max_unreviewed: 2, max_window_s: 600, review: {required: 1, from: [ops]}}\noverrides:";
    let world = World::with(|setup| setup.policy = grants::POLICY.replace("overrides:", EMERGENCY));
    for text in ["closed", "open"] {
        let run = reviews::ran(&world, text);
        if text == "closed" {
            let _ = reviews::reviewed(&world, &run, &people::dora(), "accepted", None).ok(200);
        }
    }
    let grant = grants::granted(&world, &grants::terms());
    grants::used(
        &world,
        &grants::bearer(&world, &people::robot()),
        &grant,
        "kept",
    );
    world.run("say:echo", json!({"text": "kept"}), &[&alice()]);
    world.run("plain:fail", json!({}), &[&bob()]);
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world.submit(&whole).ok(200);
    world.submit(&whole).problem("nonce-replayed");
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &alice()).ok(200);
    let cancelled = world.propose("plain:fail", json!({}));
    world
        .wire
        .post(
            &format!("/v1/proposals/{}/cancellation", id_of(&cancelled)),
            &world.agent,
            &json!({}),
        )
        .ok(200);
    let waits = world.propose("two:go", json!({}));
    world.sign(&waits, &[&alice()]).ok(200);
    let runs = world.propose("plain:wait", json!({}));
    world.sign(&runs, &[&alice()]).ok(200);
    world.until(id_of(&runs), "running");
    propose_as_job(&world);
    let backup = world.path("backup");
    exited(
        program(&world, &["store", "backup", backup.to_str().unwrap()]),
        0,
    );
    (world, backup)
}

/// Proposes as a job whose issuer has pinned keys.
fn propose_as_job(world: &World) {
    let (key, at) = (SigningKey::p256(), people::now());
    let token = json!({"name": "ci", "owners": ["carol"], "scopes": ["propose"], "patterns": []});
    let keys = json!({"keys": [key.jwk("a")]}).to_string();
    let oidc = json!({"issuer": "https://issuer.example", "claims": {"sub": "a"}, "jwks": keys});
    let audience = world.create_token_of_jobs(&token, &oidc).expect("a token");
    let claims = json!({"iss": "https://issuer.example", "sub": "a", "aud": audience, "iat": at, "exp": at + 300,
        "jti": "a"});
    let admitted = world
        .wire
        .post(
            "/v1/admissions",
            "",
            &json!({"id_token": key.sign("a", &claims)}),
        )
        .ok(200);
    let bearer = admitted["bearer"].as_str().expect("a bearer");
    world
        .wire
        .post(
            "/v1/proposals",
            bearer,
            &World::wish("two:go", json!({"text": "of a job"})),
        )
        .ok(201);
}

/// A different value of the same type.
fn other(cell: &Cell) -> Cell {
    match cell {
        Cell::Null => Cell::Integer(1),
        Cell::Integer(number) => Cell::Integer(number + 1),
        Cell::Real(number) => Cell::Real(number + 1.0),
        Cell::Text(text) => Cell::Text(format!("{text}x")),
        Cell::Blob(bytes) => {
            let mut bytes = bytes.clone();
            match bytes.last_mut() {
                Some(last) => *last ^= 1,
                None => bytes.push(0),
            }
            Cell::Blob(bytes)
        }
    }
}

fn strings(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn store_check_finds_a_change_of_any_column_of_any_table() {
    let (world, backup) = full();
    let database = backup.join("countersign.db");
    let sound = std::fs::read(&database).unwrap();
    let check = || program(&world, &["store", "check", backup.to_str().unwrap()]);
    assert_eq!(check().status.code(), Some(0), "{}", said(&check()));
    let connection = Connection::open(&database).unwrap();
    let tables = strings(
        &connection,
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
    );
    let excepted = |table: &str, column: &str, key: &str, keys: &[Cell]| {
        UNSEEN
            .iter()
            .filter(|(rows, named, _)| *named == column && rows.split(' ').next() == Some(table))
            .any(|(rows, ..)| {
                let and = if rows.contains(" WHERE ") {
                    "AND"
                } else {
                    "WHERE"
                };
                let query = format!("SELECT 1 FROM {rows} {and} {key}");
                connection
                    .prepare(&query)
                    .unwrap()
                    .exists(rusqlite::params_from_iter(keys))
                    .unwrap()
            })
    };
    let (mut changes, mut unseen) = (Vec::new(), Vec::new());
    for table in &tables {
        let columns = strings(
            &connection,
            &format!("SELECT name FROM pragma_table_info('{table}')"),
        );
        let keys = strings(
            &connection,
            &format!("SELECT name FROM pragma_table_info('{table}') WHERE pk > 0"),
        );
        let key = keys
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{name} = ?{}", at + 1))
            .collect::<Vec<_>>();
        let key = key.join(" AND ");
        // All proposals, because their states differ; of every other table the first and the last row.
        let mut rows: Vec<Vec<Cell>> = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap()
            .query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(
            !rows.is_empty() || ["packed", "tile", "told"].contains(&&**table),
            "{table} has no row to change"
        );
        if table != "proposal" && rows.len() > 2 {
            rows = vec![rows.remove(0), rows.pop().unwrap()];
        }
        for row in &rows {
            let of = |name: &String| {
                row[columns.iter().position(|column| column == name).unwrap()].clone()
            };
            let keys: Vec<Cell> = keys.iter().map(of).collect();
            for (column, cell) in columns.iter().zip(row) {
                if excepted(table, column, &key, &keys) {
                    continue;
                }
                let mut values = keys.clone();
                values.push(match cell {
                    // No document states the milliseconds of this time.
                    Cell::Integer(ms) if column == "created_ms" => Cell::Integer(ms + 1000),
                    _ => other(cell),
                });
                let statement = format!(
                    "UPDATE {table} SET {column} = ?{} WHERE {key}",
                    values.len()
                );
                changes.push((statement, values));
            }
        }
    }
    drop(connection);
    for (statement, values) in &changes {
        std::fs::write(&database, &sound).unwrap();
        let connection = Connection::open(&database).unwrap();
        // Skip changes that SQLite itself rejects, for example a wrong type or a duplicate key.
        if connection
            .execute(statement, rusqlite::params_from_iter(values))
            .is_err()
        {
            continue;
        }
        drop(connection);
        let output = check();
        if output.status.code() != Some(1) {
            unseen.push(format!("{statement} {values:?}: {}", said(&output)));
        }
    }
    assert!(
        unseen.is_empty(),
        "{} of {} changes unseen:\n{}",
        unseen.len(),
        changes.len(),
        unseen.join("\n")
    );
    assert!(changes.len() > 100, "only {} changes", changes.len());
}

/// Moves the end of each spent nonce to 1970.
const ENDED: &str = "UPDATE nonce SET nonce = unhex('0000000000000001' || substr(hex(nonce), 17))";

#[test]
fn promise_2_an_edited_expiry_never_frees_a_nonce() {
    // The end is the beginning of the key, so the edited row is that of another nonce.
    for edit in [ENDED.to_owned(), format!("{ENDED}, spent = -1")] {
        let mut world = World::new();
        let whole = envelope(
            &people::authorization(&world.authorization("plain:true", json!({}))),
            &[&alice()],
        );
        world.submit(&whole).ok(200);
        world.stop();
        sql(
            &world.database(),
            &format!("{edit}; DELETE FROM proposal; UPDATE state SET mark = 0"),
        );
        assert_says(
            world.try_start().expect_err("the row is gone"),
            "could run again",
        );
    }
}

#[test]
fn promise_2_rows_that_are_deleted_while_the_service_runs_let_no_envelope_run_again() {
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    for (number, edit) in [
        "DELETE FROM nonce",
        "DELETE FROM nonce; DELETE FROM proposal",
        "UPDATE nonce SET nonce = randomblob(24); DELETE FROM proposal",
        &format!("{ENDED}; DELETE FROM proposal"),
    ]
    .into_iter()
    .enumerate()
    {
        let whole = envelope(
            &people::authorization(&world.authorization("plain:true", json!({}))),
            &[&alice()],
        );
        world.submit(&whole).ok(200);
        if number == 0 {
            // The nonces of an earlier process are in the log.
            world.restart();
        }
        sql(&world.database(), edit);
        world.submit(&whole).problem("nonce-replayed");
        // The same nonce, signed again under another proposal.
        let mut other = people::predicate_of(&whole);
        let end = people::end_of(other["proposal"].as_str().unwrap());
        other["proposal"] = json!(people::proposal_id_until(end));
        world
            .submit(&envelope(&people::authorization(&other), &[&alice()]))
            .problem("nonce-replayed");
        assert!(
            world.service_log().contains("countersign store check"),
            "{edit}"
        );
    }
    assert_eq!(world.count("consumption"), 5, "one for each envelope");
}

#[test]
fn promise_2_a_missing_nonce_row_is_found_even_if_log_rows_were_edited() {
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    let edits = [
        "UPDATE leaf SET at = 0",
        "UPDATE leaf SET kind = 3 WHERE kind = 2",
        "DELETE FROM proposal; UPDATE leaf SET data = (SELECT data FROM leaf WHERE kind = 3) WHERE kind = 2",
    ];
    for edit in edits {
        let sound = std::fs::read(world.database()).unwrap();
        sql(&world.database(), &format!("{edit}; DELETE FROM nonce"));
        assert_says(
            world.try_start().expect_err("it could run again"),
            "could run again",
        );
        std::fs::write(world.database(), sound).unwrap();
    }
}

#[test]
fn a_store_with_a_changed_schema_is_not_served() {
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    let database = world.database();
    let sound = std::fs::read(&database).unwrap();
    let cases = [
        (
            "CREATE TRIGGER t AFTER INSERT ON nonce BEGIN UPDATE nonce SET spent = 1 WHERE nonce = new.nonce; END",
            "trigger t was added by hand",
        ),
        (
            "CREATE VIEW v AS SELECT * FROM nonce",
            "view v was added by hand",
        ),
        (
            "DROP INDEX proposal_nonce",
            "index proposal_nonce is missing",
        ),
        (
            "ALTER TABLE blob ADD COLUMN more BLOB",
            "table blob has another definition",
        ),
        ("PRAGMA user_version = 0", "schema number 6 is missing"),
    ];
    for (statement, words) in cases {
        std::fs::write(&database, &sound).unwrap();
        sql(&database, statement);
        let refused = world.try_start().expect_err("its schema is another");
        assert!(
            refused.contains(words) && !refused.contains("CREATE TABLE"),
            "{statement}: {refused}"
        );
        let found = program(&world, &["store", "check"]);
        assert_eq!(
            found.status.code(),
            Some(1),
            "{statement}: {}",
            said(&found)
        );
        assert!(
            said(&found).contains("schema"),
            "{statement}: {}",
            said(&found)
        );
    }
    std::fs::write(&database, &sound).unwrap();
    world.start();
}

#[test]
fn a_low_water_mark_set_ahead_by_hand_is_reported_and_deletes_nothing() {
    let mut world = World::new();
    let finished = world.run("say:echo", json!({"text": "kept"}), &[&alice()]);
    world.stop();
    sql(
        &world.database(),
        "UPDATE state SET mark = mark + 400 * 86400 + (SELECT max(at) FROM leaf)",
    );
    said_at_exit(
        program(&world, &["store", "check"]),
        1,
        "the low-water mark",
    );
    world.start();
    let ready: Value = world.wire.peek("/ready").json();
    assert!(
        ready["notes"]
            .to_string()
            .contains("ahead of the system clock"),
        "{ready}"
    );
    assert_eq!(world.output(&finished, "stdout"), "kept\n");
    world.stop();
    let nonces = Connection::open(world.database()).unwrap();
    assert_eq!(
        nonces.query_row("SELECT count(*) FROM nonce", [], |row| row.get(0)),
        Ok(1)
    );
}

#[test]
fn store_check_of_a_truncated_database_exits_with_1() {
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    let sound = std::fs::read(world.database()).unwrap();
    for length in [4096, 8192, sound.len() / 2, sound.len() - 4096] {
        std::fs::write(world.database(), &sound[..length]).unwrap();
        let found = program(&world, &["store", "check"]);
        assert!(
            found.status.code() == Some(1) && said(&found).contains("DEFECT"),
            "{length}: {}",
            said(&found)
        );
    }
}
