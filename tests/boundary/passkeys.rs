//! Passkeys at a running boundary: they approve beside another key, deny, freeze, read and end themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::passkey::{Edit, PasskeyPair, SYNCED, VERIFIED};
use crate::revocations::of_epoch;
use crate::support::grants::{draft, terms};
use crate::support::people::{
    CHALLENGE, IN_TOTO, alice, authorization, denial, dora, key_revocation, oscar, pae, revocation,
    sha256, wrap,
};
use crate::support::wire::Reply;
use crate::support::{Setup, World, assert_says, bytes_of, id_of, said};

const POLICY: &str = "version: 1\nextends: none\ndefault: {mode: execute, approvals: {required: 1, from: [ops, security]}, standing: {max_uses: 20, max_days: 7}}\n";
pub(crate) const PASSKEYS: &str = "passkeys: {most: 1, alone: false, synced: false}\n";

/// A world in which the approvers zoe and yuki have only a passkey each, and an operator has one too.
fn world(passkeys: &str) -> World {
    world_with(passkeys, |_| {})
}

pub(crate) fn world_with(passkeys: &str, change: impl FnOnce(&mut Setup)) -> World {
    World::with(|setup| {
        change(setup);
        setup.policy = format!("{POLICY}{passkeys}");
        for (name, group, key) in [("zoe", "ops", zoe()), ("yuki", "security", yuki())] {
            setup.roster["approvers"][name] = json!({"groups": [group], "keys": [key.line()]});
        }
        setup.roster["operators"]["olga"] = json!({"keys": [olga().line()]});
    })
}

pub(crate) fn zoe() -> PasskeyPair {
    PasskeyPair::of(1)
}

fn yuki() -> PasskeyPair {
    PasskeyPair::of(2)
}

fn olga() -> PasskeyPair {
    PasskeyPair::of(3)
}

fn signature(key: &PasskeyPair, payload_type: &str, payload: &[u8], edit: Edit) -> Value {
    let blob = key.sign_but(&pae(payload_type, payload), edit);
    json!({"keyid": key.keyid(), "sig": STANDARD.encode(blob)})
}

fn sign_but(world: &World, proposal: &Value, key: &PasskeyPair, edit: Edit) -> Reply {
    let path = format!("/v1/proposals/{}/signatures", id_of(proposal));
    let signature = signature(key, IN_TOTO, &bytes_of(proposal), edit);
    world
        .wire
        .post(&path, "", &json!({"signatures": [signature]}))
}

pub(crate) fn sign(world: &World, proposal: &Value, key: &PasskeyPair) -> Reply {
    sign_but(world, proposal, key, |_| {})
}

fn send(world: &World, payload: &[u8], key: &PasskeyPair) -> Reply {
    let envelope = wrap(payload, vec![signature(key, IN_TOTO, payload, |_| {})]);
    world.wire.post("/v1/revocations", "", &envelope)
}

fn detail_of(problem: &Value) -> &str {
    problem["detail"].as_str().expect("words")
}

