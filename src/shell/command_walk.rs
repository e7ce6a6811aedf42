//! Walk through a script's syntax tree. The walk records the commands.

use std::collections::{BTreeMap, BTreeSet};

use crate::shell::found::{FoundKind, ScriptFinding, ScriptPlace, Shell};
use crate::shell::known::is_known;
use crate::shell::reasons::{NO_NAME, NO_TEXT, NOT_NAMED, OF_THE_KERNEL, TRAP};
use crate::shell::script_walk::{ArgumentText, Context, FunctionCalls, RawFinding, ScriptWalk, TextReader};
use crate::shell::syntax::{
    self, ByteOrigin, CommandList, CompoundCommand, Dialect, HOLE, MAX_DEPTH, Pipeline, Redirect, ShellNode,
    SimpleCommand, SyntaxFlaw, Word, WordPart, is_name,
};
use crate::shell::traps::{is_trap, is_whole_trap, opens_index};
use crate::shell::{settings, wrappers};

impl<'s> ScriptWalk<'s> {
    pub(super) fn new(script: &'s str, shell: Shell) -> Self {
        Self {
            script,
            shell,
            found: Vec::new(),
            depth: 0,
            budget: budget(script),
            certain: BTreeMap::new(),
            functions: BTreeSet::new(),
            calls: Vec::new(),
            first_call: None,
            statement: 0,
            unset: false,
            undefined: BTreeSet::new(),
            passing: BTreeSet::new(),
            given: FunctionCalls::new(),
            giving: FunctionCalls::new(),
            moved: BTreeSet::new(),
            moves: false,
            shifted: 0,
            fields: Vec::new(),
            exported: false,
            evaluates: false,
            differs: false,
            traps: Vec::new(),
            loose: Vec::new(),
            // Shell variables such as `$_` contain words of other commands.
            redirected: ["$_", "${_", "BASH_"].iter().any(|name| script.contains(name)),
            integers: false,
            sums: Vec::new(),
            arrays: BTreeSet::new(),
            any_array: false,
            elements: Vec::new(),
        }
    }

