//! The plan of each statement, on empty tables and on many rows.

use crate::{
    BEGIN, COMMIT, Fields, LOCK,
    postgres::{
        self, PostgresStore,
        reads::{MISSING, STATEMENTS},
        tests::{server, tamper},
        writer_link::statements,
    },
    read_statements::READS,
};

/// Number of runs in the larger of the two tests.
const ROWS: u32 = 100_000;
/// Statements that are no query.
const COMMANDS: [&str; 3] = [BEGIN, LOCK, COMMIT];

fn rows_of_runs() -> String {
    let id = "decode(lpad(to_hex(i), 32, '0'), 'hex')";
    let digest = "sha256(int4send(i))";
    format!(
        "INSERT INTO leaf SELECT i, 1, i, {digest}, {digest} FROM generate_series(0, {ROWS}) i;
         INSERT INTO batch SELECT i, 0, 'n', {id} FROM generate_series(1, {ROWS}) i;
         INSERT INTO proposal SELECT {id}, {digest}, {id}, NULL, 'web:restart', {digest}, {digest}, 'agent' || i % 9, i, 1, i, i, \
         i, i, i, i << 6, i, '\\x7b22657869745f636f6465223a302c22737461747573223a22737563636565646564227d' \
         FROM generate_series(1, {ROWS}) i;
         INSERT INTO nonce SELECT {id}, i << 6, {id} FROM generate_series(1, {ROWS}) i;
         INSERT INTO signature SELECT {id}, 'k', 0, 'p', 1, i, {id} FROM generate_series(1, {ROWS}) i;
         INSERT INTO denial SELECT {digest}, 'p', i, i, false FROM generate_series(1, {ROWS}) i;
         INSERT INTO output (name, bytes, at) SELECT {digest}, 1, i FROM generate_series(1, {ROWS}) i;
         INSERT INTO output_of SELECT {digest}, {id} FROM generate_series(1, {ROWS}) i;
         INSERT INTO output_order SELECT {id}, {id} FROM generate_series(1, {ROWS}) i;
         INSERT INTO payload SELECT {id}, {id} FROM generate_series(1, {ROWS}) i;
         ANALYZE leaf, batch, proposal, nonce, signature, denial, output, output_of, output_order, payload"
    )
}

/// Returns the plan that the writer's connection uses for a statement with parameters of any value.
fn plan(store: &PostgresStore, sql: &str) -> String {
    const DURING: &str = "explaining";
    let link = store.link().expect("link");
    link.script(DURING, &format!("PREPARE explained AS {sql}"))
        .expect("prepared");
    let number = (1..20)
        .take_while(|number| sql.contains(&format!("${number}")))
        .count();
    let nulls = vec!["NULL"; number].join(", ");
    let values = if number == 0 {
        String::new()
    } else {
        format!("({nulls})")
    };
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE explained{values}");
    let rows = link.query(DURING, &explain, values![]).expect("plan");
    link.script(DURING, "DEALLOCATE explained")
        .expect("forgotten");
    let lines: Vec<String> = rows
        .iter()
        .map(|row| Fields::new(DURING, row).get(0).expect("line"))
        .collect();
    lines.join("\n")
}

#[test]
fn each_statement_uses_indexes_on_empty_tables_and_on_many_rows() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    // The store is opened first, because the rows below are no log.
    let (store, _) = postgres::open(settings.clone(), None).expect("opened");
    for rows in [String::new(), rows_of_runs()] {
        tamper(&settings, &rows);
        let all = [&statements(), MISSING, READS, &STATEMENTS.all()].concat();
        for sql in all.iter().filter(|sql| !COMMANDS.contains(sql)) {
            let plan = plan(&store, sql);
            let scans = ["Seq Scan", "Hash Join", "Merge Join", "Bitmap"]
                .iter()
                .find(|scan| plan.contains(**scan));
            assert!(scans.is_none(), "{sql}\n{plan}");
        }
    }
}
