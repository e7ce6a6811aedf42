//! `countersign console`: the companion of approvers, over real HTTP and against a real boundary.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::mcp_proxy::proxy;
use crate::support::pages::{PageReply, Pages, ask, form_of, text_of};
use crate::support::people::{Key, alice, bob, dora, mallory};
use crate::support::{SMALL, World, exited, id_of, runbook, said, said_at_exit, wait_for};
use crate::tls_client::{NOTHING, Recorder};

/// Returns the command line of a person with this key, who trusts the roster of the boundary.
pub(crate) fn person(world: &World, key: &Key, words: &[&str]) -> Command {
    let name = format!("{}.pem", key.name);
    world.write(&name, key.secret.to_pkcs8_v1_pem().as_str());
    let mut command = world.program(words);
    command
        .args([
            "--roster",
            world.started["roster"].as_str().expect("a digest"),
            "--key",
        ])
        .arg(world.path(&name));
    command
}

pub(crate) fn open(world: &World, key: &Key) -> Pages {
    open_at(world, key, &world.wire.url)
}

pub(crate) fn open_at(world: &World, key: &Key, url: &str) -> Pages {
    Pages::start(person(world, key, &["console", "--url", url]))
}

/// Returns the last 8 digits of the digest of a proposal.
pub(crate) fn digits(proposal: &Value) -> String {
    let digest = proposal["digest"].as_str().expect("a digest");
    digest[digest.len() - 8..].to_owned()
}

pub(crate) fn review_path(proposal: &Value) -> String {
    format!("/b/0/review/{}", id_of(proposal))
}

pub(crate) fn sign_path(proposal: &Value) -> String {
    format!("/b/0/sign/{}", id_of(proposal))
}

/// Loads the review, and sends its form with these digits.
fn sign(pages: &Pages, proposal: &Value, typed: &str) -> PageReply {
    let review = pages.get(&review_path(proposal)).body;
    let form =
        form_of(&review, &sign_path(proposal)).unwrap_or_else(|| panic!("no form: {review}"));
    pages.post(&sign_path(proposal), &format!("{form}&digits={typed}"))
}

pub(crate) fn signatures(world: &World, proposal: &Value) -> u64 {
    world.show(id_of(proposal))["approvals"]["have"]
        .as_u64()
        .expect("a number")
}

pub(crate) fn page_until(pages: &Pages, path: &str, wanted: &str) -> String {
    let mut body = String::new();
    wait_for(wanted, || {
        body = pages.get(path).body;
        body.contains(wanted)
    });
    body
}

#[test]
fn two_people_approve_in_two_companions_and_the_receipt_is_verified_on_the_page() {
    let world = World::new();
    let proposal = world.propose("two:go", json!({"text": "<b>once</b>"}));
    let (first, second) = (open(&world, &alice()), open(&world, &bob()));
    let inbox = first.get("/");
    assert_eq!(inbox.status, 200);
    let (yours, rest) = inbox
        .body
        .split_once("Waiting for others")
        .expect("the next group");
    assert!(
        yours.contains("Yours to move (1)") && yours.contains(&review_path(&proposal)),
        "{yours}"
    );
    assert!(
        yours.contains("two:go") && yours.contains("0 of 2 signatures"),
        "{yours}"
    );
    assert!(
        rest.contains("You are alice") && rest.contains("trusted"),
        "{rest}"
    );
    let signed = sign(&first, &proposal, &digits(&proposal));
    assert_eq!(signed.status, 303, "{}", signed.body);
    let run = format!("/b/0/run/{}", id_of(&proposal));
    assert!(
        signed.head.contains(&format!("location: {run}")),
        "{}",
        signed.head
    );
    // The page says who signed here and when, and only in the program of the signer.
    let said = |pages: &Pages| {
        pages
            .get(&run)
            .body
            .matches("You signed as alice at 20")
            .count()
    };
    assert_eq!([said(&first), said(&second)], [1, 0]);
    // Alice's signature no longer counts once more, so the proposal waits for others.
    let inbox = first.get("/").body;
    assert!(
        inbox.contains("Yours to move (0)") && inbox.contains("Waiting for others (1)"),
        "{inbox}"
    );
    let page = first.get(&run).body;
    assert!(
        page.contains("1 of 2 signatures, by alice; still needed: somebody of")
            && page.contains("Expires"),
        "{page}"
    );
    assert!(
        page.contains("Only the proposer agent and operators can cancel."),
        "{page}"
    );
    let signed = sign(&second, &proposal, &digits(&proposal).to_uppercase());
    assert_eq!(signed.status, 303, "{}", signed.body);
    let page = page_until(&second, &run, "Verified on this machine");
    assert!(
        page.contains("&lt;b&gt;once&lt;/b&gt;") && !page.contains("<b>once"),
        "{page}"
    );
    assert!(
        !page.contains("Expires") && !page.contains("can cancel"),
        "the run has ended: {page}"
    );
    let bundle = format!("/b/0/bundle/{}", id_of(&proposal));
    assert!(page.contains(&format!("href=\"{bundle}\"")), "{page}");
    let saved = second.get(&bundle);
    assert!(saved.head.contains(".bundle.json\""), "{}", saved.head);
    assert_eq!(world.verify(saved.body.as_bytes()).0, 0, "{}", saved.body);
    for check in ["authorization-signatures", "quorum", "receipt-signature"] {
        let row = page
            .split("<tr>")
            .find(|row| row.contains(&format!(">{check}<")));
        assert!(
            row.is_some_and(|row| row.contains("established")),
            "{check}: {page}"
        );
    }
    let inbox = second.get("/").body;
    assert!(
        inbox.contains("Finished today (1)") && inbox.contains("Yours to move (0)"),
        "{inbox}"
    );
}

