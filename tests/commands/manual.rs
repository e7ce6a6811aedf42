//! The man pages and the long version.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::{assert_says, not_run};
use crate::terminal::PROGRAM;
use serde_json::Value;

/// Runs the program. Returns the exit code, the standard output and the standard error.
fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Adds the name of the page of this command, and of all commands that its help lists.
fn add_pages(words: &mut Vec<String>, found: &mut BTreeSet<String>) {
    let mut name = String::from("countersign");
    words
        .iter()
        .for_each(|word| name.push_str(&format!("-{word}")));
    found.insert(format!("{name}.1"));
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    arguments.push("--help");
    let (code, help, _) = program(&arguments);
    assert_eq!(code, Some(0), "{arguments:?}");
    let listed = |part: &str| -> Vec<String> {
        let lines = part
            .lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        lines
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    };
    let below = if words.is_empty() {
        listed(help.split("Options:").next().unwrap())
    } else {
        let commands = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        listed(commands.split("\n\n").next().unwrap())
    };
    for word in below.into_iter().filter(|word| word != "help") {
        words.push(word);
        add_pages(words, found);
        words.pop();
    }
}

#[test]
fn every_visible_command_has_a_man_page_that_formatters_accept() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("man1");
    let (code, _, said) = program(&["man", dir.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let names = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let written: BTreeSet<String> = names.collect();
    let mut wanted = BTreeSet::new();
    add_pages(&mut Vec::new(), &mut wanted);
    assert_eq!(written, wanted);
    assert!(
        written.contains("countersign-store-backup.1") && !written.contains("countersign-man.1"),
        "{written:?}"
    );
    for name in &written {
        let page = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(page.is_ascii(), "{name}: roff reads bytes, not UTF-8");
        // The options of a connection stand only where the command opens one.
        let names_url = page.contains("\\-\\-url");
        for option in ["cacert", "cert\\-key", "token\\-file"] {
            assert_eq!(
                page.contains(&format!("\\-\\-{option}\\fR")),
                names_url,
                "{name}: {option}"
            );
        }
        for part in [".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n"] {
            assert!(page.contains(part), "{name}: {part}");
        }
        // A page must refer only to pages that exist.
        for word in page
            .split_whitespace()
            .filter_map(|word| word.strip_suffix("(1)"))
        {
            let other = format!("{}.1", word.replace("\\-", "-"));
            assert!(written.contains(&other), "{name} names {other}");
        }
    }
    // A formatter names the page of each message.
    for (formatter, arguments) in [
        ("groff", &["-man", "-Tutf8", "-ww", "-z"][..]),
        ("mandoc", &["-Tlint", "-Werror"]),
    ] {
        match Command::new(formatter)
            .args(arguments)
            .args(&written)
            .current_dir(&dir)
            .output()
        {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                assert!(
                    output.status.success() && said.is_empty(),
                    "{}",
                    String::from_utf8_lossy(&said)
                );
            }
            Err(_) if formatter == "groff" => not_run(
                "every_visible_command_has_a_man_page_that_formatters_accept",
                "no groff here, which formats man pages",
            ),
            Err(_) => {}
        }
    }
    // The examples keep their line breaks.
    assert_says(
        std::fs::read_to_string(dir.join("countersign-store.1")).unwrap(),
        ".SH EXAMPLES\n.nf\n",
    );
}

#[test]
fn man_pages_into_a_file_are_refused_with_the_path() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let (code, _, said) = program(&["man", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("can't write") && said.contains(file.to_str().unwrap()),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn the_long_version_names_commit_features_target_and_lock_file() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let counted = Command::new("sha256sum").arg(lock).output().unwrap();
    let digest = String::from_utf8(counted.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let (code, short, _) = program(&["--version"]);
    assert_eq!((code, short.lines().count()), (Some(0), 1), "{short}");
    let (code, long, _) = program(&["--version", "--long"]);
    assert_eq!(code, Some(0), "{long}");
    let names: Vec<&str> = long
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["countersign", "commit", "features", "target", "lock"],
        "{long}"
    );
    assert_eq!(long.lines().next(), short.lines().next());
    assert!(
        long.contains(&format!("\nlock      sha256:{digest}\n")),
        "{long}"
    );
    for arguments in [
        ["--version", "--long", "--json"],
        ["--json", "--long", "-V"],
    ] {
        let (code, json, _) = program(&arguments);
        assert_eq!(code, Some(0), "{json}");
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["lock"], format!("sha256:{digest}"));
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        let commit = json["commit"].as_str();
        assert!(
            long.contains(&format!("\ncommit    {}\n", commit.unwrap_or("unknown"))),
            "{long}{json}"
        );
        assert!(
            json["features"].is_array() && json["target"].is_string(),
            "{json}"
        );
    }
    // The option belongs to `--version` only.
    for arguments in [&["--long"][..], &["--long", "inbox"]] {
        let (code, printed, said) = program(arguments);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{said}");
    }
}
