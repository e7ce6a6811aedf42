//! The gate: may something go on because of this receipt?
//!
//! Everything is required that can be: the very boundary, step, definition and whole parameter object, a run that
//! succeeded in a full sandbox, not long ago, and every check of the verifier. What is to be asked less is spelt, one by
//! one, in [`Demands`]. What the verifier could not check counts as a no.
//!
//! A receipt is evidence of one run, not a ticket: it passes again and again while it is young. Whoever wants it to speak
//! of one commit or one build demands that as a parameter.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::audit::bundle::MAY_BE_OPEN;
use crate::audit::report::{ApprovedFacts, BundleReport, CheckName, Facts, Finding};
use crate::crypto::canonical;
use crate::crypto::digest::{SealDigest, StepDigest};
use crate::crypto::json;
use crate::record::authorization::MAX_PARAMS_BYTES;
use crate::record::ident::StepRef;
use crate::record::profile::Layer;
use crate::record::receipt::{Outcome, Status};
use crate::record::validity::Timestamp;

/// What is required of a receipt. The variants that ask less are named for it.
#[derive(Debug, Clone)]
pub struct Demands {
    /// The boundary's id: its name may be anybody's.
    pub boundary: SealDigest,
    /// The step.
    pub step: StepRef,
    /// Its definition.
    pub digest: WhichDigest,
    /// Its parameters.
    pub params: WhichParams,
    /// The outcomes that will do.
    pub outcome: WhichOutcome,
    /// The sandbox that must have been held.
    pub sandbox: LeastSandbox,
    /// How long ago the run may have ended.
    pub age: MostAge,
    /// Checks that may be left open.
    pub unchecked: BTreeSet<CheckName>,
    /// Whether a roster that nobody had to sign may have decided.
    pub unguarded: bool,
}

/// Which definitions of the step will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichDigest {
    /// This one.
    Exactly(StepDigest),
    /// Whatever was registered under that name.
    Any,
}

/// Which parameters will do.
#[derive(Debug, Clone, PartialEq)]
pub enum WhichParams {
    /// This whole object: nothing less, nothing more. Defaults of the step stand in what was signed, so here too.
    Exactly(BTreeMap<String, Given>),
    /// Whatever was signed.
    Any,
}

/// A demanded value.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// A value of a JSON file, of just this type.
    Value(Value),
    /// Text of the command line: a string with this text, or a number, truth value, array or object that is so written
    /// in JSON. The step's schema, which is part of its digest, decides which of them the value can be.
    Text(String),
}

/// Which outcomes will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichOutcome {
    /// Exit code 0.
    Succeeded,
    /// Exit code 2 as well: success with a warning.
    SucceededOrWarned,
}

/// What the sandbox must have held, besides what the approvers required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeastSandbox {
    /// All these layers.
    Layers(Vec<Layer>),
    /// One layer at least, whichever.
    Something,
    /// Nothing.
    Nothing,
}

/// How long ago the run may have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MostAge {
    /// At most so many seconds.
    Seconds(i64),
    /// However long.
    Any,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GateReport {
    /// Whether it is open: no requirement is unmet.
    pub passed: bool,
    /// Every requirement, in a stable order.
    pub requirements: Vec<Requirement>,
}

impl GateReport {
    /// The requirements that are not met.
    pub fn unmet(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter().filter(|requirement| requirement.finding == Met::No)
    }
}

/// One requirement and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Requirement {
    /// `verified`, `boundary`, `step`, `digest`, `parameters`, `outcome`, `sandbox`, `age`, `roster`; or the name of a
    /// check that the verifier left open. Stable.
    pub name: String,
    /// How it ended.
    pub finding: Met,
    /// Why, in words. It may hold text of the documents: escape it before showing it.
    pub detail: String,
}

/// How a requirement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Met {
    /// It is met.
    Yes,
    /// It is not met, and the gate stays shut.
    No,
    /// It was not asked for, by name.
    Waived,
}

impl Met {
    /// The words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Yes => "met",
            Self::No => "NOT MET",
            Self::Waived => "waived",
        }
    }
}

/// The checks that may be left open by name: those that a bundle alone may not settle.
#[must_use]
pub const fn may_be_unchecked() -> &'static [CheckName] {
    &MAY_BE_OPEN
}

