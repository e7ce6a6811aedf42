//! The caller of a request and the caller's rights.

use std::sync::Arc;

use serde_json::Value;

use crate::AdmittedCaller;
use crossing::{Refusal, Sealed, Stopped};
use documents::{Code, Name, Scope, StepRef, Timestamp};
use reading::Pattern;

/// Caller of a request, with the caller's rights.
#[derive(Debug, Clone)]
pub struct Caller {
    name: Option<Name>,
    scopes: Vec<Scope>,
    patterns: Vec<Pattern>,
    /// True if the caller presented a token. The value is false for a caller whose key answered a challenge.
    by_token: bool,
    /// What the ID token of the caller says, if an ID token opened the caller's token.
    admitted: Option<Arc<AdmittedCaller>>,
}

impl Caller {
    /// Returns a caller who presented neither a token nor an answered challenge.
    pub const fn anonymous() -> Self {
        Self {
            name: None,
            scopes: Vec::new(),
            patterns: Vec::new(),
            by_token: false,
            admitted: None,
        }
    }

    /// Returns a caller with these scopes. The scopes apply only to the steps that match the patterns. An empty list of
    /// patterns means every step.
    pub fn new(name: Name, scopes: Vec<Scope>, patterns: &[String]) -> Self {
        // The patterns were checked when the token was created. If this version can't parse a pattern that a later
        // version stored, the caller gets no scopes.
        let compiled: Vec<Pattern> = patterns
            .iter()
            .filter_map(|pattern| Pattern::parse(pattern).ok())
            .collect();
        let scopes = if compiled.len() == patterns.len() {
            scopes
        } else {
            Vec::new()
        };
        Self {
            name: Some(name),
            scopes,
            patterns: compiled,
            by_token: false,
            admitted: None,
        }
    }

    /// Returns the caller's name, or `None` for a caller without a name.
    pub const fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Returns true if the caller has this scope for at least one step.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Returns true if the caller has this scope for this step.
    pub fn may_step(&self, scope: Scope, step: &StepRef) -> bool {
        self.may(scope)
            && (self.patterns.is_empty()
                || self
                    .patterns
                    .iter()
                    .any(|pattern| pattern.matches(step.as_str())))
    }

    /// Returns true if the caller may see a proposal of `proposer` for `step`. All callers may see their own proposals.
    /// Callers with the scope `read` or `operate` may also see the proposals of other callers.
    pub fn may_see(&self, proposer: &Name, step: &StepRef) -> bool {
        self.may_step(Scope::Read, step)
            || self.may_step(Scope::Operate, step)
            || self.name.as_ref() == Some(proposer)
    }

    /// Returns true if the caller may use only some of the steps.
    pub fn is_limited(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Marks the caller as authenticated by a token.
    pub fn with_token(self) -> Self {
        Self {
            by_token: true,
            ..self
        }
    }

    /// Marks the caller as admitted by an ID token, which opened a token.
    pub fn with_id_token(self, admitted: AdmittedCaller) -> Self {
        Self {
            by_token: true,
            admitted: Some(Arc::new(admitted)),
            ..self
        }
    }

    /// Checks the parameters of a proposal against the caller's ID token. Returns what the boundary says about the job, or
    /// `None` if no ID token admitted the caller.
    ///
    /// # Errors
    /// Returns `invalid-params` if a parameter differs from the claim that states it.
    pub fn job_of(&self, params: &Value) -> Result<Option<Arc<str>>, Refusal> {
        self.admitted
            .as_ref()
            .map(|admitted| admitted.check(params))
            .transpose()
    }

    /// Returns true if the caller's token is still valid. Responses that take a long time repeat this check.
    pub fn still(&self, sealed: &Sealed, now: Timestamp) -> bool {
        let mut tokens = sealed
            .tokens
            .iter()
            .filter(|token| Some(&token.name) == self.name.as_ref());
        !self.by_token || tokens.any(|token| token.expires_at.is_none_or(|end| now < end))
    }

    /// Returns true if the caller may see that a step exists.
    pub fn may_know(&self, step: &StepRef) -> bool {
        [Scope::Propose, Scope::Read, Scope::Operate]
            .into_iter()
            .any(|scope| self.may_step(scope, step))
    }

    /// Returns the name of the caller.
    ///
    /// # Errors
    /// Returns `unauthenticated` for a caller without a name.
    pub fn demand_name(&self) -> Result<&Name, Stopped> {
        self.name.as_ref().ok_or_else(|| {
            let detail = "send Authorization: Bearer cst_...; an operator makes tokens with `countersign token create`, \
                 and a key of the roster can answer a challenge";
            Refusal::new(Code::Unauthenticated, detail).into()
        })
    }

    /// Returns the caller's name, if the caller has this scope for this step.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name, and `forbidden` if the caller lacks the scope.
    pub fn demand(&self, scope: Scope, step: Option<&StepRef>) -> Result<&Name, Stopped> {
        let name = self.demand_name()?;
        match step {
            _ if !self.may(scope) => Err(Refusal::new(
                Code::Forbidden,
                format!(
                    "{name} does not have the scope {}: ask an operator for another token",
                    scope.word()
                ),
            )
            .into()),
            Some(step) if !self.may_step(scope, step) => Err(self.outside(name, step).into()),
            _ => Ok(name),
        }
    }

    /// Returns the refusal of a request about a step that no pattern of the caller's token matches. The refusal does not
    /// reveal whether the step exists.
    fn outside(&self, name: &Name, step: &StepRef) -> Refusal {
        let patterns: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        Refusal::new(
            Code::Forbidden,
            format!(
                "{name} may not use {step}, because its token is only for {}: ask an operator for a token for this step \
                 (`countersign token create NAME --step '{step}'`)",
                patterns.join(", ")
            ),
        )
    }

    /// Returns the caller's name, if the caller may see whether this step exists.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name, and `forbidden` if the caller's token is for other steps.
    pub fn demand_known(&self, step: &StepRef) -> Result<(), Stopped> {
        match &self.name {
            Some(name) if !self.scopes.is_empty() && !self.may_know(step) => {
                Err(self.outside(name, step).into())
            }
            _ => Ok(()),
        }
    }
}