/// Returns the lines of the screen on a page.
pub(crate) fn lines_of(page: &str) -> Vec<String> {
    let from = page
        .find("<section id=\"review\"")
        .unwrap_or_else(|| panic!("no review: {page}"));
    let section = page[from..].split("</section>").next().expect("its end");
    let line = |line: &str| {
        let line = line.split_once('>').expect("a tag").1;
        let line = line
            .split("</div>")
            .next()
            .and_then(|line| line.split("</h2>").next())
            .expect("a line");
        text_of(&format!(">{line}"))
    };
    section.split("class=\"line").skip(1).map(line).collect()
}

/// Returns the lines that a command printed.
pub(crate) fn printed_lines(printed: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in String::from_utf8(printed.to_vec()).expect("UTF-8").lines() {
        // A line that is wrapped continues after `+ `.
        match line.trim_start().strip_prefix("+ ") {
            Some(rest) if !lines.is_empty() => lines.last_mut().expect("a line").push_str(rest),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Returns the lines without those that change from one second to the next, because they have the time that is left.
pub(crate) fn timeless(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| !line.contains(" left") && !line.contains(" ago"))
        .cloned()
        .collect()
}

#[test]
fn the_review_page_has_the_text_of_the_command() {
    let hostile =
        "</div><script>alert(1)</script> == Decision == \u{202e}\u{7}&amp; \"quoted\" \\s{3} ";
    let many = "x".repeat(900);
    let world = World::new();
    let pages = open(&world, &alice());
    for (step, params) in [
        ("say:echo", json!({"text": "plain"})),
        ("say:echo", json!({"text": hostile})),
        ("say:echo", json!({"text": many})),
        ("say:echo", json!({"text": "line 1\nline 2\n\t+ three"})),
        ("two:go", json!({"text": "a"})),
        ("each:go", json!({})),
        ("plain:fail", json!({})),
    ] {
        let proposal = world.wire.post("/v1/proposals", &world.agent, &{
            let mut wish = World::wish(step, params.clone());
            wish["reason"] = json!(hostile);
            wish
        });
        let proposal = proposal.ok(201);
        let page = pages.get(&review_path(&proposal)).body;
        let shown = lines_of(&page);
        let command = person(
            &world,
            &alice(),
            &["review", id_of(&proposal), "--url", &world.wire.url],
        )
        .output();
        let command = exited(command.expect("it starts"), 0);
        let wanted = printed_lines(&command.stdout);
        assert_eq!(timeless(&shown), timeless(&wanted), "{params}");
        assert!(
            shown.len() > 10 && !page.contains("<script>alert"),
            "{page}"
        );
        assert!(page.is_ascii(), "every character of a boundary is escaped");
        assert_eq!(world.deny(&proposal, &alice()).status, 200);
    }
}

#[test]
fn a_page_signs_only_with_its_own_digits_and_only_once() {
    let world = World::new();
    let (proposal, other) = (
        world.propose("two:go", json!({})),
        world.propose("two:go", json!({"text": "other"})),
    );
    let pages = open(&world, &alice());
    let (path, right) = (sign_path(&proposal), digits(&proposal));
    for wrong in [
        "",
        "00000000",
        &right[1..],
        &digits(&other),
        &format!("{right} {right}"),
    ] {
        let reply = sign(&pages, &proposal, &wrong.replace(' ', "+"));
        assert!(
            reply.status == 422 && reply.body.contains("Nothing was signed"),
            "{wrong:?}: {}",
            reply.body
        );
        // The page shows the review again, and the error beside the field.
        let field = reply
            .body
            .split("id=\"digits\"")
            .nth(1)
            .and_then(|rest| rest.split("</div>").next())
            .expect("a field");
        for words in [
            "aria-invalid=\"true\"",
            "aria-describedby=\"digits-hint digits-error\"",
            "id=\"digits-error\"",
        ] {
            assert!(field.contains(words), "{words}: {field}");
        }
        assert!(
            field.contains(&format!("value=\"{wrong}\"")) && reply.body.contains("role=\"alert\""),
            "{field}"
        );
        assert!(form_of(&reply.body, &path).is_some(), "{}", reply.body);
    }
    let review = pages.get(&review_path(&proposal)).body;
    let form = form_of(&review, &path).expect("a form");
    let (digest, other_digest) = (
        proposal["digest"].as_str().expect("text"),
        other["digest"].as_str().expect("text"),
    );
    let encoded = |digest: &str| digest.replace(':', "%3A");
    for (what, body) in [
        (
            "no seal",
            form.split("&seal=").next().expect("a part").to_owned(),
        ),
        (
            "a changed seal",
            format!(
                "{}{}",
                &form[..form.len() - 1],
                if form.ends_with('0') { "1" } else { "0" }
            ),
        ),
        (
            "the digest of another proposal",
            form.replace(&encoded(digest), &encoded(other_digest)),
        ),
        (
            "the number of another form",
            form.replacen("form=", "form=9", 1),
        ),
        (
            "a form for another path",
            form_of(&review, &path.replace("/sign/", "/deny/")).expect("a form"),
        ),
    ] {
        eprintln!("{what}");
        pages
            .post(&path, &format!("{body}&digits={right}"))
            .says(409, "Nothing was signed");
    }
    // A form of this page at the address of another proposal.
    let reply = pages.post(
        &sign_path(&other),
        &format!("{form}&digits={}", digits(&other)),
    );
    assert_eq!(reply.status, 409, "{}", reply.body);
    assert_eq!(
        (signatures(&world, &proposal), signatures(&world, &other)),
        (0, 0)
    );
    // None of these requests used the form.
    let body = format!("{form}&digits={right}");
    assert_eq!(pages.post(&path, &body).status, 303);
    pages.post(&path, &body).says(409, "was sent before");
    assert_eq!(signatures(&world, &proposal), 1);
    // A page works for a signature or for a denial, not for both.
    let review = pages.get(&review_path(&other)).body;
    let (sign_form, deny) = (
        form_of(&review, &sign_path(&other)),
        sign_path(&other).replace("/sign/", "/deny/"),
    );
    let deny_form = form_of(&review, &deny).expect("a form");
    let reply = pages.post(
        &sign_path(&other),
        &format!("{}&digits=00000000", sign_form.expect("a form")),
    );
    assert_eq!(reply.status, 422);
    assert_eq!(
        pages
            .post(&deny, &format!("{deny_form}&reason=x&sure=yes"))
            .status,
        409
    );
    assert_eq!(world.show(id_of(&other))["status"], "pending");
}

#[test]
fn a_page_with_many_remarks_asks_for_their_number() {
    let world = World::with(|setup| {
        setup.policy =
            "version: 1\ndefault:\n  mode: prompted\n  approvals: {required: 1, from: [ops]}\n"
                .to_owned();
        let params = "params:\n  text: {type: string, maxLength: 4000}\n";
        let script = "zz-unknown || :\nif false; then rm -f x; fi\n\"$NOTHING\" || :";
        setup.runbook(
            "ask.md",
            runbook(&format!("{params}{SMALL}"), &[("go proc=full", script)]),
        );
    });
    let wish =
        json!({"step": "ask:go", "params": {"text": "y".repeat(600)}, "reason": "fine\u{202e}"});
    let proposal = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    let (pages, path, right) = (
        open(&world, &alice()),
        sign_path(&proposal),
        digits(&proposal),
    );
    let page = pages.get(&review_path(&proposal)).body;
    let more = page
        .split("and ")
        .find_map(|rest| rest.split(" more above").next()?.parse::<usize>().ok());
    let more = more.unwrap_or_else(|| panic!("no further remarks: {page}"));
    assert!(
        page.contains("The number of the further remarks above"),
        "{page}"
    );
    for number in ["", "0", &(more + 1).to_string()] {
        let form = form_of(&pages.get(&review_path(&proposal)).body, &path).expect("a form");
        let reply = pages.post(&path, &format!("{form}&more={number}&digits={right}"));
        let beside = reply
            .body
            .split("id=\"more-error\"")
            .nth(1)
            .expect("an error beside the field");
        assert!(
            reply.status == 422
                && beside.contains("and N more above")
                && !reply.body.contains("digits-error"),
            "{beside}"
        );
    }
    assert_eq!(signatures(&world, &proposal), 0);
    let form = form_of(&page, &path).expect("a form");
    assert_eq!(
        pages
            .post(&path, &format!("{form}&more={more}&digits={right}"))
            .status,
        303
    );
}

#[test]
fn a_request_from_another_place_signs_nothing_and_reads_nothing() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let pages = open(&world, &alice());
    let path = sign_path(&proposal);
    let form = form_of(&pages.get(&review_path(&proposal)).body, &path).expect("a form");
    let body = format!("{form}&digits={}", digits(&proposal));
    let (own, host) = (pages.headers(), pages.host.clone());
    for (what, headers, status) in [
        (
            "another host",
            own.replace(&format!("host: {host}"), "host: evil.example"),
            421,
        ),
        (
            "the number of the address",
            own.replace(&format!("host: {host}"), "host: 127.0.0.1"),
            421,
        ),
        (
            "another origin",
            own.replace("origin: http://", "origin: http://evil."),
            403,
        ),
        (
            "a sandboxed frame",
            own.replace(&format!("origin: http://{host}"), "origin: null"),
            403,
        ),
        (
            "no origin",
            own.replace(&format!("origin: http://{host}\r\n"), ""),
            403,
        ),
        (
            "no cookie",
            own.replace(&format!("cookie: {}\r\n", pages.cookie), ""),
            401,
        ),
        (
            "another cookie",
            own.replace(&pages.cookie, "countersign_pages=00"),
            401,
        ),
    ] {
        let reply = ask(&host, "POST", &path, &headers, &body);
        assert_eq!(reply.status, status, "{what}: {}", reply.body);
    }
    for path in [
        "/".to_owned(),
        review_path(&proposal),
        format!("/b/0/events/{}", id_of(&proposal)),
    ] {
        let outside = ask(&host, "GET", &path, &format!("host: {host}\r\n"), "");
        assert!(
            outside.status == 401 && !outside.body.contains("plain:true"),
            "{path}: {}",
            outside.body
        );
    }
    for path in ["/".to_owned(), review_path(&proposal)] {
        let inside = pages.get(&path);
        assert!(
            inside.head.contains("frame-ancestors 'none'") && inside.head.contains("no-store"),
            "{}",
            inside.head
        );
    }
    // A companion that was started later has other seals.
    let later = open(&world, &alice());
    assert_eq!(later.post(&path, &body).status, 409);
    assert_eq!(signatures(&world, &proposal), 0);
    assert_eq!(pages.post(&path, &body).status, 303);
}

/// A boundary between the companion and the real boundary, which answers one proposal with the statement of another.
pub(crate) struct LyingBoundary {
    pub(crate) url: String,
    pub(crate) lies: Arc<AtomicBool>,
    signed: Arc<AtomicUsize>,
    last: Arc<Mutex<Vec<u8>>>,
}

impl LyingBoundary {
    /// Answers `path` with `lie` as soon as the lie begins. A path without a method is one of `GET`.
    pub(crate) fn start(world: &World, path: String, lie: &impl ToString) -> Self {
        let (lie, path) = (
            lie.to_string(),
            if path.starts_with('/') {
                format!("GET {path}")
            } else {
                path
            },
        );
        let (lies, signed, last) =
            <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<u8>>>)>::default();
        let (own_lies, own_signed, own_last) = (lies.clone(), signed.clone(), last.clone());
        let url = proxy(world, move |asked, status, body| {
            if asked.line.starts_with("POST ") && asked.line.ends_with("/signatures") {
                signed.fetch_add(1, Ordering::SeqCst);
                asked
                    .body
                    .clone_into(&mut last.lock().expect("not poisoned"));
            }
            if !lies.load(Ordering::SeqCst) || asked.line != path {
                return Some((status, body));
            }
            if lie == "\"silence\"" {
                std::thread::sleep(Duration::from_secs(60));
                return None;
            }
            Some((200, lie.clone().into_bytes()))
        });
        Self {
            url,
            lies: own_lies,
            signed: own_signed,
            last: own_last,
        }
    }
}