/// Decides. `report` must have been made with the same `now`, so that receipts of the future are refused in it, and with
/// as many witnesses as are demanded.
#[must_use]
pub fn decide(report: &BundleReport, demands: &Demands, now: Timestamp) -> GateReport {
    let mut found = Vec::new();
    let mut say = |name: &str, (finding, detail): Answer| {
        found.push(Requirement { name: name.to_owned(), finding, detail });
    };
    say("verified", verified(report));
    for check in report.checks.iter().filter(|check| check.finding == Finding::NotChecked) {
        let name = check.name;
        // A check that waits for a failed one has no reason of its own.
        if MAY_BE_OPEN.contains(&name) && report.verified {
            say(name.word(), left_open(report, demands, name, &check.detail));
        }
    }
    let facts = report.facts.as_deref();
    let approved = facts.and_then(|facts| facts.approved.as_ref());
    say("boundary", of(facts, |facts| boundary(facts, demands)));
    say("step", of(approved, |approved| step(approved, demands)));
    say("digest", of(approved, |approved| digest(approved, demands)));
    say("parameters", of(approved, |approved| parameters(approved, demands)));
    say("outcome", of(facts, |facts| outcome(&facts.outcome, demands)));
    say("sandbox", of(facts, |facts| sandbox(facts, demands)));
    say("age", of(facts, |facts| age(facts, demands, now)));
    say("roster", of(facts, |facts| roster(report, facts, demands)));
    GateReport { passed: found.iter().all(|requirement| requirement.finding != Met::No), requirements: found }
}

type Answer = (Met, String);

fn met(detail: impl Into<String>) -> Answer {
    (Met::Yes, detail.into())
}

fn unmet(detail: impl Into<String>) -> Answer {
    (Met::No, detail.into())
}

fn waived(detail: impl Into<String>) -> Answer {
    (Met::Waived, detail.into())
}

/// What was not verified is not looked at: nothing may be built on it.
fn of<T>(verified: Option<T>, ask: impl FnOnce(T) -> Answer) -> Answer {
    verified.map_or_else(|| unmet("not known, since the signatures on it were not verified"), ask)
}

fn verified(report: &BundleReport) -> Answer {
    if report.verified {
        let established = report.checks.iter().filter(|check| check.finding == Finding::Established).count();
        return met(format!("{established} of {} checks established", report.checks.len()));
    }
    let failed: Vec<_> = report.failed().map(|check| format!("{}: {}", check.name, check.detail)).collect();
    if failed.is_empty() { unmet("a needed check could not be made") } else { unmet(failed.join("; ")) }
}

/// A check that the verifier left open. Of one thing the gate knows more: what it trusts and demands itself.
fn left_open(report: &BundleReport, demands: &Demands, name: CheckName, why: &str) -> Answer {
    if demands.unchecked.contains(&name) {
        return waived(format!("not checked: {why}; left open by --allow-unchecked {name}"));
    }
    let facts = report.facts.as_deref();
    // No bundle can tell whether another seal came between. What a seal decides is the roster, with the policy that the
    // roster names, and the steps: the roster is known to be the newest that is trusted, and the step is demanded by
    // its digest. A seal of an earlier roster is another matter: it may ask for less.
    if name == CheckName::SealInForce
        && let (Some(facts), Some(newest)) = (facts, report.trust.newest.as_ref())
    {
        if facts.roster.digest == newest.digest {
            return met(format!(
                "sealed under roster version {}, the newest that is known, and so under its policy; whether another seal \
                 of the same roster and policy came between, `countersign audit` tells",
                newest.version
            ));
        }
        return unmet(format!(
            "sealed under roster version {}, and version {} is known: whether that came before this run, only the log can \
             tell; run the step again, or --allow-unchecked {name}",
            facts.roster.version, newest.version
        ));
    }
    // They answer a moment after the run: what helps is to ask again, not to ask less.
    if name == CheckName::Witnesses
        && let Some(approved) = facts.and_then(|facts| facts.approved.as_ref())
    {
        return unmet(format!(
            "not checked: {why}; get the bundle again once one has: `countersign wait {} --witness 1 --bundle FILE`; if none \
             ever will, --allow-unchecked {name}",
            approved.receipt
        ));
    }
    unmet(format!("not checked: {why}; to go on without it: --allow-unchecked {name}"))
}

