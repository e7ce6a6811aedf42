//! Scripts that try to escape from the sandbox: the scripts of the shared suite and of this project.

use crate::escape::{
    Bites, Held, Outcome, Who, all_cases, cases, play_what_is_ordered, round, round_over,
};
use documents::Workdir;

use crate::support::host;

#[test]
fn a_strict_sandbox_prevents_every_escape() {
    if !play_what_is_ordered() {
        nothing_got_out(&round(
            "a_strict_sandbox_prevents_every_escape",
            Who::Self_,
            Held::Strict,
        ));
    }
}

#[test]
fn a_strict_sandbox_prevents_every_escape_if_the_service_is_an_ordinary_user() {
    if !play_what_is_ordered() {
        let name = "a_strict_sandbox_prevents_every_escape_if_the_service_is_an_ordinary_user";
        nothing_got_out(&round_over(
            name,
            Who::Ordinary,
            Held::Strict,
            Workdir::Overlay,
        ));
    }
}

/// In a live tree, a run may change files, but may not see denied files.
#[test]
fn a_strict_sandbox_prevents_every_escape_from_a_live_tree() {
    if !play_what_is_ordered() {
        let name = "a_strict_sandbox_prevents_every_escape_from_a_live_tree";
        nothing_got_out(&round_over(
            name,
            Who::Ordinary,
            Held::Strict,
            Workdir::InPlace,
        ));
    }
}

/// Without user namespaces, only Landlock protects the files of the host. No script may reach more than with Landlock
/// alone in the same round and as the same user, and the facts of the run name the missing layers.
#[test]
fn the_level_best_effort_without_user_namespaces_still_enforces_landlock() {
    const NAME: &str = "the_level_best_effort_without_user_namespaces_still_enforces_landlock";
    if play_what_is_ordered() {
        return;
    }
    let ours = round(NAME, Who::WithoutUserNamespaces, Held::BestEffort);
    let alone = round(NAME, Who::WithoutUserNamespaces, Held::LandlockAlone);
    say("best-effort without user namespaces", &ours);
    say("Landlock alone", &alone);
    let refused: Vec<_> = ours
        .iter()
        .filter(|outcome| outcome.refused.is_some())
        .collect();
    assert!(
        refused.is_empty(),
        "what does not run holds nothing: {refused:?}"
    );
    let alone = breached(&alone);
    let ours_alone =
        |outcome: &&Outcome| !outcome.breaches.is_empty() && !alone.contains(&outcome.id);
    let more: Vec<_> = ours.iter().filter(ours_alone).collect();
    assert!(
        more.is_empty(),
        "got out, and not with Landlock alone: {more:?}"
    );
    for outcome in ours.iter().filter(|outcome| !outcome.breaches.is_empty()) {
        assert!(
            outcome.missing.iter().any(|layer| layer == "namespaces"),
            "{outcome:?}: no missing layer is named"
        );
    }
}

#[test]
fn many_escape_scripts_succeed_without_a_sandbox() {
    if play_what_is_ordered() {
        return;
    }
    let outcomes = round(
        "many_escape_scripts_succeed_without_a_sandbox",
        Who::Self_,
        Held::Off,
    );
    say("off", &outcomes);
    let refused = outcomes
        .iter()
        .find_map(|outcome| outcome.refused.as_deref());
    assert!(
        breached(&outcomes).len() >= 20,
        "only {} got out; {refused:?}",
        breached(&outcomes).len()
    );
}

