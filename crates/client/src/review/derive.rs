//! Checks an authorization before it is shown to an approver.
//!
//! This module trusts only bytes whose digest is in the payload, in the signed seal, or in the roster that the approver
//! trusts.

pub mod comparisons;

use std::{borrow::Cow, fmt::Display};

use serde_json::Value;

use crate::{
    COVERED, Derived, FieldReason, Lines, ReviewFinding, ReviewSources, SANDBOX, SCRIPT_DIGEST,
    SEALED, SignedField, StatementVerdict, TRUSTED,
    review::{
        compare::ReviewCheck,
        coverage,
        derive::comparisons::{differences, parameters, rendered},
        run_inputs::{self, INPUTS},
        step_files::{self, FILES},
        value_words::ScriptPlaces,
    },
};
use documents::{
    Authorization, AuthorizationDigest, Base64, BlobDigest, BoundaryName, Configuration, KeyId,
    MAX_DEFINITION_BYTES, MAX_WINDOW_S, Permission, PolicyDigest, Profile, SKEW_S, Seal,
    SealDigest, Signed, Statement, StepDefinition, StepDigest, Timestamp, Verified,
    VerifiedSignature, canonical, joined, json,
};
use reading::{
    Builtins, Policy, PolicyDenied, PolicyProfile, check_list, check_programs, profile_of_step,
    required_permissions, ruling, step_template, without_list,
};
use verdict::signing_program;

/// Makes all checks that the sources permit.
pub fn derive(sources: &ReviewSources, now: Timestamp) -> Derived {
    let mut found = Derived::unchecked(sources);
    let mut statement = match Statement::<Authorization>::from_payload(&sources.payload) {
        Ok(statement) => statement,
        Err(error) => {
            found.note(
                "the payload is a strict, canonical authorization",
                ReviewFinding::Fails(error.to_string()),
            );
            let mut lines = Lines::of(sources, &found, now);
            lines.conclude(sources, &found, Vec::new());
            found.lines = lines;
            return found;
        }
    };
    found.note(
        "the payload is a strict, canonical authorization",
        ReviewFinding::Holds,
    );
    found.payload = serde_json::from_slice(&sources.payload).ok();
    found.programs(sources, &mut statement.predicate.sandbox);
    let signed = statement.predicate.clone();
    found.statement = Some(statement);

    found.definition(sources, &signed);
    found.filled_in(sources, &signed);
    found.window(&signed, now);
    let seal = found.sealed(sources, &signed);
    found.context(sources, &signed, seal.as_ref());
    found.signatures(sources);
    let lines = Lines::of(sources, &found, now);
    let fields = coverage::fields(&found, &lines);
    found.concluded(sources, lines, fields)
}

const RUNS: &str = "policy lets this step run";
const PERMISSIONS: &str = "the permissions are those that this program derives";

impl Derived {
    /// Adds the list of programs to the profile that names it.
    pub fn programs(&mut self, sources: &ReviewSources, sandbox: &mut Profile) {
        let added = sandbox.add_listed(&sources.programs);
        self.note(
            "the list of programs is the signed list",
            added.map_or_else(
                |error| ReviewFinding::Fails(error.to_string()),
                |()| ReviewFinding::Holds,
            ),
        );
    }

    /// Returns the state before the first check.
    fn unchecked(sources: &ReviewSources) -> Self {
        Self {
            digest: AuthorizationDigest::of(&sources.payload),
            statement: None,
            payload: None,
            definition: None,
            files: Vec::new(),
            inputs: Vec::new(),
            places: ScriptPlaces::default(),
            rules: Vec::new(),
            passkeys: None,
            emergency: None,
            tokens: None,
            profile: None,
            signers: Vec::new(),
            strangers: Vec::new(),
            checks: Vec::new(),
            standing: StatementVerdict::Unsound,
            lines: Lines::default(),
        }
    }

