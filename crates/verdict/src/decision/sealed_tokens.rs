//! The tokens of a seal, and the steps that each token may use.

use std::{ops::Deref, sync::OnceLock};

use crate::{ExclusionError, TrustedRoster};
use documents::{Name, Scope, SealedToken, StepRef, Timestamp};
use reading::Pattern;

/// The tokens of a seal.
pub struct SealedTokens {
    tokens: Box<[SealedToken]>,
    /// Patterns of each token. The patterns are parsed when they are first needed. The value is `None` if a pattern is
    /// invalid.
    patterns: Box<[OnceLock<Option<Patterns>>]>,
}

type Patterns = Box<[Pattern]>;

/// Proof that the proposer and the party that submitted the envelope may propose the step. Only
/// [`SealedTokens::check_may_propose`] creates this proof.
#[must_use]
pub struct MayPropose(());

impl From<Vec<SealedToken>> for SealedTokens {
    fn from(tokens: Vec<SealedToken>) -> Self {
        let patterns = tokens.iter().map(|_| OnceLock::new()).collect();
        Self {
            tokens: tokens.into(),
            patterns,
        }
    }
}

impl Deref for SealedTokens {
    type Target = [SealedToken];

    fn deref(&self) -> &[SealedToken] {
        &self.tokens
    }
}

impl SealedTokens {
    /// Returns true if the token has the scope for the step, and `None` if there is no token with this name.
    pub fn allows(&self, name: &Name, scope: Scope, step: &StepRef) -> Option<bool> {
        let (token, patterns) = self
            .tokens
            .iter()
            .zip(&self.patterns)
            .find(|(token, _)| token.name == *name)?;
        let read = || {
            token
                .patterns
                .iter()
                .map(|pattern| Pattern::parse(pattern).ok())
                .collect()
        };
        let matches = |patterns: &[Pattern]| {
            patterns
                .iter()
                .any(|pattern| pattern.matches(step.as_str()))
        };
        let all = token.patterns.is_empty();
        Some(
            token.scopes.contains(&scope)
                && (all || patterns.get_or_init(read).as_deref().is_some_and(matches)),
        )
    }

    /// Returns the earliest expiry of the tokens with these names, or `None` if no such token expires.
    pub fn ends(&self, names: [&Name; 2]) -> Option<Timestamp> {
        self.iter()
            .filter(|token| names.contains(&&token.name))
            .filter_map(|token| token.expires_at)
            .min()
    }

    /// Checks that each of these names is a token with the scope `propose` for the step, or a proposer of the roster.
    ///
    /// # Errors
    /// Returns an error for the first name that is unknown or may not propose the step.
    pub fn check_may_propose(
        &self,
        names: [&Name; 2],
        roster: &TrustedRoster,
        step: &StepRef,
    ) -> Result<MayPropose, ExclusionError> {
        for name in names {
            match self.allows(name, Scope::Propose, step) {
                Some(true) => {}
                Some(false) => {
                    return Err(ExclusionError::NotPermitted {
                        name: name.clone(),
                        step: step.clone(),
                    });
                }
                None if roster.proposer(name).is_some() => {}
                None => return Err(ExclusionError::UnknownProposer { name: name.clone() }),
            }
        }
        Ok(MayPropose(()))
    }
}
