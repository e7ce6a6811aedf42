//! The syntax tree of a script, its limits, and the parser.
//!
//! There are two dialects, bash and dash, because one text can be two scripts. For example, `((rm x))` is arithmetic in
//! bash and two subshells in dash. A text that a shell may read differently from this parser is refused
//! ([`SyntaxFlaw::guard`]).

use crate::UnknownReason;

/// Placeholder for a part of a word that is known only at run time. It is a Unicode noncharacter, and a script that
/// contains it is refused.
pub const HOLE: char = '\u{10FFFE}';
/// Maximum nesting of brackets, compound commands and substitutions, because the stack is limited.
pub const MAX_DEPTH: usize = 100;

/// Grammar of a text.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Dialect {
    /// GNU bash, called as `bash` or as `sh`.
    #[default]
    Bash,
    /// dash and similar shells, with the POSIX grammar only.
    Dash,
}

/// Reason why the parser stopped.
#[derive(Clone, Copy)]
pub struct SyntaxFlaw {
    /// Byte offset in the outermost script.
    pub at: usize,
    /// The problem and its correction.
    pub message: &'static str,
    /// True if the shell may accept the text, although this parser cannot read it with certainty. False if the shell
    /// reports a syntax error.
    pub guard: bool,
}

/// Position of a text in the outermost script.
#[derive(Clone, Copy)]
pub enum ByteOrigin {
    /// Offset to add to the position of a byte.
    Shift(usize),
    /// Position of every byte, because the text was changed.
    Fixed(usize),
}

impl ByteOrigin {
    /// Returns the position of the byte `at` in the outermost script.
    pub fn place(self, at: usize) -> usize {
        match self {
            Self::Shift(by) => by + at,
            Self::Fixed(place) => place,
        }
    }
}

/// Result of parsing a text.
pub struct Script {
    pub list: CommandList,
    /// Bodies of here-documents, to which redirections refer by index.
    pub bodies: Vec<Word>,
    /// Places of the comments, in order, each to the end of its line.
    pub comments: Vec<usize>,
    /// True if the text evaluates the value of a variable as arithmetic or as a name.
    pub evaluates: bool,
    /// True if the other dialect may read the text differently.
    pub differs: bool,
    /// Error at which the parser stopped. `list` contains the commands before the error.
    pub flaw: Option<SyntaxFlaw>,
}

/// Commands in script order.
pub type CommandList = Vec<Pipeline>;

/// A pipeline.
#[derive(Default)]
pub struct Pipeline {
    pub nodes: Vec<ShellNode>,
    /// True after `&&`, so that the pipeline runs only if the previous pipeline succeeded.
    pub and: bool,
    /// True after `!`.
    pub negated: bool,
    /// True if this shell certainly runs the pipeline each time the list runs. The value is false if the pipeline has
    /// several commands, follows `&&` or `||`, or runs in the background.
    pub certain: bool,
    /// True if the pipeline runs in the background.
    pub background: bool,
    /// True if only function definitions precede the pipeline on its line. After an error in an expansion or an
    /// assignment, bash skips the rest of the line.
    pub first: bool,
}

/// One command.
pub enum ShellNode {
    /// `A=1 name word >file`
    Simple(SimpleCommand),
    /// A command with inner lists, for example a group, a condition, a loop, `case`, `[[ ]]` or `(( ))`.
    Compound(CompoundCommand),
    /// `name() body`
    Function {
        /// Name of the function.
        name: Word,
        body: Box<ShellNode>,
    },
}

/// A simple command.
#[derive(Default)]
pub struct SimpleCommand {
    /// Assignments before the first word.
    pub assigns: Vec<Word>,
    /// Name and arguments.
    pub words: Vec<Word>,
    pub redirects: Vec<Redirect>,
}

