//! Walks through the syntax tree of a script and records the commands.

use crate::{
    CallWord, CommandList, CompoundCommand, Context, Dialect, FoundKind, HOLE, NOT_FOUND, Pipeline,
    ReadScript, Redirect, Script, ScriptCall, ScriptFinding, ScriptWalk, Shell, ShellNode,
    SimpleCommand, SyntaxFlaw, TextPlace, UnknownReason, Word, WordPart, base_name, is_known,
    is_trap, opens_index,
    shell::{
        commands::{assigns_for_bash, writes_a_file},
        script_walk::{
            ArgumentText, MOVES, NO_NAME, OF_THE_KERNEL, TRAP, budget, check_nesting, raw,
            reads_all,
        },
        settings,
        traps::is_whole_trap,
        wrappers,
    },
};

/// Builtins that take numbers as operands and run nothing.
const TAKE_NUMBERS: [&str; 6] = ["[", "echo", "exit", "return", "shift", "test"];

impl ScriptWalk<'_> {
    pub fn whole(&mut self, script: &ReadScript<'_>) -> Result<(), SyntaxFlaw> {
        self.pass(script, Dialect::Bash)?;
        if self.shell == Shell::Sh && self.differs {
            self.pass(script, Dialect::Dash)?;
        }
        if self.evaluates {
            self.found.append(&mut self.traps);
            if self.redirected {
                self.found.append(&mut self.loose);
            }
        }
        if self.integers {
            self.found.append(&mut self.sums);
        }
        let (arrays, any) = (&self.arrays, self.any_array);
        let of_an_array = |name: &String| any || arrays.contains(name) || settings::is_array(name);
        let elements = std::mem::take(&mut self.elements).into_iter();
        self.found.extend(
            elements
                .filter(|(name, _)| of_an_array(name))
                .map(|(_, raw)| raw),
        );
        Ok(())
    }

    /// Walks through the script in one dialect. If functions pass `"$@"` to other commands, the walk is repeated with
    /// the calls that the last walk found, until these calls no longer change.
    fn pass(&mut self, script: &ReadScript<'_>, dialect: Dialect) -> Result<(), SyntaxFlaw> {
        let marks = [
            self.found.len(),
            self.traps.len(),
            self.sums.len(),
            self.elements.len(),
            self.loose.len(),
        ];
        self.passing.clear();
        self.given.clear();
        self.moved.clear();
        self.moves = false;
        let mut known = None;
        for round in 0..=MAX_ROUNDS {
            self.found.truncate(marks[0]);
            self.traps.truncate(marks[1]);
            self.sums.truncate(marks[2]);
            self.elements.truncate(marks[3]);
            self.loose.truncate(marks[4]);
            self.budget = budget(self.script);
            // The calls still change after the last round, so the content of `"$@"` is unknown.
            self.moves |= round == MAX_ROUNDS;
            self.walk(script.parsed(dialect), dialect)?;
            let calls: Vec<(String, Vec<ArgumentText>)> = self
                .giving
                .iter()
                .map(|(name, calls)| (name.clone(), calls.keys().cloned().collect()))
                .collect();
            let now = Some((
                calls,
                self.passing.clone(),
                self.moved.clone(),
                self.moves,
                self.exported,
            ));
            if self.passing.is_empty() || known == now {
                break;
            }
            known = now;
            self.given = std::mem::take(&mut self.giving);
        }
        let hidden = self
            .functions
            .iter()
            .any(|name| name == NOT_FOUND || self.undefined.contains(name));
        if self.unset || hidden {
            // A function may be undefined or redefined, so no call counts as a certain function call.
            for raw in &mut self.found[marks[0]..] {
                if let FoundKind::Function(name) = &raw.what {
                    raw.what = FoundKind::Command(name.clone());
                }
            }
        }
        Ok(())
    }

    fn walk(&mut self, read: &Script, dialect: Dialect) -> Result<(), SyntaxFlaw> {
        self.certain.clear();
        self.calls.clear();
        self.undefined.clear();
        self.functions.clear();
        self.first_call = None;
        self.statement = 0;
        self.unset = false;
        self.giving.clear();
        self.fields.clear();
        self.separators.clear();
        self.numbered.clear();
        if let Some(flaw) = read
            .flaw
            .filter(|flaw| flaw.guard || dialect == Dialect::Bash)
        {
            return Err(flaw);
        }
        self.evaluates |= read.evaluates;
        self.differs |= read.differs;
        let context = Context {
            bodies: &read.bodies,
            dialect,
            here: true,
            top: true,
            ..Context::default()
        };
        self.list(&read.list, context)?;
        if self.unset || self.functions.contains("read") || self.undefined.contains("read") {
            self.found.append(&mut self.fields);
        }
        let read = |name: &String| {
            !TAKE_NUMBERS.contains(&name.as_str())
                || self.functions.contains(name)
                || self.undefined.contains(name)
        };
        if !self.numbered.iter().any(read) {
            self.separators
                .iter_mut()
                .for_each(|raw| raw.what = FoundKind::HarmlessSetting("IFS".to_owned()));
        }
        self.found.append(&mut self.separators);
        let calls = std::mem::take(&mut self.calls);
        for (index, statement) in calls.into_iter().filter(|_| !self.exported) {
            let FoundKind::Command(name) = &self.found[index].what else {
                continue;
            };
            let Some(defined) = self.certain.get(name).filter(|_| !is_known(name)) else {
                continue;
            };
            let before_calls = self.first_call.is_none_or(|first| *defined < first);
            if before_calls || *defined < statement {
                self.found[index].what = FoundKind::Function(name.clone());
            }
        }
        Ok(())
    }

    pub fn done(mut self) -> Vec<ScriptFinding> {
        self.found.sort_by_key(|raw| raw.at);
        let (mut line, mut column, mut at) = (1, 1, 0);
        let mut found: Vec<ScriptFinding> = Vec::with_capacity(self.found.len());
        let mut same = 0;
        for raw in self.found {
            if raw.at != at {
                same = found.len();
            }
            for byte in &self.script.as_bytes()[at..raw.at.max(at)] {
                if *byte == b'\n' {
                    (line, column) = (line + 1, 1);
                } else if byte & 0xC0 != 0x80 {
                    // The byte is the first byte of a character.
                    column += 1;
                }
            }
            at = at.max(raw.at);
            let one = ScriptFinding {
                what: raw.what,
                place: TextPlace { line, column },
                via: raw.via,
                source: raw.source,
            };
            // Both dialects find many equal results, so drop duplicates. Compare at most 64 earlier results of the same
            // place.
            if !found[same.min(found.len())..]
                .iter()
                .rev()
                .take(64)
                .any(|other| *other == one)
            {
                found.push(one);
            }
        }
        found
    }

    pub fn list(&mut self, list: &CommandList, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        let mut failed = false;
        for item in list {
            if context.top {
                self.statement += 1;
            }
            // In dash, `[[ a && b ]]` calls a command `[[`. This command fails, because it does not exist or because
            // its closing `]]` is missing, so `b` does not run.
            failed = context.dialect == Dialect::Dash
                && !item.negated
                && (item.and && failed || half_a_test(item));
            if item.and && failed {
                continue;
            }
            self.item(item, context)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Pipeline, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        for (at, node) in item.nodes.iter().enumerate() {
            let (top, body) = (
                context.top && item.certain && item.first,
                context.body && item.certain,
            );
            let captured = context.captured || item.nodes.len() > 1;
            let fed = context.fed || at > 0;
            let ended =
                context.ended || item.background || !item.nodes[at + 1..].iter().all(reads_all);
            self.node(
                node,
                Context {
                    top,
                    body,
                    captured,
                    fed,
                    ended,
                    ..context
                },
            )?;
        }
        Ok(())
    }

    fn node(&mut self, node: &ShellNode, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        self.depth += 1;
        match node {
            ShellNode::Simple(simple) => self.simple(simple, context)?,
            ShellNode::Compound(compound) => self.compound(
                compound,
                Context {
                    body: false,
                    ..context
                },
            )?,
            ShellNode::Function { name, body } => {
                self.functions.insert(name.text.clone());
                let plain = !name.text.contains('/') && !SPECIAL.contains(&name.text.as_str());
                if context.top && context.here && plain {
                    self.certain
                        .entry(name.text.clone())
                        .or_insert(self.statement);
                }
                self.moves |= MOVES.contains(&name.text.as_str());
                let shifted = std::mem::take(&mut self.shifted);
                let (function, named) = (
                    context.function.or(Some(self.statement)),
                    Some(name.text.as_str()),
                );
                // The script may capture the output of a function call.
                let inside = Context {
                    function,
                    named,
                    body: true,
                    captured: true,
                    top: false,
                    input: None,
                    ..context
                };
                match &**body {
                    ShellNode::Compound(compound) => self.compound(compound, inside)?,
                    node => self.node(node, inside)?,
                }
                self.shifted = shifted;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn compound(
        &mut self,
        compound: &CompoundCommand,
        context: Context<'_>,
    ) -> Result<(), SyntaxFlaw> {
        for name in &compound.sets {
            self.parts(name, context)?;
            self.sets(name, name.exactly(), context);
        }
        for word in &compound.words {
            self.word(word, context)?;
        }
        self.redirects(&compound.redirects, context)?;
        let fed = context.fed || compound.redirects.iter().any(|redirect| redirect.input);
        if let (Some(seen), true, Some(name)) =
            (&mut self.seen, compound.menu && !fed, compound.sets.first())
        {
            seen.menus.push(name.at);
        }
        // A group or a subshell runs its list once.
        let once =
            compound.lists.len() == 1 && compound.sets.is_empty() && compound.words.is_empty();
        for list in &compound.lists {
            let captured = context.captured || compound.read || writes_a_file(&compound.redirects);
            self.list(
                list,
                Context {
                    top: false,
                    body: context.body && once,
                    captured,
                    fed,
                    input: None,
                    ..context
                },
            )?;
        }
        Ok(())
    }

    fn redirects<'a>(
        &mut self,
        redirects: &'a [Redirect],
        context: Context<'a>,
    ) -> Result<Option<&'a Word>, SyntaxFlaw> {
        let mut input = None;
        let mut inputs = 0;
        for redirect in redirects {
            self.word(&redirect.target, context)?;
            let body = redirect.body.and_then(|body| context.bodies.get(body));
            if let Some(body) = body {
                self.word(body, context)?;
            }
            if let (Some(seen), "<") = (&mut self.seen, redirect.operator) {
                seen.inputs.push(redirect.target.at);
            }
            if redirect.input {
                inputs += 1;
                input = body.or((redirect.operator == "<<<").then_some(&redirect.target));
            }
        }
        Ok(input.filter(|_| inputs == 1))
    }

    fn simple(&mut self, simple: &SimpleCommand, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        let reads = simple.words.first().and_then(Word::operator) == Some("read");
        for assign in &simple.assigns {
            self.word(assign, context)?;
            let name = assign.name.map(|length| &assign.text[..length]);
            if reads && name == Some("IFS") {
                self.fields
                    .push(raw(assign, FoundKind::Setting("IFS".to_owned()), context));
            } else {
                self.sets(assign, name, context);
            }
            if assign.array || name.is_some_and(|name| assign.text[name.len()..].starts_with('[')) {
                self.makes_array(name);
            }
            let value = assign.text.split_once('=').map_or("", |(_, value)| value);
            self.sums(assign, value, context);
        }
        let aside = self.is_aside(simple, context);
        let input = self.redirects(&simple.redirects, Context { aside, ..context })?;
        for word in &simple.words {
            self.word(word, Context { aside, ..context })?;
        }
        if simple.words.iter().any(|word| word.number) {
            let name = simple
                .words
                .first()
                .and_then(Word::exactly)
                .unwrap_or_default();
            self.numbered.insert(name.to_owned());
        }
        let fed = context.fed || simple.redirects.iter().any(|redirect| redirect.input);
        // A command does not run if one of its redirections fails.
        let context = Context {
            input,
            fed,
            body: context.body && simple.redirects.is_empty(),
            ..context
        };
        match self.passed_on(&simple.words, context) {
            Some(calls) => calls
                .iter()
                .try_for_each(|words| self.resolve(words, context)),
            None => self.resolve(&simple.words, context),
        }
    }

    /// Returns true if no variable receives the words of the command: the command is a program or `echo`, and the
    /// script does not read its output.
    fn is_aside(&mut self, simple: &SimpleCommand, context: Context<'_>) -> bool {
        let Some(name) = simple.words.first().and_then(Word::exactly) else {
            return false;
        };
        let executes = simple
            .words
            .iter()
            .any(|word| word.exactly() == Some("exec"));
        self.redirected |= executes && !simple.redirects.is_empty();
        if context.captured || context.nested > 0 || writes_a_file(&simple.redirects) {
            return false;
        }
        let prints = name == "printf"
            && simple
                .words
                .get(1)
                .is_some_and(|word| word.exact && word.text != "-v");
        let called = self.functions.contains(name) || self.undefined.contains(name);
        !called && (prints || !is_known(base_name(name)))
    }

    /// Records the effects of a word's expansion, and the word itself if its evaluation may run a command.
    fn word(&mut self, word: &Word, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        if is_trap(&word.text) || opens_index(word) {
            let traps = if context.aside && !is_whole_trap(&word.text) {
                &mut self.loose
            } else {
                &mut self.traps
            };
            traps.push(raw(word, FoundKind::Unknown(TRAP), context));
        }
        self.parts(word, context)
    }

    fn parts(&mut self, word: &Word, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        for part in &word.parts {
            match part {
                WordPart::Script(list) => {
                    self.depth += 1;
                    let inside = Context {
                        top: false,
                        body: false,
                        captured: true,
                        aside: false,
                        input: None,
                        ..context
                    };
                    self.list(list, inside)?;
                    self.depth -= 1;
                }
                WordPart::Sets(name, at) => {
                    self.names.insert(name.clone());
                    if settings::changes(name) {
                        let here = Word {
                            at: *at,
                            text: format!("{name}={HOLE}"),
                            ..word.clone()
                        };
                        self.sets(&here, Some(name), context);
                    }
                }
                WordPart::Trap(at) => {
                    let mut raw = raw(word, FoundKind::Unknown(TRAP), context);
                    raw.at = *at;
                    let sets = word
                        .parts
                        .iter()
                        .any(|part| matches!(part, WordPart::Sets(..)));
                    if context.aside && !sets {
                        self.loose.push(raw)
                    } else {
                        self.traps.push(raw)
                    }
                }
                WordPart::Unknown(why, at) => {
                    let mut raw = raw(word, FoundKind::Unknown(*why), context);
                    raw.at = *at;
                    self.found.push(raw);
                }
            }
        }
        Ok(())
    }

    /// Records that the command in `word` is unknown.
    pub fn unknown(&mut self, word: &Word, why: impl Into<UnknownReason>, context: Context<'_>) {
        if context.function.is_none() {
            self.may_call();
        }
        self.found
            .push(raw(word, FoundKind::Unknown(why.into()), context));
    }

    pub fn may_call(&mut self) {
        self.first_call.get_or_insert(self.statement);
    }

    /// Records that the function `name` may become undefined or get another body. `None` means any function.
    pub fn undefines(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                self.undefined.insert(name.to_owned());
            }
            None => self.unset = true,
        }
    }

    /// Records the command in `words`, and the commands that this command runs as a wrapper.
    pub fn resolve(&mut self, words: &[Word], context: Context<'_>) -> Result<(), SyntaxFlaw> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        if let Some(seen) = &mut self.seen {
            seen.calls.push(ScriptCall {
                at: first.at,
                words: words.iter().map(CallWord::from).collect(),
                via: context.via.to_vec(),
                is_fed: context.fed,
                in_function: context.function.is_some(),
                is_ended: context.ended,
            });
        }
        let Some(name) = first.exactly() else {
            let assigns = context.dialect == Dialect::Dash && assigns_for_bash(first);
            if !assigns {
                self.unknown(first, NO_NAME, context);
            }
            return Ok(());
        };
        if context.dialect == Dialect::Dash
            && !first.quoted
            && (KEYWORDS.contains(&name) || name.starts_with('-'))
        {
            // Words such as `-f` belong to bash's grammar (`[[ -f a || -f b ]]`), and no program has such a name.
            return Ok(());
        }
        if name.is_empty() || name.starts_with('-') || name.contains("{}") {
            self.unknown(first, NO_NAME, context);
            return Ok(());
        }
        self.parameters(name, arguments, context);
        if is_of_the_kernel(name) {
            self.unknown(first, OF_THE_KERNEL, context);
        }
        if context.here && self.functions.contains(name) && context.function.is_none() {
            self.may_call();
        }
        let base = base_name(name);
        // A function may have the name of a wrapper. The call still counts as a call of the wrapper too, because the
        // function may be undefined at run time.
        let known = is_known(base);
        if context.here && context.function.is_none() && self.certain.contains_key(name) && !known {
            self.found
                .push(raw(first, FoundKind::Function(name.to_owned()), context));
            return Ok(());
        }
        if context.here
            && let Some(statement) = context.function
        {
            self.calls.push((self.found.len(), statement));
        }
        self.found
            .push(raw(first, FoundKind::Command(name.to_owned()), context));
        if !known {
            return Ok(());
        }
        check_nesting(first, context)?;
        let mut via = context.via.to_vec();
        via.push(base.to_owned());
        let inside = Context {
            via: &via,
            here: false,
            top: false,
            nested: context.nested + 1,
            ..context
        };
        wrappers::run(self, base, first, arguments, inside, context)
    }
}

