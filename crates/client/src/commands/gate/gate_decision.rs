//! Decides from a receipt whether a CI job may continue.
//!
//! The gate requires the exact boundary, step, definition and complete parameters. The run must have succeeded
//! recently, in a full sandbox. Every check of the verifier must be established. Each relaxation is a field or a
//! variant in [`GateRequirements`], and the user must name each relaxation. A requirement whose check could not be made
//! is not met.
//!
//! A receipt is evidence of one run. The gate accepts the same receipt any number of times until the run is older than
//! the maximum age. To bind a receipt to one commit or one build, require the commit or the build as a parameter.

use crate::value_words::span;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use documents::{
    Layer, MAX_PARAMS_BYTES, Outcome, SealDigest, Status, StepDigest, StepRef, Timestamp,
    canonical, joined, json, refused_parts, refused_words,
};
use verdict::{ApprovedFacts, BundleReport, CheckFinding, CheckName, Facts, MAY_BE_OPEN};
#[cfg(test)]
use verdict::{RosterTrust, VerifyOptions, verify};

/// Result of the gate.
#[derive(Debug, Serialize)]
pub struct GateReport {
    /// True if all requirements are met, so the gate opens.
    pub passed: bool,
    /// All requirements, in a stable order.
    pub requirements: Vec<Requirement>,
}

impl GateReport {
    /// Returns the unmet requirements.
    pub fn unmet(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements
            .iter()
            .filter(|requirement| requirement.finding == RequirementResult::No)
    }
}

/// Requirement of the gate, with its result.
#[derive(Debug, Serialize)]
pub struct Requirement {
    /// Name of the requirement: `verified`, `boundary`, `step`, `digest`, `parameters`, `grant`, `emergency`, `outcome`, `refused`, `sandbox`, `age`,
    /// `roster`, or the name of a check that the verifier left open. Stable.
    pub name: String,
    /// Result of the check.
    pub finding: RequirementResult,
    /// Reason for the result. The detail may contain text of the documents, so escape the detail before you show it.
    pub detail: String,
}

documents::words! {
    /// Result of one requirement.
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum RequirementResult {
        /// The requirement is met.
        Yes = "met",
        /// The requirement is not met, so the gate stays closed.
        No = "NOT MET",
        /// The user waived this requirement with an option that names it.
        Waived = "waived",
    }
}

/// Decides whether the gate opens. `report` must have been made with the same time `now`, so that the verification
/// refuses a receipt with a later time. The same verification must also have used the demanded number of witnesses.
pub fn decide_gate(
    report: &BundleReport,
    demands: &GateRequirements,
    now: Timestamp,
) -> GateReport {
    let mut found = Vec::new();
    let mut say = |name: &str, (finding, detail): Answer| {
        found.push(Requirement {
            name: name.to_owned(),
            finding,
            detail,
        });
    };
    say("verified", verified(report));
    for check in report
        .checks
        .iter()
        .filter(|check| check.finding == CheckFinding::NotChecked)
    {
        let name = check.name;
        // If a check was not made because another check failed, the failed check already closes the gate.
        if MAY_BE_OPEN.contains(&name) && report.verified {
            say(name.word(), left_open(report, demands, name, &check.detail));
        }
    }
    let facts = report.facts.as_deref();
    let approved = facts.and_then(|facts| facts.approved.as_ref());
    say("boundary", of(facts, |facts| boundary(facts, demands)));
    say("step", of(approved, |approved| step(approved, demands)));
    say("digest", of(approved, |approved| digest(approved, demands)));
    say(
        "parameters",
        of(approved, |approved| parameters(approved, demands)),
    );
    if let Some(grant) = approved.and_then(|approved| approved.grant.as_ref()) {
        let words = format!("approvers did not sign this run, but the {}", grant.words());
        let (taken, option) = match grant.token {
            Some(_) => (demands.by_token, "--allow-grant --allow-token-grant"),
            None => (demands.granted, "--allow-grant"),
        };
        say("grant", accepted(taken, &words, option));
    }
    if approved.is_some_and(|approved| approved.emergency) {
        let words = "other people approved the run than normally, because it was an emergency; a bundle does not show its reviews";
        say(
            "emergency",
            accepted(demands.emergency, words, "--allow-emergency"),
        );
    }
    say(
        "outcome",
        of(facts, |facts| outcome(&facts.outcome, demands)),
    );
    if !demands.refused {
        say("refused", of(facts, refused));
    }
    say("sandbox", of(facts, |facts| sandbox(facts, demands)));
    say("age", of(facts, |facts| age(facts, demands, now)));
    say("roster", of(facts, |facts| roster(report, facts, demands)));
    GateReport {
        passed: found
            .iter()
            .all(|requirement| requirement.finding != RequirementResult::No),
        requirements: found,
    }
}

