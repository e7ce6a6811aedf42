//! Selects the wrapper with which a shell writes its state at its end.

use std::path::Path;

use crate::{
    STATE_PLACEHOLDER, WRAPPER_PLACEHOLDER, isolation::interpreter::shebang, started_by_env,
};

/// Placeholder for the path of the file to which a [`SessionWrapper`] writes the state of the shell.
pub const SESSION_STATE_FILE: &str = STATE_PLACEHOLDER;
/// Placeholder for the path of the file of a [`SessionWrapper`].
pub const SESSION_WRAPPER_FILE: &str = WRAPPER_PLACEHOLDER;

/// A file through which a shell saves its state at its end.
///
/// In `env` and `arguments`, [`SESSION_WRAPPER_FILE`] stands for the path of the file and [`SESSION_STATE_FILE`] for the
/// path of the state, because both paths depend on the form of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWrapper {
    /// Name of the file, without a slash.
    pub name: &'static str,
    /// Content of the file, which the step can't change.
    pub content: &'static [u8],
    /// Variables of the step, which replace all others. An example is `BASH_ENV` with the value `{wrapper}`.
    pub env: Vec<(String, String)>,
    /// Arguments of the interpreter before the path of the script, in place of its usual arguments.
    pub arguments: Option<Vec<String>>,
}

/// Names of the variables that tell a wrapper where the state and the wrapper itself are.
const STATE: &str = "COUNTERSIGN_SESSION";
const SHELL: &str = "COUNTERSIGN_SESSION_SHELL";
/// The commands with which `sh` reads the wrapper and then the script, whose path is in `$0`.
const READ_BOTH: &str = r#". "$COUNTERSIGN_SESSION_SHELL"; . "$0""#;

/// Returns the wrapper for a script, or `None` if the script only reads the state of its session. bash and sh write
/// their state, unless the script begins bash or sh with options that a wrapper can't keep: all but the letters
/// `efuxaBCEhTb`.
pub fn wrapper_for(source: &[u8], interpreter: &str) -> Option<SessionWrapper> {
    let (shell, arguments) = match shebang(source).ok()? {
        None => (interpreter.to_owned(), Vec::new()),
        Some(program) => {
            let argument = program.arguments.join(" ");
            let shell = started_by_env(&program.path, &argument).map(str::to_owned);
            match shell {
                Some(shell) => {
                    let words = argument.strip_prefix("-S ").unwrap_or(&argument);
                    let options = words.trim_start().strip_prefix(shell.as_str())?;
                    if !options.split_whitespace().all(is_kept) {
                        return None;
                    }
                    (shell, program.arguments)
                }
                None if program.arguments.iter().all(|argument| is_kept(argument)) => {
                    (program.path.to_str()?.to_owned(), program.arguments)
                }
                None => return None,
            }
        }
    };
    let paths = |names: &[(&str, &str)]| {
        names
            .iter()
            .map(|(name, path)| ((*name).into(), (*path).into()))
            .collect()
    };
    match Path::new(&shell).file_name()?.to_str()? {
        "bash" => Some(SessionWrapper {
            name: "session.bash",
            content: include_bytes!("session.bash"),
            env: paths(&[
                ("BASH_ENV", SESSION_WRAPPER_FILE),
                (STATE, SESSION_STATE_FILE),
            ]),
            arguments: None,
        }),
        "sh" | "dash" => Some(SessionWrapper {
            name: "session.sh",
            content: include_bytes!("session.sh"),
            env: paths(&[(SHELL, SESSION_WRAPPER_FILE), (STATE, SESSION_STATE_FILE)]),
            arguments: Some(
                arguments
                    .into_iter()
                    .chain(["-c".to_owned(), READ_BOTH.to_owned()])
                    .collect(),
            ),
        }),
        _ => None,
    }
}

fn is_kept(option: &str) -> bool {
    option.strip_prefix('-').is_some_and(|letters| {
        !letters.is_empty() && letters.chars().all(|c| "efuxaBCEhTb".contains(c))
    })
}

#[cfg(test)]
mod tests;
