//! Roles of placeholders in the commands of a shell script, and the places that are refused.

use std::collections::BTreeSet;

use crate::{
    shell::outline::{
        Outline, OutlineCommand, OutlineNode, OutlinePipeline, OutlineRedirect, OutlineWord,
        UNKNOWN_PART,
    },
    template::shell_commands::{
        DECIDES, VARIABLE_NAME, any_reads_code, argument_rule, evaluates_words, hazard, is_make,
        is_program_of_make, reads_code, simple_reads_code,
    },
};

/// First of the private-use characters that mark the slots of a script.
const FIRST_MARK: u32 = 0xF_0000;
/// Maximum number of slots of a script, because each has a character of its own.
pub(super) const MAX_SLOTS: usize = 4096;

/// Returns the character that marks a slot.
pub(super) fn mark(slot: usize) -> char {
    u32::try_from(slot)
        .ok()
        .and_then(|slot| char::from_u32(FIRST_MARK + slot))
        .unwrap_or(UNKNOWN_PART)
}

/// Returns the slots whose marks are in a text, each with the byte offset of its mark.
pub(super) fn marks(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let slot = |(at, character): (usize, char)| {
        let slot = u32::from(character).checked_sub(FIRST_MARK)? as usize;
        (slot < MAX_SLOTS).then_some((at, slot))
    };
    text.char_indices().filter_map(slot)
}

/// Returns the slots whose marks are in the structure of a script, each with the byte offset of its mark.
pub(super) fn marks_in(shape: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    // The marks are U+F0000 to U+F0FFF. Only a character has these bytes, and only in the text of a word.
    shape
        .windows(MARK_BYTES)
        .enumerate()
        .filter(|(_, bytes)| bytes[..2] == [0xf3, 0xb0])
        .map(|(at, bytes)| {
            (
                at,
                usize::from(bytes[2] & 0x3f) << 6 | usize::from(bytes[3] & 0x3f),
            )
        })
}

/// Number of bytes of a mark.
pub(super) const MARK_BYTES: usize = 4;

/// What a slot may contain, beyond its quoting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SlotRule {
    /// True if the value begins an argument, so that it may not begin with `-` unless the schema allows it.
    pub(super) argument: bool,
    pub(super) never_dash: bool,
    /// True if the value must be a whole number.
    pub(super) number: bool,
    pub(super) no_array: bool,
    /// True if `make` reads the value.
    pub(super) make: bool,
    /// True if the shell evaluates the variable with this value as arithmetic.
    pub(super) evaluated: bool,
    /// True if the shell splits the output of the surrounding command into words.
    pub(super) split: bool,
}

/// Rules for all slots of a script.
#[derive(Debug, Default)]
pub(super) struct SlotRules {
    pub(super) rules: Vec<SlotRule>,
    /// Refused slots, each with the reason.
    pub(super) refused: Vec<(usize, String)>,
    /// Functions that read code from standard input.
    functions: Vec<String>,
    /// Functions that evaluate an argument as code.
    evaluating: Vec<String>,
    /// True if a command of the script, outside of functions too, evaluates a word that is known only at run time.
    evaluates: bool,
    /// Variables that the shell evaluates as arithmetic.
    arithmetic: BTreeSet<String>,
}

/// Circumstances of a list of commands.
#[derive(Clone, Copy, Default)]
struct Around {
    /// Reason why no value is allowed in the list.
    refused: Option<&'static str>,
}

/// Returns the rules for the slots of a script, of which each is marked with its [`mark`]. `arithmetic` contains the
/// variables that the shell evaluates as arithmetic.
pub(super) fn slot_rules(
    outline: &Outline,
    slots: usize,
    arithmetic: BTreeSet<String>,
) -> SlotRules {
    let mut rules = SlotRules {
        rules: vec![SlotRule::default(); slots],
        arithmetic,
        ..SlotRules::default()
    };
    for reading in &outline.readings {
        // A function that calls a function which reads code reads code too.
        while rules.find_functions(reading) {}
    }
    rules.evaluates = !rules.evaluating.is_empty() || rules.any_evaluates(&outline.readings);
    for reading in &outline.readings {
        rules.list(reading, Around::default());
    }
    rules.refused.sort();
    rules.refused.dedup_by_key(|(slot, _)| *slot);
    rules
}

