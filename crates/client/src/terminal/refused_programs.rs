//! Explains which programs and hosts a run could not use, because its lists do not have them, and how to allow them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::{CommandResult, PrintableText, Terminal};
use documents::{
    Enforcement, Execution, Executions, Layer, OWN_PROGRAMS, Profile, ProgramFacts, ProgramMode,
    SEARCHED, joined,
};
use reading::check_written_program;

/// Directories whose programs a list can contain.
const SYSTEM: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];
/// Directories that a run has for itself and can write.
pub const OWN_DIRECTORIES: [&str; 2] = ["/tmp", "/dev/shm"];
/// Error message of shells and other programs about a program that they may not execute.
const DENIED: &[u8] = b"Permission denied";
/// Error message of the dynamic loader about a library that lies in a directory without the right to execute.
const UNMAPPED: &[u8] = b"failed to map segment from shared object";
/// Error messages of programs about the name, the number or the port of a host that the run can't reach.
const NO_HOST: [&str; 11] = [
    "ould not resolve",
    "ame or service not known",
    "emporary failure in name resolution",
    "o such host",
    "ENOTFOUND",
    "EAI_AGAIN",
    "etwork is unreachable",
    "ENETUNREACH",
    "onnection refused",
    "ECONNREFUSED",
    "ailed to connect to",
];
/// Number of bytes of the last output that are searched again with the next piece: enough for an error message and the
/// path before it.
const MAX_MESSAGE: usize = 1024;

/// Place of a list of programs, to which a person can add a program.
pub enum ListPlace<'a> {
    /// A step of a boundary. The value is the id of the proposal.
    Boundary(&'a str),
    /// The command `countersign run`. The map has the refused programs that policy denies, each with the rule.
    Run(&'a BTreeMap<String, String>),
    /// The command `countersign sandbox`.
    Sandbox,
}

/// Error messages in the output of a run that a list of programs or of hosts may explain.
#[derive(Default)]
pub struct OutputComplaints {
    /// End of the output that was read, because a message may be in two pieces.
    tail: Vec<u8>,
    denied: bool,
    /// Path of a library that the dynamic loader could not load, or an empty text if the message has no absolute path.
    unmapped: Option<String>,
}

impl OutputComplaints {
    /// Reads the next piece of output.
    pub fn read(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let place_of = |words: &[u8]| {
            self.tail
                .windows(words.len())
                .position(|part| part == words)
        };
        self.denied |= place_of(DENIED).is_some();
        if self.unmapped.is_none() {
            self.unmapped = place_of(UNMAPPED).map(|at| path_before(&self.tail[..at]));
        }
        let done = self.tail.len().saturating_sub(MAX_MESSAGE);
        self.tail.drain(..done);
    }

    /// Returns a line for each host that was refused, and a line with advice if the output ends with an error message
    /// about a host.
    pub fn host_lines(&self, facts: &Enforcement, profile: &Profile) -> Vec<String> {
        let mut lines = facts.refused_lines(&profile.network.hosts);
        let end = String::from_utf8_lossy(&self.tail);
        if profile.require.contains(&Layer::Network)
            && NO_HOST.iter().any(|words| end.contains(words))
        {
            lines.push(
                "the run reaches only the hosts and ports that `network=` or --net names: if it needs another, add \
                        name:port or number:port there and, for a step, to the policy"
                    .to_owned(),
            );
        }
        lines
    }
}

/// Returns the absolute path at the end of a text, before `: `, or an empty text.
fn path_before(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.strip_suffix(b": ").unwrap_or_default());
    let word = text
        .rsplit(|c: char| c.is_whitespace() || c == '\'' || c == '"')
        .next()
        .unwrap_or_default();
    if word.starts_with('/') {
        word.to_owned()
    } else {
        String::new()
    }
}

