//! Checks an authorization before it is shown to an approver.
//!
//! This module trusts only bytes whose digest is in the payload, in the signed seal, or in the roster that the approver
//! trusts.

mod approval_rules;
mod comparisons;
pub mod granted;

use std::borrow::Cow;

use crate::{
    COVERED, Derived, FieldReason, Lines, ReviewFinding, ReviewSources, SANDBOX, SCRIPT_DIGEST,
    SEALED, SignedField, StatementVerdict, TRUSTED,
    review::{
        coverage,
        derive::comparisons::{configured, differences, parameters, rendered},
        derived::ReviewCheck,
        run_inputs::{self, INPUTS},
        script_places::ScriptPlaces,
        step_files::{self, FILES},
    },
};
use documents::{
    Authorization, AuthorizationDigest, Base64, BlobDigest, KeyId, MAX_DEFINITION_BYTES,
    MAX_WINDOW_S, Permission, PolicyDigest, SKEW_S, Seal, SealDigest, Signed, Statement,
    StepDefinition, StepDigest, Timestamp, VerifiedSignature, canonical, joined, json,
};
use reading::{
    Builtins, Policy, PolicyDenied, check_list, check_programs, profile_of_step,
    required_permissions, ruling, step_template, without_list, words_of,
};
use verdict::signing_program;

