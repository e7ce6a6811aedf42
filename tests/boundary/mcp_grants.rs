//! Standing grants by MCP: `countersign mcp --key` uses a grant that covers the run, and otherwise asks people.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::mcp::{Server, post, roster_file};
use crate::mcp_problems::document;
use crate::mcp_proxy::{proxy, proxy_of_both};
use crate::support::grants::{POLICY, as_holder, bearer, end, granted, terms};
use crate::support::people::{
    Key, alice, bob, envelope, key_revocation, oscar, robot, stamp, unix_of,
};
use crate::support::wire::tool_call;
use crate::support::{SMALL, World, has, id_of, not_run, runbook, said, wait_for};

fn other_robot() -> Key {
    Key::of("tractor", 91)
}

fn world() -> World {
    World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.config.push_str("mcp = true\n");
        setup.roster["proposers"]["tractor"] =
            json!({"owners": ["bob"], "keys": [other_robot().ssh.line()]});
    })
}

/// Returns the server with this key, which trusts the roster in force.
fn command(world: &World, url: &str, key: &Key) -> Command {
    let file = format!("{}.pem", key.name);
    let _ = std::fs::remove_file(world.path(&file));
    world.write(&file, key.secret.to_pkcs8_v1_pem().as_str());
    let mut command = world.program(&[
        "mcp",
        "--url",
        url,
        "--roster",
        &roster_file(world),
        "--key",
    ]);
    command
        .arg(world.path(&file))
        .env("SSH_AUTH_SOCK", "")
        .env("XDG_CONFIG_HOME", "")
        .env("COUNTERSIGN_KEY", "");
    command.env("XDG_STATE_HOME", "");
    command
}

fn opened(world: &World, url: &str, key: &Key) -> Server {
    let mut server = Server::start(command(world, url, key));
    server.open();
    server
}

fn say(text: &str, wait_s: u64) -> Value {
    json!({"step": "say:echo", "params": {"text": text}, "reason": "night", "wait_s": wait_s})
}

/// Calls `propose`, and waits for the run.
fn run(server: &mut Server, text: &str) -> Value {
    server.call("propose", say(text, 20))
}

/// Calls `propose` for a run that waits for people.
fn ask(server: &mut Server, text: &str) -> Value {
    server.call("propose", say(text, 0))
}

/// Returns a grant of robot for `say:echo`, with other members.
fn grant_with(world: &World, changes: Value) -> Value {
    let mut terms = terms();
    terms
        .as_object_mut()
        .expect("a map")
        .extend(changes.as_object().expect("a map").clone());
    granted(world, &terms)
}

/// Asserts that people are asked for the run, and why no grant covers it.
#[track_caller]
fn assert_asked(answer: &Value, grant: &Value, code: &str, words: &str) {
    assert_eq!(
        (&answer["status"], &answer["reason"]["code"]),
        (&json!("pending"), &json!(code)),
        "{answer:#}"
    );
    let (detail, advice) = (
        answer["reason"]["detail"].to_string(),
        answer["advice"].to_string(),
    );
    assert!(
        detail.contains(id_of(grant)) && detail.contains(words),
        "{answer:#}"
    );
    assert!(
        advice.contains("no standing grant covers") && advice.contains("people must sign"),
        "{answer:#}"
    );
}

#[track_caller]
fn assert_ran(answer: &Value, grant: &Value, number: u64, most: u64) {
    assert_eq!(
        (&answer["status"], &answer["verified"]),
        (&json!("finished"), &json!(true)),
        "{answer:#}"
    );
    let words = format!(
        "ran under standing grant {}, use {number} of {most}; nobody was asked. ",
        id_of(grant)
    );
    assert!(
        answer["advice"]
            .as_str()
            .expect("advice")
            .starts_with(&words),
        "{answer:#}"
    );
}

