//! The `session` command creates, shows, resets and ends sessions.

use crate::{
    Client, CommandResult, Exit, GlobalOptions, KeyArgs, PrintableText, Terminal, aligned,
    fail_usage,
};
use documents::{SessionId, joined};
use wire::{NewSession, SessionList, SessionView};

/// Create, show, reset and end sessions. A session carries variables, the directory and files from run to run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign session create deploy/web                       prints the id
  countersign propose deploy/web:build --session ses_… --wait
  countersign session show                                    the only session
  countersign session end ses_…

A session ends after 30 minutes without a proposal or a run, and when the boundary restarts.")]
pub struct Args {
    #[command(subcommand)]
    command: SessionCommand,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(clap::Subcommand)]
enum SessionCommand {
    /// Create a session for the steps of one runbook
    Create {
        /// The runbook: the part of a step's name before the colon
        runbook: String,
    },
    /// List the sessions that you can use
    List,
    /// Show a session: its state, the names of its variables, and its runs
    Show {
        /// The id of the session. The default is the only session
        id: Option<SessionId>,
    },
    /// End a session and create a new one for the same runbook
    Reset {
        /// The id of the session. The default is the only session
        id: Option<SessionId>,
    },
    /// End a session and remove its files
    End {
        /// The id of the session. The default is the only session
        id: Option<SessionId>,
    },
}

/// Sends the request and prints the answer.
///
/// # Errors
/// Returns an error if the boundary refuses or cannot be reached.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = global.client(&args.key)?;
    match &args.command {
        SessionCommand::Create { runbook } => {
            let body = NewSession {
                runbook: runbook.clone(),
            };
            created(&client.post("/v1/sessions", &body)?, terminal)?;
        }
        SessionCommand::List => list(&client.get("/v1/sessions")?, terminal)?,
        SessionCommand::Show { id } => {
            let id = chosen(&client, id)?;
            show(&client.get(&format!("/v1/sessions/{id}"))?, terminal)?;
        }
        SessionCommand::Reset { id } => {
            let id = chosen(&client, id)?;
            created(
                &client.post_nothing(&format!("/v1/sessions/{id}/reset"))?,
                terminal,
            )?;
        }
        SessionCommand::End { id } => {
            let id = chosen(&client, id)?;
            let ended: SessionView = client.post_nothing(&format!("/v1/sessions/{id}/end"))?;
            terminal.report(&ended, format!("the session {} is over", ended.id))?;
        }
    }
    Ok(Exit::Done)
}

/// Returns the given id, or the id of the only session.
fn chosen(client: &Client, given: &Option<SessionId>) -> CommandResult<SessionId> {
    if let Some(id) = given {
        return Ok(id.clone());
    }
    let found: SessionList = client.get("/v1/sessions")?;
    match found.sessions.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => {
            fail_usage("there is no session: create one with `countersign session create RUNBOOK`")
        }
        several => {
            let names = joined(
                several
                    .iter()
                    .map(|one| format!("  {} {}", one.id, one.runbook)),
                "\n",
            );
            fail_usage(format!(
                "there are {} sessions, so name one:\n{names}",
                several.len()
            ))
        }
    }
}

fn created(session: &SessionView, terminal: &Terminal) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(session);
    }
    terminal.line(session.id.as_str())?;
    let runbook = PrintableText::text(&session.runbook);
    terminal.say(format!(
        "to run a step of {runbook} in it: countersign propose {runbook}:STEP --session {}",
        session.id
    ));
    Ok(())
}

fn list(list: &SessionList, terminal: &Terminal) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(list);
    }
    let rows: Vec<[String; 5]> = list
        .sessions
        .iter()
        .map(|one| {
            let state = one.running.as_ref().map_or_else(
                || format!("ends in {} min", one.idle_left_s.div_ceil(60)),
                |proposal| format!("runs {proposal}"),
            );
            [
                one.id.to_string(),
                one.runbook.clone(),
                one.creator.to_string(),
                format!("{} runs", one.run_count),
                state,
            ]
        })
        .collect();
    terminal.put(aligned(&rows))
}

fn show(session: &SessionView, terminal: &Terminal) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(session);
    }
    let mut rows = vec![
        ("session", session.id.to_string()),
        ("runbook", session.runbook.clone()),
        ("creator", session.creator.to_string()),
        ("created", session.created_at.to_string()),
        ("state", session.state.to_string()),
        (
            "directory",
            session
                .directory
                .clone()
                .unwrap_or_else(|| "the work directory".to_owned()),
        ),
        ("variables", words(&session.variables)),
        ("removed", words(&session.unset)),
        (
            "ends",
            format!(
                "after {} min without a proposal or a run",
                session.idle_left_s.div_ceil(60)
            ),
        ),
    ];
    if let Some(running) = &session.running {
        rows.push(("running", running.to_string()));
    }
    for run in &session.runs {
        rows.push(("run", format!("{} {} {}", run.at, run.step, run.proposal)));
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| [name.to_owned(), value])
        .collect();
    terminal.put(aligned(&rows))
}

fn words(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(" "),
    }
}
