//! Logs with sessions, files and plans. Both auditors judge each log.

use super::grant_bundles::{bundle, case, compare};
use super::history_entries::{Case, as_expected, kept_of, resumed};
use super::log_mutation::agree;
use crate::history::{ALICE, BOB, Log, Place, part, reference, step, t};
use crate::second;
use serde_json::{Value, json};

const SESSION: &str = "ses_01a327cf-6400-7000-8000-000000000001";
const OTHER_SESSION: &str = "ses_01a327cf-6400-7000-8000-000000000002";

fn digest(of: &str) -> Value {
    json!(reference(of.as_bytes()))
}

/// A session that ends more than 7 days after the first run of the logs.
const LONG_SESSION: &str = "ses_01a34bdb-e800-7000-8000-000000000001";

/// A log with steps that use a session, make a plan and carry out a plan.
fn log() -> Log {
    Log::with(|sealed| {
        let with = |name: &str, field: &str, value: Value| {
            let mut step = step(name, "go\n");
            step[field] = value;
            step
        };
        sealed.steps.extend([
            with("shell:look", "session", json!("read")),
            with("shell:run", "session", json!("write")),
            step("tf:plan", "plan\n"),
            with(
                "tf:apply",
                "plan",
                json!({"step": "tf:plan", "max_age_s": 600}),
            ),
        ]);
    })
}

/// A run in a session: the signed state, and the states of the receipt.
struct Turn {
    session: &'static str,
    state: &'static str,
    after: &'static str,
}

const fn turn(state: &'static str, after: &'static str) -> Turn {
    Turn {
        session: SESSION,
        state,
        after,
    }
}

impl Turn {
    fn reference(&self) -> Value {
        json!({"id": self.session, "state": digest(self.state)})
    }

    fn approved(&self, log: &mut Log, at: i64) -> crate::history::Approved {
        let session = self.reference();
        log.approved_but("shell:run", at, &[ALICE], |predicate| {
            predicate["session"] = session
        })
    }

    fn consume(&self, log: &mut Log, at: i64, of: &crate::history::Approved) -> Place {
        let session = self.reference();
        log.consume_but(at, &[of], |predicate| {
            predicate["spent"][0]["session"] = session
        })
    }

    fn receipt(&self, log: &mut Log, place: Place, of: &crate::history::Approved) {
        let change = json!({"before": digest(self.state), "after": digest(self.after)});
        log.receipt_but(place, of, |predicate| predicate["session"] = change);
    }

    fn run(&self, log: &mut Log, at: i64) {
        let approved = self.approved(log, at);
        let place = self.consume(log, at, &approved);
        self.receipt(log, place, &approved);
    }
}

fn after(turns: &[Turn]) -> Log {
    let mut log = log();
    for (turn, at) in turns.iter().zip((10..).step_by(10)) {
        turn.run(&mut log, at);
    }
    log
}

fn sessions() -> Vec<Case> {
    let mut logs: Vec<Case> = vec![
        (
            "each run begins with the state that the run before left",
            &[],
            after(&[turn("a", "b"), turn("b", "c")]),
        ),
        (
            "the state did not change",
            &[],
            after(&[turn("a", "a"), turn("a", "b")]),
        ),
        (
            "a run begins with an older state",
            &["session"],
            after(&[turn("a", "b"), turn("b", "c"), turn("b", "d")]),
        ),
        (
            "a run begins with a state that nobody left",
            &["session"],
            after(&[turn("a", "b"), turn("x", "c")]),
        ),
        (
            "another session is independent",
            &[],
            after(&[
                turn("a", "b"),
                Turn {
                    session: OTHER_SESSION,
                    ..turn("x", "y")
                },
                turn("b", "c"),
            ]),
        ),
        (
            "a session ends more than 7 days after its run",
            &["session"],
            after(&[Turn {
                session: LONG_SESSION,
                ..turn("a", "b")
            }]),
        ),
    ];
    let at_once = |receipt_first: bool| {
        let mut log = log();
        let (first, second) = (
            turn("a", "b"),
            turn(if receipt_first { "b" } else { "a" }, "c"),
        );
        let one = first.approved(&mut log, 10);
        let place = first.consume(&mut log, 10, &one);
        if receipt_first {
            first.receipt(&mut log, place, &one);
        }
        let two = second.approved(&mut log, 11);
        let later = second.consume(&mut log, 11, &two);
        if !receipt_first {
            first.receipt(&mut log, place, &one);
        }
        second.receipt(&mut log, later, &two);
        log
    };
    logs.push((
        "two runs of one session, one after the other",
        &[],
        at_once(true),
    ));
    logs.push((
        "two runs of one session at once",
        &["session"],
        at_once(false),
    ));
    let edited = |edit: fn(&mut Value), receipt: fn(&mut Value)| {
        let mut log = log();
        let one = turn("a", "b");
        let approved = one.approved(&mut log, 10);
        let session = one.reference();
        let place = log.consume_but(10, &[&approved], |predicate| {
            predicate["spent"][0]["session"] = session;
            edit(&mut predicate["spent"][0]);
        });
        log.receipt_but(place, &approved, |predicate| {
            predicate["session"] = json!({"before": digest("a"), "after": digest("b")});
            receipt(predicate);
        });
        log
    };
    let kept = |_: &mut Value| {};
    let without = |value: &mut Value| drop(value.as_object_mut().unwrap().remove("session"));
    logs.push((
        "the consumption names no session",
        &["consumption"],
        edited(without, kept),
    ));
    logs.push((
        "the receipt names no session",
        &["consumption"],
        edited(kept, without),
    ));
    let another = |item: &mut Value| item["session"]["state"] = digest("z");
    logs.push((
        "the consumption names another state",
        &["consumption"],
        edited(another, kept),
    ));
    let before = |receipt: &mut Value| receipt["session"]["before"] = digest("z");
    logs.push((
        "the receipt names another state",
        &["consumption"],
        edited(kept, before),
    ));
    let mut log = log();
    log.run("shell:look", 10, &[ALICE]);
    logs.push(("a step with a session runs without one", &["step"], log));
    logs
}

