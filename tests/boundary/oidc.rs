//! CI jobs without a stored secret: tokens that ID tokens open, and what approvers see of the job.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::certified::able;
use crate::issuer::{Issuer, Mood, SigningKey};
use crate::support::people::{alice, authorization, envelope, now, stamp};
use crate::support::{SMALL, World, exited, id_of, runbook, said, said_at_exit, wait_for};

pub(crate) const COMMIT: &str = "89abcdef89abcdef89abcdef89abcdef89abcdef";
pub(crate) const OTHER: &str = "0000000000000000000000000000000000000000";

/// A boundary with the step `deploy:web`, and an issuer. Returns `None` after a report if this host can't make certificates.
pub(crate) fn world() -> Option<(World, Issuer)> {
    world_with(|_| {})
}

pub(crate) fn world_with(
    change: impl FnOnce(&mut crate::support::Setup),
) -> Option<(World, Issuer)> {
    able("ID tokens of CI jobs")?;
    let issuer = Issuer::new();
    let world = World::with(|setup| {
        deploys(setup);
        change(setup);
    });
    Some((world, issuer))
}

/// Adds the step `deploy:web`, whose parameter is a commit. The boundary refuses no call because of the rate.
pub(crate) fn deploys(setup: &mut crate::support::Setup) {
    setup.limits = "calls_per_second = 1000000".to_owned();
    let params = "params:\n  commit: {type: string, pattern: \"^[0-9a-f]{40}$\"}\n";
    setup.runbook(
        "deploy.md",
        runbook(
            &format!("{params}{SMALL}"),
            &[("web", "printf '%s\\n' \"$PARAM_COMMIT\"")],
        ),
    );
}

/// Runs `token create NAME --oidc` with these further options.
pub(crate) fn create(world: &World, issuer: &Issuer, name: &str, more: &[&str]) -> Output {
    world.write("issuer.pem", &issuer.authority());
    let mut command =
        world.boundary_command(&["token", "create", name, "--oidc", &issuer.url, "--config"]);
    command
        .arg(world.path("b"))
        .args(["--owner", "carol", "--step", "deploy:*"])
        .args(more);
    if !more.contains(&"--jwks") {
        command.arg("--ca").arg(world.path("issuer.pem"));
    }
    command.output().expect("token create")
}

/// The claims of the jobs on the main branch of acme/shop.
pub(crate) const MAIN: [&str; 6] = [
    "--claim",
    "repository_id=1234",
    "--claim",
    "repository_owner_id=56",
    "--claim",
    "ref=refs/heads/main",
];

