//! Rules for the id, the interpreter and the text of a script, which every format of runbooks shares.

use crate::registry::front_matter;
use documents::{MAX_SOURCE_BYTES, StepRef};

/// Returns the reference of a step.
///
/// # Errors
/// Returns a message that states the allowed form of an id.
pub fn step_ref(path: &str, id: &str) -> Result<StepRef, String> {
    format!("{path}:{id}").parse().map_err(|_| {
        format!(
            "{id:?} is not a valid step id: use letters, digits and . _ -, begin with a letter, a digit or _, and use at \
             most 64 bytes (255 with the path)"
        )
    })
}

/// Checks that `path` can be part of a step reference.
///
/// # Errors
/// Returns a message that states the allowed form of a path.
pub fn check_path(path: &str) -> Result<(), String> {
    if format!("{path}:x").parse::<StepRef>().is_ok() {
        return Ok(());
    }
    Err(format!(
        "{path:?} can't be part of a step reference: rename the file; use letters, digits and . _ -, at most 255 bytes"
    ))
}

/// Returns the interpreter that the shebang of a script names, or `None` if the script has no shebang.
///
/// # Errors
/// Returns a message about a shebang that the boundary can't honour.
pub fn interpreter_of_shebang(source: &str) -> Result<Option<String>, String> {
    let Some(shebang) = source.strip_prefix("#!") else {
        return Ok(None);
    };
    let mut words = shebang
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace();
    let program = words.next().unwrap_or_default();
    let (directory, mut name) = program.rsplit_once('/').unwrap_or(("", program));
    if name == "env" {
        name = words.next().unwrap_or_default();
    }
    if !["/bin", "/usr/bin", "/usr/local/bin"].contains(&directory) {
        return Err(format!(
            "{program:?} in the shebang is not a standard path: write #!/usr/bin/env and the name of the program"
        ));
    }
    if name.starts_with('-') || words.next().is_some() {
        let instead = match name {
            "bash" | "sh" | "zsh" => {
                ", and write `set -e` or another set command below the shebang"
            }
            _ => "",
        };
        return Err(format!(
            "options in a shebang have no effect: remove the options{instead}"
        ));
    }
    front_matter::interpreter(name).map(Some)
}

/// Checks the size of a script.
///
/// # Errors
/// Returns a message if the script is too large for a step.
pub fn check_size(source: &str) -> Result<(), String> {
    if source.len() <= MAX_SOURCE_BYTES {
        return Ok(());
    }
    Err(format!(
        "the script is larger than {MAX_SOURCE_BYTES} bytes: move a part of it to another step"
    ))
}

/// Message about a byte order mark at the beginning of a file, which hides a fence or a heading in the first line.
pub const BYTE_ORDER_MARK: &str =
    "the file begins with a byte order mark: save the file without this mark";

/// Characters that no script and no runbook may contain, with the messages.
pub const REFUSED_CHARACTERS: [(char, &str); 2] = [
    (
        '\r',
        "the file has Windows line endings, which break scripts: save the file with LF line endings",
    ),
    (
        '\0',
        "the file contains a NUL character: remove the character",
    ),
];
