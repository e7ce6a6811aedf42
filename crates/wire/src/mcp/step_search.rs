//! The order of steps for the words of a search.

/// Words that an agent looks for: a reference, a folder, a runbook, or words of references and titles.
pub(super) struct StepSearch {
    query: String,
    words: Vec<String>,
}

impl StepSearch {
    pub(super) fn new(query: &str) -> Self {
        let query = query.trim().trim_end_matches('/').to_lowercase();
        let words = query.split_whitespace().map(str::to_owned).collect();
        Self { query, words }
    }

    /// Returns the rank of a step, or `None` if no word fits. Steps of the named folder or runbook have the lowest rank,
    /// then steps with fewer missing words, then steps with more words as whole words.
    pub(super) fn rank(&self, reference: &str, title: &str) -> Option<usize> {
        if self.words.is_empty() {
            return Some(0);
        }
        let reference = reference.to_lowercase();
        let inside =
            format!("/{reference}/").replace(':', "/").contains(&format!("/{}/", self.query.replace(':', "/")));
        if inside && self.words.len() == 1 {
            return Some(0);
        }
        let text = format!("{reference} {}", title.to_lowercase());
        let whole: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).collect();
        let missing = self.words.iter().filter(|word| !text.contains(*word)).count();
        let parts = self.words.iter().filter(|word| !whole.contains(&word.as_str())).count();
        (missing < self.words.len()).then(|| 1 + missing * (self.words.len() + 1) + parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_a_folder_and_whole_words_come_first() {
        let steps = [
            ("apps/shop:restart", "Restart the shop"),
            ("apps/shop:status", "Is it up"),
            ("db/issues:list", "List open issues"),
            ("db/shopping:plan", "Plan"),
        ];
        let found = |query: &str| {
            let search = StepSearch::new(query);
            let mut found: Vec<(usize, &str)> =
                steps.iter().filter_map(|(step, title)| Some((search.rank(step, title)?, *step))).collect();
            found.sort_unstable();
            found.into_iter().map(|(_, step)| step).collect::<Vec<_>>()
        };
        assert_eq!(found("apps/shop:restart"), ["apps/shop:restart"]);
        assert_eq!(found("apps/"), ["apps/shop:restart", "apps/shop:status"]);
        assert_eq!(found("shop"), ["apps/shop:restart", "apps/shop:status", "db/shopping:plan"]);
        assert_eq!(found("is up").first(), Some(&"apps/shop:status"), "\"issues\" is another word");
        assert_eq!(found("nothing"), [""; 0]);
        assert_eq!(found("").len(), 4);
    }
}
