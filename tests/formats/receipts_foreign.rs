//! Independent programs check receipts, keys and allowed signers.
//!
//! If a program is not installed, the test reports itself as not run, with the reason.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use documents::{PAYLOAD_TYPE, SecretKey, pae};
use serde_json::Value;
use verdict::TrustedRoster;

use crate::golden;
use crate::support::host::not_run;

#[test]
fn openssl_verifies_every_ed25519_signature_of_the_golden_documents() {
    let Some(openssl) = program(
        "openssl",
        "openssl_verifies_every_ed25519_signature_of_the_golden_documents",
    ) else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    for kind in golden::KINDS {
        for signer in golden::signers(kind) {
            // The payload, message, signature and key come from our own code.
            let payload = golden::bytes(&format!("payload/{kind}.json"));
            let message = file(home.path(), "message", &pae(PAYLOAD_TYPE, &payload));
            let signature = file(
                home.path(),
                "signature",
                &golden::secret(signer).sign(&pae(PAYLOAD_TYPE, &payload)),
            );
            let key = file(
                home.path(),
                "key.pem",
                &golden::bytes(&format!("keys/{signer}.pub.pem")),
            );
            let verify = |message: &Path| {
                let mut command = Command::new(&openssl);
                command
                    .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
                    .arg(&key);
                finish(
                    command
                        .arg("-in")
                        .arg(message)
                        .arg("-sigfile")
                        .arg(&signature),
                    b"",
                )
            };
            let output = verify(&message);
            assert!(output.status.success(), "{kind} by {signer}: {output:?}");
            let mut changed = pae(PAYLOAD_TYPE, &payload);
            let last = changed.len() - 1;
            changed[last] ^= 1;
            assert!(
                !verify(&file(home.path(), "changed", &changed))
                    .status
                    .success(),
                "{kind} changed"
            );
        }
    }
}

#[test]
fn openssl_reads_the_key_files_of_this_program() {
    let Some(openssl) = program("openssl", "openssl_reads_the_key_files_of_this_program") else {
        return;
    };
    for seed in 0..8_u8 {
        let secret = SecretKey::from_seed([seed.wrapping_mul(37); 32]);
        let private = finish(
            Command::new(&openssl).args(["pkey", "-pubout"]),
            secret.to_pkcs8_v1_pem().as_bytes(),
        );
        assert!(private.status.success(), "{private:?}");
        let der = finish(
            Command::new(&openssl).args(["pkey", "-pubin", "-outform", "DER"]),
            &private.stdout,
        )
        .stdout;
        assert!(der.ends_with(secret.public().as_bytes()), "its public half");
        // The other direction: our code reads the keys that openssl writes.
        let written = finish(
            Command::new(&openssl).arg("pkey"),
            secret.to_pkcs8_v1_pem().as_bytes(),
        );
        let read = SecretKey::from_pkcs8_pem(&String::from_utf8_lossy(&written.stdout))
            .expect("openssl's own form");
        assert_eq!(read.public(), secret.public());
    }
    let made = finish(
        Command::new(&openssl).args(["genpkey", "-algorithm", "ed25519"]),
        b"",
    );
    assert!(
        SecretKey::from_pkcs8_pem(&String::from_utf8_lossy(&made.stdout)).is_ok(),
        "{made:?}"
    );
}

#[test]
fn sigstore_reads_every_statement() {
    let name = "sigstore_reads_every_statement";
    let Some(python) = std::env::var_os("COUNTERSIGN_PYTHON") else {
        return not_run(
            name,
            "COUNTERSIGN_PYTHON names no Python with sigstore; scripts/test sets it",
        );
    };
    let read =
        "import sys; from sigstore.dsse import Statement; Statement(sys.stdin.buffer.read())";
    let check = |payload: &[u8]| finish(Command::new(&python).args(["-c", read]), payload);
    for kind in golden::KINDS {
        let output = check(&golden::bytes(&format!("payload/{kind}.json")));
        assert!(
            output.status.success(),
            "{kind}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // The reader of sigstore rejects unknown digest algorithms.
    let mut value = golden::payload("receipt");
    value["subject"][1]["digest"]["blake3"] = Value::from("0".repeat(64));
    assert!(
        !check(value.to_string().as_bytes()).status.success(),
        "a digest that it does not know"
    );
}

#[test]
fn ssh_keygen_accepts_the_exported_allowed_signers() {
    let name = "ssh_keygen_accepts_the_exported_allowed_signers";
    let Some(keygen) = program("ssh-keygen", name) else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let valid = golden::own_vectors().join("golden/valid");
    let roster = TrustedRoster::from_payload(&golden::bytes("payload/roster.json"))
        .expect("the golden roster");
    let signers = file(
        home.path(),
        "allowed_signers",
        roster.allowed_signers().as_bytes(),
    );
    let message = golden::bytes("pae/authorization.bin");
    let verify = |person: &str, namespace: &str, message: &[u8]| {
        let mut command = Command::new(&keygen);
        command
            .args(["-Y", "verify", "-n", namespace, "-I", person, "-f"])
            .arg(&signers);
        finish(
            command
                .arg("-s")
                .arg(valid.join("sshsig/authorization.bob.sig")),
            message,
        )
    };
    let output = verify("bob", "countersign", &message);
    assert!(output.status.success(), "{output:?}");
    assert!(
        !verify("alice", "countersign", &message).status.success(),
        "another person"
    );
    assert!(
        !verify("bob", "file", &message).status.success(),
        "another namespace"
    );
    assert!(
        !verify("bob", "countersign", b"another message")
            .status
            .success(),
        "another message"
    );
    // `valid-before` of an approver has the same effect in ssh-keygen as in our code.
    let mut tables = roster.tables().clone();
    let bob = tables.approvers.get_mut(&"bob".parse().expect("a name"));
    bob.expect("bob").valid_before = Some("2020-01-01T00:00:00Z".parse().expect("a time"));
    let payload = tables
        .into_statement()
        .and_then(|statement| statement.to_payload())
        .expect("a roster");
    let ended = TrustedRoster::from_payload(&payload).expect("a roster");
    std::fs::write(&signers, ended.allowed_signers()).expect("a file");
    assert!(
        !verify("bob", "countersign", &message).status.success(),
        "no longer valid"
    );
}

#[test]
fn ssh_keygen_prints_the_same_key_ids_as_this_program() {
    let Some(keygen) = program(
        "ssh-keygen",
        "ssh_keygen_prints_the_same_key_ids_as_this_program",
    ) else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    for (person, _) in golden::KEYS {
        let line = file(
            home.path(),
            "key.pub",
            format!("{}\n", golden::key(person).line()).as_bytes(),
        );
        let output = finish(Command::new(&keygen).arg("-lf").arg(line), b"");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            printed.contains(golden::key(person).keyid().as_str()),
            "{person}: {printed}"
        );
    }
}

pub(super) fn file(home: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = home.join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

pub(super) fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // The program can exit without reading all input.
    let _ = child.stdin.take().expect("stdin").write_all(input);
    child.wait_with_output().expect("its end")
}

pub(super) fn program(name: &str, test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|dirs| {
        std::env::split_paths(&dirs)
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        not_run(test, &format!("{name} is not installed"));
    }
    found
}