#[test]
fn propose_uses_a_grant_that_covers_the_run_and_otherwise_asks_people_and_says_why() {
    let world = world();
    // The later grant covers the runs too, but the grant that ends first is used. Its end comes before that of a proposal.
    let _later = granted(&world, &terms());
    let grant = grant_with(&world, json!({"max_uses": 2, "expires_in_s": 1800}));
    let mut server = opened(&world, &world.wire.url, &robot());
    let first = run(&mut server, "one");
    assert_ran(&first, &grant, 1, 2);
    assert_eq!(
        (&first["params"], &first["untrusted_output"]["stdout"]),
        (&json!({"text": "one"}), &json!("one\n"))
    );
    let waited = opened(&world, &world.wire.url, &robot()).call("wait", json!({"id": first["id"]}));
    assert_ran(&waited, &grant, 1, 2);

    let wide = ask(&mut server, "Two Words");
    assert_asked(&wide, &grant, "not-granted", "/text");
    let shown = world.show(id_of(&wide));
    assert_eq!(
        (&shown["proposer"], &shown["approvals"]["required"]),
        (&json!("robot"), &json!(1)),
        "{shown:#}"
    );
    world.sign(&shown, &[&bob()]).problem("self-approval");
    world.sign(&shown, &[&alice()]).ok(200);
    let done = server.call("wait", json!({"id": wide["id"]}));
    assert!(
        done["status"] == "finished" && !done["advice"].to_string().contains("grant"),
        "{done:#}"
    );
    let unlisted = server.call("propose", json!({"step": "plain:true", "reason": "night"}));
    assert!(
        unlisted["status"] == "pending" && unlisted["reason"].is_null(),
        "{unlisted:#}"
    );
    assert!(
        unlisted["advice"]
            .as_str()
            .expect("advice")
            .starts_with("people must sign"),
        "{unlisted:#}"
    );
    assert_eq!(world.count("consumption"), 2);
    world.assert_audited();
}

#[test]
fn parameters_that_the_step_refuses_have_the_same_words_with_a_grant_over_http_by_mcp_and_on_the_command_line()
 {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.config.push_str("mcp = true\n");
        let text =
            "---\ncountersign: 1\nparams: {host: {type: string}}\n---\n```bash {#go}\ntrue\n```\n";
        setup.runbook("need.md", text.to_owned());
    });
    let mut wanted = terms();
    let params = json!({"type": "object", "properties": {"host": {"type": "string", "enum": ["a"]}}, "required": ["host"]});
    wanted["steps"] = json!([{"step": "need:go", "params": params}]);
    let grant = granted(&world, &wanted);
    let mut server = opened(&world, &world.wire.url, &robot());
    for (params, place) in [
        (json!({}), "host"),
        (json!({"host": "a", "more": "b"}), "more"),
        (json!({"host": 7}), "host"),
    ] {
        let wish = json!({"step": "need:go", "params": params, "reason": "night", "grant": grant["id"],
                          "nonce": crate::support::people::nonce()});
        let http = world
            .wire
            .post("/v1/proposals", &bearer(&world, &robot()), &wish)
            .problem("invalid-params");
        let detail = http["detail"].as_str().expect("a detail");
        assert!(detail.contains(place), "{http:#}");
        let by_mcp = server.call(
            "propose",
            json!({"step": "need:go", "params": params, "reason": "night", "wait_s": 0}),
        );
        assert_eq!(
            (&by_mcp["problem"]["code"], &by_mcp["problem"]["detail"]),
            (&json!("invalid-params"), &http["detail"]),
            "{by_mcp:#}"
        );
        world.write("params.json", &params.to_string());
        let file = world.path("params.json").display().to_string();
        let id = id_of(&grant).to_owned();
        let used = as_holder(
            &world,
            &robot(),
            &["propose", "need:go", "--params", &file, "--grant", &id],
        );
        assert!(said(&used).contains(detail), "{detail}: {}", said(&used));
    }
    assert_eq!(world.count("consumption"), 0);
}

