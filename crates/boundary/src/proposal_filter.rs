//! Lists the proposals that match a filter.

use crate::{Caller, Proposals, proposal_status::status_of};
use crossing::{Refusal, Stopped};
use documents::{Code, Name, ProposalId, ProposalIdEnding, Scope, StepRef};
use store::ProposalQuery;
use wire::{ProposalList, ProposalStatus};

/// Maximum number of proposals on one page.
const MOST_LISTED: usize = 100;

/// Filter for a list of proposals.
#[derive(Debug, Clone, Default)]
pub struct ProposalFilter {
    /// Selects the proposals with these statuses. An empty list selects every status.
    pub statuses: Vec<ProposalStatus>,
    /// Selects the proposals whose id ends with this text.
    pub ending: Option<ProposalIdEnding>,
    /// Selects the proposals of this step.
    pub step: Option<StepRef>,
    /// Refuses a caller who may not see all proposals of the step.
    pub all: bool,
    /// Selects the proposals of this proposer.
    pub proposer: Option<Name>,
    /// The cursor that the previous page returned.
    pub cursor: Option<String>,
    /// Maximum number of proposals in the list. 0 means a full page.
    pub limit: usize,
}

impl Proposals {
    /// Returns the proposals that the caller may see, newest first.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the caller has no name, `malformed` for a cursor that no list returned, and `forbidden` if
    /// the filter needs all proposals of a step, but the caller may see only some.
    pub fn list(&self, caller: &Caller, filter: &ProposalFilter) -> Result<ProposalList, Stopped> {
        let name = caller.demand_name()?;
        if filter.all {
            let Some(step) = &filter.step else {
                return Err(Refusal::new(Code::Malformed, "`all` needs `step`")
                    .at("/all", "without `step`")
                    .into());
            };
            if !caller.may_step(Scope::Operate, step) {
                let _ = caller.demand(Scope::Read, Some(step))?;
            }
        }
        let before = match filter.cursor.as_deref().map(str::parse::<ProposalId>) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => {
                return Err(Refusal::new(
                    Code::Malformed,
                    "the cursor is not from an answer of this boundary: leave the cursor out",
                )
                .at("/cursor", "unknown")
                .into());
            }
        };
        // A caller without the scope `read` or `operate` sees only the caller's own proposals. The store selects these
        // proposals.
        let own_only = !caller.may(Scope::Read) && !caller.may(Scope::Operate);
        let proposer = if own_only {
            Some(name.clone())
        } else {
            filter.proposer.clone()
        };
        if own_only && filter.proposer.as_ref().is_some_and(|asked| asked != name) {
            return Ok(ProposalList {
                proposals: Vec::new(),
                cursor: None,
            });
        }
        let limit = if filter.limit == 0 {
            MOST_LISTED
        } else {
            filter.limit.min(MOST_LISTED)
        };
        let rows = ProposalQuery {
            statuses: filter.statuses.iter().copied().map(status_of).collect(),
            ending: filter.ending.clone(),
            step: filter.step.clone(),
            proposer,
            before,
            limit,
        };
        let page = self.ledger.proposals(&rows)?;
        let (mut proposals, mut open) = (Vec::with_capacity(page.proposals.len()), None);
        for row in page
            .proposals
            .iter()
            .filter(|row| caller.may_see(&row.core.proposer, &row.core.step))
        {
            let view = self.view_beside(caller, row, &mut open)?;
            // An expired proposal still has its old status in the store until the next housekeeping, so check the
            // status again.
            if filter.statuses.is_empty() || filter.statuses.contains(&view.status) {
                proposals.push(view);
            }
        }
        Ok(ProposalList {
            proposals,
            cursor: page.next.map(|id| id.to_string()),
        })
    }
}
