//! Exit codes: one table.

use std::{fmt, io};

use serde_json::{Value, json};

use crate::record::code::Code;
use crate::record::receipt::{Outcome, Status};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// A check said no: `verify`, say.
    CheckSaidNo,
    /// Wrong usage.
    Usage,
    /// There is no trust to check with.
    NoTrust,
    /// The proposal expired, or the run took too long.
    TimedOut,
    /// The boundary can't be reached, or something broke there or here.
    Unreachable,
    /// Denied, refused or cancelled.
    Refused,
    /// No such step.
    UnknownStep,
    /// The step ran and ended with this code.
    Step(u8),
    /// The step, or this program, was ended by this signal.
    Signal(u8),
}

impl Exit {
    /// The process's exit code (as `timeout`, `docker run` and shells have them).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CheckSaidNo => 1,
            Self::Usage | Self::NoTrust => 2,
            Self::TimedOut => 124,
            Self::Unreachable => 125,
            Self::Refused => 126,
            Self::UnknownStep => 127,
            Self::Step(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }

    /// The word that tells apart in `--json` what one code may stand for.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::CheckSaidNo => "check-said-no",
            Self::Usage => "usage",
            Self::NoTrust => "no-trust",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable-or-faulty",
            Self::Refused => "refused",
            Self::UnknownStep => "unknown-step",
            Self::Step(_) => "step",
            Self::Signal(_) => "signal",
        }
    }

    /// For a refusal of the boundary.
    #[must_use]
    pub const fn of_code(code: Code) -> Self {
        match code {
            Code::UnknownStep => Self::UnknownStep,
            Code::Expired => Self::TimedOut,
            // Nothing was decided: trying again may help.
            Code::Busy | Code::RateLimited => Self::Unreachable,
            Code::Malformed
            | Code::TooLarge
            | Code::StepChanged
            | Code::InvalidParams
            | Code::ParamsMismatch
            | Code::WrongBoundary
            | Code::UnknownSigner
            | Code::BadSignature
            | Code::NotPermittedSigner
            | Code::SelfApproval
            | Code::QuorumMissing
            | Code::NotYetValid
            | Code::Revoked
            | Code::Denied
            | Code::NonceReplayed
            | Code::PolicyDenied
            | Code::ContextChanged
            | Code::SessionStale
            | Code::GrantExhausted
            | Code::NotGranted
            | Code::LaterFeature
            | Code::SandboxUnavailable
            | Code::Unauthenticated
            | Code::Forbidden
            | Code::NotFound
            | Code::WrongState => Self::Refused,
        }
    }

    /// For a run that has a receipt.
    #[must_use]
    pub const fn of_outcome(outcome: &Outcome) -> Self {
        match outcome.status {
            Status::Succeeded | Status::Warned | Status::Failed => match (outcome.exit_code, outcome.signal) {
                (Some(code), _) => Self::Step(code),
                (None, Some(signal)) => Self::Signal(signal),
                (None, None) => Self::Unreachable,
            },
            Status::TimedOut => Self::TimedOut,
            Status::Cancelled => Self::Refused,
            // A limit ends a run with SIGKILL.
            Status::Killed => Self::Signal(9),
            Status::NotStarted | Status::Unknown => Self::Unreachable,
        }
    }
}

/// A command that could not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What happened, then what to do.
    pub message: String,
    /// The boundary's problem document, where it gave one.
    pub problem: Option<Value>,
    /// Nothing is to be said: whoever read has gone away.
    pub quiet: bool,
}

impl Failure {
    /// Wrong usage.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Ends with `exit` and says `message`.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), problem: None, quiet: false }
    }

    /// Whether it is this refusal of the boundary.
    #[must_use]
    pub fn has_code(&self, code: Code) -> bool {
        let kind = self.problem.as_ref().and_then(|problem| problem["type"].as_str());
        kind.and_then(|kind| kind.rsplit('/').next()) == Some(code.word())
    }

    /// The object that `--json` prints.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut error = json!({"message": self.message, "exit": self.exit.code(), "kind": self.exit.word()});
        if let Some(problem) = &self.problem {
            error["problem"] = problem.clone();
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    /// For writing to the standard streams; other places say which file it was.
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        // As a program that SIGPIPE ended.
        let exit = if quiet { Exit::Signal(13) } else { Exit::Unreachable };
        Self { quiet, ..Self::new(exit, format!("can't write the output: {error}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_the_codes_that_shells_know() {
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
    fn a_refusal_never_looks_like_success() {
        for code in Code::ALL {
            assert!((124..=127).contains(&Exit::of_code(*code).code()), "{code}");
        }
        assert_eq!(Exit::of_code(Code::UnknownStep).code(), 127);
        assert_eq!(Exit::of_code(Code::Denied).code(), 126);
        assert_eq!(Exit::of_code(Code::Expired).code(), 124);
        assert_eq!(Exit::of_code(Code::Busy).code(), 125);
    }

    #[test]
    fn a_closed_output_pipe_causes_no_message() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.quiet);
        assert_eq!(failure.exit.code(), 141);
    }
}
