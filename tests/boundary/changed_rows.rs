//! Rows of the database that somebody changed by hand. What is signed or answered comes from the log, never from a row alone.

use serde_json::{Value, json};

use crate::support::nodes::{node, start};
use crate::support::people::alice;
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::until;
use crate::support::{World, id_of};

fn served(test: &str) -> Option<(Cluster, World)> {
    let server = Cluster::start(test, "")?;
    let mut one = node(&server, "one", |_| {});
    server.migrate(&one);
    start(&mut one);
    Some((server, one))
}

/// Returns the id of a proposal as the database stores it.
fn row(proposal: &Value) -> String {
    format!(
        "'\\x{}'",
        id_of(proposal).trim_start_matches("prp_").replace('-', "")
    )
}

fn receipts(world: &World) -> usize {
    world.count("receipt")
}

/// Makes the rows of a finished run say that it runs. `spent` is the consumption to which the row leads.
fn runs_again(server: &Cluster, id: &str, spent: &str, deadline: &str) {
    server.psql(&format!(
        "INSERT INTO countersign.crossing SELECT {spent}, id, NULL, 'n0', {deadline} FROM countersign.proposal WHERE id = {id}; \
         UPDATE countersign.proposal SET status = 0, receipt = NULL, ended_at = NULL WHERE id = {id}"
    ));
}

#[test]
fn promise_3_no_second_receipt_is_signed_for_a_finished_run_whose_rows_say_that_it_runs() {
    let Some((server, mut one)) = served("a run that ends twice") else {
        return;
    };
    let finished = one.run("say:echo", json!({"text": "once"}), &[&alice()]);
    one.run("say:echo", json!({"text": "later"}), &[&alice()]);
    let past = "extract(epoch FROM now())::bigint - 5";
    // While the node serves.
    runs_again(&server, &row(&finished), "spent", past);
    until("the log of the service names the row", || {
        one.service_log().contains("is the receipt of this run")
    });
    assert_eq!(receipts(&one), 2);
    // At a start, whoever has started the run.
    one.kill9();
    let refused = one.try_start().expect_err("refused");
    assert!(refused.contains("recovery failed"), "{refused}");
    assert!(
        one.service_log().contains("countersign store check"),
        "{}",
        one.service_log()
    );
    server.psql(&format!(
        "UPDATE countersign.crossing SET node = 'one' WHERE proposal = {}",
        row(&finished)
    ));
    assert!(
        one.try_start()
            .expect_err("refused")
            .contains("recovery failed")
    );
    let leaves = server.psql("SELECT count(*) FROM countersign.leaf WHERE kind = 3");
    assert_eq!(leaves, "2");
}

#[test]
fn the_consumption_of_another_run_closes_no_run() {
    let Some((server, mut one)) = served("another consumption") else {
        return;
    };
    let [finished, other] =
        ["once", "other"].map(|text| one.run("say:echo", json!({"text": text}), &[&alice()]));
    let spent = format!(
        "(SELECT spent FROM countersign.proposal WHERE id = {})",
        row(&other)
    );
    runs_again(&server, &row(&finished), &spent, "0");
    let words = format!("the consumption is that of another run, {}", id_of(&other));
    until("the log of the service names the row", || {
        one.service_log().contains(&words)
    });
    one.kill9();
    assert!(
        one.try_start()
            .expect_err("refused")
            .contains("recovery failed")
    );
    assert_eq!(
        server.psql("SELECT count(*) FROM countersign.leaf WHERE kind = 3"),
        "2"
    );
}

#[test]
fn the_end_of_a_run_is_that_of_its_receipt_whatever_the_row_says() {
    let Some((server, one)) = served("the end in a row") else {
        return;
    };
    let finished = one.run("say:echo", json!({"text": "good"}), &[&alice()]);
    let id = id_of(&finished);
    let before = one.show(id);
    for change in [
        "detail = convert_to('{\"exit_code\":1,\"status\":\"failed\"}', 'UTF8')",
        "detail = NULL",
        "ended_at = 5",
        "status = 4, detail = convert_to('{\"code\":\"denied\",\"detail\":\"no\"}', 'UTF8')",
        "status = 6",
    ] {
        server.psql(&format!(
            "UPDATE countersign.proposal SET {change} WHERE id = {}",
            row(&finished)
        ));
        let shown = one.show(id);
        for field in ["status", "outcome", "receipt", "ended_at", "refusal"] {
            assert_eq!(shown[field], before[field], "{change}: {field}");
        }
        let listed = one.wire.get("/v1/proposals", &one.reader).ok(200);
        let listed = listed["proposals"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["id"] == *id)
            .cloned();
        assert_eq!(
            listed.expect("the run")["outcome"],
            before["outcome"],
            "{change}"
        );
    }
}

