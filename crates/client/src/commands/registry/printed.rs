//! Tables of steps, and whole steps, for the `registry` command.

use serde_json::{Value, json};

use crate::{CommandResult, Exit, PrintableText, Screen, Terminal, fitted};
use documents::{Approvals, joined};
use reading::comments;

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
    let mut rows = vec![["STEP", "APPROVALS", "TITLE", "DIGEST", here].map(PrintableText::words)];
    rows.extend(steps.iter().map(|step| {
        let mut cells = step.each_ref().map(PrintableText::text);
        cells[2] = PrintableText::prose(&step[2]);
        cells
    }));
    // The title gets the room that the other columns leave, then the approvals.
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
    terminal.put(fitted(&rows, terminal.table_width(), 3).as_bytes())?;
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
