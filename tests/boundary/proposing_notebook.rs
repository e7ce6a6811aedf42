//! `countersign open --boundary`: a person proposes sealed steps in a browser, over real HTTP and at a real boundary.

use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::companion::{LyingBoundary, page_until};
use crate::support::pages::{PageReply, Pages, ask, form_of, text_of};
use crate::support::{POLICY, SMALL, World, exited, id_of, runbook, said_at_exit};

const FRONT: &str = "params:\n  who: {type: string, pattern: \"^[a-z]+$\", default: anna}\n  n: {type: integer, default: 1}";
const STEPS: [(&str, &str); 3] = [
    ("hello params=who,n", "echo \"hello $PARAM_WHO <b>\""),
    ("other params=\"\"", "echo other"),
    ("denied params=\"\"", "date"),
];

/// Returns a boundary with `ops/page.md`, whose token `agent` belongs to carol.
fn world() -> World {
    World::with(|setup| {
        setup.policy = POLICY.replace("mode: execute", "mode: execute\n  run: {deny: [date]}");
        setup.runbook("ops/page.md", runbook(&format!("{FRONT}\n{SMALL}"), &STEPS));
    })
}

/// Returns the command that opens a file of the author's checkout for this boundary.
fn opening(world: &World, text: &str, url: &str) -> Command {
    world.write("checkout/ops/page.md", text);
    world.write("agent.token", &world.agent);
    let mut command = world.program(&["open", "ops/page.md", "--boundary", url, "--token-file"]);
    command.arg(world.path("agent.token")).args([
        "--roster",
        world.started["roster"].as_str().expect("a digest"),
    ]);
    command.current_dir(world.path("checkout"));
    command
}

fn open(world: &World) -> Pages {
    let text = runbook(&format!("{FRONT}\n{SMALL}"), &STEPS);
    Pages::start(opening(
        world,
        &format!("{text}\nSome **prose**.\n"),
        &world.wire.url,
    ))
}

/// Returns the block of a step.
fn block(page: &str, name: &str) -> String {
    let from = page
        .find(&format!("aria-label=\"{name}\""))
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    page[from..]
        .split("</section>")
        .next()
        .expect("its end")
        .to_owned()
}

/// Loads the page, and sends the form of a step.
fn propose(pages: &Pages, name: &str, fields: &str) -> PageReply {
    let page = pages.get("/page/0/").body;
    let form = form_of(&block(&page, name), "/page/0/propose")
        .unwrap_or_else(|| panic!("no form: {page}"));
    pages.post("/page/0/propose", &format!("{form}{fields}"))
}

/// Returns the page to which a form with errors leads.
fn refused(pages: &Pages, reply: &PageReply) -> String {
    assert_eq!(leads_to(reply), "/page/0/");
    pages.get("/page/0/").body
}

/// Returns the address to which an answer leads.
fn leads_to(reply: &PageReply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.body);
    let to = reply
        .head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .expect("an address");
    to.trim().to_owned()
}

fn all(world: &World) -> Vec<Value> {
    let list = world.wire.get("/v1/proposals", &world.reader).ok(200);
    list["proposals"].as_array().expect("a list").clone()
}

/// Lets alice approve with the client.
fn approve(world: &World, id: &str) -> Output {
    let shown = world.show(id);
    let done = world
        .as_alice(&[
            "approve",
            id,
            "--yes",
            "--expect",
            shown["digest"].as_str().expect("text"),
        ])
        .output();
    exited(done.expect("it starts"), 0)
}

