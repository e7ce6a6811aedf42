//! Parser of compound commands, for example conditions, loops, `case`, `[[ ]]`, functions.

use crate::{
    CommandList, CompoundCommand, ListEnd, MAX_DEPTH, Parser, Pipeline, Read, ShellNode,
    SimpleCommand, Word, WordPosition, shell::expansions::evaluates,
};

impl Parser<'_> {
    /// Reads the redirections after a compound command.
    pub fn compound(&mut self, mut compound: CompoundCommand) -> Read<ShellNode> {
        loop {
            self.blanks();
            if !self.redirect(&mut compound.redirects, &mut compound.sets)? {
                return Ok(ShellNode::Compound(compound));
            }
        }
    }

    pub fn condition(&mut self) -> Read<ShellNode> {
        let mut lists = Vec::new();
        loop {
            lists.push(self.inner_list(ListEnd::Words(&["then"]))?);
            self.expect("then", "an `if` has no `then`: add `then`")?;
            lists.push(self.inner_list(ListEnd::Words(&["elif", "else", "fi"]))?);
            match self.keyword()? {
                Some(("elif", end)) => self.pos = end,
                Some(("else", end)) => {
                    self.pos = end;
                    lists.push(self.inner_list(ListEnd::Words(&["fi"]))?);
                    break;
                }
                _ => break,
            }
        }
        self.expect("fi", "an `if` is not closed: add `fi`")?;
        self.compound(CompoundCommand::of(lists))
    }

    /// Reads the rest of a command after `for` or `select`.
    pub fn each(&mut self, arithmetic: bool) -> Read<ShellNode> {
        let mut compound = CompoundCommand {
            menu: !arithmetic,
            ..CompoundCommand::default()
        };
        self.blanks();
        if arithmetic
            && self.peek() == Some(b'(')
            && self.peek_second() == Some(b'(')
            && self.bash()
        {
            self.take_two();
            let Some(word) = self.arithmetic_word()? else {
                return self.syntax("the `((` of a loop is not closed: close it with `))`");
            };
            compound.words.push(word);
            self.blanks();
            self.take(b';');
        } else {
            compound.sets.push(self.word(WordPosition::Argument)?);
            self.blanks();
            let direct = self.take(b';');
            self.lines()?;
            if !direct && self.lower_word("in") {
                loop {
                    self.blanks();
                    match self.peek() {
                        Some(b';' | b'\n') => {
                            self.take(b';');
                            break;
                        }
                        _ => compound.words.push(self.word(WordPosition::Argument)?),
                    }
                }
            }
        }
        self.lines()?;
        let (begin, last): (_, &'static [_]) = match self.keyword()? {
            Some(("do", begin)) => (begin, &["done"]),
            Some(("{", begin)) if self.bash() => (begin, &["}"]),
            _ => return self.syntax("a loop has no `do`: add `do`"),
        };
        self.pos = begin;
        compound.lists.push(self.block(last)?);
        self.compound(compound)
    }

    /// Consumes the next word if the word is unquoted and equals `word`.
    fn lower_word(&mut self, word: &str) -> bool {
        let start = self.pos;
        for byte in word.bytes() {
            if !self.take(byte) {
                self.pos = start;
                return false;
            }
        }
        if matches!(
            self.peek(),
            None | Some(b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>')
        ) {
            return true;
        }
        self.pos = start;
        false
    }

    pub fn case(&mut self) -> Read<ShellNode> {
        let mut compound = CompoundCommand::default();
        self.blanks();
        compound.words.push(self.word(WordPosition::Argument)?);
        self.lines()?;
        if !self.lower_word("in") {
            return self.syntax("a `case` has no `in`: add `in`");
        }
        loop {
            self.lines()?;
            let bracket = self.take(b'(');
            if !bracket && self.lower_word("esac") {
                break;
            }
            loop {
                self.blanks();
                compound.words.push(self.word(WordPosition::Pattern)?);
                self.blanks();
                if self.take(b')') {
                    break;
                }
                if !self.take(b'|') {
                    return self.syntax("a pattern of `case` is not closed: close it with `)`");
                }
            }
            compound.lists.push(self.inner_list(ListEnd::Clause)?);
            if self.take(b';') {
                if self.take(b';') {
                    if self.peek() == Some(b'&') && self.bash() {
                        self.pos += 1;
                    }
                } else {
                    self.take(b'&');
                }
            } else {
                self.expect("esac", "a `case` is not closed: add `esac`")?;
                break;
            }
        }
        self.compound(compound)
    }

    /// Reads the rest of a test after `[[`.
    pub fn test(&mut self) -> Read<ShellNode> {
        let mut compound = CompoundCommand::default();
        let mut kind = WordPosition::Argument;
        let mut depth = 0usize;
        let mut arithmetic = false;
        loop {
            self.spaces();
            match self.peek() {
                None => return self.syntax("`[[` is not closed: close it with `]]`"),
                Some(b'\n') => self.newline()?,
                Some(b'#') => return self.guard("`#` in `[[ ]]`: quote it"),
                Some(b'(') if kind != WordPosition::Regex => {
                    if self.depth + depth >= MAX_DEPTH {
                        return self.guard(
                            "the script is nested deeper than 100 levels: reduce the nesting",
                        );
                    }
                    depth += 1;
                    self.pos += 1;
                }
                Some(b')') if depth > 0 => {
                    depth -= 1;
                    self.pos += 1;
                }
                Some(byte @ (b'&' | b'|')) if self.peek_second() == Some(byte) => {
                    self.take_two();
                }
                Some(b'<' | b'>') if self.peek_second() != Some(b'(') => self.pos += 1,
                Some(byte)
                    if matches!(byte, b';' | b'&' | b')')
                        || byte == b'|' && kind != WordPosition::Regex =>
                {
                    return self.syntax(
                        "`[[ ]]` does not have this operator: write `]]` before the operator",
                    );
                }
                Some(_) => {
                    let word = self.word(kind)?;
                    kind = WordPosition::Argument;
                    match word.operator().unwrap_or_default() {
                        "]]" => break,
                        "=~" => kind = WordPosition::Regex,
                        "==" | "=" | "!=" => kind = WordPosition::Pattern,
                        "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-v" | "-R" => {
                            arithmetic = true
                        }
                        _ => {}
                    }
                    compound.words.push(word);
                }
            }
        }
        self.evaluates |= arithmetic;
        if arithmetic {
            for word in &mut compound.words {
                let parts = evaluates(word.source(), &word.text, word.at);
                word.parts.extend(parts);
            }
        }
        self.compound(compound)
    }

    pub fn coproc(&mut self) -> Read<ShellNode> {
        self.blanks();
        let place = self.place();
        let mut compound = CompoundCommand {
            read: true,
            ..CompoundCommand::default()
        };
        let begins = |parser: &mut Self| -> Read<bool> {
            parser.blanks();
            match parser.keyword()? {
                None => Ok(parser.peek() == Some(b'(')),
                Some(("{" | "if" | "while" | "until" | "for" | "case" | "select" | "[[", _)) => {
                    Ok(true)
                }
                Some(_) => parser.guard(
                    "the reserved word after `coproc` begins no compound command: quote the word",
                ),
            }
        };
        if !begins(self)? {
            // A name after `coproc` is valid only before a compound command. Before a simple command, this word is the
            // command itself.
            let start = self.pos;
            let word = self.word(WordPosition::First)?;
            if word.exact && begins(self)? {
                compound.sets.push(word);
            } else {
                self.pos = start;
            }
        }
        let node = self.command(true)?;
        let unnamed = compound.sets.is_empty() && matches!(node, ShellNode::Simple(_));
        if unnamed && (self.substitutions > 0 || self.functions > 0) {
            // When bash prints this command and parses the printed text again, a command with the name `COPROC` runs.
            let name = SimpleCommand {
                words: vec![Word::literal("COPROC", place)],
                ..SimpleCommand::default()
            };
            let nodes = vec![ShellNode::Simple(name)];
            compound.lists.push(vec![Pipeline {
                nodes,
                ..Pipeline::default()
            }]);
        }
        compound.lists.push(vec![Pipeline {
            nodes: vec![node],
            ..Pipeline::default()
        }]);
        Ok(ShellNode::Compound(compound))
    }

    /// Reads the body of the function `name`.
    pub fn function(&mut self, name: Word) -> Read<ShellNode> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:+@/".contains(&byte);
        // In bash, a quoted name defines no function, but the script continues.
        if !name.exact || name.quoted || name.raw.is_some() || !name.text.bytes().all(plain) {
            return self.guard("the name of the function is not literal text: write the name itself, without quotes");
        }
        self.lines()?;
        self.functions += 1;
        let body = self.command(true)?;
        self.functions -= 1;
        if !matches!(body, ShellNode::Compound(_)) && self.bash() {
            return self.syntax("the body of a function must be a group: put the body in `{ }`");
        }
        Ok(ShellNode::Function {
            name,
            body: Box::new(body),
        })
    }

    /// Reads a list and the reserved word that ends the list. `end` contains only this word.
    pub fn block(&mut self, end: &'static [&'static str]) -> Read<CommandList> {
        let list = self.inner_list(ListEnd::Words(end))?;
        self.expect(end[0], "a group or a loop is not closed: add `}` or `done`")?;
        Ok(list)
    }
}