fn boundary(facts: &Facts, demands: &Demands) -> Answer {
    let (name, id) = (&facts.boundary.name, facts.boundary.id);
    if id == demands.boundary {
        met(format!("{name} ({id})"))
    } else {
        unmet(format!(
            "of boundary {name} ({id}), demanded is {}: boundaries of one name are two all the same",
            demands.boundary
        ))
    }
}

fn step(approved: &ApprovedFacts, demands: &Demands) -> Answer {
    if approved.step == demands.step {
        met(approved.step.to_string())
    } else {
        unmet(format!("{} ran, demanded is {}", approved.step, demands.step))
    }
}

fn digest(approved: &ApprovedFacts, demands: &Demands) -> Answer {
    match &demands.digest {
        WhichDigest::Any => waived(format!("any definition will do by --any-digest; it was {}", approved.digest)),
        WhichDigest::Exactly(digest) if *digest == approved.digest => met(digest.to_string()),
        WhichDigest::Exactly(digest) => unmet(format!(
            "the definition {} ran, demanded is {digest}: the runbook was changed before or after",
            approved.digest
        )),
    }
}

fn parameters(approved: &ApprovedFacts, demands: &Demands) -> Answer {
    let WhichParams::Exactly(demanded) = &demands.params else {
        return waived(format!("any parameters will do by --any-params; they were {}", written(&approved.params)));
    };
    let none = Map::new();
    let signed = approved.params.as_object().unwrap_or(&none);
    let mut other = Vec::new();
    for (name, given) in demanded {
        match signed.get(name) {
            Some(value) if given.is(value) => {}
            Some(value) => other.push(format!("{name} was {}, demanded is {}", written(value), given.written())),
            None => other.push(format!("{name} was not given, demanded is {}", given.written())),
        }
    }
    for (name, value) in signed.iter().filter(|(name, _)| !demanded.contains_key(*name)) {
        other.push(format!("{name} was {}, which is not demanded: demand it or nothing", written(value)));
    }
    if other.is_empty() { met(written(&approved.params)) } else { unmet(other.join("; ")) }
}

impl Given {
    fn is(&self, signed: &Value) -> bool {
        match (self, signed) {
            (Self::Value(value), signed) => value == signed,
            (Self::Text(text), Value::String(signed)) => text == signed,
            (Self::Text(text), Value::Array(_) | Value::Object(_)) => {
                json::parse(text.as_bytes(), MAX_PARAMS_BYTES * 4).is_ok_and(|value| value == *signed)
            }
            // One spelling: a blank beside a number is text that `propose -p` refuses as well.
            (Self::Text(text), signed) => *text == written(signed),
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Value(value) => written(value),
            // The text as it was given: what prints a report escapes it, once.
            Self::Text(text) if text.contains('"') => format!("'{text}'"),
            Self::Text(text) => format!("\"{text}\""),
        }
    }
}

fn written(value: &Value) -> String {
    String::from_utf8(canonical::to_canonical(value)).unwrap_or_default()
}

fn outcome(outcome: &Outcome, demands: &Demands) -> Answer {
    let code = outcome.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let words = format!("{}{code}", outcome.status);
    match (outcome.status, demands.outcome) {
        (Status::Succeeded, _) => met(words),
        (Status::Warned, WhichOutcome::SucceededOrWarned) => waived(format!("{words}: taken by --allow-warned")),
        (Status::Warned, WhichOutcome::Succeeded) => {
            unmet(format!("{words}: success with a warning; to take that: --allow-warned"))
        }
        _ => unmet(format!("the run did not succeed: {words}")),
    }
}

