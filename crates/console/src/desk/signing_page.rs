//! The page on which the passkey signs a statement of few words.

use maud::{Markup, html};

use crate::{ANSWER_FIELDS, NavPlace, PasskeyQuestion, answer_fields, companion_page};

/// Returns the page on which the passkey signs a statement of few words.
pub(crate) fn signing_page(
    (at, title): (usize, &str),
    statement: &Markup,
    (path, fields): (&str, &Markup),
    question: &PasskeyQuestion,
) -> String {
    let main = html! {
        h1 { (title) }
        section #review aria-label="What you sign" { (statement) }
        p { "The dialog of your device shows only " (question.host) ", and not what you sign." }
        form method="post" action=(path) data-passkey="get" data-challenge=(question.challenge) data-host=(question.host) {
            (fields)
            (answer_fields(&ANSWER_FIELDS))
            button.main type="submit" { "Sign with your passkey" }
        }
    };
    companion_page(NavPlace::at(at), title, main, false)
}
