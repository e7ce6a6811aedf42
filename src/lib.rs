//! Countersign: a signed-approval execution boundary.
//!
//! Agents propose a step of a registered runbook, people countersign exactly that run, the boundary runs it
//! once in a sandbox and emits a signed receipt that anyone can verify offline. The storeys, from the ground:
//!
//! - [`crypto`] bytes: digests, strict JSON, signatures, Merkle trees
//! - [`shell`] shell syntax: what a script would run
//! - [`yaml`] YAML within JSON's data model, with places
//! - [`record`] the documents that are hashed and signed
//! - [`registry`], [`policy`], [`trust`] what may run, under which rule, and who is who
//! - [`decision`] pure: sealed state and an envelope in, a verdict out
//! - [`store`], [`sandbox`] the two rooms that touch the machine
//! - [`crossing`] the one way by which anything runs
//! - [`boundary`] proposals, evidence, admission, housekeeping around it
//! - [`http`] its face; [`node`] puts the parts together; [`audit`] verifies offline
//! - [`terminal`] what commands print, and exit codes; [`home`] a person's own keys, trusted rosters and files
//! - [`review`] what an approver is shown; [`remote`] the client of a boundary; [`local`] `countersign run`
//! - [`cli`] is for people: arguments, calls, printing

#[cfg(not(target_os = "linux"))]
compile_error!(
    "countersign holds what it runs by Linux's own means, so it is built on Linux: on Windows in WSL 2 \
     (`wsl --install`, then build there), elsewhere in a virtual machine or a container with Linux"
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
pub mod terminal;
pub mod trust;
pub mod yaml;
