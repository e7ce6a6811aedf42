//! Real runs of the real binary: the environment of a step, the limits of a step, and the receipt.

use crate::support::people::{alice, dora, envelope};
use crate::support::poor::{poor_container, poor_host};
use crate::support::{self, SMALL, World, host::on_host, id_of, people, runbook, wait_for};
use serde_json::{Value, json};

/// A world with these steps in `s.md`.
fn steps(front: &str, steps: &[(&str, &str)]) -> World {
    World::with(|setup| setup.runbook("s.md", runbook(front, steps)))
}

/// Runs the step, checks the status of the run and returns the standard output.
#[track_caller]
fn said(world: &World, step: &str, status: &str) -> String {
    let finished = world.run(step, json!({}), &[&alice()]);
    let output = world.output(&finished, "stdout");
    let errors = world.output(&finished, "stderr");
    assert_eq!(
        finished["outcome"]["status"], status,
        "{step}: {output}{errors}"
    );
    output
}

/// A duration for `sleep` that no other process on this host uses.
fn mark(number: u32) -> String {
    format!("86398.{number}{}", std::process::id())
}

// Promise 6: parameters are data

#[test]
fn promise_6_parameters_are_never_evaluated() {
    let front = format!(
        "params:\n  text: {{type: string, maxLength: 4000, x-leading-dash: true}}\n{SMALL}"
    );
    let world = steps(
        &front,
        &[(
            "show",
            "printf '%s\\0' \"$PARAM_TEXT\"; cat -- \"$COUNTERSIGN_PARAMS\"",
        )],
    );
    let long = "$(id)`id`'\"\\\n".repeat(200);
    for hostile in [
        "$(touch /tmp/work/pwned)",
        "`touch /tmp/work/pwned`",
        "'; touch /tmp/work/pwned; '",
        "\"; touch /tmp/work/pwned; \"",
        "a\nb\r\n\tc",
        "--help",
        "-n",
        "${PATH}${IFS}$((1+1))~*?[a-z]{a,b}",
        "!! \\ \\\\ \\n %s %n",
        "\u{202e}gnp.exe \u{feff}\u{0301}\u{1f600}",
        "\u{1}\u{7f}\u{80}",
        "",
        " ",
        &long,
    ] {
        let finished = world.run("s:show", json!({"text": hostile}), &[&alice()]);
        let output = world.output(&finished, "stdout");
        let (value, file) = output.split_once('\0').expect("two parts");
        assert_eq!(value, hostile);
        assert_eq!(
            serde_json::from_str::<Value>(file).unwrap(),
            json!({"text": hostile})
        );
        assert_eq!(world.output(&finished, "stderr"), "");
    }
    // An environment variable cannot contain a NUL byte, so the boundary refuses the value instead of truncating the
    // value.
    let wish = World::wish("s:show", json!({"text": "a\u{0}b"}));
    let problem = world
        .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
        .problem("invalid-params");
    assert_eq!(support::wire::pointers(&problem), ["/params/text"]);
}

#[test]
fn parameters_of_every_type_are_in_variables_and_in_the_parameter_file() {
    let front = format!(
        "params:\n  host-name: {{type: string}}\n  count: {{type: integer}}\n  dry: {{type: boolean}}\n  tags: {{type: array, items: {{type: string}}, maxItems: 4}}\n{SMALL}"
    );
    let world = steps(
        &front,
        &[(
            "show",
            "env | grep ^PARAM_ | sort; cat -- \"$COUNTERSIGN_PARAMS\"",
        )],
    );
    let params = json!({"host-name": "web-3", "count": -4, "dry": false, "tags": ["a", "b c"]});
    let finished = world.run("s:show", params.clone(), &[&alice()]);
    let output = world.output(&finished, "stdout");
    assert!(
        output.contains("PARAM_COUNT=-4\nPARAM_DRY=false\nPARAM_HOST_NAME=web-3\n"),
        "{output}"
    );
    let file = output
        .lines()
        .find(|line| line.starts_with('{'))
        .expect("the file");
    assert_eq!(serde_json::from_str::<Value>(file).unwrap(), params);
}

// Promise 7: the sandbox fails closed

#[test]
fn promise_7_the_receipt_states_the_enforced_layers() {
    let world = World::new();
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let sandbox = &world.receipt(&finished)["sandbox"];
    assert_eq!(sandbox["level"], "strict", "{sandbox:#}");
    assert_eq!(
        sandbox["layers"],
        json!([
            "capabilities",
            "filesystem",
            "landlock",
            "namespaces",
            "network",
            "seccomp"
        ])
    );
    assert_eq!(sandbox["missing"], json!([]));
    world.assert_verified(&finished);
}

