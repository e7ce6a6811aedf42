//! The `console` command: pages for auditors.

use client::commands::global::GlobalOptions;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;
use console::auditor::audit_pages::{AuditPages, run as audit};

/// Open the pages of an auditor in a browser on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign console --audit bundles/ --roster roster.json   one table of all bundles in a directory
  countersign console --audit mirror/ --roster roster.json    a directory that `countersign log export` wrote
  countersign console --audit http://127.0.0.1:7433           the log of a boundary, with a token

The command prints an address, which works once, in one browser on this machine. Each decision is made again here, with the \
code of `verify` and `audit`. No file leaves this machine, and no key is loaded. Ctrl-C ends the command.")]
pub struct Args {
    #[command(flatten)]
    pages: AuditPages,
    /// Port of 127.0.0.1. The default is a free port
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
}

/// Serves the pages until a signal ends the program.
///
/// # Errors
/// Returns an error if the evidence does not exist, if the roster can't be read, or if the port is taken.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match &args.pages.audit {
        Some(place) => audit(place, &args.pages.trust, args.port, global, terminal),
        None => Err(CommandFailure::usage("name the evidence with --audit FILE, DIR or URL")),
    }
}
