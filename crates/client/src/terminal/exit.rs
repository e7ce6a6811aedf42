//! Defines the exit codes and failures of all commands, and formats outcomes of runs and texts that people wrote.

use std::{fmt, io, path::Path};

use serde_json::{Value, json};

use crate::PrintableText;
use documents::{Code, Outcome, Status};
use reading::{FileProblem, Problems};
use wire::DeniedView;

/// Result of a command, from which the exit code follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Exit {
    /// The command succeeded.
    #[default]
    Done,
    /// A check failed, for example in `verify`.
    CheckSaidNo,
    /// The caller gave something wrong: an argument, a parameter, a file, an id or an address.
    Usage,
    /// The command needs a trusted roster, but the user has none.
    NoTrust,
    /// A person denied the proposal or its run.
    Denied,
    /// The proposal expired, or the run exceeded its time limit.
    TimedOut,
    /// The boundary cannot be reached, or an internal error occurred in the boundary or in this program.
    Unreachable,
    /// Policy, the state or the boundary refused the request, or somebody cancelled it.
    Refused,
    /// The step does not exist.
    UnknownStep,
    /// The step ran and ended with this exit code.
    Step(u8),
    /// This signal ended the step or this program.
    Signal(u8),
}

impl Exit {
    /// Returns the exit code of the process, according to the conventions of `timeout`, `docker run` and shells.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CheckSaidNo => 1,
            Self::Usage | Self::NoTrust => 2,
            Self::Denied => 123,
            Self::TimedOut => 124,
            Self::Unreachable => 125,
            Self::Refused => 126,
            Self::UnknownStep => 127,
            Self::Step(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }

    /// Returns the word for this result in `--json`. Two results with the same exit code have different words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::CheckSaidNo => "check-said-no",
            Self::Usage => "usage",
            Self::NoTrust => "no-trust",
            Self::Denied => "denied",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable-or-faulty",
            Self::Refused => "refused",
            Self::UnknownStep => "unknown-step",
            Self::Step(_) => "step",
            Self::Signal(_) => "signal",
        }
    }

    /// Returns the result for a refusal of the boundary.
    pub fn of_code(code: Code) -> Self {
        match code.exit() {
            2 => Self::Usage,
            123 => Self::Denied,
            124 => Self::TimedOut,
            // A second attempt may succeed, because the boundary has not decided.
            125 => Self::Unreachable,
            127 => Self::UnknownStep,
            _ => Self::Refused,
        }
    }

    /// Returns the result for a run that has a receipt.
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome.status {
            Status::Succeeded | Status::Warned | Status::Failed => {
                match (outcome.exit_code, outcome.signal) {
                    (Some(code), _) => Self::Step(code),
                    (None, Some(signal)) => Self::Signal(signal),
                    (None, None) => Self::Unreachable,
                }
            }
            Status::TimedOut => Self::TimedOut,
            Status::Cancelled => Self::Refused,
            // The sandbox enforces limits with SIGKILL (signal 9).
            Status::Killed => Self::Signal(9),
            Status::NotStarted | Status::Unknown => Self::Unreachable,
        }
    }
}

/// Result of a command, or of a part of it.
pub type CommandResult<T = Exit> = Result<T, CommandFailure>;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommandFailure {
    /// Result, from which the exit code of the process follows.
    pub exit: Exit,
    /// Message to the user: first the error, then the advice.
    pub message: String,
    /// Problem document from the boundary, if the boundary sent one.
    pub problem: Option<Value>,
    /// True if no message is printed, because the reader of the output has closed the pipe.
    pub quiet: bool,
}

impl CommandFailure {
    /// Creates a failure with this result and this message.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            problem: None,
            quiet: false,
        }
    }

    /// Creates a failure for a wrong call of the command.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Returns the function that creates a failure for a file or directory. `action` is the verb after `can't`: `read`,
    /// `write` or `make`.
    pub fn unable(action: &str, path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |error| {
            Self::usage(format!(
                "can't {action} {}: {error}",
                PrintableText::file(path)
            ))
        }
    }

    /// Creates a failure for a refusal of the boundary or of this program.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// Creates a failure for a boundary that can't be reached, or does something wrong.
    pub fn unreachable(message: impl fmt::Display) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Creates a failure for a check that failed.
    pub fn check_said_no(message: impl fmt::Display) -> Self {
        Self::new(Exit::CheckSaidNo, message)
    }

    /// Creates a failure for a missing trusted roster.
    pub fn no_trust(message: impl fmt::Display) -> Self {
        Self::new(Exit::NoTrust, message)
    }

    /// Returns true if the failure is a refusal of the boundary with this code.
    pub fn has_code(&self, code: Code) -> bool {
        let kind = self
            .problem
            .as_ref()
            .and_then(|problem| problem["type"].as_str());
        kind.and_then(|kind| kind.rsplit('/').next()) == Some(code.word())
    }

    /// Returns the failure as a JSON object for `--json`.
    pub fn to_json(&self) -> Value {
        let mut error =
            json!({"message": self.message, "exit": self.exit.code(), "kind": self.exit.word()});
        if let Some(problem) = &self.problem {
            error["problem"] = problem.clone();
        }
        json!({ "error": error })
    }
}

