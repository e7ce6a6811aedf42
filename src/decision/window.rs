//! Is now the time that was signed?

use std::fmt;

use crate::record::authorization::Authorization;
use crate::record::refusal::Code;
use crate::record::validity::{MAX_WINDOW_S, SKEW_S, Timestamp};

/// The consumption's time is within the signed window; only [`check_window`] makes it.
#[derive(Debug)]
#[must_use]
pub struct WithinWindow(());

/// Judges a statement's window at `at`, the time of the consumption leaf.
///
/// `issued_at` ≤ `not_before` < `expires_at`; `issued_at` ≤ t + 60 s; `not_before` ≤ t; t < `expires_at` (no skew at
/// the end); `expires_at` - `issued_at` at most 24 h, or `max_window_s` where policy says less.
///
/// # Errors
/// The first rule that is broken: those that no time could mend come first.
pub fn check_window(
    signed: &Authorization,
    at: Timestamp,
    max_window_s: Option<i64>,
) -> Result<WithinWindow, WindowError> {
    let (issued, from, until) = (signed.issued_at, signed.not_before, signed.expires_at);
    if issued > from || from >= until {
        return Err(WindowError::Reversed);
    }
    let seconds = until.unix() - issued.unix();
    if seconds > MAX_WINDOW_S {
        return Err(WindowError::TooLong { seconds, allowed: MAX_WINDOW_S, by_policy: false });
    }
    if let Some(allowed) = max_window_s.filter(|allowed| seconds > *allowed) {
        return Err(WindowError::TooLong { seconds, allowed, by_policy: true });
    }
    if at >= until {
        return Err(WindowError::Expired { until, at });
    }
    if issued > at.plus(SKEW_S) {
        return Err(WindowError::IssuedLater { issued, at });
    }
    if from > at {
        return Err(WindowError::NotYet { from, at });
    }
    Ok(WithinWindow(()))
}

/// Why now is not the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowError {
    /// Issue, start and end are not in order.
    Reversed,
    /// The window is longer than it may be.
    TooLong {
        /// Its length.
        seconds: i64,
        /// The most that is allowed.
        allowed: i64,
        /// Whether policy says so; else the format does.
        by_policy: bool,
    },
    /// The end has come; without skew.
    Expired {
        /// The end.
        until: Timestamp,
        /// Now.
        at: Timestamp,
    },
    /// It was issued in the future, by more than clocks differ.
    IssuedLater {
        /// The issue.
        issued: Timestamp,
        /// Now.
        at: Timestamp,
    },
    /// The start is still to come.
    NotYet {
        /// The start.
        from: Timestamp,
        /// Now.
        at: Timestamp,
    },
}

impl WindowError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Reversed | Self::TooLong { by_policy: false, .. } => Code::Malformed,
            Self::TooLong { by_policy: true, .. } => Code::PolicyDenied,
            Self::Expired { .. } => Code::Expired,
            Self::IssuedLater { .. } | Self::NotYet { .. } => Code::NotYetValid,
        }
    }
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reversed => f.write_str("the times must be in order: issued_at, not_before, then expires_at"),
            Self::TooLong { seconds, allowed, by_policy } => {
                let by = if *by_policy { "policy allows" } else { "at most" };
                write!(f, "valid for {seconds} seconds, {by} {allowed}; propose it with a shorter window")
            }
            Self::Expired { until, at } => write!(f, "expired at {until}, it is {at}; propose it again"),
            Self::IssuedLater { issued, at } => {
                write!(f, "issued at {issued}, it is {at} here; set the clocks right")
            }
            Self::NotYet { from, at } => write!(f, "not valid before {from}, it is {at}; wait until then"),
        }
    }
}

impl std::error::Error for WindowError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::quorum::tests::authorization;

    fn judge(issued: i64, from: i64, until: i64, at: i64, policy: Option<i64>) -> Result<(), Code> {
        let mut signed = authorization();
        let base = 1_800_000_000;
        signed.issued_at = Timestamp::from_unix(base + issued);
        signed.not_before = Timestamp::from_unix(base + from);
        signed.expires_at = Timestamp::from_unix(base + until);
        check_window(&signed, Timestamp::from_unix(base + at), policy).map(|_| ()).map_err(|error| error.code())
    }

    #[test]
    fn the_window_has_these_edges() {
        assert_eq!(judge(0, 0, 3600, 0, None), Ok(()));
        assert_eq!(judge(0, 0, 3600, 3599, None), Ok(()));
        assert_eq!(judge(0, 0, 3600, 3600, None), Err(Code::Expired), "no skew at the end");
        assert_eq!(judge(0, 10, 3600, 9, None), Err(Code::NotYetValid));
        assert_eq!(judge(0, 10, 3600, 10, None), Ok(()));
        assert_eq!(judge(0, 0, 0, 0, None), Err(Code::Malformed), "an empty window");
        assert_eq!(judge(1, 0, 3600, 0, None), Err(Code::Malformed), "issued after its start");
        assert_eq!(judge(0, 0, 24 * 3600, 0, None), Ok(()));
        assert_eq!(judge(0, 0, 24 * 3600 + 1, 0, None), Err(Code::Malformed));
        assert_eq!(judge(0, 0, 601, 0, Some(600)), Err(Code::PolicyDenied));
        assert_eq!(judge(0, 0, 600, 0, Some(600)), Ok(()));
    }

    #[test]
    fn clocks_may_differ_by_a_minute_at_the_issue_only() {
        // not_before is never before issued_at, so the skew alone lets nothing run early.
        assert_eq!(judge(60, 60, 3600, 0, None), Err(Code::NotYetValid));
        let mut signed = authorization();
        signed.issued_at = Timestamp::from_unix(1_800_000_061);
        signed.not_before = signed.issued_at;
        signed.expires_at = signed.issued_at.plus(60);
        let error = check_window(&signed, Timestamp::from_unix(1_800_000_000), None).expect_err("too early");
        assert!(matches!(error, WindowError::IssuedLater { .. }), "{error}");
    }
}