#[test]
fn a_boundary_that_returns_another_statement_later_gets_no_signature_for_it() {
    let world = World::new();
    let (shown, other) = (
        world.propose("two:go", json!({})),
        world.propose("two:go", json!({"text": "other"})),
    );
    let path = format!("/v1/proposals/{}", id_of(&shown));
    let mut with_other_statement = other.clone();
    with_other_statement["id"] = shown["id"].clone();
    let mut with_old_digest = with_other_statement.clone();
    with_old_digest["digest"] = shown["digest"].clone();
    for (what, lie) in [
        ("another proposal", other.clone()),
        ("another statement under the id", with_other_statement),
        ("another statement under the digest", with_old_digest),
    ] {
        eprintln!("{what}");
        let boundary = LyingBoundary::start(&world, path.clone(), &lie);
        let pages = open_at(&world, &alice(), &boundary.url);
        let page = pages.get(&review_path(&shown)).body;
        let form =
            form_of(&page, &sign_path(&shown)).unwrap_or_else(|| panic!("{what}: no form: {page}"));
        boundary.lies.store(true, Ordering::SeqCst);
        let reply = pages.post(
            &sign_path(&shown),
            &format!("{form}&digits={}", digits(&shown)),
        );
        reply.says(409, "<h1>Nothing was signed</h1>");
        assert_eq!(boundary.signed.load(Ordering::SeqCst), 0, "{what}");
        // The page of the lie has no form for the bytes that were never shown.
        let lied = pages.get(&review_path(&shown)).body;
        assert!(
            form_of(&lied, &sign_path(&shown)).is_none(),
            "{what}: {lied}"
        );
    }
    assert_eq!(
        (signatures(&world, &shown), signatures(&world, &other)),
        (0, 0)
    );
    // A boundary that tells the truth gets a signature over exactly the bytes of the page.
    let honest = LyingBoundary::start(&world, path, &Value::Null);
    let pages = open_at(&world, &alice(), &honest.url);
    assert_eq!(sign(&pages, &shown, &digits(&shown)).status, 303);
    let sent: Value =
        serde_json::from_slice(&honest.last.lock().expect("not poisoned")).expect("JSON");
    let payload = STANDARD
        .decode(shown["payload"].as_str().expect("a payload"))
        .expect("base64");
    assert_eq!(sent["signatures"], json!([alice().sign(&payload)]));
}

