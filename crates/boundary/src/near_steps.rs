//! The steps that a wrong reference may mean.

use documents::StepRef;
use reading::distance;

/// Maximum number of hints in an answer.
const MOST_HINTS: usize = 5;
/// Maximum number of hints if only a runbook was named.
const MOST_OF_RUNBOOK: usize = 20;
/// Maximum number of steps with which a wrong reference is compared, to limit the cost of a request.
const MOST_COMPARED: usize = 20_000;
/// Maximum length in bytes of a reference.
const MAX_BYTES: usize = 255;
/// Maximum number of folders and names in a reference that is compared.
const MOST_WORDS: usize = 8;
/// Maximum length in bytes of a reference that is compared letter by letter.
const MOST_LETTERS: usize = 64;
/// Largest difference of a step that is named.
const MOST_DIFFERENCES: usize = 4;
/// Difference of a step with another name in the same runbook.
const SAME_RUNBOOK: usize = 3;

/// Returns the steps that a wrong reference most likely means, the nearest first. A step is near if folders are missing or
/// too many, if names are shortened or have typing errors, or if it is in the named runbook. A step of another service is
/// never near. For a text without a colon, which names only a runbook, all steps of the runbook are near.
pub fn near_steps<'a>(wrong: &str, known: impl Iterator<Item = &'a StepRef>) -> Vec<&'a StepRef> {
    if wrong.len() > MAX_BYTES {
        return Vec::new();
    }
    let (path, id) = wrong
        .rsplit_once(':')
        .map_or((wrong, None), |(path, id)| (path, Some(id)));
    let path = [".runbook.md", ".md", ".mdx"]
        .iter()
        .find_map(|end| path.strip_suffix(end))
        .unwrap_or(path);
    let given: Vec<&str> = path.split('/').collect();
    let found = known
        .take(MOST_COMPARED)
        .filter_map(|step| Some((difference(wrong, id, path, &given, step)?, step)));
    let mut near: Vec<(usize, &StepRef)> = found
        .filter(|(difference, _)| *difference <= MOST_DIFFERENCES)
        .collect();
    near.sort();
    // A step with many more differences than the nearest one is no help.
    let most = near
        .first()
        .map_or(0, |(least, _)| least + usize::from(*least > 0));
    let hints = if id.is_none() {
        MOST_OF_RUNBOOK
    } else {
        MOST_HINTS
    };
    near.into_iter()
        .take_while(|(difference, _)| *difference <= most)
        .take(hints)
        .map(|(_, step)| step)
        .collect()
}

/// Returns the number of differences, or `None` if the step can't be meant.
fn difference(
    whole: &str,
    id: Option<&str>,
    path: &str,
    given: &[&str],
    step: &StepRef,
) -> Option<usize> {
    let other = if id.is_some() {
        step.as_str()
    } else {
        step.path()
    };
    // Two errors seldom change both ends, and this comparison is the slow one.
    let ends = |text: &str| (text.bytes().next(), text.bytes().last());
    let ((first, last), (start, end)) = (ends(whole), ends(other));
    let is_similar = whole.len().abs_diff(other.len()) <= 2 && (first == start || last == end);
    if whole.len() <= MOST_LETTERS && is_similar {
        let errors = distance(whole, other);
        if errors <= 2 {
            return Some(errors);
        }
    }
    let known: Vec<&str> = step.path().split('/').collect();
    if given.len().max(known.len()) > MOST_WORDS {
        return None;
    }
    let of_step = id.map_or(Some(0), |id| word_difference(id, step.step()));
    let of_step = of_step.or_else(|| (path == step.path()).then_some(SAME_RUNBOOK))?;
    let (short, long) = if given.len() <= known.len() {
        (given, &*known)
    } else {
        (&*known, given)
    };
    let ((runbook, short), (other, long)) = (short.split_last()?, long.split_last()?);
    Some(of_step + word_difference(runbook, other)? + folder_differences(short, long)?)
}

