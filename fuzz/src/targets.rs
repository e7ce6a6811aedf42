//! The entry functions of the fuzz targets. No input may cause a panic, and each function asserts properties of its
//! parser.
//!
//! The fuzz targets use this file, and `tests/formats/fuzz_corpus.rs` includes it by path to replay the seeds with the
//! stable toolchain.
use std::collections::BTreeSet;
use std::sync::OnceLock;

use boundary::{IdToken, IssuerKeys, MAX_ID_TOKEN_BYTES};
use documents::{
    Authorization, Base64, Bundle, Checkpoint, Denial, Envelope, ForeignKey, KINDS, KeyId, Note,
    Passkey, Predicate, Program, ProgramFacts, ProgramList, ProgramMode, Receipt, Revocation,
    Roster, SecretKey, Signed, SshKey, StatementKey, StepRef, TilePath, TlogProof, WitnessKey,
    json, parse_canonical, parse_signatures, push_entry, split_entries, sshsig, to_canonical,
};
use reading::{
    Builtins, DecisionPlace, Flags, Page, Policy, ReadLimit, ReadPage, RunbookFiles,
    ScriptTemplate, Shell, commands, decide_command, gruntwork, markdown, resolve, rundown,
    runnable,
};
use sandbox::{check_messages, check_request, check_start};
use serde_json::Value;
use verdict::{
    CheckFinding, CheckName, HashedStep, RosterTrust, StepError, TrustedRoster, VerifyOptions,
    verify,
};

pub type Target = fn(&[u8]);

/// All entry functions with their names.
pub const ALL: [(&str, Target); 18] = [
    ("bundle_verify", bundle_verify),
    ("envelope", envelope),
    ("gruntwork_runbook", gruntwork_runbook),
    ("id_token", id_token),
    ("json_reader", json_reader),
    ("launcher_request", launcher_request),
    ("markdown_runbook", markdown_runbook),
    ("note_and_proof", note_and_proof),
    ("policy_yaml", policy_yaml),
    ("program_lists", program_lists),
    ("step_definition", step_definition),
    ("rundown_runbook", rundown_runbook),
    ("runnable_page", runnable_page),
    ("ssh_key_line", ssh_key_line),
    ("shell_commands", shell_commands),
    ("sshsig_blob", sshsig_blob),
    ("statement_each_kind", statement_each_kind),
    ("template_source", template_source),
];

/// Strict JSON: each accepted value has exactly one canonical form.
pub fn json_reader(data: &[u8]) {
    let canonical = parse_canonical(data, 1 << 20).is_ok();
    let Ok(value) = json::parse(data, 1 << 20) else {
        assert!(!canonical);
        return;
    };
    let written = to_canonical(&value);
    assert_eq!(canonical, written == data);
    assert!(parse_canonical(&written, usize::MAX).is_ok_and(|again| again == value));
}

/// An ID token, and the same bytes as the keys of an issuer: a parsed ID token has three parts, names an issuer and a key, and
/// no other text has the same meaning.
pub fn id_token(data: &[u8]) {
    let _ = IssuerKeys::parse(data).map(|keys| assert!(keys.usable() == 0 || !data.is_empty()));
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(parsed) = IdToken::parse(text) else {
        return;
    };
    assert!(text.len() <= MAX_ID_TOKEN_BYTES && text.split('.').count() == 3);
    assert!(!parsed.issuer().is_empty() && !parsed.kid().is_empty());
    assert!(
        IdToken::parse(&format!("{text}=")).is_err()
            && IdToken::parse(&format!(" {text}")).is_err()
    );
}

/// An envelope of any kind, parsed strictly and leniently.
pub fn envelope(data: &[u8]) {
    fn one<P: Predicate>(envelope: &Envelope, roster: &TrustedRoster) {
        for reading in [Base64::Strict, Base64::Lenient] {
            let Ok(signed) = Signed::<P>::from_envelope(envelope, reading) else {
                continue;
            };
            let _ = signed.check_document();
            if let Ok(verified) = signed.verify(|keyid| roster.key(keyid)) {
                // The serialized envelope is strict and has the same digest.
                let again = verified.envelope(|_| true);
                let strict = Signed::<P>::from_envelope(&again, Base64::Strict).expect("strict");
                assert_eq!(strict.digest(), verified.digest());
            }
        }
    }
    let Ok(envelope) = json::parse_as::<Envelope>(data, 4 << 20) else {
        return;
    };
    let roster = golden_roster();
    one::<Authorization>(&envelope, roster);
    one::<Denial>(&envelope, roster);
    one::<Receipt>(&envelope, roster);
    one::<Revocation>(&envelope, roster);
    one::<Roster>(&envelope, roster);
}