    pub(super) fn whole(&mut self) -> Result<(), SyntaxFlaw> {
        self.pass(Dialect::Bash)?;
        if self.shell == Shell::Sh && self.differs {
            self.pass(Dialect::Dash)?;
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
        self.found.extend(elements.filter(|(name, _)| of_an_array(name)).map(|(_, raw)| raw));
        Ok(())
    }

    /// Records that the variable `name` is an array. `None` means any variable.
    pub(super) fn makes_array(&mut self, name: Option<&str>) {
        match name {
            Some(name) => drop(self.arrays.insert(name.to_owned())),
            None => self.any_array = true,
        }
    }

    /// Records a value that would run commands if the variable `name` were an array.
    pub(super) fn elements(&mut self, name: &str, word: &Word, context: Context<'_>) {
        self.elements.push((name.to_owned(), raw(word, FoundKind::Unknown(ELEMENTS), context)));
    }

    /// Walks through the script in one dialect (bash or dash). If functions pass `"$@"` to other commands, the walk is
    /// repeated with the calls that the previous walk found. The function repeats the walk until the calls no longer
    /// change.
    fn pass(&mut self, dialect: Dialect) -> Result<(), SyntaxFlaw> {
        let marks = [self.found.len(), self.traps.len(), self.sums.len(), self.elements.len(), self.loose.len()];
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
            // The calls still change after the last round, so `"$@"` stays unknown.
            self.moves |= round == MAX_ROUNDS;
            self.walk(dialect)?;
            let calls: Vec<(String, Vec<ArgumentText>)> =
                self.giving.iter().map(|(name, calls)| (name.clone(), calls.keys().cloned().collect())).collect();
            let now = Some((calls, self.passing.clone(), self.moved.clone(), self.moves, self.exported));
            if self.passing.is_empty() || known == now {
                break;
            }
            known = now;
            self.given = std::mem::take(&mut self.giving);
        }
        let hidden = self.functions.iter().any(|name| name == NOT_FOUND || self.undefined.contains(name));
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

    fn walk(&mut self, dialect: Dialect) -> Result<(), SyntaxFlaw> {
        self.certain.clear();
        self.calls.clear();
        self.undefined.clear();
        self.functions.clear();
        self.first_call = None;
        self.statement = 0;
        self.unset = false;
        self.giving.clear();
        self.fields.clear();
        let read = syntax::parse(self.script, dialect, ByteOrigin::Shift(0), 0);
        if let Some(flaw) = read.flaw.filter(|flaw| flaw.guard || dialect == Dialect::Bash) {
            return Err(flaw);
        }
        self.evaluates |= read.evaluates;
        self.differs |= read.differs;
        let context = Context {
            bodies: &read.bodies,
            dialect,
            via: &[],
            here: true,
            function: None,
            top: true,
            named: None,
            body: false,
            captured: false,
            aside: false,
            input: None,
            nested: 0,
        };
        self.list(&read.list, context)?;
        if self.unset || self.functions.contains("read") || self.undefined.contains("read") {
            self.found.append(&mut self.fields);
        }
        let calls = std::mem::take(&mut self.calls);
        for (index, statement) in calls.into_iter().filter(|_| !self.exported) {
            let FoundKind::Command(name) = &self.found[index].what else { continue };
            let Some(defined) = self.certain.get(name).filter(|_| !is_known(name)) else { continue };
            let before_calls = self.first_call.is_none_or(|first| *defined < first);
            if before_calls || *defined < statement {
                self.found[index].what = FoundKind::Function(name.clone());
            }
        }
        Ok(())
    }

    pub(super) fn done(mut self) -> Vec<ScriptFinding> {
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
            let one =
                ScriptFinding { what: raw.what, place: ScriptPlace { line, column }, via: raw.via, source: raw.source };
            // Both dialects find many equal results, so duplicates are dropped. The search compares at most 64 earlier
            // results of the same place.
            if !found[same.min(found.len())..].iter().rev().take(64).any(|other| *other == one) {
                found.push(one);
            }
        }
        found
    }

