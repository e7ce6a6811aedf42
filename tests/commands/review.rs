//! The terminal output for an approver: the decision screen, the question, the inbox, a denial, and ended proposals.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::people::{self, Key, alice, bob, mallory};
use crate::support::{self, DRAFT, SMALL, World, exited, id_of, runbook, said};
use crate::terminal::Terminal;
use reading::DEFAULT_TOOLS;
use serde_json::{Value, json};

/// Starts the command at a terminal with this number of columns.
pub(crate) fn at_terminal(
    world: &World,
    columns: usize,
    command: &Command,
    more: &[(&str, &str)],
) -> Terminal {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    let line = format!("stty cols {columns} rows 50; exec {}", words.join(" "));
    let mut script = world.command("script");
    script
        .args(["-qefc", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("NO_COLOR", "1");
    script.env_remove("PAGER").envs(more.iter().copied());
    Terminal::begin(script)
}

fn digits(proposal: &Value) -> String {
    let digest = proposal["digest"].as_str().expect("a digest");
    digest[digest.len() - 8..].to_owned()
}

#[test]
fn roster_sign_shows_the_digest_on_one_line_of_80_columns() {
    let world = World::new();
    let grace = Key::of("grace", 40);
    world.write("grace.pub", &format!("{}\n", grace.ssh.line()));
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let mut add = world.boundary_command(&[
        "roster", "add", "approver", "grace", "--group", "ops", "--config",
    ]);
    exited(
        add.arg(world.path("b"))
            .arg("--key")
            .arg(world.path("grace.pub"))
            .output()
            .expect("started"),
        0,
    );
    let file = world.path(DRAFT);
    let draft: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("a draft")).expect("JSON");
    let digest = people::sha256(&people::roster_statement(&draft));
    let end = &digest[digest.len() - 8..];
    let pinned = world.started["roster"].as_str().expect("a digest");
    let mut command = world.program(&["roster", "sign", "--roster", pinned, "--key"]);
    command.arg(world.path("alice.pem")).arg(&file);
    let mut terminal = at_terminal(&world, 80, &command, &[]);
    terminal
        .wait_for("anything else stops: ")
        .types(&format!("{end}\n"));
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    let question = text
        .lines()
        .find(|line| line.contains("To sign this roster as alice"))
        .expect("a question");
    let at = question
        .find(&format!("type {end}, "))
        .unwrap_or_else(|| panic!("no digits in {question:?}"));
    assert!(at + "type ".len() + end.len() <= 80, "{question:?}");
}

/// A world with the sample runbook and the sample policy of every new boundary.
fn sample() -> World {
    World::with(|setup| {
        setup.runbook("service.md", include_str!("../../runbooks/service.md"));
        setup.policy =
            "version: 1\ndefault:\n  mode: prompted\n  approvals: {required: 2, from: [ops, security]}\n".to_owned();
    })
}

fn in_gutter(line: &str) -> bool {
    line.get(7..9) == Some(" |") && line[..7].trim_start().bytes().all(|c| c.is_ascii_digit())
}

#[test]
fn the_review_of_a_harmless_run_fits_on_one_page_with_its_script() {
    let world = sample();
    let proposal = world.propose("service:restart", json!({"name": "shop"}));
    for columns in [80, 60] {
        let mut terminal = at_terminal(
            &world,
            columns,
            &world.as_alice(&["approve", id_of(&proposal)]),
            &[],
        );
        terminal.wait_for("f fields: ").types("no\n");
        let (code, text) = terminal.end();
        assert_eq!(code, Some(126), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let script = lines.iter().filter(|line| in_gutter(line)).count();
        assert_eq!(script, 35, "{text}");
        assert!(
            columns < 80 || lines.len() - script <= 40,
            "{} lines beside the script:\n{text}",
            lines.len() - script
        );
        // The screen shows the exact text of the script.
        assert!(
            columns < 80
                || text
                    .contains(r#"printf '%s is stopped, nothing is left behind\n' "$PARAM_NAME""#),
            "{text}"
        );
        for part in [
            "service:restart at prod, asked by agent (owner carol)",
            "name = \"shop\"",
            "\"because\"",
            "30 s, 64 MiB, 20 processes, 1 CPU",
            "0 of 2",
            "no success of this step",
            "Sign service:restart at prod as alice? Type ",
        ] {
            let joined = text
                .replace('\r', "")
                .replace("\n            +  ", " ")
                .replace("\n               +  ", " ");
            let joined = joined.replace(
                "Sign service:restart at prod as alice?\n",
                "Sign service:restart at prod as alice? ",
            );
            assert!(joined.contains(part), "{part}: {text}");
        }
        assert!(text.contains("nothing was signed"), "{text}");
    }
}

#[test]
fn the_decision_about_the_sample_step_has_twelve_lines_with_the_question() {
    let world = World::with(|setup| {
        setup.runbook("service.md", include_str!("../../runbooks/service.md"));
        let tools = DEFAULT_TOOLS.join(", ");
        setup.policy = format!(
            "version: 1\ndefault:\n  mode: prompted\n  sandbox:\n    programs: {{mode: listed, allow: [{tools}]}}\n  \
             approvals: {{required: 2, from: [ops]}}\n"
        );
    });
    let wish = json!({"step": "service:restart", "params": {"name": "shop"}, "reason": "p99 is up since 10:05"});
    let proposal = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    let mut terminal = at_terminal(
        &world,
        80,
        &world.as_alice(&["approve", id_of(&proposal)]),
        &[],
    );
    terminal.wait_for("f fields: ").types("no\n");
    let (_, text) = terminal.end();
    let lines: Vec<&str> = text.lines().collect();
    let id = id_of(&proposal);
    let first = format!(
        "service:restart at prod, asked by agent (owner carol), prp_...{}",
        &id[id.len() - 6..]
    );
    let block = lines
        .iter()
        .rposition(|line| *line == first)
        .unwrap_or_else(|| panic!("{first}: {text}"));
    let question = lines
        .iter()
        .rposition(|line| line.starts_with("Sign service:restart at prod as alice? "))
        .expect("one");
    let found = &lines[block..=question];
    assert_eq!(found.len(), 12, "{}", found.join("\n"));
    let listed = proposal_programs(&world, id);
    let tools = listed
        .iter()
        .filter(|name| !["bash", "kill"].contains(&name.as_str().expect("a name")))
        .count();
    for (at, start) in [
        (1, "  parameters  name = \"shop\"".to_owned()),
        (
            2,
            "  reason      \"p99 is up since 10:05\"  (agent's words, not checked)".to_owned(),
        ),
        (
            3,
            format!(
                "  may run     the {tools} default tools, bash, kill; the kernel starts no others"
            ),
        ),
        (
            4,
            "  sandbox     strict, own empty directory, no network, no files of the host"
                .to_owned(),
        ),
        (
            5,
            "  limits      30 s, 64 MiB, 20 processes, 1 CPU, one run at a time of service"
                .to_owned(),
        ),
        (
            6,
            "  signatures  0 of 2 of ops; yours is number 1; agent and carol can't count"
                .to_owned(),
        ),
        (7, "  until       ".to_owned()),
        (
            8,
            "  trust       roster people version 1, pinned by you; all checks hold".to_owned(),
        ),
        (9, "  remarks     1. kill, lines ".to_owned()),
        (
            10,
            "              2. no success of this step is known".to_owned(),
        ),
        (
            11,
            format!(
                "Sign service:restart at prod as alice? Type {}, or d deny, f fields: no",
                digits(&proposal)
            ),
        ),
    ] {
        assert!(
            found[at].starts_with(&start),
            "{start}\n{}",
            found.join("\n")
        );
    }
    assert!(
        found[7].ends_with(" left)") && found[9].ends_with(": denied by a built-in list"),
        "{text}"
    );
}

/// Returns the names of the programs that a proposal lists.
fn proposal_programs(world: &World, id: &str) -> Vec<Value> {
    let list = world.show(id)["programs"]
        .as_array()
        .expect("a list")
        .clone();
    list.into_iter().map(|one| one["name"].clone()).collect()
}

#[test]
fn a_long_script_opens_in_the_pager_without_programs_of_less_and_the_question_follows_the_decision()
{
    let long = |count: usize| format!("{}printf 'last\\u202e'", ": one line\n".repeat(count - 1));
    let world = World::with(|setup| {
        let steps = [
            ("long", &*long(61)),
            ("short", &*long(60)),
            ("hidden", &*format!("{}\n: \u{202e}x", long(60))),
        ];
        setup.runbook("many.md", runbook(SMALL, &steps));
    });
    let (paged, seen) = (world.path("paged"), world.path("seen"));
    let pager = format!("env > {}; cat > {}", seen.display(), paged.display());
    let more = [
        ("PAGER", &*pager),
        ("LESSOPEN", "|touch /tmp/owned %s"),
        ("LESSCLOSE", "touch %s"),
    ];
    let approve = |step: &str, options: &[&str]| {
        let _ = std::fs::remove_file(&paged);
        let proposal = world.propose(step, json!({}));
        let command = [&["approve", id_of(&proposal)], options].concat();
        let mut terminal = at_terminal(&world, 80, &world.as_alice(&command), &more);
        terminal
            .wait_for("f fields: ")
            .types(&format!("{}\n", digits(&proposal)));
        let (code, text) = terminal.end();
        assert_eq!(code, Some(0), "{text}");
        (std::fs::read_to_string(&paged).ok(), text)
    };
    let (paged, text) = approve("many:long", &[]);
    let paged = paged.expect("a pager");
    assert!(
        paged.contains("     61 | printf 'last") && !paged.contains("  remarks "),
        "{paged}"
    );
    assert!(
        !text.contains(" | : one line"),
        "the script is in the pager only: {text}"
    );
    let block = text.find("  remarks     ").expect("the decision");
    assert!(
        text.contains("61 lines: read all of them; f shows them again"),
        "{text}"
    );
    assert!(
        block
            < text
                .find("Sign many:long at prod as alice? ")
                .expect("a question"),
        "{text}"
    );
    let environment = std::fs::read_to_string(&seen).expect("the environment");
    assert!(
        environment.lines().any(|line| line == "LESSSECURE=1"),
        "{environment}"
    );
    assert!(
        !environment.contains("LESSOPEN") && !environment.contains("LESSCLOSE"),
        "{environment}"
    );
    // The pager gets escaped text only.
    let (paged, _) = approve("many:hidden", &[]);
    let paged = paged.expect("a pager");
    assert!(
        paged.contains(r"     61 | : \u{202e}x") && paged.is_ascii(),
        "{paged}"
    );
    for (step, options) in [("many:long", &["--no-pager"][..]), ("many:short", &[])] {
        let (paged, text) = approve(step, options);
        assert!(
            paged.is_none() && text.contains(" | : one line"),
            "{step}: {text}"
        );
    }
    // A pager that fails does not hide the script.
    let proposal = world.propose("many:long", json!({}));
    for pager in ["/nonexistent/pager", "exit 1"] {
        let review = world.as_alice(&["review", id_of(&proposal)]);
        let (code, text) = at_terminal(&world, 80, &review, &[("PAGER", pager)]).end();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("     61 | printf 'last"), "{pager}: {text}");
    }
}

#[test]
fn the_review_of_an_unchanged_script_shows_its_last_successful_run_and_the_number_of_runs() {
    let world = World::new();
    for _ in 0..2 {
        world.run("say:echo", json!({}), &[&alice()]);
    }
    let proposal = world.propose("say:echo", json!({"text": "other"}));
    let review = said(
        &world
            .as_alice(&["review", id_of(&proposal)])
            .output()
            .expect("it starts"),
    );
    let review = review.replace("\n      +  ", " ");
    assert!(
        review.contains("script, sandbox and programs unchanged since the last successful run (the boundary says: 20")
            && review.contains("2 successes so far"),
        "{review}"
    );
    assert!(
        review.contains("text = \"other\"  (last success: \"hello\")"),
        "{review}"
    );
    assert!(review.contains("  remarks     none\n"), "{review}");
}

#[test]
fn the_review_of_a_finished_proposal_is_one_line() {
    let world = World::new();
    let denied = world.propose("say:echo", json!({"text": "denied"}));
    assert_eq!(world.deny(&denied, &bob()).status, 200);
    let cancelled = world.propose("say:echo", json!({"text": "cancelled"}));
    let path = format!("/v1/proposals/{}/cancellation", id_of(&cancelled));
    world.wire.post(&path, &world.agent, &json!({})).ok(200);
    let finished = world.run("say:echo", json!({"text": "ran"}), &[&alice()]);
    for (proposal, how) in [
        (&denied, "was denied by bob at 20"),
        (&cancelled, "was withdrawn at 20"),
        (&finished, "ran and ended at 20"),
    ] {
        for words in [vec!["review"], vec!["approve"], vec!["deny", "--yes"]] {
            let mut words = words.clone();
            words.push(id_of(proposal));
            let output = world.as_alice(&words).output().expect("it starts");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(
                (
                    output.status.code(),
                    output.stdout.len(),
                    text.lines().count()
                ),
                (Some(126), 0, 1),
                "{text}"
            );
            assert!(
                text.starts_with(&format!("countersign: {} {how}", id_of(proposal))),
                "{text}"
            );
            assert!(text.ends_with(": nothing to sign\n"), "{text}");
        }
    }
}

#[test]
fn a_denial_shows_a_few_lines_before_its_question() {
    let world = World::new();
    let proposal = world.propose("say:echo", json!({"text": "long ".repeat(700)}));
    for (consent, code, status) in [
        ("because of the freeze\n", 126, "pending"),
        ("yes\n", 0, "denied"),
    ] {
        let mut terminal = at_terminal(
            &world,
            80,
            &world.as_alice(&["deny", id_of(&proposal)]),
            &[],
        );
        terminal.wait_for("Reason, for agent and colleagues: ");
        let asked = terminal.text();
        // The reason has more than 256 bytes.
        terminal.types(&format!("{}\n", "not now ".repeat(60)));
        terminal.wait_for("Type yes: ").types(consent);
        let (found, text) = terminal.end();
        assert!(asked.lines().count() <= 8, "{asked}");
        assert_eq!(found, Some(code), "{text}");
        let view = world.show(id_of(&proposal));
        assert_eq!(view["status"], status, "{text}");
        let reason = view["denials"][0]["reason"].as_str().unwrap_or_default();
        assert_eq!(
            reason,
            if code == 0 {
                "not now ".repeat(60)
            } else {
                String::new()
            }
            .trim_end()
        );
    }
}

#[test]
fn a_person_can_deny_or_show_all_fields_at_the_question_of_approve() {
    let world = World::new();
    let proposal = world.propose("say:echo", json!({}));
    let pager = world.path("paged");
    let pager = [("PAGER", &*format!("cat > {}", pager.display()))];
    let mut terminal = at_terminal(
        &world,
        80,
        &world.as_alice(&["approve", id_of(&proposal)]),
        &pager,
    );
    terminal.wait_for("f fields: ").types("f\n");
    terminal.wait_for("f fields: ").types("d\n");
    terminal
        .wait_for("deny say:echo at prod. Reason, for agent and colleagues: ")
        .types("because of the freeze\n");
    terminal.wait_for("Type yes: ").types("yes\n");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("denied: prp_"), "{text}");
    let paged = std::fs::read_to_string(world.path("paged")).expect("paged");
    for part in [
        "== To be signed, every field ==",
        "    .predicate.nonce = \"",
        "== Definition, every field ==",
        "  digest sha256:",
    ] {
        assert!(paged.contains(part), "{part}: {paged}");
    }
    assert!(!text.contains(".predicate.nonce"), "{text}");
    let view = world.show(id_of(&proposal));
    assert_eq!(
        (&view["status"], &view["denials"][0]["reason"]),
        (&json!("denied"), &json!("because of the freeze"))
    );
    assert_eq!(
        world.log().last().expect("an entry").1["predicate"]["reason"],
        "because of the freeze"
    );
}

#[test]
fn an_approver_of_more_than_five_remarks_must_type_the_number_of_further_remarks() {
    let world = World::with(|setup| {
        setup.policy =
            "version: 1\ndefault:\n  mode: prompted\n  approvals: {required: 1, from: [ops]}\n"
                .to_owned();
        let params = "params:\n  text: {type: string, maxLength: 4000}\n";
        let script = "zz-unknown || :\nif false; then rm -f x; fi\n\"$NOTHING\" || :";
        setup.runbook(
            "ask.md",
            runbook(&format!("{params}{SMALL}"), &[("go proc=full", script)]),
        );
    });
    // The proposal causes many remarks: a bidirectional control character in the reason, a long value, a first run, the
    // whole of /proc, `rm`, and unknown commands.
    let wish =
        json!({"step": "ask:go", "params": {"text": "y".repeat(600)}, "reason": "fine\u{202e}"});
    let proposal = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    let end = digits(&proposal);
    let ask = |answer: &str| {
        let mut terminal = at_terminal(
            &world,
            80,
            &world.as_alice(&["approve", id_of(&proposal)]),
            &[],
        );
        terminal
            .wait_for(&format!("Type 1 {end}, or d deny, "))
            .wait_for("f fields: ")
            .types(&format!("{answer}\n"));
        terminal.end()
    };
    for wrong in [
        end.clone(),
        format!("2 {end}"),
        format!("{end} 1"),
        "1".to_owned(),
    ] {
        let (code, text) = ask(&wrong);
        assert_eq!(code, Some(126), "{wrong}: {text}");
        assert!(
            text.contains("and 1 more above") && text.contains("nothing was signed"),
            "{text}"
        );
    }
    assert_eq!(world.show(id_of(&proposal))["status"], "pending");
    let (code, text) = ask(&format!("1 {end}"));
    assert_eq!(code, Some(0), "{text}");
    assert_ne!(world.show(id_of(&proposal))["status"], "pending");
}

#[test]
fn an_inbox_is_a_table_that_fits_the_terminal() {
    let world = sample();
    let one = world.propose("service:restart", json!({"name": "shop"}));
    world.propose(
        "say:echo",
        json!({"text": "a text that goes on and on, beyond the width of any terminal of sixty columns"}),
    );
    for columns in [60, 80] {
        let (code, text) = at_terminal(&world, columns, &world.as_alice(&["inbox"]), &[]).end();
        assert_eq!(code, Some(0), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.len() <= columns), "{text}");
        assert!(
            lines[0].starts_with("ID ") && lines[0].ends_with(" !"),
            "{text}"
        );
        let id = id_of(&one);
        let row = lines
            .iter()
            .find(|line| line.starts_with(&id[id.len() - 6..]))
            .expect("a row");
        let step = if columns < 80 {
            "...e:restart"
        } else {
            "service:restart"
        };
        assert!(
            row.contains(step) && row.contains("name=shop") && row.contains("0 of 2"),
            "{text}"
        );
        assert!(
            row.ends_with("  ! deny-list"),
            "kill is denied by a built-in list: {text}"
        );
    }
}