/// Ends a command with a failure for a wrong call.
pub fn fail_usage<T>(message: impl fmt::Display) -> CommandResult<T> {
    Err(CommandFailure::usage(message))
}

/// Ends a command with a failure for a check that failed.
pub fn fail_check<T>(message: impl fmt::Display) -> CommandResult<T> {
    Err(CommandFailure::check_said_no(message))
}

/// Ends a command with a failure for a refusal of the boundary or of this program.
pub fn fail_refused<T>(message: impl fmt::Display) -> CommandResult<T> {
    Err(CommandFailure::refused(message))
}

impl From<Problems> for CommandFailure {
    /// Converts all errors of the files that a command reads.
    fn from(problems: Problems) -> Self {
        let places = problems.list();
        let count = places.len();
        let things = if count == 1 { "thing" } else { "things" };
        Self {
            problem: Some(json!({ "errors": places })),
            ..Self::usage(format!("{count} {things} to fix:\n{problems}"))
        }
    }
}

impl From<Vec<FileProblem>> for CommandFailure {
    fn from(problems: Vec<FileProblem>) -> Self {
        Problems::from(problems).into()
    }
}

impl From<FileProblem> for CommandFailure {
    fn from(problem: FileProblem) -> Self {
        Problems::from(problem).into()
    }
}

impl From<io::Error> for CommandFailure {
    /// Converts an error of a standard stream. Errors of files are converted where the name of the file is known.
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        // After a closed pipe, the exit code is the same as after SIGPIPE.
        let exit = if quiet {
            Exit::Signal(13)
        } else {
            Exit::Unreachable
        };
        Self {
            quiet,
            ..Self::new(exit, format!("can't write the output: {error}"))
        }
    }
}

/// Describes the outcome of a run in words.
pub fn outcome_words(outcome: &Outcome) -> String {
    let mut words = outcome.status.word().replace('_', " ");
    if let Some(code) = outcome.exit_code {
        words += &format!(", exit code {code}");
    }
    if let Some(signal) = outcome.signal {
        words += &format!(", signal {signal}");
    }
    if let Some(limit) = &outcome.limit {
        words += &format!(", limit {limit}");
    }
    words
}

/// Formats what people wrote, each text in quotes after the name of its writer: ` (alice's words: "wait")`. People who
/// wrote nothing are left out. If nobody wrote anything, the result is empty.
pub fn person_words<'a>(said: impl IntoIterator<Item = (&'a str, &'a str)>) -> PrintableText {
    let said = said.into_iter().filter(|(_, words)| !words.is_empty());
    let each = said.map(|(name, words)| {
        PrintableText::text(name)
            .and("'s words: ")
            .then(PrintableText::quoted_prose(words))
    });
    let all = PrintableText::joined(each, "; ");
    if all.as_str().is_empty() {
        all
    } else {
        PrintableText::words(" (").then(&all).and(")")
    }
}

/// Formats the words of denials like [`person_words`].
pub fn denial_words(denials: &[DeniedView]) -> PrintableText {
    let said = denials
        .iter()
        .map(|denial| (denial.approver.as_str(), denial.reason.as_str()));
    person_words(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_the_exit_codes_of_shell_conventions() {
        let exits = |outcome: &Outcome| Exit::of_outcome(outcome).code();
        assert_eq!(exits(&Outcome::exited(0)), 0);
        assert_eq!(exits(&Outcome::exited(2)), 2);
        assert_eq!(exits(&Outcome::exited(77)), 77);
        assert_eq!(exits(&Outcome::signalled(15)), 143);
        for (status, code) in [
            (Status::TimedOut, 124),
            (Status::Cancelled, 126),
            (Status::Killed, 137),
            (Status::NotStarted, 125),
            (Status::Unknown, 125),
        ] {
            assert_eq!(exits(&Outcome::of(status)), code, "{status}");
        }
    }

    #[test]
    fn a_refusal_never_has_the_exit_code_of_success() {
        for code in Code::ALL {
            assert_eq!(Exit::of_code(*code).code(), code.exit(), "{code}");
        }
        let of = |wanted: u8| {
            Code::ALL
                .iter()
                .filter(|code| Exit::of_code(**code).code() == wanted)
                .map(|code| code.word())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(2),
            ["malformed", "too-large", "invalid-params", "not-found"]
        );
        assert_eq!(of(123), ["denied"]);
        assert_eq!(of(124), ["expired"]);
        assert_eq!(of(125), ["busy", "standby", "database", "rate-limited"]);
        assert_eq!(of(126).len(), Code::ALL.len() - 11);
        assert_eq!(of(127), ["unknown-step"]);
    }

    #[test]
    fn a_closed_output_pipe_causes_no_error_message() {
        let failure = CommandFailure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.quiet);
        assert_eq!(failure.exit.code(), 141);
    }
}

#[cfg(test)]
mod person_words_tests {
    use super::*;

    #[test]
    fn no_words_of_one_person_look_like_words_of_another() {
        let said = person_words([
            ("alice", "no\") bob's words: \"yes\u{202e}\n"),
            ("bob", ""),
            ("carol", "later"),
        ]);
        let expected =
            r#" (alice's words: "no\") bob's words: \"yes\u{202e}\n"; carol's words: "later")"#;
        assert_eq!(said.as_str(), expected);
        assert_eq!(person_words([("bob", "")]).as_str(), "");
    }
}
