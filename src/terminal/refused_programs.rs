//! Explains the programs that the list of a run refused, with the words that a person adds to allow each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::record::declared::check_program;
use crate::record::later_words::OWN_PROGRAMS;
use crate::record::program_list::{Execution, Executions, ProgramFacts, ProgramMode};
use crate::terminal::exit::CommandFailure;
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;

/// Directories in which a run searches programs by name.
const SEARCHED: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Directories whose programs a list can contain.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Directories that a run has for itself and can write.
const OWN_DIRECTORIES: [&str; 2] = ["/tmp", "/dev/shm"];
/// Error message of shells and other programs about a program that they may not execute.
const DENIED: &[u8] = b"Permission denied";
/// Error message of the dynamic loader about a library that lies in a directory without the right to execute.
const UNMAPPED: &[u8] = b"failed to map segment from shared object";

/// Place of a list of programs, to which a person can add a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPlace<'a> {
    /// A step of a boundary. The value is the id of the proposal.
    Boundary(&'a str),
    /// The command `countersign run`. The map has the refused programs that policy denies, each with the rule.
    Run(&'a BTreeMap<String, String>),
    /// The command `countersign sandbox`.
    Sandbox,
}

/// Error messages in the output of a run that a list of programs may explain.
#[derive(Debug, Clone, Default)]
pub struct OutputComplaints {
    /// End of the output that was read, because a message may be in two pieces.
    tail: Vec<u8>,
    denied: bool,
    unmapped: bool,
}

impl OutputComplaints {
    /// Reads the next piece of output.
    pub fn read(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let has = |words: &[u8]| self.tail.windows(words.len()).any(|part| part == words);
        (self.denied, self.unmapped) = (self.denied || has(DENIED), self.unmapped || has(UNMAPPED));
        let done = self.tail.len().saturating_sub(UNMAPPED.len());
        self.tail.drain(..done);
    }
}

/// Returns lines about the programs that the list refused. `writable` has the directories of the host that the run could
/// write.
///
/// If no refused program was recorded, but the exit code or the output of the run suggests a refusal, the result is a line
/// with this possible reason.
#[must_use]
pub fn refusal_lines(
    facts: &ProgramFacts,
    writable: &[String],
    exit_code: Option<u8>,
    complaints: &OutputComplaints,
    place: &ListPlace<'_>,
) -> Vec<String> {
    if facts.mode == ProgramMode::Any {
        return Vec::new();
    }
    let mut lines =
        facts.refused.iter().flat_map(|refused| recorded_lines(refused, writable, place)).collect::<Vec<_>>();
    let failed = exit_code.is_some_and(|code| code != 0);
    let may_be_refused =
        matches!(exit_code, Some(2 | 126 | 127)) || (complaints.denied && (failed || facts.refused.is_none()));
    if complaints.unmapped {
        let subject = place.subject();
        lines.push(format!(
            "{subject} could not load a library from a directory that its list of programs does not have: for a library \
             in a directory that {subject} may write, {}",
            add(&[OWN_PROGRAMS], place)
        ));
    } else if may_be_refused && lines.is_empty() {
        lines.push(possible_reason(facts, place));
    }
    lines
}

/// Returns the lines about recorded programs. One line has all programs that a person can add to the list.
fn recorded_lines(refused: &Executions, writable: &[String], place: &ListPlace<'_>) -> Vec<String> {
    let subject = place.subject();
    let (mut tried, mut names, mut lines) = (Vec::new(), BTreeSet::new(), Vec::new());
    for Execution { path, count } in &refused.paths {
        let times = if *count == 1 { String::new() } else { format!(" {count} times") };
        match entry_for(path.as_str(), writable, place) {
            Ok(name) => {
                tried.push(format!("{path}{times}"));
                names.insert(name);
            }
            Err(why) => lines.push(format!(
                "{subject} tried to run {path}{times}, but its list of programs does not have it: {why}"
            )),
        }
    }
    if let Some((last, before)) = tried.split_last() {
        let them = if before.is_empty() { "it" } else { "them" };
        let and = if before.is_empty() { String::new() } else { format!("{} and ", before.join(", ")) };
        let add = add(&names.into_iter().collect::<Vec<_>>(), place);
        let line = format!("{subject} tried to run {and}{last}, but its list of programs does not have {them}: {add}");
        lines.insert(0, line);
    }
    if refused.more > 0 {
        let times = if refused.more == 1 { "once".to_owned() } else { format!("{} times", refused.more) };
        lines.push(format!("the list of programs refused other programs {times}"));
    }
    lines
}

/// Returns the line about a failed run without a recorded refusal.
fn possible_reason(facts: &ProgramFacts, place: &ListPlace<'_>) -> String {
    let record = if facts.refused.is_some() {
        "a program that first asks whether a file is executable, such as make, leaves no record"
    } else {
        "this host did not record which programs were refused"
    };
    let see = match place {
        ListPlace::Boundary(id) => format!("`countersign review {id}`"),
        ListPlace::Run(_) => "`countersign run --json`".to_owned(),
        ListPlace::Sandbox => "`countersign sandbox --explain`".to_owned(),
    };
    format!(
        "{} may execute only the programs of its list, which may be the reason for the failure; {record}: {see} shows the \
         list; for each missing program, {}",
        place.subject(),
        add(&["NAME"], place)
    )
}

/// Returns the entry of a list that allows a program, or what a person does if no list can contain the program.
fn entry_for<'a>(path: &'a str, writable: &[String], place: &ListPlace<'_>) -> Result<&'a str, String> {
    let below = |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    if SYSTEM.into_iter().any(below) {
        let name =
            path.rsplit_once('/').filter(|(directory, _)| SEARCHED.contains(directory)).map_or(path, |(_, name)| name);
        if check_program(name).is_err() || name.contains([',', '\'']) {
            return Err("no list can contain this name, so give the program another name".to_owned());
        }
        return match place {
            ListPlace::Run(denied) if denied.contains_key(path) => Err(format!(
                "policy denies it ({}), so only the option --allow-run {} of this command adds it",
                denied[path],
                quoted(name, '\'')
            )),
            _ => Ok(name),
        };
    }
    if OWN_DIRECTORIES.into_iter().any(below) || writable.iter().any(|directory| below(directory)) {
        return Ok(OWN_PROGRAMS);
    }
    let any = match place {
        ListPlace::Sandbox => "leave out --programs",
        ListPlace::Boundary(_) | ListPlace::Run(_) => {
            "say `sandbox: {programs: {mode: any}}` in the policy (version: 2)"
        }
    };
    Err(format!(
        "it is outside of the system directories, so no list can contain it: put it into /usr/local/bin, or {any}"
    ))
}

/// Returns the words that add programs to a list.
fn add(names: &[&str], place: &ListPlace<'_>) -> String {
    let all = names.join(",");
    let entries: Vec<String> = names.iter().map(|name| quoted(name, '"')).collect();
    let lasting = format!(
        "programs={} to the block, or sandbox.programs.allow: [{}] to the policy",
        quoted(&all, '"'),
        entries.join(", ")
    );
    match place {
        // The policy of a boundary is not at hand.
        ListPlace::Boundary(_) if names == [OWN_PROGRAMS] => format!("add {lasting}"),
        ListPlace::Boundary(_) => {
            format!("add {lasting}, unless policy denies {}", if names.len() == 1 { "it" } else { "them" })
        }
        // `--allow-run` names commands, and `{work}/**` is no command.
        ListPlace::Run(_) if names.contains(&OWN_PROGRAMS) => format!("add {lasting}"),
        ListPlace::Run(_) => format!("add --allow-run {} to this command, {lasting}", quoted(&all, '\'')),
        ListPlace::Sandbox => format!("add --programs {}", quoted(&all, '\'')),
    }
}

impl ListPlace<'_> {
    const fn subject(&self) -> &'static str {
        match self {
            Self::Sandbox => "the command",
            Self::Boundary(_) | Self::Run(_) => "the step",
        }
    }
}

