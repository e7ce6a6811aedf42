//! The checks that repeat the decision about a run.

use std::{borrow::Cow, fmt::Display, sync::Arc};

use crate::{
    Authority, CheckStop, ExcludedSigners, ExclusionError, Finding, FindingKind, GrantContext,
    GrantError, NotCounted, PermissionsError, RevokedBefore, SealInForce, SealedState, StepError,
    Tokens,
    audit::{
        decided::{check_counted, check_session},
        grant_uses::{GrantUses, decide_in},
        logged_authorization::LoggedAuthorization,
    },
    check_each_counts, check_outcome, check_parameters, check_permissions, check_place,
    check_profile, check_recorded_step, check_sandbox, check_window, covers, exclusion, quorum,
    signature_count, stands,
};
use documents::{
    Authorization, BoundaryRef, Decision, Hash, LeafHash, Name, ParamsDigest, Receipt, Spent,
    Timestamp, Verified, joined,
};
use reading::{check_list, check_programs, without_list};

/// Consumption that has no receipt yet.
pub struct Open {
    pub leaf: Hash,
    pub at: Timestamp,
    pub spent: Spent,
    /// The authorization that the item spends, or `None` if it is not in the log.
    pub authorization: Option<LoggedAuthorization>,
    pub in_force: Arc<SealInForce>,
    pub found: Vec<FindingKind>,
}

impl Open {
    /// Returns the latest time at which the run can end. This time follows from the longest time limit of all steps.
    /// Returns `None` if the state of the run's seal could not be read.
    pub fn until(&self) -> Option<Timestamp> {
        let longest = self.in_force.state.as_ref()?.steps.longest_ms;
        Some(self.at.plus_seconds(longest / 1000))
    }
}

/// Decision that the audit repeats.
#[derive(Default)]
pub struct Again {
    pub index: u64,
    pub ours: bool,
    pub parsed_alike: bool,
    pub about: Option<String>,
    pub found: Vec<FindingKind>,
    pub findings: Vec<Finding>,
    /// Questions that could not be decided, with the reasons.
    pub open: Vec<(FindingKind, String)>,
}

impl Again {
    pub fn find(&mut self, what: FindingKind, why: impl Display) {
        let mut finding = Finding::at(what, self.index, why);
        finding.id.clone_from(&self.about);
        self.found.push(what);
        self.findings.push(finding);
    }

    /// Records a question that can't be answered from the sealed state. Such a question is not a failure.
    fn leave_open(&mut self, what: FindingKind, why: &str) {
        self.open.push((what, why.to_owned()));
    }

    /// Adds a finding that depends on how a program version decides. If `ours` is false, the finding counts as a
    /// difference and not as a failure.
    fn read_otherwise(&mut self, what: FindingKind, why: impl Display, ours: bool) {
        self.find(what, why);
        if let Some(finding) = self.findings.last_mut() {
            finding.differs = !ours;
        }
    }

    /// Checks the boundary, the key, the seal and the consumption that a receipt names.
    pub fn names(
        &mut self,
        document: &Verified<Receipt>,
        open: &Open,
        here: &BoundaryRef,
        revoked: RevokedBefore<'_>,
    ) {
        if let Some(why) = revoked.signer(document.keyids()) {
            self.find(FindingKind::Revoked, why);
        }
        let receipt = document.predicate();
        let said = &receipt.boundary;
        if (&said.name, &said.id) != (&here.name, &here.id) {
            self.find(
                FindingKind::Boundary,
                format!(
                    "the receipt belongs to boundary {} ({})",
                    said.name, said.id
                ),
            );
        }
        if document.keyids().any(|keyid| *keyid != said.keyid) {
            self.find(
                FindingKind::Signature,
                format!(
                    "the receipt names the key {}, but another key signed the receipt",
                    said.keyid
                ),
            );
        }
        if receipt.seal != open.in_force.digest {
            self.find(
                FindingKind::SealInForce,
                format!(
                    "the receipt names the seal {}, but the run has the seal {}",
                    receipt.seal, open.in_force.digest
                ),
            );
        }
        if receipt.consumption.leaf != LeafHash::from_bytes(open.leaf) {
            let leaf = LeafHash::from_bytes(open.leaf);
            let message = format!(
                "the receipt names the leaf {}, but the consumption has {leaf}",
                receipt.consumption.leaf
            );
            self.find(FindingKind::Consumption, message);
        }
        for (same, what) in [
            (
                receipt.authorization == open.spent.authorization,
                "authorization",
            ),
            (
                receipt.decision.handed_in_by == open.spent.handed_in_by,
                "submitter",
            ),
        ] {
            if !same {
                let message = format!("the {what} in the receipt differs from the consumption");
                self.find(FindingKind::Consumption, message);
            }
        }
    }

