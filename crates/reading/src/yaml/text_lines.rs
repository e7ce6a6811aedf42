//! Converts byte offsets of a text to lines and columns.

use crate::TextPlace;

/// Text with the byte offsets of its lines.
pub struct TextLines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> TextLines<'a> {
    /// Finds the lines of a text.
    pub fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// Returns the place of a byte offset. The place of an offset inside a character is the place of the character, and
    /// the place of an offset after the text is the end of the text.
    pub fn place(&self, offset: usize) -> TextPlace {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        TextPlace {
            line,
            column: self.text[start..offset].chars().count() + 1,
        }
    }

    /// Returns a line by its number, from 1, with its line ending.
    pub fn line(&self, number: usize) -> &'a str {
        let start = |number: usize| self.starts.get(number).copied().unwrap_or(self.text.len());
        &self.text[start(number.saturating_sub(1))..start(number)]
    }
}
