//! The answers of witnesses.

use std::collections::BTreeMap;

use crate::{
    NamedWitness, WitnessNext, WitnessRequest,
    witnesses::{Head, KEPT_HEADS, LogFacts, MOST_CONFLICTS, State},
};
use documents::{Note, SKEW_S, Timestamp, note};

impl State {
    pub fn cosign(
        &mut self,
        witness: &NamedWitness,
        ask: &WitnessRequest,
        text: &str,
        now: Timestamp,
    ) -> Result<(), String> {
        let odd = |why: String| {
            format!(
                "the witness answered with an invalid cosignature of this checkpoint ({why}): ask the operator \
                 of the witness"
            )
        };
        let lines = note::parse_signatures(text).map_err(|error| odd(error.to_string()))?;
        // "The client MUST ignore any cosignatures from unknown keys."
        let own: Vec<_> = witness.key.lines(&lines).collect();
        if own.is_empty() {
            return Err(
                "the witness answered with cosignatures of other keys than the key in the roster: compare the keys"
                    .to_owned(),
            );
        }
        let checkpoint = Note::parse(&ask.note).map_err(|error| odd(error.to_string()))?;
        let mut newest = None;
        for line in own {
            let cosigned = witness
                .key
                .verify_line(&checkpoint, line)
                .map_err(|error| odd(error.to_string()))?;
            let time = i64::try_from(cosigned.seconds())
                .map_or(Timestamp::from_unix(i64::MAX), Timestamp::from_unix);
            if time > now.plus(SKEW_S) {
                return Err(format!(
                    "the cosignature is dated {time}, but the time here is {now}: one of the two clocks is wrong"
                ));
            }
            newest = Some(line.clone());
        }
        let vkey = witness.key.vkey();
        let known = self.known.entry(vkey.clone()).or_default();
        known.size = known.size.max(ask.size);
        known.cosigned = known.cosigned.max(ask.size);
        if !self.heads.iter().any(|head| head.size == ask.size) {
            self.heads.push_back(Head {
                size: ask.size,
                note: ask.note.clone(),
                lines: BTreeMap::new(),
            });
            self.heads.make_contiguous().sort_by_key(|head| head.size);
            if self.heads.len() > KEPT_HEADS {
                self.heads.pop_front();
            }
        }
        if let (Some(head), Some(line)) = (
            self.heads.iter_mut().find(|head| head.size == ask.size),
            newest,
        ) {
            head.lines.insert(vkey, line);
        }
        Ok(())
    }

    /// Reads the answer of a witness that has cosigned another checkpoint than the request names: "The response body
    /// MUST consist of the tree size of the latest cosigned checkpoint in decimal" (c2sp.org/tlog-witness).
    pub fn conflict(
        &mut self,
        witness: &NamedWitness,
        ask: &WitnessRequest,
        log: LogFacts<'_>,
        text: &str,
    ) -> WitnessNext {
        let digits = text.strip_suffix('\n').unwrap_or(text);
        let Some(size) = digits
            .parse::<u64>()
            .ok()
            .filter(|size| size.to_string() == digits)
        else {
            return WitnessNext::Trouble(
                "the witness answered with a conflict, but without a size: ask the operator \
                 of the witness"
                    .to_owned(),
            );
        };
        let known = self.known.entry(witness.key.vkey()).or_default();
        if size > log.size {
            return WitnessNext::Trouble(format!(
                "the witness reports that it cosigned {size} entries of this log, but this log has only {}. If the \
                 witness is right, this store is older than the cosigned log, and a spent nonce may run again: stop \
                 the boundary and check whether a backup was restored",
                log.size
            ));
        }
        if size == ask.old {
            return WitnessNext::Trouble(format!(
                "the witness reports that the {size} entries that it cosigned differ from the entries of this log. \
                 If the witness is right, there are two histories under the name of this log: before you continue, \
                 compare `/log/checkpoint` with the checkpoints that other people have stored"
            ));
        }
        known.size = size;
        known.conflicts += 1;
        if known.conflicts > MOST_CONFLICTS {
            known.conflicts = 0;
            return WitnessNext::Trouble(
                "the witness reports another size with each answer: ask the operator of the \
                 witness"
                    .to_owned(),
            );
        }
        WitnessNext::Again
    }
}
