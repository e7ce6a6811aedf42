//! What is revoked, as the crossing and its callers see it.

use std::sync::Arc;

use crate::crossing::cross::Crossing;
use crate::seal::refusal::{Refusal, Stopped, fault};
use crate::seal::sealed::Sealed;
use crate::store::stored_leaf::opened;
use documents::crypto::json;
use documents::crypto::key_id::KeyId;
use documents::record::code::Code;
use documents::record::envelope::Envelope;
use documents::record::ident::Name;
use documents::record::revocation::Revocation;
use judgement::decision::revocations::{NotRevoked, Revocations, RevokedRun, check_not_revoked};

/// Maximum length of a person's words in a refusal, in characters.
const MOST_WORDS: usize = 300;

impl Crossing {
    /// Returns the revocations of the log.
    #[must_use]
    pub fn revoked(&self) -> Arc<Revocations> {
        self.seal.revoked(&self.ledger.revocations())
    }

    /// Returns the id of the key with which this boundary signs.
    #[must_use]
    pub fn keyid(&self) -> KeyId {
        self.key.keyid
    }

    /// Checks that the boundary is not frozen and that no token of these names is revoked.
    ///
    /// # Errors
    /// Returns `revoked`, with the person who froze the boundary and the reason.
    pub fn check_not_revoked(&self, sealed: &Sealed, names: [&Name; 2]) -> Result<NotRevoked, Stopped> {
        let checked = check_not_revoked(&self.revoked(), &sealed.boundary.epoch, names);
        checked.or_else(|error| {
            let detail = match error {
                RevokedRun::Epoch { entry } => self.freeze_words(sealed, entry)?,
                error => error.to_string(),
            };
            Err(Refusal::new(Code::Revoked, detail).into())
        })
    }

    /// Returns the log entry of the freeze, or `None` if the boundary is not frozen.
    #[must_use]
    pub fn frozen_since(&self) -> Option<u64> {
        self.revoked().now().epoch(&self.state().boundary.epoch)
    }

    fn freeze_words(&self, sealed: &Sealed, entry: u64) -> Result<String, Stopped> {
        let leaf = self.ledger.leaf(entry)?.ok_or_else(|| fault(&format!("log entry {entry} is missing")))?;
        let envelope: Envelope = json::parse_as(&leaf.data, leaf.data.len()).map_err(|e| fault(&e))?;
        let keyid = envelope.signatures.first().map(|signature| signature.keyid);
        let holder = keyid.and_then(|keyid| sealed.roster.signer(&keyid));
        let who = holder.map_or_else(|| "a person who left the roster".to_owned(), |(holder, _)| holder.to_string());
        let (_, statement) = opened::<Revocation>(&leaf.data)?;
        // The quotation marks and the escapes show which words are the person's.
        let words: String = statement.predicate.reason.chars().take(MOST_WORDS).collect();
        let reason = if words.is_empty() { String::new() } else { format!(" with the reason {words:?}") };
        Ok(format!(
            "{who} froze this boundary (log entry {entry}){reason}: nothing is proposed or run until an operator of the host \
             runs `countersign thaw`"
        ))
    }
}
