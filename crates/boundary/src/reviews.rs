//! Reviews: people's signed statements about an emergency, or about a run whose end nobody saw.

use crate::{
    Caller, MOST_TRIES, Proposals, blob_text, changes_too_often, check_again, earlier_seal,
    envelope_in, fail, fail_at, logged_documents::predicate, proposals::excluded,
};
use crossing::{Refusal, RequestResult, Sealed, authorization_at, fault, refusal_of};
use documents::{
    Authorization, Base64, Code, ContentDigest, Envelope, Name, ObservedEnd, ProposalId, Receipt,
    ReceiptId, ReviewStatement, Signed, Timestamp, Verified, json, reviewed,
};
use reading::{Builtins, Policy, ruling};
use store::{CheckedState, ConsumeStop, OwedReview, ReviewWrite, StoredReview, end_detail};
use verdict::{
    CountedReview, HashedStep, QuorumRules, ReviewContext, ReviewError, ReviewOpinion, ReviewRules,
    RunReviews, Settlement, StepInForce, check_reviewer,
};
use wire::{ReviewNeed, ReviewedView, RunReviewView, UnsettledList, UnsettledRun};

/// Maximum number of runs in the list of those that need a review.
const MOST_LISTED: usize = 100;
/// Maximum number of rows that one request reads.
const MOST_READ: usize = 1000;

/// A run that needs or needed a review, with its documents.
struct RunToReview {
    owed: OwedReview,
    receipt: Receipt,
    digest: ContentDigest,
    authorization: Authorization,
}

/// A verified review, and the run that it is about.
struct OpenedReview {
    document: Verified<ReviewStatement>,
    run: RunToReview,
    /// Log entry of the receipt.
    index: u64,
    /// The reviews of the run so far.
    stored: Vec<StoredReview>,
    /// The review as the log contains it.
    bytes: Vec<u8>,
}

impl Proposals {
    /// Logs a review of a run, and closes the emergency or settles the unknown end if enough people have reviewed it.
    ///
    /// # Errors
    /// Returns `unknown-signer`, `bad-signature`, `not-permitted-signer`, `self-approval`, `revoked`, `wrong-boundary`,
    /// `malformed` for a review of another receipt, `not-found`, and `wrong-state` for a run that needs no review.
    pub async fn review(&self, id: &ReceiptId, envelope: &Envelope) -> RequestResult<ReviewedView> {
        let signed = Signed::<ReviewStatement>::from_envelope(envelope, Base64::Lenient)?;
        // Every reader of the log can send a logged review again. Answer before the lock is taken, so that the
        // repetition delays nobody.
        let opened = self.open_review(id, &signed, &self.crossing.state())?;
        if let Some(known) = self.known_review(id, &opened)? {
            return Ok(known);
        }
        let _one_at_a_time = self.one_review.lock().await;
        for _ in 0..MOST_TRIES {
            // Read the version before the reviews, so that the writer notices every later review.
            let version = self.ledger.state().version;
            let (checked, sealed) = self.state_to_check();
            let opened = self.open_review(id, &signed, &sealed)?;
            if let Some(known) = self.known_review(id, &opened)? {
                return Ok(known);
            }
            let (write, view) = self.check_review(id, opened, &sealed, (checked, version))?;
            let (closes, settles) = (write.closes, write.settles);
            match self.ledger.review(write).await {
                Ok(leaf) => {
                    tracing::info!(receipt = %id, entry = leaf.index, closes, settles = ?settles, "reviewed");
                    return Ok(ReviewedView {
                        index: leaf.index,
                        ..view
                    });
                }
                Err(stop) => check_again(stop).await?,
            }
        }
        Err(changes_too_often())
    }

