//! Reads runnable fences: Markdown files whose blocks begin with ```` ```runnable python ```` or ```` ```file python
//! utils.py ````.
//!
//! Each `runnable` block is a step. Its id is the number of the block in the file, from 1, or the id in `{#name}`. Each
//! `file` block is a file that every run of a step of the page has beside its script. The digest of the file is part of
//! each step.

use std::collections::BTreeMap;

use crate::{
    BYTE_ORDER_MARK, FenceInfo, FencedBlock, FoundStep, FrontMatter, Page, PlacedText, ReadPage,
    TextLines, TextPlace, YamlFlaw, add_step, attributes, check_characters, check_path,
    fenced_blocks, noted, put_files, refuse,
    registry::{
        fence_remarks::hidden_fences,
        markdown::step,
        step_contents::{FileContent, check_file_path, check_files},
    },
    yaml::unknown,
};
use documents::{Format, MAX_FILES, inside_a_file};

/// Languages of runnable blocks, each with the interpreter of the step.
const LANGUAGES: [(&str, &str); 4] = [
    ("python", "python"),
    ("node", "node"),
    ("bash", "bash"),
    ("golang", "go"),
];

/// Reads a `*.md` file, and returns the steps without flaws together with the flaws of the file. Returns `None` if the
/// file has no `runnable` block.
pub fn read(page: &Page<'_>) -> Option<ReadPage> {
    let lines = TextLines::of(page.text);
    // A byte order mark hides a fence in the first line.
    let marked = page
        .text
        .strip_prefix('\u{feff}')
        .filter(|text| text.starts_with(['`', '~']));
    let blocks = fenced_blocks(
        page.text,
        page.text.len() - marked.unwrap_or(page.text).len(),
        &lines,
    );
    let of_kind = |kind| {
        blocks
            .iter()
            .filter(move |block| block.first_word() == kind)
    };
    let mut remarks = blocks.iter().filter_map(near_miss).collect::<Vec<_>>();
    let is_runnable = |info: &str| info.split_whitespace().next() == Some("runnable");
    remarks.extend(hidden_fences(page.text, &blocks, is_runnable));
    remarks.sort();
    if of_kind("runnable").next().is_none() {
        return (!remarks.is_empty()).then(|| ReadPage {
            remarks,
            ..ReadPage::default()
        });
    }
    let mut flaws = Vec::new();
    check_characters(page.text, &lines, &mut flaws);
    flaws.extend(marked.map(|_| YamlFlaw::new(lines.place(0), BYTE_ORDER_MARK)));
    noted(check_path(page.name), TextPlace::START, &mut flaws);
    if !flaws.is_empty() {
        return Some(ReadPage::of_flaws(flaws));
    }
    let files = files(of_kind("file"), &mut flaws);
    let mut steps = Vec::new();
    for (index, block) in of_kind("runnable").enumerate() {
        if let Some(one) = runnable_step(page, block, index + 1, &files, &mut flaws) {
            add_step(&mut steps, one, &mut flaws);
        }
    }
    flaws.sort();
    Some(ReadPage {
        steps,
        remarks,
        flaws,
    })
}

/// Returns a remark about a block that was probably meant as a step.
fn near_miss(block: &FencedBlock) -> Option<YamlFlaw> {
    let word = block.first_word();
    let begins = word
        .get(.."runnable".len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case("runnable"));
    (begins && word != "runnable").then(|| {
        let message = format!(
            "the block begins with {word:?}, so it is no step: write ```runnable and a language"
        );
        YamlFlaw::new(block.fence, message)
    })
}

