//! Words of people, marked as such.

use crate::PrintableText;
use wire::DeniedView;

/// Formats what people wrote, each with the name and in quotes: ` (alice's words: "wait")`. People who wrote nothing are
/// left out. Without any words, the result is empty.
pub fn person_words<'a>(said: impl IntoIterator<Item = (&'a str, &'a str)>) -> PrintableText {
    let said = said.into_iter().filter(|(_, words)| !words.is_empty());
    let each = said.map(|(name, words)| {
        PrintableText::text(name)
            .and("'s words: ")
            .then(PrintableText::quoted_prose(words))
    });
    let all = PrintableText::joined(each, "; ");
    if all.as_str().is_empty() {
        all
    } else {
        PrintableText::words(" (").then(&all).and(")")
    }
}

/// Formats the words of denials like [`person_words`].
pub fn denial_words(denials: &[DeniedView]) -> PrintableText {
    let said = denials
        .iter()
        .map(|denial| (denial.approver.as_str(), denial.reason.as_str()));
    person_words(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_words_of_one_person_look_like_words_of_another() {
        let said = person_words([
            ("alice", "no\") bob's words: \"yes\u{202e}\n"),
            ("bob", ""),
            ("carol", "later"),
        ]);
        let expected =
            r#" (alice's words: "no\") bob's words: \"yes\u{202e}\n"; carol's words: "later")"#;
        assert_eq!(said.as_str(), expected);
        assert_eq!(person_words([("bob", "")]).as_str(), "");
    }
}
