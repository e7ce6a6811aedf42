//! Sessions, secrets, workflows and saved files of `countersign open`.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use crate::opened_notebook::OpenedNotebook;

const PAGE: &str = "---\ncountersign: 1\nparams:\n  who: {type: string, default: anna}\n  \
    password: {type: string, x-secret: true}\n---\n\
    ```bash {#first params=who}\necho \"hello [$PARAM_WHO]\"; export LEFT=here; unset HOSTNAME; cd /usr\n```\n\n\
    ```bash {#second params=\"\"}\necho \"left: $LEFT, in $PWD\"\n```\n\n\
    ```bash {#secret params=password}\ncat \"$PARAM_PASSWORD\"; echo \"$RUNBOOK_OUTPUT\" > /dev/null; echo x > \"$COUNTERSIGN_OUTPUT/file\"\n```\n";

#[test]
fn a_panel_names_the_directory_and_the_variables_of_the_session_and_a_button_begins_a_new_one() {
    let notebook = OpenedNotebook::open(PAGE);
    assert!(
        notebook
            .block("session")
            .contains("no step has run in this session")
    );
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    let step = notebook.until(0, "data-state=\"passed\"");
    assert!(
        step.contains("hello [anna]") && step.contains("exit code 0, after "),
        "{step}"
    );
    let panel = notebook.block("session");
    assert!(
        panel.contains("directory: /usr") && panel.contains("variables: LEFT"),
        "{panel}"
    );
    assert!(!panel.contains("here"), "the panel shows no value: {panel}");
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    assert!(
        notebook
            .until(1, "data-state=\"passed\"")
            .contains("left: here, in /usr")
    );
    assert_eq!(notebook.send("/page/0/reset", ""), 303);
    notebook.until_block("session", "no step has run in this session");
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    assert!(
        notebook
            .until(1, "data-state=\"passed\"")
            .contains("left: , in ")
    );
}

#[test]
fn a_text_whose_default_a_person_removes_is_empty_and_a_field_that_is_not_sent_has_its_default() {
    let notebook = OpenedNotebook::open(PAGE);
    assert_eq!(notebook.send("/page/0/run/0", "&p.who="), 303);
    assert!(
        notebook
            .until(0, "data-state=\"passed\"")
            .contains("hello []")
    );
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    notebook.until(0, "hello [anna]");
}

#[test]
fn a_session_that_nobody_uses_ends() {
    let notebook = OpenedNotebook::open_with(PAGE, &["--session-idle", "2s"]);
    let begun = Instant::now();
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    notebook.until(0, "data-state=\"passed\"");
    let panel = notebook.until_block("session", "the session ended, because no step ran for 2 s");
    assert!(
        begun.elapsed() >= Duration::from_secs(2) && !panel.contains("LEFT"),
        "{panel}"
    );
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    let step = notebook.until(1, "data-state=\"passed\"");
    assert!(step.contains("left: , in "), "a new session: {step}");
    let wrong =
        OpenedNotebook::command(notebook.home.path(), "page.md", &["--session-idle", "soon"])
            .output();
    assert_eq!(wrong.expect("runs").status.code(), Some(2));
}

#[test]
fn a_secret_is_chosen_by_its_name_and_its_value_is_never_on_the_page() {
    let notebook = OpenedNotebook::open_with(
        PAGE,
        &["--secret", "db=env:API_TOKEN", "--allow-run", "cat"],
    );
    let step = notebook.step(2);
    assert!(
        step.contains("<select") && step.contains("<option value=\"db\">db</option>"),
        "{step}"
    );
    assert!(
        notebook
            .refused("/page/0/run/2", "&p.password=other")
            .contains("aria-invalid"),
        "no such secret"
    );
    assert_eq!(notebook.send("/page/0/run/2", "&p.password=db"), 303);
    let step = notebook.until(2, "data-state=\"passed\"");
    assert!(
        step.contains("[secret db]") && !step.contains("a secret value"),
        "{step}"
    );
    assert!(
        !step.contains("/page/0/file/"),
        "a file may contain the secret: {step}"
    );
    let none = OpenedNotebook::open(PAGE);
    assert!(
        none.step(2)
            .contains("start it with --secret NAME=env:VARIABLE"),
        "{}",
        none.step(2)
    );
}

