//! The pages of the companion that sign and end standing grants, and what they say about a freeze.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::companion::{
    LyingBoundary, digits, lines_of, open, open_at, person, printed_lines, timeless,
};
use crate::support::grants::{POLICY, as_holder, draft, granted, terms};
use crate::support::pages::{PageReply, Pages, form_of};
use crate::support::people::{alice, bob, dora, frank, mallory};
use crate::support::{World, assert_says, exited, id_of, said};

fn world() -> World {
    World::with(|setup| setup.policy = POLICY.to_owned())
}

fn path(grant: &Value) -> String {
    format!("/b/0/grant/{}", id_of(grant))
}

fn end_path(grant: &Value) -> String {
    format!("/b/0/revoke/{}", id_of(grant))
}

/// Returns the hidden fields of the form at `to` on the page of the grant.
fn form(pages: &Pages, grant: &Value, to: &str) -> String {
    let page = pages.get(&path(grant)).body;
    form_of(&page, to).unwrap_or_else(|| panic!("no form: {page}"))
}

fn sign(pages: &Pages, grant: &Value, typed: &str) -> PageReply {
    pages.post(
        &path(grant),
        &format!(
            "{}&answer={}",
            form(pages, grant, &path(grant)),
            typed.replace(' ', "+")
        ),
    )
}

fn state(world: &World, grant: &Value) -> Value {
    world
        .wire
        .get(&format!("/v1/grants/{}", id_of(grant)), &world.reader)
        .ok(200)
}

#[test]
fn a_draft_of_a_grant_is_shown_as_the_command_shows_it_and_signed_with_its_own_answer_once() {
    let world = world();
    let (grant, other) = (
        draft(&world, &terms()).ok(201),
        draft(&world, &terms()).ok(201),
    );
    let pages = open(&world, &alice());
    for page in ["/", "/b/0/open"] {
        assert_says(pages.get(page).body, &format!("href=\"{}\"", path(&grant)));
    }
    assert!(
        pages
            .get("/")
            .body
            .contains("STANDING GRANT for robot: 10 runs of say:echo until")
    );
    let shown = lines_of(&pages.get(&path(&grant)).body);
    let command = as_holder(&world, &alice(), &["grant", "show", id_of(&grant)]);
    assert_eq!(
        timeless(&shown),
        timeless(&printed_lines(&command.stdout)),
        "{}",
        said(&command)
    );
    assert_eq!(shown[0], "== STANDING GRANT: nobody is asked again ==");
    let right = format!("10 {}", digits(&grant));
    for wrong in [
        "",
        &digits(&grant),
        "10",
        &format!("9 {}", digits(&grant)),
        &format!("10 {}", digits(&other)),
    ] {
        let reply = sign(&pages, &grant, wrong);
        assert!(
            reply.status == 422 && reply.body.contains("id=\"answer-error\""),
            "{wrong:?}: {}",
            reply.body
        );
        assert!(
            reply.body.contains(&format!("value=\"{wrong}\"")),
            "{wrong:?}: {}",
            reply.body
        );
    }
    let own = form(&pages, &grant, &path(&grant));
    let answer = right.replace(' ', "+");
    for (what, wrong) in [
        ("no form", String::new()),
        (
            "no seal",
            own.split("&seal=").next().expect("a part").to_owned(),
        ),
        (
            "the form of the end",
            form(&pages, &grant, &end_path(&grant)),
        ),
        (
            "the form of another grant",
            form(&pages, &other, &path(&other)),
        ),
    ] {
        eprintln!("{what}");
        pages
            .post(&path(&grant), &format!("{wrong}&answer={answer}"))
            .says(409, "Nothing was signed");
    }
    // Bob owns the grantee, and frank is in a group that does not count. No page of a stranger has a form.
    for (key, why) in [(bob(), "self-approval"), (frank(), "frank")] {
        let refused = sign(&open(&world, &key), &grant, &right);
        assert!(
            refused.status == 409 && refused.body.contains(why),
            "{}: {}",
            key.name,
            refused.body
        );
    }
    let mut command = person(&world, &mallory(), &["console", "--url", &world.wire.url]);
    command.env("COUNTERSIGN_TOKEN", &world.reader);
    let page = Pages::start(command).get(&path(&grant)).body;
    assert!(
        page.contains("You can't sign") && form_of(&page, &path(&grant)).is_none(),
        "{page}"
    );
    assert_eq!(
        (&state(&world, &grant)["status"], world.count("grant")),
        (&json!("pending"), 0)
    );
    let signed = sign(&pages, &grant, &format!(" {} ", right.to_uppercase()));
    assert!(
        signed.status == 303 && signed.head.contains(&format!("location: {}", path(&grant))),
        "{}",
        signed.body
    );
    assert_eq!(
        pages
            .post(&path(&grant), &format!("{own}&answer={answer}"))
            .status,
        409,
        "the grant is active"
    );
    let page = pages.get(&path(&grant)).body;
    assert!(
        page.contains("active") && form_of(&page, &path(&grant)).is_none(),
        "{page}"
    );
    assert!(page.contains("You signed as alice at 20"), "{page}");
    assert_eq!(
        (&state(&world, &grant)["status"], world.count("grant")),
        (&json!("active"), 1)
    );
    assert!(
        !pages.get("/").body.contains(&path(&grant)),
        "the grant waits for nobody"
    );
    world.assert_audited();
}

