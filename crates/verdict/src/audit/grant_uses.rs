//! Follows the grants of a log and their uses, and checks the grant of a run in a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    CheckStop, Checked, FindingKind, GrantContext, GrantError, GrantLine, HashedStep, LogEntry,
    LogProofs, PreparedGrant, Revocations, RevokedBefore, SealInForce, SealedState, Tokens,
    TrustedRoster, UsedGrant,
    audit::{
        check_ledger::{ensure, failed},
        decided::StepInSeal,
    },
    check_grantee, check_included, check_place, check_profile,
    decision::{
        granted_parameters::GrantedSchemas,
        grants::{
            RecentUses, check_grant_window, check_granted_parameters, check_granted_step,
            check_standing, check_use, keys_of_use,
        },
    },
    stands, verify_grant,
};
use documents::{
    Authorization, Base64, Bundle, Consumption, ContentDigest, Grant, GrantedSession, MAX_WINDOW_S,
    Name, RevokedSubject, RosterDigest, Signed, Spent, Statement, Status, Timestamp, TlogProof,
    Verified, locked,
};
use reading::without_list;

/// The grants of the log, by the digest of the payload.
#[derive(Default)]
pub struct GrantUses(BTreeMap<ContentDigest, LoggedGrant>);

/// A grant, and its uses so far.
pub struct LoggedGrant {
    pub terms: Grant,
    pub saved: SavedGrant,
    signed: Signed<Grant>,
    /// The grant as prepared with this roster.
    prepared: Mutex<Option<(RosterDigest, Arc<PreparedGrant>)>>,
}

/// The part of a logged grant that the saved state of an audit has: its entry, and its uses so far.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptGrant")]
pub struct SavedGrant {
    /// Log entry of the grant.
    pub entry: u64,
    /// Bytes of the entry.
    pub data: String,
    /// Approvers in force who signed the grant.
    pub signers: Vec<Name>,
    /// The holder of the key that revoked the grant.
    pub revoked_by: Option<String>,
    /// Number of items of consumptions that name the grant.
    pub used: u64,
    /// Number of these items whose run has no receipt.
    pub open: u64,
    /// Times of the uses that the rate still counts.
    pub recent: RecentUses,
    /// Time of the last use.
    pub last: Option<Timestamp>,
    /// Log entries of the receipts with an unknown end that nobody has settled. While such a receipt exists, the grant
    /// pauses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsettled: BTreeSet<u64>,
}

impl GrantUses {
    /// Adds the grant of the log entry `entry`. The decision about a use checks the people and policy, because the
    /// entry of a grant states no time.
    pub fn add(
        &mut self,
        entry: u64,
        (data, payload, signed): (&[u8], &[u8], Signed<Grant>),
        in_force: &SealInForce,
    ) -> Result<(), CheckStop> {
        let here = &in_force.boundary;
        let verified = signed
            .clone()
            .verify(|keyid| in_force.roster.approver_of(keyid).map(|(_, key)| key))?;
        let terms = verified.predicate();
        let _schemas = GrantedSchemas::of(terms)?;
        let _place = check_place(&terms.boundary, here)?;
        let tokens = in_force.state.as_deref().map_or(Tokens::Unknown, |state| {
            Tokens::Sealed(&state.tokens, Timestamp::from_unix(0))
        });
        check_grantee(terms, &in_force.roster, tokens)?;
        let digest = ContentDigest::of(payload);
        if let Some(earlier) = self
            .0
            .values()
            .find(|earlier| earlier.terms.grant == terms.grant)
        {
            return Err(failed(format!(
                "entry {} already has the grant {}",
                earlier.saved.entry, terms.grant
            )));
        }
        let signers = verified.keyids();
        let signers = signers.filter_map(|keyid| in_force.roster.approver_of(keyid));
        let mut signers: Vec<_> = signers.map(|(approver, _)| approver.name.clone()).collect();
        signers.sort();
        self.0.insert(
            digest,
            LoggedGrant {
                terms: terms.clone(),
                saved: SavedGrant {
                    entry,
                    data: String::from_utf8_lossy(data).into_owned(),
                    signers,
                    ..SavedGrant::default()
                },
                signed,
                prepared: Mutex::default(),
            },
        );
        Ok(())
    }