    /// Verifies a review, and reads the run that it is about.
    fn open_review(
        &self,
        id: &ReceiptId,
        signed: &Signed<ReviewStatement>,
        sealed: &Sealed,
    ) -> RequestResult<OpenedReview> {
        let document = signed.clone().verify(|keyid| sealed.roster.key(keyid));
        let document = document.map_err(|error| sealed.unverified(error))?;
        if document.signatures().len() != 1 {
            return fail_at(
                Code::Malformed,
                "a review has exactly one signature",
                "/signatures",
                "expected exactly one",
            );
        }
        let subject = reviewed(document.statement())?;
        let owed = self.ledger.owed(&id.proposal())?;
        let Some((owed, index)) = owed.and_then(|owed| owed.receipt.map(|index| (owed, index)))
        else {
            return Err(not_needed().into());
        };
        let run = self.read_run(owed, index)?;
        if subject != run.digest {
            return fail_at(
                Code::Malformed,
                format!("the review is about another receipt than {id}"),
                "/payload",
                "another receipt",
            );
        }
        let (named, of_run) = (&document.predicate().boundary, &run.authorization.boundary);
        if named != of_run {
            let same = (&named.name, named.id) == (&of_run.name, of_run.id);
            let (code, what) = if same {
                (Code::Revoked, "epoch")
            } else {
                (Code::WrongBoundary, "boundary")
            };
            return fail(
                code,
                format!("the review names another {what} than the run that it is about"),
            );
        }
        let bytes = document.envelope(|_| true).to_canonical().map_err(fault)?;
        Ok(OpenedReview {
            stored: self.ledger.reviews_of(index)?,
            document,
            run,
            index,
            bytes,
        })
    }

    /// Returns the answer to a review that is already in the log.
    ///
    /// # Errors
    /// Returns `wrong-state` if the same person has reviewed the run again since. A review contains no time, so this
    /// person can return to the earlier verdict only with another reason.
    fn known_review(
        &self,
        id: &ReceiptId,
        opened: &OpenedReview,
    ) -> RequestResult<Option<ReviewedView>> {
        let OpenedReview {
            run, stored, bytes, ..
        } = opened;
        for known in stored {
            if self
                .ledger
                .leaf(known.leaf)?
                .is_some_and(|leaf| leaf.data == *bytes)
            {
                let newer = stored
                    .iter()
                    .filter(|one| one.reviewer == known.reviewer)
                    .map(|one| one.leaf)
                    .max();
                if let Some(newer) = newer.filter(|newer| *newer > known.leaf) {
                    let detail = format!(
                        "entry {} of the log is this review, but the review of {} in entry {newer} is newer and counts: to \
                         return to this verdict, review the run with another reason",
                        known.leaf, known.reviewer
                    );
                    return fail(Code::WrongState, detail);
                }
                return Ok(Some(ReviewedView {
                    receipt: id.clone(),
                    index: known.leaf,
                    existing: true,
                    open: run.owed.is_open(),
                    unsettled: run.owed.is_unsettled(),
                    settled: settled_end(&run.owed, stored),
                }));
            }
        }
        Ok(None)
    }