#[test]
fn promise_7_a_missing_layer_is_refused_before_the_nonce_is_spent() {
    // A boundary with the level `strict` does not start, and the error names the missing layers and the kernel setting.
    let mut world = World::new();
    let offered = world.propose("plain:true", json!({}));
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world.stop();
    if !poor_host(
        &mut world,
        "promise_7_a_missing_layer_is_refused_before_the_nonce_is_spent",
    ) {
        return;
    }
    let said = world.try_start().expect_err("strict can't be held");
    assert!(
        said.contains("namespaces")
            && said.contains("network")
            && said.contains("max_user_namespaces"),
        "{said}"
    );
    // With the level `best-effort` the boundary starts, but refuses the authorization for `strict` and spends no nonce.
    world.write(
        "b/countersign.toml",
        "name = \"prod\"\n[sandbox]\nlevel = \"best-effort\"\n",
    );
    world.start();
    let ready = world.wire.peek("/ready").json();
    assert!(
        ready["notes"].to_string().contains("namespaces"),
        "{ready:#}"
    );
    world
        .unchanged(|| world.submit(&whole))
        .problem("context-changed");
    world.until(id_of(&offered), "refused");
    assert_eq!(world.count("consumption"), 0);
    world.setup.before.clear();
    world.stop();
    world.write("b/countersign.toml", "name = \"prod\"\n");
    world.start();
    world.submit(&whole).ok(200);
}

#[test]
fn a_refusal_as_sandbox_unavailable_leaves_the_nonce_unspent() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world =
        World::prepared(|setup| setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned());
    if !poor_container(
        &mut world,
        "a_refusal_as_sandbox_unavailable_leaves_the_nonce_unspent",
    ) {
        return;
    }
    world.start();
    world.make_tokens();
    let fine = world.run("say:echo", json!({"text": "in a container"}), &[&alice()]);
    assert_eq!(world.receipt(&fine)["sandbox"]["level"], "best-effort");
    // With mode 0700, a run with a separate user id cannot enter the directory.
    let mode = |mode| {
        std::fs::set_permissions(world.path("b"), std::fs::Permissions::from_mode(mode)).unwrap()
    };
    mode(0o700);
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    let problem = world
        .unchanged(|| world.submit(&whole))
        .problem("sandbox-unavailable");
    assert!(
        problem["detail"].as_str().unwrap().contains("0711"),
        "it says what to do: {problem:#}"
    );
    let offered = world.propose("plain:true", json!({}));
    world.sign(&offered, &[&alice()]).ok(200);
    assert_eq!(
        world.until(id_of(&offered), "approved")["next"],
        json!(["wait", "deny", "cancel"])
    );
    assert_eq!((world.count("consumption"), world.count("receipt")), (1, 1));
    // With the correct mode, the approved run starts automatically, and the refused envelope can be submitted again.
    mode(0o755);
    world.until(id_of(&offered), "finished");
    world.submit(&whole).ok(200);
    world.check_history();
}

