//! Structure of a script as bytes, so that it is small and can be compared quickly.
//!
//! Two scripts have equal bytes exactly if their commands, words, redirections and here-documents are equal. The texts of
//! words are in the bytes as they are. No other part contains a byte of a character outside of ASCII, so a program that
//! marks words with such characters can find its marks. Bytes from 0xF8 on, which UTF-8 does not use, separate the parts.

use crate::shell::syntax::{CommandList, Pipeline, Redirect, Script, ShellNode, Word, WordPart};

/// Structure of a script.
#[derive(Debug, Default)]
pub struct ScriptShape {
    /// The structure.
    pub bytes: Vec<u8>,
    /// Text and delimiter of each here-document.
    pub here_documents: Vec<(String, String)>,
}

/// Whether the structure contains which words are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeQuotes {
    /// `a` and `'a'` are different words.
    Kept,
    /// `a` and `'a'` are equal words.
    Ignored,
}

/// Writer of the structure.
pub(super) struct ShapeWriter {
    quotes: ShapeQuotes,
    pub(super) shape: ScriptShape,
}

impl ShapeWriter {
    /// Creates a writer for a script of this many bytes.
    pub(super) fn new(quotes: ShapeQuotes, length: usize) -> Self {
        let bytes = Vec::with_capacity(2 * length + 64);
        Self {
            quotes,
            shape: ScriptShape {
                bytes,
                here_documents: Vec::new(),
            },
        }
    }

    /// Writes the commands of a script.
    pub(super) fn reading(&mut self, script: &Script) {
        self.list(script, &script.list);
    }

    fn put(&mut self, byte: u8) {
        self.shape.bytes.push(byte);
    }

    fn list(&mut self, script: &Script, list: &CommandList) {
        self.put(LIST);
        list.iter()
            .for_each(|pipeline| self.pipeline(script, pipeline));
        self.put(END);
    }

    fn pipeline(&mut self, script: &Script, one: &Pipeline) {
        self.put(PIPELINE);
        self.put(flags(&[one.and, one.negated, one.certain]));
        one.nodes.iter().for_each(|node| self.node(script, node));
        self.put(END);
    }

    fn node(&mut self, script: &Script, node: &ShellNode) {
        self.put(NODE);
        match node {
            ShellNode::Simple(simple) => {
                self.put(b's');
                self.words(script, &simple.assigns);
                self.words(script, &simple.words);
                self.redirects(script, &simple.redirects);
            }
            ShellNode::Compound(compound) => {
                self.put(if compound.read { b'p' } else { b'c' });
                self.words(script, &compound.sets);
                self.words(script, &compound.words);
                compound
                    .lists
                    .iter()
                    .for_each(|list| self.list(script, list));
                self.put(END);
                self.redirects(script, &compound.redirects);
            }
            ShellNode::Function { name, body } => {
                self.put(b'f');
                self.word(script, name);
                self.node(script, body);
            }
        }
    }

    fn words(&mut self, script: &Script, words: &[Word]) {
        words.iter().for_each(|word| self.word(script, word));
        self.put(END);
    }

    fn redirects(&mut self, script: &Script, redirects: &[Redirect]) {
        for one in redirects {
            self.put(REDIRECT);
            let body = one.body.and_then(|body| script.bodies.get(body));
            self.put(flags(&[one.input, body.is_some()]));
            self.plain(one.operator);
            self.word(script, &one.target);
            if let Some(body) = body {
                self.plain(&one.target.text);
                self.word(script, body);
                self.shape
                    .here_documents
                    .push((body.text.clone(), one.target.text.clone()));
            }
        }
        self.put(END);
    }

    fn word(&mut self, script: &Script, word: &Word) {
        self.put(WORD);
        let quoted = word.quoted && self.quotes == ShapeQuotes::Kept;
        self.put(flags(&[
            word.exact,
            word.one,
            quoted,
            word.glob,
            word.name.is_some(),
        ]));
        if let Some(length) = word.name {
            self.plain(&length.to_string());
        }
        self.shape.bytes.extend_from_slice(word.text.as_bytes());
        self.words(script, &word.elements);
        for part in &word.parts {
            match part {
                WordPart::Script(inner) => self.list(script, inner),
                WordPart::Sets(name, _) => self.effect(name),
                WordPart::Unknown(reason, _) => self.effect(reason.text),
                // Whether a text would run a command depends on the text. The search for commands reports it.
                WordPart::Trap(_) => {}
            }
        }
        self.put(END);
    }

    fn effect(&mut self, text: &str) {
        self.put(EFFECT);
        self.plain(text);
    }

    /// Writes a text that is not the text of a word, without bytes of characters outside of ASCII.
    fn plain(&mut self, text: &str) {
        for byte in text.bytes() {
            if byte.is_ascii() {
                self.put(byte);
            } else {
                self.put(OTHER);
                self.put(byte & 0x7f);
            }
        }
        self.put(END);
    }
}

/// Returns the flags as one ASCII byte.
fn flags(flags: &[bool]) -> u8 {
    flags
        .iter()
        .fold(0, |byte, flag| byte << 1 | u8::from(*flag))
}

const LIST: u8 = 0xf8;
const PIPELINE: u8 = 0xf9;
const NODE: u8 = 0xfa;
const WORD: u8 = 0xfb;
const REDIRECT: u8 = 0xfc;
const EFFECT: u8 = 0xfd;
const OTHER: u8 = 0xfe;
const END: u8 = 0xff;
