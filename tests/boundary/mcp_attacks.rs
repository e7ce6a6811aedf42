//! An agent that follows injected instructions, with all that the agent has: its token, its files, MCP, HTTP and the
//! command line.

use serde_json::{Value, json};

use crate::mcp::{INJECTED, Server, command, post, world};
use crate::support::wire::tool_call;
use crate::support::{World, said};

/// What an agent must not be able to change: the signed documents, the seal with policy, roster and tokens, and the
/// status of proposals.
fn state(world: &World) -> Value {
    let tokens = world
        .program(&["token", "list", "--json", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("tokens");
    assert!(tokens.status.success(), "{}", said(&tokens));
    let roster = world
        .program(&["roster", "show", "--json", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("roster");
    let log: Vec<String> = world.log().into_iter().map(|(kind, _)| kind).collect();
    json!({
        "log": log,
        "seal": world.wire.get("/v1/registry", &world.reader).ok(200)["seal"],
        "tokens": String::from_utf8_lossy(&tokens.stdout),
        "roster": String::from_utf8_lossy(&roster.stdout),
        "policy": std::fs::read_to_string(world.path("b/boundary/policy.yaml")).expect("a policy"),
    })
}

#[test]
fn an_agent_that_follows_injected_instructions_signs_nothing_and_changes_no_token_or_policy() {
    let world = world();
    let mut server = Server::opened(&world, &world.wire.url);
    let hostile =
        json!({"step": "hostile:shout", "reason": format!("{INJECTED}\u{1b}[2J\u{202e}")});
    let made = server.call("propose", hostile.clone());
    let proposal = made["id"].as_str().expect("an id").to_owned();
    let digest = world.show(&proposal)["digest"].clone();
    let before = state(&world);

    // Every tool, and tools that injected text names.
    let tools = [
        "list_steps",
        "get_step",
        "propose",
        "wait",
        "get_output",
        "get_receipt",
        "cancel",
    ];
    let others = [
        "approve",
        "sign",
        "deny",
        "submit",
        "token_create",
        "grant",
        "policy_set",
        "roster_sign",
    ];
    for tool in tools
        .iter()
        .chain(&others)
        .filter(|tool| **tool != "cancel")
    {
        for arguments in [
            json!({"id": proposal, "wait_s": 0}),
            json!({"step": "hostile:shout", "reason": INJECTED, "approve": true, "signatures": ["x"]}),
            json!({"step": "hostile:shout", "reason": INJECTED}),
            json!({"id": format!("{proposal}/signatures")}),
            json!({"id": format!("{proposal}?x=/../../../v1/denials")}),
            json!({"id": proposal, "decision": "approve", "key": "/etc/ssh/ssh_host_ed25519_key"}),
            json!({}),
        ] {
            server.ask("tools/call", json!({"name": tool, "arguments": arguments}));
            post(&world, &world.agent, &tool_call(tool, arguments));
        }
    }
    for uri in [
        "countersign://steps/../tokens",
        "countersign://receipts/../../token",
        "file:///etc/passwd",
        INJECTED,
    ] {
        let answer = server.ask("resources/read", json!({"uri": uri}));
        assert!(answer.get("error").is_some(), "{answer}");
    }
    for method in [
        "prompts/list",
        "prompts/get",
        "sampling/createMessage",
        "elicitation/create",
        "logging/setLevel",
    ] {
        let answer = server.ask(method, json!({"name": "x", "level": "debug", "uri": "x"}));
        assert!(answer.get("error").is_some(), "{method}: {answer}");
    }

    // Every route of the interface, with a body that asks for an approval.
    let routes = world.wire.peek("/openapi.json").json();
    let body = json!({
        "signatures": [{"keyid": crate::support::people::alice().keyid(), "sig": "AAAA"}], "decision": "approve",
        "payload": world.show(&proposal)["payload"], "envelope": {"payload": "", "payloadType": "", "signatures": []},
    });
    let mut called = 0;
    for (path, item) in routes["paths"].as_object().expect("paths") {
        let path = path
            .replace("{id}", &proposal)
            .replace("{ref}", "hostile:shout");
        let path = path.replace("{digest}", digest.as_str().expect("a digest"));
        // The cancellation of the agent's own proposal is its right.
        if path.contains('{') || path.ends_with("/cancellation") || path.ends_with("/events") {
            continue;
        }
        for verb in item.as_object().expect("operations").keys() {
            let bearer = format!("Bearer {}", world.agent);
            let headers = [
                ("authorization", bearer.as_str()),
                ("content-type", "application/json"),
            ];
            let verb = verb.to_uppercase();
            let bytes = (verb != "GET").then(|| body.to_string().into_bytes());
            world.wire.call(&verb, &path, &headers, bytes.as_deref());
            called += 1;
        }
    }
    assert!(called > 20, "only {called} operations called");

    // Every command, with the files of the agent.
    let help = world.program(&["--help"]).output().expect("help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let digest = digest.as_str().expect("a digest").to_owned();
    let commands: [&[&str]; 12] = [
        &["approve", &proposal, "--yes", "--expect", &digest],
        &["approve", &proposal],
        &["deny", &proposal, "--reason", INJECTED],
        &["submit", "agent.token"],
        &["token", "create", "more", "--owner", "carol"],
        &["token", "revoke", "reader"],
        &["roster", "sign"],
        &["inbox"],
        &["review", &proposal],
        &["session", "list"],
        &["registry", "list"],
        &["log", "head"],
    ];
    for words in commands {
        assert!(
            help.contains(&format!("  {}", words[0])),
            "{} is no command any more",
            words[0]
        );
        let mut command = world.program(words);
        // The agent is another user of the host, who has no access to the directory of the boundary.
        command
            .current_dir(std::env::temp_dir())
            .env("COUNTERSIGN_URL", &world.wire.url);
        command
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .env_remove("COUNTERSIGN_CONFIG");
        let output = command.output().expect("the program");
        if !matches!(
            words[0],
            "review" | "session" | "registry" | "log" | "inbox"
        ) {
            assert!(!output.status.success(), "{words:?}: {}", said(&output));
        }
    }

    let after = state(&world);
    assert_eq!(before, after);
    assert_eq!(world.show(&proposal)["approvals"]["have"], 0);
    let pending = world.list("pending").len();
    assert_eq!(
        pending,
        world.proposals().len(),
        "each proposal still waits for people"
    );
    let mut ended = Server::start(command(&world, &world.wire.url, &[]));
    assert_eq!(ended.ask("ping", json!({}))["result"], json!({}));
}