/// Returns lines about the programs that the list refused. `profile` is the profile of the run, with its list.
///
/// If no refused program was recorded, but the exit code or the output of the run suggests a refusal, the result is a line
/// with this possible reason.
pub fn refusal_lines(
    facts: &ProgramFacts,
    profile: &Profile,
    exit_code: Option<u8>,
    complaints: &OutputComplaints,
    place: &ListPlace<'_>,
) -> Vec<String> {
    if facts.mode == ProgramMode::Any {
        return Vec::new();
    }
    let mut lines = facts
        .refused
        .iter()
        .flat_map(|refused| recorded_lines(refused, profile, place))
        .collect::<Vec<_>>();
    let failed = exit_code.is_some_and(|code| code != 0);
    let may_be_refused =
        // A check that warns also ends with exit code 2, so this code counts only if the host did not record refused
        // programs.
        matches!(exit_code, Some(126 | 127))
            || (exit_code == Some(2) && facts.refused.is_none())
            || (complaints.denied && (failed || facts.refused.is_none()));
    if let Some(path) = &complaints.unmapped {
        lines.push(unmapped_line(path, profile, place));
    } else if may_be_refused && lines.is_empty() {
        lines.push(possible_reason(facts, place));
    }
    lines
}

/// Returns the line about a library that the dynamic loader could not load. `path` is empty if the path is unknown.
fn unmapped_line(path: &str, profile: &Profile, place: &ListPlace<'_>) -> String {
    let subject = place.subject();
    let start = format!("{subject} could not load");
    let own = add(&[OWN_PROGRAMS], place);
    if path.is_empty() {
        return format!(
            "{start} a library from a directory that its list of programs does not have: for a library in a directory \
             that {subject} may write, {own}"
        );
    }
    let start = format!(
        "{start} the library {path}, because its list of programs does not have the directory: "
    );
    if is_writable(path, profile) {
        start + &own
    } else {
        format!(
            "{start}no entry of a list adds this directory: {}",
            any_program(place)
        )
    }
}