    /// Decides from all checks whether the approver may sign, and adds the lines.
    fn concluded(
        mut self,
        sources: &ReviewSources,
        mut lines: Lines,
        fields: Vec<SignedField>,
    ) -> Self {
        self.covered(&fields);
        let fails = self
            .checks
            .iter()
            .any(|check| matches!(check.finding, ReviewFinding::Fails(_)));
        let open = self
            .checks
            .iter()
            .any(|check| matches!(check.finding, ReviewFinding::NotChecked(_)));
        self.standing = match (fails, sources.roster.trusted(), open) {
            (true, _, _) => StatementVerdict::Unsound,
            (false, None, _) => StatementVerdict::NoTrust,
            (false, Some(_), true) => StatementVerdict::Unsound,
            (false, Some(_), false) => StatementVerdict::Sound,
        };
        lines.conclude(sources, &self, fields);
        self.lines = lines;
        self
    }

    /// Returns true if the check with this name was made and passed.
    pub fn holds(&self, what: &str) -> bool {
        self.checks
            .iter()
            .any(|check| check.what == what && check.finding == ReviewFinding::Holds)
    }

    /// Checks that every signed field is shown or follows from shown fields.
    pub fn covered(&mut self, fields: &[SignedField]) {
        let nowhere = fields
            .iter()
            .filter(|field| field.why == FieldReason::Nowhere)
            .map(|field| &field.path);
        let nowhere = joined(nowhere, ", ");
        let open = self.definition.is_none()
            || fields
                .iter()
                .any(|field| matches!(field.why, FieldReason::Open(_)));
        let covered = if !nowhere.is_empty() {
            fails(format!(
                "no line shows the field {nowhere}, and no rule derives the field"
            ))
        } else if open {
            unknown("the result depends on the other checks")
        } else {
            Ok(())
        };
        self.keep(COVERED, covered);
    }

    /// Notes the finding of a check, and returns what it proved.
    fn keep<T>(&mut self, what: &'static str, checked: Result<T, ReviewFinding>) -> Option<T> {
        let (proved, finding) = match checked {
            Ok(proved) => (Some(proved), ReviewFinding::Holds),
            Err(finding) => (None, finding),
        };
        self.note(what, finding);
        proved
    }

    fn note(&mut self, what: &'static str, finding: ReviewFinding) {
        self.checks.push(ReviewCheck { what, finding });
    }

    /// Checks that the definition and its files have the signed digests.
    fn definition(&mut self, sources: &ReviewSources, signed: &Authorization) {
        const IS_SIGNED: &str = "the definition shown has the signed digest";
        let Some((definition, value)) = self.keep(IS_SIGNED, signed_definition(sources, signed))
        else {
            return;
        };
        let (files, finding) = step_files::check(&definition, &sources.contents);
        self.files = files;
        if let Some(finding) = finding {
            self.note(FILES, finding);
        }
        self.definition = Some((definition, value));
    }

    /// Compares the inputs, the parameters and the script of a run with the definition.
    fn filled_in(&mut self, sources: &ReviewSources, signed: &Authorization) {
        let Some((definition, value)) = self.definition.take() else {
            return;
        };
        let (inputs, finding) = run_inputs::check(signed, &sources.inputs);
        self.inputs = inputs;
        if let Some(finding) = finding {
            self.note(INPUTS, finding);
        }
        self.keep(
            "the parameters are complete and fit the schema of the step",
            parameters(&definition, signed),
        );
        let filled = step_template::rendered(&definition, &signed.params)
            .map(Cow::into_owned)
            .map_err(|error| format!("the template of the script can't be filled in: {error}"));
        self.keep(SCRIPT_DIGEST, rendered(filled.as_deref(), signed));
        // If the template can't be filled in, keep no definition, because the screen would show another script than the
        // run executes.
        self.definition = filled.ok().map(|source| {
            (
                StepDefinition {
                    source,
                    ..definition
                },
                value,
            )
        });
    }

    fn window(&mut self, signed: &Authorization, now: Timestamp) {
        let contradiction =
            if signed.issued_at > signed.not_before || signed.not_before >= signed.expires_at {
                Err("the times must be in the order issued_at, not_before, expires_at".to_owned())
            } else if signed.expires_at.unix() - signed.issued_at.unix() > MAX_WINDOW_S {
                Err(format!(
                    "the authorization would be valid for more than {} h",
                    MAX_WINDOW_S / 3600
                ))
            } else if signed.issued_at > now.plus(SKEW_S) {
                Err("the authorization was issued in the future: compare the clocks".to_owned())
            } else if now >= signed.expires_at {
                Err("the authorization has expired: propose the run again".to_owned())
            } else {
                Ok(())
            };
        self.keep(
            "the window of validity still allows the run",
            contradiction.map_err(ReviewFinding::Fails),
        );
    }

