//! Fields that connect the log lines of one request or of one run. Only the JSON format of the log shows these fields.

use tracing::{
    Span,
    field::{Empty, display},
};

use documents::{ProposalId, StepRef};

/// Returns the span for the log lines of an attempt to run a proposal. The span belongs to no request, because the
/// service repeats the attempts.
pub fn run_span() -> Span {
    tracing::error_span!(parent: None, "run", proposal = Empty, step = Empty)
}

/// Adds the proposal and its step to the later log lines of the current request or run.
pub fn log_about(proposal: &ProposalId, step: &StepRef) {
    Span::current()
        .record("proposal", display(proposal))
        .record("step", display(step));
}