/// The program names the key and the purpose before the passphrase prompt. With a wrong passphrase, the message reports
/// a failed read.
#[test]
fn the_passphrase_prompt_names_the_key() {
    if !["ssh-keygen", "ssh-add"]
        .iter()
        .all(|program| support::has(program))
    {
        support::host::not_run(
            "the_passphrase_prompt_names_the_key",
            "there is no ssh-keygen",
        );
        return;
    }
    let mut world = World::prepared(|_| {});
    let key = world.path("eve");
    let mut made = world.command("ssh-keygen");
    made.args([
        "-q",
        "-t",
        "ed25519",
        "-N",
        "correct horse",
        "-C",
        "eve@desk",
        "-f",
    ])
    .arg(&key);
    assert!(made.status().expect("started").success());
    let line = std::fs::read_to_string(key.with_extension("pub")).expect("a key");
    world.edit_draft(|draft| {
        draft["approvers"]["eve"] = json!({"groups": ["ops"], "keys": [line.trim()]});
    });
    world.start();
    world.make_tokens();
    let mut inbox = world.program(&["--url", &world.wire.url, "inbox", "--key"]);
    inbox.arg(&key);
    let mut terminal = at_terminal(&world, 100, &inbox, &[]);
    terminal
        .wait_for("ssh-keygen asks for the key ")
        .wait_for("eve")
        .wait_for("to read from the boundary:");
    terminal.wait_for("assphrase").types("wrong\n");
    let (code, text) = terminal.end();
    assert_ne!(code, Some(0), "{text}");
    assert!(
        text.contains("could not be read with this key") && !text.contains("nothing was signed"),
        "{text}"
    );
    assert!(!text.contains("Signing data on standard input"), "{text}");
    let mut terminal = at_terminal(&world, 100, &inbox, &[]);
    terminal.wait_for("assphrase").types("correct horse\n");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing waits for your signature"), "{text}");
}

