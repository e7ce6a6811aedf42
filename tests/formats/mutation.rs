//! Flips, drops, doubles or swaps every field and item of every signed document. Both verifiers must refuse each mutant
//! at the same checks, except the changes in `FREE`.
//!
//! The second verifier checks one mutant in three. With `COUNTERSIGN_MUTANTS=<n>` it checks one in n.

use std::collections::BTreeSet;

use crate::second::{Case, Verdict, ours, theirs};
use serde_json::Value;
use verdict::CheckName;

use crate::golden;

use crate::mutants;

/// Changes that no bundle can reveal, by the prefix `<kind><pointer> <change>`, with the reason.
const FREE: &[(&str, &str)] = &[
    // Values that approvers choose when they sign an authorization. The step, the schema and the policy must allow
    // them.
    (
        "authorization/predicate/params/drain",
        "parameters of the schema: the approvers' to say",
    ),
    (
        "authorization/predicate/params/host flipped",
        "parameters of the schema: the approvers' to say",
    ),
    ("authorization/predicate/reason", "the proposer's words"),
    (
        "authorization/predicate/sandbox/",
        "the profile that approvers signed; only `require` is compared with what was held",
    ),
    (
        "authorization/predicate/proposal flipped",
        "an id that is made by whoever makes the statement",
    ),
    (
        "authorization/predicate/nonce flipped",
        "another nonce with the same end that is spent all the same; a second use shows in the log",
    ),
    (
        "authorization/predicate/issued_at flipped",
        "a window that the spending still lies in",
    ),
    // Statements of the boundary alone. `verify` reports them as such for every run.
    (
        "receipt/predicate/boundary/version",
        "the program's version",
    ),
    (
        "receipt/predicate/decision/excluded/0",
        "owners of a token: the sealed tokens show them to `audit`",
    ),
    ("receipt/predicate/duration_ms", "how long it took"),
    (
        "receipt/predicate/output/stdout/sha256 flipped",
        "what was recorded: compare it with the output",
    ),
    (
        "receipt/predicate/output/stdout/blake3 flipped",
        "what was recorded: compare it with the output",
    ),
    (
        "receipt/predicate/output/stderr swapped",
        "what was recorded on which stream",
    ),
    (
        "receipt/predicate/output/stdout/redactions flipped",
        "how often a secret was masked",
    ),
    (
        "receipt/predicate/output/stderr/redactions flipped",
        "how often a secret was masked",
    ),
    (
        "receipt/predicate/sandbox/limits",
        "facts of the sandbox beyond its layers",
    ),
    ("all facts as they are", "no mutant"),
    ("all facts/ns", "a fact of the sandbox beyond its layers"),
    (
        "all facts/landlock",
        "a fact of the sandbox beyond its layers",
    ),
    (
        "all facts/seccomp",
        "a fact of the sandbox beyond its layers",
    ),
    ("all facts/caps", "a fact of the sandbox beyond its layers"),
    ("all facts/fs", "a fact of the sandbox beyond its layers"),
    ("all facts/net", "a fact of the sandbox beyond its layers"),
    (
        "all facts/contacted",
        "a fact of the sandbox beyond its layers",
    ),
    (
        "all facts/refused_hosts",
        "a fact of the sandbox beyond its layers",
    ),
    (
        "all facts/limits",
        "a fact of the sandbox beyond its layers",
    ),
    ("all facts/kill", "a fact of the sandbox beyond its layers"),
    ("all facts/left", "a fact of the sandbox beyond its layers"),
    ("receipt/predicate/usage/", "what it used up"),
    ("seal/predicate/engine", "the program's name"),
    (
        "seal/predicate/at flipped",
        "when it was sealed, before the consumption",
    ),
    (
        "seal/predicate/genesis flipped",
        "another boundary that is sound in itself: its id is another",
    ),
    (
        "seal/predicate/registry flipped",
        "a blob that only `audit` opens; the root is what counts",
    ),
    (
        "seal/predicate/tokens flipped",
        "a blob that only `audit` opens",
    ),
    (
        "seal/predicate/configuration flipped",
        "a blob that only `audit` opens",
    ),
    (
        "sealed builtins",
        "the program's own lists: not in the roster, so that an upgrade breaks none",
    ),
    // Definitions that approvers signed, with a script that follows from them.
    ("step approvals value 0", "a rule that the signatures meet"),
    ("step approvals value 2", "a rule that the signatures meet"),
    ("step check", "the author's word that the step only looks"),
    ("step exclusive", "checked in the order of the log"),
    ("step files", "files beside the script"),
    ("step format", "a field without effect on a run"),
    ("step interpreter", "the program that reads the script"),
    ("step outputs", "outputs that the run did not have"),
    ("step params value 1", "a schema that the parameters obey"),
    ("step sandbox", "the signed profile: compared in an audit"),
    ("step secrets", "secrets that the run gets"),
    ("step template", "a template without an action"),
    ("step title", "what people call the step"),
    ("template 0 as it is rendered", "the script of the template"),
    ("template 1 as it is rendered", "the script of the template"),
    // A different first roster has a different trusted digest, and a later roster has signatures of approvers. So these
    // values are the choice of the roster's signers.
    (
        "roster/predicate/approvers/carol",
        "somebody who did not sign here",
    ),
    (
        "roster/predicate/approvers/alice swapped",
        "two people who both signed here",
    ),
    (
        "roster/predicate/groups/ops doubled",
        "a group that no rule names",
    ),
    (
        "roster/predicate/groups/security doubled",
        "a group that no rule names",
    ),
    ("roster/predicate/name", "what people call it"),
    ("roster/predicate/operators", "who cancels and revokes"),
    (
        "roster/predicate/threshold",
        "who signs the next version; 0 is shown as unguarded",
    ),
    (
        "roster/predicate/boundaries/prod-eu/keys/0 flipped",
        "the comment of a key",
    ),
    (
        "roster-2/predicate/approvers/carol",
        "somebody who did not sign here",
    ),
    (
        "roster-2/predicate/approvers/alice swapped",
        "two people who both signed here",
    ),
    (
        "roster-2/predicate/groups/ops doubled",
        "a group that no rule names",
    ),
    (
        "roster-2/predicate/groups/security doubled",
        "a group that no rule names",
    ),
    (
        "roster-2/predicate/groups/second",
        "a group that no rule names",
    ),
    ("roster-2/predicate/operators", "who cancels and revokes"),
    (
        "roster-2/predicate/threshold",
        "who signs the next version; 0 is shown as unguarded",
    ),
    (
        "roster-2/predicate/boundaries/prod-eu/keys/0 flipped",
        "the comment of a key",
    ),
    // Closures are lists of the program.
    (
        "listed receipt/predicate/programs/refused",
        "what the list refused",
    ),
    (
        "listed receipt/predicate/programs/started",
        "what the run started",
    ),
    (
        "listed builtins",
        "the program's own lists: not in the roster, so that an upgrade breaks none",
    ),
    // A value that no signature covers.
    (
        "bundle.json/proofs/* checkpoint line 4 doubled",
        "a note may carry one signature line twice, as C2SP's readers take it",
    ),
];

