//! The pages of the companion that review runs: emergencies, and runs whose end nobody saw.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::companion::{LyingBoundary, lines_of, open, open_at, person, printed_lines};
use crate::support::grants::as_holder;
use crate::support::pages::{PageReply, Pages, form_of};
use crate::support::people::{Key, alice, bob, carol, dora, mallory};
use crate::support::reviews::{POLICY, lost, ran};
use crate::support::{World, assert_says, exited};

fn receipt(run: &Value) -> &str {
    run["receipt"].as_str().expect("a receipt")
}

fn path(run: &Value) -> String {
    format!("/b/0/review-run/{}", receipt(run))
}

fn sign_path(run: &Value) -> String {
    format!("/b/0/sign-review/{}", receipt(run))
}

/// Sends the first form with these fields. The answer shows the review to sign, or what is wrong.
fn say(pages: &Pages, run: &Value, fields: &str) -> PageReply {
    let page = pages.get(&path(run)).body;
    let form = form_of(&page, &path(run)).unwrap_or_else(|| panic!("no form: {page}"));
    pages.post(&path(run), &format!("{form}&{fields}"))
}

fn sign(pages: &Pages, run: &Value, fields: &str, word: &str) -> PageReply {
    let shown = say(pages, run, fields);
    let form =
        form_of(&shown.body, &sign_path(run)).unwrap_or_else(|| panic!("no form: {}", shown.body));
    pages.post(&sign_path(run), &format!("{form}&word={word}"))
}

fn unsettled(world: &World) -> usize {
    world.wire.get("/v1/unsettled", &world.reader).ok(200)["runs"]
        .as_array()
        .expect("runs")
        .len()
}

/// Returns what `review-run` shows to this person before the signature.
fn printed(world: &World, key: &Key, words: &[&str]) -> Vec<String> {
    let file = world.path("review.json");
    let _ = std::fs::remove_file(&file);
    let output = ["--yes", "-o", file.to_str().expect("a path")];
    let command = exited(
        as_holder(world, key, &[&["review-run"], words, &output].concat()),
        0,
    );
    printed_lines(&command.stderr)
}