#[test]
fn a_refused_program_is_named_with_the_line_to_add() {
    let page = "---\ncountersign: 1\n---\n```bash {#one params=\"\"}\nawk 'BEGIN { system(\"id\") }'\n```\n";
    let notebook = OpenedNotebook::open_with(page, &["--allow-run", "awk"]);
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    let step = notebook.until(0, "exit code");
    // A host without the layer `programs` has no list, and says so.
    assert!(
        step.contains("--allow-run") || step.contains("programs: every program"),
        "{step}"
    );
}

#[test]
fn a_workflow_shows_where_it_is_and_keeps_every_visit_of_a_unit() {
    let flow = "# Flow\n\n## 1. Try\n- FAIL: RETRY 1 STOP\n\n```bash\ntest -f done || { echo first; : > done; exit 1; }\n\
        echo second\n```\n\n## 2. Look\n- PASS: GOTO 4\n- FAIL: STOP \"it is red\"\n\nIs it <b>green</b>?\n\n\
        ## 3. Never\n\n```bash\necho never\n```\n\n## 4. End\n\n```bash\necho the end\n```\n";
    let start = || {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777))
            .expect("permissions");
        std::fs::write(home.path().join("flow.runbook.md"), flow).expect("a file");
        OpenedNotebook::start(
            home,
            "flow.runbook.md",
            &["--allow-run", "test", "--allow-write", "."],
        )
    };
    let notebook = start();
    assert_eq!(notebook.send("/page/0/walk", ""), 303);
    let walk = notebook.until_block("workflow-0", "class=\"question\"");
    let in_order = |walk: &str, words: &[&str]| {
        let mut rest = walk;
        for word in words {
            let at = rest
                .find(word)
                .unwrap_or_else(|| panic!("no {word:?} in {rest} of {walk}"));
            rest = &rest[at + word.len()..];
        }
    };
    in_order(
        &walk,
        &[
            "runs: 2 Look",
            "did 2 pass?",
            "yes, it passed",
            "no, it failed",
            "class=\"passes\"",
        ],
    );
    in_order(
        &walk,
        &[
            "class=\"unit\">1 Try<",
            "first",
            "failed, exit code 1",
            "1 Try (visit 2)",
            "second",
            "succeeded, exit code 0",
        ],
    );
    in_order(
        &walk,
        &[
            "data-state=\"running\"",
            "2 Look",
            "Is it &lt;b&gt;green&lt;/b&gt;?",
        ],
    );
    assert_eq!(notebook.answer("workflow-0", "y"), 303);
    let walk = notebook.until_block("workflow-0", "the workflow is complete");
    in_order(&walk, &["you said: it passed", "4 End", "the end"]);
    assert!(
        !walk.contains("never\n"),
        "GOTO leads past the unit: {walk}"
    );
    let notebook = start();
    assert_eq!(notebook.send("/page/0/walk", ""), 303);
    assert_eq!(notebook.answer("workflow-0", "n"), 303);
    let walk = notebook.until_block("workflow-0", "the workflow has stopped: it is red");
    in_order(&walk, &["you said: it failed"]);
}

