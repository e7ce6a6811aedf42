//! The pages of one boundary in the companion: its sessions, its ended proposals, its open work, and the head of
//! its log.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::companion::{LyingBoundary, open, open_at, page_until, person, review_path};
use crate::support::grants;
use crate::support::pages::{Pages, form_of, text_of};
use crate::support::people::{alice, mallory};
use crate::support::{POLICY, SMALL, World, id_of, runbook};

fn world_with_session() -> (World, String) {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook(
            "s.md",
            runbook(SMALL, &[("go session=write", "export A_NAME=secret-value")]),
        );
    });
    let session = world
        .wire
        .post("/v1/sessions", &world.agent, &json!({"runbook": "s"}))
        .ok(201);
    let session = session["id"].as_str().expect("an id").to_owned();
    (world, session)
}

/// A companion with the token of the agent, whose key is in no roster.
fn agents_pages(world: &World) -> Pages {
    let mut command = person(world, &mallory(), &["console", "--url", &world.wire.url]);
    command.env("COUNTERSIGN_TOKEN", &world.agent);
    Pages::start(command)
}

#[test]
fn each_page_leads_to_every_page_of_its_boundary() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let pages = open(&world, &alice());
    for (path, here) in [
        ("/", "Inbox"),
        ("/b/0/steps", "Steps"),
        ("/b/0/sessions", "Sessions"),
        ("/b/0/receipts", "Receipts"),
        ("/b/0/open", "Open"),
        ("/b/0/log", "Log"),
        ("/b/0/freeze", "Freeze"),
        (&review_path(&proposal), ""),
        (&format!("/b/0/run/{}", id_of(&proposal)), ""),
    ] {
        let page = pages.get(path);
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        for link in [
            "/",
            "/b/0/steps",
            "/b/0/sessions",
            "/b/0/receipts",
            "/b/0/open",
            "/b/0/log",
            "/b/0/freeze",
        ] {
            assert!(
                page.body.contains(&format!("<a href=\"{link}\"")),
                "{path}: no link to {link}: {}",
                page.body
            );
        }
        let current: Vec<_> = page.body.split("aria-current=\"page\">").skip(1).collect();
        assert!(
            current
                .iter()
                .all(|rest| rest.starts_with(&format!("{here}<"))),
            "{path}: {}",
            page.body
        );
        assert_eq!(current.len(), usize::from(!here.is_empty()), "{path}");
    }
    let empty = [
        pages.get("/b/0/sessions").body,
        pages.get("/b/0/receipts").body,
    ];
    assert!(
        empty[0].contains("No session is open") && empty[1].contains("has ended"),
        "{empty:?}"
    );
    assert_eq!(pages.get("/b/1/log").status, 404);
    let nonsense = pages.get("/b/0/receipts?from=nonsense");
    assert!(
        nonsense.status == 409 && nonsense.body.contains("the cursor is not from an answer"),
        "{}",
        nonsense.body
    );
}

