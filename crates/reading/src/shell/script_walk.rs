//! State of a walk through the syntax tree of a script.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ArgumentReading, Dialect, FoundKind, ScriptCalls, Shell, UnknownPart, UnknownReason, Word,
    shell::programs::reading,
};

/// A result with a byte offset instead of line and column.
pub struct RawFinding {
    pub at: usize,
    pub what: FoundKind,
    pub via: Vec<String>,
    pub source: String,
}

/// Circumstances of a command in the script.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Bodies of the here-documents of the surrounding text.
    pub(super) bodies: &'a [Word],
    /// Dialect in which the surrounding text is parsed.
    pub(super) dialect: Dialect,
    /// Wrappers around the command, the outermost first.
    pub(super) via: &'a [String],
    /// True if the script's own shell runs the command, so that its name can be a function of the script.
    pub(super) here: bool,
    /// Number of the statement that defines the surrounding function, which may run later.
    pub(super) function: Option<usize>,
    /// True if this shell certainly runs the command each time the script runs.
    pub(super) top: bool,
    /// Function whose parameters are in `"$@"` here.
    pub(super) named: Option<&'a str>,
    /// True if the command is directly in the list of the function's body, so that each call runs it once, after the
    /// commands before it.
    pub(super) body: bool,
    /// True if the script may read the command's output.
    pub(super) captured: bool,
    /// True if no variable receives the words of the command.
    pub(super) aside: bool,
    /// Standard input of the command, if the text of the script contains this input.
    pub(super) input: Option<&'a Word>,
    /// True if a pipe or a redirection gives the command its standard input.
    pub(super) fed: bool,
    /// True if the script does not wait for the end of the command.
    pub(super) ended: bool,
    /// Nesting depth of wrappers and of texts that run as scripts.
    pub(super) nested: usize,
}

impl<'a> Context<'a> {
    /// Returns the context of a command that the surrounding shell runs for a builtin with the context `outside`.
    /// `functions` is true if the command can be a function of this shell.
    pub(super) fn within(self, outside: Context<'a>, functions: bool) -> Self {
        Self {
            here: outside.here && functions,
            ..self
        }
    }

    /// Returns true if the innermost wrapper has one of `names`.
    pub(super) fn is_behind(self, names: &[&str]) -> bool {
        self.via
            .last()
            .is_some_and(|last| names.contains(&last.as_str()))
    }

    /// Returns the same context without a known standard input.
    pub(super) fn without_input(self) -> Self {
        Self {
            input: None,
            ..self
        }
    }
}

/// Shell that parses a text which a command receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextReader {
    /// The shell that runs the surrounding text, including its functions.
    Here,
    /// A new bash process.
    Bash,
    /// A new dash process.
    Dash,
    /// `sh`, or the login shell of a user.
    Sh,
}

pub struct ScriptWalk<'s> {
    pub(super) script: &'s str,
    pub(super) shell: Shell,
    pub(super) found: Vec<RawFinding>,
    /// Names of all variables that the script sets by their names.
    pub(super) names: BTreeSet<String>,
    pub(super) depth: usize,
    /// Number of bytes of nested texts that the walk may still read.
    pub(super) budget: usize,
    /// Functions that are certainly defined, with the number of the defining statement.
    pub(super) certain: BTreeMap<String, usize>,
    /// All functions that the walk has found so far.
    pub(super) functions: BTreeSet<String>,
    /// Calls in function bodies, each as the index in `found` and the number of the statement with the body.
    pub(super) calls: Vec<(usize, usize)>,
    /// Number of the first statement that may call a function.
    pub(super) first_call: Option<usize>,
    /// Number of statements that the walk has found so far.
    pub(super) statement: usize,
    /// True if the script may undefine or redefine a function whose name is unknown.
    pub(super) unset: bool,
    /// Names that the script undefines, or that an alias defines.
    pub(super) undefined: BTreeSet<String>,
    /// Functions that pass `"$@"` to a command which runs its arguments.
    pub(super) passing: BTreeSet<String>,
    /// Calls of the functions in `passing`: from the last walk in `given`, from this walk in `giving`.
    pub(super) given: FunctionCalls,
    pub(super) giving: FunctionCalls,
    /// Functions whose parameters change in an unknown way. If `moves` is true, this holds for any function.
    pub(super) moved: BTreeSet<String>,
    pub(super) moves: bool,
    /// Number of parameters that `shift` has removed in the surrounding function.
    pub(super) shifted: usize,
    /// Assignments `IFS=` before `read`, which are settings only if `read` may be a function or an alias.
    pub(super) fields: Vec<RawFinding>,
    /// Other assignments to `IFS`. They change a command only if a word of the command has an unquoted number.
    pub(super) separators: Vec<RawFinding>,
    /// Names of the commands that have such a word. The name is empty if it is unknown.
    pub(super) numbered: BTreeSet<String>,
    /// True if the script may export functions to other shells.
    pub(super) exported: bool,
    /// True if the script evaluates values of variables as arithmetic or as names.
    pub(super) evaluates: bool,
    /// True if bash and dash may read the text differently.
    pub(super) differs: bool,
    /// Texts that run a command if the script evaluates the values of variables.
    pub(super) traps: Vec<RawFinding>,
    /// Such texts in words that no variable receives. They count only if `redirected` is true.
    pub(super) loose: Vec<RawFinding>,
    pub(super) redirected: bool,
    /// True if values that are assigned to a variable of the script are evaluated as arithmetic.
    pub(super) integers: bool,
    /// Values that set a variable which changes commands, if the script evaluates values as arithmetic.
    pub(super) sums: Vec<RawFinding>,
    /// Names of array variables.
    pub(super) arrays: BTreeSet<String>,
    /// True if a variable with an unknown name may be an array.
    pub(super) any_array: bool,
    /// Values that a declaring builtin receives as one word, each with the name of the variable. If the variable is an
    /// array, the shell runs the commands in the elements of the value.
    pub(super) elements: Vec<(String, RawFinding)>,
    /// Calls with their arguments, if the caller asks for them.
    pub(super) seen: Option<ScriptCalls>,
}

