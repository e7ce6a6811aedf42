//! What running a script would start.

use crate::shell::found::{NotUnderstood, ScriptFinding, ScriptPlace, Shell};
use crate::shell::syntax::HOLE;
use crate::shell::walk::ScriptWalk;

/// How much text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLimit {
    /// A step's script: 64 KiB.
    Step,
    /// A file that a person asks about: 1 MB.
    File,
}

impl ReadLimit {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Step => 64 << 10,
            Self::File => 1_000_000,
        }
    }
}

/// Everything that running `script` with bash or with dash would start, or that changes what is started, in order of place.
///
/// For a script that certainly runs in bash ask [`find_in`]: `[[ a || $b ]]` runs `$b` in dash.
///
/// # Errors
/// What is not certainly read as the shell does: a syntax error, a limit, a construct that is refused.
pub fn find(script: &str, most: ReadLimit) -> Result<Vec<ScriptFinding>, NotUnderstood> {
    find_in(Shell::Sh, script, most)
}

/// As [`find`], for a script that `shell` runs.
///
/// # Errors
/// As [`find`].
pub fn find_in(shell: Shell, script: &str, most: ReadLimit) -> Result<Vec<ScriptFinding>, NotUnderstood> {
    let fail = |at: usize, message: &str| NotUnderstood { place: place(script, at), message: message.to_owned() };
    if script.len() > most.bytes() {
        return Err(fail(0, "the script is too long: at most 64 KiB in a step, 1 MB in a file; split it"));
    }
    if script.trim_ascii().is_empty() {
        return Err(fail(0, "the script is empty: write a command"));
    }
    let odd = |byte: u8| byte < b' ' && !matches!(byte, b'\n' | b'\t' | 0x1b) || byte == 0x7f;
    if let Some(at) = script.bytes().position(odd).or_else(|| script.find(HOLE)) {
        return Err(fail(
            at,
            "a control character, which shells read differently: take it away (`\\r`: save with Unix line ends)",
        ));
    }
    let mut finding = ScriptWalk::new(script, shell);
    finding.whole().map_err(|flaw| fail(flaw.at, flaw.message))?;
    Ok(finding.done())
}

/// Line and column of byte `at`.
fn place(script: &str, at: usize) -> ScriptPlace {
    let mut at = at.min(script.len());
    while !script.is_char_boundary(at) {
        at -= 1;
    }
    let before = &script[..at];
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    ScriptPlace { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}