/// A run of `tf:plan`, and the value of `plan` that approvers sign.
pub(super) fn planned(log: &mut Log, at: i64, edit: impl FnOnce(&mut Value)) -> Value {
    let approved = log.approved("tf:plan", at, &[ALICE]);
    let place = log.consume(at, &[&approved]);
    log.receipt_but(place, &approved, edit);
    let entry: Value = serde_json::from_slice(log.entries.last().expect("the receipt")).unwrap();
    json!({"receipt": reference(&payload(&entry)), "output": reference(b"")})
}

fn payload(entry: &Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(entry["payload"].as_str().unwrap())
        .unwrap()
}

pub(super) fn apply(log: &mut Log, at: i64, plan: &Value, edit: impl FnOnce(&mut Value)) {
    let approved = log.approved_but("tf:apply", at, &[BOB], |predicate| {
        predicate["plan"] = plan.clone();
        edit(predicate);
    });
    let place = log.consume(at, &[&approved]);
    log.receipt(place, &approved);
}

fn plans() -> Vec<Case> {
    let kept = |_: &mut Value| {};
    let carried = |at: i64, plan: fn(&mut Value), edit: fn(&mut Value)| {
        let mut log = log();
        let signed = planned(&mut log, 10, plan);
        apply(&mut log, at, &signed, edit);
        log
    };
    let failed =
        |receipt: &mut Value| receipt["outcome"] = json!({"status": "failed", "exit_code": 1});
    let late = |receipt: &mut Value| receipt["finished_at"] = json!(t(40));
    let params = |predicate: &mut Value| predicate["params"]["host"] = json!("web-4");
    let output = |predicate: &mut Value| predicate["plan"]["output"] = digest("another");
    let receipt = |predicate: &mut Value| predicate["plan"]["receipt"] = digest("another");
    let unsigned = |predicate: &mut Value| drop(predicate.as_object_mut().unwrap().remove("plan"));
    let mut logs: Vec<Case> = vec![
        ("a plan is carried out", &[], carried(30, kept, kept)),
        ("a plan at its greatest age", &[], carried(611, kept, kept)),
        (
            "a plan that is too old",
            &["plan"],
            carried(612, kept, kept),
        ),
        ("a plan that failed", &["plan"], carried(30, failed, kept)),
        (
            "a plan that ended later",
            &["plan"],
            carried(30, late, kept),
        ),
        (
            "a plan for other parameters",
            &["plan"],
            carried(30, kept, params),
        ),
        (
            "a plan with another output",
            &["plan"],
            carried(30, kept, output),
        ),
        (
            "a plan that is not in the log",
            &["plan"],
            carried(30, kept, receipt),
        ),
        (
            "a plan that nobody signed",
            &["step"],
            carried(30, kept, unsigned),
        ),
    ];
    let mut log = log();
    let approved = log.approved("nginx:restart", 10, &[ALICE]);
    let place = log.consume(10, &[&approved]);
    log.receipt(place, &approved);
    let entry: Value = serde_json::from_slice(log.entries.last().unwrap()).unwrap();
    let signed = json!({"receipt": reference(&payload(&entry)), "output": reference(b"")});
    apply(&mut log, 30, &signed, kept);
    logs.push(("a run of another step as the plan", &["plan"], log));
    let mut log = self::log();
    let plan = log.approved("tf:plan", 10, &[ALICE]);
    let begun = log.consume(10, &[&plan]);
    let mut other = log.clone();
    other.receipt(begun, &plan);
    let entry: Value = serde_json::from_slice(other.entries.last().unwrap()).unwrap();
    let signed = json!({"receipt": reference(&payload(&entry)), "output": reference(b"")});
    let run = log.approved_but("tf:apply", 20, &[BOB], |predicate| {
        predicate["plan"] = signed
    });
    let place = log.consume(20, &[&run]);
    log.receipt(begun, &plan);
    log.receipt(place, &run);
    logs.push((
        "a plan whose receipt comes after the consumption",
        &["plan"],
        log,
    ));
    logs
}

