//! Compares docs/core.md with the sources: the size of each crate of the core, the files and the tests that the page names.
use std::path::Path;

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
fn the_page_of_the_core_states_the_size_of_each_crate_and_a_ceiling_that_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let number = |cell: &str| {
        let digits: String = cell.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<usize>().unwrap()
    };
    let row = |name: &str| -> Vec<String> {
        let start = format!("| {name} |");
        let line = page.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{PAGE} has no row that begins with {start}"));
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let (mut sum, mut wrong) = (0, Vec::new());
    let mut compare = |name: &str, stated: usize, counted: usize| {
        if stated.abs_diff(counted) * 100 > counted {
            wrong.push(format!(
                "{PAGE} states {stated} tokens for {name}: {counted}"
            ));
        }
    };
    for name in ["documents", "verdict", "crossing"] {
        let counted = rust_files(&root.join("crates").join(name).join("src"))
            .iter()
            .filter(|(path, _)| {
                let path = path.to_str().unwrap();
                !path.ends_with("tests.rs") && !path.contains("/tests/")
            })
            .map(|(_, source)| size_of_file(source))
            .sum();
        compare(name, number(&row(&format!("`{name}`"))[2]), counted);
        sum += counted;
    }
    let together = row("together");
    compare("the core", number(&together[2]), sum);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let ceiling = number(&together[3]);
    assert!(
        sum <= ceiling,
        "the core has {sum} tokens, at most {ceiling}"
    );
}

#[test]
fn every_file_and_test_that_the_page_of_the_core_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let (now, left) = page.split_once("\n## What left the core").unwrap();
    let tests = all_tests();
    let (mut files, mut named, mut wrong) = (0, 0, Vec::new());
    for span in spans(now) {
        if span.ends_with(".rs") {
            files += 1;
            if !root.join("crates").join(span).exists() {
                wrong.push(format!("no file crates/{span}"));
            }
        } else if span.matches('_').count() > 2 {
            named += 1;
            if !tests.contains(span) {
                wrong.push(format!("no test {span}"));
            }
        }
    }
    for line in left.lines().filter(|line| line.starts_with("| `")) {
        for span in line.split('|').nth(2).into_iter().flat_map(spans) {
            files += 1;
            if !root.join("crates").join(span).exists() {
                wrong.push(format!("no file or directory crates/{span}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(files > 15 && named > 10, "{files} files, {named} tests");
}
