//! Countersign: a signed-approval execution boundary.
//!
//! An agent proposes a step of a registered runbook, and people sign exactly that run. The boundary runs the step once
//! in a sandbox and writes a signed receipt, which anyone can verify offline.
//!
//! The following list names the modules of this crate, from the lowest layer to the highest. The crates below it
//! (`crates/`) hold the documents, the connections, the rules, the sandbox and the client.
//!
//! - `node`: the assembled service
//! - `cli`: the command line

#[cfg(not(target_os = "linux"))]
compile_error!(
    "a boundary uses sandbox features of the Linux kernel. On this system, build the client: `cargo install --path \
     crates/client-program --locked --profile client`. Build the whole program on a machine, in a virtual machine or in \
     a container with Linux, or on Windows in WSL 2"
);

mod cli;
mod node;

pub use cli::{
    WholeProgram,
    init::content::{self, policy},
    schema,
};
pub use node::{
    config::Config, restore, roster_file, serve::Node, service_manager::ServiceManager,
    start::surroundings,
};