/// Returns true if a path lies in one of these directories.
pub fn is_below<T: AsRef<str>>(path: &str, directories: impl IntoIterator<Item = T>) -> bool {
    directories.into_iter().any(|directory| {
        path.strip_prefix(directory.as_ref())
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Returns true if the run may write the directory of a file.
pub fn is_writable(path: &str, profile: &Profile) -> bool {
    is_below(path, &profile.write)
        || (is_below(path, OWN_DIRECTORIES) && !is_below(path, &profile.read))
}

/// Returns the advice how to let a run start every program.
fn any_program(place: &ListPlace<'_>) -> &'static str {
    match place {
        ListPlace::Sandbox => "leave out --programs",
        ListPlace::Boundary(_) | ListPlace::Run(_) => {
            "say `sandbox: {programs: {mode: any}}` in the policy"
        }
    }
}

/// Returns the lines about recorded programs. One line has all programs that a person can add to the list.
fn recorded_lines(refused: &Executions, profile: &Profile, place: &ListPlace<'_>) -> Vec<String> {
    let subject = place.subject();
    let (mut tried, mut names, mut lines) = (Vec::new(), BTreeSet::new(), Vec::new());
    for Execution { path, count } in &refused.paths {
        let times = if *count == 1 {
            String::new()
        } else {
            format!(" {count} times")
        };
        let tried_one = format!("{path}{times}");
        if profile
            .listed()
            .iter()
            .any(|one| one.path.as_str() == path.as_str())
        {
            lines.push(format!(
                "{subject} tried to run {tried_one}, but this file was replaced after {}",
                place.replaced_since()
            ));
            continue;
        }
        match entry_for(path.as_str(), profile, place) {
            Ok(name) => {
                tried.push(tried_one);
                names.insert(name);
            }
            Err(why) => lines
                .push(format!("{subject} tried to run {tried_one}, but its list of programs does not have it: {why}")),
        }
    }
    if let Some((last, before)) = tried.split_last() {
        let them = if before.is_empty() { "it" } else { "them" };
        let and = if before.is_empty() {
            String::new()
        } else {
            format!("{} and ", before.join(", "))
        };
        let add = add(&names.into_iter().collect::<Vec<_>>(), place);
        let line = format!(
            "{subject} tried to run {and}{last}, but its list of programs does not have {them}: {add}"
        );
        lines.insert(0, line);
    }
    if refused.more > 0 {
        let times = if refused.more == 1 {
            "once".to_owned()
        } else {
            format!("{} times", refused.more)
        };
        lines.push(format!(
            "the list of programs refused other programs {times}"
        ));
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

/// Returns the entry of a list that allows a program, or the advice if such an entry is not possible.
fn entry_for<'a>(
    path: &'a str,
    profile: &Profile,
    place: &ListPlace<'_>,
) -> Result<&'a str, String> {
    if is_writable(path, profile) {
        return Ok(OWN_PROGRAMS);
    }
    if !is_below(path, SYSTEM) {
        let any = any_program(place);
        return Err(format!(
            "it is outside of the system directories, so no list can contain it: put it into /usr/local/bin, or {any}"
        ));
    }
    let mut name = path
        .rsplit_once('/')
        .filter(|(directory, _)| SEARCHED.contains(directory))
        .map_or(path, |(_, name)| name);
    // The list already has another file with this name, so use the path.
    if profile.listed().iter().any(|one| one.name.as_str() == name) {
        name = path;
    }
    if check_written_program(name).is_err() || name.contains([',', '\'']) {
        return Err("no list can contain this name, so give the program another name".to_owned());
    }
    match place {
        ListPlace::Run(denied) if denied.contains_key(path) => Err(format!(
            "policy denies it ({}), so only the option --allow-run {} of this command adds it",
            denied[path],
            quoted(name, '\'')
        )),
        _ => Ok(name),
    }
}

/// Returns the advice how to add programs to a list.
fn add(names: &[&str], place: &ListPlace<'_>) -> String {
    let all = names.join(",");
    let entries = joined(names.iter().map(|name| quoted(name, '"')), ", ");
    let lasting = format!(
        "programs={} to the block, or sandbox.programs.allow: [{entries}] to the policy",
        quoted(&all, '"')
    );
    match place {
        // The client does not have the policy of the boundary.
        ListPlace::Boundary(_) if names == [OWN_PROGRAMS] => format!("add {lasting}"),
        ListPlace::Boundary(_) => {
            format!(
                "add {lasting}, unless policy denies {}",
                if names.len() == 1 { "it" } else { "them" }
            )
        }
        // `--allow-run` names commands, and `{work}/**` is no command.
        ListPlace::Run(_) if names.contains(&OWN_PROGRAMS) => format!("add {lasting}"),
        ListPlace::Run(_) => format!(
            "add --allow-run {} to this command, {lasting}",
            quoted(&all, '\'')
        ),
        ListPlace::Sandbox => format!("add --programs {}", quoted(&all, '\'')),
    }
}

impl ListPlace<'_> {
    fn subject(&self) -> &'static str {
        match self {
            Self::Sandbox => "the command",
            Self::Boundary(_) | Self::Run(_) => "the step",
        }
    }

    /// Returns the end of a message about a replaced file: the event after which the file was replaced, and the advice.
    fn replaced_since(&self) -> &'static str {
        match self {
            Self::Boundary(_) => {
                "the boundary looked for the listed files: check the file, and propose the step again"
            }
            Self::Run(_) => "the list was made: check the file, and run the step again",
            Self::Sandbox => "the list was made: check the file, and run the command again",
        }
    }
}

fn quoted(text: &str, quote: char) -> String {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._/+-,".contains(&byte));
    if plain {
        text.to_owned()
    } else {
        format!("{quote}{text}{quote}")
    }
}

/// Prints lines that explain the end of a run.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn print_hints(lines: &[String], terminal: &Terminal) -> CommandResult<()> {
    for line in lines {
        let value = json!({"type": "hint", "text": line});
        terminal.report(value, PrintableText::text(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{Limits, ListedProgram, ProgramList};

    /// The profile of a run that may write `write` and read `read`, with a list of names and files.
    fn profile(write: &[&str], read: &[&str], list: &[(&str, &str)]) -> Profile {
        let mut profile = Profile::nothing(Vec::new(), Limits::default());
        profile.write = write.iter().map(|&path| path.to_owned()).collect();
        profile.read = read.iter().map(|&path| path.to_owned()).collect();
        let one = |(name, path): &(&str, &str)| ListedProgram {
            name: name.parse().expect("a program"),
            path: path.parse().expect("a path"),
        };
        let mut list: Vec<_> = list.iter().map(one).collect();
        list.sort_by_cached_key(|one| documents::canonical_of(one).expect("canonical"));
        let unread = ProgramList::from(documents::BlobDigest::of(b""));
        profile.programs = Some(ProgramList::of(list).unwrap_or(unread));
        profile
    }

    #[test]
    fn a_name_of_another_file_is_advised_as_a_path_and_a_replaced_file_is_reported() {
        let list = [("tool", "/usr/local/bin/tool"), ("awk", "/usr/bin/mawk")];
        let profile = profile(&[], &[], &list);
        let lines = |path: &str, place: &ListPlace<'_>| {
            refusal_lines(
                &facts(Some(&[(path, 2)]), 0),
                &profile,
                Some(126),
                &OutputComplaints::default(),
                place,
            )
        };
        let run = ListPlace::Run(&BTreeMap::new());
        let said = lines("/usr/bin/tool", &run);
        assert!(
            said[0]
                .contains("add --allow-run /usr/bin/tool to this command, programs=/usr/bin/tool"),
            "{said:?}"
        );
        assert_eq!(
            lines("/usr/bin/mawk", &run),
            [
                "the step tried to run /usr/bin/mawk 2 times, but this file was replaced after the list was made: check the \
              file, and run the step again"
            ]
        );
        let said = lines("/usr/local/bin/tool", &ListPlace::Boundary("4f2a9c"));
        assert!(
            said.len() == 1 && said[0].ends_with("check the file, and propose the step again"),
            "{said:?}"
        );
    }

    #[test]
    fn files_of_the_run_are_advised_only_in_directories_that_the_run_may_write() {
        let profile = profile(&["/home/pat/p", "/usr/local/share/p"], &["/tmp/read"], &[]);
        let place = ListPlace::Boundary("4f2a9c");
        let lines = |path: &str, output: &str| {
            let mut complaints = OutputComplaints::default();
            output
                .as_bytes()
                .chunks(7)
                .for_each(|piece| complaints.read(piece));
            let refused = [(path, 1)];
            let refused = if path.is_empty() { &[][..] } else { &refused };
            refusal_lines(
                &facts(Some(refused), 0),
                &profile,
                Some(1),
                &complaints,
                &place,
            )
            .join("\n")
        };
        for (path, advised) in [
            ("/home/pat/p/x", true),
            ("/tmp/x", true),
            ("/usr/local/share/p/x", true),
            ("/tmp/read/x", false),
            ("/home/pat/x", false),
            ("/opt/x", false),
            ("/usr/lib/x", false),
        ] {
            let said = lines(path, "");
            assert!(
                said.contains("{work}/**") == advised && said.contains("does not have it"),
                "{said}"
            );
            for before in [
                "",
                "ImportError: ",
                "x: error while loading shared libraries: ",
            ] {
                let said = lines(
                    "",
                    &format!("a\n{before}{path}.so: failed to map segment from shared object\n"),
                );
                assert!(
                    said.contains(&format!("the library {path}.so, because")),
                    "{said}"
                );
                assert!(
                    said.contains("{work}/**") == advised && said.contains("mode: any") != advised,
                    "{said}"
                );
            }
        }
        let said = lines("", "libx.so: failed to map segment from shared object\n");
        assert!(
            said.contains("for a library in a directory that the step may write, add programs"),
            "{said}"
        );
    }

    fn facts(refused: Option<&[(&str, u64)]>, more: u64) -> ProgramFacts {
        let execution = |(path, count): &(&str, u64)| Execution {
            path: path.parse().expect("a path"),
            count: *count,
        };
        let refused = refused.map(|paths| Executions {
            paths: paths.iter().map(execution).collect(),
            more,
        });
        ProgramFacts {
            mode: ProgramMode::Listed,
            listed: 1,
            refused,
            started: None,
        }
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
            refusal_lines(
                &facts,
                &profile(&["/home/pat/p"], &[], &[]),
                Some(1),
                &OutputComplaints::default(),
                place,
            )
        };
        let tried = "tried to run /home/pat/p/deploy.sh, /tmp/own 3 times, /usr/bin/nc and \
                     /usr/lib/git-core/git-remote-ftp 2 times, but its list of programs does not have them: add";
        let names = "/usr/lib/git-core/git-remote-ftp,nc,{work}/**";
        let policy = "sandbox.programs.allow: [/usr/lib/git-core/git-remote-ftp, nc, \"{work}/**\"] to the policy";
        let outside = "tried to run /opt/x, but its list of programs does not have it: it is outside of the system \
                       directories, so no list can contain it: put it into /usr/local/bin, or";
        let any = "say `sandbox: {programs: {mode: any}}` in the policy";
        let more = "the list of programs refused other programs 2 times";
        assert_eq!(
            of(&ListPlace::Boundary("4f2a9c")),
            [
                &format!(
                    "the step {tried} programs=\"{names}\" to the block, or {policy}, unless policy denies them"
                ),
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
        let three = facts(
            Some(&[("/usr/bin/id", 1), ("/usr/bin/nl", 1), ("/usr/bin/od", 1)]),
            0,
        );
        let of = |place: &ListPlace<'_>| {
            refusal_lines(
                &three,
                &profile(&[], &[], &[]),
                Some(1),
                &OutputComplaints::default(),
                place,
            )
        };
        let tried = "tried to run /usr/bin/id, /usr/bin/nl and /usr/bin/od, but its list of programs does not have them:";
        assert_eq!(
            of(&ListPlace::Sandbox),
            [format!("the command {tried} add --programs id,nl,od")]
        );
        let lasting =
            "programs=id,nl,od to the block, or sandbox.programs.allow: [id, nl, od] to the policy";
        assert_eq!(
            of(&ListPlace::Run(&BTreeMap::new())),
            [format!(
                "the step {tried} add --allow-run id,nl,od to this command, {lasting}"
            )]
        );
        let denied = BTreeMap::from([(
            "/usr/bin/nl".to_owned(),
            "run.deny \"nl\", default".to_owned(),
        )]);
        let lines = of(&ListPlace::Run(&denied));
        assert!(
            lines.len() == 2 && lines[0].contains("add --allow-run id,od to this command"),
            "{lines:?}"
        );
        let only = ": policy denies it (run.deny \"nl\", default), so only the option --allow-run nl of this command adds it";
        assert!(lines[1].ends_with(only), "{lines:?}");
    }

    #[test]
    fn a_name_that_no_list_can_contain_is_not_advised() {
        for path in [
            "/usr/bin/a,b",
            "/usr/bin/a b",
            "/usr/bin/a*",
            "/usr/bin/it's",
        ] {
            let facts = facts(Some(&[(path, 1)]), 0);
            let lines = refusal_lines(
                &facts,
                &profile(&[], &[], &[]),
                None,
                &OutputComplaints::default(),
                &ListPlace::Run(&BTreeMap::new()),
            );
            assert!(
                lines[0].ends_with("give the program another name"),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn without_a_record_the_list_is_named_as_a_possible_reason() {
        let said = |pieces: &[&str]| {
            let mut complaints = OutputComplaints::default();
            pieces
                .iter()
                .for_each(|piece| complaints.read(piece.as_bytes()));
            complaints
        };
        let none = facts(None, 0);
        let lines = |facts: &ProgramFacts, code, pieces: &[&str]| {
            refusal_lines(
                facts,
                &profile(&[], &[], &[]),
                code,
                &said(pieces),
                &ListPlace::Boundary("4f2a9c"),
            )
        };
        assert_eq!(lines(&none, Some(0), &["Permission granted"]), [""; 0]);
        assert_eq!(lines(&none, None, &[""]), [""; 0], "no exit code");
        for (code, pieces) in [
            (Some(126), &[""][..]),
            (Some(0), &["x: Permis", "sion de", "nied\n"]),
            (None, &["Permission denied"]),
        ] {
            let lines = lines(&none, code, pieces);
            assert!(
                lines.len() == 1 && lines[0].contains("`countersign review 4f2a9c` shows the list"),
                "{lines:?}"
            );
            assert!(
                lines[0].contains("this host did not record") && lines[0].contains("programs=NAME"),
                "{lines:?}"
            );
        }
        // A program that only asks whether a file is executable makes no record.
        let recorded = facts(Some(&[]), 0);
        assert_eq!(
            lines(&recorded, Some(0), &["Permission denied"]),
            [""; 0],
            "the list refused nothing"
        );
        assert_eq!(
            lines(&recorded, Some(2), &[""]),
            [""; 0],
            "a check that warns"
        );
        for (code, piece) in [(2, "make: x: Permission denied"), (126, ""), (127, "")] {
            let lines = lines(&recorded, Some(code), &[piece]);
            assert!(
                lines.len() == 1 && lines[0].contains("such as make, leaves no record"),
                "{lines:?}"
            );
        }
        assert_eq!(
            lines(&facts(Some(&[]), 2), Some(2), &[""]).len(),
            1,
            "the count of other programs is enough"
        );
        let any = ProgramFacts {
            mode: ProgramMode::Any,
            listed: 0,
            refused: None,
            started: None,
        };
        assert_eq!(lines(&any, Some(126), &["Permission denied"]), [""; 0]);
        let unmapped = lines(
            &recorded,
            Some(1),
            &["x.so: failed to map segment from shared object"],
        );
        assert!(
            unmapped[0].contains("programs=\"{work}/**\""),
            "{unmapped:?}"
        );
    }
}
