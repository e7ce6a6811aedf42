//! Finds the commands that a script would start. The file also contains:
//!
//! - assignments in a script: the variables that a command or a builtin sets, and their values
//! - the parser of redirections and here-documents
//! - the comparison of the structure of two scripts: their commands, words, redirections and here-documents

use std::{cell::OnceCell, collections::BTreeSet};

use crate::{
    ByteOrigin, CommandList, Context, Dialect, FoundKind, HOLE, NOT_NAMED, NotUnderstood, Parser,
    Read, Redirect, Script, ScriptCalls, ScriptFinding, ScriptWalk, Shell, ShellNode, SyntaxFlaw,
    TextLines, UnknownReason, Word, WordPart, WordPosition, is_name,
    shell::{
        script_walk::raw,
        settings,
        syntax::{self, PendingHereDocument},
    },
};

/// Maximum size of a script.
pub enum ReadLimit {
    /// A step's script: 64 KiB.
    Step,
    /// A whole file: 1 MB.
    File,
}

impl ReadLimit {
    /// Returns the maximum size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Step => 64 << 10,
            Self::File => 1_000_000,
        }
    }
}

/// Returns everything that `script` would start in the given shell, and every assignment to a variable that changes
/// later commands, in the order of the script.
///
/// [`Shell::Sh`] can be bash or dash, and dash parses some scripts differently. For example, dash runs `$b` in
/// `[[ a || $b ]]`.
///
/// # Errors
/// Returns an error if the script has a syntax error, exceeds a limit, or has a construct that the shell might read
/// differently.
pub fn find_in(
    shell: Shell,
    script: &str,
    most: ReadLimit,
) -> Result<Vec<ScriptFinding>, NotUnderstood> {
    ReadScript::new(shell, script, most)?.found()
}

/// Returns the names of all variables that a script of `shell` sets or exports by their names. The result is empty for
/// a script with an error.
pub fn names_set_in(shell: Shell, script: &str) -> BTreeSet<String> {
    let walk = ScriptWalk::new(script, shell);
    let walked = ReadScript::new(shell, script, ReadLimit::Step).and_then(|read| read.walked(walk));
    walked.map(|walk| walk.names).unwrap_or_default()
}

/// Returns the places of the comments in a script of `bash` or `sh`, in order. Each comment ends at the end of its
/// line. A script of another interpreter, and a script that the parser can't read, have none.
pub fn comments(interpreter: &str, script: &str) -> Vec<usize> {
    let Some(shell) = Shell::of(interpreter) else {
        return Vec::new();
    };
    let Ok(read) = ReadScript::new(shell, script, ReadLimit::File) else {
        return Vec::new();
    };
    let Ok(readings) = read.readings() else {
        return Vec::new();
    };
    let is_in_all = |at: &usize| {
        readings
            .iter()
            .all(|reading| reading.comments.binary_search(at).is_ok())
    };
    readings[0]
        .comments
        .iter()
        .copied()
        .filter(is_in_all)
        .collect()
}

/// Returns the calls of a script of `shell` with their arguments, in the order of the script.
///
/// # Errors
/// Returns the errors of [`find_in`].
pub fn calls_in(shell: Shell, script: &str) -> Result<ScriptCalls, NotUnderstood> {
    let read = ReadScript::new(shell, script, ReadLimit::Step)?;
    let walk = ScriptWalk {
        seen: Some(ScriptCalls::default()),
        ..ScriptWalk::new(script, shell)
    };
    let mut found = read.walked(walk)?.seen.unwrap_or_default();
    // A script is walked through several times if bash and dash read it differently, or if functions pass arguments on.
    found.calls.sort_by_key(|call| call.at);
    found.calls.dedup();
    Ok(found)
}

/// A script that is parsed only once for several questions about it.
pub struct ReadScript<'s> {
    text: &'s str,
    shell: Shell,
    bash: OnceCell<Script>,
    dash: OnceCell<Script>,
}

impl<'s> ReadScript<'s> {
    /// Checks the size and the characters of a script.
    ///
    /// # Errors
    /// Returns an error if the script is too long or empty, or contains a refused character.
    pub fn new(shell: Shell, text: &'s str, most: ReadLimit) -> Result<Self, NotUnderstood> {
        check_bytes(text, most)?;
        Ok(Self {
            text,
            shell,
            bash: OnceCell::new(),
            dash: OnceCell::new(),
        })
    }

