//! Commands that the client does not have: those of operators and of authors of runbooks.

use crate::cli::{demo, doctor, init, policy, run, sandbox, schema, serve, store, test, token};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// A command that needs the modules of the boundary.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BoundaryCommand {
    /// Run the steps of a runbook yourself, at a terminal
    Run(run::Args),
    /// Run the tests of a Gruntwork runbook: its file runbook_test.yml
    Test(test::Args),
    /// Show a whole run in seconds, then attacks that are refused
    Demo(demo::Args),
    /// Make the directory of a boundary
    Init(init::Args),
    /// Serve a boundary
    Serve(serve::Args),
    /// Check this host and list the problems to fix
    Doctor(doctor::Args),
    /// Try a command in a sandbox
    Sandbox(sandbox::Args),
    /// Make, list and revoke tokens
    Token(token::Args),
    /// Check, back up, restore and upgrade the store
    Store(store::Args),
    /// Show how policy decides about a script, and show the rules of policy
    Policy(policy::Args),
    /// Write or check the JSON Schemas and OpenAPI
    #[command(hide = true)]
    Schema(schema::Args),
}

impl BoundaryCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns the error of the command.
    pub(super) fn run(&self, terminal: &Terminal) -> Result<Exit, CommandFailure> {
        match self {
            Self::Run(args) => run::run(args, terminal),
            Self::Test(args) => test::run(args, terminal),
            Self::Demo(args) => demo::run(args, terminal),
            Self::Init(args) => init::run(args, terminal),
            Self::Serve(args) => serve::run(args, terminal),
            Self::Doctor(args) => doctor::run(args, terminal),
            Self::Sandbox(args) => sandbox::run(args, terminal),
            Self::Token(args) => token::run(args, terminal),
            Self::Store(args) => store::run(args, terminal),
            Self::Policy(args) => policy::run(args, terminal),
            Self::Schema(args) => schema::run(args, terminal),
        }
    }
}