    /// Checks a new review, and decides what it counts for: the review of an emergency, the settlement of an unknown
    /// end, or both. Returns what to store, and the answer, which does not have the number of the log entry yet.
    fn check_review(
        &self,
        id: &ReceiptId,
        opened: OpenedReview,
        sealed: &Sealed,
        (checked, version): (CheckedState, u64),
    ) -> RequestResult<(ReviewWrite, ReviewedView)> {
        let OpenedReview {
            document,
            run,
            index,
            stored,
            bytes,
        } = opened;
        let open = run.owed.is_open();
        let [signature] = document.signatures() else {
            return Err(not_needed().into());
        };
        if !open && !run.owed.unknown {
            return Err(not_needed().into());
        }
        let rules = self.review_rules(&run, sealed)?;
        let revoked = self.crossing.revoked();
        let is_revoked = |keyid: &_| revoked.has_key(keyid);
        let context = |at| ReviewContext {
            roster: &sealed.roster,
            is_revoked: &is_revoked,
            at,
        };
        let judge = |at| {
            check_reviewer(signature, &rules, &run.receipt.decision, context(at))
                .map_err(|error| Refusal::new(error.code(), error.to_string()))
        };
        // An auditor judges a review at the newest time in the log before the review. The store accepts the review only
        // if this time is between `last_at` and `now`, so the review must count at both times.
        let last_at = self.ledger.state().last_at;
        let now = self.crossing.now().max(last_at);
        let _: CountedReview = judge(last_at)?;
        let counted = judge(now)?;
        let review = document.predicate();
        let before = settled_end(&run.owed, &stored);
        if !open && before.is_some_and(|end| !counted.disputes(review.observed, end)) {
            return Err(not_needed().into());
        }
        let mut reviews = self.run_reviews(&stored)?;
        let settlement = reviews.count(&counted, review.observed, before, (&rules, context(now)));
        let closes = open && reviews.are_enough(&rules);
        let settled = match settlement {
            Settlement::Settled(end) if run.owed.unknown => Some(end),
            _ => None,
        };
        let settles = (settled != before).then_some(settled.is_some());
        let view = ReviewedView {
            receipt: id.clone(),
            index: 0,
            existing: false,
            open: open && !closes,
            unsettled: run.owed.unknown && settled.is_none(),
            settled,
        };
        let review = StoredReview {
            leaf: 0,
            receipt: index,
            reviewer: counted.reviewer().clone(),
            verdict: review.verdict,
            observed: review.observed,
            counts_for_review: counted.counts_for_review(),
            counts_for_settle: counted.counts_for_settle(),
            proposal: run.owed.proposal,
        };
        Ok((
            ReviewWrite {
                envelope: bytes.into(),
                review,
                closes,
                settles,
                checked,
                version,
                at: now,
            },
            view,
        ))
    }

    /// Refuses an emergency that policy does not permit, or whose signatures would have no effect.
    ///
    /// # Errors
    /// Returns `policy-denied`, and the refusals of [`Proposals::demand_future`].
    pub fn demand_emergency(
        &self,
        sealed: &Sealed,
        held: &StepInForce,
        (proposer, now, until): (&Name, Timestamp, Timestamp),
        has_grant: bool,
    ) -> RequestResult {
        if has_grant {
            return fail_at(
                Code::Malformed,
                "an emergency cannot use a grant: leave out one of the two",
                "/emergency",
                "together with `grant`",
            );
        }
        let of_run = held.for_emergency(until.unix() - now.unix());
        let of_run = of_run.map_err(|error| refusal_of(error).at("/emergency", "denied"))?;
        if let Some(rule) = &held.ruling.emergency {
            let excluded = excluded(proposer, sealed, now)?;
            let (rule, roster, counts) = (&rule.value, &sealed.roster, |name: &_| {
                !excluded.contains(name)
            });
            // An approver who can't be a reviewer does not reduce the number of reviewers by signing.
            let only_approve = roster.approvers().filter(|one| {
                let is_of = |groups: &[_]| one.groups.iter().any(|group| groups.contains(group));
                counts(&one.name) && is_of(&rule.from) && !is_of(&rule.review.from)
            });
            let approving = rule.required.saturating_sub(only_approve.count() as u64);
            self.crossing
                .demand_reviewers(rule, roster, counts, approving, now)?;
        }
        self.demand_reviewed(&of_run)?;
        self.demand_future(sealed, &of_run, proposer, now, until)
    }

    /// Refuses an emergency while too many emergencies have no review. The transaction that spends the nonce repeats
    /// this check.
    fn demand_reviewed(&self, held: &StepInForce) -> RequestResult {
        let most = held
            .ruling
            .emergency
            .as_ref()
            .map_or(0, |rule| rule.value.max_unreviewed);
        let open = self
            .ledger
            .owed_open(MOST_READ)?
            .into_iter()
            .filter(OwedReview::is_open);
        let open: Vec<ProposalId> = open.map(|owed| owed.proposal).collect();
        if (open.len() as u64) < most {
            return Ok(());
        }
        fail(
            Code::PolicyDenied,
            ConsumeStop::Unreviewed { most, open }.to_string(),
        )
    }