#[test]
fn with_watch_a_page_loads_again_and_names_the_steps_whose_digest_changed() {
    let notebook = OpenedNotebook::open_with(PAGE, &["--watch"]);
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    notebook.until(0, "data-state=\"passed\"");
    let old = notebook.step(0);
    let digest = old
        .split("name=\"digest\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a digest");
    let changed = PAGE
        .replace("hello", "welcome")
        .replace("#second", "#third");
    notebook.save("page.md", &changed);
    let page = notebook.until_page("/page/0/", "the step first changed: its digest was sha256:");
    assert!(
        page.contains("the step third is new")
            && page.contains("the step second is no longer in the file"),
        "{page}"
    );
    assert!(
        page.contains("<li>- ") && page.contains("<li>+ "),
        "the changed lines: {page}"
    );
    assert!(
        page.contains("data-state=\"ready\" aria-label=\"first\""),
        "an earlier form ran: {page}"
    );
    assert_eq!(
        notebook.send("/page/0/run/0", &format!("&digest={digest}")),
        409,
        "the person saw another step"
    );
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    assert!(
        notebook
            .until(0, "data-state=\"passed\"")
            .contains("welcome [anna]")
    );
    assert_eq!(
        notebook.send("/page/0/run/1", ""),
        404,
        "the step is no longer there"
    );
    // A file with errors leaves the page before it, and says the errors with their lines.
    notebook.save("page.md", &changed.replace("{#third", "{#third {"));
    let page = notebook.until_page("/page/0/", "the saved file has errors");
    assert!(
        page.contains("page.md:11:") && page.contains("aria-label=\"third\""),
        "{page}"
    );
    notebook.save("page.md", &format!("{changed}\nmore prose\n"));
    let page = notebook.until_page("/page/0/", "only the text around the steps changed");
    assert!(
        page.contains("more prose") && !page.contains("has errors"),
        "{page}"
    );
}

#[test]
fn with_watch_a_page_names_what_no_boundary_would_seal_and_leads_to_the_step() {
    let good = "---\ncountersign: 1\ntitle: T\nparams:\n  who: {type: string, default: anna}\n---\n# T\n\n\
        ```bash {#first}\necho \"hello $PARAM_WHO\"\n```\n";
    let wrong = good.replace("$PARAM_WHO", "$PARAM_NOBODY");
    let notebook = OpenedNotebook::open_with(&wrong, &["--watch"]);
    for _ in 0..2 {
        let page = notebook.get("/page/0/").body;
        let told = page
            .split("No boundary would seal this file:")
            .nth(1)
            .unwrap_or_else(|| panic!("nothing: {page}"));
        let told = told.split("</div>").next().expect("its end");
        assert!(
            told.contains("PARAM_NOBODY") && told.contains("<a href=\"#step-0-0\">page.md:"),
            "{told}"
        );
    }
    notebook.save("page.md", good);
    notebook.until_page("/page/0/", "the step first changed");
    assert!(
        !notebook
            .get("/page/0/")
            .body
            .contains("No boundary would seal")
    );
    let unwatched = OpenedNotebook::open(&wrong).get("/page/0/").body;
    assert!(
        !unwatched.contains("No boundary would seal"),
        "a person who only runs the file: {unwatched}"
    );
}

#[test]
fn a_link_leads_to_another_open_runbook_and_to_nothing_outside() {
    let home = tempfile::tempdir().expect("a directory");
    let links = "[g](./sub/guide.md#h0) [out](../../etc/hosts.md) [text](notes.txt) [abs](/etc/a.md) [odd](javascript:a.md)";
    std::fs::create_dir(home.path().join("sub")).expect("a directory");
    std::fs::write(home.path().join("page.md"), format!("{PAGE}\n{links}\n")).expect("a file");
    std::fs::write(
        home.path().join("sub/guide.md"),
        "---\ncountersign: 1\n---\n# Guide\n\n[back](../page.md)\n\n```bash {#go}\ntrue\n```\n",
    )
    .expect("a file");
    let notebook = OpenedNotebook::start(home, ".", &[]);
    let page = notebook.get("/page/0/").body;
    assert!(
        page.contains("<a href=\"link/0\">g</a>") && page.contains("<a href=\"link/1\">out</a>"),
        "{page}"
    );
    assert!(
        !page.contains("link/2") && page.contains("text (<code>notes.txt</code>)"),
        "{page}"
    );
    let to = |path: &str| {
        let reply = notebook.get(path);
        (
            reply.status,
            reply
                .head
                .lines()
                .find_map(|line| line.strip_prefix("location: ").map(str::to_owned)),
        )
    };
    assert_eq!(to("/page/0/link/0"), (303, Some("/page/1/#h0".to_owned())));
    assert_eq!(to("/page/1/link/0"), (303, Some("/page/0/#".to_owned())));
    for path in ["/page/0/link/1", "/page/0/link/9", "/page/9/link/0"] {
        assert_eq!(to(path), (404, None), "{path}");
    }
}