/// Without a sandbox, each script must escape as its declared user. Otherwise the script proves nothing in a sandbox.
#[test]
fn every_escape_script_succeeds_without_a_sandbox() {
    const NAME: &str = "every_escape_script_succeeds_without_a_sandbox";
    if play_what_is_ordered() {
        return;
    }
    let got_out = |who| {
        let outcomes = round(NAME, who, Held::Nothing);
        say(&format!("nothing, {who:?}"), &outcomes);
        breached(&outcomes)
    };
    let user = got_out(Who::Ordinary);
    let cases = cases();
    let root = if rustix::process::geteuid().is_root() {
        Some(got_out(Who::Self_))
    } else {
        host::not_run(NAME, "those that bite as root alone: this is not root");
        None
    };
    let toothless: Vec<&str> = cases
        .iter()
        .filter(|case| match (case.bites, &root) {
            (Bites::User, _) => !user.contains(&case.id),
            (Bites::Root, Some(root)) => !root.contains(&case.id),
            (Bites::Root, None) | (Bites::Some | Bites::Never, _) => false,
        })
        .map(|case| case.id.as_str())
        .collect();
    assert!(
        toothless.is_empty(),
        "held by nothing and not out: {toothless:?}"
    );
}

#[test]
fn each_of_many_escape_scripts_has_a_unique_name() {
    let cases = all_cases();
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| &case.id).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 25 + 40, "{}", cases.len());
}

/// A system call number of one architecture is another call on another architecture, so the script would fail without a
/// sandbox too and would prove nothing.
#[test]
fn scripts_with_syscall_numbers_have_the_numbers_of_both_architectures() {
    let numbers: Vec<(String, u32)> = all_cases()
        .into_iter()
        .filter(|case| case.machine.is_none() && case.script.contains("def call("))
        .flat_map(|case| {
            // `call(NUMBER, …)`, and `("name",NUMBER,(…))` in a list of calls.
            let called = case
                .script
                .split("call(")
                .filter_map(|rest| rest.split_once(',')?.0.parse().ok());
            let listed = case
                .script
                .split("\",")
                .filter_map(|rest| rest.split_once(",(")?.0.parse().ok());
            let bare: Vec<u32> = called.chain(listed).collect();
            bare.into_iter()
                .map(move |number| (case.id.clone(), number))
        })
        .collect();
    assert!(
        numbers.iter().any(|(_, number)| *number >= FIRST_COMMON),
        "the scripts are read amiss"
    );
    let of_one: Vec<_> = numbers
        .iter()
        .filter(|(_, number)| *number < FIRST_COMMON)
        .collect();
    assert!(of_one.is_empty(), "write a pair: {of_one:?}");
}

/// From this number on, all architectures have the same system call numbers.
const FIRST_COMMON: u32 = 424;

/// A script with a syntax error would fail in every sandbox and would prove nothing.
#[test]
fn every_script_is_valid_in_its_language() {
    for case in all_cases() {
        let (program, arguments) = match case.language.as_str() {
            "python" => (
                "python3",
                vec![
                    "-c",
                    "import sys; compile(sys.argv[1], 'script', 'exec')",
                    &case.script,
                ],
            ),
            _ => ("bash", vec!["-n", "-c", &case.script]),
        };
        let done = std::process::Command::new(program)
            .args(arguments)
            .output()
            .expect("an interpreter");
        assert!(
            done.status.success(),
            "{}: {}",
            case.id,
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

fn breached(outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .filter(|outcome| !outcome.breaches.is_empty())
        .map(|outcome| outcome.id.clone())
        .collect()
}

fn nothing_got_out(outcomes: &[Outcome]) {
    assert!(outcomes.len() >= cases().len(), "some were not played");
    let mut wrong = Vec::new();
    for outcome in outcomes {
        if !outcome.breaches.is_empty() || outcome.refused.is_some() {
            wrong.push(format!(
                "{}: {:?} {:?} ({})",
                outcome.id, outcome.breaches, outcome.refused, outcome.end
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        outcomes.len(),
        wrong.join("\n")
    );
}

fn say(what: &str, outcomes: &[Outcome]) {
    let refused = outcomes
        .iter()
        .filter(|outcome| outcome.refused.is_some())
        .count();
    println!(
        "{what}: {} of {} got out, {refused} refused: {:?}",
        breached(outcomes).len(),
        outcomes.len(),
        breached(outcomes)
    );
}
