//! Questions: is a grant in force now, and does it cover this run?
//!
//! The answers do not depend on how often the grant was used: the store and the log count the uses.
//!
//! ```compile_fail,E0451
//! # use verdict::Stands;
//! fn forge(grant: &verdict::decision::grants::PreparedGrant) -> Stands<'_> {
//!     Stands { grant, ..todo!() } // the fields are private: only stands() makes it
//! }
//! ```

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ExcludedSigners, GrantError, HashedStep, KeyHolder, PermissionsError, QuorumMet,
    RevocableGrant, RevokedBefore, StepError, StepInForce, Tokens, TrustedRoster,
    check_permissions, check_place, count_unrevoked,
    decision::granted_parameters::{GrantedSchemas, differing_name, place},
    exclusion, quorum,
};
use documents::{
    Authorization, BoundaryRef, ContentDigest, Grant, GrantRate, GrantedSession, Grantee,
    GroupName, KeyGrantee, KeyId, Name, Profile, RevokedSubject, SKEW_S, Signed, StepRef,
    Timestamp, TokenGrantee, Verified, VerifiedSignature, VerifyError, WindowError,
};
use reading::{ParameterSchema, Ruling};

/// The state that decides about a grant.
pub struct GrantContext<'a> {
    /// The boundary and the epoch in force.
    pub boundary: &'a BoundaryRef,
    /// The roster in force.
    pub roster: &'a TrustedRoster,
    /// The tokens of the seal in force.
    pub tokens: Tokens<'a>,
    /// Returns the rules of a sealed step.
    pub step: &'a dyn Fn(&StepRef) -> Option<&'a StepInForce>,
    /// Compares the present sandbox of a step with the signed sandbox.
    pub profile: &'a dyn Fn(&StepInForce, &Profile) -> Result<(), PermissionsError>,
    /// False if the permissions and the sandboxes of the steps are not compared, because another program version may have
    /// read the scripts differently.
    pub compares: bool,
    /// The earlier revocations.
    pub revoked: RevokedBefore<'a>,
    /// The time of the decision.
    pub at: Timestamp,
}

/// A grant with verified signatures and compiled schemas: what the decisions about all its uses have in common.
#[derive(Debug)]
pub struct PreparedGrant {
    document: Verified<Grant>,
    digest: ContentDigest,
    schemas: GrantedSchemas,
}

impl PreparedGrant {
    /// Compiles the schemas of a grant.
    ///
    /// # Errors
    /// Returns the first invalid schema.
    pub fn new(document: Verified<Grant>) -> Result<Self, GrantError> {
        let schemas = GrantedSchemas::of(document.predicate()).map_err(GrantError::Schema)?;
        Ok(Self {
            digest: ContentDigest::from_bytes(document.digest()),
            document,
            schemas,
        })
    }

    /// Returns the grant with its verified signatures.
    pub fn document(&self) -> &Verified<Grant> {
        &self.document
    }
}

/// Proof that a run can use the grant now, if the run is covered. Only [`stands`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct Stands<'g> {
    grant: &'g PreparedGrant,
    excluded: ExcludedSigners,
    /// The approvers who signed.
    signers: Vec<Name>,
    /// The quorum of each step.
    steps: Vec<QuorumMet>,
    /// The keys that can sign a use, each with the log entry that revoked it.
    keys: Vec<(KeyId, Option<u64>)>,
}

/// Proof that a standing grant covers a run. Only [`covers`] constructs this proof.
#[must_use]
pub struct Covered {
    met: QuorumMet,
    grantee: KeyId,
    excluded: ExcludedSigners,
    needs_fresh_session: bool,
}

impl Covered {
    /// Returns the people whose signatures do not count: the parties of the run and of the grant.
    pub fn excluded(&self) -> &ExcludedSigners {
        &self.excluded
    }

    /// Returns true if no earlier run of the log may have used the session of this run.
    pub fn needs_fresh_session(&self) -> bool {
        self.needs_fresh_session
    }
}

/// Why a run is allowed: approvers signed the run itself, or a grant that covers the run.
#[must_use]
pub enum Authority {
    /// Approvers signed the authorization.
    Signed(QuorumMet),
    /// Approvers signed a grant, and the grantee signed the authorization.
    Granted(Covered),
}

