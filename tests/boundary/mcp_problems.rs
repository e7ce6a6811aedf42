//! What the MCP server says about a problem: its advice, its size, and the errors of JSON-RPC.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::mcp::{Server, post, world};
use crate::mcp_proxy::proxy;
use crate::support::people::alice;
use crate::support::wire::tool_call;
use crate::support::{POLICY, SMALL, World, id_of, runbook, wait_for};

/// Returns a problem document with this code and status.
pub(crate) fn document(code: &str, status: u16) -> Vec<u8> {
    let problem =
        json!({"type": format!("/problems/{code}"), "title": "t", "status": status, "detail": "d"});
    problem.to_string().into_bytes()
}

/// Asserts that the problem has this code, and that its advice contains one text and does not contain the other.
#[track_caller]
fn assert_advice(answer: &Value, code: &str, wanted: &str, unwanted: &str) {
    let problem = &answer["problem"];
    let advice = problem["advice"]
        .as_str()
        .unwrap_or_else(|| panic!("no problem: {answer}"));
    assert_eq!(problem["code"], code, "{answer}");
    assert!(
        advice.contains(wanted) && !advice.contains(unwanted),
        "{answer}"
    );
}

#[test]
fn a_step_with_a_session_or_a_plan_is_proposed_by_mcp() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook(
            "s.md",
            runbook(
                SMALL,
                &[("set session=write", "export A=1"), ("plain", ":")],
            ),
        );
        let steps = [
            ("plan", "printf grow"),
            (
                "apply plan=plan plan-max-age=1h",
                "cat \"$COUNTERSIGN_ARTIFACTS/plan\"",
            ),
        ];
        setup.runbook("p.md", runbook(SMALL, &steps));
    });
    let mut server = Server::opened(&world, &world.wire.url);
    for (step, needs_session, plan_step) in [
        ("s:set", true, Value::Null),
        ("s:plain", false, Value::Null),
        ("p:apply", false, json!("p:plan")),
    ] {
        let shown = server.call("get_step", json!({"step": step}));
        assert_eq!(
            (&shown["needs_session"], &shown["plan_step"]),
            (&json!(needs_session), &plan_step),
            "{shown}"
        );
    }
    let session = world
        .wire
        .post("/v1/sessions", &world.agent, &json!({"runbook": "s"}))
        .ok(201)["id"]
        .clone();
    let made = server.call(
        "propose",
        json!({"step": "s:set", "reason": "x", "session": session}),
    );
    assert_eq!(made["status"], "pending", "{made}");
    let plan = world.run("p:plan", json!({}), &[&alice()])["receipt"].clone();
    let made = server.call(
        "propose",
        json!({"step": "p:apply", "reason": "x", "plan": plan}),
    );
    world
        .sign(
            &world.show(made["id"].as_str().expect("an id")),
            &[&alice()],
        )
        .ok(200);
    let done = server.call("wait", json!({"id": made["id"]}));
    assert_eq!(done["untrusted_output"]["stdout"], "grow", "{done}");
    let refused = server.call("propose", json!({"step": "s:set", "reason": "x"}));
    assert_eq!(
        refused["problem"]["errors"][0]["pointer"], "/session",
        "{refused}"
    );
    assert_advice(&refused, "malformed", "correct the arguments", "list_steps");
}

