//! Compares the structure of two scripts: their commands, words, redirections and here-documents.

use crate::{CommandList, Redirect, Script, ShellNode, Word, WordPart};

/// Two scripts that are compared.
pub struct Comparison<'c> {
    pub planned: &'c Script,
    pub found: &'c Script,
    /// True if `a` and `'a'` are different words.
    pub quotes: bool,
    /// Returns true if the second script has the right text in the place of the text of the first script.
    pub is_text: &'c dyn Fn(&str, &str) -> bool,
}

impl Comparison<'_> {
    /// Returns true if the two scripts have the same structure.
    pub fn is_same(&self) -> bool {
        self.is_same_list(&self.planned.list, &self.found.list)
    }

    fn is_same_list(&self, planned: &CommandList, found: &CommandList) -> bool {
        all(planned, found, |planned, found| {
            (planned.and, planned.negated, planned.certain)
                == (found.and, found.negated, found.certain)
                && all(&planned.nodes, &found.nodes, |planned, found| {
                    self.is_same_node(planned, found)
                })
        })
    }

    fn is_same_node(&self, planned: &ShellNode, found: &ShellNode) -> bool {
        match (planned, found) {
            (ShellNode::Simple(planned), ShellNode::Simple(found)) => {
                self.are_same_words(&planned.assigns, &found.assigns)
                    && self.are_same_words(&planned.words, &found.words)
                    && self.are_same_redirects(&planned.redirects, &found.redirects)
            }
            (ShellNode::Compound(planned), ShellNode::Compound(found)) => {
                planned.read == found.read
                    && self.are_same_words(&planned.sets, &found.sets)
                    && self.are_same_words(&planned.words, &found.words)
                    && all(&planned.lists, &found.lists, |planned, found| {
                        self.is_same_list(planned, found)
                    })
                    && self.are_same_redirects(&planned.redirects, &found.redirects)
            }
            (
                ShellNode::Function { name, body },
                ShellNode::Function {
                    name: found,
                    body: found_body,
                },
            ) => self.is_same_word(name, found) && self.is_same_node(body, found_body),
            _ => false,
        }
    }

    fn are_same_redirects(&self, planned: &[Redirect], found: &[Redirect]) -> bool {
        all(planned, found, |planned, found| {
            let bodies = (self.planned.body(planned), self.found.body(found));
            let are_same_bodies = match bodies {
                (Some(planned), Some(found)) => self.is_same_word(planned, found),
                (planned, found) => planned.is_none() && found.is_none(),
            };
            are_same_bodies
                && (planned.input, planned.operator) == (found.input, found.operator)
                && self.is_same_word(&planned.target, &found.target)
        })
    }

    fn are_same_words(&self, planned: &[Word], found: &[Word]) -> bool {
        all(planned, found, |planned, found| {
            self.is_same_word(planned, found)
        })
    }

    fn is_same_word(&self, planned: &Word, found: &Word) -> bool {
        let form = |word: &Word| {
            let quoted = self.quotes && word.quoted;
            (word.exact, word.one, quoted, word.glob, word.name)
        };
        form(planned) == form(found)
            && (self.is_text)(&planned.text, &found.text)
            && self.are_same_words(&planned.elements, &found.elements)
            && all(
                &effects(planned),
                &effects(found),
                |planned, found| match (planned, found) {
                    (WordPart::Script(planned), WordPart::Script(found)) => {
                        self.is_same_list(planned, found)
                    }
                    (WordPart::Sets(planned, _), WordPart::Sets(found, _)) => planned == found,
                    (WordPart::Unknown(planned, _), WordPart::Unknown(found, _)) => {
                        planned.text == found.text
                    }
                    _ => false,
                },
            )
    }
}

/// Returns the effects of a word. Whether a text would run a command depends on the text, and the search for commands
/// reports it.
fn effects(word: &Word) -> Vec<&WordPart> {
    let depends_on_text = |part: &&WordPart| matches!(part, WordPart::Trap(_));
    word.parts
        .iter()
        .filter(|part| !depends_on_text(part))
        .collect()
}

fn all<T>(planned: &[T], found: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    planned.len() == found.len()
        && planned
            .iter()
            .zip(found)
            .all(|(planned, found)| is_same(planned, found))
}
