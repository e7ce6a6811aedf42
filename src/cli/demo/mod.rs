//! `demo`: the whole story on a directory of its own, then the attacks that are refused.
//!
//! Nothing is played: the boundary is this binary's own `serve` on a loopback port, requests go over HTTP, keys are keys.
//! Each line is printed after it was checked.

mod attacks;
mod story;
mod tale;
mod world;

use std::path::PathBuf;

use serde_json::json;

use crate::cli::demo::tale::{DemoReport, DemoResult};
use crate::cli::demo::world::DemoSetup;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Show the whole story in seconds: propose, review, sign, run, verify offline; then the attacks that are refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign demo
  countersign demo --keep demo-1      # and look around afterwards

Ends with 0 only when every line of the story and every attack happened as told.")]
pub struct Args {
    /// Keep everything in this directory, which must not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Tells the story.
///
/// # Errors
/// When it can't even begin: no directory, no boundary.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let mut tale = DemoReport::new(terminal);
    let mut world = DemoSetup::make(args.keep.as_deref())?;
    let told = story::tell(&mut world, &mut tale).and_then(|signed| attacks::try_all(&mut world, &mut tale, &signed));
    if let Err(failure) = told {
        // What is not told any more did not happen as told.
        tale.line(DemoResult::Failed, "the story broke off here", &failure.message)?;
        tale.note(&format!("the boundary's own log:\n{}", world.log_tail()))?;
    }
    world.end();
    let as_told = tale.all_as_told();
    tale.verdict()?;
    if let Some(dir) = &args.keep {
        tale.note(&format!("Everything is in {}.", dir.display()))?;
    }
    if terminal.json {
        terminal.object(&json!({"as_told": as_told, "lines": tale.lines()}))?;
    }
    Ok(if as_told { Exit::Done } else { Exit::CheckSaidNo })
}
