//! Who calls, and what that allows.

use crate::crossing::refusal::{Refusal, Stopped};
use crate::crossing::sealed::Sealed;
use crate::policy::patterns::Pattern;
use crate::record::code::Code;
use crate::record::ident::{Name, StepRef};
use crate::record::token::Scope;
use crate::record::validity::Timestamp;

/// Who calls, and what that allows.
#[derive(Debug, Clone)]
pub struct Caller {
    name: Option<Name>,
    scopes: Vec<Scope>,
    patterns: Vec<Pattern>,
    /// The token that it came with; a key that answered a challenge has none.
    by_token: bool,
}

impl Caller {
    /// Somebody who said nothing of themselves.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self { name: None, scopes: Vec::new(), patterns: Vec::new(), by_token: false }
    }

    /// A caller with these scopes, for the steps that the patterns name; no pattern means every step.
    #[must_use]
    pub fn new(name: Name, scopes: Vec<Scope>, patterns: &[String]) -> Self {
        // Patterns were checked when the token was made; one that a later version wrote and this one can't read
        // matches nothing.
        let compiled: Vec<Pattern> = patterns.iter().filter_map(|pattern| Pattern::parse(pattern).ok()).collect();
        let scopes = if compiled.len() == patterns.len() { scopes } else { Vec::new() };
        Self { name: Some(name), scopes, patterns: compiled, by_token: false }
    }

    /// Who, where it is known.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether the caller may do this at all.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether the caller may do this with this step.
    #[must_use]
    pub fn may_step(&self, scope: Scope, step: &StepRef) -> bool {
        self.may(scope)
            && (self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(step.as_str())))
    }

    /// Whether the caller may see what `proposer` proposed of `step`: one's own, or with `read`.
    #[must_use]
    pub fn may_see(&self, proposer: &Name, step: &StepRef) -> bool {
        self.may_step(Scope::Read, step) || self.may_step(Scope::Operate, step) || self.name.as_ref() == Some(proposer)
    }

    /// Whether the caller is limited to some steps.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The same caller, who came with a token.
    #[must_use]
    pub fn with_token(self) -> Self {
        Self { by_token: true, ..self }
    }

    /// Whether the caller's token has neither ended nor been revoked since: for what goes on for long.
    #[must_use]
    pub fn still(&self, sealed: &Sealed, now: Timestamp) -> bool {
        let mut tokens = sealed.tokens.iter().filter(|token| Some(&token.name) == self.name.as_ref());
        !self.by_token || tokens.any(|token| token.expires_at.is_none_or(|end| now < end))
    }

    /// Whether the caller may know that a step exists.
    #[must_use]
    pub fn may_know(&self, step: &StepRef) -> bool {
        [Scope::Propose, Scope::Read, Scope::Operate].into_iter().any(|scope| self.may_step(scope, step))
    }

    /// The caller's name, if the caller may do this with this step.
    ///
    /// # Errors
    /// `unauthenticated` for nobody, `forbidden` otherwise.
    pub fn demand(&self, scope: Scope, step: Option<&StepRef>) -> Result<&Name, Stopped> {
        let Some(name) = &self.name else {
            return Err(Refusal::new(
                Code::Unauthenticated,
                "send Authorization: Bearer cst_...; an operator makes tokens with `countersign token create`",
            )
            .into());
        };
        let allowed = step.map_or_else(|| self.may(scope), |step| self.may_step(scope, step));
        if allowed {
            return Ok(name);
        }
        let what = step.map_or_else(String::new, |step| format!(" for {step}"));
        Err(Refusal::new(
            Code::Forbidden,
            format!("{name} may not {}{what}; an operator can make another token", scope.word()),
        )
        .into())
    }
}
