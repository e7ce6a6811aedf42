//! Interoperability with other programs: openssl, securesystemslib, ssh-keygen and ssh-agent.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::companion::{digits, review_path, sign_path};
use crate::support::pages::{Pages, form_of};
use crate::support::people::{IN_TOTO, alice, bob, envelope, pae, payload_of};
use crate::support::{
    self, KilledAtEnd, World, bytes_of, has_all, id_of, not_run, people, wait_for,
};
use serde_json::{Value, json};

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {out}{err}");
    output
}

/// The boundary's public key, which openssl derives from the private key.
fn public_pem(world: &World) -> PathBuf {
    let path = world.path("boundary.pub.pem");
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(world.path("b/boundary/key.pem"))
        .arg("-out")
        .arg(&path));
    path
}

// Receipts

#[test]
fn openssl_verifies_the_signature_of_a_receipt() {
    let Some(()) = has_all("openssl_verifies_the_signature_of_a_receipt", &["openssl"]) else {
        return;
    };
    let world = World::new();
    let finished = world.run(
        "two:go",
        json!({"text": "\u{e4}\n\"x\""}),
        &[&alice(), &bob()],
    );
    let bundle: Value = serde_json::from_slice(&world.bundle(&finished)).unwrap();
    let key = public_pem(&world);
    let check = |message: &[u8], signature: &[u8], key: &Path| {
        let (file, sig) = (world.path("message"), world.path("signature"));
        fs::write(&file, message).unwrap();
        fs::write(&sig, signature).unwrap();
        let mut command = Command::new("openssl");
        command
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(key);
        command
            .arg("-in")
            .arg(&file)
            .arg("-sigfile")
            .arg(&sig)
            .output()
            .unwrap()
            .status
            .success()
    };
    let raw = |signature: &Value| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(signature["sig"].as_str().unwrap())
            .unwrap()
    };
    for kind in ["receipt", "consumption", "seal"] {
        let document = &bundle[kind];
        let (message, signature) = (
            pae(IN_TOTO, &payload_of(document)),
            raw(&document["signatures"][0]),
        );
        assert!(check(&message, &signature, &key), "{kind}");
        let mut other = message.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(
            !check(&other, &signature, &key),
            "{kind} with a flipped byte"
        );
    }
    // openssl also verifies the approvals, without unpacking the receipt. The public keys come from openssl too.
    let approval = &bundle["authorization"];
    let message = pae(IN_TOTO, &payload_of(approval));
    for signer in [alice(), bob()] {
        let (secret, public) = (world.path("signer.pem"), world.path("signer.pub.pem"));
        fs::write(&secret, signer.secret.to_pkcs8_v1_pem().as_bytes()).unwrap();
        run(Command::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(&secret)
            .arg("-out")
            .arg(&public));
        let signatures = approval["signatures"].as_array().unwrap();
        let signature = signatures
            .iter()
            .find(|one| one["keyid"] == signer.keyid())
            .expect("its signature");
        assert!(check(&message, &raw(signature), &public), "{}", signer.name);
    }
}

