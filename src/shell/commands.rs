//! What running a script would start.

use std::fmt;

use crate::shell::finding::Finding;
use crate::shell::syntax::HOLE;

/// How much text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A step's script: 64 KiB.
    Step,
    /// A file that a person asks about: 1 MB.
    File,
}

impl Size {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Step => 64 << 10,
            Self::File => 1_000_000,
        }
    }
}

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
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that a script does which a policy has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub what: What,
    /// Where it stands. In a text that a command gets (`sh -c '…'`) as exact as its quotes allow; else where that text begins.
    pub place: Place,
    /// What runs it, the outermost first: `["env", "sudo"]`. Empty where the script's own shell does.
    pub via: Vec<String>,
    /// As it is written, at most 200 characters.
    pub source: String,
}

/// What a script does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
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
    pub place: Place,
    /// What happened, then what to do.
    pub message: String,
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for NotUnderstood {}

/// Everything that running `script` with bash or with dash would start, or that changes what is started, in order of place.
///
/// For a script that certainly runs in bash ask [`find_in`]: `[[ a || $b ]]` runs `$b` in dash.
///
/// # Errors
/// What is not certainly read as the shell does: a syntax error, a limit, a construct that is refused.
pub fn find(script: &str, most: Size) -> Result<Vec<Found>, NotUnderstood> {
    find_in(Shell::Sh, script, most)
}

/// As [`find`], for a script that `shell` runs.
///
/// # Errors
/// As [`find`].
pub fn find_in(shell: Shell, script: &str, most: Size) -> Result<Vec<Found>, NotUnderstood> {
    let fail = |at: usize, message: &str| NotUnderstood { place: place(script, at), message: message.to_owned() };
    if script.len() > most.bytes() {
        return Err(fail(0, "the script is too long: at most 64 KiB in a step, 1 MB in a file; split it"));
    }
    if script.trim_ascii().is_empty() {
        return Err(fail(0, "the script is empty: write a command"));
    }
    let odd = |byte: u8| byte < b' ' && !matches!(byte, b'\n' | b'\t' | 0x1b) || byte == 0x7f;
    if let Some(at) = script.bytes().position(odd).or_else(|| script.find(HOLE)) {
        return Err(fail(
            at,
            "a control character, which shells read differently: take it away (`\\r`: save with Unix line ends)",
        ));
    }
    let mut finding = Finding::new(script, shell);
    finding.whole().map_err(|flaw| fail(flaw.at, flaw.message))?;
    Ok(finding.done())
}

/// Line and column of byte `at`.
fn place(script: &str, at: usize) -> Place {
    let mut at = at.min(script.len());
    while !script.is_char_boundary(at) {
        at -= 1;
    }
    let before = &script[..at];
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}
