//! What a walk through a script carries along.

use std::collections::{BTreeMap, BTreeSet};

use crate::shell::found::{FoundKind, Shell};
use crate::shell::syntax::{Dialect, Word};

/// What was found, with its byte in place of line and column.
pub(super) struct RawFinding {
    pub(super) at: usize,
    pub(super) what: FoundKind,
    pub(super) via: Vec<String>,
    pub(super) source: String,
}

/// What is known around a command.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The here-documents of the text that it stands in.
    pub(super) bodies: &'a [Word],
    /// Whose grammar that text has.
    pub(super) dialect: Dialect,
    /// What runs it.
    pub(super) via: &'a [String],
    /// The script's own shell runs it: its functions count.
    pub(super) here: bool,
    /// It is in a function's body, which may run later; the number of the statement that defines it.
    pub(super) function: Option<usize>,
    /// It certainly runs, in this shell, when the script does.
    pub(super) top: bool,
    /// The function whose parameters `"$@"` is here.
    pub(super) named: Option<&'a str>,
    /// It stands in that function's own list: it runs once, after what stands before it.
    pub(super) body: bool,
    /// The script may read what it writes.
    pub(super) captured: bool,
    /// No variable gets its words.
    pub(super) aside: bool,
    /// What it reads as standard input, if that stands in the script.
    pub(super) input: Option<&'a Word>,
    /// Texts in texts, and wrappers in wrappers.
    pub(super) nested: usize,
}

impl<'a> Context<'a> {
    /// What the shell around runs itself, for a builtin whose context is `outside`; with that shell's functions or without.
    pub(super) fn within(self, outside: Context<'a>, functions: bool) -> Self {
        Self { here: outside.here && functions, ..self }
    }

    /// Whether what runs it next is one of `names`.
    pub(super) fn is_behind(self, names: &[&str]) -> bool {
        self.via.last().is_some_and(|last| names.contains(&last.as_str()))
    }

    /// The same, for what does not read this command's standard input.
    pub(super) fn without_input(self) -> Self {
        Self { input: None, ..self }
    }
}

/// How a text that a command gets is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextReader {
    /// By the shell that reads the text around it, which knows its functions.
    Here,
    /// By a new bash.
    Bash,
    /// By a new dash.
    Dash,
    /// By `sh`, or by somebody's login shell.
    Sh,
}

/// The walk through the tree.
pub(super) struct ScriptWalk<'s> {
    pub(super) script: &'s str,
    pub(super) shell: Shell,
    pub(super) found: Vec<RawFinding>,
    pub(super) depth: usize,
    /// Bytes of texts in texts that may still be read.
    pub(super) budget: usize,
    /// Functions that are certainly defined, with the number of the statement that does it.
    pub(super) certain: BTreeMap<String, usize>,
    /// All functions so far.
    pub(super) functions: BTreeSet<String>,
    /// Calls in functions' bodies: which of `found`, and the number of the statement that the body is in.
    pub(super) calls: Vec<(usize, usize)>,
    /// The first statement that may call a function.
    pub(super) first_call: Option<usize>,
    /// Statements so far.
    pub(super) statement: usize,
    /// Functions may be undefined again, or a name may be another one's when they are defined.
    pub(super) unset: bool,
    /// Names that are undefined somewhere, or that an alias gives.
    pub(super) undefined: BTreeSet<String>,
    /// Functions that pass `"$@"` on to what runs it.
    pub(super) passing: BTreeSet<String>,
    /// What each of them is called with, as the walk before found it, and as this walk does.
    pub(super) given: FunctionCalls,
    pub(super) giving: FunctionCalls,
    /// Functions whose parameters change in a way that is not read; all of them, if the change may be anywhere.
    pub(super) moved: BTreeSet<String>,
    pub(super) moves: bool,
    /// How many parameters the function around has shifted away so far.
    pub(super) shifted: usize,
    /// `IFS=` before `read`: a setting only if something else has that name.
    pub(super) fields: Vec<RawFinding>,
    /// Functions go to other shells, without those that they call.
    pub(super) exported: bool,
    /// Values are evaluated as arithmetic or as names somewhere.
    pub(super) evaluates: bool,
    /// bash and dash may read the text differently that is walked through.
    pub(super) differs: bool,
    /// Texts that would run a command if they were evaluated so.
    pub(super) traps: Vec<RawFinding>,
    /// The same in words that no variable gets, unless the output of the whole script goes to a file.
    pub(super) loose: Vec<RawFinding>,
    pub(super) redirected: bool,
    /// Some variables' values are evaluated as arithmetic when they are assigned.
    pub(super) integers: bool,
    /// Values that would set a variable that changes what commands are if they were.
    pub(super) sums: Vec<RawFinding>,
    /// Variables that are arrays somewhere.
    pub(super) arrays: BTreeSet<String>,
    /// Others may be too, whose names are not known.
    pub(super) any_array: bool,
    /// Values that a declaring builtin gets as one word, by the name of the variable: an array's are read as elements, with what they run.
    pub(super) elements: Vec<(String, RawFinding)>,
}

/// What functions are called with: the arguments of each call by how they are spelt.
pub(super) type FunctionCalls = BTreeMap<String, BTreeMap<ArgumentText, Vec<Word>>>;
pub(super) type ArgumentText = Vec<(String, bool)>;
