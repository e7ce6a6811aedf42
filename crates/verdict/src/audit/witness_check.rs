//! Checks the cosignatures of witnesses on a checkpoint.

use std::collections::BTreeSet;

use crate::{
    Chain, CheckStop, Checked, WitnessFacts,
    audit::check_ledger::{ensure, failed},
};
use documents::{BoundaryName, Note, SKEW_S, Timestamp, WitnessKey, joined};

/// Counts the distinct witnesses of the roster that cosigned the checkpoint, and compares the count with the required
/// number.
///
/// A key with two names in the roster counts once. A key that belonged to the boundary in any known roster version does
/// not count, because the operator may still hold this key. If `at` is given, a cosignature with a later time does not
/// count.
pub fn check_witnesses(
    note: &Note,
    chain: &Chain,
    boundary: &BoundaryName,
    demanded: u64,
    at: Option<Timestamp>,
) -> Checked<Vec<WitnessFacts>> {
    let named = &chain.newest().tables().witnesses;
    let keys = [Some(chain.keys()), chain.newer_keys()];
    let own: BTreeSet<&[u8; 32]> = keys
        .into_iter()
        .flatten()
        .flat_map(|keys| keys.of_boundary(boundary))
        .collect();
    let mut keys = BTreeSet::new();
    let mut seen = Vec::new();
    let mut left_out = Vec::new();
    for (name, witness) in named {
        let Ok(key) = WitnessKey::parse(&witness.vkey) else {
            left_out.push(format!(
                "the key of {name} has a type that this version can't read"
            ));
            continue;
        };
        // An invalid cosignature of a known key fails the whole check, even if the witness with this key would not
        // count.
        let Some(cosigned) = key
            .verify(note)
            .map_err(|error| failed(format!("{name}: {error}")))?
        else {
            continue;
        };
        let time = i64::try_from(cosigned.seconds())
            .map_or(Timestamp::from_unix(i64::MAX), Timestamp::from_unix);
        if own.contains(key.key().as_bytes()) {
            left_out.push(format!(
                "{name} has a key that is or was a key of the boundary"
            ));
        } else if at.is_some_and(|at| time > at.plus(SKEW_S)) {
            left_out.push(format!("{name} cosigned at {time}, which is in the future"));
        } else if keys.insert(*key.key().as_bytes()) {
            seen.push(WitnessFacts {
                name: name.clone(),
                at: time,
            });
        } else {
            left_out.push(format!("{name} has the key of another witness"));
        }
    }
    let left_out = if left_out.is_empty() {
        String::new()
    } else {
        format!("; not counted: {}", left_out.join("; "))
    };
    let found = seen.len() as u64;
    ensure(found >= demanded, || {
        format!(
            "{found} of the {} witnesses in the roster cosigned this checkpoint, but {demanded} are \
             required{left_out}. After the witnesses have cosigned, get the bundle or export the log again",
            named.len()
        )
    })?;
    if named.is_empty() {
        return Ok((seen, "the roster names no witness".to_owned()));
    }
    if seen.is_empty() {
        return Err(CheckStop::NotChecked(format!(
            "none of the {} witnesses in the roster cosigned this checkpoint{left_out}",
            named.len()
        )));
    }
    let words = seen
        .iter()
        .map(|witness| format!("{} at {}", witness.name, witness.at));
    let words = joined(words, ", ");
    Ok((
        seen,
        format!("{found} of {}: {words}{left_out}", named.len()),
    ))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        CheckFinding, CheckName, TrustBasis, VerifyOptions,
        audit::tests::fixture::{FixtureStage, HistoryCase},
    };
    use documents::{SecretKey, SshKey, TlogProof};

    const AT: &str = "2026-11-20T10:00:00Z";

    /// Returns a crossing with these witnesses, given as `(name, seed)`, in its roster. Each witness has cosigned the
    /// checkpoint.
    fn cosigned(named: &'static [(&'static str, u8)]) -> HistoryCase {
        let witness = |(name, seed): &(&str, u8)| {
            let secret = SecretKey::from_seed([*seed; 32]);
            (WitnessKey::new(name, secret.public()), secret)
        };
        HistoryCase::new()
            .edit(FixtureStage::Roster, move |roster| {
                roster["predicate"]["witnesses"] = json!({});
                for named in named {
                    roster["predicate"]["witnesses"][named.0] =
                        json!({"vkey": witness(named).0.vkey(), "url": "http://127.0.0.1:1"});
                }
            })
            .edit(FixtureStage::Bundle, move |bundle| {
                let at: Timestamp = AT.parse().expect("a time");
                for part in ["receipt", "authorization", "consumption", "seal"] {
                    let mut proof =
                        TlogProof::parse(bundle["proofs"][part].as_str().expect("text"))
                            .expect("proof");
                    let plain = Note::parse(&proof.checkpoint).expect("note");
                    let sign = |note: Note, named: &(&str, u8)| {
                        let (key, secret) = witness(named);
                        let line = key.cosign(&plain, at.unix().unsigned_abs(), |m| {
                            Ok::<_, Infallible>(secret.sign(m))
                        });
                        note.with(line.expect("signed")).expect("room")
                    };
                    proof.checkpoint = named.iter().fold(plain.clone(), sign).to_string();
                    bundle["proofs"][part] = Value::from(proof.to_string());
                }
            })
    }

    fn found(case: &HistoryCase, witnesses: u64, at: Option<&str>) -> (CheckFinding, String) {
        let options = VerifyOptions {
            witnesses,
            at: at.map(|at| at.parse().expect("a time")),
        };
        let report = case.report(options);
        let check = report
            .checks
            .iter()
            .find(|check| check.name == CheckName::Witnesses)
            .expect("the check");
        assert_eq!(
            report.verified,
            check.finding != CheckFinding::Failed,
            "{:#?}",
            report.checks
        );
        if check.finding == CheckFinding::Established {
            assert_eq!(check.rests_on, TrustBasis::Witnesses);
            let facts = report.facts.expect("facts");
            assert!(
                !facts.witnesses.is_empty()
                    && report
                        .boundary_says
                        .iter()
                        .any(|says| says.contains("witness"))
            );
        }
        (check.finding, check.detail.clone())
    }

    #[test]
    fn only_distinct_witnesses_count_and_never_the_boundary_itself() {
        let two = cosigned(&[("w.example/1", 21), ("w.example/2", 22)]);
        assert_eq!(found(&two, 2, None).0, CheckFinding::Established);
        assert_eq!(found(&two, 3, None).0, CheckFinding::Failed);
        let one_key_twice = cosigned(&[("w.example/1", 21), ("w.example/2", 21)]);
        assert_eq!(found(&one_key_twice, 1, None).0, CheckFinding::Established);
        let (finding, detail) = found(&one_key_twice, 2, None);
        assert!(
            finding == CheckFinding::Failed && detail.contains("the key of another witness"),
            "{detail}"
        );
        // Seed of the boundary's key in the fixture.
        let own = cosigned(&[("w.example/1", 3)]);
        let (finding, detail) = found(&own, 0, None);
        assert!(
            finding == CheckFinding::NotChecked && detail.contains("a key of the boundary"),
            "{detail}"
        );
        assert_eq!(found(&own, 1, None).0, CheckFinding::Failed);
    }

    #[test]
    fn a_cosignature_from_the_future_does_not_count() {
        let case = cosigned(&[("w.example/1", 21)]);
        assert_eq!(
            found(&case, 1, Some("2026-11-20T09:59:30Z")).0,
            CheckFinding::Established,
            "clocks differ"
        );
        assert_eq!(
            found(&case, 1, Some("2026-11-20T09:58:00Z")).0,
            CheckFinding::Failed
        );
        assert_eq!(
            found(&case, 0, Some("2026-11-20T09:58:00Z")).0,
            CheckFinding::NotChecked
        );
    }

    #[test]
    fn a_witness_removed_from_the_newest_roster_does_not_count() {
        let case = cosigned(&[("w.example/1", 21)]);
        let newer = case.next_roster(|roster| roster["predicate"]["witnesses"] = json!({}));
        let trust = crate::audit::bundle_check::RosterTrust::Roster(newer);
        let report = case.report_with(
            &trust,
            VerifyOptions {
                witnesses: 1,
                ..VerifyOptions::default()
            },
        );
        assert_eq!(report.finding(CheckName::Witnesses), CheckFinding::Failed);
    }

    #[test]
    fn a_former_key_of_the_boundary_does_not_count_as_a_witness() {
        for (seed, expected) in [
            (3, CheckFinding::NotChecked),
            (9, CheckFinding::Established),
        ] {
            let secret = SecretKey::from_seed([seed; 32]);
            let key = WitnessKey::new("w.example", secret.public());
            let vkey = key.vkey();
            let cosign = move |bundle: &mut Value| {
                for part in ["seal", "authorization", "consumption", "receipt"] {
                    let mut proof =
                        TlogProof::parse(bundle["proofs"][part].as_str().expect("a proof"))
                            .expect("a proof");
                    let note = Note::parse(&proof.checkpoint).expect("a note");
                    let line = key.cosign(&note, 1_763_632_800, |message| {
                        Ok::<_, Infallible>(secret.sign(message))
                    });
                    proof.checkpoint = note.with(line.expect("signed")).expect("room").to_string();
                    bundle["proofs"][part] = json!(proof.to_string());
                }
            };
            let case = HistoryCase::new().edit(FixtureStage::Bundle, cosign);
            // The boundary uses a new key, and the next roster names the old key as a witness.
            let next = case.next_roster(|roster| {
                let other =
                    SshKey::from_public(SecretKey::from_seed([8; 32]).public(), "").expect("a key");
                roster["predicate"]["boundaries"]["prod-eu"]["keys"] = json!([other.line()]);
                roster["predicate"]["witnesses"] =
                    json!({"w.example": {"vkey": vkey, "url": "https://w.example"}});
            });
            let report = case.report_with(
                &crate::audit::bundle_check::RosterTrust::Roster(next),
                VerifyOptions::default(),
            );
            assert!(report.verified, "{:#?}", report.checks);
            assert_eq!(
                report.finding(CheckName::Witnesses),
                expected,
                "{seed}: {:#?}",
                report.checks
            );
        }
    }
}
