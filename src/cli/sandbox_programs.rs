//! Words of the `sandbox` command about the programs that a run started.

use crate::sandbox::learned_programs::LearnedPrograms;

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
    use crate::sandbox::learned_programs::LearnedProgram;

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
