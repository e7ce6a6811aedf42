//! Parser of durations and of amounts with a unit.

use documents::record::declared::Limit;

/// Parses a duration such as `30s`, `15m`, `12h` or `90d`. Returns seconds.
///
/// # Errors
/// If the text is not a duration, returns a message with the expected form.
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
            Err(format!("{text:?} is longer than 100 years: write a shorter duration"))
        }
        _ => Err(format!("{text:?} is not a duration: write 30s, 15m, 12h or 90d")),
    }
}

/// Parses the value of a limit in the syntax of runbooks.
///
/// # Errors
/// If the text is not a value of this limit, returns a message with the expected form.
pub fn limit(limit: Limit, text: &str) -> Result<u64, String> {
    judgement::registry::attributes::limit(limit, text)
}

/// Names of the limits, as keys in a runbook.
pub const LIMITS: [(&str, Limit); 7] = judgement::registry::attributes::LIMITS;

/// Maximum duration: 100 years in seconds.
const MAX_SPAN_S: i64 = 36_525 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_durations_are_accepted() {
        assert_eq!(seconds("90d"), Ok(90 * 86_400));
        assert_eq!(seconds("1s"), Ok(1));
        for wrong in ["", "90", "d", "-1d", "0d", "1.5h", "1 d", "99999999999999999999d", "9999999d", "1w"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
