//! Structure of a script as a tree.

use crate::shell::syntax::{self, CommandList, HOLE, Redirect, Script, ShellNode, Word, WordPart};

/// Character in [`OutlineWord::text`] for a part that is known only at run time.
pub const UNKNOWN_PART: char = HOLE;

/// Structure of a script: its commands, words, redirections and here-documents.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The commands as bash reads them. If dash may read the script differently, a second list follows.
    pub readings: Vec<Vec<OutlinePipeline>>,
}

/// A pipeline of a script.
#[derive(Debug, Clone)]
pub struct OutlinePipeline {
    /// The commands of the pipeline.
    pub nodes: Vec<OutlineNode>,
}

/// A command of a script.
#[derive(Debug, Clone)]
pub enum OutlineNode {
    /// A simple command: assignments, words and redirections.
    Simple(OutlineCommand),
    /// A compound command.
    Compound {
        /// Variables that the command sets.
        sets: Vec<OutlineWord>,
        /// Words that the shell expands but does not run, for example in `for`, `case` and `[[ ]]`.
        words: Vec<OutlineWord>,
        /// Inner lists of commands.
        lists: Vec<Vec<OutlinePipeline>>,
        /// Redirections of the whole command.
        redirects: Vec<OutlineRedirect>,
        /// True for `coproc`.
        coprocess: bool,
    },
    /// A definition of a function.
    Function(OutlineWord, Box<OutlineNode>),
}

/// A simple command.
#[derive(Debug, Clone)]
pub struct OutlineCommand {
    /// Assignments before the name.
    pub assigns: Vec<OutlineWord>,
    /// Name and arguments.
    pub words: Vec<OutlineWord>,
    /// Redirections.
    pub redirects: Vec<OutlineRedirect>,
}

/// A redirection.
#[derive(Debug, Clone)]
pub struct OutlineRedirect {
    /// Operator without the descriptor.
    pub operator: &'static str,
    /// True if the redirection changes standard input.
    pub input: bool,
    /// File, descriptor or delimiter.
    pub target: OutlineWord,
    /// Body of the here-document.
    pub body: Option<OutlineWord>,
}

/// A word after quote removal.
#[derive(Debug, Clone)]
pub struct OutlineWord {
    /// Text of the word, with an [`UNKNOWN_PART`] for each part that is known only at run time.
    pub text: String,
    /// True if the text has no unknown part and becomes one field.
    pub exact: bool,
    /// True if every expansion of the word is one field.
    pub one: bool,
    /// Elements of an array.
    pub elements: Vec<OutlineWord>,
    /// Commands of the substitutions in the word.
    pub lists: Vec<Vec<OutlinePipeline>>,
}

/// Returns the structure of a list of commands.
pub(super) fn outline_list(script: &Script, from: &CommandList) -> Vec<OutlinePipeline> {
    let pipeline = |one: &syntax::Pipeline| OutlinePipeline {
        nodes: one
            .nodes
            .iter()
            .map(|node| outline_node(script, node))
            .collect(),
    };
    from.iter().map(pipeline).collect()
}

fn outline_node(script: &Script, node: &ShellNode) -> OutlineNode {
    let words = |words: &[Word]| -> Vec<OutlineWord> {
        words.iter().map(|one| word(script, one)).collect()
    };
    match node {
        ShellNode::Simple(simple) => OutlineNode::Simple(OutlineCommand {
            assigns: words(&simple.assigns),
            words: words(&simple.words),
            redirects: redirects(script, &simple.redirects),
        }),
        ShellNode::Compound(compound) => OutlineNode::Compound {
            sets: words(&compound.sets),
            words: words(&compound.words),
            lists: compound
                .lists
                .iter()
                .map(|one| outline_list(script, one))
                .collect(),
            redirects: redirects(script, &compound.redirects),
            coprocess: compound.read,
        },
        ShellNode::Function { name, body } => {
            OutlineNode::Function(word(script, name), Box::new(outline_node(script, body)))
        }
    }
}

fn redirects(script: &Script, from: &[Redirect]) -> Vec<OutlineRedirect> {
    let redirect = |one: &Redirect| OutlineRedirect {
        operator: one.operator,
        input: one.input,
        target: word(script, &one.target),
        body: one
            .body
            .and_then(|body| script.bodies.get(body))
            .map(|body| word(script, body)),
    };
    from.iter().map(redirect).collect()
}

fn word(script: &Script, from: &Word) -> OutlineWord {
    let list = |part: &WordPart| match part {
        WordPart::Script(inner) => Some(outline_list(script, inner)),
        WordPart::Sets(..) | WordPart::Unknown(..) | WordPart::Trap(_) => None,
    };
    OutlineWord {
        text: from.text.clone(),
        exact: from.exact,
        one: from.one,
        elements: from.elements.iter().map(|one| word(script, one)).collect(),
        lists: from.parts.iter().filter_map(list).collect(),
    }
}

impl Outline {
    /// Calls `change` for each word of the script, also in substitutions and here-documents.
    pub fn each_word(&mut self, change: &mut dyn FnMut(&mut OutlineWord)) {
        for reading in &mut self.readings {
            each_in_list(reading, change);
        }
    }
}

impl OutlineWord {
    /// Calls `change` for this word and each word in it.
    pub fn each_word(&mut self, change: &mut dyn FnMut(&mut OutlineWord)) {
        change(self);
        self.elements
            .iter_mut()
            .for_each(|word| word.each_word(change));
        self.lists
            .iter_mut()
            .for_each(|list| each_in_list(list, change));
    }
}

fn each_in_list(list: &mut [OutlinePipeline], change: &mut dyn FnMut(&mut OutlineWord)) {
    for node in list.iter_mut().flat_map(|pipeline| &mut pipeline.nodes) {
        each_in_node(node, change);
    }
}

fn each_in_node(node: &mut OutlineNode, change: &mut dyn FnMut(&mut OutlineWord)) {
    let redirect = |one: &mut OutlineRedirect, change: &mut dyn FnMut(&mut OutlineWord)| {
        one.target.each_word(change);
        one.body.iter_mut().for_each(|body| body.each_word(change));
    };
    match node {
        OutlineNode::Simple(simple) => {
            simple
                .assigns
                .iter_mut()
                .chain(&mut simple.words)
                .for_each(|word| word.each_word(change));
            simple
                .redirects
                .iter_mut()
                .for_each(|one| redirect(one, change));
        }
        OutlineNode::Compound {
            sets,
            words,
            lists,
            redirects,
            ..
        } => {
            sets.iter_mut()
                .chain(words)
                .for_each(|word| word.each_word(change));
            lists.iter_mut().for_each(|list| each_in_list(list, change));
            redirects.iter_mut().for_each(|one| redirect(one, change));
        }
        OutlineNode::Function(name, body) => {
            name.each_word(change);
            each_in_node(body, change);
        }
    }
}