    /// Drops each grant a day after its end, unless a run under it has no receipt. Nobody revokes a grant after its end, and
    /// a later use is a finding.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, grant| grant.is_known(now));
    }

    /// Returns the grant with this digest, until a day after its end.
    pub fn revocable(&self, digest: &ContentDigest, now: Timestamp) -> Option<&LoggedGrant> {
        self.get(digest).filter(|grant| !grant.is_past(now))
    }

    /// Returns the grant with this digest.
    pub fn get(&self, digest: &ContentDigest) -> Option<&LoggedGrant> {
        self.0.get(digest)
    }

    /// Returns the grant of an item, with the number of the use.
    pub fn used(&self, spent: &Spent) -> Option<UsedGrant> {
        let digest = spent.grant?;
        let LoggedGrant { terms, signed, .. } = self.0.get(&digest)?;
        Some(UsedGrant {
            grant: terms.grant.clone(),
            digest,
            use_number: spent.grant_use.map(|number| number.0),
            max_uses: terms.max_uses,
            expires_at: terms.expires_at,
            signatures: signed.signature_count() as u64,
            token: terms.grantee.token().cloned(),
        })
    }

    /// Notes who revoked a grant.
    pub fn revoke(&mut self, digest: &ContentDigest, signer: &str) {
        if let Some(grant) = self.0.get_mut(digest) {
            grant.saved.revoked_by = Some(signer.to_owned());
        }
    }

    /// Counts the item of a consumption at `at`. Returns the broken rules. `is_known` is true if an earlier item has the
    /// session of this item.
    pub fn count(
        &mut self,
        spent: &Spent,
        at: Timestamp,
        is_known: bool,
    ) -> Vec<(FindingKind, String)> {
        let Some(digest) = &spent.grant else {
            return Vec::new();
        };
        let grant = self.0.get_mut(digest);
        let Some(grant) = grant.filter(|grant| grant.is_known(at)) else {
            return vec![(
                FindingKind::Grant,
                format!("no earlier entry is the grant {digest}"),
            )];
        };
        let LoggedGrant { terms, saved, .. } = grant;
        let id = &terms.grant;
        let mut found = Vec::new();
        saved.used += 1;
        saved.open += 1;
        saved.last = Some(at);
        if spent.grant_use.is_none_or(|number| number.0 != saved.used) {
            let stated = spent.grant_use.map_or(0, |number| number.0);
            found.push(format!(
                "the use of {id} has the number {stated}, but the number {} follows",
                saved.used
            ));
        }
        if saved.used > terms.max_uses {
            found.push(
                GrantError::Exhausted {
                    max_uses: terms.max_uses,
                }
                .to_string(),
            );
        }
        if let Some(rate) = &terms.rate
            && let Err(error) = saved.recent.add(rate, at)
        {
            found.push(error.to_string());
        }
        if let Some(entry) = saved.unsettled.first() {
            found.push(format!(
                "the end of an earlier run of {id} is unknown (entry {entry}) and not settled, so the grant pauses"
            ));
        }
        if terms.session == GrantedSession::Fresh && is_known {
            found
                .push("the session is not new, but the grant permits only new sessions".to_owned());
        }
        found
            .into_iter()
            .map(|why| (FindingKind::GrantUse, why))
            .collect()
    }

    /// Records the receipt of a use.
    pub fn close(&mut self, digest: &ContentDigest, receipt: u64, status: Status) {
        if let Some(grant) = self.0.get_mut(digest) {
            grant.saved.open = grant.saved.open.saturating_sub(1);
        }
        self.end(digest, receipt, status);
    }

    /// Records the end of a use, by its receipt or a review. If the end of the run is unknown, the grant pauses.
    pub fn end(&mut self, digest: &ContentDigest, receipt: u64, status: Status) {
        if let Some(grant) = self.0.get_mut(digest).filter(|_| status == Status::Unknown) {
            grant.saved.unsettled.insert(receipt);
        }
    }

    /// Records that a review settled the run whose receipt is at the log entry `receipt`.
    pub fn settle(&mut self, digest: &ContentDigest, receipt: u64) {
        if let Some(grant) = self.0.get_mut(digest) {
            grant.saved.unsettled.remove(&receipt);
        }
    }

    /// Returns one line for each grant at the time `at`, in log order.
    pub fn lines(
        &self,
        in_force: Option<&SealInForce>,
        revocations: &Revocations,
        at: Timestamp,
    ) -> Vec<GrantLine> {
        let ended =
            |digest: &ContentDigest| revocations.now().subject(&RevokedSubject::Grant(*digest));
        let line = |(digest, grant): (&ContentDigest, &LoggedGrant)| GrantLine {
            grant: grant.terms.grant.clone(),
            digest: *digest,
            grantee: grant.terms.grantee.to_string(),
            proposer: grant.terms.proposer.clone(),
            signers: grant.saved.signers.clone(),
            until: grant.terms.expires_at,
            uses: grant.saved.used,
            max_uses: grant.terms.max_uses,
            last: grant.saved.last,
            revoked: ended(digest),
            revoked_by: grant.saved.revoked_by.clone(),
            paused: grant.saved.unsettled.first().copied(),
            unusable: in_force.and_then(|in_force| grant.unusable(in_force, revocations.now(), at)),
            entry: grant.saved.entry,
        };
        let mut lines: Vec<_> = self.0.iter().map(line).collect();
        lines.sort_by_key(|line| line.entry);
        lines
    }

    pub fn keep(&self) -> Vec<SavedGrant> {
        self.0.values().map(|grant| grant.saved.clone()).collect()
    }

    /// Restores the saved grants.
    pub fn resume(saved: &[SavedGrant]) -> Result<Self, String> {
        let mut grants = BTreeMap::new();
        for one in saved {
            let entry = LogEntry::of(one.data.clone().into_bytes());
            let parts = entry
                .parts()
                .map_err(|_| format!("the saved grant of entry {} can't be read", one.entry))?;
            let terms = Statement::<Grant>::from_payload(&parts.payload)
                .map_err(|error| error.to_string())?
                .predicate;
            let signed = parts.signed().map_err(|error| error.to_string())?;
            let grant = LoggedGrant {
                terms,
                saved: one.clone(),
                signed,
                prepared: Mutex::default(),
            };
            grants.insert(ContentDigest::of(&parts.payload), grant);
        }
        Ok(Self(grants))
    }
}

