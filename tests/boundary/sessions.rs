//! Sessions: variables, the directory and files that runs carry to the next run.

use serde_json::{Value, json};

use crate::support::host::not_run;
use crate::support::people::{self, alice, bob, envelope};
use crate::support::{POLICY, SMALL, Setup, World, bytes_of, id_of, runbook, wait_for};

/// A world with these steps in the runbook `s`, all of which write their session.
fn world_of(steps: &[(&str, &str)]) -> World {
    world_with(steps, |_| {})
}

fn world_with(steps: &[(&str, &str)], change: impl FnOnce(&mut Setup)) -> World {
    let named: Vec<(String, &str)> = steps
        .iter()
        .map(|(name, script)| {
            let session = if name.contains("session=") {
                String::new()
            } else {
                " session=write".to_owned()
            };
            (format!("{name}{session}"), *script)
        })
        .collect();
    let named: Vec<(&str, &str)> = named
        .iter()
        .map(|(name, script)| (name.as_str(), *script))
        .collect();
    World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("s.md", runbook(SMALL, &named));
        change(setup);
    })
}

fn created(world: &World) -> String {
    let session = world
        .wire
        .post("/v1/sessions", &world.agent, &json!({"runbook": "s"}))
        .ok(201);
    session["id"].as_str().expect("an id").to_owned()
}

fn shown(world: &World, id: &str) -> Value {
    world
        .wire
        .get(&format!("/v1/sessions/{id}"), &world.agent)
        .ok(200)
}

fn proposed(world: &World, session: &str, step: &str) -> Value {
    let mut wish = World::wish(step, json!({}));
    wish["session"] = json!(session);
    world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201)
}