#[test]
fn securesystemslib_verifies_the_signature_of_a_receipt() {
    let test = "securesystemslib_verifies_the_signature_of_a_receipt";
    let Some(python) = std::env::var_os("COUNTERSIGN_PYTHON") else {
        return not_run(
            test,
            "COUNTERSIGN_PYTHON names no Python that has securesystemslib; scripts/test sets it",
        );
    };
    let Some(()) = has_all(test, &["openssl"]) else {
        return;
    };
    let world = World::new();
    let finished = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    let key = public_pem(&world);
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/check_receipt.py");
    let check = |bytes: &[u8], key: &Path| {
        let file = world.path("document.json");
        fs::write(&file, bytes).unwrap();
        let output = Command::new(&python)
            .arg(tool)
            .arg(file)
            .arg(key)
            .output()
            .expect("Python");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let bundle = world.bundle(&finished);
    let (code, said) = check(&bundle, &key);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("https://countersign.dev/receipt/v1"),
        "{said}"
    );
    let mut value: Value = serde_json::from_slice(&bundle).unwrap();
    for part in ["consumption", "seal"] {
        assert_eq!(
            check(value[part].to_string().as_bytes(), &key).0,
            Some(0),
            "{part}"
        );
    }
    let mut statement = people::statement_of(&value["receipt"]);
    statement["predicate"]["outcome"]["status"] = json!("failed");
    value["receipt"]["payload"] = envelope(&people::canonical(&statement), &[])["payload"].take();
    assert_eq!(
        check(value.to_string().as_bytes(), &key).0,
        Some(1),
        "an altered receipt"
    );
    let stranger = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/conformance/golden/valid/keys/alice.pub.pem"
    ));
    assert_eq!(check(&bundle, stranger).0, Some(1), "another key");
    // The tool also accepts a roster, or the key's line of the roster, instead of a PEM file.
    let roster = world.path("trusted.json");
    let payload = serde_json::from_slice::<Value>(&bundle).unwrap()["roster"][0].take();
    fs::write(&roster, payload.to_string()).unwrap();
    assert_eq!(check(&bundle, &roster).0, Some(0), "the roster");
    let line = world.path("boundary.pub");
    fs::write(
        &line,
        format!("{} boundary\n", people::boundary_key().ssh.line()),
    )
    .unwrap();
    assert_eq!(check(&bundle, &line).0, Some(0), "the key's line");
    fs::write(&line, format!("{} alice\n", alice().ssh.line())).unwrap();
    assert_eq!(check(&bundle, &line).0, Some(1), "another line");
}

// Signatures

/// A world with an approver whose key is generated by `ssh-keygen`.
fn with_ssh_approver() -> (tempfile::TempDir, PathBuf, World) {
    let keys = tempfile::tempdir().expect("a directory");
    let key = keys.path().join("id_ed25519");
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "sam", "-f"])
        .arg(&key));
    let line = fs::read_to_string(key.with_extension("pub")).unwrap();
    let world = World::with(|setup| {
        setup.roster["approvers"]["sam"] = json!({"groups": ["ops"], "keys": [line.trim()]});
    });
    (keys, key, world)
}

/// Signs the message with `ssh-keygen -Y sign` and returns the signature in the form of the HTTP API.
fn sshsig(key: &Path, agent: Option<&Path>, namespace: &str, message: &[u8]) -> Value {
    let file = key.with_file_name("message");
    let _ = fs::remove_file(key.with_file_name("message.sig"));
    fs::write(&file, message).unwrap();
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-Y", "sign", "-n", namespace, "-f"])
        .arg(key)
        .arg(&file)
        .env_remove("SSH_AUTH_SOCK");
    if let Some(agent) = agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
    run(&mut command);
    let armoured = fs::read_to_string(key.with_file_name("message.sig")).unwrap();
    let sig: String = armoured
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let printed = run(Command::new("ssh-keygen").arg("-lf").arg(key));
    let keyid = String::from_utf8(printed.stdout)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    json!({"keyid": keyid, "sig": sig})
}

fn hand_in(world: &World, proposal: &Value, signature: &Value) -> support::wire::Reply {
    let path = format!("/v1/proposals/{}/signatures", id_of(proposal));
    world
        .wire
        .post(&path, "", &json!({"signatures": [signature]}))
}

