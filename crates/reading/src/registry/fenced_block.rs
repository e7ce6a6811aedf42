//! Reads the fenced blocks of a Markdown file, with their places.
//!
//! The crate `markdown` of the MDX pages can't replace `pulldown-cmark` here, because its time grows with the square of
//! the size: a page of 256 KiB takes 4 seconds instead of 15 milliseconds. The two crates agree on all pages of the
//! tests, but `markdown` also reads a lone carriage return as a line end, loses empty lines of unclosed blocks, and
//! panics on some damaged pages.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::{
    PlacedText, REFUSED_CHARACTERS, TextLines, TextPlace, YamlFlaw, check_size,
    interpreter_of_shebang, noted, refuse, registry::front_matter,
};

/// Fenced block of a document.
pub struct FencedBlock {
    /// Place of the first fence character.
    pub fence: TextPlace,
    pub info: PlacedText,
    pub source: String,
    /// Fence character.
    mark: char,
    pub closed: bool,
    /// Nearest heading above the block.
    pub heading: Option<String>,
}

impl FencedBlock {
    /// Returns the block for the fence at byte `start`. The info string is taken from the file text, because the
    /// parser's unescaped text would give wrong columns.
    pub fn at(text: &str, start: usize, lines: &TextLines<'_>) -> Self {
        let whole = &text[start..];
        let begin = whole.find(['`', '~']).unwrap_or(0);
        let mark = whole[begin..].chars().next().unwrap_or('`');
        let length = whole[begin..].chars().take_while(|c| *c == mark).count();
        let after = begin + length;
        let line_end = whole[after..]
            .find('\n')
            .map_or(whole.len(), |at| after + at);
        Self {
            fence: lines.place(start + begin),
            info: PlacedText {
                place: lines.place(start + after),
                text: whole[after..line_end].to_owned(),
            },
            source: String::new(),
            mark,
            closed: false,
            heading: None,
        }
    }

    /// Returns the first word of the info string, or an empty text.
    pub fn first_word(&self) -> &str {
        self.info.text.split_whitespace().next().unwrap_or_default()
    }

    /// Returns the number of characters of the fence.
    pub fn length(&self) -> usize {
        self.info.place.column - self.fence.column
    }

    /// Returns the number of lines of the script.
    pub fn lines(&self) -> usize {
        self.source.matches('\n').count()
    }

    /// Returns true if the line of the file is in the script.
    pub fn contains(&self, line: usize) -> bool {
        (self.fence.line + 1..=self.fence.line + self.lines()).contains(&line)
    }

    /// Records if the block is closed. `whole` is the text of the block with its fences.
    pub fn end(&mut self, whole: &str) {
        // A closed block has its script and one more line, the closing fence.
        let whole = whole.trim_end();
        let lines = whole.matches('\n').count();
        self.closed = lines == self.lines() + 1 && whole.ends_with(self.mark);
    }

    /// Adds the errors that a block with a script can have: no closing fence, no script, or a large script.
    pub fn check_script(&self, remedy: &str, flaws: &mut Vec<YamlFlaw>) {
        if !self.closed {
            refuse(
                flaws,
                self.fence,
                "the block is not closed: end the block with the same fence",
            );
        }
        if self.source.trim().is_empty() {
            refuse(
                flaws,
                self.fence,
                format!("the block is empty: write the script, or {remedy}"),
            );
        }
        noted(check_size(&self.source), self.fence, flaws);
    }

    /// Returns the interpreter that the first line of the script names, or `None` if the script has no shebang.
    pub fn shebang(&self) -> Option<Result<String, YamlFlaw>> {
        let place = TextPlace {
            line: self.fence.line + 1,
            column: 1,
        };
        interpreter_of_shebang(&self.source)
            .map_err(|message| YamlFlaw::new(place, message))
            .transpose()
    }
}

/// Returns all fenced blocks of `text`, starting at byte `from`.
pub fn fenced_blocks(text: &str, from: usize, lines: &TextLines<'_>) -> Vec<FencedBlock> {
    let mut found: Vec<FencedBlock> = Vec::new();
    let (mut heading, mut in_heading): (Option<String>, Option<String>) = (None, None);
    let mut in_block = false;
    for (event, range) in Parser::new_ext(&text[from..], Options::empty()).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => in_heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                heading = in_heading
                    .take()
                    .and_then(|text| front_matter::title(&text).ok());
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                in_block = true;
                found.push(FencedBlock {
                    heading: heading.clone(),
                    ..FencedBlock::at(text, range.start + from, lines)
                });
            }
            Event::End(TagEnd::CodeBlock) => {
                // An indented block has no fence, so its end belongs to no block of this list.
                if let Some(block) = found.last_mut().filter(|_| in_block) {
                    block.end(&text[from..][range]);
                }
                in_block = false;
            }
            Event::Text(piece) | Event::Code(piece) => match (found.last_mut(), &mut in_heading) {
                (Some(block), _) if in_block => block.source.push_str(&piece),
                (_, Some(heading)) => heading.push_str(&piece),
                _ => {}
            },

            Event::SoftBreak | Event::HardBreak => {
                if let Some(heading) = &mut in_heading {
                    heading.push(' ');
                }
            }
            _ => {}
        }
    }
    found
}

/// Adds an error for each kind of character that breaks scripts.
pub fn check_characters(text: &str, lines: &TextLines<'_>, flaws: &mut Vec<YamlFlaw>) {
    for (bad, message) in REFUSED_CHARACTERS {
        if let Some(at) = text.find(bad) {
            refuse(flaws, lines.place(at), message);
        }
    }
}