/// Runs a step in a session, and returns the finished proposal.
#[track_caller]
fn ran(world: &World, session: &str, step: &str) -> Value {
    let proposal = proposed(world, session, step);
    world.sign(&proposal, &[&alice()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    world.assert_verified(&finished);
    finished
}

/// Runs a step in a session, and returns its standard output.
#[track_caller]
fn prints(world: &World, session: &str, step: &str) -> String {
    let finished = ran(world, session, step);
    let complaints = world.output(&finished, "stderr");
    assert_eq!(
        finished["outcome"]["status"], "succeeded",
        "{complaints}{finished:#}"
    );
    world.output(&finished, "stdout")
}

#[test]
fn variables_the_directory_and_files_are_carried_to_the_next_run() {
    let world = world_of(&[
        (
            "set",
            "export A=$'two\\nlines' B='it'\"'\"'s'\nexport -n C=local\nmkdir -p sub\ncd sub\nprintf hi > note\nunset LC_ALL",
        ),
        (
            "get",
            "printf '%s|%s|%s|%s|' \"$A\" \"$B\" \"${C-none}\" \"${LC_ALL-unset}\"\npwd\ncat note\nls \"$HOME\"",
        ),
        ("tmp", "cd /tmp; printf x > gone"),
        ("where", "pwd; test ! -e gone"),
    ]);
    let session = created(&world);
    assert_eq!(prints(&world, &session, "s:set"), "");
    assert_eq!(
        prints(&world, &session, "s:get"),
        "two\nlines|it's|none|unset|/tmp/work/sub\nhi"
    );
    let facts = shown(&world, &session);
    assert_eq!(
        (&facts["run_count"], &facts["directory"]),
        (&json!(2), &json!("/tmp/work/sub"))
    );
    assert!(
        facts["variables"]
            .as_array()
            .expect("names")
            .contains(&json!("A")),
        "{facts:#}"
    );
    assert!(
        !facts.to_string().contains("two"),
        "values are not shown: {facts:#}"
    );
    // Each run has the directory /tmp, new and empty.
    prints(&world, &session, "s:tmp");
    assert_eq!(prints(&world, &session, "s:where"), "/tmp\n");
    // Another session starts empty.
    assert!(prints(&world, &created(&world), "s:get").starts_with("||none|C.UTF-8|"));
    world.assert_audited();
}

#[test]
fn a_session_carries_only_variables_that_a_script_or_policy_names() {
    let plant = "printf 'export KUBECONFIG=/tmp/work/k DOCKER_HOST=tcp://evil NAMED=1 READ=2 ALLOWED_X=3 DENIED_X=4\\n' > vars\n\
                 . ./vars\nread -r READ <<< 5\nexport NAMED\nprintf 'countersign: the files were not kept\\nlast' >&2";
    let world = world_with(
        &[
            ("plant", plant),
            ("get", "env"),
            ("other", "python3 -c 1"),
            ("plain", "export PLAIN=1"),
        ],
        |setup| {
            setup.policy = POLICY.replace(
                "  mode",
                "  env: {allow: [\"*_X\"], deny: [\"DENIED_*\"]}\n  mode",
            );
        },
    );
    let session = created(&world);
    let planted = ran(&world, &session, "s:plant");
    assert_eq!(planted["outcome"]["status"], "succeeded", "{planted:#}");
    // A step can print such a line too, but it can't know the digest of its authorization.
    let note = "the session does not carry DENIED_X, DOCKER_HOST, KUBECONFIG: write `export NAME` in the script, or name the \
                variable in env.allow of policy";
    let expected = format!(
        "countersign: the files were not kept\nlast\ncountersign: {note} ({})\n",
        planted["digest"].as_str().expect("a digest")
    );
    assert_eq!(world.output(&planted, "stderr"), expected);
    let output = prints(&world, &session, "s:get");
    for name in ["NAMED=1", "READ=5", "ALLOWED_X=3"] {
        assert!(output.lines().any(|line| line == name), "{name}: {output}");
    }
    for name in ["KUBECONFIG", "DOCKER_HOST", "DENIED_X"] {
        assert!(!output.contains(name), "{name}: {output}");
    }
    assert_eq!(
        shown(&world, &session)["variables"],
        json!(["ALLOWED_X", "NAMED", "READ"])
    );
    world.assert_audited();
    let mut show = world.program(&[
        "--json",
        "registry",
        "show",
        "s:get",
        "--url",
        &world.wire.url,
    ]);
    let show = show
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("show");
    let show: Value = serde_json::from_slice(&show.stdout).expect("JSON");
    assert_eq!(
        show["in_force"]["session_variables"],
        json!(["NAMED", "PLAIN", "READ", "*_X"])
    );
}

#[test]
fn a_directory_that_each_run_has_is_kept_and_a_forged_directory_is_not() {
    let forge = "ln -s / link\nprintf '\\0begin\\0export A=\"1\"\\n\\0/tmp/work/link\\n\\0end\\0' > /run/results/session/state\nexec true";
    let world = world_of(&[
        ("root", "export A=0; cd /"),
        ("where", "pwd"),
        ("forge", forge),
        ("get", "pwd; echo $A"),
        ("enter", "mkdir gone; cd gone"),
        (
            "remove",
            &format!(
                "rmdir /tmp/work/gone; {}",
                forge.replace("link", "gone").replace("ln -s / ", "true ")
            ),
        ),
        ("close", "mkdir closed; cd closed; chmod 0 ."),
    ]);
    let session = created(&world);
    assert_eq!(prints(&world, &session, "s:root"), "");
    assert_eq!(prints(&world, &session, "s:where"), "/\n");
    let forged = ran(&world, &session, "s:forge");
    let note = "the step ended in \"/tmp/work/link\", which the next run does not see: the next run starts in its work directory";
    assert!(
        world.output(&forged, "stderr").contains(note),
        "{}",
        world.output(&forged, "stderr")
    );
    assert_eq!(prints(&world, &session, "s:get"), "/tmp/work\n1\n");
    for (before, last) in [("s:enter", "s:remove"), ("s:where", "s:close")] {
        ran(&world, &session, before);
        let ended = ran(&world, &session, last);
        assert_eq!(ended["outcome"]["status"], "succeeded", "{last}");
        let stderr = world.output(&ended, "stderr");
        assert!(
            stderr.contains("the next run starts in its work directory"),
            "{last}: {stderr} {}",
            shown(&world, &session)
        );
        assert_eq!(
            prints(&world, &session, "s:get"),
            "/tmp/work\n1\n",
            "{last}"
        );
    }
}

/// The 11 blocks of this runbook of Gruntwork show which variables and directories its blocks share.
#[test]
fn a_recorded_runbook_of_gruntwork_ends_in_one_session_as_recorded() {
    const NAME: &str = "a_recorded_runbook_of_gruntwork_ends_in_one_session_as_recorded";
    let (cases, peers) = (
        std::env::var("COUNTERSIGN_CASES").unwrap_or_default(),
        std::env::var("COUNTERSIGN_PEERS"),
    );
    let cases = cases
        .split(':')
        .find_map(|folder| std::fs::read(format!("{folder}/gruntwork-runbooks.json")).ok());
    let (Some(cases), Ok(peers)) = (cases, peers) else {
        return not_run(
            NAME,
            "COUNTERSIGN_CASES or COUNTERSIGN_PEERS is not set: scripts/peers runs this test",
        );
    };
    let cases: Value = serde_json::from_slice(&cases).expect("JSON");
    let of_model = |one: &&Value| {
        one["path"]
            .as_str()
            .is_some_and(|path| path.contains("runbook-execution-model"))
    };
    let fixture = cases["fixtures"]
        .as_array()
        .expect("fixtures")
        .iter()
        .find(of_model)
        .expect("the runbook");
    let folder = std::path::Path::new(&peers)
        .join("runbooks")
        .join(fixture["dir"].as_str().expect("a directory"));
    let blocks = fixture["blocks"].as_array().expect("blocks");
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        let scripts = blocks
            .iter()
            .map(|block| block["path"].as_str().expect("a script"));
        for name in scripts.chain(["runbook.mdx"]) {
            let text = std::fs::read_to_string(folder.join(name)).expect(name);
            let text = ["<Command", "<Check"].iter().fold(text, |text, tag| {
                text.replace(&format!("{tag} "), &format!("{tag} session=\"write\" "))
            });
            setup.runbook(&format!("demo/{name}"), text);
        }
    });
    let session = world
        .wire
        .post(
            "/v1/sessions",
            &world.agent,
            &json!({"runbook": "demo/runbook"}),
        )
        .ok(201);
    for block in blocks {
        let step = format!("demo/runbook:{}", block["id"].as_str().expect("an id"));
        let finished = ran(&world, session["id"].as_str().expect("an id"), &step);
        assert_eq!(
            finished["outcome"]["exit_code"], block["exit_code"],
            "{step}: {finished:#}"
        );
    }
    assert_eq!(blocks.len(), 11);
}