/// A payload parsed as each kind: at most one kind accepts the payload, and serializing gives the same bytes.
pub fn statement_each_kind(data: &[u8]) {
    let taken: Vec<_> = KINDS
        .iter()
        .filter_map(|kind| (kind.read)(data).ok())
        .collect();
    assert!(
        taken.iter().all(|again| again == data),
        "what was read can be written"
    );
    assert!(taken.len() <= 1);
    if let Ok(roster) = TrustedRoster::from_payload(data) {
        let _ = roster.allowed_signers();
    }
}

/// A bundle verified with the golden roster. Only a golden receipt may be verified, because the fuzzer has no key of
/// the roster.
pub fn bundle_verify(data: &[u8]) {
    let report = verify(
        data,
        &RosterTrust::Roster(golden_envelope().to_vec()),
        VerifyOptions::default(),
    )
    .expect("a good roster");
    assert_eq!(report.checks.len(), CheckName::ALL.len());
    if report.verified {
        assert!(report.failed().next().is_none());
        assert_eq!(
            report.finding(CheckName::ReceiptSignature),
            CheckFinding::Established
        );
        let bundle = Bundle::parse(data).expect("it was read");
        assert!(
            golden_receipts().contains(&bundle.receipt.payload),
            "a receipt that the golden boundary never signed"
        );
    }
    let _ = verify(data, &RosterTrust::Nothing, VerifyOptions::default());
    let _ = verify(
        b"{}",
        &RosterTrust::Roster(data.to_vec()),
        VerifyOptions::default(),
    );
}

/// An SSHSIG blob or its armour, verified with an ordinary key and with a passkey.
pub fn sshsig_blob(data: &[u8]) {
    let key = golden_key();
    let message = b"a message that nobody signed";
    assert!(sshsig::verify(key, message, data).is_err());
    let passkey = StatementKey::Passkey(passkey_of_seed());
    assert!(sshsig::verify(passkey, message, data).is_err());
    // The seed is a valid signature, and every other accepted form states its flags.
    if sshsig::verify(passkey, b"a message", data).is_ok() {
        assert!(sshsig::is_of_synced_passkey(data).is_some());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(blob) = sshsig::dearmour(text)
    {
        assert!(sshsig::verify(key, message, &blob).is_err());
        assert_eq!(
            sshsig::dearmour(&sshsig::armour(&blob)).expect("our own armour"),
            blob
        );
    }
}

/// A public key line, a key id, and a private key file.
pub fn ssh_key_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for line in [text, text.trim_end()] {
        if let Ok(key) = SshKey::parse(line) {
            assert_eq!(key.line(), line);
            let again = SshKey::parse(key.line()).expect("its own line");
            assert!(again == key && again.keyid() == key.keyid());
            assert_eq!(
                key.keyid()
                    .to_string()
                    .parse::<KeyId>()
                    .expect("its own id"),
                key.keyid()
            );
        }
        let _ = line.parse::<KeyId>();
    }
    if let Ok(secret) = SecretKey::from_pkcs8_pem(text) {
        let again = SecretKey::from_pkcs8_pem(&secret.to_pkcs8_v1_pem()).expect("our own file");
        assert_eq!(again.public(), secret.public());
    }
}

/// Notes, checkpoints, proofs, tiles and verifier keys.
pub fn note_and_proof(data: &[u8]) {
    if let Some(entries) = split_entries(data) {
        let mut tile = Vec::new();
        entries
            .iter()
            .for_each(|entry| push_entry(&mut tile, entry).expect("it was in a tile"));
        assert_eq!(tile, data);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
        let key = WitnessKey::new("witness.example/w1", SecretKey::from_seed([7; 32]).public());
        let _ = key.verify(&note);
        let _ = Checkpoint::parse(note.unverified_text());
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.body(), text);
    }
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_string(), text);
    }
    if let Some(tile) = TilePath::parse(text) {
        assert_eq!(tile.to_string(), text);
        let _ = (tile.subtrees(), tile.is_within(u64::MAX));
    }
    if let Ok(witness) = WitnessKey::parse(text) {
        assert_eq!(witness.vkey(), text);
    }
    if let Ok(lines) = parse_signatures(text) {
        assert!(!lines.is_empty());
    }
}