type Answer = (RequirementResult, String);

fn met(detail: impl Into<String>) -> Answer {
    (RequirementResult::Yes, detail.into())
}

fn unmet(detail: impl Into<String>) -> Answer {
    (RequirementResult::No, detail.into())
}

fn waived(detail: impl Into<String>) -> Answer {
    (RequirementResult::Waived, detail.into())
}

/// Answers a requirement from verified facts only. Without verified facts, the requirement is not met.
fn of<T>(verified: Option<T>, ask: impl FnOnce(T) -> Answer) -> Answer {
    verified.map_or_else(
        || unmet("the answer is unknown, because the signatures were not verified"),
        ask,
    )
}

fn verified(report: &BundleReport) -> Answer {
    if report.verified {
        let established = report
            .checks
            .iter()
            .filter(|check| check.finding == CheckFinding::Established)
            .count();
        return met(format!(
            "{established} of {} checks established",
            report.checks.len()
        ));
    }
    let failed = report
        .failed()
        .map(|check| format!("{}: {}", check.name, check.detail));
    match joined(failed, "; ") {
        none if none.is_empty() => {
            unmet("a check that the verification requires could not be made")
        }
        failed => unmet(failed),
    }
}

/// Answers the requirement for a check that is *not checked* in the report. For `seal-in-force` the gate compares the
/// rosters itself. No bundle can answer `revocations`, so the gate advises an audit.
fn left_open(
    report: &BundleReport,
    demands: &GateRequirements,
    name: CheckName,
    why: &str,
) -> Answer {
    if demands.unchecked.contains(&name) {
        return waived(format!(
            "not checked: {why}; --allow-unchecked {name} accepts this"
        ));
    }
    if name == CheckName::Revocations {
        return met(
            "a bundle can't show this; run `countersign audit` to see whether a key, the token, the grant or the epoch of \
             the run was revoked before the run",
        );
    }
    let facts = report.facts.as_deref();
    // A bundle can't show whether a newer seal was in force at the time of the run. A seal names the roster and the
    // steps in force. The roster names the policy. The gate compares the roster with the newest trusted roster, and the
    // requirements name the digest of the step. A seal of an earlier roster is refused, because the earlier policy may
    // require fewer approvals.
    if name == CheckName::SealInForce
        && let (Some(facts), Some(newest)) = (facts, report.trust.newest.as_ref())
    {
        if facts.roster.digest == newest.digest {
            return met(format!(
                "the seal of the run names roster version {}, the newest known version, and the policy of this \
                 version; run `countersign audit` to see whether a later seal with the same roster and policy was in \
                 force at the run",
                newest.version
            ));
        }
        return unmet(format!(
            "the seal of the run names roster version {}, but version {} is known, and only the log can show which of \
             the two was in force at the run: run the step again, or give --allow-unchecked {name}",
            facts.roster.version, newest.version
        ));
    }
    // A witness may cosign a short time after the run. Therefore the message first advises the user to fetch the bundle
    // again.
    if name == CheckName::Witnesses
        && let Some(approved) = facts.and_then(|facts| facts.approved.as_ref())
    {
        return unmet(format!(
            "not checked: {why}. To wait for a witness and get the bundle again, run `countersign wait {} --witness 1 \
             --bundle FILE`. If no witness will cosign, give --allow-unchecked {name}",
            approved.receipt
        ));
    }
    unmet(format!(
        "not checked: {why}; to continue without this check, give --allow-unchecked {name}"
    ))
}

