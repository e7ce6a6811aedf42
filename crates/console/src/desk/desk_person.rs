//! A person at a desk, with the passkey of the login. Only this passkey signs.

use client::{Client, CommandFailure, CommandResult};
use documents::{BrowserAnswer, EnvelopeSignature, ForeignKey, PasskeyMessage, RosteredApprover};
use verdict::TrustedRoster;

use crate::{ANSWER_FIELDS, FormFields, PasskeyQuestion, ReachedBoundary, sent_text};

/// A person who is logged in.
#[derive(Clone)]
pub struct DeskPerson {
    pub key: ForeignKey,
    /// Name of the desk.
    pub host: String,
}

impl DeskPerson {
    /// Returns the question that the script asks the passkey.
    pub fn question(&self, payload: &[u8]) -> PasskeyQuestion {
        let challenge = PasskeyMessage::of_statement(payload).challenge();
        PasskeyQuestion {
            host: self.host.clone(),
            challenge,
        }
    }

    /// Takes the answer of the browser as a signature of this person over a statement.
    ///
    /// # Errors
    /// Returns an error if there is no answer, or if the signature is not valid for this person and this statement.
    pub fn signature(
        &self,
        payload: &[u8],
        answer: Option<&BrowserAnswer>,
    ) -> CommandResult<EnvelopeSignature> {
        let refused = |why: String| CommandFailure::refused(format!("nothing was signed: {why}"));
        let answer =
            answer.ok_or_else(|| refused("the browser sent no answer of a passkey".to_owned()))?;
        let blob = PasskeyMessage::of_statement(payload)
            .signature(&self.key, answer)
            .map_err(|error| {
                refused(format!(
                    "{error}. Use the passkey with which you logged in, {}",
                    self.key.keyid()
                ))
            })?;
        Ok(EnvelopeSignature::new(self.key.keyid(), &blob))
    }

    /// Returns the approver with this passkey.
    ///
    /// # Errors
    /// Returns an error if the passkey belongs to no approver of the trusted roster.
    pub fn approver_of<'r>(
        &self,
        roster: Option<&'r TrustedRoster>,
    ) -> CommandResult<&'r RosteredApprover> {
        let found = roster.and_then(|roster| roster.statement_approver(&self.key.keyid()));
        found.map(|(approver, _)| approver).ok_or_else(|| {
            let version = roster.map_or(0, TrustedRoster::version);
            let keyid = self.key.keyid();
            CommandFailure::refused(format!("nothing was signed: your passkey {keyid} belongs to no approver in roster version {version}"),
            )
        })
    }

    /// Reads the roster in force, and returns the approver with this passkey.
    pub fn approver(
        &self,
        place: &ReachedBoundary,
        client: &Client,
    ) -> CommandResult<RosteredApprover> {
        let (_, roster) = place.roster(client)?;
        self.approver_of(roster.trusted()).cloned()
    }
}

/// Reads the answer of the browser from a form.
pub fn browser_answer(sent: &FormFields) -> Option<BrowserAnswer> {
    let [client_data, authenticator_data, signature] =
        ANSWER_FIELDS.map(|name| sent_text(sent, name));
    BrowserAnswer::parse(client_data, authenticator_data, signature)
}