#[test]
fn the_page_of_open_work_lists_runs_to_review_and_grants_in_the_words_of_the_commands() {
    let policy = format!(
        "{}  emergency: {{required: 1, from: [ops], max_unreviewed: 2, max_window_s: 600, review: {{required: 1, from: [ops]}}}}\n",
        grants::POLICY.split("overrides:").next().expect("a policy")
    );
    let world = World::with(|setup| setup.policy = policy);
    let grant = grants::granted(&world, &grants::terms());
    let wish = json!({"step": "say:echo", "params": {"text": "<b>fire</b>"}, "emergency": true});
    let view = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    let _ = world.sign(&view, &[&alice()]).ok(200);
    let finished = world.until(id_of(&view), "finished");
    let page = open(&world, &alice()).get("/b/0/open").body;
    let command = format!(
        "countersign review-run {} --accept",
        finished["receipt"].as_str().expect("a receipt")
    );
    for words in [
        "review of the EMERGENCY: 0 of 1 of ops",
        &command,
        id_of(&grant),
        "0 of 10",
        "say:echo",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let empty = open(&World::new(), &alice()).get("/b/0/open").body;
    assert!(
        empty.contains("No run needs a review") && empty.contains("There are no grants"),
        "{empty}"
    );
}

#[test]
fn each_page_calls_a_boundary_without_a_name_in_the_list_by_its_own_name() {
    let world = World::new();
    let run = format!(
        "/b/0/run/{}",
        id_of(&world.propose("plain:true", json!({})))
    );
    for (path, wanted) in [
        ("/b/0/freeze", "<h1>Freeze prod</h1>"),
        ("/b/0/steps", "<h1>Steps of prod</h1>"),
        ("/b/0/sessions", "<h1>Sessions of prod</h1>"),
        (&run, "<h1>plain:true at prod</h1>"),
    ] {
        // No page before this one has asked the boundary.
        open(&world, &alice()).get(path).says(200, wanted);
    }
}

#[test]
fn a_path_that_no_page_has_gets_a_page_that_says_so() {
    let world = World::new();
    let pages = open(&world, &alice());
    for path in [
        "/b/0/review/prp_nothing",
        "/b/x/steps",
        "/b/0/step/x",
        "/nothing",
        "/b/%ff/steps",
        "/b/0/nothing",
    ] {
        pages.get(path).says(404, "<h1>No such page</h1>");
    }
}

#[test]
fn the_list_of_steps_leads_to_each_script_whose_digest_is_computed_here() {
    let world = World::new();
    let pages = open(&world, &alice());
    let path = "/b/0/step/two:go";
    assert!(
        pages
            .get("/b/0/steps")
            .body
            .contains(&format!("<a href=\"{path}\">two:go</a>"))
    );
    let sealed = world.wire.get("/v1/steps/two:go", &world.reader).ok(200);
    let page = text_of(&pages.get(path).body);
    for text in [
        &sealed["definition"]["source"],
        &sealed["digest"],
        &sealed["definition"]["interpreter"],
    ] {
        assert!(
            page.contains(text.as_str().expect("text").trim()),
            "{text}: {page}"
        );
    }
    let mut lie = sealed;
    lie["definition"]["source"] = json!("echo a lie");
    let between = LyingBoundary::start(&world, "/v1/steps/two:go".to_owned(), &lie);
    between.lies.store(true, Ordering::SeqCst);
    let reply = open_at(&world, &alice(), &between.url).get(path);
    assert!(
        reply.status == 409
            && !reply.body.contains("a lie")
            && reply.body.contains("another digest"),
        "{}",
        reply.body
    );
    pages
        .get("/b/0/step/none:none")
        .says(409, "Steps of prod: not read");
}

#[test]
fn the_page_of_the_freeze_signs_only_after_the_typed_word_and_once() {
    let world = World::new();
    let pages = open(&world, &alice());
    let (path, size) = ("/b/0/freeze", world.log_size());
    let form = |pages: &Pages| form_of(&pages.get(path).body, path).expect("a form");
    let wrong = pages.post(path, &format!("{}&word=yes&reason=a%20test", form(&pages)));
    assert!(
        wrong.status == 422
            && wrong.body.contains("type the word")
            && wrong.body.contains("a test"),
        "{}",
        wrong.body
    );
    assert_eq!(
        pages.post(path, "word=freeze").status,
        409,
        "no form of this program"
    );
    let stranger = agents_pages(&world);
    assert!(
        stranger
            .post(path, &format!("{}&word=freeze", form(&stranger)))
            .body
            .contains("Not frozen")
    );
    assert_eq!(world.log_size(), size);
    let sent = format!("{}&word=freeze&reason=a%20test", form(&pages));
    pages.post(path, &sent).says(200, "the boundary is frozen");
    assert_eq!(pages.post(path, &sent).status, 409, "the same form again");
    assert_eq!(
        (world.count("revocation"), world.wire.peek("/ready").status),
        (1, 503)
    );
}

#[test]
fn sessions_are_listed_with_their_runs_and_only_their_owner_ends_them_once() {
    let (world, session) = world_with_session();
    let mut wish = World::wish("s:go", json!({}));
    wish["session"] = json!(session);
    let proposal = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "finished");
    let approver = open(&world, &alice());
    let page = approver.get("/b/0/sessions").body;
    let run = format!("/b/0/run/{}", id_of(&proposal));
    for words in [
        &session,
        &run,
        "owner agent",
        "Runs: 1",
        "min without a run",
        "A_NAME",
        "State <code>sha256:",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("secret-value"), "{page}");
    let end = format!("/b/0/end/{session}");
    approver
        .post(&end, &form_of(&page, &end).expect("a form"))
        .says(403, "does not have the scope propose");
    // The agent's token has this permission. A form works once, and only for its own session.
    let agent = agents_pages(&world);
    let form = form_of(&agent.get("/b/0/sessions").body, &end).expect("a form");
    let other = "/b/0/end/ses_019aa0b0-5c00-7000-8000-000000000001";
    assert_eq!(
        agent.post(other, &form).status,
        409,
        "the form of another session"
    );
    assert_eq!(
        agent
            .post(&end, form.split("&seal=").next().expect("a part"))
            .status,
        409,
        "no seal"
    );
    assert_eq!(
        approver
            .get("/b/0/sessions")
            .body
            .matches("class=\"hint\"><code>ses_")
            .count(),
        1
    );
    assert_eq!(agent.post(&end, &form).status, 303);
    assert_eq!(agent.post(&end, &form).status, 409, "the same form again");
    assert!(
        approver
            .get("/b/0/sessions")
            .body
            .contains("No session is open")
    );
}

