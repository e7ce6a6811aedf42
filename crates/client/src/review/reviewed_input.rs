//! An input of the run in a review.

use documents::ContentDigest;

/// A signed input of a run, with its content if the content has the signed digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewedInput {
    /// Name of the input in the run.
    pub name: String,
    /// Its signed digest.
    pub digest: ContentDigest,
    /// Its signed size. The size of a plan's output is not signed.
    pub bytes: Option<u64>,
    /// The content.
    pub content: Option<Vec<u8>>,
}

impl ReviewedInput {
    /// Returns the size of the content, or else the signed size.
    pub fn size(&self) -> u64 {
        self.content
            .as_ref()
            .map(|content| content.len() as u64)
            .or(self.bytes)
            .unwrap_or_default()
    }

    /// Returns the content of a text.
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.content.as_ref()?).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}
