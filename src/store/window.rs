//! Windows: whether an authorization may be consumed at a moment.

use crate::record::validity::{Open, SKEW_S, Timestamp, WindowError, judge};
use crate::store::message::{ConsumeStop, Window};

/// A mark that is farther ahead of the log and of the clock is not taken for the time: it may have been set by hand, and a
/// leaf that is dated by it stays in the log.
pub(crate) const MOST_MARK_AHEAD_S: i64 = 86_400;

impl Window {
    /// Checks the window at `at`, the time of the consumption leaf; what expires at or below `mark` is expired.
    ///
    /// # Errors
    /// The first rule of formats, "Window", that does not hold.
    pub fn check(&self, at: Timestamp, mark: Timestamp) -> Result<Open, ConsumeStop> {
        // R7: at or below the mark it is expired whatever the clock says.
        if self.expires_at <= mark && self.issued_at <= self.not_before && self.not_before < self.expires_at {
            return Err(ConsumeStop::Expired { at, expires_at: self.expires_at });
        }
        let open =
            judge(self.issued_at, self.not_before, self.expires_at, at, self.max_s).map_err(|error| match error {
                WindowError::Reversed => ConsumeStop::BadWindow,
                WindowError::TooLong { allowed, .. } => ConsumeStop::WindowTooLong { most_s: allowed },
                WindowError::Expired { until, at } => ConsumeStop::Expired { at, expires_at: until },
                WindowError::IssuedLater { issued, at } => ConsumeStop::NotYetValid { at, from: issued.plus(-SKEW_S) },
                WindowError::NotYet { from, at } => ConsumeStop::NotYetValid { at, from },
            })?;
        // "a signer's valid_after ≤ t < valid_before"
        if self.valid_after.is_some_and(|after| after > at) || self.valid_before.is_some_and(|before| at >= before) {
            return Err(ConsumeStop::SignerOutside { at });
        }
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn t(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    fn window() -> Window {
        Window {
            issued_at: t(0),
            not_before: t(0),
            expires_at: t(3600),
            max_s: None,
            valid_after: None,
            valid_before: None,
        }
    }

    #[test]
    fn a_window_opens_and_closes_to_the_second() {
        let never = Timestamp::from_unix(0);
        assert_eq!(window().check(t(0), never).map(Open::at), Ok(t(0)));
        assert_eq!(window().check(t(3599), never).map(Open::at), Ok(t(3599)));
        assert_eq!(window().check(t(3600), never), Err(ConsumeStop::Expired { at: t(3600), expires_at: t(3600) }));
        assert_eq!(window().check(t(-1), never), Err(ConsumeStop::NotYetValid { at: t(-1), from: t(0) }), "no skew");
    }

    #[test]
    fn clock_skew_is_allowed_only_for_the_issue_time() {
        let ahead = Window { issued_at: t(60), not_before: t(60), ..window() };
        let never = Timestamp::from_unix(0);
        assert_eq!(ahead.check(t(0), never), Err(ConsumeStop::NotYetValid { at: t(0), from: t(60) }));
        let farther = Window { issued_at: t(61), not_before: t(61), ..window() };
        assert_eq!(farther.check(t(0), never), Err(ConsumeStop::NotYetValid { at: t(0), from: t(1) }));
    }

    #[test]
    fn a_window_that_ends_at_the_mark_is_expired_at_any_clock_time() {
        assert!(matches!(window().check(t(0), t(3600)), Err(ConsumeStop::Expired { .. })));
        assert!(window().check(t(0), t(3599)).is_ok());
    }

    #[test]
    fn a_long_or_inverted_window_is_refused() {
        let never = Timestamp::from_unix(0);
        let day = Window { expires_at: t(24 * 3600), ..window() };
        assert!(day.check(t(1), never).is_ok());
        let longer = Window { expires_at: t(24 * 3600 + 1), max_s: Some(i64::MAX), ..window() };
        assert_eq!(longer.check(t(1), never), Err(ConsumeStop::WindowTooLong { most_s: 86_400 }));
        let strict = Window { max_s: Some(60), ..window() };
        assert_eq!(strict.check(t(1), never), Err(ConsumeStop::WindowTooLong { most_s: 60 }));
        let early = Window { not_before: t(-1), ..window() };
        assert_eq!(early.check(t(1), never), Err(ConsumeStop::BadWindow));
        let empty = Window { not_before: t(3600), ..window() };
        assert_eq!(empty.check(t(1), never), Err(ConsumeStop::BadWindow));
    }

    #[test]
    fn signers_count_only_within_their_validity() {
        let never = Timestamp::from_unix(0);
        let bounded = Window { valid_after: Some(t(10)), valid_before: Some(t(20)), ..window() };
        assert_eq!(bounded.check(t(9), never), Err(ConsumeStop::SignerOutside { at: t(9) }));
        assert!(bounded.check(t(10), never).is_ok());
        assert!(bounded.check(t(19), never).is_ok());
        assert_eq!(bounded.check(t(20), never), Err(ConsumeStop::SignerOutside { at: t(20) }));
    }
}