/// Returns true for a command below `/proc` or `/dev`, where a path may be a link to the running shell or to an open
/// file descriptor.
fn is_of_the_kernel(name: &str) -> bool {
    if !name.contains('/') {
        return false;
    }
    let mut steps: Vec<&str> = Vec::new();
    for step in name.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    let below = steps.len() > 1;
    match steps.first() {
        Some(&"proc") => below,
        // A relative path such as `dev/tool` may be in a directory of the project.
        Some(&"dev") => below && (name.starts_with('/') || steps[1] == "fd"),
        _ => false,
    }
}

/// Returns true for `[[` without `]]`.
fn half_a_test(item: &Pipeline) -> bool {
    let [ShellNode::Simple(simple)] = item.nodes.as_slice() else {
        return false;
    };
    let named = simple
        .words
        .first()
        .is_some_and(|word| word.operator() == Some("[["));
    named
        && simple.assigns.is_empty()
        && simple
            .words
            .last()
            .is_some_and(|word| word.operator() != Some("]]"))
}

/// Special builtins of POSIX shells, which a function cannot replace.
const SPECIAL: &[&str] = &[
    ".", ":", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return", "set",
    "shift", "source", "times", "trap", "unset",
];

/// Reserved words of bash that dash reads as program names.
const KEYWORDS: &[&str] = &["[[", "select", "function", "coproc"];

/// Maximum number of walks through the script.
const MAX_ROUNDS: usize = 6;
