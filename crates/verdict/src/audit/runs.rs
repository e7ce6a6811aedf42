//! Follows the nonces, runs and receipts of a log, checks each consumption and repeats each decision.
//!
//! The audit remembers a run until its receipt.

pub(super) mod again;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    AuditCounts, DecisionLine, EntryVerdict, Finding, FindingKind, OpenRun, Place, PlannedRun,
    Revocations, RevokedBefore, SavedAudit, SealInForce, SealedState, UncheckedQuestion,
    UsedValues,
    audit::{
        grant_uses::GrantUses,
        logged_authorization::LoggedAuthorization,
        reviewed_runs::ReviewedRuns,
        runs::again::{Again, Open},
        saved_state::{SavedOpenRun, SavedRuns},
        session_chains::{PlanReceipts, SavedPlan, SessionChains},
        used_values::SavedUse,
    },
    verify_authorization,
};
use documents::{
    Authorization, AuthorizationDigest, AuthorizationRef, BoundaryRef, Consumption, ContentDigest,
    Hash, LeafHash, MAX_ITEMS, MAX_WINDOW_S, ParamsDigest, Receipt, RevokedSubject, SKEW_S,
    Timestamp, Verified,
};

/// Nonces, authorizations, proposals and runs that later entries can refer to.
#[derive(Default)]
pub struct Runs {
    pub used: UsedValues,
    /// Authorizations that no consumption has named yet. Their entries are the last ones of the log so far.
    waiting: Vec<LoggedAuthorization>,
    open: BTreeMap<Place, Open>,
    /// Index of the log entry with the last receipt, for each exclusive name.
    exclusive: BTreeMap<String, u64>,
    sessions: SessionChains,
    plans: PlanReceipts,
    /// Time of the entry at which the audit last dropped old plans.
    plans_forgotten: Option<Timestamp>,
    pub grants: GrantUses,
    pub reviewed: ReviewedRuns,
    /// Questions that could not be decided.
    unchecked: BTreeMap<FindingKind, UncheckedQuestion>,
}

/// Seconds after the latest end of a run before a missing receipt is reported. This grace time is long, because a run
/// may also wait for free disk space.
const PATIENCE_S: i64 = 24 * 3600;

impl Runs {
    /// Remembers an authorization until the consumption, which must come directly after the authorizations that it names.
    /// Returns a finding if more authorizations wait than a consumption can name.
    pub fn authorize(&mut self, authorization: LoggedAuthorization) -> Vec<Finding> {
        self.waiting.push(authorization);
        self.unnamed(MAX_ITEMS)
    }

    /// Returns a finding for each authorization that no consumption has named, except the newest `kept`.
    pub fn unnamed(&mut self, kept: usize) -> Vec<Finding> {
        let end = self.waiting.len().saturating_sub(kept);
        let unnamed = self.waiting.drain(..end).map(|authorization| {
            let message = "no consumption directly after this authorization names it";
            Finding::at(FindingKind::Authorization, authorization.at.index, message)
                .about(authorization.at.digest)
        });
        unnamed.collect()
    }

