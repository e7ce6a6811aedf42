//! Texts in a script that run as scripts, for example the argument of `bash -c` or `eval`.

use crate::{
    ByteOrigin, Context, Dialect, FoundKind, HOLE, MAX_DEPTH, NO_TEXT, ScriptWalk, SyntaxFlaw,
    TextReader, UnknownPart, UnknownReason, Word,
    shell::{script_walk::RawFinding, syntax},
};

impl ScriptWalk<'_> {
    /// Reads the text of `word`, which `reader` runs with unknown words after it.
    pub(super) fn text_and_more(
        &mut self,
        word: &Word,
        reader: TextReader,
        context: Context<'_>,
    ) -> Result<(), SyntaxFlaw> {
        if !word.exact {
            return self.text(&[word], reader, context);
        }
        let more = Word {
            text: format!("{} {HOLE}", word.text),
            raw: Some(word.source().into()),
            ..word.clone()
        };
        self.text(&[&more], reader, context)
    }

    /// Reads the text of `words`, joined by blanks, which `reader` runs.
    pub(super) fn text(
        &mut self,
        words: &[&Word],
        reader: TextReader,
        context: Context<'_>,
    ) -> Result<(), SyntaxFlaw> {
        let Some(first) = words.first() else {
            return Ok(());
        };
        let joined;
        let (text, origin) = if let [word] = words {
            let source = word.source();
            let origin = match source.find(word.text.as_str()) {
                Some(inside) if self.script[word.at..].starts_with(source) => {
                    ByteOrigin::Shift(word.at + inside)
                }
                _ => ByteOrigin::Fixed(word.at),
            };
            (word.text.as_str(), origin)
        } else {
            joined = words
                .iter()
                .map(|word| word.text.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            (joined.as_str(), ByteOrigin::Fixed(first.at))
        };
        let hidden = words
            .iter()
            .find(|word| !(word.exact || word.one && !word.text.contains(HOLE)));
        let recorded = self.found.len();
        if let Some(hidden) = hidden {
            self.unknown(hidden, NO_TEXT, context);
        } else if reader == TextReader::Here && context.function.is_none() {
            // The text may call a function of the surrounding script.
            self.may_call();
        }
        if text.len() > self.budget {
            return Err(SyntaxFlaw {
                at: first.at,
                message: "too much text runs as scripts in the script: reduce the nesting",
                guard: true,
            });
        }
        check_nesting(first, context)?;
        self.budget -= text.len();
        let dialects: &[Dialect] = match reader {
            TextReader::Here if context.dialect == Dialect::Bash => &[Dialect::Bash],
            TextReader::Here => &[Dialect::Dash],
            TextReader::Bash => &[Dialect::Bash],
            TextReader::Dash => &[Dialect::Dash],
            TextReader::Sh => &[Dialect::Bash, Dialect::Dash],
        };
        let outer = std::mem::take(&mut self.differs);
        for dialect in dialects {
            if dialects.len() > 1 && *dialect == Dialect::Dash && !self.differs {
                break;
            }
            let read = syntax::parse(
                text,
                *dialect,
                origin,
                (self.depth + context.nested).min(MAX_DEPTH),
            );
            let (depth, before) = (self.depth, self.found.len());
            let last = dialects.len() == 1 || *dialect == Dialect::Bash;
            match read.flaw {
                // The unknown part is already recorded, so an error in a partly unknown text is ignored.
                Some(_) if hidden.is_some() => {}
                Some(flaw)
                    if flaw.guard
                        || last && !(reader == TextReader::Here && *dialect == Dialect::Dash) =>
                {
                    return Err(flaw);
                }
                _ => {}
            }
            self.evaluates |= read.evaluates;
            self.differs |= read.differs;
            let inside = Context {
                bodies: &read.bodies,
                dialect: *dialect,
                here: context.here && reader == TextReader::Here,
                top: false,
                input: None,
                nested: context.nested + 1,
                ..context
            };
            let walked = self.list(&read.list, inside);
            self.depth = depth;
            if hidden.is_none() {
                walked?;
            } else {
                let seen = self.found.split_off(before);
                let unknown = |raw: &RawFinding| {
                    if let FoundKind::Unknown(why) = raw.what {
                        Some(why.part)
                    } else {
                        None
                    }
                };
                // The known part of the text names a program with unknown words, for example `sh -c "sudo $x"`.
                if seen
                    .iter()
                    .any(|raw| unknown(raw).is_some_and(|part| part != UnknownPart::Programs))
                {
                    self.found[recorded].what =
                        FoundKind::Unknown(UnknownReason::words(NO_TEXT.text));
                }
                let kept =
                    |raw: &RawFinding| unknown(raw).is_none_or(|part| part == UnknownPart::Started);
                self.found.extend(seen.into_iter().filter(kept));
                // The list `calls` is sorted by index.
                self.calls
                    .truncate(self.calls.partition_point(|(index, _)| *index < before));
            }
        }
        self.differs = outer || self.differs && reader == TextReader::Here;
        Ok(())
    }
}

/// Checks that the command in `word` is not nested too deep.
pub fn check_nesting(word: &Word, context: Context<'_>) -> Result<(), SyntaxFlaw> {
    if context.nested < MAX_NESTED {
        return Ok(());
    }
    Err(SyntaxFlaw {
        at: word.at,
        message: "commands in commands are nested deeper than 12 levels: reduce the nesting",
        guard: true,
    })
}

/// Maximum nesting of texts and wrappers, because stack and copied data are limited.
const MAX_NESTED: usize = 12;
