//! A search for steps, page by page, and the steps that a wrong reference may mean.

use std::sync::Arc;

use documents::StepRef;
use reading::{RegisteredStep, distance};

/// Number of steps on one page.
const STEPS_A_PAGE: usize = 50;
/// Maximum number of words of a search, to limit the cost of a request. Further words have no effect.
const MAX_WORDS: usize = 16;

/// A search for a reference, a folder, a runbook, or words of references and titles.
pub struct StepSearch {
    /// The whole query as a path, which begins and ends with a slash.
    path: String,
    words: Vec<String>,
    under: String,
    /// The rank and the reference of the last step on the previous page. They stay valid if the registry changes.
    after: (usize, String),
}

impl StepSearch {
    /// Creates the search from the fields of a request. Returns `None` if the request has none of these fields.
    ///
    /// # Errors
    /// Returns an error if the cursor can't be parsed.
    pub fn new(
        query: Option<&str>,
        under: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Option<Self>, &'static str> {
        if query.or(under).or(cursor).is_none() {
            return Ok(None);
        }
        let query = query
            .unwrap_or_default()
            .trim()
            .trim_end_matches('/')
            .to_lowercase();
        let words = query
            .split_whitespace()
            .take(MAX_WORDS)
            .map(str::to_owned)
            .collect();
        let after = cursor
            .filter(|cursor| !cursor.is_empty())
            .unwrap_or("0,")
            .split_once(',');
        let after = after.and_then(|(rank, step)| Some((rank.parse().ok()?, step.to_owned())));
        let after = after
            .ok_or("?cursor=: no answer had this cursor: send the cursor of the page before")?;
        let path = format!("/{}/", query.replace(':', "/"));
        Ok(Some(Self {
            path,
            words,
            under: under.unwrap_or_default().trim_matches('/').to_owned(),
            after,
        }))
    }

    /// Keeps only the steps of one page, with the best first. Returns the number of all steps that fit, and the cursor
    /// of the next page.
    pub fn page(&self, steps: &mut Vec<&Arc<RegisteredStep>>) -> (u64, Option<String>) {
        let rank = |step: &RegisteredStep| {
            self.rank(step.definition.reference.as_str(), &step.definition.title)
        };
        let mut ranked: Vec<_> = steps
            .iter()
            .filter_map(|step| Some((rank(step)?, *step)))
            .collect();
        let found = ranked.len() as u64;
        // The steps come in the order of their references, and the sort keeps this order among equal ranks.
        ranked.sort_by_key(|(rank, _)| *rank);
        let (after, last) = &self.after;
        ranked.retain(|(rank, step)| (rank, step.definition.reference.as_str()) > (after, last));
        let cursor = match ranked.get(STEPS_A_PAGE - 1..) {
            Some([(rank, step), _, ..]) => Some(format!("{rank},{}", step.definition.reference)),
            _ => None,
        };
        *steps = ranked
            .into_iter()
            .take(STEPS_A_PAGE)
            .map(|(_, step)| step)
            .collect();
        (found, cursor)
    }

    /// Returns the rank of a step, or `None` if the step does not fit. Steps of the named folder or runbook have the
    /// lowest rank, then steps with fewer missing words, then steps with more words as whole words.
    fn rank(&self, reference: &str, title: &str) -> Option<usize> {
        let below = reference.strip_prefix(&self.under)?;
        if !self.under.is_empty() && !below.starts_with(['/', ':']) {
            return None;
        }
        if self.words.is_empty() {
            return Some(0);
        }
        let reference = reference.to_lowercase();
        let as_path = || format!("/{reference}/").replace(':', "/");
        if self.words.len() == 1 && as_path().contains(&self.path) {
            return Some(0);
        }
        let text = format!("{reference} {}", title.to_lowercase());
        let whole: Vec<&str> = text
            .split(|letter: char| !letter.is_alphanumeric())
            .collect();
        let missing = self
            .words
            .iter()
            .filter(|word| !text.contains(*word))
            .count();
        let parts = self
            .words
            .iter()
            .filter(|word| !whole.contains(&word.as_str()))
            .count();
        (missing < self.words.len()).then(|| 1 + missing * (self.words.len() + 1) + parts)
    }
}

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
/// Maximum number of differences between a wrong reference and a step that the answer names.
const MOST_DIFFERENCES: usize = 4;
/// Number of differences that count for another name in the same runbook.
const SAME_RUNBOOK: usize = 3;

