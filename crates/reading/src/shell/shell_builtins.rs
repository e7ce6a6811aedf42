//! Builtins that run texts or commands, or that set variables.

use crate::{
    CHANGES_READING, Done, HOLE, LOGIN, NO_TEXT, NOT_NAMED, OptionGrammar, READING, TextReader,
    UnknownReason, Word, WordPart, WrapperCall, base_name, is_known,
    shell::{
        expansions::evaluates,
        grammars::{EXEC, MAPFILE, RESERVED},
        script_walk::MAY_BE_READING,
        settings,
        words::INDEX,
    },
};

/// Returns true if `text` is the number of a signal. The highest signal number is 64 (signal(7)).
fn is_signal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|number| number <= 64)
}

/// Returns true if the name of the variable is completely known and has no index, so that the shell evaluates nothing
/// to find the variable.
fn is_plain(name: &Word) -> bool {
    !name.text.contains(['[', HOLE])
}

/// Returns the word with another text.
fn with_text(word: &Word, text: &str) -> Word {
    Word {
        text: text.to_owned(),
        ..word.clone()
    }
}

impl<'a> WrapperCall<'_, '_, 'a> {
    pub fn eval(&mut self) -> Done {
        let mut words: Vec<&Word> = self.arguments.iter().collect();
        if words
            .first()
            .is_some_and(|word| word.exactly() == Some("--"))
        {
            words.remove(0);
        }
        let context = self.shell_context();
        self.finding.text(&words, TextReader::Here, context)
    }

    pub fn source(&mut self) -> Done {
        self.unknown(
            self.arguments.first().unwrap_or(self.name),
            UnknownReason::programs(
                "this command runs the commands of another file: put these commands into this script",
            ),
        );
        self.finding.undefines(None);
        Ok(())
    }

    pub fn trap(&mut self) -> Done {
        let mut words = self.arguments;
        match words.first().and_then(Word::exactly) {
            Some("--") => words = &words[1..],
            Some("-l" | "-p" | "-P") => return Ok(()),
            _ => {}
        }
        let Some((action, signals)) = words.split_first() else {
            return Ok(());
        };
        if !action.one {
            return self.unknown_rest(action, NO_TEXT);
        }
        let resets = match action.exactly() {
            Some("" | "-") => true,
            Some(text) => signals.is_empty() || is_signal(text),
            None => false,
        };
        if resets {
            return Ok(());
        }
        let context = self.shell_context();
        self.finding.text(&[action], TextReader::Here, context)
    }

    pub fn alias(&mut self) -> Done {
        self.finding.moves = true;
        for word in self.arguments {
            // In dash, `alias -x=rm` defines an alias with the name `-x`.
            if word.exactly().is_some_and(|text| !text.contains('=')) {
                continue;
            }
            let Some((_, value)) = word.exactly().and_then(|text| text.split_once('=')) else {
                self.unknown(
                    word,
                    UnknownReason::programs(
                        "an alias is not literal text: define a function instead",
                    ),
                );
                self.finding.undefines(None);
                continue;
            };
            let name = word.text.split_once('=').map_or("", |(name, _)| name);
            // The alias replaces a function with this name.
            self.finding.undefines(Some(name));
            let plain_name = name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
                && !RESERVED.contains(&name);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _./:,+@%-=".contains(&byte);
            let first = value.split(' ').next().unwrap_or_default();

            let simple = value.bytes().all(plain)
                && plain_name
                && !value.ends_with(' ')
                && !first.contains('=')
                && !is_known(base_name(first))
                && !RESERVED.contains(&first)
                && !matches!(first, "" | "in");
            if !simple {
                self.unknown(
                    word,
                    UnknownReason::programs(
                        "an alias contains more than a command and its arguments: define a function instead",
                    ),
                );
            }
            let value = Word {
                raw: word.raw.clone(),
                ..Word::literal(value, word.at)
            };
            let text = if simple {
                value
            } else {
                Word {
                    text: format!("{}{HOLE}", value.text),
                    exact: false,
                    ..value
                }
            };
            let context = self.shell_context();
            self.finding.text(&[&text], TextReader::Here, context)?;
        }
        Ok(())
    }

    /// `command`
    pub fn lookup(&mut self) -> Done {
        let options = self
            .arguments
            .iter()
            .map_while(|word| word.exactly().filter(|text| text.starts_with('-')));
        if options
            .take_while(|text| *text != "--")
            .any(|text| text.contains(['v', 'V']))
        {
            // With `-v` or `-V`, `command` only describes a name and runs nothing.
            return Ok(());
        }
        let options = self.before_command(
            &OptionGrammar {
                flags: "p",
                ..OptionGrammar::NONE
            },
            self.arguments,
            0,
        );
        self.resolve(options.rest)
    }

