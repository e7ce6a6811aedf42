//! Countersign: a signed-approval execution boundary.
//!
//! An agent proposes a step of a registered runbook, and people sign exactly that run. The boundary runs the step once
//! in a sandbox and writes a signed receipt, which anyone can verify offline.
//!
//! The following list names the modules, from the lowest layer to the highest:
//!
//! - [`crypto`]: digests, strict JSON, signatures and Merkle trees
//! - [`shell`]: a parser for shell syntax that finds the commands of a script
//! - [`yaml`]: YAML within the data model of JSON, with line numbers
//! - [`tls`]: TLS connections
//! - [`record`]: the documents that are hashed and signed
//! - [`api`]: the bodies of the HTTP API
//! - [`tls`]: encrypted connections and their certificates
//! - [`metrics`]: counters and gauges for operators
//! - [`registry`]: the steps of the runbooks
//! - [`template`]: scripts with placeholders for parameters
//! - [`policy`]: the rules that decide about steps and commands
//! - [`trust`]: the people and their public keys
//! - [`decision`]: pure functions that compute a verdict from the sealed state and an envelope
//! - [`store`]: the database on the disk
//! - [`sandbox`]: the isolation of a run by the kernel
//! - [`crossing`]: the only code through which a boundary runs anything
//! - [`boundary`]: proposals, evidence, admission and housekeeping
//! - [`mcp`]: the MCP server for agents
//! - [`http`]: the HTTP API
//! - [`node`]: the assembled service
//! - [`audit`]: offline verification
//! - [`terminal`]: output of commands and exit codes
//! - [`home`]: keys, trusted rosters and files of the user
//! - [`review`]: the screen that an approver reads before signing
//! - [`remote`]: the client of a boundary
//! - [`local`]: the command `countersign run`
//! - [`cli`]: the command line
//!
//! The client is the program without `metrics`, `store`, `sandbox`, `crossing`, `boundary`, `http`, `node` and `local`.

#[cfg(all(feature = "boundary", not(target_os = "linux")))]
compile_error!(
    "a boundary uses sandbox features of the Linux kernel. On this system, build the client: `cargo install --path . \
     --locked --profile client --no-default-features --features client`. Build the whole program on a machine, in a \
     virtual machine or in a container with Linux, or on Windows in WSL 2"
);
#[cfg(not(feature = "client"))]
compile_error!("choose what to build: `--features client` for the client, or the default features for all");

pub mod api;
pub mod audit;
#[cfg(feature = "boundary")]
pub mod boundary;
pub mod cli;
#[cfg(feature = "boundary")]
pub mod crossing;
pub mod crypto;
pub mod decision;
pub mod home;
#[cfg(feature = "boundary")]
pub mod http;
#[cfg(feature = "boundary")]
pub mod local;
pub mod mcp;
#[cfg(feature = "boundary")]
pub mod metrics;
#[cfg(feature = "boundary")]
pub mod node;
pub mod policy;
pub mod record;
pub mod registry;
pub mod remote;
pub mod review;
#[cfg(feature = "boundary")]
pub mod sandbox;
pub mod shell;
#[cfg(feature = "boundary")]
pub mod store;
pub mod template;
pub mod terminal;
pub mod tls;
pub mod trust;
pub mod yaml;
