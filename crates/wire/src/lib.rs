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
    body::{
        AdmissionResponse, CHALLENGE_TYPE, Challenge, ChallengeAnswer, ChallengeRequest,
        ConsistencyProof, HealthResponse, NewSession, Problem, ProblemError, Propose,
        ProposedArtifact, Signatures, StatementDenial, StoredArtifact, Version, foreign_answer,
        may_pass, percent_encoded,
    },
    feed::{FeedEvent, FeedKind, SignedBy},
    view::{
        AdmittedJob, ApprovalsView, BoundaryView, DenialView, DenialsView, DeniedView,
        DraftGrantee, DraftStep, DraftTerms, Event, FreezeView, GrantList, GrantRequest,
        GrantStatus, GrantView, IdTokenBody, LastSuccess, NodeView, NodesView, ProposalList,
        ProposalStatus, ProposalView, Ready, ReceiptFiles, ReceiptView, RefusalView, RegistryPage,
        RegistryView, ReviewNeed, ReviewedView, RevocationView, RosterView, RunReviewView, SameRun,
        SealView, SessionList, SessionRunView, SessionView, StepSummary, StepView, TokenView,
        UnknownEnd, UnsettledList, UnsettledRun, for_command_line, pairs,
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
    client_config::{
        ClientCertificatePem, ClientConfigError, DatabaseStream, DatabaseTls, TlsProblem,
        client_config,
    },
    proxy_address::{ProxyAddress, agent_config, unused_proxy},
    server::{ALERT, EncryptedStream, PairFile, PairText, RenewedServer, ServerPair, TlsServer},
};

pub(crate) use api::body::of_value;
pub(crate) use mcp::{
    answers::{
        CancelArgs, GetOutputArgs, GetReceiptArgs, GetStepArgs, ListStepsArgs, OutputWindow,
        ProposalProgress, ReceiptFacts, StatedReason, StepDetails, StepPage, ToolProblem, WaitArgs,
        visible_detail, visible_json, within_limit,
    },
    grantee_key::GrantNote,
    progress::ProgressNotes,
    tool_calls::{Answer, BOUNDARY},
};
