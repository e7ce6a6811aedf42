//! Explains the programs that the list of a run refused, with the words that a person adds to allow each.

use serde_json::json;

use crate::record::declared::check_program;
use crate::record::later_words::OWN_PROGRAMS;
use crate::record::program_list::{Execution, ProgramFacts, ProgramMode};
use crate::terminal::exit::CommandFailure;
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;

/// Directories in which a run searches programs by name.
const SEARCHED: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Directories whose programs a list can contain.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Directories that a run has for itself and can write.
const OWN_DIRECTORIES: [&str; 2] = ["/tmp", "/dev/shm"];
/// Exit code of a shell that could not execute a program.
const CANNOT_EXECUTE: u8 = 126;
/// Error message of shells and other programs about a program that they may not execute.
const DENIED: &[u8] = b"Permission denied";
/// Error message of the dynamic loader about a library that lies in a directory without the right to execute.
const UNMAPPED: &[u8] = b"failed to map segment from shared object";

/// Place of a list of programs, to which a person can add a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPlace<'a> {
    /// A step of a boundary. The value is the id of the proposal.
    Boundary(&'a str),
    /// The command `countersign run`.
    Run,
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

/// Returns a line for each program that the list refused. `writable` has the directories of the host that the run could
/// write.
///
/// If the host did not record the refused programs, and the run ended like a run with a refused program, the result is a
/// line with this possible reason.
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
    let subject = if *place == ListPlace::Sandbox { "the command" } else { "the step" };
    let mut lines = Vec::new();
    match &facts.refused {
        Some(refused) => {
            lines.extend(refused.paths.iter().map(|Execution { path, count }| {
                let times = if *count == 1 { String::new() } else { format!(" {count} times") };
                let remedy = remedy(path.as_str(), writable, place);
                format!("{subject} tried to run {path}{times}, but its list of programs does not have it: {remedy}")
            }));
            if refused.more > 0 {
                let times = if refused.more == 1 { "once".to_owned() } else { format!("{} times", refused.more) };
                lines.push(format!("the list of programs refused other programs {times}"));
            }
        }
        None if complaints.denied || exit_code == Some(CANNOT_EXECUTE) => {
            let see = match place {
                ListPlace::Boundary(id) => format!("`countersign review {id}`"),
                ListPlace::Run => "`countersign run --json`".to_owned(),
                ListPlace::Sandbox => "`countersign sandbox --explain`".to_owned(),
            };
            lines.push(format!(
                "{subject} may execute only the programs of its list, which may be the reason for \"Permission denied\"; \
                 this host did not record which programs were refused: {see} shows the list; for each refused program, {}",
                add("NAME", place)
            ));
        }
        None => {}
    }
    if complaints.unmapped {
        lines.push(format!(
            "{subject} could not load a library from a directory that its list of programs does not have: for a library \
             in a directory that {subject} may write, {}",
            add(OWN_PROGRAMS, place)
        ));
    }
    lines
}

/// Returns what a person does so that the list contains a program.
fn remedy(path: &str, writable: &[String], place: &ListPlace<'_>) -> String {
    let below = |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    if SYSTEM.into_iter().any(below) {
        let name =
            path.rsplit_once('/').filter(|(directory, _)| SEARCHED.contains(directory)).map_or(path, |(_, name)| name);
        return if check_program(name).is_ok() && !name.contains([',', '\'']) {
            add(name, place)
        } else {
            "no list can contain this name, so give the program another name".to_owned()
        };
    }
    if OWN_DIRECTORIES.into_iter().any(below) || writable.iter().any(|directory| below(directory)) {
        return add(OWN_PROGRAMS, place);
    }
    let any = match place {
        ListPlace::Sandbox => "leave out --programs",
        ListPlace::Boundary(_) | ListPlace::Run => "say `sandbox: {programs: {mode: any}}` in the policy (version: 2)",
    };
    format!("it is outside of the system directories, so no list can contain it: put it into /usr/local/bin, or {any}")
}

fn add(name: &str, place: &ListPlace<'_>) -> String {
    format!("add {}", words_for(name, place))
}

