//! Signatures of passkeys: stock `ssh-keygen` accepts the valid ones, and both verifiers refuse each broken one by its reason.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{
    Bundle, Envelope, EnvelopeSignature, ForeignKey, PAYLOAD_TYPE, PolicyDigest, Presence,
    StatementKey, is_of_synced_passkey, pae, sshsig, to_canonical,
};
use serde_json::{Value, json};
use verdict::{BundleReport, RosterTrust, TrustedRoster, VerifyOptions, verify};

use crate::golden;
use crate::mutants::Story;
use crate::passkey::{
    ASSERTION, Assertion, Edit, HOST, LINE, PasskeyPair, SYNCED, VERIFIED, blob, hex, keyid_of,
    line_of, mpint, other_s,
};
use crate::receipts_foreign::{file, finish, program};
use crate::second::{Case, answers, ours, theirs};

/// The golden crossing with a passkey of bob in the roster. Alice signs with the own key, and `sign` makes the signature of
/// the passkey over the message.
fn crossing(
    id: &str,
    passkeys: Option<Value>,
    key: &[u8],
    sign: impl Fn(&[u8]) -> Vec<u8>,
) -> Case {
    let mut policy = golden::value("bundle.json")["policy"].clone();
    if let Some(passkeys) = passkeys {
        policy["passkeys"] = passkeys;
    }
    let mut roster = golden::payload("roster");
    roster["predicate"]["policy"] = json!(PolicyDigest::of(&to_canonical(&policy)));
    roster["predicate"]["approvers"]["bob"]["keys"]
        .as_array_mut()
        .expect("keys")
        .push(json!(line_of(key)));
    golden::repair_twins("roster", &mut roster);
    let told = |envelope: Option<Value>| {
        let story = Story {
            sealed: Some(("policy", policy.clone())),
            payload: Some(("roster", to_canonical(&roster))),
            envelope: envelope.map(|envelope| ("authorization", envelope)),
            ..Story::default()
        };
        story.tell(id.to_owned())
    };
    // The signatures change no document that the authorization names.
    let first: Bundle = serde_json::from_slice(&told(None).bundle).expect("a bundle");
    let payload = STANDARD
        .decode(&first.authorization.payload)
        .expect("base64");
    let message = pae(PAYLOAD_TYPE, &payload);
    let mut signatures = golden::envelope(&payload, &["alice"]).signatures;
    signatures.push(EnvelopeSignature::new(
        keyid_of(key).parse().expect("a key id"),
        &sign(&message),
    ));
    signatures.sort();
    told(Some(
        serde_json::to_value(Envelope::new(&payload, signatures)).expect("an envelope"),
    ))
}

fn usual() -> Value {
    json!({"most": 1, "alone": false, "synced": true})
}

fn signed(id: &str, edit: Edit) -> Case {
    let passkey = PasskeyPair::of(1);
    crossing(id, Some(usual()), &passkey.blob(), |message| {
        passkey.sign_but(message, edit)
    })
}

fn report(case: &Case) -> BundleReport {
    let trust = RosterTrust::Digest(
        std::str::from_utf8(&case.roster)
            .expect("text")
            .parse()
            .expect("a digest"),
    );
    verify(&case.bundle, &trust, VerifyOptions::default()).expect("trust")
}

fn with_client_data(parts: &mut Assertion, from: &str, to: &str) {
    let changed = parts.client_data.replacen(from, to, 1);
    assert_ne!(changed, parts.client_data, "{from}");
    parts.client_data = changed;
}

/// Moves the page to this origin, as a browser at this origin would sign it.
fn at_origin(parts: &mut Assertion, origin: &str) {
    with_client_data(parts, &format!("https://{HOST}"), origin);
    parts.origin = origin.to_owned();
}

