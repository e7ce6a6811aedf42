//! Compares docs/core.md with the sources: the size of what to read, the files and the tests that the page names.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::named_tests::all_tests;
use crate::rust_source::rust_files;
use crate::sizes::size_of_file;

const PAGE: &str = "docs/core.md";

/// Returns the texts in backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A number may differ from the sources by a hundredth, so that not each change of the core needs a change of the page.
#[test]
fn the_page_of_the_core_states_the_size_of_what_to_read_and_a_ceiling_that_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let number = |text: &str| {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<usize>().unwrap()
    };
    let mut unread: BTreeMap<PathBuf, usize> = ["documents", "verdict", "crossing"]
        .iter()
        .flat_map(|name| rust_files(&root.join("crates").join(name).join("src")))
        .filter(|(path, _)| {
            let path = path.to_str().unwrap();
            !path.ends_with("tests.rs") && !path.contains("/tests/")
        })
        .map(|(path, source)| (path, size_of_file(&source)))
        .collect();
    let core: usize = unread.values().sum();
    let (_, table) = page.split_once("\n## What to read").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').map(str::trim).collect())
        .skip(2)
        .collect();
    let (last, steps) = rows.split_last().unwrap();
    let mut wrong = Vec::new();
    let mut compare = |name: &str, stated: usize, counted: usize| {
        if stated.abs_diff(counted) * 100 > counted {
            wrong.push(format!(
                "{PAGE} states {stated} tokens for {name}: {counted}"
            ));
        }
    };
    for row in steps {
        let mut counted = 0;
        for path in spans(row[2]).map(|path| root.join("crates").join(path)) {
            unread.retain(|file, tokens| {
                let is_here = file.starts_with(&path);
                counted += if is_here { *tokens } else { 0 };
                !is_here
            });
        }
        compare(row[2], number(row[3]), counted);
    }
    compare("the core", number(last[3]), core);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(unread.is_empty(), "no row contains {unread:?}");
    let ceiling = number(last[4]);
    assert!(
        core <= ceiling,
        "the core has {core} tokens, at most {ceiling}"
    );
}

#[test]
fn every_path_and_test_that_the_page_of_the_core_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let tests = all_tests();
    let (mut paths, mut named, mut wrong) = (0, 0, Vec::new());
    for span in spans(&page) {
        if span.contains('/') {
            paths += 1;
            if !root.join(span).exists() && !root.join("crates").join(span).exists() {
                wrong.push(format!("no file or directory {span}"));
            }
        } else if span.matches('_').count() > 2 {
            named += 1;
            if !tests.contains(span) {
                wrong.push(format!("no test {span}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(paths > 40 && named > 10, "{paths} paths, {named} tests");
}
