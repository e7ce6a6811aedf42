//! Finds the commands that a script would start.

use crate::shell::found::{NotUnderstood, ScriptFinding, ScriptPlace, Shell};
use crate::shell::script_walk::ScriptWalk;
use crate::shell::syntax::HOLE;

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
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Step => 64 << 10,
            Self::File => 1_000_000,
        }
    }
}

/// Returns everything that `script` would start in bash or in dash, and every assignment to a variable that changes
/// later commands, in the order of the script.
///
/// For a script that certainly runs in bash, use [`find_in`] instead, because dash parses some scripts differently. For
/// example, dash runs `$b` in `[[ a || $b ]]`.
///
/// # Errors
/// Returns an error if the script has a syntax error, exceeds a limit, or has a construct that the shell might read
/// differently.
pub fn find(script: &str, most: ReadLimit) -> Result<Vec<ScriptFinding>, NotUnderstood> {
    find_in(Shell::Sh, script, most)
}

/// Does the same as [`find`], but only for the given `shell`.
///
/// # Errors
/// Returns the same errors as [`find`].
pub fn find_in(shell: Shell, script: &str, most: ReadLimit) -> Result<Vec<ScriptFinding>, NotUnderstood> {
    check_bytes(script, most)?;
    let mut finding = ScriptWalk::new(script, shell);
    finding.whole().map_err(|flaw| not_understood(script, flaw.at, flaw.message))?;
    Ok(finding.done())
}

/// Checks the size of a script, and that it contains no refused character.
pub(super) fn check_bytes(script: &str, most: ReadLimit) -> Result<(), NotUnderstood> {
    let fail = |at: usize, message: &str| not_understood(script, at, message);
    if script.len() > most.bytes() {
        return Err(fail(0, "the script is too long (maximum: 64 KiB in a step, 1 MB in a file): split the script"));
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

pub(super) fn not_understood(script: &str, at: usize, message: &str) -> NotUnderstood {
    NotUnderstood { place: place(script, at), message: message.to_owned() }
}

fn place(script: &str, at: usize) -> ScriptPlace {
    let mut at = at.min(script.len());
    while !script.is_char_boundary(at) {
        at -= 1;
    }
    let before = &script[..at];
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    ScriptPlace { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}
