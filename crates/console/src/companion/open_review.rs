//! Reviews of proposals that are open, for all pages that sign. This module has no key.

use client::{
    Client, CommandFailure, CommandResult, ProposalReview, ReviewSubject, check_open, find_subject,
    now,
};
use documents::{Name, ProposalId};
use wire::ProposalView;

use crate::BoundaryTrust;

/// A review that was just made.
pub struct MadeReview {
    /// The review.
    pub review: ProposalReview,
    /// The proposal, as the boundary reports it.
    pub view: ProposalView,
    /// The approver whose key would sign, or why no key can sign.
    pub approver: Result<Name, String>,
}

/// A signature that was made and sent, with the answer of the boundary and what the person did, in words. Before this value,
/// nothing was signed.
pub struct SentSignature<T>(pub CommandResult<T>, pub String);

impl MadeReview {
    /// Reads a proposal and makes its review. A proposal that is over has no review. `approver` says whose key would sign.
    pub fn read(
        (id, trust, client): (&ProposalId, &BoundaryTrust, &Client),
        make: impl FnOnce(&ReviewSubject) -> CommandResult<ProposalReview>,
        approver: impl FnOnce(&ProposalReview) -> CommandResult<Name>,
    ) -> CommandResult<Self> {
        let subject = find_subject(Some(id.as_str()), client)?;
        let ReviewSubject::Proposal(view) = &subject else {
            return Err(odd());
        };
        check_open(view, true)?;
        let review = make(&subject)?;
        if let Some(statement) = &review.found.statement {
            trust.check_id(statement.predicate.boundary.id)?;
        }
        let approver = approver(&review).map_err(|failure| failure.message);
        let ReviewSubject::Proposal(view) = subject else {
            return Err(odd());
        };
        Ok(Self {
            review,
            view: *view,
            approver,
        })
    }
}

/// Reads the proposal again. The boundary must still return the statement that the page showed, and the proposal must
/// still be open. The review is judged again at the present time.
pub fn still_open(
    id: &ProposalId,
    review: ProposalReview,
    stops: bool,
    trust: &BoundaryTrust,
    client: &Client,
) -> CommandResult<ProposalReview> {
    let subject = find_subject(Some(id.as_str()), client)?;
    let ReviewSubject::Proposal(view) = &subject else {
        return Err(odd());
    };
    check_open(view, stops)?;
    if subject.payload()? != review.sources.payload {
        return Err(CommandFailure::refused(format!(
            "nothing was signed: the boundary now returns another statement for {id} than this page showed \
                 ({} instead of {}). Don't trust this boundary, and tell its operator",
            view.digest, review.found.digest
        )));
    }
    let review = review.again(now());
    let statement = review.found.statement.as_ref();
    statement.map_or(Ok(()), |statement| {
        trust.check_id(statement.predicate.boundary.id)
    })?;
    Ok(review)
}

/// Returns true if a denial stops a proposal of this status that no signature can change any more.

fn odd() -> CommandFailure {
    CommandFailure::refused("nothing was signed: the address names no proposal")
}
