//! The people who may not approve a proposal: the proposer, and everyone who controls the proposer.

use std::collections::BTreeSet;

use crate::TrustedRoster;
use documents::{Code, Name, SealedToken, StepRef, Timestamp};

/// The people and the tokens whose signatures do not count for one proposal. Only [`judge`] constructs this value.
#[derive(Debug, Clone)]
#[must_use]
pub struct ExcludedSigners(BTreeSet<Name>);

/// Information about tokens that the caller has.
#[derive(Clone, Copy)]
pub enum Tokens<'a> {
    /// The whole list of tokens from the seal, and the time of the decision. A name that is neither in this list nor in
    /// the roster is unknown. A token that has ended is refused.
    Sealed(&'a [SealedToken], Timestamp),
    /// The caller has no list of tokens, for example because a bundle contains no such list. In this case only the
    /// boundary states who owns a token.
    Unknown,
}

/// Finds the excluded people (rule R8): the proposer, the token that sent the envelope, and the owners of both.
///
/// # Errors
/// Returns an error if `proposer` or `handed_in_by` is neither a sealed token nor a proposer of the roster. Returns an
/// error if one of these tokens has ended.
pub fn judge(
    proposer: &Name,
    handed_in_by: &Name,
    tokens: Tokens<'_>,
    roster: &TrustedRoster,
) -> Result<ExcludedSigners, ExclusionError> {
    let mut names = BTreeSet::new();
    for name in [proposer, handed_in_by] {
        let rostered = roster.proposer(name);
        let token = match tokens {
            Tokens::Sealed(list, now) => {
                let token = list.iter().find(|token| token.name == *name);
                if let Some(end) = token
                    .and_then(|token| token.expires_at)
                    .filter(|end| now >= *end)
                {
                    return Err(ExclusionError::Ended {
                        name: name.clone(),
                        at: end,
                    });
                }
                token
            }
            Tokens::Unknown => None,
        };
        // Without a list of tokens, the function still refuses the name of an approver or an operator.
        let exists = match tokens {
            Tokens::Sealed(..) => token.is_some(),
            Tokens::Unknown => roster.check_token_name(name).is_ok(),
        };
        if rostered.is_none() && !exists {
            return Err(ExclusionError::UnknownProposer { name: name.clone() });
        }
        names.insert(name.clone());
        names.extend(rostered.iter().flat_map(|entry| &entry.owners).cloned());
        names.extend(token.iter().flat_map(|entry| &entry.owners).cloned());
    }
    Ok(ExcludedSigners(names))
}

impl ExcludedSigners {
    /// Returns no names, for a verifier that judges the signatures first and the excluded people after them.
    pub fn judged_later() -> Self {
        Self(BTreeSet::new())
    }

    /// Returns true if the signature of this person does not count.
    pub fn contains(&self, name: &Name) -> bool {
        self.0.contains(name)
    }

    /// Returns the sorted excluded names, as in a receipt's `decision.excluded`.
    pub fn names(&self) -> Vec<Name> {
        // The names have the same order as in documents, because the closing quote in canonical JSON sorts before every
        // byte of a name.
        self.0.iter().cloned().collect()
    }

    /// Adds the names that a receipt lists as excluded. No other evidence confirms these names.
    pub fn with(mut self, more: &[Name]) -> Self {
        self.0.extend(more.iter().cloned());
        self
    }
}

/// Reason why the excluded people could not be determined, or why a party may not propose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExclusionError {
    /// The name is neither a sealed token nor a proposer in the roster.
    #[error(
        "{name} is neither a sealed token nor a proposer of the roster, so the boundary cannot exclude the people who \
         control it; propose with a token"
    )]
    UnknownProposer {
        /// The name.
        name: Name,
    },
    /// The token may not propose the step.
    #[error("{name} does not have the scope propose for {step}: ask an operator for another token")]
    NotPermitted {
        /// The name of the token.
        name: Name,
        /// The step.
        step: StepRef,
    },
    /// The sealed token has expired.
    #[error(
        "the token {name} ended at {at}, so its proposals can no longer run; propose again with another token"
    )]
    Ended {
        /// The name.
        name: Name,
        /// The time at which the token expired.
        at: Timestamp,
    },
}

impl ExclusionError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Forbidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::quorum::tests::{name, roster};
    use documents::{ContentDigest, Scope};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn token(of: &str, owners: &[&str]) -> SealedToken {
        SealedToken {
            name: name(of),
            owners: owners.iter().map(|owner| name(owner)).collect(),
            scopes: vec![Scope::Propose],
            patterns: Vec::new(),
            expires_at: None,
            credential: ContentDigest::of(of.as_bytes()),
            oidc: None,
        }
    }

    #[test]
    fn r8_the_proposer_its_owners_and_the_submitter_are_excluded() {
        let tokens = [
            token("agent", &["alice"]),
            token("courier", &["bob", "carol"]),
            token("other", &["dora"]),
        ];
        let roster = roster();
        let excluded = judge(
            &name("agent"),
            &name("courier"),
            Tokens::Sealed(&tokens, NOW),
            &roster,
        )
        .expect("known");
        assert_eq!(
            excluded.names(),
            ["agent", "alice", "bob", "carol", "courier"].map(name)
        );
    }

    #[test]
    fn r8_an_unknown_proposer_is_refused() {
        let tokens = [token("agent", &["alice"])];
        let roster = roster();
        for (proposer, courier) in [("ghost", "agent"), ("agent", "ghost")] {
            let error = judge(
                &name(proposer),
                &name(courier),
                Tokens::Sealed(&tokens, NOW),
                &roster,
            )
            .expect_err("a ghost");
            assert_eq!(
                error,
                ExclusionError::UnknownProposer {
                    name: name("ghost")
                }
            );
        }
        assert!(
            judge(&name("ghost"), &name("ghost"), Tokens::Unknown, &roster).is_ok(),
            "a bundle can't know"
        );
        assert!(
            judge(&name("oscar"), &name("ghost"), Tokens::Unknown, &roster).is_err(),
            "an operator is no token"
        );
    }

    #[test]
    fn excluded_names_are_sorted_like_the_arrays_in_documents() {
        let tokens = [token("a", &["a-b", "a.b", "a1"])];
        let roster = roster();
        let excluded = judge(
            &name("a"),
            &name("a"),
            Tokens::Sealed(&tokens, NOW),
            &roster,
        )
        .expect("known");
        let names = excluded.names();
        assert!(
            documents::check_sorted("/excluded", &names).is_ok(),
            "{names:?}"
        );
    }

    #[test]
    fn r8_a_revoked_or_expired_token_can_neither_propose_nor_submit() {
        let ends = |at| SealedToken {
            expires_at: Some(NOW.plus(at)),
            ..token("short", &["alice"])
        };
        for (proposer, courier) in [("short", "agent"), ("agent", "short")] {
            let judged = |at| {
                let tokens = [token("agent", &["bob"]), ends(at)];
                judge(
                    &name(proposer),
                    &name(courier),
                    Tokens::Sealed(&tokens, NOW),
                    &roster(),
                )
                .map(|all| all.names())
            };
            assert!(judged(1).is_ok());
            for at in [0, -1] {
                assert_eq!(
                    judged(at),
                    Err(ExclusionError::Ended {
                        name: name("short"),
                        at: NOW.plus(at)
                    })
                );
            }
        }
    }
}
