//! What witnesses of the log say of a checkpoint.

use std::collections::BTreeSet;

use crate::audit::ledger::{Stop, ensure, failed};
use crate::audit::report::WitnessFacts;
use crate::crypto::cosignature::WitnessKey;
use crate::crypto::note::Note;
use crate::record::ident::BoundaryName;
use crate::record::validity::{SKEW_S, Timestamp};
use crate::trust::roster::TrustedRoster;

/// Counts the distinct witnesses of the roster that cosigned, and holds the count against what is demanded.
///
/// A witness that can't be told from another one or from the boundary itself (one key under two names) counts once or
/// not at all. With a time `at`, what a witness dates after it is not counted: then it was not there yet.
pub(crate) fn check_witnesses(
    note: &Note,
    roster: &TrustedRoster,
    boundary: &BoundaryName,
    demanded: u64,
    at: Option<Timestamp>,
) -> Result<(Vec<WitnessFacts>, String), Stop> {
    let named = &roster.tables().witness;
    let own: BTreeSet<[u8; 32]> = roster.boundary_keys(boundary).iter().map(|key| *key.public().as_bytes()).collect();
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
            left_out.push(format!("{} has the boundary's own key", witness.name));
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
             bundle again once they have, if they are not down",
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
