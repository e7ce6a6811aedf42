//! The verdict: each check of a statement against a sealed state returns a proof.
//!
//! This module uses no clock and no store. Each file answers one question. Only the check for a question can construct
//! the proof of its answer, and the crossing requires all proofs. The boundary and an auditor call the same functions:
//! the boundary with the whole sealed state, the auditor with the content of a bundle.
//!
//! ```compile_fail,E0423
//! # use verdict::WithinWindow;
//! let forged = WithinWindow(()); // the field is private: only check_window() makes it
//! ```
//! ```compile_fail,E0423
//! use verdict::{RunWindow, WindowBounds};
//! fn forge(bounds: WindowBounds) -> RunWindow {
//!     RunWindow(bounds) // the field is private: only RunWindow::of() makes it
//! }
//! ```
//! ```compile_fail,E0063
//! use verdict::{RunWindow, TimeLimits};
//! fn forget(limits: TimeLimits<'_>) -> RunWindow {
//!     let TimeLimits { signed, quorum, roster, tokens, submitter, .. } = limits;
//!     RunWindow::of(TimeLimits { signed, quorum, roster, tokens, submitter }) // `plan_ends` is missing
//! }
//! ```
pub mod emergency;
pub mod exclusion;
pub mod grant_error;
pub mod granted_parameters;
pub mod grants;
pub mod in_force;
pub mod parameters;
pub mod passkeys;
pub mod permissions;
pub mod place;
pub mod plan;
pub mod quorum;
pub mod quorum_rules;
pub mod reach;
pub mod reviews;
pub mod revocations;
pub mod sealed_tokens;
pub mod signature_count;
pub mod step;
pub mod window;

use crate::{
    EmergencyError, ExclusionError, ParametersError, PermissionsError, PlaceError, QuorumError,
    RuleError, StepError,
};
use documents::{Code, WindowError};

/// Reason for a negative verdict, with one variant for each question.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Objection {
    /// The statement names another boundary or another epoch.
    Place(#[from] PlaceError),
    /// The step in the statement is not the sealed step.
    Step(#[from] StepError),
    /// The parameters do not fit the step's schema.
    Parameters(#[from] ParametersError),
    /// Policy denies the step, requires a permission that the approvers did not sign, or leads to another sandbox than
    /// the signed sandbox.
    Permissions(#[from] PermissionsError),
    /// The proposer is unknown, or may not propose the step.
    Exclusion(#[from] ExclusionError),
    /// The quorum rule of the policy or of the step is invalid.
    Rule(#[from] RuleError),
    /// The run is not allowed as an emergency.
    Emergency(#[from] EmergencyError),
    /// Too few people signed.
    Quorum(#[from] QuorumError),
    /// The time is outside the signed window.
    Window(#[from] WindowError),
}

impl Objection {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Place(error) => error.code(),
            Self::Step(error) => error.code(),
            Self::Parameters(error) => error.code(),
            Self::Permissions(error) => error.code(),
            Self::Exclusion(error) => error.code(),
            Self::Rule(error) => error.code(),
            Self::Emergency(error) => error.code(),
            Self::Quorum(error) => error.code(),
            Self::Window(error) => error.code(),
        }
    }
}
