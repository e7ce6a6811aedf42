//! The `run` command: a person at a terminal runs the steps of a runbook.
//!
//! The person answers the questions of policy, and no approvers sign. For each step, policy decides, the person
//! answers, and the step runs. The first step that does not succeed ends the command. The result is a local receipt, a
//! separate kind of document that proves the run only to this person.

mod log;

use std::path::PathBuf;

use serde_json::{Map, json};

use crate::home::keys::KeyArgs;
use crate::home::parameter_values::read_params;
use crate::local::decide::{LocalRules, RuleArgs};
use crate::local::host_sandbox::HostSandbox;
use crate::local::loop_lists::LoopLists;
use crate::local::project::Project;
use crate::local::runbook::Runbook;
use crate::local::sandbox_choice::SandboxChoice;
use crate::local::signals::Signals;
use crate::local::signed_receipts::Receipts;
use crate::local::step_run::RunbookWalk;
use crate::local::workflow_run::WorkflowRun;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;

/// Run the steps of a runbook yourself, at a terminal. Policy asks you instead of approvers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign run deploy.md                                every step in order in one session, until one fails
  countersign run deploy.md:restart -p host=web-3          one step
  countersign run deploy.md:restart --allow-run kubectl    answers one question in advance
  countersign run ship.runbook.md --var items=a,b          a Rundown workflow, with a list for its loop
  countersign run checks.md --non-interactive              in a job: policy denies instead of asking
  countersign run --log                                    your own receipts, and a check of their chain

Policy decides about every command of a step before the first question, and a denied command ends the whole run. A \
step works in the current directory if policy lets the step write there. If policy does not let the step write \
there, the step works in an overlay of that directory, whose changes are discarded, or in an empty directory. Policy \
selects the variables of your environment that a step inherits. The kernel starts only the programs of a list: those of \
script, step and policy, those that you allow, and those that these start. The line `programs:` names them, and with \
--json the whole list. A step never inherits your ssh agent, your terminal as its input, or variables \
such as LD_* and BASH_ENV, and the sandbox sets PATH and HOME. If root runs the command, \
a step has its own user id, which can't change the files of other users, also not in an overlay. Ctrl-C ends the \
step and all its processes.

The steps of a file share a session: a step of bash or sh leaves its exported variables and its directory for the next \
steps, and each line key=value of the file $RUNBOOK_OUTPUT is a parameter of the next steps that declare the key.

Your own key signs the receipt, and your own log keeps it. The receipt is no approval, so gate, verify and audit \
never accept it.

Exit codes: the code of the step; 124 timed out, 125 the step could not run or its receipt was not written, 126 \
denied or refused, \
127 unknown step, 128+n ended by signal n (130: Ctrl-C).")]
pub struct Args {
    /// A runbook, or one step of the runbook
    #[arg(value_name = "FILE[:STEP]", required_unless_present = "log")]
    file: Option<String>,
    /// A parameter. The schema gives its type: text, integer, boolean, or JSON for arrays and objects
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// A file with a JSON object of parameters, or - for the standard input. The option -p overrides a value of the
    /// file
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// A list for a loop of a Rundown workflow: items=a,b or items=file:PATH; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    #[command(flatten)]
    rules: RuleArgs,
    /// Use all sandbox layers that this host supports, and report the missing layers
    #[arg(long, conflicts_with_all = ["no_sandbox", "sandbox_strict"], help_heading = "Sandbox")]
    sandbox: bool,
    /// Run without a sandbox: only the limits and a clean environment apply
    #[arg(long, conflicts_with = "sandbox_strict", help_heading = "Sandbox")]
    no_sandbox: bool,
    /// Refuse to run if this host lacks a sandbox layer. This is the default
    #[arg(long, help_heading = "Sandbox")]
    sandbox_strict: bool,
    /// Do not store a receipt of the run
    #[arg(long, help_heading = "Receipt")]
    no_receipt: bool,
    /// List your own receipts and check their signatures and their chain. The exit code is 1 if there is an error
    #[arg(long, conflicts_with_all = ["file", "param", "params", "no_receipt"], help_heading = "Receipt")]
    log: bool,
    /// With --log: another key of yours, for example an earlier key; may be repeated
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

/// Runs the steps of a runbook, or lists the local receipts.
///
/// # Errors
/// Returns an error if the runbook, the policy or the parameters are invalid, or if a step is denied or cannot
/// run.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let Some(file) = args.file.as_deref().filter(|_| !args.log) else {
        return log::show(&args.key, &args.also_key, terminal);
    };
    let project = Project::here()?;
    let params = args.params.as_deref().map_or(Ok(Map::new()), read_params)?;
    let runbook = Runbook::read(file, &args.param, params, &project)?;
    for remark in &runbook.remarks {
        terminal.say(PrintableText::text(&format!("remark: {remark}")).as_str());
    }
    let lists = match &runbook.workflow {
        Some(file) => Some(LoopLists::read(&args.var, &file.workflow, &project)?),
        None if args.var.is_empty() => None,
        None => {
            return Err(CommandFailure::usage("--var is only for a whole workflow, FILE.runbook.md: use -p instead"));
        }
    };
    let rules = LocalRules::find(&args.rules, &project, &runbook)?;
    let receipts = if args.no_receipt { None } else { Some(Receipts::prepare(&args.key)?) };
    let wanted = args.wanted();
    rules.say_what_is_off(terminal);
    if let SandboxChoice::Off(flag) = wanted {
        terminal.say(&format!(
            "WARNING: {flag}: NO SANDBOX. The step can start every program, read and write what you can, reach the network, and \
             talk to your other processes"
        ));
    }
    if receipts.is_none() {
        terminal.say("note: no receipt is kept (--no-receipt)");
    }
    let hold = HostSandbox::prepare(wanted, receipts.as_ref().map(|receipts| receipts.log().directory()), terminal)?;
    let signals = Signals::listen(hold.scratch())?;
    let is_walk = runbook.workflow.is_some() || runbook.steps.len() > 1;
    let mut walk = RunbookWalk::new(is_walk, &project, &rules, &hold, receipts.as_ref(), &signals, terminal);
    let exit = match (&runbook.workflow, &lists) {
        (Some(file), Some(lists)) => WorkflowRun::prepare(file, lists, &rules, &signals, terminal)?.run(&mut walk)?,
        _ => in_order(&runbook, &mut walk, terminal)?,
    };
    if terminal.json {
        terminal.object(&json!({"type": "result", "exit": {"code": exit.code(), "kind": exit.word()}}))?;
    }
    Ok(exit)
}

/// Runs the steps in the order of the file, until one does not succeed.
fn in_order(runbook: &Runbook, walk: &mut RunbookWalk<'_>, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let mut exit = Exit::Done;
    for (at, step) in runbook.steps.iter().enumerate() {
        exit = walk.walk_step(step)?;
        if exit.code() != 0 {
            let rest: Vec<&str> =
                runbook.steps[at + 1..].iter().map(|later| later.step.definition.reference.step()).collect();
            if let Some(next) = rest.first() {
                terminal.say(&format!(
                    "not run, because the previous step did not succeed: {}; to run the next step: countersign run \
                     {}:{next}",
                    rest.join(", "),
                    PrintableText::text(&runbook.shown).as_str(),
                ));
            }
            break;
        }
    }
    Ok(exit)
}
