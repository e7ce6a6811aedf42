//! Files and outputs that runs leave, uploaded files that runs get, and plans that runs carry out.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::people::{self, alice, envelope, sha256};
use crate::support::uploads::{proposed, upload};
use crate::support::{POLICY, SMALL, World, exited, id_of, runbook, wait_for};

fn world_of(steps: &[(&str, &str)]) -> World {
    World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("s.md", runbook(SMALL, steps));
    })
}

fn ran(world: &World, step: &str) -> Value {
    let finished = world.run(step, json!({}), &[&alice()]);
    world.assert_verified(&finished);
    finished
}

fn files(world: &World, finished: &Value) -> Value {
    let id = finished["receipt"].as_str().expect("a receipt");
    world
        .wire
        .get(&format!("/v1/receipts/{id}/files"), &world.reader)
        .ok(200)
}

fn paths(files: &Value) -> Vec<&str> {
    files["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file["path"].as_str())
        .collect()
}

#[test]
fn files_of_a_run_come_back_with_a_manifest_in_the_receipt() {
    let mut world = world_of(&[(
        "make",
        "cd \"$COUNTERSIGN_OUTPUT\"; mkdir -p a/b; printf hi > a/b/note; head -c 100000 /dev/zero > big; : > empty\n\
         printf '#!/bin/sh\\n' > tool; chmod +x tool\n\
         test \"$COUNTERSIGN_OUTPUT\" = \"$RUNBOOKS_OUTPUT\" && test \"$COUNTERSIGN_OUTPUT\" = \"$GENERATED_FILES\"",
    )]);
    let finished = ran(&world, "s:make");
    assert_eq!(finished["outcome"]["status"], "succeeded");
    let found = files(&world, &finished);
    assert_eq!(paths(&found), ["a/b/note", "big", "empty", "tool"]);
    assert_eq!(
        found["files"][0]["sha256"],
        json!(format!("sha256:{}", sha256(b"hi")))
    );
    assert_eq!(found["files"][3]["executable"], json!(true));
    let receipt = world.receipt(&finished);
    assert_eq!(
        (&receipt["files"]["count"], &receipt["files"]["bytes"]),
        (&json!(4), &json!(100_012))
    );
    // The program writes the files into a new directory, and checks each of them.
    let id = finished["id"].as_str().expect("an id");
    let to = world.path("results");
    let mut output = world.program(&["output", id, "--url", &world.wire.url, "--files"]);
    exited(
        output
            .arg(&to)
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("the program"),
        0,
    );
    assert_eq!(fs::read(to.join("a/b/note")).expect("a file"), b"hi");
    assert_eq!(fs::read(to.join("big")).expect("a file").len(), 100_000);
    assert_eq!(fs::read(to.join("empty")).expect("a file"), b"");
    world.assert_audited();
    // The check of the store and a backup know the files.
    world.stop();
    let check = |words: &[&str]| {
        let mut command = world.program(words);
        command
            .arg("--config")
            .arg(world.path("b/countersign.toml"))
            .output()
            .expect("the program")
    };
    exited(check(&["store", "check"]), 0);
    let backup = world.path("backup");
    exited(
        check(&["store", "backup", backup.to_str().expect("a path")]),
        0,
    );
    for name in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        let _ = fs::remove_file(world.path("b/boundary").join(name));
    }
    exited(
        check(&[
            "store",
            "restore",
            backup.to_str().expect("a path"),
            "--keep-tokens",
            "all",
        ]),
        0,
    );
}

#[test]
fn files_of_a_failed_run_are_discarded_and_those_of_a_warning_are_kept() {
    let world = world_of(&[
        ("fail", "printf x > \"$COUNTERSIGN_OUTPUT/f\"; exit 1"),
        ("warn", "printf x > \"$COUNTERSIGN_OUTPUT/f\"; exit 2"),
    ]);
    assert_eq!(paths(&files(&world, &ran(&world, "s:fail"))), [""; 0]);
    let warned = ran(&world, "s:warn");
    assert_eq!(
        (paths(&files(&world, &warned)), &warned["outcome"]["status"]),
        (vec!["f"], &json!("warned"))
    );
}