/// Makes a decision about a grant in a sealed state at a time.
pub fn decide_in<T>(
    in_force: &SealInForce,
    (state, revoked): (&SealedState, RevokedBefore<'_>),
    at: Timestamp,
    decide: impl FnOnce(GrantContext<'_>) -> T,
) -> T {
    decide(GrantContext {
        boundary: &in_force.boundary,
        roster: &in_force.roster,
        tokens: Tokens::Sealed(&state.tokens, at),
        step: &|reference| state.step(reference).map(|(step, _)| step),
        // Compares the granted sandbox with the sealed sandbox. If the sealed configuration is incomplete, the sealed
        // sandbox is unknown, so nothing is compared.
        profile: &|step, granted| match &state.steps.unprofiled {
            Some(_) => Ok(()),
            None => check_profile(&step.profile, &without_list(granted, &step.profile)).map(drop),
        },
        compares: true,
        revoked,
        at,
    })
}

impl LoggedGrant {
    /// Returns true until a day after the end of the grant, and longer while a run has no receipt. When an audit really drops
    /// the grant makes no difference.
    fn is_known(&self, now: Timestamp) -> bool {
        self.saved.open > 0 || !self.is_past(now)
    }

    /// Returns true from a day after the end of the grant on.
    fn is_past(&self, now: Timestamp) -> bool {
        now >= self.terms.expires_at.plus(MAX_WINDOW_S)
    }

    /// Returns why no run can use the grant under this seal at this time.
    fn unusable(
        &self,
        in_force: &SealInForce,
        revoked: RevokedBefore<'_>,
        at: Timestamp,
    ) -> Option<String> {
        let state = in_force.state.as_deref()?;
        let stands_here = |grant: &PreparedGrant| {
            decide_in(in_force, (state, revoked), at, |context| {
                stands(grant, context).map(drop)
            })
        };
        self.prepared(&in_force.roster)
            .and_then(|grant| stands_here(&grant))
            .err()
            .map(|error| error.to_string())
    }

    /// Verifies the signatures with this roster. The uses under one roster share the result.
    pub fn prepared(&self, roster: &TrustedRoster) -> Result<Arc<PreparedGrant>, GrantError> {
        let mut last = locked(&self.prepared);
        if let Some((_, known)) = last.as_ref().filter(|(of, _)| *of == roster.digest()) {
            return Ok(known.clone());
        }
        let verified =
            verify_grant(self.signed.clone(), roster).map_err(|error| GrantError::NotCovered {
                pointer: String::new(),
                why: error.to_string(),
            })?;
        let prepared = Arc::new(PreparedGrant::new(verified)?);
        *last = Some((roster.digest(), prepared.clone()));
        Ok(prepared)
    }
}

/// A well-formed grant whose signatures are not verified.
pub struct ReadGrant {
    signed: Signed<Grant>,
    schemas: GrantedSchemas,
}

/// A grant whose signatures of approvers in force are verified.
pub struct BundledGrant {
    pub verified: Verified<Grant>,
    schemas: GrantedSchemas,
    /// Number of all signatures.
    signatures: usize,
}

/// Reads the grant of the bundle. The parser of the bundle has already read its document.
pub fn read_grant(bundle: &Bundle) -> Checked<Option<ReadGrant>> {
    let Some(envelope) = &bundle.grant else {
        return Ok((None, NO_GRANT.to_owned()));
    };
    let signed = Signed::<Grant>::from_envelope(envelope, Base64::Strict)?;
    let payload = Base64::Strict.decode("/payload", &envelope.payload)?;
    let terms = Statement::<Grant>::from_payload(&payload)?.predicate;
    let schemas = GrantedSchemas::of(&terms)?;
    Ok((Some(ReadGrant { signed, schemas }), String::new()))
}

/// Checks that the bundle has a grant exactly if the authorization names one.
pub fn check_present(
    grant: Option<ReadGrant>,
    signed: &Authorization,
) -> Checked<Option<ReadGrant>> {
    let detail = match (&grant, &signed.grant) {
        (Some(_), Some(_)) => "a complete grant, canonical",
        (None, None) => NO_GRANT,
        (None, Some(_)) => {
            return Err(failed(
                "the run used a grant, but the bundle does not contain the grant",
            ));
        }
        (Some(_), None) => {
            return Err(failed(
                "the bundle contains a grant, but the authorization names none",
            ));
        }
    };
    Ok((grant, detail.to_owned()))
}

/// Verifies the signatures of the approvers in force.
pub fn verify_signers(
    grant: Option<ReadGrant>,
    roster: &TrustedRoster,
) -> Checked<Option<BundledGrant>> {
    let Some(ReadGrant { signed, schemas }) = grant else {
        return Ok((None, NO_GRANT.to_owned()));
    };
    let signatures = signed.signature_count();
    let verified = verify_grant(signed, roster)?;
    let detail = format!(
        "{} of {signatures} are of approvers in force, and verify",
        verified.signatures().len()
    );
    Ok((
        Some(BundledGrant {
            verified,
            schemas,
            signatures,
        }),
        detail,
    ))
}

/// Checks that the grant is a log entry before the consumption.
pub fn check_in_log(bundle: &Bundle, log: &LogProofs) -> Result<String, CheckStop> {
    let (Some(envelope), Some(proof)) = (&bundle.grant, &bundle.proofs.grant) else {
        return Ok(NO_GRANT.to_owned());
    };
    let proof = TlogProof::parse(proof)?;
    let (at, detail) = check_included(envelope, &proof, log)?;
    ensure(at < log.consumption.index, || {
        format!(
            "the grant is entry {at}, but the consumption is entry {}",
            log.consumption.index
        )
    })?;
    Ok(detail)
}

impl BundledGrant {
    /// Checks that the grant covers the run. The steps of the grant that did not run are not checked.
    pub fn check_covers(
        &self,
        authorization: &Verified<Authorization>,
        spent: &Spent,
        consumption: &Consumption,
        (step, rules, roster): (&HashedStep, &StepInSeal, &TrustedRoster),
    ) -> Result<String, CheckStop> {
        let (terms, signed) = (self.verified.predicate(), authorization.predicate());
        check_grant_window(terms, consumption.at)?;
        check_grantee(terms, roster, Tokens::Unknown)?;
        let [signature] = authorization.signatures() else {
            return Err(failed("the authorization has another signer"));
        };
        let has_signer = keys_of_use(terms, roster).contains(&signature.keyid);
        let index = check_use(terms, &self.digest(), signed, has_signer)?;
        check_granted_step(terms, index, step)?;
        let schema = self
            .schemas
            .of_step(index)
            .ok_or_else(|| failed("the grant has no schema for the step"))?;
        check_granted_parameters(schema, signed)?;
        check_standing(terms, &signed.step.reference, &rules.ruling)?;
        let used = spent.grant_use.map_or(0, |number| number.0);
        ensure((1..=terms.max_uses).contains(&used), || {
            format!(
                "the run has the use {used}, but the grant permits {} uses",
                terms.max_uses
            )
        })?;
        let mut others = String::new();
        if terms.steps.len() > 1 {
            others.push_str("; the other steps of the grant are not checked");
        }
        if terms.grantee.key().is_none() {
            others.push_str("; that the token was presented is the boundary's word");
        }
        Ok(format!(
            "{}, use {used} of {}{others}",
            terms.grant, terms.max_uses
        ))
    }

    fn digest(&self) -> ContentDigest {
        ContentDigest::from_bytes(self.verified.digest())
    }

    /// Returns the facts for the report.
    pub fn facts(&self, spent: Option<&Spent>) -> UsedGrant {
        let terms = self.verified.predicate();
        UsedGrant {
            grant: terms.grant.clone(),
            digest: self.digest(),
            use_number: spent
                .and_then(|spent| spent.grant_use)
                .map(|number| number.0),
            max_uses: terms.max_uses,
            expires_at: terms.expires_at,
            signatures: self.signatures as u64,
            token: terms.grantee.token().cloned(),
        }
    }
}

const NO_GRANT: &str = "the run uses no grant";
