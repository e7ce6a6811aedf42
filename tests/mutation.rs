//! Every field and item of every signed document flipped, dropped, doubled or swapped: refused, by two verifiers alike.
//!
//! `COUNTERSIGN_MUTANTS=<n>` takes a sample of one in n for the second verifier; without it, all are asked about.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

mod golden;
mod mutants;
mod second;

use second::{Case, Verdict, ours, theirs};

/// What may change without a bundle showing it, as `<kind><pointer> <change>` begins, and why.
const FREE: &[(&str, &str)] = &[];

#[test]
fn every_mutant_is_refused_by_both_verifiers_at_the_same_checks() {
    let golden_case = mutants::Story::default().tell("golden".to_owned());
    assert!(ours(&golden_case).expect("trust").verified, "the story itself is verified");
    let cases = mutants::all();
    let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "each mutant has one name");
    assert!(cases.len() > 3000, "{}", cases.len());
    let first: Vec<Option<Verdict>> = cases.iter().map(ours).collect();
    let second = theirs(&cases);
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for ((case, first), second) in cases.iter().zip(&first).zip(&second) {
        judge(case, first.as_ref(), second.as_ref(), &mut used, &mut faults);
    }
    for (free, _) in FREE {
        if !used.contains(free) {
            faults.push(format!("{free}: refused now, take it off the list"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

fn judge(
    case: &Case,
    first: Option<&Verdict>,
    second: Option<&Verdict>,
    used: &mut BTreeSet<&'static str>,
    faults: &mut Vec<String>,
) {
    let (Some(first), Some(second)) = (first, second) else {
        if first.is_some() != second.is_some() {
            faults.push(format!("{}: one verifier has no trust to check with", case.id));
        }
        return;
    };
    if first.verified {
        match FREE.iter().find(|(free, _)| case.id.starts_with(free)) {
            Some((free, _)) => drop(used.insert(free)),
            None => faults.push(format!("{}: verified", case.id)),
        }
    }
    let differences = first.differences(second);
    if !differences.is_empty() {
        faults.push(format!("{}: {} (ours failed {:?})", case.id, differences.join("; "), first.failed()));
    }
}