/// A compound command.
#[derive(Default)]
pub struct CompoundCommand {
    /// Variables that the command sets (`for x`, `select x`, `coproc x`).
    pub sets: Vec<Word>,
    /// Words that the shell expands but does not run, in `for`, `case`, `[[ ]]` and `(( ))`.
    pub words: Vec<Word>,
    pub lists: Vec<CommandList>,
    pub redirects: Vec<Redirect>,
    /// True for `select`.
    pub menu: bool,
    /// True if the script may read the command's output (`coproc`).
    pub read: bool,
}

impl CompoundCommand {
    /// Returns a command that only has these lists.
    pub fn of(lists: Vec<CommandList>) -> Self {
        Self {
            lists,
            ..Self::default()
        }
    }
}

/// A redirection.
pub struct Redirect {
    /// Operator without the descriptor.
    pub operator: &'static str,
    /// True if the redirection changes standard input: `<` without a number, or any operator with the number 0.
    pub input: bool,
    /// File, descriptor or delimiter.
    pub target: Word,
    /// Index of the body if the redirection is a here-document.
    pub body: Option<usize>,
}

/// Word without quotes, with all parts that are known before the run.
#[derive(Clone, Default)]
pub struct Word {
    /// Byte offset of the word in the outermost script.
    pub at: usize,
    /// The text of the word, with a [`HOLE`] for each unknown part.
    pub text: String,
    /// Source text of the word, if different from `text`.
    pub raw: Option<Box<str>>,
    /// True if `text` has no unknown part and becomes exactly one field.
    pub exact: bool,
    /// True if every expansion of the word is exactly one field.
    pub one: bool,
    /// True if the word has an unquoted number such as `$#`, which is one field unless `IFS` contains digits.
    pub number: bool,
    /// True if a part of the word is quoted.
    pub quoted: bool,
    /// True if the word would be exact without its pathname patterns. Each resulting field then matches a pattern.
    pub glob: bool,
    /// True if the word assigns elements of an array.
    pub array: bool,
    /// Elements of the array, without the effects of their expansions, which are in `parts`.
    pub elements: Vec<Word>,
    /// Length of the variable's name in `text`, if the word has the form of an assignment.
    pub name: Option<usize>,
    /// Effects of the expansion.
    pub parts: Vec<WordPart>,
}

/// Effect of the expansion of a word.
#[derive(Clone)]
pub enum WordPart {
    /// A substitution, which runs a list of commands.
    Script(std::rc::Rc<CommandList>),
    /// A variable that an expansion `${name:=word}` or an arithmetic expression sets.
    Sets(String, usize),
    /// A text that runs a command if the shell evaluates it as arithmetic or as a name.
    Trap(usize),
    /// An unknown effect, with the reason.
    Unknown(UnknownReason, usize),
}

impl Script {
    /// Returns the body of a here-document.
    pub fn body(&self, redirect: &Redirect) -> Option<&Word> {
        self.bodies.get(redirect.body?)
    }

    /// Calls `visit` for each word of the script, also in substitutions and here-documents. The body of a here-document
    /// comes with its delimiter.
    pub fn each_word(&self, visit: &mut dyn FnMut(&Word, Option<&Word>)) {
        self.each_of_list(&self.list, visit);
    }

    fn each_of_list(&self, list: &CommandList, visit: &mut dyn FnMut(&Word, Option<&Word>)) {
        for node in list.iter().flat_map(|pipeline| &pipeline.nodes) {
            self.each_of_node(node, visit);
        }
    }

    fn each_of_node(&self, node: &ShellNode, visit: &mut dyn FnMut(&Word, Option<&Word>)) {
        let (words, redirects) = match node {
            ShellNode::Simple(simple) => ([&simple.assigns, &simple.words], &simple.redirects),
            ShellNode::Compound(compound) => {
                for list in &compound.lists {
                    self.each_of_list(list, visit);
                }
                ([&compound.sets, &compound.words], &compound.redirects)
            }
            ShellNode::Function { name, body } => {
                self.each_in(name, None, visit);
                return self.each_of_node(body, visit);
            }
        };
        for word in words.into_iter().flatten() {
            self.each_in(word, None, visit);
        }
        for redirect in redirects {
            self.each_in(&redirect.target, None, visit);
            if let Some(body) = self.body(redirect) {
                self.each_in(body, Some(&redirect.target), visit);
            }
        }
    }

