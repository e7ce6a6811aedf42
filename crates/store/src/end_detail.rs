//! The end of a run in the row of its proposal: the outcome, and the reason why the end is unknown.
//!
//! The receipt has no field for this reason. Only the row and the log of the service contain the reason.

use documents::{Outcome, canonical, json};

/// Name of the field with the reason, beside the fields of the outcome. An index of the store compares the beginning of
/// the bytes, so `status` must come first.
const WHY: &str = "why";
/// Maximum length of a reason, in characters.
const MOST_WORDS: usize = 500;

/// Writes the end of a run.
pub fn write(outcome: &Outcome, why: Option<&str>) -> Vec<u8> {
    let mut value = serde_json::to_value(outcome).unwrap_or_default();
    if let Some(why) = why {
        value[WHY] = why.chars().take(MOST_WORDS).collect::<String>().into();
    }
    canonical::to_canonical(&value)
}

/// Reads the reason why the end of a run is unknown. The outcome is read from the receipt, which is signed.
pub fn why(detail: &[u8]) -> Option<String> {
    let value = json::parse(detail, detail.len()).ok()?;
    Some(value.get(WHY)?.as_str()?.to_owned())
}