#[test]
fn dash_carries_its_state_too_and_other_interpreters_read_it() {
    let world = world_with(&[("unused", "true")], |setup| {
        let page = "---\ncountersign: 1\n---\n```sh {#set session=write}\nA=\"a 'b' c\"\nexport A\nmkdir d; cd d\n```\n\
                    ```sh {#get session=read}\nprintf '%s ' \"$A\"; pwd\n```\n\
                    ```python3 {#python session=write}\nimport os\nprint(os.environ['A'], os.getcwd())\nos.environ['A'] = 'changed'\n\
                    open('made', 'w').write('x')\n```\n\
                    ```sh {#list session=read}\nls; printf '%s' \"$A\"\n```\n";
        setup.runbook("s.md", page);
    });
    let session = created(&world);
    prints(&world, &session, "s:set");
    assert_eq!(prints(&world, &session, "s:get"), "a 'b' c /tmp/work/d\n");
    assert_eq!(
        prints(&world, &session, "s:python"),
        "a 'b' c /tmp/work/d\n"
    );
    assert_eq!(prints(&world, &session, "s:list"), "made\na 'b' c");
    world.assert_audited();
}

#[test]
fn the_second_of_two_proposals_for_one_state_is_stale() {
    let world = world_of(&[("set", "export A=1"), ("get", "printf '%s' \"$A\"")]);
    let session = created(&world);
    let (first, second) = (
        proposed(&world, &session, "s:set"),
        proposed(&world, &session, "s:get"),
    );
    assert_ne!(id_of(&first), id_of(&second));
    world.sign(&first, &[&alice()]).ok(200);
    world.until(id_of(&first), "finished");
    let refused = world.until(id_of(&second), "refused");
    assert_eq!(refused["refusal"]["code"], "session-stale", "{refused:#}");
    let payload = bytes_of(&proposed(&world, &session, "s:get"));
    ran(&world, &session, "s:set");
    world
        .submit(&envelope(&payload, &[&alice()]))
        .problem("session-stale");
    // The nonce is not spent, and a new proposal runs.
    assert_eq!(prints(&world, &session, "s:get"), "1");
    assert_eq!(world.count("consumption"), 3);
    world.assert_audited();
}

