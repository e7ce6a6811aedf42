//! Shells that get a text, a file, or standard input.

use crate::shell::finding::Reader;
use crate::shell::syntax::Word;
use crate::shell::wrappers::{Call, Done};

impl<'a> Call<'_, '_, 'a> {
    /// A shell reads its commands from standard input.
    pub(super) fn standard_input(&mut self, reader: Reader) -> Done {
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
    pub(super) fn shell(&mut self, reader: Reader) -> Done {
        self.shell_with(reader, self.arguments)
    }

    pub(super) fn shell_with(&mut self, reader: Reader, words: &[Word]) -> Done {
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
}

/// Long options of bash, and whether each takes the next word.
pub(super) const SHELL_LONG: &[(&str, bool)] = &[
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
pub(super) const EATERS: &[&str] = &["exec", "read", "mapfile", "head", "dd ", "sed "];