#[test]
fn unmodified_ssh_keygen_can_sign_an_approval() {
    let Some(()) = has_all(
        "unmodified_ssh_keygen_can_sign_an_approval",
        &["ssh-keygen"],
    ) else {
        return;
    };
    let (_keys, key, world) = with_ssh_approver();
    let proposal = world.propose("two:go", json!({"text": "x"}));
    let message = pae(IN_TOTO, &bytes_of(&proposal));
    // A signature with another namespace or over other bytes approves nothing.
    for wrong in [
        sshsig(&key, None, "git", &message),
        sshsig(&key, None, "countersign", b"something else"),
    ] {
        world
            .unchanged(|| hand_in(&world, &proposal, &wrong))
            .problem("bad-signature");
    }
    let view = hand_in(
        &world,
        &proposal,
        &sshsig(&key, None, "countersign", &message),
    )
    .ok(200);
    assert_eq!(view["approvals"]["approvers"], json!(["sam"]));
    world.sign(&proposal, &[&bob()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(
        world.receipt(&finished)["decision"]["approvers"],
        json!(["bob", "sam"])
    );
    world.assert_verified(&finished);
    // An approver signs a denial in the same way.
    let other = world.propose("plain:true", json!({}));
    let denial = people::denial(&world.boundary(), &bytes_of(&other), "not today");
    let signed = people::wrap(
        &denial,
        vec![sshsig(&key, None, "countersign", &pae(IN_TOTO, &denial))],
    );
    let path = format!("/v1/proposals/{}/denial", id_of(&other));
    assert_eq!(
        world.wire.post(&path, "", &signed).ok(200)["status"],
        "denied"
    );
}

/// An ssh-agent process that is killed on drop.
struct Agent {
    _child: KilledAtEnd,
    socket: PathBuf,
}

impl Agent {
    fn with(key: &Path) -> Self {
        let socket = key.with_file_name("agent.sock");
        let mut command = Command::new("ssh-agent");
        let child = command
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let agent = Self {
            _child: KilledAtEnd(child.expect("ssh-agent")),
            socket,
        };
        wait_for("the agent listens", || agent.socket.exists());
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &agent.socket));
        agent
    }
}