impl Authority {
    fn met(&self) -> &QuorumMet {
        match self {
            Self::Signed(met) => met,
            Self::Granted(covered) => &covered.met,
        }
    }

    /// Returns the sorted names of the people whose signatures counted, as in a receipt's `decision.approvers`.
    pub fn approvers(&self) -> &[Name] {
        self.met().approvers()
    }

    /// Returns the sorted groups for which these people counted, as in a receipt's `decision.groups`.
    pub fn groups(&self) -> &[GroupName] {
        self.met().groups()
    }

    /// Returns true if the log has the signature of this key over the authorization.
    pub fn keeps(&self, keyid: &KeyId) -> bool {
        match self {
            Self::Signed(met) => met.keeps(keyid),
            Self::Granted(covered) => covered.grantee == *keyid,
        }
    }
}

/// Verifies the signatures of a grant with the keys of the approvers in force. A signature of another key does not count,
/// because the roster may have changed since the grant was signed.
///
/// # Errors
/// Returns the first invalid signature, or the error of the document.
pub fn verify_grant(
    signed: Signed<Grant>,
    roster: &TrustedRoster,
) -> Result<Verified<Grant>, VerifyError> {
    signed.verify_known(|keyid| roster.approver_of(keyid).map(|(_, key)| key))
}

/// Decides whether the grant can be used at the time and in the state of `context`.
///
/// # Errors
/// Returns the first reason why no run can use the grant.
pub fn stands<'g>(
    grant: &'g PreparedGrant,
    context: GrantContext<'_>,
) -> Result<Stands<'g>, GrantError> {
    let GrantContext {
        boundary,
        roster,
        tokens,
        step,
        profile,
        compares,
        revoked,
        at,
    } = context;
    let (terms, signatures) = (grant.document.predicate(), grant.document.signatures());
    let _place = check_place(&terms.boundary, boundary).map_err(GrantError::Place)?;
    check_revoked(&grant.digest, terms, revoked)?;
    check_grant_window(terms, at)?;
    check_grantee(terms, roster, tokens)?;
    let keys = keys_of_use(terms, roster)
        .into_iter()
        .map(|keyid| (keyid, revoked.key(&keyid)))
        .collect();
    let excluded = judge_excluded(terms, tokens, roster)?;
    let signers = signers_of(signatures, roster);
    check_nobody(&signers, &excluded)?;
    let mut steps = Vec::with_capacity(terms.steps.len());
    for (index, granted) in terms.steps.iter().enumerate() {
        let reference = &granted.reference;
        let held = step(reference).ok_or_else(|| {
            GrantError::Step(StepError::Unknown {
                step: reference.clone(),
            })
        })?;
        check_granted_step(terms, index, &held.hashed)?;
        check_standing(terms, reference, &held.ruling)?;
        if compares {
            let _covered = check_permissions(held.asked(), &granted.permissions)
                .map_err(GrantError::Permissions)?;
            profile(held, &granted.sandbox).map_err(GrantError::Permissions)?;
        }
        let rules = held.rules.of_grant();
        let is_revoked = |keyid: &KeyId| revoked.key(keyid).is_some();
        let count = count_unrevoked(signatures, roster, &excluded, &rules, at, is_revoked);
        let met = quorum::decide(&rules, &count).map_err(|error| GrantError::Quorum {
            step: reference.clone(),
            error: Box::new(error),
        })?;
        steps.push(met);
    }
    Ok(Stands {
        grant,
        excluded,
        signers,
        steps,
        keys,
    })
}

/// Decides whether a standing grant covers the run of this authorization. `signer` is the key of the only signature,
/// which is verified. `parties` are the people who are excluded because of the run.
///
/// # Errors
/// Returns the first difference.
pub fn covers(
    stands: &Stands<'_>,
    signed: &Authorization,
    signer: &KeyId,
    parties: &ExcludedSigners,
) -> Result<Covered, GrantError> {
    let (grant, terms) = (stands.grant, stands.grant.document.predicate());
    let known = stands.keys.iter().find(|(keyid, _)| keyid == signer);
    if let Some((keyid, Some(entry))) = known {
        let (what, entry) = (format!("the key {keyid}"), *entry);
        return Err(GrantError::Revoked { what, entry });
    }
    let index = check_use(terms, &grant.digest, signed, known.is_some())?;
    let (met, schema) = (&stands.steps[index], &grant.schemas.0[index]);
    check_granted_parameters(schema, signed)?;
    check_nobody(&stands.signers, parties)?;
    Ok(Covered {
        met: met.copy(),
        grantee: *signer,
        excluded: stands.excluded.clone().with(&parties.names()),
        needs_fresh_session: terms.session == GrantedSession::Fresh && signed.session.is_some(),
    })
}

