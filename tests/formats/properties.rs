//! Property tests of the JSON reader, envelopes, quorum, size limits and lists of programs.

use std::collections::BTreeSet;

use documents::{
    Approvals, Authorization, Base64, Bundle, Denial, Envelope, EnvelopeSignature, KeyId,
    ListedProgram, MAX_AUTHORIZATION_BYTES, MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, MAX_PARAMS_BYTES,
    MAX_REASON_BYTES, MAX_REASON_CHARS, MAX_ROSTER_BYTES, MAX_SIGNATURE_BYTES, MAX_SIGNATURES,
    Permission, PermissionKind, PermissionReason, Predicate, Presence, Program, ProgramFacts,
    ProgramList, ProgramMode, Receipt, RefusalStatement, Roster, Seal, SecretKey, Signed, SshKey,
    Statement, Verified, VerifiedSignature, canonical_of, json, parse_canonical, push_entry,
    sha256, to_canonical,
};
use proptest::prelude::*;
use reading::{Builtins, Closures, Policy, check_written_program, resolve};
use serde_json::{Value, json};
use verdict::{
    QuorumRules, RosterTrust, Tokens, TrustedRoster, VerifyOptions, count, exclusion,
    quorum::decide, verify,
};

use crate::golden;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

// Reader

/// Any value of the strict JSON profile, to depth 4.
fn values() -> impl Strategy<Value = Value> {
    let integer = -(json::MAX_INTEGER as i64)..=json::MAX_INTEGER as i64;
    let text = prop_oneof![
        any::<String>(),
        "[ -~]{0,12}",
        Just("\u{1f600}\u{7f}\u{0}\"\\/".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        integer.prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn reader_law(bytes: &[u8]) {
    let canonical = parse_canonical(bytes, 1 << 20);
    match json::parse(bytes, 1 << 20) {
        Ok(value) => {
            // A parsed value has exactly one canonical form, and parsing this form gives the same value.
            let written = to_canonical(&value);
            assert!(written.is_ascii() && !written.contains(&b'\n'));
            assert_eq!(parse_canonical(&written, 1 << 20).as_ref(), Ok(&value));
            assert_eq!(to_canonical(&value), written);
            assert_eq!(canonical_of(&value).as_ref(), Ok(&written));
            assert_eq!(
                canonical.is_ok(),
                written == bytes,
                "canonical exactly when it is its own form"
            );
            // The reader of serde_json gives the same value.
            assert_eq!(serde_json::from_slice::<Value>(bytes).expect("JSON"), value);
        }
        Err(error) => assert_eq!(canonical.expect_err("refused as well").reason, error.reason),
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_json_reader_accepts_exactly_canonical_json(value in values()) {
        let reserved = value.to_string().contains("$serde_json::");
        prop_assume!(!reserved);
        reader_law(&to_canonical(&value));
        reader_law(value.to_string().as_bytes());
        reader_law(format!("{value:#}").as_bytes());
    }

}

// Envelope

fn read_authorization(envelope: &Envelope) -> Result<Verified<Authorization>, String> {
    let roster = TrustedRoster::from_payload(&golden::bytes("payload/roster.json"))
        .expect("the golden roster");
    let signed = Signed::<Authorization>::from_envelope(envelope, Base64::Lenient)
        .map_err(|error| error.to_string())?;
    signed
        .verify(|keyid| roster.key(keyid))
        .map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn the_counted_signatures_do_not_depend_on_their_order(
        order in Just((0_usize..4).collect::<Vec<_>>()).prop_shuffle(), keep in 1_u8..16,
    ) {
        let payload = golden::bytes("payload/authorization.json");
        let all = golden::envelope(&payload, &["alice", "bob", "carol", "dora"]);
        let picked = |order: &[usize]| Envelope {
            signatures: order.iter().filter(|at| keep >> **at & 1 == 1).map(|at| all.signatures[*at].clone()).collect(),
            ..all.clone()
        };
        let straight = read_authorization(&picked(&[0, 1, 2, 3])).unwrap().envelope(|_| true);
        let shuffled = read_authorization(&picked(&order)).unwrap().envelope(|_| true);
        prop_assert_eq!(&straight, &shuffled);
        prop_assert!(straight.signatures.is_sorted_by_key(|signature| signature.keyid));
    }
}

// Quorum

const GROUPS: [&str; 4] = ["dba", "net", "ops", "security"];

/// A roster with one approver for each element of `members`, whose bits select the groups. Each approver has two keys.
fn roster_of(members: &[u8]) -> (TrustedRoster, Vec<[KeyId; 2]>) {
    let mut approvers = json!({});
    let mut keyids = Vec::new();
    for (at, bits) in members.iter().enumerate() {
        let keys = ["a", "b"].map(|label| {
            let secret = SecretKey::from_seed(sha256(format!("{label}{at}").as_bytes()));
            SshKey::from_public(secret.public(), "").expect("a key")
        });
        let groups: Vec<&str> = (0..4)
            .filter(|bit| bits >> bit & 1 == 1)
            .map(|bit| GROUPS[bit])
            .collect();
        approvers[format!("p{at}")] =
            json!({"groups": groups, "keys": keys.each_ref().map(SshKey::line)});
        keyids.push(keys.map(|key| key.keyid()));
    }
    let roster: Roster = serde_json::from_value(json!({
        "name": "law", "version": 1, "threshold": 0, "policy": format!("sha256:{}", "0".repeat(64)),
        "approvers": approvers,
        "groups": GROUPS.map(|name| (name.to_owned(), json!({}))).into_iter().collect::<serde_json::Map<_, _>>(),
        "proposers": {}, "operators": {}, "boundaries": {}, "witnesses": {},
    }))
    .expect("a roster");
    let payload = roster.into_statement().unwrap().to_payload().unwrap();
    (
        TrustedRoster::from_payload(&payload).expect("a sound roster"),
        keyids,
    )
}

/// Whether each place can have its own person. Tries all assignments.
fn can_fill(people: &[u8], places: &[usize]) -> bool {
    let Some((place, rest)) = places.split_first() else {
        return true;
    };
    people.iter().enumerate().any(|(at, groups)| {
        groups >> place & 1 == 1 && {
            let others: Vec<u8> = people
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, g)| *g)
                .collect();
            can_fill(&others, rest)
        }
    })
}

fn holds(required: u64, from: &[usize], each: bool, people: &[u8]) -> bool {
    if each {
        let places: Vec<usize> = from
            .iter()
            .flat_map(|group| (0..required).map(|_| *group))
            .collect();
        return can_fill(people, &places);
    }
    people
        .iter()
        .filter(|groups| from.iter().any(|group| *groups >> group & 1 == 1))
        .count() as u64
        >= required
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn a_quorum_depends_only_on_the_set_of_people(
        members in prop::collection::vec(0_u8..16, 6),
        signed in prop::collection::vec((0_usize..6, 0_usize..2), 0..14),
        out in prop::collection::btree_set(0_usize..6, 0..2),
        policy in (1_u64..3, prop::sample::subsequence(vec![0_usize, 1, 2, 3], 1..=3), any::<bool>()),
        step in (1_u64..3, prop::sample::subsequence(vec![0_usize, 1, 2, 3], 1..=2), any::<bool>()),
        shuffle in Just((0_usize..14).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (roster, keyids) = roster_of(&members);
        let rule = |(required, from, each): &(u64, Vec<usize>, bool)| Approvals {
            required: *required,
            from: from.iter().map(|at| GROUPS[*at].parse().unwrap()).collect(),
            each: each.then_some(true),
        };
        let rules = QuorumRules::combine(Some(&rule(&policy)), &rule(&step)).unwrap();
        let nobody = "proposer".parse().unwrap();
        let names: Vec<_> = out.iter().map(|at| format!("p{at}").parse().unwrap()).collect();
        let excluded = exclusion::judge(&nobody, &nobody, Tokens::Unknown, &roster).unwrap().with(&names);
        let signature = |(person, key): &(usize, usize)| VerifiedSignature {
            keyid: keyids[*person][*key], presence: Presence::Unknown, sig: Vec::new(),
        };
        let at = "2026-11-20T09:30:00Z".parse().unwrap();
        let once: Vec<_> = signed.iter().map(signature).collect();
        let counted = count(&once, &roster, &excluded, &rules, at);

        // The order and repetitions of signatures change neither the counted approvers nor the decision.
        let mixed: Vec<_> = shuffle.iter().filter_map(|at| signed.get(*at)).map(signature).collect();
        let twice: Vec<_> = mixed.iter().chain(&once).cloned().collect();
        for other in [&mixed, &twice] {
            let again = count(other, &roster, &excluded, &rules, at);
            prop_assert_eq!(again.counted(), counted.counted());
            prop_assert_eq!(decide(&rules, &again).is_ok(), decide(&rules, &counted).is_ok());
        }

        // The decision equals the result of a search over all assignments.
        let named: u8 = policy.1.iter().chain(&step.1).fold(0, |bits, at| bits | 1 << at);
        let people: BTreeSet<usize> = signed.iter().map(|(person, _)| *person)
            .filter(|person| !out.contains(person) && members[*person] & named != 0).collect();
        let groups: Vec<u8> = people.iter().map(|person| members[*person]).collect();
        let found: BTreeSet<String> = counted.counted().iter().map(|person| person.name.to_string()).collect();
        prop_assert_eq!(found, people.iter().map(|at| format!("p{at}")).collect::<BTreeSet<_>>());
        let expected = [&policy, &step].iter().all(|(required, from, each)| holds(*required, from, *each, &groups));
        prop_assert_eq!(decide(&rules, &counted).is_ok(), expected);

        // An additional signer never changes a met quorum to unmet.
        let more: Vec<_> = once.iter().cloned().chain((0..6).map(|person| signature(&(person, 0)))).collect();
        if expected {
            prop_assert!(decide(&rules, &count(&more, &roster, &excluded, &rules, at)).is_ok());
        }
    }
}

// Size limits

fn statement<P: Predicate>(kind: &str) -> Statement<P> {
    Statement::from_payload(&golden::bytes(&format!("payload/{kind}.json")))
        .expect("a golden payload")
}

/// An authorization of maximum size: the reason and the parameters are at their limits, and permissions fill the rest.
fn largest_authorization() -> Statement<Authorization> {
    let mut predicate = statement::<Authorization>("authorization").predicate;
    // Each of these characters has 6 bytes in canonical JSON.
    predicate.reason = "\u{e9}".repeat(MAX_REASON_CHARS);
    let frame = "{\"host\":\"\"}".len();
    predicate.params = json!({"host": "h".repeat(MAX_PARAMS_BYTES - frame)});
    let mut room = MAX_AUTHORIZATION_BYTES
        - predicate
            .clone()
            .into_statement()
            .unwrap()
            .to_payload()
            .unwrap()
            .len();
    // Permissions fill the remaining bytes exactly.
    let one = |what: String| Permission {
        kind: PermissionKind::Run,
        what,
        why: PermissionReason::Unlisted,
    };
    let bytes = canonical_of(&one(String::new())).unwrap().len() + 1;
    while room >= bytes {
        let length = (room - bytes).min(100);
        let rest = room - bytes - length;
        // The rest after this permission must be zero or enough for one more permission.
        let length = if rest > 0 && rest < bytes + 4 {
            length - (bytes + 4 - rest)
        } else {
            length
        };
        predicate.permissions.push(one(format!(
            "{:04}{}",
            predicate.permissions.len(),
            "x".repeat(length - 4)
        )));
        room -= bytes + length;
        // The first permission has no comma before it.
        if predicate.permissions.len() == 1 {
            room += 1;
        }
    }
    predicate.into_statement().unwrap()
}

#[test]
fn an_authorization_with_all_maximum_values_fits_into_a_log_entry() {
    let authorization = largest_authorization();
    let payload = authorization.to_payload().expect("within its limits");
    assert_eq!(
        payload.len(),
        MAX_AUTHORIZATION_BYTES,
        "exactly at the limit"
    );
    assert!(authorization.predicate.permissions.len() >= 2);
    let signatures: Vec<_> = (0..MAX_SIGNATURES)
        .map(|at| {
            let key = SshKey::from_public(SecretKey::from_seed([at as u8 + 50; 32]).public(), "")
                .unwrap();
            // The sizes add up to the maximum, and each size gives the maximum base64 padding.
            let size = if at == 0 {
                MAX_SIGNATURE_BYTES - 511 * (MAX_SIGNATURES - 1)
            } else {
                511
            };
            EnvelopeSignature::new(key.keyid(), &vec![at as u8; size])
        })
        .collect();
    let envelope = Envelope::new(&payload, signatures);
    let leaf = golden::leaf_data(&envelope);
    assert_eq!(leaf.len(), 46_326, "as the page of the formats says");
    assert!(leaf.len() <= MAX_ENTRY_BYTES, "{} bytes", leaf.len());
    push_entry(&mut Vec::new(), &leaf).expect("fits into a tile");
    let signed = Signed::<Authorization>::from_envelope(&envelope, Base64::Strict).expect("read");
    let _well_formed = signed.check_document().expect("well formed");
}

#[test]
fn a_receipt_of_the_maximum_size_fits_into_a_log_entry_and_one_byte_more_is_too_large() {
    let mut receipt = statement::<Receipt>("receipt").predicate;
    let size = |receipt: &Receipt| {
        let statement = receipt.clone().into_statement();
        canonical_of(&statement).unwrap().len()
    };
    let missing = Receipt::MAX_BYTES - size(&receipt);
    receipt.boundary.version.push_str(&"v".repeat(missing));
    let bytes = receipt
        .clone()
        .into_statement()
        .to_payload()
        .expect("a receipt at every maximum is within its own limit");
    assert_eq!(bytes.len(), Receipt::MAX_BYTES);
    let envelope = golden::envelope(&bytes, &["boundary"]);
    let leaf = golden::leaf_data(&envelope);
    assert!(leaf.len() <= MAX_ENTRY_BYTES, "{} bytes", leaf.len());
    let signed = Signed::<Receipt>::from_envelope(&envelope, Base64::Strict).expect("read");
    let _well_formed = signed.check_document().expect("well formed");

    // A boundary signature in the longer sshsig form is refused.
    let mut longer = envelope.clone();
    longer.signatures[0] = EnvelopeSignature::new(
        longer.signatures[0].keyid,
        &golden::sshsig("boundary", &bytes),
    );
    let signed = Signed::<Receipt>::from_envelope(&longer, Base64::Strict).expect("read");
    let key = golden::key("boundary");
    assert!(signed.clone().verify(|_| Some(&key)).is_ok(), "it holds");
    let refused = signed
        .verify_raw(|_| Some(&key))
        .expect_err("the longer form");
    assert!(refused.to_string().contains("64 raw bytes"), "{refused}");

    receipt.boundary.version.push('v');
    let refused = receipt
        .into_statement()
        .to_payload()
        .expect_err("one byte more");
    assert!(refused.too_large, "{refused}");
}

#[test]
fn an_authorization_one_byte_over_any_of_its_limits_is_too_large() {
    let too_large = |change: &dyn Fn(&mut Authorization), at: &str| {
        let mut predicate = largest_authorization().predicate;
        predicate.permissions.clear();
        change(&mut predicate);
        let built = predicate.clone().into_statement().unwrap();
        let refused = built.to_payload().expect_err(at);
        assert!(refused.too_large && refused.pointer == at, "{refused:?}");
        // The same limit applies when the document is parsed.
        let refused =
            Statement::<Authorization>::from_payload(&canonical_of(&built).unwrap()).expect_err(at);
        assert!(refused.too_large && refused.pointer == at, "{refused:?}");
    };
    let permission = |what: String| Permission {
        kind: PermissionKind::Env,
        what,
        why: PermissionReason::Unknown,
    };
    too_large(&|one| one.reason.push('r'), "/predicate/reason");
    // Each of these characters has 12 bytes in canonical JSON.
    too_large(
        &|one| one.reason = "\u{1f600}".repeat(MAX_REASON_BYTES / 12 + 1),
        "/predicate/reason",
    );
    too_large(
        &|one| one.params["host"] = json!("h".repeat(MAX_PARAMS_BYTES - 10)),
        "/predicate/params",
    );
    too_large(
        &|one| one.permissions = vec![permission("x".repeat(129))],
        "/predicate/permissions/0/what",
    );
    too_large(
        &|one| {
            one.params = json!({});
            one.permissions = (0..65).map(|at| permission(format!("{at:02}"))).collect();
        },
        "/predicate/permissions",
    );
    let mut whole = largest_authorization();
    whole
        .predicate
        .permissions
        .last_mut()
        .unwrap()
        .what
        .push('x');
    let refused = whole.to_payload().expect_err("20 KiB and a byte");
    assert!(
        refused.too_large && refused.pointer.is_empty(),
        "{refused:?}"
    );
    let refused = Statement::<Authorization>::from_payload(&canonical_of(&whole).unwrap())
        .expect_err("20 KiB and a byte");
    assert!(refused.too_large, "{refused:?}");
}

#[test]
fn a_seal_of_40_kib_is_accepted_and_one_byte_more_is_refused() {
    let mut seal = statement::<Seal>("seal").predicate;
    let mut keys: Vec<KeyId> = (0..700_u32)
        .map(|at| {
            let secret = SecretKey::from_seed(sha256(&at.to_be_bytes()));
            SshKey::from_public(secret.public(), "").unwrap().keyid()
        })
        .collect();
    keys.sort();
    seal.keys = keys;
    let missing = Seal::MAX_BYTES
        - seal
            .clone()
            .into_statement()
            .to_payload()
            .expect("700 keys")
            .len();
    seal.engine = format!("{}{}", seal.engine, "+".repeat(missing));
    let payload = seal
        .clone()
        .into_statement()
        .to_payload()
        .expect("at its limit");
    assert_eq!(payload.len(), Seal::MAX_BYTES);
    let leaf = golden::leaf_data(&golden::envelope(&payload, &["boundary"]));
    assert!(leaf.len() <= MAX_ENTRY_BYTES, "{} bytes", leaf.len());
    seal.engine.push('+');
    let refused = seal
        .into_statement()
        .to_payload()
        .expect_err("one byte more");
    assert!(refused.too_large, "{refused:?}");
}

#[test]
fn a_registry_leaf_of_8_kib_is_accepted_and_one_byte_more_is_refused() {
    let mut denial = statement::<Denial>("denial");
    denial.predicate.reason = String::new();
    let missing = Denial::MAX_BYTES - denial.to_payload().unwrap().len();
    denial.predicate.reason = "r".repeat(missing);
    assert_eq!(denial.to_payload().expect("8 KiB").len(), Denial::MAX_BYTES);
    denial.predicate.reason.push('r');
    assert!(denial.to_payload().expect_err("a byte more").too_large);
    let mut refusal = statement::<RefusalStatement>("refusal");
    refusal.predicate.principal = Some(String::new());
    let missing = RefusalStatement::MAX_BYTES - refusal.to_payload().unwrap().len();
    refusal.predicate.principal = Some("p".repeat(missing));
    assert_eq!(
        refusal.to_payload().expect("8 KiB").len(),
        RefusalStatement::MAX_BYTES
    );
    refusal.predicate.principal.as_mut().unwrap().push('p');
    assert!(refusal.to_payload().expect_err("a byte more").too_large);
}

#[test]
fn a_roster_of_256_kib_and_a_bundle_of_4_mib_are_accepted_and_one_byte_more_is_refused() {
    let mut roster = statement::<Roster>("roster").predicate;
    let missing = MAX_ROSTER_BYTES
        - roster
            .clone()
            .into_statement()
            .unwrap()
            .to_payload()
            .unwrap()
            .len();
    roster.name.push_str(&"n".repeat(missing));
    let payload = roster
        .clone()
        .into_statement()
        .unwrap()
        .to_payload()
        .expect("256 KiB");
    assert_eq!(payload.len(), MAX_ROSTER_BYTES);
    assert!(TrustedRoster::from_payload(&payload).is_ok());
    roster.name.push('n');
    assert!(
        roster
            .into_statement()
            .unwrap()
            .to_payload()
            .expect_err("a byte more")
            .too_large
    );

    // A bundle does not have to be canonical. Blanks fill it to the limit.
    let mut bundle = golden::bytes("bundle.json");
    bundle.resize(MAX_BUNDLE_BYTES, b' ');
    let report = verify(
        &bundle,
        &RosterTrust::Roster(golden::bytes("roster.json")),
        VerifyOptions::default(),
    )
    .expect("a report");
    assert!(report.verified);
    bundle.push(b' ');
    assert!(Bundle::parse(&bundle).expect_err("a byte more").too_large);

    // A step of exactly 1 MiB in the bundle.
    let mut bundle = golden::value("bundle.json");
    let missing = (1 << 20) - to_canonical(&bundle["step"]).len();
    let source = bundle["step"]["source"].as_str().unwrap().to_owned();
    bundle["step"]["source"] = json!(format!("{source}{}", "#".repeat(missing)));
    assert!(Bundle::parse(&to_canonical(&bundle)).is_ok());
    bundle["step"]["source"] = json!(format!("{source}{}#", "#".repeat(missing)));
    assert!(
        Bundle::parse(&to_canonical(&bundle))
            .expect_err("a byte more")
            .too_large
    );
}

// Programs

/// Names and paths of programs, and texts that are neither.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "jq",
            "g++",
            "{work}/**",
            "/usr/bin/jq",
            "/usr/lib/*/cc1"
        ])
        .prop_map(str::to_owned),
        prop::sample::select(vec![
            "", ".", "..", "bin/jq", "jq*", "{repo}/x", "a b", "/a//b", "-x", "/"
        ])
        .prop_map(str::to_owned),
        "[a-z/*.{}]{1,12}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn an_accepted_list_of_programs_has_one_order_and_no_entry_twice(
        names in prop::collection::vec((words(), words()), 0..6), shuffle in any::<prop::sample::Index>(),
    ) {
        let mut entries: Vec<Value> =
            names.iter().map(|(name, path)| json!({"name": name, "path": path})).collect();
        entries.sort_by_key(to_canonical);
        let read = |entries: &[Value]| -> Option<ProgramList> {
            ProgramList::parse(&to_canonical(&json!(entries))).ok()
        };
        if let Some(list) = read(&entries) {
            prop_assert!(!entries.is_empty());
            prop_assert_eq!(list.to_bytes(), Some(to_canonical(&json!(entries))));
            for ListedProgram { name, path } in list.programs() {
                prop_assert_eq!(name.as_str() == "{work}/**", path.as_str() == "{work}/**");
            }
            let mut twice = entries.clone();
            twice.insert(0, entries[0].clone());
            prop_assert!(read(&twice).is_none(), "twice");
            let mut other = entries.clone();
            other.rotate_left(shuffle.index(entries.len()));
            prop_assert_eq!(read(&other).is_some(), other == entries);
        }
    }

    #[test]
    fn facts_about_programs_count_a_list_only_in_the_mode_listed(
        listed in any::<bool>(), count in prop_oneof![0_u64..3, 4094_u64..4099],
        started in prop::option::of(prop::collection::vec(("/[a-c]{1,3}", 0_u64..3), 0..18)),
    ) {
        let mode = if listed { "listed" } else { "any" };
        let mut value = json!({"mode": mode, "listed": count});
        if let Some(paths) = &started {
            let paths: Vec<Value> = paths.iter().map(|(path, count)| json!({"path": path, "count": count})).collect();
            value["started"] = json!({"paths": paths, "more": 0});
        }
        let good = count <= 4096 && listed == (count > 0) && started.as_ref().is_none_or(|paths| {
            paths.len() <= 16 && paths.iter().all(|(_, count)| *count > 0) && paths.windows(2).all(|two| two[0].0 < two[1].0)
        });
        let facts: ProgramFacts = serde_json::from_value(value).unwrap();
        prop_assert_eq!(facts.check().is_ok(), good);
    }

    #[test]
    fn an_expansion_of_closures_contains_the_names_and_is_complete(
        closures in prop::collection::btree_map(
            "[a-e]", prop::collection::btree_set(prop_oneof!["[a-f]", "/x/[a-e*]"], 0..4), 0..5),
        given in prop::collection::btree_set("[a-g]", 0..4),
    ) {
        let value: serde_json::Map<String, Value> = closures.iter().map(|(name, starts)| {
            let starts: Vec<&String> = starts.iter().filter(|one| *one != name).collect();
            (name.clone(), json!({"source": "x(1)", "starts": starts}))
        }).collect();
        let closures = Closures::from_value(&Value::Object(value)).expect("closures");
        let given: BTreeSet<Program> = given.iter().map(|name| name.parse().unwrap()).collect();
        let mut expanded = given.clone();
        expanded.extend(closures.started_by(&given, |_| true).into_keys());
        for name in &expanded {
            let starts = closures.of(name).map(|closure| closure.starts.clone()).unwrap_or_default();
            prop_assert!(expanded.is_superset(&starts), "{}", name);
        }
        // Nothing is in the expansion without a reason.
        for name in expanded.difference(&given) {
            prop_assert!(expanded.iter().any(|by| closures.of(by).is_some_and(|one| one.starts.contains(name))));
        }
    }

    #[test]
    fn the_last_mode_of_programs_wins_and_the_lists_of_all_rules_are_joined(
        rules in prop::collection::vec(
            (prop::option::of(any::<bool>()), prop::collection::btree_set("[a-d]", 0..3), any::<bool>()), 1..5),
    ) {
        let rule = |(mode, allow, _): &(Option<bool>, BTreeSet<String>, bool)| {
            let mut rule = serde_json::Map::new();
            if let Some(listed) = mode {
                rule.insert("mode".to_owned(), json!(if *listed { "listed" } else { "any" }));
            }
            if !allow.is_empty() {
                rule.insert("allow".to_owned(), json!(allow));
            }
            json!({"programs": rule})
        };
        let overrides: Vec<Value> = rules[1..].iter().map(|one| {
            json!({"runbook": if one.2 { "deploy/**" } else { "other" }, "sandbox": rule(one)})
        }).collect();
        let policy = json!({"version": 1, "default": {"sandbox": rule(&rules[0])}, "overrides": overrides});
        let policy = Policy::from_sealed(&policy).expect("a policy");
        let ruling = resolve(&policy, Builtins::current(), &"deploy/app:x".parse().unwrap());
        let matching: Vec<_> = rules.iter().enumerate().filter(|(at, one)| *at == 0 || one.2).map(|(_, one)| one).collect();
        let mode = matching.iter().filter_map(|one| one.0).next_back();
        prop_assert_eq!(ruling.program_mode.map(|mode| mode.value == ProgramMode::Listed), mode);
        let joined: BTreeSet<String> = matching.iter().flat_map(|one| one.1.clone()).collect();
        prop_assert_eq!(ruling.programs.keys().map(ToString::to_string).collect::<BTreeSet<_>>(), joined);
    }

    #[test]
    fn a_policy_with_any_words_as_programs_is_accepted_exactly_if_each_word_is_a_program(
        allow in prop::collection::vec(words(), 0..4),
    ) {
        let policy = json!({"version": 1, "default": {"sandbox": {"programs": {"allow": allow}}}});
        let unique: BTreeSet<&String> = allow.iter().collect();
        let good = !allow.is_empty() && unique.len() == allow.len() && allow.iter().all(|word| check_written_program(word).is_ok());
        prop_assert_eq!(Policy::from_sealed(&policy).is_ok(), good);
    }
}