#[test]
fn a_person_proposes_a_sealed_step_and_sees_signatures_output_and_verified_receipt() {
    let world = world();
    let pages = open(&world);
    let page = pages.get("/page/0/").body;
    let hello = block(&page, "hello");
    assert!(
        page.contains("Boundary: <strong>prod</strong>") && page.contains("<strong>prose</strong>"),
        "{page}"
    );
    for text in [
        "ops/page:hello",
        "Who must sign: 1 of ops,security",
        "echo \"hello $PARAM_WHO <b>\"",
        "Propose hello",
    ] {
        assert!(
            text_of(&format!(">{hello}")).contains(text),
            "{text}: {hello}"
        );
    }
    let sealed = world
        .wire
        .get("/v1/steps/ops/page:hello", &world.agent)
        .ok(200);
    assert!(
        hello.contains(sealed["digest"].as_str().expect("text")) && !hello.contains("differs"),
        "{hello}"
    );
    let run = leads_to(&propose(
        &pages,
        "hello",
        "&p.who=bert&p.n=3&reason=because",
    ));
    let id = run.strip_prefix("/run/").expect("a run").to_owned();
    let view = world.show(&id);
    assert_eq!(
        (&view["proposer"], &view["reason"]),
        (&json!("agent"), &json!("because"))
    );
    assert_eq!(view["params"], json!({"who": "bert", "n": 3}));
    let waiting = pages.get(&run).body;
    for text in [
        "0 of 1 signatures; still needed: somebody of",
        " left</dd>",
        "carol, because they",
        "?have=0",
    ] {
        assert!(waiting.contains(text), "{text}: {waiting}");
    }
    assert!(
        pages.get("/page/0/").body.contains(&run),
        "the step lists its proposals"
    );
    approve(&world, &id);
    let stream = pages.stream_until(&format!("{run}/events?have=1"), "\"type\":\"reload\"");
    assert!(
        stream.contains("signed by alice") && stream.contains("hello bert <b>"),
        "{stream}"
    );
    let stream = pages.stream_until(&format!("{run}/events?have=0"), "\"type\":\"reload\"");
    assert!(
        !stream.contains("hello"),
        "a page without the signature loads again: {stream}"
    );
    let ended = page_until(&pages, &run, "Verified on this machine");
    assert!(
        ended.contains("hello bert &lt;b&gt;") && ended.contains("1 of 1 signatures, by alice"),
        "{ended}"
    );
    // A stopped proposal does not run.
    let run = leads_to(&propose(&pages, "other", ""));
    let form = form_of(&pages.get(&run).body, &format!("{run}/stop")).expect("a form");
    assert_eq!(pages.post(&format!("{run}/stop"), &form).status, 303);
    assert!(pages.get(&run).body.contains("cancelled"));
}

#[test]
fn a_step_that_differs_or_that_nobody_may_approve_or_that_is_not_sealed_says_so() {
    let world = world();
    let mut steps = STEPS.to_vec();
    steps[1].1 = "echo changed";
    steps.push(("new params=\"\"", "echo new"));
    let text = runbook(&format!("{FRONT}\n{SMALL}"), &steps);
    let pages = Pages::start(opening(&world, &text, &world.wire.url));
    let page = pages.get("/page/0/").body;
    assert!(!block(&page, "hello").contains("differs"), "{page}");
    let other = block(&page, "other");
    let words =
        "The file's step differs from the sealed step: the sealed one is shown and proposed.";
    assert!(
        other.contains(words) && other.contains("<code>echo other\n</code>"),
        "{other}"
    );
    assert!(
        text_of(&format!(">{other}")).contains("| echo changed"),
        "{other}"
    );
    let denied = block(&page, "denied");
    assert!(
        denied.contains("Nobody can approve this step.") && denied.contains("run.deny"),
        "{denied}"
    );
    let new = block(&page, "new");
    assert!(
        new.contains("The boundary has not sealed this step") && !new.contains("echo new"),
        "{new}"
    );
    for (name, forms) in [("hello", 1), ("other", 1), ("denied", 0), ("new", 0)] {
        assert_eq!(
            block(&page, name).matches("<form ").count(),
            forms,
            "{name}"
        );
    }
    // The sealed step is proposed.
    let run = leads_to(&propose(&pages, "other", ""));
    assert_eq!(
        world.show(run.strip_prefix("/run/").expect("a run"))["status"],
        "pending"
    );
    // The file is read again at each load, and its errors are shown.
    world.write(
        "checkout/ops/page.md",
        &text.replace("countersign: 1", "countersign: 1\ntitel: Odd"),
    );
    let broken = pages.get("/page/0/");
    assert!(
        broken.status == 409
            && broken.body.contains("can't be opened")
            && broken.body.contains("titel"),
        "{}",
        broken.body
    );
}