fn boundary(facts: &Facts, demands: &GateRequirements) -> Answer {
    let (name, id) = (&facts.boundary.name, facts.boundary.id);
    if id == demands.boundary {
        met(format!("{name} ({id})"))
    } else {
        unmet(format!(
            "the boundary is {name} ({id}), but {} is required: two boundaries can have the same name",
            demands.boundary
        ))
    }
}

fn step(approved: &ApprovedFacts, demands: &GateRequirements) -> Answer {
    if approved.step == demands.step {
        met(approved.step.to_string())
    } else {
        unmet(format!(
            "{} ran, but {} is required",
            approved.step, demands.step
        ))
    }
}

fn digest(approved: &ApprovedFacts, demands: &GateRequirements) -> Answer {
    match demands.digest {
        None => waived(format!(
            "--any-digest accepts any definition; the definition of the run was {}",
            approved.digest
        )),
        Some(digest) if digest == approved.digest => met(digest.to_string()),
        Some(digest) => unmet(format!(
            "the definition {} ran, but {digest} is required, so the runbook has changed: check which definition you \
             want, then correct --digest or run the step again",
            approved.digest
        )),
    }
}

fn parameters(approved: &ApprovedFacts, demands: &GateRequirements) -> Answer {
    let Some(demanded) = &demands.params else {
        return waived(format!(
            "--any-params accepts any parameters; the parameters of the run were {}",
            written(&approved.params)
        ));
    };
    let none = Map::new();
    let signed = approved.params.as_object().unwrap_or(&none);
    let mut other = Vec::new();
    for (name, given) in demanded {
        match signed.get(name) {
            Some(value) if given.is(value) => {}
            Some(value) => other.push(format!(
                "{name} was {}, but {} is required",
                written(value),
                given.written()
            )),
            None => other.push(format!(
                "{name} was not given, but {} is required",
                given.written()
            )),
        }
    }
    for (name, value) in signed
        .iter()
        .filter(|(name, _)| !demanded.contains_key(*name))
    {
        other.push(format!(
            "{name} was {}, but you gave no value for {name}: also give this parameter",
            written(value)
        ));
    }
    if other.is_empty() {
        met(written(&approved.params))
    } else {
        unmet(other.join("; "))
    }
}

/// Returns the answer for an unmet requirement: waived if the user gave the option that accepts this.
fn accepted(is_accepted: bool, words: &str, option: &str) -> Answer {
    if is_accepted {
        waived(format!("{words}; {option} accepts this"))
    } else {
        unmet(format!("{words}; to accept such runs, give {option}"))
    }
}

fn outcome(outcome: &Outcome, demands: &GateRequirements) -> Answer {
    let code = outcome
        .exit_code
        .map(|code| format!(", exit code {code}"))
        .unwrap_or_default();
    let words = format!("{}{code}", outcome.status);
    match (outcome.status, demands.warned) {
        (Status::Succeeded, _) => met(words),
        (Status::Warned, true) => waived(format!("{words}: accepted by --allow-warned")),
        (Status::Warned, false) => unmet(format!(
            "{words}: the run succeeded with a warning; to accept this, give --allow-warned"
        )),
        _ => unmet(format!("the run did not succeed: {words}")),
    }
}

fn refused(facts: &Facts) -> Answer {
    let programs = refused_words(&refused_parts(&facts.outcome, facts.programs.as_ref()));
    let hosts: String = facts
        .refused_hosts
        .iter()
        .map(|line| format!("; {line}"))
        .collect();
    match programs + &hosts {
        words if words.is_empty() => met("no list refused a program or a host"),
        words => unmet(format!("the run ended{words}")),
    }
}

fn sandbox(facts: &Facts, demands: &GateRequirements) -> Answer {
    let held = &facts.sandbox.layers;
    let enforced = format!("enforced: {}", crate::joined(held));
    match &demands.sandbox {
        SandboxRequirement::Layers(layers) => {
            let lacking: Vec<_> = layers
                .iter()
                .filter(|layer| !held.contains(layer))
                .copied()
                .collect();
            if lacking.is_empty() {
                met(enforced)
            } else {
                unmet(format!(
                    "{enforced}; required but not enforced: {}; to require less, give --min-sandbox",
                    crate::joined(&lacking)
                ))
            }
        }
        SandboxRequirement::Something if held.is_empty() => {
            unmet("no layer was enforced; to accept this, give --min-sandbox off")
        }
        SandboxRequirement::Something => waived(format!(
            "{enforced}; --min-sandbox best-effort accepts any layer"
        )),
        SandboxRequirement::Nothing => {
            waived(format!("{enforced}; --min-sandbox off requires no layer"))
        }
    }
}