    pub fn consume(
        &mut self,
        (index, leaf): (u64, Hash),
        document: &Verified<Consumption>,
        in_force: &Arc<SealInForce>,
        denials: &HashSet<AuthorizationDigest>,
        revoked: RevokedBefore<'_>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let consumption = document.predicate();
        let at = consumption.at;
        if let Some(why) = revoked.signer(document.keyids()) {
            findings.push(Finding::at(FindingKind::Revoked, index, why));
        }
        if let Some(entry) = revoked.epoch(&in_force.boundary.epoch) {
            let message = format!(
                "nonces were spent in the epoch {}, which was revoked at entry {entry}: no nonce may be spent before a \
                 seal with a new epoch",
                in_force.boundary.epoch
            );
            findings.push(Finding::at(FindingKind::Revoked, index, message));
        }
        if consumption.seal != in_force.digest {
            let message = format!(
                "the consumption names the seal {}, but the seal in force is number {} ({})",
                consumption.seal, in_force.number, in_force.digest
            );
            findings.push(Finding::at(FindingKind::SealInForce, index, message));
        }
        let of_all_items: Vec<FindingKind> = findings.iter().map(|finding| finding.what).collect();
        let mut waiting = std::mem::take(&mut self.waiting).into_iter().peekable();
        for (item, spent) in (0..).zip(&consumption.spent) {
            let mut found = of_all_items.clone();
            let mut find = |what: FindingKind, message: String| {
                found.push(what);
                findings.push(
                    Finding::at(what, index, format!("item {item}: {message}"))
                        .about(spent.authorization.digest),
                );
            };
            let place = (index, item);
            let authorization = waiting.next_if(|logged| {
                let is_before = consumption.is_directly_after(item as usize, index);
                is_before && logged.at == spent.authorization
            });
            if authorization.is_none() {
                let why = "the entries directly before this consumption are not the authorizations that its items name";
                find(FindingKind::Authorization, why.to_owned());
            }
            if let Some(logged) = &authorization {
                let signed = &logged.stated;
                for (same, what) in [
                    (spent.nonce == signed.nonce, "nonce"),
                    (spent.session == signed.session, "session"),
                    (spent.grant == signed.grant, "grant"),
                ] {
                    if !same {
                        let why = format!("the {what} differs from the authorization");
                        find(FindingKind::Consumption, why);
                    }
                }
            }
            let used = SavedUse {
                place,
                nonce: spent.nonce.clone(),
                proposal: authorization
                    .as_ref()
                    .map(|logged| logged.stated.proposal.clone()),
            };
            if spent.expires_at <= at || spent.expires_at > at.plus(MAX_WINDOW_S + SKEW_S) {
                find(
                    FindingKind::Window,
                    format!(
                        "the authorization was spent at {at}, outside its validity, which ends at {}",
                        spent.expires_at
                    ),
                );
            } else if let Some(why) = self.used.add(used) {
                find(FindingKind::DoubleUse, why);
            }
            if denials.contains(&spent.authorization.digest) {
                find(
                    FindingKind::Denied,
                    "an approver had denied the authorization before its nonce was spent"
                        .to_owned(),
                );
            }
            let is_known = spent
                .session
                .as_ref()
                .is_some_and(|session| self.sessions.has(&session.id));
            for (what, why) in self.grants.count(spent, at, is_known) {
                find(what, why);
            }
            if let Some(entry) = spent
                .grant
                .and_then(|grant| revoked.subject(&RevokedSubject::Grant(grant)))
            {
                find(
                    FindingKind::Revoked,
                    format!("the grant was revoked at entry {entry}"),
                );
            }
            if let Some(why) = spent
                .session
                .as_ref()
                .and_then(|session| self.sessions.consume(place, session, at))
            {
                find(FindingKind::Session, why);
            }
            let open = Open {
                leaf,
                at,
                spent: spent.clone(),
                authorization,
                in_force: in_force.clone(),
                found,
            };
            self.open.insert(place, open);
        }
        self.waiting = waiting.collect();
        findings.extend(self.unnamed(0));
        findings
    }

    /// Drops old records of plans, sessions and grants.
    pub fn forget(&mut self, now: Timestamp) {
        // The search looks at every plan and session, so it is made at most once an hour and not for each consumption.
        if self
            .plans_forgotten
            .is_none_or(|last| last.plus(3600) <= now)
        {
            self.plans
                .forget(self.open.values().next().map_or(now, |open| open.at));
            self.sessions.forget(now);
            self.grants.forget(now);
            self.plans_forgotten = Some(now);
        }
    }