#[test]
fn every_field_of_a_step_has_new_values() {
    let schema = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/step.v1.json"))
        .expect("the schema");
    let schema: Value = serde_json::from_slice(&schema).expect("JSON");
    let fields: BTreeSet<&str> = schema["properties"]
        .as_object()
        .expect("fields")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        mutants::STEP_VALUES
            .iter()
            .map(|(field, _)| *field)
            .collect::<BTreeSet<_>>(),
        fields
    );
}

#[test]
fn every_mutant_is_refused_by_both_verifiers_at_the_same_checks() {
    let golden_case = mutants::Story::default().tell("golden".to_owned());
    assert!(
        ours(&golden_case).expect("trust").verified,
        "the story itself is verified"
    );
    let cases = mutants::all();
    let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "each mutant has one name");
    assert!(cases.len() > 3000, "{}", cases.len());
    let first: Vec<Option<Verdict>> = cases.iter().map(ours).collect();
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (case, first) in cases.iter().zip(&first) {
        survivor(case, first.as_ref(), &mut used, &mut faults);
    }
    let one_in = std::env::var("COUNTERSIGN_MUTANTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let (total, mut asked) = (cases.len(), Vec::new());
    let mut expected = Vec::new();
    for (case, first) in cases.into_iter().zip(first).step_by(one_in) {
        asked.push(case);
        expected.push(first);
    }
    for ((case, first), second) in asked.iter().zip(&expected).zip(theirs(&asked)) {
        compare(case, first.as_ref(), second.as_ref(), &mut faults);
    }
    for (free, _) in FREE {
        if !used.contains(free) {
            faults.push(format!("{free}: refused now, take it off the list"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {total}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Every check of a bundle has a vector that fails this check, or that leaves the check open if it cannot fail. The checks
/// of grants and `revocations` are newer than the vectors: `tests/audit/grant_bundles.rs` fails each check of a grant, and
/// `revocations` is open in every verified bundle.
#[test]
fn every_check_of_a_bundle_has_a_vector() {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(golden::own_vectors().join(path)).expect(path))
            .expect("JSON")
    };
    let (file, index) = (read("bundles.json"), read("golden/refused/index.json"));
    let vectors = file["vectors"].as_array().expect("vectors").iter();
    let checks = vectors
        .flat_map(|one| [&one["failed"], &one["not_checked"]])
        .filter_map(Value::as_array)
        .flatten();
    let checks = checks.chain(
        index
            .as_array()
            .expect("entries")
            .iter()
            .map(|entry| &entry["expect"]),
    );
    let covered = checks.map(|check| check.as_str().expect("a check"));
    let newer = [
        CheckName::GrantDocument,
        CheckName::GrantSignatures,
        CheckName::GrantIncluded,
        CheckName::GrantCovers,
        CheckName::Revocations,
    ];
    let covered: BTreeSet<&str> = covered.chain(newer.map(CheckName::word)).collect();
    assert_eq!(
        covered,
        CheckName::ALL.iter().map(|check| check.word()).collect()
    );
}

/// Every mutant that our own verifier accepts must be in the table `FREE`.
fn survivor(
    case: &Case,
    first: Option<&Verdict>,
    used: &mut BTreeSet<&'static str>,
    faults: &mut Vec<String>,
) {
    if first.is_some_and(|first| first.verified) {
        match FREE.iter().find(|(free, _)| case.id.starts_with(free)) {
            Some((free, _)) => drop(used.insert(free)),
            None => faults.push(format!("{}: verified", case.id)),
        }
    }
}

/// The findings of both verifiers must be equal for every check.
fn compare(
    case: &Case,
    first: Option<&Verdict>,
    second: Option<&Verdict>,
    faults: &mut Vec<String>,
) {
    match (first, second) {
        (Some(first), Some(second)) => {
            let mut differences = first.differences(second);
            if ["listed ", "step interpreter ", "template "]
                .iter()
                .any(|table| case.id.starts_with(table))
            {
                // Only our verifier parses the script, and knows which names nothing explains. To policy, a script in
                // another language is an unknown command.
                differences.retain(|one| {
                    ![
                        "permissions: ours failed, theirs not-checked",
                        "verified: ours false, theirs true",
                    ]
                    .contains(&one.as_str())
                });
            }
            if !differences.is_empty() {
                faults.push(format!(
                    "{}: {} (ours failed {:?})",
                    case.id,
                    differences.join("; "),
                    first.failed()
                ));
            }
        }
        (None, None) => {}
        _ => faults.push(format!(
            "{}: one verifier has no trust to check with",
            case.id
        )),
    }
}