/// Sends calls without a token from this machine, in two threads, until `work` ends.
fn under_junk<T>(world: &World, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = world.wire.try_call("GET", "/log/checkpoint", &[], None);
                    let _ = world.wire.try_post(
                        "/v1/challenges",
                        "",
                        &json!({"keyid": mallory().keyid()}),
                    );
                }
            });
        }
        // Stops the calls even if `work` panics.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            support::wait_for("calls without a token are limited", || {
                world.wire.peek("/log/checkpoint").status == 429
            });
            work()
        }));
        over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn approvers_review_and_sign_while_calls_without_a_token_are_limited() {
    let world = World::with(|setup| setup.limits = "calls_per_second = 20".to_owned());
    let proposal = world.propose("say:echo", json!({}));
    let expected = proposal["digest"].as_str().expect("a digest").to_owned();
    under_junk(&world, || {
        for words in [&["review", id_of(&proposal)][..], &["inbox"]] {
            let output = world.as_alice(words).output().expect("it starts");
            assert_eq!(
                output.status.code(),
                Some(0),
                "{words:?}: {}",
                said(&output)
            );
        }
        // A caller without a token and without a key in the roster learns how long to wait, and learns nothing about
        // keys.
        world.write("mallory.pem", mallory().secret.to_pkcs8_v1_pem().as_str());
        // The rate limit sometimes admits one of these calls, so the test retries.
        for words in [
            &["inbox", "--all", "--key"][..],
            &["log", "checkpoint", "--key"],
        ] {
            support::wait_for("a stranger's key is limited", || {
                let mut command = world.program(&["--url", &world.wire.url]);
                let output = command
                    .args(words)
                    .arg(world.path("mallory.pem"))
                    .output()
                    .expect("it starts");
                let text = said(&output);
                assert!(!text.contains("none of your keys"), "{words:?}: {text}");
                output.status.code() == Some(125)
                    && text.contains("too many calls")
                    && text.contains("try again in 1 s")
            });
        }
        // A valid signature needs no token and has no rate limit.
        let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
        let junk =
            json!({"signatures": [{"keyid": alice().keyid(), "sig": bob().sign(b"x")["sig"]}]});
        support::wait_for("a signature that does not verify is limited", || {
            world.wire.post(&path, "", &junk).status == 429
        });
        let output = world
            .as_alice(&["approve", id_of(&proposal), "--yes", "--expect", &expected])
            .output();
        exited(output.expect("it starts"), 0);
        let second = world.propose("say:echo", json!({"text": "second"}));
        let signature = json!({"signatures": [alice().sign(&support::bytes_of(&second))]});
        world
            .wire
            .post(
                &format!("/v1/proposals/{}/signatures", id_of(&second)),
                "",
                &signature,
            )
            .ok(200);
    });
}

