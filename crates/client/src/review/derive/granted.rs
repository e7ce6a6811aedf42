//! Checks a step of a grant like the step of one run.

use crate::{
    Derived, Lines, ReviewSources,
    review::value_words::signed_paths,
    review::{compare::compare, coverage},
};
use documents::{Authorization, Timestamp};

/// Makes the checks of a step of a grant, and builds its lines. `run` has what all runs of this step under the grant have in
/// common. Its parameters are not checked, because each run has its own.
pub fn derive_granted(sources: &ReviewSources, run: &Authorization, now: Timestamp) -> Derived {
    let mut found = Derived::unchecked(sources);
    found.statement = run.clone().into_statement().ok();
    found.payload = found
        .statement
        .as_ref()
        .and_then(|statement| serde_json::to_value(statement).ok());
    found.definition(sources, run);
    let seal = found.sealed(sources, run);
    found.context(sources, run, seal.as_ref());
    // Passkeys sign no grant.
    found.passkeys = None;
    let mut lines = Lines {
        comparison: compare(sources, &found, run),
        ..Lines::default()
    };
    lines.heading_shows = signed_paths(&["step.ref", "boundary.name"]);
    if let Some((definition, _)) = &found.definition {
        lines.foot(definition, run);
    }
    lines.what_runs(sources, &found, run, now);
    let mut fields = coverage::fields(&found, &lines);
    // The grant itself states the other fields.
    fields.retain(|field| GRANTED.iter().any(|part| field.path.starts_with(part)));
    found.concluded(sources, lines, fields)
}

/// The fields that all runs of a step under a grant have in common.
const GRANTED: [&str; 5] = [
    "definition",
    "signed.predicate.boundary",
    "signed.predicate.permissions",
    "signed.predicate.sandbox",
    "signed.predicate.step",
];
