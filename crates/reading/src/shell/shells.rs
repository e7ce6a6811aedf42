//! Shells that receive a script as a text, as a file or on standard input.

use crate::{
    ByteOrigin, CHANGES_READING, Done, FoundKind, LOGIN, READING, TextReader, UNKNOWN_OPTION,
    UnknownReason, Word, WrapperCall, base_name,
    shell::{script_walk::SHELL_ARGUMENT, syntax},
};

impl<'a> WrapperCall<'_, '_, 'a> {
    /// Reads the commands that a shell takes from standard input.
    pub fn standard_input(&mut self, reader: TextReader) -> Done {
        let Some(body) = self.inside.input else {
            return self.unknown_rest(
                self.name,
                UnknownReason::programs(
                    "a shell runs commands from its standard input, which are not in the script: write the \
                     commands after `-c`, or in a here-document",
                ),
            );
        };
        let before = self.finding.found.len();
        self.finding.text(&[body], reader, self.inside)?;
        if body.text.trim_end_matches('\n').contains('\n')
            && !self.read_as_a_whole(body, reader, before)
        {
            self.unknown(
                self.name,
                UnknownReason::programs(
                    "a command may read a part of the script from standard input: use `-c '...'`, or give the \
                     command `</dev/null`",
                ),
            );
        }
        Ok(())
    }

    /// Returns true if a shell that reads `body` line by line runs only the commands that the walk found since
    /// `before`. The result is true if no command in the body reads standard input, or if the commands read only whole
    /// lines and each line is a complete script.
    fn read_as_a_whole(&mut self, body: &Word, reader: TextReader, before: usize) -> bool {
        let (mut nothing, mut lines) = (
            !body.text.contains("select") && !body.text.contains("\\\n"),
            true,
        );
        for raw in &self.finding.found[before..] {
            let name = match &raw.what {
                FoundKind::Command(name) => base_name(name),
                FoundKind::Setting(_) | FoundKind::HarmlessSetting(_) => continue,
                FoundKind::Function(_) | FoundKind::Unknown(_) => "",
            };
            nothing &= READS_NOTHING.contains(&name);
            lines &= !READS_BYTES.contains(&name);
        }
        let alone = |line: &str| {
            reader.dialects(self.inside.dialect).iter().all(|dialect| {
                syntax::parse(line, *dialect, ByteOrigin::Fixed(body.at), 0)
                    .flaw
                    .is_none()
            })
        };
        nothing || lines && body.exact && body.text.lines().all(alone)
    }

    /// Reads a call of a shell with its arguments.
    pub fn shell(&mut self, reader: TextReader) -> Done {
        let words = self.arguments;
        let (mut command, mut input) = (false, false);
        let mut next = 0;
        let mut long = true;
        while let Some(word) = words.get(next) {
            if !word.exact {
                if !word.one || word.known().is_empty() || word.known().starts_with(['-', '+']) {
                    return self.unknown_rest(word, SHELL_ARGUMENT);
                }
                break;
            }
            let text = word.text.as_str();
            // A lone `+` is an option without letters.
            if !text.starts_with(['-', '+']) {
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
                if name == "login" {
                    self.unknown(word, LOGIN);
                }
                if matches!(name, "rcfile" | "init-file") {
                    self.unknown(
                        word,
                        "a shell first runs a file that is not in the script: leave the option out",
                    );
                }
                continue;
            }
            if text.starts_with("--") {
                return self.unknown_rest(word, UNKNOWN_OPTION);
            }
            long = false;
            for letter in text[1..].chars() {
                match letter {
                    'c' => command = true,
                    's' => input = true,
                    'o' | 'O' => {
                        if words.get(next).is_some_and(|word| !word.one) {
                            return self.unknown_rest(&words[next], SHELL_ARGUMENT);
                        }
                        let reads = |word: &&Word| word.exactly().is_none_or(|name| CHANGES_READING.contains(&name));
                        if let Some(value) = words.get(next).filter(reads) {
                            self.unknown(value, READING);
                        }
                        next += 1;
                    }
                    'k' | 'H' => self.unknown(word, READING),
                    'l' => self.unknown(word, LOGIN),
                    'i' => self.unknown(
                        word,
                        "an interactive shell runs start-up files, and expands its history: leave `-i` out",
                    ),
                    _ => {}
                }
            }
        }
        let rest = &words[next.min(words.len())..];
        if command {
            match rest.first() {
                Some(text) => self.finding.text(&[text], reader, self.inside)?,
                None => {
                    self.unknown(
                        self.name,
                        "a shell runs a text that is not in the script: write the text after `-c`",
                    );
                }
            }
        } else if let Some(file) = rest.first().filter(|_| !input) {
            return self.unknown_rest(
                file,
                UnknownReason::programs(
                    "a shell runs a file that is not in the script: put its commands into this script, or make the \
                     file executable and call it by its path",
                ),
            );
        }
        if !command || input {
            self.standard_input(reader)?;
        }
        Ok(())
    }
}

/// Long options of bash, each with true if the option takes the next word.
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

/// Commands that do not read standard input.
const READS_NOTHING: &[&str] = &[
    ":", "[", "[[", "basename", "break", "cd", "chmod", "chown", "continue", "date", "declare",
    "dirname", "echo", "exit", "export", "false", "hostname", "id", "local", "ls", "mkdir",
    "printf", "pwd", "readlink", "readonly", "realpath", "return", "rmdir", "set", "shift",
    "sleep", "test", "touch", "true", "type", "ulimit", "umask", "uname", "unset", "wait", "which",
    "whoami",
];

/// Commands that may read a part of a line, or replace standard input.
const READS_BYTES: &[&str] = &[
    "",
    "dd",
    "exec",
    "head",
    "mapfile",
    "od",
    "read",
    "readarray",
    "tail",
    "xxd",
];
