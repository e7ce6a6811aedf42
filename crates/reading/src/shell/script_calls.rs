//! The calls of a script with their arguments, about which authors get remarks. These calls decide nothing.

use crate::{ShellNode, Word};

/// What a script does that an author should perhaps write in another way. All offsets count bytes of the script.
#[derive(Debug, Clone, Default)]
pub struct ScriptCalls {
    /// Calls of programs and builtins.
    pub calls: Vec<ScriptCall>,
    /// Offsets of the files of redirections `<`.
    pub inputs: Vec<usize>,
    /// Offsets of menus (`select`) that read the standard input of the script.
    pub menus: Vec<usize>,
}

/// A call of a program or a builtin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptCall {
    /// Offset of the name.
    pub at: usize,
    /// Name and arguments.
    pub words: Vec<CallWord>,
    /// Wrappers around the call, the outermost first.
    pub via: Vec<String>,
    /// True if a pipe or a redirection gives the call its standard input.
    pub is_fed: bool,
    /// True if the call is in a function, whose caller may give the standard input.
    pub in_function: bool,
    /// True if the script does not wait for the end of the call: the call runs in the background, or another command of
    /// its pipeline can end it.
    pub is_ended: bool,
}

/// A word of a call after quote removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallWord {
    /// Text of the word, with a [`HOLE`](crate::shell::syntax::HOLE) for each part that is known only at
    /// run time.
    pub text: String,
    /// Text of the word in the script.
    pub source: String,
    /// Offset of the word.
    pub at: usize,
}

impl ScriptCall {
    /// Returns the name of the program without its directory, or an empty text.
    pub fn program(&self) -> &str {
        self.words
            .first()
            .and_then(|name| name.text.rsplit('/').next())
            .unwrap_or_default()
    }
}

impl From<&Word> for CallWord {
    fn from(word: &Word) -> Self {
        Self {
            text: word.text.clone(),
            source: word.source().to_owned(),
            at: word.at,
        }
    }
}

/// Returns true if the command reads all of its input, so that it never ends the command before it.
pub fn reads_all(node: &ShellNode) -> bool {
    let ShellNode::Simple(simple) = node else {
        return false;
    };
    let stops = |word: &Word| {
        word.text.starts_with("-m") || word.text.starts_with("-q") || word.text == "--quiet"
    };
    let name = simple
        .words
        .first()
        .and_then(Word::exactly)
        .unwrap_or_default();
    READERS.contains(&name) && !simple.words.iter().any(stops)
}

/// Programs that read all of their input.
const READERS: [&str; 10] = [
    "grep", "egrep", "sort", "uniq", "tee", "cat", "tr", "cut", "wc", "jq",
];