#[test]
fn a_grant_that_can_not_be_used_any_more_falls_back_to_people() {
    let world = world();
    let exhausted = grant_with(&world, json!({"max_uses": 1}));
    let mut server = opened(&world, &world.wire.url, &robot());
    assert_ran(&run(&mut server, "one"), &exhausted, 1, 1);
    // An answered call is over, so the same arguments are another run.
    assert_asked(
        &ask(&mut server, "one"),
        &exhausted,
        "grant-exhausted",
        "all 1 uses",
    );
    // A boundary that lists each grant as active refuses at the signature or at the start of the run.
    let active = proxy(&world, |asked, status, body| {
        let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        for view in answer["grants"].as_array_mut().into_iter().flatten() {
            view["status"] = json!("active");
            view.as_object_mut().expect("a grant").remove("why");
        }
        Some((
            status,
            if asked.line == "GET /v1/grants" {
                answer.to_string().into_bytes()
            } else {
                body
            },
        ))
    });
    let mut misled = opened(&world, &active, &robot());
    assert_asked(
        &ask(&mut misled, "two"),
        &exhausted,
        "grant-exhausted",
        "all 1 uses",
    );
    end(&world, &exhausted, &bob()).ok(200);
    assert_asked(
        &ask(&mut misled, "three"),
        &exhausted,
        "revoked",
        "revoked at entry",
    );
    let slow = grant_with(
        &world,
        json!({"rate": {"uses": 1, "seconds": 3600}, "expires_in_s": 1800}),
    );
    assert_ran(&run(&mut server, "four"), &slow, 1, 10);
    assert_asked(
        &ask(&mut server, "five"),
        &slow,
        "rate-limited",
        "again after",
    );
    // Only the proposals for people are left.
    assert_eq!(
        (
            world.list("pending").len(),
            world.list("cancelled").len(),
            world.list("refused").len()
        ),
        (4, 0, 3)
    );
    assert_eq!(world.count("consumption"), 2);
    // A key that ended gets no run, and the answer is the refusal of the boundary.
    world
        .wire
        .post(
            "/v1/revocations",
            "",
            &envelope(&key_revocation(&world.boundary(), &robot()), &[&oscar()]),
        )
        .ok(200);
    let refused = ask(&mut opened(&world, &world.wire.url, &robot()), "six");
    assert_eq!(refused["problem"]["code"], "revoked", "{refused:#}");
    world.assert_audited();
}

#[test]
fn only_a_server_with_the_key_of_the_grantee_uses_a_grant() {
    let world = world();
    let grant = granted(&world, &terms());
    let at_boundary = post(
        &world,
        &bearer(&world, &robot()),
        &tool_call("propose", say("boundary", 0)),
    );
    let answers = [
        ask(
            &mut opened(&world, &world.wire.url, &other_robot()),
            "other",
        ),
        ask(&mut Server::opened(&world, &world.wire.url), "token"),
        at_boundary["result"]["structuredContent"].clone(),
    ];
    for answer in answers {
        assert!(
            answer["status"] == "pending" && answer["reason"].is_null(),
            "{answer:#}"
        );
        assert_eq!(answer["signatures_required"], 1, "{answer:#}");
    }
    let shown = world
        .wire
        .get(&format!("/v1/grants/{}", id_of(&grant)), &world.reader)
        .ok(200);
    assert_eq!((&shown["uses"], world.count("consumption")), (&json!(0), 0));
}