    /// Returns what the script would start. See [`find_in`].
    ///
    /// # Errors
    /// Returns the errors of [`find_in`].
    pub fn found(&self) -> Result<Vec<ScriptFinding>, NotUnderstood> {
        Ok(self.walked(ScriptWalk::new(self.text, self.shell))?.done())
    }

    /// Walks through the whole script.
    fn walked<'w>(&self, mut walk: ScriptWalk<'w>) -> Result<ScriptWalk<'w>, NotUnderstood> {
        walk.whole(self).map_err(|flaw| self.refused(flaw))?;
        Ok(walk)
    }

    fn refused(&self, flaw: SyntaxFlaw) -> NotUnderstood {
        not_understood(self.text, flaw.at, flaw.message)
    }

    /// Returns true if the script has the structure of `planned`. `is_text` compares a text of `planned` with the text
    /// in the same place of the script. If `quotes` is true, `a` and `'a'` are different words.
    ///
    /// # Errors
    /// Returns the errors of [`Self::found`] that the parser reports.
    pub fn is_like(
        &self,
        planned: &ReadScript<'_>,
        quotes: bool,
        is_text: &dyn Fn(&str, &str) -> bool,
    ) -> Result<bool, NotUnderstood> {
        let (planned, found) = (planned.readings()?, self.readings()?);
        let is_same = |(planned, found)| {
            Comparison {
                planned,
                found,
                quotes,
                is_text,
            }
            .is_same_list(&planned.list, &found.list)
        };
        Ok(planned.len() == found.len() && planned.into_iter().zip(found).all(is_same))
    }

    /// Returns the tree of bash, and the tree of dash if dash may read the script differently.
    ///
    /// # Errors
    /// Returns the errors of [`Self::found`] that the parser reports.
    pub fn readings(&self) -> Result<Vec<&Script>, NotUnderstood> {
        let mut readings = vec![self.parsed(Dialect::Bash)];
        if self.shell != Shell::Bash && readings[0].flaw.is_none() && readings[0].differs {
            readings.push(self.parsed(Dialect::Dash));
        }
        match readings.iter().find_map(|script| script.flaw) {
            Some(flaw) => Err(self.refused(flaw)),
            None => Ok(readings),
        }
    }

    /// Returns the syntax tree of the script in this dialect.
    pub fn parsed(&self, dialect: Dialect) -> &Script {
        let cell = match dialect {
            Dialect::Bash => &self.bash,
            Dialect::Dash => &self.dash,
        };
        cell.get_or_init(|| syntax::parse(self.text, dialect, ByteOrigin::Shift(0), 0))
    }
}

/// Checks the size of a script, and that it contains no refused character.
fn check_bytes(script: &str, most: ReadLimit) -> Result<(), NotUnderstood> {
    let fail = |at: usize, message: &str| not_understood(script, at, message);
    if script.len() > most.bytes() {
        return Err(fail(
            0,
            "the script is too long (maximum: 64 KiB in a step, 1 MB in a file): split the script",
        ));
    }
    if script.trim_ascii().is_empty() {
        return Err(fail(0, "the script is empty: write a command"));
    }
    let odd = |byte: u8| byte < b' ' && !matches!(byte, b'\n' | b'\t' | 0x1b) || byte == 0x7f;
    if let Some(at) = script.bytes().position(odd).or_else(|| script.find(HOLE)) {
        return Err(fail(
            at,
            "shells disagree about this control character: remove the character (`\\r`: save with Unix line ends)",
        ));
    }
    Ok(())
}

fn not_understood(script: &str, at: usize, message: &str) -> NotUnderstood {
    NotUnderstood {
        at,
        place: TextLines::of(script).place(at),
        message: message.to_owned(),
    }
}

