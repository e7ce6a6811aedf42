//! What the client says about the parts that it does not have.

use std::process::{Command, Output};

use crate::support::{PROGRAM, World, exited, said};

fn run(words: &str) -> Output {
    Command::new(PROGRAM)
        .args(words.split(' '))
        .output()
        .expect("it starts")
}

#[test]
fn the_client_names_itself_in_its_version_and_its_help() {
    let version = said(&run("--version"));
    assert_eq!(
        version,
        format!(
            "countersign {} (client, without a boundary)\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let help = said(&run("--help"));
    let list = "This program is the client. Only the whole program has: init, serve, doctor, token, seal, thaw, notify, store, \
                node, policy, sandbox, run, open, test, demo, try\nThe whole program and countersign-console have: console\n";
    assert!(help.contains(list), "{help}");
    for (name, listed) in [
        ("propose", true),
        ("approve", true),
        ("roster", true),
        ("serve", false),
        ("demo", false),
    ] {
        assert_eq!(
            help.contains(&format!("\n  {name:<12} ")),
            listed,
            "{name}: {help}"
        );
    }
}

#[test]
fn each_command_that_the_client_lacks_is_refused_with_what_to_do() {
    let commands = [
        "init b",
        "serve b",
        "serve --listen 127.0.0.1:0",
        "run page.md --yes",
        "sandbox true",
        "doctor",
        "token create ci",
        "store check",
        "node list",
        "seal",
        "thaw",
        "notify list",
        "policy explain a:b",
        "test page.mdx",
        "open page.mdx",
        "demo",
        "try page.md",
        "schema check",
        "--json serve",
        "help serve",
        "registry check runbooks",
        "registry --dir runbooks lock",
        "registry diff",
        "roster set",
        "roster add approver dave",
        "roster remove approver dave",
        "roster show",
        "registry list --dir runbooks",
        "registry show a:b --dir runbooks",
    ];
    for words in commands {
        let output = run(words);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{words}: {text}");
        assert!(
            output.stdout.is_empty() || words.contains("--json"),
            "{words}: {text}"
        );
        assert!(
            text.contains("this program is the client, which does not have `"),
            "{words}: {text}"
        );
        assert!(
            text.contains("`cargo install --path . --locked`"),
            "{words}: {text}"
        );
        assert!(
            !text.contains("unrecognized") && !text.contains("Usage:"),
            "{words}: {text}"
        );
    }
    // A mistyped command is no command of the whole program.
    for words in ["srve", "registry lok", "check", "lock", "roster sgn"] {
        let text = said(&run(words));
        assert!(
            text.contains("unrecognized subcommand") && !text.contains("client"),
            "{words}: {text}"
        );
    }
}

#[test]
fn a_store_is_refused_with_the_way_to_a_copy_of_its_log() {
    let world = World::new();
    let store = world.path("b/boundary");
    let roster = world.started["roster"].as_str().expect("a digest");
    for words in [
        &["audit", "--roster", roster][..],
        &["log", "export", "copy", "--from"],
    ] {
        let output = world
            .program(words)
            .arg(&store)
            .output()
            .expect("it starts");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("is a store, which the client can't read")
                && text.contains("log export copy/"),
            "{text}"
        );
    }
    assert!(!std::path::Path::new("copy").exists());
}

/// The helper of the sandbox is a hidden way into the whole program.
#[test]
fn the_client_has_no_helper_of_the_sandbox() {
    exited(run("__launch"), 2);
}