#[test]
fn an_emergency_is_reviewed_on_its_page_with_the_text_of_the_command_and_once() {
    let world = World::with(|setup| setup.policy = POLICY.to_owned());
    let (run, other) = (ran(&world, "<b>one</b>"), ran(&world, "two"));
    let pages = open(&world, &bob());
    assert!(
        pages
            .get("/b/0/open")
            .body
            .contains(&format!("href=\"{}\"", path(&run)))
    );
    let page = pages.get(&path(&run)).body;
    assert!(
        page.contains("review of the EMERGENCY: 0 of 1") && !page.contains("id=\"observed\""),
        "{page}"
    );
    for (fields, wrong) in [
        ("", &["verdict", "reason"][..]),
        ("verdict=perhaps&reason=x", &["verdict"]),
        (
            "verdict=accept&reason=+&evidence=rcp_1",
            &["reason", "evidence"],
        ),
    ] {
        let reply = say(&pages, &run, fields);
        assert_eq!(reply.status, 422, "{fields}: {}", reply.body);
        let found: Vec<_> = ["verdict", "observed", "reason", "evidence"]
            .into_iter()
            .filter(|id| reply.body.contains(&format!("id=\"{id}-error\"")))
            .collect();
        assert_eq!(found, wrong, "{fields}: {}", reply.body);
    }
    let fields = "verdict=accept&reason=the+<b>disk</b>+was+full";
    let shown = say(&pages, &run, fields);
    let words = printed(
        &world,
        &bob(),
        &[
            receipt(&run),
            "--accept",
            "--reason",
            "the <b>disk</b> was full",
        ],
    );
    assert_eq!(lines_of(&shown.body), words, "{}", shown.body);
    let own = form_of(&shown.body, &sign_path(&run)).expect("a form");
    let wrong = pages.post(&sign_path(&run), &format!("{own}&word=reject"));
    wrong.says(422, "type the word accept");
    assert_eq!(lines_of(&wrong.body), words, "the same review again");
    let own = form_of(&wrong.body, &sign_path(&run)).expect("a form");
    let first = form_of(&pages.get(&path(&run)).body, &path(&run)).expect("a form");
    let elsewhere = form_of(&say(&pages, &other, fields).body, &sign_path(&other)).expect("a form");
    for wrong in [
        "",
        own.split("&seal=").next().expect("a part"),
        &first,
        &elsewhere,
    ] {
        pages
            .post(&sign_path(&run), &format!("{wrong}&word=accept"))
            .says(409, "Nothing was signed");
    }
    // Carol owns the proposer, so her review does not count. No key of mallory belongs to an approver.
    say(&open(&world, &carol()), &run, fields).says(409, "carol");
    let mut command = person(&world, &mallory(), &["console", "--url", &world.wire.url]);
    command.env("COUNTERSIGN_TOKEN", &world.reader);
    say(&Pages::start(command), &run, fields).says(409, "none of your keys");
    // The first page says it too.
    let words = "A review of a person who approved this emergency does not count.";
    assert_says(open(&world, &alice()).get(&path(&run)).body, words);
    assert_says(
        say(&open(&world, &alice()), &run, fields).body,
        "your review does not count towards the reviews",
    );
    // The boundary answers with the receipt of another run.
    let lie = world
        .wire
        .get(&format!("/v1/receipts/{}", receipt(&other)), &world.reader)
        .ok(200);
    let boundary = LyingBoundary::start(&world, format!("/v1/receipts/{}", receipt(&run)), &lie);
    let deceived = open_at(&world, &bob(), &boundary.url);
    let form = form_of(&deceived.get(&path(&run)).body, &path(&run)).expect("a form");
    boundary.lies.store(true, Ordering::SeqCst);
    let reply = deceived.post(&path(&run), &format!("{form}&{fields}"));
    assert!(
        reply.status == 409 && form_of(&reply.body, &sign_path(&run)).is_none(),
        "{}",
        reply.body
    );
    assert_eq!((world.count("review"), unsettled(&world)), (0, 2));
    pages
        .post(&sign_path(&run), &format!("{own}&word=accept"))
        .says(200, "the run needs no further review");
    assert_eq!(
        pages
            .post(&sign_path(&run), &format!("{own}&word=accept"))
            .status,
        409,
        "the same form again"
    );
    assert_eq!((world.count("review"), unsettled(&world)), (1, 1));
    let page = pages.get(&path(&run)).body;
    assert!(
        page.contains("this run is not in the list") && form_of(&page, &path(&run)).is_none(),
        "{page}"
    );
    world.assert_audited();
}

#[test]
fn an_unknown_end_is_settled_on_its_page_with_the_receipt_of_a_check() {
    let mut world = World::with(|setup| setup.policy = POLICY.to_owned());
    let check = world.run("plain:true", json!({}), &[&alice(), &bob()]);
    let run = lost(&mut world, &[&alice(), &bob()]);
    let pages = open(&world, &dora());
    say(&pages, &run, "verdict=reject&reason=x").says(422, "id=\"observed-error\"");
    let itself = say(
        &pages,
        &run,
        &format!(
            "verdict=reject&reason=x&observed=partly&evidence={}",
            receipt(&run)
        ),
    );
    itself.says(409, "no evidence for itself");
    let fields = format!(
        "verdict=reject&reason=half+of+it&observed=not+started&evidence={}",
        receipt(&check)
    );
    let words = [
        receipt(&run),
        "--reject",
        "--observed",
        "not-started",
        "--evidence",
        receipt(&check),
        "--reason",
        "half of it",
    ];
    assert_eq!(
        lines_of(&say(&pages, &run, &fields).body),
        printed(&world, &dora(), &words)
    );
    sign(&pages, &run, &fields, "reject").says(200, "the end of the run is settled: not started");
    let (_, review) = world
        .log()
        .into_iter()
        .find(|(kind, _)| kind == "review")
        .expect("a review");
    let reason = review["predicate"]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with(&format!("half of it\nevidence {} sha256:", receipt(&check))),
        "{reason}"
    );
    assert_eq!(
        (&review["predicate"]["verdict"], unsettled(&world)),
        (&json!("rejected"), 0)
    );
    world.assert_audited();
}
