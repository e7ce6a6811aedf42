//! Signed heads of a log from other sources or earlier audits, and the check of a head's signature.

use crate::{SealInForce, TrustedRoster, audit::documents::signed_text};
use documents::{BoundaryRef, Checkpoint, Note, Timestamp, origin};

/// Signed checkpoint of a log, from another source or an earlier audit.
#[derive(Clone)]
pub struct SeenHead {
    /// Size that the checkpoint states.
    pub size: u64,
    /// Signed note of the checkpoint.
    pub note: String,
    /// Name of the source of the checkpoint, for messages.
    pub from: String,
    /// True if the auditor verified the checkpoint in an earlier audit. If the end of the log is missing, the log may
    /// no longer contain the key that verifies the signature.
    pub verified: bool,
    /// Time at which this checkpoint was the newest, by the clock of the machine that received the checkpoint.
    pub at: Option<Timestamp>,
}

impl SeenHead {
    /// Parses a checkpoint. The audit compares the checkpoint with the log later, when the log has the same size.
    ///
    /// # Errors
    /// Returns an error if the note is not a checkpoint or its size is 0.
    pub fn parse(note: &str, from: impl Into<String>) -> Result<Self, String> {
        let head = unverified_head(note)?;
        // Every log agrees with a checkpoint of size 0, so such a checkpoint proves nothing.
        if head.size == 0 {
            return Err(
                "the head has 0 entries, so every log agrees with this head: give a head with at least 1 entry"
                    .to_owned(),
            );
        }
        Ok(Self {
            size: head.size,
            note: note.to_owned(),
            from: from.into(),
            verified: false,
            at: None,
        })
    }

    pub(super) fn verify(&self, in_force: &SealInForce) -> Result<Checkpoint, String> {
        if !self.verified {
            return verify_head(&self.note, &in_force.boundary, &in_force.roster);
        }
        of_log(
            unverified_head(&self.note)?,
            &origin(&in_force.boundary.name, &in_force.boundary.id),
        )
    }
}

/// Parses a checkpoint without a check of its signatures.
fn unverified_head(note: &str) -> Result<Checkpoint, String> {
    let note = Note::parse(note).map_err(|error| error.to_string())?;
    Checkpoint::parse(note.unverified_text()).map_err(|error| error.to_string())
}

/// Verifies a signed checkpoint of this boundary's log with a key of the roster in force.
pub fn verify_head(
    head: &str,
    boundary: &BoundaryRef,
    roster: &TrustedRoster,
) -> Result<Checkpoint, String> {
    let note = Note::parse(head).map_err(|error| error.to_string())?;
    let name = &boundary.name;
    let origin = origin(name, &boundary.id);
    let text = signed_text(&note, &origin, roster.boundary_keys(name))
        .map_err(|error| error.to_string())?;
    let version = roster.version();
    let text = text.ok_or_else(|| {
        format!(
            "the head of the log {origin} has no signature by a key of boundary {name} in version {version} of the \
             roster"
        )
    })?;
    of_log(
        Checkpoint::parse(text).map_err(|error| error.to_string())?,
        &origin,
    )
}

fn of_log(head: Checkpoint, origin: &str) -> Result<Checkpoint, String> {
    if head.origin == origin {
        Ok(head)
    } else {
        Err(format!(
            "the head belongs to the log {}, not to the log {origin}",
            head.origin
        ))
    }
}
