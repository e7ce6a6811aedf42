//! The signed checkpoint of a log, and the check of the boundary's signature.
//!
//! The boundary's key is in the roster that the last seal names. The copy must already know this roster, or a roster
//! that it follows by signatures. If the user trusts no roster, the first roster of the copy is trusted without proof.

use std::collections::BTreeSet;

use crate::{ChosenTrust, CommandFailure, CommandResult, LogSource, NewestRoster, newest_of};
use documents::{
    Base64, BoundaryName, Checkpoint, Envelope, Note, Predicate as _, Seal, SealDigest, Statement,
    TILE_WIDTH, WitnessKey, origin, verify_note,
};
use verdict::{Chain, LogEntry, Pinned, TrustedRoster, rosters_in};

/// A checkpoint and its signed note.
#[derive(Debug)]
pub struct ExportHead {
    /// Signed note with its signatures.
    pub(super) note: String,
    /// The parsed checkpoint.
    pub(super) checkpoint: Checkpoint,
}

impl ExportHead {
    /// Parses a note. Signatures are not verified.
    pub(super) fn parse(note: String) -> Result<Self, String> {
        let read = Note::parse(&note).map_err(|error| error.to_string())?;
        let checkpoint =
            Checkpoint::parse(read.unverified_text()).map_err(|error| error.to_string())?;
        Ok(Self { note, checkpoint })
    }

    /// Checks that the boundary signed this checkpoint with a key in the roster of the last seal in `log`. This roster
    /// must follow the roster after the first `before` entries, which an earlier export verified. Returns the newest
    /// known roster.
    pub(super) fn check_by_log(
        &self,
        log: &LogSource,
        before: u64,
        trust: &[ChosenTrust],
    ) -> CommandResult<TrustedRoster> {
        let first = log.entries(0, self.checkpoint.size)?.into_iter().next();
        let (genesis, payload) = first.as_deref().and_then(sealed).ok_or_else(|| {
            CommandFailure::check_said_no(
                "the first entry at the source is not a seal: this is not the log of a boundary",
            )
        })?;
        let known = if before == 0 {
            genesis.roster
        } else {
            last_seal(log, before)?.1.roster
        };
        let (entry, seal) = last_seal(log, self.checkpoint.size)?;
        let versions = rosters_in(&LogEntry::of(entry), log)
            .map_err(|error| CommandFailure::check_said_no(error.0))?;
        let versions = versions.ok_or_else(|| {
            CommandFailure::check_said_no("the last seal at the source names no readable roster")
        })?;
        let mut chain = Chain::connect(&Pinned::Digest(known), &versions).map_err(|error| {
            CommandFailure::check_said_no(format!(
                "the roster at the source does not continue the earlier roster of this log: {error}"
            ))
        })?;
        // The user may trust the rosters of several boundaries. At least one must belong to this log, and the newest of
        // these is used.
        let connected = newest_of(trust, |trust| {
            Chain::connect(&trust.pinned, &versions).map(|chain| (NewestRoster::of(&chain), chain))
        });
        match connected {
            Ok(deciding) => chain = deciding.found,
            Err(refused) => {
                if let Some((last, error)) = refused.last() {
                    return Err(CommandFailure::check_said_no(format!(
                        "the roster at the source does not continue {} (if that roster belongs to another boundary, \
                         give --roster with the roster of this boundary): {error}",
                        last.from
                    )));
                }
            }
        }
        let roster = chain
            .by_digest(&seal.roster)
            .filter(|roster| roster.digest() == chain.last().digest());
        let roster = roster.ok_or_else(|| {
            CommandFailure::check_said_no("the entry of the last seal at the source contains another roster than the seal names")
        })?;
        let name = &genesis.boundary.name;
        self.check(&origin(name, &SealDigest::of(&payload)), name, roster)?;
        Ok(chain.newest().clone())
    }

    /// Checks the signature with a roster that the user trusts. A copy without entries contains no seal, so the copy names
    /// no roster. Returns the trusted roster.
    pub(super) fn check_by_roster(
        &self,
        trust: &[ChosenTrust],
    ) -> CommandResult<Option<TrustedRoster>> {
        let mut refused = None;
        for trust in trust {
            let Pinned::Roster(roster) = &trust.pinned else {
                return Err(CommandFailure::usage(format!(
                    "{}: a copy without contents does not contain the roster with this digest; give the roster itself",
                    trust.from
                )));
            };
            let origin = &self.checkpoint.origin;
            let name = origin.split('/').next().and_then(|name| name.parse().ok());
            let checked = match name {
                Some(name) => self.check(origin, &name, roster),
                None => Err(CommandFailure::check_said_no(format!(
                    "{origin} is not the name of a boundary's log"
                ))),
            };
            match checked {
                Ok(()) => return Ok(Some(TrustedRoster::clone(roster))),
                Err(failure) => refused = Some(failure),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Returns the number of witnesses that cosigned the checkpoint, or 0 if a cosignature is invalid, because an audit
    /// then rejects the whole note.
    pub(super) fn cosigned(&self, roster: &TrustedRoster) -> u64 {
        let Ok(note) = Note::parse(&self.note) else {
            return 0;
        };
        let mut keys = BTreeSet::new();
        for witness in roster.tables().witnesses.values() {
            let Ok(key) = WitnessKey::parse(&witness.vkey) else {
                continue;
            };
            match key.verify(&note) {
                Ok(Some(_)) => drop(keys.insert(*key.key().as_bytes())),
                Ok(None) => {}
                Err(_) => return 0,
            }
        }
        keys.len() as u64
    }

    fn check(
        &self,
        origin: &str,
        name: &BoundaryName,
        roster: &TrustedRoster,
    ) -> CommandResult<()> {
        let note = Note::parse(&self.note).map_err(CommandFailure::check_said_no)?;
        let mut keys = roster.boundary_keys(name).iter();
        if self.checkpoint.origin == origin
            && keys.any(|key| verify_note(&note, origin, key.public()).is_ok())
        {
            return Ok(());
        }
        Err(CommandFailure::check_said_no(format!(
            "the head at the source has no valid signature for the log {origin} by a key of version {} of the \
             roster, so the source is not the boundary {name}. The copy keeps its old head: check the address of \
             the source. The head is:\n{}",
            roster.version(),
            self.note
        )))
    }
}

/// Returns the last seal in the first `size` entries, with the bytes of its entry.
fn last_seal(log: &LogSource, size: u64) -> CommandResult<(Vec<u8>, Seal)> {
    for tile in (0..size.div_ceil(u64::from(TILE_WIDTH))).rev() {
        for entry in log.entries(tile, size)?.into_iter().rev() {
            if let Some((seal, _)) = sealed(&entry) {
                return Ok((entry, seal));
            }
        }
    }
    Err(CommandFailure::check_said_no(
        "there is no seal in the log: this is not the log of a boundary",
    ))
}

/// Parses an entry as a seal, without verification. Returns the seal and its payload.
pub fn sealed(entry: &[u8]) -> Option<(Seal, Vec<u8>)> {
    let envelope: Envelope = serde_json::from_slice(entry).ok()?;
    if envelope.payload.len() / 4 * 3 > Seal::MAX_BYTES + 3 {
        return None;
    }
    let payload = Base64::Strict.decode("", &envelope.payload).ok()?;
    let seal = Statement::<Seal>::from_payload(&payload).ok()?.predicate;
    Some((seal, payload))
}
