//! Programs and builtins that run their arguments.
//!
//! A closed table: what is not in it is taken to run nothing (SECURITY.md lists what that misses). Each entry is the program's option
//! grammar and what its operands are; where a word can't be told apart from an option, what follows is unknown.

use crate::shell::commands::{Context, Finding, Reader};
use crate::shell::grammar::RESERVED;
use crate::shell::options::{Grammar, Options, Takes, read};
use crate::shell::syntax::{Flaw, HOLE, Word};

use Takes::{Nothing, Optional, Value};

/// Whether `name` is in the table.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// In order.
const NAMES: &[&str] = &[
    ".",
    "[",
    "alias",
    "ash",
    "bash",
    "bind",
    "builtin",
    "busybox",
    "chroot",
    "chrt",
    "command",
    "compgen",
    "complete",
    "csh",
    "dash",
    "declare",
    "doas",
    "enable",
    "env",
    "eval",
    "exec",
    "export",
    "fakeroot",
    "fc",
    "find",
    "fish",
    "flock",
    "getopts",
    "git",
    "gosu",
    "hash",
    "ionice",
    "jobs",
    "ksh",
    "let",
    "local",
    "ltrace",
    "mapfile",
    "mksh",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "pkexec",
    "printf",
    "prlimit",
    "rbash",
    "read",
    "readarray",
    "readonly",
    "runuser",
    "script",
    "set",
    "setarch",
    "setpriv",
    "setsid",
    "sh",
    "shopt",
    "source",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "systemd-run",
    "taskset",
    "tcsh",
    "test",
    "time",
    "timeout",
    "toybox",
    "trap",
    "typeset",
    "unset",
    "unshare",
    "wait",
    "watch",
    "xargs",
    "yash",
    "zsh",
];

type Done = Result<(), Flaw>;

/// What the wrapper `base`, written as `name`, runs of its `arguments`. `inside` is the context of what it runs, `outside` its own.
pub(super) fn run(
    finding: &mut Finding<'_>,
    base: &str,
    name: &Word,
    arguments: &[Word],
    inside: Context<'_>,
    outside: Context<'_>,
) -> Done {
    let mut call = Call { finding, name, arguments, inside, outside };
    match base {
        "sh" => call.shell(Reader::Sh),
        "bash" | "rbash" => call.shell(Reader::Bash),
        "dash" | "ash" => call.shell(Reader::Dash),
        "zsh" | "ksh" | "mksh" | "yash" | "csh" | "tcsh" | "fish" => {
            call.unknown(name, "a shell whose grammar is not read here");
            call.shell(Reader::Sh)
        }
        "eval" => call.eval(),
        "." | "source" => call.source(),
        "trap" => call.trap(),
        "alias" => call.alias(),
        "command" => call.lookup(),
        "builtin" => call.resolve(arguments, 0, true),
        "exec" => call.plain(&EXEC, 0),
        "env" => call.env(),
        "xargs" => call.xargs(),
        "find" => call.find(),
        "git" => call.git(),
        "ssh" => call.ssh(),
        "su" => call.su(&SU),
        "runuser" => call.runuser(),
        "sudo" => call.sudo(),
        "busybox" | "toybox" => call.plain(&Grammar::NONE, 0),
        "watch" => call.watch(),
        "script" => call.script(),
        "flock" => call.flock(),
        "parallel" => call.parallel(),
        "systemd-run" => call.systemd_run(),
        "strace" | "ltrace" => call.strace(),
        "nohup" | "fakeroot" | "pkexec" => call.plain(if base == "pkexec" { &PKEXEC } else { &Grammar::NONE }, 0),
        "gosu" | "su-exec" => call.plain(&Grammar::NONE, 1),
        "time" => call.plain(&TIME, 0),
        "timeout" => call.plain(&TIMEOUT, 1),
        "nice" => call.nice(),
        "ionice" => call.plain(&IONICE, 0),
        "setsid" => call.plain(&SETSID, 0),
        "stdbuf" => call.plain(&STDBUF, 0),
        "chroot" => call.login(&CHROOT, 1),
        "unshare" => call.login(&UNSHARE, 0),
        "nsenter" => call.login(&NSENTER, 0),
        "setarch" => call.login(&SETARCH, 1),
        "setpriv" => call.plain(&SETPRIV, 0),
        "taskset" => call.plain(&TASKSET, 1),
        "chrt" => call.plain(&CHRT, 1),
        "prlimit" => call.plain(&PRLIMIT, 0),
        "doas" => call.login(&DOAS, 0),
        "export" | "readonly" | "declare" | "typeset" | "local" => call.declare(base),
        "read" => call.names(&READ, 0),
        "mapfile" | "readarray" => call.mapfile(),
        "getopts" => call.names(&Grammar::NONE, 1),
        "printf" => call.printf(),
        "wait" => call.wait(),
        "unset" => call.unset(),
        "let" => {
            call.finding.evaluates = true;
            Ok(())
        }
        "test" | "[" => {
            call.finding.evaluates |=
                arguments.iter().any(|word| matches!(word.text.as_str(), "-v" | "-R") || !word.one);
            Ok(())
        }
        "set" | "shopt" => call.set(),
        "hash" => call.hash(),
        "enable" => call.enable(),
        "jobs" => call.jobs(),
        "fc" => {
            call.unknown(name, "runs commands of the history");
            Ok(())
        }
        "bind" | "complete" | "compgen" => call.complete(),
        _ => Ok(()),
    }
}

/// One call of a wrapper.
struct Call<'f, 's, 'a> {
    finding: &'f mut Finding<'s>,
    name: &'a Word,
    arguments: &'a [Word],
    inside: Context<'a>,
    outside: Context<'a>,
}

impl<'a> Call<'_, '_, 'a> {
    fn unknown(&mut self, word: &Word, why: &'static str) {
        self.finding.unknown(word, why, self.inside);
    }