#[test]
fn a_file_that_breaks_a_rule_means_that_no_file_is_kept_and_the_run_says_so() {
    let world = world_of(&[
        (
            "link",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; ln -s /etc/passwd bad",
        ),
        (
            "hard",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; ln good bad",
        ),
        (
            "pipe",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; mkfifo bad",
        ),
        (
            "name",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; printf x > $'b\\nd'",
        ),
        (
            "bytes",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; printf x > $'b\\xff'",
        ),
        (
            "reversed",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; printf x > $'a\\u202etxt.exe'",
        ),
        (
            "hidden",
            "cd \"$COUNTERSIGN_OUTPUT\"; mkdir $'a\\u200b'; printf x > $'a\\u200b/f'",
        ),
        (
            "line",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > $'a\\u2028b'",
        ),
        (
            "twin",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > $'\\u00e9'; printf x > $'e\\u0301'",
        ),
        (
            "many",
            "cd \"$COUNTERSIGN_OUTPUT\"; for i in $(seq 1100); do : > f$i; done",
        ),
        (
            "own",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > .outputs.json",
        ),
        (
            "tree",
            "cd \"$COUNTERSIGN_OUTPUT\"; mkdir .outputs.json; printf x > .outputs.json/a",
        ),
        (
            "empty",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > good; for i in $(seq 1100); do mkdir d$i; done",
        ),
        (
            "foreign",
            "cd \"$COUNTERSIGN_OUTPUT\"; printf x > $'e\\u0301'; printf x > $'\\u540d\\u3000\\u00fc'",
        ),
    ]);
    assert_eq!(
        paths(&files(&world, &ran(&world, "s:foreign"))),
        ["e\u{301}", "\u{540d}\u{3000}\u{fc}"]
    );
    let refused = [
        "link", "hard", "pipe", "name", "bytes", "reversed", "hidden", "line", "twin", "many",
        "own", "tree", "empty",
    ];
    for step in refused {
        let finished = ran(&world, &format!("s:{step}"));
        assert_eq!(finished["outcome"]["status"], "succeeded", "{step}");
        assert_eq!(paths(&files(&world, &finished)), [""; 0], "{step}");
        let said = world.output(&finished, "stderr");
        assert!(
            said.starts_with("countersign: the files of the run were not kept: "),
            "{step}: {said}"
        );
    }
    world.assert_audited();
}

#[test]
fn outputs_are_kept_under_the_schema_of_the_step_and_become_parameters() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        let script = "printf 'url=https://a/?b=c\\ncount=3\\nready=true\\n' >> \"$RUNBOOK_OUTPUT\"";
        let wrong = "printf 'url=x\\ncount=many\\nextra=1\\nready=yes\\n' >> \"$RUNBOOK_OUTPUT\"";
        let dash = "echo url=-rf >> \"$RUNBOOK_OUTPUT\"";
        let large = "printf 'url=%020000d\\n' 1 >> \"$RUNBOOK_OUTPUT\"";
        let outputs = "outputs=\"url, count:integer, ready:boolean\"";
        let scripts = [
            ("make", script),
            ("wrong", wrong),
            ("dash", dash),
            ("large", large),
        ];
        let blocks = scripts.map(|(id, script)| (format!("{id} {outputs}"), script));
        let blocks = blocks
            .each_ref()
            .map(|(tag, script)| (tag.as_str(), *script));
        setup.runbook("s.md", runbook(SMALL, &blocks));
        let front = "params: {url: {type: string, maxLength: 100}, count: {type: integer}}\n";
        setup.runbook(
            "t.md",
            runbook(
                front,
                &[("use", "printf '%s %s' \"$PARAM_URL\" \"$PARAM_COUNT\"")],
            ),
        );
    });
    let made = ran(&world, "s:make");
    let outputs = files(&world, &made)["outputs"].clone();
    assert_eq!(
        outputs,
        json!({"url": "https://a/?b=c", "count": 3, "ready": true})
    );
    let receipt = made["receipt"].as_str().expect("a receipt");
    let words = [
        "propose",
        "t:use",
        "--outputs-of",
        receipt,
        "--url",
        &world.wire.url,
    ];
    let done = exited(
        world
            .program(&words)
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .expect("the program"),
        0,
    );
    let proposal = world.show(String::from_utf8_lossy(&done.stdout).trim());
    world.sign(&proposal, &[&alice()]).ok(200);
    let used = world.until(id_of(&proposal), "finished");
    assert_eq!(world.output(&used, "stdout"), "https://a/?b=c 3");
    let wrong = ran(&world, "s:wrong");
    assert_eq!(files(&world, &wrong)["outputs"], json!({"url": "x"}));
    let said = world.output(&wrong, "stderr");
    for words in [
        "\"count\" was not kept",
        "\"extra\" was not kept",
        "no valid value for the outputs count, ready",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for (step, words) in [
        ("s:dash", "\"url\" was not kept: "),
        ("s:large", "at most 16384 are allowed"),
    ] {
        let run = ran(&world, step);
        assert!(
            world.output(&run, "stderr").contains(words),
            "{step}: {}",
            world.output(&run, "stderr")
        );
        assert_eq!(files(&world, &run)["outputs"], json!({}), "{step}");
    }
    world.assert_audited();
}

