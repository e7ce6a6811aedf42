//! State of a walk through the syntax tree of a script.
//!
//! The file also contains:
//!
//! - the calls of a script with their arguments, about which authors get remarks. No decision depends on these calls.
//! - the parser of texts that run as scripts, for example the argument of `bash -c` or `eval`
//! - the reasons why a command is unknown, each with a correction of the script
//! - the positional parameters (`"$@"`, `$1`) of functions: the calls that set them, and the commands that change them
//!
//! A reason has the part [`UnknownPart::Programs`] only if a process of this run starts the programs. The kernel then
//! restricts the programs to the list of the run, so that no person must decide about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ArgumentReading, ByteOrigin, Dialect, FoundKind, HOLE, MAX_DEPTH, Shell, ShellNode, SyntaxFlaw,
    UnknownPart, UnknownReason, Word, base_name, is_known,
    shell::{programs::reading, syntax},
};

/// A result with a byte offset instead of line and column.
pub struct RawFinding {
    pub at: usize,
    pub what: FoundKind,
    pub via: Vec<String>,
    pub source: String,
}

/// Circumstances of a command in the script.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// Bodies of the here-documents of the surrounding text.
    pub bodies: &'a [Word],
    /// Dialect in which the surrounding text is parsed.
    pub dialect: Dialect,
    /// Wrappers around the command, the outermost first.
    pub via: &'a [String],
    /// True if the script's own shell runs the command, so that its name can be a function of the script.
    pub here: bool,
    /// Number of the statement that defines the surrounding function, which may run later.
    pub function: Option<usize>,
    /// True if this shell certainly runs the command each time the script runs.
    pub top: bool,
    /// Function whose parameters are in `"$@"` here.
    pub named: Option<&'a str>,
    /// True if the command is directly in the list of the function's body, so that each call runs it once, after the
    /// commands before it.
    pub body: bool,
    /// True if the script may read the command's output.
    pub captured: bool,
    /// True if no variable receives the words of the command.
    pub aside: bool,
    /// Standard input of the command, if the text of the script contains this input.
    pub input: Option<&'a Word>,
    /// True if a pipe or a redirection gives the command its standard input.
    pub fed: bool,
    /// True if the script does not wait for the end of the command.
    pub ended: bool,
    /// Nesting depth of wrappers and of texts that run as scripts.
    pub nested: usize,
}

impl Context<'_> {
    /// Returns true if the innermost wrapper has one of `names`.
    pub fn is_behind(self, names: &[&str]) -> bool {
        self.via
            .last()
            .is_some_and(|last| names.contains(&last.as_str()))
    }

    /// Returns the same context without a known standard input.
    pub fn without_input(self) -> Self {
        Self {
            input: None,
            ..self
        }
    }
}

/// Shell that parses a text which a command receives.
#[derive(Clone, Copy, PartialEq)]
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

impl TextReader {
    /// Returns the dialects in which the shell may read the text. `here` is the dialect of the surrounding text.
    pub fn dialects(self, here: Dialect) -> &'static [Dialect] {
        match (self, here) {
            (Self::Here, Dialect::Bash) | (Self::Bash, _) => &[Dialect::Bash],
            (Self::Here, Dialect::Dash) | (Self::Dash, _) => &[Dialect::Dash],
            (Self::Sh, _) => &[Dialect::Bash, Dialect::Dash],
        }
    }
}