/// Returns the files of all `file` blocks, sorted by path.
fn files<'a>(
    blocks: impl Iterator<Item = &'a FencedBlock>,
    flaws: &mut Vec<YamlFlaw>,
) -> Vec<FileContent> {
    let mut found: BTreeMap<&str, (TextPlace, FileContent)> = BTreeMap::new();
    for (index, block) in blocks.enumerate() {
        let mut refuse = |message: String| refuse(flaws, block.fence, message);
        if !block.closed {
            refuse("the block is not closed: end the block with the same fence".to_owned());
        }
        if index == MAX_FILES {
            refuse(format!(
                "the page has more than {MAX_FILES} file blocks: remove some of them"
            ));
        }
        let words: Vec<&str> = block.info.text.split_whitespace().collect();
        let [_, _, path] = words.as_slice() else {
            refuse("a file block needs a language and one path: write for example ```file python utils.py".to_owned());
            continue;
        };
        if let Err(message) = check_file_path(path) {
            refuse(message);
            continue;
        }
        if let Some((first, _)) = found.get(path) {
            refuse(format!(
                "the file {path:?} already exists in line {}: keep one of the two",
                first.line
            ));
            continue;
        }
        // A page has at most 256 KiB, and a file of a step may have 1 MiB, so no content is too large.
        let file = FileContent::new(path, block.source.clone().into_bytes(), false);
        found.insert(path, (block.fence, file));
    }
    if let Some((at, above)) = inside_a_file(found.keys().copied())
        && let Some((path, (place, _))) = found.iter().nth(at)
    {
        let message =
            format!("{path:?} lies below the file {above:?} of this page: rename one of the two");
        refuse(flaws, *place, message);
    }
    found.into_values().map(|(_, file)| file).collect()
}

/// Reads one `runnable` block. `number` is the number of the block in the file, from 1.
fn runnable_step(
    page: &Page<'_>,
    block: &FencedBlock,
    number: usize,
    of_page: &[FileContent],
    flaws: &mut Vec<YamlFlaw>,
) -> Option<FoundStep> {
    let info = info(block, number, flaws)?;
    let mut found = step(
        &FrontMatter::absent(),
        page.name,
        block,
        &info,
        page.files,
        flaws,
    )?;
    found.definition.format = Format::Runnable;
    let named = found
        .definition
        .files
        .iter()
        .cloned()
        .zip(std::mem::take(&mut found.contents));
    let mut files: Vec<FileContent> = named
        .map(|(file, bytes)| FileContent { file, bytes })
        .collect();
    files.extend_from_slice(of_page);
    if noted(check_files(&mut files), block.fence, flaws).is_some() {
        found.contents = put_files(&mut found.definition, &files);
    }
    Some(found)
}

