//! The output of a step as markup.

use client::ColouredText;
use maud::{Markup, html};

/// Returns pieces of output as markup.
pub fn coloured(parts: &[ColouredText]) -> Markup {
    html! {
        @for part in parts {
            @if part.class.is_empty() { (part.text) } @else { span class=(part.class) { (part.text) } }
        }
    }
}