/// Checks the age of the run. A boundary can state any end time, so the signed limits give the latest possible end. A
/// run starts within the signed window, when the nonce is spent. A run lasts at most as long as its signed time limit.
fn age(facts: &Facts, demands: &GateRequirements, now: Timestamp) -> Answer {
    let stated = facts.finished_at;
    let latest = facts
        .consumed_at
        .zip(facts.approved.as_ref())
        .map(|(spent, approved)| {
            spent
                .plus(i64::try_from(approved.wall_ms / 1000).unwrap_or(i64::MAX))
                .plus(AROUND_A_RUN_S)
        });
    let ended = latest.map_or(stated, |latest| latest.min(stated));
    let seconds = now.unix().saturating_sub(ended.unix());
    let ago = if seconds < 0 {
        "just now".to_owned()
    } else {
        format!("{} ago", span(seconds))
    };
    let words = if ended == stated {
        format!("the run ended at {ended} ({ago})")
    } else {
        format!(
            "the run ended at {ended} at the latest ({ago}), because of the signed window and time limit; the receipt \
             states {stated}"
        )
    };
    match demands.age {
        AgeLimit::Any => waived(format!("{words}; --max-age any accepts any age")),
        AgeLimit::Seconds(most) if seconds <= most => {
            met(format!("{words}; the boundary states this time"))
        }
        AgeLimit::Seconds(most) => unmet(format!(
            "{words}; the maximum age is {}: run the step again, or give --max-age",
            span(most)
        )),
    }
}

/// Maximum time in seconds for the start and the cleanup of a run, in addition to the run's own time.
const AROUND_A_RUN_S: i64 = 600;

fn roster(report: &BundleReport, facts: &Facts, demands: &GateRequirements) -> Answer {
    let words = format!(
        "{} version {} ({})",
        facts.roster.name, facts.roster.version, facts.roster.digest
    );
    if report.trust.guarded {
        met(words)
    } else if demands.unguarded {
        waived(format!(
            "{words}: this version needed no signature; --allow-unguarded accepts such a version"
        ))
    } else {
        unmet(format!(
            "{words} follows the trusted version without any signature (threshold 0): trust the newest version \
             itself, or give --allow-unguarded"
        ))
    }
}

#[cfg(test)]
#[path = "../../../../verdict/src/audit/tests/fixture.rs"]
#[allow(dead_code, reason = "the tests of the verifier use more of it")]
mod fixture;

/// Requirements for a receipt. Each weaker requirement has its own variant or field.
#[derive(Clone)]
pub struct GateRequirements {
    /// Id of the boundary. The name of a boundary is not enough, because another boundary can have the same name.
    pub boundary: SealDigest,
    /// Step that must have run.
    pub step: StepRef,
    /// Definition of the step. `None` accepts any definition that was registered under the name of the step.
    pub digest: Option<StepDigest>,
    /// Exact values of all parameters. The signed parameters contain the defaults of the step, so this object must
    /// contain the defaults too. `None` accepts any signed parameters.
    pub params: Option<BTreeMap<String, GivenParameter>>,
    /// True if the gate accepts exit code 2 (success with a warning) besides exit code 0.
    pub warned: bool,
    /// True if the gate accepts a run whose list refused a program although the exit code is 0.
    pub refused: bool,
    /// Layers that must have been active in the sandbox.
    pub sandbox: SandboxRequirement,
    /// Maximum age of the run.
    pub age: AgeLimit,
    /// Checks that may stay *not checked*.
    pub unchecked: BTreeSet<CheckName>,
    /// True if the gate accepts a run under a standing grant.
    pub granted: bool,
    /// True if the gate also accepts a run that a token started under a standing grant.
    pub by_token: bool,
    /// True if the gate accepts a run in an emergency.
    pub emergency: bool,
    /// True if the gate accepts a roster version that needed no signatures.
    pub unguarded: bool,
}

