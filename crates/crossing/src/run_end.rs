//! What the end of a run means for its receipt.

use std::time::Duration;

use documents::{Outcome, Status, Timestamp};
use sandbox::End;

/// Longest time from the request to spend a nonce to the start of the run, if the boundary has several nodes. This time
/// is shorter than the time after which another node can close the run.
pub const LATEST_START: Duration = Duration::from_secs(20);

/// The refusal of a run whose nonce was spent too late for its start.
pub const TOO_LATE: &str = "the database confirmed the spent nonce too late: the run does not start, and its receipt will say that its end is unknown";

/// Returns the outcome for the end of a run.
pub fn outcome_of(end: &End) -> Outcome {
    match end {
        End::Exited(code) => Outcome::exited(*code),
        End::Signalled(signal) => Outcome::signalled(*signal),
        End::TimedOut => Outcome::of(Status::TimedOut),
        End::Cancelled => Outcome::of(Status::Cancelled),
        End::Killed(limit) => Outcome {
            limit: Some((*limit).to_owned()),
            ..Outcome::of(Status::Killed)
        },
        End::NotStarted(_) => Outcome::of(Status::NotStarted),
        End::Lost(_) => Outcome::of(Status::Unknown),
    }
}

/// Returns the reason why the end of a run is unknown. The receipt has no field for this reason.
pub fn why_unknown(end: &End) -> Option<String> {
    match end {
        End::Lost(why) => Some(why.clone()),
        _ => None,
    }
}

/// Reason for the unknown end of a run that has a consumption and no receipt when the service starts.
pub const SERVICE_ENDED: &str = "the service ended during the run, because it was killed or crashed, or because the machine lost power";

/// Returns the start time that the receipt states. If the outcome is `unknown`, start and end are both the time of
/// recovery, because readers would understand a difference as the duration of the run.
pub fn shown_start(outcome: &Outcome, started_at: Timestamp, finished_at: Timestamp) -> Timestamp {
    if outcome.status == Status::Unknown {
        finished_at
    } else {
        started_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receipt_of_a_lost_run_has_the_same_start_and_end_time() {
        let (started, finished) = (Timestamp::from_unix(100), Timestamp::from_unix(130));
        let lost = outcome_of(&End::Lost(
            "the run's first process ended without a word".to_owned(),
        ));
        assert_eq!(shown_start(&lost, started, finished), finished);
        assert_eq!(
            shown_start(&outcome_of(&End::Exited(0)), started, finished),
            started
        );
    }
}
