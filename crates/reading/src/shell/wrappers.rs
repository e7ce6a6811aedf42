//! Programs and builtins that run their arguments.
//!
//! The list of these programs is in the module `programs`. A program that is not in the list is assumed to run nothing
//! (docs/design.md lists the resulting gaps). After a word that may be an option, the meaning of the words is unknown.

use std::iter;

use crate::{
    ArgumentReading, Context, MAY_BE_OPTION, OptionGrammar, SEVERAL_WORDS, ScriptWalk, SyntaxFlaw,
    TextReader, UnknownReason, Word,
    shell::{
        git,
        grammars::{FLOCK, IONICE, READ, SETSID, SSH_AGENT, STDBUF, TIME, TIMEOUT},
        options::{ReadOptions, read},
        programs::reading,
        reasons::{MAY_BE_COMMAND, STARTS_OTHERS},
    },
};

/// Result of reading a call of a wrapper.
pub type Done = Result<(), SyntaxFlaw>;

/// Finds the commands that the wrapper `base`, written as `name` in the script, runs from its `arguments`. `outside` is
/// the context of the wrapper, and `inside` that of the commands.
pub fn run(
    finding: &mut ScriptWalk<'_>,
    base: &str,
    name: &Word,
    arguments: &[Word],
    inside: Context<'_>,
    outside: Context<'_>,
) -> Done {
    let mut call = WrapperCall {
        finding,
        name,
        arguments,
        inside,
        outside,
    };
    match base {
        "sh" => call.shell(TextReader::Sh),
        "bash" | "rbash" => call.shell(TextReader::Bash),
        "dash" | "ash" => call.shell(TextReader::Dash),
        "eval" => call.eval(),
        "." | "source" => call.source(),
        "trap" => call.trap(),
        "alias" => call.alias(),
        "command" => call.lookup(),
        "builtin" => call.resolve(arguments, 0, false),
        "exec" => call.exec(),
        "env" => call.env(),
        "xargs" => call.xargs(),
        "find" => call.find(),
        "sudo" => call.sudo(),
        "ssh" => call.ssh(),
        "nohup" => call.plain(&OptionGrammar::NONE, 0),
        "time" => call.plain(&TIME, 0),
        "timeout" => call.plain(&TIMEOUT, 1),
        "ssh-agent" => call.plain(&SSH_AGENT, 0),
        "nice" => call.nice(),
        "ionice" => call.plain(&IONICE, 0),
        "setsid" => call.plain(&SETSID, 0),
        "stdbuf" => call.plain(&STDBUF, 0),
        "export" | "readonly" | "declare" | "typeset" | "local" => call.declare(base),
        "read" => call.names(&READ, 0),
        "mapfile" | "readarray" => call.mapfile(),
        "getopts" => call.names(&OptionGrammar::NONE, 1),
        "printf" => call.printf(),
        "wait" => call.wait(),
        "unset" => call.unset(),
        "let" => call.arithmetic(),
        "test" | "[" => call.test(),
        "set" | "shopt" => call.set(),
        _ => {
            let starts: Vec<Vec<&Word>> = match reading(base) {
                ArgumentReading::Unknown if starts_nothing(base, arguments) => Vec::new(),
                // The program may read its commands from standard input.
                ArgumentReading::Unknown => vec![
                    iter::once(name)
                        .chain(arguments)
                        .chain(inside.input)
                        .collect(),
                ],
                ArgumentReading::Options(_) | ArgumentReading::Git
                    if call.finding.passes_unknown(arguments, inside) =>
                {
                    vec![iter::once(name).chain(arguments).collect()]
                }
                ArgumentReading::Options(options) => options.starts(base, arguments),
                ArgumentReading::Git => git::starts(name, arguments),
                ArgumentReading::Exact
                | ArgumentReading::Elsewhere
                | ArgumentReading::Ssh
                | ArgumentReading::Variables
                | ArgumentReading::Plain => Vec::new(),
            };
            for words in starts {
                let plain = |word: &&Word| word.exact && !word.text.contains(char::is_control);
                let text = |word: &&Word| {
                    if plain(word) {
                        word.text.clone()
                    } else {
                        word.source().to_owned()
                    }
                };
                let source: Vec<String> = words.iter().map(text).collect();
                call.unknown(
                    &Word {
                        raw: Some(source.join(" ").into()),
                        ..Word::clone(words[0])
                    },
                    STARTS_OTHERS,
                );
            }
            if base == "enable" {
                call.finding.renames();
            }
            Ok(())
        }
    }
}