    /// Returns the emergencies that lack reviews and the runs with an unsettled end, of those that the caller may see.
    ///
    /// # Errors
    /// Returns `unauthenticated` for a caller without a name.
    pub fn unsettled(&self, caller: &Caller) -> RequestResult<UnsettledList> {
        caller.demand_name()?;
        let sealed = self.crossing.state();
        let mut list = UnsettledList {
            runs: Vec::new(),
            more: 0,
        };
        for owed in self.ledger.owed_open(MOST_READ)? {
            match self.unsettled_run(caller, owed, &sealed)? {
                Some(run) if list.runs.len() < MOST_LISTED => list.runs.push(run),
                seen => list.more += u64::from(seen.is_some()),
            }
        }
        Ok(list)
    }

    fn unsettled_run(
        &self,
        caller: &Caller,
        owed: OwedReview,
        sealed: &Sealed,
    ) -> RequestResult<Option<UnsettledRun>> {
        let row = self.ledger.proposal(&owed.proposal)?;
        let steps_of = |path: &str, own: &str| {
            let checks = sealed.registry.steps().filter(|step| step.definition.check);
            let steps = checks.map(|step| &step.definition.reference);
            steps
                .filter(|step| step.path() == path && step.as_str() != own && caller.may_know(step))
                .cloned()
                .collect()
        };
        let Some(index) = owed.receipt else {
            // An emergency without a receipt still runs.
            let Some(row) = row.filter(|row| caller.may_see(&row.core.proposer, &row.core.step))
            else {
                return Ok(None);
            };
            let at = row.created_at();
            let (step, proposer) = (row.core.step, row.core.proposer);
            let need = sealed
                .step(&step)
                .map(|(_, held)| ReviewRules::of(&held.rules, &held.ruling));
            return Ok(Some(UnsettledRun {
                proposal: owed.proposal,
                receipt: None,
                proposer,
                at,
                outcome: None,
                end_unknown_because: None,
                grant: None,
                review: need.map(|rules| need_of(&rules.review, 0)),
                settle: None,
                disputed: false,
                reviews: Vec::new(),
                steps: steps_of(step.path(), step.as_str()),
                step,
            }));
        };
        let run = self.read_run(owed, index)?;
        let Authorization { step, proposer, .. } = &run.authorization;
        if !caller.may_see(proposer, &step.reference) {
            return Ok(None);
        }
        let rules = self.review_rules(&run, sealed)?;
        let stored = self.ledger.reviews_of(index)?;
        let reviews = self.run_reviews(&stored)?;
        let revoked = self.crossing.revoked();
        let is_revoked = |keyid: &_| revoked.has_key(keyid);
        let context = ReviewContext {
            roster: &sealed.roster,
            is_revoked: &is_revoked,
            at: self.crossing.now(),
        };
        let grant = run
            .owed
            .grant
            .as_ref()
            .map(|digest| self.ledger.grant_of(digest))
            .transpose()?
            .flatten();
        let why = row
            .as_ref()
            .and_then(|row| row.detail.as_deref())
            .and_then(end_detail::why);
        let newest = stored.iter().enumerate().filter(|(at, one)| {
            stored
                .iter()
                .skip(at + 1)
                .all(|later| later.reviewer != one.reviewer)
        });
        Ok(Some(UnsettledRun {
            receipt: Some(run.owed.proposal.receipt()),
            step: step.reference.clone(),
            proposer: proposer.clone(),
            at: run.receipt.finished_at,
            outcome: Some(run.receipt.outcome.clone()),
            end_unknown_because: why,
            grant: grant.map(|row| row.id),
            review: run
                .owed
                .is_open()
                .then(|| need_of(&rules.review, reviews.counted_for_review())),
            settle: run
                .owed
                .is_unsettled()
                .then(|| need_of(&rules.settle, reviews.agreeing(context))),
            disputed: run.owed.is_unsettled()
                && reviews.settlement(&rules, context) == Settlement::Disputed,
            reviews: newest
                .map(|(_, one)| RunReviewView {
                    reviewer: one.reviewer.clone(),
                    verdict: one.verdict,
                    observed: one.observed,
                    index: one.leaf,
                })
                .collect(),
            steps: steps_of(step.reference.path(), step.reference.as_str()),
            proposal: run.owed.proposal,
        }))
    }