/// Returns the people who may revoke the grant. `step` returns the rules of a sealed step.
pub fn revocable<'s>(
    grant: &Grant,
    step: impl Fn(&StepRef) -> Option<&'s StepInForce>,
) -> RevocableGrant {
    let held = grant
        .steps
        .iter()
        .filter_map(|granted| step(&granted.reference));
    let groups = held.flat_map(|held| held.rules.groups().into_iter().cloned());
    RevocableGrant {
        grantee: grant.grantee.name().clone(),
        groups: groups.collect(),
    }
}

/// Returns the people who can't sign the grant: the grantee, the proposer and the owners of both.
///
/// # Errors
/// Returns an error if the proposer is unknown, or if its token has ended.
pub fn judge_excluded(
    grant: &Grant,
    tokens: Tokens<'_>,
    roster: &TrustedRoster,
) -> Result<ExcludedSigners, GrantError> {
    // An approver who asked for the grant has no owners, and the approver's own signature does not count.
    let approver = roster
        .approver(&grant.proposer)
        .map(|approver| approver.name.clone());
    let proposer = if approver.is_some() {
        grant.grantee.name()
    } else {
        &grant.proposer
    };
    let excluded = exclusion::judge(grant.grantee.name(), proposer, tokens, roster)
        .map_err(GrantError::Exclusion)?;
    Ok(excluded.with(approver.as_slice()))
}

/// Checks that no excluded person signed the grant.
///
/// # Errors
/// Returns an error with the names of these people.
pub fn check_signers(
    signatures: &[VerifiedSignature],
    excluded: &ExcludedSigners,
    roster: &TrustedRoster,
) -> Result<(), GrantError> {
    check_nobody(&signers_of(signatures, roster), excluded)
}