    fn list(&mut self, list: &CommandList, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        let mut failed = false;
        for item in list {
            if context.top {
                self.statement += 1;
            }
            // In dash, `[[ a && b ]]` calls a command `[[`. In dash, the call of `[[` fails, because no such command
            // exists or because the closing `]]` is missing, so `b` does not run.
            failed = context.dialect == Dialect::Dash && !item.negated && (item.and && failed || half_a_test(item));
            if item.and && failed {
                continue;
            }
            self.item(item, context)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Pipeline, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        for node in &item.nodes {
            let (top, body) = (context.top && item.certain && item.first, context.body && item.certain);
            let captured = context.captured || item.nodes.len() > 1;
            self.node(node, Context { top, body, captured, ..context })?;
        }
        Ok(())
    }

    fn node(&mut self, node: &ShellNode, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        self.depth += 1;
        match node {
            ShellNode::Simple(simple) => self.simple(simple, context)?,
            ShellNode::Compound(compound) => self.compound(compound, Context { body: false, ..context })?,
            ShellNode::Function { name, body } => {
                self.functions.insert(name.text.clone());
                let plain = !name.text.contains('/') && !SPECIAL.contains(&name.text.as_str());
                if context.top && context.here && plain {
                    self.certain.entry(name.text.clone()).or_insert(self.statement);
                }
                self.moves |= MOVES.contains(&name.text.as_str());
                let shifted = std::mem::take(&mut self.shifted);
                let (function, named) = (context.function.or(Some(self.statement)), Some(name.text.as_str()));
                // The script may capture the output of a function call.
                let inside =
                    Context { function, named, body: true, captured: true, top: false, input: None, ..context };
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

    fn compound(&mut self, compound: &CompoundCommand, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        for name in &compound.sets {
            self.parts(name, context)?;
            self.sets(name, name.exactly(), context);
        }
        for word in &compound.words {
            self.word(word, context)?;
        }
        self.redirects(&compound.redirects, context)?;
        // A group or a subshell runs its list once.
        let once = compound.lists.len() == 1 && compound.sets.is_empty() && compound.words.is_empty();
        for list in &compound.lists {
            let captured = context.captured || compound.read || writes_a_file(&compound.redirects);
            self.list(list, Context { top: false, body: context.body && once, captured, input: None, ..context })?;
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
                self.fields.push(raw(assign, FoundKind::Setting("IFS".to_owned()), context));
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
        let context = Context { input, ..context };
        match self.passed_on(&simple.words, context) {
            Some(calls) => calls.iter().try_for_each(|words| self.resolve(words, context)),
            None => self.resolve(&simple.words, context),
        }
    }

    /// Returns true if no variable receives the words of the command. A command of this kind is a program or `echo`
    /// whose output the script does not read.
    fn is_aside(&mut self, simple: &SimpleCommand, context: Context<'_>) -> bool {
        let Some(name) = simple.words.first().and_then(Word::exactly) else { return false };
        let executes = simple.words.iter().any(|word| word.exactly() == Some("exec"));
        self.redirected |= executes && !simple.redirects.is_empty();
        let prints = name == "printf" && simple.words.get(1).is_some_and(|word| word.exact && word.text != "-v");
        let keeps = is_known(name.rsplit('/').next().unwrap_or(name)) && !prints;
        let called = self.functions.contains(name) || self.undefined.contains(name);
        !context.captured && context.nested == 0 && !keeps && !called && !writes_a_file(&simple.redirects)
    }

    /// Returns `words` for each call of the function that contains the command, with the call's arguments in place of
    /// `"$@"`. Returns `None` if the calls of the function are not known.
    fn passed_on(&mut self, words: &[Word], context: Context<'_>) -> Option<Vec<Vec<Word>>> {
        let name = context.named.filter(|_| context.here && context.nested == 0)?;
        let at = words.iter().position(is_parameters)?;
        let first = &words[0];
        let runs = |first: &str| is_known(first.rsplit('/').next().unwrap_or(first)) || self.passing.contains(first);
        if at > 0 && !first.exactly().is_some_and(runs) {
            return None;
        }
        self.passing.insert(name.to_owned());
        if self.moves || self.exported || name == NOT_FOUND || self.moved.contains(name) {
            return None;
        }
        let calls = self.given.get(name)?;
        // Each call costs a part of the budget, because functions that call each other often would cause too much work.
        let Some(left) = self.budget.checked_sub(calls.len() * CALL) else {
            self.moved.insert(name.to_owned());
            return None;
        };
        self.budget = left;
        calls
            .values()
            .map(|call| {
                // A `shift` beyond the last parameter fails and removes no parameter.
                let (away, left) = call.split_at_checked(self.shifted)?;
                away.iter().all(|word| word.one).then(|| {
                    let place = |word: &Word| if is_parameters(word) { left.to_vec() } else { vec![word.clone()] };
                    words.iter().flat_map(place).collect()
                })
            })
            .collect()
    }

    /// Records a call that may give parameters to a function, or that runs a builtin which changes parameters.
    fn parameters(&mut self, name: &str, arguments: &[Word], context: Context<'_>) {
        if context.here && self.passing.contains(name) {
            let spelling = arguments.iter().map(|word| (word.text.clone(), word.one)).collect();
            let calls = self.giving.entry(name.to_owned()).or_default();
            calls.entry(spelling).or_insert_with(|| arguments.to_vec());
            if calls.len() > MAX_CALLS {
                self.moved.insert(name.to_owned());
            }
        }
        if !MOVES.contains(&name) || name == "set" && !sets_parameters(arguments) {
            return;
        }
        let count = match (name, arguments) {
            ("shift", []) => Some(1),
            ("shift", [count]) => count.exactly().and_then(|count| count.parse::<usize>().ok()),
            _ => None,
        };
        match (context.named, count) {
            // A builtin inside another builtin, or in a text that runs later, may change the parameters of any
            // function.
            _ if context.nested > 0 => self.moves = true,
            (Some(_), Some(count)) if context.body && count <= MAX_CALLS => self.shifted += count,
            (Some(function), _) => drop(self.moved.insert(function.to_owned())),
            (None, _) => {}
        }
    }

    /// Records that names may get another meaning, for example by an alias.
    pub(super) fn renames(&mut self) {
        self.moves = true;
    }

    /// Records the effects of a word's expansion, and the word itself if its evaluation may run a command.
    fn word(&mut self, word: &Word, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        if is_trap(&word.text) || opens_index(word) {
            let traps = if context.aside && !is_whole_trap(&word.text) { &mut self.loose } else { &mut self.traps };
            traps.push(raw(word, FoundKind::Unknown(TRAP), context));
        }
        self.parts(word, context)
    }

    fn parts(&mut self, word: &Word, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        for part in &word.parts {
            match part {
                WordPart::Script(list) => {
                    self.depth += 1;
                    let inside =
                        Context { top: false, body: false, captured: true, aside: false, input: None, ..context };
                    self.list(list, inside)?;
                    self.depth -= 1;
                }
                WordPart::Sets(name, at) => {
                    if settings::changes(name) {
                        let here = Word { at: *at, text: format!("{name}={HOLE}"), ..word.clone() };
                        self.sets(&here, Some(name), context);
                    }
                }
                WordPart::Trap(at) => {
                    let mut raw = raw(word, FoundKind::Unknown(TRAP), context);
                    raw.at = *at;
                    let sets = word.parts.iter().any(|part| matches!(part, WordPart::Sets(..)));
                    if context.aside && !sets { self.loose.push(raw) } else { self.traps.push(raw) }
                }
                WordPart::Unknown(why, at) => {
                    let mut raw = raw(word, FoundKind::Unknown(why), context);
                    raw.at = *at;
                    self.found.push(raw);
                }
            }
        }
        Ok(())
    }

    /// Records the variables that `value` sets if a shell evaluates `value` as arithmetic.
    fn sums(&mut self, word: &Word, value: &str, context: Context<'_>) {
        for name in settings::named_in(value) {
            self.sums.push(raw(word, FoundKind::Setting(name.to_owned()), context));
        }
    }

    /// Records an assignment to the variable `name`. The name is unknown if `name` is `None`.
    pub(super) fn sets(&mut self, word: &Word, name: Option<&str>, context: Context<'_>) {
        if name.is_some_and(settings::is_integer) {
            (self.evaluates, self.integers) = (true, true);
        }
        match name {
            Some(name) if settings::changes(name) => {
                self.found.push(raw(word, FoundKind::Setting(name.to_owned()), context));
                let value = word.text.split_once('=').map(|(_, value)| value);
                let evaluated =
                    |value: &str| value.contains([HOLE, '`']) || value.contains("$(") || value.contains("@P}");
                if settings::names_a_file(name) && value != Some("")
                    || settings::is_expanded(name) && value.is_none_or(evaluated)
                {
                    self.unknown(word, "the value of this variable runs, or names a program that runs: leave the variable out, or give it a value without `$` and backticks", context);
                }
            }
            Some(_) => {}
            None => self.unknown(word, NOT_NAMED, context),
        }
    }

    /// Records an argument that sets a variable, for example `name`, `name=value`, `name+=value` or `name[i]=value`.
    pub(super) fn declares(&mut self, word: &Word, context: Context<'_>) {
        let end = word.text.find(['=', '[', '+', HOLE]).unwrap_or(word.text.len());
        let whole = !word.text[end..].starts_with(HOLE);
        self.sets(word, whole.then_some(&word.text[..end]), context);
        if let Some((_, value)) = word.text.split_once('=') {
            self.sums(word, value, context);
        }
    }

    /// Records that the command in `word` is unknown.
    pub(super) fn unknown(&mut self, word: &Word, why: &'static str, context: Context<'_>) {
        if context.function.is_none() {
            self.may_call();
        }
        self.found.push(raw(word, FoundKind::Unknown(why), context));
    }

    fn may_call(&mut self) {
        self.first_call.get_or_insert(self.statement);
    }

    /// Records that the function `name` may be undefined or redefined. `None` means any function.
    pub(super) fn undefines(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                self.undefined.insert(name.to_owned());
            }
            None => self.unset = true,
        }
    }

    /// Returns the number of results that the walk has found.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Returns the results after the first `count` results.
    pub(super) fn found_since(&self, count: usize) -> impl Iterator<Item = &FoundKind> {
        self.found[count.min(self.found.len())..].iter().map(|raw| &raw.what)
    }

    /// Records a program with the name `name` that runs at the place of `word`.
    pub(super) fn runs(&mut self, name: &str, word: &Word, context: Context<'_>) {
        self.found.push(raw(word, FoundKind::Command(name.to_owned()), context));
    }

    /// Records the command in `words`, and the commands that this command runs as a wrapper.
    pub(super) fn resolve(&mut self, words: &[Word], context: Context<'_>) -> Result<(), SyntaxFlaw> {
        let Some((first, arguments)) = words.split_first() else { return Ok(()) };
        let Some(name) = first.exactly() else {
            let assigns = context.dialect == Dialect::Dash && assigns_for_bash(first);
            if !assigns {
                self.unknown(first, NO_NAME, context);
            }
            return Ok(());
        };
        if context.dialect == Dialect::Dash && !first.quoted && (KEYWORDS.contains(&name) || name.starts_with('-')) {
            // Words such as `-f` belong to bash's grammar (`[[ -f a || -f b ]]`), and no program has one of these words
            // as its name.
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
        let base = name.rsplit_once('/').map_or(name, |(_, base)| base);
        // If a function has the name of a wrapper, the walk still treats the call as a call of the wrapper. If the
        // function is not defined at run time, the wrapper runs its arguments.
        let known = is_known(base);
        if context.here && context.function.is_none() && self.certain.contains_key(name) && !known {
            self.found.push(raw(first, FoundKind::Function(name.to_owned()), context));
            return Ok(());
        }
        if context.here
            && let Some(statement) = context.function
        {
            self.calls.push((self.found.len(), statement));
        }
        self.found.push(raw(first, FoundKind::Command(name.to_owned()), context));
        if !known {
            return Ok(());
        }
        if context.nested >= MAX_NESTED {
            return Err(SyntaxFlaw {
                at: first.at,
                message: "commands in commands are nested deeper than 12 levels: reduce the nesting",
                guard: true,
            });
        }
        let mut via = context.via.to_vec();
        via.push(base.to_owned());
        let inside = Context { via: &via, here: false, top: false, nested: context.nested + 1, ..context };
        wrappers::run(self, base, first, arguments, inside, context)
    }

    /// Reads the text of `word`. At run time, `reader` runs this text with unknown words after the text.
    pub(super) fn text_and_more(
        &mut self,
        word: &Word,
        reader: TextReader,
        context: Context<'_>,
    ) -> Result<(), SyntaxFlaw> {
        let program = word.text.split_ascii_whitespace().next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || " _./:,+@%-=~".contains(c);
        // The words that ssh adds are a host, which the callers check, and a command that runs on that host.
        let ssh = program.rsplit('/').next() == Some("ssh") && word.text.chars().all(plain);
        if !word.exact || ssh {
            return self.text(&[word], reader, context);
        }
        let more = Word { text: format!("{} {HOLE}", word.text), raw: Some(word.source().into()), ..word.clone() };
        self.text(&[&more], reader, context)
    }

    /// Reads the text that `reader` runs. The text consists of `words`, joined by blanks.
    pub(super) fn text(&mut self, words: &[&Word], reader: TextReader, context: Context<'_>) -> Result<(), SyntaxFlaw> {
        let Some(first) = words.first() else { return Ok(()) };
        let joined;
        let (text, origin) = if let [word] = words {
            let source = word.source();
            let origin = match source.find(word.text.as_str()) {
                Some(inside) if self.script[word.at..].starts_with(source) => ByteOrigin::Shift(word.at + inside),
                _ => ByteOrigin::Fixed(word.at),
            };
            (word.text.as_str(), origin)
        } else {
            joined = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
            (joined.as_str(), ByteOrigin::Fixed(first.at))
        };
        let hidden = words.iter().find(|word| !(word.exact || word.one && !word.text.contains(HOLE)));
        if let Some(hidden) = hidden {
            self.unknown(hidden, NO_TEXT, context);
        } else if reader == TextReader::Here && context.function.is_none() {
            // The text may call a function of the surrounding script.
            self.may_call();
        }
        if text.len() > self.budget {
            return Err(SyntaxFlaw {
                at: first.at,
                message: "too much text runs as scripts in the script: reduce the nesting",
                guard: true,
            });
        }
        if context.nested >= MAX_NESTED {
            return Err(SyntaxFlaw {
                at: first.at,
                message: "commands in commands are nested deeper than 12 levels: reduce the nesting",
                guard: true,
            });
        }
        self.budget -= text.len();
        let dialects: &[Dialect] = match reader {
            TextReader::Here if context.dialect == Dialect::Bash => &[Dialect::Bash],
            TextReader::Here => &[Dialect::Dash],
            TextReader::Bash => &[Dialect::Bash],
            TextReader::Dash => &[Dialect::Dash],
            TextReader::Sh => &[Dialect::Bash, Dialect::Dash],
        };
        let outer = std::mem::take(&mut self.differs);
        for dialect in dialects {
            if dialects.len() > 1 && *dialect == Dialect::Dash && !self.differs {
                break;
            }
            let read = syntax::parse(text, *dialect, origin, (self.depth + context.nested).min(MAX_DEPTH));
            let (depth, before) = (self.depth, self.found.len());
            let last = dialects.len() == 1 || *dialect == Dialect::Bash;
            match read.flaw {
                // An error in a partly unknown text is ignored, because the walk already recorded the unknown part.
                Some(_) if hidden.is_some() => {}
                Some(flaw) if flaw.guard || last && !(reader == TextReader::Here && *dialect == Dialect::Dash) => {
                    return Err(flaw);
                }
                _ => {}
            }
            self.evaluates |= read.evaluates;
            self.differs |= read.differs;
            let inside = Context {
                bodies: &read.bodies,
                dialect: *dialect,
                here: context.here && reader == TextReader::Here,
                top: false,
                input: None,
                nested: context.nested + 1,
                ..context
            };
            let walked = self.list(&read.list, inside);
            self.depth = depth;
            if hidden.is_none() {
                walked?;
            } else {
                let seen = self.found.split_off(before);
                self.found.extend(seen.into_iter().filter(|raw| !matches!(raw.what, FoundKind::Unknown(_))));
                // The list `calls` is sorted by index.
                self.calls.truncate(self.calls.partition_point(|(index, _)| *index < before));
            }
        }
        self.differs = outer || self.differs && reader == TextReader::Here;
        Ok(())
    }
}

/// Returns the maximum number of bytes of all nested texts of a script.
fn budget(script: &str) -> usize {
    4 * script.len() + 4096
}

/// Returns true if a redirection writes to a file, because the script may run that file later.
fn writes_a_file(redirects: &[Redirect]) -> bool {
    let descriptor =
        |word: &Word| word.exactly().is_some_and(|text| text.bytes().all(|c| c.is_ascii_digit() || c == b'-'));
    let nowhere = |word: &Word| word.exactly() == Some("/dev/null");
    redirects.iter().any(|redirect| {
        let output = matches!(redirect.operator, ">" | ">>" | ">|" | "<>" | "&>" | ">&");
        output && !nowhere(&redirect.target) && !(redirect.operator == ">&" && descriptor(&redirect.target))
    })
}

/// Returns true for `"$@"`.
fn is_parameters(word: &Word) -> bool {
    matches!(word.source(), "\"$@\"" | "\"${@}\"")
}

/// Returns true if `set` with these arguments changes the parameters.
fn sets_parameters(arguments: &[Word]) -> bool {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.exactly() {
            Some("-" | "--") | None => return true,
            Some(text) if !text.starts_with(['-', '+']) => return true,
            // `-o` consumes the next word.
            Some(text) if text.ends_with('o') => drop(words.next()),
            Some(_) => {}
        }
    }
    false
}

/// Returns true for a command below `/proc` or `/dev`. A path below `/proc` or `/dev` may be a link to the running
/// shell or to an open file descriptor.
fn is_of_the_kernel(name: &str) -> bool {
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
        Some(&"proc") => below && name.contains('/'),
        // A relative path such as `dev/tool` may be in a directory of the project.
        Some(&"dev") => below && (name.starts_with('/') || steps[1] == "fd"),
        _ => false,
    }
}

/// Returns true for `[[` without `]]`.
fn half_a_test(item: &Pipeline) -> bool {
    let [ShellNode::Simple(simple)] = item.nodes.as_slice() else { return false };
    let named = simple.words.first().is_some_and(|word| word.operator() == Some("[["));
    named && simple.assigns.is_empty() && simple.words.last().is_some_and(|word| word.operator() != Some("]]"))
}

/// Returns true for a word like `a[1]=x` or `a+=x`, which dash reads as a command. Bash reads a word like `a[1]=x` as
/// an assignment, and no program has a name of this form. A word with a slash, or with an expansion that may contain a
/// slash, can name a program.
fn assigns_for_bash(word: &Word) -> bool {
    let source = word.source();
    if source.contains(['/', '$', '`']) {
        return false;
    }
    let Some(end) = source.find(['[', '+']) else { return false };
    let element = source[end..].starts_with('[') && (source.contains("]=") || source.contains("]+="));
    is_name(&source[..end]) && (element || source[end..].starts_with("+="))
}

fn raw(word: &Word, what: FoundKind, context: Context<'_>) -> RawFinding {
    let source = word.source();
    let cut = source.char_indices().nth(200).map_or(source.len(), |(at, _)| at);
    RawFinding { at: word.at, what, via: context.via.to_vec(), source: source[..cut].to_owned() }
}

/// Maximum nesting of texts and wrappers. The maximum limits the stack and the amount of copied data.
const MAX_NESTED: usize = 12;

/// Special builtins of POSIX shells. A function cannot replace a special builtin.
const SPECIAL: &[&str] = &[
    ".", ":", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return", "set", "shift", "source",
    "times", "trap", "unset",
];

/// Reserved words of bash that dash reads as program names.
const KEYWORDS: &[&str] = &["[[", "select", "function", "coproc"];

/// Builtins that change the parameters `$1`, `$2` and so on.
const MOVES: &[&str] = &["set", "shift"];

/// Maximum number of walks through the script.
const MAX_ROUNDS: usize = 6;
const MAX_CALLS: usize = 256;
const CALL: usize = 64;

/// Name of the function that bash calls if a command does not exist.
const NOT_FOUND: &str = "command_not_found_handle";

const ELEMENTS: &str =
    "a value that is read as elements of an array, and may run a command: write `name=(...)` without `declare`";
