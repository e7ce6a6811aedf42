//! Question: who may review a run, when is an emergency closed, and when is an unknown end settled?

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ExcludedSigners, NotCounted, QuorumRules, TrustedRoster, UncountedSignature, count_unrevoked,
};
use documents::{
    Approvals, Code, Decision, GroupName, KeyId, Name, ObservedEnd, Timestamp, VerifiedSignature,
};
use reading::{PeopleRule, Ruling};

/// The people who may review a run, by the rules under the seal of the run.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewRules {
    /// Groups of the approval rules of policy and of the step. A member of one of these groups may review the run.
    pub groups: BTreeSet<GroupName>,
    /// The people who close an emergency.
    pub review: PeopleRule,
    /// The people who settle an unknown end.
    pub settle: PeopleRule,
}

impl ReviewRules {
    /// Returns the rules for runs of a step with these approval rules of policy and of the step.
    pub fn of(rules: &QuorumRules, ruling: &Ruling) -> Self {
        let groups: BTreeSet<GroupName> = rules.groups().into_iter().cloned().collect();
        let anyone = || PeopleRule {
            required: 1,
            from: groups.iter().cloned().collect(),
        };
        let review = ruling
            .emergency
            .as_ref()
            .map_or_else(anyone, |rule| rule.value.review.clone());
        let settle = ruling.settle.clone().unwrap_or_else(anyone);
        Self {
            groups,
            review,
            settle,
        }
    }
}

/// The state before the entry of a review.
#[derive(Clone, Copy)]
pub struct ReviewContext<'a> {
    /// The roster in force.
    pub roster: &'a TrustedRoster,
    /// Returns true if a key is revoked.
    pub is_revoked: &'a dyn Fn(&KeyId) -> bool,
    /// Time of the review: the latest time that an earlier entry states.
    pub at: Timestamp,
}

/// A review that counts. Only [`check_reviewer`] creates this value.
#[derive(Clone)]
#[must_use]
pub struct CountedReview {
    reviewer: Name,
    keyid: KeyId,
    closes: bool,
    settles: bool,
}

impl CountedReview {
    /// Returns the person who signed.
    pub fn reviewer(&self) -> &Name {
        &self.reviewer
    }

    /// Returns true if the review counts towards the end of an emergency.
    pub fn counts_for_review(&self) -> bool {
        self.closes
    }

    /// Returns true if the review counts towards the settlement of an unknown end.
    pub fn counts_for_settle(&self) -> bool {
        self.settles
    }

    /// Returns true if the review states another end of the run than the settled end.
    pub fn disputes(&self, observed: Option<ObservedEnd>, settled: ObservedEnd) -> bool {
        self.settles && observed.is_some_and(|end| end != settled)
    }
}

/// Decides whether a person may review a run, and for what the review counts. The signature must be verified.
///
/// # Errors
/// Returns the reason why the signature does not count.
pub fn check_reviewer(
    signature: &VerifiedSignature,
    rules: &ReviewRules,
    decision: &Decision,
    context: ReviewContext<'_>,
) -> Result<CountedReview, ReviewError> {
    let ReviewContext {
        roster,
        is_revoked,
        at,
    } = context;
    let of_groups = Approvals {
        required: 1,
        from: rules.groups.iter().cloned().collect(),
        each: None,
    };
    let may = QuorumRules::combine(None, &of_groups)
        .map_err(|error| ReviewError::Rules(error.to_string()))?;
    let excluded = ExcludedSigners::judged_later().with(&decision.excluded);
    let count = count_unrevoked(
        std::slice::from_ref(signature),
        roster,
        &excluded,
        &may,
        at,
        is_revoked,
    );
    if let Some(why) = count.uncounted().first() {
        return Err(ReviewError::DoesNotCount(Box::new(why.clone())));
    }
    let Some(person) = count.counted().first() else {
        return Err(ReviewError::Rules("nobody signed".to_owned()));
    };
    let is_of = |rule: &PeopleRule| rule.from.iter().any(|group| person.groups.contains(group));
    Ok(CountedReview {
        reviewer: person.name.clone(),
        keyid: signature.keyid,
        closes: is_of(&rules.review) && !decision.approvers.contains(&person.name),
        settles: is_of(&rules.settle),
    })
}

/// The newest review of each person, for one run.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunReviews(BTreeMap<Name, ReviewOpinion>);

/// What the review of one person says, and for what it counts.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewOpinion {
    /// True if the review counts towards the end of an emergency.
    pub closes: bool,
    /// True if the review counts towards the settlement of an unknown end.
    pub settles: bool,
    /// How the run ended, by this person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedEnd>,
    /// Id of the key that signed the review.
    pub keyid: KeyId,
}