#[test]
fn a_key_in_the_ssh_agent_can_sign_an_approval() {
    let Some(()) = has_all(
        "a key in the SSH agent",
        &["ssh-keygen", "ssh-agent", "ssh-add"],
    ) else {
        return;
    };
    let (_keys, key, world) = with_ssh_approver();
    let agent = Agent::with(&key);
    fs::remove_file(&key).unwrap();
    let public = key.with_extension("pub");
    // `ssh-keygen` signs with the key in the agent.
    let first = world.propose("plain:true", json!({}));
    let signature = sshsig(
        &public,
        Some(&agent.socket),
        "countersign",
        &pae(IN_TOTO, &bytes_of(&first)),
    );
    hand_in(&world, &first, &signature).ok(200);
    world.assert_verified(&world.until(id_of(&first), "finished"));
    // The command `approve` prints the step and signs with the key in the agent.
    let second = world.propose("plain:fail", json!({}));
    let approved = approve(
        &world,
        &second,
        &public,
        second["digest"].as_str().unwrap(),
        Some(&agent.socket),
    );
    assert!(
        approved.status.success(),
        "{}{}",
        text(&approved.stdout),
        text(&approved.stderr)
    );
    assert!(
        text(&approved.stdout).contains("plain:fail"),
        "{}",
        text(&approved.stdout)
    );
    world.assert_verified(&world.until(id_of(&second), "finished"));
    // So does the review page of `console`.
    let third = world.propose("plain:true", json!({}));
    let mut command = world.program(&["console", "--url", &world.wire.url, "--roster"]);
    command
        .arg(world.started["roster"].as_str().unwrap())
        .arg("--key")
        .arg(&public);
    let pages = Pages::start({
        command.env("SSH_AUTH_SOCK", &agent.socket);
        command
    });
    let review = pages.get(&review_path(&third)).body;
    let form = form_of(&review, &sign_path(&third)).unwrap_or_else(|| panic!("no form: {review}"));
    assert_eq!(
        pages
            .post(
                &sign_path(&third),
                &format!("{form}&digits={}", digits(&third))
            )
            .status,
        303
    );
    world.assert_verified(&world.until(id_of(&third), "finished"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn approve(
    world: &World,
    proposal: &Value,
    key: &Path,
    expect: &str,
    agent: Option<&Path>,
) -> Output {
    let roster = world.started["roster"].as_str().unwrap();
    let mut command = world.program(&[
        "--url",
        &world.wire.url,
        "approve",
        id_of(proposal),
        "--yes",
        "--expect",
        expect,
    ]);
    command.args(["--roster", roster, "--key"]).arg(key);
    if let Some(agent) = agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
    command.output().expect("approve")
}

#[test]
fn the_approve_command_signs_with_a_pkcs8_key_file_and_with_an_openssh_key_file() {
    let Some(()) = has_all("key files of OpenSSH", &["ssh-keygen"]) else {
        return;
    };
    let (keys, key, world) = with_ssh_approver();
    let pem = keys.path().join("alice.pem");
    let mut file = fs::OpenOptions::new();
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = file
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&pem)
        .unwrap();
    file.write_all(alice().secret.to_pkcs8_v1_pem().as_bytes())
        .unwrap();
    for (path, name) in [(&key, "sam"), (&pem, "alice")] {
        let proposal = world.propose("plain:true", json!({}));
        // The digest differs from `--expect`, so the command signs nothing.
        let other = format!("sha256:{}", "0".repeat(64));
        let refused = approve(&world, &proposal, path, &other, None);
        assert_eq!(
            refused.status.code(),
            Some(126),
            "{}",
            text(&refused.stderr)
        );
        assert_eq!(world.show(id_of(&proposal))["approvals"]["have"], 0);
        let approved = approve(
            &world,
            &proposal,
            path,
            proposal["digest"].as_str().unwrap(),
            None,
        );
        assert!(
            approved.status.success(),
            "{}{}",
            text(&approved.stdout),
            text(&approved.stderr)
        );
        let finished = world.until(id_of(&proposal), "finished");
        assert_eq!(
            world.receipt(&finished)["decision"]["approvers"],
            json!([name])
        );
    }
}

#[test]
fn the_commands_of_proposer_and_approver_and_operator_and_auditor_work_together() {
    let world = World::new();
    let with_token = |arguments: &[&str]| {
        let mut command = world.program(&["--url", &world.wire.url]);
        command
            .args(arguments)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        command
    };
    // A CI job proposes a run, waits and stores the bundle.
    let bundle = world.path("run.bundle.json");
    let mut waiting = with_token(&[
        "--json",
        "propose",
        "say:echo",
        "-p",
        "text=from ci",
        "--reason",
        "nightly",
        "--wait",
        "--bundle",
    ]);
    let waiting = waiting
        .arg(&bundle)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pending = Vec::new();
    wait_for("it is proposed", || {
        pending = world.list("pending");
        !pending.is_empty()
    });
    assert_eq!(
        (&pending[0]["params"], &pending[0]["reason"]),
        (&json!({"text": "from ci"}), &json!("nightly"))
    );
    world.sign(&pending[0], &[&alice()]).ok(200);
    let ended = waiting.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}{}",
        text(&ended.stdout),
        text(&ended.stderr)
    );
    assert_eq!(world.verify(&fs::read(&bundle).unwrap()).0, 0);
    // With `--wait`, the command exits with the exit code of the step, or with 123 after a denial, also of a run.
    for (step, deny, code) in [("plain:fail", false, 3), ("plain:true", true, 123)] {
        let mut waiting = with_token(&["propose", step, "--wait"]);
        let mut waiting = waiting
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("it is proposed", || !world.list("pending").is_empty());
        let proposal = &world.list("pending")[0];
        if deny {
            world.deny(proposal, &alice()).ok(200)
        } else {
            world.sign(proposal, &[&alice()]).ok(200)
        };
        assert_eq!(waiting.wait().unwrap().code(), Some(code), "{step}");
    }
    let unknown = with_token(&["propose", "plain:nothing", "--wait"])
        .output()
        .unwrap();
    assert_eq!(
        unknown.status.code(),
        Some(127),
        "{}",
        text(&unknown.stderr)
    );
}
