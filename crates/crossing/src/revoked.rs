//! The revocations and the freeze that the crossing and its callers check.

use std::{fmt, sync::Arc};

use crate::{Crossing, RequestResult, Sealed, fault, refuse};
use documents::{
    Authorization, Code, Envelope, EnvelopeSignature, KeyId, Name, Revocation, Timestamp, json,
};
use store::{EntryEvent, EventFact, StoredEvent, opened};
use verdict::{NotRevoked, Revocations, RevokedRun, check_not_revoked};

/// Number of the newest events that are searched for a freeze. A frozen boundary has few new events.
const MOST_EVENTS: u64 = 1000;
/// Maximum length of a person's words in a refusal, in characters.
const MOST_WORDS: usize = 300;

impl Crossing {
    /// Returns the revocations of the log.
    pub fn revoked(&self) -> Arc<Revocations> {
        self.seal.revoked(&self.ledger.revocations())
    }

    /// Signs a run under a grant to a token, and returns the payload with the signature. The caller has checked that the
    /// token was presented.
    ///
    /// # Errors
    /// Returns a fault if the run is for another boundary, or no use of a token.
    pub fn sign_token_use(
        &self,
        asked: Authorization,
    ) -> RequestResult<(Vec<u8>, EnvelopeSignature)> {
        if asked.by.is_none() || asked.boundary != self.state().boundary {
            return Err(fault("the run is no use of a token at this boundary"));
        }
        let payload = asked.into_statement()?.to_payload()?;
        let signature = self.key.signature(&payload);
        Ok((payload, signature))
    }

    /// Returns the id of the key with which this boundary signs.
    pub fn keyid(&self) -> KeyId {
        self.key.keyid
    }

    /// Checks that the boundary is not frozen and that no token of these names is revoked.
    ///
    /// # Errors
    /// Returns `revoked`, with the person who froze the boundary and the reason.
    pub fn check_not_revoked(
        &self,
        sealed: &Sealed,
        names: [&Name; 2],
    ) -> RequestResult<NotRevoked> {
        let checked = check_not_revoked(&self.revoked(), &sealed.boundary.epoch, names);
        checked.or_else(|error| {
            let detail = match error {
                RevokedRun::Epoch { entry } => self.freeze(sealed, entry)?.to_string(),
                error => error.to_string(),
            };
            Err(refuse(Code::Revoked, detail))
        })
    }

    /// Returns the log entry of the freeze, or `None` if the boundary is not frozen.
    pub fn frozen_since(&self) -> Option<u64> {
        self.revoked().now().epoch(&self.state().boundary.epoch)
    }

    /// Returns the freeze, or `None` if the boundary is not frozen.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read.
    pub fn frozen(&self) -> RequestResult<Option<Freeze>> {
        self.frozen_since()
            .map(|entry| self.freeze(&self.state(), entry))
            .transpose()
    }

    fn freeze(&self, sealed: &Sealed, entry: u64) -> RequestResult<Freeze> {
        let leaf = self
            .ledger
            .leaf(entry)?
            .ok_or_else(|| fault(format!("log entry {entry} is missing")))?;
        let envelope: Envelope = json::parse_as(&leaf.data, leaf.data.len()).map_err(fault)?;
        let keyid = envelope.signatures.first().map(|signature| signature.keyid);
        let holder = keyid.and_then(|keyid| sealed.roster.statement_signer(&keyid));
        let by = holder.map_or_else(
            || "a person who left the roster".to_owned(),
            |(holder, _)| holder.to_string(),
        );
        let (_, statement) = opened::<Revocation>(&leaf.data)?;
        let reason = statement
            .predicate
            .reason
            .chars()
            .take(MOST_WORDS)
            .collect();
        Ok(Freeze {
            entry,
            at: self.frozen_at(entry)?.unwrap_or(leaf.at),
            by,
            reason,
        })
    }

    /// Returns the time of the event of the freeze, which is among the newest events. Old events are deleted.
    fn frozen_at(&self, entry: u64) -> RequestResult<Option<Timestamp>> {
        let after = self
            .ledger
            .reads()
            .newest_event()?
            .saturating_sub(MOST_EVENTS);
        let events = self.ledger.reads().events(after, MOST_EVENTS as usize)?;
        let is_freeze =
            |event: &&StoredEvent| event.what == EventFact::Entry(EntryEvent::Frozen, entry);
        Ok(events.iter().find(is_freeze).map(|event| event.at))
    }
}

/// A freeze in the log.
pub struct Freeze {
    /// Index of the log entry.
    pub entry: u64,
    /// Time at which the freeze arrived, or else the latest time that an earlier entry states.
    pub at: Timestamp,
    /// The holder of the key that signed.
    pub by: String,
    /// The reason of this person.
    pub reason: String,
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            entry, by, reason, ..
        } = self;
        write!(f, "{by} froze this boundary (log entry {entry})")?;
        if !reason.is_empty() {
            // The quotation marks and the escapes show which words are the person's.
            write!(f, " with the reason {reason:?}")?;
        }
        f.write_str(
            ": nothing is proposed or run until an operator of the host runs `countersign thaw`",
        )
    }
}