#[test]
fn an_uploaded_file_is_given_to_the_run_that_its_proposal_names() {
    let world = world_of(&[(
        "use",
        "cat \"$COUNTERSIGN_ARTIFACTS/note\"; printf x >> \"$COUNTERSIGN_ARTIFACTS/note\" || printf kept",
    )]);
    let (digest, reply) = upload(&world, &world.agent, b"hello");
    assert_eq!(reply.ok(200), json!({"digest": digest, "bytes": 5}));
    let proposal = proposed(
        &world,
        "s:use",
        json!({"artifacts": [{"name": "note", "digest": digest}]}),
    )
    .ok(201);
    world.sign(&proposal, &[&alice()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    world.assert_verified(&finished);
    assert_eq!(world.output(&finished, "stdout"), "hellokept");
    let input = |name: &str, token: &str| {
        world.wire.get(
            &format!("/v1/proposals/{}/inputs/{name}", id_of(&proposal)),
            token,
        )
    };
    let read = input("note", &world.reader);
    assert_eq!((read.status, read.body), (200, b"hello".to_vec()));
    input("other", &world.reader).problem("not-found");
    let stranger = world.token("stranger", &["dora"], &["propose"]);
    input("note", &stranger).problem("not-found");
    world.assert_audited();
}

#[test]
fn an_upload_with_another_digest_and_a_file_of_another_proposer_are_refused() {
    let world = world_of(&[("use", "cat \"$COUNTERSIGN_ARTIFACTS/note\"")]);
    let other = world.token("other", &["dora"], &["propose"]);
    let bearer = format!("Bearer {}", world.agent);
    let headers = [
        ("content-type", "application/octet-stream"),
        ("authorization", bearer.as_str()),
    ];
    let wrong = format!("/v1/artifacts/sha256:{}", sha256(b"other"));
    world
        .wire
        .call("PUT", &wrong, &headers, Some(b"hello"))
        .problem("malformed");
    world
        .wire
        .call(
            "PUT",
            "/v1/artifacts/sha256:..%2f..%2fx",
            &headers,
            Some(b"hello"),
        )
        .problem("malformed");
    world
        .wire
        .call(
            "PUT",
            "/v1/artifacts/sha256:../../x",
            &headers,
            Some(b"hello"),
        )
        .problem("not-found");
    world
        .wire
        .call("PUT", &wrong, &[], Some(b"other"))
        .problem("unauthenticated");
    let (digest, _) = upload(&world, &other, b"theirs");
    let artifacts = json!({"artifacts": [{"name": "note", "digest": digest}]});
    proposed(&world, "s:use", artifacts.clone()).problem("not-found");
    for name in ["../x", "", "plan", "a/b"] {
        let reply = proposed(
            &world,
            "s:use",
            json!({"artifacts": [{"name": name, "digest": digest}]}),
        );
        assert!(
            (400..500).contains(&reply.status),
            "{name}: {}",
            reply.text()
        );
    }
    // At most four uploads of one proposer are in progress at the same time, and the limits hold for all together.
    let uploads: Vec<_> = (0..12_u8)
        .map(|number| {
            let (url, token) = (world.wire.url.clone(), world.agent.clone());
            std::thread::spawn(move || {
                let bytes = vec![number; 30 << 20];
                let wire = crate::support::wire::Wire::new(&url);
                let bearer = format!("Bearer {token}");
                let path = format!("/v1/artifacts/sha256:{}", sha256(&bytes));
                wire.try_call("PUT", &path, &[("authorization", &bearer)], Some(&bytes))
                    .map_or(0, |reply| reply.status)
            })
        })
        .collect();
    let statuses: Vec<u16> = uploads
        .into_iter()
        .map(|upload| upload.join().expect("a status"))
        .collect();
    let stored = statuses.iter().filter(|status| **status == 200).count();
    assert!(stored <= 8, "{statuses:?}");
    for number in 0..12_u8 {
        let _ = fs::remove_file(
            world
                .path("b/boundary/artifacts/agent")
                .join(sha256(&vec![number; 30 << 20])),
        );
    }
}

#[test]
fn an_uploaded_file_that_changed_on_the_disk_neither_spends_the_nonce_nor_stops_the_service() {
    let world = world_of(&[("use", "cat \"$COUNTERSIGN_ARTIFACTS/note\"")]);
    let (digest, _) = upload(&world, &world.agent, b"mine");
    let propose = || {
        proposed(
            &world,
            "s:use",
            json!({"artifacts": [{"name": "note", "digest": digest}]}),
        )
    };
    let proposal = propose().ok(201);
    let signed = envelope(&crate::support::bytes_of(&proposal), &[&alice()]);
    let stored = world
        .path("b/boundary/artifacts")
        .join("agent")
        .join(sha256(b"mine"));
    let changes: [(&str, &dyn Fn()); 5] = [
        ("removed", &|| ()),
        ("other bytes", &|| {
            fs::write(&stored, b"evil").expect("written")
        }),
        ("longer", &|| {
            fs::write(&stored, b"mine and more").expect("written")
        }),
        ("a link", &|| {
            std::os::unix::fs::symlink("/etc/passwd", &stored).expect("a link")
        }),
        ("a pipe", &|| {
            assert!(
                world
                    .command("mkfifo")
                    .arg(&stored)
                    .status()
                    .expect("mkfifo")
                    .success()
            )
        }),
    ];
    for (what, change) in changes {
        fs::remove_file(&stored).expect("removed");
        change();
        // More requests than the service has threads.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    world
                        .submit(&signed)
                        .refuses("sandbox-unavailable", "upload the file again");
                });
            }
        });
        assert_eq!(world.wire.peek("/health").status, 200, "{what}");
        let input = world.wire.get(
            &format!("/v1/proposals/{}/inputs/note", id_of(&proposal)),
            &world.reader,
        );
        input.problem("sandbox-unavailable");
        if what != "other bytes" && what != "longer" {
            propose().problem("not-found");
        }
        upload(&world, &world.agent, b"mine").1.ok(200);
    }
    assert_eq!(world.count("consumption"), 0);
    // An approved run waits until the file is uploaded again.
    fs::remove_file(&stored).expect("removed");
    world.sign(&proposal, &[&alice()]).ok(200);
    assert_eq!(
        world.until(id_of(&proposal), "approved")["status"],
        "approved"
    );
    upload(&world, &world.agent, b"mine").1.ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(world.output(&finished, "stdout"), "mine");
    world.assert_audited();
}

