//! The `freeze` command stops a boundary, or all boundaries of the list.

use std::path::PathBuf;

use crate::{
    BoundaryChoice, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, RevokingBoundary,
    Terminal,
    commands::{revocation::done_words, revoke::told},
    fail_usage, revocation, show_chosen, write_document,
};
use documents::{RevokedSubject, joined};

/// Stop everything: all proposals and runs end, and nothing runs until an operator of the host thaws the boundary.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign freeze --reason 'the agent deletes data'
  countersign freeze --all --yes                every boundary of your list, without a question
  countersign freeze -o freeze.json             only write the signed freeze, which `countersign revoke freeze.json` sends

Every approver and every operator of the roster can freeze. Each run gets SIGTERM, and is killed 0.75 s later.
`countersign thaw` on the host of the boundary ends the freeze.")]
pub struct Args {
    /// Freeze every boundary of your list (`countersign boundary list`)
    #[arg(long)]
    all: bool,
    /// The reason, which all readers of the log can see
    #[arg(long, default_value = "")]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write the signed freeze to this file instead of sending it to the boundary
    #[arg(short, long, value_name = "FILE", conflicts_with = "all")]
    output: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Signs and sends the freeze.
///
/// # Errors
/// Returns an error if the person declines, or if the boundary refuses the freeze.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    match (&global.choice, args.all) {
        (BoundaryChoice::All, _) if args.output.is_some() => {
            return fail_usage(
                "--output writes the freeze of one boundary: choose it with --boundary NAME",
            );
        }
        (BoundaryChoice::All, _) | (BoundaryChoice::None, true) => {
            return every_boundary(args, global, terminal);
        }
        (BoundaryChoice::One(_) | BoundaryChoice::Address, true) => {
            return fail_usage("--all is for every boundary of your list: leave --boundary out");
        }
        (_, false) => {}
    }
    let client = global.reviewer(&args.key, terminal)?;
    let boundary = RevokingBoundary::read(&client)?;
    ask_consent(args, boundary.boundary.name.as_str(), terminal)?;
    let keys = args.key.find()?;
    if let Some(path) = &args.output {
        let subject = RevokedSubject::epoch(&boundary.boundary.epoch);
        write_document(
            path,
            &boundary.sign(subject, &args.reason, &keys)?,
            terminal,
        )?;
        return Ok(Exit::Done);
    }
    told(&boundary.freeze(&args.reason, &keys)?, None, terminal)
}

fn ask_consent(args: &Args, names: &str, terminal: &Terminal) -> CommandResult<()> {
    let question = format!("Freeze {names}? All proposals and runs end.");
    revocation::ask_consent(&question, args.yes, terminal)
}

/// Freezes all boundaries of the list at the same time. A boundary that does not answer does not delay the others, and
/// a message names this boundary.
fn every_boundary(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let all = GlobalOptions {
        choice: BoundaryChoice::All,
        ..global.clone()
    };
    let listed = all.for_all_listed()?;
    let names = joined(listed.iter().map(GlobalOptions::shown_name), ", ");
    ask_consent(args, &names, terminal)?;
    let freeze = |one: &GlobalOptions| -> CommandResult<_> {
        let client = one.reviewer(&args.key, terminal)?;
        RevokingBoundary::read(&client)?.freeze(&args.reason, &args.key.find()?)
    };
    let failed =
        |failure: CommandFailure| CommandFailure::check_said_no(format!("NOT frozen: {failure}"));
    let text = |_: &_, answer| terminal.line(done_words(&answer, None));
    show_chosen(&all, terminal, |one| freeze(one).map_err(failed), text)
}
