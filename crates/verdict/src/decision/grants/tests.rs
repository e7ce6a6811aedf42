//! Grants in a state that a test changes after the grant was signed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{
    Revocations, check_profile,
    decision::quorum::tests::{authorization, definition, name, roster},
    steps_in_force,
};
use documents::{
    Base64, Code, Configuration, ConfiguredLimits, ConfiguredSandbox, EnvelopeSignature, Level,
    Limits, PAYLOAD_TYPE, STRICT, Scope, SealedToken, SecretKey, SshKey, Subject, TokenUse, pae,
};
use reading::{Builtins, Policy, Registry};

const ALICE: u8 = 1;
const BOB: u8 = 2;
const BOUNDARY: u8 = 3;
const CAROL: u8 = 4;
const BOT: u8 = 8;

fn key(seed: u8) -> SshKey {
    SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "").expect("a key")
}

type Change = fn(&mut World);
type Edit = fn(&mut Authorization);

/// A grant of alice and bob to `bot` for the golden step, and the state in which it stands.
struct World {
    policy: Value,
    roster: Value,
    step: Value,
    grant: Value,
    signers: Vec<u8>,
    tokens: Vec<SealedToken>,
    revoked: Revocations,
    now: Timestamp,
    edit: fn(&mut World),
}

/// The usual world. `edit` is the change after the grant was signed.
fn world(edit: fn(&mut World)) -> World {
    let mut roster = serde_json::to_value(roster().tables()).expect("JSON");
    roster["proposers"] = json!({"bot": {"owners": ["carol"], "keys": [key(BOT).line()]}});
    let grant =
        include_bytes!("../../../../../tests/conformance/golden/documents/valid/grant.json");
    let mut grant: Value =
        serde_json::from_slice::<Value>(grant).expect("JSON")["predicate"].take();
    grant["grantee"] = json!({"name": "bot", "key": key(BOT).keyid()});
    grant["proposer"] = json!("agent");
    World {
        policy: json!({"version": 1, "default": {
            "mode": "execute", "approvals": {"required": 2, "from": ["ops", "security"]},
            "standing": {"max_uses": 20, "max_days": 7},
        }}),
        roster,
        step: definition(),
        grant,
        signers: vec![ALICE, BOB],
        tokens: vec![SealedToken {
            name: name("agent"),
            owners: vec![name("dora")],
            scopes: vec![Scope::Propose],
            patterns: Vec::new(),
            expires_at: None,
            credential: ContentDigest::of(b"agent"),
            oidc: None,
        }],
        revoked: Revocations::default(),
        now: "2026-11-21T09:00:00Z".parse().expect("a time"),
        edit,
    }
}

impl World {
    fn steps(&self, roster: &TrustedRoster) -> BTreeMap<StepRef, StepInForce> {
        let definition = serde_json::from_value(self.step.clone()).expect("a step");
        let registry = Registry::from_definitions([definition]).expect("a registry");
        let policy = Policy::from_sealed(&self.policy).expect("a policy");
        let limits = ConfiguredLimits {
            default: Limits::default(),
            maximum: Limits::default(),
        };
        let sandbox = ConfiguredSandbox {
            level: Level::Strict,
            require: STRICT.to_vec(),
        };
        steps_in_force(
            &registry,
            &policy,
            Builtins::current(),
            roster,
            &Configuration { limits, sandbox },
        )
        .expect("steps")
    }

    fn roster(&self) -> TrustedRoster {
        let tables: documents::Roster =
            serde_json::from_value(self.roster.clone()).expect("tables");
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("a payload");
        TrustedRoster::from_payload(&payload).expect("a roster")
    }

