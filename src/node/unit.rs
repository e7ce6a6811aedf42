//! Spans of time and amounts as people write them.

use crate::record::declared::Limit;

/// Seconds of a span such as `30s`, `15m`, `12h` or `90d`.
///
/// # Errors
/// What it should look like.
pub fn seconds(text: &str) -> Result<i64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    match number.parse::<i64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(seconds) if (1..=MAX_SPAN_S).contains(&seconds) => Ok(seconds),
        Some(seconds) if seconds > MAX_SPAN_S => {
            Err(format!("{text:?} is longer than 100 years: write a shorter span"))
        }
        _ => Err(format!("{text:?} is no span of time: write 30s, 15m, 12h or 90d")),
    }
}

/// The value of a limit in the words of a runbook's fence.
///
/// # Errors
/// What it should look like.
pub fn limit(limit: Limit, text: &str) -> Result<u64, String> {
    crate::registry::attributes::limit(limit, text)
}

/// The limits by the words of a fence.
pub const LIMITS: [(&str, Limit); 7] = crate::registry::attributes::LIMITS;

/// A hundred years.
const MAX_SPAN_S: i64 = 36_525 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_time_spans_are_parsed() {
        assert_eq!(seconds("90d"), Ok(90 * 86_400));
        assert_eq!(seconds("1s"), Ok(1));
        for wrong in ["", "90", "d", "-1d", "0d", "1.5h", "1 d", "99999999999999999999d", "9999999d", "1w"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