#[test]
fn a_grant_that_the_boundary_replaces_after_the_page_is_neither_signed_nor_ended() {
    let world = world();
    let (shown, other) = (
        draft(&world, &terms()).ok(201),
        draft(&world, &terms()).ok(201),
    );
    let mut renamed = other.clone();
    renamed["id"] = shown["id"].clone();
    let mut edited = shown.clone();
    edited["digest"] = other["digest"].clone();
    for (what, lie) in [
        ("another grant", other),
        ("another statement under the id", renamed),
        ("the digest", edited),
    ] {
        eprintln!("{what}");
        let boundary = LyingBoundary::start(&world, format!("/v1/grants/{}", id_of(&shown)), &lie);
        let pages = open_at(&world, &alice(), &boundary.url);
        let own = [
            form(&pages, &shown, &path(&shown)),
            form(&pages, &shown, &end_path(&shown)),
        ];
        boundary.lies.store(true, Ordering::SeqCst);
        if what != "the digest" {
            let body = format!("{}&answer=10+{}", own[0], digits(&shown));
            pages
                .post(&path(&shown), &body)
                .says(409, "Nothing was signed");
        }
        pages
            .post(&end_path(&shown), &format!("{}&word=revoke", own[1]))
            .says(409, "Not revoked");
    }
    assert_eq!(
        (
            world.count("revocation"),
            &state(&world, &shown)["approvals"]["have"]
        ),
        (0, &json!(0))
    );
}

#[test]
fn a_grant_ends_on_its_page_after_the_typed_word_and_once() {
    let world = world();
    let grant = granted(&world, &terms());
    let pages = open(&world, &dora());
    let wrong = pages.post(
        &end_path(&grant),
        &format!(
            "{}&word=yes&reason=a+test",
            form(&pages, &grant, &end_path(&grant))
        ),
    );
    wrong.says(422, "type the word revoke");
    assert!(wrong.body.contains("value=\"a test\""), "{}", wrong.body);
    assert_eq!(
        pages.post(&end_path(&grant), "word=revoke").status,
        409,
        "no form of this program"
    );
    let outsider = open(&world, &frank());
    let body = format!("{}&word=revoke", form(&outsider, &grant, &end_path(&grant)));
    outsider
        .post(&end_path(&grant), &body)
        .says(409, "Not revoked");
    assert_eq!(world.count("revocation"), 0);
    let body = format!(
        "{}&word=revoke&reason=a+test",
        form(&pages, &grant, &end_path(&grant))
    );
    let done = pages.post(&end_path(&grant), &body);
    let words = format!("the grant {} is revoked", id_of(&grant));
    assert!(
        done.status == 200 && done.body.contains(&words),
        "{}",
        done.body
    );
    assert_eq!(
        pages.post(&end_path(&grant), &body).status,
        409,
        "the same form again"
    );
    let page = pages.get(&path(&grant)).body;
    assert!(
        page.contains("unusable (revoked)") && form_of(&page, &end_path(&grant)).is_none(),
        "{page}"
    );
    assert_eq!(
        (world.count("revocation"), &state(&world, &grant)["status"]),
        (1, &json!("unusable"))
    );
    world.assert_audited();
}