/// A runbook: the parser returns steps or at least one error.
pub fn markdown_runbook(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let files = RunbookFiles::new("/nonexistent".into(), None);
    let found = markdown::read(&Page {
        name: "seed/runbook",
        text,
        files: &files,
    })
    .unwrap_or_default();
    for one in found.steps {
        let value = serde_json::to_value(&one.definition).expect("a definition is JSON");
        let _ = verdict::HashedStep::parse(&value);
    }
}

/// A Gruntwork runbook: the parser returns steps, or at least one error with a place.
pub fn gruntwork_runbook(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    page_of(text, gruntwork::read);
}

/// A Rundown runbook: the parser returns steps, one for each block that is run, or at least one error with a place.
pub fn rundown_runbook(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let workflow = rundown::read_workflow(text);
    let read = page_of(text, |page| Some(rundown::read(page)));
    match workflow {
        Ok(workflow) => {
            let units = workflow
                .steps
                .iter()
                .flat_map(|step| std::iter::once(&step.unit).chain(&step.substeps));
            let scripts = units.filter(|unit| unit.script.is_some()).count();
            assert!(read.is_none_or(|steps| steps == scripts));
        }
        Err(flaws) => assert!(!flaws.is_empty() && read.is_none()),
    }
}

/// A page with runnable blocks: the parser returns steps, or at least one error with a place.
pub fn runnable_page(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    page_of(text, runnable::read);
}

/// Reads a page. Returns the number of steps, or `None` if the page has an error. Checks the place of each error and the
/// form of each step.
fn page_of(text: &str, read: fn(&Page<'_>) -> Option<ReadPage>) -> Option<usize> {
    let files = RunbookFiles::new("/nonexistent".into(), None);
    match read(&Page {
        name: "seed/runbook",
        text,
        files: &files,
    })
    .unwrap_or_default()
    .without_flaws()
    {
        Ok(found) => {
            let steps = found.steps;
            for one in &steps {
                assert_eq!(one.definition.check(), Ok(()));
                assert!(serde_json::to_value(&one.definition).is_ok());
            }
            Some(steps.len())
        }
        Err(flaws) => {
            let lines = text.split('\n').count();
            assert!(!flaws.is_empty());
            assert!(
                flaws
                    .iter()
                    .all(|flaw| (1..=lines).contains(&flaw.place.line) && flaw.place.column > 0)
            );
            None
        }
    }
}

/// A policy: an accepted policy can be sealed, and the sealed form is the same policy.
pub fn policy_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Policy::load(text) {
        Ok(policy) => {
            let sealed = json::parse(policy.canonical(), 1 << 20).expect("canonical");
            let again =
                Policy::from_sealed(&sealed).expect("what was served can be read from its seal");
            assert!(again.digest() == policy.digest() && again.file() == policy.file());
            let step: StepRef = "deploy/app:restart".parse().expect("a ref");
            let rulings =
                [&policy, &again].map(|policy| resolve(policy, Builtins::current(), &step));
            assert!(rulings[0] == rulings[1]);
            for name in ["git", "/usr/bin/rm", "./scripts/a.sh", "[", "\n"] {
                let _ = decide_command(
                    &rulings[0],
                    name,
                    DecisionPlace::Boundary,
                    &Flags::default(),
                );
            }
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
}

/// A list of programs, the facts of a receipt about programs, and built-in lists with closures.
pub fn program_lists(data: &[u8]) {
    let Ok(value) = json::parse(data, 1 << 20) else {
        return;
    };
    if let Ok(list) = ProgramList::parse(data) {
        assert!((1..=4096).contains(&list.programs().len()));
        let bytes = list.to_bytes().expect("a known list");
        assert_eq!(ProgramList::parse(&bytes).ok(), Some(list));
    }
    if let Ok(facts) = json::typed::<ProgramFacts>(&value)
        && facts.check().is_ok()
    {
        assert_eq!(facts.listed == 0, facts.mode == ProgramMode::Any);
        assert_eq!(
            json::typed(&serde_json::to_value(&facts).expect("JSON")).ok(),
            Some(facts)
        );
    }
    match Builtins::from_sealed(&value) {
        Ok(lists) => {
            // The programs that all these programs start are already known.
            let names: BTreeSet<Program> = lists.closures.names().cloned().collect();
            let started = lists.closures.started_by(&names, |_| true);
            let all = names.iter().chain(started.keys()).cloned().collect();
            assert!(lists.closures.started_by(&all, |_| true).is_empty());
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
}

/// The definition of a step.
pub fn step_definition(data: &[u8]) {
    let Ok(value) = json::parse(data, 1 << 20) else {
        return;
    };
    match HashedStep::parse(&value) {
        Ok(_) => {}
        Err(StepError::Malformed(error)) => assert!(error.pointer.starts_with("/step")),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Messages between the service, the helper and a run's first process.
pub fn launcher_request(data: &[u8]) {
    if let Ok(taken) = check_request(data) {
        assert!(taken <= data.len());
    }
    let _ = check_start(data);
    let _ = check_messages(data);
}

fn golden_envelope() -> &'static [u8] {
    include_bytes!("../../tests/conformance/golden/valid/roster.json")
}

fn golden_receipts() -> &'static [String] {
    static RECEIPTS: OnceLock<Vec<String>> = OnceLock::new();
    RECEIPTS.get_or_init(|| {
        let bundles: [&[u8]; 4] = [
            include_bytes!("../../tests/conformance/golden/valid/bundle.json"),
            include_bytes!("../../tests/conformance/golden/valid/bundle-sshsig.json"),
            include_bytes!("../../tests/conformance/golden/valid/bundle-sk.json"),
            include_bytes!("../../tests/conformance/golden/valid/bundle-roster-2.json"),
        ];
        bundles
            .iter()
            .map(|bytes| {
                Bundle::parse(bytes)
                    .expect("a golden bundle")
                    .receipt
                    .payload
            })
            .collect()
    })
}

fn golden_roster() -> &'static TrustedRoster {
    static ROSTER: OnceLock<TrustedRoster> = OnceLock::new();
    ROSTER.get_or_init(|| {
        let payload = include_bytes!("../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload).expect("the golden roster")
    })
}

fn golden_key() -> &'static SshKey {
    static KEY: OnceLock<SshKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let line = include_str!("../../tests/conformance/golden/valid/keys/bob.pub");
        SshKey::parse(line.trim_end()).expect("a golden key")
    })
}

/// The key of `fuzz/seeds/sshsig_blob/passkey.bin`.
fn passkey_of_seed() -> &'static Passkey {
    static KEY: OnceLock<ForeignKey> = OnceLock::new();
    let key = KEY.get_or_init(|| ForeignKey::parse(PASSKEY_LINE).expect("a line"));
    key.passkey().expect("a passkey")
}