    /// `exec`
    pub fn exec(&mut self) -> Done {
        let options = self.before_command(&EXEC, self.arguments, 0);
        let dash = options
            .values(&["a"])
            .any(|name| name.known().is_empty() || name.known().starts_with('-'));
        let shell = options
            .rest
            .first()
            .and_then(Word::exactly)
            .is_some_and(|name| name.ends_with("sh"));
        if (dash || options.has(&["l"]))
            && (shell || options.rest.first().is_none_or(|word| !word.exact))
        {
            self.unknown(self.name, LOGIN);
        }
        self.command(options.rest, 0)
    }

    pub fn declare(&mut self, base: &str) -> Done {
        let context = self.outside;
        let (mut reference, mut array) = (false, false);
        // If the builtin's name is quoted or follows `command`, its arguments are split like the arguments of a
        // program.
        let direct = !self.name.quoted
            && self.name.raw.is_none()
            && !context.is_behind(&["builtin", "command"]);
        for word in self.arguments {
            if word
                .exactly()
                .is_some_and(|text| text.starts_with(['-', '+']) && text != "--")
            {
                reference |= word.text.contains('n') && base != "export" && base != "readonly";
                array |= word.text.starts_with('-') && word.text.contains(['a', 'A']);
                self.finding.integers |= word.text.contains('i');
                // The value is evaluated as a number, or is the name of another variable.
                self.finding.evaluates |= reference || word.text.contains('i');
                self.finding.exported |= word.text.contains('f');
                continue;
            }
            if word.exactly() == Some("--") {
                continue;
            }
            let whole = word.one || word.glob || direct && word.name.is_some();
            if !whole && word.known().contains('=') {
                self.finding.unknown(
                    word,
                    "this word may become several words, which set other variables: put the word in double quotes",
                    context,
                );
            }
            self.finding.declares(word, context);
            self.elements(word, array)?;
            let end = word.text.find('=').unwrap_or(word.text.len());
            let name = with_text(word, &word.text[..end]);
            match base {
                "export" => {}
                "readonly" => self.finding.evaluates |= !is_plain(&name),
                _ => self.place(&name),
            }
            if reference {
                self.finding.unknown(
                    word,
                    "a variable contains the name of another variable: use the other variable itself, or `case`",
                    context,
                );
                match word.text.split_once('=') {
                    Some((_, name)) if !name.contains(HOLE) => {
                        self.finding.declares(&with_text(word, name), context);
                    }
                    Some(_) => self.finding.unknown(word, NOT_NAMED, context),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Reads the value that a word assigns to a declared variable. For an array, the shell reads `(…)` as elements,
    /// even in quotes.
    fn elements(&mut self, word: &Word, array: bool) -> Done {
        let context = self.outside;
        let end = word
            .text
            .find(['=', '[', '+', HOLE])
            .unwrap_or(word.text.len());
        let name = &word.text[..end];
        let is_named = !word.text[end..].starts_with(HOLE);
        if array || word.array || word.text[end..].starts_with('[') {
            self.finding.makes_array(is_named.then_some(name));
        }
        let Some((_, value)) = word.text.split_once('=').filter(|_| !word.array) else {
            return Ok(());
        };
        if array {
            self.sums(word, value);
        }
        let runs =
            value.starts_with(HOLE) || value.starts_with('(') && value.contains([HOLE, '$', '`']);
        if !runs {
            return Ok(());
        }
        if array && word.exact {
            let text = Word {
                text: format!("_={value}"),
                raw: Some(word.source().into()),
                ..word.clone()
            };
            return self.finding.text(&[&text], TextReader::Here, context);
        }
        if array {
            self.finding.unknown(
                word,
                "the shell reads this value as elements of an array, but the value is not literal text: write \
                 `name=(...)` without `declare`",
                context,
            );
        } else {
            self.finding.elements(name, word, context);
        }
        Ok(())
    }

    /// Reads a word that names a variable. The shell evaluates an index in it, with the expansions of the index.
    pub fn place(&mut self, word: &Word) {
        self.finding.evaluates |= !is_plain(word);
        let Some(bracket) = word.text.find('[') else {
            return;
        };
        if word.text[bracket..].contains(HOLE) {
            self.finding.unknown(word, INDEX, self.outside);
        }
        self.sums(word, &word.text[bracket..]);
    }

    /// Records a word that names a variable which the builtin sets.
    fn set_by_name(&mut self, word: &Word) {
        self.place(word);
        self.finding.declares(word, self.outside);
    }

    /// Records the variables that a text sets if a shell evaluates the text as arithmetic.
    fn sums(&mut self, word: &Word, text: &str) {
        for name in settings::named_in(text) {
            self.finding.sets(word, Some(name), self.outside);
        }
    }

    /// `let`
    pub fn arithmetic(&mut self) -> Done {
        self.finding.evaluates = true;
        for word in self.arguments {
            self.place(word);
            for part in evaluates(word.source(), &word.text, word.at) {
                match part {
                    WordPart::Sets(name, _) => self.finding.sets(word, Some(&name), self.outside),
                    WordPart::Unknown(why, _) => self.finding.unknown(word, why, self.outside),
                    WordPart::Script(_) | WordPart::Trap(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Reads `test` and `[`, whose operators `-v` and `-R` take the name of a variable.
    pub fn test(&mut self) -> Done {
        self.finding.evaluates |= self.arguments.iter().any(|word| !word.one);
        for pair in self.arguments.windows(2) {
            let named = match pair[0].exactly() {
                Some(text) => matches!(text, "-v" | "-R"),
                None => matches!(pair[0].known(), "" | "-"),
            };
            if named && (!pair[1].exact || pair[1].text.contains('[')) {
                if pair[0].exact || pair[1].exact {
                    self.place(&pair[1]);
                } else {
                    self.finding.evaluates = true;
                }
            }
        }
        Ok(())
    }

    /// Reads a builtin whose operands name the variables to set.
    pub fn names(&mut self, grammar: &OptionGrammar, skip: usize) -> Done {
        let Some(options) = self.options(grammar) else {
            return Ok(());
        };
        for value in options.values(&["a"]) {
            self.finding.declares(value, self.outside);
            self.finding.makes_array(value.exactly());
        }
        for word in options.rest.iter().skip(skip) {
            self.set_by_name(word);
            if skip > 0 {
                break;
            }
        }
        Ok(())
    }

    pub fn mapfile(&mut self) -> Done {
        self.finding.evaluates = true;
        let Some(options) = self.options(&MAPFILE) else {
            return Ok(());
        };
        for value in options.values(&["C"]) {
            let context = self.shell_context();
            self.finding
                .text_and_more(value, TextReader::Here, context)?;
        }
        for word in options.rest {
            self.set_by_name(word);
            self.finding.makes_array(word.exactly());
        }
        Ok(())
    }

    pub fn printf(&mut self) -> Done {
        match self.arguments.first() {
            Some(first) if first.known() == "-v" && first.exact => {
                if let Some(name) = self.arguments.get(1) {
                    self.set_by_name(name);
                }
            }
            Some(first) if first.text.starts_with("-v") => {
                self.set_by_name(&with_text(first, &first.text[2..]));
            }
            Some(first) if !first.exact && (first.glob || matches!(first.known(), "" | "-")) => {
                // At run time, the word may become `-v` or nothing, so that a later word names a variable.
                self.finding.evaluates = true;
                if !first.one && !first.glob {
                    self.finding.unknown(
                        first,
                        "this word may become an option that sets a variable: write the format first, `printf '%s' \
                         ...`",
                        self.outside,
                    );
                }
                for word in &self.arguments[1..] {
                    if word.known().contains('[') {
                        self.place(word);
                    }
                    let name = word
                        .exactly()
                        .map_or("", |text| text.split('[').next().unwrap_or_default());
                    if settings::changes(name) {
                        self.finding.sets(word, Some(name), self.outside);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub fn wait(&mut self) -> Done {
        for pair in self.arguments.windows(2) {
            if pair[0]
                .exactly()
                .is_none_or(|text| text.starts_with('-') && text.ends_with('p'))
            {
                self.place(&pair[1]);
                if pair[0].exact || pair[1].exact {
                    self.finding.declares(&pair[1], self.outside);
                }
            }
        }
        for word in self.arguments {
            let glued = word
                .text
                .split_once('p')
                .filter(|(flags, name)| flags.starts_with('-') && !name.is_empty());
            if let Some((_, name)) = glued {
                self.set_by_name(&with_text(word, name));
            }
        }
        Ok(())
    }

    pub fn unset(&mut self) -> Done {
        let functions = self
            .arguments
            .first()
            .is_some_and(|word| word.exactly() == Some("-f"));
        for word in self.arguments {
            self.place(word);
            self.finding.undefines(word.exactly());
            match word
                .exactly()
                .map(|name| name.split('[').next().unwrap_or_default())
            {
                Some("PATH") => self.finding.sets(word, Some("PATH"), self.outside),
                None if !functions && "PATH".starts_with(word.known()) => {
                    self.unknown(
                        word,
                        "the name after `unset` is not literal text and may be PATH: write the name itself",
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub fn set(&mut self) -> Done {
        for word in self.arguments {
            match word.exactly() {
                Some("-" | "--") => break,
                Some(text)
                    if CHANGES_READING.contains(&text)
                        || text.starts_with('-')
                            && text.contains(['k', 'H'])
                            && !text.starts_with("--") =>
                {
                    self.unknown(word, READING);
                }
                Some("allexport") => self.finding.exported = true,
                Some(text) if text.starts_with('-') && text.contains('a') => {
                    self.finding.exported = true
                }
                None if word.known().is_empty() || word.known().starts_with('-') => {
                    self.unknown(word, MAY_BE_READING);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
