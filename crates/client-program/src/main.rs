//! The client of Countersign: the program `countersign` without the service and the sandbox.
#![forbid(unsafe_code)]

use client::ClientProgram;

fn main() -> std::process::ExitCode {
    client::program::main::<ClientProgram>(option_env!("COUNTERSIGN_COMMIT"))
}
