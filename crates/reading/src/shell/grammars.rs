//! Parser of lists, pipelines and simple commands, and the option grammars of the programs whose arguments the parser
//! reads exactly.

use OptionValue::{Nothing, Optional, Value};

use crate::{
    CommandList, CompoundCommand, OptionGrammar, Parser, Pipeline, Read, ShellNode, SimpleCommand,
    WordPosition, shell::options::OptionValue,
};

pub const EXEC: OptionGrammar = OptionGrammar {
    flags: "cl",
    values: "a",
    ..OptionGrammar::NONE
};

pub const ENV: OptionGrammar = OptionGrammar {
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
    ..OptionGrammar::NONE
};

pub const TIME: OptionGrammar = OptionGrammar {
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
    ..OptionGrammar::NONE
};

pub const TIMEOUT: OptionGrammar = OptionGrammar {
    flags: "vfp",
    values: "ks",
    long: &[
        ("foreground", Nothing),
        ("kill-after", Value),
        ("preserve-status", Nothing),
        ("signal", Value),
        ("verbose", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub const NICE: OptionGrammar = OptionGrammar {
    values: "n",
    long: &[("adjustment", Value)],
    ..OptionGrammar::NONE
};

pub const IONICE: OptionGrammar = OptionGrammar {
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
    ..OptionGrammar::NONE
};

pub const SETSID: OptionGrammar = OptionGrammar {
    flags: "cfw",
    long: &[("ctty", Nothing), ("fork", Nothing), ("wait", Nothing)],
    ..OptionGrammar::NONE
};

pub const SSH_AGENT: OptionGrammar = OptionGrammar {
    flags: "cDdksTv",
    values: "aEOPt",
    ..OptionGrammar::NONE
};

/// Everyday options of ssh. With other options, ssh may read commands from a file (`-F`), load code (`-I`) or run no
/// command.
pub const SSH: OptionGrammar = OptionGrammar {
    flags: "46AaCfKkMNnqTtVvXxYy",
    values: "BbcDEeiJLlmopRSw",
    ..OptionGrammar::NONE
};

/// Options of flock except `-c`, which runs a command.
pub const FLOCK: OptionGrammar = OptionGrammar {
    flags: "sxeunoF",
    values: "wE",
    long: &[
        ("exclusive", Nothing),
        ("nonblock", Nothing),
        ("shared", Nothing),
        ("timeout", Value),
        ("unlock", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub const STDBUF: OptionGrammar = OptionGrammar {
    values: "ioe",
    long: &[("error", Value), ("input", Value), ("output", Value)],
    ..OptionGrammar::NONE
};

pub const XARGS: OptionGrammar = OptionGrammar {
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
};

pub const SUDO: OptionGrammar = OptionGrammar {
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
    ..OptionGrammar::NONE
};

pub const READ: OptionGrammar = OptionGrammar {
    flags: "ers",
    values: "adinNptu",
    ..OptionGrammar::NONE
};

pub const MAPFILE: OptionGrammar = OptionGrammar {
    flags: "t",
    values: "dnOsuCc",
    ..OptionGrammar::NONE
};

/// End of a list.
#[derive(PartialEq)]
pub enum ListEnd {
    /// The list ends at the end of the text.
    End,
    /// `)`
    Parenthesis,
    /// `;;`, `;&`, `;;&` or `esac`.
    Clause,
    /// The list ends at one of these reserved words, if the word is at the beginning of a command.
    Words(&'static [&'static str]),
}

/// Reserved words. At the beginning of a command, a reserved word is not the name of a program.
pub const RESERVED: &[&str] = &[
    "!", "{", "}", "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while",
    "until", "for", "[[", "select", "function", "coproc", "time",
];

/// Reserved words that only bash knows.
const BASH_ONLY: &[&str] = &["[[", "select", "function", "coproc", "time"];

/// Returns true if the last command is a compound command, which needs no separator before a reserved word.
fn ends_itself(list: &CommandList) -> bool {
    list.last()
        .and_then(|item| item.nodes.last())
        .is_some_and(|node| !matches!(node, ShellNode::Simple(_)))
}

impl Parser<'_> {
    /// Reads the whole text.
    pub fn whole(&mut self, list: &mut CommandList) -> Read<()> {
        self.list(list, ListEnd::End)?;
        match self.peek() {
            None if self.pending.is_empty() => Ok(()),
            None => self.guard("a here-document has no body: add the body and the delimiter"),
            Some(_) => self.syntax("`)` has no opening bracket: remove `)`"),
        }
    }

    /// Reads commands up to the end of the list, but not the text that ends it.
    pub fn list(&mut self, list: &mut CommandList, until: ListEnd) -> Read<()> {
        let mut first = true;
        loop {
            first |= self.lines()?;
            match self.peek() {
                None => return Ok(()),
                Some(b')') if matches!(until, ListEnd::Parenthesis | ListEnd::End) => return Ok(()),
                Some(b';') if until == ListEnd::Clause && self.clause_ends() => return Ok(()),
                Some(_) => {}
            }
            if let Some((word, _)) = self.keyword()? {
                match until {
                    ListEnd::Words(words) if words.contains(&word) => return Ok(()),
                    ListEnd::Clause if word == "esac" => return Ok(()),
                    _ => {}
                }
            }
            let from = list.len();
            self.and_or(list)?;
            list[from].first = first;
            self.blanks();
            match self.peek() {
                Some(b';') if self.clause_ends() => {
                    if until == ListEnd::Clause {
                        return Ok(());
                    }
                    return self.syntax("`;;` is allowed only in `case`: write `;`");
                }
                Some(b';') => self.pos += 1,
                Some(b'&') => {
                    self.pos += 1;
                    list[from..]
                        .iter_mut()
                        .for_each(|item| (item.certain, item.background) = (false, true));
                }
                None | Some(b'\n' | b')') => {}
                // A reserved word may directly follow a compound command, for example in `if (a) then` or `{ (a) }`.
                Some(_) if self.keyword()?.is_some() && ends_itself(list) => {}
                Some(_) => {
                    return self.syntax(
                        "the command can't continue with this text: put an operator such as `;` before the text",
                    );
                }
            }
            first &= matches!(&list[from..], [item] if item.certain && matches!(item.nodes[..], [ShellNode::Function { .. }]));
        }
    }

    /// Reads a list inside of a command.
    pub fn inner_list(&mut self, until: ListEnd) -> Read<CommandList> {
        let mut list = CommandList::new();
        self.list(&mut list, until)?;
        Ok(list)
    }

    /// Returns true if the semicolon at this position begins `;;` or `;&`.
    fn clause_ends(&mut self) -> bool {
        match self.peek_second() {
            Some(b';') => true,
            Some(b'&') => self.bash(),
            _ => false,
        }
    }

    /// Skips blanks, comments and ends of lines, and reads the here-documents after an end of line. Returns true if it
    /// skipped an end of line.
    pub fn lines(&mut self) -> Read<bool> {
        let mut ended = false;
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return Ok(ended);
            }
            self.newline()?;
            ended = true;
        }
    }

    /// Skips blanks and a comment.
    pub fn blanks(&mut self) {
        self.spaces();
        if self.peek() == Some(b'#') {
            self.comments.push(self.pos);
            let rest = &self.text.as_bytes()[self.pos..];
            self.pos += rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
        }
    }

    pub fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.pos += 1;
        }
    }

    pub fn newline(&mut self) -> Read<()> {
        self.pos += 1;
        for pending in std::mem::take(&mut self.pending) {
            self.here_document(&pending)?;
        }
        Ok(())
    }

    /// Returns the reserved word at this position, and the position after the word.
    pub fn keyword(&mut self) -> Read<Option<(&'static str, usize)>> {
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        if !matches!(first, b'!' | b'{' | b'}' | b'[' | b'c'..=b'f' | b'i' | b's'..=b'u' | b'w') {
            return Ok(None);
        }
        let start = self.pos;
        if self.looked.0 == start {
            return Ok(self.looked.1);
        }
        let (mut word, mut length) = ([0u8; 8], 0);
        let end = loop {
            match self.peek() {
                None
                | Some(b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>') => {
                    break self.pos;
                }
                Some(byte) if length < word.len() => {
                    word[length] = byte;
                    length += 1;
                    self.pos += 1;
                }
                Some(_) => {
                    self.pos = start;
                    return Ok(None);
                }
            }
        };
        let mut known = RESERVED
            .iter()
            .find(|known| known.as_bytes() == &word[..length])
            .copied();
        if known.is_some_and(|known| BASH_ONLY.contains(&known)) && !self.bash() {
            known = None;
        }
        if known.is_some() {
            let next = self.peek();
            if matches!(next, Some(b'<' | b'>')) && self.peek_second() == Some(b'(') {
                return self.guard(
                    "`<(` directly after a reserved word is ambiguous: put a space before `<(`",
                );
            }
            if known == Some("!") && next == Some(b'(') {
                return self.guard("`!(` is a pattern for some shells: put a space after `!`");
            }
        }
        self.pos = start;
        self.looked = (start, known.map(|known| (known, end)));
        Ok(self.looked.1)
    }

    /// Consumes the reserved word `word`, or reports a syntax error.
    pub fn expect(&mut self, word: &'static str, message: &'static str) -> Read<()> {
        match self.keyword()? {
            Some((known, end)) if known == word => {
                self.pos = end;
                Ok(())
            }
            _ => self.syntax(message),
        }
    }

    fn and_or(&mut self, list: &mut CommandList) -> Read<()> {
        let (mut certain, mut and) = (true, false);
        loop {
            let (nodes, negated) = self.pipeline(&mut certain)?;
            certain &= nodes.len() == 1;
            list.push(Pipeline {
                and,
                negated,
                certain,
                nodes,
                ..Pipeline::default()
            });
            self.blanks();
            let Some(byte @ (b'&' | b'|')) = self.peek() else {
                return Ok(());
            };
            if self.peek_second() != Some(byte) {
                return Ok(());
            }
            self.take_two();
            (certain, and) = (false, byte == b'&');
            self.lines()?;
        }
    }

    /// Reads the commands of a pipeline. The returned bool is true if `!` precedes the commands.
    pub fn pipeline(&mut self, certain: &mut bool) -> Read<(Vec<ShellNode>, bool)> {
        let mut nodes = Vec::new();
        let (mut prefixed, mut negated) = (false, false);
        loop {
            self.blanks();
            match self.keyword()? {
                Some(("!", end)) => {
                    self.pos = end;
                    negated = true;
                }
                Some(("time", end)) => {
                    self.pos = end;
                    for option in ["-p", "--"] {
                        self.blanks();
                        let rest = &self.text[self.pos..];
                        if rest
                            .strip_prefix(option)
                            .is_some_and(|rest| rest.starts_with([' ', '\t', '\n']))
                        {
                            self.pos += option.len();
                        }
                    }
                }
                _ => break,
            }
            prefixed = true;
        }
        self.blanks();
        if prefixed && matches!(self.peek(), None | Some(b'\n' | b';' | b'&' | b')' | b'|')) {
            // `time` or `!` alone runs nothing in bash.
            *certain = false;
            return Ok((nodes, negated));
        }
        loop {
            nodes.push(self.command(nodes.is_empty())?);
            self.blanks();
            if self.peek() != Some(b'|') || self.peek_second() == Some(b'|') {
                return Ok((nodes, negated));
            }
            self.pos += 1;
            if self.peek() == Some(b'&') && self.bash() {
                self.pos += 1;
            }
            self.lines()?;
        }
    }

    pub fn command(&mut self, first: bool) -> Read<ShellNode> {
        self.open()?;
        let node = self.command_itself(first)?;
        self.close();
        Ok(node)
    }

    fn command_itself(&mut self, first: bool) -> Read<ShellNode> {
        self.blanks();
        if self.peek() == Some(b'(') {
            if self.peek_second() == Some(b'(') && self.bash() {
                self.take_two();
                if let Some(word) = self.arithmetic_word()? {
                    return self.compound(CompoundCommand {
                        words: vec![word],
                        ..CompoundCommand::default()
                    });
                }
                // Here `((` begins two subshells. The outer bracket is consumed, so continue at the inner one.
                self.pos -= 1;
            } else {
                self.pos += 1;
            }
            let list = self.inner_list(ListEnd::Parenthesis)?;
            if !self.take(b')') {
                return self.syntax("a subshell is not closed: close it with `)`");
            }
            return self.compound(CompoundCommand::of(vec![list]));
        }
        let Some((word, end)) = self.keyword()? else {
            return self.simple();
        };
        // `time` is a reserved word only at the beginning of a pipeline. After `|`, the word `time` is the name of a
        // program.
        if word == "time" || (word == "!" && !first) {
            return self.simple();
        }
        self.pos = end;
        match word {
            "{" => {
                let list = self.block(&["}"])?;
                self.compound(CompoundCommand::of(vec![list]))
            }
            "if" => self.condition(),
            "while" | "until" => {
                let condition = self.inner_list(ListEnd::Words(&["do"]))?;
                self.expect("do", "a loop has no `do`: add `do`")?;
                let body = self.block(&["done"])?;
                self.compound(CompoundCommand::of(vec![condition, body]))
            }
            "for" | "select" => self.each(word == "for"),
            "case" => self.case(),
            "[[" => self.test(),
            "function" => {
                self.blanks();
                let name = self.word(WordPosition::First)?;
                self.blanks();
                if self.take(b'(') {
                    self.blanks();
                    if !self.take(b')') {
                        return self
                            .syntax("`()` is missing after the name of the function: add `()`");
                    }
                }
                self.function(name)
            }
            "coproc" => self.coproc(),
            _ => self.syntax(
                "a command begins with a reserved word: write the command, or quote the word",
            ),
        }
    }

    pub fn simple(&mut self) -> Read<ShellNode> {
        let mut simple = SimpleCommand::default();
        let start = self.pos;
        loop {
            self.blanks();
            let mut sets = Vec::new();
            if self.redirect(&mut simple.redirects, &mut sets)? {
                simple.assigns.append(&mut sets);
                continue;
            }
            match self.peek() {
                None | Some(b'\n' | b';' | b'&' | b'|' | b')') => break,
                Some(b'(') => {
                    let name = simple.words.len() == 1
                        && simple.assigns.is_empty()
                        && simple.redirects.is_empty();
                    if !name {
                        return self.syntax("`(` is in the middle of a command: quote `(`");
                    }
                    self.pos += 1;
                    self.blanks();
                    if !self.take(b')') {
                        return self.syntax("`(` follows the name of a command: quote `(`");
                    }
                    let name = simple.words.remove(0);
                    return self.function(name);
                }
                Some(_) => {
                    // Bash prints some commands and parses the printed text. There, the redirections follow the word,
                    // which is then parsed as a reserved word.
                    let bare = simple.words.is_empty() && simple.assigns.is_empty();
                    if bare && !simple.redirects.is_empty() && self.keyword()?.is_some() {
                        return self
                            .guard("the name of a command is a reserved word: quote the word");
                    }
                    let word = self.word(if simple.words.is_empty() {
                        WordPosition::First
                    } else {
                        WordPosition::Argument
                    })?;
                    if simple.words.is_empty() && word.name.is_some() {
                        simple.assigns.push(word);
                    } else {
                        simple.words.push(word);
                    }
                }
            }
        }
        if self.pos == start {
            return self
                .syntax("a command is missing here: write the command, or remove the operator");
        }
        Ok(ShellNode::Simple(simple))
    }
}