    /// Checks that the boundary can still run the statement. Returns the seal if a boundary's key in the roster signed it.
    fn sealed(&mut self, sources: &ReviewSources, signed: &Authorization) -> Option<Seal> {
        const SIGNED: &str = "the seal is signed by a key of this boundary in the roster";
        let gone = sources.gone.clone();
        self.note(
            "the boundary can still run this statement",
            gone.map_or(ReviewFinding::Holds, ReviewFinding::Fails),
        );
        let verified = self.keep(SIGNED, signed_seal(sources, &signed.boundary.name))?;
        let seal = verified.predicate().clone();
        let id = seal
            .boundary
            .id
            .unwrap_or_else(|| SealDigest::from_bytes(verified.digest()));
        let same = if seal.boundary.name != signed.boundary.name || id != signed.boundary.id {
            fails(format!(
                "the seal belongs to boundary {} {id}",
                seal.boundary.name
            ))
        } else if seal.epoch != signed.boundary.epoch {
            fails(
                "the epoch of the seal in force is not the epoch of this authorization, so this authorization is void",
            )
        } else {
            Ok(())
        };
        self.keep(SEALED, same);
        Some(seal)
    }

    /// Checks the roster, the policy, the permissions and the sandbox against the seal.
    fn context(&mut self, sources: &ReviewSources, signed: &Authorization, seal: Option<&Seal>) {
        const POLICY: &str = "the policy in force is the policy that this roster names";
        self.trust(sources, seal);
        let Some(policy) = self.keep(POLICY, policy_in_force(sources, seal)) else {
            for (check, what) in [(PERMISSIONS, "permissions"), (SANDBOX, "sandbox")] {
                let why = format!("there is no policy, so the {what} can't be derived");
                self.note(check, ReviewFinding::NotChecked(why));
            }
            return;
        };
        let definition = self.step();
        let known = lists_in_force(sources, seal).and_then(|lists| {
            let why = "there is no definition, so the permissions can't be derived";
            let definition = definition.ok_or_else(|| ReviewFinding::unknown(why))?;
            Ok((lists, definition.clone()))
        });
        let (lists, definition) = match known {
            Ok(known) => known,
            Err(finding) => {
                let why = "the definition or the built-in lists are missing, so the sandbox can't be derived";
                self.note(PERMISSIONS, finding);
                self.note(SANDBOX, ReviewFinding::unknown(why));
                return;
            }
        };
        let ruling = ruling::resolve(&policy, &lists, &signed.step.reference);
        let needs = required_permissions::needs(&ruling, &definition);
        if !signed.permissions.is_empty() {
            self.places = ScriptPlaces::of(&ruling, &definition);
        }
        // The boundary seals its lists without the signature of an approver, so approvers must also sign the
        // permissions that this program's own lists require.
        let own = if lists == *Builtins::current() {
            needs.clone()
        } else {
            let ruling = ruling::resolve(&policy, Builtins::current(), &signed.step.reference);
            required_permissions::needs(&ruling, &definition)
        };
        let asked = needs.permissions.clone().map_err(ReviewFinding::fails);
        if let Some(asked) = self.keep(RUNS, asked) {
            self.keep(
                PERMISSIONS,
                same_permissions(signed, &asked, own.permissions),
            );
        }
        self.approval_rules(signed, &ruling, &definition.approvals);
        let derived = configuration_in_force(sources, seal).and_then(|given| {
            profile_of_step(&ruling, &definition, &given).map_err(|errors| joined(&errors, "; "))
        });
        let same = derived.map_err(ReviewFinding::Fails).and_then(|profile| {
            let compared = without_list(&signed.sandbox, &profile);
            let difference = (profile != compared).then(|| differences(&profile, &compared));
            self.profile = Some(profile);
            if let Some(words) = difference {
                return fails(format!(
                    "the signed sandbox differs from the derived sandbox: {words}"
                ));
            }
            let (asked, listed) = (needs.programs.as_ref(), signed.sandbox.programs.as_ref());
            check_list(&ruling, &definition, asked, &signed.sandbox)
                .and_then(|()| check_programs(asked, listed))
                .map_err(ReviewFinding::fails)?;
            check_programs(own.programs.as_ref(), listed).map_err(|error| {
                ReviewFinding::fails(format!(
                    "with the built-in lists of this program instead of the lists of the boundary, {error}: use the \
                     same version of countersign on both sides"
                ))
            })
        });
        self.keep(SANDBOX, same);
    }

