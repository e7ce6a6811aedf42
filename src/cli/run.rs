//! The `run` command: a person at a terminal runs the steps of a runbook.
//!
//! The person answers the questions of policy, and no approvers sign. For each step, policy decides, the person
//! answers, and the step runs. The first step that does not succeed ends the command. No run leaves a receipt.

use std::path::PathBuf;

use serde_json::{Map, json};

use client::{CommandResult, Exit, PrintableText, Terminal, fail_usage, read_params};
use workbench::{
    HostSandbox, LocalRules, LocalSecrets, LoopLists, RuleArgs, Runbook, RunbookWalk, SandboxArgs,
    SandboxChoice, Signals, WalkSession, WorkflowRun,
};

/// Run the steps of a runbook yourself, at a terminal. Policy asks you instead of approvers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign run deploy.md                                every step in order in one session, until one fails
  countersign run deploy.md --from restart                 this step and the steps after it
  countersign run deploy.md --secret db=env:DB_PASSWORD    the source of a secret
  countersign run deploy.md:restart -p host=web-3          one step
  countersign run deploy.md:restart --allow-run kubectl    answers one question in advance
  countersign run ship.runbook.md --var items=a,b          a Rundown workflow, with a list for its loop
  countersign run checks.md --non-interactive              in a job: policy denies instead of asking

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
steps, and each line key=value of the file $RUNBOOK_OUTPUT is a parameter of the next steps that declare the key. In a \
Rundown workflow and in runnable fences, each step begins in the current directory with your variables. The session ends \
with the command.

A step with secrets needs --secret for each of them. A sign-in block of Gruntwork takes the documented variables of your \
environment, after a question. The output contains a text in place of each value.

The command loads no key, and a run leaves no receipt: to get one, propose the step to a boundary.

Exit codes: the code of the step; 2 you gave something wrong, 124 timed out, 125 the step could not run, 126 refused \
by policy, state or your answer, 127 unknown step, 128+n ended by signal n (130: Ctrl-C).")]
pub struct Args {
    /// A runbook, or one step of the runbook
    #[arg(value_name = "FILE[:STEP]", add = client::runbook_or_step())]
    file: String,
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
    /// The source of a secret: NAME=env:VARIABLE or NAME=file:PATH; may be repeated
    #[arg(long, value_name = "NAME=SOURCE")]
    secret: Vec<String>,
    /// Begin with this step, in a new session
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Begin each step with the variables and in the directory of the step before, also in Rundown workflows and runnable
    /// fences. In other runbooks this is the default
    #[arg(long)]
    carry: bool,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// Runs the steps of a runbook.
///
/// # Errors
/// Returns an error if the runbook, the policy or the parameters are invalid, or if a step is denied or cannot
/// run.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let project = args.rules.project()?;
    let params = args.params.as_deref().map_or(Ok(Map::new()), read_params)?;
    let mut runbook = Runbook::read(&args.file, &args.param, params, &project)?;
    // The steps of a file share a session, also if only the last step runs.
    let is_walk = runbook.workflow.is_some() || runbook.steps.len() > 1;
    if let Some(from) = &args.from {
        runbook.begin_at(from)?;
    }
    runbook.check_beforehand()?;
    for remark in &runbook.remarks {
        terminal.say(PrintableText::text(&format!("remark: {remark}")));
    }
    let secrets = LocalSecrets::of_options(&args.secret)?;
    secrets
        .notes()?
        .iter()
        .for_each(|note| terminal.say(PrintableText::text(&format!("note: {note}"))));
    runbook
        .steps
        .iter()
        .try_for_each(|one| secrets.check(&one.step.definition, &one.given()))?;
    let lists = match &runbook.workflow {
        Some(file) => Some(LoopLists::read(&args.var, &file.workflow, &project)?),
        None if args.var.is_empty() => None,
        None => {
            return fail_usage(
                "--var is only for a whole workflow, FILE.runbook.md: use -p instead",
            );
        }
    };
    let rules = LocalRules::find(&args.rules, &project, &runbook.name)?;
    let wanted = args.sandbox.wanted(args.rules.allows_all());
    args.rules.say_what_is_off(terminal);
    if let SandboxChoice::Off(flag) = wanted {
        terminal.say(format!(
            "WARNING: {flag}: NO SANDBOX. The step can start every program, read and write what you can, reach the network, and \
             talk to your other processes"
        ));
    }
    let hold = HostSandbox::prepare(wanted, terminal)?;
    let signals = Signals::listen(hold.scratch())?;
    let carries_state = args.carry || runbook.carries_state();
    let carried = is_walk.then(|| WalkSession {
        carries_state,
        ..WalkSession::default()
    });
    let mut walk = RunbookWalk::new(
        secrets, carried, &project, &rules, &hold, &signals, terminal,
    );
    let exit = match (&runbook.workflow, &lists) {
        (Some(file), Some(lists)) => WorkflowRun::run(file, lists, &mut walk)?,
        _ => in_order(&runbook, &mut walk, &signals, terminal)?,
    };
    if terminal.json {
        terminal.object(
            json!({"type": "result", "exit": {"code": exit.code(), "kind": exit.word()}}),
        )?;
    }
    Ok(exit)
}

/// End of a step with a warning.
const WARNED: Exit = Exit::Step(2);

/// Runs the steps in the order of the file, until one fails. A step that ends with a warning (exit code 2) ends nothing.
/// The exit code is then 2, unless a later step fails.
fn in_order(
    runbook: &Runbook,
    walk: &mut RunbookWalk<'_>,
    signals: &Signals,
    terminal: &Terminal,
) -> CommandResult {
    let mut exit = Exit::Done;
    for (at, step) in runbook.steps.iter().enumerate() {
        let ended = walk.walk_step(step)?;
        if exit != WARNED || ended.code() != 0 {
            exit = ended;
        }
        if ended.code() != 0 && ended != WARNED {
            let rest: Vec<&str> = runbook.steps[at + 1..]
                .iter()
                .map(|later| later.step.definition.reference.step())
                .collect();
            if let Some(next) = rest.first() {
                let why = match signals.caught() {
                    Some(signal) => format!("signal {signal} ended this command"),
                    None => "the previous step did not succeed".to_owned(),
                };
                terminal.say(format!(
                    "not run, because {why}: {}; to go on in a new session: countersign run {} --from {next}",
                    rest.join(", "),
                    PrintableText::text(&runbook.shown),
                ));
            }
            break;
        }
    }
    Ok(exit)
}