fn sandbox(facts: &Facts, demands: &Demands) -> Answer {
    let held = &facts.sandbox.layers;
    let words = |layers: &[Layer]| {
        let words: Vec<_> = layers.iter().map(|layer| layer.word()).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    };
    match &demands.sandbox {
        LeastSandbox::Layers(layers) => {
            let lacking: Vec<_> = layers.iter().filter(|layer| !held.contains(layer)).copied().collect();
            if lacking.is_empty() {
                met(format!("held: {}", words(held)))
            } else {
                unmet(format!(
                    "held: {}; demanded and not held: {}; to ask less: --min-sandbox",
                    words(held),
                    words(&lacking)
                ))
            }
        }
        LeastSandbox::Something if held.is_empty() => unmet("no layer was held; to take that: --min-sandbox off"),
        LeastSandbox::Something => waived(format!("held: {}; any will do by --min-sandbox best-effort", words(held))),
        LeastSandbox::Nothing => waived(format!("held: {}; none is needed by --min-sandbox off", words(held))),
    }
}

/// A boundary can state any end. But a run begins when its nonce is spent, which was within the window that people signed,
/// and lasts no longer than they signed: no receipt is younger than that, whoever signs it, and when.
fn age(facts: &Facts, demands: &Demands, now: Timestamp) -> Answer {
    let stated = facts.finished_at;
    let latest = facts.consumed_at.zip(facts.approved.as_ref()).map(|(spent, approved)| {
        spent.plus(i64::try_from(approved.wall_ms / 1000).unwrap_or(i64::MAX)).plus(AROUND_A_RUN_S)
    });
    let ended = latest.map_or(stated, |latest| latest.min(stated));
    let seconds = now.unix().saturating_sub(ended.unix());
    let ago = if seconds < 0 { "just now".to_owned() } else { format!("{} ago", length(seconds)) };
    let words = if ended == stated {
        format!("ended at {ended}, {ago}")
    } else {
        format!(
            "ended at {ended} at the latest, {ago}, by the window and time limit that were signed (it says {stated})"
        )
    };
    match demands.age {
        MostAge::Any => waived(format!("{words}; any age will do by --max-age any")),
        MostAge::Seconds(most) if seconds <= most => met(format!("{words}, by the boundary's word")),
        MostAge::Seconds(most) => {
            unmet(format!("{words}; at most {} ago is demanded: run the step again, or --max-age", length(most)))
        }
    }
}

/// What a run may take besides its own time: to be started, to be ended, until nothing of it is left.
const AROUND_A_RUN_S: i64 = 600;

/// A length of time in the form that `--max-age` takes, roughly.
fn length(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, 0) => format!("{hours}h"),
        (0, ..) => format!("{hours}h {minutes}m"),
        (_, 0, _) => format!("{days}d"),
        _ => format!("{days}d {hours}h"),
    }
}