    /// Checks a receipt that the boundary signed, closes its run and repeats the decision. The result also contains the
    /// seal of the run.
    pub fn close(
        &mut self,
        index: u64,
        document: &Verified<Receipt>,
        here: &BoundaryRef,
        revocations: &Revocations,
        counts: &mut AuditCounts,
    ) -> (Option<DecisionLine>, Vec<Finding>, Option<Arc<SealInForce>>) {
        let receipt = document.predicate();
        let place = (receipt.consumption.index, receipt.consumption.item);
        let Some(open) = self.open.remove(&place) else {
            return (None, vec![self.used.without_run(index, place)], None);
        };
        counts.receipts += 1;
        if let Some(session) = &open.spent.session {
            self.sessions
                .close(place, session, receipt.session.as_ref());
        }
        if let Some(grant) = &open.spent.grant {
            self.grants.close(grant, index, receipt.outcome.status);
        }
        let mut again = Again {
            index,
            ours: open.in_force.ours,
            parsed_alike: open.in_force.parsed_alike,
            found: open.found.clone(),
            ..Again::default()
        };
        again.names(document, &open, here, revocations.before(index));
        // The check of the consumption has already reported that the authorization is missing.
        let Some(logged) = &open.authorization else {
            counts.fail += 1;
            return (None, again.findings, Some(open.in_force));
        };
        counts.signatures += logged.signed.signature_count() as u64;
        let signed = logged.signed.clone();
        let authorization = match verify_authorization(signed, &open.in_force.roster) {
            Ok((mut authorization, _)) => {
                // A list that is missing was reported with the entry of the authorization.
                let _ = authorization.add_programs(logged.stated.sandbox.programs.as_ref());
                authorization
            }
            Err(why) => {
                again.find(FindingKind::ApprovalSignatures, why);
                counts.fail += 1;
                // People must review the run, also if a signature is wrong.
                let followed = self.follow(index, document, &logged.stated, &open);
                again.findings.extend(followed);
                return (None, again.findings, Some(open.in_force));
            }
        };
        let signed = authorization.predicate();
        let id = signed.proposal.receipt();
        again.about = Some(id.to_string());
        let digest = AuthorizationDigest::from_bytes(authorization.digest());
        again.revoked(&authorization, revocations.before(place.0));
        let params = match &open.in_force.state {
            Some(state) => {
                let about = (&**state, revocations.before(place.0));
                let params = again.decide(&open, about, &authorization, receipt, &self.grants);
                self.exclude(&mut again, state, signed, place);
                self.plan(&mut again, (&open, state), document, signed);
                params
            }
            None => None,
        };
        again
            .findings
            .extend(self.follow(index, document, signed, &open));
        again.ended(receipt, &open, signed);
        let failed =
            again.findings.iter().any(|finding| !finding.differs) || !open.found.is_empty();
        let verdict = match (failed, &open.in_force.state) {
            (true, _) => EntryVerdict::Fails,
            (false, None) => EntryVerdict::Undecided,
            (false, Some(_)) if again.findings.is_empty() => EntryVerdict::Stands,
            (false, Some(_)) => EntryVerdict::Differs,
        };
        counts.add(verdict);
        let params_digest = params
            .or_else(|| signed.params_digest().ok())
            .unwrap_or(ParamsDigest::of(b""));
        let line = DecisionLine {
            at: open.at,
            proposer: signed.proposer.clone(),
            handed_in_by: receipt.decision.handed_in_by.clone(),
            grant: signed.grant,
            used_grant: self.grants.used(&open.spent),
            emergency: signed.emergency.is_some(),
            step: signed.step.reference.clone(),
            step_digest: signed.step.digest,
            params: signed.params.clone(),
            params_digest,
            reason: signed.reason.clone(),
            approvers: receipt.decision.approvers.clone(),
            groups: receipt.decision.groups.clone(),
            outcome: receipt.outcome.clone(),
            programs: receipt.programs.clone(),
            refused_hosts: receipt.sandbox.refused_lines(&signed.sandbox.network.hosts),
            receipt: id,
            authorization: digest,
            seal: open.in_force.number,
            consumption: place.0,
            item: place.1,
            entry: index,
            verdict,
            findings: again.found,
            unchecked: again.open.iter().map(|(what, _)| *what).collect(),
        };
        for (what, why) in again.open {
            self.unchecked
                .entry(what)
                .or_insert_with(|| UncheckedQuestion {
                    what,
                    decisions: 0,
                    why,
                })
                .decisions += 1;
        }
        (Some(line), again.findings, Some(open.in_force))
    }

    /// Follows a run that people must review. Returns a finding for each emergency that exceeds the limit, as this
    /// receipt shows. The receipt of a later emergency can show that an earlier emergency exceeded the limit.
    fn follow(
        &mut self,
        index: u64,
        document: &Verified<Receipt>,
        signed: &Authorization,
        open: &Open,
    ) -> Vec<Finding> {
        let digest = ContentDigest::from_bytes(document.digest());
        let (about, spent) = ((document.predicate(), signed), (open.at, open.spent.grant));
        self.reviewed
            .end((digest, index), about, spent, &open.in_force)
    }

    /// Checks that runs with the same exclusive name do not overlap: the nonce of each run must be spent after the
    /// receipt of the run before.
    fn exclude(
        &mut self,
        again: &mut Again,
        state: &SealedState,
        signed: &Authorization,
        place: Place,
    ) {
        let Some((step, _)) = state.step(&signed.step.reference) else {
            return;
        };
        let Some(name) = &step.hashed.definition().exclusive else {
            return;
        };
        let last = self.exclusive.entry(name.clone()).or_default();
        if place.0 < *last {
            let message = format!(
                "the run began before the end of another run with the same exclusive name (receipt: entry {last})"
            );
            again.find(FindingKind::Exclusive, message);
        }
        *last = (*last).max(again.index);
    }

