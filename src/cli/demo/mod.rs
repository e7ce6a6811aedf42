//! The `demo` command shows a whole run in a temporary directory, and then attacks that are refused.
//!
//! The demo simulates nothing. The boundary is the `serve` command of this program on a loopback port. The demo sends
//! real HTTP requests and uses real keys. Before the demo prints a line, it checks the statement in the line.

mod attacks;
mod granted;
pub mod own_runbook;
mod story;
pub mod tale;
pub mod world;

use std::path::PathBuf;

use serde_json::json;

use crate::{DemoReport, DemoResult, DemoSetup};
use client::{CommandResult, Exit, Terminal};

/// Show a whole run in seconds: propose, review, sign, run and verify offline; then show attacks that are refused.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign demo
  countersign demo --keep demo-1      # keep all files in demo-1

A signal also ends the boundary of the demo. The exit code is 0 only if every line was confirmed and every attack was refused.")]
pub struct Args {
    /// Write the files of the demo to this new directory, and keep the directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// Returns an error if the directory or the boundary of the demo cannot be created.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let mut tale = DemoReport::new(terminal);
    let mut world = DemoSetup::make(args.keep.as_deref())?;
    let told = story::tell(&mut world, &mut tale)
        .and_then(|signed| attacks::try_all(&mut world, &mut tale, &signed));
    if let Err(failure) = told {
        // The demo stopped before its end, so it counts as failed.
        tale.line(
            DemoResult::Failed,
            "the demo stopped here",
            &failure.message,
        )?;
        tale.note(&format!("the boundary's own log:\n{}", world.log_tail()))?;
    }
    world.end();
    let as_told = tale.all_as_told();
    tale.verdict()?;
    if let Some(dir) = &args.keep {
        tale.note(&format!("Everything is in {}.", dir.display()))?;
    }
    if terminal.json {
        terminal.object(json!({"as_told": as_told, "lines": tale.lines()}))?;
    }
    Ok(if as_told {
        Exit::Done
    } else {
        Exit::CheckSaidNo
    })
}