#[test]
fn with_watch_a_file_with_errors_becomes_a_page_when_it_has_none() {
    let broken = PAGE.replace("{#first", "{#first {");
    let notebook = OpenedNotebook::open_with(&broken, &["--watch"]);
    let list = notebook.get("/page/0/").body;
    assert!(
        list.contains("page.md:7:"),
        "the errors have their lines: {list}"
    );
    assert!(notebook.get("/").body.contains("can't be opened"));
    notebook.save("page.md", PAGE);
    notebook.until_page("/page/0/", "aria-label=\"first\"");
}

#[test]
fn with_watch_a_new_file_of_the_directory_becomes_a_page_and_a_removed_file_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    let page = |name: &str| {
        format!("---\ncountersign: 1\n---\n```bash {{#{name}}}\necho 'from {name}'\n```\n")
    };
    std::fs::create_dir_all(home.path().join("books/deep")).expect("a directory");
    std::fs::write(home.path().join("books/one.md"), page("one")).expect("a file");
    let notebook = OpenedNotebook::start(home, "books", &["--watch"]);
    assert_eq!(notebook.get("/page/1/").status, 404);
    for (at, name) in [(1, "a-b.md"), (2, "deep/two.md")] {
        notebook.save(&format!("books/{name}"), &page("new"));
        // The earlier files keep their addresses, also if the new name comes first.
        let shown = format!("books/{name}</a>");
        let list =
            notebook.until_page(&format!("/page/{at}/"), "from new") + &notebook.get("/").body;
        assert!(
            list.contains(&shown) && list.contains("<a href=\"/page/0/\">books/one.md</a>"),
            "{list}"
        );
        assert_eq!(notebook.send(&format!("/page/{at}/run/0"), ""), 303);
        let page = notebook.until_page(&format!("/page/{at}/"), "data-state=\"passed\"");
        assert!(page.contains(">from new"), "{page}");
    }
    // Files that are no runbooks, and hidden files, are no pages.
    notebook.save("books/notes.txt", "text");
    notebook.save("books/.hidden.md", &page("hidden"));
    notebook.save("books/broken.md", "---\ncountersign: [\n---\n");
    let list = notebook.until_page("/", "books/broken.md");
    assert!(
        !list.contains("notes.txt") && !list.contains("hidden"),
        "{list}"
    );
    std::fs::remove_file(notebook.home.path().join("books/one.md")).expect("removed");
    let list = notebook.until_page("/", "the file was removed");
    assert!(list.contains("books/one.md"), "{list}");
    let page = notebook.get("/page/0/").body;
    assert!(
        page.contains("the file was removed; what was open stays open"),
        "{page}"
    );
    notebook.save(
        "books/one.md",
        &format!("{}\nmore prose\n", self::page_again()),
    );
    let page = notebook.until_page("/page/0/", "more prose");
    assert!(!page.contains("was removed"), "{page}");
}

fn page_again() -> &'static str {
    "---\ncountersign: 1\n---\n```bash {#one}\necho 'from one'\n```\n"
}

#[test]
fn without_watch_a_page_names_the_steps_that_differ_in_the_file_and_in_its_scripts() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("a.sh"), "echo old\n").expect("a file");
    let page =
        "<Command id=\"one\" path=\"a.sh\" />\n\n<Command id=\"two\" command=\"echo two\" />\n";
    std::fs::write(home.path().join("runbook.mdx"), page).expect("a file");
    let notebook = OpenedNotebook::start(home, "runbook.mdx", &[]);
    notebook.save("a.sh", "echo new\n");
    let shown = notebook.until_page("/page/0/", "the step one changed");
    assert!(
        shown.contains("What you see here is what runs") && !shown.contains("the step two changed"),
        "{shown}"
    );
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    assert!(notebook.until(0, "data-state=\"passed\"").contains("old\n"));
}
