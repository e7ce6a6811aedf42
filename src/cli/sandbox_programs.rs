//! Words of the `sandbox` command about the programs of a run.

use crate::record::later_parts::{Execution, ProgramFacts};
use crate::record::later_words::OWN_PROGRAMS;
use crate::record::profile::Profile;
use crate::sandbox::learned_programs::{LearnedPrograms, entry_for};

/// Returns a line for each program that the list refused. The line names the option that allows the program.
pub(super) fn refused(facts: &ProgramFacts, profile: &Profile) -> Vec<String> {
    let Some(refused) = &facts.refused else {
        return vec![
            "the programs of the command are not recorded, because this host gives no listener for them".into(),
        ];
    };
    let line = |Execution { path, count }: &Execution| {
        let path = path.as_str();
        let remedy = match entry_for(path, path) {
            Some(entry) => format!("add --programs {}", in_a_shell(&entry)),
            None if is_own(path, profile) => format!("add --programs {}", in_a_shell(OWN_PROGRAMS)),
            None => "no list can contain it, because it lies outside of the system directories".to_owned(),
        };
        format!(
            "the command tried to run {path} {}, but its list of programs does not contain it: {remedy}",
            times(*count)
        )
    };
    let mut lines: Vec<String> = refused.paths.iter().map(line).collect();
    if refused.more > 0 {
        lines.push(format!("the list refused other programs {}", times(refused.more)));
    }
    lines
}

/// Returns the lines with the list of programs that a command needs.
pub(super) fn learned(learned: Option<&LearnedPrograms>) -> Vec<String> {
    let Some(LearnedPrograms { list, started, more }) = learned else {
        return vec!["the programs of the command could not be recorded: this host gives no listener for them".into()];
    };
    let mut lines: Vec<String> = started
        .iter()
        .map(|one| match &one.entry {
            Some(entry) => format!("started {} {}: {entry}", one.path, times(one.count)),
            None => format!(
                "started {} {}: no list can contain it, because it lies outside of the system directories",
                one.path,
                times(one.count)
            ),
        })
        .collect();
    if *more > 0 {
        lines.push(format!("started other programs {}, which are missing in this list", times(*more)));
    }
    if list.is_empty() {
        lines.push("the command needs no list of programs".to_owned());
    } else {
        let list = list.join(",");
        lines.push(format!("for countersign sandbox: --programs {}", in_a_shell(&list)));
        let quote = if is_plain(&list) { "" } else { "\"" };
        lines.push(format!("for a step of a runbook: programs={quote}{list}{quote}"));
    }
    lines
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Returns true if the file lies in a directory that the command may write.
fn is_own(path: &str, profile: &Profile) -> bool {
    let below = |directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    below("/tmp") || profile.write.iter().any(|directory| below(directory))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._/+-,".contains(&c))
}

/// Quotes a text for a shell, if necessary.
fn in_a_shell(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::later_parts::{Executions, ProgramMode};
    use crate::record::profile::{Limits, STRICT};
    use crate::sandbox::learned_programs::LearnedProgram;

    #[test]
    fn each_refused_program_is_named_with_the_option_that_allows_it() {
        let profile = Profile::nothing(STRICT.to_vec(), Limits::default());
        let env = crate::sandbox::program_lookup::program_path("env").expect("every host has env");
        let path = |path: &str, count| Execution { path: path.parse().expect("a path"), count };
        let paths = vec![path("/srv/tool", 1), path("/tmp/work/own", 3), path(&env, 1)];
        let refused_ones = Some(Executions { paths, more: 2 });
        let facts = ProgramFacts { mode: ProgramMode::Listed, listed: 1, refused: refused_ones, started: None };
        let lines = refused(&facts, &profile);
        let but = "but its list of programs does not contain it";
        let expected = [
            format!(
                "the command tried to run /srv/tool once, {but}: no list can contain it, because it lies outside of the system directories"
            ),
            format!("the command tried to run /tmp/work/own 3 times, {but}: add --programs '{{work}}/**'"),
            format!("the command tried to run {env} once, {but}: add --programs env"),
            "the list refused other programs 2 times".to_owned(),
        ];
        assert_eq!(lines, expected);
        let unknown = ProgramFacts { refused: None, ..facts };
        assert!(refused(&unknown, &profile)[0].contains("not recorded"));
    }

    #[test]
    fn a_learned_list_is_quoted_where_a_shell_or_a_runbook_needs_it() {
        let of = |entries: &[&str]| LearnedPrograms {
            list: entries.iter().map(|&entry| entry.to_owned()).collect(),
            started: vec![LearnedProgram { path: "/usr/bin/git".into(), count: 2, entry: Some("git".into()) }],
            more: 0,
        };
        let lines = |entries: &[&str]| learned(Some(&of(entries)));
        assert_eq!(
            lines(&["git", "jq"]),
            [
                "started /usr/bin/git 2 times: git",
                "for countersign sandbox: --programs git,jq",
                "for a step of a runbook: programs=git,jq"
            ]
        );
        assert_eq!(
            lines(&["git", "{work}/**"])[1..],
            [
                "for countersign sandbox: --programs 'git,{work}/**'",
                "for a step of a runbook: programs=\"git,{work}/**\""
            ]
        );
    }
}