    /// Compares the roster that the person trusts with the roster that the seal names.
    fn trust(&mut self, sources: &ReviewSources, seal: Option<&Seal>) {
        let same = match (sources.roster.trusted(), seal) {
            (Some(trusted), Some(seal)) if trusted.digest() == seal.roster => Ok(()),
            (Some(trusted), Some(seal)) => fails(format!(
                "the seal names the roster {}, but you trust the roster {} (version {})",
                seal.roster,
                trusted.digest(),
                trusted.version()
            )),
            (Some(_), None) => unknown("there is no seal to compare with the roster"),
            (None, _) => unknown(
                "you trust no roster for this boundary, so all results below depend on statements of the boundary",
            ),
        };
        self.keep(TRUSTED, same);
    }

    fn signatures(&mut self, sources: &ReviewSources) {
        let Some(roster) = sources.roster.roster() else {
            return;
        };
        for signature in &sources.signatures {
            let verified = Signed::<Authorization>::from_parts(
                &sources.payload,
                std::slice::from_ref(signature),
                Base64::Lenient,
            )
            .map_err(|error| error.to_string())
            .and_then(|one| {
                let key = |keyid: &KeyId| roster.statement_approver(keyid).map(|(_, key)| key);
                let one = one.verify(key).map_err(|error| error.to_string())?;
                let counts =
                    |one: &VerifiedSignature| signing_program(&one.sig, self.passkeys).map(drop);
                one.signatures()
                    .iter()
                    .try_for_each(counts)
                    .map_err(|error| error.to_string())
            });
            match (verified, roster.statement_approver(&signature.keyid)) {
                (Ok(_), Some((approver, _))) => {
                    self.signers.push((approver.name.clone(), signature.keyid))
                }
                (Ok(_), None) => {}
                (Err(error), _) => self.strangers.push(error),
            }
        }
    }
}

fn fails<T>(why: impl Display) -> Result<T, ReviewFinding> {
    Err(ReviewFinding::fails(why))
}

fn unknown<T>(why: impl Display) -> Result<T, ReviewFinding> {
    Err(ReviewFinding::unknown(why))
}

/// Checks that the signed permissions are exactly the permissions that policy requires.
fn same_permissions(
    signed: &Authorization,
    asked: &[Permission],
    own: Result<Vec<Permission>, PolicyDenied>,
) -> Result<(), ReviewFinding> {
    let only = |these: &[Permission], others: &[Permission]| {
        let only = these.iter().filter(|one| !others.contains(one));
        joined(only.map(|one| format!("{:?}", one.what)), ", ")
    };
    let (lacking, surplus) = (
        only(asked, &signed.permissions),
        only(&signed.permissions, asked),
    );
    if !lacking.is_empty() {
        return fails(format!(
            "policy also asks for {lacking}, but this authorization does not contain this permission"
        ));
    }
    if !surplus.is_empty() {
        return fails(format!(
            "this authorization contains {surplus}, but policy does not ask for this permission"
        ));
    }
    let own = own.map_err(|denied| {
        ReviewFinding::fails(format!(
            "the built-in lists of this program deny the step: {denied}"
        ))
    })?;
    let more = only(&own, &signed.permissions);
    if more.is_empty() {
        return Ok(());
    }
    fails(format!(
        "the built-in lists of the boundary differ from the lists of this program, which would also ask for {more}: \
         use the same version of countersign on both sides"
    ))
}