/// Returns the sorted names of the approvers who signed.
fn signers_of(signatures: &[VerifiedSignature], roster: &TrustedRoster) -> Vec<Name> {
    let signers = signatures
        .iter()
        .filter_map(|signature| roster.approver_of(&signature.keyid));
    let mut names: Vec<_> = signers.map(|(approver, _)| approver.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn check_nobody(signers: &[Name], excluded: &ExcludedSigners) -> Result<(), GrantError> {
    let names: Vec<_> = signers
        .iter()
        .filter(|name| excluded.contains(name))
        .cloned()
        .collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(GrantError::SelfApproval { names })
    }
}

/// Checks that neither the grant nor the key or the token of the grantee nor the epoch is revoked.
fn check_revoked(
    digest: &ContentDigest,
    grant: &Grant,
    revoked: RevokedBefore<'_>,
) -> Result<(), GrantError> {
    let grantee = match &grant.grantee {
        Grantee::Key(KeyGrantee { name, key }) => {
            (format!("the key {key} of {name}"), revoked.key(key))
        }
        Grantee::Token(TokenGrantee { token, .. }) => {
            (format!("the token {token}"), revoked.token(token))
        }
    };
    for (what, entry) in [
        (
            format!("the grant {}", grant.grant),
            revoked.subject(&RevokedSubject::Grant(*digest)),
        ),
        grantee,
        (
            format!("the epoch {}", grant.boundary.epoch),
            revoked.epoch(&grant.boundary.epoch),
        ),
    ] {
        if let Some(entry) = entry {
            return Err(GrantError::Revoked { what, entry });
        }
    }
    Ok(())
}

/// Checks that the time is within the window of the grant, with the same tolerance for `issued_at` as in an
/// authorization.
///
/// # Errors
/// Returns the first broken rule.
pub fn check_grant_window(grant: &Grant, at: Timestamp) -> Result<(), GrantError> {
    let error = if at >= grant.expires_at {
        WindowError::Expired {
            until: grant.expires_at,
            at,
        }
    } else if grant.issued_at > at.plus(SKEW_S) {
        WindowError::IssuedLater {
            issued: grant.issued_at,
            at,
        }
    } else if grant.not_before > at {
        WindowError::NotYet {
            from: grant.not_before,
            at,
        }
    } else {
        return Ok(());
    };
    Err(GrantError::Window(error))
}

/// Checks that the roster gives the key to the grantee, or that a sealed token has the credential. Without a list of
/// tokens, the credential is not checked.
///
/// # Errors
/// Returns an error if the grantee is no proposer of the roster with this key, or no token with this credential.
pub fn check_grantee(
    grant: &Grant,
    roster: &TrustedRoster,
    tokens: Tokens<'_>,
) -> Result<(), GrantError> {
    match &grant.grantee {
        Grantee::Key(KeyGrantee { name, key }) => match roster.signer(key) {
            Some((KeyHolder::Proposer(holder), _)) if holder == name => Ok(()),
            _ => Err(GrantError::Grantee {
                name: name.clone(),
                keyid: *key,
            }),
        },
        Grantee::Token(TokenGrantee { token, credential }) => {
            let is_token = match tokens {
                Tokens::Sealed(list, _) => list
                    .iter()
                    .any(|sealed| sealed.name == *token && sealed.credential == *credential),
                Tokens::Unknown => true,
            };
            is_token.then_some(()).ok_or_else(|| GrantError::Token {
                token: token.clone(),
            })
        }
    }
}

/// Returns the ids of the keys that can sign a use of the grant: that of the grantee, or those of the boundary for a
/// token.
pub fn keys_of_use(grant: &Grant, roster: &TrustedRoster) -> Vec<KeyId> {
    match &grant.grantee {
        Grantee::Key(grantee) => vec![grantee.key],
        Grantee::Token(_) => roster.boundary_keyids(&grant.boundary.name),
    }
}

/// Checks that the sealed step is the granted step, and that the step can be granted.
///
/// # Errors
/// Returns an error if the definition differs, if the step has a plan or a secret parameter, or if the grant does not name
/// exactly the parameters of the step.
pub fn check_granted_step(
    grant: &Grant,
    index: usize,
    sealed: &HashedStep,
) -> Result<(), GrantError> {
    let (granted, definition) = (&grant.steps[index], sealed.definition());
    let step = granted.reference.clone();
    if sealed.digest() != granted.digest {
        let (signed, sealed) = (granted.digest, sealed.digest());
        return Err(GrantError::Step(StepError::Changed {
            step,
            signed,
            sealed,
        }));
    }
    if definition.plan.is_some() {
        return Err(GrantError::NotGrantable {
            step,
            why: "a plan",
        });
    }
    if definition.params.has_secret() {
        return Err(GrantError::NotGrantable {
            step,
            why: "a secret parameter",
        });
    }
    match differing_name(&granted.params, &definition.params) {
        None => Ok(()),
        Some(name) => Err(GrantError::not_covered(
            place(index),
            format!(
                "only the grant or only the step {step} has the parameter {name}: name each parameter of the step"
            ),
        )),
    }
}

/// Checks that policy permits the grant for a step.
///
/// # Errors
/// Returns an error if policy permits no grant, or fewer uses, a shorter time or a narrower session.
pub fn check_standing(grant: &Grant, step: &StepRef, ruling: &Ruling) -> Result<(), GrantError> {
    let refuse = |why: String| {
        Err(GrantError::Policy {
            step: step.clone(),
            why,
        })
    };
    let Some(standing) = ruling.standing.as_ref().map(|standing| &standing.value) else {
        return refuse("no grant is permitted".to_owned());
    };
    if grant.max_uses > standing.max_uses {
        return refuse(format!("at most {} uses are permitted", standing.max_uses));
    }
    let seconds = grant.expires_at.unix() - grant.issued_at.unix();
    if u64::try_from(seconds).is_ok_and(|seconds| seconds > standing.max_days * 86_400) {
        return refuse(format!("at most {} days are permitted", standing.max_days));
    }
    if grant.session > standing.widest_session() {
        return refuse(format!(
            "the session of a grant can be at most `{}`",
            standing.widest_session().word()
        ));
    }
    Ok(())
}

/// Checks an authorization against the terms of its grant, except for the parameters. Returns the index of the step.
///
/// # Errors
/// Returns the first difference, with a pointer into the authorization.
pub fn check_use(
    grant: &Grant,
    digest: &ContentDigest,
    signed: &Authorization,
    has_signer: bool,
) -> Result<usize, GrantError> {
    let index = grant
        .steps
        .iter()
        .position(|granted| granted.reference == signed.step.reference);
    let index = index.ok_or_else(|| {
        GrantError::not_covered("/predicate/step/ref", "the grant does not name this step")
    })?;
    let granted = &grant.steps[index];
    let artifacts = signed.artifacts.iter().flat_map(|artifacts| &artifacts.0);
    for (holds, pointer, why) in [
        (
            signed.grant == Some(*digest),
            "/predicate/grant",
            "the authorization names another grant",
        ),
        (
            signed.boundary == grant.boundary,
            "/predicate/boundary",
            "the grant is for another boundary or epoch",
        ),
        (
            signed.proposer == *grant.grantee.name(),
            "/predicate/proposer",
            "only the grantee can use the grant",
        ),
        (
            signed.by.is_some() == grant.grantee.key().is_none(),
            "/predicate/by",
            "only the use of a grant to a token names the token",
        ),
        (
            has_signer,
            "/signatures/0/keyid",
            "only the key that the grant names, or the boundary for a token, can sign the use of the grant",
        ),
        (
            signed.step.digest == granted.digest,
            "/predicate/step/digest",
            "the grant is for another definition",
        ),
        (
            signed
                .permissions
                .iter()
                .all(|permission| granted.permissions.contains(permission)),
            "/predicate/permissions",
            "the grant does not have all these permissions",
        ),
        (
            signed.sandbox == granted.sandbox,
            "/predicate/sandbox",
            "the grant has another sandbox",
        ),
        (
            signed.expires_at <= grant.expires_at,
            "/predicate/expires_at",
            "the grant ends earlier",
        ),
        (
            grant.session != GrantedSession::None || signed.session.is_none(),
            "/predicate/session",
            "the grant permits no session",
        ),
        (
            artifacts
                .clone()
                .all(|artifact| grant.artifacts.contains(artifact)),
            "/predicate/artifacts",
            "the grant does not have all these artifacts",
        ),
    ] {
        if !holds {
            return Err(GrantError::not_covered(pointer, why));
        }
    }
    Ok(index)
}

/// Checks that the parameters of the run are permitted by the schema of the grant.
///
/// # Errors
/// Returns the first parameter with another value.
pub fn check_granted_parameters(
    schema: &ParameterSchema,
    signed: &Authorization,
) -> Result<(), GrantError> {
    schema.check(&signed.params).map(drop).map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(
            || {
                GrantError::not_covered(
                    "/predicate/params",
                    "the grant does not permit these parameters",
                )
            },
            |error| {
                GrantError::not_covered(
                    format!("/predicate/params{}", error.pointer),
                    error.message,
                )
            },
        )
    })
}

/// The times of the uses that the rate of a grant still counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RecentUses(VecDeque<Timestamp>);

impl RecentUses {
    /// Counts one more use at `at`. The period is half open: a use counts while it is less than `seconds` old.
    ///
    /// # Errors
    /// Returns an error if the uses in the period before `at` and this use are more than the rate permits.
    pub fn add(&mut self, rate: &GrantRate, at: Timestamp) -> Result<(), GrantError> {
        // The times of a log never decrease: an audit reports each entry that breaks this.
        let is_over = |earlier: &Timestamp| earlier.plus_seconds(rate.seconds) <= at;
        while self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
        self.0.push_back(at);
        let most = usize::try_from(rate.uses).unwrap_or(usize::MAX);
        match self
            .0
            .len()
            .checked_sub(most + 1)
            .and_then(|extra| self.0.get(extra))
        {
            None => Ok(()),
            Some(oldest) => Err(GrantError::TooOften {
                uses: rate.uses,
                seconds: rate.seconds,
                until: oldest.plus_seconds(rate.seconds),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
