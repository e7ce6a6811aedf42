//! The page on which the passkey signs a short statement.

use maud::{Markup, html};

use crate::{ANSWER_FIELDS, PageState, PasskeyQuestion, answer_fields, companion_page, hidden};

/// Returns the page on which the passkey signs a short statement.
pub fn signing_page(
    pages: &PageState,
    (at, title): (usize, &str),
    statement: &Markup,
    (path, number, digest): (&str, &str, &str),
    question: &PasskeyQuestion,
) -> Markup {
    let main = html! {
        h1 { (title) }
        section #review aria-label="What you sign" { (statement) }
        p { "The dialog of your device shows only " (question.host) ", and not what you sign." }
        form method="post" action=(path) data-passkey="get" data-challenge=(question.challenge) data-host=(question.host) {
            (hidden(&pages.form_key, path, number, digest))
            (answer_fields(&ANSWER_FIELDS))
            button.main type="submit" { "Sign with your passkey" }
        }
    };
    companion_page(at, title, main)
}
