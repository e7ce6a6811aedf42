//! Programs and builtins that run their arguments and need special rules.
//!
//! The list of these programs is in the module `programs`. A program that is not in the list is assumed to run nothing
//! (docs/design.md lists the resulting gaps). After an argument that may be an option, the meaning of all later
//! arguments is unknown.

use std::iter;

use crate::{
    ArgumentReading, Context, HOLE, LOGIN, MAY_BE_OPTION, NO_TEXT, OptionGrammar, SEVERAL_WORDS,
    ScriptWalk, SyntaxFlaw, TextReader, UnknownReason, Word,
    shell::{
        git,
        grammars::{
            ENV, FLOCK, IONICE, NICE, READ, SETSID, SSH, SSH_AGENT, STDBUF, SUDO, TIME, TIMEOUT,
            XARGS,
        },
        options::{ReadOptions, read},
        programs::reading,
        script_walk::{FIND_ACTION, MAY_BE_COMMAND, SSH_OPTION, STARTS_OTHERS},
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
        "builtin" => call.resolve(arguments),
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

                call.unknown(
                    &Word {
                        raw: Some(documents::joined(words.iter().map(text), " ").into()),
                        ..Word::clone(words[0])
                    },
                    STARTS_OTHERS,
                );
            }
            if base == "enable" {
                call.finding.moves = true;
            }
            Ok(())
        }
    }
}

/// Returns true for `--help` and `--version`, for `flock 9`, which locks an open file, and for `start-stop-daemon
/// --stop`.
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
    pub finding: &'f mut ScriptWalk<'s>,
    pub name: &'a Word,
    pub arguments: &'a [Word],
    pub inside: Context<'a>,
    pub outside: Context<'a>,
}

impl<'a> WrapperCall<'_, '_, 'a> {
    pub fn unknown(&mut self, word: &Word, why: impl Into<UnknownReason>) {
        self.finding.unknown(word, why, self.inside);
    }

    /// Records an unknown part of the call, after which the rest of the call is not read.
    pub fn unknown_rest(&mut self, word: &Word, why: impl Into<UnknownReason>) -> Done {
        self.unknown(word, why);
        Ok(())
    }