    /// Reports each signature of a revoked key, and a revoked token that proposed the run.
    pub fn revoked(&mut self, authorization: &Verified<Authorization>, revoked: RevokedBefore<'_>) {
        for keyid in authorization.keyids() {
            if let Some(entry) = revoked.key(keyid) {
                let why = format!(
                    "the key {keyid} signed the authorization, but was revoked at entry {entry}"
                );
                self.find(FindingKind::Revoked, why);
            }
        }
        let proposer = &authorization.predicate().proposer;
        if let Some(entry) = revoked.token(proposer) {
            let why =
                format!("the token {proposer} proposed the run, but was revoked at entry {entry}");
            self.find(FindingKind::Revoked, why);
        }
    }

    /// Repeats the decision from the state before the consumption, with the functions that the crossing calls. Returns
    /// the digest of the parameters if the parameters fit the schema.
    pub fn decide(
        &mut self,
        open: &Open,
        (state, revoked): (&SealedState, RevokedBefore<'_>),
        authorization: &Verified<Authorization>,
        receipt: &Receipt,
        grants: &GrantUses,
    ) -> Option<ParamsDigest> {
        let (in_force, roster, at) = (&open.in_force, &*open.in_force.roster, open.at);
        let (signed, decision) = (authorization.predicate(), &receipt.decision);
        let here = &in_force.boundary;
        if let Err(error) = check_place(&signed.boundary, here) {
            self.find(FindingKind::Boundary, error);
        }
        if let Err(error) = check_window(signed, at, None) {
            self.find(FindingKind::Window, error);
        }
        let reference = &signed.step.reference;
        let names = [&signed.proposer, &decision.handed_in_by];
        // The function `judge` below reports an unknown name.
        if let Err(error @ ExclusionError::NotPermitted { .. }) =
            state.tokens.check_may_propose(names, roster, reference)
        {
            self.find(FindingKind::Proposer, error);
        }
        let found = state.step(reference);
        let sealed = match found {
            Some((step, _)) => check_recorded_step(signed, &step.hashed),
            None => Err(StepError::Unknown {
                step: reference.clone(),
            }),
        };
        if let Err(error) = &sealed {
            self.find(FindingKind::Step, error);
        }
        let (step, schema) = found?;
        let step = sealed
            .as_ref()
            .map_or(Cow::Borrowed(step), |sealed| step.with(sealed.step()));
        // The schema is sealed and complete, so no program version may accept parameters outside the schema.
        let params = match check_parameters(signed, schema) {
            Ok(fit) => Some(fit.params().digest()),
            Err(error) => {
                self.find(FindingKind::Parameters, error);
                None
            }
        };
        match check_permissions(step.asked(), &signed.permissions) {
            Err(error) if error.rests_on_reading() => {
                self.read_otherwise(FindingKind::Permissions, error, self.parsed_alike)
            }
            Err(error) => self.find(FindingKind::Permissions, error),
            Ok(_covered) => {}
        }
        let required = &step.profile.require;
        let lacking: Vec<_> = required
            .iter()
            .filter(|layer| !signed.sandbox.require.contains(layer))
            .collect();
        if !lacking.is_empty() {
            self.find(
                FindingKind::Sandbox,
                format!(
                    "the sealed state requires layers that are not in the signed profile: {}",
                    joined(lacking.iter().map(|layer| layer.word()), ", ")
                ),
            );
        } else if let Some(why) = &state.steps.unprofiled {
            // The sealed configuration does not contain limits, additional layers and denied paths, so these fields are
            // copied from the authorization. All other fields of the profile are the same for every run.
            let mut known = (*step.profile).clone();
            known.limits.clone_from(&signed.sandbox.limits);
            known.require.clone_from(&signed.sandbox.require);
            known.deny.clone_from(&signed.sandbox.deny);
            if let Err(error) = check_profile(&known, &without_list(&signed.sandbox, &known)) {
                self.read_otherwise(FindingKind::Sandbox, error, self.ours);
            }
            self.leave_open(FindingKind::Sandbox, why);
        } else if let Err(error) =
            check_profile(&step.profile, &without_list(&signed.sandbox, &step.profile))
        {
            self.read_otherwise(FindingKind::Sandbox, error, self.ours);
        }
        if let Err(error) = check_list(
            &step.ruling,
            step.hashed.definition(),
            step.programs().map(AsRef::as_ref),
            &signed.sandbox,
        ) {
            self.find(FindingKind::Sandbox, error);
        } else if let Err(error) = check_programs(
            step.programs().map(AsRef::as_ref),
            signed.sandbox.programs.as_ref(),
        ) {
            self.read_otherwise(FindingKind::Sandbox, error, self.parsed_alike);
        }
        let SignersDecided {
            objections,
            decided,
        } = decide_signers(
            in_force,
            (state, revoked),
            at,
            authorization,
            (&decision.handed_in_by, grants, receipt.consumption.index),
            true,
        );
        for objection in objections {
            let SignersObjection { what, why, basis } = objection;
            // The check of the consumption has already reported the revoked grant.
            if what == FindingKind::Revoked && self.found.contains(&what) {
                continue;
            }
            let ours = match basis {
                ObjectionBasis::Documents => true,
                ObjectionBasis::Sandbox => self.ours,
                ObjectionBasis::Reading => self.parsed_alike,
            };
            self.read_otherwise(what, why, ours);
        }
        if let Some((authority, excluded)) = decided {
            self.compare(&authority, &excluded, state, receipt);
        }
        params
    }

    /// Compares the decision that the receipt states with the decision from the sealed state.
    fn compare(
        &mut self,
        authority: &Authority,
        excluded: &ExcludedSigners,
        state: &SealedState,
        receipt: &Receipt,
    ) {
        let stated = &receipt.decision;
        let expected = Decision {
            approvers: authority.approvers().to_vec(),
            groups: authority.groups().to_vec(),
            excluded: excluded.names(),
            handed_in_by: stated.handed_in_by.clone(),
            policy: state.policy,
        };
        for (same, what) in [
            (expected.approvers == stated.approvers, "approvers"),
            (expected.groups == stated.groups, "groups"),
            (expected.excluded == stated.excluded, "excluded people"),
            (expected.policy == stated.policy, "policy"),
        ] {
            if !same {
                self.find(
                    FindingKind::Decision,
                    format!(
                        "the receipt has wrong {what}: other values follow from the sealed state"
                    ),
                );
            }
        }
    }

    /// Checks the outcome and the counts that the receipt states.
    pub fn ended(&mut self, receipt: &Receipt, open: &Open, signed: &Authorization) {
        if let Err(stop) = check_session(signed, receipt) {
            self.find(FindingKind::Consumption, stop);
        }
        if let Err(stop) = check_outcome(receipt, open.at) {
            self.find(FindingKind::Outcome, stop);
        }
        if let Err(stop) = check_counted(receipt) {
            self.find(FindingKind::ReceiptSubjects, stop);
        }
        // A run that was not started has no layers, and the layers of a run with an unknown outcome can't be checked.
        // Only a failed check of a layer counts here.
        if let Err(CheckStop::Failed(why)) = check_sandbox(signed, receipt) {
            self.find(FindingKind::Sandbox, why);
        }
    }
}

/// Reason why the signatures of a run do not allow it.
pub struct SignersObjection {
    pub what: FindingKind,
    pub why: String,
    basis: ObjectionBasis,
}

/// What an objection depends on, besides the documents.
enum ObjectionBasis {
    /// Nothing.
    Documents,
    /// The sandbox that this program version makes for the step.
    Sandbox,
    /// How this program version reads the script.
    Reading,
}

/// Who allowed a run, and who could not.
pub struct SignersDecided {
    pub objections: Vec<SignersObjection>,
    /// `None` if the signatures do not allow the run, or if its step is not sealed.
    pub decided: Option<(Authority, ExcludedSigners)>,
}

impl SignersDecided {
    fn object(&mut self, what: FindingKind, why: impl Display, basis: ObjectionBasis) {
        self.objections.push(SignersObjection {
            what,
            why: why.to_string(),
            basis,
        });
    }
}

/// Decides from the state before a consumption whether the signatures of the run allowed it: those of its approvers, or
/// those of the approvers of its grant. `index` is the log entry of the consumption. `compares` is that of
/// [`GrantContext`].
pub fn decide_signers(
    in_force: &SealInForce,
    (state, revoked): (&SealedState, RevokedBefore<'_>),
    at: Timestamp,
    authorization: &Verified<Authorization>,
    (handed_in_by, grants, index): (&Name, &GrantUses, u64),
    compares: bool,
) -> SignersDecided {
    use ObjectionBasis as B;
    let (signed, roster) = (authorization.predicate(), &*in_force.roster);
    let mut result = SignersDecided {
        objections: Vec::new(),
        decided: None,
    };
    let tokens = Tokens::Sealed(&state.tokens, at);
    let parties = match exclusion::judge(&signed.proposer, handed_in_by, tokens, roster) {
        Ok(parties) => parties,
        Err(error) => {
            result.object(FindingKind::Proposer, error, B::Documents);
            return result;
        }
    };
    let Some((step, _)) = state.step(&signed.step.reference) else {
        return result;
    };
    if let Some(digest) = &signed.grant {
        let [signature] = authorization.signatures() else {
            return result;
        };
        let Some(logged) = grants
            .get(digest)
            .filter(|logged| logged.saved.entry < index)
        else {
            let why = "no entry before the consumption is the grant of the authorization";
            result.object(FindingKind::Grant, why, B::Documents);
            return result;
        };
        let covered = logged.prepared(roster).and_then(|grant| {
            decide_in(in_force, (state, revoked), at, |context| {
                let stands = stands(
                    &grant,
                    GrantContext {
                        compares,
                        ..context
                    },
                )?;
                covers(&stands, signed, &signature.keyid, &parties)
            })
        });
        match covered {
            Ok(covered) => {
                let excluded = covered.excluded().clone();
                result.decided = Some((Authority::Granted(covered), excluded));
            }
            Err(error) => {
                let what = match &error {
                    GrantError::Quorum { .. } => FindingKind::Quorum,
                    GrantError::SelfApproval { .. } => FindingKind::Excluded,
                    GrantError::Revoked { .. } => FindingKind::Revoked,
                    _ => FindingKind::Grant,
                };
                let basis = match &error {
                    GrantError::Permissions(PermissionsError::OtherSandbox { .. }) => B::Sandbox,
                    error if error.rests_on_reading() => B::Reading,
                    _ => B::Documents,
                };
                result.object(what, error, basis);
            }
        }
        return result;
    }
    let step = match step.for_run(signed) {
        Ok(step) => step,
        Err(error) => {
            result.object(FindingKind::Quorum, error, B::Documents);
            return result;
        }
    };
    let count = signature_count::count_unrevoked(
        authorization.signatures(),
        roster,
        &parties,
        &step.rules,
        at,
        |keyid| revoked.key(keyid).is_some(),
    );
    for signature in count.uncounted() {
        if signature.why == NotCounted::Excluded {
            result.object(FindingKind::Excluded, signature, B::Documents);
        }
    }
    let count = match check_each_counts(count) {
        Ok((count, _)) => count,
        Err(stop) => {
            result.object(FindingKind::ApprovalSignatures, stop, B::Documents);
            return result;
        }
    };
    match quorum::decide(&step.rules, &count) {
        Ok(met) => result.decided = Some((Authority::Signed(met), parties)),
        Err(error) => result.object(FindingKind::Quorum, error, B::Documents),
    }
    result
}
