//! Verifies one bundle with a trusted roster only.
//!
//! Each check is *established*, *failed* or *not checked*. A check is *not checked* if one of its inputs was not
//! established. Such an input is an `Err`, so no check can use the input by mistake.

use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use crate::{
    BundleReport, Chain, ChainError, CheckFinding, CheckName, CheckOutcome, CheckStop,
    ExcludedSigners, HashedStep, KeyHolder, Pinned, TrustBasis, VersionFacts,
    audit::{
        check_ledger::{CheckLedger, ensure, failed},
        decided::{
            check_asked, check_consumption, check_excluded, check_quorum, check_registered,
            check_seal, check_still_rostered, check_subjects, read_rules,
        },
        documents::{
            check_checkpoint, check_document, check_roster_in_seal, item, verify_by_boundary,
            verify_seal,
        },
        grant_uses::{BundledGrant, check_in_log, check_present, read_grant, verify_signers},
        receipt_facts,
        report::{MissingVersions, TrustFacts},
        session_chains::check_plan_of_run,
    },
    check_each_counts, check_included, check_outcome, check_parameters, check_place,
    check_recorded_step, check_sandbox, check_window, check_witnesses,
    decision::grants::check_signers,
    signature_count, verify_authorization,
};
use documents::{
    Authorization, Bundle, BundledRosters, Consumption, Envelope, ForeignKey, MAX_MADE_BYTES,
    MAX_ROSTER_BYTES, ProgramList, Receipt, RosterDigest, SKEW_S, Seal, Timestamp, joined, json,
};

/// Roster that the verifier trusts beforehand. This trust never comes from a bundle.
#[derive(Debug, Clone)]
pub enum RosterTrust {
    /// No trusted roster. Without a trusted roster, nothing can be verified.
    Nothing,
    /// Digest of a roster's payload, `sha256:…`.
    Digest(RosterDigest),
    /// Bytes of a roster file (an envelope).
    Roster(Vec<u8>),
    /// All roster versions up to the newest trusted version.
    Chain(Box<Chain>),
}

/// Options of a verification. The trusted roster is not an option.
#[derive(Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Time of the verification. The verifier refuses a receipt of a later time and does not count a later cosignature.
    /// Without this time, the verifier only compares the times of the documents with each other.
    pub at: Option<Timestamp>,
    /// Number of distinct witnesses of the roster that must have cosigned the checkpoint.
    pub witnesses: u64,
}

/// Error for a verification without a trusted roster (exit code 2). The error names the digests of the bundle's
/// rosters.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema, thiserror::Error)]
#[error("{message}{}", .first_roster.map_or_else(String::new, |digest| {
    format!("; version 1 of the roster in the bundle is {digest}")
}))]
pub struct Untrusted {
    /// Message that states which trust is missing and how the user gets it.
    pub message: String,
    /// Digest of version 1 of the bundle's roster, if that version is readable. The user compares this digest with the
    /// digest that the operator gives.
    pub first_roster: Option<RosterDigest>,
    /// Digest of the last roster version in the bundle.
    pub last_roster: Option<RosterDigest>,
}

/// Verifies a bundle.
///
/// # Errors
/// Returns an error if there is no usable trusted roster. The report contains all other results.
pub fn verify(
    bundle: &[u8],
    trust: &RosterTrust,
    options: VerifyOptions,
) -> Result<BundleReport, Untrusted> {
    let parsed = Bundle::parse(bundle);
    let pinned = match trust {
        RosterTrust::Nothing => {
            Err("there is no trusted roster: give --roster with the roster file, or with the digest that the \
            operator gives you"
                .to_owned())
        }
        RosterTrust::Digest(digest) => Ok(Pinned::Digest(*digest)),
        RosterTrust::Chain(chain) => Ok(Pinned::Chain(chain.clone())),
        RosterTrust::Roster(file) => json::parse_as::<Envelope>(file, 2 * MAX_ROSTER_BYTES)
            .map_err(|error| error.to_string())
            .and_then(|envelope| Pinned::from_envelope(&envelope).map_err(|error| error.to_string()))
            .map_err(|error| {
                format!("the trusted roster can't be used: {error}; get the roster again from a source that you trust")
            }),
    };
    let pinned = pinned.map_err(|message| {
        let rosters = parsed
            .as_ref()
            .map_or(&[][..], |bundle| bundle.roster.versions());
        let chain = Chain::unverified(rosters, MAX_MADE_BYTES).ok();
        Untrusted {
            message,
            first_roster: chain.as_ref().and_then(|chain| chain.digest_of(1)),
            last_roster: chain.map(|chain| chain.last().digest()),
        }
    })?;
    let mut ledger = CheckLedger::default();
    let parsed = ledger.check(CheckName::Bundle, || {
        let detail = "the bundle is strict JSON, and all its fields are known".to_owned();
        Ok((parsed?, detail))
    });
    Ok(verify_parsed(
        ledger,
        &parsed,
        TrustedFor::Bundle(&pinned),
        options,
    ))
}

