//! Commands that ask all boundaries of the list, and filters, for approvers of many boundaries.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::certified::{Certificates, TlsProxy};
use crate::commands::review::at_terminal;
use crate::companion::{digits, entry, list, listed};
use crate::support::grants::as_holder;
use crate::support::people::{alice, bob, proposal_id};
use crate::support::reviews::{POLICY, ran};
use crate::support::{KilledAtEnd, World, exited, id_of, said, said_at_exit, wait_for};

/// Returns the entry of a world in the list.
fn listed_as(world: &World, name: &str) -> String {
    entry(world, name, &world.wire.url, &boundary_id(world))
}

fn boundary_id(world: &World) -> String {
    let registry = world.wire.get("/v1/registry", &world.reader).ok(200);
    registry["boundary"]["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// Returns a port that accepts connections and never answers, because the kernel accepts them and nobody reads them.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

fn of_alice(world: &World, words: &[&str]) -> Output {
    listed(world, words).output().expect("it starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn signatures(world: &World, proposal: &Value) -> u64 {
    world.show(id_of(proposal))["approvals"]["have"]
        .as_u64()
        .expect("a number")
}

#[test]
fn each_list_of_all_boundaries_shows_those_that_answer_and_names_the_others_after_ten_seconds() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let prod = World::with(|setup| setup.policy = POLICY.to_owned());
    let cold = World::with(|setup| setup.name = "cold".to_owned());
    let run = ran(&prod, "one");
    prod.propose("plain:true", json!({}));
    exited(
        as_holder(&cold, &bob(), &["freeze", "--yes", "--reason", "stop"]),
        0,
    );
    let (_silent, url) = silent();
    let tls = TlsProxy::new(made, "server", &prod.wire.url);
    let id = boundary_id(&prod);
    list(
        &prod,
        &[
            entry(&prod, "silent", &url, &id),
            entry(&prod, "gone", "http://127.0.0.1:1", &id),
            entry(&prod, "wrong", &tls.url(), &id),
            listed_as(&cold, "cold"),
            listed_as(&prod, "prod"),
        ]
        .concat(),
    );
    let receipt = run["receipt"].as_str().expect("a receipt");
    let commands = [
        (&["inbox"][..], "plain:true", "proposals"),
        (&["unsettled"], receipt, "runs"),
        (&["grant", "list"], "", "grants"),
        (&["proposals"], "plain:true", "proposals"),
    ];
    let begun = Instant::now();
    // Each call of `listed` writes the key, so no command starts before the last call.
    let command = |words: &[&str], more: &[&str]| {
        listed(&prod, &[words, &["--boundary", "all"], more].concat())
    };
    let commands_of =
        commands.map(|(words, ..)| [command(words, &[]), command(words, &["--json"])]);
    let start = |mut command: Command| {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    let started = commands_of.map(|both| both.map(start));
    for ((words, shows, field), [text, objects]) in commands.into_iter().zip(started) {
        let ended = exited(text.wait_with_output().expect("it ends"), 125);
        let (out, all) = (out(&ended), said(&ended));
        for bad in ["silent", "gone", "wrong"] {
            assert!(all.contains(&format!("{bad}: ")), "{words:?}, {bad}: {all}");
        }
        let at = |words: &str| {
            out.find(words)
                .unwrap_or_else(|| panic!("no {words}: {all}"))
        };
        assert!(
            at("== prod ==") < at("== silent ==") && at("== cold ==") < at("== silent =="),
            "{words:?}: {all}"
        );
        assert!(
            all.contains("certificate") && out[at("== prod ==")..].contains(shows),
            "{words:?}: {all}"
        );
        assert_eq!(
            all.contains("FROZEN since "),
            words == ["inbox"],
            "{words:?}: {all}"
        );
        // The printed command works as it is.
        assert_eq!(
            all.contains("--reason TEXT --boundary prod"),
            words == ["unsettled"],
            "{words:?}: {all}"
        );

        let ended = exited(objects.wait_with_output().expect("it ends"), 125);
        let objects: Vec<Value> = self::out(&ended)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(objects.len(), 5, "{words:?}: {objects:#?}");
        for object in objects {
            let is_good = ["cold", "prod"].contains(&object["boundary"].as_str().expect("a name"));
            assert_eq!(
                (object[field].is_array(), object["error"].is_string()),
                (is_good, !is_good),
                "{object:#}"
            );
            assert!(
                object["boundary"] != "prod" || object.to_string().contains(shows),
                "{words:?}: {object:#}"
            );
        }
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(9),
        "the silent boundary was asked"
    );
}

#[test]
fn an_inbox_that_watches_all_boundaries_shows_news_of_each_and_waits_for_one_that_is_down() {
    let prod = World::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port");
    let mut later =
        World::with(|setup| (setup.name, setup.listen) = ("later".to_owned(), port.to_string()));
    let (_silent, url) = silent();
    let other = format!("sha256:{}", "b".repeat(64));
    list(
        &prod,
        &[
            entry(&prod, "silent", &url, &boundary_id(&prod)),
            entry(&prod, "moved", &prod.wire.url, &other),
            listed_as(&later, "later"),
            listed_as(&prod, "prod"),
        ]
        .concat(),
    );
    later.stop();
    for more in [&[][..], &["--json"]] {
        let [out, err] = ["out", "err"].map(|name| prod.path(name));
        let mut watch = listed(
            &prod,
            &[&["inbox", "--watch", "--boundary", "all"], more].concat(),
        );
        watch
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"));
        let watch = KilledAtEnd(watch.spawn().expect("it starts"));
        let shown = |path| fs::read_to_string(path).expect("a text");
        wait_for("the boundary that is down is named", || {
            let err = shown(&err);
            err.contains("later: ") && err.contains("; trying on")
        });
        let first = prod.propose("plain:true", json!({}));
        wait_for("the news of prod", || {
            shown(&out).contains(&id_of(&first)[34..])
        });
        wait_for("the silent boundary is named", || {
            shown(&err).contains("silent: ")
        });
        later.start();
        let second = later.propose("plain:fail", json!({}));
        wait_for("the news of the other boundary", || {
            shown(&out).contains(&id_of(&second)[34..])
        });
        let text = shown(&out);
        if more.is_empty() {
            let news = text.rsplit("== later ==").next().expect("a heading");
            assert!(
                news.contains("plain:fail") && !news.contains("plain:true"),
                "{text}"
            );
            assert!(
                shown(&err).contains("moved: the boundary at"),
                "{}",
                shown(&err)
            );
        } else {
            let objects: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            let of = |view: &Value| {
                objects
                    .iter()
                    .find(|object| object["id"] == view["id"])
                    .expect("an object")
            };
            assert_eq!(
                (&of(&first)["boundary"], &of(&second)["boundary"]),
                (&json!("prod"), &json!("later"))
            );
            assert!(text.contains("your list states the id"), "{text}");
        }
        drop(watch);
        later.stop();
    }
}

#[test]
fn the_lists_of_proposals_take_a_pattern_of_steps_and_a_proposer() {
    let world = World::new();
    list(&world, &listed_as(&world, "prod"));
    let denied = world.propose("plain:fail", json!({}));
    world.deny(&denied, &bob()).ok(200);
    world.propose("plain:true", json!({}));
    for _ in 0..2 {
        world
            .wire
            .post(
                "/v1/proposals",
                &world.courier,
                &World::wish("say:echo", json!({})),
            )
            .ok(201);
    }
    let inbox = |words: &[&str]| {
        said(&exited(
            of_alice(&world, &[&["inbox", "--boundary", "all"], words].concat()),
            0,
        ))
    };
    let has = |text: &str| {
        ["plain:true", "say:echo", "plain:fail was denied"].map(|part| text.contains(part))
    };
    assert_eq!(has(&inbox(&[])), [true, true, true]);
    assert_eq!(has(&inbox(&["--step", "plain:*"])), [true, false, true]);
    assert_eq!(has(&inbox(&["--step", "say:echo"])), [false, true, false]);
    assert_eq!(has(&inbox(&["--by", "courier"])), [false, true, false]);
    assert_eq!(
        has(&inbox(&["--by", "courier", "--step", "plain:*"])),
        [false; 3]
    );
    assert_eq!(has(&inbox(&["--mine"])), [true, true, false]);
    let json = of_alice(
        &world,
        &[
            "inbox",
            "--boundary",
            "all",
            "--mine",
            "--json",
            "--by",
            "agent",
        ],
    );
    let object: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let found = object["proposals"].as_array().expect("proposals");
    assert_eq!(
        (found.len(), &found[0]["step"]),
        (1, &json!("plain:true")),
        "{object:#}"
    );
    assert_eq!(
        (&object["boundary"], &object["ended"]),
        (&json!("prod"), &json!([])),
        "{object:#}"
    );

    let proposals = |words: &[&str]| {
        out(&exited(
            of_alice(&world, &[&["proposals"], words].concat()),
            0,
        ))
    };
    let names =
        |text: String| ["plain:true", "say:echo", "plain:fail"].map(|part| text.contains(part));
    // The newest proposals are of another step, so the limit counts those that match.
    assert_eq!(
        names(proposals(&[
            "--boundary",
            "prod",
            "--step",
            "pl*:*",
            "--limit",
            "1"
        ])),
        [true, false, false]
    );
    assert_eq!(
        names(proposals(&["--boundary", "all", "--step", "pl*:*"])),
        [true, false, true]
    );
    assert_eq!(
        names(proposals(&["--boundary", "prod", "--by", "courier"])),
        [false, true, false]
    );
    for (command, words) in [
        ("inbox", ["--step", "[!a]"]),
        ("proposals", ["--step", "[!a]"]),
        ("inbox", ["--mine", "--all"]),
    ] {
        exited(of_alice(&world, &[command, words[0], words[1]]), 2);
    }
}

#[test]
fn approve_without_an_id_offers_only_what_the_signature_of_the_person_moves() {
    let world = World::new();
    let signed = world.propose("two:go", json!({}));
    world.sign(&signed, &[&alice()]).ok(200);
    let nothing = world.as_alice(&["approve"]).output().expect("it starts");
    said_at_exit(nothing, 2, "there is no such proposal now");
    let own = world.propose("plain:true", json!({}));
    let mut terminal = at_terminal(&world, 100, &world.as_alice(&["approve"]), &[]);
    terminal
        .wait_for("Sign plain:true at ")
        .wait_for("f fields: ")
        .types(&format!("{}\n", digits(&own)));
    let (code, text) = terminal.end();
    assert_eq!((code, signatures(&world, &own)), (Some(0), 1), "{text}");
    let more = [
        world.propose("plain:true", json!({})),
        world.propose("say:echo", json!({})),
    ];
    let several = exited(world.as_alice(&["approve"]).output().expect("it starts"), 2);
    let text = said(&several);
    assert!(
        text.contains("2 proposals match") && more.iter().all(|one| text.contains(id_of(one))),
        "{text}"
    );
    assert!(!text.contains(id_of(&signed)), "{text}");
}

#[test]
fn approve_finds_the_boundary_of_each_id_and_asks_for_each_with_digits_of_its_own() {
    let prod = World::new();
    let other = World::with(|setup| setup.name = "other".to_owned());
    let (first, third) = (
        prod.propose("plain:true", json!({})),
        prod.propose("say:echo", json!({})),
    );
    let second = other.propose("plain:true", json!({}));
    let gone = entry(&prod, "gone", "http://127.0.0.1:1", &boundary_id(&prod));
    let entries = [gone, listed_as(&prod, "prod"), listed_as(&other, "other")].concat();
    list(&prod, &entries);
    let digest = first["digest"].as_str().expect("a digest");
    for wrong in [
        &[id_of(&first), id_of(&third), "--yes", "--expect", digest][..],
        &[id_of(&first), id_of(&third), "-o", "signed.json"],
        &[id_of(&first), "./statement.json"],
    ] {
        let refused = of_alice(&prod, &[&["approve"], wrong].concat());
        said_at_exit(refused, 2, "each of several proposals has its own question");
    }
    let ending = |proposal: &Value| id_of(proposal)[30..].to_owned();
    let unknown = proposal_id();
    let words = [
        "approve",
        id_of(&first),
        &ending(&second),
        &unknown,
        &ending(&third),
    ];
    let mut terminal = at_terminal(&prod, 100, &listed(&prod, &words), &[]);
    terminal.wait_for("note: gone was not searched: ");
    terminal
        .wait_for("(1 of 4)")
        .wait_for("Sign plain:true at prod")
        .wait_for("f fields: ");
    terminal
        .types(&format!("{}\n", digits(&first)))
        .wait_for("signed by alice");
    // The digits of another proposal are no answer.
    terminal
        .wait_for("(2 of 4)")
        .wait_for("Sign plain:true at other")
        .wait_for("f fields: ");
    terminal
        .types(&format!("{}\n", digits(&first)))
        .wait_for("nothing was signed");
    terminal
        .wait_for("(3 of 4)")
        .wait_for("0 boundaries of your list have the proposal or grant ");
    terminal
        .wait_for("(4 of 4)")
        .wait_for("Sign say:echo at prod")
        .wait_for("f fields: ");
    terminal.types(&format!("{}\n", digits(&third)));
    let (code, text) = terminal.end();
    assert_eq!(code, Some(126), "{text}");
    assert_eq!(
        (
            signatures(&prod, &first),
            signatures(&other, &second),
            signatures(&prod, &third)
        ),
        (1, 0, 1)
    );
    // One id needs no other option, and the exit code of its only review.
    let mut terminal = at_terminal(
        &prod,
        100,
        &listed(&prod, &["approve", id_of(&second)]),
        &[],
    );
    terminal
        .wait_for("Sign plain:true at other")
        .wait_for("f fields: ")
        .types(&format!("{}\n", digits(&second)));
    assert_eq!(
        (terminal.end().0, signatures(&other, &second)),
        (Some(0), 1)
    );
    // Nothing is asked if the id says no boundary.
    list(&prod, &[entries, listed_as(&prod, "again")].concat());
    let open = prod.propose("plain:true", json!({}));
    said_at_exit(
        of_alice(&prod, &["approve", id_of(&open)]),
        2,
        "2 boundaries of your list have the proposal",
    );
    let chosen = [
        "approve",
        id_of(&open),
        "--boundary",
        "again",
        "--yes",
        "--expect",
    ];
    let digest = open["digest"].as_str().expect("a digest");
    exited(of_alice(&prod, &[&chosen[..], &[digest]].concat()), 0);
}

#[test]
fn review_and_deny_find_the_boundary_of_an_id_as_approve_does() {
    let prod = World::new();
    let other = World::with(|setup| setup.name = "other".to_owned());
    let (first, second) = (
        prod.propose("plain:true", json!({})),
        other.propose("say:echo", json!({})),
    );
    let gone = entry(&prod, "gone", "http://127.0.0.1:1", &boundary_id(&prod));
    let entries = [gone, listed_as(&prod, "prod"), listed_as(&other, "other")].concat();
    list(&prod, &entries);
    for (proposal, step, name) in [
        (&first, "plain:true", "prod"),
        (&second, "say:echo", "other"),
    ] {
        let shown = said(&exited(
            of_alice(&prod, &["review", &id_of(proposal)[30..]]),
            0,
        ));
        assert!(
            shown.contains(step) && shown.contains(&format!("at {name}")),
            "{shown}"
        );
        assert!(shown.contains("note: gone was not searched: "), "{shown}");
    }
    exited(
        of_alice(&prod, &["deny", id_of(&second), "--yes", "--reason", "no"]),
        0,
    );
    assert_eq!(other.show(id_of(&second))["status"], "denied");
    assert_eq!(prod.show(id_of(&first))["status"], "pending");
    // Nothing is shown or signed if the id says no boundary.
    list(&prod, &[entries, listed_as(&prod, "again")].concat());
    let unknown = proposal_id();
    for command in [&["review"][..], &["deny", "--yes", "--reason", "no"]] {
        let of = |id: &str| of_alice(&prod, &[command, &[id]].concat());
        said_at_exit(
            of(id_of(&first)),
            2,
            "2 boundaries of your list have the proposal",
        );
        said_at_exit(
            of(&unknown),
            2,
            "0 boundaries of your list have the proposal",
        );
    }
    assert_eq!(prod.show(id_of(&first))["status"], "pending");
    exited(
        of_alice(
            &prod,
            &[
                "deny",
                id_of(&first),
                "--yes",
                "--reason",
                "no",
                "--boundary",
                "again",
            ],
        ),
        0,
    );
    assert_eq!(prod.show(id_of(&first))["status"], "denied");
}

#[test]
fn similar_proposals_have_different_rows_in_an_inbox_of_80_columns() {
    let world = World::new();
    for number in 0..10 {
        world.propose(
            "say:echo",
            json!({"text": format!("a text that is equal in all proposals, except number {number} here")}),
        );
    }
    let (code, text) = at_terminal(&world, 80, &world.as_alice(&["inbox"]), &[]).end();
    let rows: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split_once("say:echo"))
        .map(|(_, rest)| rest)
        .collect();
    assert_eq!((code, rows.len()), (Some(0), 10), "{text}");
}