    /// Signs the grant for this state, then changes the state, and decides.
    fn decide(
        mut self,
        then: impl FnOnce(&Stands<'_>, &mut Authorization) -> Result<(), GrantError>,
    ) -> Result<(), GrantError> {
        let before = self.roster();
        let steps = self.steps(&before);
        let held = steps.values().next().expect("a step");
        let granted = &mut self.grant["steps"][0];
        granted["digest"] = json!(held.hashed.digest());
        granted["sandbox"] = json!(*held.profile);
        let mut signed = authorization();
        signed.step.digest = held.hashed.digest();
        signed.sandbox = (*held.profile).clone();
        (self.edit)(&mut self);
        let roster = self.roster();
        let steps = self.steps(&roster);
        let terms: Grant = serde_json::from_value(self.grant.clone()).expect("a grant");
        let subjects = terms
            .steps
            .iter()
            .map(|step| Subject::new(step.reference.as_str(), step.digest.as_bytes()));
        let payload = documents::Statement::new(terms.clone(), subjects.collect())
            .to_payload()
            .expect("a payload");
        let message = pae(PAYLOAD_TYPE, &payload);
        let mut signatures: Vec<_> = self
            .signers
            .iter()
            .map(|seed| {
                EnvelopeSignature::new(
                    key(*seed).keyid(),
                    &SecretKey::from_seed([*seed; 32]).sign(&message),
                )
            })
            .collect();
        signatures.sort();
        let envelope =
            Signed::from_parts(&payload, &signatures, Base64::Strict).expect("an envelope");
        let grant = PreparedGrant::new(verify_grant(envelope, &roster).expect("valid signatures"))?;
        let boundary = terms.boundary.clone();
        let boundary = BoundaryRef {
            epoch: authorization().boundary.epoch,
            id: authorization().boundary.id,
            ..boundary
        };
        let context = GrantContext {
            boundary: &boundary,
            roster: &roster,
            tokens: Tokens::Sealed(&self.tokens, self.now),
            step: &|reference| steps.get(reference),
            profile: &|held, signed| check_profile(&held.profile, signed).map(drop),
            compares: true,
            revoked: self.revoked.now(),
            at: self.now,
        };
        let stands = stands(&grant, context)?;
        signed.boundary = boundary.clone();
        signed.proposer = name("bot");
        signed.grant = Some(grant.digest);
        signed.expires_at = self.now.plus(60);
        signed.params = json!({"drain": true, "host": "web-1"});
        signed.permissions = Vec::new();
        then(&stands, &mut signed)
    }
}

fn code(edit: fn(&mut World)) -> Option<Code> {
    world(edit)
        .decide(|_, _| Ok(()))
        .err()
        .map(|error| error.code())
}

fn put(value: &mut Value, pointer: &str, new: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    value.pointer_mut(parent).expect(pointer)[key] = new;
}

#[test]
fn a_grant_stands_only_in_the_state_that_it_was_signed_for() {
    assert_eq!(code(|_| {}), None);
    let cases: &[(&str, Code, Change)] = &[
        ("another epoch", Code::Revoked, |w| {
            put(&mut w.grant, "/boundary/epoch", json!("ab".repeat(16)))
        }),
        ("another boundary", Code::WrongBoundary, |w| {
            put(
                &mut w.grant,
                "/boundary/id",
                json!(format!("sha256:{}", "ab".repeat(32))),
            );
        }),
        ("its end", Code::Expired, |w| {
            w.now = "2026-11-27T09:00:00Z".parse().expect("a time")
        }),
        ("before its beginning", Code::NotYetValid, |w| {
            w.now = "2026-11-20T08:59:59Z".parse().expect("a time")
        }),
        ("issued later", Code::NotYetValid, |w| {
            w.now = "2026-11-20T08:00:00Z".parse().expect("a time")
        }),
        ("a revoked key of the grantee", Code::Revoked, |w| {
            w.revoked = [(RevokedSubject::Key(key(BOT).keyid()), 5)]
                .into_iter()
                .collect();
        }),
        ("a revoked epoch", Code::Revoked, |w| {
            w.revoked = [(RevokedSubject::epoch(&authorization().boundary.epoch), 5)]
                .into_iter()
                .collect();
        }),
        ("another key of the grantee", Code::UnknownSigner, |w| {
            put(&mut w.grant, "/grantee/key", json!(key(9).keyid()));
        }),
        ("a grantee who is an approver", Code::UnknownSigner, |w| {
            w.grant["grantee"] = json!({"name": "carol", "key": key(CAROL).keyid()});
        }),
        ("an unknown proposer", Code::Forbidden, |w| w.tokens.clear()),
        ("a proposer whose token ended", Code::Forbidden, |w| {
            w.tokens[0].expires_at = Some(w.now)
        }),
        ("a changed step", Code::StepChanged, |w| {
            w.step["source"] = json!("true\n")
        }),
        ("a step that is gone", Code::UnknownStep, |w| {
            w.step["ref"] = json!("nginx:stop")
        }),
        ("no standing rule", Code::PolicyDenied, |w| {
            w.policy["default"]
                .as_object_mut()
                .expect("a rule")
                .remove("standing");
        }),
        ("fewer uses in policy", Code::PolicyDenied, |w| {
            put(&mut w.policy, "/default/standing/max_uses", json!(19))
        }),
        ("fewer days in policy", Code::PolicyDenied, |w| {
            put(&mut w.policy, "/default/standing/max_days", json!(6))
        }),
        ("no session in policy", Code::PolicyDenied, |w| {
            w.grant["session"] = json!("fresh");
            put(&mut w.policy, "/default/standing/session", json!("none"));
        }),
        ("a denied command", Code::PolicyDenied, |w| {
            put(&mut w.policy, "/default/run", json!({"deny": ["printf"]}))
        }),
        ("a new permission", Code::ContextChanged, |w| {
            w.policy["extends"] = json!("none");
            w.policy["default"]["mode"] = json!("prompted");
        }),
        ("another sandbox", Code::ContextChanged, |w| {
            put(
                &mut w.policy,
                "/default/sandbox",
                json!({"limits": {"wall_ms": 1000}}),
            );
        }),
        ("more approvers", Code::QuorumMissing, |w| {
            put(&mut w.policy, "/default/approvals/required", json!(3))
        }),
        ("one signature less", Code::QuorumMissing, |w| {
            w.signers = vec![ALICE]
        }),
        ("a removed approver", Code::QuorumMissing, |w| {
            drop(
                w.roster["approvers"]
                    .as_object_mut()
                    .expect("people")
                    .remove("alice"),
            )
        }),
        ("an approver whose time is over", Code::QuorumMissing, |w| {
            put(&mut w.roster, "/approvers/alice/valid_before", json!(w.now));
        }),
        ("a revoked key of an approver", Code::QuorumMissing, |w| {
            w.revoked = [(RevokedSubject::Key(key(ALICE).keyid()), 5)]
                .into_iter()
                .collect();
        }),
        ("an owner of the grantee", Code::SelfApproval, |w| {
            w.signers.push(CAROL)
        }),
        ("an owner of the proposer", Code::SelfApproval, |w| {
            w.tokens[0].owners = vec![name("bob")]
        }),
        (
            "a parameter that the grant does not name",
            Code::NotGranted,
            |w| {
                w.grant["steps"][0]["params"]["properties"]
                    .as_object_mut()
                    .expect("parameters")
                    .remove("drain");
                w.grant["steps"][0]["params"]["required"] = json!(["host"]);
            },
        ),
        (
            "a parameter that the step does not have",
            Code::NotGranted,
            |w| {
                put(
                    &mut w.grant,
                    "/steps/0/params/properties/more",
                    json!({"type": "string"}),
                );
            },
        ),
        ("a default", Code::Malformed, |w| {
            put(
                &mut w.grant,
                "/steps/0/params/properties/host/default",
                json!("web-1"),
            );
        }),
        ("a pattern without an end", Code::Malformed, |w| {
            w.grant["steps"][0]["params"]["properties"]["host"] =
                json!({"type": "string", "pattern": "^web"});
        }),
    ];
    for (id, expected, edit) in cases {
        assert_eq!(code(*edit), Some(*expected), "{id}");
    }
    // More uses, more days and a wider session in policy change nothing.
    assert_eq!(
        code(|w| put(
            &mut w.policy,
            "/default/standing",
            json!({"max_uses": 999, "max_days": 30, "session": "fresh"})
        )),
        None
    );
    // A new key of an approver does not matter, and neither does a revoked key that did not sign.
    assert_eq!(
        code(
            |w| w.revoked = [(RevokedSubject::Key(key(CAROL).keyid()), 5)]
                .into_iter()
                .collect()
        ),
        None
    );
}

#[test]
fn a_revoked_grant_does_not_stand() {
    // The digest of the grant depends on the sandbox of this version, so the first decision finds it.
    let mut digest = None;
    let find = |stands: &Stands<'_>, _: &mut Authorization| {
        digest = Some(stands.grant.digest);
        Ok(())
    };
    world(|_| {}).decide(find).expect("stands");
    let mut after = world(|_| {});
    after.revoked = [(RevokedSubject::Grant(digest.expect("a digest")), 7)]
        .into_iter()
        .collect();
    let error = after.decide(|_, _| Ok(())).expect_err("revoked");
    assert!(
        error.code() == Code::Revoked && error.to_string().contains("entry 7"),
        "{error}"
    );
}