#[test]
fn a_weaker_sandbox_is_signed_and_named_in_the_receipt() {
    let mut world =
        World::prepared(|setup| setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned());
    if !poor_host(
        &mut world,
        "a_weaker_sandbox_is_signed_and_named_in_the_receipt",
    ) {
        return;
    }
    world.start();
    world.make_tokens();
    let proposal = world.propose("plain:true", json!({}));
    let statement: Value = serde_json::from_slice(&support::bytes_of(&proposal)).unwrap();
    let require = &statement["predicate"]["sandbox"]["require"];
    assert!(
        !require.to_string().contains("namespaces"),
        "approvers see what is not held: {require}"
    );
    world.sign(&proposal, &[&alice()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    let sandbox = &world.receipt(&finished)["sandbox"];
    assert_eq!(sandbox["level"], "best-effort", "{sandbox:#}");
    assert!(
        sandbox["missing"].to_string().contains("namespaces"),
        "{sandbox:#}"
    );
    world.assert_verified(&finished);
}

/// Without namespaces and separate user ids, only the first process of a run can end all processes of the run.
#[test]
fn a_step_that_ignores_sigterm_is_dead_at_its_receipt_even_without_namespaces() {
    const NAME: &str = "a_step_that_ignores_sigterm_is_dead_at_its_receipt_even_without_namespaces";
    let mark = format!("86395.{}", std::process::id());
    let deaf = format!(
        "trap '' TERM HUP\n(setsid sh -c 'trap \"\" TERM; sleep {mark}' &)\nsleep {mark}\n:"
    );
    let mut world = World::prepared(|setup| {
        setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned();
        setup.runbook(
            "s.md",
            runbook(SMALL, &[("short timeout=1s", &deaf), ("long", &deaf)]),
        );
    });
    if !poor_host(&mut world, NAME) {
        return;
    }
    // The service gets no capabilities, because root with capabilities would end the run through a control group.
    let script = world.setup.before.last_mut().unwrap();
    *script = script.replace("exec ", "exec setpriv --bounding-set=-all --inh-caps=-all ");
    world.start();
    world.make_tokens();
    let finished = world.run("s:short", json!({}), &[&alice()]);
    assert_eq!(finished["outcome"]["status"], "timed_out");
    assert_eq!(
        (on_host(&mark), &world.receipt(&finished)["sandbox"]["left"]),
        (false, &Value::Null)
    );
    let proposal = world.propose("s:long", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    wait_for("it runs", || on_host(&mark));
    let cancel = format!("/v1/proposals/{}/cancellation", id_of(&proposal));
    world.wire.post(&cancel, &world.agent, &json!({})).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"]["status"], "cancelled");
    assert_eq!(
        (on_host(&mark), &world.receipt(&finished)["sandbox"]["left"]),
        (false, &Value::Null)
    );
}

// Rule R9 (private set) and other limits of a step

#[test]
fn r9_a_step_cannot_read_the_private_set() {
    let script = "for path in $(cat -- \"$COUNTERSIGN_PARAMS\" | tr -d '\"{}[]' | tr ',' '\\n' | sed 's/^paths://'); do\n\
                  if [ -e \"$path\" ] || head -c 1 -- \"$path\" > /dev/null 2>&1 || ls -- \"$path\" > /dev/null 2>&1; then printf 'SEEN %s\\n' \"$path\"; fi\n\
                  done\nif grep -l serve /proc/[0-9]*/cmdline 2> /dev/null; then echo SEEN a process; fi\n\
                  : > \"$HOME/control.sock\"\n\
                  while read -r _ _ _ _ point _; do find \"$point\" -xdev \\( -name 'countersign.db*' -o -name control.sock \\) 2> /dev/null; done \\\n\
                  < /proc/self/mountinfo | sort -u | sed \"s|^$HOME/|own |; s|^/|SEEN /|\"\necho looked";
    // The search reads all directories of the host that a step can see.
    let front = format!(
        "params:\n  paths: {{type: array, items: {{type: string}}}}\n{}",
        SMALL.replace("20s", "120s")
    );
    let world = steps(&front, &[("look", script)]);
    let mut paths: Vec<String> = Vec::new();
    let mut below = vec![world.path("b")];
    while let Some(path) = below.pop() {
        if path.is_dir() {
            below.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        paths.push(path.to_str().unwrap().to_owned());
    }
    paths.push(format!("/proc/{}/environ", world.pid()));
    paths.push(format!("/proc/{}/root", world.pid()));
    assert!(
        paths.iter().any(|path| path.ends_with("key.pem")) && paths.len() > 10,
        "{paths:?}"
    );
    let finished = world.run("s:look", json!({"paths": paths}), &[&alice()]);
    // The step finds its own file, which shows that the search works.
    assert_eq!(
        world.output(&finished, "stdout"),
        "own control.sock\nlooked\n"
    );
}

#[test]
fn a_step_has_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "for to in 127.0.0.1/{port} 192.0.2.1/80; do timeout 2 bash -c \"exec 3<>/dev/tcp/$to\" 2> /dev/null && echo REACHED $to; done\n\
         tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '\ntail -n +2 /proc/net/route\necho tried"
    );
    let world = steps(SMALL, &[("try", &script)]);
    let output = said(&world, "s:try", "succeeded");
    assert!(
        !output.contains("REACHED") && output.ends_with("tried\n"),
        "{output}"
    );
    assert!(
        output.lines().all(|line| ["lo", "tried"].contains(&line)),
        "{output}"
    );
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn a_step_has_no_capabilities() {
    let script = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | tr -d ' \\t'\n\
                  chown 1 /proc/self/comm 2> /dev/null && echo CHOWN\nmount -t tmpfs x /tmp 2> /dev/null && echo MOUNT\n\
                  unshare -U true 2> /dev/null && echo USERNS\nexit 0";
    let world = steps(SMALL, &[("show", script)]);
    let none = "0000000000000000";
    let wanted = format!(
        "CapInh:{none}\nCapPrm:{none}\nCapEff:{none}\nCapBnd:{none}\nCapAmb:{none}\nNoNewPrivs:1\n"
    );
    assert_eq!(said(&world, "s:show", "succeeded"), wanted);
}

#[test]
fn a_step_inherits_no_environment_and_no_descriptor() {
    let script = "env | cut -d= -f1 | sort | tr '\\n' ' '; echo\nls /proc/self/fd | tr '\\n' ' '; echo\n\
                  wc -c < /dev/stdin\ncat | wc -c";
    let world = World::with(|setup| {
        setup.env("SECRET_OF_THE_SERVICE", "x");
        setup.env("BASH_ENV", "/tmp/evil");
        setup.env("SSH_AUTH_SOCK", "/tmp/agent");
        setup.runbook("s.md", runbook(SMALL, &[("show", script)]));
    });
    let output = said(&world, "s:show", "succeeded");
    let lines: Vec<&str> = output.lines().collect();
    let own = "COUNTERSIGN_PARAMS HOME LANG LC_ALL PATH PWD SHLVL TMPDIR _ ";
    assert_eq!(lines[0], own, "{output}");
    // Descriptor 3 belongs to `ls`.
    assert_eq!(lines[1], "0 1 2 3 ", "{output}");
    assert_eq!(&lines[2..], ["0", "0"], "standard input is empty");
}

// Hostile steps

#[test]
fn a_double_forked_child_is_dead_before_the_receipt_is_signed() {
    let (one, two, three) = (mark(1), mark(2), mark(3));
    let script = format!(
        "(setsid bash -c 'exec >&- 2>&- <&-; trap \"\" TERM HUP INT; sleep {one}' &)\n\
         (nohup sleep {two} > /dev/null 2>&1 &) \nsetsid -f sleep {three} > /dev/null 2>&1 < /dev/null\nsleep 0.2\necho left"
    );
    let world = steps(SMALL, &[("fork", &script)]);
    let output = said(&world, "s:fork", "succeeded");
    assert_eq!(output, "left\n");
    for mark in [one, two, three] {
        assert!(!on_host(&mark), "a process of a run with a receipt lives");
    }
}

#[test]
fn the_boundary_waits_for_a_step_that_closes_its_descriptors() {
    let world = steps(
        SMALL,
        &[("close", "exec 0<&- 1>&- 2>&-\nsleep 0.5\nexit 4")],
    );
    let finished = world.run("s:close", json!({}), &[&alice()]);
    assert_eq!(
        finished["outcome"],
        json!({"status": "failed", "exit_code": 4})
    );
    let receipt = world.receipt(&finished);
    assert!(
        receipt["duration_ms"].as_u64().unwrap() >= 500,
        "{receipt:#}"
    );
}

#[test]
fn a_fork_bomb_affects_only_its_own_run() {
    let front = "defaults: {timeout: 3s, memory: 64MiB, processes: 16}";
    let world = steps(
        front,
        &[(
            "bomb",
            "bomb() { bomb | bomb & }\nbomb 2> /dev/null\nwhile :; do :; done",
        )],
    );
    let finished = world.run("s:bomb", json!({}), &[&alice()]);
    // The script starts no program after the bomb, so only the time limit ends the run.
    assert_eq!(finished["outcome"]["status"], "timed_out", "{finished:#}");
    // The service and other runs continue.
    world.run("plain:true", json!({}), &[&alice()]);
    world.assert_verified(&finished);
}

#[test]
fn a_gigabyte_of_output_costs_the_service_no_memory() {
    let world = steps(
        "defaults: {timeout: 100s, memory: 64MiB, processes: 20}",
        &[("flood", "head -c 1000000000 /dev/zero")],
    );
    world.run("plain:true", json!({}), &[&alice()]);
    let peak = |pid: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    let before = peak(world.pid());
    let proposal = world.propose("s:flood", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    let mut finished = Value::Null;
    wait_for("the flood is over", || {
        finished = world.show(id_of(&proposal));
        finished["status"] == "finished"
    });
    let grown = peak(world.pid()).saturating_sub(before);
    assert!(grown < 32 << 10, "the service grew by {grown} KiB");
    let stdout = &world.receipt(&finished)["output"]["stdout"];
    assert_eq!(
        (&stdout["bytes"], &stdout["recorded"], &stdout["truncated"]),
        (&json!(1_000_000_000), &json!(10 << 20), &json!(true))
    );
    let name = stdout["blake3"].as_str().unwrap();
    let whole = world
        .wire
        .get(&format!("/v1/outputs/{name}"), &world.reader);
    assert_eq!(whole.body.len(), 10 << 20);
    assert_eq!(
        format!("sha256:{}", people::sha256(&whole.body)),
        stdout["sha256"].as_str().unwrap()
    );
    let bearer = format!("Bearer {}", world.reader);
    let part = world.wire.call(
        "GET",
        &format!("/v1/outputs/{name}"),
        &[("authorization", &bearer), ("range", "bytes=100-199")],
        None,
    );
    assert_eq!((part.status, part.body.len()), (206, 100));
    world.assert_verified(&finished);
}

#[test]
fn each_kind_of_ending_gets_its_own_outcome() {
    let world = steps(
        SMALL,
        &[
            ("warn", "exit 2"),
            ("kill", "kill -9 $$"),
            ("none", "exec /nothing/there"),
            (
                "hog memory=32MiB",
                "set -o pipefail; head -c 300M /dev/zero | tail -c 300M | wc -c",
            ),
        ],
    );
    for (step, outcome) in [
        ("s:warn", json!({"status": "warned", "exit_code": 2})),
        ("s:kill", json!({"status": "failed", "signal": 9})),
        ("s:none", json!({"status": "failed", "exit_code": 127})),
    ] {
        let finished = world.run(step, json!({}), &[&alice()]);
        assert_eq!(finished["outcome"], outcome, "{step}");
        world.assert_verified(&finished);
    }
    let hog = world.run("s:hog", json!({}), &[&alice()]);
    assert_ne!(hog["outcome"]["status"], "succeeded", "{hog:#}");
}

#[test]
fn a_whole_tree_that_ignores_sigterm_dies_within_a_second_of_its_deadline() {
    let mark = mark(6);
    let tree = format!(
        "trap '' TERM HUP INT\nfor i in 1 2 3; do setsid -f bash -c \"trap '' TERM HUP; sleep {mark}\"; done\n\
         (trap '' TERM; sleep {mark}) &\nsleep {mark}"
    );
    let world = steps(
        "defaults: {timeout: 1s, memory: 64MiB, processes: 30}",
        &[("tree", &tree)],
    );
    let finished = world.run("s:tree", json!({}), &[&alice()]);
    assert_eq!(finished["outcome"], json!({"status": "timed_out"}));
    let took = world.receipt(&finished)["duration_ms"]
        .as_u64()
        .expect("milliseconds");
    assert!((1000..2000).contains(&took), "the run took {took} ms");
    assert!(!on_host(&mark));
    world.assert_verified(&finished);
}

#[test]
fn cancelling_kills_the_run_and_leaves_a_receipt() {
    let mark = mark(5);
    let script = format!("trap '' TERM\necho begun\nsleep {mark}");
    let world = steps(SMALL, &[("wait", &script)]);
    let proposal = world.propose("s:wait", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    let id = id_of(&proposal);
    let mut lines = world.wire.lines(id, &world.reader, 0);
    let begun = lines
        .find(|event| event["type"] == "output")
        .expect("output");
    assert_eq!(begun["text"], "begun\n");
    let path = format!("/v1/proposals/{id}/cancellation");
    // Only the proposer or an operator can cancel a run.
    world
        .wire
        .post(&path, &world.reader, &json!({}))
        .problem("forbidden");
    world.wire.post(&path, &world.agent, &json!({})).ok(200);
    let finished = world.until(id, "finished");
    assert_eq!(finished["outcome"], json!({"status": "cancelled"}));
    assert!(!on_host(&mark));
    assert_eq!(
        world.output(&finished, "stdout"),
        "begun\n",
        "what it wrote before is kept"
    );
    let rest: Vec<Value> = lines.collect();
    assert_eq!(rest.last().unwrap()["type"], "receipt");
    world
        .unchanged(|| world.deny(&finished, &dora()))
        .problem("wrong-state");
    world.assert_verified(&finished);
}
