//! Remarks about a script that a step could run, but probably not as its author expects: prompts, placeholders,
//! commands that need a terminal or the rights of root, and commands that never end. A remark changes nothing that
//! runs.
//!
//! The file also contains the rules for the id, the interpreter and the text of a script, which all runbook formats
//! share.

use std::collections::BTreeMap;

use crate::{
    CallWord, FileProblem, RegisteredStep, ScriptCall, Shell, TemplateFlaw, TextPlace,
    registry::{
        call_habits::{habit, lists},
        front_matter,
        placeholders::{angle_placeholder, is_prompt, replace, word_placeholder},
    },
    shell::commands::calls_in,
};
use documents::{MAX_SOURCE_BYTES, Proc, StepDefinition, StepRef, parameter_variable};

/// Returns the remarks about the script of a step. A step from a store has no remark.
pub fn script_remarks(step: &RegisteredStep) -> Vec<FileProblem> {
    let Some(place) = &step.place else {
        return Vec::new();
    };
    let lines = step
        .template
        .as_ref()
        .map(|template| template.sample_lines(&step.definition.source));
    let sample = step.sample();
    let remark = |(message, at): (String, usize)| {
        let mut flaw = TemplateFlaw::new(&sample.source, at, message);
        if let Some(lines) = &lines {
            // The columns of a template with sample values are not those of the file.
            let line = lines.get(flaw.place.line - 1).copied().unwrap_or(1);
            flaw.place = TextPlace { line, column: 1 };
        }
        FileProblem::of_template(place, &flaw)
    };
    remarks_of(&sample).into_iter().map(remark).collect()
}

/// Returns the messages with the offset of the first place of each.
fn remarks_of(step: &StepDefinition) -> BTreeMap<String, usize> {
    let source = step.source.as_str();
    let mut found = BTreeMap::new();
    let mut add = |at: usize, message: Option<String>| {
        if let Some(message) = message {
            found.entry(message).or_insert(at);
        }
    };
    let Some(shell) = Shell::of(&step.interpreter) else {
        return found;
    };
    let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if source.lines().all(is_comment) && source.contains("# ") {
        let message =
            "every line is a comment, so the step runs nothing: if \"# \" is a prompt, remove it";
        add(
            source.find("# ").unwrap_or_default(),
            Some(message.to_owned()),
        );
    }
    // The error about a script that the parser can't read has its own advice.
    let calls = calls_in(shell, source).unwrap_or_default();
    let sees_proc = step.sandbox.proc == Some(Proc::Full) || step.sandbox.off_reason.is_some();
    let secrets: Vec<String> = step
        .params
        .secrets()
        .iter()
        .map(|name| parameter_variable(name))
        .collect();
    for call in &calls.calls {
        add(call.at, prompt(source, call));
        add(call.at, habit(call, sees_proc));
        add(
            call.at,
            shell_elsewhere(call).then(|| SHELL_ELSEWHERE.to_owned()),
        );
        add(call.at, waits(call).then(|| no_answer("read")));
        for pair in call.words.windows(2) {
            add(
                pair[1].at,
                word_placeholder(call, &pair[1])
                    .map(|found| replace(found, &pair[1].text, step.format)),
            );
            add(
                pair[1].at,
                path_of_secret(&secrets, call, &pair[0], &pair[1]),
            );
        }
    }
    calls
        .menus
        .iter()
        .for_each(|at| add(*at, Some(no_answer("select"))));
    for at in calls.inputs {
        add(
            at,
            angle_placeholder(source, at).map(|found| replace(found, found, step.format)),
        );
    }
    found
}

/// Returns the remark about a prompt before a command. The lines below the command can begin with the prompt `> `,
/// which the shell reads as a redirection.
fn prompt(source: &str, call: &ScriptCall) -> Option<String> {
    let line = source[call.at..].lines().next().unwrap_or_default();
    if let Some(prompt) = CLIENT_PROMPTS
        .iter()
        .find(|prompt| line.starts_with(**prompt))
    {
        return Some(format!(
            "{prompt:?} looks like the prompt of another program: give it the line as an argument"
        ));
    }
    // `~` is the home directory, which is no program.
    let home = |name: &CallWord| name.source == "~" && is_prompt(&call.words[1].text);
    let name = call
        .words
        .first()
        .filter(|name| call.words.len() > 1 && (is_prompt(&name.text) || home(name)))?;
    let below = source[name.at..]
        .lines()
        .nth(1)
        .is_some_and(|line| line.starts_with("> "));
    let more = if below {
        ", and \"> \" in the lines below"
    } else {
        ""
    };
    Some(format!(
        "{:?} looks like a prompt, and no program has this name: remove it{more}",
        name.source
    ))
}

