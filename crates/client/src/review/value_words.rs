//! Formats amounts, rules and paths, and finds the lines of the script at which policy asks for a permission.

use crate::PrintableText;
use documents::{
    Approvals, ListedProgram, Name, OWN_PROGRAMS, PermissionKind, ProgramList, StepDefinition,
    Timestamp, joined,
};
use reading::{DEFAULT_TOOLS, DecisionPlace, Flags, PolicyVerdict, Ruling, decide_step};

/// Formats a duration exactly, in the largest unit of which it is a multiple.
pub fn duration_ms(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

/// Formats a number of bytes exactly, in the largest unit of which it is a multiple.
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
pub fn rule_words(rule: &Approvals) -> String {
    let groups = joined(&rule.from, ", ");
    let people = if rule.required == 1 {
        "1 person".to_owned()
    } else {
        format!("{} people", rule.required)
    };
    match (rule.each, rule.from.len()) {
        (_, 0) => format!("{people} of the groups in the policy"),
        (Some(true), _) => {
            format!("{people} of each of {groups} (nobody counts for two groups)")
        }
        (_, 1) => format!("{people} of {groups}"),
        _ => format!("{people} of {groups} (any of them)"),
    }
}

/// Returns the rules that a person must know, without repetitions and without the default rule of a step.
pub(crate) fn told_rules<'r>(
    rules: &'r [(&'static str, Approvals)],
    definition: Option<&StepDefinition>,
) -> Vec<&'r (&'static str, Approvals)> {
    let own = definition.is_some_and(|definition| !is_default(&definition.approvals));
    let mut told: Vec<_> = rules
        .iter()
        .filter(|(asks, _)| own || *asks != "the step asks")
        .collect();
    // Policy and step often have the same rule.
    told.dedup_by(|(_, rule), (_, before)| rule == before);
    told
}

/// Returns true if a rule is the default rule of a step.
pub(super) fn is_default(rule: &Approvals) -> bool {
    rule.required == 1 && rule.from.is_empty() && rule.each.is_none()
}

/// Formats a duration in seconds.
pub fn span(seconds: i64) -> String {
    match seconds {
        i64::MIN..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns the paths of these fields of the signed predicate.
pub(super) fn signed_paths(fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .map(|field| format!("signed.predicate.{field}"))
        .collect()
}

/// Returns the path of each element of an array, or the path of the array if the array is empty.
pub fn paths(array: &str, count: usize) -> Vec<String> {
    if count == 0 {
        vec![array.to_owned()]
    } else {
        (0..count).map(|at| format!("{array}[{at}]")).collect()
    }
}

/// Returns a word, in quotes if it contains unusual characters.
pub fn plain_or_quoted(word: &str) -> PrintableText {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._/+-".contains(&c);
    if !word.is_empty() && word.bytes().all(plain) {
        PrintableText::text(word)
    } else {
        PrintableText::quoted(word)
    }
}

/// Describes each program of a list. A name without a path means the file of this name in `/usr/bin`. `step_programs`
/// is true if the step has executable files, which a list allows too.
pub fn list_words(programs: &ProgramList, step_programs: bool) -> PrintableText {
    words_of(programs.programs().iter(), None, step_programs)
}

/// Describes a list of programs in a few words: the default tools are one phrase with their number.
pub fn short_list_words(programs: &ProgramList, step_programs: bool) -> PrintableText {
    let is_default = |one: &&ListedProgram| {
        let name = one.name.as_str();
        let is_file = |file: &str| file == name || (name == "awk" && AWKS.contains(&file));
        (DEFAULT_TOOLS.contains(&name) || OF_SHELLS.contains(&name))
            && one
                .path
                .as_str()
                .strip_prefix("/usr/bin/")
                .is_some_and(is_file)
    };
    let (tools, mut others): (Vec<_>, Vec<_>) = programs.programs().iter().partition(is_default);
    let mut phrase = None;
    if tools.len() < FEWEST_TOOLS {
        others = programs.programs().iter().collect();
    } else {
        phrase = Some(PrintableText::text(&format!(
            "the {} default tools",
            tools.len()
        )));
    }
    let more = others.len().saturating_sub(MOST_SHORT);
    let shown = words_of(others.into_iter().take(MOST_SHORT), phrase, step_programs);
    if more == 0 {
        return shown;
    }
    let words = format!(", except for {more} more, which are above the script");
    shown.then(PrintableText::text(&words))
}

/// Maximum number of programs that a list in a few words names.
const MOST_SHORT: usize = 128;

fn words_of<'p>(
    programs: impl Iterator<Item = &'p ListedProgram>,
    first: Option<PrintableText>,
    step_programs: bool,
) -> PrintableText {
    let each = programs.map(|one| match (one.name.as_str(), one.path.as_str()) {
        (name, path) if path.strip_prefix("/usr/bin/") == Some(name) => plain_or_quoted(name),
        (name, path) if name == path && path != OWN_PROGRAMS => plain_or_quoted(path),
        _ => program_words(one),
    });
    let of_step = step_programs.then(|| PrintableText::words("the executable files of the step"));
    PrintableText::joined(first.into_iter().chain(each).chain(of_step), ", ")
        .and("; the kernel starts no others")
}

/// Programs that do the same as a builtin of each shell. A list contains such a program only if the script names it.
const OF_SHELLS: [&str; 7] = ["[", "echo", "false", "printf", "pwd", "test", "true"];
/// Files behind the name `awk` on usual hosts.
const AWKS: [&str; 3] = ["gawk", "mawk", "original-awk"];
/// Smallest number of default tools for which one phrase replaces their names.
const FEWEST_TOOLS: usize = 8;

/// Describes one program of a list: `awk (the file /usr/bin/mawk)`.
pub fn program_words(program: &ListedProgram) -> PrintableText {
    if program.name.as_str() == OWN_PROGRAMS {
        return PrintableText::words("every file in the directories that the run may write");
    }
    let path = plain_or_quoted(program.path.as_str());
    plain_or_quoted(program.name.as_str())
        .and(" (the file ")
        .then(&path)
        .and(")")
}

/// Returns a number with its noun, in the plural if needed.
pub fn counted(count: impl std::fmt::Display, what: &str) -> String {
    let count = count.to_string();
    let many = match (&*count, what) {
        ("1", _) => "",
        (_, what) if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {what}{many}", grouped(count))
}

/// Formats a number with a comma before each group of three digits: `2,000`.
pub fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let first = (digits.len() + 2) % 3 + 1;
    let (head, rest) = digits.split_at(first);
    let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    groups.fold(head.to_owned(), |all, group| format!("{all},{group}"))
}

/// Formats a time to the minute in UTC. The date is left out if it is the date of `now`, and the year if it is the year
/// of `now`.
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_string(), now.to_string());
    let date = if at[..10] == now[..10] {
        String::new()
    } else {
        format!("{} ", day(&at, &now))
    };
    format!("{date}{} UTC", &at[11..16])
}

