//! The proposals of all boundaries, read at the same time.

use std::{collections::BTreeMap, sync::Arc};

use client::{Client, CommandResult, fail_usage, myself, newest, proposals::list, waiting_grants};
use documents::{Name, RosteredApprover, StepDigest, Timestamp};
use wire::{GrantView, ProposalView};

use crate::{BoundaryState, ReachedBoundary, companion::signing::Signing};

/// Maximum number of ended proposals of one boundary and one status.
const MOST_ENDED: usize = 20;

/// The proposals of one boundary.
pub struct BoundaryInbox {
    /// What the boundary says about itself.
    pub state: BoundaryState,
    /// The approver to whom the keys belong, or the reason why they belong to no approver.
    pub approver: Result<Name, String>,
    /// Proposals that the signature of this person can advance, the soonest end first.
    pub mine: Vec<ProposalView>,
    /// Drafts of grants that the signature of this person can advance.
    pub grants: Vec<GrantView>,
    /// Other pending proposals.
    pub others: Vec<ProposalView>,
    /// Approved proposals and running proposals.
    pub running: Vec<ProposalView>,
    /// Proposals that ended today, newest first.
    pub ended: Vec<ProposalView>,
}

impl BoundaryInbox {
    /// Reads the proposals. `approver` is the person, or the reason why the person is no approver.
    pub fn read(
        (place, client): (&ReachedBoundary, &Client),
        approver: CommandResult<RosteredApprover>,
        now: Timestamp,
    ) -> CommandResult<Self> {
        let state = place.state(client)?;
        let pending = list(client, &[("status", "pending")])?;
        let is_mine = |view: &ProposalView| {
            approver
                .as_ref()
                .is_ok_and(|approver| view.approvals.need(approver))
        };
        let (mut mine, mut others): (Vec<_>, Vec<_>) = pending.into_iter().partition(is_mine);
        mine.sort_by_key(|view| view.expires_at);
        others.sort_by_key(|view| view.expires_at);
        let mut running = list(client, &[("status", "running")])?;
        running.extend(list(client, &[("status", "approved")])?);
        let mut ended = Vec::new();
        for status in ["finished", "denied", "refused"] {
            ended.extend(newest(client, &[("status", status)], MOST_ENDED, None)?);
        }
        ended.retain(|view| view.ended_at.is_some_and(|at| is_same_day(at, now)));
        ended.sort_by_key(|view| std::cmp::Reverse(view.ended_at));
        let grants = approver
            .as_ref()
            .map_or_else(|_| Vec::new(), |mine| waiting_grants(client, Some(mine)));
        let approver = approver
            .map(|approver| approver.name)
            .map_err(|failure| failure.message);
        Ok(Self {
            state,
            approver,
            mine,
            grants,
            others,
            running,
            ended,
        })
    }

    /// Returns the pending proposals by definition, for each definition with more than one pending proposal.
    pub fn of_one_definition(&self) -> BTreeMap<StepDigest, Vec<&ProposalView>> {
        let mut all: BTreeMap<StepDigest, Vec<&ProposalView>> = BTreeMap::new();
        for view in self.mine.iter().chain(&self.others) {
            all.entry(view.step_digest).or_default().push(view);
        }
        all.retain(|_, views| views.len() > 1);
        all
    }
}

/// Returns true if both times are on the same day in UTC.
fn is_same_day(one: Timestamp, other: Timestamp) -> bool {
    const DAY: i64 = 86_400;
    one.unix().div_euclid(DAY) == other.unix().div_euclid(DAY)
}

/// Reads all boundaries at the same time. The result has the order of the list.
pub async fn read_all(
    places: &[Arc<ReachedBoundary>],
    signing: &Arc<Signing>,
    now: Timestamp,
) -> Vec<CommandResult<BoundaryInbox>> {
    let reads: Vec<_> = places
        .iter()
        .map(|place| {
            let (place, signing) = (place.clone(), signing.clone());
            tokio::spawn(async move {
                place
                    .read(move |place, client| {
                        let trusted = || place.trust.rosters();
                        let approver = signing
                            .keys()
                            .and_then(|keys| myself(&keys, &trusted()?, client));
                        BoundaryInbox::read((place, client), approver, now)
                    })
                    .await
            })
        })
        .collect();
    let mut all = Vec::new();
    for read in reads {
        all.push(read.await.unwrap_or_else(fail_usage));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_of_utc() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert!(is_same_day(
            at("2026-11-20T00:00:00Z"),
            at("2026-11-20T23:59:59Z")
        ));
        assert!(!is_same_day(
            at("2026-11-19T23:59:59Z"),
            at("2026-11-20T00:00:00Z")
        ));
    }
}