    /// Checks the plan of a run, and remembers the receipt if other steps name this step as their plan.
    fn plan(
        &mut self,
        again: &mut Again,
        (open, state): (&Open, &SealedState),
        document: &Verified<Receipt>,
        signed: &Authorization,
    ) {
        let (receipt, Ok(params)) = (document.predicate(), signed.params_digest()) else {
            return;
        };
        let asked = state
            .step(&signed.step.reference)
            .and_then(|(step, _)| step.hashed.definition().plan.as_ref());
        if let (Some(asked), Some(plan)) = (asked, &signed.plan) {
            let run = PlannedRun {
                asked,
                signed: plan,
                params,
                at: open.at,
            };
            if let Some(why) = self.plans.flaw(&run, receipt.consumption.index) {
                again.find(FindingKind::Plan, why);
            }
        }
        if state.steps.plans.contains(&signed.step.reference) {
            let plan = SavedPlan {
                entry: again.index,
                step: signed.step.reference.clone(),
                params,
                output: receipt.output.stdout.sha256,
                status: receipt.outcome.status,
                finished_at: receipt.finished_at,
            };
            let digest = ContentDigest::from_bytes(document.digest());
            self.plans.add(digest, plan);
        }
    }

    pub fn unchecked(&self) -> Vec<UncheckedQuestion> {
        self.unchecked.values().cloned().collect()
    }

    /// Returns the runs without a receipt, in log order.
    pub fn open(&self) -> impl Iterator<Item = OpenRun> {
        self.open
            .iter()
            .map(|(&(consumption, item), open)| OpenRun {
                consumption,
                item,
                authorization: open.spent.authorization.digest,
                at: open.at,
            })
    }

    /// Returns the runs without a receipt that must have ended by this time.
    pub fn overdue(&self, now: Timestamp) -> Vec<OpenRun> {
        self.open()
            .zip(self.open.values())
            .filter_map(|(run, open)| (open.until()?.plus(PATIENCE_S) < now).then_some(run))
            .collect()
    }

    /// Returns the latest time at which an open run can end, or `None` if no run is open.
    pub fn open_until(&self) -> Option<Timestamp> {
        self.open
            .values()
            .map(|open| open.until().unwrap_or(open.at))
            .max()
    }

    /// Returns the seals of all open runs in log order, and then the seal in force.
    pub fn seals(&self, in_force: &Arc<SealInForce>) -> Vec<Arc<SealInForce>> {
        let mut seals: BTreeMap<u64, Arc<SealInForce>> = self
            .open
            .values()
            .map(|open| (open.in_force.index, open.in_force.clone()))
            .collect();
        seals.insert(in_force.index, in_force.clone());
        seals.into_values().collect()
    }

    /// Returns the records to store for a later audit.
    pub fn keep(&self) -> SavedRuns {
        let open = self.open.iter().map(|(&place, open)| SavedOpenRun {
            place,
            leaf: LeafHash::from_bytes(open.leaf),
            at: open.at,
            spent: open.spent.clone(),
            seal: open.in_force.index,
        });
        SavedRuns {
            waiting: self.waiting.iter().map(|one| one.at).collect(),
            used: self.used.keep(),
            open: open.collect(),
            exclusive: self.exclusive.clone(),
            sessions: self.sessions.clone(),
            plans: self.plans.clone(),
            grants: self.grants.keep(),
            reviewed: self.reviewed.clone(),
            unchecked: self.unchecked(),
        }
    }

    /// Restores the stored records under the seals that were stored with them. `logged` reads an authorization from the
    /// log.
    pub fn resume(
        kept: &SavedAudit,
        seals: &[Arc<SealInForce>],
        mut logged: impl FnMut(AuthorizationRef) -> Result<LoggedAuthorization, String>,
    ) -> Result<Self, String> {
        let SavedRuns {
            waiting,
            used,
            open,
            exclusive,
            sessions,
            plans,
            grants,
            reviewed,
            unchecked,
        } = &kept.runs;
        let mut runs = Self {
            waiting: waiting
                .iter()
                .map(|named| logged(*named))
                .collect::<Result<_, _>>()?,
            sessions: sessions.clone(),
            plans: plans.clone(),
            grants: GrantUses::resume(grants)?,
            reviewed: reviewed.clone(),
            exclusive: exclusive.clone(),
            unchecked: unchecked
                .iter()
                .map(|one| (one.what, one.clone()))
                .collect(),
            ..Self::default()
        };
        used.iter()
            .for_each(|item| drop(runs.used.add(item.clone())));
        for run in open {
            let in_force = seals.iter().find(|seal| seal.index == run.seal);
            let in_force = in_force
                .ok_or("a saved run names a seal that is missing in the saved state")?
                .clone();
            let open = Open {
                leaf: *run.leaf.as_bytes(),
                at: run.at,
                spent: run.spent.clone(),
                authorization: Some(logged(run.spent.authorization)?),
                in_force,
                found: Vec::new(),
            };
            runs.open.insert(run.place, open);
        }
        Ok(runs)
    }
}
