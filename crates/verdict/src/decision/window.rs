//! Questions: is the time within the signed window, and at which times can the run start?

use crate::{Authority, SealedTokens, TrustedRoster};
use documents::{Authorization, Name, OpenWindow, Timestamp, WindowError, judge};

/// Proof that the time of the decision is within the signed window. Only [`check_window`] constructs this proof.
#[must_use]
pub struct WithinWindow(OpenWindow);

impl WithinWindow {
    /// Returns the time of the decision.
    pub fn at(&self) -> Timestamp {
        self.0.at()
    }
}

/// Checks the window of a statement with [`judge`] at the time `at`.
///
/// # Errors
/// Returns an error for the first broken rule.
pub fn check_window(
    signed: &Authorization,
    at: Timestamp,
    max_window_s: Option<i64>,
) -> Result<WithinWindow, WindowError> {
    judge(
        signed.issued_at,
        signed.not_before,
        signed.expires_at,
        at,
        max_window_s,
    )
    .map(WithinWindow)
}

/// Everything that limits the time at which a run can start.
pub struct TimeLimits<'a> {
    /// The authorization, with its window and its proposer.
    pub signed: &'a Authorization,
    /// The people whose signatures count.
    pub quorum: &'a Authority,
    /// The roster, with the validity of these people.
    pub roster: &'a TrustedRoster,
    /// The tokens of the seal.
    pub tokens: &'a SealedTokens,
    /// The party that submitted the envelope.
    pub submitter: &'a Name,
    /// The first time at which the plan of the run is too old, if the run has a plan.
    pub plan_ends: Option<Timestamp>,
}

/// The times at which a run can start. Only [`RunWindow::of`] constructs this value, from every limit.
#[must_use]
pub struct RunWindow(WindowBounds);

/// The bounds of a [`RunWindow`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowBounds {
    /// Time at which the authorization was issued.
    pub issued_at: Timestamp,
    /// Start of the signed window.
    pub not_before: Timestamp,
    /// End of the signed window. No run can start at or after this time.
    pub expires_at: Timestamp,
    /// The latest start of the validity of a counted approver.
    pub valid_after: Option<Timestamp>,
    /// The earliest end of a counted approver, of the proposer's or the submitter's token, or of the plan.
    pub valid_before: Option<Timestamp>,
}

