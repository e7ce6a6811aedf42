//! Runs all commands of the README and of the pages in `docs/` with the real binary, in their order, and compares the
//! shown answers with the real answers.
//!
//! The word after a fence names the kind of the block:
//! - `sh`: the test runs the block, which must succeed.
//! - `console`: the test runs each command. Its exit code must be 0, or N with `# exits N` after the command. Its
//!   output must have the shown form.
//! - `http`: the test sends the request and compares the answer. In an object, the member `"…": "…"` stands for all
//!   members that are as in the answer before.
//! - `json`: the decoded receipt.
//! - `yaml`: a policy, which must be valid.
//! - `markdown`: a file, so `file=PATH` is required.
//! - `text` and `toml`: the test does nothing.
//!
//! `file=PATH` after the word writes the block to that file. `not run here: REASON` at the end of the line skips the
//! block and prints the reason. Comments, which readers do not see, prepare a page: `<!-- after PAGE -->` first runs the
//! blocks of another page, and `<!-- run: COMMAND -->` runs a command whose output is not shown. `<!-- database server -->`
//! starts the PostgreSQL server `db-1`, `<!-- replica -->` its replica `db-2`, and `<!-- no database server -->` ends them.

use std::io::Write as _;
use std::process::Command;

use crate::shown::walk::Walk;
use crate::shown::{BINARY, bare, blocks, commands, read, root};
use crate::support::not_run;
use documents::Code;
use serde_json::Value;

/// The variable of the agent's token. A page sets it for single commands, because the approver's commands in the same
/// terminal need no token.
const TOKEN: &str = "COUNTERSIGN_TOKEN_FILE=agent.token ";

/// The pages with commands. Each page is run in a separate directory with a separate boundary.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test]
        fn $test() {
            Walk::through($page);
        })*
    };
}

pages! {
    readme_does_what_it_shows: "README.md",
    quickstart_does_what_it_shows: "docs/quickstart.md",
    agents_does_what_it_shows: "docs/agents.md",
    approve_does_what_it_shows: "docs/approve.md",
    ci_does_what_it_shows: "docs/ci.md",
    audit_does_what_it_shows: "docs/audit.md",
    operate_does_what_it_shows: "docs/operate.md",
    postgresql_does_what_it_shows: "docs/postgresql.md",
    rosters_does_what_it_shows: "docs/rosters.md",
    runbooks_does_what_it_shows: "docs/runbooks.md",
    policy_does_what_it_shows: "docs/policy.md",
    run_locally_does_what_it_shows: "docs/run-locally.md",
    from_gruntwork_does_what_it_shows: "docs/from-gruntwork.md",
    from_rundown_does_what_it_shows: "docs/from-rundown.md",
    from_runnable_fences_does_what_it_shows: "docs/from-runnable-fences.md",
}

/// Returns README, CONTRIBUTING, SECURITY and all pages in `docs/`.
fn all_pages() -> Vec<String> {
    let mut found: Vec<String> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(str::to_owned)
        .to_vec();
    for entry in std::fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8");
        if name.ends_with(".md") {
            found.push(format!("docs/{name}"));
        }
    }
    found.sort();
    found
}

#[test]
fn every_command_block_of_a_page_is_run_or_states_why_it_is_not_run() {
    let (mut run, mut left) = (0, 0);
    for page in all_pages() {
        for block in blocks(&page, &read(&page)) {
            let hidden =
                block.language == "text" && block.text.lines().any(|line| line.starts_with("$ "));
            assert!(
                !hidden,
                "{}: a command in a `text` block: write `console`",
                block.here
            );
            match &block.not_run {
                Some(reason) => {
                    assert!(
                        block.is_command() && reason.len() > 10,
                        "{}: no reason: {reason:?}",
                        block.here
                    );
                    not_run(&block.here, reason);
                    left += 1;
                }
                None if block.is_command() => {
                    assert!(
                        PAGES.contains(&page.as_str()),
                        "{}: add {page} to PAGES in tests/docs/pages.rs",
                        block.here
                    );
                    run += 1;
                }
                None => {}
            }
        }
    }
    assert!(run >= 35, "{run}");
    // The test harness captures the output of `println!`, so this line writes to standard output directly.
    let _ = writeln!(
        std::io::stdout(),
        "command blocks of the pages: {run} run, {left} not run"
    );
}

#[test]
fn the_page_for_agents_lists_every_problem_code_with_its_status() {
    let page = read(Code::PAGE);
    for code in Code::ALL {
        let (word, status) = (format!("`{}`", code.word()), code.status().to_string());
        let mut rows = page
            .lines()
            .filter(|line| line.starts_with('|') && line.contains(&word));
        let there = rows.any(|row| {
            row.split('|')
                .nth(1)
                .is_some_and(|statuses| statuses.contains(&status))
        });
        assert!(there, "no row with {word} and {status}");
    }
}

#[test]
fn readme_is_at_most_ten_kibibytes() {
    let size = read("README.md").len();
    assert!(
        size <= 10_240,
        "{size}: move what one reader needs to that reader's page in docs/"
    );
}