#[derive(Default)]
pub struct ScriptWalk<'s> {
    pub script: &'s str,
    pub shell: Shell,
    pub found: Vec<RawFinding>,
    /// Names of all variables that the script sets by their names.
    pub names: BTreeSet<String>,
    pub depth: usize,
    /// Number of bytes of nested texts that the walk may still read.
    pub budget: usize,
    /// Functions that are certainly defined, with the number of the defining statement.
    pub certain: BTreeMap<String, usize>,
    /// All functions that the walk has found so far.
    pub functions: BTreeSet<String>,
    /// Calls in function bodies, each as the index in `found` and the number of the statement with the body.
    pub calls: Vec<(usize, usize)>,
    /// Number of the first statement that may call a function.
    pub first_call: Option<usize>,
    /// Number of statements that the walk has found so far.
    pub statement: usize,
    /// True if the script may undefine or redefine a function whose name is unknown.
    pub unset: bool,
    /// Names that the script undefines, or that an alias defines.
    pub undefined: BTreeSet<String>,
    /// Functions that pass `"$@"` to a command which runs its arguments.
    pub passing: BTreeSet<String>,
    /// Calls of the functions in `passing`: from the last walk in `given`, from this walk in `giving`.
    pub given: FunctionCalls,
    pub giving: FunctionCalls,
    /// Functions whose parameters change in an unknown way. If `moves` is true, the parameters of any function may
    /// change.
    pub moved: BTreeSet<String>,
    pub moves: bool,
    /// Number of parameters that `shift` has removed in the surrounding function.
    pub shifted: usize,
    /// Assignments `IFS=` before `read`, which are settings only if `read` may be a function or an alias.
    pub fields: Vec<RawFinding>,
    /// Other assignments to `IFS`. They change a command only if a word of the command has an unquoted number.
    pub separators: Vec<RawFinding>,
    /// Names of the commands with a word that has an unquoted number. The name is empty if it is unknown.
    pub numbered: BTreeSet<String>,
    /// True if the script may export functions to other shells.
    pub exported: bool,
    /// True if the script evaluates values of variables as arithmetic or as names.
    pub evaluates: bool,
    /// True if bash and dash may read the text differently.
    pub differs: bool,
    /// Texts that run a command if the script evaluates the values of variables.
    pub traps: Vec<RawFinding>,
    /// Texts like those in `traps`, in words that no variable receives. These texts count only if `redirected` is true.
    pub loose: Vec<RawFinding>,
    pub redirected: bool,
    /// True if values that are assigned to a variable of the script are evaluated as arithmetic.
    pub integers: bool,
    /// Values that set a variable which changes commands, if the script evaluates values as arithmetic.
    pub sums: Vec<RawFinding>,
    /// Names of array variables.
    pub arrays: BTreeSet<String>,
    /// True if a variable with an unknown name may be an array.
    pub any_array: bool,
    /// Values that a declaring builtin receives as one word, each with the name of the variable. If the variable is an
    /// array, the shell runs the commands in the elements of the value.
    pub elements: Vec<(String, RawFinding)>,
    /// Calls with their arguments, if the caller asks for them.
    pub seen: Option<ScriptCalls>,
}

/// Calls of each function, by the function's name and the text of the arguments.
pub type FunctionCalls = BTreeMap<String, BTreeMap<ArgumentText, Vec<Word>>>;
pub type ArgumentText = Vec<(String, bool)>;