const PASSKEY_LINE: &str = "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfUAAAAMZGVzay5leGFtcGxl";

/// A script: the commands found for bash, and for `sh`, which can be bash or dash. Each place must be in the script.
pub fn shell_commands(data: &[u8]) {
    let Ok(script) = std::str::from_utf8(data) else {
        return;
    };
    let bash = commands::find_in(Shell::Bash, script, ReadLimit::Step);
    let either = commands::find_in(Shell::Sh, script, ReadLimit::Step);
    let lines = script.split('\n').count();
    for found in [&bash, &either] {
        match found {
            Ok(found) => {
                assert!(found.is_sorted_by_key(|one| one.place));
                assert!(
                    found.len() <= 4 * script.len()
                        && found.iter().all(|one| one.source.chars().count() <= 200)
                );
                assert!(found.iter().all(|one| one.place.line >= 1
                    && one.place.line <= lines
                    && one.place.column >= 1));
            }
            Err(why) => assert!(!why.message.is_empty() && why.place.line <= lines),
        }
    }
    if let Ok(either) = either {
        // A script that is accepted for `sh` is accepted for bash, with no other commands.
        let bash = bash.expect("bash's reading is a part of both");
        assert!(bash.iter().all(|one| {
            either
                .iter()
                .any(|other| one.what == other.what && one.place == other.place)
        }));
    }
}

/// A template: an accepted template renders twice to the same bytes, or refuses the value.
pub fn template_source(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let (value, source) = source.split_once('\n').unwrap_or(("$(a)'\"`", source));
    for language in ["bash", "sh", "python", "node", "go"] {
        match ScriptTemplate::parse(source, language) {
            Ok(template) => {
                let params = template
                    .names()
                    .iter()
                    .map(|name| (name.clone(), Value::from(value)))
                    .collect();
                assert_eq!(template.render(&params), template.render(&params));
            }
            Err(flaws) => {
                assert!(!flaws.is_empty() && flaws.iter().all(|flaw| flaw.offset <= source.len()));
            }
        }
    }
}
