//! Options that choose proposals by their step and their proposer.

use documents::Name;
use reading::Pattern;

/// Only the proposals of these steps and of this proposer.
#[derive(Debug, clap::Args)]
pub struct ProposalFilterArgs {
    /// Only proposals of this step, or of the steps that match a pattern, such as 'db/**'
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub step: Option<Pattern>,
    /// Only proposals of this proposer
    #[arg(long, value_name = "NAME")]
    pub by: Option<Name>,
}

impl ProposalFilterArgs {
    /// Returns true if the filter takes a proposal of this step by this proposer.
    pub fn takes(&self, step: &str, by: &Name) -> bool {
        self.step
            .as_ref()
            .is_none_or(|pattern| pattern.matches(step))
            && self.by.as_ref().is_none_or(|wanted| wanted == by)
    }
}