/// Makes the token `ci` for these jobs, whose parameter `commit` is the claim `sha`. Returns the audience.
pub(crate) fn ci(world: &World, issuer: &Issuer) -> String {
    let made = exited(
        create(
            world,
            issuer,
            "ci",
            &[&MAIN[..], &["--bind", "commit=sha"]].concat(),
        ),
        0,
    );
    String::from_utf8(made.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

/// Returns the id of the boundary in an audience.
fn boundary_id(audience: &str) -> &str {
    audience.strip_prefix("countersign:").expect("an audience")
}

/// Exchanges an ID token for a bearer.
pub(crate) fn admit(world: &World, id_token: &str) -> crate::support::wire::Reply {
    world
        .wire
        .post("/v1/admissions", "", &json!({"id_token": id_token}))
}

pub(crate) fn bearer(world: &World, id_token: &str) -> String {
    admit(world, id_token).ok(200)["bearer"]
        .as_str()
        .expect("a bearer")
        .to_owned()
}

fn propose(world: &World, bearer: &str, commit: &str) -> crate::support::wire::Reply {
    let mut wish = World::wish("deploy:web", json!({"commit": commit}));
    wish["new"] = false.into();
    world.wire.post("/v1/proposals", bearer, &wish)
}

#[test]
fn a_job_deploys_without_a_stored_secret_and_approvers_see_the_commit_that_the_issuer_stated() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    assert_eq!(
        audience,
        format!(
            "countersign:{}",
            world.boundary()["id"].as_str().expect("an id")
        )
    );
    let listed = world
        .boundary_command(&["token", "list", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("list");
    let line = format!(
        "ci has no secret: jobs of {} with ref=refs/heads/main, repository_id=1234, repository_owner_id=56 open it; the \
         parameter commit is the claim sha",
        issuer.url
    );
    assert!(said(&listed).contains(&line), "{}", said(&listed));
    // A job of GitHub asks for an ID token for this boundary, and proposes. The file of another token has no effect.
    world.write("home/.config/countersign/token", &world.reader);
    let job = |words: &[&str], change: &Value| {
        let mut command = world.program(&["--url", &world.wire.url]);
        command.env("COUNTERSIGN_BOUNDARY", boundary_id(&audience));
        command
            .args(words)
            .envs(issuer.job(change))
            .output()
            .expect("countersign")
    };
    let wish = [
        "propose",
        "deploy:web",
        "-p",
        &format!("commit={COMMIT}"),
        "--oidc",
    ];
    let proposed = exited(job(&wish, &json!({})), 0);
    let id = String::from_utf8(proposed.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned();
    let view = world.show(&id);
    assert_eq!(
        (&view["proposer"], &view["params"]["commit"]),
        (&json!("ci"), &json!(COMMIT))
    );
    let page = "https://github.example/acme/shop/actions/runs/42";
    assert_eq!(
        view["admitted"],
        json!({"issuer": issuer.url, "job": page, "bind": {"commit": "sha"}, "claims": {
            "ref": "refs/heads/main", "repository_id": "1234", "repository_owner_id": "56", "sha": COMMIT,
        }})
    );
    // The approver sees it as the boundary's word, and the signed bytes have nothing of it.
    let shown = world.as_alice(&["review", &id]).output().expect("review");
    let words = said(&shown)
        .split_whitespace()
        .filter(|word| *word != "+")
        .collect::<Vec<_>>()
        .join(" ");
    for part in [
        &*format!(
            "job the boundary says: admitted by OIDC of {} as ref=refs/heads/main",
            issuer.url
        ),
        &*format!("sha={COMMIT}, job {page}"),
        "commit is its claim sha",
    ] {
        assert!(words.contains(part), "{part}: {}", said(&shown));
    }
    let inbox = said(&world.as_alice(&["inbox"]).output().expect("inbox"));
    assert!(
        inbox.contains("  JOB  ") && inbox.contains("  ci  acme/shop/acti"),
        "{inbox}"
    );
    assert!(
        !String::from_utf8(crate::support::bytes_of(&view))
            .expect("UTF-8")
            .contains(page)
    );
    world.sign(&view, &[&alice()]).ok(200);
    let finished = world.until(&id, "finished");
    assert_eq!(world.output(&finished, "stdout"), format!("{COMMIT}\n"));
    world.assert_verified(&finished);
    exited(job(&["wait", &id, "--oidc"], &json!({})), 0);
    // The job gets its bearer before the upload, because the service can end the connection of an upload without one.
    std::fs::write(world.path("large"), vec![7; 8 << 20]).expect("written");
    world.write("params.json", &json!({"commit": COMMIT}).to_string());
    let (artifact, params) = (
        format!("large={}", world.path("large").display()),
        world.path("params.json"),
    );
    let params = params.to_str().expect("UTF-8");
    exited(
        job(
            &[
                "propose",
                "deploy:web",
                "--params",
                params,
                "--oidc",
                "--artifact",
                &artifact,
            ],
            &json!({}),
        ),
        0,
    );
    let log = world.service_log();
    let uploads: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("method=PUT"))
        .collect();
    assert!(
        uploads.len() == 1 && uploads[0].contains("status=200"),
        "{uploads:?}"
    );
    // Another commit than that of the job is refused, and so is the job of another branch.
    said_at_exit(
        job(
            &[
                "propose",
                "deploy:web",
                "-p",
                &format!("commit={OTHER}"),
                "--oidc",
            ],
            &json!({}),
        ),
        2,
        "`sha`",
    );
    said_at_exit(job(&wish, &json!({"ref": "refs/heads/evil"})), 126, "`ref`");
    world.assert_audited();
}

#[test]
fn a_job_gets_an_id_token_only_for_the_boundary_that_it_names() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let job = |words: &[&str]| {
        let mut command = world.program(&[
            "--url",
            &world.wire.url,
            "propose",
            "deploy:web",
            "--oidc",
            "--params",
        ]);
        command
            .arg(world.path("params.json"))
            .args(words)
            .envs(issuer.job(&json!({})))
            .output()
            .expect("propose")
    };
    world.write("params.json", &json!({"commit": COMMIT}).to_string());
    said_at_exit(job(&[]), 2, "--boundary-id");
    exited(job(&["--boundary-id", "prod"]), 2);
    // The server at the address is another boundary than the job means, so its ID token is useless there.
    let other = job(&["--boundary-id", &format!("sha256:{}", "0".repeat(64))]);
    let words = said(&other);
    assert!(
        other.status.code() == Some(126) && words.contains("`aud`"),
        "{words}"
    );
    assert!(
        words.contains("ID token of this job") && !words.contains("--token-file"),
        "{words}"
    );
    exited(job(&["--boundary-id", boundary_id(&audience)]), 0);
    // The list of boundaries names the boundary, too.
    let home = world.path("home/.config/countersign");
    let list = |id: &str| {
        world.write(
            "home/.config/countersign/boundaries.toml",
            &format!(
                "[[boundary]]\nname = \"prod\"\nurl = {:?}\nid = {id:?}\n",
                world.wire.url
            ),
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(home.join("boundaries.toml"), mode).expect("mode");
    };
    let listed = |words: &[&str]| {
        let mut command = world.program(&[
            "propose",
            "deploy:web",
            "--oidc",
            "--boundary",
            "prod",
            "--params",
        ]);
        command
            .arg(world.path("params.json"))
            .args(words)
            .envs(issuer.job(&json!({})))
            .output()
            .expect("propose")
    };
    list(boundary_id(&audience));
    exited(listed(&[]), 0);
    said_at_exit(
        listed(&["--boundary-id", &format!("sha256:{}", "0".repeat(64))]),
        2,
        "your list",
    );
    list(&format!("sha256:{}", "0".repeat(64)));
    let wrong = listed(&[]);
    assert!(
        !wrong.status.success() && said(&wrong).contains("`aud`"),
        "{}",
        said(&wrong)
    );
}

#[test]
fn a_job_waits_while_the_issuer_does_not_answer() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    issuer.set_mood(Mood::Broken);
    let mut command = world.program(&["--url", &world.wire.url, "propose", "deploy:web", "--oidc"]);
    command.args([
        "--boundary-id",
        boundary_id(&audience),
        "-p",
        &format!("commit={COMMIT}"),
    ]);
    command
        .envs(issuer.job(&json!({})))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let job = command.spawn().expect("countersign");
    wait_for("the boundary has asked the issuer", || issuer.asked() > 0);
    issuer.set_mood(Mood::Good);
    said_at_exit(
        job.wait_with_output().expect("the end"),
        0,
        "trying again in 10 s",
    );
}

#[test]
fn a_job_waits_after_too_many_calls_of_its_address() {
    let Some((world, issuer)) =
        world_with(|setup| setup.limits = "calls_per_second = 10".to_owned())
    else {
        return;
    };
    let audience = ci(&world, &issuer);
    let mut command = world.program(&["--url", &world.wire.url, "propose", "deploy:web", "--oidc"]);
    command.args([
        "--boundary-id",
        boundary_id(&audience),
        "-p",
        &format!("commit={COMMIT}"),
    ]);
    command
        .envs(issuer.job(&json!({})))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    while world.wire.peek("/version").status != 429 {}
    let job = command.spawn().expect("countersign");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(4);
    while std::time::Instant::now() < until {
        world.wire.peek("/version");
    }
    said_at_exit(
        job.wait_with_output().expect("the end"),
        0,
        "trying again in",
    );
}

#[test]
fn wrong_id_tokens_of_one_caller_do_not_stop_the_jobs_of_others() {
    // A token may call 200 times at once, an address 20 times, and the jobs of an issuer 40 times.
    let Some((world, issuer)) =
        world_with(|setup| setup.limits = "calls_per_second = 50".to_owned())
    else {
        return;
    };
    let audience = ci(&world, &issuer);
    let ask = |caller: &str, id_token: &str| {
        world
            .wire
            .post("/v1/admissions", caller, &json!({"id_token": id_token}))
    };
    let good = || ask(&world.courier, &issuer.id_token(&audience, &json!({}))).ok(200);
    good();
    let token = issuer.id_token(&audience, &json!({}));
    let forged = format!("{}{}", &token[..token.len() - 8], "AAAAAAAA");
    let foreign = issuer.id_token(&audience, &json!({"repository_id": "9"}));
    for (caller, most) in [(&*world.agent, 20), ("", 3)] {
        let mut verified = 0;
        for at in 0..60 {
            let reply = ask(caller, if at % 2 == 0 { &forged } else { &foreign });
            if reply.status == 429 {
                let refused = reply.problem("rate-limited");
                assert!(
                    !refused["detail"]
                        .as_str()
                        .expect("words")
                        .contains("issuer"),
                    "{refused}"
                );
            } else {
                assert!([401, 422].contains(&reply.status), "{}", reply.text());
                verified += 1;
            }
            if at % 10 == 0 {
                good();
            }
        }
        assert!(
            (1..=most).contains(&verified),
            "{verified} signatures for {caller:?}"
        );
    }
    good();
}

#[test]
fn a_job_of_gitlab_proposes_with_the_id_token_in_its_environment() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let claims = [
        "--claim",
        "project_id=7",
        "--claim",
        "ref_protected=true",
        "--bind",
        "commit=sha",
    ];
    let made = create(&world, &issuer, "lab", &claims);
    let audience = String::from_utf8(made.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned();
    let change = json!({"project_id": "7", "project_path": "acme/shop", "ref_protected": "true", "job_id": "99",
        "repository": null, "event_name": null});
    let propose = |id_token: &str| {
        let words = [
            "--url",
            &world.wire.url,
            "propose",
            "deploy:web",
            "-p",
            &format!("commit={COMMIT}"),
            "--oidc",
        ];
        let mut command = world.program(&words);
        command
            .env("COUNTERSIGN_ID_TOKEN", id_token)
            .output()
            .expect("countersign")
    };
    let id_token = issuer.id_token(&audience, &change);
    let proposed = exited(propose(&id_token), 0);
    let view = world.show(String::from_utf8(proposed.stdout).expect("UTF-8").trim());
    assert_eq!(
        view["admitted"]["job"],
        format!("{}/acme/shop/-/jobs/99", issuer.url)
    );
    said_at_exit(propose(&id_token), 126, "`jti`");
    let unprotected = propose(&issuer.id_token(
        &audience,
        &json!({"project_id": "7", "ref_protected": "false"}),
    ));
    assert!(
        said(&unprotected).contains("`ref_protected`"),
        "{}",
        said(&unprotected)
    );
    let nowhere = world
        .program(&["--url", &world.wire.url, "propose", "deploy:web", "--oidc"])
        .output()
        .expect("propose");
    assert!(
        nowhere.status.code() == Some(2) && said(&nowhere).contains("id_tokens"),
        "{}",
        said(&nowhere)
    );
}

#[test]
fn a_bearer_of_a_job_has_the_rights_of_its_token_and_ends_with_it() {
    let Some((mut world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let id_token = issuer.id_token(&audience, &json!({}));
    let admitted = admit(&world, &id_token).ok(200);
    let bearer = admitted["bearer"].as_str().expect("a bearer");
    assert_eq!(admitted["name"], "ci");
    let proposal = propose(&world, bearer, COMMIT).ok(201);
    assert_eq!(
        world
            .wire
            .get(&format!("/v1/proposals/{}", id_of(&proposal)), bearer)
            .ok(200)["id"],
        proposal["id"]
    );
    world
        .wire
        .post("/v1/proposals", bearer, &World::wish("say:echo", json!({})))
        .problem("forbidden");
    world.wire.get("/v1/proposals?proposer=agent", bearer);
    world
        .sign(&proposal, &[&crate::support::people::carol()])
        .problem("self-approval");
    // The token has no secret: neither the name nor the stored bytes open it.
    world
        .wire
        .get("/v1/registry", "ci")
        .problem("unauthenticated");
    // A used ID token stays used after a crash, and a bearer of the memory is gone.
    world.kill9();
    world.start();
    admit(&world, &id_token).refuses("unauthenticated", "`jti`");
    propose(&world, bearer, COMMIT).problem("unauthenticated");
    let bearer = self::bearer(&world, &issuer.id_token(&audience, &json!({})));
    assert_eq!(
        propose(&world, &bearer, COMMIT).ok(200)["id"],
        proposal["id"],
        "the same proposal of the same token"
    );
    world
        .control(&json!({"do": "token-revoke", "name": "ci"}))
        .expect("revoked");
    propose(&world, &bearer, COMMIT).refuses("unauthenticated", "revoked");
    admit(&world, &issuer.id_token(&audience, &json!({}))).refuses("unauthenticated", "`iss`");
    // The binding of a revoked token is not compared any more, so a new token may have the same claims.
    exited(create(&world, &issuer, "next", &MAIN), 0);
    admit(&world, &issuer.id_token(&audience, &json!({}))).ok(200);
}

#[test]
fn a_bearer_of_a_job_ends_at_the_end_of_its_token() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let ends = stamp(now() + 4);
    let token = json!({"name": "short", "owners": [], "scopes": ["read"], "patterns": [], "expires_at": ends});
    let oidc = json!({"issuer": issuer.url, "claims": {"sub": "short"}, "ca": issuer.authority()});
    let audience = world.create_token_of_jobs(&token, &oidc).expect("a token");
    let id_token = issuer.id_token(&audience, &json!({"sub": "short"}));
    let admitted = admit(&world, &id_token).ok(200);
    assert_eq!(admitted["expires_at"], json!(ends));
    let bearer = admitted["bearer"].as_str().expect("a bearer");
    world.wire.get("/v1/registry", bearer).ok(200);
    wait_for("the token has expired", || {
        world.wire.get("/v1/registry", bearer).status == 401
    });
}

#[test]
fn a_job_of_github_that_waits_gets_a_new_id_token_when_its_bearer_has_ended() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let bundle = world.path("run.bundle.json");
    let words = [
        "--url",
        &world.wire.url,
        "propose",
        "deploy:web",
        "--oidc",
        "--wait",
        "-p",
        &format!("commit={COMMIT}"),
    ];
    let mut command = world.program(&words);
    command.args(["--boundary-id", boundary_id(&audience)]);
    command
        .arg("--bundle")
        .arg(&bundle)
        .envs(issuer.job(&json!({})))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let job = command.spawn().expect("countersign");
    wait_for("the job has proposed", || world.list("pending").len() == 1);
    // The oldest bearer of a token ends when the token has 100 others.
    for _ in 0..100 {
        bearer(&world, &issuer.id_token(&audience, &json!({})));
    }
    let proposal = world.show(id_of(&world.list("pending")[0]));
    world.sign(&proposal, &[&alice()]).ok(200);
    exited(job.wait_with_output().expect("the end"), 0);
    let (code, report) = world.verify(&std::fs::read(&bundle).expect("the bundle"));
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn only_a_job_proposes_in_the_name_of_its_token_also_in_a_whole_envelope() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let bearer = bearer(&world, &issuer.id_token(&audience, &json!({})));
    let whole = |proposer: &str, commit: &str| {
        let mut predicate = world.authorization("deploy:web", json!({"commit": commit}));
        predicate["proposer"] = json!(proposer);
        envelope(&authorization(&predicate), &[&alice()])
    };
    world.unchanged(|| {
        world
            .submit(&whole("ci", COMMIT))
            .refuses("forbidden", "only its jobs");
        world
            .submit_as(&bearer, &whole("ci", OTHER))
            .problem("invalid-params");
        world
            .submit_as(&bearer, &whole("agent", OTHER))
            .problem("invalid-params");
    });
    world.submit_as(&bearer, &whole("ci", COMMIT)).ok(200);
    // What the job proposed can be signed elsewhere and handed in by others.
    let proposal = propose(&world, &bearer, COMMIT).ok(201);
    let signed = envelope(&crate::support::bytes_of(&proposal), &[&alice()]);
    world.submit_as(&world.courier, &signed).ok(200);
    for bad in [json!({}), json!({"commit": OTHER})] {
        world
            .wire
            .post("/v1/proposals", &bearer, &World::wish("deploy:web", bad))
            .problem("invalid-params");
    }
}

#[test]
fn the_keys_of_an_issuer_rotate_and_an_issuer_that_does_not_answer_is_named() {
    let Some((mut world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let token = |key: &SigningKey, kid: &str| key.sign(kid, &issuer.claims(&audience, &json!({})));
    for (mood, why) in [
        (Mood::Broken, "503"),
        (Mood::Redirects, "redirect (302)"),
        (Mood::Endless, "more than 1048576 bytes"),
        (Mood::Hangs, "imeout"),
    ] {
        issuer.set_mood(mood);
        let refused = admit(&world, &token(issuer.key(), "rsa")).problem("busy");
        assert!(
            refused["detail"].as_str().expect("words").contains(why),
            "{mood:?}: {refused}"
        );
        // A restart forgets that the issuer was asked a moment ago.
        world.restart();
    }
    issuer.set_mood(Mood::Good);
    let first = token(issuer.key(), "rsa");
    bearer(&world, &first);
    let asked = issuer.asked();
    bearer(&world, &token(issuer.key(), "rsa"));
    assert_eq!(issuer.asked(), asked, "the keys are in memory");
    // A new key is asked for at once. After two requests for unknown keys, a job must come again.
    let second = SigningKey::p256();
    issuer.publish(&[second.jwk("ec")]);
    bearer(&world, &token(&second, "ec"));
    assert_eq!(issuer.asked(), asked + 2, "the configuration and the keys");
    for code in ["unauthenticated", "busy", "busy"] {
        let reply = admit(&world, &token(&second, "other"));
        let refused = reply.problem(code);
        assert!(
            refused["detail"].as_str().expect("words").contains("`kid`"),
            "{refused}"
        );
        assert_eq!(
            reply.header("retry-after").is_some(),
            code == "busy",
            "{refused}"
        );
        assert_eq!(
            issuer.asked(),
            asked + 4,
            "the second request, and no third"
        );
        bearer(&world, &token(&second, "ec"));
    }
    // Without the issuer, the keys of the memory stay usable.
    issuer.set_mood(Mood::Broken);
    bearer(&world, &token(&second, "ec"));
    // Pinned keys need no issuer. The boundary trusts only them, so the keys of the issuer open nothing.
    let pinned = SigningKey::p256();
    world.write(
        "keys.json",
        &json!({"keys": [pinned.jwk("pinned")]}).to_string(),
    );
    let file = world.path("keys.json");
    exited(
        create(
            &world,
            &issuer,
            "pinned",
            &[
                "--claim",
                "sub=pinned",
                "--jwks",
                file.to_str().expect("a path"),
            ],
        ),
        0,
    );
    let asked = issuer.asked();
    let change = json!({"sub": "pinned", "ref": "refs/heads/other"});
    let admitted = admit(
        &world,
        &pinned.sign("pinned", &issuer.claims(&audience, &change)),
    )
    .ok(200);
    assert_eq!(
        (&admitted["name"], issuer.asked()),
        (&json!("pinned"), asked)
    );
    admit(
        &world,
        &second.sign("ec", &issuer.claims(&audience, &change)),
    )
    .refuses("unauthenticated", "`ref`");
}

#[test]
fn the_jobs_of_one_issuer_call_only_so_often_and_those_of_another_issuer_go_on() {
    // An issuer may send 8 ID tokens at once, and a caller with a token 40 requests.
    let Some((world, issuer)) =
        world_with(|setup| setup.limits = "calls_per_second = 10".to_owned())
    else {
        return;
    };
    let (other, audience) = (Issuer::new(), ci(&world, &issuer));
    exited(create(&world, &other, "other", &MAIN), 0);
    let ask = |caller: &str, issuer: &Issuer| {
        world.wire.post(
            "/v1/admissions",
            caller,
            &json!({"id_token": issuer.id_token(&audience, &json!({}))}),
        )
    };
    let answers: Vec<_> = (0..25).map(|_| ask(&world.agent, &issuer)).collect();
    assert!(
        answers[..8].iter().all(|reply| reply.status == 200),
        "{}",
        answers[0].text()
    );
    let limited = answers
        .iter()
        .find(|reply| reply.status == 429)
        .expect("a limit");
    assert!(
        limited.header("retry-after").is_some(),
        "{}",
        limited.text()
    );
    let refused = limited.problem("rate-limited");
    assert!(
        refused["detail"]
            .as_str()
            .expect("words")
            .starts_with("the jobs of an issuer call too often"),
        "{refused}"
    );
    ask(&world.agent, &other).ok(200);
}

#[test]
fn a_file_of_an_issuer_is_a_plain_file_that_other_users_cannot_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some((world, issuer)) = world() else {
        return;
    };
    let refused = |option: &str, file: &str, words: &str| {
        let mut command =
            world.boundary_command(&["token", "create", "ci", "--oidc", &issuer.url, "--config"]);
        command
            .arg(world.path("b"))
            .args(MAIN)
            .arg(option)
            .arg(world.path(file));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("countersign");
        wait_for("the command ends", || {
            child.try_wait().expect("its state").is_some()
        });
        let done = child.wait_with_output().expect("the end");
        assert!(
            !done.status.success() && said(&done).contains(words),
            "{file}: {}",
            said(&done)
        );
    };
    let made = std::process::Command::new("mkfifo")
        .arg(world.path("pipe"))
        .status()
        .expect("mkfifo");
    assert!(made.success());
    world.write("wide.json", "{}");
    std::fs::set_permissions(
        world.path("wide.json"),
        std::fs::Permissions::from_mode(0o666),
    )
    .expect("mode");
    world.write("large.json", &"x".repeat(70_000));
    for option in ["--jwks", "--ca"] {
        refused(option, "pipe", "not a regular file");
        refused(option, "wide.json", "chmod go-w");
        refused(option, "large.json", "has more than 65536 bytes");
        refused(option, "none.json", "can't be read");
    }
}

#[test]
fn a_file_of_an_issuer_may_be_a_name_in_the_current_directory() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let _audience = ci(&world, &issuer);
    world.write(
        "jwks.json",
        &json!({"keys": [SigningKey::p256().jwk("pinned")]}).to_string(),
    );
    for (name, option, file) in [
        ("bare-keys", "--jwks", "jwks.json"),
        ("bare-ca", "--ca", "issuer.pem"),
    ] {
        let mut command =
            world.boundary_command(&["token", "create", name, "--oidc", &issuer.url, "--config"]);
        command
            .arg(world.path("b"))
            .args(["--claim", "sub=a", option, file])
            .current_dir(world.path(""));
        exited(command.output().expect("token create"), 0);
    }
}

#[test]
fn claims_are_compared_as_exact_json_values() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let sent = |change: Value| admit(&world, &issuer.id_token(&audience, &change));
    for (claim, value) in [
        ("repository_id", json!(1234)),
        ("repository_owner_id", json!(56)),
        ("ref", json!(["refs/heads/main"])),
        ("repository_id", json!("1234 ")),
    ] {
        sent(json!({claim: value})).refuses("unauthenticated", &format!("`{claim}`"));
    }
    // RFC 7519: `aud` is a text or an array.
    for other in [
        json!([]),
        json!(["https://other.example"]),
        json!([[audience]]),
        json!(format!("{audience} x")),
    ] {
        sent(json!({"aud": other})).refuses("unauthenticated", "`aud`");
    }
    sent(json!({"aud": [audience]})).ok(200);
    sent(json!({"aud": ["https://other.example", audience]})).ok(200);
    // A commit that is stated as a number is no text.
    let opened = sent(json!({"sha": 7})).ok(200);
    let opened = opened["bearer"].as_str().expect("a bearer").to_owned();
    propose(&world, &opened, COMMIT).refuses("invalid-params", "`sha`");
}

#[test]
fn a_number_that_is_no_integer_refuses_an_id_token_only_where_a_rule_compares_it() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let sent = |change: Value| admit(&world, &issuer.id_token(&audience, &change));
    for number in [json!(1.5), json!(1e300), json!(-0.0), json!(1_u64 << 60)] {
        sent(json!({"auth_time": number, "nested": {"score": [number]}})).ok(200);
        for claim in [
            "repository_id",
            "exp",
            "iat",
            "nbf",
            "jti",
            "aud",
            "event_name",
            "sha",
        ] {
            sent(json!({claim: number})).refuses("unauthenticated", &format!("`{claim}`"));
        }
    }
}

#[test]
fn a_binding_for_a_step_without_the_parameter_is_a_warning_when_the_token_is_made() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let warned = said(&exited(
        create(
            &world,
            &issuer,
            "ci",
            &[&MAIN[..], &["--bind", "build=run_number"]].concat(),
        ),
        0,
    ));
    assert!(
        warned.contains("warning: every proposal of deploy:web will be refused"),
        "{warned}"
    );
    assert!(
        warned.contains("--bind build=run_number needs a parameter build"),
        "{warned}"
    );
    let good = said(&exited(
        create(
            &world,
            &issuer,
            "good",
            &["--claim", "sub=a", "--bind", "commit=sha"],
        ),
        0,
    ));
    assert!(!good.contains("warning:"), "{good}");
}
