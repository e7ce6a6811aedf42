//! Finds steps in the seal, and decides who may see them.

use std::sync::Arc;

use crate::{CarriedVariables, Refusal, Sealed, Stopped};
use documents::{Authorization, Code, KeyId, Name, Scope, StatementKey, StepRef, VerifyError};
use reading::RegisteredStep;
use verdict::{StepError, StepInForce, StepsInForce};

impl Sealed {
    /// Returns a registered step with the rules in force for the step.
    pub fn step(&self, reference: &StepRef) -> Option<(&Arc<RegisteredStep>, &StepInForce)> {
        Some((self.registry.get(reference)?, self.steps.get(reference)?))
    }

    /// Returns the registered step that an authorization names, with the rules in force for the step.
    ///
    /// # Errors
    /// Returns an error if no such step is registered.
    pub fn signed_step(
        &self,
        signed: &Authorization,
    ) -> Result<(&Arc<RegisteredStep>, &StepInForce), StepError> {
        let reference = &signed.step.reference;
        self.step(reference).ok_or_else(|| StepError::Unknown {
            step: reference.clone(),
        })
    }

    /// Returns a key with which an authorization, a denial or a revocation can be signed. A passkey can sign only if policy
    /// has `passkeys`.
    pub fn statement_key(&self, keyid: &KeyId) -> Option<StatementKey<'_>> {
        match self.roster.statement_signer(keyid)? {
            (_, StatementKey::Passkey(_)) if self.policy.passkeys().is_none() => None,
            (_, key) => Some(key),
        }
    }

    /// Returns the refusal of a document whose signatures do not verify with the keys of the roster in force.
    pub fn unverified(&self, error: VerifyError) -> Stopped {
        match error {
            VerifyError::UnknownSigner { keyid } => self.unknown_signer(&keyid).into(),
            error => error.into(),
        }
    }

    /// Returns the refusal of a key that can't sign the document.
    pub fn unknown_signer(&self, keyid: &KeyId) -> Refusal {
        let passkeys = self.policy.passkeys().is_some();
        Refusal::new(
            Code::UnknownSigner,
            self.rosters.unknown_key_words(keyid, passkeys),
        )
    }

    /// Returns the rules in force for all registered steps.
    pub fn steps(&self) -> &StepsInForce {
        &self.steps
    }

    /// Returns the variables that the sessions of a step's runbook carry.
    pub fn carried_variables(&self, step: &StepInForce) -> CarriedVariables {
        let names = self
            .session_names
            .get_or_init(|| self.registry.session_names());
        let names = names
            .get(step.hashed.definition().reference.path())
            .cloned()
            .unwrap_or_default();
        CarriedVariables {
            names,
            ruling: step.ruling.clone(),
        }
    }

    /// Returns the people who control a proposer. For a proposer with a token, these people are the owners of the
    /// token. For a proposer with keys, these people are the owners in the roster.
    pub fn owners(&self, proposer: &Name) -> Option<&[Name]> {
        match self.tokens.iter().find(|token| token.name == *proposer) {
            Some(token) => Some(&token.owners),
            None => self
                .roster
                .proposer(proposer)
                .map(|proposer| &*proposer.owners),
        }
    }

    /// Returns true if the proposer `name` may read a run of `proposer` with this step, as `Caller::may_see` of the
    /// boundary does for a caller.
    pub fn may_see(&self, name: &Name, proposer: &Name, step: &StepRef) -> bool {
        let allows = |scope| self.tokens.allows(name, scope, step) == Some(true);
        name == proposer || allows(Scope::Read) || allows(Scope::Operate)
    }
}
