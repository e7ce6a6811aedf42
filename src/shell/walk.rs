//! State of a walk through a script.

use std::collections::{BTreeMap, BTreeSet};

use crate::shell::found::{FoundKind, Shell};
use crate::shell::syntax::{Dialect, Word};

/// A result with a byte offset instead of line and column.
pub(super) struct RawFinding {
    pub(super) at: usize,
    pub(super) what: FoundKind,
    pub(super) via: Vec<String>,
    pub(super) source: String,
}

/// Facts about the place of a command.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Here-documents of the surrounding text.
    pub(super) bodies: &'a [Word],
    /// Dialect of the surrounding text.
    pub(super) dialect: Dialect,
    /// Wrappers around the command, outermost first.
    pub(super) via: &'a [String],
    /// True if the script's own shell runs the command, so functions of the script apply.
    pub(super) here: bool,
    /// Number of the statement that defines the surrounding function. The function may run later.
    pub(super) function: Option<usize>,
    /// True if the command certainly runs, in this shell, whenever the script runs.
    pub(super) top: bool,
    /// Function whose parameters are `"$@"` here.
    pub(super) named: Option<&'a str>,
    /// True if the command is in the function's own list. Such a command runs once, after the commands before it in the
    /// list.
    pub(super) body: bool,
    /// True if the script may read the command's output.
    pub(super) captured: bool,
    /// True if no variable receives the words of the command.
    pub(super) aside: bool,
    /// Standard input of the command, if the script contains this input.
    pub(super) input: Option<&'a Word>,
    /// Nesting depth of texts that run as scripts, and of wrappers.
    pub(super) nested: usize,
}

impl<'a> Context<'a> {
    /// Returns the context of a command that the surrounding shell runs for a builtin. `outside` is the context of the
    /// builtin. `functions` is true if functions of that shell apply.
    pub(super) fn within(self, outside: Context<'a>, functions: bool) -> Self {
        Self { here: outside.here && functions, ..self }
    }

    /// Returns true if the innermost wrapper is one of `names`.
    pub(super) fn is_behind(self, names: &[&str]) -> bool {
        self.via.last().is_some_and(|last| names.contains(&last.as_str()))
    }

    /// Returns the context of a command that does not read this standard input.
    pub(super) fn without_input(self) -> Self {
        Self { input: None, ..self }
    }
}

/// Shell that reads a text which a command receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextReader {
    /// The shell that reads the surrounding text, with its functions.
    Here,
    /// By a new bash.
    Bash,
    /// By a new dash.
    Dash,
    /// `sh`, or the login shell of a user.
    Sh,
}

/// Walk through the syntax tree.
pub(super) struct ScriptWalk<'s> {
    pub(super) script: &'s str,
    pub(super) shell: Shell,
    pub(super) found: Vec<RawFinding>,
    pub(super) depth: usize,
    /// Number of bytes of nested texts that may still be read.
    pub(super) budget: usize,
    /// Functions that are certainly defined, with the number of the defining statement.
    pub(super) certain: BTreeMap<String, usize>,
    /// All functions so far.
    pub(super) functions: BTreeSet<String>,
    /// Calls in function bodies: the index in `found`, and the number of the statement with the body.
    pub(super) calls: Vec<(usize, usize)>,
    /// First statement that may call a function.
    pub(super) first_call: Option<usize>,
    /// Statements so far.
    pub(super) statement: usize,
    /// True if a function with an unknown name may be undefined or redefined.
    pub(super) unset: bool,
    /// Names that are undefined somewhere, or that an alias defines.
    pub(super) undefined: BTreeSet<String>,
    /// Functions that pass `"$@"` to a command which runs its arguments.
    pub(super) passing: BTreeSet<String>,
    /// Calls of these functions. The walk before found the calls in `given`, and this walk finds the calls in `giving`.
    pub(super) given: FunctionCalls,
    pub(super) giving: FunctionCalls,
    /// Functions whose parameters change in a way that is not read. If `moves` is true, the parameters of any function
    /// may change.
    pub(super) moved: BTreeSet<String>,
    pub(super) moves: bool,
    /// Number of parameters that the surrounding function has shifted away so far.
    pub(super) shifted: usize,
    /// Assignments `IFS=` before `read`. These count as settings only if `read` may be a function or an alias.
    pub(super) fields: Vec<RawFinding>,
    /// True if functions may be exported to other shells. A called function may be missing there.
    pub(super) exported: bool,
    /// True if the script evaluates values as arithmetic or as names.
    pub(super) evaluates: bool,
    /// True if bash and dash may read the text differently.
    pub(super) differs: bool,
    /// Texts that run a command if the script evaluates values.
    pub(super) traps: Vec<RawFinding>,
    /// Such texts in words that no variable receives. These texts count only if `redirected` is true.
    pub(super) loose: Vec<RawFinding>,
    pub(super) redirected: bool,
    /// True if a variable evaluates its assigned values as arithmetic.
    pub(super) integers: bool,
    /// Values that would set a variable which changes commands, if the script evaluates values as arithmetic.
    pub(super) sums: Vec<RawFinding>,
    /// Names of array variables.
    pub(super) arrays: BTreeSet<String>,
    /// True if a variable with an unknown name may be an array.
    pub(super) any_array: bool,
    /// Values that a declaring builtin receives as one word, with the name of the variable. For an array, the shell
    /// reads the value as elements and runs the commands in the elements.
    pub(super) elements: Vec<(String, RawFinding)>,
}

/// Calls of each function. The key of a call is the text of its arguments.
pub(super) type FunctionCalls = BTreeMap<String, BTreeMap<ArgumentText, Vec<Word>>>;
pub(super) type ArgumentText = Vec<(String, bool)>;
