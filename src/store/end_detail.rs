//! The end of a run in the row of its proposal: the outcome, and the reason why the end is unknown.
//!
//! The receipt has no field for this reason, so the row is the only place besides the log of the service.

use documents::crypto::{canonical, json};
use documents::record::receipt::Outcome;

/// Name of the field with the reason, beside the fields of the outcome. An index of the store needs `status` first.
const WHY: &str = "why";
/// Maximum length of a reason, in characters.
const MOST_WORDS: usize = 500;

/// Writes the end of a run.
#[must_use]
pub fn write(outcome: &Outcome, why: Option<&str>) -> Vec<u8> {
    let mut value = serde_json::to_value(outcome).unwrap_or_default();
    if let Some(why) = why {
        value[WHY] = why.chars().take(MOST_WORDS).collect::<String>().into();
    }
    canonical::to_canonical(&value)
}

/// Reads the end of a run and the reason why the end is unknown.
#[must_use]
pub fn read(detail: &[u8]) -> Option<(Outcome, Option<String>)> {
    let mut value = json::parse(detail, detail.len()).ok()?;
    let why = value.as_object_mut()?.remove(WHY);
    Some((json::typed(&value).ok()?, why.and_then(|why| why.as_str().map(str::to_owned))))
}
