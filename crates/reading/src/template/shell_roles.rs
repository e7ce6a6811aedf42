//! Roles of placeholders in the commands of a shell script, and the places that are refused.

use std::collections::BTreeSet;

use crate::{
    CommandList, HOLE, Redirect, Script, ShellNode, SimpleCommand, SlotRule, Word,
    template::shell_commands::{
        DECIDES, VARIABLE_NAME, any_reads_code, argument_rule, evaluates_words, hazard, is_make,
        is_program_of_make, reads_code, simple_reads_code,
    },
};

/// First of the private-use characters that mark the slots of a script.
const FIRST_MARK: u32 = 0xF_0000;
/// Maximum number of slots of a script, because each has a character of its own.
pub const MAX_SLOTS: usize = 4096;

/// Returns the character that marks a slot.
pub fn mark(slot: usize) -> char {
    u32::try_from(slot)
        .ok()
        .and_then(|slot| char::from_u32(FIRST_MARK + slot))
        .unwrap_or(HOLE)
}

/// Returns the slot that a character marks.
pub fn slot_of(character: char) -> Option<usize> {
    let slot = u32::from(character).checked_sub(FIRST_MARK)? as usize;
    (slot < MAX_SLOTS).then_some(slot)
}

/// Returns the slots whose marks are in a text, each with the byte offset of its mark.
pub fn marks(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    text.char_indices()
        .filter_map(|(at, character)| Some((at, slot_of(character)?)))
}

/// Number of bytes of a mark.
pub const MARK_BYTES: usize = 4;

/// Rules for all slots of a script.
pub struct SlotRules<'s> {
    pub rules: Vec<SlotRule>,
    /// Refused slots, each with the reason.
    pub refused: Vec<(usize, String)>,
    /// The script as one shell reads it.
    script: &'s Script,
    /// Functions that read code from standard input.
    functions: Vec<String>,
    /// Functions that evaluate an argument as code.
    evaluating: Vec<String>,
    /// True if a command of the script, outside of functions too, evaluates a word that is known only at run time.
    evaluates: bool,
    /// Variables that the shell evaluates as arithmetic.
    arithmetic: BTreeSet<String>,
}

/// Returns the rules for the slots of a script, in which each slot has its [`mark`]. `readings` contains the script as
/// each shell reads it, and `arithmetic` the variables that the shell evaluates as arithmetic.
pub fn slot_rules<'s>(
    readings: &[&'s Script],
    slots: usize,
    arithmetic: BTreeSet<String>,
) -> SlotRules<'s> {
    let mut rules = SlotRules {
        rules: vec![SlotRule::default(); slots],
        refused: Vec::new(),
        script: readings[0],
        functions: Vec::new(),
        evaluating: Vec::new(),
        evaluates: false,
        arithmetic,
    };
    for reading in readings {
        rules.script = reading;
        // A function that calls a function which reads code reads code too.
        while rules.find_functions(&reading.list) {}
    }
    rules.evaluates = !rules.evaluating.is_empty();
    for reading in readings {
        rules.script = reading;
        rules.evaluates |= rules.any_evaluates([&reading.list]);
    }
    for reading in readings {
        rules.script = reading;
        rules.list(&reading.list, None);
    }
    rules.refused.sort();
    rules.refused.dedup_by_key(|(slot, _)| *slot);
    rules
}

