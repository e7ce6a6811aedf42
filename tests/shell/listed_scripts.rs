//! Runs generated scripts in the sandbox with a closed list of programs.
//!
//! Each script calls programs of which the list contains only one half. No program of the other half may run. The same scripts
//! run without a list too, because otherwise a test that runs nothing would pass. `scripts/shell-truth --listed` runs more
//! scripts.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::generator::{Form, PROGRAMS, script};
use super::shell_truth::{Truth, World};
use crate::support::host::not_run;

const FORMS: [Form; 6] = [
    Form::Everyday,
    Form::Traps,
    Form::Hidden,
    Form::Sly,
    Form::Damaged,
    Form::Errors,
];
/// The number of scripts if no other number is set.
const SCRIPTS: usize = 600;

#[test]
fn no_generated_script_executes_a_program_that_its_list_does_not_contain() {
    const NAME: &str = "no_generated_script_executes_a_program_that_its_list_does_not_contain";
    let total = std::env::var("SHELL_TRUTH_SCRIPTS")
        .ok()
        .map_or(SCRIPTS, |text| text.parse().expect("a number"));
    let seed: u64 = std::env::var("SHELL_TRUTH_SEED")
        .ok()
        .map_or(1, |text| text.parse().expect("a number"));
    let listed: Vec<&str> = PROGRAMS
        .iter()
        .skip((seed % 2) as usize)
        .step_by(2)
        .copied()
        .collect();
    let (Some(with), Some(without)) = (World::in_sandbox(Some(&listed)), World::in_sandbox(None))
    else {
        return not_run(NAME, "this user cannot create a mount namespace");
    };
    let (mut shown, mut escaped) = (String::new(), Vec::new());
    let (mut control, mut ran) = (0, 0);
    for form in FORMS {
        let count = total.div_ceil(FORMS.len());
        // Another seed than in the test of the parser.
        let first = seed.wrapping_mul(7_000_003);
        let scripts: Vec<String> = (0..count)
            .map(|number| script(first.wrapping_add(number as u64), form))
            .collect();
        let alone = form == Form::Errors;
        let (under, free) = (with.run(&scripts, alone), without.run(&scripts, alone));
        let programs = |truth: &Truth, wanted: bool| {
            let all = truth.bash.iter().chain(&truth.dash);
            all.filter(|name| listed.contains(&name.as_str()) == wanted)
                .count()
        };
        let count_of = |truths: &[Truth], wanted: bool| {
            truths
                .iter()
                .map(|truth| programs(truth, wanted))
                .sum::<usize>()
        };
        for (script, truth) in scripts
            .iter()
            .zip(&under)
            .filter(|(_, truth)| programs(truth, false) > 0)
        {
            escaped.push(format!(
                "{form:?}: {:?} {:?} ran in:\n{script}\n",
                truth.bash, truth.dash
            ));
        }
        writeln!(
            shown,
            "{form:?}: {count} scripts; unlisted programs ran: {} with the list, {} without; listed programs ran: {} and {}",
            count_of(&under, false),
            count_of(&free, false),
            count_of(&under, true),
            count_of(&free, true)
        )
        .unwrap();
        control += count_of(&free, false);
        ran += count_of(&under, true);
    }
    let stuck = [&with, &without].map(|world| world.stuck.load(Ordering::Relaxed));
    println!("{shown}{stuck:?} scripts did not end with the list and without");
    assert!(
        escaped.is_empty(),
        "{shown}{} scripts:\n{}",
        escaped.len(),
        escaped[..escaped.len().min(8)].join("\n")
    );
    // On average, a script runs three programs in the two shells. A small sample can have much fewer.
    assert!(
        control * 2 >= total && ran * 2 >= total,
        "{shown}the test runs nothing"
    );
}