    /// Calls `visit` for the word and each word in it.
    pub fn each_in(
        &self,
        word: &Word,
        delimiter: Option<&Word>,
        visit: &mut dyn FnMut(&Word, Option<&Word>),
    ) {
        visit(word, delimiter);
        for element in &word.elements {
            self.each_in(element, None, visit);
        }
        for list in word.lists() {
            self.each_of_list(list, visit);
        }
    }
}

impl Word {
    /// Returns the commands of each substitution in the word.
    pub fn lists(&self) -> impl Iterator<Item = &CommandList> {
        self.parts.iter().filter_map(|part| match part {
            WordPart::Script(list) => Some(&**list),
            WordPart::Sets(..) | WordPart::Unknown(..) | WordPart::Trap(_) => None,
        })
    }

    /// Returns a word that is completely known.
    pub fn literal(text: impl Into<String>, at: usize) -> Self {
        Self {
            at,
            text: text.into(),
            exact: true,
            one: true,
            ..Self::default()
        }
    }

    /// Returns a word for any number of unknown words.
    pub fn unknown(at: usize) -> Self {
        Self {
            at,
            text: HOLE.to_string(),
            raw: Some("".into()),
            ..Self::default()
        }
    }

    /// Returns the source text.
    pub fn source(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.text)
    }

    /// Returns the text for comparing it with operators, or `None` if the word is quoted.
    pub fn operator(&self) -> Option<&str> {
        (!self.quoted).then_some(self.text.as_str())
    }

    /// Returns the known text at the beginning of the word.
    pub fn known(&self) -> &str {
        match self.text.find(HOLE) {
            Some(hole) => &self.text[..hole],
            None => &self.text,
        }
    }

    /// Returns the text of the word, or `None` if a part of the text is unknown.
    pub fn exactly(&self) -> Option<&str> {
        self.exact.then_some(self.text.as_str())
    }

    /// Returns the word with an unknown part for each `mark`, which a program such as `xargs` replaces at run time.
    pub fn replaced(&self, mark: &str) -> Self {
        let mut word = self.clone();
        if !mark.is_empty() && word.text.contains(mark) {
            word.raw = Some(word.source().into());
            word.text = word.text.replace(mark, HOLE.encode_utf8(&mut [0; 4]));
            word.exact = false;
        }
        word
    }
}

/// Parses a text, and returns all commands before the first error.
pub fn parse(text: &str, dialect: Dialect, origin: ByteOrigin, depth: usize) -> Script {
    let mut parser = Parser::new(text, dialect, origin, depth);
    let mut list = CommandList::new();
    let flaw = parser.whole(&mut list).err();
    // The parser reads the command after `coproc` twice.
    parser.comments.sort_unstable();
    parser.comments.dedup();
    Script {
        list,
        bodies: parser.bodies,
        comments: parser.comments,
        evaluates: parser.evaluates,
        differs: parser.differs,
        flaw,
    }
}

