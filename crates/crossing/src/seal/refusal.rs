//! Results that stop a request: refusals and faults.

use std::fmt;

use documents::{Code, Malformed, ProposalId, ReceiptId, VerifyError};
use store::StoreFault;
use verdict::StepError;

/// The reason why a request stops.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Stopped {
    /// A rule forbids the request.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// An internal failure. The log of the service has the details, and the caller gets an id.
    #[error("internal failure; the service's log has the details under {}", .0.id)]
    Fault(Fault),
}

/// Result of a part of a request.
pub type RequestResult<T = ()> = Result<T, Stopped>;

/// Answer to a request that a rule forbids, with a stable code.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The reason, for programs.
    pub code: Code,
    /// The reason and the next action, for people.
    pub detail: String,
    /// The places in the request that contain an error.
    pub places: Vec<RequestPlace>,
    /// The receipt that answers the request, for callers who may read the receipt.
    pub receipt: Option<ReceiptId>,
    /// The proposal that the refusal concerns, for callers who may read the proposal.
    pub proposal: Option<ProposalId>,
    /// Number of seconds after which the caller can try again.
    pub retry_after_s: Option<u64>,
    /// The case of the code, if the HTTP status depends on the case.
    pub case: Option<RefusalCase>,
}

/// A special case of a refusal code.
#[derive(Debug, Clone, PartialEq)]
pub enum RefusalCase {
    /// A case of `not-found`: the resource existed but is no longer stored.
    Gone,
    /// A case of `malformed`: the boundary does not support the media type of the body.
    MediaType,
}

/// A place in the request at which an error was found.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestPlace {
    /// The JSON Pointer (RFC 6901) to the place.
    pub pointer: String,
    /// The error at the place.
    pub detail: String,
}

/// An internal failure.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Id of the fault. The caller receives this id. The log of the service has the details for this id.
    pub id: String,
}

impl Refusal {
    /// Creates a refusal without places and links.
    pub fn new(code: Code, detail: impl fmt::Display) -> Self {
        Self {
            code,
            detail: detail.to_string(),
            places: Vec::new(),
            receipt: None,
            proposal: None,
            retry_after_s: None,
            case: None,
        }
    }

    /// Creates the refusal of a request that is malformed at this JSON pointer.
    pub fn malformed(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(Code::Malformed, &detail).at(pointer, detail)
    }

    /// Adds a place in the request, with the error at this place.
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.places.push(RequestPlace {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }

    /// Adds the proposal that the refusal concerns.
    pub fn about(mut self, proposal: &ProposalId) -> Self {
        self.proposal = Some(proposal.clone());
        self
    }

    /// Adds the receipt that answers the request.
    pub fn with_receipt(mut self, receipt: ReceiptId) -> Self {
        self.receipt = Some(receipt);
        self
    }

    /// Creates a `not-found` refusal for a resource that existed and is no longer stored.
    pub fn gone(detail: impl fmt::Display) -> Self {
        Self {
            case: Some(RefusalCase::Gone),
            ..Self::new(Code::NotFound, detail)
        }
    }

    /// Adds the number of seconds after which the caller can try again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<StoreFault> for Stopped {
    /// Converts a full disk to `busy` and a missing database to `database`, because the caller can repeat the request.
    fn from(error: StoreFault) -> Self {
        match error {
            StoreFault::Full { .. } => {
                tracing::error!("{error}");
                let detail =
                    "the boundary's disk is full: ask the operator to free space, then try again";
                Refusal::new(Code::Busy, detail).retry_after(60).into()
            }
            StoreFault::Unreachable { .. } => {
                tracing::error!("{error}");
                let detail = "the boundary's database can't be used now: send the same request again later; nothing runs twice";
                Refusal::new(Code::Database, detail).retry_after(10).into()
            }
            error => fault(error),
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
        Refusal::new(code, error).into()
    }
}

/// Returns the refusal of a proposal whose parameters can't be written into the script.
pub fn not_filled(error: StepError) -> Refusal {
    match &error {
        StepError::Parameter(at) if !at.parameter.is_empty() => {
            let pointer = format!("/params/{}", at.parameter);
            Refusal::new(Code::InvalidParams, &error).at(pointer, at.message.clone())
        }
        _ => Refusal::new(error.code(), &error),
    }
}

/// Returns a refusal without places and links as the end of a request.
pub fn refuse(code: Code, detail: impl fmt::Display) -> Stopped {
    Refusal::new(code, detail).into()
}

/// Logs the error and returns a fault with an id that the caller can report.
pub fn fault(what: impl fmt::Display) -> Stopped {
    let mut random = [0_u8; 6];
    // The id only serves to find the log line. Without randomness, the id consists of zeros.
    let _ = getrandom::fill(&mut random);
    let id = format!("flt_{}", documents::hex(&random));
    tracing::error!(fault = %id, "{what}");
    Stopped::Fault(Fault { id })
}
