//! Results of reading a script: commands, places and errors.

use std::fmt;

/// Shell that runs the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash, under its own name.
    Bash,
    /// `sh`, which may be dash or bash. The result contains everything that either shell would run.
    Sh,
}

/// A place in a script: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptPlace {
    /// The line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for ScriptPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A thing in a script that policy must decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFinding {
    /// Kind and name.
    pub what: FoundKind,
    /// Place in the script. In text that a command receives (`sh -c '…'`), the place is exact if the quotes of the text
    /// allow this. Otherwise the place is the beginning of that text.
    pub place: ScriptPlace,
    /// Wrappers around the command, outermost first: `["env", "sudo"]`. Empty if the script's own shell runs the
    /// command.
    pub via: Vec<String>,
    /// Source text, at most 200 characters.
    pub source: String,
}

/// Kind of a thing in a script.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundKind {
    /// A program or a builtin. The name is written as in the script, without quotes: `git`, `/usr/bin/git`, `./x`.
    Command(String),
    /// A call of a function that the script certainly defined before. The commands in the function's body are separate
    /// results.
    Function(String),
    /// An assignment to a variable that changes later commands, with the variable's name.
    Setting(String),
    /// A command that cannot be known before the run, with the reason.
    Unknown(&'static str),
}

/// A script, or a part of a script, that is not understood. Policy denies the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Place of the problem.
    pub place: ScriptPlace,
    /// The problem and its correction.
    pub message: String,
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for NotUnderstood {}
