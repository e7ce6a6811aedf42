//! Makes a valid log of many runs: the real service runs authorizations with real signatures, and starts no process.

use std::path::PathBuf;
use std::time::Duration;

use client::terminal::exit::CommandFailure;

use crate::clients::{self, Plan};
use crate::floors::broken;
use crate::service;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of runs of the step `bench:often`. The step `bench:once` runs once, before them
    #[arg(long)]
    runs: u64,
    /// New directory for the boundary
    #[arg(long)]
    dir: PathBuf,
}

const RUNBOOK: &str =
    "---\ncountersign: 1\ntitle: Bench\n---\n\n```bash {#once}\ntrue\n```\n\n```bash {#often}\n:\n```\n";
/// Number of clients, as in the measurements with the largest batches.
const CLIENTS: usize = 64;
/// Number of authorizations in memory.
const AT_ONCE: u64 = 10_000;

/// Makes the log. Returns the path of the configuration file of its boundary.
pub fn make(args: &Args) -> Result<PathBuf, CommandFailure> {
    std::fs::create_dir(&args.dir).map_err(|error| broken(&error))?;
    let (config, token) = service::create(&args.dir, RUNBOOK)?;
    let service = service::start_at(&config, &token)?;
    let first = Plan::prepare(&service, "bench:once")?;
    let _bundle = first.exchange(&service)?;
    let plan = Plan::prepare(&service, "bench:often")?;
    for made in (0..args.runs).step_by(AT_ONCE as usize) {
        let most = AT_ONCE.min(args.runs - made);
        let _load = clients::send(&service, &plan, CLIENTS, most, Duration::MAX)?;
    }
    service.stop()?;
    Ok(config)
}