/// Compares folders in their order. Each folder of the longer path without a partner is one difference.
fn folder_differences(short: &[&str], long: &[&str]) -> Option<usize> {
    let Some((last, before)) = short.split_last() else {
        return Some(long.len());
    };
    let (other, rest) = long.split_last()?;
    let paired =
        word_difference(last, other).and_then(|one| Some(one + folder_differences(before, rest)?));
    let skipped = folder_differences(short, rest).map(|differences| differences + 1);
    [paired, skipped].into_iter().flatten().min()
}

/// Returns the number of differences of two names, or `None` if one can't mean the other.
fn word_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return Some(0);
    }
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    if short.len() > 1 && is_short_for(short, long) {
        return Some(1);
    }
    let most = match short.len() {
        0..=2 => 0,
        3 => 1,
        _ => 2,
    };
    (long.len() - short.len() <= most)
        .then(|| distance(short, long))
        .filter(|errors| *errors <= most)
}

/// Returns true if the letters of the short name occur in the long name in their order, the first one at its begin.
fn is_short_for(short: &str, long: &str) -> bool {
    let mut rest = long.chars();
    short.chars().next() == long.chars().next()
        && short
            .chars()
            .all(|letter| rest.any(|other| other == letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 12] = [
        "apps/eu/shop:restart",
        "apps/eu/shop:status",
        "apps/us/mail:deploy",
        "db/postgres/failover:plan",
        "db/postgres/failover:restart",
        "db/redis/failover:restart",
        "iam/federation:plan",
        "kafka/topics:create",
        "queue/federation:apply",
        "queue/federation:plan",
        "web/deploy:rollback",
        "web/deploy:run",
    ];

    fn near(wrong: &str) -> Vec<String> {
        let known: Vec<StepRef> = KNOWN
            .iter()
            .map(|step| step.parse().expect("a reference"))
            .collect();
        near_steps(wrong, known.iter())
            .into_iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_wrong_reference_gets_the_step_that_it_means_first() {
        for (wrong, meant) in [
            ("queue/federation:planx", "queue/federation:plan"),
            ("shop:restart", "apps/eu/shop:restart"),
            ("apps/shop:restart", "apps/eu/shop:restart"),
            ("runbooks/web/deploy.runbook.md:run", "web/deploy:run"),
            ("db/pg/failover:restart", "db/postgres/failover:restart"),
            ("wbe/deploy:run", "web/deploy:run"),
            ("webdeploy:run", "web/deploy:run"),
            ("kafka/topcis:craete", "kafka/topics:create"),
            ("web/deploy:start", "web/deploy:rollback"),
        ] {
            assert_eq!(
                near(wrong).first().map(String::as_str),
                Some(meant),
                "{wrong}"
            );
        }
        assert_eq!(
            near("federation:plan"),
            ["iam/federation:plan", "queue/federation:plan"],
            "both are equally near"
        );
    }

    #[test]
    fn a_runbook_gets_its_steps() {
        for wrong in [
            "web/deploy",
            "runbooks/web/deploy.runbook.md",
            "deploy",
            "web/deplyo",
        ] {
            assert_eq!(
                near(wrong),
                ["web/deploy:rollback", "web/deploy:run"],
                "{wrong}"
            );
        }
        assert_eq!(
            near("eu/shop"),
            ["apps/eu/shop:restart", "apps/eu/shop:status"]
        );
        assert_eq!(near("billing"), [""; 0]);
    }

    #[test]
    fn a_step_of_another_service_is_no_hint() {
        for wrong in [
            "db/zookeeper/failover:restart",
            "apps/eu/vault:restart",
            "billing:run",
            "nomad/deploy:run",
        ] {
            assert_eq!(near(wrong), [""; 0], "{wrong}");
        }
    }

    #[test]
    fn a_reference_with_too_many_folders_gets_no_hint_instead_of_a_long_search() {
        let wrong = format!("{}x:run", "a/".repeat(60));
        let known: Vec<StepRef> = (0..2000)
            .map(|at| format!("a/a/a/a/a/a/b{at}:run").parse().expect("one"))
            .collect();
        assert_eq!(near_steps(&wrong, known.iter()), Vec::<&StepRef>::new());
    }
}
