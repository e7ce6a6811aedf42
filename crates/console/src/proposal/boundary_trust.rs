//! What the person trusts at one boundary: its id in the list of boundaries, and its roster.

use client::{ChosenTrust, CommandResult, GlobalOptions, ListedBoundary, TrustArgs};
use documents::SealDigest;

/// What the person trusts at one boundary.
#[derive(Debug)]
pub struct BoundaryTrust {
    options: TrustArgs,
    listed: Option<ListedBoundary>,
}

impl BoundaryTrust {
    /// Takes the options of trust for the boundary of these options.
    pub fn new(global: &GlobalOptions, trust: &TrustArgs) -> Self {
        Self {
            options: global.trust(trust),
            listed: global.listed().cloned(),
        }
    }

    /// Returns the trusted rosters.
    ///
    /// # Errors
    /// Returns an error if a roster can't be read.
    pub fn rosters(&self) -> CommandResult<Vec<ChosenTrust>> {
        self.options.find()
    }

    /// Returns the options of trust, for a review.
    pub const fn options(&self) -> &TrustArgs {
        &self.options
    }

    /// Checks that a boundary, or a statement for it, has the id that the list of boundaries states.
    ///
    /// # Errors
    /// Returns an error if the id is another one.
    pub fn check_id(&self, found: SealDigest) -> CommandResult<()> {
        self.listed
            .as_ref()
            .map_or(Ok(()), |listed| listed.check_id(found))
    }
}
