//! The `registry` command of the client lists and shows the steps of a boundary.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    Client, CommandResult, Exit, GlobalOptions, KeyArgs, PrintableText, Screen, Terminal, fitted,
    needs_boundary, with_header,
};
use documents::{Approvals, StepRef, joined};
use reading::{Pattern, comments};
use wire::{RegistryView, StepView};

/// List and show steps, as sealed by the boundary or as written in files, and check the files.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign registry list                     # what the running boundary has sealed
  countersign registry show service:restart")]
pub struct Args {
    #[command(subcommand)]
    command: SealedStepsCommand,
    /// Read these runbooks instead of asking the boundary; may be repeated
    #[arg(long = "dir", global = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// The commands that every program has.
#[derive(clap::Subcommand)]
pub enum SealedStepsCommand {
    /// List the steps with their digests and their approval rules
    List {
        /// Only the steps that this pattern matches, such as `deploy/**` or `service:*`
        #[arg(value_name = "PATTERN", value_parser = Pattern::parse)]
        pattern: Option<Pattern>,
        /// The key of the user.
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Print the whole definition of one step
    Show {
        /// The step, as path:step
        step: StepRef,
        /// The key of the user.
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Lists or shows steps.
///
/// # Errors
/// Returns the reason why the boundary did not answer.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    if !args.dirs.is_empty() {
        return Err(needs_boundary("`registry --dir`"));
    }
    args.command.run(global, terminal)
}

impl SealedStepsCommand {
    /// Lists or shows the steps that the boundary has sealed.
    ///
    /// # Errors
    /// Returns the reason why the boundary did not answer.
    pub fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::List { pattern, key } => {
                list_sealed(pattern.as_ref(), &global.client(key)?, terminal)
            }
            Self::Show { step, key } => show_sealed(step, &global.client(key)?, terminal),
        }
    }
}

fn show_sealed(step: &StepRef, client: &Client, terminal: &Terminal) -> CommandResult {
    let view: StepView = client.get(&format!("/v1/steps/{step}"))?;
    let mut rest = json!({"approvals": view.approvals, "sandbox": view.sandbox});
    if !view.programs.is_empty() {
        rest["programs"] = json!(view.programs);
    }
    if let Some(variables) = view.session_variables {
        rest["session_variables"] = json!(variables);
    }
    print_step(&view.digest.to_string(), &view.definition, &rest, terminal)
}

fn list_sealed(pattern: Option<&Pattern>, client: &Client, terminal: &Terminal) -> CommandResult {
    let mut view: RegistryView = client.get("/v1/registry")?;
    view.steps
        .retain(|step| pattern.is_none_or(|pattern| pattern.matches(step.reference.as_str())));
    if terminal.json {
        terminal.object(&view)?;
        return Ok(Exit::Done);
    }
    for drift in &view.seal.drift {
        terminal.say(format!("note: {drift}"));
    }
    terminal.say(format!(
        "seal {} of {}, registry root {}",
        view.seal.number, view.boundary.name, view.seal.registry_root
    ));
    let rows = view.steps.iter().map(|step| {
        let here = if step.unavailable.is_some() {
            "can't run it"
        } else {
            ""
        };
        let reference = step.reference.to_string();
        [
            reference,
            rules(&step.approvals),
            step.title.clone(),
            step.digest.to_string(),
            here.to_owned(),
        ]
    });
    print_list(rows.collect(), terminal)
}

/// Formats approval rules, for example `2 of ops + 1 of security`. A rule without groups is omitted, because policy
/// then decides.
pub fn rules(rules: &[Approvals]) -> String {
    let words = joined(
        rules
            .iter()
            .filter(|rule| !rule.from.is_empty())
            .map(|rule| {
                let how = if rule.each == Some(true) {
                    "each of"
                } else {
                    "of"
                };
                format!("{} {how} {}", rule.required, joined(&rule.from, ","))
            }),
        " + ",
    );
    if words.is_empty() {
        "as policy says".to_owned()
    } else {
        words
    }
}

/// Prints the steps as a table. The last column is left out if it is empty for every step.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn print_list(steps: Vec<[String; 5]>, terminal: &Terminal) -> CommandResult {
    let here = if steps.iter().any(|step| !step[4].is_empty()) {
        "THIS HOST"
    } else {
        ""
    };
    let cells = steps.iter().map(|step| {
        let mut cells = step.each_ref().map(PrintableText::text);
        cells[2] = PrintableText::prose(&step[2]);
        cells
    });
    let mut rows = with_header(["STEP", "APPROVALS", "TITLE", "DIGEST", here], cells);
    // Shorten the titles to the width that the other columns leave, and then the approvals.
    for at in [2, 1] {
        let widest = |at: usize| {
            rows.iter()
                .map(|row| row[at].width())
                .max()
                .unwrap_or_default()
        };
        let others = widest(0) + widest(3 - at) + widest(4) + 6;
        let room = terminal.table_width().saturating_sub(others).max(8);
        rows.iter_mut().for_each(|row| row[at] = row[at].cut(room));
    }
    terminal.put(fitted(&rows, terminal.table_width(), 3))?;
    Ok(Exit::Done)
}

/// Prints the definition of a step.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn print_step(
    digest: &str,
    definition: &Value,
    rest: &Value,
    terminal: &Terminal,
) -> CommandResult {
    if terminal.json {
        terminal.object(json!({"digest": digest, "definition": definition, "in_force": rest}))?;
        return Ok(Exit::Done);
    }
    let mut screen = Screen::default();
    screen.heading("Step");
    screen.field("digest", digest);
    screen.exact(definition, &[(".source", "Script")]);
    if rest.as_object().is_some_and(|fields| !fields.is_empty()) {
        screen.heading("In force");
        screen.exact(rest, &[]);
    }
    screen.heading("Script");
    let [source, interpreter] =
        ["source", "interpreter"].map(|field| definition[field].as_str().unwrap_or_default());
    screen.numbered(source, &comments(interpreter, source));
    terminal.show(&screen)?;
    Ok(Exit::Done)
}