#[test]
fn after_a_boundary_was_silent_for_a_while_its_pages_soon_work_again() {
    let world = World::new();
    let boundary = LyingBoundary::start(&world, "/v1/registry".to_owned(), &json!("silence"));
    boundary.lies.store(true, Ordering::SeqCst);
    let pages = open_at(&world, &alice(), &boundary.url);
    // More pages than the requests that one boundary gets at the same time.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                pages
                    .get("/b/0/steps")
                    .says(502, "did not answer within 10 s");
            });
        }
    });
    boundary.lies.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(3));
    pages.get("/b/0/steps").says(200, "plain:true");
}

#[test]
fn a_page_verifies_no_run_whose_receipt_states_something_else_than_the_boundary() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    assert_eq!(
        sign(&open(&world, &alice()), &proposal, &digits(&proposal)).status,
        303
    );
    let view = world.until(id_of(&proposal), "finished");
    let run = format!("/b/0/run/{}", id_of(&proposal));
    let changes = [
        ("step", json!("plain:other")),
        ("proposer", json!("carol")),
        ("reason", json!("another reason")),
        ("params", json!({"host": "web-9"})),
        ("outcome", json!({"status": "failed", "exit_code": 3})),
    ];
    for (field, value) in changes {
        let mut lie = view.clone();
        lie[field] = value;
        let boundary =
            LyingBoundary::start(&world, format!("/v1/proposals/{}", id_of(&proposal)), &lie);
        boundary.lies.store(true, Ordering::SeqCst);
        let page = open_at(&world, &alice(), &boundary.url).get(&run).body;
        assert!(
            !page.contains("Verified on this machine"),
            "{field}: {page}"
        );
        assert!(
            page.contains("Not verified: ") && page.contains("trust this boundary"),
            "{field}: {page}"
        );
    }
    let page = open(&world, &alice()).get(&run).body;
    assert!(
        page.contains("The receipt states: ") && page.contains("Verified on this machine"),
        "{page}"
    );
}