#[test]
fn a_replayed_authorization_with_a_session_names_the_first_run() {
    let world = world_of(&[("set", "export A=1")]);
    let session = created(&world);
    let proposal = proposed(&world, &session, "s:set");
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "finished");
    let payload = bytes_of(&proposal);
    let problem = world
        .submit(&envelope(&payload, &[&alice()]))
        .problem("nonce-replayed");
    assert_eq!(problem["proposal"], proposal["id"]);
}

#[test]
fn a_step_with_a_session_needs_one_and_no_other_step_takes_one() {
    let world = world_with(&[("set", "export A=1")], |setup| {
        setup.runbook(
            "other.md",
            runbook(SMALL, &[("plain", "true"), ("mine session=read", "true")]),
        );
    });
    let session = created(&world);
    let post = |wish: Value| world.wire.post("/v1/proposals", &world.agent, &wish);
    let problem = post(World::wish("s:set", json!({}))).problem("malformed");
    assert!(
        problem["detail"]
            .as_str()
            .expect("words")
            .contains("`POST /v1/sessions`"),
        "{problem:#}"
    );
    for (step, code) in [("other:plain", "malformed"), ("other:mine", "wrong-state")] {
        let mut wish = World::wish(step, json!({}));
        wish["session"] = json!(session);
        post(wish).problem(code);
    }
    let mut wish = World::wish("s:set", json!({}));
    wish["session"] = json!("ses_02000000-0000-7000-8000-000000000003");
    post(wish).problem("not-found");
    world
        .wire
        .post("/v1/sessions", &world.agent, &json!({"runbook": "nothing"}))
        .problem("unknown-step");
    assert_eq!(world.count("consumption"), 0);
}

#[test]
fn a_session_belongs_to_its_creator_and_to_the_clients_of_one_owner() {
    let world = world_of(&[("set", "export A=1")]);
    let mine = world.token("mine", &["carol"], &["propose"]);
    let also = world.token("also", &["carol"], &["propose"]);
    let other = world.token("other", &["dora"], &["propose"]);
    let session = world
        .wire
        .post("/v1/sessions", &mine, &json!({"runbook": "s"}))
        .ok(201);
    let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    world.wire.get(&path, &also).ok(200);
    world.wire.get(&path, &other).problem("not-found");
    assert_eq!(
        world.wire.get("/v1/sessions", &other).ok(200),
        json!({"sessions": []})
    );
    let mut wish = World::wish("s:set", json!({}));
    wish["session"] = session["id"].clone();
    world
        .wire
        .post("/v1/proposals", &other, &wish)
        .problem("not-found");
    world.wire.post("/v1/proposals", &also, &wish).ok(201);
    world
        .wire
        .post(&format!("{path}/end"), &other, &json!({}))
        .problem("not-found");
    world
        .wire
        .post(&format!("{path}/end"), &also, &json!({}))
        .ok(200);
    let over = world.wire.get(&path, &mine);
    assert_eq!(over.status, 410, "{}", over.text());
    assert!(
        over.text().contains("its owner ended it"),
        "{}",
        over.text()
    );
}

