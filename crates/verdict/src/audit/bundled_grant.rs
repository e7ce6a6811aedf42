//! Checks the grant of a run in a bundle.

use crate::{
    CheckStop, HashedStep, LogProofs, TrustedRoster, UsedGrant,
    audit::{
        check_ledger::{ensure, failed},
        decided::StepInSeal,
    },
    check_grantee, check_included,
    decision::{
        granted_parameters::GrantedSchemas,
        grants::{
            check_grant_window, check_granted_parameters, check_granted_step, check_standing,
            check_use,
        },
    },
    verify_grant,
};
use documents::{
    Authorization, Base64, Bundle, Consumption, ContentDigest, Grant, Receipt, Signed, Spent,
    Statement, TlogProof, Verified,
};

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
pub fn read_grant(bundle: &Bundle) -> Result<(Option<ReadGrant>, String), CheckStop> {
    let Some(envelope) = &bundle.grant else {
        return Ok((None, NO_GRANT.to_owned()));
    };
    let signed = Signed::<Grant>::from_envelope(envelope, Base64::Strict).map_err(failed)?;
    let payload = Base64::Strict
        .decode("/payload", &envelope.payload)
        .map_err(failed)?;
    let terms = Statement::<Grant>::from_payload(&payload)
        .map_err(failed)?
        .predicate;
    let schemas = GrantedSchemas::of(&terms).map_err(failed)?;
    Ok((Some(ReadGrant { signed, schemas }), String::new()))
}

/// Checks that the bundle has a grant exactly if the authorization names one.
pub fn check_present(
    grant: Option<ReadGrant>,
    signed: &Authorization,
) -> Result<(Option<ReadGrant>, String), CheckStop> {
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
) -> Result<(Option<BundledGrant>, String), CheckStop> {
    let Some(ReadGrant { signed, schemas }) = grant else {
        return Ok((None, NO_GRANT.to_owned()));
    };
    let signatures = signed.signature_count();
    let verified = verify_grant(signed, roster).map_err(failed)?;
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
pub fn check_in_log(bundle: &Bundle, log: &LogProofs) -> Result<((), String), CheckStop> {
    let (Some(envelope), Some(proof)) = (&bundle.grant, &bundle.proofs.grant) else {
        return Ok(((), NO_GRANT.to_owned()));
    };
    let proof = TlogProof::parse(proof).map_err(failed)?;
    let (at, detail) = check_included(envelope, &proof, log)?;
    ensure(at < log.consumption.index, || {
        format!(
            "the grant is entry {at}, but the consumption is entry {}",
            log.consumption.index
        )
    })?;
    Ok(((), detail))
}

impl BundledGrant {
    /// Checks that the grant covers the run. The steps of the grant that did not run are not checked.
    pub fn check_covers(
        &self,
        authorization: &Verified<Authorization>,
        spent: &Spent,
        consumption: &Consumption,
        (step, rules, roster): (&HashedStep, &StepInSeal, &TrustedRoster),
    ) -> Result<((), String), CheckStop> {
        let (terms, signed) = (self.verified.predicate(), authorization.predicate());
        check_grant_window(terms, consumption.at).map_err(failed)?;
        check_grantee(terms, roster).map_err(failed)?;
        let [signature] = authorization.signatures() else {
            return Err(failed("the authorization has another signer"));
        };
        let index = check_use(terms, &self.digest(), signed, &signature.keyid).map_err(failed)?;
        check_granted_step(terms, index, step).map_err(failed)?;
        let schema = self
            .schemas
            .of_step(index)
            .ok_or_else(|| failed("the grant has no schema for the step"))?;
        check_granted_parameters(schema, signed).map_err(failed)?;
        check_standing(terms, &signed.step.reference, &rules.ruling).map_err(failed)?;
        let used = spent.grant_use.map_or(0, |number| number.0);
        ensure((1..=terms.max_uses).contains(&used), || {
            format!(
                "the run has the use {used}, but the grant permits {} uses",
                terms.max_uses
            )
        })?;
        let others = if terms.steps.len() > 1 {
            "; the other steps of the grant are not checked"
        } else {
            ""
        };
        Ok((
            (),
            format!("{}, use {used} of {}{others}", terms.grant, terms.max_uses),
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
        }
    }
}

/// Returns the item of the consumption that the receipt names.
pub fn item<'c>(receipt: &Receipt, consumption: &'c Consumption) -> Option<&'c Spent> {
    consumption
        .spent
        .get(usize::try_from(receipt.consumption.item).ok()?)
}

const NO_GRANT: &str = "the run uses no grant";
