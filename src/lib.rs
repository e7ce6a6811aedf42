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
    config::Config, restore, serve::Node, service_manager::ServiceManager, start::surroundings,
};

pub(crate) use cli::{
    configured::{ConfigArgs, InspectedBoundary},
    demo::{
        tale::{DemoReport, DemoResult},
        world::DemoSetup,
    },
    doctor::host::{DoctorFinding, FindingResult},
    policy::answers::{PolicyOptions, is_interpreter, steps_of},
    registry::from_files::check::read_files,
    sandbox_programs::in_a_shell,
    seal::ask_service,
};
pub(crate) use node::{
    config::{
        FILE, InFile, InStore, LISTEN, LogFormat, NotifyTable, TargetKind, TlsTable, ntfy_topic,
    },
    control::{ControlReply, ControlRequest, NodeStatus, ServedAddress},
    files::{BoundaryFiles, read_policy},
    handover::StandbyKey,
    kept_checkpoint::ComparedCheckpoint,
    owned::{read_certificates, read_owned, read_private},
    places::{CLOSED, DATABASE, OUTPUTS, private_directory},
    runbook_watch::RunbookWatch,
    serve::Started,
    served_certificate::ServedCertificate,
    start::{AssembledBoundary, TakenChanges},
    stored_state::StoredState,
};
