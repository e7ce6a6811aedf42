//! Text from outside on a page.

use client::PrintableText;

/// Returns external text with escapes in place of characters that a reader can't see.
pub fn plain(text: &str) -> String {
    PrintableText::text(text).to_string()
}

/// Returns prose for a page. See [`PrintableText::prose`].
pub fn plain_prose(text: &str) -> String {
    PrintableText::prose(text).to_string()
}