/// Reads the definition of the step, if it has the signed digest.
fn signed_definition(
    sources: &ReviewSources,
    signed: &Authorization,
) -> Result<(StepDefinition, Value), ReviewFinding> {
    let Some(bytes) = &sources.definition else {
        return unknown("the definition could not be fetched");
    };
    let value = canonical::parse_canonical(bytes, MAX_DEFINITION_BYTES).map_err(invalid)?;
    let definition = json::typed::<StepDefinition>(&value).map_err(invalid)?;
    definition.check().map_err(invalid)?;
    let digest = StepDigest::of(bytes);
    if digest != signed.step.digest || definition.reference != signed.step.reference {
        return fails(format!(
            "the boundary gave another definition: {} {digest}",
            definition.reference
        ));
    }
    Ok((definition, value))
}

fn invalid(error: impl Display) -> ReviewFinding {
    ReviewFinding::fails(format!(
        "the boundary gave no valid step definition: {error}"
    ))
}

/// Returns the seal, if a key of the boundary in the roster signed it.
fn signed_seal(
    sources: &ReviewSources,
    name: &BoundaryName,
) -> Result<Verified<Seal>, ReviewFinding> {
    let roster = sources.roster.roster();
    let roster = roster.ok_or_else(|| ReviewFinding::unknown("there is no roster"))?;
    let envelope = sources.seal.as_ref();
    let envelope =
        envelope.ok_or_else(|| ReviewFinding::unknown("the seal could not be fetched"))?;
    let seal =
        Signed::<Seal>::from_envelope(envelope, Base64::Lenient).map_err(ReviewFinding::fails)?;
    if seal.signature_count() == 0 {
        return fails("the seal has no signature");
    }
    seal.verify_raw(|keyid| roster.boundary_key(name, keyid))
        .map_err(ReviewFinding::fails)
}

/// Returns the built-in lists of the boundary, if they have the digest in the seal.
fn lists_in_force(sources: &ReviewSources, seal: Option<&Seal>) -> Result<Builtins, ReviewFinding> {
    let (Some(bytes), Some(seal)) = (&sources.builtins, seal) else {
        return unknown("the built-in lists could not be fetched");
    };
    let digest = BlobDigest::of(bytes);
    if digest != seal.builtins {
        return fails(format!(
            "the boundary gave the built-in lists {digest}, but the seal names {}",
            seal.builtins
        ));
    }
    json::parse(bytes, bytes.len())
        .map_err(|error| error.to_string())
        .and_then(|value| Builtins::from_sealed(&value).map_err(|errors| joined(&errors, "; ")))
        .map_err(|error| {
            ReviewFinding::unknown(format!(
                "the built-in lists can't be used: {error}; review with the program version of the boundary"
            ))
        })
}

/// Reads the configuration of the boundary, if the seal names its digest.
fn configuration_in_force(
    sources: &ReviewSources,
    seal: Option<&Seal>,
) -> Result<PolicyProfile, String> {
    let (Some(bytes), Some(seal)) = (&sources.configuration, seal) else {
        return Err("the configuration could not be fetched".to_owned());
    };
    let digest = BlobDigest::of(bytes);
    if digest != seal.configuration {
        return Err(format!(
            "the boundary gave the configuration {digest}, but the seal names {}",
            seal.configuration
        ));
    }
    json::parse_as::<Configuration>(bytes, bytes.len())
        .map(|configuration| PolicyProfile::of(&configuration))
        .map_err(|error| format!("the configuration can't be read: {error}"))
}

/// Returns the policy, if the seal and the roster name its digest.
fn policy_in_force(sources: &ReviewSources, seal: Option<&Seal>) -> Result<Policy, ReviewFinding> {
    let (Some(bytes), Some(roster), Some(seal)) = (&sources.policy, sources.roster.roster(), seal)
    else {
        return unknown("policy, roster or seal could not be fetched");
    };
    let digest = PolicyDigest::of(bytes);
    if digest != seal.policy || digest != roster.policy() {
        return fails(format!(
            "the boundary gave the policy {digest}, but the seal names {} and the roster {}",
            seal.policy,
            roster.policy()
        ));
    }
    let value = json::parse(bytes, bytes.len()).map_err(ReviewFinding::fails)?;
    Policy::from_sealed(&value).map_err(|errors| ReviewFinding::fails(joined(&errors, "; ")))
}

#[cfg(test)]
mod tests;
