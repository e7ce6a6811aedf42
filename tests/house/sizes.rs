//! Checks that no source file and no function is too long to read at once.
//!
//! The lines of a file are those of its code and comments up to the last line that is no unit test. The lines of a
//! function are those from its name to its last brace.
use std::collections::BTreeMap;
use std::path::Path;

use crate::rust_source::{closing, rust_files, text, tokens};

/// Maximum number of lines of a file.
const FILE: usize = 500;
/// Maximum number of lines of a function.
const FUNCTION: usize = 120;
/// The verification of a bundle makes all its checks in the order of the specification, so it is one function.
const IN_ONE_PIECE: (&str, &str) = ("crates/judgement/src/audit/bundle_check.rs", "verify_parsed");

/// Files that are longer, each with its present length. A file never grows, and leaves the list when it is split. The way
/// of a run stays in one file, so that it can be read from top to bottom.
const LONG_FILES: &[(&str, usize)] = &[("src/crossing/cross.rs", 644)];

/// Functions that are longer, each with its present length. The root of a run is built in one function, because the order of
/// its mounts decides what the run can see.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[("crates/sandbox/src/isolation/filesystem.rs", "own_root", 160)];

/// The lengths of the files, and of the functions that are longer than the limit.
type Lengths<'a> = (BTreeMap<&'a str, usize>, Vec<(&'a str, String, usize)>);

fn lengths(files: &[(String, String)]) -> Lengths<'_> {
    let (mut of_files, mut functions) = (BTreeMap::new(), Vec::new());
    for (path, source) in files {
        let all = tokens(source);
        let own = || all.iter().enumerate().filter(|(_, token)| !token.in_test);
        of_files.insert(path.as_str(), own().map(|(_, token)| token.line).max().unwrap_or_default());
        for (at, token) in own().filter(|(_, token)| token.text == "fn") {
            let mut next = at + 2;
            while next < all.len() && !["{", ";"].contains(&text(&all, next)) {
                next = if ["(", "["].contains(&text(&all, next)) { closing(&all, next) + 1 } else { next + 1 };
            }
            if text(&all, next) == "{" {
                let lines = all[closing(&all, next)].line - token.line + 1;
                if lines > FUNCTION {
                    functions.push((path.as_str(), text(&all, at + 1).to_owned(), lines));
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
        .map(|(path, source)| (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), source))
        .filter(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .collect();
    assert!(files.len() > 400, "only {} files found: the test looks in the wrong place", files.len());
    let (of_files, functions) = lengths(&files);
    let mut wrong = Vec::new();
    for (path, lines) in of_files.iter().filter(|(_, lines)| **lines > FILE) {
        if LONG_FILES.iter().all(|(known, most)| known != path || lines > most) {
            wrong.push(format!("{path}: {lines} lines: split the file by meaning"));
        }
    }
    for (path, name, lines) in functions.iter().filter(|(path, name, _)| (*path, name.as_str()) != IN_ONE_PIECE) {
        if LONG_FUNCTIONS.iter().all(|(known, known_name, most)| known != path || known_name != name || lines > most) {
            wrong.push(format!("{path}: `{name}` has {lines} lines: move a part with a name of its own"));
        }
    }
    for (path, _) in LONG_FILES.iter().filter(|(path, _)| of_files.get(path).is_none_or(|lines| *lines <= FILE)) {
        wrong.push(format!("{path} is short now: take it off the list"));
    }
    for (path, name, _) in LONG_FUNCTIONS
        .iter()
        .filter(|(path, name, _)| !functions.iter().any(|(known, found, _)| known == path && found == name))
    {
        wrong.push(format!("{path}: `{name}` is short now: take it off the list"));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_long_file_and_a_long_function_are_found_without_their_tests() {
    let lines = |count: usize| "    x();\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n    fn long() {{\n{}}}\n}}\n", lines(600));
    let file = (
        "src/a.rs".to_owned(),
        format!("fn short() {{\n{}}}\nfn long(a: [u8; 2]) {{\n{}}}\n{tests}", lines(118), lines(119)),
    );
    let files = [file];
    let (of_files, functions) = lengths(&files);
    assert_eq!(of_files["src/a.rs"], 241);
    assert_eq!(functions, [("src/a.rs", "long".to_owned(), 121)]);
}
