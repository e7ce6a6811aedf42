//! Is the statement for this boundary, in this epoch?

use std::fmt;

use crate::crypto::digest::SealDigest;
use crate::record::authorization::BoundaryRef;
use crate::record::code::Code;
use crate::record::ident::{BoundaryName, Epoch};

/// The statement is for this boundary and epoch; only [`check_place`] makes it.
#[derive(Debug)]
#[must_use]
pub struct AtThisBoundary(());

/// Checks that a statement is for the boundary of this name and id, in this epoch.
///
/// # Errors
/// Which of the three differs; the id before the epoch, since another boundary's epoch means nothing here.
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

/// Why a statement does not hold here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceError {
    /// It is for another boundary.
    OtherBoundary {
        /// Name and id that were signed.
        signed: String,
        /// Name and id here.
        here: String,
    },
    /// It is of an epoch that was replaced.
    OtherEpoch {
        /// The epoch that was signed.
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
                write!(f, "signed for boundary {signed}, this is {here}; propose it here")
            }
            Self::OtherEpoch { signed, here } => {
                write!(f, "signed in epoch {signed}, all of which was voided (now {here}); propose it anew")
            }
        }
    }
}

impl std::error::Error for PlaceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_of_the_same_name_is_another_one() {
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
