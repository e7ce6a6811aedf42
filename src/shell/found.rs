//! What reading a script found: commands, places, and why a script is not understood.

use std::fmt;

/// Which shell runs the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash, under its own name.
    Bash,
    /// `sh`, which may be dash or bash: what either of them would run.
    Sh,
}

/// A place in a script: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptPlace {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
}

impl fmt::Display for ScriptPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that a script does which a policy has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFinding {
    /// What.
    pub what: FoundKind,
    /// Where it stands. In a text that a command gets (`sh -c '…'`) as exact as its quotes allow; else where that text begins.
    pub place: ScriptPlace,
    /// What runs it, the outermost first: `["env", "sudo"]`. Empty where the script's own shell does.
    pub via: Vec<String>,
    /// As it is written, at most 200 characters.
    pub source: String,
}

/// What a script does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundKind {
    /// A program or builtin, by its name after quote removal, as written otherwise: `git`, `/usr/bin/git`, `./x`.
    Command(String),
    /// A call of a function that the script certainly defined before. What its body runs is found where it stands.
    Function(String),
    /// A variable that changes what later commands do or are is set: its name.
    Setting(String),
    /// What would run can't be known before it runs, and why.
    Unknown(&'static str),
}

/// A script, or a part of it, that is not understood. A policy denies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Where.
    pub place: ScriptPlace,
    /// What happened, then what to do.
    pub message: String,
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for NotUnderstood {}
