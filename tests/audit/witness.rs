//! Tests with witnesses: standard witnesses in Python, which cosign, and bad witnesses, which are reported and delay no
//! crossing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::certified::{Certificates, HERE, TlsProxy, able};
use crate::cosigner::{Witness, notes, vkey_of_log};
use crate::support::people::alice;
use crate::support::{World, id_of, merge, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::second;

fn world(witnesses: &[&Witness]) -> World {
    World::with(|setup| {
        for witness in witnesses {
            merge(&mut setup.roster, &witness.entry());
        }
    })
}

/// A world whose witnesses already know its log.
fn witnessed(witnesses: &[&Witness]) -> World {
    let world = world(witnesses);
    let log = vkey_of_log(&world);
    witnesses.iter().for_each(|witness| witness.know(&log));
    world
}

/// The signature lines of the served checkpoint, without the log's own signature.
fn cosignatures(world: &World) -> Vec<String> {
    let note = world.wire.peek("/log/checkpoint").text();
    let (_, lines) = note.rsplit_once("\n\n").expect("signatures");
    lines.lines().skip(1).map(str::to_owned).collect()
}

/// Waits until the bundle's checkpoint has this number of cosignatures.
fn bundle(world: &World, finished: &Value, witnesses: usize) -> PathBuf {
    let path = world.path("witnessed.bundle.json");
    wait_for("the bundle is cosigned", || {
        let bundle = world.bundle(finished);
        fs::write(&path, &bundle).expect("written");
        let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
        bundle["proofs"]["receipt"]
            .as_str()
            .expect("a proof")
            .matches("\u{2014} ")
            .count()
            > witnesses
    });
    path
}

/// Exit code, finding and detail of the check `witnesses`.
fn verify(world: &World, bundle: &Path, demanded: usize) -> (Option<i32>, String, String) {
    let roster = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let mut command = world.program(&[
        "verify",
        "--json",
        "--roster",
        &roster,
        "--witness",
        &demanded.to_string(),
    ]);
    let output = command.arg(bundle).output().expect("verify");
    let line: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let check = line["report"]["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .find(|check| check["name"] == "witnesses");
    let check = check.expect("the check");
    let text = |field: &str| check[field].as_str().expect("words").to_owned();
    (output.status.code(), text("finding"), text("detail"))
}

#[test]
fn bundles_contain_cosignatures_of_roster_witnesses_and_verifiers_can_require_them() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let (one, two) = (Witness::new(41), Witness::new(42));
    let world = world(&[&one, &two]);
    let before = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    let plain = world.path("plain.bundle.json");
    fs::write(&plain, world.bundle(&before)).expect("written");
    // No witness knows the log yet. The crossing does not wait for the witnesses.
    let log = vkey_of_log(&world);
    assert_eq!(world.wire.peek("/ready").json()["ready"], true);
    let (code, finding, _) = verify(&world, &plain, 0);
    assert_eq!((code, &*finding), (Some(0), "not-checked"));
    assert_eq!(verify(&world, &plain, 1).0, Some(1));
    one.know(&log);
    two.know(&log);
    let finished = world.run("say:echo", json!({"text": "y"}), &[&alice()]);
    let path = bundle(&world, &finished, 2);
    for demanded in 0..=2 {
        let (code, finding, detail) = verify(&world, &path, demanded);
        assert_eq!((code, &*finding), (Some(0), "established"), "{detail}");
        assert!(
            detail.contains(&one.name) && detail.contains(&two.name),
            "{detail}"
        );
    }
    let (code, finding, detail) = verify(&world, &path, 3);
    assert_eq!((code, &*finding), (Some(1), "failed"), "{detail}");
    wait_for("the served checkpoint is cosigned too", || {
        cosignatures(&world).len() == 2
    });
    wait_for("nothing is left to say", || notes(&world).is_empty());
    let proof = world.wire.peek("/log/proof/0").text();
    assert_eq!(proof.matches("\u{2014} ").count(), 3, "{proof}");
    // `wait --witness` waits for the cosignatures too.
    let waited = world.path("waited.bundle.json");
    let again = world.run("say:echo", json!({"text": "z"}), &[&alice()]);
    let mut command = world.program(&[
        "--url",
        &world.wire.url,
        "wait",
        id_of(&again),
        "--witness",
        "2",
        "--bundle",
    ]);
    let output = command
        .arg(&waited)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("wait");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(verify(&world, &waited, 2).0, Some(0));
    // An audit of the whole log counts the cosignatures.
    let audit = |witnesses: &str| {
        let roster = world.started["roster"].as_str().unwrap();
        let mut command = world.program(&[
            "audit",
            &world.wire.url,
            "--url",
            &world.wire.url,
            "--roster",
            roster,
        ]);
        command.args(["--json", "--witness", witnesses]);
        let output = command
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("audit");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        (output.status.code(), lines)
    };
    let (code, lines) = audit("2");
    let summary = lines.last().expect("a summary");
    assert_eq!(
        (code, summary["witnesses"].as_array().map(Vec::len)),
        (Some(0), Some(2)),
        "{summary:#}"
    );
    let mirror = world.path("mirror");
    let mut export = world.program(&["log", "export", "--url", &world.wire.url]);
    let output = export
        .arg(&mirror)
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .expect("export");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (demanded, expected) in [("2", Some(0)), ("3", Some(1))] {
        let roster = world.started["roster"].as_str().unwrap();
        let mut command = world.program(&["audit", "--roster", roster, "--witness", demanded]);
        let output = command.arg(&mirror).output().expect("audit");
        assert_eq!(
            output.status.code(),
            expected,
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    // `gate` requires a cosignature by default, because the roster has witnesses.
    let view = world.wire.get("/v1/steps/say:echo", &world.reader).ok(200);
    let gate = |bundle: &Path, text: &str, more: &[&str]| {
        let (id, roster) = (
            world.boundary()["id"].clone(),
            world.started["roster"].clone(),
        );
        let words = [
            id.as_str().unwrap(),
            view["digest"].as_str().unwrap(),
            roster.as_str().unwrap(),
        ];
        let mut command = world.program(&[
            "gate",
            "--step",
            "say:echo",
            "--boundary",
            words[0],
            "--digest",
            words[1],
        ]);
        command
            .args(["--roster", words[2], "-p", &format!("text={text}")])
            .args(more)
            .arg(bundle);
        let output = command.output().expect("gate");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(gate(&waited, "z", &["--witness", "2"]).0, Some(0));
    assert_eq!(gate(&waited, "z", &["--witness", "3"]).0, Some(1));
    let (code, said) = gate(&plain, "x", &[]);
    assert!(
        code == Some(1) && said.contains("NOT MET  witnesses"),
        "{said}"
    );
    assert_eq!(
        gate(&plain, "x", &["--allow-unchecked", "witnesses"]).0,
        Some(0)
    );
}

#[test]
fn a_changed_or_moved_cosignature_is_refused_and_an_unknown_cosignature_is_ignored() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let one = Witness::new(43);
    let world = witnessed(&[&one]);
    let finished = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    let path = bundle(&world, &finished, 1);
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let lines = good["proofs"]["seal"]
        .as_str()
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let cosigned = lines.last().expect("a line").clone();
    let with = |line: &str| {
        let mut edited = good.clone();
        for part in ["receipt", "authorization", "consumption", "seal"] {
            let text = good["proofs"][part]
                .as_str()
                .unwrap()
                .replace(&format!("{cosigned}\n"), line);
            edited["proofs"][part] = json!(text);
        }
        fs::write(&path, edited.to_string()).unwrap();
        (verify(&world, &path, 0), verify(&world, &path, 1).0)
    };
    let encoded = cosigned.rsplit(' ').next().unwrap();
    let mut raw = STANDARD.decode(encoded).unwrap();
    for at in [4, 11, 12, raw.len() - 1] {
        raw[at] ^= 1;
        let line = cosigned.replace(encoded, &STANDARD.encode(&raw));
        raw[at] ^= 1;
        let ((code, finding, detail), _) = with(&format!("{line}\n"));
        assert_eq!(
            (code, &*finding),
            (Some(1), "failed"),
            "byte {at}: {detail}"
        );
    }
    raw[0] ^= 1;
    let stranger = cosigned.replace(encoded, &STANDARD.encode(&raw));
    let ((code, finding, _), demanded) = with(&format!("{stranger}\n"));
    assert_eq!(
        (code, &*finding, demanded),
        (Some(0), "not-checked", Some(1)),
        "another key's line says nothing"
    );
    let ((code, finding, _), demanded) = with("");
    assert_eq!(
        (code, &*finding, demanded),
        (Some(0), "not-checked", Some(1)),
        "left out"
    );
    // A repeated line counts as one witness.
    let twice = format!("{cosigned}\n{cosigned}\n");
    let ((code, ..), _) = with(&twice);
    assert_eq!((code, verify(&world, &path, 2).0), (Some(0), Some(1)));
    // The independent verifier gives the same result for each case.
    raw[0] ^= 1;
    raw[20] ^= 1;
    let bad = cosigned.replace(encoded, &STANDARD.encode(&raw));
    let roster = world.started["roster"].as_str().unwrap();
    let cases: Vec<second::Case> = [
        format!("{cosigned}\n"),
        format!("{bad}\n"),
        format!("{stranger}\n"),
        String::new(),
        twice,
    ]
    .iter()
    .map(|line| {
        with(line);
        second::Case {
            id: line.clone(),
            bundle: fs::read(&path).unwrap(),
            roster: roster.as_bytes().to_vec(),
        }
    })
    .collect();
    let finding = |verdict: &second::Verdict| verdict.findings["witnesses"].clone();
    let theirs: Vec<_> = second::theirs(&cases)
        .into_iter()
        .map(|verdict| verdict.expect("a verdict"))
        .collect();
    let said: Vec<String> = theirs.iter().map(finding).collect();
    assert_eq!(
        said,
        [
            "established",
            "failed",
            "not-checked",
            "not-checked",
            "established"
        ]
    );
    for (case, theirs) in cases.iter().zip(&theirs) {
        assert_eq!(
            second::ours(case).expect("a verdict").differences(theirs),
            [""; 0],
            "{}",
            case.id
        );
    }
}

#[test]
fn an_unavailable_witness_blocks_no_run_and_is_asked_again_later() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let (mut one, hanging) = (Witness::new(44), Witness::with_fault(45, "hang"));
    let mut world = world(&[&one, &hanging]);
    one.know(&vkey_of_log(&world));
    wait_for("it has cosigned", || one.size() > 0);
    one.stop();
    let seen = one.size();
    let began = Instant::now();
    for n in 0..5 {
        let finished = world.run("say:echo", json!({"text": n.to_string()}), &[&alice()]);
        world.assert_verified(&finished);
    }
    assert!(began.elapsed() < Duration::from_secs(30));
    wait_for("it is told which does not answer", || {
        notes(&world).iter().any(|note| note.contains(&one.name))
    });
    assert!(
        world.service_log().contains("did not cosign"),
        "{}",
        world.service_log()
    );
    // The witness returns, and the boundary restarts. The boundary stores no state of witnesses, so the boundary
    // must ask the witness for the last cosigned size.
    world.kill9();
    let port = one.port();
    one.start("", port);
    world.start();
    wait_for("it continues", || one.size() > seen);
    wait_for("it is told no more", || {
        !notes(&world).iter().any(|note| note.contains(&one.name))
    });
    wait_for("the checkpoint is cosigned", || {
        !cosignatures(&world).is_empty()
    });
    // A witness that does not answer does not delay the shutdown.
    let began = Instant::now();
    world.stop();
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_witness_with_invalid_cosignatures_is_reported_and_its_cosignatures_are_not_served() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let faults = [
        ("garbage", "an invalid cosignature of this checkpoint"),
        ("other-key", "other keys than the key in the roster"),
        ("other-text", "an invalid cosignature of this checkpoint"),
        ("future", "one of the two clocks is wrong"),
        ("size", "this store is older than the cosigned log"),
        ("restless", "reports another size with each answer"),
    ];
    let liars: Vec<Witness> = faults
        .iter()
        .zip(50..)
        .map(|((fault, _), seed)| Witness::with_fault(seed, fault))
        .collect();
    let honest = Witness::new(49);
    let mut all: Vec<&Witness> = liars.iter().collect();
    all.push(&honest);
    let world = world(&all);
    let log = vkey_of_log(&world);
    all.iter().for_each(|witness| witness.know(&log));
    let finished = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    for (liar, (fault, words)) in liars.iter().zip(faults) {
        wait_for(fault, || {
            notes(&world)
                .iter()
                .any(|note| note.contains(&liar.name) && note.contains(words))
        });
    }
    let path = bundle(&world, &finished, 1);
    let (code, finding, detail) = verify(&world, &path, 1);
    assert_eq!((code, &*finding), (Some(0), "established"), "{detail}");
    assert!(
        detail.starts_with("1 of 7") && detail.contains(&honest.name),
        "{detail}"
    );
    assert!(
        cosignatures(&world)
            .iter()
            .all(|line| line.contains(&honest.name))
    );
}

#[test]
fn a_witness_detects_that_the_boundary_serves_a_restored_backup() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let one = Witness::new(46);
    let mut world = witnessed(&[&one]);
    world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    world.stop();
    // Restore the whole store like a disk snapshot, including the checkpoint file beside the database.
    let names = ["countersign.db", "countersign.db-wal", "checkpoint"];
    let store: Vec<_> = names
        .iter()
        .map(|name| world.path(&format!("b/boundary/{name}")))
        .collect();
    let copy = |from: &dyn Fn(&Path) -> PathBuf, to: &dyn Fn(&Path) -> PathBuf| {
        for file in &store {
            let _ = fs::remove_file(to(file));
            if from(file).exists() {
                fs::copy(from(file), to(file)).expect("copied");
            }
        }
    };
    let own = |file: &Path| file.to_owned();
    let folder = world.path("");
    let kept = |file: &Path| {
        folder.join(format!(
            "kept-{}",
            file.file_name().unwrap().to_string_lossy()
        ))
    };
    copy(&own, &kept);
    world.start();
    for _ in 0..3 {
        world.run("say:echo", json!({"text": "y"}), &[&alice()]);
    }
    let size = world.log_size();
    wait_for("it has seen the end", || one.size() == size);
    world.stop();
    copy(&kept, &own);
    world.start();
    assert!(world.log_size() < size);
    wait_for(
        "a store that is older than what was seen of it is told",
        || {
            notes(&world)
                .iter()
                .any(|note| note.contains("this store is older than the cosigned log"))
        },
    );
    assert!(cosignatures(&world).is_empty());
    // A store that grows past the cosigned log has a different history under the same name.
    while world.log_size() <= size {
        world.run("say:echo", json!({"text": "z"}), &[&alice()]);
    }
    world.restart();
    wait_for("two histories are told", || {
        notes(&world)
            .iter()
            .any(|note| note.contains("there are two histories"))
    });
    assert!(
        cosignatures(&world).is_empty() && one.size() == size,
        "the witness never went along"
    );
}

/// Tests the test witness itself: the other tests need a strict witness.
#[test]
fn the_test_witness_refuses_the_requests_that_the_witness_protocol_forbids() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let one = Witness::new(47);
    let world = world(&[&one]);
    let log = vkey_of_log(&world);
    let note = |world: &World| world.wire.peek("/log/checkpoint").text();
    let early = note(&world);
    assert_eq!(one.add("0", &[], &early).status, 404);
    // The witness learns the log only now, and the boundary waits after its failures. All requests until the next wait
    // are from this test.
    one.know(&log);
    assert_eq!(
        one.add("0", &[], &early.replace("\u{2014} prod", "\u{2014} pr0d"))
            .status,
        403
    );
    let other_root = early.lines().nth(2).unwrap().to_owned();
    assert_eq!(
        one.add(
            "0",
            &[],
            &early.replace(&other_root, &STANDARD.encode([0; 32]))
        )
        .status,
        403
    );
    for malformed in ["-1", "00", "", "1 "] {
        assert_eq!(one.add(malformed, &[], &early).status, 400, "{malformed:?}");
    }
    assert_eq!(one.add("999999", &[], &early).status, 400);
    wait_for("the boundary asks again", || one.size() > 0);
    let seen = one.size();
    wait_for("the log and the witness agree", || {
        one.size() == world.log_size()
    });
    world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    wait_for("it has seen the rest", || {
        one.size() == world.log_size() && one.size() > seen
    });
    let (size, late) = (one.size(), note(&world));
    let conflict = one.add("0", &[], &late);
    assert_eq!(
        (conflict.status, conflict.text()),
        (409, format!("{size}\n"))
    );
    assert_eq!(conflict.header("content-type"), Some("text/x.tlog.size"));
    assert_eq!(
        one.add(&size.to_string(), &[], &early).status,
        400,
        "no way back"
    );
    assert_eq!(
        one.add(&size.to_string(), &[&STANDARD.encode([0; 32])], &late)
            .status,
        422
    );
    assert_eq!(
        one.add(&size.to_string(), &[], &late).status,
        200,
        "the same again"
    );
}

