//! Remarks about blocks that look like steps but are no steps, and about front matter without effect.
//!
//! If several blocks of a page need the same kind of remark, they share one remark.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    FencedBlock, TextLines, TextPlace, YamlFlaw, attributes, fenced_blocks,
    registry::front_matter::INTERPRETERS,
};
use documents::joined;

/// Returns a remark if the block has a name in the form of another program: Pandoc, Runme, kramdown or R Markdown.
pub fn of_other_form(block: &FencedBlock, lines: &TextLines<'_>) -> Option<YamlFlaw> {
    let info = block.info.text.trim();
    // kramdown has the attributes of a block in the line above or below the block.
    let below = block.fence.line + block.lines() + 2;
    let beside = [block.fence.line - 1, below].map(|line| lines.line(line).trim());
    let beside = beside
        .into_iter()
        .find(|line| line.starts_with("{:"))
        .unwrap_or_default();
    let separates = |c: char| c.is_whitespace() || "{},:;\"'".contains(c);
    let language = info
        .split(separates)
        .map(|word| word.trim_start_matches('.'))
        .find(|word| INTERPRETERS.contains(word) || *word == "shell");
    let names_step = |word: &str| match word.split_once('=') {
        Some((key, _)) => {
            ["id", "name"].contains(&key) || key != "title" && attributes::is_known(key)
        }
        None => word.starts_with('#') && word.len() > 1,
    };
    let is_named = info
        .split(separates)
        .chain(beside.split(separates))
        .any(names_step)
        || ["\"name\":", "\"id\":"]
            .iter()
            .any(|key| info.contains(key))
        || info.starts_with('{')
            && language.is_some_and(|language| info[1..].starts_with(language));
    let language = language
        .or(info.starts_with('#').then_some("bash"))
        .filter(|_| is_named)?;
    let message = format!(
        "the block looks like a step and is none, because its name has another form: write ```{language} {{#NAME}}"
    );
    Some(YamlFlaw::new(block.fence, message))
}

/// Returns a remark for each fence of a step that Markdown does not read as a fence, because the line is indented or in
/// an HTML element, or because an earlier block contains the line.
pub fn hidden_fences(
    text: &str,
    blocks: &[FencedBlock],
    is_step: impl Fn(&str) -> bool,
) -> Vec<YamlFlaw> {
    let lines = TextLines::of(text);
    let remark = |line: usize| {
        let whole = lines.line(line);
        let (length, info) = fence(whole)?;
        if !is_step(info) || blocks.iter().any(|block| block.fence.line == line) {
            return None;
        }
        let before = &text[..text
            .split_inclusive('\n')
            .take(line - 1)
            .map(str::len)
            .sum()];
        let is_open = |begin, end| before.rfind(begin) > before.rfind(end);
        let paragraph = (1..line)
            .rev()
            .take_while(|line| !lines.line(*line).trim().is_empty())
            .last();
        let why = match blocks.iter().find(|block| block.contains(line)) {
            // The author shows how to write a step.
            Some(block) if !block.info.text.trim().is_empty() || block.length() > length => {
                return None;
            }
            Some(block) => format!("the block in line {} contains this fence", block.fence.line),
            None if is_open("<!--", "-->") || is_open("<pre", "</pre") => return None,
            None if paragraph
                .is_some_and(|first| lines.line(first).trim_start().starts_with('<')) =>
            {
                "an HTML element contains this fence: write an empty line above it".to_owned()
            }
            None => {
                "the fence is indented, so Markdown reads it as text: begin the fence at the left"
                    .to_owned()
            }
        };
        let place = TextPlace {
            line,
            column: whole.len() - whole.trim_start().len() + 1,
        };
        Some(YamlFlaw::new(
            place,
            format!("the block looks like a step and is none, because {why}"),
        ))
    };
    (1..=text.lines().count()).filter_map(remark).collect()
}

