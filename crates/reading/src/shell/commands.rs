//! Finds the commands that a script would start.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use crate::{
    ByteOrigin, Dialect, HOLE, NotUnderstood, Script, ScriptCalls, ScriptFinding, ScriptPlace,
    ScriptWalk, Shell,
    shell::{comparison::Comparison, syntax},
};

/// Maximum size of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Returns everything that `script` would start in the given shell, and every assignment to a variable that changes later
/// commands, in the order of the script.
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

/// Returns the names of all variables that a script of `shell` sets or exports by their names. A script with an error sets
/// none.
pub fn names_set_in(shell: Shell, script: &str, most: ReadLimit) -> BTreeSet<String> {
    let mut walk = ScriptWalk::new(script, shell);
    let read = ReadScript::new(shell, script, most)
        .ok()
        .filter(|read| walk.whole(read).is_ok());
    read.map(|_| walk.names).unwrap_or_default()
}

/// Returns the places of the comments in a script of `bash` or `sh`, in order. Each comment ends at the end of its line. A
/// script of another interpreter, and a script that the parser can't read, have none.
pub fn comments(interpreter: &str, script: &str) -> Vec<usize> {
    let shell = match interpreter {
        "bash" => Shell::Bash,
        "sh" => Shell::Sh,
        _ => return Vec::new(),
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
    let mut walk = ScriptWalk {
        seen: Some(ScriptCalls::default()),
        ..ScriptWalk::new(script, shell)
    };
    walk.whole(&read)
        .map_err(|flaw| not_understood(script, flaw.at, flaw.message))?;
    let mut found = walk.seen.unwrap_or_default();
    // A script is walked through several times if bash and dash read it differently, or if functions pass arguments on.
    found.calls.sort_by_key(|call| call.at);
    found.calls.dedup();
    Ok(found)
}

/// A script that is parsed once, although several questions are asked about it.
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
        let mut finding = ScriptWalk::new(self.text, self.shell);
        finding
            .whole(self)
            .map_err(|flaw| not_understood(self.text, flaw.at, flaw.message))?;
        Ok(finding.done())
    }

    /// Returns true if the script has the structure of `planned`. `is_text` compares a text of `planned` with the text in the
    /// same place of the script. If `quotes` is true, `a` and `'a'` are different words.
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
            .is_same()
        };
        Ok(planned.len() == found.len() && planned.into_iter().zip(found).all(is_same))
    }

    /// Returns the tree of bash, and the tree of dash if dash may read the script differently.
    ///
    /// # Errors
    /// Returns the errors of [`Self::found`] that the parser reports.
    pub(crate) fn readings(&self) -> Result<Vec<&Script>, NotUnderstood> {
        let sound = |script: &'_ Script| match script.flaw {
            Some(flaw) => Err(not_understood(self.text, flaw.at, flaw.message)),
            None => Ok(()),
        };
        let bash = self.parsed(Dialect::Bash);
        sound(bash)?;
        if self.shell == Shell::Bash || !bash.differs {
            return Ok(vec![bash]);
        }
        let dash = self.parsed(Dialect::Dash);
        sound(dash)?;
        Ok(vec![bash, dash])
    }

    /// Returns the syntax tree of the script in this dialect.
    pub(super) fn parsed(&self, dialect: Dialect) -> &Script {
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
        place: place(script, at),
        message: message.to_owned(),
    }
}

/// Returns the line and the column of a byte.
pub(crate) fn place(script: &str, at: usize) -> ScriptPlace {
    let mut at = at.min(script.len());
    while !script.is_char_boundary(at) {
        at -= 1;
    }
    let before = &script[..at];
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    ScriptPlace {
        line: before.matches('\n').count() + 1,
        column: before[line..].chars().count() + 1,
    }
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