fn roster(report: &BundleReport, facts: &Facts, demands: &Demands) -> Answer {
    let words = format!("{} version {} ({})", facts.roster.name, facts.roster.version, facts.roster.digest);
    if report.trust.guarded {
        met(words)
    } else if demands.unguarded {
        waived(format!("{words}: nobody had to sign it, taken by --allow-unguarded"))
    } else {
        unmet(format!(
            "{words} came after the trusted one without anybody's signature (threshold 0): trust the newest version itself, \
             or --allow-unguarded"
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::bundle::{Options, Trust, verify};
    use crate::audit::fixture::{Case, Stage, read_by_another_version};
    use crate::record::profile::STRICT;

    const NOW: &str = "2026-11-20T10:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    fn options() -> Options {
        Options { at: Some(now()), witnesses: 0 }
    }

    /// Demands that the crossing of the fixture meets.
    fn demands(report: &BundleReport) -> Demands {
        let facts = report.facts.as_ref().expect("facts");
        let approved = facts.approved.as_ref().expect("approved");
        let params = approved.params.as_object().expect("an object");
        Demands {
            boundary: facts.boundary.id,
            step: approved.step.clone(),
            digest: WhichDigest::Exactly(approved.digest),
            params: WhichParams::Exactly(
                params.iter().map(|(name, value)| (name.clone(), Given::Value(value.clone()))).collect(),
            ),
            outcome: WhichOutcome::Succeeded,
            sandbox: LeastSandbox::Layers(STRICT.to_vec()),
            age: MostAge::Seconds(24 * 3600),
            unchecked: BTreeSet::new(),
            unguarded: false,
        }
    }

    fn unmet_of(report: &BundleReport, demands: &Demands) -> Vec<String> {
        let gate = decide(report, demands, now());
        let unmet: Vec<_> = gate.unmet().map(|requirement| requirement.name.clone()).collect();
        assert_eq!(gate.passed, unmet.is_empty());
        unmet
    }

    /// The crossing with an edit, against the demands of the one without.
    fn refused(stage: Stage, edit: impl Fn(&mut Value) + 'static) -> Vec<String> {
        let good = Case::new().report(options());
        unmet_of(&Case::new().edit(stage, edit).report(options()), &demands(&good))
    }

    #[test]
    fn a_receipt_that_meets_every_demand_passes() {
        let report = Case::new().report(options());
        let gate = decide(&report, &demands(&report), now());
        assert!(gate.passed, "{gate:#?}");
        assert!(gate.requirements.iter().all(|requirement| requirement.finding == Met::Yes), "{gate:#?}");
        let names: Vec<_> = gate.requirements.iter().map(|requirement| requirement.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "verified",
                "seal-in-force",
                "boundary",
                "step",
                "digest",
                "parameters",
                "outcome",
                "sandbox",
                "age",
                "roster"
            ]
        );
    }

    #[test]
    fn each_difference_is_refused_with_its_own_reason() {
        let report = Case::new().report(options());
        let with = |change: &dyn Fn(&mut Demands)| {
            let mut demands = demands(&report);
            change(&mut demands);
            unmet_of(&report, &demands)
        };
        let other = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(with(&|demands| demands.boundary = other.parse().expect("id")), ["boundary"]);
        assert_eq!(with(&|demands| demands.step = "other:step".parse().expect("ref")), ["step"]);
        assert_eq!(with(&|d| d.digest = WhichDigest::Exactly(other.parse().expect("digest"))), ["digest"]);
        assert_eq!(with(&|d| d.age = MostAge::Seconds(60)), ["age"]);
        assert_eq!(with(&|d| d.params = WhichParams::Exactly(BTreeMap::new())), ["parameters"]);
        assert_eq!(with(&|d| d.digest = WhichDigest::Any), [""; 0]);
        assert_eq!(with(&|d| d.params = WhichParams::Any), [""; 0]);
    }

    #[test]
    fn the_age_of_a_receipt_is_limited_by_the_signed_window_and_time_limit() {
        // Spent at 09:40 for at most five minutes: a boundary that says 09:59 is not believed.
        let late = |receipt: &mut Value| {
            receipt["predicate"]["started_at"] = json!("2026-11-20T09:58:59Z");
            receipt["predicate"]["finished_at"] = json!("2026-11-20T09:59:00Z");
        };
        let report = Case::new().edit(Stage::Receipt, late).report(options());
        let with = |age: i64| {
            let demands = Demands { age: MostAge::Seconds(age), ..demands(&report) };
            let gate = decide(&report, &demands, now());
            let age = gate.requirements.iter().find(|requirement| requirement.name == "age").expect("the age");
            (gate.passed, age.detail.clone())
        };
        let (passed, detail) = with(5 * 60);
        assert!(passed && detail.contains("2026-11-20T09:55:00Z at the latest"), "{detail}");
        let (passed, detail) = with(5 * 60 - 1);
        assert!(!passed && detail.contains("it says 2026-11-20T09:59:00Z"), "{detail}");
    }

    #[test]
    fn a_parameter_given_as_text_matches_a_number_only_in_its_json_form() {
        let is = |text: &str, signed: Value| Given::Text(text.to_owned()).is(&signed);
        assert!(is("0", Value::from(0)) && is("-3", Value::from(-3)) && is("true", Value::from(true)));
        for odd in ["0 ", " 0", "\t0", "0\n", "00", "-0", "+0", "0.0", "0e0", ""] {
            assert!(!is(odd, Value::from(0)), "{odd:?}");
        }
        assert!(!is("true ", Value::from(true)));
        assert!(is("[1, 2]", serde_json::json!([1, 2])) && is(" ", Value::from(" ")));
    }

    #[test]
    fn demanded_parameters_are_one_whole_json_object() {
        let report = Case::new().report(options());
        let good = demands(&report);
        let WhichParams::Exactly(all) = &good.params else { panic!("exact") };
        for name in all.keys() {
            let mut fewer = all.clone();
            fewer.remove(name);
            let mut other = all.clone();
            other.insert(name.clone(), Given::Text("something else".to_owned()));
            let mut more = all.clone();
            more.insert(format!("{name}2"), Given::Text(String::new()));
            for params in [fewer, other, more] {
                let demands = Demands { params: WhichParams::Exactly(params), ..good.clone() };
                assert_eq!(unmet_of(&report, &demands), ["parameters"], "{name}");
            }
            let mut spelt = all.clone();
            let text = match &all[name] {
                Given::Value(Value::String(text)) => text.clone(),
                Given::Value(value) => value.to_string(),
                Given::Text(_) => panic!("values"),
            };
            spelt.insert(name.clone(), Given::Text(text));
            let demands = Demands { params: WhichParams::Exactly(spelt), ..good.clone() };
            assert_eq!(unmet_of(&report, &demands), [""; 0], "{name} as text");
        }
        assert!(!Given::Value(json!("3")).is(&json!(3)) && !Given::Value(json!(3)).is(&json!("3")));
        assert!(Given::Text("3".to_owned()).is(&json!(3)) && Given::Text("3".to_owned()).is(&json!("3")));
        assert!(!Given::Text("03".to_owned()).is(&json!(3)) && !Given::Text("3 4".to_owned()).is(&json!(3)));
        assert!(Given::Text("[1, 2]".to_owned()).is(&json!([1, 2])));
    }

    #[test]
    fn only_a_successful_outcome_passes() {
        let outcome =
            |value: Value| refused(Stage::Receipt, move |receipt| receipt["predicate"]["outcome"] = value.clone());
        assert_eq!(outcome(json!({"status": "failed", "exit_code": 3})), ["outcome"]);
        assert_eq!(outcome(json!({"status": "warned", "exit_code": 2})), ["outcome"]);
        assert_eq!(outcome(json!({"status": "timed_out"})), ["outcome"]);
        assert_eq!(outcome(json!({"status": "not_started"})), ["sandbox", "outcome"], "what it held was not checked");
        let warned = |receipt: &mut Value| {
            receipt["predicate"]["outcome"] = json!({"status": "warned", "exit_code": 2});
        };
        let report = Case::new().edit(Stage::Receipt, warned).report(options());
        let demands = Demands { outcome: WhichOutcome::SucceededOrWarned, ..demands(&report) };
        assert_eq!(unmet_of(&report, &demands), [""; 0]);
    }

    #[test]
    fn an_unchecked_claim_is_refused_unless_a_waiver_names_the_claim() {
        let report = read_by_another_version().report(options());
        assert!(report.verified && report.finding(CheckName::Permissions) == Finding::NotChecked);
        let asked = demands(&report);
        assert_eq!(unmet_of(&report, &asked), ["permissions"]);
        let waived = Demands { unchecked: BTreeSet::from([CheckName::Permissions]), ..asked };
        assert_eq!(unmet_of(&report, &waived), [""; 0]);
        let key = crate::crypto::signature::SecretKey::from_seed([9; 32]).public();
        let vkey = crate::crypto::cosignature::WitnessKey::new("w.example", key).vkey();
        let edit = move |roster: &mut Value| {
            roster["predicate"]["witness"] = json!([{"name": "w.example", "vkey": vkey, "url": "https://w.example"}]);
        };
        let report = Case::new().edit(Stage::Roster, edit).report(options());
        assert_eq!(unmet_of(&report, &demands(&report)), ["witnesses"]);
        let gate = decide(&report, &demands(&report), now());
        let receipt = report.facts.as_ref().expect("facts").approved.as_ref().expect("approved").receipt.to_string();
        let way = format!("`countersign wait {receipt} --witness 1 --bundle FILE`");
        assert!(gate.unmet().all(|witnesses| witnesses.detail.contains(&way)), "{gate:#?}");
    }

    #[test]
    fn an_outdated_key_or_roster_is_refused_by_the_gate() {
        let case = Case::new();
        let good = case.report(options());
        let newer = case.next_roster(|roster| {
            roster["predicate"]["approver"].as_array_mut().expect("approvers").remove(0);
        });
        let report = case.report_with(&Trust::Roster(newer), options());
        assert!(report.verified, "{:#?}", report.checks);
        assert_eq!(unmet_of(&report, &demands(&good)), ["keys-still-rostered", "seal-in-force"]);
        // The keys are all there, but the newer version may stand for a stricter policy.
        let report = case.report_with(&Trust::Roster(case.next_roster(|_| {})), options());
        assert_eq!(unmet_of(&report, &demands(&good)), ["seal-in-force"]);
        let waived = Demands { unchecked: BTreeSet::from([CheckName::SealInForce]), ..demands(&good) };
        assert_eq!(unmet_of(&report, &waived), [""; 0]);
    }

    #[test]
    fn an_unverified_bundle_is_refused_by_the_gate_whatever_is_waived() {
        let bundle = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/golden/valid/bundle.json"))
            .expect("bundle");
        let good = Case::new().report(options());
        let all = Demands {
            digest: WhichDigest::Any,
            params: WhichParams::Any,
            outcome: WhichOutcome::SucceededOrWarned,
            sandbox: LeastSandbox::Nothing,
            age: MostAge::Any,
            unchecked: CheckName::ALL.iter().copied().collect(),
            unguarded: true,
            ..demands(&good)
        };
        let stranger = Trust::Digest(crate::crypto::digest::RosterDigest::of(b"another"));
        for (bytes, trust) in [(&bundle[..], &stranger), (b"{}", &stranger), (&bundle[..bundle.len() - 1], &stranger)] {
            let report = verify(bytes, trust, options()).expect("report");
            assert!(unmet_of(&report, &all).contains(&"verified".to_owned()));
        }
        let future = Options { at: "2026-11-20T09:30:00Z".parse().ok(), witnesses: 0 };
        let report = Case::new().report(future);
        assert_eq!(unmet_of(&report, &all), ["verified"], "a receipt of the future");
    }

    #[test]
    fn a_weak_sandbox_is_refused_by_the_gate_even_if_the_approvers_accepted_it() {
        let good = demands(&Case::new().report(options()));
        let report = |held: Value| {
            let signed = held.clone();
            Case::new()
                .edit(Stage::Authorization, move |signed_by| {
                    signed_by["predicate"]["sandbox"]["require"] = signed.clone();
                })
                .edit(Stage::Receipt, move |receipt| {
                    receipt["predicate"]["sandbox"]["layers"] = held.clone();
                    receipt["predicate"]["sandbox"]["missing"] = json!([]);
                })
                .report(options())
        };
        let (some, none) = (report(json!(["capabilities", "landlock"])), report(json!([])));
        assert!(some.verified && none.verified, "{:#?}", some.checks);
        let with =
            |report: &BundleReport, sandbox: LeastSandbox| unmet_of(report, &Demands { sandbox, ..good.clone() });
        assert_eq!(with(&some, good.sandbox.clone()), ["sandbox"]);
        assert_eq!(with(&some, LeastSandbox::Layers(vec![Layer::Landlock])), [""; 0]);
        assert_eq!(with(&some, LeastSandbox::Something), [""; 0]);
        assert_eq!(with(&none, LeastSandbox::Something), ["sandbox"]);
        assert_eq!(with(&none, LeastSandbox::Nothing), [""; 0]);
    }

    #[test]
    fn a_roster_without_required_signatures_is_refused_by_the_gate_unless_it_is_trusted() {
        let alone = Case::new().edit(Stage::Roster, |roster| roster["predicate"]["threshold"] = json!(0));
        let report = alone.report(options());
        assert_eq!(unmet_of(&report, &demands(&report)), [""; 0], "it was trusted by hand");
        let mut later = report.clone();
        later.trust.guarded = false;
        assert_eq!(unmet_of(&later, &demands(&report)), ["roster"]);
        assert_eq!(unmet_of(&later, &Demands { unguarded: true, ..demands(&report) }), [""; 0]);
    }

    #[test]
    fn ages_are_printed_as_given() {
        for (seconds, words) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3600, "1h"), (5400, "1h 30m"), (86_400, "1d"), (90_000, "1d 1h")]
        {
            assert_eq!(length(seconds), words);
        }
    }
}
