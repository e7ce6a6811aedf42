//! A file of the step in a review.

use documents::StepFile;

/// A file of the step with its content, if the content has the digest in the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewedFile {
    /// Entry of the definition.
    pub file: StepFile,
    /// The content.
    pub content: Option<Vec<u8>>,
}

impl ReviewedFile {
    /// Returns the content of a text file.
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.content.as_ref()?).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}
