//! Searches the content of a file for texts, although a text may lie across several reads.

use std::fmt;

/// Maximum length of a text that is found across two searched parts, in bytes: a secret of 64 KiB in its longest form.
const LONGEST_TEXT: usize = 512 << 10;
/// Number of bytes that are searched at once.
const SEARCHED_AT_ONCE: usize = 4 << 20;

/// A search through a stream of bytes.
pub struct StreamSearch<'a> {
    holds: &'a dyn Fn(&[u8]) -> bool,
    window: Vec<u8>,
    found: bool,
}

impl fmt::Debug for StreamSearch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSearch(found: {})", self.found)
    }
}

impl<'a> StreamSearch<'a> {
    /// Begins a search. `holds` tells whether bytes contain one of the texts.
    pub fn new(holds: &'a dyn Fn(&[u8]) -> bool) -> Self {
        Self {
            holds,
            window: Vec::new(),
            found: false,
        }
    }

    /// Adds the next bytes of the stream.
    pub fn add(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        if self.window.len() >= SEARCHED_AT_ONCE {
            self.found = self.found || (self.holds)(&self.window);
            self.window.drain(..self.window.len() - LONGEST_TEXT);
        }
    }

    /// Ends the search, and returns true if the stream contains one of the texts.
    pub fn found(self) -> bool {
        self.found || (self.holds)(&self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_the_reads_divide_it() {
        let text = vec![b's'; LONGEST_TEXT];
        let holds = |bytes: &[u8]| {
            bytes
                .split(|byte| *byte != b's')
                .any(|run| run.len() >= LONGEST_TEXT)
        };
        for before in [
            0,
            1,
            SEARCHED_AT_ONCE - LONGEST_TEXT,
            SEARCHED_AT_ONCE - 1,
            SEARCHED_AT_ONCE + 7,
        ] {
            for (piece, removed, expected) in [
                (256 << 10, 0, true),
                (100_003, 0, true),
                (256 << 10, 1, false),
            ] {
                let stream = [vec![b'.'; before], text[removed..].to_vec(), vec![b'.'; 3]].concat();
                let mut search = StreamSearch::new(&holds);
                stream.chunks(piece).for_each(|bytes| search.add(bytes));
                assert_eq!(search.found(), expected, "{before} {piece} {removed}");
            }
        }
    }
}