#[test]
fn a_statement_with_a_session_is_used_only_by_its_proposer_and_tokens_of_the_same_owner() {
    let world = world_of(&[("set", "export A=1; printf '%s' \"${B-none}\"")]);
    let (free, also) = (
        world.token("free", &[], &["propose", "read"]),
        world.token("also", &["carol"], &["propose"]),
    );
    let alone = world.token("alone", &[], &["propose"]);
    let statement = |proposer: &str| {
        let session = created(&world);
        let mut predicate = world.authorization("s:set", json!({}));
        predicate["proposer"] = json!(proposer);
        predicate["session"] = json!({"id": session, "state": shown(&world, &session)["state"]});
        envelope(&people::authorization(&predicate), &[&alice(), &bob()])
    };
    for token in [&free, &alone, &world.courier] {
        let signed = statement("agent");
        world
            .unchanged(|| world.submit_as(token, &signed))
            .refuses("forbidden", "of agent, which ");
        // The nonce is not spent.
        world.submit(&signed).ok(200);
        world.submit_as(token, &signed).problem("nonce-replayed");
    }
    // A token that shares an owner with the proposer, but not with the creator of the session.
    let both = world.token("both", &["carol", "dora"], &["propose"]);
    let dora_s = world.token("dora-s", &["dora"], &["propose"]);
    let signed = statement("both");
    world
        .unchanged(|| world.submit_as(&dora_s, &signed))
        .problem("forbidden");
    world.submit_as(&both, &signed).ok(200);
    world
        .unchanged(|| world.submit_as(&free, &statement("free")))
        .problem("session-stale");
    world.submit_as(&also, &statement("agent")).ok(200);
    world.submit_as(&world.agent, &statement("also")).ok(200);
    world.assert_audited();
}

#[test]
fn a_reset_session_has_a_new_id_and_an_empty_state() {
    let world = world_of(&[
        ("set", "export A=1; touch file"),
        ("get", "printf '%s' \"${A-none}\"; ls"),
    ]);
    let session = created(&world);
    prints(&world, &session, "s:set");
    let waiting = proposed(&world, &session, "s:get");
    let new = world
        .wire
        .post(
            &format!("/v1/sessions/{session}/reset"),
            &world.agent,
            &json!({}),
        )
        .ok(201);
    let new = new["id"].as_str().expect("an id").to_owned();
    assert_ne!(new, session);
    assert_eq!(
        world.until(id_of(&waiting), "refused")["refusal"]["code"],
        "session-stale"
    );
    assert_eq!(prints(&world, &new, "s:get"), "none");
}

#[test]
fn an_idle_session_ends_and_its_proposals_are_stale() {
    let world = world_with(&[("set", "export A=1")], |setup| {
        setup.limits.push_str("session_idle = \"1s\"\n")
    });
    let session = created(&world);
    let waiting = proposed(&world, &session, "s:set");
    let over = || {
        world
            .wire
            .get(&format!("/v1/sessions/{session}"), &world.agent)
            .status
            == 410
    };
    wait_for("the session is over", over);
    assert_eq!(
        world.until(id_of(&waiting), "refused")["refusal"]["code"],
        "session-stale"
    );
}

#[test]
fn a_session_ends_with_the_service() {
    let mut world = world_of(&[("set", "export A=1")]);
    let session = created(&world);
    let waiting = proposed(&world, &session, "s:set");
    world.restart();
    world
        .wire
        .get(&format!("/v1/sessions/{session}"), &world.agent)
        .refuses("not-found", "when the boundary restarts");
    assert_eq!(
        world.until(id_of(&waiting), "refused")["refusal"]["code"],
        "session-stale"
    );
}

