//! Times in signed documents, and windows of validity.

use std::{fmt, str::FromStr};

use time::OffsetDateTime;

use crate::Code;

/// A signed time: whole seconds UTC, written exactly `YYYY-MM-DDTHH:MM:SSZ`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last second that the text form can express: 9999-12-31T23:59:59Z.
    pub const LAST: Self = Self(253_402_300_799);

    /// Returns the time `seconds` after 1970-01-01T00:00:00Z, limited to the years 0000 to 9999 of the text form.
    pub const fn from_unix(seconds: i64) -> Self {
        let floored = if seconds < 0 { 0 } else { seconds };
        Self(if floored > Self::LAST.0 {
            Self::LAST.0
        } else {
            floored
        })
    }

    /// Returns the number of seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// Returns this time plus `seconds`.
    pub fn plus(self, seconds: i64) -> Self {
        Self::from_unix(self.0.saturating_add(seconds))
    }

    /// Returns the time `seconds` later.
    pub fn plus_seconds(self, seconds: u64) -> Self {
        self.plus(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl Timestamp {
    /// Returns the form `YYYY-MM-DDTHH:MM:SSZ`. Every document has several times, so this function does not use a
    /// general formatter, which would need more CPU time.
    fn form(self) -> [u8; 20] {
        let at = OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut form = *b"0000-00-00T00:00:00Z";
        let mut put = |at: usize, value: u8| {
            form[at] = b'0' + value / 10 % 10;
            form[at + 1] = b'0' + value % 10;
        };
        let year = at.year().unsigned_abs();
        put(0, u8::try_from(year / 100).unwrap_or(0));
        put(2, u8::try_from(year % 100).unwrap_or(0));
        put(5, at.month().into());
        put(8, at.day());
        put(11, at.hour());
        put(14, at.minute());
        put(17, at.second());
        form
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // The text form consists of ASCII characters, so this conversion never fails.
        f.write_str(std::str::from_utf8(&self.form()).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a text that is not `YYYY-MM-DDTHH:MM:SSZ`, or that names a date that does not exist.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a time must have the form YYYY-MM-DDTHH:MM:SSZ, and the year must be 1970 or later")]
pub struct TimestampFormatError;

impl FromStr for Timestamp {
    type Err = TimestampFormatError;
    fn from_str(text: &str) -> Result<Self, TimestampFormatError> {
        let bytes: &[u8; 20] = text
            .as_bytes()
            .try_into()
            .map_err(|_| TimestampFormatError)?;
        let two = |at: usize| {
            let digit = |at: usize| bytes[at].wrapping_sub(b'0');
            digit(at).wrapping_mul(10).wrapping_add(digit(at + 1))
        };
        let year = i32::from(two(0)) * 100 + i32::from(two(2));
        let at = time::Month::try_from(two(5))
            .ok()
            .and_then(|month| time::Date::from_calendar_date(year, month, two(8)).ok())
            .and_then(|date| date.with_hms(two(11), two(14), two(17)).ok())
            .ok_or(TimestampFormatError)?;
        let parsed = Self::from_unix(at.assume_utc().unix_timestamp());
        // A time has only one text form, so the formatted time must equal the input text. The comparison also refuses
        // characters that are not digits.
        if parsed.form() == *bytes {
            Ok(parsed)
        } else {
            Err(TimestampFormatError)
        }
    }
}

written_as_text!(Timestamp, |this, serializer| serializer.collect_str(this), {"type": "string", "pattern": "^(?:19[7-9]|[2-9][0-9]{2})[0-9]-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"});

/// Maximum number of seconds by which the issuer's clock may be ahead of the boundary's clock.
pub const SKEW_S: i64 = 60;
/// Maximum time from the issue of a statement to its end, in seconds.
pub const MAX_WINDOW_S: i64 = 24 * 3600;
/// Seconds after which a session ends, even if it is in use.
pub const MAX_SESSION_S: i64 = 7 * MAX_WINDOW_S;
/// Default time for which a proposal is valid, in seconds.
pub const DEFAULT_WINDOW_S: i64 = 3600;

/// Proof that a time is within the signed window. Only [`judge`] constructs this proof.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct OpenWindow(Timestamp);

impl OpenWindow {
    /// Returns the judged moment.
    pub fn at(self) -> Timestamp {
        self.0
    }
}

/// Judges a window at `at`: `issued_at` ≤ `not_before` < `expires_at`; `issued_at` ≤ `at` + 60 s; `not_before` ≤ `at`;
/// `at` < `expires_at` (no tolerance at the end); `expires_at` - `issued_at` at most 24 h, or `max_s` if policy sets a
/// shorter limit.
///
/// # Errors
/// Returns an error for the first broken rule. The function first checks the rules that cannot become satisfied at a
/// later time.
pub fn judge(
    issued_at: Timestamp,
    not_before: Timestamp,
    expires_at: Timestamp,
    at: Timestamp,
    max_s: Option<i64>,
) -> Result<OpenWindow, WindowError> {
    if issued_at > not_before || not_before >= expires_at {
        return Err(WindowError::Reversed);
    }
    let seconds = expires_at.unix() - issued_at.unix();
    if seconds > MAX_WINDOW_S {
        return Err(WindowError::TooLong {
            seconds,
            allowed: MAX_WINDOW_S,
            by_policy: false,
        });
    }
    if let Some(allowed) = max_s.filter(|allowed| seconds > *allowed) {
        return Err(WindowError::TooLong {
            seconds,
            allowed,
            by_policy: true,
        });
    }
    if at >= expires_at {
        return Err(WindowError::Expired {
            until: expires_at,
            at,
        });
    }
    if issued_at > at.plus(SKEW_S) {
        return Err(WindowError::IssuedLater {
            issued: issued_at,
            at,
        });
    }
    if not_before > at {
        return Err(WindowError::NotYet {
            from: not_before,
            at,
        });
    }
    Ok(OpenWindow(at))
}

/// The reason why the time is outside of the window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Issue, start and end of the window are not in order.
    #[error("the times must be in order: issued_at, not_before, then expires_at")]
    Reversed,
    /// The window is longer than the limit.
    #[error(
        "the authorization is valid for {seconds} seconds, but {} {allowed}; propose again with a shorter window",
        if *.by_policy { "policy allows" } else { "the maximum is" }
    )]
    TooLong {
        /// The length of the window in seconds.
        seconds: i64,
        /// The longest allowed window.
        allowed: i64,
        /// True if policy sets the limit, false if the format sets the limit.
        by_policy: bool,
    },
    /// The window has ended (the check of the end has no tolerance).
    #[error("the authorization expired at {until}, and the time now is {at}; propose again")]
    Expired {
        /// End of the window.
        until: Timestamp,
        /// The judged moment.
        at: Timestamp,
    },
    /// The issue time is more than 60 s later than the judged moment. The tolerance for clock differences is 60 s.
    #[error(
        "the authorization was issued at {issued}, but the clock of this machine shows {at}; correct the clocks"
    )]
    IssuedLater {
        /// The time of issue.
        issued: Timestamp,
        /// The judged moment.
        at: Timestamp,
    },
    /// The window has not begun.
    #[error(
        "the authorization is not valid before {from}, and the time now is {at}; wait until {from}"
    )]
    NotYet {
        /// Start of the window.
        from: Timestamp,
        /// The judged moment.
        at: Timestamp,
    },
}