    fn read_run(&self, owed: OwedReview, index: u64) -> RequestResult<RunToReview> {
        let envelope = envelope_in(&self.ledger, index)?;
        let digest = ContentDigest::of(&Base64::Strict.decode("/payload", &envelope.payload)?);
        let receipt: Receipt = predicate(&envelope)?;
        let authorization = authorization_at(&self.ledger, &receipt.authorization)?;
        Ok(RunToReview {
            owed,
            receipt,
            digest,
            authorization,
        })
    }

    /// Returns the newest review of each person. The keys that signed come from the log.
    fn run_reviews(&self, stored: &[StoredReview]) -> RequestResult<RunReviews> {
        let mut reviews = RunReviews::default();
        for one in stored {
            let envelope = envelope_in(&self.ledger, one.leaf)?;
            let signature = envelope
                .signatures
                .first()
                .ok_or_else(|| fault("a review has no signature"))?;
            let opinion = ReviewOpinion {
                closes: one.counts_for_review,
                settles: one.counts_for_settle,
                observed: one.observed,
                keyid: signature.keyid,
            };
            reviews.add(one.reviewer.clone(), opinion);
        }
        Ok(reviews)
    }

    /// Returns the rules for reviews under the seal of the run.
    fn review_rules(&self, run: &RunToReview, sealed: &Sealed) -> RequestResult<ReviewRules> {
        let step = &run.authorization.step;
        if run.receipt.seal == sealed.digest
            && let Some((_, held)) = sealed.step(&step.reference)
        {
            return Ok(ReviewRules::of(&held.rules, &held.ruling));
        }
        let seal = earlier_seal(&self.ledger, run.receipt.seal)?.bundled;
        let read = |text: &str| json::parse(text.as_bytes(), text.len()).map_err(fault);
        let words = |errors: &dyn std::fmt::Debug| {
            fault(format!("an earlier seal can't be read: {errors:?}"))
        };
        let policy = Policy::from_sealed(&read(&seal.policy)?).map_err(|errors| words(&errors))?;
        let builtins =
            Builtins::from_sealed(&read(&seal.builtins)?).map_err(|errors| words(&errors))?;
        let text = blob_text(&self.ledger, *step.digest.as_bytes())?;
        let step = HashedStep::parse(&read(&text)?).map_err(fault)?;
        let ruling = ruling::resolve(&policy, &builtins, &step.definition().reference);
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        let rules = QuorumRules::combine(of_policy, &step.definition().approvals).map_err(fault)?;
        Ok(ReviewRules::of(&rules, &ruling))
    }
}

/// Returns the settled end of the run, or `None` if its end is not settled.
fn settled_end(owed: &OwedReview, stored: &[StoredReview]) -> Option<ObservedEnd> {
    stored
        .iter()
        .find(|one| Some(one.leaf) == owed.settled)
        .and_then(|one| one.observed)
}

fn need_of(rule: &reading::PeopleRule, have: u64) -> ReviewNeed {
    ReviewNeed {
        required: rule.required,
        have,
        from: rule.from.clone(),
    }
}

fn not_needed() -> Refusal {
    let error = ReviewError::NotNeeded;
    Refusal::new(error.code(), error.to_string())
}
