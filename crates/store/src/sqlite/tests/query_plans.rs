//! The query plan of each SQL statement of the store, on a store with many rows.

use std::{collections::BTreeSet, path::Path};

use regex::Regex;
use rusqlite::{Connection, StatementStatus, params_from_iter};

use crate::{
    ProposalStatus, batch_questions, batch_rows, rare_changes,
    read_statements::READS,
    sqlite::{self, own_statements::STATEMENTS, schema},
    stored::{ProposalQuery, RunOutcome, RunQuery},
};
use documents::{Outcome, ProposalId, Timestamp, canonical_of};

/// Number of runs in the store of these tests.
const RUNS: i64 = 100_000;
/// Files whose statements read whole tables on purpose: `store check`, backups, copies to another engine, and the upgrade of
/// an old store. The statements of the readers are judged by their lists.
const WHOLE_TABLES: [&str; 5] = [
    "backup.rs",
    "check.rs",
    "own_statements.rs",
    "schema.rs",
    "table_rows.rs",
];
/// Tables with few rows: the runs in progress (also as `c`), a seal for each change of the registry, one row of state, the
/// tokens, and the unsigned proposals of one proposer in the last hour (`p`).
const SMALL_TABLES: [&str; 7] = ["c", "crossing", "p", "seal", "state", "token", "told"];
/// Scans of a table that grows, each with the reason why it is short.
const ALLOWED: [(&str, &str); 6] = [
    // The index has only the revocations.
    ("", "USING INDEX leaf_revocation"),
    // Each index has only the runs that need a review.
    ("", "USING INDEX owed_open"),
    ("", "USING INDEX owed_emergency"),
    // Only proposals that wait or run have entries in this index, and their number is limited.
    ("", "USING INDEX proposal_open"),
    ("", "USING COVERING INDEX proposal_open"),
    // A start counts the nonces, of which the table has only those of the last day.
    ("SELECT count(*) FROM nonce", "SCAN nonce"),
];

/// Returns each statement of a file, with all values of its placeholders.
fn statements(text: &str) -> Vec<String> {
    // The columns of a proposal are a macro, so its statements are in pieces.
    let text = text.replace(
        "\",\n            proposal_columns!(),\n            \"",
        "p.*",
    );
    let literal = Regex::new(r#""((?:[^"\\]|\\(?s:.))*)""#).expect("a pattern");
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let joined = Regex::new(r"\\\n\s*").expect("a pattern");
    let literals: Vec<_> = literal
        .captures_iter(&code)
        .map(|found| joined.replace_all(&found[1], "").into_owned())
        .collect();
    let values = [(
        "{table}",
        ["signature", "payload", "output_order", "admitted"]
            .map(str::to_owned)
            .to_vec(),
    )];
    let first = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "];
    let mut found: Vec<_> = literals
        .iter()
        .filter(|text| first.iter().any(|word| text.starts_with(word)))
        .cloned()
        .collect();
    for (name, values) in values {
        let filled = |sql: String| match sql.contains(name) {
            true => values
                .iter()
                .map(|value| sql.replace(name, value))
                .collect(),
            false => BTreeSet::from([sql]),
        };
        found = found.into_iter().flat_map(filled).collect();
    }
    found
}

fn store_of_many_runs(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("data").join("countersign.db");
    drop(sqlite::open(&path).expect("store"));
    let connection = Connection::open(&path).expect("store");
    let hex = |outcome: &Outcome| documents::hex(&canonical_of(outcome).expect("json"));
    let succeeded = hex(&Outcome::exited(0));
    let unknown = documents::hex(br#"{"status":"unknown","why":"the service was killed"}"#);
    // The first two runs are the only ones of their steps and of their proposer. Then follow many runs of another step.
    let rows = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {RUNS})
         INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, status, \
         created_ms, ended_at, spent, receipt, detail)
         SELECT unhex(format('019ad000000070008000%012x', i)), zeroblob(32), zeroblob(24),
         CASE i WHEN 0 THEN 'rare:one' WHEN 1 THEN 'rare:two' ELSE 'often:one' END, zeroblob(32), zeroblob(32),
         iif(i < 2, 'rare', 'often'), 1800000000, 1, 1800000000, 1800000000 + i, i << 7, i * 2 + 1,
         iif(i = 1, X'{unknown}', X'{succeeded}') FROM n;
         INSERT INTO leaf SELECT receipt, 3, created_ms, zeroblob(32), zeroblob(99) FROM proposal;
         INSERT INTO nonce SELECT unhex('000000006B49D200' || hex(id)), spent, id FROM proposal;"
    );
    connection.execute_batch(&rows).expect("rows");
    path
}

