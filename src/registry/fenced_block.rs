//! Reads the fenced blocks of a Markdown file, with their places.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::record::step_definition::MAX_SOURCE_BYTES;
use crate::registry::attributes::PlacedText;
use crate::registry::front_matter;
use crate::yaml::{TextPlace, YamlFlaw};

/// Fenced block of a document.
pub(crate) struct FencedBlock {
    /// Place of the first fence character.
    pub(crate) fence: TextPlace,
    pub(crate) info: PlacedText,
    pub(crate) source: String,
    /// Fence character.
    mark: char,
    pub(crate) closed: bool,
    /// Nearest heading above the block.
    pub(crate) heading: Option<String>,
}

impl FencedBlock {
    /// Returns the block for the fence at byte `start`. The info string is taken from the file text, because the
    /// parser's unescaped text would give wrong columns.
    pub(crate) fn at(text: &str, start: usize, lines: &LineStarts<'_>) -> Self {
        let whole = &text[start..];
        let begin = whole.find(['`', '~']).unwrap_or(0);
        let mark = whole[begin..].chars().next().unwrap_or('`');
        let length = whole[begin..].chars().take_while(|c| *c == mark).count();
        let after = begin + length;
        let line_end = whole[after..].find('\n').map_or(whole.len(), |at| after + at);
        Self {
            fence: lines.place(start + begin),
            info: PlacedText { place: lines.place(start + after), text: whole[after..line_end].to_owned() },
            source: String::new(),
            mark,
            closed: false,
            heading: None,
        }
    }

    /// Records if the block is closed. `whole` is the text of the block with its fences.
    pub(crate) fn end(&mut self, whole: &str) {
        // A closed block has its script and one more line, the closing fence.
        let lines_of = |text: &str| text.matches('\n').count();
        let whole = whole.trim_end();
        self.closed = lines_of(whole) == lines_of(&self.source) + 1 && whole.ends_with(self.mark);
    }

    /// Adds the errors that a block with a script can have: no closing fence, no script, or a large script.
    pub(crate) fn check_script(&self, remedy: &str, flaws: &mut Vec<YamlFlaw>) {
        if !self.closed {
            flaws.push(YamlFlaw::new(self.fence, "the block is not closed: end the block with the same fence"));
        }
        if self.source.trim().is_empty() {
            flaws.push(YamlFlaw::new(self.fence, format!("the block is empty: write the script, or {remedy}")));
        }
        if self.source.len() > MAX_SOURCE_BYTES {
            let message =
                format!("the script is larger than {MAX_SOURCE_BYTES} bytes: move a part of it to another step");
            flaws.push(YamlFlaw::new(self.fence, message));
        }
    }

    /// Returns the interpreter that the first line of the script names, or `None` if the script has no shebang.
    pub(crate) fn shebang(&self) -> Option<Result<String, YamlFlaw>> {
        let shebang = self.source.strip_prefix("#!")?;
        let refuse = |message: String| YamlFlaw::new(TextPlace { line: self.fence.line + 1, column: 1 }, message);
        let mut words = shebang.lines().next().unwrap_or_default().split_ascii_whitespace();
        let program = words.next().unwrap_or_default();
        let (directory, mut name) = program.rsplit_once('/').unwrap_or(("", program));
        if name == "env" {
            name = words.next().unwrap_or_default();
        }
        if !["/bin", "/usr/bin", "/usr/local/bin"].contains(&directory) {
            return Some(Err(refuse(format!(
                "{program:?} in the shebang is not a standard path: write #!/usr/bin/env and the name of the program"
            ))));
        }
        if name.starts_with('-') || words.next().is_some() {
            return Some(Err(refuse(
                "options in a shebang have no effect: remove the options, and write `set -e` or another set command \
                 below the shebang"
                    .to_owned(),
            )));
        }
        Some(front_matter::interpreter(name).map_err(refuse))
    }
}

/// Returns all fenced blocks of `text`, starting at byte `from`.
pub(crate) fn fenced_blocks(text: &str, from: usize, lines: &LineStarts<'_>) -> Vec<FencedBlock> {
    let mut found: Vec<FencedBlock> = Vec::new();
    let (mut heading, mut in_heading): (Option<String>, Option<String>) = (None, None);
    let mut in_block = false;
    for (event, range) in Parser::new_ext(&text[from..], Options::empty()).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => in_heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                heading = in_heading.take().and_then(|text| front_matter::title(&text).ok());
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                in_block = true;
                found
                    .push(FencedBlock { heading: heading.clone(), ..FencedBlock::at(text, range.start + from, lines) });
            }
            Event::End(TagEnd::CodeBlock) => {
                in_block = false;
                if let Some(block) = found.last_mut() {
                    block.end(&text[from..][range]);
                }
            }
            Event::Text(piece) => match (found.last_mut(), &mut in_heading) {
                (Some(block), _) if in_block => block.source.push_str(&piece),
                (_, Some(heading)) => heading.push_str(&piece),
                _ => {}
            },
            Event::Code(piece) => {
                if let Some(heading) = &mut in_heading {
                    heading.push_str(&piece);
                }
            }
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
pub(crate) fn check_characters(text: &str, lines: &LineStarts<'_>, flaws: &mut Vec<YamlFlaw>) {
    for (bad, message) in [
        ('\r', "the file has Windows line endings, which break scripts: save the file with LF line endings"),
        ('\0', "the file contains a NUL character: remove the character"),
    ] {
        if let Some(at) = text.find(bad) {
            flaws.push(YamlFlaw::new(lines.place(at), message));
        }
    }
}

/// Text with the byte offsets of its lines.
pub(crate) struct LineStarts<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    pub(crate) fn place(&self, offset: usize) -> TextPlace {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        TextPlace { line, column: self.text[start..offset].chars().count() + 1 }
    }
}