/// What people know about a run with an unknown end.
#[derive(PartialEq)]
pub enum Settlement {
    /// Too few people have said how the run ended.
    Unsettled,
    /// Two people have said different things.
    Disputed,
    /// The run ended in this way.
    Settled(ObservedEnd),
}

impl RunReviews {
    /// Adds the newest review of a person.
    pub fn add(&mut self, reviewer: Name, opinion: ReviewOpinion) {
        self.0.insert(reviewer, opinion);
    }

    /// Adds a review that counts. `settled` is the end of the run that earlier reviews settled, if there is one.
    /// Returns what people know about the end after this review.
    pub fn count(
        &mut self,
        review: &CountedReview,
        observed: Option<ObservedEnd>,
        settled: Option<ObservedEnd>,
        (rules, context): (&ReviewRules, ReviewContext<'_>),
    ) -> Settlement {
        let CountedReview {
            reviewer,
            keyid,
            closes,
            settles,
        } = review.clone();
        self.add(
            reviewer,
            ReviewOpinion {
                closes,
                settles,
                observed,
                keyid,
            },
        );
        match settled {
            Some(end) if !review.disputes(observed, end) => Settlement::Settled(end),
            _ => self.settlement(rules, context),
        }
    }

    /// Returns the people whose review counts towards the end of an emergency.
    pub fn reviewers(&self) -> impl Iterator<Item = &Name> {
        self.0
            .iter()
            .filter(|(_, opinion)| opinion.closes)
            .map(|(name, _)| name)
    }

    /// Returns the people whose review counts towards the settlement of an unknown end, and states this end.
    pub fn who_say(&self, end: ObservedEnd) -> impl Iterator<Item = &Name> {
        let says = move |(_, opinion): &(&Name, &ReviewOpinion)| {
            opinion.settles && opinion.observed == Some(end)
        };
        self.0.iter().filter(says).map(|(name, _)| name)
    }

    /// Returns the number of people whose review counts towards the end of an emergency.
    pub fn counted_for_review(&self) -> u64 {
        self.reviewers().count() as u64
    }

    /// Returns true if the reviews close an emergency.
    pub fn are_enough(&self, rules: &ReviewRules) -> bool {
        self.counted_for_review() >= rules.review.required
    }

    /// Returns the ends that people state in reviews that count towards the settlement. A review still counts if the
    /// roster lists its person, and the key of the review is not revoked.
    fn said(&self, context: ReviewContext<'_>) -> Vec<ObservedEnd> {
        let counts = |(name, opinion): &(&Name, &ReviewOpinion)| {
            opinion.settles
                && context.roster.approver(name).is_some()
                && !(context.is_revoked)(&opinion.keyid)
        };
        self.0
            .iter()
            .filter(counts)
            .filter_map(|(_, opinion)| opinion.observed)
            .collect()
    }

    /// Returns the number of people who said the same about an unknown end, or 0 if people disagree.
    pub fn agreeing(&self, context: ReviewContext<'_>) -> u64 {
        let said = self.said(context);
        if said.iter().all(|one| *one == said[0]) {
            said.len() as u64
        } else {
            0
        }
    }

    /// Returns what the reviews say about an unknown end.
    pub fn settlement(&self, rules: &ReviewRules, context: ReviewContext<'_>) -> Settlement {
        match (self.said(context).first(), self.agreeing(context)) {
            (None, _) => Settlement::Unsettled,
            (Some(_), 0) => Settlement::Disputed,
            (Some(end), people) if people >= rules.settle.required => Settlement::Settled(*end),
            (Some(_), _) => Settlement::Unsettled,
        }
    }
}

/// Reason why a review breaks a rule.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReviewError {
    /// The signature does not count.
    #[error("{}", match .0.why {
        NotCounted::Excluded => excluded_words(&.0.holder),
        _ => .0.to_string(),
    })]
    DoesNotCount(Box<UncountedSignature>),
    /// The run needs no review: it was no emergency and its end is known, or the reviews are complete.
    #[error(
        "the run needs no review: only an emergency without its reviews, or a run with an unknown end, needs one; of a \
        settled run, only a person who may settle can say that it ended in another way"
    )]
    NotNeeded,
    /// The rules of the run can't be read.
    #[error("the rules for reviews of the run can't be applied: {0}")]
    Rules(String),
}

impl ReviewError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::DoesNotCount(signature) => match signature.why {
                NotCounted::Revoked => Code::Revoked,
                NotCounted::Excluded => Code::SelfApproval,
                _ => Code::NotPermittedSigner,
            },
            Self::NotNeeded => Code::WrongState,
            Self::Rules(_) => Code::PolicyDenied,
        }
    }
}

/// Says that a person can't review a run, because the receipt lists this person as excluded.
pub fn excluded_words(person: &impl fmt::Display) -> String {
    format!(
        "{person} proposed the run or drafted its grant, or controls a token that did this, and so can't review it"
    )
}
