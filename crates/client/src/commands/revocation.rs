//! Signs and sends revocations for `revoke` and `freeze`. The command `review-run` also uses the question before the
//! signature.

use crate::{
    Client, CommandFailure, CommandResult, Keys, SignaturePurpose, Signer, Terminal, fail_refused,
    home::keys, value_words::counted,
};
use documents::{BoundaryRef, Envelope, KeyId, Revocation, RevokedSubject};
use verdict::{KeyHolder, TrustedRoster};
use wire::{BoundaryView, RegistryView, RevocationView};

/// Returns how a statement names this boundary.
pub fn boundary_ref(boundary: BoundaryView) -> BoundaryRef {
    BoundaryRef {
        name: boundary.name,
        id: boundary.id,
        epoch: boundary.epoch,
    }
}

/// The boundary for which a revocation is signed, as the boundary itself reports it. No trusted roster is needed, because
/// a revocation can only prevent or end runs.
pub struct RevokingBoundary<'c> {
    client: &'c Client,
    /// Name, id and epoch.
    pub boundary: BoundaryRef,
    /// The roster in force.
    pub roster: TrustedRoster,
}

impl<'c> RevokingBoundary<'c> {
    /// Reads the boundary and its roster.
    ///
    /// # Errors
    /// Returns an error if the boundary cannot be reached.
    pub fn read(client: &'c Client) -> CommandResult<Self> {
        let RegistryView { boundary, seal, .. } = client.get("/v1/registry")?;
        let payload = client.blob(seal.roster.as_bytes())?;
        let roster = TrustedRoster::from_payload(&payload).map_err(|error| {
            CommandFailure::unreachable(format!("the boundary's roster can't be read: {error}"))
        })?;
        let boundary = boundary_ref(boundary);
        Ok(Self {
            client,
            boundary,
            roster,
        })
    }

    /// Signs the revocation of a key with the same key. A proposer may do this without the right to read the roster.
    ///
    /// # Errors
    /// Returns the error of `agree`, or an error if the boundary cannot be reached or the key did not sign.
    pub fn sign_own(
        client: &Client,
        reason: &str,
        signer: &dyn Signer,
        agree: impl FnOnce(&BoundaryRef) -> CommandResult<()>,
    ) -> CommandResult<Envelope> {
        let RegistryView { boundary, .. } = client.get("/v1/registry")?;
        let boundary = boundary_ref(boundary);
        agree(&boundary)?;
        sign(
            boundary,
            RevokedSubject::Key(signer.key().keyid()),
            reason,
            signer,
        )
    }

    /// Signs the revocation with the key to revoke if the user has it, and otherwise with the key of an operator or, as
    /// the last choice, of an approver.
    ///
    /// # Errors
    /// Returns an error if the user has no such key, if the reason is too long, or if the key did not sign.
    pub fn sign(
        &self,
        subject: RevokedSubject,
        reason: &str,
        keys: &Keys,
    ) -> CommandResult<Envelope> {
        let holds = |keyid: &KeyId| self.roster.signer(keyid).map(|(holder, _)| holder);
        let rank = |keyid: &KeyId| match holds(keyid)? {
            _ if subject == RevokedSubject::Key(*keyid) => Some(0),
            KeyHolder::Operator(_) => Some(1),
            KeyHolder::Approver(_) => Some(2),
            KeyHolder::Proposer(_)
                if matches!(subject, RevokedSubject::Token(_) | RevokedSubject::Grant(_)) =>
            {
                Some(3)
            }
            KeyHolder::Proposer(_) | KeyHolder::Boundary(_) => None,
        };
        let ranked = keys
            .all()
            .filter_map(|signer| Some((rank(&signer.key().keyid())?, signer)));
        let signer = ranked.min_by_key(|(rank, _)| *rank).map(|(_, signer)| signer).ok_or_else(|| {
            CommandFailure::usage(format!(
                "none of your keys can sign this revocation at {}: name the key of an approver, an operator or an owner with \
                 --key FILE",
                self.boundary.name
            ))
        })?;
        sign(self.boundary.clone(), subject, reason, signer)
    }

    /// Signs and sends the freeze.
    ///
    /// # Errors
    /// Returns the errors of [`Self::sign`], or the refusal of the boundary.
    pub fn freeze(&self, reason: &str, keys: &Keys) -> CommandResult<RevocationView> {
        let subject = RevokedSubject::epoch(&self.boundary.epoch);
        send(self.client, &self.sign(subject, reason, keys)?)
    }
}

/// Signs a revocation.
///
/// # Errors
/// Returns an error if the reason is too long, or if the key did not sign.
pub fn sign(
    boundary: BoundaryRef,
    subject: RevokedSubject,
    reason: &str,
    signer: &dyn Signer,
) -> CommandResult<Envelope> {
    let payload = payload(boundary, subject, reason)?;
    let signature = keys::sign(signer, SignaturePurpose::Revoke, &payload)?;
    Ok(Envelope::new(&payload, vec![signature]))
}

/// Returns the bytes that a revocation signs.
///
/// # Errors
/// Returns an error if the reason is too long.
pub fn payload(
    boundary: BoundaryRef,
    subject: RevokedSubject,
    reason: &str,
) -> CommandResult<Vec<u8>> {
    let revocation = Revocation {
        boundary,
        reason: reason.to_owned(),
    };
    let payload = revocation.of(subject).to_payload();
    payload.map_err(|error| {
        CommandFailure::usage(format!(
            "the revocation can't be written: {error}; shorten the reason"
        ))
    })
}

/// Sends a signed revocation.
///
/// # Errors
/// Returns the refusal of the boundary.
pub fn send(client: &Client, revocation: &Envelope) -> CommandResult<RevocationView> {
    client.post("/v1/revocations", revocation)
}

/// Asks whether to sign a statement, which then stays in the log.
///
/// # Errors
/// Returns an error if the person does not agree, or if there is no terminal.
pub fn ask_consent(question: &str, yes: bool, terminal: &Terminal) -> CommandResult<()> {
    let question = format!("{question} The signed statement can't be taken back. Type yes:");
    if yes || terminal.ask(&question, "say --yes")? == "yes" {
        Ok(())
    } else {
        fail_refused("nothing was signed")
    }
}

/// Describes the result of a revocation. `what` are the words for its subject, if they are known.
pub fn done_words(answer: &RevocationView, what: Option<&str>) -> String {
    let state = match (answer.subject, what) {
        (RevokedSubject::Epoch(_), _) => "the boundary is frozen".to_owned(),
        (_, Some(what)) => format!("{what} is revoked"),
        (subject, None) => format!("the {subject} is revoked"),
    };
    let already = if answer.existing { " already" } else { "" };
    format!(
        "{state}{already} (log entry {}): {} ended, {} stopped",
        answer.index,
        counted(answer.ended, "proposal"),
        counted(answer.stopped, "run")
    )
}