impl SlotRules {
    /// Records the functions that read code from standard input, and the functions that evaluate an argument. Returns
    /// true if it recorded a new function.
    fn find_functions(&mut self, list: &[OutlinePipeline]) -> bool {
        let mut found = false;
        for node in list.iter().flat_map(|pipeline| &pipeline.nodes) {
            match node {
                OutlineNode::Function(name, body) => {
                    if !self.functions.contains(&name.text) && reads_code(body, &self.functions) {
                        self.functions.push(name.text.clone());
                        found = true;
                    }
                    if !self.evaluating.contains(&name.text) && self.evaluates(body) {
                        self.evaluating.push(name.text.clone());
                        found = true;
                    }
                    if let OutlineNode::Compound { lists, .. } = &**body {
                        lists
                            .iter()
                            .for_each(|list| found |= self.find_functions(list));
                    }
                }
                OutlineNode::Compound { lists, .. } => {
                    lists
                        .iter()
                        .for_each(|list| found |= self.find_functions(list));
                }
                OutlineNode::Simple(_) => {}
            }
        }
        found
    }

    fn evaluates(&self, node: &OutlineNode) -> bool {
        match node {
            OutlineNode::Simple(simple) => {
                let mut words = simple.words.iter().chain(&simple.assigns);
                evaluates_words(simple, &self.evaluating)
                    || words.any(|word| self.any_evaluates(&word.lists))
                    || self.evaluates_input(
                        &simple.redirects,
                        simple_reads_code(simple, &self.functions),
                    )
            }
            OutlineNode::Compound {
                lists,
                words,
                redirects,
                ..
            } => {
                let code = lists
                    .iter()
                    .any(|list| any_reads_code(list, &self.functions));
                self.any_evaluates(lists)
                    || words.iter().any(|word| self.any_evaluates(&word.lists))
                    || self.evaluates_input(redirects, code)
            }
            OutlineNode::Function(..) => false,
        }
    }

    fn any_evaluates(&self, lists: &[Vec<OutlinePipeline>]) -> bool {
        lists.iter().flatten().any(|pipeline| {
            pipeline.nodes.iter().enumerate().any(|(index, node)| {
                let code = pipeline.nodes[index + 1..]
                    .iter()
                    .any(|next| reads_code(next, &self.functions));
                self.evaluates(node) || code && !is_known(node)
            })
        })
    }

    /// Returns true if a redirection gives text that is known only at run time to a command that reads code, or if a
    /// substitution in the redirection evaluates an argument.
    fn evaluates_input(&self, redirects: &[OutlineRedirect], code: bool) -> bool {
        redirects.iter().any(|redirect| {
            let mut words = std::iter::once(&redirect.target).chain(&redirect.body);
            words.any(|word| {
                self.any_evaluates(&word.lists) || code && redirect.input && !word.exact
            })
        })
    }

    fn refuse(&mut self, slot: usize, reason: &str) {
        self.refused.push((slot, reason.to_owned()));
    }

    /// Refuses every slot of a word, also in its substitutions.
    fn refuse_word(&mut self, word: &OutlineWord, reason: &str) {
        for slot in slots_of(word) {
            self.refuse(slot, reason);
        }
    }

    fn list(&mut self, list: &[OutlinePipeline], around: Around) {
        for pipeline in list {
            for (index, node) in pipeline.nodes.iter().enumerate() {
                let code = pipeline.nodes[index + 1..]
                    .iter()
                    .any(|node| reads_code(node, &self.functions));
                let refused = around.refused.or(code.then_some(PIPED));
                self.node(node, Around { refused });
            }
        }
    }

    fn node(&mut self, node: &OutlineNode, around: Around) {
        match node {
            OutlineNode::Simple(simple) => self.simple(simple, around),
            OutlineNode::Function(name, body) => {
                self.refuse_word(name, COMMAND_NAME);
                self.node(body, around);
            }
            OutlineNode::Compound {
                sets,
                words,
                lists,
                redirects,
                coprocess,
            } => {
                if *coprocess {
                    // Every command may write to the standard input of the process.
                    (0..self.rules.len()).for_each(|slot| self.refuse(slot, PIPED));
                }
                for name in sets {
                    self.refuse_word(name, VARIABLE_NAME);
                    words
                        .iter()
                        .for_each(|word| self.assigned(&name.text, word));
                }
                for (at, word) in words.iter().enumerate() {
                    self.tested(words, at);
                    self.split(word);
                    self.word(word, around);
                }
                lists.iter().for_each(|list| self.list(list, around));
                let code = lists
                    .iter()
                    .any(|list| any_reads_code(list, &self.functions));
                redirects
                    .iter()
                    .for_each(|redirect| self.redirect(redirect, code, around));
            }
        }
    }