#[test]
fn a_proposal_that_ended_or_is_not_sound_gets_no_signature() {
    let world = World::new();
    let pages = open(&world, &alice());
    // A colleague denied between the review and the signature.
    let proposal = world.propose("plain:true", json!({}));
    let form = form_of(
        &pages.get(&review_path(&proposal)).body,
        &sign_path(&proposal),
    )
    .expect("a form");
    assert_eq!(world.deny(&proposal, &bob()).status, 200);
    pages
        .post(
            &sign_path(&proposal),
            &format!("{form}&digits={}", digits(&proposal)),
        )
        .says(409, "was denied by bob");
    pages
        .get(&review_path(&proposal))
        .says(409, "was denied by bob");
    // Without a trusted roster, the page has no form, and says how to get trust.
    let proposal = world.propose("plain:true", json!({}));
    world.write("dora.pem", dora().secret.to_pkcs8_v1_pem().as_str());
    let mut command = world.program(&["console", "--url", &world.wire.url, "--key"]);
    command.arg(world.path("dora.pem"));
    let untrusting = Pages::start(command);
    let page = untrusting.get(&review_path(&proposal)).body;
    assert!(form_of(&page, &sign_path(&proposal)).is_none(), "{page}");
    assert!(
        page.contains("You can't sign") && page.contains("you trust no roster for this boundary"),
        "{page}"
    );
    assert!(
        page.contains("NOT TO BE SIGNED") && page.contains("over another channel"),
        "{page}"
    );
    assert!(untrusting.get("/").body.contains("not trusted"));
    // A key that is in no roster signs nothing.
    let stranger = Pages::start({
        let mut command = person(&world, &mallory(), &["console", "--url", &world.wire.url]);
        command.env("COUNTERSIGN_TOKEN", &world.reader);
        command
    });
    let page = stranger.get(&review_path(&proposal)).body;
    assert!(
        page.contains("is no approver&#39;s key") || page.contains("is no approver's key"),
        "{page}"
    );
    assert!(form_of(&page, &sign_path(&proposal)).is_none(), "{page}");
    assert_eq!(signatures(&world, &proposal), 0);
    // An address that names no proposal is a page too.
    let none = pages.get("/b/0/review/prp_019aa0b0-5c00-7000-8000-000000000001");
    assert!(
        none.status == 404 && none.body.contains("No review"),
        "{} {}",
        none.status,
        none.body
    );
    assert_eq!(pages.get("/b/9/steps").status, 404);
}

#[test]
fn a_denial_with_its_reason_reaches_the_agent() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let pages = open(&world, &alice());
    let path = format!("/b/0/deny/{}", id_of(&proposal));
    let form = form_of(&pages.get(&review_path(&proposal)).body, &path).expect("a form");
    let unsure = pages.post(&path, &format!("{form}&reason=no+%22%3Cb%3E"));
    unsure.says(422, "tick the box");
    assert!(
        unsure.body.contains("value=\"no &quot;&lt;b&gt;\""),
        "the reason is kept: {}",
        unsure.body
    );
    assert_eq!(
        pages
            .post(&path, &format!("{form}&reason=no&sure=yes"))
            .status,
        409,
        "the form was used"
    );
    let form = form_of(&unsure.body, &path).expect("a form");
    let long = pages.post(
        &path,
        &format!("{form}&reason={}&sure=yes", "x".repeat(9000)),
    );
    long.says(422, "id=\"reason-error\"");
    assert!(!long.body.contains("id=\"sure-error\""), "{}", long.body);
    assert_eq!(world.show(id_of(&proposal))["status"], "pending");
    let form = form_of(&long.body, &path).expect("a form");
    let reply = pages.post(
        &path,
        &format!("{form}&reason=not+%3Cb%3Enow%3C/b%3E&sure=yes"),
    );
    assert_eq!(reply.status, 303, "{}", reply.body);
    let seen = world
        .wire
        .get(&format!("/v1/proposals/{}", id_of(&proposal)), &world.agent)
        .ok(200);
    assert_eq!(
        (&seen["status"], &seen["denials"][0]["reason"]),
        (&json!("denied"), &json!("not <b>now</b>"))
    );
    assert_eq!(seen["denials"][0]["approver"], "alice");
    let page = pages.get(&format!("/b/0/run/{}", id_of(&proposal))).body;
    assert!(
        page.contains("alice's words") || page.contains("alice&#39;s words"),
        "{page}"
    );
    assert!(
        page.contains("not &lt;b&gt;now&lt;/b&gt;") && !page.contains("<b>now"),
        "{page}"
    );
    assert!(
        page.contains("You denied as alice at 20") && !page.contains("Expires"),
        "{page}"
    );
}

#[test]
fn the_field_of_the_digits_takes_8_characters_and_the_page_shows_which() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let page = open(&world, &alice()).get(&review_path(&proposal)).body;
    let field = page
        .split("<input id=\"digits\"")
        .nth(1)
        .and_then(|rest| rest.split('>').next())
        .expect("the field");
    for wanted in [
        "maxlength=\"8\"",
        "inputmode=",
        "autocomplete=\"off\"",
        "autocapitalize=\"none\"",
    ] {
        assert!(field.contains(wanted), "{wanted}: {field}");
    }
    let digits = digits(&proposal);
    assert!(
        page.contains(&format!("ends with <strong>{digits}</strong>")),
        "{page}"
    );
}