/// Value that the gate demands for a parameter.
#[derive(Clone)]
pub enum GivenParameter {
    /// Value from a JSON file, with exactly this type.
    Value(Value),
    /// Text from the command line. A signed string must be equal to this text. A signed value of another type must be
    /// equal to this text as JSON. The schema of the step decides which type the value can have.
    Text(String),
}

/// Layers that must have been active in the sandbox, besides the layers that the approvers required.
#[derive(Debug, Clone, PartialEq)]
pub enum SandboxRequirement {
    /// All these layers.
    Layers(Vec<Layer>),
    /// At least one layer of any kind.
    Something,
    /// No layer.
    Nothing,
}

/// Maximum age of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AgeLimit {
    /// At most this number of seconds.
    Seconds(i64),
    /// Any age.
    Any,
}

impl GivenParameter {
    pub fn is(&self, signed: &Value) -> bool {
        match (self, signed) {
            (Self::Value(value), signed) => value == signed,
            (Self::Text(text), Value::String(signed)) => text == signed,
            (Self::Text(text), Value::Array(_) | Value::Object(_)) => {
                json::parse(text.as_bytes(), MAX_PARAMS_BYTES * 4)
                    .is_ok_and(|value| value == *signed)
            }
            // A number from the command line matches only in its exact JSON form. Text with a space beside a number
            // is not a number, and `propose -p` also refuses such text.
            (Self::Text(text), signed) => *text == written(signed),
        }
    }

    pub fn written(&self) -> String {
        match self {
            Self::Value(value) => written(value),
            // The printer of the report escapes this text, so the text is not escaped here.
            Self::Text(text) if text.contains('"') => format!("'{text}'"),
            Self::Text(text) => format!("\"{text}\""),
        }
    }
}