/// Returns the length and the info string of the fence in this line.
fn fence(line: &str) -> Option<(usize, &str)> {
    let line = line.trim();
    let mark = line.chars().next().filter(|mark| "`~".contains(*mark))?;
    let info = line.trim_start_matches(mark);
    let length = line.len() - info.len();
    (length >= 3).then_some((length, info))
}

/// Returns true for the info string of a step in Countersign Markdown.
pub fn is_step(info: &str) -> bool {
    attributes::parse(info, TextPlace::START, &mut Vec::new())
        .is_some_and(|(_, id, _)| id.is_some())
}

/// Returns a remark if a page without steps was probably meant as a runbook.
pub fn of_prose(text: &str) -> Option<YamlFlaw> {
    let is_meant =
        |line: &str| is_version(line) || fence(line).is_some_and(|(_, info)| is_step(info));
    // Most pages have no such line, so no parser reads them.
    text.lines().find(|line| is_meant(line))?;
    let blocks = fenced_blocks(text, 0, &TextLines::of(text));
    let is_shown = |at: usize| blocks.iter().any(|block| block.contains(at + 1));
    let (at, line) = text
        .lines()
        .enumerate()
        .find(|(at, line)| is_meant(line) && !is_shown(*at))?;
    let message = if is_version(line) {
        "this looks like front matter, but nobody reads it, so the file has no step: begin line 1 with ---, then write \
         `countersign: 1` without spaces before it, and end with ---"
    } else {
        "the block looks like a step and is none, because the file has no front matter `countersign: 1`"
    };
    Some(YamlFlaw::new(
        TextPlace {
            line: at + 1,
            column: 1,
        },
        message,
    ))
}

/// Returns true for the line `countersign: 1`, also in other notations than YAML.
fn is_version(line: &str) -> bool {
    let plain = line
        .replace(['{', '}', '"', '\'', ' ', '\t', ','], "")
        .to_ascii_lowercase();
    ["countersign:1", "countersign=1"].contains(&plain.as_str())
}

/// Kind of remark: the text before the names, and the text after the names.
pub type RemarkKind = (&'static str, &'static str);

/// Remarks of one page.
#[derive(Default)]
pub struct SharedRemarks(BTreeMap<RemarkKind, (BTreeSet<String>, BTreeSet<TextPlace>)>);

impl SharedRemarks {
    /// Adds a name to the remark of this kind.
    pub fn add(&mut self, kind: RemarkKind, name: &str, place: TextPlace) {
        let (names, places) = self.0.entry(kind).or_default();
        names.insert(name.to_owned());
        places.insert(place);
    }

    /// Returns the remarks, each at its first place.
    pub fn into_remarks(self) -> Vec<YamlFlaw> {
        let remark = |((before, after), (names, places)): (
            RemarkKind,
            (BTreeSet<String>, BTreeSet<TextPlace>),
        )| {
            let lines: BTreeSet<usize> = places.iter().map(|place| place.line).collect();
            let places_of = if lines.len() > 1 {
                format!(" (lines {})", joined(lines, ", "))
            } else {
                String::new()
            };
            let message = format!("{before}{}{after}{places_of}", joined(names, ", "));
            YamlFlaw::new(places.first().copied().unwrap_or_default(), message)
        };
        let mut remarks: Vec<YamlFlaw> = self.0.into_iter().map(remark).collect();
        remarks.sort();
        remarks
    }
}

#[cfg(test)]
mod shared_remarks_tests {
    use super::*;

    #[test]
    fn one_remark_names_all_lines_of_its_kind() {
        let at = |line| TextPlace { line, column: 2 };
        let mut remarks = SharedRemarks::default();
        for (name, line) in [("b", 9), ("a", 3), ("a", 9)] {
            remarks.add(("without effect: ", ""), name, at(line));
        }
        remarks.add(("unknown: ", ", write x"), "c", at(5));
        let lines: Vec<String> = remarks
            .into_remarks()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "3:2: without effect: a, b (lines 3, 9)",
                "5:2: unknown: c, write x"
            ]
        );
    }
}
