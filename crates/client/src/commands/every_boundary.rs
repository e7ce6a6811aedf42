//! Asks the chosen boundary, or every boundary of the list at the same time.

use std::sync::mpsc::channel;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::{BoundaryChoice, CommandFailure, CommandResult, Exit, GlobalOptions, Terminal};

/// Longest time for an answer of one of several boundaries to a request that only reads, unless the options have one. It
/// leaves time for the start of the program, so that a command with a silent boundary ends within ten seconds.
pub const PATIENCE: Duration = Duration::from_millis(9700);

/// Takes a result of a boundary. An error means that the result can't be shown.
pub type Tell<'t, T> = dyn FnMut(T) -> CommandResult<()> + 't;

/// Asks each of these boundaries in a thread of its own. `take` gets each result when it arrives, so a boundary that does not
/// answer delays no other.
///
/// # Errors
/// Returns the error of `take`.
pub fn ask_each<T: Send>(
    all: &[GlobalOptions],
    ask: impl Fn(&GlobalOptions, &mut Tell<'_, T>) -> CommandResult<()> + Sync,
    mut take: impl FnMut(&GlobalOptions, CommandResult<T>) -> CommandResult<()>,
) -> CommandResult<()> {
    let (send, results) = channel();
    std::thread::scope(|scope| {
        for one in all {
            let (send, ask) = (send.clone(), &ask);
            scope.spawn(move || {
                let limited = GlobalOptions {
                    patience: one.patience.or(Some(PATIENCE)),
                    ..one.clone()
                };
                // The receiver is gone only if the output can't be written. Then the error has no reader.
                let mut tell = |found| {
                    send.send((one, Ok(found)))
                        .map_err(|_| CommandFailure::usage("the output is closed"))
                };
                if let Err(failure) = ask(&limited, &mut tell) {
                    let _ = send.send((one, Err(failure)));
                }
            });
        }
        drop(send);
        results
            .into_iter()
            .try_for_each(|(one, found)| take(one, found))
    })
}

/// Asks the chosen boundary, or every boundary of the list, and shows each result when it arrives. For every boundary, a
/// heading names the boundary, a failure is told, and the others go on. The exit code is that of the worst failure.
///
/// # Errors
/// Returns the error of one chosen boundary, an error if the list can't be used, or the error of `show`.
pub fn for_chosen<T: Send>(
    global: &GlobalOptions,
    terminal: &Terminal,
    ask: impl Fn(&GlobalOptions, &mut Tell<'_, T>) -> CommandResult<()> + Sync,
    mut show: impl FnMut(&GlobalOptions, T) -> CommandResult<()>,
) -> CommandResult {
    if !matches!(global.choice, BoundaryChoice::All) {
        return ask(global, &mut |found| show(global, found)).map(|()| Exit::Done);
    }
    let (mut exit, mut headed) = (Exit::Done, String::new());
    ask_each(&global.for_all_listed()?, ask, |one, found| {
        let name = one.shown_name();
        if !terminal.json && headed != name {
            terminal.line(format!("== {name} =="))?;
            name.clone_into(&mut headed);
        }
        match found {
            Ok(found) => show(one, found),
            Err(failure) => tell_failure(("boundary", name), failure, &mut exit, terminal),
        }
    })?;
    Ok(exit)
}

/// Like [`for_chosen`], for a command that reads one document of each boundary. `text` shows it if no JSON is wanted.
///
/// # Errors
/// Returns the errors of [`for_chosen`].
pub fn show_chosen<T: Send + Serialize>(
    global: &GlobalOptions,
    terminal: &Terminal,
    read: impl Fn(&GlobalOptions) -> CommandResult<T> + Sync,
    text: impl Fn(&GlobalOptions, T) -> CommandResult<()>,
) -> CommandResult {
    let show = |one: &GlobalOptions, found| {
        if terminal.json {
            object(one, &found, terminal)
        } else {
            text(one, found)
        }
    };
    for_chosen(global, terminal, |one, tell| tell(read(one)?), show)
}

/// Prints a JSON object, with the name that its boundary has in the list.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn object(
    one: &GlobalOptions,
    value: &impl Serialize,
    terminal: &Terminal,
) -> CommandResult<()> {
    let mut value = json!(value);
    if let Some(listed) = one.listed() {
        value["boundary"] = json!(listed.name);
    }
    terminal.object(&value)
}

/// Tells the failure of one of several, and keeps the worst exit code.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn tell_failure(
    (kind, name): (&str, &str),
    failure: CommandFailure,
    exit: &mut Exit,
    terminal: &Terminal,
) -> CommandResult<()> {
    if failure.quiet {
        return Err(failure);
    }
    if failure.exit.code() > exit.code() {
        *exit = failure.exit;
    }
    if terminal.json {
        return terminal.object(json!({kind: name, "error": failure.message}));
    }
    terminal.say(format!("{name}: {failure}"));
    Ok(())
}