#[test]
fn the_pages_the_inbox_and_thaw_say_since_when_by_whom_and_why_a_boundary_is_frozen() {
    let world = world();
    let grant = draft(&world, &terms()).ok(201);
    let pages = open(&world, &alice());
    let own = form(&pages, &grant, &path(&grant));
    assert!(!pages.get("/").body.contains("FROZEN"));
    exited(
        as_holder(
            &world,
            &frank(),
            &[
                "freeze",
                "--yes",
                "--reason",
                "it <b>deletes</b> \u{202e}data",
            ],
        ),
        0,
    );
    // A grant that was shown before the freeze is not signed any more.
    pages
        .post(
            &path(&grant),
            &format!("{own}&answer=10+{}", digits(&grant)),
        )
        .says(409, "Nothing was signed");
    assert_eq!(state(&world, &grant)["approvals"]["have"], 0);
    let view = world.wire.get("/v1/registry", &world.reader).ok(200)["frozen"].clone();
    let event = world.wire.get("/v1/registry", &world.agent).ok(200)["frozen"]["at"].clone();
    let (at, by) = (
        view["at"].as_str().expect("a time"),
        view["by"].as_str().expect("a person"),
    );
    assert!(by == "approver frank" && event == at, "{view:#}");
    let words = format!(
        "FROZEN since {at} by {by} (log entry {}) ({by}'s words: \"it <b>deletes</b> \\u{{202e}}data\")",
        view["index"]
    );
    let page = pages.get("/").body;
    let shown = words
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    assert!(
        page.contains(&shown) || page.contains(&shown.replace('\'', "&#39;")),
        "{shown}: {page}"
    );
    for options in [&["inbox"][..], &["inbox", "--all"]] {
        let inbox = as_holder(&world, &alice(), options);
        assert!(said(&inbox).contains(&words), "{words}: {}", said(&inbox));
    }
    let inbox = as_holder(&world, &alice(), &["inbox", "--json"]);
    let object: Value = serde_json::from_slice(&inbox.stdout).expect("JSON");
    assert_eq!(object["frozen"], view);
    let asked = world
        .boundary_command(&["thaw", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("thaw");
    assert!(
        !asked.status.success() && said(&asked).contains(&words),
        "{}",
        said(&asked)
    );
    let thawed = world
        .boundary_command(&["thaw", "--yes", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("thaw");
    assert!(
        thawed.status.success() && said(&thawed).contains(&words),
        "{}",
        said(&thawed)
    );
    let void = |thawed: &std::process::Output| said(thawed).matches(" is void\n").count();
    assert!(
        said(&thawed).contains(&format!("the standing grant {} is void\n", id_of(&grant))),
        "{}",
        said(&thawed)
    );
    assert_eq!(void(&thawed), 1);
    // What an earlier freeze made void is not told again.
    exited(as_holder(&world, &frank(), &["freeze", "--yes"]), 0);
    let again = world
        .boundary_command(&["thaw", "--yes", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("thaw");
    assert!(
        again.status.success() && void(&again) == 0,
        "{}",
        said(&again)
    );
    assert!(world.wire.get("/v1/registry", &world.reader).ok(200)["frozen"].is_null());
    assert!(
        !pages.get("/").body.contains("FROZEN")
            && !said(&as_holder(&world, &alice(), &["inbox"])).contains("FROZEN")
    );
}