#[test]
fn a_step_with_a_plan_or_a_secret_parameter_can_not_be_granted() {
    let with = |edit: fn(&mut Value)| {
        let mut world = world(|_| {});
        edit(&mut world.step);
        world.decide(|_, _| Ok(())).expect_err("refused").code()
    };
    assert_eq!(
        with(|step| step["plan"] = json!({"step": "nginx:plan", "max_age_s": 60})),
        Code::NotGrantable
    );
    assert_eq!(
        with(|step| step["params"]["properties"]["host"] =
            json!({"type": "string", "x-secret": true})),
        Code::NotGrantable
    );
}

fn covered(edit: fn(&mut Authorization), signer: u8, parties: &[&str]) -> Result<(), GrantError> {
    world(|_| {}).decide(|stands, signed| {
        edit(signed);
        let parties: Vec<Name> = parties.iter().map(|party| name(party)).collect();
        let covered = covers(
            stands,
            signed,
            &key(signer).keyid(),
            &ExcludedSigners::judged_later().with(&parties),
        )?;
        assert!(!covered.needs_fresh_session());
        assert_eq!(
            covered.excluded().names(),
            ["agent", "bot", "carol", "dora"].map(name)
        );
        let authority = Authority::Granted(covered);
        assert_eq!(authority.approvers(), ["alice", "bob"].map(name));
        assert!(authority.keeps(&key(BOT).keyid()) && !authority.keeps(&key(ALICE).keyid()));
        Ok(())
    })
}