    /// Records the rules of a word in `[[ ]]`.
    fn tested(&mut self, words: &[OutlineWord], at: usize) {
        let operator = |at: Option<usize>| {
            at.and_then(|at| words.get(at))
                .map_or("", |word| word.text.as_str())
        };
        let numbers = |text: &str| matches!(text, "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge");
        if matches!(operator(at.checked_sub(1)), "-v" | "-R" | "-o") {
            self.refuse_word(&words[at], VARIABLE_NAME);
        }
        if numbers(operator(at.checked_sub(1))) || numbers(operator(at.checked_add(1))) {
            for slot in slots_of(&words[at]) {
                self.rules[slot].number = true;
            }
        }
    }

    fn simple(&mut self, simple: &OutlineCommand, around: Around) {
        for word in &simple.assigns {
            let name = word.text.find('=').unwrap_or(word.text.len());
            for (at, slot) in marks(&word.text).collect::<Vec<_>>() {
                if at < name {
                    self.refuse(slot, VARIABLE_NAME);
                }
            }
            self.assigned(&word.text[..name], word);
            self.word(word, around);
        }
        if let Some(name) = simple.words.first() {
            self.refuse_word(name, COMMAND_NAME);
        }
        let is_exec = simple.words.first().is_some_and(|name| name.text == "exec");
        for redirect in simple
            .redirects
            .iter()
            .filter(|redirect| is_exec && redirect.operator.starts_with('<'))
        {
            // Every later command may read this input.
            std::iter::once(&redirect.target)
                .chain(&redirect.body)
                .for_each(|word| self.refuse_word(word, PIPED));
        }
        if let Some(reason) = hazard(simple) {
            (0..self.rules.len()).for_each(|slot| self.refuse(slot, reason));
        }
        let evaluating = match simple.words.first() {
            Some(name) if self.evaluating.contains(&name.text) => Some(FUNCTION),
            // `set -- value` and then `"$@"`.
            Some(name) if self.evaluates && name.text == "set" => Some(SET),
            _ => None,
        };
        for (at, word) in simple.words.iter().enumerate().skip(1) {
            if let Some(reason) = evaluating {
                self.refuse_word(word, reason);
            }
            let slots = slots_of(word);
            if slots.is_empty() {
                continue;
            }
            match argument_rule(&simple.words, at) {
                Err(reason) => self.refuse_word(word, reason),
                Ok(rule) => {
                    for slot in slots {
                        self.rules[slot].never_dash |= rule.never_dash;
                        self.rules[slot].number |= rule.number;
                        self.rules[slot].no_array |= rule.no_array;
                        self.rules[slot].make |= rule.make;
                    }
                    if let Some((name, _)) = word.text.split_once('=').filter(|_| rule.no_array) {
                        self.assigned(name, word);
                    }
                    self.split(word);
                    self.starts(word);
                }
            }
            self.word(word, around);
        }
        let makes = |word: &OutlineWord| is_make(&word.text);
        let wraps = |name: &OutlineWord| matches!(name.text.as_str(), "env" | "sudo");
        if simple
            .words
            .first()
            .is_some_and(|name| makes(name) || wraps(name) && simple.words.iter().any(makes))
        {
            // `make` also takes variables from its environment.
            for word in simple.assigns.iter().chain(&simple.words) {
                if is_program_of_make(&word.text) {
                    self.refuse_word(word, DECIDES);
                }
                slots_of(word)
                    .into_iter()
                    .for_each(|slot| self.rules[slot].make = true);
            }
        }
        let code = simple_reads_code(simple, &self.functions);
        simple
            .redirects
            .iter()
            .for_each(|redirect| self.redirect(redirect, code, around));
        // In `tee >(sh)`, a shell reads what the command writes.
        let files = simple.redirects.iter().map(|redirect| &redirect.target);
        let tee = simple.words.first().is_some_and(|word| word.text == "tee");
        let files = files.chain(simple.words.iter().filter(|_| tee));
        if files
            .flat_map(|word| &word.lists)
            .any(|list| any_reads_code(list, &self.functions))
        {
            (0..self.rules.len()).for_each(|slot| self.refuse(slot, PIPED));
        }
    }

