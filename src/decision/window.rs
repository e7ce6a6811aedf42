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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::quorum::tests::authorization;
    use crate::record::code::Code;

    fn judge(issued: i64, from: i64, until: i64, at: i64, policy: Option<i64>) -> Result<(), Code> {
        let mut signed = authorization();
        let base = 1_800_000_000;
        signed.issued_at = Timestamp::from_unix(base + issued);
        signed.not_before = Timestamp::from_unix(base + from);
        signed.expires_at = Timestamp::from_unix(base + until);
        check_window(&signed, Timestamp::from_unix(base + at), policy).map(|_| ()).map_err(|error| error.code())
    }

    #[test]
    fn an_approval_window_is_valid_exactly_from_its_start_to_its_end() {
        assert_eq!(judge(0, 0, 3600, 0, None), Ok(()));
        assert_eq!(judge(0, 0, 3600, 3599, None), Ok(()));
        assert_eq!(judge(0, 0, 3600, 3600, None), Err(Code::Expired), "no skew at the end");
        assert_eq!(judge(0, 10, 3600, 9, None), Err(Code::NotYetValid));
        assert_eq!(judge(0, 10, 3600, 10, None), Ok(()));
        assert_eq!(judge(0, 0, 0, 0, None), Err(Code::Malformed), "an empty window");
        assert_eq!(judge(1, 0, 3600, 0, None), Err(Code::Malformed), "issued after its start");
        assert_eq!(judge(0, 0, 24 * 3600, 0, None), Ok(()));
        assert_eq!(judge(0, 0, 24 * 3600 + 1, 0, None), Err(Code::Malformed));
        assert_eq!(judge(0, 0, 601, 0, Some(600)), Err(Code::PolicyDenied));
        assert_eq!(judge(0, 0, 600, 0, Some(600)), Ok(()));
    }

    #[test]
    fn a_clock_skew_of_one_minute_is_allowed_only_for_the_issue_time() {
        // `not_before` is never earlier than `issued_at`, so the tolerance for clocks alone cannot cause an early
        // start.
        assert_eq!(judge(60, 60, 3600, 0, None), Err(Code::NotYetValid));
        let mut signed = authorization();
        signed.issued_at = Timestamp::from_unix(1_800_000_061);
        signed.not_before = signed.issued_at;
        signed.expires_at = signed.issued_at.plus(60);
        let error = check_window(&signed, Timestamp::from_unix(1_800_000_000), None).expect_err("too early");
        assert!(matches!(error, WindowError::IssuedLater { .. }), "{error}");
    }
}