impl<'s> ScriptWalk<'s> {
    pub fn new(script: &'s str, shell: Shell) -> Self {
        Self {
            script,
            shell,
            budget: budget(script),
            // Shell variables such as `$_` contain words of other commands.
            redirected: ["$_", "${_", "BASH_"]
                .iter()
                .any(|name| script.contains(name)),
            ..Self::default()
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

/// Maximum number of characters of [`RawFinding::source`]. Later private characters are kept too, because they mark the
/// placeholders of a template.
const MAX_SOURCE: usize = 200;
const PRIVATE: char = '\u{F0000}';

/// Returns the maximum number of bytes of all nested texts of a script.
pub fn budget(script: &str) -> usize {
    4 * script.len() + 4096
}

/// Name of the function that bash calls if a command does not exist.
pub const NOT_FOUND: &str = "command_not_found_handle";

/// What a script does that an author should perhaps write in another way. All offsets count bytes of the script.
#[derive(Default)]
pub struct ScriptCalls {
    /// Calls of programs and builtins.
    pub calls: Vec<ScriptCall>,
    /// Offsets of the files of redirections `<`.
    pub inputs: Vec<usize>,
    /// Offsets of menus (`select`) that read the standard input of the script.
    pub menus: Vec<usize>,
}

/// A call of a program or a builtin.
#[derive(PartialEq)]
pub struct ScriptCall {
    /// Offset of the name.
    pub at: usize,
    /// Name and arguments.
    pub words: Vec<CallWord>,
    /// Wrappers around the call, the outermost first.
    pub via: Vec<String>,
    /// True if a pipe or a redirection gives the call its standard input.
    pub is_fed: bool,
    /// True if the call is in a function, whose caller may give the standard input.
    pub in_function: bool,
    /// True if the script does not wait for the end of the call: the call runs in the background, or another command of
    /// its pipeline can end it.
    pub is_ended: bool,
}

/// A word of a call after quote removal.
#[derive(PartialEq)]
pub struct CallWord {
    /// Text of the word, with a [`HOLE`](crate::shell::syntax::HOLE) for each part that is known only at
    /// run time.
    pub text: String,
    /// Text of the word in the script.
    pub source: String,
    /// Offset of the word.
    pub at: usize,
}

impl ScriptCall {
    /// Returns the name of the program without its directory, or an empty text.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", |name| base_name(&name.text))
    }
}

impl From<&Word> for CallWord {
    fn from(word: &Word) -> Self {
        Self {
            text: word.text.clone(),
            source: word.source().to_owned(),
            at: word.at,
        }
    }
}

/// Returns true if the command reads all of its input, so that it never ends the command before it.
pub fn reads_all(node: &ShellNode) -> bool {
    let ShellNode::Simple(simple) = node else {
        return false;
    };
    let stops = |word: &Word| {
        word.text.starts_with("-m") || word.text.starts_with("-q") || word.text == "--quiet"
    };
    let name = simple
        .words
        .first()
        .and_then(Word::exactly)
        .unwrap_or_default();
    READERS.contains(&name) && !simple.words.iter().any(stops)
}

/// Programs that read all of their input.
const READERS: [&str; 10] = [
    "grep", "egrep", "sort", "uniq", "tee", "cat", "tr", "cut", "wc", "jq",
];

impl ScriptWalk<'_> {
    /// Reads the text of `word`, which `reader` runs with unknown words after it.
    pub fn text_and_more(
        &mut self,
        word: &Word,
        reader: TextReader,
        context: Context<'_>,
    ) -> Result<(), SyntaxFlaw> {
        if !word.exact {
            return self.text(&[word], reader, context);
        }
        let more = Word {
            text: format!("{} {HOLE}", word.text),
            raw: Some(word.source().into()),
            ..word.clone()
        };
        self.text(&[&more], reader, context)
    }

    /// Reads the text of `words`, joined by blanks, which `reader` runs.
    pub fn text(
        &mut self,
        words: &[&Word],
        reader: TextReader,
        context: Context<'_>,
    ) -> Result<(), SyntaxFlaw> {
        let Some(first) = words.first() else {
            return Ok(());
        };
        let joined;
        let (text, origin) = if let [word] = words {
            let source = word.source();
            let origin = match source.find(word.text.as_str()) {
                Some(inside) if self.script[word.at..].starts_with(source) => {
                    ByteOrigin::Shift(word.at + inside)
                }
                _ => ByteOrigin::Fixed(word.at),
            };
            (word.text.as_str(), origin)
        } else {
            joined = documents::joined(words.iter().map(|word| &word.text), " ");
            (joined.as_str(), ByteOrigin::Fixed(first.at))
        };
        let hidden = words
            .iter()
            .find(|word| !(word.exact || word.one && !word.text.contains(HOLE)));
        let recorded = self.found.len();
        if let Some(hidden) = hidden {
            self.unknown(hidden, NO_TEXT, context);
        } else if reader == TextReader::Here && context.function.is_none() {
            // The text may call a function of the surrounding script.
            self.may_call();
        }
        if text.len() > self.budget {
            return Err(SyntaxFlaw {
                at: first.at,
                message: "too much text runs as scripts in the script: reduce the nesting",
                guard: true,
            });
        }
        check_nesting(first, context)?;
        self.budget -= text.len();
        let dialects = reader.dialects(context.dialect);
        let outer = std::mem::take(&mut self.differs);
        for dialect in dialects {
            if dialects.len() > 1 && *dialect == Dialect::Dash && !self.differs {
                break;
            }
            let read = syntax::parse(
                text,
                *dialect,
                origin,
                (self.depth + context.nested).min(MAX_DEPTH),
            );
            let (depth, before) = (self.depth, self.found.len());
            let last = dialects.len() == 1 || *dialect == Dialect::Bash;
            match read.flaw {
                // The unknown part is already recorded, so an error in a partly unknown text is ignored.
                Some(_) if hidden.is_some() => {}
                Some(flaw)
                    if flaw.guard
                        || last && !(reader == TextReader::Here && *dialect == Dialect::Dash) =>
                {
                    return Err(flaw);
                }
                _ => {}
            }
            self.evaluates |= read.evaluates;
            self.differs |= read.differs;
            let inside = Context {
                bodies: &read.bodies,
                dialect: *dialect,
                here: context.here && reader == TextReader::Here,
                top: false,
                input: None,
                nested: context.nested + 1,
                ..context
            };
            let walked = self.list(&read.list, inside);
            self.depth = depth;
            if hidden.is_none() {
                walked?;
            } else {
                let seen = self.found.split_off(before);
                let unknown = |raw: &RawFinding| {
                    if let FoundKind::Unknown(why) = raw.what {
                        Some(why.part)
                    } else {
                        None
                    }
                };
                // The known part of the text names a program with unknown words, for example `sh -c "sudo $x"`.
                if seen
                    .iter()
                    .any(|raw| unknown(raw).is_some_and(|part| part != UnknownPart::Programs))
                {
                    self.found[recorded].what =
                        FoundKind::Unknown(UnknownReason::words(NO_TEXT.text));
                }
                let kept =
                    |raw: &RawFinding| unknown(raw).is_none_or(|part| part == UnknownPart::Started);
                self.found.extend(seen.into_iter().filter(kept));
                // The list `calls` is sorted by index.
                self.calls
                    .truncate(self.calls.partition_point(|(index, _)| *index < before));
            }
        }
        self.differs = outer || self.differs && reader == TextReader::Here;
        Ok(())
    }
}

/// Checks that the command in `word` is not nested too deep.
pub fn check_nesting(word: &Word, context: Context<'_>) -> Result<(), SyntaxFlaw> {
    if context.nested < MAX_NESTED {
        return Ok(());
    }
    Err(SyntaxFlaw {
        at: word.at,
        message: "commands in commands are nested deeper than 12 levels: reduce the nesting",
        guard: true,
    })
}

/// Maximum nesting of texts and wrappers, because stack and copied data are limited.
const MAX_NESTED: usize = 12;

/// Reason for a word that precedes a command and may become several words.
pub const SEVERAL_WORDS: UnknownReason = UnknownReason::words(
    "this word comes before the command and may become several words, or none: put the word in double quotes",
);

/// Reason for a command whose name is unknown.
pub const NO_NAME: UnknownReason = UnknownReason::programs(
    "the name of the command is not literal text: write the name itself, or choose a literal name with `case`",
);

/// Reason for text that a shell runs but that is not completely known.
pub const NO_TEXT: UnknownReason = UnknownReason::programs(
    "the text that the shell runs is not literal: put the text in single quotes, and pass values as arguments (`sh -c 'ls -- \"$1\"' _ \"$x\"`) or as variables",
);

/// Reason for a shell setting that changes how the shell parses the script.
pub const READING: UnknownReason = UnknownReason::words(
    "this setting changes how the shell parses the script: leave the setting out",
);

/// Reason for a word that may change how the shell parses the script.
pub const MAY_BE_READING: UnknownReason = UnknownReason::words(
    "this word may be a setting that changes how the shell parses the script: write a literal setting, or \
     `set -- \"$x\"` for parameters",
);

/// Reason for an assignment to a variable whose name is the result of an expansion.
pub const NOT_NAMED: UnknownReason =
    UnknownReason::words("the name of the variable is not literal text: write the name itself");

/// Reason for an option whose name is unknown.
pub const NO_OPTION: UnknownReason = UnknownReason::words(
    "the name of this option is not literal text: write the name itself, with only the value in a variable",
);

/// Reason for an option that is not in the grammar of its program.
pub const UNKNOWN_OPTION: UnknownReason = UnknownReason::words(
    "this option is unknown: leave the option out, or use its documented long form",
);

/// Reason for an argument of a shell that is unknown.
pub const SHELL_ARGUMENT: UnknownReason = UnknownReason::programs(
    "an argument of the shell is not literal text: write literal options, and put values after the text and `_`",
);

/// Reason for a program whose arguments the parser does not read.
pub const STARTS_OTHERS: UnknownReason = UnknownReason {
    part: UnknownPart::Started,
    text: "the program can start other programs here, and the parser does not read which: write the other programs as separate \
           commands, or use `env`, `timeout`, `xargs`, `find` or `sh -c`",
};

/// Reason for an option of ssh with which ssh may start a program.
pub const SSH_OPTION: UnknownReason = UnknownReason::words(
    "with this option, ssh may start a program: leave the option out, or write an everyday option, such as `-p`, before the \
     host",
);

/// Reason for an argument of `find` that may be an action.
pub const FIND_ACTION: UnknownReason = UnknownReason::words(
    "this word may become an action of `find`: put paths first, as \"./$x\", and write literal tests and actions",
);

/// Reason for a word that may be an option and is followed by the option's value.
pub const MAY_BE_OPTION: UnknownReason =
    UnknownReason::words("this word may be an option: write `--` before the word");

/// Reason for a word that may be an option or may be the command.
pub const MAY_BE_COMMAND: UnknownReason = UnknownReason::programs(
    "this word may be an option or the command: write the literal name of the command",
);

/// Reason for a command below `/proc` or `/dev`.
pub const OF_THE_KERNEL: UnknownReason = UnknownReason::programs(
    "a file below `/proc` or `/dev` may be any program: call the program by its name",
);

/// Reason for a text that bash may evaluate a second time.
pub const TRAP: UnknownReason = UnknownReason::programs(
    "this text could run a command, because the script evaluates variables as arithmetic: write the text without `$(`, backticks and `name[$x`, or put the text and the arithmetic into separate steps",
);

/// Bash options that change how bash parses the script.
pub const CHANGES_READING: [&str; 4] = ["keyword", "history", "histexpand", "extdebug"];

/// Reason for a login shell, because the script may have written the profile files.
pub const LOGIN: UnknownReason = UnknownReason::programs(
    "a login shell first runs a profile that is not in the script: leave `-l` out",
);

impl ScriptWalk<'_> {
    /// Returns `words` with the arguments of a call in place of `"$@"`, for each call of the surrounding function.
    /// Returns `None` if the calls of this function are not known.
    pub fn passed_on(&mut self, words: &[Word], context: Context<'_>) -> Option<Vec<Vec<Word>>> {
        let name = context
            .named
            .filter(|_| context.here && context.nested == 0)?;
        let at = words.iter().position(is_parameters)?;
        let first = &words[0];
        let runs = |first: &str| is_known(base_name(first)) || self.passing.contains(first);
        if at > 0 && !first.exactly().is_some_and(runs) {
            return None;
        }
        self.passing.insert(name.to_owned());
        if self.has_unknown_parameters(name) {
            return None;
        }
        let calls = self.given.get(name)?;
        // Each call costs a part of the budget, because functions with many calls of each other would cause too much
        // work.
        let Some(left) = self.budget.checked_sub(calls.len() * CALL) else {
            self.moved.insert(name.to_owned());
            return None;
        };
        self.budget = left;
        let passed_on = calls.values().map(|call| {
            // A `shift` beyond the last parameter fails and removes nothing.
            let (away, left) = call.split_at_checked(self.shifted)?;
            away.iter().all(|word| word.one).then(|| {
                let place = |word: &Word| {
                    if is_parameters(word) {
                        left.to_vec()
                    } else {
                        vec![word.clone()]
                    }
                };
                words.iter().flat_map(place).collect()
            })
        });
        let passed_on: Option<Vec<Vec<Word>>> = passed_on.collect();
        if passed_on.is_none() {
            self.moved.insert(name.to_owned());
        }
        passed_on
    }

