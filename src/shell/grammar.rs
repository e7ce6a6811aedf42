//! Lists, pipelines and compound commands.

use crate::shell::syntax::{Compound, Item, List, Node, Parser, Pending, Read, Redirect, Simple, Word};
use crate::shell::words::Kind;

/// What ends a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The end of the text.
    End,
    /// `)`
    Parenthesis,
    /// `;;`, `;&`, `;;&` or `esac`.
    Clause,
    /// One of these words where a command could begin.
    Words(&'static [&'static str]),
}

/// Words that are not commands where a command could begin.
pub(super) const RESERVED: &[&str] = &[
    "!", "{", "}", "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "[[",
    "select", "function", "coproc", "time",
];
/// Those of them that only bash knows.
const BASH_ONLY: &[&str] = &["[[", "select", "function", "coproc", "time"];

/// The last command is a compound one.
fn ends_itself(list: &List) -> bool {
    list.last().and_then(|item| item.nodes.last()).is_some_and(|node| !matches!(node, Node::Simple(_)))
}

impl Parser<'_> {
    /// The whole text.
    pub(super) fn whole(&mut self, list: &mut List) -> Read<()> {
        self.list(list, Until::End)?;
        match self.peek() {
            None if self.pending.is_empty() => Ok(()),
            None => self.guard("a here-document has no body: give it one, with its end"),
            Some(_) => self.syntax("`)` closes nothing: take it away"),
        }
    }

    /// Commands up to what ends them, which is left where it stands.
    pub(super) fn list(&mut self, list: &mut List, until: Until) -> Read<()> {
        loop {
            self.lines()?;
            match self.peek() {
                None => return Ok(()),
                Some(b')') if matches!(until, Until::Parenthesis | Until::End) => return Ok(()),
                Some(b';') if until == Until::Clause && self.clause_ends() => return Ok(()),
                Some(_) => {}
            }
            if let Some((word, _)) = self.keyword()? {
                match until {
                    Until::Words(words) if words.contains(&word) => return Ok(()),
                    Until::Clause if word == "esac" => return Ok(()),
                    _ => {}
                }
            }
            let first = list.len();
            self.and_or(list)?;
            self.blanks();
            match self.peek() {
                Some(b';') if self.clause_ends() => {
                    if until == Until::Clause {
                        return Ok(());
                    }
                    return self.syntax("`;;` outside of `case`: take one away");
                }
                Some(b';') => self.pos += 1,
                Some(b'&') => {
                    self.pos += 1;
                    list[first..].iter_mut().for_each(|item| item.certain = false);
                }
                None | Some(b'\n' | b')') => {}
                // `if (a) then`, `{ (a) }`: what ends a list may follow a compound command at once.
                Some(_) if self.keyword()?.is_some() && ends_itself(list) => {}
                Some(_) => return self.syntax("a command can't go on like this: put an operator between the two"),
            }
        }
    }

    /// `;;`, `;&` at this semicolon.
    fn clause_ends(&mut self) -> bool {
        match self.peek_second() {
            Some(b';') => true,
            Some(b'&') => self.bash(),
            _ => false,
        }
    }

    /// Blanks, comments, and ends of lines, with the here-documents that begin there.
    pub(super) fn lines(&mut self) -> Read<()> {
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return Ok(());
            }
            self.newline()?;
        }
    }

    /// Blanks, and a comment up to the end of its line.
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.pos += 1;
        }
        if self.peek() == Some(b'#') {
            let rest = &self.text.as_bytes()[self.pos..];
            self.pos += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        }
    }

    fn newline(&mut self) -> Read<()> {
        self.pos += 1;
        for pending in std::mem::take(&mut self.pending) {
            self.here_document(&pending)?;
        }
        Ok(())
    }

    /// The lines of a here-document, and the one that ends it.
    fn here_document(&mut self, pending: &Pending) -> Read<()> {
        let start = self.pos;
        // The line before ended with a backslash that makes it go on, in a body that is expanded.
        let mut goes_on = false;
        loop {
            if self.pos >= self.text.len() {
                return self.guard("a here-document has no end: write its delimiter on a line of its own");
            }
            let rest = &self.text[self.pos..];
            let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
            let stripped = if pending.tabs { line.trim_start_matches('\t') } else { line };
            if stripped == pending.delimiter {
                if goes_on {
                    return self.guard("a here-document ends behind a backslash: take the backslash away");
                }
                break;
            }
            if self.substitutions > 0
                && stripped.strip_prefix(pending.delimiter.as_str()).is_some_and(|rest| rest.contains(')'))
            {
                return self
                    .guard("a here-document ends on the line of a bracket: give its delimiter a line of its own");
            }
            goes_on = !pending.quoted && line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
            if goes_on {
                let begun = stripped.strip_suffix('\\').unwrap_or(stripped);
                if pending.delimiter.starts_with(begun) {
                    return self.guard("a here-document's line goes on by a backslash: take the backslash away");
                }
            }
            self.pos = (self.pos + line.len() + 1).min(self.text.len());
        }
        let end = self.pos;
        let line = self.text[end..].split_once('\n').map_or(self.text.len() - end, |(line, _)| line.len());
        // The newline behind the delimiter stays: it ends nothing that has not ended.
        self.pos = (end + line + 1).min(self.text.len());
        self.bodies[pending.body] = self.body(start, end, pending.quoted, pending.tabs)?;
        Ok(())
    }

    /// The reserved word that stands here, and where it ends.
    fn keyword(&mut self) -> Read<Option<(&'static str, usize)>> {
        let Some(first) = self.peek() else { return Ok(None) };
        if !matches!(first, b'!' | b'{' | b'}' | b'[' | b'a'..=b'z') {
            return Ok(None);
        }
        let start = self.pos;
        if self.looked.0 == start {
            return Ok(self.looked.1);
        }
        let (mut word, mut length) = ([0u8; 8], 0);
        let end = loop {
            match self.peek() {
                None | Some(b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>') => break self.pos,
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
        let mut known = RESERVED.iter().find(|known| known.as_bytes() == &word[..length]).copied();
        if known.is_some_and(|known| BASH_ONLY.contains(&known)) && !self.bash() {
            known = None;
        }
        if known.is_some() {
            let next = self.peek();
            if matches!(next, Some(b'<' | b'>')) && self.peek_second() == Some(b'(') {
                return self.guard("a reserved word goes on with `<(`: put a blank between");
            }
            if known == Some("!") && next == Some(b'(') {
                return self.guard("`!(` is a pattern for some shells: put a blank between");
            }
        }
        self.pos = start;
        self.looked = (start, known.map(|known| (known, end)));
        Ok(self.looked.1)
    }

    /// Takes the reserved word `word`, or stops.
    fn expect(&mut self, word: &'static str, message: &'static str) -> Read<()> {
        match self.keyword()? {
            Some((known, end)) if known == word => {
                self.pos = end;
                Ok(())
            }
            _ => self.syntax(message),
        }
    }

    fn and_or(&mut self, list: &mut List) -> Read<()> {
        let (mut certain, mut and) = (true, false);
        loop {
            let nodes = self.pipeline(&mut certain)?;
            list.push(Item { and, certain: certain && nodes.len() == 1, nodes });
            self.blanks();
            let Some(byte @ (b'&' | b'|')) = self.peek() else { return Ok(()) };
            if self.peek_second() != Some(byte) {
                return Ok(());
            }
            self.pos += 1;
            self.peek();
            self.pos += 1;
            (certain, and) = (false, byte == b'&');
            self.lines()?;
        }
    }

    fn pipeline(&mut self, certain: &mut bool) -> Read<Vec<Node>> {
        let mut nodes = Vec::new();
        let mut prefixed = false;
        loop {
            self.blanks();
            match self.keyword()? {
                Some(("!", end)) => self.pos = end,
                Some(("time", end)) => {
                    self.pos = end;
                    for option in ["-p", "--"] {
                        self.blanks();
                        let rest = &self.text[self.pos..];
                        if rest.strip_prefix(option).is_some_and(|rest| rest.starts_with([' ', '\t', '\n'])) {
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
            // bash: `time` and `!` alone run nothing.
            *certain = false;
            return Ok(nodes);
        }
        loop {
            nodes.push(self.command(nodes.is_empty())?);
            self.blanks();
            if self.peek() != Some(b'|') || self.peek_second() == Some(b'|') {
                return Ok(nodes);
            }
            self.pos += 1;
            if self.peek() == Some(b'&') && self.bash() {
                self.pos += 1;
            }
            self.lines()?;
        }
    }

    fn command(&mut self, first: bool) -> Read<Node> {
        self.open()?;
        let node = self.command_itself(first)?;
        self.close();
        Ok(node)
    }

    fn command_itself(&mut self, first: bool) -> Read<Node> {
        self.blanks();
        if self.peek() == Some(b'(') {
            if self.peek_second() == Some(b'(') && self.bash() {
                self.pos += 1;
                self.peek();
                self.pos += 1;
                if let Some(word) = self.arithmetic_word()? {
                    return self.compound(Compound { words: vec![word], ..Compound::default() });
                }
                // Two subshells. The outer bracket is taken; the inner one is where reading goes on.
                self.pos -= 1;
            } else {
                self.pos += 1;
            }
            let mut list = List::new();
            self.list(&mut list, Until::Parenthesis)?;
            if !self.take(b')') {
                return self.syntax("a subshell is not closed: close it with `)`");
            }
            return self.compound(Compound { lists: vec![list], ..Compound::default() });
        }
        let Some((word, end)) = self.keyword()? else { return self.simple() };
        // `time` counts at the beginning of a pipeline only; behind `|` it is a program.
        if word == "time" || (word == "!" && !first) {
            return self.simple();
        }
        self.pos = end;
        match word {
            "{" => {
                let list = self.block("}")?;
                self.compound(Compound { lists: vec![list], group: true, ..Compound::default() })
            }
            "if" => self.condition(),
            "while" | "until" => {
                let mut lists = vec![List::new()];
                self.list(&mut lists[0], Until::Words(&["do"]))?;
                self.expect("do", "a loop has no `do`: write it")?;
                lists.push(self.block("done")?);
                self.compound(Compound { lists, ..Compound::default() })
            }
            "for" | "select" => self.each(word == "for"),
            "case" => self.case(),
            "[[" => self.test(),
            "function" => {
                self.blanks();
                let name = self.word(Kind::First)?;
                self.blanks();
                if self.take(b'(') {
                    self.blanks();
                    if !self.take(b')') {
                        return self.syntax("`()` is expected behind a function's name");
                    }
                }
                self.function(name)
            }
            "coproc" => self.coproc(),
            _ => {
                self.syntax("a reserved word stands where a command should begin: write the command, or quote the word")
            }
        }
    }

    /// A list and the reserved word that ends it.
    fn block(&mut self, end: &'static str) -> Read<List> {
        let mut list = List::new();
        let until: &'static [&'static str] = if end == "}" { &["}"] } else { &["done"] };
        self.list(&mut list, Until::Words(until))?;
        self.expect(end, "a group or a loop is not closed: write its `}` or `done`")?;
        Ok(list)
    }

    /// With the redirections behind it.
    fn compound(&mut self, mut compound: Compound) -> Read<Node> {
        loop {
            self.blanks();
            if !self.redirect(&mut compound.redirects, &mut compound.sets)? {
                return Ok(Node::Compound(compound));
            }
        }
    }

    fn condition(&mut self) -> Read<Node> {
        let mut lists = Vec::new();
        loop {
            let mut list = List::new();
            self.list(&mut list, Until::Words(&["then"]))?;
            self.expect("then", "an `if` has no `then`: write it")?;
            lists.push(list);
            let mut list = List::new();
            self.list(&mut list, Until::Words(&["elif", "else", "fi"]))?;
            lists.push(list);
            match self.keyword()? {
                Some(("elif", end)) => self.pos = end,
                Some(("else", end)) => {
                    self.pos = end;
                    let mut list = List::new();
                    self.list(&mut list, Until::Words(&["fi"]))?;
                    lists.push(list);
                    break;
                }
                _ => break,
            }
        }
        self.expect("fi", "an `if` is not closed: write its `fi`")?;
        self.compound(Compound { lists, ..Compound::default() })
    }

    /// What follows `for` and `select`.
    fn each(&mut self, arithmetic: bool) -> Read<Node> {
        let mut compound = Compound::default();
        self.blanks();
        if arithmetic && self.peek() == Some(b'(') && self.peek_second() == Some(b'(') && self.bash() {
            self.pos += 1;
            self.peek();
            self.pos += 1;
            let Some(word) = self.arithmetic_word()? else {
                return self.syntax("the `((` of a loop is not closed: close it with `))`");
            };
            compound.words.push(word);
            self.blanks();
            self.take(b';');
        } else {
            compound.sets.push(self.word(Kind::Argument)?);
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
                        _ => compound.words.push(self.word(Kind::Argument)?),
                    }
                }
            }
        }
        self.lines()?;
        let list = match self.keyword()? {
            Some(("do", end)) => {
                self.pos = end;
                self.block("done")?
            }
            Some(("{", end)) if self.bash() => {
                self.pos = end;
                self.block("}")?
            }
            _ => return self.syntax("a loop has no `do`: write it"),
        };
        compound.lists.push(list);
        self.compound(compound)
    }

    /// Takes `word` if it is what stands here, unquoted and whole.
    fn lower_word(&mut self, word: &str) -> bool {
        let start = self.pos;
        for byte in word.bytes() {
            if !self.take(byte) {
                self.pos = start;
                return false;
            }
        }
        if matches!(self.peek(), None | Some(b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>')) {
            return true;
        }
        self.pos = start;
        false
    }

    fn case(&mut self) -> Read<Node> {
        let mut compound = Compound::default();
        self.blanks();
        compound.words.push(self.word(Kind::Argument)?);
        self.lines()?;
        if !self.lower_word("in") {
            return self.syntax("a `case` has no `in`: write it");
        }
        loop {
            self.lines()?;
            let bracket = self.take(b'(');
            if !bracket && self.lower_word("esac") {
                break;
            }
            loop {
                self.blanks();
                compound.words.push(self.word(Kind::Pattern)?);
                self.blanks();
                if self.take(b')') {
                    break;
                }
                if !self.take(b'|') {
                    return self.syntax("a pattern of `case` is not closed: close it with `)`");
                }
            }
            let mut list = List::new();
            self.list(&mut list, Until::Clause)?;
            compound.lists.push(list);
            if self.take(b';') {
                if self.take(b';') {
                    if self.peek() == Some(b'&') && self.bash() {
                        self.pos += 1;
                    }
                } else {
                    self.take(b'&');
                }
            } else {
                self.expect("esac", "a `case` is not closed: write its `esac`")?;
                break;
            }
        }
        self.compound(compound)
    }

    /// What follows `[[`.
    fn test(&mut self) -> Read<Node> {
        let mut compound = Compound::default();
        let mut kind = Kind::Argument;
        let mut depth = 0usize;
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.pos += 1;
            }
            match self.peek() {
                None => return self.syntax("`[[` is not closed: close it with `]]`"),
                Some(b'\n') => self.newline()?,
                Some(b'#') => return self.guard("`#` in `[[ ]]`: quote it"),
                Some(b'(') if kind != Kind::Regex => {
                    depth += 1;
                    self.pos += 1;
                }
                Some(b')') if depth > 0 => {
                    depth -= 1;
                    self.pos += 1;
                }
                Some(byte @ (b'&' | b'|')) if self.peek_second() == Some(byte) => {
                    self.pos += 1;
                    self.peek();
                    self.pos += 1;
                }
                Some(b'<' | b'>') if self.peek_second() != Some(b'(') => self.pos += 1,
                Some(b';' | b'&' | b')') => {
                    return self.syntax("an operator that `[[ ]]` does not know: close it with `]]` before");
                }
                Some(b'|') if kind != Kind::Regex => {
                    return self.syntax("an operator that `[[ ]]` does not know: close it with `]]` before");
                }
                Some(_) => {
                    let word = self.word(kind)?;
                    kind = Kind::Argument;
                    match word.source() {
                        "]]" => break,
                        "=~" => kind = Kind::Regex,
                        "==" | "=" | "!=" => kind = Kind::Pattern,
                        "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-v" | "-R" => self.evaluates = true,
                        _ => {}
                    }
                    compound.words.push(word);
                }
            }
        }
        self.compound(compound)
    }

    fn coproc(&mut self) -> Read<Node> {
        self.blanks();
        let mut compound = Compound::default();
        let begins = |parser: &mut Self| -> Read<bool> {
            parser.blanks();
            let word = parser.keyword()?;
            Ok(parser.peek() == Some(b'(') || word.is_some())
        };
        if !begins(self)? {
            // A name counts only before a compound command; else it is the command.
            let start = self.pos;
            let word = self.word(Kind::First)?;
            if word.exact && begins(self)? {
                compound.sets.push(word);
            } else {
                self.pos = start;
            }
        }
        let node = self.command(true)?;
        compound.lists.push(vec![Item { nodes: vec![node], and: false, certain: false }]);
        Ok(Node::Compound(compound))
    }

    /// The body of function `name`.
    fn function(&mut self, name: Word) -> Read<Node> {
        if !name.exact {
            return self.guard("a function whose name is not written out: write it out");
        }
        self.lines()?;
        let body = self.command(true)?;
        if !matches!(body, Node::Compound(_)) && self.bash() {
            return self.syntax("a function's body has to be a group: put it in `{ }`");
        }
        Ok(Node::Function { name, body: Box::new(body) })
    }

    fn simple(&mut self) -> Read<Node> {
        let mut simple = Simple::default();
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
                    let name = simple.words.len() == 1 && simple.assigns.is_empty() && simple.redirects.is_empty();
                    if !name {
                        return self.syntax("`(` in the middle of a command: quote it");
                    }
                    self.pos += 1;
                    self.blanks();
                    if !self.take(b')') {
                        return self.syntax("`(` behind a command's name: quote it");
                    }
                    let name = simple.words.remove(0);
                    return self.function(name);
                }
                Some(_) => {
                    let word = self.word(if simple.words.is_empty() { Kind::First } else { Kind::Argument })?;
                    if simple.words.is_empty() && word.name.is_some() {
                        simple.assigns.push(word);
                    } else {
                        simple.words.push(word);
                    }
                }
            }
        }
        if self.pos == start {
            return self.syntax("a command is missing here: write it, or take the operator away");
        }
        Ok(Node::Simple(simple))
    }

    /// Takes a redirection, if one stands here.
    fn redirect(&mut self, redirects: &mut Vec<Redirect>, sets: &mut Vec<Word>) -> Read<bool> {
        let start = self.pos;
        let mut number = None;
        match self.peek() {
            Some(b'0'..=b'9') => {
                let mut digits = String::new();
                while let Some(digit @ b'0'..=b'9') = self.peek() {
                    digits.push(char::from(digit));
                    self.pos += 1;
                }
                number = Some(digits);
            }
            Some(b'{') => {
                self.pos += 1;
                let at = self.place();
                let name = self.pos;
                while matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'[' | b']')) {
                    self.pos += 1;
                }
                let name = self.text[name..self.pos].replace("\\\n", "");
                if self.take(b'}') && !name.is_empty() && matches!(self.peek(), Some(b'<' | b'>')) && self.bash() {
                    if self.peek_second() == Some(b'(') {
                        return self.guard("`<(` behind a bracket: put a blank between");
                    }
                    sets.push(Word { name: Some(name.len()), ..Word::literal(name, at) });
                    number = Some("9".to_owned());
                } else {
                    self.pos = start;
                    return Ok(false);
                }
            }
            Some(b'&') if self.peek_second() == Some(b'>') && self.bash() => {
                self.pos += 1;
                self.peek();
                self.pos += 1;
                self.take(b'>');
                self.blanks();
                let target = self.word(Kind::Argument)?;
                redirects.push(Redirect { operator: "&>", input: false, target, body: None });
                return Ok(true);
            }
            _ => {}
        }
        let Some(direction @ (b'<' | b'>')) = self.peek() else {
            self.pos = start;
            return Ok(false);
        };
        if self.peek_second() == Some(b'(') && self.bash() {
            self.pos = start;
            return Ok(false);
        }
        self.pos += 1;
        let operator = match (direction, self.peek()) {
            (b'<', Some(b'<')) => {
                self.pos += 1;
                if self.peek() == Some(b'<') && self.bash() {
                    self.pos += 1;
                    "<<<"
                } else if self.take(b'-') {
                    "<<-"
                } else {
                    "<<"
                }
            }
            (b'<', Some(b'&')) => "<&",
            (b'<', Some(b'>')) => "<>",
            (b'<', _) => "<",
            (_, Some(b'>')) => ">>",
            (_, Some(b'|')) => ">|",
            (_, Some(b'&')) => ">&",
            _ => ">",
        };
        if matches!(operator, "<&" | "<>" | ">>" | ">|" | ">&") {
            self.pos += 1;
        }
        let input =
            direction == b'<' && number.as_deref().is_none_or(|number| number.trim_start_matches('0').is_empty());
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.pos += 1;
        }
        if self.peek() == Some(b'#') {
            return self.guard("`#` behind a redirection: quote it");
        }
        let target = self.word(Kind::Argument)?;
        let mut body = None;
        if matches!(operator, "<<" | "<<-") {
            if !target.exact || !target.parts.is_empty() || target.source().contains(['$', '`', '\n']) {
                return self.guard("a here-document whose delimiter is no plain word: write a plain one");
            }
            body = Some(self.bodies.len());
            self.pending.push(Pending {
                body: self.bodies.len(),
                delimiter: target.text.clone(),
                quoted: target.quoted,
                tabs: operator == "<<-",
            });
            self.bodies.push(Word::literal("", target.at));
        }
        redirects.push(Redirect { operator, input, target, body });
        Ok(true)
    }
}
