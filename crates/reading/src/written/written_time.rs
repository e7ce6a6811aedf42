//! Reads durations and times that people write in options, forms and files.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use documents::Timestamp;

/// Units of a duration with their seconds, the longest first.
const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// Longest duration: 100 years in seconds.
const MAX_DURATION_S: i64 = 36_525 * 86_400;

/// Reads a duration such as `90s`, `1h30m` or `7d`: whole numbers with units, each unit once and the longest first.
/// Returns seconds.
///
/// # Errors
/// Returns the expected form for another text, for zero, and for more than 100 years.
pub fn duration(text: &str) -> Result<i64, String> {
    let (mut rest, mut units, mut sum) = (text, &UNITS[..], Some(0_i64));
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        let Some(at) = end.and_then(|end| {
            units
                .iter()
                .position(|(name, _)| rest[end..].starts_with(*name))
        }) else {
            sum = None;
            break;
        };
        let number = &rest[..end.unwrap_or_default()];
        let count = number
            .parse::<i64>()
            .ok()
            .filter(|count| count.to_string() == number);
        sum = count
            .and_then(|count| count.checked_mul(units[at].1))
            .and_then(|seconds| sum?.checked_add(seconds));
        rest = &rest[number.len() + 1..];
        units = &units[at + 1..];
    }
    sum.filter(|seconds| (1..=MAX_DURATION_S).contains(seconds))
        .ok_or_else(|| {
            format!("{text:?} is no duration up to 100 years: write 90s, 30m, 1h30m, 24h or 7d")
        })
}

/// Reads a time of RFC 3339 with any offset. A fraction of a second is cut off.
///
/// # Errors
/// Returns the expected form for another text.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let seconds = OffsetDateTime::parse(text, &Rfc3339).map_or(-1, OffsetDateTime::unix_timestamp);
    // A time outside of the years 1970 to 9999 has no text form.
    Some(Timestamp::from_unix(seconds))
        .filter(|at| at.unix() == seconds)
        .ok_or_else(|| {
            format!("{text:?} is no time: write 2026-11-14T09:00:00Z or 2026-11-14T10:00:00+01:00")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_whole_numbers_with_units_of_which_the_longest_is_first() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("7d12h", 648_000),
            ("1d0h1s", 86_401),
        ] {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for wrong in [
            "",
            "90",
            "d",
            "-1d",
            "0d",
            "0h0m",
            "1.5h",
            "1 d",
            "30m1h",
            "1h1h",
            "07d",
            "1w",
            "1D",
            "+1d",
            "1h30",
            "99999999999999999999d",
            "9999999d",
            "9223372036854775807h1s",
            "1\u{661}h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_may_have_any_offset_of_rfc_3339() {
        let utc = "2026-11-27T09:00:00Z".parse().expect("a time");
        for same in [
            "2026-11-27T09:00:00Z",
            "2026-11-27T10:00:00+01:00",
            "2026-11-27T03:30:00-05:30",
            "2026-11-27T09:00:00.75Z",
            "2026-11-27t09:00:00z",
        ] {
            assert_eq!(time(same), Ok(utc), "{same}");
        }
        for wrong in [
            "",
            "2026-11-27",
            "2026-11-27T09:00:00",
            "2026-11-27T09:00:00+25:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
