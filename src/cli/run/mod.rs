//! `run`: a person at a terminal runs the steps of a runbook.
//!
//! Policy's questions take the place of other people's approvals: nobody countersigned, so what comes out is a local
//! receipt, a kind of its own that proves to the person alone what they ran. One step is decided, asked about and run
//! after another; the first that does not succeed is the last.

mod log;

use std::path::PathBuf;

use serde_json::{Map, json};

use crate::home::keys::KeyArgs;
use crate::home::parameters::read_params;
use crate::local::decide::{LocalRules, RuleArgs};
use crate::local::host_sandbox::{HostSandbox, SandboxChoice};
use crate::local::project::Project;
use crate::local::runbook::Runbook;
use crate::local::signals::Signals;
use crate::local::signed_receipts::Receipts;
use crate::local::step::RunbookWalk;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Run a runbook's steps yourself, at a terminal: policy asks you instead of approvers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign run deploy.md                                every step in order, until one does not succeed
  countersign run deploy.md:restart -p host=web-3          one step
  countersign run deploy.md:restart --allow-run kubectl    answers one question beforehand
  countersign run checks.md --non-interactive              in a job: whatever would be asked is denied
  countersign run --log                                    your own receipts, and whether their chain is whole

Each step's script is parsed and every command in it decided before anything is asked: one that policy denies ends it \
all. A step works in the current directory where policy lets it write there, else in an overlay of it, whose changes are \
discarded, else in an empty directory. It has the policy's part of your environment, never LD_*, BASH_ENV and the like \
or your ssh agent, and not your terminal as its input; PATH and HOME are the sandbox's. Run by root, it has a user id of \
its own, which can't change the files of other users, in an overlay neither. Ctrl-C ends it with everything it started.

The receipt is signed with your own key and goes to your own log. It is no approval by anybody: gate, verify and audit \
never take it.

Exit codes: the step's own; 124 timed out, 125 it could not be run or its receipt not written, 126 denied or refused, \
127 unknown step, 128+n ended by signal n (130: Ctrl-C).")]
pub struct Args {
    /// A runbook in Countersign Markdown, or one of its steps
    #[arg(value_name = "FILE[:STEP]", required_unless_present = "log")]
    file: Option<String>,
    /// A parameter; its type is the schema's: integer, boolean, or JSON for arrays and objects
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A file with an object of parameters, - is the standard input; -p goes over it
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleArgs,
    /// Run with as much of the sandbox as this host holds; says what is missing
    #[arg(long, conflicts_with_all = ["no_sandbox", "sandbox_strict"], help_heading = "Sandbox")]
    sandbox: bool,
    /// Run without a sandbox: limits and a clean start only
    #[arg(long, conflicts_with = "sandbox_strict", help_heading = "Sandbox")]
    no_sandbox: bool,
    /// Refuse where this host does not hold every layer; the default
    #[arg(long, help_heading = "Sandbox")]
    sandbox_strict: bool,
    /// Keep no receipt
    #[arg(long, help_heading = "Receipt")]
    no_receipt: bool,
    /// List your own receipts and check signatures and chain; 1 when something is wrong
    #[arg(long, conflicts_with_all = ["file", "param", "params", "no_receipt"], help_heading = "Receipt")]
    log: bool,
    /// With --log: another key of yours, an earlier one say; may be repeated
    #[arg(long, value_name = "FILE", requires = "log", help_heading = "Receipt")]
    also_key: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

impl Args {
    fn wanted(&self) -> SandboxChoice {
        if self.no_sandbox {
            SandboxChoice::Off("--no-sandbox")
        } else if self.sandbox {
            SandboxChoice::BestEffort
        } else if self.rules.allows_all() && !self.sandbox_strict {
            SandboxChoice::Off("--allow-all")
        } else {
            SandboxChoice::Strict
        }
    }
}

/// Runs the steps, or lists receipts.
///
/// # Errors
/// When the runbook, policy or parameters are wrong, policy or the person denies a step, or one can't be run.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let Some(file) = args.file.as_deref().filter(|_| !args.log) else {
        return log::show(&args.key, &args.also_key, terminal);
    };
    let project = Project::here()?;
    let params = args.params.as_deref().map_or(Ok(Map::new()), read_params)?;
    let runbook = Runbook::read(file, &args.param, params, &project)?;
    let rules = LocalRules::find(&args.rules, &project, &runbook)?;
    let receipts = if args.no_receipt { None } else { Some(Receipts::prepare(&args.key)?) };
    let wanted = args.wanted();
    rules.say_what_is_off(terminal);
    if let SandboxChoice::Off(flag) = wanted {
        terminal.say(&format!(
            "WARNING: {flag}: NO SANDBOX. The step can read and write what you can, reach the network, and talk to your other \
             processes"
        ));
    }
    if receipts.is_none() {
        terminal.say("note: no receipt is kept (--no-receipt)");
    }
    let hold = HostSandbox::prepare(wanted, receipts.as_ref().map(|receipts| receipts.log().directory()), terminal)?;
    let signals = Signals::listen(hold.scratch())?;
    let mut walk = RunbookWalk::new(&project, &runbook, &rules, &hold, receipts.as_ref(), &signals, terminal);
    let mut exit = Exit::Done;
    for (at, chosen) in runbook.steps.iter().enumerate() {
        exit = walk.step(chosen)?;
        if exit.code() != 0 {
            let rest: Vec<&str> =
                runbook.steps[at + 1..].iter().map(|later| later.step.definition.reference.step()).collect();
            if !rest.is_empty() {
                terminal.say(&format!("not run, since the step before did not succeed: {}", rest.join(", ")));
            }
            break;
        }
    }
    if terminal.json {
        terminal.object(&json!({"type": "result", "exit": {"code": exit.code(), "kind": exit.word()}}))?;
    }
    Ok(exit)
}
