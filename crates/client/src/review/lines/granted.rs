//! The lines about a step of a grant.

use crate::review::compare::compare;
use crate::review::derived::Derived;
use crate::review::line::Lines;
use crate::review::sources::ReviewSources;
use documents::record::authorization::Authorization;
use documents::record::validity::Timestamp;

impl Lines {
    /// Builds the lines about the step of a grant, which all its runs under the grant have in common.
    #[must_use]
    pub fn of_granted(sources: &ReviewSources, found: &Derived, run: &Authorization, now: Timestamp) -> Self {
        let mut lines = Self { comparison: compare(sources, found, run), ..Self::default() };
        lines.heading_shows = ["step.ref", "boundary.name"].map(|path| format!("signed.predicate.{path}")).to_vec();
        if let Some((definition, _)) = &found.definition {
            lines.foot(definition, run);
        }
        lines.what_runs(sources, found, run);
        lines.all_remarks(sources, found, run, now);
        lines
    }
}
