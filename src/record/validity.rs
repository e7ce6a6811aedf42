//! Signed times and windows of validity.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use time::macros::format_description;

/// A signed time: whole seconds UTC, written exactly `YYYY-MM-DDTHH:MM:SSZ`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The last second that the form can write: 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

impl Timestamp {
    /// The second `seconds` after 1970-01-01T00:00:00Z, kept within what the form can write (0000 to 9999).
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        let floored = if seconds < 0 { 0 } else { seconds };
        Self(if floored > LAST { LAST } else { floored })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// This time moved by `seconds`.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self::from_unix(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A time that is not written `YYYY-MM-DDTHH:MM:SSZ`, or is none of the calendar's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampFormatError;

impl fmt::Display for TimestampFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time must be written YYYY-MM-DDTHH:MM:SSZ, from 1970 on")
    }
}

impl std::error::Error for TimestampFormatError {}

impl FromStr for Timestamp {
    type Err = TimestampFormatError;
    fn from_str(text: &str) -> Result<Self, TimestampFormatError> {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        if text.len() != 20 {
            return Err(TimestampFormatError);
        }
        let at = time::PrimitiveDateTime::parse(text, form).map_err(|_| TimestampFormatError)?;
        let parsed = Self::from_unix(at.assume_utc().unix_timestamp());
        // One spelling only: what we would write must be what was written.
        if parsed.to_string() == text { Ok(parsed) } else { Err(TimestampFormatError) }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(?:19[7-9]|[2-9][0-9]{2})[0-9]-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"})
    }
}

/// A clock may be ahead of the boundary's by this much when a statement is issued.
pub const SKEW_S: i64 = 60;
/// The longest a statement may be valid from its issue.
pub const MAX_WINDOW_S: i64 = 24 * 3600;
/// How long a proposal is valid unless it says otherwise.
pub const DEFAULT_WINDOW_S: i64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_spelling() {
        let text = "2026-11-20T09:30:00Z";
        assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(text.to_owned()));
        for bad in [
            "2026-11-20T09:30:00+00:00",
            "2026-11-20 09:30:00Z",
            "2026-11-20T09:30:00.0Z",
            "2026-02-30T00:00:00Z",
            "2026-11-20T09:30:60Z",
            "2026-11-20T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "+026-11-20T09:30:00Z",
            "2026-11-20t09:30:00z",
            "",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
