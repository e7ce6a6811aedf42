//! Question: is the time within the signed window?

use crate::record::authorization::Authorization;
use crate::record::validity::{Timestamp, WindowError, judge};

/// Proof that the time of the consumption is within the signed window. Only [`check_window`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct WithinWindow(());

/// Checks the window of a statement with [`judge`]. `at` is the time of the consumption's log entry.
///
/// # Errors
/// Returns an error for the first broken rule.
pub fn check_window(
    signed: &Authorization,
    at: Timestamp,
    max_window_s: Option<i64>,
) -> Result<WithinWindow, WindowError> {
    let _open = judge(signed.issued_at, signed.not_before, signed.expires_at, at, max_window_s)?;
    Ok(WithinWindow(()))
}
