//! Reads one version of a roster, and checks its signatures.

use crate::{ChainError, SuccessionTallies, TrustedRoster};
use documents::{
    Base64, Envelope, EnvelopeSignature, Malformed, Roster, RosterVersion, Signed, patch_between,
    patched,
};
use serde_json::{Map, Value};

/// Reads the first version of a list, without checking its signatures.
pub(super) fn read_first(
    version: &RosterVersion,
) -> Result<(TrustedRoster, &[EnvelopeSignature]), ChainError> {
    let RosterVersion::Whole(envelope) = version else {
        return Err(ChainError::FirstIsPatch);
    };
    let number = 1;
    let payload = payload_of(envelope, Base64::Strict).map_err(|error| ChainError::Malformed {
        version: number,
        error,
    })?;
    let roster = TrustedRoster::from_payload(&payload).map_err(|error| ChainError::Roster {
        version: number,
        error,
    })?;
    if roster.version() == 1 && !envelope.signatures.is_empty() {
        return Err(ChainError::FirstIsSigned);
    }
    Ok((roster, &envelope.signatures))
}

/// Reads the version after `before`, without checking its signatures. Also returns the patch between the two.
pub(super) fn read_next(
    before: &TrustedRoster,
    next: &RosterVersion,
) -> Result<(TrustedRoster, Map<String, Value>), ChainError> {
    let version = before.version() + 1;
    let malformed = |error| ChainError::Malformed { version, error };
    let wrong = |error| ChainError::Roster { version, error };
    let (roster, patch) = match next {
        RosterVersion::Whole(envelope) => {
            let payload = payload_of(envelope, Base64::Strict).map_err(malformed)?;
            let roster = TrustedRoster::payload_near(&payload, Some(before)).map_err(wrong)?;
            if roster.version() != version {
                return Err(ChainError::OutOfOrder {
                    expected: version,
                    found: roster.version(),
                });
            }
            if roster.tables().previous != Some(before.digest()) {
                return Err(ChainError::OtherPrevious { version });
            }
            let patch = patch_between(&before.tables().content(), &roster.tables().content());
            (roster, patch)
        }
        RosterVersion::Patched(next) => {
            let content = patched(&before.tables().content(), &next.patch).map_err(malformed)?;
            let tables =
                Roster::from_content(content, version, Some(before.digest())).map_err(malformed)?;
            let roster = TrustedRoster::near(tables, Some(before)).map_err(wrong)?;
            check_signatures(roster.payload(), &next.signatures, Base64::Strict)
                .map_err(malformed)?;
            (roster, next.patch.clone())
        }
    };
    if roster.tables().name != before.tables().name {
        return Err(ChainError::OtherName { version });
    }
    Ok((roster, patch))
}

/// Returns the payload of an envelope that is trusted without its signatures.
///
/// # Errors
/// Returns an error if the envelope has another payload type, is too large or is not base64, or with strict base64 if
/// the signatures are out of order or duplicated.
pub fn payload_of(envelope: &Envelope, base64: Base64) -> Result<Vec<u8>, Malformed> {
    // `from_envelope` checks the type, the sizes and the form of all base64.
    let _checked: Signed<Roster> = Signed::from_envelope(envelope, base64)?;
    let payload = base64.decode("/payload", &envelope.payload)?;
    check_signatures(&payload, &envelope.signatures, base64)?;
    Ok(payload)
}

/// Checks the form of signatures, and with strict base64 their order too.
fn check_signatures(
    payload: &[u8],
    signatures: &[EnvelopeSignature],
    base64: Base64,
) -> Result<(), Malformed> {
    let _checked: Signed<Roster> = Signed::from_parts(payload, signatures, base64)?;
    // In bundles and in the log, signatures are sorted by key id, and each key signs once.
    if base64 == Base64::Strict && !signatures.is_sorted_by(|one, next| one.keyid < next.keyid) {
        return Err(Malformed::at(
            "/signatures",
            "the signatures are out of order, or a key signed twice: sort the signatures by keyid, and list each key \
             once",
        ));
    }
    Ok(())
}

/// Checks that the signatures of `next` reach the thresholds of `before` and of `next`.
pub(super) fn check_link(
    before: &TrustedRoster,
    next: &TrustedRoster,
    signatures: &[EnvelopeSignature],
) -> Result<(), ChainError> {
    let standing = SuccessionTallies::of(before, next, signatures)?;
    for tally in [&standing.of_before, &standing.of_next] {
        if tally.missing() > 0 {
            return Err(ChainError::TooFewSignatures {
                version: next.version(),
                of: tally.version,
                found: tally.signed.len() as u64,
                required: tally.required,
            });
        }
    }
    Ok(())
}