/// Parser of a text.
pub struct Parser<'t> {
    pub text: &'t str,
    /// Position of the next byte in the text.
    pub pos: usize,
    /// Position of this text in the outermost script.
    pub origin: ByteOrigin,
    pub dialect: Dialect,
    /// Number of open constructs.
    pub depth: usize,
    /// Number of open substitutions in this text.
    pub substitutions: usize,
    /// Number of open function bodies in this text.
    pub functions: usize,
    /// Here-documents whose bodies begin at the next line.
    pub pending: Vec<PendingHereDocument>,
    /// Bodies of the here-documents that the parser has read.
    pub bodies: Vec<Word>,
    /// Places of the comments in this text, without those in here-documents and in backticks.
    pub comments: Vec<usize>,
    /// See [`Script::evaluates`].
    pub evaluates: bool,
    /// See [`Script::differs`].
    pub differs: bool,
    /// Number of further times that a text may be read twice because of `((`.
    pub retries: usize,
    /// Latest position of a search for a reserved word, with its result.
    pub looked: (usize, Option<(&'static str, usize)>),
}

/// A here-document whose body the parser has not read yet.
pub struct PendingHereDocument {
    /// Index in `bodies`.
    pub body: usize,
    /// Text of the line that ends the body.
    pub delimiter: String,
    /// True if the shell expands nothing in the body.
    pub quoted: bool,
    /// True for `<<-`, which ignores tabs at the beginning of lines.
    pub tabs: bool,
}

/// Result of the parser.
pub type Read<T> = Result<T, SyntaxFlaw>;

impl<'t> Parser<'t> {
    /// Reads a variable's name and removes line continuations.
    pub fn name(&mut self) -> String {
        let start = self.pos;
        while matches!(
            self.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_')
        ) {
            self.pos += 1;
        }
        self.text[start..self.pos].replace("\\\n", "")
    }

    /// Creates a parser.
    pub fn new(text: &'t str, dialect: Dialect, origin: ByteOrigin, depth: usize) -> Self {
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
            comments: Vec::new(),
            evaluates: false,
            differs: false,
            retries: 16,
            looked: (usize::MAX, None),
        }
    }

    /// Returns true if the dialect is bash, and sets `differs`. Call this only for text that bash and dash read
    /// differently.
    pub fn bash(&mut self) -> bool {
        self.differs = true;
        self.dialect == Dialect::Bash
    }

    /// Skips line continuations and returns the next byte.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.pos) == Some(&b'\\') && bytes.get(self.pos + 1) == Some(&b'\n') {
            self.pos += 2;
        }
        bytes.get(self.pos).copied()
    }

    /// Returns the byte after the next byte, without line continuations.
    pub fn peek_second(&mut self) -> Option<u8> {
        self.peek()?;
        let bytes = self.text.as_bytes();
        let mut at = self.pos + 1;
        while bytes.get(at) == Some(&b'\\') && bytes.get(at + 1) == Some(&b'\n') {
            at += 2;
        }
        bytes.get(at).copied()
    }

    /// Consumes the next character.
    pub fn next_character(&mut self) -> &'t str {
        let start = self.pos;
        let character = self.text[start..].chars().next();
        self.pos += character.map_or(0, char::len_utf8);
        &self.text[start..self.pos]
    }

    /// Consumes the next byte if the byte equals `byte`.
    pub fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.pos += usize::from(is);
        is
    }

    /// Consumes an operator of two bytes, which may contain a line continuation.
    pub fn take_two(&mut self) {
        self.pos += 1;
        self.peek();
        self.pos += 1;
    }

    /// Returns the position of the next byte in the outermost script.
    pub fn place(&self) -> usize {
        self.origin.place(self.pos)
    }

    /// Reports a syntax error of the shell.
    pub fn syntax<T>(&self, message: &'static str) -> Read<T> {
        Err(SyntaxFlaw {
            at: self.place(),
            message,
            guard: false,
        })
    }

    /// Refuses a text that the parser cannot read with certainty.
    pub fn guard<T>(&self, message: &'static str) -> Read<T> {
        Err(SyntaxFlaw {
            at: self.place(),
            message,
            guard: true,
        })
    }

    /// Counts an open construct, and fails above the maximum.
    pub fn open(&mut self) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return self.guard("the script is nested deeper than 100 levels: reduce the nesting");
        }
        self.depth += 1;
        Ok(())
    }

    pub fn close(&mut self) {
        self.depth -= 1;
    }
}

/// Returns true if `text` is a letter or `_`, then letters, digits and `_`, for example a valid name of a variable.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