impl ScriptWalk<'_> {
    /// Records an assignment to the variable `name`. `None` means an unknown name.
    pub fn sets(&mut self, word: &Word, name: Option<&str>, context: Context<'_>) {
        self.names.extend(name.map(str::to_owned));
        if name.is_some_and(settings::is_integer) {
            (self.evaluates, self.integers) = (true, true);
        }
        let is_harmless = match name {
            Some("PATH") => settings::keeps_programs(word.source()),
            Some("IFS") => word.exactly().is_some_and(settings::keeps_numbers),
            _ => false,
        };
        match name {
            Some(name) if is_harmless => {
                let what = FoundKind::HarmlessSetting(name.to_owned());
                self.found.push(raw(word, what, context));
            }
            Some("IFS") => {
                let what = FoundKind::Setting("IFS".to_owned());
                self.separators.push(raw(word, what, context));
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
    pub fn declares(&mut self, word: &Word, context: Context<'_>) {
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
    pub fn sums(&mut self, word: &Word, value: &str, context: Context<'_>) {
        for name in settings::named_in(value) {
            self.sums
                .push(raw(word, FoundKind::Setting(name.to_owned()), context));
        }
    }

    /// Records that the variable `name` is an array. `None` means any variable.
    pub fn makes_array(&mut self, name: Option<&str>) {
        match name {
            Some(name) => drop(self.arrays.insert(name.to_owned())),
            None => self.any_array = true,
        }
    }

    /// Records a value that would run commands if the variable `name` were an array.
    pub fn elements(&mut self, name: &str, word: &Word, context: Context<'_>) {
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

impl Parser<'_> {
    /// Reads a redirection, and returns false if no redirection begins at this position.
    pub fn redirect(&mut self, redirects: &mut Vec<Redirect>, sets: &mut Vec<Word>) -> Read<bool> {
        let start = self.pos;
        let mut number = None;
        match self.peek() {
            Some(b'0'..=b'9') => {
                let mut digits = String::new();
                while let Some(digit @ b'0'..=b'9') = self.peek() {
                    digits.push(char::from(digit));
                    self.pos += 1;
                }
                // In dash, a number of more than one digit before a redirection is a word.
                if digits.len() > 1 && matches!(self.peek(), Some(b'<' | b'>')) && !self.bash() {
                    self.pos = start;
                    return Ok(false);
                }
                number = Some(digits);
            }
            Some(b'{') => {
                self.pos += 1;
                let at = self.place();
                let name = self.pos;
                while matches!(
                    self.peek(),
                    Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'[' | b']')
                ) {
                    self.pos += 1;
                }
                let name = self.text[name..self.pos].replace("\\\n", "");
                if self.take(b'}')
                    && is_name(name.split('[').next().unwrap_or_default())
                    && matches!(self.peek(), Some(b'<' | b'>'))
                    && self.bash()
                {
                    if self.peek_second() == Some(b'(') {
                        return self.guard(
                            "`<(` directly after `}` is ambiguous: put a space before `<(`",
                        );
                    }
                    self.evaluates |= name.contains('[');
                    sets.push(Word {
                        name: Some(name.len()),
                        ..Word::literal(name, at)
                    });
                    number = Some("9".to_owned());
                } else {
                    self.pos = start;
                    return Ok(false);
                }
            }
            Some(b'&') if self.peek_second() == Some(b'>') && self.bash() => {
                self.take_two();
                self.take(b'>');
                self.blanks();
                let target = self.word(WordPosition::Argument)?;
                redirects.push(Redirect {
                    operator: "&>",
                    input: false,
                    target,
                    body: None,
                });
                return Ok(true);
            }
            _ => {}
        }
        let Some(direction @ (b'<' | b'>')) = self.peek() else {
            self.pos = start;
            return Ok(false);
        };
        if self.peek_second() == Some(b'(') && self.bash() {
            self.pos = start;
            return Ok(false);
        }
        self.pos += 1;
        let operator = match (direction, self.peek()) {
            (b'<', Some(b'<')) => {
                self.pos += 1;
                if self.peek() == Some(b'<') && self.bash() {
                    self.pos += 1;
                    "<<<"
                } else if self.take(b'-') {
                    "<<-"
                } else {
                    "<<"
                }
            }
            (b'<', Some(b'&')) => "<&",
            (b'<', Some(b'>')) => "<>",
            (b'<', _) => "<",
            (_, Some(b'>')) => ">>",
            (_, Some(b'|')) => ">|",
            (_, Some(b'&')) => ">&",
            _ => ">",
        };
        if matches!(operator, "<&" | "<>" | ">>" | ">|" | ">&") {
            self.pos += 1;
        }
        let input = number.as_deref().map_or(direction == b'<', |number| {
            number.trim_start_matches('0').is_empty()
        });
        self.spaces();
        if self.peek() == Some(b'#') {
            return self.guard("`#` follows a redirection: quote `#`");
        }
        let target = self.word(WordPosition::Argument)?;
        let mut body = None;
        if matches!(operator, "<<" | "<<-") {
            if !target.exact
                || !target.parts.is_empty()
                || target.source().contains(['$', '`', '\n'])
            {
                return self.guard(
                    "the delimiter of a here-document is not a plain word: write a plain word",
                );
            }
            body = Some(self.bodies.len());
            self.pending.push(PendingHereDocument {
                body: self.bodies.len(),
                delimiter: target.text.clone(),
                quoted: target.quoted,
                tabs: operator == "<<-",
            });
            self.bodies.push(Word::literal("", target.at));
        }
        redirects.push(Redirect {
            operator,
            input,
            target,
            body,
        });
        Ok(true)
    }

    /// Reads the lines of a here-document, including the delimiter's line.
    pub fn here_document(&mut self, pending: &PendingHereDocument) -> Read<()> {
        let start = self.pos;
        // True if the last line ends with a backslash in a body with expansions, so that the next line continues it.
        let mut goes_on = false;
        loop {
            if self.pos >= self.text.len() {
                return self
                    .guard("a here-document has no end: write its delimiter on a separate line");
            }
            let rest = &self.text[self.pos..];
            let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
            let stripped = if pending.tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if stripped == pending.delimiter {
                if goes_on {
                    return self.guard("the last line of a here-document ends with a backslash: remove the backslash");
                }
                break;
            }
            if self.substitutions > 0
                && stripped
                    .strip_prefix(pending.delimiter.as_str())
                    .is_some_and(|rest| rest.contains(')'))
            {
                return self.guard(
                    "the delimiter of a here-document is on the line of a bracket: put the delimiter on a separate \
                     line",
                );
            }
            goes_on = !pending.quoted
                && line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
            if goes_on {
                let begun = stripped.strip_suffix('\\').unwrap_or(stripped);
                if pending.delimiter.starts_with(begun) {
                    return self.guard(
                        "a line of a here-document ends with a backslash: remove the backslash",
                    );
                }
            }
            self.pos = (self.pos + line.len() + 1).min(self.text.len());
        }
        let end = self.pos;
        let line = self.text[end..]
            .split_once('\n')
            .map_or(self.text.len() - end, |(line, _)| line.len());
        // Skip the newline after the delimiter, because the command before the body has already ended.
        self.pos = (end + line + 1).min(self.text.len());
        self.bodies[pending.body] = self.body(start, end, pending.quoted, pending.tabs)?;
        Ok(())
    }
}

/// Returns true if a redirection writes to a file, which the script may run later.
pub fn writes_a_file(redirects: &[Redirect]) -> bool {
    let descriptor = |word: &Word| {
        word.exactly()
            .is_some_and(|text| text.bytes().all(|c| c.is_ascii_digit() || c == b'-'))
    };
    let nowhere = |word: &Word| word.exactly() == Some("/dev/null");
    redirects.iter().any(|redirect| {
        let output = matches!(redirect.operator, ">" | ">>" | ">|" | "<>" | "&>" | ">&");
        output
            && !nowhere(&redirect.target)
            && !(redirect.operator == ">&" && descriptor(&redirect.target))
    })
}

/// Two scripts that are compared.
struct Comparison<'c> {
    planned: &'c Script,
    found: &'c Script,
    /// True if `a` and `'a'` are different words.
    quotes: bool,
    /// Returns true if the second script has the right text in the place of the text of the first script.
    is_text: &'c dyn Fn(&str, &str) -> bool,
}

impl Comparison<'_> {
    /// Returns true if the two lists have the same structure.
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

/// Returns the effects of a word without [`WordPart::Trap`]. Whether a text is a trap depends on the text, and the
/// search for commands reports traps.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_as_the_shell_reads_them() {
        let found = |interpreter: &str, script: &str| {
            let texts = comments(interpreter, script)
                .into_iter()
                .map(|at| script[at..].lines().next().unwrap_or_default());
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        let script = "#!/bin/bash\n# one\necho a#b '# c' \"# d\" \\# e # two\nif true; then #three\n  echo ${#a} $#\nfi\n\
                      x=$(echo # four\n)\ncoproc a { # five\n:; }\n((#six\necho); (echo))\necho `# seven\n`\n";
        let four = [
            "#!/bin/bash",
            "# one",
            "# two",
            "#three",
            "# four",
            "# five",
        ];
        assert_eq!(found("bash", script), [&four[..], &["#six"]].concat());
        // Text of a here-document is no comment, also in a substitution.
        assert_eq!(
            found("sh", "cat <<E # one\n# two\n$(echo # three\n)\nE\n# four\n"),
            ["# one", "# four"]
        );
        // A script that the parser can't read, and another language.
        assert_eq!(found("bash", "# one\necho 'a\n"), [""; 0]);
        assert_eq!(found("bash", "# one\ncat <<E\n# two\n"), [""; 0]);
        assert_eq!(found("python3", "# one\n"), [""; 0]);
        // dash reads `[[` as the name of a program, and both shells find the same comment.
        assert_eq!(found("sh", "[[ a ]] # one\n"), ["# one"]);
    }
}
