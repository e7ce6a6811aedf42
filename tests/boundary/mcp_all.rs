//! `countersign mcp --boundary all`: one server for all boundaries of the user's list.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::companion::list;
use crate::mcp::Server;
use crate::support::{World, exited, id_of, said};

/// Returns an entry of the list, with the token of an agent in a file of the first world.
fn entry(world: &World, name: &str, url: &str, token: &str, more: &str) -> String {
    world.write(&format!("{name}.token"), token);
    let file = world.path(&format!("{name}.token"));
    format!("[[boundary]]\nname = \"{name}\"\nurl = \"{url}\"\ntoken_file = {file:?}\n{more}")
}

fn command(world: &World, more: &[&str]) -> Command {
    let mut command = world.program(&["mcp", "--boundary", "all"]);
    command
        .args(more)
        .env("SSH_AUTH_SOCK", "")
        .env("COUNTERSIGN_KEY", "");
    command
}

fn opened(world: &World) -> Server {
    let mut server = Server::start(command(world, &[]));
    server.open();
    server
}

/// Returns a boundary of a search of all boundaries.
fn of<'a>(found: &'a Value, name: &str) -> &'a Value {
    let boundaries = found["boundaries"]
        .as_array()
        .unwrap_or_else(|| panic!("{found}"));
    boundaries
        .iter()
        .find(|one| one["boundary"] == name)
        .unwrap_or_else(|| panic!("{name}: {found}"))
}