#[test]
fn wrong_parameters_stand_beside_their_fields_and_propose_nothing() {
    let world = world();
    let pages = open(&world);
    for (fields, wanted) in [
        ("&p.who=BAD&p.n=1", "does not match ^[a-z]+$"),
        ("&p.who=anna&p.n=many", "the schema asks for an integer"),
    ] {
        let reply = propose(&pages, "hello", &format!("{fields}&reason=why+not"));
        let page = refused(&pages, &reply);
        let (before, after) = page
            .split_once(wanted)
            .unwrap_or_else(|| panic!("no {wanted}: {page}"));
        assert!(
            before.contains("aria-invalid=\"true\"") && before.contains("<p class=\"error\""),
            "{before}"
        );
        assert!(after.contains("value=\"why not\""), "{after}");
        // The form of the page works.
        let form = form_of(&page, "/page/0/propose").expect("a form");
        let again = pages.post("/page/0/propose", &format!("{form}&p.who=BAD&p.n=1"));
        assert!(refused(&pages, &again).contains("does not match ^[a-z]+$"));
    }
    // The boundary names the field too.
    let reply = propose(
        &pages,
        "hello",
        &format!("&p.who=anna&p.n=1&reason={}", "x".repeat(3000)),
    );
    let page = refused(&pages, &reply);
    let (_, after) = page.split_once("name=\"reason\"").expect("the field");
    assert!(
        after.contains("<p class=\"error\" id=\"step-0-0-more-0-error\">"),
        "{after}"
    );
    assert!(all(&world).is_empty());
}

#[test]
fn errors_of_a_proposal_stand_on_the_page_until_a_step_is_proposed_and_a_reload_sends_nothing() {
    let world = world();
    let pages = open(&world);
    let reply = propose(&pages, "hello", "&p.who=BAD&p.n=1&reason=why");
    for page in [refused(&pages, &reply), pages.get("/page/0/").body] {
        let summary = page.split("role=\"alert\"").nth(1).expect("a summary");
        assert!(
            summary.contains("Not proposed: hello") && page.contains("aria-invalid=\"true\""),
            "{page}"
        );
        assert!(
            !block(&page, "other").contains("aria-invalid")
                && block(&page, "hello").contains("value=\"BAD\"")
        );
    }
    assert!(all(&world).is_empty(), "the page was loaded again");
    leads_to(&propose(&pages, "hello", "&p.who=anna&p.n=1"));
    let page = pages.get("/page/0/").body;
    assert!(
        !page.contains("aria-invalid") && !page.contains("Not proposed") && !page.contains("BAD"),
        "{page}"
    );
    assert_eq!(all(&world).len(), 1);
}

#[test]
fn a_step_that_needs_a_session_begins_one_or_uses_an_open_one() {
    let steps = [
        ("set session=write", "export A_NAME=kept"),
        ("get session=write", "printf %s \"$A_NAME\""),
    ];
    let text = runbook(SMALL, &steps);
    let world = World::with(|setup| setup.runbook("ops/page.md", text.as_str()));
    let pages = Pages::start(opening(&world, &text, &world.wire.url));
    let sessions = || {
        world.wire.get("/v1/sessions", &world.agent).ok(200)["sessions"]
            .as_array()
            .expect("a list")
            .len()
    };
    assert!(refused(&pages, &propose(&pages, "set", "&session=x")).contains("choose a session"));
    assert_eq!(sessions(), 0);
    let set = leads_to(&propose(&pages, "set", "&session=begin+a+new+session"));
    assert_eq!(sessions(), 1, "the proposal began it");
    let set = set.strip_prefix("/run/").expect("a run");
    approve(&world, set);
    world.until(set, "finished");
    let page = pages.get("/page/0/").body;
    let offered = page
        .split("<option value=\"ses_")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a session");
    let get = leads_to(&propose(&pages, "get", &format!("&session=ses_{offered}")));
    approve(&world, get.strip_prefix("/run/").expect("a run"));
    assert!(page_until(&pages, &get, "Verified on this machine").contains("kept"));
    assert_eq!(sessions(), 1);
}

