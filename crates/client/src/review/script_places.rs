//! Lines of the script at which policy asks for a permission.

use crate::{PrintableText, plain_or_quoted, review::value_words::grouped};
use documents::{PermissionKind, StepDefinition};
use reading::{DecisionPlace, Flags, PolicyVerdict, Ruling, decide_step};

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