#[test]
fn uploads_that_a_crash_interrupted_do_not_count_as_uploads_in_progress() {
    let mut world = world_of(&[("use", ":")]);
    let incomplete = |world: &World| {
        let files = fs::read_dir(world.path("b/boundary/artifacts/agent"))
            .into_iter()
            .flatten();
        files
            .filter(|file| {
                file.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".upload-")
            })
            .count()
    };
    let begin = |world: &World| -> Vec<TcpStream> {
        let begun = (0..4).map(|number| {
            let mut stream = TcpStream::connect(world.wire.address()).expect("connected");
            let head = format!(
                "PUT /v1/artifacts/sha256:{} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
                 content-length: 1000\r\n\r\nbegin",
                sha256(&[number]),
                world.wire.address(),
                world.agent
            );
            stream.write_all(head.as_bytes()).expect("sent");
            stream
        });
        let begun = begun.collect();
        wait_for("four uploads are in progress", || incomplete(world) == 4);
        begun
    };
    let uploads = begin(&world);
    upload(&world, &world.agent, b"small")
        .1
        .refuses("rate-limited", "has 4 uploads in progress");
    upload(&world, &world.courier, b"small").1.ok(200);
    drop(uploads);
    wait_for("an upload ends with its connection", || {
        upload(&world, &world.agent, b"small").1.status == 200
    });
    let uploads = begin(&world);
    world.kill9();
    drop(uploads);
    assert_eq!(incomplete(&world), 4);
    world.start();
    upload(&world, &world.agent, b"another").1.ok(200);
    assert_eq!(incomplete(&world), 0, "a start deletes the files");
    upload(&world, &world.agent, b"small").1.ok(200);
}