    /// Records the slots of a word that becomes the value of a variable.
    fn assigned(&mut self, name: &str, word: &OutlineWord) {
        if self.arithmetic.contains(name.trim_end_matches('+')) {
            slots_of(word)
                .into_iter()
                .for_each(|slot| self.rules[slot].evaluated = true);
        }
    }

    /// Records the slots in substitutions whose output the shell splits into words.
    fn split(&mut self, word: &OutlineWord) {
        if !word.one && !word.lists.is_empty() {
            slots_of(word)
                .into_iter()
                .for_each(|slot| self.rules[slot].split = true);
        }
    }

    /// Records the slots with which an argument begins.
    fn starts(&mut self, word: &OutlineWord) {
        for (at, slot) in marks(&word.text) {
            let before = &word.text[..at];
            if before
                .chars()
                .all(|c| c == UNKNOWN_PART || marks(c.encode_utf8(&mut [0; 4])).next().is_some())
            {
                self.rules[slot].argument = true;
            }
        }
    }

    fn redirect(&mut self, redirect: &OutlineRedirect, code: bool, around: Around) {
        match redirect.operator {
            "<<" | "<<-" => self.refuse_word(&redirect.target, DELIMITER),
            "<&" | ">&" => self.refuse_word(&redirect.target, DESCRIPTOR),
            _ => {}
        }
        let read = code && redirect.input;
        let words = [
            Some(&redirect.target).filter(|_| redirect.operator != ">"),
            redirect.body.as_ref(),
        ];
        for word in words.into_iter().flatten().filter(|_| read) {
            self.refuse_word(word, PIPED);
        }
        self.word(&redirect.target, around);
        redirect
            .body
            .iter()
            .for_each(|body| self.word(body, around));
    }

    /// Walks through the elements and the substitutions of a word.
    fn word(&mut self, word: &OutlineWord, around: Around) {
        if let Some(reason) = around.refused {
            marks(&word.text).for_each(|(_, slot)| self.refuse(slot, reason));
        }
        for element in &word.elements {
            self.starts(element);
            self.word(element, around);
        }
        word.lists.iter().for_each(|list| self.list(list, around));
    }
}

/// Returns true if all words of a command are known before the script runs.
fn is_known(node: &OutlineNode) -> bool {
    let input = |redirects: &[OutlineRedirect]| {
        redirects
            .iter()
            .all(|one| one.target.exact && one.body.as_ref().is_none_or(|body| body.exact))
    };
    match node {
        OutlineNode::Simple(simple) => {
            simple.words.iter().all(|word| word.exact) && input(&simple.redirects)
        }
        OutlineNode::Compound {
            words,
            lists,
            redirects,
            ..
        } => {
            words.iter().all(|word| word.exact)
                && lists
                    .iter()
                    .flatten()
                    .flat_map(|pipeline| &pipeline.nodes)
                    .all(is_known)
                && input(redirects)
        }
        OutlineNode::Function(..) => true,
    }
}

/// Returns the slots in a word, also in its substitutions.
pub(super) fn slots_of(word: &OutlineWord) -> Vec<usize> {
    let mut slots: Vec<usize> = marks(&word.text).map(|(_, slot)| slot).collect();
    if word.elements.is_empty() && word.lists.is_empty() {
        return slots;
    }
    word.clone()
        .each_word(&mut |inner| slots.extend(marks(&inner.text).map(|(_, slot)| slot)));
    slots.sort_unstable();
    slots.dedup();
    slots
}

const COMMAND_NAME: &str = "a parameter can't decide which command runs: write the names of the commands, and choose one, for example with \
     `case \"$PARAM_NAME\" in jq) jq --version ;; esac`";
const PIPED: &str = "a shell or another interpreter runs this text as code: read the environment variable `PARAM_NAME` \
                     inside the code instead";
const FUNCTION: &str = "this function evaluates an argument as code: read the environment variable `PARAM_NAME` inside the \
                        function instead";
const SET: &str = "a command of the script runs a parameter of `set`, or another text that is known only at run time: read \
                   the environment variable `PARAM_NAME` instead";
const DELIMITER: &str =
    "the delimiter of a here-document can't come from a parameter: write a plain word";
const DESCRIPTOR: &str = "a file descriptor can't come from a parameter: write its number";