#[test]
fn after_exec_a_timeout_or_a_signal_the_variables_before_hold() {
    let world = world_of(&[
        ("set", "export A=before"),
        ("exec", "export A=lost\nexec printf gone"),
        ("kill", "export A=lost\nkill -9 $$"),
        ("late timeout=300ms", "export A=lost\nsleep 60"),
        ("fail", "export A=kept\nexit 7"),
        ("get", "printf '%s' \"$A\""),
    ]);
    let session = created(&world);
    prints(&world, &session, "s:set");
    for (step, status) in [
        ("s:exec", "succeeded"),
        ("s:kill", "failed"),
        ("s:late", "timed_out"),
    ] {
        let finished = ran(&world, &session, step);
        assert_eq!(
            finished["outcome"]["status"], status,
            "{step}: {finished:#}"
        );
        assert_eq!(prints(&world, &session, "s:get"), "before", "{step}");
    }
    let failed = ran(&world, &session, "s:fail");
    assert_eq!(failed["outcome"]["exit_code"], 7, "{failed:#}");
    assert_eq!(
        prints(&world, &session, "s:get"),
        "kept",
        "the changes of a failed step stay"
    );
    world.assert_audited();
}

#[test]
fn a_step_that_only_reads_its_session_changes_nothing_in_it() {
    let world = world_of(&[
        ("set", "export A=1; printf 1 > file"),
        (
            "look session=read",
            "export A=2; printf 2 > file; cd /usr; printf looked",
        ),
        ("get", "printf '%s' \"$A\"; cat file; pwd"),
    ]);
    let session = created(&world);
    prints(&world, &session, "s:set");
    assert_eq!(prints(&world, &session, "s:look"), "looked");
    assert_eq!(prints(&world, &session, "s:get"), "11/tmp/work\n");
    world.assert_audited();
}

#[test]
fn a_secret_is_in_no_variable_directory_or_file_of_a_session() {
    let world = world_with(
        &[
            (
                "plant secrets=\"db=env:DB\"",
                "mkdir \"in $DB\"; printf '%s' \"$DB\" > file; export A=\"x $DB\" B=fine\nhex=$(printf '%s' \"$DB\" | od -An -tx1 | tr -d ' \\n')\n\
                 export \"x$hex=1\"; cd \"in $DB\"",
            ),
            ("get", "printf '%s|' \"$A\" \"$B\"; env; pwd; ls -R ."),
        ],
        |setup| {
            setup.env("DB_OF_THE_SERVICE", "hunter2-secret");
            setup.config =
                "[secrets.db]\nenv = \"DB_OF_THE_SERVICE\"\nsteps = [\"s:plant\"]\n".to_owned();
        },
    );
    let session = created(&world);
    let planted = ran(&world, &session, "s:plant");
    assert_eq!(planted["outcome"]["status"], "succeeded", "{planted:#}");
    assert!(
        world
            .output(&planted, "stderr")
            .contains("one of them contains a secret of the run")
    );
    let facts = shown(&world, &session).to_string();
    let printed = prints(&world, &session, "s:get");
    for text in [&facts, &printed] {
        assert!(
            !text.contains("hunter2") && !text.contains("68756e746572322d"),
            "{text}"
        );
    }
    assert!(printed.starts_with("|fine|"), "{printed}");
}

#[test]
fn a_token_for_other_steps_can_not_use_or_end_a_session() {
    let world = world_with(&[("set", "export A=1")], |setup| {
        setup.runbook("o.md", runbook(SMALL, &[("x session=read", "true")]))
    });
    let mine = world.token("mine", &["carol"], &["propose"]);
    let limited = world.token_for("limited", &["carol"], &["propose"], &["o:*"]);
    let session = world
        .wire
        .post("/v1/sessions", &mine, &json!({"runbook": "s"}))
        .ok(201);
    let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    world
        .wire
        .post("/v1/sessions", &limited, &json!({"runbook": "s"}))
        .problem("unknown-step");
    for action in ["reset", "end"] {
        world
            .wire
            .post(&format!("{path}/{action}"), &limited, &json!({}))
            .problem("unknown-step");
    }
    world.wire.get(&path, &mine).ok(200);
}

