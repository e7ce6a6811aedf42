//! Checks whether an authorization can be consumed at a given time.

use crate::{ConsumeStop, Window};
use documents::{OpenWindow, SKEW_S, Timestamp, WindowError, judge};

/// Maximum number of seconds by which a credible low-water mark is ahead of both the log and the clock. A mark that is
/// farther ahead was probably changed by hand. It must not date new leaves, because a leaf with a wrong date stays in
/// the log for ever.
pub const MOST_MARK_AHEAD_S: i64 = 86_400;

impl Window {
    /// Checks the window of an authorization at the time `at` of the consumption leaf. `mark` is the low-water mark.
    ///
    /// # Errors
    /// Returns an error for the first rule that the window breaks (docs/formats.md, section 12).
    pub fn check(&self, at: Timestamp, mark: Timestamp) -> Result<OpenWindow, ConsumeStop> {
        // R7: a window that ended at or before the low-water mark is expired, even if the clock shows an earlier time.
        if self.expires_at <= mark
            && self.issued_at <= self.not_before
            && self.not_before < self.expires_at
        {
            return Err(ConsumeStop::Expired {
                at,
                expires_at: self.expires_at,
            });
        }
        let open = judge(
            self.issued_at,
            self.not_before,
            self.expires_at,
            at,
            self.max_s,
        )
        .map_err(|error| match error {
            WindowError::Reversed => ConsumeStop::BadWindow,
            WindowError::TooLong { allowed, .. } => ConsumeStop::WindowTooLong { most_s: allowed },
            WindowError::Expired { until, at } => ConsumeStop::Expired {
                at,
                expires_at: until,
            },
            WindowError::IssuedLater { issued, at } => ConsumeStop::NotYetValid {
                at,
                from: issued.plus(-SKEW_S),
            },
            WindowError::NotYet { from, at } => ConsumeStop::NotYetValid { at, from },
        })?;
        // A signer counts only if valid_after ≤ t < valid_before (docs/formats.md, "Who counts").
        if self.valid_after.is_some_and(|after| after > at)
            || self.valid_before.is_some_and(|before| at >= before)
        {
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
    fn a_window_begins_and_ends_at_the_exact_second() {
        let never = Timestamp::from_unix(0);
        assert_eq!(window().check(t(0), never).map(OpenWindow::at), Ok(t(0)));
        assert_eq!(
            window().check(t(3599), never).map(OpenWindow::at),
            Ok(t(3599))
        );
        assert_eq!(
            window().check(t(3600), never),
            Err(ConsumeStop::Expired {
                at: t(3600),
                expires_at: t(3600)
            })
        );
        assert_eq!(
            window().check(t(-1), never),
            Err(ConsumeStop::NotYetValid {
                at: t(-1),
                from: t(0)
            }),
            "no skew"
        );
    }

    #[test]
    fn clock_skew_is_allowed_only_for_the_time_of_issue() {
        let ahead = Window {
            issued_at: t(60),
            not_before: t(60),
            ..window()
        };
        let never = Timestamp::from_unix(0);
        assert_eq!(
            ahead.check(t(0), never),
            Err(ConsumeStop::NotYetValid {
                at: t(0),
                from: t(60)
            })
        );
        let farther = Window {
            issued_at: t(61),
            not_before: t(61),
            ..window()
        };
        assert_eq!(
            farther.check(t(0), never),
            Err(ConsumeStop::NotYetValid {
                at: t(0),
                from: t(1)
            })
        );
    }

    #[test]
    fn an_authorization_that_expires_at_the_low_water_mark_is_expired() {
        assert!(matches!(
            window().check(t(0), t(3600)),
            Err(ConsumeStop::Expired { .. })
        ));
        assert!(window().check(t(0), t(3599)).is_ok());
    }

    #[test]
    fn a_window_that_is_too_long_or_reversed_is_refused() {
        let never = Timestamp::from_unix(0);
        let day = Window {
            expires_at: t(24 * 3600),
            ..window()
        };
        assert!(day.check(t(1), never).is_ok());
        let longer = Window {
            expires_at: t(24 * 3600 + 1),
            max_s: Some(i64::MAX),
            ..window()
        };
        assert_eq!(
            longer.check(t(1), never),
            Err(ConsumeStop::WindowTooLong { most_s: 86_400 })
        );
        let strict = Window {
            max_s: Some(60),
            ..window()
        };
        assert_eq!(
            strict.check(t(1), never),
            Err(ConsumeStop::WindowTooLong { most_s: 60 })
        );
        let early = Window {
            not_before: t(-1),
            ..window()
        };
        assert_eq!(early.check(t(1), never), Err(ConsumeStop::BadWindow));
        let empty = Window {
            not_before: t(3600),
            ..window()
        };
        assert_eq!(empty.check(t(1), never), Err(ConsumeStop::BadWindow));
    }

    #[test]
    fn a_signature_counts_only_within_the_validity_period_of_the_approver() {
        let never = Timestamp::from_unix(0);
        let bounded = Window {
            valid_after: Some(t(10)),
            valid_before: Some(t(20)),
            ..window()
        };
        assert_eq!(
            bounded.check(t(9), never),
            Err(ConsumeStop::SignerOutside { at: t(9) })
        );
        assert!(bounded.check(t(10), never).is_ok());
        assert!(bounded.check(t(19), never).is_ok());
        assert_eq!(
            bounded.check(t(20), never),
            Err(ConsumeStop::SignerOutside { at: t(20) })
        );
    }
}