/// Returns the steps that a wrong reference most likely means, the nearest first. A step is near if folders are missing
/// or too many, if names are shortened or have typing errors, or if the step is in the named runbook. A step of a
/// runbook with an unrelated name is never near. For a text without a colon, which names only a runbook, all steps of
/// the runbook are near.
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
    // Name only steps with at most one difference more than the nearest step.
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

/// Returns the number of differences, or `None` if the reference can't mean the step.
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
    // The comparison letter by letter is slow, so it needs an equal first or last letter. Two errors seldom change
    // both.
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

/// Compares folders in their order. Each folder of the longer path that has no partner is one difference.
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

/// Returns the number of differences of two names, or `None` if one name can't mean the other.
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

/// Returns true if the letters of the short name occur in the long name in the same order, beginning with its first
/// letter.
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

    fn found(query: &str, under: &str, steps: &[(&'static str, &str)]) -> Vec<&'static str> {
        let search = StepSearch::new(Some(query), Some(under), None)
            .expect("a search")
            .expect("fields");
        let mut found: Vec<(usize, &str)> = steps
            .iter()
            .filter_map(|(step, title)| Some((search.rank(step, title)?, *step)))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, step)| step).collect()
    }

    #[test]
    fn a_reference_a_folder_and_whole_words_come_first() {
        let steps = [
            ("apps/shop:restart", "Restart the shop"),
            ("apps/shop:status", "Is it up"),
            ("db/issues:list", "List open issues"),
            ("db/shopping:plan", "Plan"),
        ];
        let found = |query: &str| found(query, "", &steps);
        assert_eq!(found("apps/shop:restart"), ["apps/shop:restart"]);
        assert_eq!(found("apps/"), ["apps/shop:restart", "apps/shop:status"]);
        assert_eq!(
            found("shop"),
            ["apps/shop:restart", "apps/shop:status", "db/shopping:plan"]
        );
        assert_eq!(
            found("is up").first(),
            Some(&"apps/shop:status"),
            "\"issues\" is another word"
        );
        assert_eq!(found("nothing"), [""; 0]);
        assert_eq!(found("").len(), 4);
    }

    #[test]
    fn under_is_a_whole_folder_or_runbook() {
        let steps = [
            ("apps/eu/shop:stop", "x"),
            ("apps/eu:stop", "x"),
            ("apps/europe:stop", "x"),
            ("eu:stop", "x"),
        ];
        for (under, inside) in [
            ("apps/eu", &["apps/eu/shop:stop", "apps/eu:stop"][..]),
            ("/apps/eu/shop/", &["apps/eu/shop:stop"]),
            ("apps/e", &[]),
            ("eu", &["eu:stop"]),
        ] {
            assert_eq!(found("", under, &steps), inside, "{under}");
        }
        assert_eq!(
            found("europe", "apps/eu", &steps),
            [""; 0],
            "query and under apply together"
        );
    }

    #[test]
    fn a_cursor_that_no_answer_had_is_refused() {
        for cursor in ["x", "1", "x,a:b", "-1,a:b"] {
            assert!(
                StepSearch::new(None, None, Some(cursor)).is_err(),
                "{cursor}"
            );
        }
        assert!(
            StepSearch::new(None, None, None).is_ok_and(|search| search.is_none()),
            "the whole registry"
        );
    }
}

#[cfg(test)]
mod near_steps_tests {
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