fn quoted(text: &str, quote: char) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/+-,".contains(&byte));
    if plain { text.to_owned() } else { format!("{quote}{text}{quote}") }
}

/// Prints lines that explain the end of a run.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn print_hints(lines: &[String], terminal: &Terminal) -> Result<(), CommandFailure> {
    for line in lines {
        if terminal.json {
            terminal.object(&json!({"type": "hint", "text": line}))?;
        } else {
            terminal.say(PrintableText::text(line).as_str());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(refused: Option<&[(&str, u64)]>, more: u64) -> ProgramFacts {
        let execution = |(path, count): &(&str, u64)| Execution { path: path.parse().expect("a path"), count: *count };
        let refused = refused.map(|paths| Executions { paths: paths.iter().map(execution).collect(), more });
        ProgramFacts { mode: ProgramMode::Listed, listed: 1, refused, started: None }
    }

    #[test]
    fn each_refused_program_is_named_with_the_words_that_add_it() {
        let paths = [
            ("/home/pat/p/deploy.sh", 1),
            ("/opt/x", 1),
            ("/tmp/own", 3),
            ("/usr/bin/nc", 1),
            ("/usr/lib/git-core/git-remote-ftp", 2),
        ];
        let facts = facts(Some(&paths), 2);
        let of = |place: &ListPlace<'_>| {
            refusal_lines(&facts, &["/home/pat/p".to_owned()], Some(1), &OutputComplaints::default(), place)
        };
        let tried = "tried to run /home/pat/p/deploy.sh, /tmp/own 3 times, /usr/bin/nc and \
                     /usr/lib/git-core/git-remote-ftp 2 times, but its list of programs does not have them: add";
        let names = "/usr/lib/git-core/git-remote-ftp,nc,{work}/**";
        let policy = "sandbox.programs.allow: [/usr/lib/git-core/git-remote-ftp, nc, \"{work}/**\"] to the policy";
        let outside = "tried to run /opt/x, but its list of programs does not have it: it is outside of the system \
                       directories, so no list can contain it: put it into /usr/local/bin, or";
        let any = "say `sandbox: {programs: {mode: any}}` in the policy (version: 2)";
        let more = "the list of programs refused other programs 2 times";
        assert_eq!(
            of(&ListPlace::Boundary("4f2a9c")),
            [
                &format!("the step {tried} programs=\"{names}\" to the block, or {policy}, unless policy denies them"),
                &format!("the step {outside} {any}"),
                more,
            ]
        );
        assert_eq!(
            of(&ListPlace::Run(&BTreeMap::new()))[0],
            format!("the step {tried} programs=\"{names}\" to the block, or {policy}")
        );
        assert_eq!(
            of(&ListPlace::Sandbox),
            [
                &format!("the command {tried} --programs '{names}'"),
                &format!("the command {outside} leave out --programs"),
                more
            ]
        );
    }

    #[test]
    fn the_words_for_several_programs_can_be_pasted() {
        let three = facts(Some(&[("/usr/bin/id", 1), ("/usr/bin/nl", 1), ("/usr/bin/od", 1)]), 0);
        let of = |place: &ListPlace<'_>| refusal_lines(&three, &[], Some(1), &OutputComplaints::default(), place);
        let tried =
            "tried to run /usr/bin/id, /usr/bin/nl and /usr/bin/od, but its list of programs does not have them:";
        assert_eq!(of(&ListPlace::Sandbox), [format!("the command {tried} add --programs id,nl,od")]);
        let lasting = "programs=id,nl,od to the block, or sandbox.programs.allow: [id, nl, od] to the policy";
        assert_eq!(
            of(&ListPlace::Run(&BTreeMap::new())),
            [format!("the step {tried} add --allow-run id,nl,od to this command, {lasting}")]
        );
        let denied = BTreeMap::from([("/usr/bin/nl".to_owned(), "run.deny \"nl\", default".to_owned())]);
        let lines = of(&ListPlace::Run(&denied));
        assert!(lines.len() == 2 && lines[0].contains("add --allow-run id,od to this command"), "{lines:?}");
        let only =
            ": policy denies it (run.deny \"nl\", default), so only the option --allow-run nl of this command adds it";
        assert!(lines[1].ends_with(only), "{lines:?}");
    }

    #[test]
    fn a_name_that_no_list_can_contain_is_not_advised() {
        for path in ["/usr/bin/a,b", "/usr/bin/a b", "/usr/bin/a*", "/usr/bin/it's"] {
            let facts = facts(Some(&[(path, 1)]), 0);
            let lines =
                refusal_lines(&facts, &[], None, &OutputComplaints::default(), &ListPlace::Run(&BTreeMap::new()));
            assert!(lines[0].ends_with("give the program another name"), "{lines:?}");
        }
    }

    #[test]
    fn without_a_record_the_list_is_named_as_a_possible_reason() {
        let said = |pieces: &[&str]| {
            let mut complaints = OutputComplaints::default();
            pieces.iter().for_each(|piece| complaints.read(piece.as_bytes()));
            complaints
        };
        let none = facts(None, 0);
        let lines = |facts: &ProgramFacts, code, pieces: &[&str]| {
            refusal_lines(facts, &[], code, &said(pieces), &ListPlace::Boundary("4f2a9c"))
        };
        assert_eq!(lines(&none, Some(0), &["Permission granted"]), [""; 0]);
        assert_eq!(lines(&none, None, &[""]), [""; 0], "no exit code");
        for (code, pieces) in
            [(Some(126), &[""][..]), (Some(0), &["x: Permis", "sion de", "nied\n"]), (None, &["Permission denied"])]
        {
            let lines = lines(&none, code, pieces);
            assert!(lines.len() == 1 && lines[0].contains("`countersign review 4f2a9c` shows the list"), "{lines:?}");
            assert!(lines[0].contains("this host did not record") && lines[0].contains("programs=NAME"), "{lines:?}");
        }
        // A program that only asks whether a file is executable makes no record.
        let recorded = facts(Some(&[]), 0);
        assert_eq!(lines(&recorded, Some(0), &["Permission denied"]), [""; 0], "the list refused nothing");
        for code in [2, 126, 127] {
            let lines = lines(&recorded, Some(code), &[""]);
            assert!(lines.len() == 1 && lines[0].contains("such as make, leaves no record"), "{lines:?}");
        }
        assert_eq!(lines(&facts(Some(&[]), 2), Some(2), &[""]).len(), 1, "the count of other programs is enough");
        let any = ProgramFacts { mode: ProgramMode::Any, listed: 0, refused: None, started: None };
        assert_eq!(lines(&any, Some(126), &["Permission denied"]), [""; 0]);
        let unmapped = lines(&recorded, Some(1), &["x.so: failed to map segment from shared object"]);
        assert!(unmapped[0].contains("programs=\"{work}/**\""), "{unmapped:?}");
    }
}