/// Checks that may be *not checked* in a verified bundle.
pub const MAY_BE_OPEN: [CheckName; 6] = [
    CheckName::Permissions,
    CheckName::Sandbox,
    CheckName::KeysStillRostered,
    CheckName::SealInForce,
    CheckName::Revocations,
    CheckName::Witnesses,
];

fn verify_parsed(
    mut ledger: CheckLedger,
    bundle: &CheckOutcome<Bundle>,
    trust: TrustedFor<'_>,
    options: VerifyOptions,
) -> BundleReport {
    use CheckName as C;

    let bundle = bundle.as_ref();
    let mut missing = None;
    let trusted = trust.digest();
    let chain = ledger.check(C::RosterChain, || {
        let connected = trust.connect(&bundle?.roster);
        let chain = connected.map_err(|error| {
            // Without the versions in between, nobody can decide whether the chain is valid.
            match error.missing() {
                Some((first, last)) => {
                    missing = Some(MissingVersions { first, last });
                    CheckStop::NotChecked(error.to_string())
                }
                None => failed(error),
            }
        })?;
        let detail = format!(
            "roster version {} ({}) is connected with the trusted roster {trusted}",
            chain.last().version(),
            chain.last().digest(),
        );
        Ok((chain, detail))
    });
    let chain = chain.as_ref();

    // The last roster of the bundle contains the boundary's keys. The check `roster-in-seal` then establishes that the
    // seal names this roster.
    let receipt = ledger.check(C::ReceiptDocument, || {
        check_document::<Receipt>(&bundle?.receipt)
    });
    let consumption = ledger.check(C::ConsumptionDocument, || {
        check_document::<Consumption>(&bundle?.consumption)
    });
    let authorization = ledger.check(C::AuthorizationDocument, || {
        check_document::<Authorization>(&bundle?.authorization)
    });
    let seal = ledger.check(C::SealDocument, || check_document::<Seal>(&bundle?.seal));
    let authorization_read = without_value(&authorization);
    let receipt_read = without_value(&receipt);
    let consumption_read = without_value(&consumption);
    let seal_read = without_value(&seal);
    let seal = ledger.check(C::SealSignature, || verify_seal(seal?, chain?.last()));
    let sealed = ledger.check(C::RosterInSeal, || check_roster_in_seal(seal?, chain?));
    let sealed = sealed.as_ref();
    let consumption = ledger.check(C::ConsumptionSignature, || {
        verify_by_boundary(consumption?, sealed?)
    });
    let consumption = consumption.as_ref();
    let receipt = ledger.check(C::ReceiptSignature, || {
        let (receipt, detail) = verify_by_boundary(receipt?, sealed?)?;
        let said = receipt.predicate().boundary.keyid;
        ensure(receipt.keyids().all(|keyid| *keyid == said), || {
            format!("the receipt names the key {said}, but another key signed the receipt")
        })?;
        Ok((receipt, detail))
    });
    let receipt = receipt.as_ref();

    let log = ledger.check(C::Checkpoint, || check_checkpoint(bundle?, sealed?));
    let log = log.as_ref();
    let receipt_at = ledger.check(C::ReceiptIncluded, || {
        receipt_read?;
        check_included(&bundle?.receipt, &log?.receipt, log?)
    });
    let authorization_at = ledger.check(C::AuthorizationIncluded, || {
        authorization_read?;
        check_included(&bundle?.authorization, &log?.authorization, log?)
    });
    let consumption_at = ledger.check(C::ConsumptionIncluded, || {
        consumption_read?;
        check_included(&bundle?.consumption, &log?.consumption, log?)
    });
    let seal_at = ledger.check(C::SealIncluded, || {
        seal_read?;
        check_included(&bundle?.seal, &log?.seal, log?)
    });
    let _order = ledger.establish(C::LogOrder, || {
        let consumed = consumption?.predicate();
        let places = [seal_at?, authorization_at?, consumption_at?, receipt_at?];
        let [seal_at, authorization_at, consumption_at, receipt_at] = places;
        let said = format!(
            "the seal is entry {seal_at}, the authorization entry {authorization_at}, the consumption entry \
             {consumption_at}, the receipt entry {receipt_at}"
        );
        ensure(places.is_sorted_by(|before, after| before < after), || {
            format!("expected the order seal, authorization, consumption, receipt, but {said}")
        })?;
        let seal = sealed?.seal.predicate();
        ensure((seal.number == 0) == (seal_at == 0), || {
            format!(
                "seal number {} is entry {seal_at}: seal number 0 must be entry 0, and no other seal may be entry 0",
                seal.number
            )
        })?;
        ensure(seal.at <= consumed.at, || "the consumption is older than its seal")?;
        Ok(said)
    });

    // The authorization becomes readable only after all its signatures verify.
    let authorization = ledger.check(C::AuthorizationSignatures, || {
        let (mut authorization, said) = verify_authorization(authorization?, sealed?.roster)?;
        let programs = bundle?.programs.clone().map(ProgramList::of).transpose()?;
        authorization.add_programs(programs.as_ref())?;
        Ok((authorization, said))
    });
    let authorization = authorization.as_ref();

    let _place = ledger.establish(C::Boundary, || {
        let here = &sealed?.boundary;
        let _place = check_place(&authorization?.predicate().boundary, here)?;
        let said = &receipt?.predicate().boundary;
        ensure(said.name == here.name && said.id == here.id, || {
            format!(
                "the receipt belongs to boundary {} ({})",
                said.name, said.id
            )
        })?;
        Ok(format!("{} ({}), epoch {}", here.name, here.id, here.epoch))
    });
    let in_force = ledger.establish(C::Seal, || {
        check_seal(
            bundle?,
            sealed?,
            consumption?.predicate(),
            receipt?.predicate(),
        )
    });
    let _spent = ledger.establish(C::Consumption, || {
        check_consumption(
            bundle?,
            log?,
            consumption?.predicate(),
            receipt?.predicate(),
            authorization?,
        )
    });

    // The verifier makes the decision again with the same functions that the boundary calls.
    let step = ledger.check(C::Step, || {
        let (bundle, authorization) = (bundle?, authorization?);
        let step = HashedStep::parse(&bundle.step)?;
        let sealed = check_recorded_step(authorization.predicate(), &step)?;
        let detail = format!("{} is {}", step.definition().reference, step.digest());
        Ok((sealed.step().clone(), detail))
    });
    let step = step.as_ref();
    let _registered = ledger.establish(C::StepInRegistry, || {
        check_registered(bundle?, sealed?.seal.predicate())
    });
    let _fit = ledger.establish(C::Parameters, || {
        let fit = check_parameters(authorization?.predicate(), step?.schema())?;
        Ok(format!("complete and valid, {}", fit.params().digest()))
    });
    let rules = ledger.check(C::Quorum, || {
        in_force?;
        read_rules(bundle?, step?, authorization?.predicate())
    });
    let rules = rules.as_ref();
    let grant = ledger.check(C::GrantDocument, || read_grant(bundle?));
    let grant = ledger.check(C::GrantDocument, || {
        check_present(grant?, authorization?.predicate())
    });
    let grant_read = without_value(&grant);
    let grant = ledger.check(C::GrantSignatures, || {
        verify_signers(grant?, sealed?.roster)
    });
    let grant = grant.as_ref();
    let _in_log = ledger.establish(C::GrantIncluded, || {
        grant_read?;
        check_in_log(bundle?, log?)
    });
    // A run that uses no grant needs no check of a grant.
    let used = || -> Result<Option<&BundledGrant>, &CheckName> {
        if authorization?.predicate().grant.is_some() {
            grant.map(Option::as_ref)
        } else {
            Ok(None)
        }
    };
    let excluded = ledger.check(C::Excluded, || {
        let terms = used()?.map(|grant| grant.verified.predicate());
        check_excluded(
            authorization?.predicate(),
            terms,
            receipt?.predicate(),
            sealed?.roster,
        )
    });
    let excluded = excluded.as_ref();
    let count = ledger.check(C::AuthorizationSignatures, || {
        let _names = excluded?;
        let none = ExcludedSigners::judged_later();
        let (roster, at) = (sealed?.roster, consumption?.predicate().at);
        if let Some(grant) = used()? {
            let rules = rules?.rules.of_grant();
            let count =
                signature_count::count(grant.verified.signatures(), roster, &none, &rules, at);
            return Ok((
                count,
                format!("of the grantee {}", authorization?.predicate().proposer),
            ));
        }
        check_each_counts(signature_count::count(
            authorization?.signatures(),
            roster,
            &none,
            &rules?.rules,
            at,
        ))
    });
    let count = count.as_ref();
    let nobody_excluded = ledger.establish(C::Excluded, || {
        let excluded = excluded?;
        if let Some(grant) = used()? {
            check_signers(grant.verified.signatures(), excluded, sealed?.roster)?;
        }
        let signed = count?
            .counted()
            .iter()
            .filter(|person| excluded.contains(&person.name));
        let signed: Vec<_> = signed
            .map(|person| format!("{} proposed the run, or controls the proposer", person.name))
            .collect();
        ensure(signed.is_empty(), || signed.join("; "))?;
        Ok(format!("none of {} signed", joined(excluded.names(), ", ")))
    });
    let met = ledger.check(C::Quorum, || {
        nobody_excluded?;
        let rules = &rules?.rules;
        let of_grant = used()?.map(|_| rules.of_grant());
        check_quorum(
            of_grant.as_ref().unwrap_or(rules),
            count?,
            receipt?.predicate(),
        )
    });
    let _window = ledger.establish(C::Window, || {
        let at = consumption?.predicate().at;
        let signed = authorization?.predicate();
        let _within = check_window(signed, at, None)?;
        if let Some(now) = options.at {
            let last = at.max(receipt?.predicate().finished_at);
            ensure(last <= now.plus(SKEW_S), || {
                format!(
                    "the receipt is dated {last}, but the time now is {now}; set the clocks right"
                )
            })?;
        }
        Ok(format!(
            "the nonce was spent at {at}; the authorization is valid from {} until {}",
            signed.not_before, signed.expires_at
        ))
    });
    let _permissions = ledger.establish(C::Permissions, || {
        check_asked(
            rules?,
            step?,
            authorization?.predicate(),
            sealed?.seal.predicate(),
        )
    });
    let _sandbox = ledger.establish(C::Sandbox, || {
        check_sandbox(authorization?.predicate(), receipt?.predicate())
    });

    let _covers = ledger.establish(C::GrantCovers, || {
        let Some(grant) = used()? else {
            return Ok("the run uses no grant".to_owned());
        };
        let (authorization, consumption) = (authorization?, consumption?.predicate());
        let spent = item(receipt?.predicate(), consumption)
            .ok_or_else(|| failed("the consumption has no such item"))?;
        grant.check_covers(
            authorization,
            spent,
            consumption,
            (step?, rules?, sealed?.roster),
        )
    });

    let _outcome = ledger.establish(C::Outcome, || {
        check_outcome(receipt?.predicate(), consumption?.predicate().at)
    });
    let _subjects = ledger.establish(C::ReceiptSubjects, || {
        check_subjects(bundle?, receipt?.predicate())
    });

    let plan_report = match (bundle, chain) {
        (Ok(bundle), Ok(chain)) => bundle
            .plan
            .as_deref()
            .map(|plan| verify_plan(plan, chain, options.at)),
        _ => None,
    };
    let _plan = ledger.establish(C::Plan, || {
        check_plan_of_run(
            bundle?,
            sealed?,
            log?,
            consumption?.predicate(),
            authorization?.predicate(),
            step?.definition(),
            plan_report.as_ref(),
        )
    });

    // A bundle alone does not contain enough data for the following checks.
    let _rostered = ledger.establish(C::KeysStillRostered, || {
        let _met = met?;
        check_still_rostered(chain?, sealed?, receipt?, count?)
    });
    for name in [C::SealInForce, C::Revocations] {
        let _in_log = ledger.establish(name, || {
            sealed?;
            Err(CheckStop::NotChecked(
                "only the whole log can show this: run `countersign audit`".to_owned(),
            ))
        });
    }
    let witnesses = ledger.check(C::Witnesses, || {
        // The newest known roster names the witnesses, because a witness that was removed from the roster no longer
        // counts.
        let (boundary, chain) = (&sealed?.boundary.name, chain?);
        if chain.newest().tables().witnesses.is_empty() && options.witnesses == 0 {
            return Ok((Vec::new(), "the roster names no witness".to_owned()));
        }
        check_witnesses(&log?.note, chain, boundary, options.witnesses, options.at)
    });
    let witnesses = witnesses.unwrap_or_default();

    let facts = match (receipt, sealed) {
        (Ok(receipt), Ok(sealed)) => {
            let mut facts = receipt_facts::collect(
                receipt,
                sealed.roster,
                consumption.ok(),
                authorization.ok(),
                count.ok(),
            );
            facts.witnesses.clone_from(&witnesses);
            let spent = consumption
                .ok()
                .and_then(|consumption| item(receipt.predicate(), consumption.predicate()));
            if let (Some(approved), Ok(Some(grant))) = (&mut facts.approved, used()) {
                approved.grant = Some(grant.facts(spent));
            }
            Some(Box::new(facts))
        }
        _ => None,
    };
    let mut warnings = Vec::new();
    for open in chain.iter().flat_map(|chain| chain.unguarded()) {
        warnings.push(format!(
            "version {open} of the roster is unguarded (threshold 0): the operator of the boundary can replace it"
        ));
    }
    let begins = chain.ok().map(|chain| *chain.numbers().start());
    if let Some(first) = begins.filter(|first| *first > 1) {
        warnings.push(format!(
            "keys removed before version {first} of the roster: not checked"
        ));
    }
    let passkeys_count = rules.is_ok_and(|rules| rules.ruling.passkeys.is_some());
    warnings.extend(warnings_of_foreign(
        chain
            .iter()
            .flat_map(|chain| chain.last().foreign_keys())
            .map(|(holder, key)| (holder, key)),
        passkeys_count,
    ));
    let trust = TrustFacts {
        roster: trusted,
        newest: chain.ok().map(|chain| VersionFacts::of(chain.newest())),
        guarded: chain.is_ok_and(Chain::is_guarded_since_trusted),
        missing,
    };
    let mut checks = ledger.into_checks();
    if witnesses.is_empty() {
        // If no witness counts, the result depends only on the roster, because the roster lists the witnesses.
        checks
            .iter_mut()
            .filter(|check| check.name == C::Witnesses)
            .for_each(|check| check.rests_on = TrustBasis::Roster);
    }
    let verified = checks.iter().all(|check| match check.finding {
        CheckFinding::Established => true,
        CheckFinding::NotChecked => MAY_BE_OPEN.contains(&check.name),
        CheckFinding::Failed => false,
    });
    let boundary_says = receipt_facts::boundary_says(&witnesses, facts.as_deref());
    BundleReport {
        verified,
        checks,
        trust,
        facts,
        boundary_says,
        warnings,
    }
}