/// Returns true for `--help` and `--version`, for `flock 9`, which locks an open file, and for `start-stop-daemon --stop`.
fn starts_nothing(base: &str, arguments: &[Word]) -> bool {
    let is_number = |word: &Word| word.exact && word.text.bytes().all(|byte| byte.is_ascii_digit());
    let only_locks = || {
        read(&FLOCK, arguments)
            .is_ok_and(|options| matches!(options.rest, [file] if is_number(file)))
    };
    matches!(arguments, [one] if matches!(one.exactly(), Some("--help" | "--version")))
        || base == "flock" && only_locks()
        || base == "start-stop-daemon"
            && arguments
                .first()
                .is_some_and(|word| word.exactly() == Some("--stop"))
            && arguments.iter().all(|word| word.exact)
}

/// One call of a wrapper.
pub struct WrapperCall<'f, 's, 'a> {
    pub(super) finding: &'f mut ScriptWalk<'s>,
    pub(super) name: &'a Word,
    pub(super) arguments: &'a [Word],
    pub(super) inside: Context<'a>,
    pub(super) outside: Context<'a>,
}

impl<'a> WrapperCall<'_, '_, 'a> {
    pub(super) fn unknown(&mut self, word: &Word, why: impl Into<UnknownReason>) {
        self.finding.unknown(word, why, self.inside);
    }

    /// Returns the context of a command that the surrounding shell runs for the wrapper.
    pub(super) fn shell_context(&self, functions: bool) -> Context<'a> {
        self.inside.within(self.outside, functions)
    }

    pub(super) fn resolve(&mut self, words: &[Word], skip: usize, functions: bool) -> Done {
        let context = self.shell_context(functions);
        // `command -- x`, `builtin -- x`
        let words = &words[skip.min(words.len())..];
        let words = match words.split_first() {
            Some((first, rest)) if first.exactly() == Some("--") => rest,
            _ => words,
        };
        self.finding.resolve(words, context)
    }

    /// Reads the options of a wrapper whose command follows after `operands` words. If the options cannot be read, the
    /// problem is recorded, but the following words still count as the command, so that a denied name among them is
    /// found.
    pub(super) fn before_command<'w>(
        &mut self,
        grammar: &OptionGrammar,
        words: &'w [Word],
        operands: usize,
    ) -> ReadOptions<'w> {
        match read(grammar, words) {
            Ok(options) => options,
            Err((word, why)) => {
                let why = if why == MAY_BE_OPTION && operands == 0 {
                    MAY_BE_COMMAND
                } else {
                    why
                };
                self.finding.unknown(word, why, self.inside);
                let stuck = words
                    .iter()
                    .position(|other| std::ptr::eq(other, word))
                    .unwrap_or(words.len());
                let from = if operands > 0 {
                    stuck
                } else {
                    (stuck + 1).min(words.len())
                };
                ReadOptions {
                    rest: &words[from..],
                    ..ReadOptions::default()
                }
            }
        }
    }

    pub(super) fn options(&mut self, grammar: &OptionGrammar) -> Option<ReadOptions<'a>> {
        match read(grammar, self.arguments) {
            Ok(options) => Some(options),
            Err((word, why)) => {
                self.finding.unknown(word, why, self.inside);
                None
            }
        }
    }

    /// Reads options, then as many words as `operands`, then a command.
    pub(super) fn plain(&mut self, grammar: &OptionGrammar, operands: usize) -> Done {
        let options = self.before_command(grammar, self.arguments, operands);
        self.command(options.rest, operands)
    }

    pub(super) fn command(&mut self, rest: &[Word], operands: usize) -> Done {
        for word in rest.iter().take(operands) {
            if !word.one {
                self.unknown(word, SEVERAL_WORDS);
            }
        }
        if operands > 0 && rest.len() <= operands && !rest.is_empty() {
            // Other versions of the program have fewer words before the command.
            self.unknown(
                self.name,
                "the command has fewer arguments than its known form: write all arguments",
            );
        }
        self.finding
            .resolve(&rest[operands.min(rest.len())..], self.inside)
    }
}