/// The proposal has 200 parts of one parameter and a second parameter after them.
#[test]
fn the_last_screen_and_a_denial_name_each_parameter() {
    let world = World::with(|setup| {
        let params = "params:\n  a: {type: array, items: {type: integer}, maxItems: 500}\n  zz: {type: string}\n";
        setup.runbook(
            "many.md",
            runbook(&format!("{params}{SMALL}"), &[("go", "printf done")]),
        );
    });
    let many: Vec<u32> = (0..200).collect();
    let proposal = world.propose("many:go", json!({"a": many, "zz": "target"}));
    let review = said(
        &world
            .as_alice(&["review", id_of(&proposal)])
            .output()
            .expect("it starts"),
    );
    let lines: Vec<&str> = review.lines().collect();
    let last = lines[lines.len().saturating_sub(30)..].join("\n");
    assert!(
        last.contains("  parameters  a = [0, 1, 2, ") && last.contains("200 elements, 691 bytes"),
        "{review}"
    );
    assert!(last.contains("zz = \"target\""), "{review}");
    let mut terminal = at_terminal(
        &world,
        80,
        &world.as_alice(&["deny", id_of(&proposal), "--reason", "no"]),
        &[],
    );
    terminal.wait_for("Type yes: ");
    let asked = terminal.text();
    terminal.types("no\n");
    terminal.end();
    assert!(
        asked.lines().count() <= 8 && asked.contains("zz = \"target\""),
        "{asked}"
    );
}

#[test]
fn a_token_of_another_boundary_causes_an_error_that_names_the_other_boundary() {
    let world = World::new();
    for (token, code, part) in [
        (
            format!("cst_{}", "x".repeat(43)),
            126,
            "does not accept your token (unauthenticated): this token does not exist",
        ),
        ("cst_\u{2026}".to_owned(), 2, "the given text is no token"),
    ] {
        let mut list = world.program(&["--url", &world.wire.url, "registry", "list"]);
        let output = list
            .env("COUNTERSIGN_TOKEN", &token)
            .output()
            .expect("it starts");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(
            text.contains(part) && !text.contains("a token is needed") && !text.contains("reached"),
            "{text}"
        );
    }
}

#[test]
fn a_person_without_a_key_reads_how_to_make_one() {
    let world = World::new();
    for words in ["inbox", "approve"] {
        let mut command = world.program(&["--url", &world.wire.url, words]);
        let output = command
            .env_remove("COUNTERSIGN_KEY")
            .output()
            .expect("it starts");
        let text = said(&output);
        assert!(!output.status.success(), "{text}");
        assert!(
            text.contains("there is no key in ") && text.contains("countersign key generate"),
            "{text}"
        );
        assert!(!text.contains("operator"), "{text}");
    }
}
