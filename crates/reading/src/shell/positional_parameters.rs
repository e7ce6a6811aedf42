//! Positional parameters (`"$@"`, `$1`) of functions: the calls that set them, and the commands that change them.

use crate::{Context, NOT_FOUND, ScriptWalk, Word, is_known};

impl ScriptWalk<'_> {
    /// Returns `words` with the arguments of a call in place of `"$@"`, for each call of the surrounding function.
    /// Returns `None` if its calls are not known.
    pub fn passed_on(&mut self, words: &[Word], context: Context<'_>) -> Option<Vec<Vec<Word>>> {
        let name = context
            .named
            .filter(|_| context.here && context.nested == 0)?;
        let at = words.iter().position(is_parameters)?;
        let first = &words[0];
        let runs = |first: &str| {
            is_known(first.rsplit('/').next().unwrap_or(first)) || self.passing.contains(first)
        };
        if at > 0 && !first.exactly().is_some_and(runs) {
            return None;
        }
        self.passing.insert(name.to_owned());
        if self.has_unknown_parameters(name) {
            return None;
        }
        let calls = self.given.get(name)?;
        // Each call costs a part of the budget, because functions with many calls of each other would cause too much
        // work.
        let Some(left) = self.budget.checked_sub(calls.len() * CALL) else {
            self.moved.insert(name.to_owned());
            return None;
        };
        self.budget = left;
        let passed_on = calls.values().map(|call| {
            // A `shift` beyond the last parameter fails and removes nothing.
            let (away, left) = call.split_at_checked(self.shifted)?;
            away.iter().all(|word| word.one).then(|| {
                let place = |word: &Word| {
                    if is_parameters(word) {
                        left.to_vec()
                    } else {
                        vec![word.clone()]
                    }
                };
                words.iter().flat_map(place).collect()
            })
        });
        let passed_on: Option<Vec<Vec<Word>>> = passed_on.collect();
        if passed_on.is_none() {
            self.moved.insert(name.to_owned());
        }
        passed_on
    }

    /// Returns true if a program receives `"$@"` of a function whose calls, or changes of the parameters, are not known.
    pub fn passes_unknown(&self, arguments: &[Word], context: Context<'_>) -> bool {
        context
            .named
            .is_some_and(|name| self.has_unknown_parameters(name))
            && arguments.iter().any(is_parameters)
    }

    fn has_unknown_parameters(&self, function: &str) -> bool {
        self.moves || self.exported || function == NOT_FOUND || self.moved.contains(function)
    }

    /// Records a call that may set the parameters of a function, or a builtin that changes them.
    pub fn parameters(&mut self, name: &str, arguments: &[Word], context: Context<'_>) {
        if context.here && self.passing.contains(name) {
            let spelling = arguments
                .iter()
                .map(|word| (word.text.clone(), word.one))
                .collect();
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
            ("shift", [count]) => count
                .exactly()
                .and_then(|count| count.parse::<usize>().ok()),
            _ => None,
        };
        match (context.named, count) {
            // A builtin in another builtin, or in a text that runs later, may change the parameters of any function.
            _ if context.nested > 0 => self.moves = true,
            (Some(_), Some(count)) if context.body && count <= MAX_CALLS => self.shifted += count,
            (Some(function), _) => drop(self.moved.insert(function.to_owned())),
            (None, _) => {}
        }
    }

    /// Records that names may get another meaning, for example through an alias.
    pub fn renames(&mut self) {
        self.moves = true;
    }
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

/// Builtins that change the parameters `$1`, `$2` and so on.
pub const MOVES: &[&str] = &["set", "shift"];

const MAX_CALLS: usize = 256;
const CALL: usize = 64;