    /// Returns the context of a command that the surrounding shell runs for the wrapper. The command can be a function
    /// of this shell.
    pub fn shell_context(&self) -> Context<'a> {
        Context {
            here: self.outside.here,
            ..self.inside
        }
    }

    pub fn resolve(&mut self, words: &[Word]) -> Done {
        // `command -- x`, `builtin -- x`
        let words = match words.split_first() {
            Some((first, rest)) if first.exactly() == Some("--") => rest,
            _ => words,
        };
        self.finding.resolve(words, self.inside)
    }

    /// Reads the options of a wrapper whose command follows after `operands` words. If the options cannot be read, the
    /// problem is recorded, but the following words still count as the command, so that a denied name among them is
    /// found.
    pub fn before_command<'w>(
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
                self.unknown(word, why);
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

    pub fn options(&mut self, grammar: &OptionGrammar) -> Option<ReadOptions<'a>> {
        match read(grammar, self.arguments) {
            Ok(options) => Some(options),
            Err((word, why)) => {
                self.unknown(word, why);
                None
            }
        }
    }

    /// Reads options, then as many words as `operands`, then a command.
    pub fn plain(&mut self, grammar: &OptionGrammar, operands: usize) -> Done {
        let options = self.before_command(grammar, self.arguments, operands);
        self.command(options.rest, operands)
    }

    pub fn command(&mut self, rest: &[Word], operands: usize) -> Done {
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

impl<'a> WrapperCall<'_, '_, 'a> {
    pub fn env(&mut self) -> Done {
        self.env_with(self.arguments, 0)
    }

    fn env_with(&mut self, words: &[Word], depth: usize) -> Done {
        let options = self.before_command(&ENV, words, 0);
        for name in options.values(&["a", "argv0"]) {
            if name.known().is_empty() || name.known().starts_with('-') {
                self.unknown(name, LOGIN);
            }
        }
        for name in options.values(&["u", "unset"]) {
            self.finding.sets(name, name.exactly(), self.inside);
        }
        if options.has(&["S", "split-string"]) {
            let mut split = Vec::new();
            for value in options.values(&["S", "split-string"]) {
                match value.exactly().and_then(|text| split_string(text, value)) {
                    Some(words) => split.extend(words),
                    None => {
                        return self.unknown_rest(value, NO_TEXT);
                    }
                }
            }
            split.extend(options.rest.iter().cloned());
            if depth > 8 {
                return self.unknown_rest(
                    self.name,
                    "`env -S` contains another `env -S`: use only one",
                );
            }
            return self.env_with(&split, depth + 1);
        }
        let mut rest = options.rest;
        if rest.first().and_then(Word::exactly) == Some("-") {
            rest = &rest[1..];
        }
        self.assignments(rest)
    }

    /// Reads words `NAME=value` and then a command.
    fn assignments(&mut self, mut rest: &[Word]) -> Done {
        while let Some((first, others)) = rest.split_first() {
            if !first.known().contains('=') {
                break;
            }
            if !first.one {
                return self.unknown_rest(first, SEVERAL_WORDS);
            }
            self.finding.declares(first, self.inside);
            rest = others;
        }
        self.finding.resolve(rest, self.inside)
    }

    pub fn xargs(&mut self) -> Done {
        let options = self.before_command(&XARGS, self.arguments, 0);
        if options.rest.is_empty() {
            return Ok(());
        }
        for name in options.values(&["process-slot-var"]) {
            self.finding.declares(name, self.inside);
        }
        let mark = options
            .given
            .iter()
            .rev()
            .find(|given| matches!(given.name.as_str(), "I" | "i" | "replace"))
            .map(|given| {
                let value = given.value.as_ref();
                value.map_or("{}".to_owned(), |value| value.text.clone())
            });
        let mut words: Vec<Word> = match &mark {
            Some(mark) if mark.contains(HOLE) || mark.is_empty() => {
                return self.unknown_rest(
                    self.name,
                    "the replacement mark of `xargs` is not literal text: write `-I{}`",
                );
            }
            Some(mark) => options
                .rest
                .iter()
                .map(|word| word.replaced(mark))
                .collect(),
            None => options.rest.to_vec(),
        };
        // With `-n` and similar options, `xargs` ignores either the replacement string or these options, so the command
        // is read for both cases.
        if mark.is_none() || options.has(&["n", "L", "l", "max-args", "max-lines"]) {
            words.push(Word::unknown(self.name.at));
        }
        self.finding.resolve(&words, self.inside.without_input())
    }

    pub fn find(&mut self) -> Done {
        let words = self.arguments;
        let mut next = 0;
        while let Some(word) = words.get(next) {
            next += 1;
            let Some(text) = word.exactly() else {
                let harmless = if word.one {
                    // The name of the command may follow `word`.
                    let before_plain = words.get(next).is_some_and(|after| {
                        let known = after.known();
                        !after.exact && known.is_empty()
                            || !known.is_empty()
                                && !known.starts_with(['-', '(', ')', '!', ',', '{', ';'])
                    });
                    !word.known().is_empty() && !word.known().starts_with('-')
                        || !(before_plain && ends(&words[next..]))
                } else {
                    word.glob && !could_be_action(word)
                };
                if !harmless {
                    self.unknown(word, FIND_ACTION);
                }
                continue;
            };
            if !ACTIONS.contains(&text) {
                let newer = text.len() == "-newerXY".len() && text.starts_with("-newer");
                let values = if text == "-fprintf" {
                    2
                } else {
                    usize::from(newer || TAKES_WORD.contains(&text))
                };
                for _ in 0..values {
                    // The value of a `find` test may look like an action.
                    if words.get(next).is_some_and(|value| value.one) {
                        next += 1;
                    }
                }
                continue;
            }
            let command = &words[next..];
            let end = command
                .iter()
                .enumerate()
                .position(|(at, word)| match word.exactly() {
                    Some(";") => true,
                    Some("+") => at > 0 && command[at - 1].exactly() == Some("{}"),
                    _ => false,
                });
            let Some(end) = end else {
                if command.iter().any(|word| !word.exact) {
                    self.unknown(
                        word,
                        "the end of the `find` action is not literal text: write `\\;` or `{} +`",
                    );
                }
                let replaced: Vec<Word> = command.iter().map(|word| word.replaced("{}")).collect();
                return self.finding.resolve(&replaced, self.inside);
            };
            // An unknown word may become the end of the action and the next action. An unknown word of one field may be
            // the end of the action, so that the next action follows.
            let last = command[..end].iter().rposition(may_begin_action);
            let hides = |at: usize, word: &Word| {
                let one = !word.exact
                    && matches!(word.known(), "" | "+")
                    && (!word.glob || word.source().len() < 5);
                !word.one && !word.glob || one && last.is_some_and(|last| last > at)
            };
            if let Some((_, hidden)) = command[..end]
                .iter()
                .enumerate()
                .find(|(at, word)| hides(*at, word))
            {
                let hidden = hidden.clone();
                self.unknown(&hidden, FIND_ACTION);
            }
            let replaced: Vec<Word> = command[..end]
                .iter()
                .map(|word| word.replaced("{}"))
                .collect();
            self.finding
                .resolve(&replaced, self.inside.without_input())?;
            next += end + 1;
        }
        Ok(())
    }

    pub fn sudo(&mut self) -> Done {
        let options = self.before_command(&SUDO, self.arguments, 0);
        if options.has(&["e", "edit"]) {
            return self.unknown_rest(
                self.name,
                "an editor runs commands that are not in the script: write the file in another way",
            );
        }
        let shell = options.has(&["s", "i", "shell", "login"]);
        if options.rest.is_empty() {
            return if shell {
                self.standard_input(TextReader::Sh)
            } else {
                Ok(())
            };
        }
        // With `-s` or `-i`, a shell parses the command's words again, in which all special characters except `$` are
        // quoted.
        if let Some(word) = options
            .rest
            .iter()
            .find(|word| shell && word.text.contains('$'))
        {
            self.unknown(
                word,
                "the shell of the other user expands this text again: leave `-s` and `-i` out",
            );
        }
        self.assignments(options.rest)
    }

    /// `ssh [options] [--] HOST WORDS…`. The user's shell on the other host runs the words.
    pub fn ssh(&mut self) -> Done {
        let Some(options) = self.options(&SSH) else {
            return Ok(());
        };
        for setting in options
            .values(&["o"])
            .filter(|setting| !is_plain_ssh_setting(setting))
        {
            self.unknown(setting, SSH_OPTION);
        }
        let Some((host, words)) = options.rest.split_first() else {
            return Ok(());
        };
        if !host.one {
            self.unknown(host, SEVERAL_WORDS);
        }
        let Some(first) = words.first() else {
            return if options.has(&["N"]) {
                Ok(())
            } else {
                self.standard_input(TextReader::Sh)
            };
        };
        // Versions of ssh differ in whether they read options after the host.
        if first.known().starts_with('-') {
            return self.unknown_rest(first, SSH_OPTION);
        }
        self.finding.text(
            &words.iter().collect::<Vec<_>>(),
            TextReader::Sh,
            self.inside.without_input(),
        )
    }

    pub fn nice(&mut self) -> Done {
        // `nice -10` and `nice --10` are old forms of `nice -n`.
        let old = |word: &Word| {
            word.exactly().is_some_and(|text| {
                let number = text
                    .strip_prefix("--")
                    .or_else(|| text.strip_prefix("-+"))
                    .or_else(|| text.strip_prefix('-'));
                number.is_some_and(|number| {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                })
            })
        };
        let mut words = self.arguments;
        while words.first().is_some_and(old) {
            words = &words[1..];
        }
        let options = self.before_command(&NICE, words, 0);
        self.command(options.rest, 0)
    }
}

/// Returns true if one of the words ends an action of `find`, or may do so at run time.
fn ends(words: &[Word]) -> bool {
    words
        .iter()
        .any(|word| matches!(word.exactly(), Some(";" | "+")) || !word.exact)
}

/// Returns true if a word with a pattern may match the name of an action of `find`.
fn could_be_action(word: &Word) -> bool {
    let source = word.source();
    source.contains(['\'', '"', '\\', '$', '`', '('])
        || ACTIONS
            .iter()
            .any(|name| could_match(source.as_bytes(), name.as_bytes()))
}

/// Returns true if a word in an action of `find` may begin the next action.
fn may_begin_action(word: &Word) -> bool {
    match word.exactly() {
        Some(text) => ACTIONS.contains(&text),
        None => word.known().is_empty() || word.known().starts_with('-'),
    }
}

/// Returns true if a pattern may match `name`. Each `[…]` is assumed to match any character.
fn could_match(pattern: &[u8], name: &[u8]) -> bool {
    if pattern.len() > LONG_PATTERN {
        return true;
    }
    // For each position in the pattern, the bits are the possible positions in the name.
    let (end, all) = (1u16 << name.len(), (1u16 << name.len()) - 1);
    let mut at = [0u16; LONG_PATTERN + 1];
    at[0] = 1;
    for (place, byte) in pattern.iter().enumerate() {
        let here = at[place];
        if here == 0 {
            continue;
        }
        let same = |byte: u8| {
            (0..name.len())
                .filter(|n| name[*n] == byte)
                .fold(0u16, |bits, n| bits | 1 << n)
        };
        match byte {
            // A `*` allows all positions from the lowest possible position to the end of the name.
            b'*' => at[place + 1] |= (all | end) & !((here & here.wrapping_neg()) - 1),
            b'?' => at[place + 1] |= (here & all) << 1,
            b'[' => {
                at[place + 1] |= (here & same(b'[')) << 1;
                for (after, _) in pattern
                    .iter()
                    .enumerate()
                    .skip(place + 1)
                    .filter(|(_, byte)| **byte == b']')
                {
                    at[after + 1] |= (here & all) << 1;
                }
            }
            byte => at[place + 1] |= (here & same(*byte)) << 1,
        }
    }
    at[pattern.len()] & end != 0
}

/// Returns true for `-o Name=value` of ssh with a name that starts no program.
fn is_plain_ssh_setting(setting: &Word) -> bool {
    let name = setting
        .known()
        .split_once('=')
        .map(|(name, _)| name.to_ascii_lowercase());
    name.is_some_and(|name| {
        SSH_SETTINGS
            .split_ascii_whitespace()
            .any(|known| known == name)
    })
}

const SSH_SETTINGS: &str = "batchmode connectionattempts connecttimeout controlmaster controlpath controlpersist identitiesonly \
                            identityfile loglevel passwordauthentication port requesttty serveralivecountmax \
                            serveraliveinterval stricthostkeychecking user userknownhostsfile";

/// Actions of `find` that run a command.
const ACTIONS: [&str; 4] = ["-exec", "-execdir", "-ok", "-okdir"];
/// Maximum length in bytes of a pattern that is compared with names. A longer pattern is assumed to match.
const LONG_PATTERN: usize = 256;

/// Splits the text of `env -S` into words. Returns `None` if the text has special characters.
fn split_string(text: &str, word: &Word) -> Option<Vec<Word>> {
    let odd = |letter: char| {
        matches!(letter, '\\' | '$' | '#') || letter.is_control() && !matches!(letter, '\t' | '\n')
    };
    if text.contains(odd) {
        return None;
    }
    let mut words = Vec::new();
    let mut current: Option<String> = None;
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                current.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n') => words.extend(current.take()),
            _ => current.get_or_insert_default().push(character),
        }
    }
    words.extend(current);
    let word = |text: String| Word {
        raw: Some(word.source().into()),
        ..Word::literal(text, word.at)
    };
    quote
        .is_none()
        .then(|| words.into_iter().map(word).collect())
}

/// Tests of `find` that take the next word as their value.
const TAKES_WORD: &[&str] = &[
    "-amin",
    "-anewer",
    "-atime",
    "-cmin",
    "-cnewer",
    "-ctime",
    "-D",
    "-files0-from",
    "-fls",
    "-fprint",
    "-fprint0",
    "-fstype",
    "-gid",
    "-group",
    "-ilname",
    "-iname",
    "-inum",
    "-ipath",
    "-iregex",
    "-iwholename",
    "-links",
    "-lname",
    "-maxdepth",
    "-mindepth",
    "-mmin",
    "-mtime",
    "-name",
    "-newer",
    "-path",
    "-perm",
    "-printf",
    "-regex",
    "-regextype",
    "-samefile",
    "-size",
    "-type",
    "-uid",
    "-used",
    "-user",
    "-wholename",
    "-xtype",
    "-context",
    "-since",
    "-newermt",
];
