//! Follows the runs that people must review: emergencies, and runs whose end nobody saw.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    CountedReview, Finding, FindingKind, ReviewContext, ReviewRules, RunReviewState, RunReviews,
    SealInForce, Settlement,
};
use documents::{
    Authorization, BoundaryRef, ContentDigest, Decision, ObservedEnd, Receipt, ReceiptId, Status,
    StepRef, Timestamp,
};

/// The emergencies of the log and the runs with an unknown end, by the digest of the receipt's payload.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "KeptReviews")]
pub struct ReviewedRuns(BTreeMap<ContentDigest, ReviewedRun>);

/// A run that people must review, or have reviewed.
#[skip_serializing_none]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptReviewedRun")]
pub struct ReviewedRun {
    /// Id of the receipt.
    pub receipt: ReceiptId,
    /// The step that ran.
    pub step: StepRef,
    /// Time at which the nonce was spent.
    pub at: Timestamp,
    /// Log entry of the consumption, and the item of the run.
    pub place: (u64, u64),
    /// Log entry of the receipt.
    pub entry: u64,
    /// The boundary in the authorization of the run, which a review names too.
    pub boundary: BoundaryRef,
    /// The decision in the receipt. It names the people who may not review.
    pub decision: Decision,
    /// The grant that the run used.
    pub grant: Option<ContentDigest>,
    /// Who may review, or nothing if the sealed state can't be read.
    pub rules: Option<ReviewRules>,
    /// What an emergency needs.
    pub emergency: Option<EmergencyState>,
    /// What an unknown end needs.
    pub unknown: Option<UnsettledEnd>,
    /// The newest review of each person.
    #[serde(default)]
    pub reviews: RunReviews,
}

/// An emergency.
#[skip_serializing_none]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptEmergency")]
pub struct EmergencyState {
    /// Maximum number of emergencies without a review, by the policy of the run.
    pub max_unreviewed: Option<u64>,
    /// Log entry of the review that closed the emergency.
    pub closed: Option<u64>,
    /// True if the audit has reported that too many emergencies were open.
    #[serde(default)]
    pub reported: bool,
}

/// A run whose end nobody saw.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptUnsettledEnd")]
pub struct UnsettledEnd {
    /// Log entry of the review that settled the end, and how the run ended.
    pub settled: Option<(u64, ObservedEnd)>,
    /// True if people say different things.
    #[serde(default)]
    pub disputed: bool,
}

impl ReviewedRun {
    /// Returns true if the run is an emergency without its reviews.
    pub fn is_open(&self) -> bool {
        self.emergency
            .as_ref()
            .is_some_and(|emergency| emergency.closed.is_none())
    }

    /// Returns true if nobody has settled how the run ended.
    pub fn is_unsettled(&self) -> bool {
        self.unknown
            .as_ref()
            .is_some_and(|unknown| unknown.settled.is_none())
    }

    /// Returns how the run ended, if this is settled.
    pub(crate) fn settled(&self) -> Option<ObservedEnd> {
        self.unknown
            .as_ref()
            .and_then(|unknown| unknown.settled)
            .map(|(_, end)| end)
    }

    pub(crate) fn state(&self) -> RunReviewState {
        let is_reviewed = self
            .emergency
            .as_ref()
            .is_some_and(|emergency| emergency.closed.is_some());
        let settled = self.settled();
        RunReviewState {
            receipt: self.receipt.clone(),
            step: self.step.clone(),
            at: self.at,
            emergency: self.is_open(),
            unsettled: self.is_unsettled(),
            disputed: self
                .unknown
                .as_ref()
                .is_some_and(|unknown| unknown.disputed),
            reviewed_by: if is_reviewed {
                self.reviews.reviewers().cloned().collect()
            } else {
                Vec::new()
            },
            settled,
            settled_by: settled
                .map_or_else(Vec::new, |end| self.reviews.who_say(end).cloned().collect()),
            entry: self.entry,
        }
    }
}

impl ReviewedRuns {
    /// Returns true if the log has neither emergencies nor unknown ends.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the run with this receipt.
    pub(crate) fn get(&self, receipt: &ContentDigest) -> Option<&ReviewedRun> {
        self.0.get(receipt)
    }