#[test]
fn a_proposer_saves_the_bundle_of_an_ended_run_and_follows_links_to_open_runbooks() {
    let world = world();
    let text = format!(
        "{}\n[this](./page.md#h0) and [another](./other.md)\n",
        runbook(&format!("{FRONT}\n{SMALL}"), &STEPS)
    );
    let pages = Pages::start(opening(&world, &text, &world.wire.url));
    let page = pages.get("/page/0/").body;
    assert!(
        page.contains("<a href=\"link/0\">this</a>")
            && page.contains("<a href=\"link/1\">another</a>"),
        "{page}"
    );
    assert_eq!(leads_to(&pages.get("/page/0/link/0")), "/page/0/#h0");
    for link in ["/page/0/link/1", "/page/0/link/2"] {
        pages.get(link).says(404, "countersign open DIR");
    }
    let run = leads_to(&propose(&pages, "other", ""));
    assert!(!pages.get(&run).body.contains("Download the bundle"));
    approve(&world, run.strip_prefix("/run/").expect("a run"));
    let bundle = format!("{run}/bundle");
    assert!(
        page_until(&pages, &run, "Verified on this machine")
            .contains(&format!("href=\"{bundle}\""))
    );
    let saved = pages.get(&bundle);
    assert!(saved.head.contains(".bundle.json\""), "{}", saved.head);
    assert_eq!(world.verify(saved.body.as_bytes()).0, 0, "{}", saved.body);
}

#[test]
fn a_form_proposes_once_and_only_from_a_page_of_the_program_and_nothing_runs_here() {
    let world = world();
    let pages = open(&world);
    let path = "/page/0/propose";
    let page = pages.get("/page/0/").body;
    let form = form_of(&block(&page, "hello"), path).expect("a form");
    let other = form_of(&block(&page, "other"), path).expect("a form");
    let (own, host) = (pages.headers(), pages.host.clone());
    for (what, headers, status) in [
        (
            "another origin",
            own.replace("origin: http://", "origin: http://evil."),
            403,
        ),
        (
            "no origin",
            own.replace(&format!("origin: http://{host}\r\n"), ""),
            403,
        ),
        (
            "another host",
            own.replace(&format!("host: {host}"), "host: evil.example"),
            421,
        ),
        (
            "no cookie",
            own.replace(&pages.cookie, "countersign_pages=00"),
            401,
        ),
    ] {
        assert_eq!(
            ask(&host, "POST", path, &headers, &form).status,
            status,
            "{what}"
        );
    }
    let digest = |form: &str| {
        form.split("digest=")
            .nth(1)
            .and_then(|rest| rest.split('&').next())
            .expect("it")
            .to_owned()
    };
    for (what, body) in [
        (
            "the digest of another step",
            form.replace(&digest(&form), &digest(&other)),
        ),
        (
            "the number of another form",
            form.replacen("form=", "form=9", 1),
        ),
        (
            "no seal",
            form.split("&seal=").next().expect("a part").to_owned(),
        ),
    ] {
        eprintln!("{what}");
        pages
            .post(path, &body)
            .says(409, "proposed and stopped nothing");
    }
    for absent in [
        "/page/0/run/0",
        "/page/0/walk",
        "/page/0/reset",
        "/answer/1/a",
        "/stop",
    ] {
        assert_eq!(pages.post(absent, &form).status, 404, "{absent}");
    }
    assert!(all(&world).is_empty());
    let run = leads_to(&pages.post(path, &form));
    assert_eq!(
        pages.post(path, &form).status,
        409,
        "the same form again, as by a reload or a second click"
    );
    assert_eq!(all(&world).len(), 1);
    // A new form for the same open proposal leads to it.
    assert_eq!(
        leads_to(&propose(&pages, "hello", "")),
        format!("{run}?known")
    );
    assert!(
        pages
            .get(&format!("{run}?known"))
            .body
            .contains("The same proposal was open already")
    );
    assert_eq!(all(&world).len(), 1);
}

