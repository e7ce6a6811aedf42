//! Results of the parser for shell scripts: commands, places and errors.

use crate::TextPlace;

/// Shell that runs the script.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Shell {
    /// GNU bash, which runs under the name `bash`.
    Bash,
    /// `sh`, which may be dash or bash. The result contains the commands of both.
    #[default]
    Sh,
}

impl Shell {
    /// Returns the shell that runs the scripts of an interpreter, or `None` if it is no shell that the parser reads.
    pub fn of(interpreter: &str) -> Option<Self> {
        match interpreter {
            "bash" => Some(Self::Bash),
            "sh" | "dash" => Some(Self::Sh),
            _ => None,
        }
    }
}

/// Part of a script about which policy must decide.
#[derive(Debug, PartialEq)]
pub struct ScriptFinding {
    /// Kind and name.
    pub what: FoundKind,
    /// Place of the part in the script. In a text that a command receives (`sh -c '…'`), the place is exact, or the
    /// beginning of the text if its quotes change the offsets.
    pub place: TextPlace,
    /// Wrappers around the command, the outermost first, for example `["env", "sudo"]`. The list is empty if the
    /// script's own shell runs the command.
    pub via: Vec<String>,
    /// Source text of the part: the first 200 characters, and all private characters after them.
    pub source: String,
}

/// Kind of a result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundKind {
    /// A program or a builtin, with its name as in the script but without quotes, for example `git`, `/usr/bin/git` or
    /// `./x`.
    Command(String),
    /// A call of a function, if the script certainly defined the function before the call. The commands in its body are
    /// separate results.
    Function(String),
    /// An assignment to a variable that changes later commands, with the variable's name.
    Setting(String),
    /// An assignment to such a variable with a value that changes no command of this script, with the variable's name.
    HarmlessSetting(String),
    /// A command that cannot be known before the run, with the reason.
    Unknown(UnknownReason),
}

/// Reason why a command is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownReason {
    /// The unknown part.
    pub part: UnknownPart,
    /// Reason in words, with a correction of the script.
    pub text: &'static str,
}

/// Part of a command that is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnknownPart {
    /// The programs that a process of the run starts. If a run may start only listed programs, the kernel restricts
    /// them to the list.
    Programs,
    /// Other parts, for example the options of a known program, the variables that the script sets, or a command on
    /// another host. A list of programs does not restrict these parts.
    Words,
    /// The commands that a known program starts from its arguments, in the run or elsewhere. The parser does not read
    /// these commands, so each of them may be a denied command. A list of programs does not restrict them, because a
    /// listed program may start them elsewhere (`ssh`).
    Started,
}

impl UnknownReason {
    /// Returns the reason for unknown programs.
    pub const fn programs(text: &'static str) -> Self {
        Self {
            part: UnknownPart::Programs,
            text,
        }
    }

    /// Returns the reason for other unknown parts.
    pub(super) const fn words(text: &'static str) -> Self {
        Self {
            part: UnknownPart::Words,
            text,
        }
    }
}

impl From<&'static str> for UnknownReason {
    /// A reason without a known part counts as a reason that no list of programs restricts.
    fn from(text: &'static str) -> Self {
        Self::words(text)
    }
}

/// Script, or part of a script, that the parser does not understand, so that policy denies the script.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct NotUnderstood {
    /// Byte offset of the problem.
    pub at: usize,
    /// Place of the problem.
    pub place: TextPlace,
    /// The problem, and how to correct the script.
    pub message: String,
}