    /// Returns the states of all runs in the order of the log: first of the runs that still need a review, then of the others.
    pub(crate) fn states(&self) -> [Vec<RunReviewState>; 2] {
        let mut runs: Vec<_> = self.0.values().collect();
        runs.sort_by_key(|run| run.entry);
        let (open, done): (Vec<_>, Vec<_>) = runs
            .into_iter()
            .partition(|run| run.is_open() || run.is_unsettled());
        [open, done].map(|runs| runs.into_iter().map(ReviewedRun::state).collect())
    }

    /// Follows a receipt. Returns a finding for each emergency that began while too many others were open.
    pub(crate) fn end(
        &mut self,
        (digest, entry): (ContentDigest, u64),
        (receipt, signed): (&Receipt, &Authorization),
        (at, grant): (Timestamp, Option<ContentDigest>),
        in_force: &SealInForce,
    ) -> Vec<Finding> {
        let is_emergency = signed.emergency.is_some();
        if !is_emergency && receipt.outcome.status != Status::Unknown {
            return Vec::new();
        }
        let step = in_force
            .state
            .as_ref()
            .and_then(|state| Some(state.step(&signed.step.reference)?.0));
        let rule = step.and_then(|step| step.ruling.emergency.as_ref());
        let run = ReviewedRun {
            receipt: signed.proposal.receipt(),
            step: signed.step.reference.clone(),
            at,
            place: (receipt.consumption.index, receipt.consumption.item),
            entry,
            boundary: signed.boundary.clone(),
            decision: receipt.decision.clone(),
            grant,
            rules: step.map(|step| ReviewRules::of(&step.rules, &step.ruling)),
            emergency: is_emergency.then(|| EmergencyState {
                max_unreviewed: rule.map(|rule| rule.value.max_unreviewed),
                closed: None,
                reported: false,
            }),
            unknown: (receipt.outcome.status == Status::Unknown).then(UnsettledEnd::default),
            reviews: RunReviews::default(),
        };
        self.0.insert(digest, run);
        if is_emergency {
            self.exceeding(entry)
        } else {
            Vec::new()
        }
    }

    /// Finds the emergencies that began while too many others were open. The receipt of a later run can be logged
    /// first, so each receipt can also show that an earlier run exceeded the limit.
    fn exceeding(&mut self, entry: u64) -> Vec<Finding> {
        let spans: Vec<_> = (self.0.values())
            .filter_map(|run| Some((run.place, run.emergency.as_ref()?.closed)))
            .collect();
        let mut found = Vec::new();
        for run in self.0.values_mut() {
            let Some(emergency) = run
                .emergency
                .as_mut()
                .filter(|emergency| !emergency.reported)
            else {
                continue;
            };
            let Some(most) = emergency.max_unreviewed else {
                continue;
            };
            let before = |(place, closed): &&((u64, u64), Option<u64>)| {
                *place < run.place && closed.is_none_or(|closed| closed > run.place.0)
            };
            let open = spans.iter().filter(before).count() as u64;
            if open >= most {
                emergency.reported = true;
                let why = format!(
                    "{open} emergencies had no review when this one began, but policy permits {most}"
                );
                found.push(Finding::at(FindingKind::Emergency, entry, why).about(&run.receipt));
            }
        }
        found
    }

    /// Follows a review that counts. If the end of the run is unknown and the run used a grant, returns the grant, the entry of
    /// the receipt, and true if the end is settled.
    pub(crate) fn review(
        &mut self,
        receipt: &ContentDigest,
        review: &CountedReview,
        (observed, entry): (Option<ObservedEnd>, u64),
        context: ReviewContext<'_>,
    ) -> Option<(ContentDigest, u64, bool)> {
        let run = self.0.get_mut(receipt)?;
        let rules = run.rules.as_ref()?;
        let before = run.unknown.as_ref().and_then(|unknown| unknown.settled);
        let settlement = run.reviews.count(
            review,
            observed,
            before.map(|(_, end)| end),
            (rules, context),
        );
        if let Some(emergency) = &mut run.emergency
            && emergency.closed.is_none()
            && run.reviews.are_enough(rules)
        {
            emergency.closed = Some(entry);
        }
        let unknown = run.unknown.as_mut()?;
        unknown.disputed = settlement == Settlement::Disputed;
        unknown.settled = match settlement {
            Settlement::Settled(end) => before
                .filter(|(_, known)| *known == end)
                .or(Some((entry, end))),
            Settlement::Unsettled | Settlement::Disputed => None,
        };
        Some((run.grant?, run.entry, unknown.settled.is_some()))
    }
}