/// What connects the roster of a bundle with a trusted one.
#[derive(Clone, Copy)]
enum TrustedFor<'a> {
    /// The pinned roster, and the versions in the bundle.
    Bundle(&'a Pinned),
    /// The versions in the bundle of the run that applied this plan.
    Plan(&'a Chain),
}

impl TrustedFor<'_> {
    fn digest(self) -> RosterDigest {
        match self {
            Self::Bundle(pinned) => pinned.digest(),
            Self::Plan(chain) => chain.newest().digest(),
        }
    }

    fn connect(self, versions: &BundledRosters) -> Result<Chain, ChainError> {
        match (self, versions) {
            (Self::Bundle(pinned), versions) => Chain::connect_bundled(pinned, versions.versions()),
            (Self::Plan(chain), BundledRosters::Number(version)) => chain
                .ending_at(*version)
                .ok_or(ChainError::NotHere { version: *version }),
            (Self::Plan(_), BundledRosters::Versions(_)) => Err(ChainError::Count { found: 0 }),
        }
    }
}

/// Verifies the bundle of a plan. The roster of the plan must be a version of the roster of the run.
fn verify_plan(plan: &Bundle, chain: &Chain, at: Option<Timestamp>) -> BundleReport {
    let mut ledger = CheckLedger::default();
    let plan = ledger.check(CheckName::Bundle, || {
        Ok((plan.clone(), "the bundle of a plan".to_owned()))
    });
    let options = VerifyOptions { at, witnesses: 0 };
    verify_parsed(ledger, &plan, TrustedFor::Plan(chain), options)
}

/// Returns the warnings about keys of a roster whose signatures may not count. If policy is known and lets passkeys count,
/// passkeys have no warning.
pub(crate) fn warnings_of_foreign<'k>(
    keys: impl Iterator<Item = (&'k KeyHolder, &'k ForeignKey)>,
    passkeys_count: bool,
) -> impl Iterator<Item = String> {
    keys.filter(move |(_, key)| !passkeys_count || key.passkey().is_none())
        .map(|(holder, key)| key.warning(holder))
}

/// Outcome of a check, for later checks that do not need its value.
fn without_value<T>(got: &CheckOutcome<T>) -> CheckOutcome<()> {
    got.as_ref().map(drop).map_err(|name| *name)
}

#[cfg(test)]
mod tests;