/// Formats the date of a time in the form `2026-11-22T02:10:00Z`. The year is left out if it is the year of `now`.
pub fn day(at: &str, now: &str) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let part = |range: std::ops::Range<usize>| at.get(range).unwrap_or_default();
    let month = part(5..7)
        .parse::<usize>()
        .ok()
        .and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    let Some(month) = month else {
        return at.to_owned();
    };
    let year = if at.get(..4) == now.get(..4) {
        String::new()
    } else {
        format!(" {}", part(0..4))
    };
    format!("{} {month}{year}", part(8..10).trim_start_matches('0'))
}

/// Formats the time until the end of a window. From one minute on, the seconds are left out.
pub fn left_words(seconds: i64) -> String {
    match seconds {
        i64::MIN..60 => format!("{seconds} s left"),
        60..3600 => format!("{} min left", seconds / 60),
        _ => match seconds % 3600 / 60 {
            0 => format!("{} h left", seconds / 3600),
            minutes => format!("{} h {minutes} min left", seconds / 3600),
        },
    }
}

/// Shortens the id of a proposal or of a receipt to its prefix and its last 6 digits, which the commands accept.
pub fn short_id(id: &str) -> PrintableText {
    let (prefix, _) = id.split_once('_').unwrap_or_default();
    let end = id.get(id.len().saturating_sub(6)..).unwrap_or_default();
    PrintableText::text(&format!("{prefix}_...{end}"))
}