#[test]
fn files_that_do_not_fit_into_the_next_run_are_refused_before_its_nonce() {
    let world = world_of(&[
        ("fill", "truncate -s 40M sparse"),
        ("small disk=16MiB", "ls"),
    ]);
    let session = created(&world);
    prints(&world, &session, "s:fill");
    let before = world.count("consumption");
    let proposal = proposed(&world, &session, "s:small");
    world.sign(&proposal, &[&alice()]).ok(200);
    let refused = world.until(id_of(&proposal), "refused");
    assert!(
        refused["refusal"]["detail"]
            .as_str()
            .expect("words")
            .contains("bytes of disk"),
        "{refused:#}"
    );
    assert_eq!(world.count("consumption"), before);
}

#[test]
fn a_directory_that_is_gone_is_refused_before_the_nonce_is_spent() {
    let world = world_of(&[
        ("go", "mkdir d; cd d"),
        ("drop", "cd /tmp/work\nexec rmdir d"),
        ("get", "pwd"),
    ]);
    let session = created(&world);
    ran(&world, &session, "s:go");
    ran(&world, &session, "s:drop");
    let before = world.count("consumption");
    let proposal = proposed(&world, &session, "s:get");
    world.sign(&proposal, &[&alice()]).ok(200);
    let refused = world.until(id_of(&proposal), "refused");
    assert_eq!(refused["refusal"]["code"], "session-stale", "{refused:#}");
    assert!(
        refused["refusal"]["detail"]
            .as_str()
            .expect("words")
            .contains("is gone: reset the session")
    );
    assert_eq!(world.count("consumption"), before);
}

#[test]
fn code_for_the_next_run_is_not_carried_in_variables() {
    let world = world_of(&[
        (
            "plant",
            "ls() { printf PLANTED; }\nexport -f ls\nexport BASH_ENV=/tmp/work/x ENV=/tmp/work/x LD_PRELOAD=/tmp/work/x.so \
             PYTHONPATH=/tmp/work GIT_SSH_COMMAND=x MAKEFILES=/tmp/work/mk PROMPT_COMMAND='printf PLANTED' IFS=x CDPATH=/ \
             https_proxy=x NODE_OPTIONS=x PATH=/tmp/work:$PATH\nprintf 'printf PLANTED' > x\nprintf 'all:\\n\\tprintf PLANTED' > mk\n\
             printf 'print(\"PLANTED\")' > usercustomize.py\nprintf PLANTED > \"$HOME/.bashrc\"",
        ),
        ("use", "ls; env; ls -A \"$HOME\""),
    ]);
    let session = created(&world);
    prints(&world, &session, "s:plant");
    let output = prints(&world, &session, "s:use");
    assert!(!output.contains("PLANTED"), "{output}");
    for name in [
        "BASH_ENV",
        "ENV=",
        "LD_PRELOAD",
        "PYTHONPATH",
        "GIT_SSH",
        "MAKEFILES",
        "PROMPT_COMMAND",
        "CDPATH",
        "https_proxy",
        "NODE_OPTIONS",
        "BASH_FUNC",
    ] {
        assert!(!output.contains(name), "{name}: {output}");
    }
    let path = output
        .lines()
        .find(|line| line.starts_with("PATH="))
        .expect("PATH");
    assert!(!path.contains("/tmp/work"), "{path}");
}

