//! The tree of a script, its limits, and how it is read.
//!
//! Two dialects are read, bash's and dash's, because one text is two scripts: `((rm x))` is arithmetic for the one and two
//! subshells for the other. What neither certainly reads as we do is refused ([`SyntaxFlaw::guard`]).

/// Stands in a text for what is known only when the script runs. A noncharacter; scripts that hold it are refused.
pub(super) const HOLE: char = '\u{10FFFE}';
/// Open brackets, compounds and substitutions at a time. Bounds the stack, here and in what walks the tree.
pub(super) const MAX_DEPTH: usize = 100;

/// Whose grammar a text is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// GNU bash, in its own mode or as `sh`.
    Bash,
    /// dash, and what is like it: the POSIX grammar and nothing else.
    Dash,
}

/// Why a text is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxFlaw {
    /// Where, as a byte of the outermost script.
    pub(super) at: usize,
    /// What happened, and what to do.
    pub(super) message: &'static str,
    /// The shell may well read it; we do not know how. Otherwise the shell itself stops here with a syntax error.
    pub(super) guard: bool,
}

/// Where the bytes of a text stand in the outermost script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrigin {
    /// Byte n is byte n plus this.
    Shift(usize),
    /// They were changed on the way: all of them are said to stand here.
    Fixed(usize),
}

impl ByteOrigin {
    /// Where byte `at` stands.
    pub(super) fn place(self, at: usize) -> usize {
        match self {
            Self::Shift(by) => by + at,
            Self::Fixed(place) => place,
        }
    }
}

/// What was read of a text.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Its commands.
    pub(super) list: CommandList,
    /// The bodies of its here-documents; a redirection names one by its index.
    pub(super) bodies: Vec<Word>,
    /// Something in it evaluates the value of a variable as arithmetic, or as a name.
    pub(super) evaluates: bool,
    /// The other dialect may read it otherwise.
    pub(super) differs: bool,
    /// Where reading stopped, if it did; what stands before is in `list`.
    pub(super) flaw: Option<SyntaxFlaw>,
}

/// Commands, one after the other.
pub(super) type CommandList = Vec<Pipeline>;

/// A pipeline.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Its commands.
    pub(super) nodes: Vec<ShellNode>,
    /// It runs only if what stands before it went well (`&&`).
    pub(super) and: bool,
    /// `!` stands before it.
    pub(super) negated: bool,
    /// It certainly runs in this shell when the list does: alone in its pipeline, not behind `&&` or `||`, not in the background.
    pub(super) certain: bool,
    /// Nothing but definitions of functions stands before it on its line. After an error in an expansion or an assignment
    /// bash drops the rest of the line, so what stands behind another command may never run.
    pub(super) first: bool,
}

/// One command.
#[derive(Debug)]
pub(super) enum ShellNode {
    /// `A=1 name word >file`
    Simple(SimpleCommand),
    /// Everything with lists within: groups, conditions, loops, `case`, `[[ ]]`, `(( ))`.
    Compound(CompoundCommand),
    /// `name() body`
    Function {
        /// Its name.
        name: Word,
        /// Its body.
        body: Box<ShellNode>,
    },
}

/// A simple command.
#[derive(Debug, Default)]
pub(super) struct SimpleCommand {
    /// The assignments before the first word.
    pub(super) assigns: Vec<Word>,
    /// Name and arguments.
    pub(super) words: Vec<Word>,
    /// Its redirections.
    pub(super) redirects: Vec<Redirect>,
}

/// A compound command.
#[derive(Debug, Default)]
pub(super) struct CompoundCommand {
    /// Variables that it sets (`for x`, `select x`, `coproc x`).
    pub(super) sets: Vec<Word>,
    /// Words that are expanded and run as nothing: of `for`, `case` and its patterns, `[[ ]]`, `(( ))`.
    pub(super) words: Vec<Word>,
    /// Its lists, in order.
    pub(super) lists: Vec<CommandList>,
    /// Its redirections.
    pub(super) redirects: Vec<Redirect>,
    /// The script may read what it writes (`coproc`).
    pub(super) read: bool,
}