#[test]
fn output_appears_while_the_step_runs_and_a_denial_ends_the_run() {
    let world = World::new();
    let proposal = world.propose("plain:wait", json!({}));
    let pages = open(&world, &alice());
    assert_eq!(sign(&pages, &proposal, &digits(&proposal)).status, 303);
    world.until(id_of(&proposal), "running");
    let run = format!("/b/0/run/{}", id_of(&proposal));
    let page = pages.get(&run).body;
    let events = format!("/b/0/events/{}", id_of(&proposal));
    assert!(
        page.contains(&format!("data-events=\"{events}\""))
            && page.contains("http-equiv=\"refresh\""),
        "{page}"
    );
    let streamed = pages.stream_until(&events, "started");
    assert!(
        streamed.contains("text/event-stream") && streamed.contains("\"type\":\"output\""),
        "{streamed}"
    );
    // An approver can't cancel, and the page says what an approver does instead.
    let stop = format!("/b/0/stop/{}", id_of(&proposal));
    let form = form_of(&page, &stop).expect("a form");
    pages
        .post(&stop, &form)
        .says(403, "deny it on its review page");
    assert_eq!(pages.post(&stop, &form).status, 409, "the form works once");
    let deny = format!("/b/0/deny/{}", id_of(&proposal));
    let review = pages.get(&review_path(&proposal)).body;
    assert!(
        form_of(&review, &sign_path(&proposal)).is_none()
            && review.contains("Deny, and end the run"),
        "{review}"
    );
    let form = form_of(&review, &deny).expect("a form");
    assert_eq!(
        pages
            .post(&deny, &format!("{form}&reason=stop&sure=yes"))
            .status,
        303
    );
    let page = page_until(&pages, &run, "Verified on this machine");
    assert!(
        page.contains("started") && !page.contains("data-events"),
        "{page}"
    );
}

#[test]
fn an_operator_cancels_on_the_page_of_the_proposal() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let oscar = crate::support::people::oscar();
    let pages = open(&world, &oscar);
    let stop = format!("/b/0/stop/{}", id_of(&proposal));
    let page = pages.get(&format!("/b/0/run/{}", id_of(&proposal))).body;
    assert_eq!(
        pages
            .post(&stop, &form_of(&page, &stop).expect("a form"))
            .status,
        303
    );
    assert_eq!(world.show(id_of(&proposal))["status"], "cancelled");
}

#[test]
fn proposals_of_one_definition_stand_side_by_side_and_are_signed_each_by_itself() {
    let world = World::new();
    let one = world.propose("two:go", json!({"text": "<i>one</i>"}));
    let two = world.propose("two:go", json!({"text": "two"}));
    world.propose("plain:true", json!({}));
    let pages = open(&world, &alice());
    let inbox = pages.get("/").body;
    let path = format!(
        "/b/0/compare/{}",
        one["step_digest"].as_str().expect("a digest")
    );
    assert!(
        inbox.contains(&format!("href=\"{path}\""))
            && inbox.contains("Compare 2 proposals of two:go"),
        "{inbox}"
    );
    assert_eq!(
        inbox.matches("/compare/").count(),
        1,
        "one proposal has nothing to compare"
    );
    let page = pages.get(&path).body;
    assert!(
        page.contains("&lt;i&gt;one&lt;/i&gt;") && page.contains("two") && !page.contains("<i>"),
        "{page}"
    );
    let rows: Vec<&str> = page.split("<th scope=\"row\">").skip(1).collect();
    assert!(rows[0].contains("params.text"), "{}", rows[0]);
    assert!(
        rows.iter().all(|row| !row.contains("boundary.name")),
        "equal fields are not listed: {page}"
    );
    for proposal in [&one, &two] {
        assert!(page.contains(&review_path(proposal)), "{page}");
    }
    assert!(!page.contains("<form"), "nothing is signed on this page");
    pages.get("/b/0/compare/nonsense").says(404, "No such page");
}

/// Writes the list of boundaries of the person whose home directory the world has.
pub(crate) fn list(world: &World, text: &str) {
    world.write("home/.config/countersign/boundaries.toml", text);
    let directory = world.path("home/.config/countersign");
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).expect("mode");
}

/// Returns the entry of the world in the list.
pub(crate) fn entry(world: &World, name: &str, url: &str, id: &str) -> String {
    let roster = world.started["roster"].as_str().expect("a digest");
    format!(
        "[[boundary]]\nname = \"{name}\"\nurl = \"{url}\"\nid = \"{id}\"\nroster = \"{roster}\"\n"
    )
}

/// Returns the command line of alice, with her list of boundaries.
pub(crate) fn listed(world: &World, words: &[&str]) -> Command {
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let mut command = world.program(words);
    command.arg("--key").arg(world.path("alice.pem"));
    command
}