const PLAN: &str = "---\ncountersign: 1\napprovals: {required: 1, from: [ops]}\nparams: {size: {type: integer, default: 1}}\n---\n\
                    ```bash {#plan}\nprintf 'grow to %s' \"$PARAM_SIZE\"\n```\n\
                    ```bash {#apply plan=plan plan-max-age=1h}\ncat \"$COUNTERSIGN_ARTIFACTS/plan\"\n```\n\
                    ```bash {#quick plan=plan plan-max-age=1s}\ntrue\n```\n\
                    ```bash {#bad}\nexit 1\n```\n";

fn world_of_plans() -> World {
    World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("p.md", PLAN);
    })
}

#[test]
fn the_approved_plan_is_the_plan_that_is_carried_out() {
    let world = world_of_plans();
    let planned = world.run("p:plan", json!({"size": 3}), &[&alice()]);
    let receipt = planned["receipt"].clone();
    let mut wish = World::wish("p:apply", json!({"size": 3}));
    wish["plan"] = receipt.clone();
    let proposal = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    world.sign(&proposal, &[&alice()]).ok(200);
    let applied = world.until(id_of(&proposal), "finished");
    assert_eq!(world.output(&applied, "stdout"), "grow to 3");
    world.assert_verified(&applied);
    let bundle: Value = serde_json::from_slice(&world.bundle(&applied)).expect("JSON");
    assert_eq!(bundle["plan"]["step"]["ref"], "p:plan");
    world.assert_audited();
    // The plan is found although many runs of its step with its parameters followed.
    world.add_later_rows("p:plan", 300);
    assert_eq!(
        serde_json::from_slice::<Value>(&world.bundle(&applied)).expect("JSON")["plan"],
        bundle["plan"]
    );
    // Without the plan, a verifier refuses the bundle.
    let mut without = bundle.clone();
    without.as_object_mut().expect("an object").remove("plan");
    let (code, report) = world.verify(without.to_string().as_bytes());
    assert_eq!(code, 1, "{report:#}");
}

#[test]
fn another_step_other_parameters_and_an_old_plan_are_refused() {
    let world = world_of_plans();
    let planned = world.run("p:plan", json!({"size": 3}), &[&alice()]);
    let failed = world.run("p:bad", json!({"size": 3}), &[&alice()]);
    let post = |step: &str, size: i64, plan: Option<&Value>| {
        let mut wish = World::wish(step, json!({"size": size}));
        if let Some(plan) = plan {
            wish["plan"] = plan["receipt"].clone();
        }
        world.wire.post("/v1/proposals", &world.agent, &wish)
    };
    post("p:apply", 3, None).refuses("malformed", "run p:plan with the same parameters");
    post("p:plan", 3, Some(&planned)).problem("malformed");
    post("p:apply", 4, Some(&planned)).problem("context-changed");
    post("p:apply", 3, Some(&failed)).problem("context-changed");
    // The plan becomes too old between the proposal and the signature.
    let planned = world.run("p:plan", json!({"size": 5}), &[&alice()]);
    let quick = post("p:quick", 5, Some(&planned)).ok(201);
    std::thread::sleep(std::time::Duration::from_millis(2600));
    world.sign(&quick, &[&alice()]).ok(200);
    world.until(id_of(&quick), "expired");
    post("p:quick", 5, Some(&planned)).problem("expired");
}