/// Returns the info string without the word `runnable`, with the interpreter of the language.
fn info(block: &FencedBlock, number: usize, flaws: &mut Vec<YamlFlaw>) -> Option<FenceInfo> {
    let whole = &block.info.text;
    let begin = whole.find("runnable").unwrap_or(0) + "runnable".len();
    let (rest, place) = (&whole[begin..], block.info.place);
    let place = place.after(whole[..begin].chars().count());
    let before = flaws.len();
    let mut info = if let Some(brace) = rest.chars().position(|c| c == '{') {
        match attributes::read(rest, place, flaws) {
            Some(info) => info,
            None if flaws.len() > before => return None,
            None => {
                refuse(
                    flaws,
                    place.after(brace),
                    "the braces contain no id: write {#name}, or remove the braces",
                );
                return None;
            }
        }
    } else {
        let word = rest.trim();
        let place = place.after(rest.chars().take_while(|c| c.is_whitespace()).count());
        FenceInfo {
            language: (!word.is_empty()).then(|| PlacedText {
                place,
                text: word.to_owned(),
            }),
            id: PlacedText {
                place: block.fence,
                text: number.to_string(),
            },
            attributes: Vec::new(),
        }
    };
    let known: Vec<&str> = LANGUAGES.iter().map(|(name, _)| *name).collect();
    match &mut info.language {
        None => refuse(
            flaws,
            place,
            format!(
                "the language is missing: write ```runnable and one of {}",
                known.join(", ")
            ),
        ),
        Some(language) => match LANGUAGES.iter().find(|(name, _)| *name == language.text) {
            Some((_, interpreter)) => (*interpreter).clone_into(&mut language.text),
            None => refuse(
                flaws,
                language.place,
                unknown("language", &language.text, &known),
            ),
        },
    }
    (flaws.len() == before).then_some(info)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::RunbookFiles;

    fn page(text: &str) -> Result<Option<ReadPage>, Vec<String>> {
        let files = RunbookFiles::new("/none".into(), None);
        read(&Page {
            name: "notes",
            text,
            files: &files,
        })
        .map(ReadPage::without_flaws)
        .transpose()
        .map_err(|flaws| flaws.iter().map(ToString::to_string).collect())
    }

    fn steps(text: &str) -> Vec<FoundStep> {
        page(text).expect("a valid page").expect("steps").steps
    }

    #[test]
    fn each_runnable_block_is_a_step_with_its_number_or_its_id() {
        let text = "---\ntitle: notes\n---\n# Fetch\n\n```runnable python\nimport utils\n```\n\n```python\nprose\n```\n\n\
                    ## Build\n```runnable golang {#build timeout=30s}\npackage main\n```\n\n\
                    ```runnable bash\n#!/bin/sh\ntrue\n```\n```runnable node\n1\n```\n";
        let found = steps(text);
        let facts: Vec<_> = found
            .iter()
            .map(|step| {
                let one = &step.definition;
                (
                    one.reference.as_str(),
                    one.interpreter.as_str(),
                    one.title.as_str(),
                    step.place.line,
                )
            })
            .collect();
        assert_eq!(
            facts,
            [
                ("notes:1", "python", "Fetch", 6),
                ("notes:build", "go", "Build", 15),
                ("notes:3", "sh", "Build", 19),
                ("notes:4", "node", "Build", 23),
            ]
        );
        assert!(
            found
                .iter()
                .all(|step| step.definition.format == Format::Runnable)
        );
        assert_eq!(found[0].definition.source, "import utils\n");
        assert!(found[1].definition.sandbox.limits.is_some());
    }

    #[test]
    fn every_step_contains_the_digests_of_all_file_blocks_of_the_page() {
        let text = "```runnable python\nimport utils\n```\n```file python utils.py\nx = 1\n```\n```file json data/a.json\n\
                    {}\n```\n```runnable bash\ntrue\n```\n";
        let found = steps(text);
        let file =
            |path: &str, text: &str| FileContent::new(path, text.as_bytes().to_vec(), false).file;
        for step in &found {
            assert_eq!(
                step.definition.files,
                [file("data/a.json", "{}\n"), file("utils.py", "x = 1\n")]
            );
            assert_eq!(
                step.contents
                    .iter()
                    .map(|bytes| &**bytes)
                    .collect::<Vec<_>>(),
                [&b"{}\n"[..], b"x = 1\n"]
            );
            assert!(
                std::sync::Arc::ptr_eq(&step.contents[0], &found[0].contents[0]),
                "the steps share the contents"
            );
        }
        let changed = steps(&text.replace("x = 1", "x = 2"));
        assert_ne!(changed[1].definition.files, found[1].definition.files);
        assert_eq!(changed[1].definition.source, found[1].definition.source);
    }

    #[test]
    fn a_page_without_runnable_blocks_is_prose() {
        for text in [
            "",
            "# Notes\n",
            "```python\nx\n```\n",
            "```file python utils.py\nx\n```\n",
            "```\nrunnable\n```\n",
        ] {
            assert!(page(text).expect("prose").is_none(), "{text:?}");
        }
    }

    #[test]
    fn every_error_of_a_runnable_page_has_its_place() {
        for (text, expected) in [
            (
                "```runnable\ntrue\n```\n",
                "1:12: the language is missing: write ```runnable and one of python, node",
            ),
            (
                "```runnable pyton\ntrue\n```\n",
                "1:13: unknown language: \"pyton\"; did you mean \"python\"?",
            ),
            (
                "```runnable go\ntrue\n```\n",
                "1:13: unknown language: \"go\"; write one of",
            ),
            (
                "```runnable python x\ntrue\n```\n",
                "1:13: unknown language: \"python x\"",
            ),
            (
                "```runnable python {x=1}\ntrue\n```\n",
                "1:20: the braces contain no id",
            ),
            (
                "```runnable python {#a!}\ntrue\n```\n",
                "1:22: \"a!\" is not a valid step id",
            ),
            (
                "```runnable python {#a tilte=x}\ntrue\n```\n",
                "1:24: unknown attribute",
            ),
            ("```runnable bash\n\n```\n", "1:1: the block is empty"),
            ("```runnable bash\ntrue\n", "1:1: the block is not closed"),
            (
                "```runnable bash\r\ntrue\r\n```\r\n",
                "1:17: the file has Windows line endings",
            ),
            (
                "```runnable bash\ntrue\n```\n```runnable bash {#1}\ntrue\n```\n",
                "4:20: the step notes:1 already exists at 1:1",
            ),
            (
                "```runnable bash\ntrue\n```\n```file python\nx\n```\n",
                "4:1: a file block needs a language and one path",
            ),
            (
                "```runnable bash\ntrue\n```\n```file python a b\nx\n```\n",
                "4:1: a file block needs a language",
            ),
            (
                "```runnable bash\ntrue\n```\n```file python ../a\nx\n```\n",
                "4:1: \"../a\" can't be the path",
            ),
            (
                "```runnable bash\ntrue\n```\n```file python /a\nx\n```\n",
                "4:1: \"/a\" can't be the path",
            ),
            (
                "```runnable bash\ntrue\n```\n```file py a\nx\n```\n```file py a\ny\n```\n",
                "7:1: the file \"a\" already exists in line 4",
            ),
            (
                "```runnable bash\ntrue\n```\n```file python a.py\nx\n",
                "4:1: the block is not closed",
            ),
            (
                "```runnable bash\ntrue\n```\n```file ini .gitconfig\nx\n```\n",
                "4:1: \".gitconfig\" is hidden",
            ),
            (
                "```runnable bash\ntrue\n```\n```file ini a/.b/c\nx\n```\n",
                "4:1: \"a/.b/c\" is hidden",
            ),
            (
                "```runnable bash\ntrue\n```\n```file py countersign-script\nx\n```\n",
                "4:1: \"countersign-script\" is the",
            ),
            (
                "```runnable bash\ntrue\n```\n```file py a\nx\n```\n```file py a-b\nx\n```\n```file py a/b\ny\n```\n",
                "10:1: \"a/b\" lies below the file \"a\"",
            ),
            (
                "```runnable bash {#a files=b}\ntrue\n```\n",
                "1:28: the file \"b\" can't be read",
            ),
        ] {
            let errors = page(text).expect_err(text);
            assert!(
                errors.iter().any(|error| error.starts_with(expected)),
                "{text:?}: {expected}\n{errors:#?}"
            );
        }
        assert_eq!(
            steps("```file t a\n```\n```runnable bash\ntrue\n```\n")[0]
                .definition
                .files[0]
                .bytes,
            0
        );
        let many: String = (0..=MAX_FILES)
            .map(|number| format!("```file t f{number}\n```\n"))
            .collect();
        let errors =
            page(&format!("{many}```runnable bash\ntrue\n```\n")).expect_err("too many files");
        assert!(
            errors[0].starts_with("513:1: the page has more than 256 file blocks"),
            "{errors:#?}"
        );
        let files = RunbookFiles::new("/none".into(), None);
        let page = Page {
            name: "e f",
            text: "```runnable bash\ntrue\n```\n",
            files: &files,
        };
        assert!(
            read(&page).expect("a page").flaws[0]
                .message
                .contains("rename the file")
        );
    }
}