#[test]
fn a_run_that_is_killed_with_the_service_has_a_receipt_and_its_session_is_over() {
    let mut world = world_of(&[
        ("set", "export A=1"),
        ("slow", "export A=2; : > begun; sleep 60"),
    ]);
    let session = created(&world);
    prints(&world, &session, "s:set");
    let proposal = proposed(&world, &session, "s:slow");
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "running");
    world.kill9();
    world.start();
    let finished = world.until(id_of(&proposal), "finished");
    let receipt = world.receipt(&finished);
    assert_eq!(receipt["outcome"]["status"], "unknown");
    assert_eq!(receipt["session"]["before"], receipt["session"]["after"]);
    world.assert_verified(&finished);
    world.assert_audited();
}

#[test]
fn the_files_of_a_session_have_the_limit_of_the_disk() {
    let world = world_of(&[
        (
            "fill disk=1MiB",
            "head -c 700000 /dev/zero > a && printf first",
        ),
        (
            "more disk=1MiB",
            "head -c 700000 /dev/zero > b && printf second",
        ),
        ("list disk=1MiB", "ls"),
    ]);
    let session = created(&world);
    assert_eq!(prints(&world, &session, "s:fill"), "first");
    let second = ran(&world, &session, "s:more");
    assert_ne!(second["outcome"]["status"], "succeeded", "{second:#}");
    assert!(world.output(&second, "stderr").contains("No space left"));
}

#[test]
fn a_session_is_used_from_the_command_line() {
    let world = world_of(&[("set", "export A=1"), ("get", "printf 'A is %s' \"$A\"")]);
    let command = |words: &[&str]| {
        let mut command = world.program(words);
        let done = command
            .args(["--url", &world.wire.url])
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output();
        let done = done.expect("the program");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, id, hint) = command(&["session", "create", "s"]);
    assert_eq!(code, Some(0), "{hint}");
    assert!(
        hint.contains("countersign propose s:STEP --session ses_"),
        "{hint}"
    );
    let id = id.trim();
    let (code, proposal, _) = command(&["propose", "s:set", "--session", id]);
    assert_eq!(code, Some(0));
    let proposal = world.show(proposal.trim());
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "finished");
    let (_, shown, _) = command(&["session", "show"]);
    assert!(
        shown.contains("s:set") && shown.contains("variables"),
        "{shown}"
    );
    assert!(command(&["session", "list"]).1.contains(id));
    let (code, new, _) = command(&["session", "reset", id]);
    assert_eq!((code, new.trim() == id), (Some(0), false));
    assert_eq!(command(&["session", "end"]).0, Some(0));
    let (code, _, words) = command(&["session", "show"]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("countersign session create"), "{words}");
}

#[test]
fn the_id_of_a_session_carries_its_end_and_no_window_ends_later() {
    let world = world_with(&[("set", "export A=1")], |_| {});
    let session = created(&world);
    let shown = world
        .wire
        .get(&format!("/v1/sessions/{session}"), &world.agent)
        .ok(200);
    let made = people::unix_of(shown["created_at"].as_str().expect("a time"));
    assert_eq!(people::end_of(&session), made + 7 * 86_400);

    let ended = "ses_019aa0b0-5c00-7000-8000-000000000003";
    let mut wish = World::wish("s:set", json!({}));
    wish["session"] = json!(ended);
    let problem = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .problem("session-stale");
    assert!(
        problem["detail"]
            .to_string()
            .contains("the session ended at 2025-11-20T09:55:03Z"),
        "{problem:#}"
    );

    let mut predicate = world.authorization("s:set", json!({}));
    let state = format!("sha256:{}", "1".repeat(64));
    predicate["session"] = json!({"id": ended, "state": state});
    let payload = people::authorization(&predicate);
    let problem = world
        .unchanged(|| world.submit(&people::envelope(&payload, &[&people::alice()])))
        .problem("malformed");
    assert!(
        problem["errors"][0]["pointer"]
            .as_str()
            .is_some_and(|place| place.ends_with("/predicate/session/id")),
        "{problem:#}"
    );
}
