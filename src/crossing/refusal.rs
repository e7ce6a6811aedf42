//! The reasons why a request stops: a refusal or a fault.

use std::fmt;

use crate::record::code::Code;
use crate::record::envelope::VerifyError;
use crate::record::ident::{ProposalId, ReceiptId};
use crate::record::malformed::Malformed;
use crate::store::fault::StoreFault;

/// The reason why a request stops.
#[derive(Debug, Clone)]
pub enum Stopped {
    /// An expected "no", as data for people and programs.
    Refused(Box<Refusal>),
    /// An internal failure. The log of the service has the details, the caller gets an id.
    Fault(Fault),
}

/// An expected "no", with a stable code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, for programs.
    pub code: Code,
    /// The reason and the next action, for people.
    pub detail: String,
    /// The places in the request that are wrong.
    pub places: Vec<RequestPlace>,
    /// The receipt that answers the request, for callers who may read it.
    pub receipt: Option<ReceiptId>,
    /// The proposal that the refusal is about, for callers who may read it.
    pub proposal: Option<ProposalId>,
    /// Seconds after which the caller can try again.
    pub retry_after_s: Option<u64>,
    /// The case of the code, if HTTP has a status for that case.
    pub case: Option<RefusalCase>,
}

/// A case of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCase {
    /// A case of `not-found`: the resource existed and is no longer stored.
    Gone,
    /// A case of `malformed`: the boundary does not read the media type of the body.
    MediaType,
}

/// A place in a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPlace {
    /// The RFC 6901 pointer to the place.
    pub pointer: String,
    /// The error at the place.
    pub detail: String,
}

/// An internal failure.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The id for the caller. The service's log has the details under this id.
    pub id: String,
}

impl Refusal {
    /// Makes a refusal without places or links.
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

    /// Adds a place in the request.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.places.push(RequestPlace { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Adds the proposal that the refusal is about.
    #[must_use]
    pub fn about(mut self, proposal: &ProposalId) -> Self {
        self.proposal = Some(proposal.clone());
        self
    }

    /// Adds the receipt that answers the request.
    #[must_use]
    pub fn with_receipt(mut self, receipt: ReceiptId) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// Makes a `not-found` for good: the resource existed and is no longer stored.
    #[must_use]
    pub fn gone(detail: impl Into<String>) -> Self {
        Self { case: Some(RefusalCase::Gone), ..Self::new(Code::NotFound, detail) }
    }

    /// Adds the seconds after which the caller can try again.
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

/// Logs the failure. Returns a fault whose id the caller can report.
pub fn fault(what: &dyn fmt::Display) -> Stopped {
    let mut random = [0_u8; 6];
    // The id is only for a search in the log. Without randomness it is all zeros.
    let _ = getrandom::fill(&mut random);
    let id = format!("flt_{}", crate::crypto::digest::hex(&random));
    tracing::error!(fault = %id, "{what}");
    Stopped::Fault(Fault { id })
}