#[test]
fn no_statement_of_the_service_scans_a_table_that_grows() {
    let directory = tempfile::tempdir().expect("directory");
    let connection = Connection::open(store_of_many_runs(directory.path())).expect("store");
    schema::harden(&connection).expect("settings of the service");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![sources.join("sqlite.rs")];
    let more = std::fs::read_dir(sources.join("sqlite"))
        .expect("sources")
        .map(|entry| entry.expect("entry").path());
    files.extend(more.filter(|path| path.extension().is_some_and(|end| end == "rs")));
    files.retain(|path| !WHOLE_TABLES.iter().any(|name| path.ends_with(name)));
    let (mut judged, mut scans) = (0, Vec::new());
    let writes = [batch_questions::ALL, batch_rows::ALL, rare_changes::ALL].concat();
    let writes = writes.iter().map(|statement| statement.sqlite);
    let shared = [READS.to_vec(), STATEMENTS.all(), writes.collect()].concat();
    let shared = shared.into_iter().map(str::to_owned).collect();
    let own = files
        .into_iter()
        .map(|file| statements(&std::fs::read_to_string(file).expect("source")));
    for statements in std::iter::once(shared).chain(own) {
        for sql in statements {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
            let none = vec![None::<i64>; plan.parameter_count()];
            let steps = plan
                .query_map(params_from_iter(none), |row| row.get::<_, String>(3))
                .expect("plan");
            for step in steps.map(|step| step.expect("step")) {
                let scanned = step
                    .strip_prefix("SCAN ")
                    // A row without a table.
                    .filter(|rest| !["CONSTANT ROW", "one"].contains(rest))
                    .and_then(|rest| rest.split(' ').next());
                // The largest or smallest key needs one row.
                let one_row = sql.ends_with("LIMIT 1") && !step.contains("B-TREE");
                let is_allowed =
                    |(start, how): &(&str, &str)| sql.starts_with(start) && step.ends_with(how);
                if scanned.is_some_and(|table| !SMALL_TABLES.contains(&table))
                    && !one_row
                    && !ALLOWED.iter().any(is_allowed)
                {
                    scans.push(format!("{sql}: {step}"));
                }
            }
            judged += 1;
        }
    }
    assert!(judged > 80, "only {judged} statements were found");
    assert_eq!(scans, Vec::<String>::new());
}

/// SQLite prepares a statement again if its plan could depend on a bound value, which takes longer than most statements.
#[test]
fn no_frequent_statement_is_prepared_again_for_new_values() {
    let directory = tempfile::tempdir().expect("directory");
    let connection = Connection::open(store_of_many_runs(directory.path())).expect("store");
    schema::harden(&connection).expect("settings of the service");
    let written = [batch_questions::ALL, batch_rows::ALL, rare_changes::ALL].concat();
    let written = written.iter().map(|statement| statement.sqlite);
    let mut again = Vec::new();
    for sql in written.chain(READS.iter().copied()).chain(STATEMENTS.all()) {
        connection.execute_batch("BEGIN").expect("begin");
        let mut statement = connection.prepare(sql).expect(sql);
        for value in [vec![7_u8; 32], vec![9; 32]] {
            for at in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(at, &value).expect(sql);
            }
            // Some statements fail because the value has the wrong type, but only after the preparation.
            let mut rows = statement.raw_query();
            while let Ok(Some(_)) = rows.next() {}
        }
        if statement.get_status(StatementStatus::RePrepare) > 0 {
            again.push(sql);
        }
        drop(statement);
        connection.execute_batch("ROLLBACK").expect("rollback");
    }
    assert_eq!(again, Vec::<&str>::new());
}

#[test]
fn a_rare_run_is_found_although_many_other_runs_followed() {
    let directory = tempfile::tempdir().expect("directory");
    let path = store_of_many_runs(directory.path());
    let (reads, _) = sqlite::reads::at_rest(&path).expect("store");
    let step = |name: &str| name.parse().expect("ref");
    let query = |name: &str, outcome| RunQuery {
        step: step(name),
        outcome,
        params: None,
        proposer: None,
        ended: (Timestamp::from_unix(0), Timestamp::from_unix(i64::MAX)),
        skip: 0,
        limit: 3,
    };
    let ids = |found: Vec<crate::stored::Proposal>| -> Vec<ProposalId> {
        found.into_iter().map(|row| row.core.id).collect()
    };
    let id = |number: i64| -> ProposalId {
        format!("prp_019ad000-0000-7000-8000-{number:012x}")
            .parse()
            .expect("id")
    };
    let found = |query: &RunQuery| ids(reads.runs(query).expect("runs"));
    assert_eq!(found(&query("rare:one", RunOutcome::Succeeded)), [id(0)]);
    assert_eq!(found(&query("rare:one", RunOutcome::Unknown)), []);
    assert_eq!(found(&query("rare:two", RunOutcome::Unknown)), [id(1)]);
    let often = query("often:one", RunOutcome::Succeeded);
    assert_eq!(found(&often), [id(RUNS), id(RUNS - 1), id(RUNS - 2)]);
    let at = |number: i64| Timestamp::from_unix(1_800_000_000 + number);
    assert_eq!(
        found(&RunQuery {
            ended: (at(7), at(9)),
            skip: 1,
            ..often.clone()
        }),
        [id(8), id(7)]
    );
    assert_eq!(
        found(&RunQuery {
            proposer: Some("rare".parse().expect("name")),
            ..often.clone()
        }),
        []
    );
    let other = documents::ParamsDigest::of(b"other");
    assert_eq!(
        found(&RunQuery {
            params: Some(other),
            ..often
        }),
        []
    );
    let rare = [
        ProposalQuery {
            step: Some(step("rare:one")),
            limit: 9,
            ..ProposalQuery::default()
        },
        ProposalQuery {
            proposer: Some("rare".parse().expect("name")),
            limit: 9,
            ..ProposalQuery::default()
        },
        ProposalQuery {
            statuses: vec![ProposalStatus::Denied, ProposalStatus::Refused],
            step: Some(step("often:one")),
            limit: 9,
            ..ProposalQuery::default()
        },
    ];
    for (query, expected) in rare.iter().zip([vec![id(0)], vec![id(1), id(0)], vec![]]) {
        let page = reads.proposals(query).expect("page");
        assert_eq!(
            (ids(page.proposals), page.next),
            (expected, None),
            "{query:?}"
        );
    }
}