/// The restless witness answers every request with a conflict and another log size, and the log grows during the test.
#[test]
fn a_slow_witness_still_cosigns_if_another_witness_is_fast() {
    let Some(()) = able("tests with witnesses") else {
        return;
    };
    let (slow, restless) = (
        Witness::with_fault(60, "slow"),
        Witness::with_fault(61, "restless"),
    );
    let world = witnessed(&[&slow, &restless]);
    let finished = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    let mut n = 0;
    wait_for("the slow one's word is in a bundle", || {
        n += 1;
        world.run("say:echo", json!({"text": n.to_string()}), &[&alice()]);
        std::thread::sleep(Duration::from_millis(200));
        let bundle: Value = serde_json::from_slice(&world.bundle(&finished)).expect("JSON");
        bundle["proofs"]["receipt"]
            .as_str()
            .expect("a proof")
            .contains(&slow.name)
    });
    let path = bundle(&world, &finished, 1);
    assert_eq!(verify(&world, &path, 1).0, Some(0));
}

#[test]
fn a_witness_is_asked_over_tls_only_with_a_certificate_of_a_trusted_authority() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    made.issue("elsewhere", "ca", "subjectAltName=DNS:witness.example\n");
    made.self_signed("own", "localhost", HERE);
    let witnesses = [Witness::new(61), Witness::new(62), Witness::new(63)];
    let certificates = ["server", "elsewhere", "own"];
    let proxies: Vec<TlsProxy> = witnesses
        .iter()
        .zip(certificates)
        .map(|(one, name)| TlsProxy::new(made, name, one.url()))
        .collect();
    let mut world = World::with(|setup| {
        for (one, proxy) in witnesses.iter().zip(&proxies) {
            merge(&mut setup.roster, &one.entry_at(&proxy.named_url()));
        }
        // A variable of OpenSSL, which replaces the authorities of the system.
        setup.env(
            "SSL_CERT_FILE",
            made.path("ca.pem").to_str().expect("UTF-8"),
        );
        setup.env("SSL_CERT_DIR", "");
    });
    let log = vkey_of_log(&world);
    witnesses.iter().for_each(|witness| witness.know(&log));
    let cosigned = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    bundle(&world, &cosigned, 1);
    wait_for("the other witnesses are reported", || {
        let notes = notes(&world).join("\n");
        notes.contains("witness.example") && notes.contains("SSL_CERT_FILE")
    });
    assert!(witnesses[0].size() > 0);
    assert!(
        witnesses[1].state().is_null() && witnesses[2].state().is_null(),
        "an unknown server got a checkpoint"
    );
    // Without any authority, the boundary works and reports what to install.
    let nowhere = world.path("nowhere").display().to_string();
    world.stop();
    world.setup.env("SSL_CERT_FILE", nowhere);
    world.start();
    wait_for("the missing authorities are reported", || {
        notes(&world).join("\n").contains("ca-certificates")
    });
    world.run("say:echo", json!({"text": "y"}), &[&alice()]);
}
