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
const FREE: &[(&str, &str)] = &[
    // What the people who sign an authorization mean, as long as step, schema and policy hold for it.
    ("authorization/predicate/params/drain", "parameters of the schema: the approvers' to say"),
    ("authorization/predicate/params/host flipped", "parameters of the schema: the approvers' to say"),
    ("authorization/predicate/reason", "the proposer's words"),
    (
        "authorization/predicate/sandbox/",
        "the profile that approvers signed; only `require` is compared with what was held",
    ),
    ("authorization/predicate/proposal flipped", "an id that is made by whoever makes the statement"),
    (
        "authorization/predicate/nonce flipped",
        "another nonce that is spent all the same; a second use shows in the log",
    ),
    ("authorization/predicate/issued_at flipped", "a window that the spending still lies in"),
    ("authorization/predicate/expires_at flipped", "a window that the spending still lies in"),
    // The boundary's word, which `verify` names as such on every run.
    ("receipt/predicate/boundary/version", "the program's version"),
    ("receipt/predicate/decision/excluded/0", "owners of a token: the sealed tokens show them to `audit`"),
    ("receipt/predicate/duration_ms", "how long it took"),
    ("receipt/predicate/output/stdout/sha256 flipped", "what was recorded: compare it with the output"),
    ("receipt/predicate/output/stdout/blake3 flipped", "what was recorded: compare it with the output"),
    ("receipt/predicate/output/stderr swapped", "what was recorded on which stream"),
    ("receipt/predicate/output/stdout/redactions flipped", "how often a secret was masked"),
    ("receipt/predicate/output/stderr/redactions flipped", "how often a secret was masked"),
    ("receipt/predicate/sandbox/limits", "facts of the sandbox beyond its layers"),
    ("receipt/predicate/usage/", "what it used up"),
    ("seal/predicate/engine", "the program's name"),
    ("seal/predicate/at flipped", "when it was sealed, before the consumption"),
    ("seal/predicate/genesis flipped", "another boundary that is sound in itself: its id is another"),
    ("seal/predicate/registry flipped", "a blob that only `audit` opens; the root is what counts"),
    ("seal/predicate/tokens flipped", "a blob that only `audit` opens"),
    ("seal/predicate/configuration flipped", "a blob that only `audit` opens"),
    ("sealed builtins", "the program's own lists: not in the roster, so that an upgrade breaks none"),
    // Another roster is trusted by another digest, a later one by its signatures: what they signed is what they meant.
    ("roster/predicate/approver/0 swapped", "the order of people"),
    ("roster/predicate/approver/1 swapped", "the order of people"),
    ("roster/predicate/approver/2", "somebody who did not sign here"),
    ("roster/predicate/group/0 swapped", "the order of groups"),
    ("roster/predicate/name", "what people call it"),
    ("roster/predicate/operator", "who cancels and revokes"),
    ("roster/predicate/threshold", "who signs the next version; 0 is shown as unguarded"),
    ("roster/predicate/boundary/0/keys/0 flipped", "the comment of a key"),
    ("roster-2/predicate/approver/0 swapped", "the order of people"),
    ("roster-2/predicate/approver/1 swapped", "the order of people"),
    ("roster-2/predicate/approver/2", "somebody who did not sign here"),
    ("roster-2/predicate/group/0 swapped", "the order of groups"),
    ("roster-2/predicate/name", "what people call it"),
    ("roster-2/predicate/operator", "who cancels and revokes"),
    ("roster-2/predicate/threshold", "who signs the next version; 0 is shown as unguarded"),
    ("roster-2/predicate/boundary/0/keys/0 flipped", "the comment of a key"),
    // Nobody's word at all.
    (
        "bundle.json/proofs/* checkpoint line 4 doubled",
        "a note may carry one signature line twice, as C2SP's readers take it",
    ),
];

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
