//! Describes and draws a file of the step, or an input of the run, in a review.

use crate::{LineTone, PrintableText, Screen};
use documents::ContentDigest;

/// A signed file, with its content if the content has the signed digest.
#[derive(Clone)]
pub struct ReviewedContent {
    /// Kind of the content: `file` of the step, or `input` of the run.
    pub kind: &'static str,
    /// Path of the file, or name of the input.
    pub name: String,
    /// The signed digest.
    pub digest: ContentDigest,
    /// The signed size. The size of a plan's output is not signed.
    pub bytes: Option<u64>,
    /// True if the run can execute the file.
    pub executable: bool,
    /// The content.
    pub content: Option<Vec<u8>>,
}

impl ReviewedContent {
    /// Returns the size of the content, or else the signed size.
    pub fn size(&self) -> u64 {
        self.content
            .as_ref()
            .map(|content| content.len() as u64)
            .or(self.bytes)
            .unwrap_or_default()
    }

    /// Returns the content if it is a text.
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.content.as_ref()?).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}

/// Draws all files below a heading. The content of a binary file is not shown.
pub fn draw(screen: &mut Screen, heading: &'static str, all: &[ReviewedContent]) {
    if !all.is_empty() {
        screen.heading(heading);
    }
    for one in all {
        let (tone, what) = match (&one.content, one.text()) {
            (None, _) => (
                LineTone::Bad,
                ": NOT SHOWN, because this program has no content with this digest",
            ),
            (Some(_), None) => (LineTone::Strong, ": no text, so the content is not shown"),
            (Some(_), Some(_)) => (LineTone::Strong, ""),
        };
        let mode = if one.executable { "executable, " } else { "" };
        let text = PrintableText::quoted(&one.name)
            .then(format!(", {mode}{} bytes, {}", one.size(), one.digest))
            .and(what);
        screen.push(tone, format!("  {} ", one.kind), text);
        if let Some(text) = one.text() {
            screen.numbered(text, &[]);
        }
    }
}