/// A redirection.
#[derive(Debug)]
pub(super) struct Redirect {
    /// Its operator, without the descriptor.
    pub(super) operator: &'static str,
    /// It is for standard input: `<` without a number, or any with 0.
    pub(super) input: bool,
    /// The file, the descriptor, or the delimiter.
    pub(super) target: Word,
    /// Of a here-document: the index of its body.
    pub(super) body: Option<usize>,
}

/// A word, after quote removal as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Word {
    /// Where it begins, as a byte of the outermost script.
    pub(super) at: usize,
    /// What is known of it; a [`HOLE`] for each part that is not.
    pub(super) text: String,
    /// As it is written, where that is not `text`.
    pub(super) raw: Option<Box<str>>,
    /// `text` is all of it, and it is one field.
    pub(super) exact: bool,
    /// It is exactly one field, whatever it expands to.
    pub(super) one: bool,
    /// Some of it is quoted.
    pub(super) quoted: bool,
    /// It is inexact only by pathname patterns: each field that it becomes matches it.
    pub(super) glob: bool,
    /// Elements of an array are assigned.
    pub(super) array: bool,
    /// Length of the variable's name in `text`, if it has the form of an assignment.
    pub(super) name: Option<usize>,
    /// What its expansion does.
    pub(super) parts: Vec<WordPart>,
}

/// What the expansion of a word does.
#[derive(Debug, Clone)]
pub(super) enum WordPart {
    /// A substitution runs a list.
    Script(std::rc::Rc<CommandList>),
    /// `${name:=word}`, or arithmetic, sets a variable.
    Sets(String, usize),
    /// A text in it would run a command if it were evaluated as arithmetic or as a name.
    Trap(usize),
    /// Something that can't be known.
    Unknown(&'static str, usize),
}

impl Word {
    /// A word that is known whole.
    pub(super) fn literal(text: impl Into<String>, at: usize) -> Self {
        Self { at, text: text.into(), exact: true, one: true, ..Self::default() }
    }

    /// Any number of words that nobody knows.
    pub(super) fn unknown(at: usize) -> Self {
        Self { at, text: HOLE.to_string(), raw: Some("".into()), ..Self::default() }
    }

    /// As it is written.
    pub(super) fn source(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.text)
    }

    /// As an operator is compared: what stands unquoted, line continuations taken away.
    pub(super) fn operator(&self) -> Option<&str> {
        (!self.quoted).then_some(self.text.as_str())
    }

    /// What is known of its beginning.
    pub(super) fn known(&self) -> &str {
        match self.text.find(HOLE) {
            Some(hole) => &self.text[..hole],
            None => &self.text,
        }
    }

    /// The text, if all of it is known.
    pub(super) fn exactly(&self) -> Option<&str> {
        self.exact.then_some(self.text.as_str())
    }

    /// The text without what is known of it: a file name takes its place, at each `mark`.
    pub(super) fn replaced(&self, mark: &str) -> Self {
        let mut word = self.clone();
        if !mark.is_empty() && word.text.contains(mark) {
            word.raw = Some(word.source().into());
            word.text = word.text.replace(mark, HOLE.encode_utf8(&mut [0; 4]));
            word.exact = false;
        }
        word
    }
}

/// Reads a text. What can be read of it is in the result also where there is a flaw.
pub(super) fn parse(text: &str, dialect: Dialect, origin: ByteOrigin, depth: usize) -> Script {
    let mut parser = Parser::new(text, dialect, origin, depth);
    let mut script = Script::default();
    script.flaw = parser.whole(&mut script.list).err();
    script.bodies = parser.bodies;
    script.evaluates = parser.evaluates;
    script.differs = parser.differs;
    script
}

