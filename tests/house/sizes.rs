//! Checks that no source file and no function is too long to read at once.
//!
//! Tokens count, so the layout of the lines changes nothing: words, numbers, texts and operators, without comments,
//! without unit tests, and without a comma before a closing bracket. `scripts/count` prints them by crate and room.
use std::collections::BTreeMap;
use std::path::Path;

use crate::rust_source::{Token, closing, rust_files, text, tokens};

/// Maximum number of tokens of a file.
const FILE: usize = 5_600;
/// Maximum number of tokens of a function.
const FUNCTION: usize = 1_400;
/// Functions in one piece, each with its present size, which never grows. The checks of a bundle stand in the order of
/// the specification; a restored boundary is built in the order in which an interrupted restore goes on.
const IN_ONE_PIECE: [(&str, &str, usize); 2] = [
    (
        "crates/verdict/src/audit/bundle_check.rs",
        "verify_parsed",
        3_199,
    ),
    ("src/node/restore.rs", "build", 1_656),
];

/// The sizes of the files, and of the functions that are longer than the limit.
type Sizes<'a> = (BTreeMap<&'a str, usize>, Vec<(&'a str, String, usize)>);

/// Number of tokens in a range that count.
fn size(all: &[Token], range: std::ops::RangeInclusive<usize>) -> usize {
    let closes = |at: usize| matches!(text(all, at), ")" | "]" | "}");
    range
        .filter(|at| !(all[*at].in_test || text(all, *at) == "," && closes(at + 1)))
        .count()
}

/// Number of tokens of a file that count.
pub(crate) fn size_of_file(source: &str) -> usize {
    let all = tokens(source);
    all.len()
        .checked_sub(1)
        .map_or(0, |last| size(&all, 0..=last))
}

fn sizes(files: &[(String, String)]) -> Sizes<'_> {
    let (mut of_files, mut functions) = (BTreeMap::new(), Vec::new());
    for (path, source) in files {
        let all = tokens(source);
        let Some(last) = all.len().checked_sub(1) else {
            continue;
        };
        of_files.insert(path.as_str(), size(&all, 0..=last));
        for (at, _) in all
            .iter()
            .enumerate()
            .filter(|(_, token)| !token.in_test && token.text == "fn")
        {
            let mut next = at + 2;
            while next < all.len() && !["{", ";"].contains(&text(&all, next)) {
                next = if ["(", "["].contains(&text(&all, next)) {
                    closing(&all, next) + 1
                } else {
                    next + 1
                };
            }
            if text(&all, next) == "{" {
                let size = size(&all, at..=closing(&all, next));
                if size > FUNCTION {
                    functions.push((path.as_str(), text(&all, at + 1).to_owned(), size));
                }
            }
        }
    }
    (of_files, functions)
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<(String, String)> = ["src", "crates"]
        .iter()
        .flat_map(|directory| rust_files(&root.join(directory)))
        .map(|(path, source)| {
            (
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                source,
            )
        })
        .filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/"))
        .collect();
    assert!(
        files.len() > 400,
        "only {} files found: the test looks in the wrong place",
        files.len()
    );
    let (of_files, functions) = sizes(&files);
    let mut wrong = Vec::new();
    for (path, size) in of_files.iter().filter(|(_, size)| **size > FILE) {
        wrong.push(format!("{path}: {size} tokens: split the file by meaning"));
    }
    for (path, name, size) in &functions {
        if IN_ONE_PIECE
            .iter()
            .all(|(known, known_name, most)| known != path || known_name != name || size > most)
        {
            wrong.push(format!(
                "{path}: `{name}` has {size} tokens: move a part with a name of its own"
            ));
        }
    }
    for (path, name, _) in IN_ONE_PIECE {
        if !functions
            .iter()
            .any(|(known, found, _)| *known == path && found == name)
        {
            wrong.push(format!(
                "{path}: `{name}` is short now: take it off the list"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_long_function_is_found_and_neither_layout_nor_tests_count() {
    let calls = |count: usize| "    x();\n".repeat(count);
    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n    fn long() {{\n{}}}\n}}\n",
        calls(600)
    );
    let short = format!("fn short() {{\n{}}}\n", calls(348));
    let long = |comma: &str| {
        format!(
            "fn long(a: [u8; 2]{comma}) {{\n{}}} /* x() */\n{tests}",
            calls(347)
        )
    };
    for file in [
        short.clone() + &long(""),
        (short.clone() + &long(",\n")).replace(";\n", "; /* ; */ "),
    ] {
        let files = [("src/a.rs".to_owned(), file)];
        let (of_files, functions) = sizes(&files);
        assert_eq!(of_files["src/a.rs"], 1398 + 1401);
        assert_eq!(functions, [("src/a.rs", "long".to_owned(), 1401)]);
    }
}
