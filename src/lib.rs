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
//! - [`record`]: the documents that are hashed and signed
//! - [`registry`]: the steps of the runbooks
//! - [`template`]: scripts with placeholders for parameters
//! - [`policy`]: the rules that decide about steps and commands
//! - [`trust`]: the people and their public keys
//! - [`decision`]: pure functions that compute a verdict from the sealed state and an envelope
//! - [`store`]: the database on the disk
//! - [`sandbox`]: the isolation of a run by the kernel
//! - [`crossing`]: the only code through which a boundary runs anything
//! - [`boundary`]: proposals, evidence, admission and housekeeping
//! - [`http`]: the HTTP API
//! - [`node`]: the assembled service
//! - [`audit`]: offline verification
//! - [`terminal`]: output of commands and exit codes
//! - [`home`]: keys, trusted rosters and files of the user
//! - [`review`]: the screen that an approver reads before signing
//! - [`remote`]: the client of a boundary
//! - [`local`]: the command `countersign run`
//! - [`cli`]: the command line

#[cfg(not(target_os = "linux"))]
compile_error!(
    "countersign uses sandbox features of the Linux kernel, so build it on Linux: on Windows in WSL 2 (`wsl \
     --install`, then build there), on other systems in a virtual machine or a container with Linux"
);

pub mod audit;
pub mod boundary;
pub mod cli;
pub mod crossing;
pub mod crypto;
pub mod decision;
pub mod home;
pub mod http;
pub mod local;
pub mod node;
pub mod policy;
pub mod record;
pub mod registry;
pub mod remote;
pub mod review;
pub mod sandbox;
pub mod shell;
pub mod store;
pub mod template;
pub mod terminal;
pub mod trust;
pub mod yaml;