#[test]
fn a_statement_with_an_uploaded_file_or_a_plan_is_used_only_by_its_proposer_and_tokens_of_the_same_owner()
 {
    let world = World::with(|setup| {
        setup.runbook("p.md", PLAN);
        setup.runbook(
            "s.md",
            runbook(SMALL, &[("use", "cat \"$COUNTERSIGN_ARTIFACTS/note\"")]),
        );
    });
    let (free, also) = (
        world.token("free", &[], &["propose"]),
        world.token("also", &["carol"], &["propose"]),
    );
    let sees_all = world.token("sees-all", &[], &["propose", "read"]);
    let (digest, _) = upload(&world, &world.agent, b"ours");
    let planned = world.run("p:plan", json!({"size": 3}), &[&alice()]);
    let receipt = world
        .wire
        .get(
            &format!("/v1/receipts/{}", planned["receipt"].as_str().unwrap()),
            &world.reader,
        )
        .ok(200);
    let plan = json!({
        "receipt": format!("sha256:{}", sha256(&people::payload_of(&receipt["envelope"]))),
        "output": world.receipt(&planned)["output"]["stdout"]["sha256"],
    });
    let statement = |proposer: &str, step: &str| {
        let params = if step == "p:apply" {
            json!({"size": 3})
        } else {
            json!({})
        };
        let mut predicate = world.authorization(step, params);
        predicate["proposer"] = json!(proposer);
        match step {
            "p:apply" => predicate["plan"] = plan.clone(),
            _ => predicate["artifacts"] = json!([{"name": "note", "digest": digest, "bytes": 4}]),
        }
        envelope(&people::authorization(&predicate), &[&alice()])
    };
    for step in ["s:use", "p:apply"] {
        let signed = statement("agent", step);
        for token in [&free, &world.courier, &sees_all] {
            world
                .unchanged(|| world.submit_as(token, &signed))
                .refuses("forbidden", "of agent, which ");
        }
        world.submit_as(&also, &signed).ok(200);
    }
    world
        .unchanged(|| world.submit_as(&free, &statement("free", "s:use")))
        .problem("sandbox-unavailable");
    // The route for proposals gives the plan of another token only to callers who may read it.
    world
        .unchanged(|| world.submit_as(&free, &statement("free", "p:apply")))
        .problem("context-changed");
    world
        .submit_as(&sees_all, &statement("sees-all", "p:apply"))
        .ok(200);
    let mut wish = World::wish("p:apply", json!({"size": 3}));
    wish["plan"] = planned["receipt"].clone();
    let proposal = world.wire.post("/v1/proposals", &sees_all, &wish).ok(201);
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "finished");
    world.assert_audited();
}

#[test]
fn a_plan_that_does_not_fit_is_an_error_of_the_runbook() {
    for (page, words) in [
        (
            "```bash {#a plan=none}\ntrue\n```\n",
            "the plan s:none is no registered step",
        ),
        (
            "```bash {#a plan=a}\ntrue\n```\n",
            "a step can't be its own plan",
        ),
        (
            "```bash {#a plan-max-age=1h}\ntrue\n```\n",
            "no effect without `plan`",
        ),
        (
            "```bash {#a plan=b params=\"\"}\ntrue\n```\n```bash {#b params=x}\ntrue\n```\n",
            "takes other parameters",
        ),
    ] {
        let mut world = World::prepared(|setup| {
            setup.policy = POLICY.to_owned();
            setup.runbook(
                "s.md",
                format!("---\ncountersign: 1\nparams: {{x: {{type: integer}}}}\n---\n{page}"),
            );
        });
        let error = world.try_start().expect_err("an error");
        assert!(error.contains(words), "{words}: {error}");
    }
}