#[test]
fn a_person_and_one_passkey_approve_a_run_and_a_passkey_alone_approves_none() {
    let mut world = world(PASSKEYS);
    // One signature is enough for this step, but not one of a passkey.
    let proposal = world.propose("plain:true", json!({}));
    let view = sign(&world, &proposal, &yuki()).ok(200);
    assert_eq!(
        (&view["status"], &view["approvals"]["own_program"]),
        (&json!("pending"), &json!(true)),
        "{view:#}"
    );
    assert_eq!(
        (&view["approvals"]["have"], &view["approvals"]["approvers"]),
        (&json!(1), &json!(["yuki"]))
    );
    // The same signature again changes nothing. A second passkey is above `most`, and counts for no more than the first.
    assert_eq!(
        sign(&world, &proposal, &yuki()).ok(200)["approvals"]["have"],
        1
    );
    let refused = world
        .unchanged(|| sign(&world, &proposal, &zoe()))
        .problem("not-permitted-signer");
    assert!(detail_of(&refused).contains("`passkeys.most`"), "{refused}");
    let review = said(
        &world
            .as_alice(&["review", id_of(&proposal)])
            .output()
            .expect("it starts"),
    );
    let review = review
        .split_whitespace()
        .filter(|word| *word != "+")
        .collect::<Vec<_>>()
        .join(" ");
    for part in [
        "yuki signed with a passkey of desk.example",
        "at most 1 passkey counts, and each rule also needs",
    ] {
        assert!(review.contains(part), "{part}: {review}");
    }
    assert_says(
        said(&world.as_alice(&["inbox"]).output().expect("it starts")),
        "1 of 1 (passkey)",
    );
    world.restart();
    assert_eq!(world.show(id_of(&proposal))["status"], "pending");
    world.sign(&proposal, &[&dora()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    let receipt = world.receipt(&finished);
    assert_eq!(
        receipt["decision"]["approvers"],
        json!(["dora", "yuki"]),
        "{receipt:#}"
    );
    world.assert_verified(&finished);
    // Two people are needed: one of them may use a passkey.
    let two = world.propose("two:go", json!({}));
    sign(&world, &two, &yuki()).ok(200);
    world.sign(&two, &[&alice()]).ok(200);
    let finished = world.until(id_of(&two), "finished");
    world.assert_verified(&finished);
    let (_, report) = world.verify(&world.bundle(&finished));
    let approvers = report["facts"]["approvers"]
        .as_array()
        .or_else(|| report["report"]["facts"]["approvers"].as_array());
    let hosts: Vec<&Value> = approvers
        .expect("approvers")
        .iter()
        .filter_map(|one| one.get("passkey"))
        .collect();
    assert_eq!(hosts, ["desk.example"], "{report:#}");
    world.assert_audited();
}

#[test]
fn broken_signatures_of_passkeys_are_refused_by_their_reason_and_change_nothing() {
    let world = world(PASSKEYS);
    let proposal = world.propose("plain:true", json!({}));
    let cases: [(Edit, &str, &str); 4] = [
        (
            |parts| parts.flags = 0,
            "bad-signature",
            "no person was present",
        ),
        (
            |parts| parts.flags = VERIFIED | SYNCED,
            "not-permitted-signer",
            "`passkeys.synced: false`",
        ),
        (
            |parts| {
                parts.origin = "https://evil.example".to_owned();
                parts.client_data = parts.client_data.replace("desk.example", "evil.example");
            },
            "bad-signature",
            "the origin is not https and the host of the passkey",
        ),
        (
            |parts| parts.namespace = b"git".to_vec(),
            "bad-signature",
            "namespace",
        ),
    ];
    for (edit, code, words) in cases {
        let refused = world
            .unchanged(|| sign_but(&world, &proposal, &zoe(), edit))
            .problem(code);
        assert!(detail_of(&refused).contains(words), "{words}: {refused}");
    }
    // A passkey of an operator approves nothing.
    world
        .unchanged(|| sign(&world, &proposal, &olga()))
        .problem("not-permitted-signer");
    assert_eq!(world.show(id_of(&proposal))["approvals"]["have"], 0);
}

#[test]
fn no_passkey_counts_without_passkeys_in_policy() {
    let world = world("");
    let proposal = world.propose("plain:true", json!({}));
    let boundary = world.boundary();
    let no = denial(&boundary, &bytes_of(&proposal), "no");
    let no = wrap(&no, vec![signature(&zoe(), IN_TOTO, &no, |_| {})]);
    let path = format!("/v1/proposals/{}/denial", id_of(&proposal));
    for reply in [
        world.unchanged(|| sign(&world, &proposal, &zoe())),
        world.unchanged(|| world.wire.post(&path, "", &no)),
        world.unchanged(|| send(&world, &of_epoch(&world), &zoe())),
        world.unchanged(|| {
            send(
                &world,
                &revocation(&boundary, "key", &sha256(&zoe().blob())),
                &zoe(),
            )
        }),
        world
            .wire
            .post("/v1/challenges", "", &json!({"keyid": zoe().keyid()})),
    ] {
        let refused = reply.problem("unknown-signer");
        let words = detail_of(&refused);
        assert!(
            words.contains("of approver zoe is a passkey of desk.example"),
            "{words}"
        );
        assert!(
            words.contains("the policy in force has no `passkeys`")
                && words.contains("ssh-ed25519"),
            "{words}"
        );
    }
}

#[test]
fn a_passkey_denies_and_freezes() {
    let world = world(PASSKEYS);
    let proposal = world.propose("plain:true", json!({}));
    let no = denial(&world.boundary(), &bytes_of(&proposal), "not today");
    let no = wrap(&no, vec![signature(&zoe(), IN_TOTO, &no, |_| {})]);
    let view = world
        .wire
        .post(
            &format!("/v1/proposals/{}/denial", id_of(&proposal)),
            "",
            &no,
        )
        .ok(200);
    assert_eq!(view["status"], "denied", "{view:#}");
    // A denial of a statement that the boundary has not received.
    let elsewhere = authorization(&world.authorization("plain:true", json!({})));
    let no = denial(&world.boundary(), &elsewhere, "never");
    let no = wrap(&no, vec![signature(&yuki(), IN_TOTO, &no, |_| {})]);
    let both = json!({"denial": no, "payload": STANDARD.encode(&elsewhere)});
    world.wire.post("/v1/denials", "", &both).ok(200);
    let waiting = world.propose("plain:true", json!({}));
    let done = send(&world, &of_epoch(&world), &zoe()).ok(200);
    assert_eq!(
        (&done["existing"], &done["ended"]),
        (&json!(false), &json!(1)),
        "{done}"
    );
    assert_eq!(
        world.until(id_of(&waiting), "refused")["refusal"]["code"],
        "revoked"
    );
    let refused = world.wire.post(
        "/v1/proposals",
        &world.agent,
        &World::wish("plain:true", json!({})),
    );
    assert!(detail_of(&refused.problem("revoked")).contains("zoe froze this boundary"));
    world.assert_audited();
}

#[test]
fn a_passkey_ends_only_itself_and_signs_no_grant() {
    let world = world(PASSKEYS);
    let boundary = world.boundary();
    for payload in [
        key_revocation(&boundary, &alice()),
        revocation(&boundary, "token", &sha256(b"agent")),
    ] {
        let refused = world
            .unchanged(|| send(&world, &payload, &zoe()))
            .problem("not-permitted-signer");
        assert!(
            detail_of(&refused).contains("only the freeze and its own revocation"),
            "{refused}"
        );
    }
    let grant = draft(&world, &terms()).ok(201);
    let path = format!("/v1/grants/{}/signatures", id_of(&grant));
    let signatures = json!({"signatures": [signature(&zoe(), IN_TOTO, &bytes_of(&grant), |_| {})]});
    let refused = world
        .unchanged(|| world.wire.post(&path, "", &signatures))
        .problem("unknown-signer");
    assert!(
        detail_of(&refused)
            .contains("signs only approvals, denials, the freeze and its own revocation"),
        "{refused}"
    );
    let proposal = world.propose("plain:true", json!({}));
    sign(&world, &proposal, &zoe()).ok(200);
    let own = revocation(&boundary, "key", &sha256(&zoe().blob()));
    send(&world, &own, &zoe()).ok(200);
    assert_eq!(world.show(id_of(&proposal))["approvals"]["have"], 0);
    assert_eq!(send(&world, &own, &zoe()).ok(200)["existing"], true);
    let refused = world
        .unchanged(|| send(&world, &of_epoch(&world), &zoe()))
        .problem("revoked");
    assert!(detail_of(&refused).contains("was revoked"), "{refused}");
    // An operator ends a lost passkey with another key.
    let lost = revocation(&boundary, "key", &sha256(&yuki().blob()));
    let envelope = wrap(&lost, vec![oscar().sign(&lost)]);
    world.wire.post("/v1/revocations", "", &envelope).ok(200);
    world
        .unchanged(|| sign(&world, &proposal, &yuki()))
        .problem("not-permitted-signer");
    world.assert_audited();
}

#[test]
fn a_passkey_of_an_approver_reads_and_no_other_passkey() {
    let world = world(PASSKEYS);
    let answer = |key: &PasskeyPair, edit: Edit| {
        let challenge = world
            .wire
            .post("/v1/challenges", "", &json!({"keyid": key.keyid()}))
            .ok(200);
        let text = challenge["challenge"].as_str().expect("a challenge");
        let signature = signature(key, CHALLENGE, text.as_bytes(), edit);
        world.wire.post(
            "/v1/challenges/answer",
            "",
            &json!({"challenge": text, "signature": signature}),
        )
    };
    let admitted = answer(&zoe(), |_| {}).ok(200);
    assert_eq!(admitted["name"], "zoe", "{admitted}");
    let bearer = admitted["bearer"].as_str().expect("a bearer");
    world.wire.get("/v1/registry", bearer).ok(200);
    world
        .wire
        .post(
            "/v1/proposals",
            bearer,
            &World::wish("plain:true", json!({})),
        )
        .problem("forbidden");
    answer(&zoe(), |parts| parts.flags = 0x04).problem("bad-signature");
    answer(&zoe(), |parts| parts.flags = VERIFIED | SYNCED).problem("not-permitted-signer");
    let refused = answer(&olga(), |_| {}).problem("not-permitted-signer");
    assert!(
        detail_of(&refused).contains("only the passkey of an approver"),
        "{refused}"
    );
    // The signature of a challenge approves nothing.
    let proposal = world.propose("plain:true", json!({}));
    let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
    let other = signature(&zoe(), CHALLENGE, &bytes_of(&proposal), |_| {});
    world
        .wire
        .post(&path, "", &json!({"signatures": [other]}))
        .problem("bad-signature");
}