    /// Returns true if a program receives `"$@"` of a function whose calls, or changes of the parameters, are not
    /// known.
    pub fn passes_unknown(&self, arguments: &[Word], context: Context<'_>) -> bool {
        context
            .named
            .is_some_and(|name| self.has_unknown_parameters(name))
            && arguments.iter().any(is_parameters)
    }

    fn has_unknown_parameters(&self, function: &str) -> bool {
        self.moves || self.exported || function == NOT_FOUND || self.moved.contains(function)
    }

    /// Records a call that may set the parameters of a function, or a builtin that changes them.
    pub fn parameters(&mut self, name: &str, arguments: &[Word], context: Context<'_>) {
        if context.here && self.passing.contains(name) {
            let spelling = arguments
                .iter()
                .map(|word| (word.text.clone(), word.one))
                .collect();
            let calls = self.giving.entry(name.to_owned()).or_default();
            calls.entry(spelling).or_insert_with(|| arguments.to_vec());
            if calls.len() > MAX_CALLS {
                self.moved.insert(name.to_owned());
            }
        }
        if !MOVES.contains(&name) || name == "set" && !sets_parameters(arguments) {
            return;
        }
        let count = match (name, arguments) {
            ("shift", []) => Some(1),
            ("shift", [count]) => count
                .exactly()
                .and_then(|count| count.parse::<usize>().ok()),
            _ => None,
        };
        match (context.named, count) {
            // A builtin in another builtin, or in a text that runs later, may change the parameters of any function.
            _ if context.nested > 0 => self.moves = true,
            (Some(_), Some(count)) if context.body && count <= MAX_CALLS => self.shifted += count,
            (Some(function), _) => drop(self.moved.insert(function.to_owned())),
            (None, _) => {}
        }
    }
}

/// Returns true for `"$@"`.
fn is_parameters(word: &Word) -> bool {
    matches!(word.source(), "\"$@\"" | "\"${@}\"")
}

/// Returns true if `set` with these arguments changes the parameters.
fn sets_parameters(arguments: &[Word]) -> bool {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.exactly() {
            Some("-" | "--") | None => return true,
            Some(text) if !text.starts_with(['-', '+']) => return true,
            // `-o` consumes the next word.
            Some(text) if text.ends_with('o') => drop(words.next()),
            Some(_) => {}
        }
    }
    false
}

/// Builtins that change the parameters `$1`, `$2` and so on.
pub const MOVES: &[&str] = &["set", "shift"];

const MAX_CALLS: usize = 256;
const CALL: usize = 64;