fn with_files(files: Value) -> Log {
    let mut log = log();
    let approved = log.approved("nginx:restart", 10, &[ALICE]);
    let place = log.consume(10, &[&approved]);
    log.receipt_but(place, &approved, |receipt| receipt["files"] = files);
    log
}

#[test]
fn both_auditors_judge_sessions_plans_and_files_alike() {
    let files = |count: u64, manifest: &str| {
        with_files(json!({"count": count, "bytes": 8, "manifest": digest(manifest)}))
    };
    let mut logs = sessions();
    logs.extend(plans());
    logs.push(("files", &[], files(2, "a manifest")));
    logs.push((
        "more than 1,000 files",
        &["receipt-subjects"],
        files(1001, "a manifest"),
    ));
    logs.push((
        "files with the manifest of none",
        &["receipt-subjects"],
        files(2, "[]"),
    ));
    agree(as_expected(logs));
}

#[test]
fn a_resumed_audit_knows_the_states_of_sessions_and_the_plans() {
    let mut log = log();
    turn("a", "b").run(&mut log, 10);
    let signed = planned(&mut log, 20, |_| {});
    let kept = kept_of(&log);
    let mut good = log.clone();
    turn("b", "c").run(&mut good, 30);
    apply(&mut good, 40, &signed, |_| {});
    assert!(resumed(&good, &kept).is_empty());
    turn("a", "c").run(&mut log, 30);
    apply(&mut log, 700, &signed, |_| {});
    assert_eq!(resumed(&log, &kept), ["plan", "session"]);
}

#[test]
fn a_resumed_audit_knows_the_open_run_of_a_session() {
    let mut log = log();
    let one = turn("a", "b");
    let approved = one.approved(&mut log, 10);
    let place = one.consume(&mut log, 10, &approved);
    let kept = kept_of(&log);
    let mut good = log.clone();
    one.receipt(&mut good, place, &approved);
    turn("b", "c").run(&mut good, 20);
    assert!(resumed(&good, &kept).is_empty());
    turn("a", "c").run(&mut log, 20);
    one.receipt(&mut log, place, &approved);
    assert_eq!(resumed(&log, &kept), ["session"]);
}

#[test]
fn an_audit_keeps_a_session_until_a_day_after_its_end() {
    const DAY: i64 = 86_400;
    let kept = |log: &Log| {
        let state = serde_json::to_value(kept_of(log)).unwrap();
        state["runs"]["sessions"]
            .as_object()
            .map_or(0, |all| all.len())
    };
    let mut log = after(&[turn("a", "b")]);
    log.run("nginx:restart", 4 * DAY - 1, &[ALICE]);
    assert_eq!(kept(&log), 1);
    log.run("nginx:restart", 4 * DAY + 3600, &[ALICE]);
    assert_eq!(kept(&log), 0);
}

#[test]
fn both_verifiers_take_the_bundle_of_a_plan_only_with_the_roster_version_of_its_own_seal() {
    let mut log = log();
    let next = |log: &mut Log, at: i64| {
        log.roster(&[ALICE, BOB]);
        log.reseal(at, |_| {});
    };
    next(&mut log, 5);
    let signed = planned(&mut log, 10, |_| {});
    let plan = bundle(&log);
    next(&mut log, 20);
    apply(&mut log, 30, &signed, |_| {});
    let whole = bundle(&log);
    let with = |first: usize, version: Option<Value>| {
        let (mut made, mut plan) = (whole.clone(), plan.clone());
        match &version {
            Some(version) => plan["roster"] = version.clone(),
            None => drop(plan.as_object_mut().unwrap().remove("roster")),
        }
        made["plan"] = plan;
        made["roster"] = json!(part(&log.rosters, first - 1));
        let roster = log.roster_digest(first).to_string().into_bytes();
        let id = format!("{version:?} of the versions from {first} on");
        second::Case {
            roster,
            ..case(&id, &log, &made)
        }
    };
    // The plan ran under version 2, and the run under version 3.
    let versions = json!(part(&log.rosters, 0));
    for (first, version, expected) in [
        (1, json!(2), ""),
        (2, json!(2), ""),
        (1, json!(1), "plan"),
        (1, json!(3), "plan"),
        (2, json!(3), "plan"),
        (2, json!(1), "plan"),
        (1, json!(4), "plan"),
        (1, json!(0), "plan"),
        (2, json!(0), "plan"),
        (1, json!(-1), "bundle"),
        (1, json!("2"), "bundle"),
        (1, json!([2]), "bundle"),
        (1, json!([]), "bundle"),
        (1, json!(null), "bundle"),
        (1, json!({"version": 2}), "bundle"),
        (1, versions, "bundle"),
    ] {
        let failed = compare(&[with(first, Some(version.clone()))]).remove(0);
        assert_eq!(failed.join(" "), expected, "{version} from {first} on");
    }
    assert_eq!(compare(&[with(1, None)]), [["bundle"]]);
    // A number in place of the versions of the run names nothing.
    let mut number = whole.clone();
    number["plan"] = plan.clone();
    number["plan"]["roster"] = json!(2);
    number["roster"] = json!(3);
    assert_eq!(compare(&[case("a number", &log, &number)]), [["bundle"]]);
}