/// Prompts that a shell takes for a program and a redirection.
const CLIENT_PROMPTS: [&str; 6] = [
    "mysql> ",
    "sqlite> ",
    "MariaDB [",
    "redis> ",
    "PS C:\\",
    "PS> ",
];

/// Returns true for a call of `read` that waits for an answer of a person. In a function, only a call with a prompt
/// counts, because the caller of the function may give the input.
fn waits(call: &ScriptCall) -> bool {
    let options = call
        .words
        .iter()
        .skip(1)
        .take_while(|word| word.text.starts_with('-'));
    let options: String = options.map(|word| word.text.as_str()).collect();
    let asks = !call.in_function || options.contains('p');
    call.program() == "read" && !call.is_fed && asks && !options.contains('u')
}

const SHELL_ELSEWHERE: &str = "`ssh` without a command opens a shell that gets no input, and the lines below run on this host: \
    write the command behind the name of the host";

/// Returns true for `ssh` with the name of a host alone.
fn shell_elsewhere(call: &ScriptCall) -> bool {
    let words: Vec<&str> = call.words.iter().map(|word| word.text.as_str()).collect();
    let mut operands = 0;
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.strip_prefix('-') {
            None => operands += 1,
            // These options need no command.
            Some(letters) if letters.contains(['N', 'f', 'W', 'O', 'Q', 'G', 'V', 's']) => {
                return false;
            }
            Some(letters) => {
                at += usize::from(letters.len() == 1 && "bcDeEFIiJLlmopRSw".contains(letters))
            }
        }
        at += 1;
    }
    call.program() == "ssh" && operands == 1 && !call.is_fed
}

fn no_answer(name: &str) -> String {
    format!(
        "`{name}` gets no answer, because a step has no terminal and an empty input: declare a parameter"
    )
}

/// Returns the remark about a secret parameter whose path a program gets as an argument, perhaps in place of the value.
fn path_of_secret(
    secrets: &[String],
    call: &ScriptCall,
    before: &CallWord,
    word: &CallWord,
) -> Option<String> {
    let plain = word.source.replace(['{', '}', '"'], "");
    let (option, variable) = plain.rsplit_once('$')?;
    let option = if option.is_empty() {
        before.text.as_str()
    } else {
        option
    };
    let names_file = option.ends_with('@')
        || option.starts_with('-')
            && FILES
                .split(' ')
                .any(|part| option.to_ascii_lowercase().contains(part));
    let program = call.program();
    if names_file || lists(FILE_READERS, program) || !secrets.iter().any(|known| known == variable)
    {
        return None;
    }
    Some(format!(
        "${variable} is the path of the file with the secret: if {program} needs the value, write \"$(cat \"${variable}\")\""
    ))
}

/// Programs that read the files of their arguments.
const FILE_READERS: &str =
    "cat head tail test [ [[ cp ln install chmod wc base64 sha256sum jq grep . source ssh-add";

/// Parts of the names of options that take the path of a file.
const FILES: &str = "file key cert path config identity credentials -i";

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
    step_ref(path, "x").map(drop).map_err(|_| format!(
        "{path:?} can't be part of a step reference: rename the file; use letters, digits and . _ -, at most 255 bytes"
    ))
}

/// Returns the interpreter that the shebang of a script names, or `None` if the script has no shebang.
///
/// # Errors
/// Returns a message about a shebang that the boundary can't honour.
pub fn interpreter_of_shebang(source: &str) -> Result<Option<String>, String> {
    if !source.starts_with("#!") {
        return Ok(None);
    }
    let standard = ["/bin", "/usr/bin", "/usr/local/bin"];
    let (_, name, has_options) = shebang(source)
        .filter(|(directory, ..)| standard.contains(directory))
        .ok_or_else(|| {
            let first = source.lines().next().unwrap_or_default();
            let shown: String = first.chars().take(80).collect();
            format!(
                "{shown:?} does not begin with #! and a standard path (/bin, /usr/bin, /usr/local/bin): \
                 write #!/usr/bin/env and the name of the program"
            )
        })?;
    if has_options {
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

/// Returns the directory and the name of the program in the first line of a script, and true if options follow. If this
/// program is `env`, the name is the next word.
pub fn shebang(source: &str) -> Option<(&str, &str, bool)> {
    let mut words = source
        .strip_prefix("#!")?
        .lines()
        .next()?
        .split_ascii_whitespace();
    let (directory, mut name) = words.next()?.rsplit_once('/')?;
    if name == "env" {
        name = words.next()?;
    }
    let has_options = name.starts_with('-') || words.next().is_some();
    Some((directory, name, has_options))
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
