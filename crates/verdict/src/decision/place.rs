//! Question: is the statement for this boundary and for this epoch?

use documents::{BoundaryRef, Code, Epoch};

/// Proof that a statement is for this boundary and for the epoch in force. Only [`check_place`] constructs this proof.
#[must_use]
pub struct AtThisBoundary(());

/// Checks that a statement is for this epoch of the boundary with this name and id.
///
/// # Errors
/// Returns an error for the first difference. The id is compared before the epoch, because an epoch has a meaning only
/// at its own boundary.
pub fn check_place(signed: &BoundaryRef, here: &BoundaryRef) -> Result<AtThisBoundary, PlaceError> {
    if signed.id != here.id || signed.name != here.name {
        return Err(PlaceError::OtherBoundary {
            signed: format!("{} ({})", signed.name, signed.id),
            here: format!("{} ({})", here.name, here.id),
        });
    }
    if signed.epoch != here.epoch {
        return Err(PlaceError::OtherEpoch {
            signed: signed.epoch.clone(),
            here: here.epoch.clone(),
        });
    }
    Ok(AtThisBoundary(()))
}

/// The reason why a statement is not valid at this boundary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The statement is for another boundary.
    #[error(
        "the statement was signed for boundary {signed}, but this is boundary {here}; propose again at this boundary"
    )]
    OtherBoundary {
        /// The name and the id in the signed statement.
        signed: String,
        /// The name and the id of this boundary.
        here: String,
    },
    /// The statement names an earlier epoch.
    #[error(
        "the statement was signed in epoch {signed}, but the epoch in force is {here}, so the statement is void; \
         propose again, or sign a denial or a revocation again"
    )]
    OtherEpoch {
        /// The signed epoch.
        signed: Epoch,
        /// The epoch in force.
        here: Epoch,
    },
}

impl PlaceError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::OtherBoundary { .. } => Code::WrongBoundary,
            Self::OtherEpoch { .. } => Code::Revoked,
        }
    }
}