#[test]
fn the_advice_of_a_problem_fits_the_code_the_status_and_the_tool() {
    let world = world();
    let mut server = Server::opened(&world, &world.wire.url);
    let pending = world.propose("say:echo", json!({}));
    for tool in ["get_output", "get_receipt"] {
        let problem = server.call(tool, json!({"id": id_of(&pending)}));
        assert_eq!(problem["problem"]["proposal"], pending["id"], "{problem}");
        assert_advice(&problem, "not-found", "`wait`", "list_steps");
    }
    let call = tool_call("wait", json!({"id": id_of(&pending)}));
    let unknown = post(&world, &world.courier, &call)["result"]["structuredContent"].clone();
    assert_advice(&unknown, "not-found", "check the ids", "list_steps");

    // The token of a reader sees steps and may propose none of them.
    let listed = server.ask("tools/list", json!({}));
    assert_eq!(
        listed["result"]["tools"][0]["title"],
        "List the steps that this token may see"
    );
    let of_reader = |tool: &str, arguments: Value| {
        post(&world, &world.reader, &tool_call(tool, arguments))["result"]["structuredContent"]
            .clone()
    };
    assert!(of_reader("list_steps", json!({}))["steps"][0].is_object());
    let forbidden = of_reader("propose", json!({"step": "plain:true", "reason": "x"}));
    assert_advice(
        &forbidden,
        "forbidden",
        "ask the operator for a token",
        "do not repeat",
    );

    let mut problem = json!({});
    for number in 0..30 {
        let wish =
            json!({"step": "say:echo", "params": {"text": number.to_string()}, "reason": "x"});
        problem = server.call("propose", wish);
    }
    assert_advice(&problem, "rate-limited", "`cancel`", "do not repeat");

    let finished = {
        let mine = world.list("pending");
        world.sign(&mine[0], &[&alice()]).ok(200);
        world.until(id_of(&mine[0]), "finished")
    };
    let deleted = proxy(&world, |asked, status, body| {
        if asked.line.contains("/v1/outputs/") {
            Some((410, document("not-found", 410)))
        } else {
            Some((status, body))
        }
    });
    let gone = Server::opened(&world, &deleted).call("get_output", json!({"id": id_of(&finished)}));
    assert_advice(
        &gone,
        "not-found",
        "`get_receipt` still has its digests",
        "list_steps",
    );

    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let mut server = Server::opened(&world, &format!("http://{closed}"));
    assert_advice(
        &server.call("list_steps", json!({})),
        "unreachable",
        "call the tool again",
        "propose",
    );
    let lost = server.call("propose", json!({"step": "say:echo", "reason": "x"}));
    assert_advice(&lost, "unreachable", "no second run", "do not repeat");
}

#[test]
fn a_problem_for_the_agent_has_a_bounded_size_and_a_known_code() {
    let world = World::new();
    let large = proxy(&world, |_, _, _| {
        let text = "A".repeat(2_000_000);
        let problem = json!({
            "type": format!("/problems/{text}"), "title": text, "status": 400, "detail": text, "fault": text,
            "errors": [{"pointer": text, "detail": text}],
        });
        Some((400, problem.to_string().into_bytes()))
    });
    let answer = Server::opened(&world, &large).call("list_steps", json!({}));
    assert_eq!(
        answer["problem"]["code"],
        "unknown",
        "{:.200}",
        answer.to_string()
    );
    assert!(
        answer.to_string().len() < 16 << 10,
        "{} bytes",
        answer.to_string().len()
    );
}

#[test]
fn a_wait_outlasts_a_busy_boundary_and_ends_with_a_token_that_was_revoked() {
    let world = World::new();
    let proposal = world.propose("say:echo", json!({}));
    let refused = Arc::new(AtomicUsize::new(0));
    let busy = proxy(&world, {
        let refused = refused.clone();
        move |asked, status, body| {
            let is_busy =
                asked.line.contains("?wait=") && refused.fetch_add(1, Ordering::SeqCst) < 3;
            let (code, new) = if refused.load(Ordering::SeqCst) == 2 {
                ("rate-limited", 429)
            } else {
                ("busy", 503)
            };
            Some(if is_busy {
                (new, document(code, new))
            } else {
                (status, body)
            })
        }
    });
    let mut server = Server::opened(&world, &busy);
    let state = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("the refusals", || refused.load(Ordering::SeqCst) >= 3);
            world.sign(&proposal, &[&alice()]).ok(200);
        });
        server.call("wait", json!({"id": id_of(&proposal), "wait_s": 40}))
    });
    assert_eq!(state["status"], "finished", "{state}");

    let (proposal, asked_again) = (
        world.propose("plain:true", json!({})),
        Arc::new(AtomicUsize::new(0)),
    );
    let revoked = proxy(&world, {
        let asked_again = asked_again.clone();
        move |asked, status, body| {
            if !asked.line.contains("?wait=") {
                return Some((status, body));
            }
            asked_again.fetch_add(1, Ordering::SeqCst);
            Some((401, document("unauthenticated", 401)))
        }
    });
    let mut server = Server::opened(&world, &revoked);
    let problem = server.call("wait", json!({"id": id_of(&proposal), "wait_s": 40}));
    assert_advice(
        &problem,
        "unauthenticated",
        "ask the operator for a token",
        "`wait`",
    );
    // A proposal that was made keeps its id, also if the wait for it fails.
    let made = server.call(
        "propose",
        json!({"step": "say:echo", "reason": "x", "wait_s": 40}),
    );
    assert!(
        made["status"] == "pending" && made["id"].is_string(),
        "{made}"
    );
    assert_eq!(asked_again.load(Ordering::SeqCst), 2);
}