/// A place in a text, and what is known there.
pub(super) struct Parser<'t> {
    /// The text.
    pub(super) text: &'t str,
    /// The next byte.
    pub(super) pos: usize,
    /// Where its bytes stand in the outermost script.
    pub(super) origin: ByteOrigin,
    /// Whose grammar.
    pub(super) dialect: Dialect,
    /// What is open.
    pub(super) depth: usize,
    /// Substitutions that are open in this text.
    pub(super) substitutions: usize,
    /// Bodies of functions that are open in this text.
    pub(super) functions: usize,
    /// Here-documents whose bodies begin at the next line.
    pub(super) pending: Vec<PendingHereDocument>,
    /// Bodies that were read.
    pub(super) bodies: Vec<Word>,
    /// See [`Script::evaluates`].
    pub(super) evaluates: bool,
    /// See [`Script::differs`].
    pub(super) differs: bool,
    /// How often a text may still be read twice (`((`).
    pub(super) retries: usize,
    /// The last place where a reserved word was looked for, and what was found.
    pub(super) looked: (usize, Option<(&'static str, usize)>),
}

/// A here-document whose body was not read yet.
pub(super) struct PendingHereDocument {
    /// Which of `bodies` it is.
    pub(super) body: usize,
    /// The line that ends it.
    pub(super) delimiter: String,
    /// Nothing in it is expanded.
    pub(super) quoted: bool,
    /// `<<-`: tabs at the beginning of its lines do not count.
    pub(super) tabs: bool,
}

/// What reading gives.
pub(super) type Read<T> = Result<T, SyntaxFlaw>;

impl<'t> Parser<'t> {
    /// Takes a variable's name, line continuations taken away.
    pub(super) fn name(&mut self) -> String {
        let start = self.pos;
        while matches!(self.peek(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')) {
            self.pos += 1;
        }
        self.text[start..self.pos].replace("\\\n", "")
    }

    /// Before the first byte.
    pub(super) fn new(text: &'t str, dialect: Dialect, origin: ByteOrigin, depth: usize) -> Self {
        Self {
            text,
            pos: 0,
            origin,
            dialect,
            depth,
            substitutions: 0,
            functions: 0,
            pending: Vec::new(),
            bodies: Vec::new(),
            evaluates: false,
            differs: false,
            retries: 16,
            looked: (usize::MAX, None),
        }
    }

    /// Whether bash's grammar counts, where it is not dash's: to be asked only at what the two read differently.
    pub(super) fn bash(&mut self) -> bool {
        self.differs = true;
        self.dialect == Dialect::Bash
    }

    /// The next byte, over line continuations.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.pos) == Some(&b'\\') && bytes.get(self.pos + 1) == Some(&b'\n') {
            self.pos += 2;
        }
        bytes.get(self.pos).copied()
    }

    /// The byte after the next one, over line continuations.
    pub(super) fn peek_second(&mut self) -> Option<u8> {
        self.peek()?;
        let bytes = self.text.as_bytes();
        let mut at = self.pos + 1;
        while bytes.get(at) == Some(&b'\\') && bytes.get(at + 1) == Some(&b'\n') {
            at += 2;
        }
        bytes.get(at).copied()
    }

    /// Takes the next byte if it is `byte`.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.pos += usize::from(is);
        is
    }

    /// Takes the next two bytes, over line continuations: an operator that was seen.
    pub(super) fn take_two(&mut self) {
        self.pos += 1;
        self.peek();
        self.pos += 1;
    }

    /// Where the next byte stands in the outermost script.
    pub(super) fn place(&self) -> usize {
        self.origin.place(self.pos)
    }

    /// The shell stops here.
    pub(super) fn syntax<T>(&self, message: &'static str) -> Read<T> {
        Err(SyntaxFlaw { at: self.place(), message, guard: false })
    }

    /// We stop here.
    pub(super) fn guard<T>(&self, message: &'static str) -> Read<T> {
        Err(SyntaxFlaw { at: self.place(), message, guard: true })
    }

    /// One more thing is open.
    pub(super) fn open(&mut self) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return self.guard("nested deeper than 100: write it flatter");
        }
        self.depth += 1;
        Ok(())
    }

    /// One thing less is open.
    pub(super) fn close(&mut self) {
        self.depth -= 1;
    }
}

/// A variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
