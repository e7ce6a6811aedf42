//! Countersign: a signed-approval execution boundary.
//!
//! An agent proposes a step of a registered runbook, and people sign exactly that run. The boundary runs the step once
//! in a sandbox and writes a signed receipt, which anyone can verify offline.
//!
//! The following list names the modules of this crate, from the lowest layer to the highest. The crates below it
//! (`crates/`) hold the documents, the connections, the rules, the sandbox and the client.
//!
//! - `metrics`: counters and gauges for operators
//! - `store`: the database on the disk
//! - `seal`: the seal in force, and what it says about a request
//! - `carried`: sessions, artifacts, plans, secrets, output and results of runs
//! - `crossing`: the only code through which a boundary runs anything
//! - `boundary`: proposals, evidence, admission and housekeeping
//! - `http`: the HTTP API
//! - `node`: the assembled service
//! - `local`: the command `countersign run`
//! - `notebook`: the command `countersign open`
//! - `cli`: the command line

#[cfg(not(target_os = "linux"))]
compile_error!(
    "a boundary uses sandbox features of the Linux kernel. On this system, build the client: `cargo install --path \
     crates/client-program --locked --profile client`. Build the whole program on a machine, in a virtual machine or in \
     a container with Linux, or on Windows in WSL 2"
);

mod boundary;
mod carried;
mod cli;
mod crossing;
mod file_problem;
mod http;
mod local;
mod metrics;
mod node;
mod notebook;
mod seal;
mod store;

pub use boundary::oidc::{
    id_token::{IdToken, MAX_ID_TOKEN_BYTES},
    issuer_keys::IssuerKeys,
};
pub use cli::{
    WholeProgram,
    init::content::{self, policy},
    schema,
};
pub use crossing::{
    cross::Crossing,
    stage::{Accepted, Admitted, Consumed, VerifiedRequest},
};
pub use http::{openapi::openapi, route_table::routes};
pub use local::{
    problems::problems,
    workflow_walk::{NextUnit, WorkflowWalk},
};
pub use node::{
    config::Config, restore, roster_file, serve::Node, service_manager::ServiceManager,
    start::surroundings,
};
#[cfg(debug_assertions)]
pub use store::crash_points::POINTS;
pub use store::{
    Store, StoreReads,
    batch::{Commit, Questions, Writes},
    ledger::Ledger,
    rows::LeafRow,
    shared::{LedgerConfig, LedgerLimits, LogSigner},
    sqlite::{self, SqliteStore, reads::SqliteReads},
    stored_seal::SealWrite,
    stored_status::StoredStatus,
    tree::TreeEdge,
};