/// Makes all checks that the sources permit.
pub fn derive(sources: &ReviewSources, now: Timestamp) -> Derived {
    let mut found = Derived::unchecked(sources);
    let statement = match Statement::<Authorization>::from_payload(&sources.payload) {
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
    pub(super) fn covered(&mut self, fields: &[SignedField]) {
        let nowhere = fields
            .iter()
            .filter(|field| field.why == FieldReason::Nowhere)
            .map(|field| field.path.as_str());
        let nowhere: Vec<_> = nowhere.collect();
        let open = self.definition.is_none()
            || fields
                .iter()
                .any(|field| matches!(field.why, FieldReason::Open(_)));
        let finding = if !nowhere.is_empty() {
            ReviewFinding::Fails(format!(
                "no line shows the field {}, and no rule derives the field",
                nowhere.join(", ")
            ))
        } else if open {
            ReviewFinding::NotChecked("the result depends on the other checks".to_owned())
        } else {
            ReviewFinding::Holds
        };
        self.note(COVERED, finding);
    }

    fn note(&mut self, what: &'static str, finding: ReviewFinding) {
        self.checks.push(ReviewCheck { what, finding });
    }

    /// Checks that the definition and its files have the signed digests.
    fn definition(&mut self, sources: &ReviewSources, signed: &Authorization) {
        const IS_SIGNED: &str = "the definition shown has the signed digest";
        let Some(bytes) = &sources.definition else {
            self.note(
                IS_SIGNED,
                ReviewFinding::NotChecked("the definition could not be fetched".to_owned()),
            );
            return;
        };
        let read = match canonical::parse_canonical(bytes, MAX_DEFINITION_BYTES) {
            Ok(value) => json::typed::<StepDefinition>(&value)
                .map_err(|error| error.to_string())
                .and_then(|definition| {
                    definition
                        .check()
                        .map(|()| definition)
                        .map_err(|error| error.to_string())
                })
                .map(|definition| (definition, value)),
            Err(error) => Err(error.to_string()),
        };
        let (definition, value) = match read {
            Ok(read) => read,
            Err(error) => {
                self.note(
                    IS_SIGNED,
                    ReviewFinding::Fails(format!(
                        "the boundary gave no valid step definition: {error}"
                    )),
                );
                return;
            }
        };
        let digest = StepDigest::of(bytes);
        if digest != signed.step.digest || definition.reference != signed.step.reference {
            self.note(
                IS_SIGNED,
                ReviewFinding::Fails(format!(
                    "the boundary gave another definition: {} {digest}",
                    definition.reference
                )),
            );
            return;
        }
        self.note(IS_SIGNED, ReviewFinding::Holds);
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
        self.note(
            "the parameters are complete and fit the schema of the step",
            parameters(&definition, signed),
        );
        let filled = step_template::rendered(&definition, &signed.params)
            .map(Cow::into_owned)
            .map_err(|error| format!("the template of the script can't be filled in: {error}"));
        self.note(SCRIPT_DIGEST, rendered(filled.as_deref(), signed));
        // Without its script, the definition would show another script than the run executes.
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
                Some("the times must be in the order issued_at, not_before, expires_at".to_owned())
            } else if signed.expires_at.unix() - signed.issued_at.unix() > MAX_WINDOW_S {
                Some(format!(
                    "the authorization would be valid for more than {} h",
                    MAX_WINDOW_S / 3600
                ))
            } else if signed.issued_at > now.plus(SKEW_S) {
                Some("the authorization was issued in the future: compare the clocks".to_owned())
            } else if now >= signed.expires_at {
                Some("the authorization has expired: propose the run again".to_owned())
            } else {
                None
            };
        self.note(
            "the window of validity still allows the run",
            contradiction.map_or(ReviewFinding::Holds, ReviewFinding::Fails),
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
        let name = &signed.boundary.name;
        let Some(roster) = sources.roster.roster() else {
            self.note(
                SIGNED,
                ReviewFinding::NotChecked("there is no roster".to_owned()),
            );
            return None;
        };
        let Some(envelope) = &sources.seal else {
            self.note(
                SIGNED,
                ReviewFinding::NotChecked("the seal could not be fetched".to_owned()),
            );
            return None;
        };
        let verified = Signed::<Seal>::from_envelope(envelope, Base64::Lenient)
            .map_err(|error| error.to_string())
            .and_then(|seal| {
                if seal.signature_count() == 0 {
                    return Err("the seal has no signature".to_owned());
                }
                seal.verify_raw(|keyid| roster.boundary_key(name, keyid))
                    .map_err(|error| error.to_string())
            });
        let verified = match verified {
            Ok(verified) => verified,
            Err(error) => {
                self.note(SIGNED, ReviewFinding::Fails(error));
                return None;
            }
        };
        self.note(SIGNED, ReviewFinding::Holds);
        let seal = verified.predicate().clone();
        let id = seal
            .boundary
            .id
            .unwrap_or_else(|| SealDigest::from_bytes(verified.digest()));
        let finding = if seal.boundary.name != *name || id != signed.boundary.id {
            ReviewFinding::Fails(format!(
                "the seal belongs to boundary {} {id}",
                seal.boundary.name
            ))
        } else if seal.epoch != signed.boundary.epoch {
            ReviewFinding::Fails(
                "the epoch of the seal in force is not the epoch of this authorization, so this authorization is void"
                    .to_owned(),
            )
        } else {
            ReviewFinding::Holds
        };
        self.note(SEALED, finding);
        Some(seal)
    }

    /// Checks the roster, the policy, the permissions and the sandbox against the seal.
    fn context(&mut self, sources: &ReviewSources, signed: &Authorization, seal: Option<&Seal>) {
        const POLICY: &str = "the policy in force is the policy that this roster names";
        let unknown = |why: &str| ReviewFinding::NotChecked(why.to_owned());
        self.trust(sources, seal);
        let policy = match policy_in_force(sources, seal) {
            Ok(policy) => policy,
            Err(finding) => {
                self.note(POLICY, finding);
                self.note(
                    PERMISSIONS,
                    unknown("there is no policy, so the permissions can't be derived"),
                );
                self.note(
                    SANDBOX,
                    unknown("there is no policy, so the sandbox can't be derived"),
                );
                return;
            }
        };
        self.note(POLICY, ReviewFinding::Holds);
        let lists = match (&sources.builtins, seal) {
            (Some(bytes), Some(seal)) if BlobDigest::of(bytes) == seal.builtins => json::parse(bytes, bytes.len())
                .map_err(|error| error.to_string())
                .and_then(|value| Builtins::from_sealed(&value).map_err(|errors| joined(&errors, "; ")))
                .map_err(|error| {
                    unknown(&format!(
                        "the built-in lists can't be used: {error}; review with the program version of the boundary"
                    ))
                }),
            (Some(bytes), Some(seal)) => {
                let digest = BlobDigest::of(bytes);
                Err(ReviewFinding::Fails(format!(
                    "the boundary gave the built-in lists {digest}, but the seal names {}",
                    seal.builtins
                )))
            }
            _ => Err(unknown("the built-in lists could not be fetched")),
        };
        let definition = self
            .definition
            .as_ref()
            .map(|(definition, _)| definition.clone());
        let (lists, definition) = match (lists, definition) {
            (Ok(lists), Some(definition)) => (lists, definition),
            (lists, _) => {
                self.note(
                    PERMISSIONS,
                    lists.err().unwrap_or_else(|| {
                        unknown("there is no definition, so the permissions can't be derived")
                    }),
                );
                self.note(
                    SANDBOX,
                    unknown("the definition or the built-in lists are missing, so the sandbox can't be derived"),
                );
                return;
            }
        };
        let ruling = ruling::resolve(&policy, &lists, &signed.step.reference);
        let needs = required_permissions::needs(&ruling, &definition);
        if !signed.permissions.is_empty() {
            self.places = ScriptPlaces::of(&ruling, &definition);
        }
        let asked = needs.permissions.clone();
        // The boundary seals its lists without the signature of an approver, so approvers must also sign the
        // permissions that this program's own lists require.
        let own = if lists == *Builtins::current() {
            needs.clone()
        } else {
            let ruling = ruling::resolve(&policy, Builtins::current(), &signed.step.reference);
            required_permissions::needs(&ruling, &definition)
        };
        self.permissions(signed, asked, own.permissions);
        let definition = &definition;
        self.approval_rules(signed, &ruling, &definition.approvals);
        let given = match (&sources.configuration, seal) {
            (Some(bytes), Some(seal)) if BlobDigest::of(bytes) == seal.configuration => {
                configured(bytes)
            }
            (Some(bytes), Some(seal)) => Err(format!(
                "the boundary gave the configuration {}, but the seal names {}",
                BlobDigest::of(bytes),
                seal.configuration
            )),
            _ => Err("the configuration could not be fetched".to_owned()),
        };
        let derived = given.and_then(|given| {
            profile_of_step(&ruling, definition, &given)
                .map_err(|errors| words_of(&errors, definition.reference.path()))
        });
        let finding = match derived {
            Ok(profile) => {
                let compared = without_list(&signed.sandbox, &profile);
                let finding = if profile == compared {
                    let listed = signed.sandbox.programs.as_ref();
                    let by_rules = check_list(
                        &ruling,
                        definition,
                        needs.programs.as_ref(),
                        &signed.sandbox,
                    );
                    match (
                        by_rules.and_then(|()| check_programs(needs.programs.as_ref(), listed)),
                        check_programs(own.programs.as_ref(), listed),
                    ) {
                        (Ok(()), Ok(())) => ReviewFinding::Holds,
                        (Err(error), _) => ReviewFinding::Fails(error.to_string()),
                        (Ok(()), Err(error)) => ReviewFinding::Fails(format!(
                            "with the built-in lists of this program instead of the lists of the boundary, {error}: use the \
                             same version of countersign on both sides"
                        )),
                    }
                } else {
                    ReviewFinding::Fails(format!(
                        "the signed sandbox differs from the derived sandbox: {}",
                        differences(&profile, &compared)
                    ))
                };
                self.profile = Some(profile);
                finding
            }
            Err(error) => ReviewFinding::Fails(error),
        };
        self.note(SANDBOX, finding);
    }

    /// Compares the roster that the person trusts with the roster that the seal names.
    fn trust(&mut self, sources: &ReviewSources, seal: Option<&Seal>) {
        let unknown = |why: &str| ReviewFinding::NotChecked(why.to_owned());
        self.note(
            TRUSTED,
            match (sources.roster.trusted(), seal) {
                (Some(trusted), Some(seal)) if trusted.digest() == seal.roster => ReviewFinding::Holds,
                (Some(trusted), Some(seal)) => ReviewFinding::Fails(format!(
                    "the seal names the roster {}, but you trust the roster {} (version {})",
                    seal.roster,
                    trusted.digest(),
                    trusted.version()
                )),
                (Some(_), None) => unknown("there is no seal to compare with the roster"),
                (None, _) => unknown(
                    "you trust no roster for this boundary, so all results below depend on statements of the boundary",
                ),
            },
        );
    }

    /// Checks that policy lets the step run, and that the signed permissions are exactly the permissions that policy
    /// requires.
    fn permissions(
        &mut self,
        signed: &Authorization,
        asked: Result<Vec<Permission>, PolicyDenied>,
        own: Result<Vec<Permission>, PolicyDenied>,
    ) {
        let named = |permissions: &[&Permission]| {
            permissions
                .iter()
                .map(|permission| format!("{:?}", permission.what))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(denied) => {
                self.note(RUNS, ReviewFinding::Fails(denied.to_string()));
                return;
            }
        };
        self.note(RUNS, ReviewFinding::Holds);
        let lacking: Vec<_> = asked
            .iter()
            .filter(|one| !signed.permissions.contains(one))
            .collect();
        let surplus: Vec<_> = signed
            .permissions
            .iter()
            .filter(|one| !asked.contains(one))
            .collect();
        let finding = if !lacking.is_empty() {
            ReviewFinding::Fails(format!(
                "policy also asks for {}, but this authorization does not contain this permission",
                named(&lacking)
            ))
        } else if !surplus.is_empty() {
            ReviewFinding::Fails(format!(
                "this authorization contains {}, but policy does not ask for this permission",
                named(&surplus)
            ))
        } else {
            match own {
                Ok(own) => {
                    let more: Vec<_> = own
                        .iter()
                        .filter(|one| !signed.permissions.contains(one))
                        .collect();
                    if more.is_empty() {
                        ReviewFinding::Holds
                    } else {
                        ReviewFinding::Fails(format!(
                            "the built-in lists of the boundary differ from the lists of this program, which would \
                             also ask for {}: use the same version of countersign on both sides",
                            named(&more)
                        ))
                    }
                }
                Err(denied) => ReviewFinding::Fails(format!(
                    "the built-in lists of this program deny the step: {denied}"
                )),
            }
        };
        self.note(PERMISSIONS, finding);
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

/// Reads the policy that both the seal and the roster name.
fn policy_in_force(sources: &ReviewSources, seal: Option<&Seal>) -> Result<Policy, ReviewFinding> {
    match (&sources.policy, sources.roster.roster(), seal) {
        (Some(bytes), Some(roster), Some(seal)) => {
            let digest = PolicyDigest::of(bytes);
            if digest != seal.policy || digest != roster.policy() {
                Err(ReviewFinding::Fails(format!(
                    "the boundary gave the policy {digest}, but the seal names {} and the roster {}",
                    seal.policy,
                    roster.policy()
                )))
            } else {
                json::parse(bytes, bytes.len())
                    .map_err(|error| error.to_string())
                    .and_then(|value| {
                        Policy::from_sealed(&value).map_err(|errors| joined(&errors, "; "))
                    })
                    .map_err(ReviewFinding::Fails)
            }
        }
        _ => Err(ReviewFinding::NotChecked(
            "policy, roster or seal could not be fetched".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests;
