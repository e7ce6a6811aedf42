//! Why a request stops: an expected no, or something broke.

use std::fmt;

use crate::record::code::Code;
use crate::record::document::Malformed;
use crate::record::envelope::VerifyError;
use crate::record::ident::{ProposalId, ReceiptId};
use crate::store::fault::Fault as StoreFault;

/// What stops a request.
#[derive(Debug, Clone)]
pub enum Stopped {
    /// An expected no: data for people and programs.
    Refused(Box<Refusal>),
    /// Something broke: it is in the service's log, the caller gets an id.
    Fault(Fault),
}

/// An expected no, with a stable code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs.
    pub code: Code,
    /// What happened and what to do, for people.
    pub detail: String,
    /// Where in the request.
    pub places: Vec<Place>,
    /// The receipt that answers the question, for those who may read it.
    pub receipt: Option<ReceiptId>,
    /// The proposal that it is about, for those who may read it.
    pub proposal: Option<ProposalId>,
    /// When to try again.
    pub retry_after_s: Option<u64>,
    /// Which case of its code it is, where HTTP has a status for that case.
    pub case: Option<Case>,
}

/// A case of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Of `not-found`: it was there and is no longer kept.
    Gone,
    /// Of `malformed`: the body has a media type that is not read.
    MediaType,
}

/// A place in a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// RFC 6901 pointer.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// Something broke.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What the caller is told, and what the service's log has more about.
    pub id: String,
}

impl Refusal {
    /// A refusal without places or links.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            places: Vec::new(),
            receipt: None,
            proposal: None,
            retry_after_s: None,
            case: None,
        }
    }

    /// With a place in the request.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.places.push(Place { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// With the proposal that it is about.
    #[must_use]
    pub fn about(mut self, proposal: &ProposalId) -> Self {
        self.proposal = Some(proposal.clone());
        self
    }

    /// With the receipt that answers the question.
    #[must_use]
    pub fn with_receipt(mut self, receipt: ReceiptId) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// A `not-found` for good: what was there is no longer kept.
    #[must_use]
    pub fn gone(detail: impl Into<String>) -> Self {
        Self { case: Some(Case::Gone), ..Self::new(Code::NotFound, detail) }
    }

    /// With the seconds after which to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Fault(fault) => write!(f, "something broke; the service's log tells more under {}", fault.id),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<StoreFault> for Stopped {
    /// A full disk is `busy`, not a fault: the store rolled the write back, so the caller can send the request again.
    fn from(error: StoreFault) -> Self {
        match error {
            StoreFault::Full { .. } => {
                tracing::error!("{error}");
                let detail = "the boundary's disk is full: have its operator make room, then try again";
                Refusal::new(Code::Busy, detail).retry_after(60).into()
            }
            error => fault(&error),
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.code(), malformed.to_string()).at(malformed.pointer, malformed.message)
    }
}

impl From<Malformed> for Stopped {
    fn from(malformed: Malformed) -> Self {
        Refusal::from(malformed).into()
    }
}

impl From<VerifyError> for Stopped {
    fn from(error: VerifyError) -> Self {
        let code = match &error {
            VerifyError::UnknownSigner { .. } => Code::UnknownSigner,
            VerifyError::SignedTwice { .. } => Code::Malformed,
            VerifyError::BadSignature { .. } => Code::BadSignature,
            VerifyError::Malformed(malformed) => return malformed.clone().into(),
        };
        Refusal::new(code, error.to_string()).into()
    }
}

/// Logs what broke and gives the caller an id to ask about.
pub fn fault(what: &dyn fmt::Display) -> Stopped {
    let mut random = [0_u8; 6];
    // The id only has to be findable in a log: without randomness it is all zeros.
    let _ = getrandom::fill(&mut random);
    let id = format!("flt_{}", crate::crypto::digest::hex(&random));
    tracing::error!(fault = %id, "{what}");
    Stopped::Fault(Fault { id })
}