#[test]
fn signatures_of_passkeys_count_in_both_verifiers_with_each_valid_form() {
    let forms: [(&str, Edit); 10] = [
        ("sha256", |_| {}),
        ("sha512", |parts| parts.hash = "sha512"),
        ("the other s", |parts| {
            parts.numbers = |[r, s]| [mpint(r), mpint(&other_s(s))]
        }),
        ("touched, not verified", |parts| parts.flags = 0x01),
        ("synced", |parts| parts.flags = VERIFIED | SYNCED),
        ("may be copied, is not yet", |parts| {
            parts.flags = VERIFIED | 0x08
        }),
        ("a port", |parts| {
            at_origin(parts, "https://desk.example:8443")
        }),
        ("no crossOrigin", |parts| {
            with_client_data(parts, ",\"crossOrigin\":false", "")
        }),
        ("more members", |parts| {
            let more = ",\"other_keys_can_be_added_here\":\"do not compare clientDataJSON against a template. See https://goo.gl/yabPex\"}";
            parts.client_data = parts
                .client_data
                .strip_suffix('}')
                .expect("an object")
                .to_owned()
                + more;
        }),
        ("1,024 bytes", |parts| {
            // The challenge has 95 characters, its place has 11.
            let spaces = 1024 - (parts.client_data.len() + 95 - 11);
            parts.client_data.push_str(&" ".repeat(spaces));
        }),
    ];
    let cases: Vec<Case> = forms.iter().map(|(id, edit)| signed(id, *edit)).collect();
    for (case, second) in cases.iter().zip(theirs(&cases)) {
        let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
        assert_eq!(first.differences(&second), [""; 0], "{}", case.id);
        assert!(
            first.verified,
            "{}: {:?}",
            case.id,
            report(case).failed().collect::<Vec<_>>()
        );
    }
    let report = report(&cases[0]);
    let facts = report.facts.expect("facts");
    let bob = facts
        .approvers
        .iter()
        .find(|approver| approver.name.as_str() == "bob")
        .expect("bob");
    assert_eq!(bob.passkey.as_deref(), Some(HOST));
    assert!(
        !report
            .warnings
            .iter()
            .any(|warning| warning.contains("passkey")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn ssh_keygen_verifies_the_signatures_of_passkeys() {
    let Some(keygen) = program(
        "ssh-keygen",
        "ssh_keygen_verifies_the_signatures_of_passkeys",
    ) else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let (passkey, message) = (PasskeyPair::of(2), b"a message");
    let mut roster = golden::payload("roster");
    roster["predicate"]["approvers"]["bob"]["keys"] = json!([passkey.line()]);
    golden::repair_twins("roster", &mut roster);
    let roster = TrustedRoster::from_payload(&to_canonical(&roster)).expect("a roster");
    let signers = file(home.path(), "signers", roster.allowed_signers().as_bytes());
    let line = file(
        home.path(),
        "key.pub",
        format!("{}\n", passkey.line()).as_bytes(),
    );
    let printed = finish(Command::new(&keygen).arg("-lf").arg(line), b"");
    assert!(
        String::from_utf8_lossy(&printed.stdout).contains(&passkey.keyid()),
        "{printed:?}"
    );
    let says = |edit: Edit| {
        let armoured = sshsig::armour(&passkey.sign_but(message, edit));
        let signature = file(home.path(), "message.sig", armoured.as_bytes());
        let mut command = Command::new(&keygen);
        command
            .args(["-Y", "verify", "-n", "countersign", "-I", "bob", "-f"])
            .arg(&signers);
        finish(command.arg("-s").arg(signature), message)
            .status
            .success()
    };
    assert!(says(|_| {}));
    assert!(says(|parts| parts.hash = "sha512"));
    assert!(says(
        |parts| parts.numbers = |[r, s]| [mpint(r), mpint(&other_s(s))]
    ));
    assert!(!says(|parts| with_client_data(
        parts,
        "webauthn.get",
        "webauthn.create"
    )));
}

/// A broken signature, the words of this program, and the words of the second verifier.
type Broken = (&'static str, Edit, &'static str, &'static str);

const NUMBER: (&str, &str) = (
    "not a positive number in its shortest form",
    "no positive number in its shortest form",
);
const LARGE: (&str, &str) = ("r or s is too large", "not below the order");
const DATA: (&str, &str) = ("no strict JSON object", "");
const HOSTS: (&str, &str) = (
    "not https and the host of the passkey",
    "not https and the host of the passkey",
);
const PORT: (&str, &str) = (HOSTS.0, "no port as browsers write it");
const CROSS: (&str, &str) = (
    "part of a page of another origin",
    "inside of a page of another origin",
);
const BAD: (&str, &str) = ("not valid for this key and message", "does not hold");

fn broken_numbers() -> Vec<Broken> {
    vec![
        (
            "r is 0",
            |parts| parts.numbers = |[_, s]| [vec![], mpint(s)],
            NUMBER.0,
            NUMBER.1,
        ),
        (
            "s is 0",
            |parts| parts.numbers = |[r, _]| [mpint(r), vec![]],
            NUMBER.0,
            NUMBER.1,
        ),
        (
            "s is 0 in one byte",
            |parts| parts.numbers = |[r, _]| [mpint(r), vec![0]],
            NUMBER.0,
            NUMBER.1,
        ),
        (
            "a padded r",
            |parts| parts.numbers = |[r, s]| [[&[0], &mpint(r)[..]].concat(), mpint(s)],
            NUMBER.0,
            NUMBER.1,
        ),
        (
            "a negative s",
            |parts| parts.numbers = |[r, _]| [mpint(r), vec![0xff; 32]],
            NUMBER.0,
            NUMBER.1,
        ),
        (
            "s is the order",
            |parts| parts.numbers = |[r, _]| [mpint(r), mpint(&hex(crate::passkey::ORDER))],
            LARGE.0,
            LARGE.1,
        ),
        (
            "r of 33 bytes",
            |parts| parts.numbers = |[_, s]| [vec![1; 33], mpint(s)],
            LARGE.0,
            LARGE.1,
        ),
        (
            "r and s exchanged",
            |parts| parts.numbers = |[r, s]| [mpint(s), mpint(r)],
            BAD.0,
            BAD.1,
        ),
        (
            "bytes after s",
            |parts| parts.tails[0] = b"\0",
            "bytes follow r and s",
            "bytes after the SSH data",
        ),
    ]
}

fn broken_parts() -> Vec<Broken> {
    vec![
        (
            "nobody present",
            |parts| parts.flags = 0x00,
            "no person was present",
            "nobody was present",
        ),
        (
            "verified, not present",
            |parts| parts.flags = 0x04,
            "no person was present",
            "nobody was present",
        ),
        (
            "a copy of what can't be copied",
            |parts| parts.flags = VERIFIED | 0x10,
            "a copy of a key",
            "a copy of what",
        ),
        (
            "the flag of a new key",
            |parts| parts.flags = VERIFIED | 0x40,
            "has extensions or the data",
            "extensions, or the data",
        ),
        (
            "the flag of extensions",
            |parts| parts.flags = VERIFIED | 0x80,
            "has extensions or the data",
            "extensions, or the data",
        ),
        (
            "extensions",
            |parts| parts.extensions = b"\xa0".to_vec(),
            "has extensions or the data",
            "extensions, or the data",
        ),
        (
            "extensions with their flag",
            |parts| {
                parts.flags = VERIFIED | 0x80;
                parts.extensions = b"\xa0".to_vec();
            },
            "has extensions or the data",
            "extensions, or the data",
        ),
        (
            "bytes after the inner signature",
            |parts| parts.tails[1] = b"\0",
            "bytes follow the end",
            "bytes after the SSH data",
        ),
        (
            "bytes after the SSHSIG",
            |parts| parts.tails[2] = b"\0",
            "bytes follow the end",
            "bytes after the SSH data",
        ),
        (
            "another namespace",
            |parts| parts.namespace = b"git".to_vec(),
            "is for namespace \"git\"",
            "for the namespace b'git'",
        ),
        (
            "another hash",
            |parts| parts.hash = "sha384",
            "neither sha512 nor sha256",
            "hashes with",
        ),
        (
            "the type of ssh-keygen",
            |parts| parts.kind = LINE.into(),
            "does not have 64 bytes",
            "not one of a browser",
        ),
        (
            "another application signed",
            |parts| parts.application = "evil.example".to_owned(),
            BAD.0,
            BAD.1,
        ),
        (
            "the key of another host",
            |parts| parts.key = Some(PasskeyPair::at(1, "evil.example").blob()),
            "not the key of its key id",
            "of another key",
        ),
    ]
}

fn broken_client_data() -> Vec<Broken> {
    vec![
        (
            "a new passkey",
            |parts| with_client_data(parts, "webauthn.get", "webauthn.create"),
            "is not webauthn.get",
            "no client data of webauthn.get",
        ),
        (
            "no type",
            |parts| with_client_data(parts, "\"type\":\"webauthn.get\",", ""),
            "is not webauthn.get",
            "no client data of webauthn.get",
        ),
        (
            "another challenge",
            |parts| with_client_data(parts, "{challenge}", "AAAA"),
            "the challenge in the client data",
            "another challenge",
        ),
        (
            "a padded challenge",
            |parts| with_client_data(parts, "{challenge}", "{challenge}="),
            "the challenge in the client data",
            "another challenge",
        ),
        (
            "no challenge",
            |parts| with_client_data(parts, "\"challenge\":\"{challenge}\",", ""),
            "the challenge in the client data",
            "another challenge",
        ),
        (
            "http",
            |parts| at_origin(parts, "http://desk.example"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "another host",
            |parts| at_origin(parts, "https://evil.example"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "a host below",
            |parts| at_origin(parts, "https://a.desk.example"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "a longer host",
            |parts| at_origin(parts, "https://desk.example.evil"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "a user before the host",
            |parts| at_origin(parts, "https://desk.example@evil.example"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "a path",
            |parts| at_origin(parts, "https://desk.example/"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "capital letters",
            |parts| at_origin(parts, "https://DESK.example"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "an empty port",
            |parts| at_origin(parts, "https://desk.example:"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "port 0",
            |parts| at_origin(parts, "https://desk.example:0"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "a port with a zero before it",
            |parts| at_origin(parts, "https://desk.example:08443"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "a port with a sign",
            |parts| at_origin(parts, "https://desk.example:+8443"),
            HOSTS.0,
            HOSTS.1,
        ),
        (
            "the port of https",
            |parts| at_origin(parts, "https://desk.example:443"),
            PORT.0,
            PORT.1,
        ),
        (
            "port 65536",
            |parts| at_origin(parts, "https://desk.example:65536"),
            PORT.0,
            PORT.1,
        ),
        (
            "another origin beside the data",
            |parts| parts.origin = "https://evil.example".to_owned(),
            "the origin beside the client data",
            "the two origins differ",
        ),
        (
            "another origin in the data",
            |parts| with_client_data(parts, "https://desk.example", "https://evil.example"),
            "the origin beside the client data",
            "the two origins differ",
        ),
        (
            "no origin",
            |parts| with_client_data(parts, "\"origin\":\"https://desk.example\",", ""),
            "has no origin",
            "the two origins differ",
        ),
        (
            "cross-origin",
            |parts| with_client_data(parts, "false", "true"),
            CROSS.0,
            CROSS.1,
        ),
        (
            "a text as crossOrigin",
            |parts| with_client_data(parts, "false", "\"\""),
            CROSS.0,
            CROSS.1,
        ),
        (
            "0 as crossOrigin",
            |parts| with_client_data(parts, "false", "0"),
            CROSS.0,
            CROSS.1,
        ),
        (
            "a top origin",
            |parts| {
                with_client_data(
                    parts,
                    "false",
                    "false,\"topOrigin\":\"https://evil.example\"",
                )
            },
            CROSS.0,
            CROSS.1,
        ),
        (
            "a key twice",
            |parts| with_client_data(parts, "{\"", "{\"origin\":\"https://desk.example\",\""),
            DATA.0,
            "stands twice",
        ),
        (
            "a key twice with an escape",
            |parts| with_client_data(parts, "{\"", "{\"\\u0074ype\":\"webauthn.get\",\""),
            DATA.0,
            "stands twice",
        ),
        (
            "no JSON",
            |parts| parts.client_data.push('}'),
            DATA.0,
            "no JSON",
        ),
        (
            "an array",
            |parts| parts.client_data = "[]".to_owned(),
            DATA.0,
            "no client data of webauthn.get",
        ),
        (
            "a byte order mark",
            |parts| parts.client_data.insert(0, '\u{feff}'),
            DATA.0,
            "byte order mark",
        ),
        (
            "1,025 bytes",
            |parts| {
                parts
                    .client_data
                    .push_str(&" ".repeat(1025 - (parts.client_data.len() + 84)))
            },
            "more than 1,024 bytes",
            "at most 1024",
        ),
    ]
}

#[test]
fn each_broken_assertion_is_refused_by_its_reason_in_both_verifiers() {
    let broken: Vec<Broken> = [broken_numbers(), broken_parts(), broken_client_data()].concat();
    assert!(broken.len() >= 50, "{}", broken.len());
    let cases: Vec<Case> = broken
        .iter()
        .map(|(id, edit, ..)| signed(id, *edit))
        .collect();
    for ((case, (_, _, our_words, their_words)), answer) in
        cases.iter().zip(&broken).zip(answers(&cases))
    {
        let report = report(case);
        let failed: Vec<_> = report
            .failed()
            .map(|check| (check.name.word(), check.detail.as_str()))
            .collect();
        let [("authorization-signatures", detail)] = failed[..] else {
            panic!("{}: {failed:?}", case.id)
        };
        assert!(detail.contains(our_words), "{}: {detail}", case.id);
        let why = answer["why"].as_object().expect("reasons");
        assert_eq!(
            why.keys().collect::<Vec<_>>(),
            ["authorization-signatures"],
            "{}: {why:?}",
            case.id
        );
        let why = why["authorization-signatures"].as_str().expect("words");
        assert!(why.contains(their_words), "{}: {why}", case.id);
    }
}

#[test]
fn a_line_that_only_looks_like_a_passkey_never_signs() {
    let passkey = PasskeyPair::of(1);
    let (mut other_form, mut off_curve) = (point_of(&passkey), point_of(&passkey));
    other_form[0] = 6;
    off_curve[64] ^= 1;
    let long = format!("{}.example", "a".repeat(250));
    let lines = [
        (
            "another curve",
            blob(LINE, "nistp384", &point_of(&passkey), HOST),
        ),
        (
            "a compressed point",
            blob(LINE, "nistp256", &point_of(&passkey)[..33], HOST),
        ),
        (
            "another form of the point",
            blob(LINE, "nistp256", &other_form, HOST),
        ),
        (
            "the application of ssh-keygen",
            blob(LINE, "nistp256", &point_of(&passkey), "ssh:"),
        ),
        (
            "a host with capital letters",
            blob(LINE, "nistp256", &point_of(&passkey), "Desk.example"),
        ),
        (
            "an empty host",
            blob(LINE, "nistp256", &point_of(&passkey), ""),
        ),
        (
            "a host with an empty label",
            blob(LINE, "nistp256", &point_of(&passkey), "desk..example"),
        ),
        (
            "a host with a port",
            blob(LINE, "nistp256", &point_of(&passkey), "desk.example:8443"),
        ),
        (
            "a host of 258 bytes",
            blob(LINE, "nistp256", &point_of(&passkey), &long),
        ),
        (
            "bytes after the host",
            [&passkey.blob()[..], b"\0"].concat(),
        ),
    ];
    for (id, line) in &lines {
        let key = ForeignKey::parse(&line_of(line)).expect("a foreign key");
        assert!(key.passkey().is_none(), "{id}");
    }
    let mut cases: Vec<Case> = lines
        .iter()
        .map(|(id, line)| {
            let sign =
                |message: &[u8]| passkey.sign_but(message, |parts| parts.key = Some(line.clone()));
            crossing(id, Some(usual()), line, sign)
        })
        .collect();
    // The form is that of a passkey, so only the signature shows that the point is none of the curve.
    let wrong = blob(LINE, "nistp256", &off_curve, HOST);
    cases.push(crossing(
        "a point that is not on the curve",
        Some(usual()),
        &wrong,
        |message| passkey.sign_but(message, |parts| parts.key = Some(wrong.clone())),
    ));
    for (case, second) in cases.iter().zip(theirs(&cases)) {
        let (first, second) = (
            ours(case).expect("the roster stays valid"),
            second.expect("the roster stays valid"),
        );
        assert_eq!(first.differences(&second), [""; 0], "{}", case.id);
        assert_eq!(first.failed(), ["authorization-signatures"], "{}", case.id);
    }
}

fn point_of(passkey: &PasskeyPair) -> Vec<u8> {
    let blob = passkey.blob();
    let end = blob.len() - HOST.len() - 4;
    blob[end - 65..end].to_vec()
}

#[test]
fn policy_decides_whether_a_passkey_counts() {
    let passkey = PasskeyPair::of(1);
    let case = |id: &str, passkeys: Option<Value>, flags: u8| {
        let sign = |message: &[u8]| passkey.sign_but(message, |parts| parts.flags = flags);
        crossing(id, passkeys, &passkey.blob(), sign)
    };
    let rule = |synced: bool| Some(json!({"most": 1, "alone": false, "synced": synced}));
    let cases = [
        (
            None,
            case("no passkeys in policy", None, VERIFIED),
            "the policy in force has no `passkeys`",
        ),
        (Some(()), case("not synced", rule(false), VERIFIED), ""),
        (
            None,
            case(
                "synced, and policy permits none",
                rule(false),
                VERIFIED | SYNCED,
            ),
            "`passkeys.synced: false`",
        ),
        (
            None,
            case(
                "may be synced, and policy permits none",
                rule(false),
                VERIFIED | 0x08,
            ),
            "`passkeys.synced: false`",
        ),
        (Some(()), case("synced", rule(true), VERIFIED | SYNCED), ""),
    ];
    let (expected, cases): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .map(|(good, case, words)| ((good, words), case))
        .unzip();
    for ((case, (good, words)), second) in cases.iter().zip(expected).zip(theirs(&cases)) {
        let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
        assert_eq!(first.differences(&second), [""; 0], "{}", case.id);
        let failed: &[&str] = if good.is_some() {
            &[]
        } else {
            &["authorization-signatures"]
        };
        assert_eq!(
            (first.verified, &first.failed()[..]),
            (good.is_some(), failed),
            "{}",
            case.id
        );
        let report = report(case);
        assert!(
            report.failed().all(|check| check.detail.contains(words)),
            "{}: {report:?}",
            case.id
        );
    }
}

#[test]
fn a_signature_of_a_passkey_states_presence_and_copies_and_each_flipped_bit_is_refused() {
    let (passkey, message) = (PasskeyPair::of(3), b"a message");
    let line = ForeignKey::parse(&passkey.line()).expect("a line");
    let key = line.passkey().expect("a passkey");
    assert_eq!(
        (key.host(), line.keyid().to_string()),
        (HOST, passkey.keyid())
    );
    let verify = |blob: &[u8]| {
        sshsig::verify(StatementKey::Passkey(key), message, blob).map(|proof| proof.presence())
    };
    for (flags, presence, synced) in [
        (0x01, Presence::Touched, false),
        (VERIFIED, Presence::Verified, false),
        (VERIFIED | SYNCED, Presence::Verified, true),
        (0x01 | 0x08, Presence::Touched, true),
    ] {
        let blob = passkey.sign_but(message, |parts| parts.flags = flags);
        assert_eq!(
            (verify(&blob), is_of_synced_passkey(&blob)),
            (Ok(presence), Some(synced)),
            "{flags}"
        );
    }
    let blob = passkey.sign(message);
    assert!(blob.len() <= 650, "12 signatures must fit: {}", blob.len());
    assert!(
        blob.windows(ASSERTION.len())
            .any(|part| part == ASSERTION.as_bytes())
    );
    for length in 0..blob.len() {
        assert!(verify(&blob[..length]).is_err(), "{length} bytes");
    }
    for bit in 0..blob.len() * 8 {
        let mut flipped = blob.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped).is_err(), "bit {bit}");
    }
    assert!(
        sshsig::verify(&golden::key("bob"), message, &blob).is_err(),
        "another type of key"
    );
    assert!(
        verify(&golden::sshsig("bob", message)).is_err(),
        "a signature of another type"
    );
    let raw = golden::secret("bob").sign(message);
    assert!(verify(&raw).is_err(), "64 raw bytes");
}
