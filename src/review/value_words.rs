//! Texts for amounts, rules and paths.

use crate::record::ident::Name;
use crate::record::later_words::OWN_PROGRAMS;
use crate::record::program_list::{ListedProgram, ProgramList};
use crate::record::step_definition::Approvals;
use crate::terminal::printable_text::PrintableText;

/// Formats a duration exactly, in the largest unit of which it is a multiple.
#[must_use]
pub fn duration_ms(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

/// Formats a number of bytes exactly, in the largest unit of which it is a multiple.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0 => "0 bytes".to_owned(),
        _ if count.is_multiple_of(1 << 30) => format!("{} GiB", count >> 30),
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        _ => format!("{count} bytes"),
    }
}

/// Describes a quorum rule.
#[must_use]
pub fn rule_words(rule: &Approvals) -> String {
    let groups: Vec<_> = rule.from.iter().map(|group| group.as_str()).collect();
    let people = if rule.required == 1 { "1 person".to_owned() } else { format!("{} people", rule.required) };
    match (rule.each, groups.as_slice()) {
        (_, []) => format!("{people} of the groups in the policy"),
        (Some(true), _) => format!("{people} of each of {} (nobody counts for two groups)", groups.join(", ")),
        (_, [one]) => format!("{people} of {one}"),
        _ => format!("{people} of {} (any of them)", groups.join(", ")),
    }
}

/// Formats a duration in seconds.
#[must_use]
pub fn span(seconds: i64) -> String {
    match seconds {
        i64::MIN..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns the path of each element of an array, or the path of the array if the array is empty.
#[must_use]
pub fn paths(array: &str, count: usize) -> Vec<String> {
    if count == 0 { vec![array.to_owned()] } else { (0..count).map(|at| format!("{array}[{at}]")).collect() }
}

/// Returns a word, in quotes if it contains unusual characters.
#[must_use]
pub fn plain_or_quoted(word: &str) -> PrintableText {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._/+-".contains(&c);
    if !word.is_empty() && word.bytes().all(plain) { PrintableText::text(word) } else { PrintableText::quoted(word) }
}

/// Describes a list of programs, grouped by directory. A program whose file has another name, for example because the
/// name is a link, is described by [`program_words`]. `step_programs` is true if the step has executable files, which a list
/// allows too.
#[must_use]
pub fn list_words(programs: &ProgramList, step_programs: bool) -> PrintableText {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut others = Vec::new();
    for program in &programs.list {
        let (name, path) = (program.name.as_str(), program.path.as_str());
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
        if name == OWN_PROGRAMS || name != file && name != path {
            others.push(program_words(program));
        } else {
            match groups.iter_mut().find(|(known, _)| *known == directory) {
                Some((_, names)) => names.push(file),
                None => groups.push((directory, vec![file])),
            }
        }
    }
    if step_programs {
        others.push(PrintableText::words("the executable files of the step"));
    }
    let groups = groups.iter().map(|(directory, names)| {
        let names = PrintableText::joined(names.iter().map(|name| plain_or_quoted(name)), ", ");
        names.and(" in ").then(&plain_or_quoted(if directory.is_empty() { "/" } else { directory }))
    });
    let start = match programs.list.iter().filter(|program| program.name.as_str() != OWN_PROGRAMS).count() {
        0 => "only these files".to_owned(),
        1 => "only this program".to_owned(),
        count => format!("only these {count} programs"),
    };
    PrintableText::text(&start)
        .and(": ")
        .then(&PrintableText::joined(groups.chain(others), "; "))
        .and("; the kernel starts nothing else")
}

/// Describes one program of a list: `awk (the file /usr/bin/mawk)`.
#[must_use]
pub fn program_words(program: &ListedProgram) -> PrintableText {
    if program.name.as_str() == OWN_PROGRAMS {
        return PrintableText::words("every file in the directories that the run may write");
    }
    let path = plain_or_quoted(program.path.as_str());
    plain_or_quoted(program.name.as_str()).and(" (the file ").then(&path).and(")")
}

/// Returns a number with its noun, in the plural if needed.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    let many = match (count, what) {
        (1, _) => "",
        (_, what) if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {what}{many}")
}

pub(super) fn listed(names: &[&Name]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}
