//! Both ends of a connection to a boundary.
//!
//! - `api`: the bodies of the HTTP API
//! - `tls`: encrypted connections and their certificates
//! - `mcp`: the MCP server for agents, a view of the HTTP API
#![forbid(unsafe_code)]

mod api;
mod mcp;
mod tls;

pub use api::{
    advice_words::for_command_line,
    approvals_view::ApprovalsView,
    body::{
        AdmissionResponse, Challenge, ChallengeAnswer, ChallengeRequest, ConsistencyProof,
        HealthResponse, NewSession, Problem, ProblemError, Signatures, StatementDenial,
        StoredArtifact, Version,
    },
    feed::{FeedEvent, FeedKind, SignedBy},
    foreign_answer::{foreign_answer, may_pass},
    grant_view::{DraftStep, DraftTerms, GrantList, GrantRequest, GrantStatus, GrantView},
    oidc::{AdmittedJob, IdTokenBody, OidcBinding, pairs},
    percent_encoded::percent_encoded,
    propose_body::{Propose, ProposedArtifact},
    registry_view::{
        BoundaryView, FreezeView, LastSuccess, RegistryPage, RegistryView, SealView, StepSummary,
        StepView, UnknownEnd,
    },
    review_view::{ReviewNeed, ReviewedView, RunReviewView, UnsettledList, UnsettledRun},
    view::{
        DenialView, DenialsView, DeniedView, Event, NodeView, NodesView, ProposalList,
        ProposalStatus, ProposalView, Ready, ReceiptFiles, ReceiptView, RefusalView,
        RevocationView, RosterView, SameRun, SessionList, SessionRunView, SessionView, TokenView,
    },
};
pub use mcp::{
    answers::{ProposeArgs, ReceiptCheck, ReceiptVerification, VerificationBasis},
    boundary_api::{ApiAnswer, ApiMethod, ApiRequest, ApiUnreachable, BoundaryApi},
    grantee_key::{GranteeKey, PlannedUse},
    line_transport::{LineTransport, no_message, parse_message},
    sent_proposals::REPEATS_FOR,
    server::McpServer,
    tool_calls::{NewNonce, ToolCalls},
};
pub use tls::{
    client_config::{ClientCertificatePem, ClientConfigError, client_config},
    client_problem::TlsProblem,
    database::{DatabaseStream, DatabaseTls},
    proxy_address::{ProxyAddress, unused_proxy},
    server::{ALERT, EncryptedStream, RenewedServer, TlsServer},
    server_pair::{PairFile, PairText, ServerPair},
};

pub(crate) use api::body::of_value;
pub(crate) use mcp::{
    answer_limit::within_limit,
    answers::{
        CancelArgs, GetOutputArgs, GetReceiptArgs, GetStepArgs, ListStepsArgs, OutputWindow,
        ProposalProgress, ReceiptFacts, StatedReason, StepDetails, StepPage, WaitArgs,
    },
    grantee_key::GrantNote,
    progress::ProgressNotes,
    served_boundaries::BOUNDARY,
    tool_calls::Answer,
    tool_problem::ToolProblem,
    visible_text::{visible_detail, visible_json},
};
pub(crate) use tls::certificate_fields::ValidTime;