#[test]
fn no_receipt_and_no_bundle_of_another_run_or_with_changed_bytes_is_served() {
    let Some((server, one)) = served("the receipt of another run") else {
        return;
    };
    let [mine, other] =
        ["mine", "other"].map(|text| one.run("say:echo", json!({"text": text}), &[&alice()]));
    let leaf = |of: &Value| {
        format!(
            "(SELECT receipt FROM countersign.proposal WHERE id = {})",
            row(of)
        )
    };
    let receipt = mine["receipt"].as_str().expect("a receipt");
    let paths = [
        format!("/v1/receipts/{receipt}"),
        format!("/v1/receipts/{receipt}/bundle"),
        format!("/v1/proposals/{}", id_of(&mine)),
    ];
    for (change, undo) in [
        (
            format!(
                "UPDATE countersign.proposal SET receipt = {} WHERE id = {}",
                leaf(&other),
                row(&mine)
            ),
            format!(
                "UPDATE countersign.proposal SET receipt = {} WHERE id = {}",
                server.psql(&format!("SELECT {}", leaf(&mine))),
                row(&mine)
            ),
        ),
        (
            format!(
                "CREATE TABLE public.kept AS SELECT * FROM countersign.leaf WHERE idx = {0}; UPDATE countersign.leaf SET data = \
                 (SELECT data FROM countersign.leaf WHERE idx = {1}), hash = (SELECT hash FROM countersign.leaf WHERE idx = {1}) \
                 WHERE idx = {0}",
                leaf(&mine),
                leaf(&other)
            ),
            format!(
                "UPDATE countersign.leaf SET data = (SELECT data FROM public.kept), hash = (SELECT hash FROM public.kept) WHERE idx = {}",
                leaf(&mine)
            ),
        ),
        (
            format!(
                "UPDATE countersign.leaf SET data = set_byte(data, 300, get_byte(data, 300) # 1) WHERE idx = {}",
                leaf(&mine)
            ),
            format!(
                "UPDATE countersign.leaf SET data = set_byte(data, 300, get_byte(data, 300) # 1) WHERE idx = {}",
                leaf(&mine)
            ),
        ),
    ] {
        server.psql(&change);
        for path in &paths {
            let reply = one.wire.get(path, &one.reader);
            assert_eq!(reply.status, 500, "{change}: {path}: {}", reply.text());
        }
        assert!(
            one.service_log().contains("countersign store check"),
            "{change}"
        );
        server.psql(&undo);
        for path in &paths {
            assert_eq!(
                one.wire.get(path, &one.reader).status,
                200,
                "{undo}: {path}"
            );
        }
    }
    one.assert_verified(&mine);
}

#[test]
fn a_waiting_proposal_without_its_statement_ends_a_start_before_the_service_serves() {
    let Some((server, mut one)) = served("a proposal without a statement") else {
        return;
    };
    let waiting = one.propose("plain:true", json!({}));
    one.stop();
    server.psql(&format!(
        "DELETE FROM countersign.payload WHERE proposal = {}",
        row(&waiting)
    ));
    let refused = one.try_start().expect_err("refused");
    assert!(
        refused.contains(id_of(&waiting)) && refused.contains("countersign store check"),
        "{refused}"
    );
    assert!(
        !refused.contains("\"started\"") && !refused.contains("serving ended"),
        "{refused}"
    );
}

#[test]
fn a_node_whose_term_somebody_changed_says_so_in_ready() {
    let Some((server, mut one)) = served("a changed term") else {
        return;
    };
    server.psql("UPDATE countersign.state SET term = term + 1099511627776");
    until("/ready is 503, or the node has ended", || {
        one.wire
            .try_call("GET", "/ready", &[], None)
            .map_or(true, |reply| reply.status == 503)
    });
    // The node no longer has the role, so it ends, and systemd starts it as a standby.
    assert_ne!(one.ended(), Some(0));
    one.start();
    one.run("say:echo", json!({"text": "again"}), &[&alice()]);
}

#[test]
fn a_standby_keeps_the_newest_signed_checkpoint_that_it_reads() {
    let Some((_server, mut one, two)) = crate::support::nodes::nodes("the checkpoint of a standby")
    else {
        return;
    };
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let [newest, kept] = [&one, &two].map(|world| world.path("b/boundary/checkpoint"));
    let size = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .nth(1)
            .and_then(|line| line.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let starting = crate::support::nodes::standby(two);
    one.run("say:echo", json!({"text": "newer"}), &[&alice()]);
    until("the active node keeps its checkpoint", || size(&newest) > 0);
    until("the standby keeps it too", || size(&kept) >= size(&newest));
    one.kill9();
    drop(starting.join().expect("node two is active"));
}
