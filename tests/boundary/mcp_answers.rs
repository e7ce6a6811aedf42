//! Answers of the MCP server: altered output, the sizes of answers, and cancelled calls.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::mcp::{Server, command, roster_file};
use crate::mcp_proxy::proxy;
use crate::support::people::alice;
use crate::support::{SMALL, World, id_of, runbook, wait_for};

/// Starts a proxy that changes the bodies of answers, and returns its address.
fn altering(world: &World, alter: fn(&str, Vec<u8>) -> Vec<u8>) -> String {
    proxy(world, move |asked, status, body| {
        let path = asked.line.split_once(' ').expect("a path").1;
        Some((status, alter(path, body)))
    })
}

pub(crate) fn opened(world: &World, url: &str, roster: Option<&str>) -> Server {
    let more: Vec<&str> = roster.map_or_else(Vec::new, |roster| vec!["--roster", roster]);
    let mut server = Server::start(command(world, url, &more));
    let client = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    server.ask("initialize", client);
    server
}

#[test]
fn altered_output_is_not_shown_and_the_outcome_comes_from_the_verified_receipt() {
    let world = World::new();
    let roster = roster_file(&world);
    let proposal = world.run("say:echo", json!({"text": "abc"}), &[&alice()]);
    let wanted = json!({"id": id_of(&proposal)});
    let lying = altering(&world, |path, mut body| {
        if path.starts_with("/v1/outputs/") {
            body.reverse();
        } else if path.starts_with("/v1/proposals/") {
            let mut view: Value = serde_json::from_slice(&body).expect("JSON");
            view["outcome"] = json!({"status": "failed", "exit_code": 77});
            view["step"] = json!("plain:true");
            return view.to_string().into_bytes();
        }
        body
    });
    let mut server = opened(&world, &lying, Some(&roster));
    let output = server.call("get_output", wanted.clone());
    assert_eq!(
        (&output["output_verified"], &output["untrusted_output"]),
        (&json!(false), &json!("")),
        "{output}"
    );
    assert!(
        output["output_verification"]
            .as_str()
            .unwrap()
            .contains("other bytes than its receipt"),
        "{output}"
    );
    let state = server.call("wait", wanted.clone());
    assert_eq!(
        (&state["verified"], &state["outcome"]["exit_code"]),
        (&json!(true), &json!(0)),
        "{state}"
    );
    assert_eq!(state["step"], "say:echo", "{state}");
    let tail = &state["untrusted_output"];
    assert_eq!(
        (&tail["output_verified"], &tail["stdout"]),
        (&json!(false), &json!("")),
        "{state}"
    );

    // Another proposal in place of the own one is no answer.
    let other = world.propose("plain:true", json!({}));
    let swapped = altering(&world, |path, body| {
        if !path.starts_with("/v1/proposals/") {
            return body;
        }
        let mut view: Value = serde_json::from_slice(&body).expect("JSON");
        view["id"] = json!("prp_00000000000000000000000000");
        view.to_string().into_bytes()
    });
    let refused = opened(&world, &swapped, Some(&roster))
        .call("wait", json!({"id": id_of(&other), "wait_s": 0}));
    assert!(refused["problem"]["code"].is_string(), "{refused}");

    // The words of a boundary that is honest: verified with a roster, and shown as not verified without one.
    for (roster, is_verified) in [(Some(roster.as_str()), true), (None, false)] {
        let mut server = opened(&world, &world.wire.url, roster);
        let output = server.call("get_output", wanted.clone());
        assert_eq!(
            (&output["output_verified"], &output["untrusted_output"]),
            (&json!(is_verified), &json!("abc\n"))
        );
        let state = server.call("wait", wanted.clone());
        assert_eq!(
            (&state["verified"], &state["outcome"]["exit_code"]),
            (&json!(is_verified), &json!(0)),
            "{state}"
        );
        assert_eq!(
            state["verification"]
                .as_str()
                .unwrap()
                .starts_with("verified"),
            is_verified,
            "{state}"
        );
        let tail = &state["untrusted_output"];
        assert_eq!(
            (&tail["output_verified"], &tail["stdout"]),
            (&json!(is_verified), &json!("abc\n")),
            "{state}"
        );
    }
}