#[test]
fn wrong_parameters_are_reported_with_the_name_of_the_field() {
    let world = world();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    });
    let mut server = Server::opened(&world, &world.wire.url);
    for (method, params, field) in [
        (
            "tools/call",
            json!({"name": "list_steps", "arguments": "x"}),
            "/arguments",
        ),
        (
            "tools/call",
            json!({"name": "list_steps", "arguments": []}),
            "/arguments",
        ),
        ("tools/call", json!({"arguments": {}}), "`name`"),
        ("resources/read", json!({"uri": 5}), "/uri"),
        (
            "resources/read",
            json!({"uri": "countersign://steps/no step"}),
            "/uri",
        ),
    ] {
        let answer = server.ask(method, params.clone());
        assert_eq!(
            answer["error"]["code"], -32602,
            "{method} {params}: {answer}"
        );
        assert!(
            answer["error"]["message"].as_str().unwrap().contains(field),
            "{method} {params}: {answer}"
        );
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        assert_eq!(
            post(&world, &world.agent, &message)["error"],
            answer["error"],
            "{method} {params}"
        );
    }
    for method in ["tasks/get", "tasks/cancel"] {
        let answer = server.ask(method, json!({"taskId": "nonsense", "_meta": meta}));
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("/taskId"),
            "{answer}"
        );
    }
    let mut server = Server::opened(&world, &world.wire.url);
    for (tool, arguments, words) in [
        (
            "wait",
            json!({"id": "prp_00000000000000000000000000", "wait_s": "5"}),
            "/wait_s: ",
        ),
        (
            "get_output",
            json!({"id": "prp_00000000000000000000000000", "offset": 1.5}),
            "/offset: ",
        ),
        (
            "propose",
            json!({"step": "say:echo", "reason": "x", "params": []}),
            "/params: ",
        ),
        ("propose", json!({"step": "say:echo"}), "`reason`"),
        (
            "propose",
            json!({"step": "say:echo", "reason": "x", "approve": true}),
            "`approve`",
        ),
    ] {
        let answer = server.call(tool, arguments);
        assert!(
            answer["problem"]["detail"]
                .as_str()
                .unwrap()
                .contains(words),
            "{answer}"
        );
        assert_advice(&answer, "malformed", "correct the arguments", "propose");
    }
    // A program may write an integer as 2.0.
    let made = server.call(
        "propose",
        json!({"step": "say:echo", "reason": "x", "wait_s": 0.0}),
    );
    let waited = server.call("wait", json!({"id": made["id"], "wait_s": 1.0}));
    assert_eq!(waited["status"], "pending", "{waited}");
}

#[test]
fn too_many_calls_get_an_error_that_says_so() {
    let world = World::new();
    // A boundary that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    std::thread::spawn(move || silent.incoming().flatten().collect::<Vec<_>>());
    let mut server = Server::opened(&world, &url);
    for id in 1000..1032 {
        let params = json!({"name": "list_steps", "arguments": {}});
        server.send(
            &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
                .to_string(),
        );
    }
    let answer = server.ask("resources/read", json!({"uri": "countersign://registry"}));
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("too many calls"),
        "{answer}"
    );
}
