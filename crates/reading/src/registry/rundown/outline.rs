//! Divides a Markdown file into headings, paragraphs, list items and code blocks, with their places.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::{FencedBlock, PlacedText, TextLines, TextPlace};

/// Part of a Rundown file.
pub(super) enum MarkdownPiece {
    Heading {
        level: HeadingLevel,
        text: PlacedText,
    },
    /// Lines of a paragraph.
    Paragraph(Vec<PlacedText>),
    /// Lines of the first paragraph of a list item.
    Item {
        depth: usize,
        lines: Vec<PlacedText>,
    },
    Fence(FencedBlock),
    /// Indented code block.
    Indented(String),
}

/// Returns the parts of the text from byte `from` on, in the order of the file.
pub(super) fn outline(text: &str, from: usize, lines: &TextLines<'_>) -> Vec<MarkdownPiece> {
    let mut reader = Reader {
        lines,
        from,
        found: Vec::new(),
        inline: None,
        items: Vec::new(),
        heading: None,
    };
    let mut code: Option<Code> = None;
    for (event, range) in Parser::new_ext(&text[from..], Options::empty()).into_offset_iter() {
        match (&event, &mut code) {
            (Event::Start(Tag::CodeBlock(kind)), _) => {
                reader.flush();
                code = Some(match kind {
                    CodeBlockKind::Fenced(_) => {
                        Code::Fence(FencedBlock::at(text, range.start + from, lines))
                    }
                    CodeBlockKind::Indented => Code::Indented(String::new()),
                });
            }
            (Event::End(TagEnd::CodeBlock), _) => match code.take() {
                Some(Code::Fence(mut block)) => {
                    block.end(&text[from..][range]);
                    reader.found.push(MarkdownPiece::Fence(block));
                }
                Some(Code::Indented(text)) => reader.found.push(MarkdownPiece::Indented(text)),
                None => {}
            },
            (Event::Text(piece), Some(Code::Fence(block))) => block.source.push_str(piece),
            (Event::Text(piece), Some(Code::Indented(text))) => text.push_str(piece),
            _ => reader.take(&event, &range),
        }
    }
    reader.flush();
    reader.found
}

enum Code {
    Fence(FencedBlock),
    Indented(String),
}

struct Reader<'a> {
    lines: &'a TextLines<'a>,
    from: usize,
    found: Vec<MarkdownPiece>,
    /// Lines of the paragraph that is being read.
    inline: Option<Vec<PlacedText>>,
    /// For each open list item, true if its first paragraph was read.
    items: Vec<bool>,
    heading: Option<(HeadingLevel, TextPlace)>,
}

impl Reader<'_> {
    fn take(&mut self, event: &Event<'_>, range: &Range<usize>) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                self.flush();
                self.heading = Some((*level, self.lines.place(range.start + self.from)));
            }
            Event::End(TagEnd::Heading(_)) => {
                let lines = self.inline.take().unwrap_or_default();
                if let Some((level, place)) = self.heading.take() {
                    let words: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
                    self.found.push(MarkdownPiece::Heading {
                        level,
                        text: PlacedText {
                            place,
                            text: words.join(" "),
                        },
                    });
                }
            }
            Event::Start(Tag::Item) => {
                self.flush();
                self.items.push(false);
            }
            Event::End(TagEnd::Item) => {
                self.flush();
                self.items.pop();
            }
            Event::Start(Tag::Paragraph | Tag::List(_) | Tag::BlockQuote(_) | Tag::HtmlBlock)
            | Event::End(TagEnd::Paragraph | TagEnd::HtmlBlock)
            | Event::Rule => self.flush(),
            Event::Text(piece) | Event::InlineHtml(piece) => self.push(piece, range),
            Event::Code(piece) => self.push(&format!("`{piece}`"), range),
            Event::SoftBreak | Event::HardBreak => {
                let place = self.lines.place(range.end + self.from);
                if let Some(lines) = &mut self.inline {
                    lines.push(PlacedText {
                        place,
                        text: String::new(),
                    });
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, text: &str, range: &Range<usize>) {
        // A long line has many pieces, so its place is found only once.
        let place = || self.lines.place(range.start + self.from);
        let lines = self.inline.get_or_insert_default();
        match lines.last_mut() {
            Some(line) => {
                if line.text.is_empty() {
                    line.place = place();
                }
                line.text.push_str(text);
            }
            None => lines.push(PlacedText {
                place: place(),
                text: text.to_owned(),
            }),
        }
    }

    fn flush(&mut self) {
        let Some(lines) = self.inline.take() else {
            return;
        };
        let depth = self.items.len();
        self.found.push(match self.items.last_mut() {
            Some(read @ false) => {
                *read = true;
                MarkdownPiece::Item { depth, lines }
            }
            _ => MarkdownPiece::Paragraph(lines),
        });
    }
}
