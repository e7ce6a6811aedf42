//! The `freeze` command stops a boundary, or all boundaries of the list.

use std::path::PathBuf;
use std::sync::mpsc;

use serde_json::json;

use crate::commands::global::{BoundaryChoice, GlobalOptions};
use crate::commands::revocation::{self, RevokingBoundary, done_words};
use crate::home::keys::KeyArgs;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;
use documents::record::revocation::RevokedSubject;
use wire::api::view::RevocationView;

/// Stop everything: all proposals and runs end, and nothing runs until an operator of the host thaws the boundary.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign freeze --reason 'the agent deletes data'
  countersign freeze --all --yes                every boundary of your list, without a question
  countersign freeze -o freeze.json             only write the signed freeze, which `countersign revoke freeze.json` sends

Every approver and every operator of the roster can freeze. Runs get the time of their step to end, and then are killed.
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
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match (&global.choice, args.all) {
        (BoundaryChoice::All, _) if args.output.is_some() => {
            return Err(CommandFailure::usage(
                "--output writes the freeze of one boundary: choose it with --boundary NAME",
            ));
        }
        (BoundaryChoice::All, _) | (BoundaryChoice::None, true) => return every_boundary(args, global, terminal),
        (BoundaryChoice::One(_) | BoundaryChoice::Address, true) => {
            return Err(CommandFailure::usage("--all is for every boundary of your list: leave --boundary out"));
        }
        (_, false) => {}
    }
    let client = global.reviewer(&args.key, terminal)?;
    let boundary = RevokingBoundary::read(&client)?;
    if !args.yes {
        let question = format!("Freeze {}? All proposals and runs end.", boundary.boundary.name);
        revocation::ask_consent(&question, terminal)?;
    }
    let keys = args.key.find()?;
    if let Some(path) = &args.output {
        let subject = RevokedSubject::epoch(&boundary.boundary.epoch);
        return revocation::write(&boundary.sign(subject, &args.reason, &keys)?, path, terminal).map(|()| Exit::Done);
    }
    let answer = boundary.freeze(&args.reason, &keys)?;
    if terminal.json {
        terminal.object(&answer)?;
    } else {
        terminal.line(&done_words(&answer, None))?;
    }
    Ok(Exit::Done)
}

/// Freezes all boundaries of the list at the same time. A boundary that does not answer does not delay the others, and is
/// named.
fn every_boundary(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let all = global.for_all_once()?;
    let names: Vec<&str> = all.iter().filter_map(|one| one.listed()).map(|listed| listed.name.as_str()).collect();
    if !args.yes {
        revocation::ask_consent(&format!("Freeze {}? All proposals and runs end.", names.join(", ")), terminal)?;
    }
    let freeze = |one: &GlobalOptions| -> Result<RevocationView, CommandFailure> {
        let client = one.reviewer(&args.key, terminal)?;
        RevokingBoundary::read(&client)?.freeze(&args.reason, &args.key.find()?)
    };
    let (send, results) = mpsc::channel();
    let mut exit = Exit::Done;
    std::thread::scope(|scope| {
        for (name, one) in names.iter().zip(&all) {
            let (send, freeze) = (send.clone(), &freeze);
            scope.spawn(move || send.send((*name, freeze(one))));
        }
        drop(send);
        // Print each result when it arrives, because a silent boundary answers late.
        for (name, done) in results {
            match done {
                Ok(answer) if terminal.json => terminal.object(&json!({"boundary": name, "revocation": answer}))?,
                Ok(answer) => terminal.line(&format!("{name}: {}", done_words(&answer, None)))?,
                Err(failure) => {
                    exit = Exit::CheckSaidNo;
                    match terminal.json {
                        true => terminal.object(&json!({"boundary": name, "error": failure.message}))?,
                        false => terminal.say(&format!("{name}: NOT frozen: {failure}")),
                    }
                }
            }
        }
        Ok(exit)
    })
}