#[test]
fn a_repeated_call_after_lost_answers_or_a_kill_of_the_server_is_the_same_use() {
    let world = world();
    let grant = grant_with(&world, json!({"max_uses": 4}));
    // The bearer of the key ends once, and the answers to both calls are lost.
    let seen = [(); 2].map(|()| AtomicUsize::new(0));
    let lossy = proxy(&world, move |asked, status, body| {
        let at = ["POST /v1/proposals", "/signatures"]
            .iter()
            .position(|end| asked.line.ends_with(end));
        match at.map(|at| (at, seen[at].fetch_add(1, Ordering::SeqCst))) {
            Some((0, 0)) => Some((401, document("unauthenticated", 401))),
            Some((0, 1) | (1, 0)) => None,
            _ => Some((status, body)),
        }
    });
    assert_ran(
        &run(&mut opened(&world, &lossy, &robot()), "one"),
        &grant,
        1,
        4,
    );

    // Each call waits for the answer to one of its requests until the server is killed.
    let (ends, never) = (["POST /v1/proposals", "/signatures", "/bundle"], usize::MAX);
    let (held, waiting) = (
        Arc::new(AtomicUsize::new(never)),
        Arc::new(AtomicUsize::new(never)),
    );
    let (armed, reached) = (held.clone(), waiting.clone());
    let url = proxy(&world, move |asked, status, body| {
        let at = armed.load(Ordering::SeqCst);
        if at != never && asked.line.ends_with(ends[at]) {
            reached.store(at, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        Some((status, body))
    });
    for (at, text) in ["two", "three", "four"].into_iter().enumerate() {
        held.store(at, Ordering::SeqCst);
        let mut server = opened(&world, &url, &robot());
        let params = json!({"name": "propose", "arguments": say(text, 20)});
        server.send(
            &json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": params})
                .to_string(),
        );
        wait_for("the request", || waiting.load(Ordering::SeqCst) == at);
        // SIGKILL.
        drop(server);
        held.store(never, Ordering::SeqCst);
        // Before the last of these calls, the boundary lists the grant as used up.
        let again = run(&mut opened(&world, &url, &robot()), text);
        assert_ran(&again, &grant, at as u64 + 2, 4);
        assert_eq!(again["existing"], true, "{again:#}");
    }
    // That call has its answer, so the same call is another run.
    assert_asked(
        &ask(&mut opened(&world, &url, &robot()), "four"),
        &grant,
        "grant-exhausted",
        "all 4 uses",
    );
    assert_eq!(world.count("consumption"), 4);
    world.assert_audited();
}

#[test]
fn a_use_that_would_end_after_its_grant_is_made_again_and_ends_with_the_grant() {
    let world = world();
    let grant = grant_with(&world, json!({"expires_in_s": 1200}));
    let end = grant["grant"]["expires_at"]
        .as_str()
        .expect("a time")
        .to_owned();
    // The list of grants states a later end, so the server chooses a nonce that ends too late.
    let (own, later) = (end.clone(), stamp(unix_of(&end) + 7200));
    let url = proxy(&world, move |asked, status, body| {
        let body = match asked.line {
            "GET /v1/grants" => String::from_utf8_lossy(&body)
                .replace(&own, &later)
                .into_bytes(),
            _ => body,
        };
        Some((status, body))
    });
    let ran = run(&mut opened(&world, &url, &robot()), "one");
    assert_ran(&ran, &grant, 1, 10);
    assert_eq!(ran["expires_at"], json!(end), "{ran:#}");
    world.assert_audited();
}

#[test]
fn a_grant_for_new_sessions_covers_one_run_of_a_session() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("s.md", runbook(SMALL, &[("go session=write", ":")]));
    });
    let steps = json!([{"step": "s:go", "params": {"type": "object", "properties": {}}}]);
    let none = grant_with(&world, json!({"steps": steps, "expires_in_s": 1800}));
    let bearer = bearer(&world, &robot());
    let session = world
        .wire
        .post("/v1/sessions", &bearer, &json!({"runbook": "s"}))
        .ok(201)["id"]
        .clone();
    let wish =
        |reason: &str| json!({"step": "s:go", "reason": reason, "session": session, "wait_s": 20});
    let quick = |reason: &str| json!({"step": "s:go", "reason": reason, "session": session});
    let mut server = opened(&world, &world.wire.url, &robot());
    assert_asked(
        &server.call("propose", quick("first")),
        &none,
        "not-granted",
        "permits no session",
    );
    let fresh = grant_with(
        &world,
        json!({"steps": steps, "expires_in_s": 900, "session": "fresh"}),
    );
    assert_ran(&server.call("propose", wish("second")), &fresh, 1, 10);
    assert_asked(
        &server.call("propose", quick("third")),
        &fresh,
        "not-granted",
        "used this session",
    );
    assert_eq!(world.count("consumption"), 1);
}