#[test]
fn one_server_has_all_boundaries_of_the_list_and_names_those_that_do_not_answer() {
    let (one, two) = (
        World::new(),
        World::with(|setup| setup.name = "other".to_owned()),
    );
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let frozen = format!("http://{}", silent.local_addr().expect("bound"));
    let wrong = format!("id = \"sha256:{}\"\n", "b".repeat(64));
    list(
        &one,
        &[
            entry(&one, "first", &one.wire.url, &one.agent, ""),
            entry(&one, "second", &two.wire.url, &two.agent, ""),
            entry(&one, "gone", "http://127.0.0.1:1", &one.agent, ""),
            entry(&one, "frozen", &frozen, &one.agent, ""),
            entry(&one, "replaced", &two.wire.url, &two.agent, &wrong),
        ]
        .concat(),
    );
    let mut server = opened(&one);
    let tools = server.ask("tools/list", json!({}))["result"]["tools"].clone();
    assert!(
        tools.as_array().unwrap().len() == 7 && tools.to_string().len() <= 12_000,
        "{}",
        tools.to_string().len()
    );
    let began = Instant::now();
    let found = server.call("list_steps", json!({"query": "say:echo"}));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    for name in ["first", "second"] {
        assert_eq!(of(&found, name)["steps"][0]["step"], "say:echo", "{found}");
        assert_eq!(of(&found, name)["found_steps"], 1, "{found}");
    }
    for (name, words) in [
        ("gone", "127.0.0.1:1"),
        ("frozen", "within 10 s"),
        ("replaced", "has the id"),
    ] {
        assert!(
            of(&found, name)["problem"]
                .as_str()
                .is_some_and(|why| why.contains(words)),
            "{found}"
        );
    }
    // Each call is at the boundary that it names, and the others stay as they were.
    let wish = json!({"boundary": "second", "step": "plain:true", "reason": "x"});
    let made = server.call("propose", wish);
    let id = made["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned();
    two.wire
        .get(&format!("/v1/proposals/{id}"), &two.agent)
        .ok(200);
    one.wire
        .get(&format!("/v1/proposals/{id}"), &one.agent)
        .problem("not-found");
    assert_eq!(
        server.call("wait", json!({"boundary": "second", "id": id, "wait_s": 0}))["status"],
        "pending"
    );
    assert_eq!(
        server.call("wait", json!({"boundary": "first", "id": id}))["problem"]["code"],
        "not-found"
    );
    assert_eq!(
        server.call("cancel", json!({"boundary": "second", "id": id}))["status"],
        "cancelled"
    );
    let step = server.call("get_step", json!({"boundary": "first", "step": "say:echo"}));
    assert_eq!(step["step"], "say:echo", "{step}");
    let page = server.call("list_steps", json!({"boundary": "first"}));
    assert!(
        page["visible_steps"]
            .as_u64()
            .is_some_and(|steps| steps > 5),
        "{page}"
    );
    let replaced = server.call(
        "propose",
        json!({"boundary": "replaced", "step": "plain:true", "reason": "x"}),
    );
    assert!(
        replaced["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("has the id"),
        "{replaced}"
    );
    assert_eq!(
        two.wire
            .get("/v1/proposals?status=open", &two.agent)
            .ok(200)["proposals"],
        json!([])
    );
    for arguments in [
        json!({"step": "say:echo"}),
        json!({"step": "say:echo", "boundary": "third"}),
    ] {
        let refused = server.call("get_step", arguments);
        assert_eq!(refused["problem"]["code"], "malformed", "{refused}");
        let detail = refused["problem"]["detail"].as_str().unwrap();
        assert!(
            detail.contains("/boundary")
                && detail.contains("first, frozen, gone, replaced, second"),
            "{detail}"
        );
    }
    let refused = server.ask("resources/read", json!({"uri": "countersign://registry"}));
    assert!(
        refused["error"].is_object(),
        "a server with a list has only tools: {refused}"
    );
}

#[test]
fn a_boundary_of_the_list_without_a_token_is_left_out_with_a_note() {
    let world = World::new();
    let without = "[[boundary]]\nname = \"second\"\nurl = \"http://127.0.0.1:1\"\n";
    list(
        &world,
        &(entry(&world, "first", &world.wire.url, &world.agent, "") + without),
    );
    let mut server = opened(&world);
    let found = server.call("list_steps", json!({}));
    assert_eq!(
        found["boundaries"].as_array().map(Vec::len),
        Some(1),
        "{found}"
    );
    let (code, stderr) = server.ended();
    assert!(
        code == 0 && stderr.contains("second is not served") && stderr.contains("token create"),
        "{stderr}"
    );
    list(&world, without);
    let (code, stderr) = Server::start(command(&world, &[])).ended();
    assert!(
        code == 2 && stderr.contains("no boundary of your list can be served"),
        "{stderr}"
    );
    list(&world, "");
    let (code, stderr) = Server::start(command(&world, &[])).ended();
    assert!(
        code == 2 && stderr.contains("your list of boundaries is empty"),
        "{stderr}"
    );
}

#[test]
fn the_printed_configuration_for_all_boundaries_has_no_address_and_no_file_of_one_boundary() {
    let world = World::new();
    list(
        &world,
        &entry(&world, "first", &world.wire.url, &world.agent, ""),
    );
    let mut print = command(&world, &["--print-config", "claude"]);
    print
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .env("COUNTERSIGN_CACERT", "/etc/ca.pem");
    let output = exited(print.output().unwrap(), 0);
    let block: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let words = block["mcpServers"]["countersign"]["args"].clone();
    assert_eq!(words, json!(["mcp", "--boundary", "all"]), "{block}");
    let mut server = Server::start({
        let mut command = world.program(&[]);
        command.args(
            words
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_str().unwrap()),
        );
        command
    });
    server.open();
    assert_eq!(
        of(&server.call("list_steps", json!({})), "first")["problem"],
        Value::Null
    );
    // One boundary has no such argument.
    let mut single = Server::opened(&world, &world.wire.url);
    let refused = single.call("get_step", json!({"boundary": "first", "step": "say:echo"}));
    assert!(
        refused["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("`boundary`"),
        "{refused}"
    );
    let proposal = world.propose("plain:true", json!({}));
    assert_eq!(
        single.call("wait", json!({"id": id_of(&proposal), "wait_s": 0}))["status"],
        "pending"
    );
}