#[test]
fn a_boundary_that_lies_is_refused_or_gone_proposes_nothing_and_the_page_says_what_to_do() {
    let mut world = world();
    let step = "/v1/steps/ops/page:other";
    let mut lie = world.wire.get(step, &world.agent).ok(200);
    lie["definition"]["source"] = json!("echo a lie");
    let between = LyingBoundary::start(&world, step.to_owned(), &lie);
    let text = runbook(&format!("{FRONT}\n{SMALL}"), &STEPS);
    let pages = Pages::start(opening(&world, &text, &between.url));
    let form = form_of(
        &block(&pages.get("/page/0/").body, "other"),
        "/page/0/propose",
    )
    .expect("a form");
    between.lies.store(true, Ordering::SeqCst);
    let page = pages.get("/page/0/").body;
    let other = block(&page, "other");
    assert!(
        other.contains("Don&#39;t trust this boundary")
            || other.contains("Don't trust this boundary"),
        "{other}"
    );
    assert!(
        !page.contains("a lie")
            && !other.contains("<form ")
            && block(&page, "hello").contains("<form "),
        "{page}"
    );
    pages
        .post("/page/0/propose", &form)
        .says(409, "Nothing was proposed");
    assert!(all(&world).is_empty());
    // A boundary that answers with the proposal of another reason has not made the proposal of the page.
    let mut other = world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &json!({"step": "ops/page:other", "params": {}}),
        )
        .ok(201);
    other["reason"] = json!("another reason");
    let between = LyingBoundary::start(&world, "POST /v1/proposals".to_owned(), &other);
    let pages = Pages::start(opening(&world, &text, &between.url));
    let form = form_of(
        &block(&pages.get("/page/0/").body, "other"),
        "/page/0/propose",
    )
    .expect("a form");
    between.lies.store(true, Ordering::SeqCst);
    let reply = pages.post("/page/0/propose", &format!("{form}&reason=mine"));
    assert!(refused(&pages, &reply).contains("made another proposal"));
    // A step that was sealed in another form after the page was loaded is not proposed.
    let pages = open(&world);
    let form = form_of(
        &block(&pages.get("/page/0/").body, "other"),
        "/page/0/propose",
    )
    .expect("a form");
    let mut steps = STEPS.to_vec();
    steps[1].1 = "echo later";
    world.write(
        "b/runbooks/ops/page.md",
        &runbook(&format!("{FRONT}\n{SMALL}"), &steps),
    );
    world.reseal(world.seal() + 1);
    let reply = pages.post("/page/0/propose", &form);
    reply.says(409, "sealed in another form now");
    let form = form_of(
        &block(&pages.get("/page/0/").body, "other"),
        "/page/0/propose",
    )
    .expect("a form");
    let run = leads_to(&propose(&pages, "hello", ""));
    world.stop();
    for reply in [
        pages.get("/page/0/"),
        pages.get(&run),
        pages.post("/page/0/propose", &form),
    ] {
        assert_eq!(reply.status, 502, "{}", reply.body);
        assert!(
            reply.body.contains("can't be reached") && reply.body.contains("Load the page again"),
            "{}",
            reply.body
        );
    }
}