/// Calls of each function, by the function's name and the text of the arguments.
pub type FunctionCalls = BTreeMap<String, BTreeMap<ArgumentText, Vec<Word>>>;
pub type ArgumentText = Vec<(String, bool)>;

impl<'s> ScriptWalk<'s> {
    pub(super) fn new(script: &'s str, shell: Shell) -> Self {
        Self {
            script,
            shell,
            found: Vec::new(),
            names: BTreeSet::new(),
            depth: 0,
            budget: budget(script),
            certain: BTreeMap::new(),
            functions: BTreeSet::new(),
            calls: Vec::new(),
            first_call: None,
            statement: 0,
            unset: false,
            undefined: BTreeSet::new(),
            passing: BTreeSet::new(),
            given: FunctionCalls::new(),
            giving: FunctionCalls::new(),
            moved: BTreeSet::new(),
            moves: false,
            shifted: 0,
            fields: Vec::new(),
            separators: Vec::new(),
            numbered: BTreeSet::new(),
            exported: false,
            evaluates: false,
            differs: false,
            traps: Vec::new(),
            loose: Vec::new(),
            // Shell variables such as `$_` contain words of other commands.
            redirected: ["$_", "${_", "BASH_"]
                .iter()
                .any(|name| script.contains(name)),
            integers: false,
            sums: Vec::new(),
            arrays: BTreeSet::new(),
            any_array: false,
            elements: Vec::new(),
            seen: None,
        }
    }
}

pub fn raw(word: &Word, what: FoundKind, context: Context<'_>) -> RawFinding {
    let what = match what {
        FoundKind::Unknown(reason)
            if context
                .via
                .iter()
                .any(|name| reading(name) == ArgumentReading::Ssh) =>
        {
            FoundKind::Unknown(UnknownReason {
                part: UnknownPart::Started,
                ..reason
            })
        }
        // The command may run as another user.
        FoundKind::Unknown(reason)
            if reason.part == UnknownPart::Programs
                && !context
                    .via
                    .iter()
                    .all(|name| reading(name) == ArgumentReading::Exact) =>
        {
            FoundKind::Unknown(UnknownReason::words(reason.text))
        }
        what => what,
    };
    let source = word.source();
    let (shown, rest) = source.split_at(
        source
            .char_indices()
            .nth(MAX_SOURCE)
            .map_or(source.len(), |(at, _)| at),
    );
    let source = shown
        .chars()
        .chain(rest.chars().filter(|letter| *letter >= PRIVATE))
        .collect();
    RawFinding {
        at: word.at,
        what,
        via: context.via.to_vec(),
        source,
    }
}

/// Maximum number of characters of [`RawFinding::source`], but for private characters, with which a template marks its
/// placeholders.
const MAX_SOURCE: usize = 200;
const PRIVATE: char = '\u{F0000}';

/// Returns the maximum number of bytes of all nested texts of a script.
pub fn budget(script: &str) -> usize {
    4 * script.len() + 4096
}

/// Name of the function that bash calls if a command does not exist.
pub const NOT_FOUND: &str = "command_not_found_handle";
