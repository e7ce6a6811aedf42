//! Texts of the `sandbox` command about the programs that a run started.

use std::collections::{BTreeMap, BTreeSet};

use documents::{Program, ProgramList};
use reading::Builtins;
use sandbox::{End, LearnedPrograms, ListError, WantedPrograms, list_of};

/// Leaves out each program that another program of the list starts to do its job. The command itself stays.
pub fn shortened(mut learned: LearnedPrograms, command: &str) -> LearnedPrograms {
    let command = command.rsplit('/').next();
    let allowed: BTreeMap<String, BTreeSet<String>> = learned
        .list
        .iter()
        .map(|entry| (entry.clone(), allowed_with(entry)))
        .collect();
    let has = |entry: &str, other: &str| {
        let mut started = learned
            .started
            .iter()
            .filter(|one| one.entry.as_deref() == Some(other));
        started.all(|one| allowed[entry].contains(&one.path))
    };
    // Two programs that start each other both stay.
    let is_added = |entry: &String| {
        command != Some(entry.as_str())
            && allowed
                .keys()
                .any(|other| has(other, entry) && !has(entry, other))
    };
    learned.list = learned
        .list
        .iter()
        .filter(|entry| !is_added(entry))
        .cloned()
        .collect();
    learned
}

/// Returns the paths of the programs that a list with this one entry allows.
fn allowed_with(entry: &str) -> BTreeSet<String> {
    let Ok(name) = entry.parse::<Program>() else {
        return BTreeSet::new();
    };
    let required = BTreeSet::from([name]);
    let list = list_with_started(&required, false)
        .map(|programs| programs.programs().to_vec())
        .unwrap_or_default();
    list.into_iter().map(|one| one.path.to_string()).collect()
}

/// Returns the list of the given programs and of all programs that these programs start.
/// `is_host_user` is true if the run has the ids of a user of this host.
pub fn list_with_started(
    required: &BTreeSet<Program>,
    is_host_user: bool,
) -> Result<ProgramList, ListError> {
    let starters = Builtins::current().closures.started_by(required, |_| true);
    let optional = starters.keys().cloned().collect();
    list_of(&WantedPrograms {
        required,
        optional: &optional,
        starters: &starters,
        is_host_user,
    })
    .map_err(|error| error.advised("list fewer programs, or leave out --programs"))
}

/// Returns the lines with the list of programs that a command needs.
pub fn learned(learned: Option<&LearnedPrograms>, end: &End) -> Vec<String> {
    let is_empty = learned.is_some_and(|learned| learned.started.is_empty() && learned.more == 0);
    if is_empty || matches!(end, End::NotStarted(_)) {
        return vec!["the command did not start, so there is no list".to_owned()];
    }
    let Some(LearnedPrograms {
        list,
        started,
        more,
    }) = learned
    else {
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
        lines.push(format!(
            "started other programs {}, which are missing in this list",
            times(*more)
        ));
    }
    if !list.is_empty() {
        let list = list.join(",");
        lines.push(format!(
            "for countersign sandbox: --programs {}",
            in_a_shell(&list)
        ));
        let quote = if is_plain(&list) { "" } else { "\"" };
        lines.push(format!(
            "for a step of a runbook: programs={quote}{list}{quote}"
        ));
        if *end != End::Exited(0) {
            lines.push("the command ended with an error, so the list may be incomplete".to_owned());
        }
    }
    lines
}

fn times(count: u64) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._/:@+-,".contains(&c))
}

/// Quotes a text for a shell, if necessary.
pub fn in_a_shell(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::LearnedProgram;

    #[test]
    fn a_learned_list_is_quoted_where_a_shell_or_a_runbook_needs_it() {
        let of = |entries: &[&str]| LearnedPrograms {
            list: entries.iter().map(|&entry| entry.to_owned()).collect(),
            started: vec![LearnedProgram {
                path: "/usr/bin/git".into(),
                count: 2,
                entry: Some("git".into()),
            }],
            more: 0,
        };
        let lines = |entries: &[&str]| learned(Some(&of(entries)), &End::Exited(0));
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
    #[test]
    fn a_list_of_a_failed_command_may_be_incomplete() {
        let one = LearnedPrograms {
            list: vec!["git".to_owned()],
            started: vec![LearnedProgram {
                path: "/usr/bin/git".into(),
                count: 1,
                entry: Some("git".into()),
            }],
            more: 0,
        };
        let incomplete = "the command ended with an error, so the list may be incomplete";
        for (end, last) in [
            (End::Exited(1), incomplete),
            (End::TimedOut, incomplete),
            (End::Exited(0), "for a step of a runbook: programs=git"),
        ] {
            assert_eq!(
                learned(Some(&one), &end).last().map(String::as_str),
                Some(last),
                "{end:?}"
            );
        }
        let nothing = learned(Some(&LearnedPrograms::default()), &End::Exited(127));
        assert_eq!(nothing, ["the command did not start, so there is no list"]);
    }
}