/// Formats names as a list.
pub fn listed(names: &[&Name]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// Maximum number of lines that the screen names for one permission.
const MOST_NAMED: usize = 3;

/// Lines of the script at which policy asks for a permission.
#[derive(Clone, Default)]
pub struct ScriptPlaces(Vec<(PermissionKind, String, usize)>);

impl ScriptPlaces {
    /// Finds the places in the filled-in script of a step.
    pub fn of(ruling: &Ruling, step: &StepDefinition) -> Self {
        let decision = decide_step(ruling, step, DecisionPlace::Boundary, &Flags::default());
        let asked = decision
            .decided
            .into_iter()
            .filter(|one| matches!(one.verdict, PolicyVerdict::Ask(_)));
        Self(
            asked
                .filter_map(|one| Some((one.kind, one.what, one.place?.line)))
                .collect(),
        )
    }

    /// Formats permissions of one kind, each with its lines: `kill, lines 12 and 16; rm, line 1,700`.
    pub fn with_lines(&self, kind: PermissionKind, asked: &[(usize, &str)]) -> PrintableText {
        let each = asked.iter().map(|(_, what)| {
            let at = self
                .0
                .iter()
                .filter(|(of, name, _)| *of == kind && name == what);
            let mut lines: Vec<usize> = at.map(|(.., line)| *line).collect();
            lines.sort_unstable();
            lines.dedup();
            plain_or_quoted(what).then(lines_words(&lines))
        });
        // Without lines, a comma is sufficient between two names.
        let between = if self.0.is_empty() { ", " } else { "; " };
        PrintableText::joined(each, between)
    }
}

fn lines_words(lines: &[usize]) -> String {
    let named: Vec<String> = lines
        .iter()
        .take(MOST_NAMED)
        .map(|line| grouped(*line))
        .collect();
    match (named.as_slice(), lines.len().saturating_sub(MOST_NAMED)) {
        ([], _) => String::new(),
        ([one], _) => format!(", line {one}"),
        ([before @ .., last], 0) => format!(", lines {} and {last}", before.join(", ")),
        (named, more) => format!(", lines {} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::tests::review_case::program_list;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3600, "1 h 0 min"),
            (172_799, "47 h 59 min"),
            (172_800, "2 days 0 h"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn the_default_tools_in_their_usual_files_are_one_phrase() {
        type Programs = Vec<(&'static str, String)>;
        let words = |change: &dyn Fn(&mut Programs)| {
            let mut list: Vec<_> = DEFAULT_TOOLS
                .iter()
                .map(|tool| (*tool, format!("/usr/bin/{tool}")))
                .collect();
            list[0].1 = "/usr/bin/mawk".to_owned();
            list.extend(["bash", "printf"].map(|name| (name, format!("/usr/bin/{name}"))));
            change(&mut list);
            let list: Vec<_> = list.iter().map(|(name, path)| (*name, &**path)).collect();
            short_list_words(&program_list(&list).expect("a list"), false)
                .as_str()
                .to_owned()
        };
        assert_eq!(
            words(&|_| {}),
            "the 24 default tools, bash; the kernel starts no others"
        );
        assert!(words(&|list| list.truncate(23)).starts_with("the 23 default tools; the kernel"));
        let moved = words(&|list| list[2].1 = "/opt/cat".to_owned());
        assert_eq!(
            moved,
            "the 23 default tools, bash, cat (the file /opt/cat); the kernel starts no others"
        );
        let renamed = words(&|list| list[2].1 = "/usr/bin/mawk".to_owned());
        assert!(
            renamed.contains("cat (the file /usr/bin/mawk)"),
            "{renamed}"
        );
        let few = words(&|list| list.truncate(7));
        assert!(
            few.starts_with(
                "awk (the file /usr/bin/mawk), basename, cat, cut, date, diff, dirname; "
            ),
            "{few}"
        );
    }

    #[test]
    fn numbers_and_times_are_short_and_exact() {
        assert_eq!(
            [0, 999, 1000, 65_536, 1_000_000].map(grouped),
            ["0", "999", "1,000", "65,536", "1,000,000"]
        );
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-20T09:40:00Z");
        for (end, words) in [
            ("2026-11-20T11:05:59Z", "11:05 UTC"),
            ("2026-11-21T03:30:00Z", "21 Nov 03:30 UTC"),
            ("2027-01-01T00:00:00Z", "1 Jan 2027 00:00 UTC"),
        ] {
            assert_eq!(clock(at(end), now), words);
        }
        assert_eq!(
            [59, 60, 3599, 3600, 12_060].map(left_words).join(", "),
            "59 s left, 1 min left, 59 min left, 1 h left, 3 h 21 min left"
        );
        assert_eq!(
            short_id("prp_019aa0b0-5c00-7000-8000-000000d76004").as_str(),
            "prp_...d76004"
        );
    }
}

#[cfg(test)]
mod script_places_tests {
    use super::*;

    #[test]
    fn a_permission_names_at_most_three_lines_of_the_script() {
        let run = PermissionKind::Run;
        let at = |line| (run, "rm".to_owned(), line);
        let words = |lines: &[usize]| {
            let places = ScriptPlaces(lines.iter().map(|line| at(*line)).collect());
            places
                .with_lines(run, &[(0, "rm"), (1, "kill")])
                .as_str()
                .to_owned()
        };
        assert_eq!(words(&[]), "rm, kill");
        assert_eq!(words(&[1700]), "rm, line 1,700; kill");
        assert_eq!(words(&[12, 12, 16]), "rm, lines 12 and 16; kill");
        assert_eq!(words(&[1, 2, 3]), "rm, lines 1, 2 and 3; kill");
        assert_eq!(
            words(&[1, 2, 3, 5, 8, 13, 21]),
            "rm, lines 1, 2, 3 and 4 more; kill"
        );
    }
}
