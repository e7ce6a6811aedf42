//! Question: is the statement for this boundary and for this epoch?

use std::fmt;

use crate::crypto::digest::SealDigest;
use crate::record::authorization::BoundaryRef;
use crate::record::code::Code;
use crate::record::ident::{BoundaryName, Epoch};

/// Proof that a statement is for this boundary and for the epoch in force. Only [`check_place`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct AtThisBoundary(());

/// Checks that a statement is for this epoch of the boundary with this name and id.
///
/// # Errors
/// Returns an error for the first difference. The id is compared before the epoch, because an epoch has a meaning only
/// at its own boundary.
pub fn check_place(
    signed: &BoundaryRef,
    name: &BoundaryName,
    id: &SealDigest,
    epoch: &Epoch,
) -> Result<AtThisBoundary, PlaceError> {
    if signed.id != *id || signed.name != *name {
        return Err(PlaceError::OtherBoundary {
            signed: format!("{} ({})", signed.name, signed.id),
            here: format!("{name} ({id})"),
        });
    }
    if signed.epoch != *epoch {
        return Err(PlaceError::OtherEpoch { signed: signed.epoch.clone(), here: epoch.clone() });
    }
    Ok(AtThisBoundary(()))
}

/// The reason why a statement is not valid at this boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceError {
    /// The statement is for another boundary.
    OtherBoundary {
        /// The name and the id in the signed statement.
        signed: String,
        /// The name and the id of this boundary.
        here: String,
    },
    /// The statement names an earlier epoch.
    OtherEpoch {
        /// The signed epoch.
        signed: Epoch,
        /// The epoch in force.
        here: Epoch,
    },
}

impl PlaceError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::OtherBoundary { .. } => Code::WrongBoundary,
            Self::OtherEpoch { .. } => Code::Revoked,
        }
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherBoundary { signed, here } => {
                write!(
                    f,
                    "the statement was signed for boundary {signed}, but this is boundary {here}; propose again at this boundary"
                )
            }
            Self::OtherEpoch { signed, here } => {
                write!(
                    f,
                    "the statement was signed in epoch {signed}, but the epoch in force is {here}, so the statement is \
                     void; propose again"
                )
            }
        }
    }
}

impl std::error::Error for PlaceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_boundary_with_the_same_name_is_refused() {
        let name: BoundaryName = "prod-eu".parse().expect("name");
        let (id, epoch) = (SealDigest::of(b"a"), "0".repeat(32).parse::<Epoch>().expect("epoch"));
        let signed = BoundaryRef { name: name.clone(), id, epoch: epoch.clone() };
        assert!(check_place(&signed, &name, &id, &epoch).is_ok());
        let other = check_place(&signed, &name, &SealDigest::of(b"b"), &epoch).expect_err("another id");
        assert_eq!(other.code(), Code::WrongBoundary);
        let other = check_place(&signed, &"prod-us".parse().expect("name"), &id, &epoch).expect_err("another name");
        assert_eq!(other.code(), Code::WrongBoundary);
        let voided = check_place(&signed, &name, &id, &"1".repeat(32).parse().expect("epoch")).expect_err("voided");
        assert_eq!(voided.code(), Code::Revoked);
    }
}
