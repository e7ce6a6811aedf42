//! What witnesses of the log say of a checkpoint.

use std::collections::BTreeSet;

use crate::audit::ledger::{Stop, ensure, failed};
use crate::audit::report::WitnessFacts;
use crate::crypto::cosignature::WitnessKey;
use crate::crypto::note::Note;
use crate::record::ident::BoundaryName;
use crate::record::validity::{SKEW_S, Timestamp};
use crate::trust::chain::Chain;

/// Counts the distinct witnesses of the roster that cosigned, and holds the count against what is demanded.
///
/// A witness that can't be told from another one or from the boundary itself (one key under two names) counts once or
/// not at all; a key that the boundary had in any version known is still in the hands of whoever ran it. With a time
/// `at`, what a witness dates after it is not counted: then it was not there yet.
pub(crate) fn check_witnesses(
    note: &Note,
    chain: &Chain,
    boundary: &BoundaryName,
    demanded: u64,
    at: Option<Timestamp>,
) -> Result<(Vec<WitnessFacts>, String), Stop> {
    let named = &chain.newest().tables().witness;
    let versions = chain.versions().iter().chain([chain.newest()]);
    let own: BTreeSet<[u8; 32]> =
        versions.flat_map(|roster| roster.boundary_keys(boundary)).map(|key| *key.public().as_bytes()).collect();
    let mut keys = BTreeSet::new();
    let mut seen = Vec::new();
    let mut left_out = Vec::new();
    for witness in named {
        let Ok(key) = WitnessKey::parse(&witness.vkey) else {
            left_out.push(format!("the key of {} is of no kind that this version reads", witness.name));
            continue;
        };
        // A bad line of a known key refuses all, also where the witness would not count.
        let Some(cosigned) = key.verify(note).map_err(|error| failed(format!("{}: {error}", witness.name)))? else {
            continue;
        };
        let time = i64::try_from(cosigned.seconds()).map_or(Timestamp::from_unix(i64::MAX), Timestamp::from_unix);
        if own.contains(key.key().as_bytes()) {
            left_out.push(format!("{} has a key that is or was the boundary's own", witness.name));
        } else if at.is_some_and(|at| time > at.plus(SKEW_S)) {
            left_out.push(format!("{} dates its word {time}, which is in the future", witness.name));
        } else if keys.insert(*key.key().as_bytes()) {
            seen.push(WitnessFacts { name: witness.name.clone(), at: time });
        } else {
            left_out.push(format!("{} has the key of another witness", witness.name));
        }
    }
    let left_out = if left_out.is_empty() { String::new() } else { format!("; not counted: {}", left_out.join("; ")) };
    let found = seen.len() as u64;
    ensure(found >= demanded, || {
        format!(
            "{found} of the {} witnesses in the roster cosigned this checkpoint, {demanded} demanded{left_out}; get the \
             bundle, or export the log, again once they have, if they are not down",
            named.len()
        )
    })?;
    if named.is_empty() {
        return Ok((seen, "the roster names none".to_owned()));
    }
    if seen.is_empty() {
        return Err(Stop::NotChecked(format!(
            "none of the {} witnesses in the roster cosigned this checkpoint{left_out}",
            named.len()
        )));
    }
    let words: Vec<_> = seen.iter().map(|witness| format!("{} at {}", witness.name, witness.at)).collect();
    Ok((seen, format!("{found} of {}: {}{left_out}", named.len(), words.join(", "))))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::{Value, json};

    use super::*;
    use crate::audit::bundle::Options;
    use crate::audit::fixture::{Case, Stage};
    use crate::audit::report::{Basis, CheckName, Finding};
    use crate::crypto::note::TlogProof;
    use crate::crypto::signature::SecretKey;
    use crate::crypto::sshsig::SshKey;

    const AT: &str = "2026-11-20T10:00:00Z";

    /// A crossing whose roster names these witnesses, `(name, seed)`, each of which cosigned the checkpoint.
    fn cosigned(named: &'static [(&'static str, u8)]) -> Case {
        let witness = |(name, seed): &(&str, u8)| {
            let secret = SecretKey::from_seed([*seed; 32]);
            (WitnessKey::new(name, secret.public()), secret)
        };
        Case::new()
            .edit(Stage::Roster, move |roster| {
                let entries = named.iter().map(
                    |named| json!({"name": named.0, "vkey": witness(named).0.vkey(), "url": "http://127.0.0.1:1"}),
                );
                roster["predicate"]["witness"] = entries.collect();
            })
            .edit(Stage::Bundle, move |bundle| {
                let at: Timestamp = AT.parse().expect("a time");
                for part in ["receipt", "consumption", "seal"] {
                    let mut proof = TlogProof::parse(bundle["proofs"][part].as_str().expect("text")).expect("proof");
                    let plain = Note::parse(&proof.checkpoint).expect("note");
                    let sign = |note: Note, named: &(&str, u8)| {
                        let (key, secret) = witness(named);
                        let line =
                            key.cosign(&plain, at.unix().unsigned_abs(), |m| Ok::<_, Infallible>(secret.sign(m)));
                        note.with(line.expect("signed")).expect("room")
                    };
                    proof.checkpoint = named.iter().fold(plain.clone(), sign).to_string();
                    bundle["proofs"][part] = Value::from(proof.to_string());
                }
            })
    }

    fn found(case: &Case, witnesses: u64, at: Option<&str>) -> (Finding, String) {
        let options = Options { witnesses, at: at.map(|at| at.parse().expect("a time")) };
        let report = case.report(options);
        let check = report.checks.iter().find(|check| check.name == CheckName::Witnesses).expect("the check");
        assert_eq!(report.verified, check.finding != Finding::Failed, "{:#?}", report.checks);
        if check.finding == Finding::Established {
            assert_eq!(check.rests_on, Basis::Witnesses);
            let facts = report.facts.expect("facts");
            assert!(!facts.witnesses.is_empty() && report.boundary_says.iter().any(|says| says.contains("witness")));
        }
        (check.finding, check.detail.clone())
    }

    #[test]
    fn only_distinct_witnesses_count_and_a_boundary_is_never_its_own_witness() {
        let two = cosigned(&[("w.example/1", 21), ("w.example/2", 22)]);
        assert_eq!(found(&two, 2, None).0, Finding::Established);
        assert_eq!(found(&two, 3, None).0, Finding::Failed);
        let one_key_twice = cosigned(&[("w.example/1", 21), ("w.example/2", 21)]);
        assert_eq!(found(&one_key_twice, 1, None).0, Finding::Established);
        let (finding, detail) = found(&one_key_twice, 2, None);
        assert!(finding == Finding::Failed && detail.contains("the key of another witness"), "{detail}");
        // The seed of the fixture's boundary.
        let own = cosigned(&[("w.example/1", 3)]);
        let (finding, detail) = found(&own, 0, None);
        assert!(finding == Finding::NotChecked && detail.contains("the boundary's own"), "{detail}");
        assert_eq!(found(&own, 1, None).0, Finding::Failed);
    }

    #[test]
    fn a_cosignature_dated_in_the_future_does_not_count() {
        let case = cosigned(&[("w.example/1", 21)]);
        assert_eq!(found(&case, 1, Some("2026-11-20T09:59:30Z")).0, Finding::Established, "clocks differ");
        assert_eq!(found(&case, 1, Some("2026-11-20T09:58:00Z")).0, Finding::Failed);
        assert_eq!(found(&case, 0, Some("2026-11-20T09:58:00Z")).0, Finding::NotChecked);
    }

    #[test]
    fn a_witness_removed_from_the_newest_roster_does_not_count() {
        let case = cosigned(&[("w.example/1", 21)]);
        let newer = case.next_roster(|roster| roster["predicate"]["witness"] = json!([]));
        let trust = crate::audit::bundle::Trust::Roster(newer);
        let report = case.report_with(&trust, Options { witnesses: 1, ..Options::default() });
        assert_eq!(report.finding(CheckName::Witnesses), Finding::Failed);
    }

    #[test]
    fn a_former_key_of_the_boundary_is_never_its_witness() {
        for (seed, expected) in [(3, Finding::NotChecked), (9, Finding::Established)] {
            let secret = SecretKey::from_seed([seed; 32]);
            let key = WitnessKey::new("w.example", secret.public());
            let vkey = key.vkey();
            let cosign = move |bundle: &mut Value| {
                for part in ["seal", "consumption", "receipt"] {
                    let mut proof =
                        TlogProof::parse(bundle["proofs"][part].as_str().expect("a proof")).expect("a proof");
                    let note = Note::parse(&proof.checkpoint).expect("a note");
                    let line = key.cosign(&note, 1_763_632_800, |message| Ok::<_, Infallible>(secret.sign(message)));
                    proof.checkpoint = note.with(line.expect("signed")).expect("room").to_string();
                    bundle["proofs"][part] = json!(proof.to_string());
                }
            };
            let case = Case::new().edit(Stage::Bundle, cosign);
            // The boundary goes on with another key, and the old one stands there as a witness.
            let next = case.next_roster(|roster| {
                let other = SshKey::from_public(SecretKey::from_seed([8; 32]).public(), "").expect("a key");
                roster["predicate"]["boundary"][0]["keys"] = json!([other.line()]);
                roster["predicate"]["witness"] =
                    json!([{"name": "w.example", "vkey": vkey, "url": "https://w.example"}]);
            });
            let report = case.report_with(&crate::audit::bundle::Trust::Roster(next), Options::default());
            assert!(report.verified, "{:#?}", report.checks);
            assert_eq!(report.finding(CheckName::Witnesses), expected, "{seed}: {:#?}", report.checks);
        }
    }
}