#[test]
fn a_boundary_that_does_not_answer_is_named_and_the_others_are_shown() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let id = world.wire.get("/v1/registry", &world.reader).ok(200)["boundary"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let other = format!("sha256:{}", "b".repeat(64));
    let (url, gone) = (world.wire.url.clone(), "http://127.0.0.1:1");
    list(
        &world,
        &[
            entry(&world, "gone", gone, &id),
            entry(&world, "prod", &url, &id),
            entry(&world, "moved", &url, &other),
        ]
        .concat(),
    );
    let pages = Pages::start(listed(&world, &["console"]));
    let inbox = pages.get("/").body;
    let path = format!("/b/1/review/{}", id_of(&proposal));
    assert!(
        inbox.contains("Yours to move (1)") && inbox.contains(&path),
        "{inbox}"
    );
    assert!(
        inbox.contains("<strong>gone</strong>: not read.") && inbox.contains("can't be reached"),
        "{inbox}"
    );
    // A boundary whose id changed is refused, also on the page of a proposal.
    assert!(
        inbox.contains("<strong>moved</strong>: not read.") && inbox.contains(&other),
        "{inbox}"
    );
    pages
        .get(&format!("/b/2/review/{}", id_of(&proposal)))
        .says(409, "your list states the id");
    assert!(
        form_of(
            &pages.get(&path).body,
            &format!("/b/1/sign/{}", id_of(&proposal))
        )
        .is_some()
    );
    // The commands use the same list.
    let all = listed(&world, &["inbox", "--boundary", "all"])
        .output()
        .expect("it starts");
    let text = said(&all);
    assert!(
        text.contains("== gone ==") && text.contains("== prod ==") && text.contains("plain:true"),
        "{text}"
    );
    assert!(
        text.contains("gone: ") && text.contains("moved: ") && all.status.code() != Some(0),
        "{text}"
    );
    said_at_exit(
        listed(&world, &["inbox", "--boundary", "prod"])
            .output()
            .expect("it starts"),
        0,
        "plain:true",
    );
    exited(
        listed(&world, &["--boundary", "prod", "review"])
            .output()
            .expect("it starts"),
        0,
    );
    for (words, says) in [
        (
            &["inbox", "--boundary", "moved"][..],
            "your list states the id",
        ),
        (
            &["approve", "--boundary", "moved"],
            "your list states the id",
        ),
        (
            &["inbox", "--boundary", "none"],
            "your list has gone, prod, moved",
        ),
        (
            &["review", "--boundary", "all"],
            "choose one with --boundary NAME",
        ),
        (
            &["inbox", "--boundary", "all", "--token", "cst_x"],
            "is for one boundary",
        ),
    ] {
        let refused = listed(&world, words).output().expect("it starts");
        assert!(
            !refused.status.success() && said(&refused).contains(says),
            "{words:?}: {}",
            said(&refused)
        );
    }
    // An address in options or environment has priority.
    let elsewhere = listed(&world, &["inbox", "--boundary", "prod"])
        .env("COUNTERSIGN_URL", gone)
        .output()
        .expect("it starts");
    assert!(
        said(&elsewhere).contains("--boundary has no effect"),
        "{}",
        said(&elsewhere)
    );
    assert!(
        said(&elsewhere).contains("can't be reached"),
        "{}",
        said(&elsewhere)
    );
}

#[test]
fn a_boundary_that_says_nothing_holds_up_no_other_boundary() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let id = world.wire.get("/v1/registry", &world.reader).ok(200)["boundary"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    list(
        &world,
        &[
            entry(&world, "silent", &url, &id),
            entry(&world, "prod", &world.wire.url, &id),
        ]
        .concat(),
    );
    let pages = Pages::start(listed(&world, &["console"]));
    let inbox = pages.get("/").body;
    assert!(
        inbox.contains("<strong>silent</strong>: not read.")
            && inbox.contains("did not answer within"),
        "{inbox}"
    );
    assert!(inbox.contains("Yours to move (1)"), "{inbox}");
    let path = format!("/b/1/sign/{}", id_of(&proposal));
    let form =
        form_of(&pages.get(&path.replace("/sign/", "/review/")).body, &path).expect("a form");
    assert_eq!(
        pages
            .post(&path, &format!("{form}&digits={}", digits(&proposal)))
            .status,
        303
    );
}

#[test]
fn a_boundary_that_never_answers_is_named_in_the_inbox_of_all_boundaries_after_ten_seconds() {
    let world = World::new();
    world.propose("plain:true", json!({}));
    let id = world.wire.get("/v1/registry", &world.reader).ok(200)["boundary"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    // The kernel accepts the connections, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    list(
        &world,
        &[
            entry(&world, "silent", &url, &id),
            entry(&world, "prod", &world.wire.url, &id),
        ]
        .concat(),
    );
    let mut inbox = listed(&world, &["inbox", "--boundary", "all"]);
    let mut inbox = inbox
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut shown = String::new();
    let mut lines = BufReader::new(inbox.stdout.take().expect("a pipe"));
    while !shown.contains("plain:true") {
        assert!(lines.read_line(&mut shown).expect("a line") > 0, "{shown}");
    }
    assert!(
        inbox.try_wait().expect("a process").is_none(),
        "the other boundary is printed first: {shown}"
    );
    let ended = inbox.wait_with_output().expect("it ends");
    assert!(
        ended.status.code() == Some(125) && said(&ended).contains("silent: "),
        "{}",
        said(&ended)
    );
}

#[test]
fn the_inbox_of_all_boundaries_waits_for_no_boundary_before_it_asks_the_next() {
    let world = World::new();
    world.propose("plain:true", json!({}));
    let id = world.wire.get("/v1/registry", &world.reader).ok(200)["boundary"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    // Two boundaries that say nothing until both were asked, and then end the connection.
    let (asked, together) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let silent = |_| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, together) = (asked.clone(), together.clone());
        std::thread::spawn(move || {
            let Ok((first, _)) = listener.accept() else {
                return;
            };
            asked.fetch_add(1, Ordering::SeqCst);
            let deadline = Instant::now() + Duration::from_secs(30);
            while asked.load(Ordering::SeqCst) < 2 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            // A boundary that waited in vain does not count any more.
            if asked.load(Ordering::SeqCst) == 2 {
                together.store(true, Ordering::SeqCst);
            } else {
                asked.fetch_sub(1, Ordering::SeqCst);
            }
            drop(first);
            listener.incoming().for_each(drop);
        });
        url
    };
    let urls: Vec<String> = (0..2).map(silent).collect();
    list(
        &world,
        &[
            entry(&world, "a", &urls[0], &id),
            entry(&world, "prod", &world.wire.url, &id),
            entry(&world, "c", &urls[1], &id),
        ]
        .concat(),
    );
    let all = listed(&world, &["inbox", "--boundary", "all"])
        .output()
        .expect("it starts");
    let text = said(&all);
    assert!(together.load(Ordering::SeqCst), "one after another: {text}");
    let out = String::from_utf8_lossy(&all.stdout).into_owned();
    // Each boundary is printed when it has answered.
    let places = ["== a ==", "== prod ==", "plain:true", "== c =="].map(|words| out.find(words));
    assert!(
        places.iter().all(Option::is_some) && places[1] < places[2],
        "{text}"
    );
    assert!(
        text.contains("a: ") && text.contains("c: ") && all.status.code() != Some(0),
        "{text}"
    );
}