impl WindowError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Reversed
            | Self::TooLong {
                by_policy: false, ..
            } => Code::Malformed,
            Self::TooLong {
                by_policy: true, ..
            } => Code::PolicyDenied,
            Self::Expired { .. } => Code::Expired,
            Self::IssuedLater { .. } | Self::NotYet { .. } => Code::NotYetValid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_and_second_is_unchanged_after_writing_and_reading() {
        use time::macros::format_description;
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        for day in (0..2_932_896)
            .step_by(97)
            .chain([0, 58, 59, 11_016, 2_932_895])
        {
            let at = Timestamp::from_unix(day * 86_400 + day * 7919 % 86_400);
            let written = OffsetDateTime::from_unix_timestamp(at.unix())
                .expect("a time")
                .format(form)
                .expect("written");
            assert_eq!(at.to_string(), written);
            assert_eq!(written.parse(), Ok(at));
        }
        for at in 0..20 {
            for c in [b'0', b'9', b':', b'/', b'Z', 0, 0xff, b'-'] {
                let mut bytes = *b"2024-02-29T23:59:59Z";
                bytes[at] = c;
                let Ok(text) = std::str::from_utf8(&bytes) else {
                    continue;
                };
                if let Ok(read) = text.parse::<Timestamp>() {
                    assert_eq!(read.to_string(), text);
                }
            }
        }
    }
}