/// The decision about a use of a grant to the token `bot` that the key of the boundary signs, after this change.
fn covered_by_boundary(edit: fn(&mut World)) -> Option<GrantError> {
    let mut world = world(edit);
    let credential = ContentDigest::of(b"bot");
    let mut token = world.tokens[0].clone();
    (token.name, token.credential) = (name("bot"), credential);
    world.tokens.push(token);
    world.roster["proposers"] = json!({});
    world.grant["grantee"] = json!({"token": "bot", "credential": credential});
    let use_it = |stands: &Stands<'_>, signed: &mut Authorization| {
        let (token, jti) = (name("bot"), None);
        signed.by = Some(TokenUse { token, jti });
        let parties = ExcludedSigners::judged_later();
        covers(stands, signed, &key(BOUNDARY).keyid(), &parties).map(drop)
    };
    world.decide(use_it).err()
}

#[test]
fn a_use_by_a_token_needs_the_sealed_credential_and_a_key_of_the_boundary_that_is_not_revoked() {
    assert_eq!(covered_by_boundary(|_| {}), None);
    let code = |edit| covered_by_boundary(edit).map(|error| error.code());
    assert_eq!(
        code(|world| world.tokens[1].credential = ContentDigest::of(b"other")),
        Some(Code::UnknownSigner)
    );
    assert_eq!(
        code(|world| drop(world.tokens.pop())),
        Some(Code::UnknownSigner)
    );
    let error = covered_by_boundary(|world| {
        let keyid = key(BOUNDARY).keyid();
        world.revoked = [(RevokedSubject::Key(keyid), 5)].into_iter().collect();
    });
    let error = error.expect("a revoked key signs no use");
    assert!(
        error.code() == Code::Revoked && error.to_string().contains("entry 5"),
        "{error}"
    );
}