impl SlotRules<'_> {
    /// Records the functions that read code from standard input, and the functions that evaluate an argument. Returns
    /// true if it recorded a new function.
    fn find_functions(&mut self, list: &CommandList) -> bool {
        let mut found = false;
        for mut node in list.iter().flat_map(|pipeline| &pipeline.nodes) {
            if let ShellNode::Function { name, body } = node {
                if !self.functions.contains(&name.text) && reads_code(body, &self.functions) {
                    self.functions.push(name.text.clone());
                    found = true;
                }
                if !self.evaluating.contains(&name.text) && self.evaluates(body) {
                    self.evaluating.push(name.text.clone());
                    found = true;
                }
                node = body;
            }
            if let ShellNode::Compound(compound) = node {
                for list in &compound.lists {
                    found |= self.find_functions(list);
                }
            }
        }
        found
    }

    fn evaluates(&self, node: &ShellNode) -> bool {
        match node {
            ShellNode::Simple(simple) => {
                let mut words = simple.words.iter().chain(&simple.assigns);
                evaluates_words(simple, &self.evaluating)
                    || words.any(|word| self.any_evaluates(word.lists()))
                    || self.evaluates_input(
                        &simple.redirects,
                        simple_reads_code(simple, &self.functions),
                    )
            }
            ShellNode::Compound(compound) => {
                let code = any_reads_code(&compound.lists, &self.functions);
                let mut words = compound.words.iter();
                self.any_evaluates(&compound.lists)
                    || words.any(|word| self.any_evaluates(word.lists()))
                    || self.evaluates_input(&compound.redirects, code)
            }
            ShellNode::Function { .. } => false,
        }
    }

    fn any_evaluates<'l>(&self, lists: impl IntoIterator<Item = &'l CommandList>) -> bool {
        lists.into_iter().flatten().any(|pipeline| {
            pipeline.nodes.iter().enumerate().any(|(index, node)| {
                let code = self.is_read_as_code(&pipeline.nodes[index + 1..]);
                self.evaluates(node) || code && !self.is_known(node)
            })
        })
    }

    /// Returns true if one of these commands reads a program from its standard input.
    fn is_read_as_code(&self, next: &[ShellNode]) -> bool {
        next.iter().any(|node| reads_code(node, &self.functions))
    }

    /// Returns true if a redirection gives text that is known only at run time to a command that reads code, or if a
    /// substitution in the redirection evaluates an argument.
    fn evaluates_input(&self, redirects: &[Redirect], code: bool) -> bool {
        redirects.iter().any(|redirect| {
            words_of(self.script, redirect).any(|word| {
                self.any_evaluates(word.lists()) || code && redirect.input && !word.exact
            })
        })
    }

    /// Returns true if all words of a command are known before the script runs.
    fn is_known(&self, node: &ShellNode) -> bool {
        let are_known = |words: &[Word], redirects: &[Redirect]| {
            let mut read = redirects.iter().flat_map(|one| words_of(self.script, one));
            words.iter().all(|word| word.exact) && read.all(|word| word.exact)
        };
        match node {
            ShellNode::Simple(simple) => are_known(&simple.words, &simple.redirects),
            ShellNode::Compound(compound) => {
                let mut nodes = compound.lists.iter().flatten().flat_map(|one| &one.nodes);
                are_known(&compound.words, &compound.redirects)
                    && nodes.all(|node| self.is_known(node))
            }
            ShellNode::Function { .. } => true,
        }
    }

    fn refuse(&mut self, slot: usize, reason: &str) {
        self.refused.push((slot, reason.to_owned()));
    }

    fn refuse_all(&mut self, reason: &str) {
        (0..self.rules.len()).for_each(|slot| self.refuse(slot, reason));
    }

    /// Refuses every slot of a word, also in its substitutions.
    fn refuse_word(&mut self, word: &Word, reason: &str) {
        for slot in self.slots_of(word) {
            self.refuse(slot, reason);
        }
    }

    /// Changes the rule of every slot of a word, also in its substitutions.
    fn change(&mut self, word: &Word, change: impl Fn(&mut SlotRule)) {
        for slot in self.slots_of(word) {
            change(&mut self.rules[slot]);
        }
    }

    /// Returns the slots in a word, also in its substitutions.
    fn slots_of(&self, word: &Word) -> BTreeSet<usize> {
        let mut slots = BTreeSet::new();
        self.script.each_in(word, None, &mut |inner, _| {
            slots.extend(marks(&inner.text).map(|(_, slot)| slot));
        });
        slots
    }

    /// Reads the roles in a list of commands. `refused` is the reason why no value is allowed in the list.
    fn list(&mut self, list: &CommandList, refused: Option<&'static str>) {
        for pipeline in list {
            for (index, node) in pipeline.nodes.iter().enumerate() {
                let code = self.is_read_as_code(&pipeline.nodes[index + 1..]);
                self.node(node, refused.or(code.then_some(PIPED)));
            }
        }
    }

    fn node(&mut self, node: &ShellNode, refused: Option<&'static str>) {
        match node {
            ShellNode::Simple(simple) => self.simple(simple, refused),
            ShellNode::Function { name, body } => {
                self.refuse_word(name, COMMAND_NAME);
                self.node(body, refused);
            }
            ShellNode::Compound(compound) => {
                if compound.read {
                    // Every command may write to the standard input of the process.
                    self.refuse_all(PIPED);
                }
                let words = &compound.words;
                for name in &compound.sets {
                    self.refuse_word(name, VARIABLE_NAME);
                    words
                        .iter()
                        .for_each(|word| self.assigned(&name.text, word));
                }
                for (at, word) in words.iter().enumerate() {
                    self.tested(words, at);
                    self.split(word);
                    self.word(word, refused);
                }
                compound
                    .lists
                    .iter()
                    .for_each(|list| self.list(list, refused));
                let code = any_reads_code(&compound.lists, &self.functions);
                for redirect in &compound.redirects {
                    self.redirect(redirect, code, refused);
                }
            }
        }
    }

    /// Records the rules of a word in `[[ ]]`.
    fn tested(&mut self, words: &[Word], at: usize) {
        let operator = |at: Option<usize>| {
            at.and_then(|at| words.get(at))
                .map_or("", |word| word.text.as_str())
        };
        let numbers = |text: &str| matches!(text, "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge");
        if matches!(operator(at.checked_sub(1)), "-v" | "-R" | "-o") {
            self.refuse_word(&words[at], VARIABLE_NAME);
        }
        if numbers(operator(at.checked_sub(1))) || numbers(operator(at.checked_add(1))) {
            self.change(&words[at], |rule| rule.number = true);
        }
    }

    fn simple(&mut self, simple: &SimpleCommand, refused: Option<&'static str>) {
        for word in &simple.assigns {
            let name = word.text.find('=').unwrap_or(word.text.len());
            for (at, slot) in marks(&word.text).collect::<Vec<_>>() {
                if at < name {
                    self.refuse(slot, VARIABLE_NAME);
                }
            }
            self.assigned(&word.text[..name], word);
            self.word(word, refused);
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
            for word in words_of(self.script, redirect) {
                self.refuse_word(word, PIPED);
            }
        }
        if let Some(reason) = hazard(simple) {
            self.refuse_all(reason);
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
            if self.slots_of(word).is_empty() {
                continue;
            }
            match argument_rule(&simple.words, at) {
                Err(reason) => self.refuse_word(word, reason),
                Ok(rule) => {
                    self.change(word, |of_slot| of_slot.add(&rule));
                    if let Some((name, _)) = word.text.split_once('=').filter(|_| rule.no_array) {
                        self.assigned(name, word);
                    }
                    self.split(word);
                    self.starts(word);
                }
            }
            self.word(word, refused);
        }
        let makes = |word: &Word| is_make(&word.text);
        let wraps = |name: &Word| matches!(name.text.as_str(), "env" | "sudo");
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
                self.change(word, |rule| rule.make = true);
            }
        }
        let code = simple_reads_code(simple, &self.functions);
        for redirect in &simple.redirects {
            self.redirect(redirect, code, refused);
        }
        // In `tee >(sh)`, a shell reads what the command writes.
        let files = simple.redirects.iter().map(|redirect| &redirect.target);
        let tee = simple.words.first().is_some_and(|word| word.text == "tee");
        let files = files.chain(simple.words.iter().filter(|_| tee));
        if any_reads_code(files.flat_map(Word::lists), &self.functions) {
            self.refuse_all(PIPED);
        }
    }

    /// Records the slots of a word that becomes the value of a variable.
    fn assigned(&mut self, name: &str, word: &Word) {
        if self.arithmetic.contains(name.trim_end_matches('+')) {
            self.change(word, |rule| rule.evaluated = true);
        }
    }

    /// Records the slots in substitutions whose output the shell splits into words.
    fn split(&mut self, word: &Word) {
        if !word.one && word.lists().next().is_some() {
            self.change(word, |rule| rule.split = true);
        }
    }

    /// Records the slots with which an argument begins.
    fn starts(&mut self, word: &Word) {
        for (at, slot) in marks(&word.text) {
            let before = &word.text[..at];
            if before.chars().all(|c| c == HOLE || slot_of(c).is_some()) {
                self.rules[slot].argument = true;
            }
        }
    }

    fn redirect(&mut self, redirect: &Redirect, code: bool, refused: Option<&'static str>) {
        match redirect.operator {
            "<<" | "<<-" => self.refuse_word(&redirect.target, DELIMITER),
            "<&" | ">&" => self.refuse_word(&redirect.target, DESCRIPTOR),
            _ => {}
        }
        let target = Some(&redirect.target).filter(|_| redirect.operator != ">");
        if code && redirect.input {
            for word in target.into_iter().chain(self.script.body(redirect)) {
                self.refuse_word(word, PIPED);
            }
        }
        for word in words_of(self.script, redirect) {
            self.word(word, refused);
        }
    }

    /// Walks through the elements and the substitutions of a word.
    fn word(&mut self, word: &Word, refused: Option<&'static str>) {
        if let Some(reason) = refused {
            marks(&word.text).for_each(|(_, slot)| self.refuse(slot, reason));
        }
        for element in &word.elements {
            self.starts(element);
            self.word(element, refused);
        }
        word.lists().for_each(|list| self.list(list, refused));
    }
}

/// Returns the target of a redirection, and the body of a here-document.
fn words_of<'w>(script: &'w Script, redirect: &'w Redirect) -> impl Iterator<Item = &'w Word> {
    std::iter::once(&redirect.target).chain(script.body(redirect))
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
