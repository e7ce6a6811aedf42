//! Tests of `scripts/sentences`, which draws a random sample of sentences.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample(options: &[&str]) -> Vec<String> {
    let interpreter = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(interpreter)
        .arg(root().join("scripts/sentences"))
        .args(options)
        .output();
    let output = output.expect("python3, or COUNTERSIGN_PYTHON, runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_sentences_script_draws_the_same_sentences_for_the_same_seed() {
    let drawn = sample(&["--seed", "1", "--count", "200"]);
    assert_eq!(drawn.len(), 200);
    assert_eq!(
        drawn,
        sample(&["--seed", "1", "--count", "200"]),
        "the same seed, the same sentences"
    );
    let other = sample(&["--seed", "2", "--count", "400"]);
    assert!(
        drawn.iter().any(|line| !other.contains(line)),
        "another seed, other sentences"
    );
    let rooms: BTreeSet<&str> = drawn
        .iter()
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    let folders = std::fs::read_dir(root().join("src"))
        .expect("src")
        .filter_map(Result::ok);
    let folders = folders
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name());
    let wanted = folders
        .map(|name| format!("src/{}", name.to_string_lossy()))
        .chain(
            [
                "crates/boundary/src",
                "crates/crossing/src",
                "crates/store/src",
                "README.md",
                "SECURITY.md",
                "CONTRIBUTING.md",
                "docs/formats.md",
                "help texts",
                "messages",
                "openapi.json",
                "schemas",
                "test names",
            ]
            .map(str::to_owned),
        );
    let missing: Vec<String> = wanted
        .filter(|room| !rooms.contains(room.as_str()))
        .collect();
    assert!(missing.is_empty(), "no sentence of {missing:?}");
    for line in other {
        let (place, rest) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("no place: {line}"));
        let (room, sentence) = rest
            .split_once(": ")
            .unwrap_or_else(|| panic!("no room: {line}"));
        let (file, number) = place
            .rsplit_once(':')
            .unwrap_or_else(|| panic!("no line: {line}"));
        let text = std::fs::read_to_string(root().join(file)).expect("a file of the repository");
        let number: usize = number.parse().expect("a line number");
        let found = text.lines().nth(number - 1).unwrap_or_default();
        let words = sentence.split(' ').next().unwrap_or_default();
        let first = if room == "messages" {
            words.trim_matches('"')
        } else {
            words
        };
        assert!(
            found.contains(first) || (room == "messages" && found.contains('"')),
            "{first:?} is not there: {line}"
        );
    }
}

#[test]
fn the_sentences_script_draws_a_description_only_from_the_file_of_its_schema() {
    let schema = std::fs::read_to_string(root().join("schemas/receipt.v1.json")).expect("a schema");
    let described = sample(&["--room", "schemas", "--count", "100000", "--seed", "1"]);
    assert!(described.len() > 400, "{}", described.len());
    let whole = ": schemas: A signature is invalid.";
    assert!(
        described.iter().any(|line| line.ends_with(whole)),
        "short descriptions are drawn too"
    );
    let drawn = sample(&[
        "--room",
        "crates/documents/src/record",
        "--count",
        "100000",
        "--seed",
        "1",
    ]);
    assert!(drawn.len() > 500, "{}", drawn.len());
    for line in drawn {
        let sentence = line.split(": ").skip(2).collect::<Vec<_>>().join(": ");
        assert!(
            !schema.contains(&format!("\"description\": \"{sentence}\"")),
            "{line}"
        );
    }
}

#[test]
fn the_messages_of_the_program_have_no_character_that_a_screen_shows_as_an_escape() {
    let rooms = [
        "crates/documents/src",
        "crates/reading/src",
        "crates/verdict/src",
        "crates/workbench/src/local",
        "src/node",
        "crates/crossing/src/carried",
    ];
    let files = rooms
        .iter()
        .flat_map(|room| crate::rust_source::rust_files(&root().join(room)));
    let mut wrong = Vec::new();
    for (path, source) in files.filter(|(path, _)| !path.ends_with("tests.rs")) {
        let own = source.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = own
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"));
        let escaped = lines.filter(|(_, line)| {
            line.contains(['\u{2026}', '\u{b1}', '\u{2018}', '\u{2019}', '\u{201c}'])
        });
        wrong.extend(
            escaped.map(|(at, line)| format!("{}:{}: {}", path.display(), at + 1, line.trim())),
        );
    }
    assert_eq!(wrong, [""; 0], "write these characters in ASCII");
}