    /// The context of what this shell itself runs for the wrapper.
    fn shell_context(&self, functions: bool) -> Context<'a> {
        self.inside.within(self.outside, functions)
    }

    fn resolve(&mut self, words: &[Word], skip: usize, functions: bool) -> Done {
        let context = self.shell_context(functions);
        // `command -- x`, `builtin -- x`
        let words = &words[skip.min(words.len())..];
        let words = match words.split_first() {
            Some((first, rest)) if first.exactly() == Some("--") => rest,
            _ => words,
        };
        self.finding.resolve(words, context)
    }

    fn options(&mut self, grammar: &Grammar) -> Option<Options<'a>> {
        self.options_of(grammar, self.arguments)
    }

    fn options_of<'w>(&mut self, grammar: &Grammar, words: &'w [Word]) -> Option<Options<'w>> {
        match read(grammar, words) {
            Ok(options) => Some(options),
            Err((word, why)) => {
                self.finding.unknown(word, why, self.inside);
                None
            }
        }
    }

    /// Options, then `operands` words, then a command.
    fn plain(&mut self, grammar: &Grammar, operands: usize) -> Done {
        let Some(options) = self.options(grammar) else { return Ok(()) };
        self.command(options.rest, operands)
    }

    fn command(&mut self, rest: &[Word], operands: usize) -> Done {
        for word in rest.iter().take(operands) {
            if !word.one {
                self.unknown(word, "may become several words, or none, before the command is named");
                return Ok(());
            }
        }
        self.finding.resolve(&rest[operands.min(rest.len())..], self.inside)
    }

    /// As `plain`; without a command a shell is started.
    fn login(&mut self, grammar: &Grammar, operands: usize) -> Done {
        let Some(options) = self.options(grammar) else { return Ok(()) };
        if options.has(&["s", "S"]) && grammar.flags.contains('s') || options.rest.len() <= operands {
            return self.standard_input(Reader::Sh);
        }
        self.command(options.rest, operands)
    }

    /// A shell reads its commands from standard input.
    fn standard_input(&mut self, reader: Reader) -> Done {
        match self.inside.input {
            Some(body) => {
                let lines = body.text.lines().count();
                if lines > 1 && EATERS.iter().any(|word| body.text.contains(word)) {
                    self.unknown(self.name, "a shell reads a script of which a command in it may read a part");
                }
                self.finding.text(&[body], reader, self.inside)
            }
            None => {
                self.unknown(self.name, "a shell runs what it reads, which is not in view");
                Ok(())
            }
        }
    }

    /// A member of the shell family with its arguments.
    fn shell(&mut self, reader: Reader) -> Done {
        self.shell_with(reader, self.arguments)
    }

    fn shell_with(&mut self, reader: Reader, words: &[Word]) -> Done {
        let (mut command, mut input) = (false, false);
        let mut next = 0;
        let mut long = true;
        while let Some(word) = words.get(next) {
            if !word.exact {
                if !word.one || word.known().is_empty() || word.known().starts_with(['-', '+']) {
                    self.unknown(word, "an argument of a shell is not written out");
                    return Ok(());
                }
                break;
            }
            let text = word.text.as_str();
            if !text.starts_with(['-', '+']) || text == "+" {
                break;
            }
            next += 1;
            if matches!(text, "-" | "--") {
                break;
            }
            let name = text.trim_start_matches('-');
            if long && text.starts_with('-') && SHELL_LONG.iter().any(|(known, _)| *known == name) {
                next += usize::from(SHELL_LONG.contains(&(name, true)));
                if matches!(name, "help" | "version") {
                    return Ok(());
                }
                if matches!(name, "rcfile" | "init-file") {
                    self.unknown(word, "a shell reads a file first, which is not in view");
                }
                continue;
            }
            if text.starts_with("--") {
                self.unknown(word, "is an option that is not known here");
                return Ok(());
            }
            long = false;
            for letter in text[1..].chars() {
                match letter {
                    'c' => command = true,
                    's' => input = true,
                    'o' | 'O' => {
                        if words.get(next).is_some_and(|word| !word.one) {
                            self.unknown(&words[next], "an argument of a shell is not written out");
                            return Ok(());
                        }
                        next += 1;
                    }
                    'i' => self.unknown(word, "an interactive shell runs start-up files, and expands its history"),
                    _ => {}
                }
            }
        }
        let rest = &words[next.min(words.len())..];
        if command {
            match rest.first() {
                Some(text) => self.finding.text(&[text], reader, self.inside)?,
                None => self.unknown(self.name, "a shell runs a text that is not in view"),
            }
        } else if let Some(file) = rest.first().filter(|_| !input) {
            self.unknown(file, "a shell runs a file, which is not in view");
            return Ok(());
        }
        if !command || input {
            self.standard_input(reader)?;
        }
        Ok(())
    }

    fn eval(&mut self) -> Done {
        let mut words: Vec<&Word> = self.arguments.iter().collect();
        if words.first().is_some_and(|word| word.exactly() == Some("--")) {
            words.remove(0);
        }
        let context = self.shell_context(true);
        self.finding.text(&words, Reader::Here, context)
    }

    fn source(&mut self) -> Done {
        self.unknown(self.arguments.first().unwrap_or(self.name), "the commands of a file run, which is not in view");
        self.finding.undefines(None);
        Ok(())
    }

    fn trap(&mut self) -> Done {
        let mut words = self.arguments;
        match words.first().and_then(Word::exactly) {
            Some("--") => words = &words[1..],
            Some("-l" | "-p" | "-P") => return Ok(()),
            _ => {}
        }
        let Some((action, signals)) = words.split_first() else { return Ok(()) };
        if !action.one {
            self.unknown(action, "the text that runs is not written out");
            return Ok(());
        }
        let resets = match action.exactly() {
            Some("" | "-") => true,
            Some(text) => text.bytes().all(|byte| byte.is_ascii_digit()) || signals.is_empty(),
            None => false,
        };
        if resets {
            return Ok(());
        }
        let context = self.shell_context(true);
        self.finding.text(&[action], Reader::Here, context)
    }

    fn alias(&mut self) -> Done {
        for word in self.arguments {
            if word.exactly().is_some_and(|text| text.starts_with('-') || !text.contains('=')) {
                continue;
            }
            let Some((_, value)) = word.exactly().and_then(|text| text.split_once('=')) else {
                self.unknown(word, "an alias is not written out");
                continue;
            };
            let name = word.text.split_once('=').map_or("", |(name, _)| name);
            let plain_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
                && !RESERVED.contains(&name);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _./:,+@%-=".contains(&byte);
            let first = value.split(' ').next().unwrap_or_default();
            let base = first.rsplit_once('/').map_or(first, |(_, base)| base);
            let simple = value.bytes().all(plain)
                && plain_name
                && !value.ends_with(' ')
                && !first.contains('=')
                && !is_known(base)
                && !RESERVED.contains(&first)
                && !matches!(first, "" | "in");
            if !simple {
                self.unknown(word, "an alias that is more than a command and its arguments");
            }
            let value = Word { raw: word.raw.clone(), ..Word::literal(value, word.at) };
            let context = self.shell_context(true);
            if simple {
                self.finding.text(&[&value], Reader::Here, context)?;
            } else {
                let partial = Word { text: format!("{}{HOLE}", value.text), exact: false, ..value };
                self.finding.text(&[&partial], Reader::Here, context)?;
            }
        }
        Ok(())
    }

    /// `command`
    fn lookup(&mut self) -> Done {
        let options = self.arguments.iter().map_while(|word| word.exactly().filter(|text| text.starts_with('-')));
        if options.take_while(|text| *text != "--").any(|text| text.contains(['v', 'V'])) {
            // It says what a name is, and runs nothing.
            return Ok(());
        }
        let Some(options) = self.options(&Grammar { flags: "p", ..Grammar::NONE }) else { return Ok(()) };
        self.resolve(options.rest, 0, false)
    }

    fn env(&mut self) -> Done {
        self.env_with(self.arguments, 0)
    }

    fn env_with(&mut self, words: &[Word], depth: usize) -> Done {
        let Some(options) = self.options_of(&ENV, words) else { return Ok(()) };
        for name in options.values(&["u", "unset"]) {
            self.finding.sets(name, name.exactly(), self.inside);
        }
        if options.has(&["S", "split-string"]) {
            let mut split = Vec::new();
            for given in &options.given {
                let (true, Some(value)) = (matches!(given.name.as_str(), "S" | "split-string"), &given.value) else {
                    continue;
                };
                match value.exactly().and_then(|text| split_string(text, value)) {
                    Some(words) => split.extend(words),
                    None => {
                        self.unknown(value, "the text that runs is not written out");
                        return Ok(());
                    }
                }
            }
            split.extend(options.rest.iter().cloned());
            if depth > 8 {
                self.unknown(self.name, "`env -S` in `env -S`");
                return Ok(());
            }
            return self.env_with(&split, depth + 1);
        }
        let mut rest = options.rest;
        if rest.first().and_then(Word::exactly) == Some("-") {
            rest = &rest[1..];
        }
        self.assignments(rest)
    }

    /// `NAME=value …` and then a command.
    fn assignments(&mut self, mut rest: &[Word]) -> Done {
        while let Some((first, others)) = rest.split_first() {
            if !first.known().contains('=') {
                break;
            }
            if !first.one {
                self.unknown(first, "may become several words, or none, before the command is named");
                return Ok(());
            }
            self.finding.declares(first, self.inside);
            rest = others;
        }
        self.finding.resolve(rest, self.inside)
    }

    fn xargs(&mut self) -> Done {
        let Some(options) = self.options(&XARGS) else { return Ok(()) };
        if options.rest.is_empty() {
            return Ok(());
        }
        let mark = options.given.iter().rev().find_map(|given| match given.name.as_str() {
            "I" => Some(given.value.as_ref().map_or("{}".to_owned(), |value| value.text.clone())),
            "i" | "replace" => Some(given.value.as_ref().map_or("{}".to_owned(), |value| value.text.clone())),
            _ => None,
        });
        let mut words: Vec<Word> = match &mark {
            Some(mark) if mark.contains(HOLE) || mark.is_empty() => {
                self.unknown(self.name, "what `xargs` replaces is not written out");
                return Ok(());
            }
            Some(mark) => options.rest.iter().map(|word| word.replaced(mark)).collect(),
            None => options.rest.to_vec(),
        };
        if mark.is_none() {
            words.push(Word::unknown(self.name.at));
        }
        self.finding.resolve(&words, self.inside.without_input())
    }

    fn find(&mut self) -> Done {
        let words = self.arguments;
        let mut next = 0;
        while let Some(word) = words.get(next) {
            next += 1;
            let Some(text) = word.exactly() else {
                let harmless = if word.one {
                    let before_plain = words.get(next).is_some_and(|after| {
                        !after.known().is_empty() && !after.known().starts_with(['-', '(', ')', '!', ',', '{', ';'])
                    });
                    !word.known().is_empty() && !word.known().starts_with('-')
                        || !(before_plain && ends(&words[next..]))
                } else {
                    word.glob && !could_be_action(word)
                };
                if !harmless {
                    self.unknown(word, "may become an action of `find`");
                }
                continue;
            };
            if !matches!(text, "-exec" | "-execdir" | "-ok" | "-okdir") {
                if TAKES_WORD.contains(&text) {
                    // Its value may look like an action.
                    let value = words.get(next);
                    if value.is_some_and(|value| value.one) {
                        next += 1;
                    }
                }
                continue;
            }
            let command = &words[next..];
            let end = command.iter().enumerate().position(|(at, word)| match word.exactly() {
                Some(";") => true,
                Some("+") => at > 0 && command[at - 1].exactly() == Some("{}"),
                _ => false,
            });
            let Some(end) = end else {
                if command.iter().any(|word| !word.exact) {
                    self.unknown(word, "an action of `find` whose end is not written out");
                }
                let replaced: Vec<Word> = command.iter().map(|word| word.replaced("{}")).collect();
                self.finding.resolve(&replaced, self.inside)?;
                return Ok(());
            };
            if let Some(hidden) = command[..end].iter().find(|word| !word.one && !word.glob) {
                // It could hold the end of the action, and the next one.
                let hidden = hidden.clone();
                self.unknown(&hidden, "may become an action of `find`");
            }
            let replaced: Vec<Word> = command[..end].iter().map(|word| word.replaced("{}")).collect();
            self.finding.resolve(&replaced, self.inside.without_input())?;
            next += end + 1;
        }
        Ok(())
    }

    fn git(&mut self) -> Done {
        let Some(options) = self.options(&GIT) else { return Ok(()) };
        for value in options.values(&["c"]) {
            let value = value.clone();
            self.git_setting(&value)?;
        }
        for value in options.values(&["config-env", "exec-path"]) {
            self.finding.unknown(value, "git takes what it runs from elsewhere", self.inside);
        }
        let Some((command, arguments)) = options.rest.split_first() else { return Ok(()) };
        let Some(command) = command.exactly() else {
            self.unknown(command, "which command of git runs is not written out");
            return Ok(());
        };
        let literal: Vec<&str> = arguments.iter().map(|word| word.exactly().unwrap_or_default()).collect();
        for (at, word) in arguments.iter().enumerate() {
            let text = word.text.as_str();
            let next = arguments.get(at + 1);
            for option in [
                "--upload-pack",
                "--receive-pack",
                "--exec",
                "--extcmd",
                "--open-files-in-pager",
                "--to-cmd",
                "--cc-cmd",
                "--smtp-server",
            ] {
                if let Some(value) = text.strip_prefix(option) {
                    match value.strip_prefix('=') {
                        Some(value) => self.git_text(word, value)?,
                        None if value.is_empty() => {
                            if let Some(next) = next {
                                self.finding.text(&[next], Reader::Sh, self.inside)?;
                            }
                        }
                        None => {}
                    }
                }
            }
            // Git takes abbreviations.
            let begun = text.split_once('=').map_or(text, |(name, _)| name);
            if begun.len() > 3
                && ["--upload-pack", "--receive-pack", "--extcmd"].iter().any(|o| o.starts_with(begun) && *o != begun)
            {
                self.unknown(word, "an option of git that may name a program");
            }
            let short = match command {
                "clone" | "ls-remote" | "fetch-pack" => "-u",
                "rebase" => "-x",
                "difftool" => "-x",
                "grep" => "-O",
                _ => "",
            };
            if !short.is_empty() && text.starts_with(short) && !text.starts_with("--") {
                match &text[2..] {
                    "" => {
                        if let Some(next) = next.filter(|_| short != "-O") {
                            self.finding.text(&[next], Reader::Sh, self.inside)?;
                        }
                    }
                    value => self.git_text(word, value)?,
                }
            }
            if command == "clone" && (text == "-c" || text == "--config") {
                if let Some(next) = next {
                    self.git_setting(next)?;
                }
            } else if command == "clone" && text.starts_with("--config=") {
                let value = Word { text: text["--config=".len()..].to_owned(), ..word.clone() };
                self.git_setting(&value)?;
            }
            if text.starts_with("ext::") || text.contains("://ext::") {
                self.unknown(word, "git runs what an `ext::` address says");
            }
        }
        match (command, literal.first().copied()) {
            ("bisect", Some("run")) => self.finding.resolve(&arguments[1..], self.inside)?,
            ("submodule", _) if literal.contains(&"foreach") => {
                let at = literal.iter().position(|word| *word == "foreach").unwrap_or_default();
                let mut words: Vec<&Word> = arguments[at + 1..].iter().collect();
                while words.first().and_then(|word| word.exactly()).is_some_and(|word| word.starts_with("--")) {
                    words.remove(0);
                }
                self.finding.text(&words, Reader::Sh, self.inside)?;
            }
            ("filter-branch", _) => self.unknown(self.name, "`git filter-branch` runs filters"),
            ("config", _) => {
                for pair in arguments.windows(2) {
                    if pair[0].exactly().is_some_and(runs_its_value) {
                        let value = Word { text: format!("{}={}", pair[0].text, pair[1].text), ..pair[1].clone() };
                        self.git_setting(&value)?;
                    } else if pair[0].exactly().is_none() {
                        self.unknown(&pair[0], "which setting of git is changed is not written out");
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A program or a text that git runs.
    fn git_text(&mut self, word: &Word, text: &str) -> Done {
        let value = Word {
            text: text.to_owned(),
            exact: word.exact,
            one: true,
            raw: Some(word.source().into()),
            at: word.at,
            ..Word::default()
        };
        self.finding.text(&[&value], Reader::Sh, self.inside)
    }

    /// `name=value` of git's configuration.
    fn git_setting(&mut self, word: &Word) -> Done {
        let Some((key, value)) = word.text.split_once('=').filter(|(key, _)| !key.contains(HOLE)) else {
            if !word.exact {
                self.unknown(word, "which setting of git is changed is not written out");
            }
            return Ok(());
        };
        if !runs_its_value(key) {
            return Ok(());
        }
        if key.to_ascii_lowercase().starts_with("alias.") {
            return match value.strip_prefix('!') {
                Some(text) => self.git_text(word, text),
                None if value.contains("-c") || value.contains("--") || value.contains(HOLE) => {
                    self.unknown(word, "an alias of git with options");
                    Ok(())
                }
                None => Ok(()),
            };
        }
        match value.strip_prefix('!').unwrap_or(value) {
            "" | "true" | "false" | "auto" | "always" | "never" => Ok(()),
            text => self.git_text(word, text),
        }
    }

    fn ssh(&mut self) -> Done {
        let Some(mut options) = self.options(&SSH) else { return Ok(()) };
        let Some((host, rest)) = options.rest.split_first() else { return Ok(()) };
        if !host.one {
            self.unknown(host, "may become several words, or none, before the command is named");
            return Ok(());
        }
        let Some(more) = self.options_of(&SSH, rest) else { return Ok(()) };
        options.given.extend(more.given);
        for value in options.values(&["o"]) {
            let value = value.clone();
            let split = value
                .text
                .trim_start()
                .split_once(['=', ' '])
                .map(|(name, text)| (name.trim().to_ascii_lowercase(), text));
            match split {
                Some((name, text))
                    if matches!(
                        name.as_str(),
                        "proxycommand" | "localcommand" | "knownhostscommand" | "remotecommand"
                    ) =>
                {
                    let text = text.trim_start_matches(['=', ' ']).to_owned();
                    self.git_text(&value, &text)?;
                }
                Some((name, _))
                    if matches!(
                        name.as_str(),
                        "include" | "pkcs11provider" | "securitykeyprovider" | "xauthlocation"
                    ) =>
                {
                    self.unknown(&value, "ssh takes what it runs from elsewhere");
                }
                Some((name, _)) if !name.contains(HOLE) => {}
                _ if value.exact => {}
                _ => self.unknown(&value, "which option of ssh is set is not written out"),
            }
        }
        for value in options.values(&["F", "I"]) {
            self.finding.unknown(value, "ssh takes what it runs from elsewhere", self.inside);
        }
        if more.rest.is_empty() {
            if options.has(&["N", "W", "O", "V", "Q", "G"]) {
                return Ok(());
            }
            return self.standard_input(Reader::Sh);
        }
        if options.has(&["s"]) {
            return Ok(());
        }
        let words: Vec<&Word> = more.rest.iter().collect();
        self.finding.text(&words, Reader::Sh, self.inside.without_input())
    }

    fn su(&mut self, grammar: &Grammar) -> Done {
        let Some(options) = self.options(grammar) else { return Ok(()) };
        for value in options.values(&["s", "shell"]) {
            let known = value.exactly().is_some_and(|shell| {
                let base = shell.rsplit_once('/').map_or(shell, |(_, base)| base);
                matches!(base, "sh" | "bash" | "dash")
            });
            if !known {
                self.finding.unknown(value, "a shell whose grammar is not read here", self.inside);
            }
        }
        let mut text = false;
        for value in options.values(&["c", "command", "session-command"]) {
            text = true;
            self.finding.text(&[value], Reader::Sh, self.inside)?;
        }
        let operands: Vec<&Word> = options.operands.iter().copied().chain(options.rest).collect();
        let mut operands = &operands[..];
        if operands.first().and_then(|word| word.exactly()) == Some("-") {
            operands = &operands[1..];
        }
        if operands.len() > 1 {
            // They go to the user's shell, behind the user's name.
            let arguments: Vec<Word> = operands[1..].iter().map(|word| (*word).clone()).collect();
            return self.shell_with(Reader::Sh, &arguments);
        }
        if text { Ok(()) } else { self.standard_input(Reader::Sh) }
    }

    fn runuser(&mut self) -> Done {
        // With `-u` it runs a command, whose own options are not read; else it is `su`.
        let direct = read(&Grammar { permutes: false, ..RUNUSER }, self.arguments);
        match direct {
            Ok(options) if options.has(&["u", "user"]) => self.finding.resolve(options.rest, self.inside),
            _ => self.su(&RUNUSER),
        }
    }

    fn sudo(&mut self) -> Done {
        let Some(options) = self.options(&SUDO) else { return Ok(()) };
        if options.has(&["e", "edit"]) {
            self.unknown(self.name, "an editor runs, which is not in view");
            return Ok(());
        }
        if options.rest.is_empty() {
            if options.has(&["s", "i", "shell", "login"]) {
                return self.standard_input(Reader::Sh);
            }
            return Ok(());
        }
        self.assignments(options.rest)
    }

    fn watch(&mut self) -> Done {
        let Some(options) = self.options(&WATCH) else { return Ok(()) };
        if options.has(&["x", "exec"]) {
            return self.finding.resolve(options.rest, self.inside);
        }
        let words: Vec<&Word> = options.rest.iter().collect();
        self.finding.text(&words, Reader::Sh, self.inside)
    }

    fn script(&mut self) -> Done {
        let dashes = self.arguments.iter().position(|word| word.exactly() == Some("--"));
        let Some(options) = self.options(&SCRIPT) else { return Ok(()) };
        let mut text = false;
        for value in options.values(&["c", "command"]) {
            text = true;
            self.finding.text(&[value], Reader::Sh, self.inside)?;
        }
        if dashes.is_some() && !options.rest.is_empty() {
            // `script file -- command`; and `script -- file`, where a file's name is taken for a command.
            let words: Vec<&Word> = options.rest.iter().collect();
            return self.finding.text(&words, Reader::Sh, self.inside);
        }
        if options.operands.len() > 1 {
            // BSD: script file command
            let words: Vec<Word> = options.operands[1..].iter().map(|word| (*word).clone()).collect();
            self.finding.resolve(&words, self.inside)?;
        }
        if text { Ok(()) } else { self.standard_input(Reader::Sh) }
    }

    fn flock(&mut self) -> Done {
        let Some(options) = self.options(&FLOCK) else { return Ok(()) };
        let Some((file, rest)) = options.rest.split_first() else { return Ok(()) };
        if !file.one {
            self.unknown(file, "may become several words, or none, before the command is named");
            return Ok(());
        }
        if rest.first().is_some_and(|word| matches!(word.exactly(), Some("-c" | "--command"))) {
            let words: Vec<&Word> = rest[1..].iter().collect();
            return self.finding.text(&words, Reader::Sh, self.inside);
        }
        self.finding.resolve(rest, self.inside)
    }

    fn parallel(&mut self) -> Done {
        let Some(options) = self.options(&PARALLEL) else { return Ok(()) };
        let separator = |word: &Word| word.exactly().is_some_and(|text| text.starts_with(":::"));
        let end = options.rest.iter().position(separator).unwrap_or(options.rest.len());
        let (command, inputs) = options.rest.split_at(end);
        if command.is_empty() {
            // Its inputs are the commands.
            if inputs.is_empty() || inputs.iter().any(|word| separator(word) && word.text.starts_with("::::")) {
                self.unknown(self.name, "`parallel` runs lines that are not in view");
            }
            for word in inputs.iter().filter(|word| !separator(word)) {
                self.finding.text(&[word], Reader::Sh, self.inside)?;
            }
            return Ok(());
        }
        let words: Vec<Word> = command
            .iter()
            .map(|word| if word.text.contains('{') { word.replaced("{") } else { word.clone() })
            .collect();
        if words[0].exact && words.iter().any(|word| word.text.contains(HOLE)) {
            // Inputs are quoted where they stand as arguments; in a text they would be code.
            let plain = words[0].text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./+-".contains(&byte));
            if plain {
                return self.finding.resolve(&words, self.inside.without_input());
            }
        }
        let words: Vec<&Word> = words.iter().collect();
        self.finding.text(&words, Reader::Sh, self.inside.without_input())
    }

    fn systemd_run(&mut self) -> Done {
        let Some(options) = self.options(&SYSTEMD_RUN) else { return Ok(()) };
        for value in options.values(&["E", "setenv"]) {
            self.finding.declares(value, self.inside);
        }
        for value in options.values(&["p", "property", "path-property", "socket-property", "timer-property"]) {
            if value.known().is_empty() || value.known().starts_with("Exec") || value.known().starts_with("Env") {
                self.finding.unknown(value, "a property of a unit that may run a command", self.inside);
            }
        }
        if options.has(&["S", "shell"]) {
            return self.standard_input(Reader::Sh);
        }
        self.finding.resolve(options.rest, self.inside)
    }

    fn strace(&mut self) -> Done {
        let Some(options) = self.options(&STRACE) else { return Ok(()) };
        for value in options.values(&["E", "env"]) {
            self.finding.declares(value, self.inside);
        }
        for value in options.values(&["o", "output"]) {
            if value.known().is_empty() || value.known().starts_with(['|', '!']) {
                self.finding.unknown(value, "strace may write to a command", self.inside);
            }
        }
        self.finding.resolve(options.rest, self.inside)
    }

    fn nice(&mut self) -> Done {
        // `nice -10`, `nice --10`: the old forms of `-n`.
        let old = |word: &Word| {
            word.exactly().is_some_and(|text| {
                let number =
                    text.strip_prefix("--").or_else(|| text.strip_prefix("-+")).or_else(|| text.strip_prefix('-'));
                number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
            })
        };
        let mut words = self.arguments;
        while words.first().is_some_and(old) {
            words = &words[1..];
        }
        let Some(options) = self.options_of(&NICE, words) else { return Ok(()) };
        self.command(options.rest, 0)
    }

    fn declare(&mut self, base: &str) -> Done {
        let context = self.outside;
        let mut reference = false;
        self.finding.evaluates |= base != "export";
        for word in self.arguments {
            if word.exactly().is_some_and(|text| text.starts_with(['-', '+']) && text != "--") {
                reference |= word.text.contains('n') && base != "export" && base != "readonly";
                continue;
            }
            if word.exactly() == Some("--") {
                continue;
            }
            self.finding.declares(word, context);
            if reference {
                match word.text.split_once('=') {
                    Some((_, name)) if !name.contains(HOLE) => {
                        let target = Word { text: name.to_owned(), ..word.clone() };
                        self.finding.declares(&target, context);
                    }
                    Some(_) => self.finding.unknown(word, "sets a variable whose name is not written out", context),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// A builtin that sets the variables that its operands name.
    fn names(&mut self, grammar: &Grammar, skip: usize) -> Done {
        self.finding.evaluates = true;
        let Some(options) = self.options(grammar) else { return Ok(()) };
        for value in options.values(&["a"]) {
            self.finding.declares(value, self.outside);
        }
        for word in options.rest.iter().skip(skip) {
            self.finding.declares(word, self.outside);
            if skip > 0 {
                break;
            }
        }
        Ok(())
    }

    fn mapfile(&mut self) -> Done {
        self.finding.evaluates = true;
        let Some(options) = self.options(&MAPFILE) else { return Ok(()) };
        for value in options.values(&["C"]) {
            let context = self.shell_context(true);
            self.finding.text(&[value], Reader::Here, context)?;
        }
        for word in options.rest {
            self.finding.declares(word, self.outside);
        }
        Ok(())
    }

    fn printf(&mut self) -> Done {
        match self.arguments.first() {
            Some(first) if first.known() == "-v" && first.exact => {
                self.finding.evaluates = true;
                if let Some(name) = self.arguments.get(1) {
                    self.finding.declares(name, self.outside);
                }
            }
            Some(first) if first.text.starts_with("-v") => {
                self.finding.evaluates = true;
                let name = Word { text: first.text[2..].to_owned(), ..first.clone() };
                self.finding.declares(&name, self.outside);
            }
            Some(first) if !first.one && first.known().is_empty() && !first.glob => {
                self.finding.unknown(first, "may become an option that sets a variable", self.outside);
            }
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self) -> Done {
        for pair in self.arguments.windows(2) {
            if pair[0].exactly() == Some("-p") {
                self.finding.declares(&pair[1], self.outside);
            }
        }
        Ok(())
    }

    fn unset(&mut self) -> Done {
        self.finding.evaluates = true;
        for word in self.arguments {
            self.finding.undefines(word.exactly());
            if word.exactly() == Some("PATH") {
                self.finding.sets(word, Some("PATH"), self.outside);
            }
        }
        Ok(())
    }

    fn set(&mut self) -> Done {
        for word in self.arguments {
            match word.exactly() {
                Some("-" | "--") => break,
                Some("keyword" | "history" | "histexpand" | "extdebug") => {
                    self.unknown(word, "a setting that changes how the script is read");
                }
                Some(text) if text.starts_with('-') && text.contains(['k', 'H']) && !text.starts_with("--") => {
                    self.unknown(word, "a setting that changes how the script is read");
                }
                None if word.known().is_empty() => {
                    self.unknown(word, "a setting that may change how the script is read");
                }
                None if word.known().starts_with('-') => {
                    self.unknown(word, "a setting that may change how the script is read");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn hash(&mut self) -> Done {
        let Some(options) = self.options(&Grammar { flags: "rdtlv", values: "p", ..Grammar::NONE }) else {
            return Ok(());
        };
        for value in options.values(&["p"]) {
            match value.exactly() {
                Some(name) => self.finding.runs(name, value, self.inside),
                None => self.finding.unknown(value, "the name of the command is not written out", self.inside),
            }
            for name in options.rest {
                self.finding.unknown(name, "runs another program under this name", self.inside);
            }
        }
        Ok(())
    }

    fn enable(&mut self) -> Done {
        for word in self.arguments {
            if word.exactly().is_none_or(|text| text.starts_with('-') && text.contains('f')) {
                self.unknown(word, "loads code into the shell");
            }
        }
        Ok(())
    }

    fn jobs(&mut self) -> Done {
        match self.arguments.iter().position(|word| !word.exact || word.text.starts_with("-x")) {
            Some(at) if self.arguments[at].exact => self.resolve(&self.arguments[at + 1..], 0, true),
            Some(at) => {
                self.unknown(&self.arguments[at], "may become an option that runs a command");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn complete(&mut self) -> Done {
        for (at, word) in self.arguments.iter().enumerate() {
            let text = word.text.as_str();
            if text.starts_with('-') && text.contains(['C', 'W', 'x', 'f', 'F']) || !word.exact {
                let value = self.arguments.get(at + 1).unwrap_or(word);
                self.unknown(value, "runs what its arguments say");
                if text == "-C" {
                    self.finding.text(&[value], Reader::Here, self.inside)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether one of the words ends an action of `find`.
fn ends(words: &[Word]) -> bool {
    words.iter().any(|word| matches!(word.exactly(), Some(";" | "+")) || !word.exact)
}

/// Whether a pattern may match the name of an action.
fn could_be_action(word: &Word) -> bool {
    let source = word.source();
    source.contains(['\'', '"', '\\', '$', '`']) || source.chars().all(|letter| "-execdirok*?[]!^".contains(letter))
}

/// The words of `env -S`, where they are plain.
fn split_string(text: &str, word: &Word) -> Option<Vec<Word>> {
    if text.contains(['\\', '$', '#']) {
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
    let word = |text: String| Word { raw: Some(word.source().into()), ..Word::literal(text, word.at) };
    quote.is_none().then(|| words.into_iter().map(word).collect())
}

/// Settings of git whose value is a program, a text that runs, or a place to take them from.
fn runs_its_value(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let last = key.rsplit_once('.').map_or(key.as_str(), |(_, last)| last);
    key.starts_with("alias.")
        || key.starts_with("pager.")
        || key.starts_with("includeif.")
        || matches!(
            last,
            "sshcommand"
                | "editor"
                | "pager"
                | "fsmonitor"
                | "hookspath"
                | "askpass"
                | "gitproxy"
                | "cmd"
                | "command"
                | "helper"
                | "program"
                | "external"
                | "textconv"
                | "driver"
                | "clean"
                | "smudge"
                | "process"
                | "uploadpack"
                | "receivepack"
                | "upload-pack"
                | "packobjectshook"
                | "alternaterefscommand"
                | "sequenceeditor"
                | "path"
                | "browser"
                | "cccmd"
                | "tocmd"
                | "smtpserver"
                | "diffilter"
                | "difffilter"
                | "vcs"
                | "attributesfile"
                | "template"
                | "templatedir"
                | "proxy"
        )
}

/// Long options of bash, and whether each takes the next word.
const SHELL_LONG: &[(&str, bool)] = &[
    ("debug", false),
    ("debugger", false),
    ("dump-po-strings", false),
    ("dump-strings", false),
    ("help", false),
    ("init-file", true),
    ("login", false),
    ("noediting", false),
    ("noprofile", false),
    ("norc", false),
    ("posix", false),
    ("pretty-print", false),
    ("protected", false),
    ("rcfile", true),
    ("restricted", false),
    ("verbose", false),
    ("version", false),
];

/// What reads lines of standard input, or changes what that is.
const EATERS: &[&str] = &["exec", "read", "mapfile", "head", "dd ", "sed "];

/// What takes the next word in `find`.
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

const EXEC: Grammar = Grammar { flags: "cl", values: "a", ..Grammar::NONE };
const PKEXEC: Grammar =
    Grammar { long: &[("user", Value), ("disable-internal-agent", Nothing), ("keep-cwd", Nothing)], ..Grammar::NONE };
const ENV: Grammar = Grammar {
    flags: "i0v",
    values: "uCSa",
    long: &[
        ("argv0", Value),
        ("block-signal", Optional),
        ("chdir", Value),
        ("debug", Nothing),
        ("default-signal", Optional),
        ("ignore-environment", Nothing),
        ("ignore-signal", Optional),
        ("list-signal-handling", Nothing),
        ("null", Nothing),
        ("split-string", Value),
        ("unset", Value),
    ],
    ..Grammar::NONE
};
const TIME: Grammar = Grammar {
    flags: "pvaqlhV",
    values: "of",
    long: &[
        ("append", Nothing),
        ("format", Value),
        ("output", Value),
        ("portability", Nothing),
        ("quiet", Nothing),
        ("verbose", Nothing),
    ],
    ..Grammar::NONE
};
const TIMEOUT: Grammar = Grammar {
    flags: "vfp",
    values: "ks",
    long: &[
        ("foreground", Nothing),
        ("kill-after", Value),
        ("preserve-status", Nothing),
        ("signal", Value),
        ("verbose", Nothing),
    ],
    ..Grammar::NONE
};
const NICE: Grammar = Grammar { values: "n", long: &[("adjustment", Value)], ..Grammar::NONE };
const IONICE: Grammar = Grammar {
    flags: "t",
    values: "cnpPu",
    long: &[
        ("class", Value),
        ("classdata", Value),
        ("ignore", Nothing),
        ("pgid", Value),
        ("pid", Value),
        ("uid", Value),
    ],
    ..Grammar::NONE
};
const SETSID: Grammar =
    Grammar { flags: "cfw", long: &[("ctty", Nothing), ("fork", Nothing), ("wait", Nothing)], ..Grammar::NONE };
const STDBUF: Grammar =
    Grammar { values: "ioe", long: &[("error", Value), ("input", Value), ("output", Value)], ..Grammar::NONE };
const CHROOT: Grammar =
    Grammar { long: &[("groups", Value), ("skip-chdir", Nothing), ("userspec", Value)], ..Grammar::NONE };
const UNSHARE: Grammar = Grammar {
    flags: "muinpCUTrcfh",
    values: "RwSGl",
    long: &[
        ("boottime", Value),
        ("cgroup", Optional),
        ("fork", Nothing),
        ("ipc", Optional),
        ("keep-caps", Nothing),
        ("kill-child", Optional),
        ("load-interp", Value),
        ("map-auto", Nothing),
        ("map-current-user", Nothing),
        ("map-group", Value),
        ("map-groups", Value),
        ("map-root-user", Nothing),
        ("map-user", Value),
        ("map-users", Value),
        ("monotonic", Value),
        ("mount", Optional),
        ("mount-proc", Optional),
        ("net", Optional),
        ("pid", Optional),
        ("propagation", Value),
        ("root", Value),
        ("setgid", Value),
        ("setgroups", Value),
        ("setuid", Value),
        ("time", Optional),
        ("user", Optional),
        ("uts", Optional),
        ("wd", Value),
    ],
    ..Grammar::NONE
};
const NSENTER: Grammar = Grammar {
    flags: "aFeZc",
    values: "tSG",
    optional: "muinpCUTrwW",
    long: &[
        ("all", Nothing),
        ("cgroup", Optional),
        ("env", Nothing),
        ("follow-context", Nothing),
        ("ipc", Optional),
        ("mount", Optional),
        ("net", Optional),
        ("no-fork", Nothing),
        ("pid", Optional),
        ("preserve-credentials", Nothing),
        ("root", Optional),
        ("setgid", Value),
        ("setuid", Value),
        ("target", Value),
        ("time", Optional),
        ("user", Optional),
        ("uts", Optional),
        ("wd", Optional),
        ("wdns", Optional),
    ],
    ..Grammar::NONE
};
const SETARCH: Grammar = Grammar {
    flags: "BFILRSTXZv3",
    long: &[
        ("3gb", Nothing),
        ("4gb", Nothing),
        ("32bit", Nothing),
        ("addr-compat-layout", Nothing),
        ("addr-no-randomize", Nothing),
        ("fdpic-funcptrs", Nothing),
        ("mmap-page-zero", Nothing),
        ("read-implies-exec", Nothing),
        ("short-inode", Nothing),
        ("sticky-timeouts", Nothing),
        ("uname-2.6", Nothing),
        ("verbose", Nothing),
        ("whole-seconds", Nothing),
    ],
    ..Grammar::NONE
};
const SETPRIV: Grammar = Grammar {
    flags: "d",
    long: &[
        ("ambient-caps", Value),
        ("apparmor-profile", Value),
        ("bounding-set", Value),
        ("clear-groups", Nothing),
        ("egid", Value),
        ("euid", Value),
        ("groups", Value),
        ("inh-caps", Value),
        ("init-groups", Nothing),
        ("keep-groups", Nothing),
        ("no-new-privs", Nothing),
        ("nnp", Nothing),
        ("pdeathsig", Value),
        ("regid", Value),
        ("reset-env", Nothing),
        ("reuid", Value),
        ("rgid", Value),
        ("ruid", Value),
        ("securebits", Value),
        ("selinux-label", Value),
    ],
    ..Grammar::NONE
};
const TASKSET: Grammar =
    Grammar { flags: "apc", long: &[("all-tasks", Nothing), ("cpu-list", Nothing), ("pid", Nothing)], ..Grammar::NONE };
const CHRT: Grammar = Grammar {
    flags: "abdfGimoprRvR",
    values: "TPD",
    long: &[
        ("all-tasks", Nothing),
        ("batch", Nothing),
        ("deadline", Nothing),
        ("fifo", Nothing),
        ("idle", Nothing),
        ("other", Nothing),
        ("reset-on-fork", Nothing),
        ("rr", Nothing),
        ("sched-deadline", Value),
        ("sched-period", Value),
        ("sched-runtime", Value),
        ("verbose", Nothing),
    ],
    ..Grammar::NONE
};
const PRLIMIT: Grammar = Grammar {
    values: "op",
    optional: "cdefilmnqrstuvxy",
    long: &[
        ("as", Optional),
        ("core", Optional),
        ("cpu", Optional),
        ("data", Optional),
        ("fsize", Optional),
        ("memlock", Optional),
        ("nofile", Optional),
        ("noheadings", Nothing),
        ("nproc", Optional),
        ("output", Value),
        ("pid", Value),
        ("raw", Nothing),
        ("rss", Optional),
        ("stack", Optional),
    ],
    ..Grammar::NONE
};
const XARGS: Grammar = Grammar {
    flags: "0oprtx",
    values: "adEILnPs",
    optional: "eil",
    long: &[
        ("arg-file", Value),
        ("delimiter", Value),
        ("eof", Optional),
        ("exit", Nothing),
        ("interactive", Nothing),
        ("max-args", Value),
        ("max-chars", Value),
        ("max-lines", Optional),
        ("max-procs", Value),
        ("no-run-if-empty", Nothing),
        ("null", Nothing),
        ("open-tty", Nothing),
        ("process-slot-var", Value),
        ("replace", Optional),
        ("show-limits", Nothing),
        ("verbose", Nothing),
    ],
    ..Grammar::NONE
};
const GIT: Grammar = Grammar {
    flags: "pPvh",
    values: "Cc",
    long: &[
        ("attr-source", Value),
        ("bare", Nothing),
        ("config-env", Value),
        ("exec-path", Optional),
        ("git-dir", Value),
        ("glob-pathspecs", Nothing),
        ("html-path", Nothing),
        ("icase-pathspecs", Nothing),
        ("info-path", Nothing),
        ("list-cmds", Optional),
        ("literal-pathspecs", Nothing),
        ("man-path", Nothing),
        ("namespace", Value),
        ("no-advice", Nothing),
        ("no-lazy-fetch", Nothing),
        ("no-optional-locks", Nothing),
        ("no-pager", Nothing),
        ("no-replace-objects", Nothing),
        ("noglob-pathspecs", Nothing),
        ("paginate", Nothing),
        ("super-prefix", Value),
        ("work-tree", Value),
    ],
    ..Grammar::NONE
};
const SSH: Grammar = Grammar { flags: "46AaCfGgKkMNnqsTtVvXxYy", values: "BbcDEeFIiJLlmOopQRSWwP", ..Grammar::NONE };
const SU: Grammar = Grammar {
    flags: "flmpPTh",
    values: "cgGsw",
    long: &[
        ("command", Value),
        ("fast", Nothing),
        ("group", Value),
        ("login", Nothing),
        ("no-pty", Nothing),
        ("preserve-environment", Nothing),
        ("pty", Nothing),
        ("session-command", Value),
        ("shell", Value),
        ("supp-group", Value),
        ("whitelist-environment", Value),
    ],
    permutes: true,
    ..Grammar::NONE
};
const RUNUSER: Grammar = Grammar {
    flags: "flmpPTh",
    values: "cgGsuw",
    long: &[
        ("command", Value),
        ("fast", Nothing),
        ("group", Value),
        ("login", Nothing),
        ("no-pty", Nothing),
        ("preserve-environment", Nothing),
        ("pty", Nothing),
        ("session-command", Value),
        ("shell", Value),
        ("supp-group", Value),
        ("user", Value),
        ("whitelist-environment", Value),
    ],
    permutes: true,
    ..Grammar::NONE
};
const SUDO: Grammar = Grammar {
    flags: "AbBEeHiKklNnPSsVv",
    values: "aCcDghpRrTtUu",
    long: &[
        ("askpass", Nothing),
        ("auth-type", Value),
        ("background", Nothing),
        ("bell", Nothing),
        ("chdir", Value),
        ("chroot", Value),
        ("close-from", Value),
        ("command-timeout", Value),
        ("edit", Nothing),
        ("group", Value),
        ("host", Value),
        ("list", Nothing),
        ("login", Nothing),
        ("login-class", Value),
        ("no-update", Nothing),
        ("non-interactive", Nothing),
        ("other-user", Value),
        ("preserve-env", Optional),
        ("preserve-groups", Nothing),
        ("prompt", Value),
        ("remove-timestamp", Nothing),
        ("reset-timestamp", Nothing),
        ("role", Value),
        ("set-home", Nothing),
        ("shell", Nothing),
        ("stdin", Nothing),
        ("type", Value),
        ("user", Value),
        ("validate", Nothing),
    ],
    ..Grammar::NONE
};
const DOAS: Grammar = Grammar { flags: "Lns", values: "aCu", ..Grammar::NONE };
const WATCH: Grammar = Grammar {
    flags: "bcegptwxrCh",
    values: "nqs",
    optional: "d",
    long: &[
        ("beep", Nothing),
        ("chgexit", Nothing),
        ("color", Nothing),
        ("differences", Optional),
        ("equexit", Value),
        ("errexit", Nothing),
        ("exec", Nothing),
        ("interval", Value),
        ("no-color", Nothing),
        ("no-rerun", Nothing),
        ("no-title", Nothing),
        ("no-wrap", Nothing),
        ("precise", Nothing),
        ("shotsdir", Value),
    ],
    ..Grammar::NONE
};
const SCRIPT: Grammar = Grammar {
    flags: "aefqh",
    values: "BcEIOTmo",
    optional: "t",
    long: &[
        ("append", Nothing),
        ("command", Value),
        ("echo", Value),
        ("flush", Nothing),
        ("force", Nothing),
        ("log-in", Value),
        ("log-io", Value),
        ("log-out", Value),
        ("log-timing", Value),
        ("logging-format", Value),
        ("output-limit", Value),
        ("quiet", Nothing),
        ("return", Nothing),
        ("timing", Optional),
    ],
    permutes: true,
};
const FLOCK: Grammar = Grammar {
    flags: "sxeunoFvh",
    values: "wE",
    long: &[
        ("close", Nothing),
        ("conflict-exit-code", Value),
        ("exclusive", Nothing),
        ("fcntl", Nothing),
        ("nb", Nothing),
        ("no-fork", Nothing),
        ("nonblock", Nothing),
        ("nonblocking", Nothing),
        ("shared", Nothing),
        ("timeout", Value),
        ("unlock", Nothing),
        ("verbose", Nothing),
        ("wait", Value),
    ],
    ..Grammar::NONE
};
const PARALLEL: Grammar = Grammar {
    flags: "0kmXqtuv",
    values: "aCIjLnNPs",
    long: &[
        ("arg-file", Value),
        ("bar", Nothing),
        ("block", Value),
        ("colsep", Value),
        ("delay", Value),
        ("dry-run", Nothing),
        ("eta", Nothing),
        ("group", Nothing),
        ("halt", Value),
        ("jobs", Value),
        ("joblog", Value),
        ("keep-order", Nothing),
        ("line-buffer", Nothing),
        ("load", Value),
        ("max-args", Value),
        ("max-procs", Value),
        ("no-notice", Nothing),
        ("no-run-if-empty", Nothing),
        ("null", Nothing),
        ("pipe", Nothing),
        ("progress", Nothing),
        ("quote", Nothing),
        ("results", Value),
        ("resume", Nothing),
        ("retries", Value),
        ("tag", Nothing),
        ("timeout", Value),
        ("ungroup", Nothing),
        ("verbose", Nothing),
        ("will-cite", Nothing),
        ("xargs", Nothing),
    ],
    ..Grammar::NONE
};
const SYSTEMD_RUN: Grammar = Grammar {
    flags: "rPqGdSth",
    values: "HMEpu",
    long: &[
        ("collect", Nothing),
        ("description", Value),
        ("expand-environment", Value),
        ("gid", Value),
        ("host", Value),
        ("machine", Value),
        ("nice", Value),
        ("no-ask-password", Nothing),
        ("no-block", Nothing),
        ("on-active", Value),
        ("on-boot", Value),
        ("on-calendar", Value),
        ("on-clock-change", Nothing),
        ("on-startup", Value),
        ("on-timezone-change", Nothing),
        ("on-unit-active", Value),
        ("on-unit-inactive", Value),
        ("path-property", Value),
        ("pipe", Nothing),
        ("property", Value),
        ("pty", Nothing),
        ("quiet", Nothing),
        ("remain-after-exit", Nothing),
        ("same-dir", Nothing),
        ("scope", Nothing),
        ("send-sighup", Nothing),
        ("service-type", Value),
        ("setenv", Value),
        ("shell", Nothing),
        ("slice", Value),
        ("slice-inherit", Nothing),
        ("socket-property", Value),
        ("system", Nothing),
        ("timer-property", Value),
        ("uid", Value),
        ("unit", Value),
        ("user", Nothing),
        ("wait", Nothing),
        ("working-directory", Value),
    ],
    ..Grammar::NONE
};
const STRACE: Grammar = Grammar {
    flags: "cCdDfFhiknqrtTvVwxyYzZ",
    values: "abeEIoOpPsSuUX",
    long: &[
        ("columns", Value),
        ("env", Value),
        ("follow-forks", Nothing),
        ("no-abbrev", Nothing),
        ("output", Value),
        ("output-append-mode", Nothing),
        ("quiet", Optional),
        ("string-limit", Value),
        ("summary-only", Nothing),
        ("trace", Value),
        ("user", Value),
    ],
    ..Grammar::NONE
};
const READ: Grammar = Grammar { flags: "ers", values: "adinNptu", ..Grammar::NONE };
const MAPFILE: Grammar = Grammar { flags: "t", values: "dnOsuCc", ..Grammar::NONE };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(NAMES.is_sorted());
    }
}