pub fn written(value: &Value) -> String {
    String::from_utf8(canonical::to_canonical(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::commands::gate::gate_decision::GivenParameter;
    use documents::STRICT;
    use fixture::{FixtureStage, HistoryCase, read_by_another_version};

    const NOW: &str = "2026-11-20T10:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    fn options() -> VerifyOptions {
        VerifyOptions {
            at: Some(now()),
            witnesses: 0,
        }
    }

    /// Returns requirements that the fixture's unedited crossing meets.
    fn demands(report: &BundleReport) -> GateRequirements {
        let facts = report.facts.as_ref().expect("facts");
        let approved = facts.approved.as_ref().expect("approved");
        let params = approved.params.as_object().expect("an object");
        GateRequirements {
            boundary: facts.boundary.id,
            step: approved.step.clone(),
            digest: Some(approved.digest),
            params: Some(
                params
                    .iter()
                    .map(|(name, value)| (name.clone(), GivenParameter::Value(value.clone())))
                    .collect(),
            ),
            warned: false,
            refused: true,
            sandbox: SandboxRequirement::Layers(STRICT.to_vec()),
            age: AgeLimit::Seconds(24 * 3600),
            unchecked: BTreeSet::new(),
            granted: false,
            by_token: false,
            emergency: false,
            unguarded: false,
        }
    }

    fn unmet_of(report: &BundleReport, demands: &GateRequirements) -> Vec<String> {
        let gate = decide_gate(report, demands, now());
        let unmet: Vec<_> = gate
            .unmet()
            .map(|requirement| requirement.name.clone())
            .collect();
        assert_eq!(gate.passed, unmet.is_empty());
        unmet
    }

    /// Edits the crossing and returns its unmet requirements. The requirements are made from the unedited crossing.
    fn refused(stage: FixtureStage, edit: impl Fn(&mut Value) + 'static) -> Vec<String> {
        let good = HistoryCase::new().report(options());
        unmet_of(
            &HistoryCase::new().edit(stage, edit).report(options()),
            &demands(&good),
        )
    }

    #[test]
    fn a_receipt_cannot_claim_an_end_after_the_signed_window_and_time_limit() {
        // The nonce was spent at 09:40 and the run may last five minutes. The gate therefore does not accept a stated
        // end at 09:59.
        let late = |receipt: &mut Value| {
            receipt["predicate"]["started_at"] = json!("2026-11-20T09:58:59Z");
            receipt["predicate"]["finished_at"] = json!("2026-11-20T09:59:00Z");
        };
        let report = HistoryCase::new()
            .edit(FixtureStage::Receipt, late)
            .report(options());
        let with = |age: i64| {
            let demands = GateRequirements {
                age: AgeLimit::Seconds(age),
                ..demands(&report)
            };
            let gate = decide_gate(&report, &demands, now());
            let age = gate
                .requirements
                .iter()
                .find(|requirement| requirement.name == "age")
                .expect("the age");
            (gate.passed, age.detail.clone())
        };
        let (passed, detail) = with(5 * 60);
        assert!(
            passed && detail.contains("2026-11-20T09:55:00Z at the latest"),
            "{detail}"
        );
        let (passed, detail) = with(5 * 60 - 1);
        assert!(
            !passed && detail.contains("the receipt states 2026-11-20T09:59:00Z"),
            "{detail}"
        );
    }

    #[test]
    fn a_run_that_did_not_succeed_is_refused() {
        let outcome = |value: Value| {
            refused(FixtureStage::Receipt, move |receipt| {
                receipt["predicate"]["outcome"] = value.clone()
            })
        };
        assert_eq!(
            outcome(json!({"status": "failed", "exit_code": 3})),
            ["outcome"]
        );
        assert_eq!(
            outcome(json!({"status": "warned", "exit_code": 2})),
            ["outcome"]
        );
        assert_eq!(outcome(json!({"status": "timed_out"})), ["outcome"]);
        assert_eq!(
            outcome(json!({"status": "not_started"})),
            ["sandbox", "outcome"],
            "what it held was not checked"
        );
        let warned = |receipt: &mut Value| {
            receipt["predicate"]["outcome"] = json!({"status": "warned", "exit_code": 2});
        };
        let report = HistoryCase::new()
            .edit(FixtureStage::Receipt, warned)
            .report(options());
        let demands = GateRequirements {
            warned: true,
            ..demands(&report)
        };
        assert_eq!(unmet_of(&report, &demands), [""; 0]);
    }

    #[test]
    fn the_gate_refuses_a_check_that_was_not_made_unless_the_user_allows_it_by_name() {
        let report = read_by_another_version().report(options());
        assert!(
            report.verified && report.finding(CheckName::Permissions) == CheckFinding::NotChecked
        );
        let asked = demands(&report);
        assert_eq!(unmet_of(&report, &asked), ["permissions"]);
        let waived = GateRequirements {
            unchecked: BTreeSet::from([CheckName::Permissions]),
            ..asked
        };
        assert_eq!(unmet_of(&report, &waived), [""; 0]);
        let key = documents::SecretKey::from_seed([9; 32]).public();
        let vkey = documents::WitnessKey::new("w.example", key).vkey();
        let edit = move |roster: &mut Value| {
            roster["predicate"]["witnesses"] =
                json!({"w.example": {"vkey": vkey, "url": "https://w.example"}});
        };
        let report = HistoryCase::new()
            .edit(FixtureStage::Roster, edit)
            .report(options());
        assert_eq!(unmet_of(&report, &demands(&report)), ["witnesses"]);
        let gate = decide_gate(&report, &demands(&report), now());
        let receipt = report
            .facts
            .as_ref()
            .expect("facts")
            .approved
            .as_ref()
            .expect("approved")
            .receipt
            .to_string();
        let way = format!("`countersign wait {receipt} --witness 1 --bundle FILE`");
        assert!(
            gate.unmet()
                .all(|witnesses| witnesses.detail.contains(&way)),
            "{gate:#?}"
        );
    }

    #[test]
    fn the_gate_answers_the_check_of_revocations_itself_and_advises_an_audit() {
        let report = HistoryCase::new().report(options());
        let gate = decide_gate(&report, &demands(&report), now());
        let answer = gate
            .requirements
            .iter()
            .find(|requirement| requirement.name == "revocations")
            .expect("answered");
        assert!(
            gate.passed && answer.finding == RequirementResult::Yes,
            "{gate:#?}"
        );
        assert!(
            answer.detail.contains("`countersign audit`"),
            "{}",
            answer.detail
        );
    }

    #[test]
    fn an_old_key_or_an_old_roster_closes_the_gate() {
        let case = HistoryCase::new();
        let good = case.report(options());
        let newer = case.next_roster(|roster| {
            roster["predicate"]["approvers"]
                .as_object_mut()
                .expect("approvers")
                .remove("alice");
        });
        let report = case.report_with(&RosterTrust::Roster(newer), options());
        assert!(report.verified, "{:#?}", report.checks);
        assert_eq!(
            unmet_of(&report, &demands(&good)),
            ["keys-still-rostered", "seal-in-force"]
        );
        // The newer roster version contains the same keys, but may name a stricter policy.
        let report = case.report_with(&RosterTrust::Roster(case.next_roster(|_| {})), options());
        assert_eq!(unmet_of(&report, &demands(&good)), ["seal-in-force"]);
        let waived = GateRequirements {
            unchecked: BTreeSet::from([CheckName::SealInForce]),
            ..demands(&good)
        };
        assert_eq!(unmet_of(&report, &waived), [""; 0]);
    }

    #[test]
    fn a_sandbox_with_fewer_layers_closes_the_gate() {
        let good = demands(&HistoryCase::new().report(options()));
        let report = |held: Value| {
            let signed = held.clone();
            HistoryCase::new()
                .edit(FixtureStage::Authorization, move |signed_by| {
                    signed_by["predicate"]["sandbox"]["require"] = signed.clone();
                })
                .edit(FixtureStage::Receipt, move |receipt| {
                    receipt["predicate"]["sandbox"]["layers"] = held.clone();
                    receipt["predicate"]["sandbox"]["missing"] = json!([]);
                })
                .report(options())
        };
        let (some, none) = (
            report(json!(["capabilities", "landlock"])),
            report(json!([])),
        );
        assert!(some.verified && none.verified, "{:#?}", some.checks);
        let with = |report: &BundleReport, sandbox: SandboxRequirement| {
            unmet_of(
                report,
                &GateRequirements {
                    sandbox,
                    ..good.clone()
                },
            )
        };
        assert_eq!(with(&some, good.sandbox.clone()), ["sandbox"]);
        assert_eq!(
            with(&some, SandboxRequirement::Layers(vec![Layer::Landlock])),
            [""; 0]
        );
        assert_eq!(with(&some, SandboxRequirement::Something), [""; 0]);
        assert_eq!(with(&none, SandboxRequirement::Something), ["sandbox"]);
        assert_eq!(with(&none, SandboxRequirement::Nothing), [""; 0]);
    }

    #[test]
    fn an_unguarded_roster_closes_the_gate_unless_the_roster_itself_is_trusted() {
        let alone = HistoryCase::new().edit(FixtureStage::Roster, |roster| {
            roster["predicate"]["threshold"] = json!(0)
        });
        let report = alone.report(options());
        assert_eq!(
            unmet_of(&report, &demands(&report)),
            [""; 0],
            "it was trusted by hand"
        );
        let mut later = report.clone();
        later.trust.guarded = false;
        assert_eq!(unmet_of(&later, &demands(&report)), ["roster"]);
        assert_eq!(
            unmet_of(
                &later,
                &GateRequirements {
                    unguarded: true,
                    ..demands(&report)
                }
            ),
            [""; 0]
        );
    }
}

#[cfg(test)]
mod gate_requirements_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_required_number_matches_only_in_its_json_spelling() {
        let is = |text: &str, signed: Value| GivenParameter::Text(text.to_owned()).is(&signed);
        assert!(
            is("0", Value::from(0)) && is("-3", Value::from(-3)) && is("true", Value::from(true))
        );
        for odd in ["0 ", " 0", "\t0", "0\n", "00", "-0", "+0", "0.0", "0e0", ""] {
            assert!(!is(odd, Value::from(0)), "{odd:?}");
        }
        assert!(!is("true ", Value::from(true)));
        assert!(is("3", json!("3")) && !is("3 4", json!(3)));
        assert!(is("[1, 2]", json!([1, 2])) && is(" ", Value::from(" ")));
        assert!(
            !GivenParameter::Value(json!("3")).is(&json!(3))
                && !GivenParameter::Value(json!(3)).is(&json!("3"))
        );
    }
}
