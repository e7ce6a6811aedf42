//! A search for steps, page by page.

use std::sync::Arc;

use reading::RegisteredStep;

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
    /// The rank and the reference of the last step of the page before. A cursor with both also works after a reload.
    after: (usize, String),
}

impl StepSearch {
    /// Creates the search from the fields of a request. Without a field, a request is no search.
    ///
    /// # Errors
    /// Returns an error if no answer had this cursor.
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

    /// Keeps the steps of one page, the best first. Returns the number of all steps that fit, and the cursor of the next
    /// page.
    pub(super) fn page(&self, steps: &mut Vec<&Arc<RegisteredStep>>) -> (u64, Option<String>) {
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

    /// Returns the rank of a step, or `None` if the step does not fit. Steps of the named folder or runbook have the lowest
    /// rank, then steps with fewer missing words, then steps with more words as whole words.
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
