//! Assignments in a script: the variables that a command or a builtin sets, and their values.

use crate::{
    Context, FoundKind, HOLE, NOT_NAMED, ScriptWalk, UnknownReason, Word,
    shell::{script_walk::raw, settings, syntax::is_name},
};

impl ScriptWalk<'_> {
    /// Records an assignment to the variable `name`. `None` means an unknown name.
    pub(super) fn sets(&mut self, word: &Word, name: Option<&str>, context: Context<'_>) {
        self.names.extend(name.map(str::to_owned));
        if name.is_some_and(settings::is_integer) {
            (self.evaluates, self.integers) = (true, true);
        }
        match name {
            Some("PATH") if settings::keeps_programs(word.source()) => {
                self.found.push(raw(
                    word,
                    FoundKind::HarmlessSetting("PATH".to_owned()),
                    context,
                ));
            }
            Some("IFS") => {
                let kept = word.exactly().is_some_and(settings::keeps_numbers);
                let what = if kept {
                    FoundKind::HarmlessSetting
                } else {
                    FoundKind::Setting
                };
                let into = if kept {
                    &mut self.found
                } else {
                    &mut self.separators
                };
                into.push(raw(word, what("IFS".to_owned()), context));
            }
            Some(name) if settings::changes(name) => {
                self.found
                    .push(raw(word, FoundKind::Setting(name.to_owned()), context));
                let value = word.text.split_once('=').map(|(_, value)| value);
                let evaluated = |value: &str| {
                    value.contains([HOLE, '`']) || value.contains("$(") || value.contains("@P}")
                };
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
        let end = word
            .text
            .find(['=', '[', '+', HOLE])
            .unwrap_or(word.text.len());
        let whole = !word.text[end..].starts_with(HOLE);
        self.sets(word, whole.then_some(&word.text[..end]), context);
        if let Some((_, value)) = word.text.split_once('=') {
            self.sums(word, value, context);
        }
    }

    /// Records the variables that `value` sets if a shell evaluates `value` as arithmetic.
    pub(super) fn sums(&mut self, word: &Word, value: &str, context: Context<'_>) {
        for name in settings::named_in(value) {
            self.sums
                .push(raw(word, FoundKind::Setting(name.to_owned()), context));
        }
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
        self.elements.push((
            name.to_owned(),
            raw(word, FoundKind::Unknown(ELEMENTS), context),
        ));
    }
}

const ELEMENTS: UnknownReason = UnknownReason::programs(
    "the shell reads this value as elements of an array, so the value may run a command: write \
                        `name=(...)` without `declare`",
);

/// Returns true for a word like `a[1]=x` or `a+=x`, which is an assignment in bash and a command in dash. No program
/// has such a name, unless the word contains a slash, or an expansion that may contain a slash.
pub fn assigns_for_bash(word: &Word) -> bool {
    let source = word.source();
    if source.contains(['/', '$', '`']) {
        return false;
    }
    let Some(end) = source.find(['[', '+']) else {
        return false;
    };
    let element =
        source[end..].starts_with('[') && (source.contains("]=") || source.contains("]+="));
    is_name(&source[..end]) && (element || source[end..].starts_with("+="))
}
