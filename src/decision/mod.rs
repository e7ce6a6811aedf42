//! The verdict: sealed state and a statement in, tokens out.
//!
//! Pure: no clock, no store. One file a question; each check returns a token that only it can make, and the
//! crossing demands all of them. The boundary decides with the whole sealed state, an auditor decides again with
//! what a bundle holds: both call these functions.
//!
//! ```compile_fail,E0423
//! # use countersign::decision::window::WithinWindow;
//! let forged = WithinWindow(()); // the field is private: only check_window() makes it
//! ```
pub mod exclusion;
pub mod in_force;
pub mod parameters;
pub mod permissions;
pub mod place;
pub mod quorum;
pub mod reach;
pub mod step;
pub mod window;

use std::fmt;

use crate::decision::exclusion::ExclusionError;
use crate::decision::parameters::ParametersError;
use crate::decision::permissions::PermissionsError;
use crate::decision::place::PlaceError;
use crate::decision::quorum::{QuorumError, RuleError};
use crate::decision::step::StepError;
use crate::record::code::Code;
use crate::record::validity::WindowError;

/// Why the answer is no: whichever question said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It is for another boundary or epoch.
    Place(PlaceError),
    /// It is not the sealed step.
    Step(StepError),
    /// The parameters don't fit.
    Parameters(ParametersError),
    /// Policy denies, asks for more than was signed, or resolves another sandbox.
    Permissions(PermissionsError),
    /// Who proposed it is unknown.
    Exclusion(ExclusionError),
    /// The quorum rule can't be met by anybody.
    Rule(RuleError),
    /// Too few people signed.
    Quorum(QuorumError),
    /// Now is not the time.
    Window(WindowError),
}

impl Objection {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Place(error) => error.code(),
            Self::Step(error) => error.code(),
            Self::Parameters(error) => error.code(),
            Self::Permissions(error) => error.code(),
            Self::Exclusion(error) => error.code(),
            Self::Rule(error) => error.code(),
            Self::Quorum(error) => error.code(),
            Self::Window(error) => error.code(),
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(error) => error.fmt(f),
            Self::Step(error) => error.fmt(f),
            Self::Parameters(error) => error.fmt(f),
            Self::Permissions(error) => error.fmt(f),
            Self::Exclusion(error) => error.fmt(f),
            Self::Rule(error) => error.fmt(f),
            Self::Quorum(error) => error.fmt(f),
            Self::Window(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Objection {}

macro_rules! objection_from {
    ($($error:ident => $variant:ident),* $(,)?) => {
        $(impl From<$error> for Objection {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

objection_from! {
    PlaceError => Place,
    StepError => Step,
    ParametersError => Parameters,
    PermissionsError => Permissions,
    ExclusionError => Exclusion,
    RuleError => Rule,
    QuorumError => Quorum,
    WindowError => Window,
}