impl RunWindow {
    /// Combines all limits.
    #[deny(
        unused_variables,
        reason = "a limit that this function does not use is no limit"
    )]
    pub fn of(limits: TimeLimits<'_>) -> Self {
        let TimeLimits {
            signed,
            quorum,
            roster,
            tokens,
            submitter,
            plan_ends,
        } = limits;
        let counted = || {
            quorum
                .approvers()
                .iter()
                .filter_map(|name| roster.approver(name))
        };
        let approvers_end = counted().filter_map(|approver| approver.valid_before).min();
        let tokens_end = tokens.ends([&signed.proposer, submitter]);
        Self(WindowBounds {
            issued_at: signed.issued_at,
            not_before: signed.not_before,
            expires_at: signed.expires_at,
            valid_after: counted().filter_map(|approver| approver.valid_after).max(),
            valid_before: [approvers_end, tokens_end, plan_ends]
                .into_iter()
                .flatten()
                .min(),
        })
    }

    /// Returns the bounds.
    pub fn bounds(&self) -> WindowBounds {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        QuorumRules, count,
        decision::{
            quorum::tests::{authorization, name, roster},
            quorum_rules::tests::rule,
            signature_count::tests::{ALICE, CAROL, at, nobody, signed as signatures},
        },
        quorum,
    };
    use documents::{Approvals, ContentDigest, Roster, SealedToken};

    /// Returns the roster after the change `edit`.
    fn edited(edit: impl FnOnce(&mut Roster)) -> TrustedRoster {
        let mut tables = roster().tables().clone();
        edit(&mut tables);
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        TrustedRoster::from_payload(&payload).expect("roster")
    }

    #[test]
    fn every_limit_moves_its_bound_of_the_run() {
        let signed = authorization();
        let rules =
            QuorumRules::combine(Some(&rule(2, &["ops"], false)), &Approvals::unspecified())
                .expect("rules");
        let token = |owner: &str, end| SealedToken {
            name: name(owner),
            owners: Vec::new(),
            scopes: Vec::new(),
            patterns: Vec::new(),
            expires_at: Some(end),
            credential: ContentDigest::of(owner.as_bytes()),
            oidc: None,
        };
        let bounds =
            |signed: &Authorization, roster: &TrustedRoster, tokens: &[SealedToken], plan_ends| {
                let counted = count(
                    &signatures(&[ALICE, CAROL]),
                    roster,
                    &nobody(),
                    &rules,
                    at(),
                );
                let quorum = Authority::Signed(quorum::decide(&rules, &counted).expect("a quorum"));
                let tokens = SealedTokens::from(tokens.to_vec());
                let submitter = name("gateway");
                let limits = TimeLimits {
                    signed,
                    quorum: &quorum,
                    roster,
                    tokens: &tokens,
                    submitter: &submitter,
                    plan_ends,
                };
                RunWindow::of(limits).bounds()
            };
        let none = WindowBounds {
            issued_at: signed.issued_at,
            not_before: signed.not_before,
            expires_at: signed.expires_at,
            valid_after: None,
            valid_before: None,
        };
        assert_eq!(
            bounds(&signed, &roster(), &[], None),
            none,
            "no limit but the signed window"
        );

        for (field, expected) in [
            (
                "issued_at",
                WindowBounds {
                    issued_at: at(),
                    ..none
                },
            ),
            (
                "not_before",
                WindowBounds {
                    not_before: at(),
                    ..none
                },
            ),
            (
                "expires_at",
                WindowBounds {
                    expires_at: at(),
                    ..none
                },
            ),
        ] {
            let mut other = serde_json::to_value(&signed).expect("JSON");
            other[field] = serde_json::json!(at());
            let other = serde_json::from_value(other).expect("an authorization");
            assert_eq!(bounds(&other, &roster(), &[], None), expected, "{field}");
        }

        // The approvers of the roster are alice, bob and carol.
        let starts = edited(|tables| {
            for (approver, start) in tables.approvers.values_mut().zip([-20, -1, -10]) {
                approver.valid_after = Some(at().plus(start));
            }
        });
        let expected = WindowBounds {
            valid_after: Some(at().plus(-10)),
            ..none
        };
        assert_eq!(
            bounds(&signed, &starts, &[], None),
            expected,
            "bob did not sign, so his validity is no limit"
        );

        let ends = edited(|tables| {
            for (approver, end) in tables.approvers.values_mut().zip([50, 1, 40]) {
                approver.valid_before = Some(at().plus(end));
            }
        });
        let tokens = [("ci-agent", 30), ("gateway", 20), ("other", 1)]
            .map(|(who, end)| token(who, at().plus(end)));
        let plan = Some(at().plus(10));
        for (limit, roster, tokens, plan, end) in [
            ("approvers", &ends, &tokens[..0], None, 40),
            ("the token of the proposer", &ends, &tokens[..1], None, 30),
            ("the token of the submitter", &ends, &tokens[..2], None, 20),
            ("the token of another party", &ends, &tokens[..], None, 20),
            ("the plan", &ends, &tokens[..], plan, 10),
            ("only tokens", &roster(), &tokens[..1], None, 30),
            ("only the plan", &roster(), &tokens[..0], plan, 10),
        ] {
            let expected = WindowBounds {
                valid_before: Some(at().plus(end)),
                ..none
            };
            assert_eq!(bounds(&signed, roster, tokens, plan), expected, "{limit}");
        }
    }
}