#[test]
fn answers_have_the_documented_sizes_with_their_escapes() {
    let enumerated: Vec<String> = (0..50).map(|number| format!("{number:0>600}")).collect();
    let world = World::with(|setup| {
        let front = format!(
            "params:\n  one: {{type: string, enum: {}}}\n{SMALL}",
            json!(enumerated)
        );
        let ten = "\\001".repeat(10);
        let script = format!("for i in {{1..2000}}; do printf '{ten}'; done");
        setup.runbook("large.md", runbook(&front, &[("control", script.as_str())]));
    });
    let mut server = opened(&world, &world.wire.url, None);
    let step = server.call("get_step", json!({"step": "large:control"}));
    assert_eq!(
        (&step["parameters"], &step["parameters_is_cut"]),
        (&json!({}), &json!(true)),
        "{step}"
    );
    let proposal = world.run("large:control", json!({"one": enumerated[0]}), &[&alice()]);
    let state = server.call("wait", json!({"id": id_of(&proposal)}));
    let tail = &state["untrusted_output"];
    assert!(
        tail["stdout"].as_str().unwrap().len() <= 2 << 10 && tail["is_cut"] == true,
        "{state}"
    );
    let (mut offset, mut shown) = (json!(0), String::new());
    while !offset.is_null() {
        let window = server.call(
            "get_output",
            json!({"id": id_of(&proposal), "offset": offset}),
        );
        let text = window["untrusted_output"].as_str().unwrap();
        assert!(text.len() <= 16 << 10, "{}", text.len());
        shown.push_str(text);
        offset = window["next_offset"].clone();
    }
    assert_eq!(shown, "\\x01".repeat(20_000));

    let pending = world.propose("plain:true", json!({}));
    let talking = altering(&world, |path, body| {
        if !path.starts_with("/v1/proposals/") {
            return body;
        }
        let mut view: Value = serde_json::from_slice(&body).expect("JSON");
        view["refusal"] = json!({"code": "denied", "detail": "\u{1b}".repeat(1_000_000)});
        view.to_string().into_bytes()
    });
    let told =
        opened(&world, &talking, None).call("wait", json!({"id": id_of(&pending), "wait_s": 0}));
    assert!(
        told["reason"]["detail"].as_str().unwrap().len() < 3 << 10,
        "{}",
        told.to_string().len()
    );
}

#[test]
fn what_is_over_64_kb_is_cut_out_and_the_answer_says_how_to_get_it() {
    let world = World::with(|setup| {
        let script = format!(
            ":\n{}",
            "# a long comment of a script, in many lines\n".repeat(1400)
        );
        setup.runbook("large.md", runbook(SMALL, &[("script", script.as_str())]));
    });
    let run = world.run("large:script", json!({}), &[&alice()]);
    let talking = altering(&world, |path, body| {
        if !path.starts_with("/v1/steps/") {
            return body;
        }
        let mut view: Value = serde_json::from_slice(&body).expect("JSON");
        view["approvals"] = json!(vec![
            json!({"required": 1, "from": ["ops", "security"]});
            3000
        ]);
        view.to_string().into_bytes()
    });
    let mut server = opened(&world, &talking, None);
    let text = |answer: Value| {
        let text = answer["result"]["contents"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned();
        assert!(text.len() <= 64_000, "{} bytes", text.len());
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let how = |answer: &Value, word: &str| {
        assert!(
            answer["cut"]["whole"]
                .as_str()
                .is_some_and(|how| how.contains(word)),
            "{answer}"
        );
    };
    let receipt = run["receipt"].as_str().unwrap();
    let bundle = text(server.ask(
        "resources/read",
        json!({"uri": format!("countersign://receipts/{receipt}")}),
    ));
    assert_eq!(
        (&bundle["receipt"], &bundle["cut"]["members"]),
        (&json!(receipt), &json!(["bundle"])),
        "{bundle}"
    );
    how(&bundle, "/v1/receipts/RECEIPT/bundle");
    assert!(
        world
            .wire
            .get(&format!("/v1/receipts/{receipt}/bundle"), &world.reader)
            .text()
            .len()
            > 64_000
    );
    let resource = text(server.ask(
        "resources/read",
        json!({"uri": "countersign://steps/large:script"}),
    ));
    let answer = server.call("get_step", json!({"step": "large:script"}));
    for step in [&resource, &answer] {
        assert_eq!(
            (&step["cut"]["members"], &step["approvals"]),
            (&json!(["approvals"]), &json!([])),
            "{step}"
        );
        assert!(
            step["script"].as_str().unwrap().len() > 10_000 && step.to_string().len() <= 64_000,
            "{step}"
        );
        how(step, "countersign registry show STEP --json");
    }
}

#[test]
fn cancelled_calls_do_not_add_threads_without_limit() {
    let world = World::new();
    // A boundary that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    std::thread::spawn(move || silent.incoming().flatten().collect::<Vec<_>>());
    let mut server = opened(&world, &url, None);
    for round in 0..4 {
        let ids = (0..32).map(|call| 1000 + round * 100 + call);
        for id in ids.clone() {
            let params = json!({"name": "list_steps", "arguments": {}});
            server.send(
                &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
                    .to_string(),
            );
        }
        server.until_pong(9000 + round);
        for id in ids {
            let params = json!({"requestId": id});
            server.send(
                &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
                    .to_string(),
            );
        }
        server.until_pong(9500 + round);
    }
    wait_for("the threads of the requests", || server.threads() >= 32);
    assert!(server.threads() < 64, "{} threads", server.threads());
}