/// Returns the words that add a program to a list.
fn words_for(name: &str, place: &ListPlace<'_>) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/+-".contains(&byte));
    let quoted = |quote: char| if plain { name.to_owned() } else { format!("{quote}{name}{quote}") };
    let (fence, policy) = (quoted('"'), quoted('"'));
    let lasting = format!("programs={fence} to the block, or sandbox.programs.allow: [{policy}] to the policy");
    match place {
        ListPlace::Boundary(_) => lasting,
        // `--allow-run` names commands, and `{work}/**` is no command.
        ListPlace::Run if name == OWN_PROGRAMS => lasting,
        ListPlace::Run => format!("--allow-run {} to this command, {lasting}", quoted('\'')),
        ListPlace::Sandbox => format!("--programs {}", quoted('\'')),
    }
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
    use crate::record::program_list::Executions;

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
            ("/usr/lib/git-core/git-remote-ftp", 1),
        ];
        let facts = facts(Some(&paths), 2);
        let of = |place: &ListPlace<'_>| {
            refusal_lines(&facts, &["/home/pat/p".to_owned()], Some(1), &OutputComplaints::default(), place)
        };
        let but = "but its list of programs does not have it:";
        let work = "add programs=\"{work}/**\" to the block, or sandbox.programs.allow: [\"{work}/**\"] to the policy";
        let outside =
            "it is outside of the system directories, so no list can contain it: put it into /usr/local/bin, or";
        assert_eq!(
            of(&ListPlace::Boundary("4f2a9c")),
            [
                format!("the step tried to run /home/pat/p/deploy.sh, {but} {work}"),
                format!(
                    "the step tried to run /opt/x, {but} {outside} say `sandbox: {{programs: {{mode: any}}}}` in the policy (version: 2)"
                ),
                format!("the step tried to run /tmp/own 3 times, {but} {work}"),
                format!(
                    "the step tried to run /usr/bin/nc, {but} add programs=nc to the block, or sandbox.programs.allow: [nc] to the policy"
                ),
                format!(
                    "the step tried to run /usr/lib/git-core/git-remote-ftp, {but} add programs=/usr/lib/git-core/git-remote-ftp to the block, or sandbox.programs.allow: [/usr/lib/git-core/git-remote-ftp] to the policy"
                ),
                "the list of programs refused other programs 2 times".to_owned(),
            ]
        );
        let run = of(&ListPlace::Run);
        assert!(run[3].ends_with("add --allow-run nc to this command, programs=nc to the block, or sandbox.programs.allow: [nc] to the policy"), "{run:?}");
        assert!(run[0].ends_with(work), "{run:?}");
        let sandbox = of(&ListPlace::Sandbox);
        assert!(
            sandbox[2].starts_with("the command tried") && sandbox[2].ends_with("add --programs '{work}/**'"),
            "{sandbox:?}"
        );
        assert!(
            sandbox[1].ends_with("leave out --programs") && sandbox[3].ends_with("add --programs nc"),
            "{sandbox:?}"
        );
    }

    #[test]
    fn a_name_that_no_list_can_contain_is_not_advised() {
        for path in ["/usr/bin/a,b", "/usr/bin/a b", "/usr/bin/a*", "/usr/bin/it's"] {
            let facts = facts(Some(&[(path, 1)]), 0);
            let lines = refusal_lines(&facts, &[], None, &OutputComplaints::default(), &ListPlace::Run);
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
        assert_eq!(lines(&none, Some(1), &["Permission granted"]), [""; 0]);
        for (code, pieces) in
            [(Some(126), &[""][..]), (Some(1), &["x: Permis", "sion de", "nied\n"]), (None, &["Permission denied"])]
        {
            let lines = lines(&none, code, pieces);
            assert!(lines.len() == 1 && lines[0].contains("`countersign review 4f2a9c` shows the list"), "{lines:?}");
            assert!(lines[0].contains("programs=NAME"), "{lines:?}");
        }
        let recorded = facts(Some(&[]), 0);
        assert_eq!(lines(&recorded, Some(126), &["Permission denied"]), [""; 0], "the list refused nothing");
        let any = ProgramFacts { mode: ProgramMode::Any, listed: 0, refused: None, started: None };
        assert_eq!(lines(&any, Some(126), &["Permission denied"]), [""; 0]);
        let unmapped = lines(&recorded, Some(1), &["x.so: failed to map segment from shared object"]);
        assert!(unmapped[0].contains("programs=\"{work}/**\""), "{unmapped:?}");
    }
}