#[test]
fn a_grant_covers_only_runs_within_its_terms() {
    assert_eq!(covered(|_| {}, BOT, &["bot", "carol"]), Ok(()));
    let cases: &[(&str, Edit)] = &[
        ("/predicate/grant", |signed| {
            signed.grant = Some(ContentDigest::of(b"another"))
        }),
        ("/predicate/grant", |signed| signed.grant = None),
        ("/predicate/boundary", |signed| {
            signed.boundary.epoch = "ab".repeat(16).parse().expect("an epoch")
        }),
        ("/predicate/proposer", |signed| {
            signed.proposer = name("agent")
        }),
        ("/predicate/step/ref", |signed| {
            signed.step.reference = "nginx:stop".parse().expect("a ref")
        }),
        ("/predicate/step/digest", |signed| {
            signed.step.digest = documents::StepDigest::of(b"")
        }),
        ("/predicate/sandbox", |signed| {
            signed.sandbox.limits.wall_ms += 1
        }),
        ("/predicate/expires_at", |signed| {
            signed.expires_at = "2026-11-27T09:00:01Z".parse().expect("a time")
        }),
        ("/predicate/permissions", |signed| {
            signed.permissions =
                serde_json::from_value(json!([{"type": "run", "what": "rm", "why": "unlisted"}]))
                    .expect("permissions");
        }),
        ("/predicate/session", |signed| {
            signed.session = serde_json::from_value(json!({
                "id": "ses_02000000-0000-7000-8000-000000000003", "state": ContentDigest::of(b""),
            }))
            .expect("a session");
        }),
        ("/predicate/artifacts", |signed| {
            let artifact = json!([{"name": "a", "bytes": 1, "digest": ContentDigest::of(b"a")}]);
            signed.artifacts = serde_json::from_value(artifact).expect("artifacts");
        }),
        ("/predicate/params/host", |signed| {
            signed.params["host"] = json!("web-3")
        }),
        ("/predicate/params/drain", |signed| {
            signed.params["drain"] = json!(false)
        }),
        ("/predicate/params/drain", |signed| {
            signed.params["drain"] = json!("true")
        }),
        ("/predicate/params/drain", |signed| {
            signed.params = json!({"host": "web-1"})
        }),
        ("/predicate/params/host", |signed| {
            signed.params["host"] = json!("web-1\n")
        }),
        ("/predicate/params/hosť", |signed| {
            signed.params["hosť"] = json!("web-1")
        }),
    ];
    for (pointer, edit) in cases {
        let error = covered(*edit, BOT, &["bot", "carol"]).expect_err(pointer);
        assert_eq!(
            (error.code(), error.pointer()),
            (Code::NotGranted, Some(*pointer)),
            "{error}"
        );
    }
    let other_key = covered(|_| {}, ALICE, &["bot", "carol"]).expect_err("another key");
    assert_eq!(other_key.pointer(), Some("/signatures/0/keyid"));
    let submitter = covered(|_| {}, BOT, &["bot", "carol", "courier", "alice"])
        .expect_err("alice hands the run in");
    assert_eq!(submitter.code(), Code::SelfApproval);
}

#[test]
fn the_period_of_a_rate_is_half_open() {
    let at = |seconds: i64| Timestamp::from_unix(1_800_000_000 + seconds);
    let rate = GrantRate {
        uses: 2,
        seconds: 60,
    };
    let mut recent = RecentUses::default();
    assert_eq!(recent.add(&rate, at(0)), Ok(()));
    assert_eq!(recent.add(&rate, at(1)), Ok(()));
    let again = |recent: &RecentUses, seconds: i64| recent.clone().add(&rate, at(seconds));
    let refused = again(&recent, 59).expect_err("three uses in a minute");
    assert_eq!(
        refused,
        GrantError::TooOften {
            uses: 2,
            seconds: 60,
            until: at(60)
        }
    );
    assert_eq!(refused.code(), Code::RateLimited);
    assert_eq!(again(&recent, 60), Ok(()), "the use at 0 is 60 seconds old");
    assert_eq!(recent.add(&rate, at(60)), Ok(()));
    assert!(again(&recent, 60).is_err() && again(&recent, 61).is_ok());
    let saved = serde_json::to_value(&recent).expect("JSON");
    assert_eq!(
        serde_json::from_value::<RecentUses>(saved).ok(),
        Some(recent)
    );
}