#[test]
fn ended_proposals_are_listed_newest_first_and_lead_to_the_receipt_that_is_verified_here() {
    let world = World::new();
    let finished = world.propose("say:echo", json!({"text": "<b>one</b>"}));
    world.sign(&finished, &[&alice()]).ok(200);
    world.until(id_of(&finished), "finished");
    let denied = world.propose("say:echo", json!({}));
    assert_eq!(world.deny(&denied, &alice()).status, 200);
    let pending = world.propose("say:echo", json!({}));
    let pages = open(&world, &alice());
    let page = pages.get("/b/0/receipts").body;
    let path = |proposal| format!("/b/0/run/{}", id_of(proposal));
    let place = |proposal| page.find(&path(proposal));
    assert!(
        place(&denied) < place(&finished) && place(&denied).is_some() && place(&pending).is_none(),
        "{page}"
    );
    assert!(
        page.contains("without a receipt")
            && page.contains("with a receipt")
            && !page.contains("?from="),
        "{page}"
    );
    page_until(&pages, &path(&finished), "Verified on this machine");
    // The second of two pages has the older proposals.
    for number in 0..50 {
        let next = world.propose("say:echo", json!({"text": number.to_string()}));
        assert_eq!(world.deny(&next, &alice()).status, 200);
    }
    let first = pages.get("/b/0/receipts").body;
    assert!(
        !first.contains(&path(&finished)) && !first.contains("The newest proposals"),
        "{first}"
    );
    let from = first
        .split("href=\"/b/0/receipts?from=")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let second = pages
        .get(&format!("/b/0/receipts?from={}", from.expect("a link")))
        .body;
    assert!(
        second.contains(&path(&finished)) && second.contains("The newest proposals"),
        "{second}"
    );
}

#[test]
fn a_head_of_the_log_is_shown_only_if_it_continues_the_newest_head_that_was_verified_here() {
    let world = World::new();
    let old =
        String::from_utf8(world.wire.get("/log/checkpoint", &world.reader).body).expect("text");
    let mut lines: Vec<&str> = old.lines().collect();
    lines[2] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let forged = format!("{}\n", lines.join("\n"));
    world.run("plain:true", json!({}), &[&alice()]);
    let boundary = LyingBoundary::start(&world, "/log/checkpoint".to_owned(), &old);
    let liar = LyingBoundary::start(&world, "/log/checkpoint".to_owned(), &forged);
    let (pages, deceived) = (
        open_at(&world, &alice(), &boundary.url),
        open_at(&world, &alice(), &liar.url),
    );
    let page = pages.get("/b/0/log").body;
    assert!(
        page.contains("the first head that this program has seen"),
        "{page}"
    );
    assert!(
        page.contains("Verified on this machine") && page.contains("version 1 of the roster"),
        "{page}"
    );
    let size = world.log_size();
    assert!(
        page.contains(&format!("<dt>Entries</dt><dd>{size}</dd>")),
        "{page}"
    );
    let head =
        String::from_utf8(world.wire.get("/log/checkpoint", &world.reader).body).expect("text");
    let root = head.lines().nth(2).expect("a root").to_owned();
    assert!(page.contains(&format!("<code>{root}</code>")), "{page}");
    world.run("plain:true", json!({}), &[&alice()]);
    let page = pages.get("/b/0/log").body;
    assert!(
        page.contains(&format!("with the head of {size} entries")) && world.log_size() > size,
        "{page}"
    );
    // An older head, although the boundary signed it once.
    boundary.lies.store(true, Ordering::SeqCst);
    let rolled_back = pages.get("/b/0/log");
    rolled_back.says(409, "the source has only");
    assert!(
        !rolled_back.body.contains("Consistent"),
        "{}",
        rolled_back.body
    );
    boundary.lies.store(false, Ordering::SeqCst);
    assert!(
        pages.get("/b/0/log").body.contains("Consistent"),
        "the verified head was kept"
    );
    // A head that the boundary never signed.
    liar.lies.store(true, Ordering::SeqCst);
    let refused = deceived.get("/b/0/log");
    refused.says(409, "do not match the signed head");
    assert!(
        !refused.body.contains("Verified on this machine"),
        "{}",
        refused.body
    );
}

#[test]
fn a_page_that_cannot_be_read_says_which_permission_is_missing_or_that_no_boundary_answers() {
    let world = World::new();
    let agent = agents_pages(&world);
    agent
        .get("/b/0/log")
        .says(403, "This page needs the permission <code>read</code>");
    assert!(
        agent
            .get("/b/0/receipts")
            .body
            .contains("No proposal that you may see has ended")
    );
    let gone = open_at(&world, &alice(), "http://127.0.0.1:1");
    for section in ["steps", "sessions", "receipts", "log"] {
        let page = gone.get(&format!("/b/0/{section}"));
        page.says(502, "can't be reached");
        assert!(
            page.body.contains("Load this page again") && page.body.contains("role=\"alert\""),
            "{}",
            page.body
        );
        assert!(
            page.body.contains("href=\"/b/0/receipts\""),
            "the other pages stay in reach: {}",
            page.body
        );
    }
    // Without a trusted roster, the head is shown as not verified.
    let mut command = world.program(&["console", "--url", &world.wire.url]);
    command.env("COUNTERSIGN_TOKEN", &world.reader);
    let page = Pages::start(command).get("/b/0/log").body;
    assert!(
        page.contains("Not verified") && page.contains("you trust no roster"),
        "{page}"
    );
}