#[test]
fn the_commands_and_the_table_at_the_start_of_the_readme_are_tested() {
    let readme = read("README.md");
    let first = blocks("README.md", &readme)
        .into_iter()
        .next()
        .expect("a block");
    let lines: Vec<&str> = first.text.lines().map(bare).collect();
    assert_eq!(
        (first.line < 12, lines),
        (true, vec!["cargo run -- demo", "./scripts/test"])
    );
    let mut run = Vec::new();
    for page in PAGES {
        for block in blocks(page, &read(page))
            .iter()
            .filter(|block| block.not_run.is_none())
        {
            match block.language.as_str() {
                "console" => run.extend(
                    commands(block)
                        .into_iter()
                        .map(|shown| bare(&shown.command).replace(TOKEN, "")),
                ),
                "sh" => run.extend(block.text.lines().map(|line| bare(line).to_owned())),
                _ => {}
            }
        }
    }
    for who in [
        "| an agent",
        "| an approver",
        "| an auditor",
        "| a CI job",
        "| an operator",
    ] {
        let row = readme
            .lines()
            .find(|line| line.starts_with(who))
            .unwrap_or_else(|| panic!("no row {who}"));
        for command in row.split('`').skip(1).step_by(2) {
            assert!(
                run.iter().any(|ran| ran == command),
                "{command} is shown, but no page runs it"
            );
        }
    }
}

#[test]
fn every_refusal_that_the_readme_names_has_an_existing_code() {
    let readme = read("README.md");
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| it refuses"))
        .skip(2);
    let codes: Vec<&str> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next().map(str::trim))
        .collect();
    assert_eq!(codes.len(), 6, "{codes:?}");
    for code in codes {
        let word = code.trim_matches('`');
        assert!(Code::ALL.iter().any(|code| code.word() == word), "{code}");
    }
}

#[test]
fn every_link_of_a_page_has_an_existing_target() {
    let mut wrong = Vec::new();
    for page in all_pages() {
        let text = prose(&read(&page));
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&page)
            } else {
                root().join(&page).with_file_name("").join(file)
            };
            let there = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor),
                Err(_) => target.exists() && anchor.is_empty(),
            };
            if !there {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "lead nowhere:\n{}", wrong.join("\n"));
}

/// A page without its fenced blocks and its code.
fn prose(page: &str) -> String {
    let mut fence: Option<&str> = None;
    let mut kept = String::new();
    for line in page.lines() {
        let ticks = &line[..line.chars().take_while(|c| *c == '`').count()];
        match fence {
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => kept.extend(line.split('`').step_by(2).chain(["\n"])),
            Some(open) if line == open => fence = None,
            Some(_) => {}
        }
    }
    kept
}

/// Returns the anchors that GitHub derives from the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let headings = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    let word = |c: char| match c {
        ' ' | '-' => Some('-'),
        c if c.is_alphanumeric() || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings
        .map(|heading| heading.chars().filter_map(word).collect())
        .collect()
}

/// The test also checks the commands in running text.
#[test]
fn every_command_that_a_document_names_exists_with_its_options() {
    let mut wrong = Vec::new();
    let more = ["CHANGELOG.md", "keys/README.md", "examples/ci/README.md"].map(str::to_owned);
    for file in all_pages().into_iter().chain(more) {
        for span in read(&file)
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|span| span.starts_with("countersign "))
        {
            let words: Vec<&str> = span.split_whitespace().skip(1).collect();
            if words
                .first()
                .is_some_and(|word| word.chars().all(|c| c.is_ascii_uppercase()))
            {
                // A placeholder, for example `countersign VERSION`, is not a command.
                continue;
            }
            let subcommands = words
                .iter()
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            let subcommands: Vec<&&str> = subcommands
                .take_while(|word| !word.starts_with('-'))
                .take(2)
                .collect();
            let help = |count: usize| {
                let words = subcommands[..count].iter().map(|word| **word);
                let output = Command::new(BINARY)
                    .args(words)
                    .arg("--help")
                    .output()
                    .expect("started");
                output
                    .status
                    .success()
                    .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            };
            // `countersign --version` names no command, only options of the program itself.
            let least = usize::from(!words.first().is_some_and(|word| word.starts_with('-')));
            let Some(help) = (least..=subcommands.len()).rev().find_map(help) else {
                wrong.push(format!("{file}: `{span}` is no command"));
                continue;
            };
            let options = words
                .iter()
                .filter(|word| word.starts_with("--") && word.len() > 2);
            wrong.extend(
                options
                    .filter(|o| !help.contains(**o))
                    .map(|o| format!("{file}: `{span}` has no {o}")),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_sample_roster_is_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| {
        Command::new(BINARY)
            .args(args)
            .current_dir(dir.path())
            .output()
            .expect("started")
    };
    assert!(run(&["init", "b", "--name", "sample"]).status.success());
    std::fs::copy(
        root().join("keys/roster.json"),
        dir.path().join("b/boundary/roster.d/next.json"),
    )
    .expect("copied");
    let output = run(&["roster", "show", "--config", "b"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let roster: Value = serde_json::from_str(&read("keys/roster.json")).expect("JSON");
    for table in [
        "approvers",
        "proposers",
        "operators",
        "boundaries",
        "witnesses",
    ] {
        for name in roster[table].as_object().expect("a table").keys() {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
    for name in ["alice", "bob", "carol", "operator", "boundary"] {
        let output = run(&[
            "key",
            "show",
            &root()
                .join("keys")
                .join(name)
                .with_extension("pub")
                .to_string_lossy(),
        ]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let keyid = shown.lines().last().expect("a key id");
        assert!(
            text.contains(keyid),
            "keys/{name}.pub is not in keys/roster.json"
        );
    }
}