#[test]
fn a_statement_that_differs_from_the_call_is_not_signed() {
    let world = world();
    let _grant = granted(&world, &terms());
    let other = proxy_of_both(
        &world,
        |asked| {
            String::from_utf8_lossy(asked.body)
                .replace("\"text\":\"one\"", "\"text\":\"other\"")
                .into_bytes()
        },
        |_, status, body| Some((status, body)),
    );
    let refused = ask(&mut opened(&world, &other, &robot()), "one");
    assert_eq!(refused["problem"]["code"], "another-run", "{refused:#}");
    assert!(
        refused["problem"]["detail"]
            .to_string()
            .contains("nothing was signed"),
        "{refused:#}"
    );
    assert!(world.list("approved").is_empty() && world.count("consumption") == 0);
}

#[test]
fn a_key_that_can_not_sign_alone_or_belongs_to_no_proposer_is_refused_at_the_start() {
    let world = world();
    let refused = |change: &dyn Fn(&mut Command, &Path), key: &Key, code: i32, words: &str| {
        let mut command = command(&world, &world.wire.url, key);
        change(&mut command, &world.path(&format!("{}.pem", key.name)));
        let (exit, stderr) = Server::start(command).ended();
        assert!(exit == code && stderr.contains(words), "{exit}: {stderr}");
    };
    refused(
        &|_, file| std::fs::remove_file(file).expect("removed"),
        &robot(),
        2,
        "could not open",
    );
    let readable = |_: &mut Command, file: &Path| {
        std::fs::set_permissions(file, Permissions::from_mode(0o644)).expect("mode");
    };
    refused(&readable, &robot(), 2, "run `chmod 600");
    let with_token = |command: &mut Command, _: &Path| {
        command.args(["--token-file", "x"]);
    };
    refused(&with_token, &robot(), 2, "leave out one of the two");
    let without_state = |command: &mut Command, _: &Path| {
        command.env("XDG_STATE_HOME", "/proc");
    };
    refused(&without_state, &robot(), 2, "can't use the directory");
    refused(&|_, _| {}, &oscar(), 126, "the key of the operator oscar");
    refused(&|_, _| {}, &alice(), 126, "approver alice");
    let all_the_same = |command: &mut Command, _: &Path| {
        command.arg("--same-user-approves");
    };
    refused(
        &all_the_same,
        &alice(),
        126,
        "the key of the approver alice",
    );
    let mut printing = command(&world, &world.wire.url, &robot());
    let printed = printing
        .args(["--print-config", "claude"])
        .output()
        .expect("it starts");
    let block: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let words = block["mcpServers"]["countersign"]["args"]
        .as_array()
        .expect("words");
    assert!(
        words.contains(&json!("--key")) && words.contains(&json!(world.path("robot.pem"))),
        "{block:#}"
    );
    if !has("ssh-keygen") {
        return not_run(
            "a_key_that_can_not_sign_alone_or_belongs_to_no_proposer_is_refused_at_the_start",
            "no OpenSSH",
        );
    }
    let locked = |_: &mut Command, file: &Path| {
        std::fs::remove_file(file).expect("removed");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "secret", "-f"])
            .arg(file)
            .status();
        assert!(made.expect("ssh-keygen").success());
    };
    refused(
        &locked,
        &robot(),
        2,
        "the MCP server does not start, because",
    );
}
