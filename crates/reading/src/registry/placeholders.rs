//! Prompts of a script, and placeholders for which a reader of a page writes a value: `<pod-name>`, `{{pod}}`,
//! `YOUR_TOKEN`.

use crate::{CallWord, ScriptCall, registry::call_habits::lists};
use documents::{Format, parameter_variable};

/// Returns the text `<name>`. `at` is the offset after `<`. Redirections such as `<in >out` are no placeholders.
pub fn angle_placeholder(text: &str, at: usize) -> Option<&str> {
    let before = text[..at].strip_suffix('<')?;
    let (name, after) = text[at..].split_once('>')?;
    let glued = !before.is_empty() && !before.ends_with(char::is_whitespace);
    let follows =
        |c: char| c.is_whitespace() || c == ')' || c == '"' || glued && "/:.@-_=?&,".contains(c);
    let is_alone = !before.ends_with('<') && after.chars().next().is_none_or(follows);
    (is_alone && is_name(name)).then(|| &text[at - 1..=at + name.len()])
}

fn is_name(name: &str) -> bool {
    name.len() <= 60
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_- .".contains(c))
}

/// Returns the placeholder in an argument of a call.
pub fn word_placeholder<'a>(call: &ScriptCall, word: &'a CallWord) -> Option<&'a str> {
    let text = word.text.as_str();
    // The arguments of these programs are text or patterns.
    if lists(
        "echo printf grep egrep rg sed awk perl jq test [ [[ tr expr",
        call.program(),
    ) || text.contains(char::is_whitespace)
    {
        return None;
    }
    let between = |open, close| {
        Some(text.split_once(open)?.1.split_once(close)?.0).filter(|name: &&str| is_name(name))
    };
    let quoted = between("<", ">")
        .filter(|name| name.len() + 2 == text.len())
        .map(|_| text);
    let braces = || between("{{", "}}").filter(|name| !lists("end else now", name));
    let yours = || {
        let is_yours = |part: &&str| {
            let part = part.to_ascii_lowercase().replace('_', "-");
            part.starts_with("your-") || lists("changeme change-me replaceme replace-me", &part)
        };
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .find(is_yours)
    };
    // A shorter text, or a text with other characters, may be a character class such as `[abc]` or `[0-9]`.
    let is_long =
        |name: &&str| name.len() > 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    // The shell reads brackets as a pattern, whose text is known only at run time.
    let source = word.source.as_str();
    let inner = source
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let brackets = || inner.filter(is_long).map(|_| source);
    quoted.or_else(braces).or_else(yours).or_else(brackets)
}

/// Returns the advice about a placeholder. `word` is the argument that contains it.
pub fn replace(placeholder: &str, word: &str, format: Format) -> String {
    let name = placeholder
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        .to_ascii_lowercase();
    let name = name.trim_matches('_');
    let word = word.to_ascii_lowercase();
    let is_secret = |part| lists("token password passwd secret key", part);
    let instead = match format {
        // The log stores each parameter.
        Format::Markdown
            if word
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(is_secret) =>
        {
            "name it under secrets= of the block, and write its variable".to_owned()
        }
        Format::Markdown => format!(
            "declare a parameter {name:?}, and write \"${}\"",
            parameter_variable(name)
        ),
        _ => "write the value".to_owned(),
    };
    format!("{placeholder:?} looks like a placeholder: {instead}")
}

/// Returns true for `$`, `%`, `user@host:~$`, `[root@host` and other signs of a shell that waits for a command.
pub fn is_prompt(word: &str) -> bool {
    let names_host = word.contains('@') || word.starts_with("sh-") || word.starts_with("bash-");
    lists("$ % ➜ ❯", word)
        || names_host && (word.ends_with(['$', '#', '%', '>']) || word.starts_with('['))
}

/// Returns the advice that explains why the parser can't read this line of a script.
pub fn advice_about(script: &str, line: usize) -> Option<String> {
    let of_line = |line: &str| {
        line.trim_start()
            .split_once(' ')
            .is_some_and(|(word, _)| is_prompt(word))
    };
    if let Some(line) = script.lines().find(|line| of_line(line)) {
        return Some(format!(
            "{line:?} looks like a command after a prompt: remove the prompts, and the lines of output"
        ));
    }
    let text = script.lines().nth(line.checked_sub(1)?)?;
    let found = text
        .match_indices('<')
        .find_map(|(at, _)| angle_placeholder(text, at + 1))?;
    Some(replace(found, found, Format::Markdown))
}
