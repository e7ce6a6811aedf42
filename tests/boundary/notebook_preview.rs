//! The author's preview of `countersign open`: what approvers would see, and what policy and a boundary say.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::opened_notebook::OpenedNotebook;
use crate::support::{PROGRAM, World, assert_says};

const PAGE: &str = "---\ncountersign: 1\ntitle: Deploy\nparams:\n  host: {type: string, pattern: \"^web-[0-9]+$\", default: web-1}\n\
    approvals: {required: 2, from: [ops]}\n---\n\
    ```bash {#restart params=host}\nset -eu\nsystemctl restart \"nginx@$PARAM_HOST\"\nrm -f /tmp/x\n```\n";

/// Returns the text of a page, without its markup.
fn text_of(page: &str) -> String {
    let (mut text, mut inside) = (String::new(), false);
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

fn check(directory: &Path, words: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command
        .args(["registry", "check"])
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null());
    String::from_utf8_lossy(&command.output().expect("runs").stdout).into_owned()
}

#[test]
fn the_preview_of_a_step_is_the_screen_of_an_approver() {
    let page = PAGE.replace("rm -f /tmp/x\n", "");
    let notebook = OpenedNotebook::open(&page);
    let shown = text_of(&notebook.get("/page/0/preview/0").body);
    // The same step at a boundary with the policy of `init`, as `countersign try` prints it.
    let mut tried = Command::new(PROGRAM);
    tried
        .args(["try", "page.md"])
        .current_dir(notebook.home.path())
        .stdin(Stdio::null());
    let tried = tried
        .env("HOME", notebook.home.path())
        .output()
        .expect("runs");
    let tried = String::from_utf8_lossy(&tried.stdout).into_owned();
    let screen: Vec<&str> = tried
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("alice | "))
        .collect();
    let is_same = |line: &&str| {
        let names = [
            "  parameters ",
            "  asks ",
            "  may run ",
            "  limits ",
            "  remarks ",
            "      1 | ",
            "      2 | ",
        ];
        names.iter().any(|name| line.starts_with(name))
    };
    let lines: Vec<&str> = screen.into_iter().filter(is_same).collect();
    assert!(lines.len() > 5, "{tried}");
    for line in lines {
        // The screens have different widths, so only the beginnings of the lines are equal.
        let begin: String = line.chars().take(60).collect();
        assert!(
            shown.contains(begin.trim_end()),
            "no {begin:?} in {shown} beside {tried}"
        );
    }
    assert!(
        shown.contains("all checks hold") && !shown.contains("NOT TO BE SIGNED"),
        "{shown}"
    );
    assert!(
        shown.contains("0 of 2 of ops") && shown.contains("asks        systemctl, line 2"),
        "{shown}"
    );
    assert_says(
        text_of(&notebook.get("/page/0/preview/0?p.host=web-77").body),
        "host = \"web-77\"",
    );
    let wrong = text_of(&notebook.get("/page/0/preview/0?p.host=db").body);
    assert!(
        wrong.contains("No approver will be asked")
            && wrong.contains("does not match ^web-[0-9]+$"),
        "{wrong}"
    );
    assert_eq!(notebook.get("/page/0/preview/9").status, 404);
    assert_eq!(notebook.get("/page/7/preview/").status, 404);
}

#[test]
fn the_preview_of_a_runbook_has_the_lines_of_registry_check() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("books")).expect("a directory");
    std::fs::write(home.path().join("books/page.md"), PAGE).expect("a file");
    let policy = "version: 1\nextends: none\ndefault:\n  mode: prompted\n  run: {allow: [set], deny: [rm]}\n  \
        approvals: {required: 1, from: [ops]}\n";
    std::fs::write(home.path().join("policy.yaml"), policy).expect("a file");
    let notebook = OpenedNotebook::start(
        home,
        "books/page.md",
        &["--watch", "--policy", "policy.yaml"],
    );
    let shown = text_of(&notebook.get("/page/0/preview/").body);
    let printed = check(
        notebook.home.path(),
        &["books/page.md", "--policy", "policy.yaml"],
    );
    assert!(
        printed.contains("DENIED") && printed.lines().count() > 3,
        "{printed}"
    );
    for line in printed
        .lines()
        .map(|line| line.trim_start_matches("advice: "))
    {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    let refused = text_of(&notebook.get("/page/0/preview/0").body);
    assert!(
        refused.contains("policy refuses the step") && refused.contains("rm"),
        "{refused}"
    );
    // After a save, the preview has the errors of the file with their lines.
    let begun = Instant::now();
    notebook.save(
        "books/page.md",
        &PAGE
            .replace("{#restart", "{#restart {")
            .replace("pattern", "patern"),
    );
    let shown = text_of(&notebook.until_page("/page/0/preview/", "page.md:8:"));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let printed = check(notebook.home.path(), &["books/page.md"]);
    assert!(printed.matches("error: ").count() > 1, "{printed}");
    for line in printed.lines().filter(|line| line.starts_with("error: ")) {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    let step = text_of(&notebook.get("/page/0/preview/0").body);
    assert!(
        step.contains("No approver will be asked") && step.contains("page.md:8:"),
        "{step}"
    );
}

#[test]
fn the_preview_compares_a_step_with_the_sealed_step_of_a_boundary() {
    let world =
        World::with(|setup| setup.runbook("ops/page.md", PAGE.replace("rm -f /tmp/x\n", "")));
    world.write("agent.token", &world.agent);
    let (url, token) = (world.wire.url.clone(), world.path("agent.token"));
    let options = [
        "--watch",
        "--compare",
        &url,
        "--token-file",
        token.to_str().expect("a path"),
    ];
    let notebook = OpenedNotebook::open_with(&PAGE.replace("rm -f /tmp/x\n", ""), &options);
    assert_says(
        text_of(&notebook.get("/page/0/preview/0").body),
        "The step is as it is sealed: sha256:",
    );
    notebook.save("page.md", PAGE);
    let shown = text_of(&notebook.until_page("/page/0/preview/0", "differs from the sealed step"));
    assert!(
        shown.contains("now     3 | rm -f /tmp/x") && shown.contains("sha256:"),
        "{shown}"
    );
    let new = PAGE.replace("#restart", "#other");
    notebook.save("page.md", &new);
    notebook.until_page("/page/0/", "aria-label=\"other\"");
    assert_says(
        text_of(&notebook.get("/page/0/preview/1").body),
        "The boundary has no step of this name",
    );
    drop(world);
    assert_says(
        text_of(&notebook.get("/page/0/preview/1").body),
        "The sealed step can't be read",
    );
    let without =
        OpenedNotebook::command(notebook.home.path(), "page.md", &["--compare", &url]).output();
    assert_eq!(
        without.expect("runs").status.code(),
        Some(2),
        "a boundary needs a token"
    );
}