#[test]
fn a_token_of_the_environment_reaches_no_boundary_of_the_list() {
    let world = World::new();
    let other = Recorder::new("127.0.0.1", NOTHING);
    let url = format!("http://127.0.0.1:{}", other.port);
    list(
        &world,
        &format!("[[boundary]]\nname = \"other\"\nurl = \"{url}\"\n"),
    );
    for words in [
        &["inbox", "--boundary", "other"][..],
        &["inbox", "--boundary", "all"],
    ] {
        let output = listed(&world, words)
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("it starts");
        assert!(!output.status.success(), "{}", said(&output));
    }
    let heard = other.text();
    assert!(heard.contains("GET ") || heard.contains("POST "), "{heard}");
    assert!(!heard.to_lowercase().contains("authorization"), "{heard}");
}

#[test]
fn a_boundary_is_added_only_with_trust_and_under_a_name_of_its_own() {
    let world = World::new();
    let add = |words: &[&str]| {
        let mut all = vec!["boundary", "add"];
        all.extend_from_slice(words);
        listed(&world, &all).output().expect("it starts")
    };
    let url = world.wire.url.as_str();
    let roster = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let untrusted = exited(add(&["prod", "--url", url]), 2);
    let text = said(&untrusted);
    assert!(
        text.contains("was not added")
            && text.contains(&roster)
            && text.contains("another channel"),
        "{text}"
    );
    exited(
        add(&[
            "prod",
            "--url",
            url,
            "--roster",
            &format!("sha256:{}", "a".repeat(64)),
        ]),
        2,
    );
    assert!(
        !world
            .path("home/.config/countersign/boundaries.toml")
            .exists()
    );
    said_at_exit(
        add(&["prod", "--url", url, "--roster", &roster]),
        0,
        "added prod",
    );
    said_at_exit(
        add(&["prod", "--url", url, "--roster", &roster]),
        2,
        "is taken",
    );
    said_at_exit(
        add(&[
            "two",
            "--url",
            url,
            "--roster",
            &roster,
            "--token",
            &world.reader,
        ]),
        2,
        "--token-file",
    );
    let text = std::fs::read_to_string(world.path("home/.config/countersign/boundaries.toml"))
        .expect("a list");
    assert!(
        text.contains("id = \"sha256:") && text.contains(&roster) && !text.contains("cst_"),
        "{text}"
    );
    let run = |words: &[&str]| world.program(words).output().expect("it starts");
    assert!(
        said(&run(&["boundary", "list"])).contains("prod"),
        "{}",
        said(&run(&["boundary", "list"]))
    );
    // The list names the roster, so a review needs no other option.
    let proposal = world.propose("plain:true", json!({}));
    exited(
        listed(&world, &["review", id_of(&proposal), "--boundary", "prod"])
            .output()
            .expect("it starts"),
        0,
    );
    assert!(run(&["boundary", "remove", "prod"]).status.success());
    assert!(!said(&run(&["boundary", "list"])).contains("prod"));
}

#[test]
fn text_of_a_boundary_makes_no_markup_on_any_page() {
    let world = World::with(|setup| {
        let front =
            format!("params:\n  text: {{type: string, default: hello, maxLength: 4000}}\n{SMALL}");
        let script = "printf '<script>alert(1)</script>\\033]0;title\\007\\033[31mred\\033[0m\\n'";
        setup.runbook(
            "hostile.md",
            runbook(
                &front,
                &[("go title=\"<script>alert(2)</script>\"", script)],
            ),
        );
    });
    let params = json!({"text": "<script>alert(3)</script>\u{202e}"});
    let proposal = world.propose("hostile:go", params);
    world.propose("hostile:go", json!({"text": "other"}));
    let pages = open(&world, &alice());
    let compare = format!(
        "/b/0/compare/{}",
        proposal["step_digest"].as_str().expect("a digest")
    );
    let mut all: Vec<String> = ["/", &review_path(&proposal), &compare, "/b/0/steps"]
        .iter()
        .map(|path| pages.get(path).body)
        .collect();
    assert_eq!(sign(&pages, &proposal, &digits(&proposal)).status, 303);
    all.push(page_until(
        &pages,
        &format!("/b/0/run/{}", id_of(&proposal)),
        "Verified on this machine",
    ));
    for page in &all {
        assert!(
            !page.contains("<script>") && !page.contains('\u{202e}') && !page.contains('\x1b'),
            "{page}"
        );
    }
    let run = all.last().expect("a page");
    assert!(
        run.contains("&lt;script&gt;alert(1)")
            && run.contains("\\x1b]0;title")
            && run.contains("class=\"c1\""),
        "{run}"
    );
}
