//! Revocations: signed ends of a key, of a token, or of an epoch, which is the freeze.

use std::sync::Arc;
use std::time::Duration;

use crate::{Proposals, denials::check_here};
use crossing::{Refusal, Sealed, Stopped, busy, fault};
use documents::{Base64, Code, Envelope, Revocation, RevokedSubject, Signed, Verified, revoked};
use store::{CheckedState, RevocationResult, RevocationWrite, WriteStop};
use verdict::{RevocationContext, check_may_revoke};
use wire::RevocationView;

/// Maximum number of attempts to log what was checked with the state in force. An attempt fails if the state in force changed after the check.
pub const MOST_TRIES: usize = 16;
/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(20);

impl Proposals {
    /// Logs a revocation, and ends what it makes impossible: the proposals of a token, and with an epoch every proposal
    /// and, unless policy lets runs finish, every run. A second revocation of the same subject adds no log entry.
    ///
    /// # Errors
    /// Returns `unknown-signer`, `bad-signature`, `not-permitted-signer`, `wrong-boundary`, `revoked` for an earlier
    /// epoch or a revoked signer, `not-found` for a subject that is not in force, and `wrong-state` for the key with which
    /// this boundary signs.
    pub async fn revoke(self: &Arc<Self>, envelope: &Envelope) -> Result<RevocationView, Stopped> {
        let signed = Signed::<Revocation>::from_envelope(envelope, Base64::Lenient)?;
        let (subject, done) = self.log_revocation(&signed).await?;
        tracing::warn!(entry = done.leaf, "the {subject} is revoked");
        // No run starts after the commit, so this finds all runs. A repeated request also stops a run that survived.
        let frozen = matches!(subject, RevokedSubject::Epoch(_));
        let cancels = frozen && !self.crossing.state().policy.runs_finish_when_frozen();
        let running = if cancels {
            self.ledger.running_proposals()
        } else {
            Vec::new()
        };
        let mut stopped = 0;
        for id in &running {
            stopped += u64::from(self.stop_run(id)?);
        }
        // Everybody who reads the log can repeat the request, so only the first one looks at all proposals.
        let ended = if done.existing {
            0
        } else {
            self.end_overtaken().await
        };
        Ok(RevocationView {
            subject,
            index: done.leaf,
            existing: done.existing,
            ended,
            stopped,
        })
    }

    async fn log_revocation(
        &self,
        signed: &Signed<Revocation>,
    ) -> Result<(RevokedSubject, RevocationResult), Stopped> {
        for _ in 0..MOST_TRIES {
            let (checked, sealed) = self.state_to_check();
            let (subject, document) = self.check_revocation(signed, &sealed)?;
            let envelope = document
                .envelope(|_| true)
                .to_canonical()
                .map_err(|e| fault(&e))?
                .into();
            let token = sealed
                .tokens
                .iter()
                .map(|token| &token.name)
                .find(|name| RevokedSubject::token(name) == subject);
            let (token, at) = (token.cloned(), self.crossing.now());
            match self
                .ledger
                .revoke(RevocationWrite {
                    checked,
                    subject,
                    envelope,
                    token,
                    at,
                })
                .await
            {
                Ok(done) => return Ok((subject, done)),
                Err(stop) => check_again(stop).await?,
            }
        }
        Err(changes_too_often())
    }

    /// Returns the state in force for a check, and the mark with which the writer notices that this state has changed.
    pub(super) fn state_to_check(&self) -> (CheckedState, Arc<Sealed>) {
        // Read the number first, so that the writer notices every later change.
        let (revocations, sealed) = (self.ledger.revocations().len(), self.crossing.state());
        (
            CheckedState {
                seal: Some(sealed.digest),
                revocations,
            },
            sealed,
        )
    }

    /// Checks that the signer may revoke the subject under the state in force.
    fn check_revocation(
        &self,
        signed: &Signed<Revocation>,
        sealed: &Sealed,
    ) -> Result<(RevokedSubject, Verified<Revocation>), Stopped> {
        let document = signed.clone().verify(|keyid| sealed.statement_key(keyid));
        let document = document.map_err(|error| sealed.unverified(error))?;
        let [signature] = document.signatures() else {
            let refusal = Refusal::new(Code::Malformed, "a revocation has exactly one signature");
            return Err(refusal.at("/signatures", "expected exactly one").into());
        };
        check_here(&document.predicate().boundary, sealed)?;
        let subject = revoked(document.statement())?;
        if subject == RevokedSubject::Key(self.crossing.keyid()) {
            let detail = "this boundary signs with the key, so nobody could verify its later receipts: freeze the boundary, \
                          give it another key of the roster, then revoke the key";
            return Err(Refusal::new(Code::WrongState, detail).into());
        }
        // A seal drops a revoked token, but the same revocation again is no error.
        if self
            .ledger
            .revocations()
            .iter()
            .any(|known| known.subject == subject)
        {
            return Ok((subject, document));
        }
        let (known, epoch) = (self.crossing.revoked(), &sealed.boundary.epoch);
        let context = RevocationContext {
            roster: &sealed.roster,
            tokens: &sealed.tokens,
            epoch,
            passkeys: sealed.policy.passkeys(),
            revoked: known.now(),
            grant: &|digest| self.revocable_grant(digest, sealed),
        };
        let _ = check_may_revoke(subject, signature, context)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        Ok((subject, document))
    }
}

/// Decides what follows when the store refused a write. If the state in force changed after the check, the function waits a
/// moment, and the caller checks again.
///
/// # Errors
/// Returns the refusal of a write for which another check is no help.
pub async fn check_again(stop: WriteStop) -> Result<(), Stopped> {
    match stop {
        // A new seal is in the log a moment before it is in force here.
        WriteStop::Moved => tokio::time::sleep(PAUSE).await,
        WriteStop::TooLarge { .. } => {
            return Err(Refusal::new(Code::TooLarge, stop.to_string()).into());
        }
        WriteStop::Fault(error) => return Err(error.into()),
        _ => return Err(fault(&stop)),
    }
    Ok(())
}

/// Returns the refusal after [`MOST_TRIES`] checks.
pub fn changes_too_often() -> Stopped {
    busy("the state in force changes too often at this time").into()
}