#[test]
fn a_token_is_needed_and_the_name_of_a_boundary_comes_from_the_list() {
    let world = world();
    let text = runbook(&format!("{FRONT}\n{SMALL}"), &STEPS);
    let mut without = opening(&world, &text, &world.wire.url);
    let refused = |command: &mut Command, wanted: &str| {
        said_at_exit(command.output().expect("it starts"), 2, wanted);
    };
    refused(
        opening(&world, &text, &world.wire.url).arg("--watch"),
        "--watch is for runs on this machine",
    );
    refused(
        &mut opening(&world, &text, "prod"),
        "no boundary has the name prod",
    );
    let mut bare = world.program(&["open", "ops/page.md", "--boundary", &world.wire.url]);
    refused(
        bare.current_dir(world.path("checkout")),
        "--boundary needs a token",
    );
    // A wrong token is an answer of the boundary.
    without.env("COUNTERSIGN_TOKEN", format!("cst_{}", "x".repeat(43)));
    let mut wrong = world.program(&["open", "ops/page.md", "--boundary", &world.wire.url]);
    wrong
        .current_dir(world.path("checkout"))
        .env("COUNTERSIGN_TOKEN", format!("cst_{}", "x".repeat(43)));
    Pages::start(wrong)
        .get("/page/0/")
        .says(401, "does not accept your token");
    // A person has a token of his own.
    world.write(
        "carol.token",
        &world.token("carol.web", &["carol"], &["propose", "read"]),
    );
    let token = world.path("carol.token");
    let add = [
        "boundary",
        "add",
        "prod",
        "--url",
        &world.wire.url,
        "--roster",
    ];
    let mut add = world.program(&add);
    add.arg(world.started["roster"].as_str().expect("a digest"))
        .arg("--token-file")
        .arg(&token);
    exited(add.output().expect("it starts"), 0);
    let mut named = world.program(&["open", "ops/page.md", "--boundary", "prod"]);
    named.current_dir(world.path("checkout"));
    let pages = Pages::start(named);
    let run = leads_to(&propose(&pages, "other", ""));
    let page = pages.get(&run).body;
    assert!(
        page.contains("<h1>ops/page:other at prod</h1>") && page.contains("<dd>carol.web</dd>"),
        "{page}"
    );
}

#[test]
fn a_plan_is_proposed_first_and_its_page_proposes_the_apply_that_is_bound_to_it() {
    let text = "---\ncountersign: 1\nparams: {size: {type: integer, default: 1}}\n---\n\
        ```bash {#plan}\nprintf 'grow to %s' \"$PARAM_SIZE\"\n```\n\
        ```bash {#apply plan=plan plan-max-age=1h}\ncat \"$COUNTERSIGN_ARTIFACTS/plan\"\n```\n";
    let world = World::with(|setup| setup.runbook("ops/page.md", text));
    let pages = Pages::start(opening(&world, text, &world.wire.url));
    let apply = block(&pages.get("/page/0/").body, "apply");
    assert!(
        text_of(&format!(">{apply}")).contains("This step applies a plan of ops/page:plan"),
        "{apply}"
    );
    assert!(
        !apply.contains("<form ") && !apply.contains("differs"),
        "{apply}"
    );
    let planned = leads_to(&propose(&pages, "plan", "&p.size=3"));
    let apply_path = format!("{planned}/apply");
    assert!(
        form_of(&pages.get(&planned).body, &apply_path).is_none(),
        "the plan has not run"
    );
    approve(&world, planned.strip_prefix("/run/").expect("a run"));
    let ended = page_until(&pages, &planned, "Propose apply");
    let form = form_of(&ended, &apply_path).expect("a form");
    let applied = leads_to(&pages.post(&apply_path, &format!("{form}&reason=go")));
    assert_eq!(
        pages.post(&apply_path, &form).status,
        409,
        "a form works once"
    );
    let id = applied.strip_prefix("/run/").expect("a run").to_owned();
    let view = world.show(&id);
    assert_eq!(
        (&view["step"], &view["params"]),
        (&json!("ops/page:apply"), &json!({"size": 3}))
    );
    approve(&world, &id);
    let page = page_until(&pages, &applied, "Verified on this machine");
    assert!(
        page.contains("grow to 3") && page.contains("plan"),
        "{page}"
    );
    assert_eq!(id_of(&world.until(&id, "finished")), id);
}
