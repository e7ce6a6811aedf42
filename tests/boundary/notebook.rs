//! `countersign open`: a runbook in a browser on the same machine.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::opened_notebook::{OpenedNotebook, end};
use crate::support::pages::ask;

const PAGE: &str = "---\ncountersign: 1\nparams:\n  who: {type: string, pattern: \"^[a-z]+$\"}\n---\n# A <b>page</b>\n\n\
    ```bash {#hello params=who}\necho \"hello $PARAM_WHO\"; export LEFT=\"$PARAM_WHO\"\n```\n\n\
    ```bash {#warned params=\"\"}\necho \"left: $LEFT\"; exit 2\n```\n\n\
    ```bash {#asks params=\"\"}\nsleep 0; echo after\n```\n\n\
    ```bash {#denied params=\"\"}\ncurl --version\n```\n\n\
    ```bash {#long params=\"\"}\nwhile :; do :; done; echo never\n```\n\n\
    ```bash {#hostile params=\"\"}\nprintf '<script>alert(1)</script>\\033]0;title\\007\\033[31mred'\n```\n";

#[test]
fn a_page_runs_steps_in_one_session_under_the_policy_of_run() {
    let notebook = OpenedNotebook::open(PAGE);
    assert_eq!(notebook.send("/page/0/run/0", "&p.who=anna"), 303);
    let step = notebook.until(0, "data-state=\"passed\"");
    assert!(step.contains("hello anna"), "{step}");
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    let step = notebook.until(1, "data-state=\"warned\"");
    assert!(
        step.contains("left: anna"),
        "the session carries the variable: {step}"
    );
    // A question of policy is a dialog with the five answers of the terminal.
    assert_eq!(notebook.send("/page/0/run/2", ""), 303);
    let step = notebook.until(2, "class=\"question\"");
    for words in [
        "allow once",
        "allow in this session",
        "allow all",
        "deny",
        "deny all",
    ] {
        assert!(step.contains(words), "{words}: {step}");
    }
    assert_eq!(
        notebook.send("/answer/1/x", ""),
        409,
        "an answer that nobody offered"
    );
    assert_eq!(
        notebook.send("/answer/2/o", ""),
        409,
        "a question that nobody asked"
    );
    assert_eq!(
        notebook.send("/page/0/run/0", "&p.who=b"),
        409,
        "one step runs at a time"
    );
    assert_eq!(notebook.send("/answer/1/o", ""), 303);
    let step = notebook.until(2, "data-state=\"passed\"");
    assert!(step.contains("after"), "{step}");
    // A denied program stays denied, without a question.
    assert_eq!(notebook.send("/page/0/run/3", ""), 303);
    let step = notebook.until(3, "data-state=\"not-run\"");
    assert!(step.contains("denied (run.deny &quot;curl&quot;"), "{step}");
    // A new session has no variables.
    assert_eq!(notebook.send("/page/0/reset", ""), 303);
    notebook.until(1, "data-state=\"ready\"");
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    let step = notebook.until(1, "data-state=\"warned\"");
    assert!(
        step.contains("left: \n") || step.contains("left: <"),
        "{step}"
    );
}

#[test]
fn files_of_a_step_are_shown_as_text_or_image_and_everything_else_is_only_downloaded() {
    let page = "---\ncountersign: 1\n---\n```bash {#files params=\"\"}\ncd \"$COUNTERSIGN_OUTPUT\"\n\
        echo '<b>text</b>' > a.txt; echo '<script>alert(1)</script>' > b.html; printf '\\x89PNG\\r\\n\\x1a\\nrest' > c.png\n\
        printf '\\0' > d.bin; mkdir e; echo deep > 'e/f \"g.txt'\n```\n\
        ```bash {#none params=\"\"}\necho none\n```\n";
    let notebook = OpenedNotebook::open(page);
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    notebook.until(0, "class=\"question\"");
    assert_eq!(notebook.send("/answer/1/a", ""), 303);
    let step = notebook.until(0, "data-state=\"passed\"");
    let files = step.split("class=\"files\"").nth(1).expect("the files");
    let link = |name: &str| {
        let at = files
            .find(name)
            .unwrap_or_else(|| panic!("no {name} in {step}"));
        let from = files[..at].rfind("href=\"").expect("a link") + 6;
        files[from..].split('"').next().expect("a path").to_owned()
    };
    let text = notebook.get(&link("a.txt (12 bytes)"));
    assert!(
        text.body.contains("&lt;b&gt;text&lt;/b&gt;")
            && text.head.contains("content-type: text/html"),
        "{}",
        text.body
    );
    let image = notebook.get(&link("c.png"));
    assert!(
        image.head.contains("content-type: image/png"),
        "{}",
        image.head
    );
    for (name, saved) in [("b.html", "b.html"), ("d.bin", "d.bin")] {
        let file = notebook.get(&link(name));
        assert!(
            file.head.contains(&format!(
                "content-disposition: attachment; filename=\"{saved}\""
            )),
            "{}",
            file.head
        );
        assert!(
            file.head.contains("content-type: application/octet-stream"),
            "{}",
            file.head
        );
    }
    let deep = link("e/f");
    assert_eq!(notebook.get(&deep).status, 200);
    let saved = notebook.get(&format!("{deep}?download"));
    assert!(
        saved.head.contains("filename=\"f__g.txt\"") && saved.body.contains("deep"),
        "{}",
        saved.head
    );
    assert_eq!(notebook.get("/page/0/file/0/99").status, 404);
    assert_eq!(
        ask(
            &notebook.host,
            "GET",
            &deep,
            &format!("host: {}\r\n", notebook.host),
            ""
        )
        .status,
        401
    );
    // The next step left no files.
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    notebook.until(1, "data-state=\"passed\"");
    assert_eq!(notebook.get("/page/0/file/1/0").status, 404);
}

#[test]
fn an_admonition_that_asks_is_confirmed_before_its_steps() {
    let page = "# Page\n\n<Admonition type=\"danger\" confirmationText=\"I have a backup\" />\n\n\
        <Command id=\"risky\" command=\"echo done\" />\n\n## Next\n\n<Command id=\"safe\" command=\"echo safe\" />\n";
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("runbook.mdx"), page).expect("a file");
    let notebook = OpenedNotebook::start(home, "runbook.mdx", &[]);
    assert!(
        notebook.step(0).contains("I have a backup")
            && !notebook.step(1).contains("I have a backup")
    );
    assert!(
        notebook
            .refused("/page/0/run/0", "")
            .contains("tick the box"),
        "not confirmed"
    );
    assert_eq!(notebook.send("/page/0/run/0", "&c.0=on"), 303);
    assert!(notebook.until(0, "data-state=\"passed\"").contains("done"));
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    notebook.until(1, "data-state=\"passed\"");
}

/// Returns the part of the page with the field of this name.
fn field<'p>(page: &'p str, name: &str) -> &'p str {
    let at = page
        .find(&format!("name=\"{name}\""))
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    let from = page[..at]
        .rfind("<div>")
        .or(page[..at].rfind("<label>"))
        .expect("its beginning");
    page[from..].split("</div>").next().expect("its end")
}

#[test]
fn a_value_that_does_not_fit_is_named_beside_its_field_and_nothing_runs() {
    let page = "---\ncountersign: 1\nparams:\n  who: {type: string, pattern: \"^[a-z]+$\"}\n  n: {type: integer, default: 2}\n  \
        password: {type: string, x-secret: true}\n---\n```bash {#hello params=who,n,password}\necho hello\n```\n\n\
        ```bash {#other params=who}\necho other\n```\n";
    let notebook = OpenedNotebook::open_with(page, &["--secret", "db=env:API_TOKEN"]);
    let path = "/page/0/run/0";
    let form = notebook.form(path);
    let send = |values: &str| {
        ask(
            &notebook.host,
            "POST",
            path,
            &notebook.headers(),
            &format!("{form}{values}"),
        )
    };
    for (values, wrong, right) in [
        ("&p.who=%3Cb%3EBAD&p.n=2&p.password=db", "p.who", "p.n"),
        ("&p.who=anna&p.n=010&p.password=db", "p.n", "p.who"),
        (
            "&p.who=anna&p.n=the+schema+asks+for+x&p.password=db",
            "p.n",
            "p.who",
        ),
        ("&p.n=2&p.password=db", "p.who", "p.n"),
        (
            "&p.who=anna&p.n=2&p.password=a-real-secret",
            "p.password",
            "p.who",
        ),
    ] {
        assert_eq!(send(values).status, 303, "{values}");
        // The page is not the answer to the form, so a browser that loads it again sends nothing.
        let reply = notebook.get("/page/0/");
        let step = reply
            .body
            .split("id=\"step-0-0\"")
            .nth(1)
            .and_then(|rest| rest.split("</section>").next());
        let (step, other) = (
            step.expect("the step"),
            reply
                .body
                .split("id=\"step-0-1\"")
                .nth(1)
                .expect("the other step"),
        );
        let (wrong, right) = (field(step, wrong), field(step, right));
        let key = wrong
            .split(" id=\"")
            .nth(1)
            .and_then(|rest| rest.split(['"', '-']).next())
            .expect("an id")
            .to_owned();
        assert!(
            wrong.contains("aria-invalid=\"true\"") && wrong.contains("-error\""),
            "{key}: {wrong}"
        );
        assert!(
            !right.contains("aria-invalid") && !other.contains("aria-invalid"),
            "{right}"
        );
        let described = wrong
            .split("aria-describedby=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("ids");
        for id in described.split(' ') {
            assert!(
                reply.body.contains(&format!(" id=\"{id}\"")),
                "nothing has the id {id}: {wrong}"
            );
        }
        let summary = reply
            .body
            .split("role=\"alert\"")
            .nth(1)
            .expect("a summary")
            .split("</ul>")
            .next()
            .expect("an end");
        assert!(
            summary.contains("The step did not run") && summary.contains("href=\"#step-0-0-"),
            "{summary}"
        );
        assert!(
            reply.body.find("role=\"alert\"") < reply.body.find("<form"),
            "the summary comes first"
        );
        assert!(
            !reply.body.contains("<b>BAD") && !reply.body.contains("a-real-secret"),
            "{}",
            reply.body
        );
    }
    // What the person typed is still there, and the same form runs the step after the correction.
    assert_eq!(send("&p.who=BAD&p.n=7&p.password=db").status, 303);
    let reply = notebook.get("/page/0/");
    assert!(
        field(&reply.body, "p.who").contains("value=\"BAD\""),
        "{}",
        reply.body
    );
    assert!(
        field(&reply.body, "p.n").contains("value=\"7\""),
        "{}",
        reply.body
    );
    assert!(
        field(&reply.body, "p.password").contains("value=\"db\" selected"),
        "{}",
        reply.body
    );
    assert!(notebook.step(0).contains("data-state=\"ready\""));
    let other = notebook.form("/page/0/run/1");
    let foreign = ask(
        &notebook.host,
        "POST",
        path,
        &notebook.headers(),
        &format!("{other}&p.who=BAD"),
    );
    assert!(
        foreign.status == 409 && !foreign.body.contains("BAD"),
        "a form that this page does not have: {}",
        foreign.body
    );
    assert_eq!(send("&p.who=anna&p.n=7&p.password=db").status, 303);
    assert_eq!(
        send("&p.who=anna&p.n=7&p.password=db").status,
        409,
        "the form was used"
    );
    // The errors of a corrected form are gone.
    let page = notebook.get("/page/0/").body;
    assert!(
        !page.contains("aria-invalid") && !page.contains("The step did not run"),
        "{page}"
    );
    // The script loads the page itself.
    let form = notebook.form(path);
    let headers = format!("{}accept: application/json\r\n", notebook.headers());
    let reply = ask(
        &notebook.host,
        "POST",
        path,
        &headers,
        &format!("{form}&p.who=BAD"),
    );
    assert_eq!((reply.status, &*reply.body), (422, ""));
}

#[test]
fn ctrl_c_during_a_step_ends_the_program() {
    let mut notebook = OpenedNotebook::open(PAGE);
    assert_eq!(notebook.send("/page/0/run/4", ""), 303);
    notebook.until(4, "sandbox: ");
    let pid = i32::try_from(notebook.child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let mut ended = None;
    crate::support::wait_for("the program ends", || {
        ended = notebook.child.try_wait().expect("a state");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(130));
}

#[test]
fn a_form_of_a_step_without_its_digest_runs_nothing() {
    let notebook = OpenedNotebook::open(PAGE);
    let form = notebook.form("/page/0/run/0");
    let without = form.split("&digest=").next().expect("a form");
    let body = format!("{without}&p.who=anna");
    let reply = ask(
        &notebook.host,
        "POST",
        "/page/0/run/0",
        &notebook.headers(),
        &body,
    );
    assert_eq!(reply.status, 409, "{}", reply.body);
    assert!(notebook.step(0).contains("data-state=\"ready\""));
}

#[test]
fn stop_ends_the_step_that_runs() {
    let notebook = OpenedNotebook::open(PAGE);
    assert_eq!(notebook.send("/page/0/run/4", ""), 303);
    notebook.until(4, "sandbox: ");
    assert_eq!(notebook.send("/stop", ""), 303);
    let step = notebook.until(4, "data-state=\"stopped\"");
    assert!(
        step.contains("cancelled") && !step.contains("failed") && !step.contains("never</"),
        "{step}"
    );
}

#[test]
fn stop_ends_a_step_whose_sandbox_is_still_prepared() {
    let notebook = OpenedNotebook::open(PAGE);
    for _ in 0..3 {
        assert_eq!(notebook.send("/page/0/run/4", ""), 303);
        assert_eq!(notebook.send("/stop", ""), 303);
        notebook.until(4, "data-state=\"stopped\"");
        assert_eq!(notebook.send("/page/0/run/1", ""), 303);
        notebook.until(1, "data-state=\"warned\"");
    }
}

#[test]
fn a_form_runs_a_step_once_and_only_from_a_page_of_the_program() {
    let notebook = OpenedNotebook::open(PAGE);
    let path = "/page/0/run/1";
    let (form, host) = (notebook.form(path), &notebook.host);
    let send = |headers: &str, body: &str| ask(host, "POST", path, headers, body).status;
    let own = notebook.headers();
    for (what, headers, status) in [
        (
            "another host",
            own.replace(&format!("host: {host}"), "host: evil.example"),
            421,
        ),
        (
            "the number of the address",
            own.replace(&format!("host: {host}"), "host: 127.0.0.1"),
            421,
        ),
        (
            "another origin",
            own.replace("origin: http://", "origin: http://evil."),
            403,
        ),
        (
            "a sandboxed frame",
            own.replace(&format!("origin: http://{host}"), "origin: null"),
            403,
        ),
        (
            "no origin",
            own.replace(&format!("origin: http://{host}\r\n"), ""),
            403,
        ),
        (
            "no cookie",
            own.replace(&notebook.cookie, "countersign_pages=00"),
            401,
        ),
    ] {
        assert_eq!(send(&headers, &form), status, "{what}");
    }
    let other = notebook.form("/page/0/run/0");
    assert_eq!(send(&own, &other), 409, "the form of another step");
    assert_eq!(send(&own, "form=1&seal=2"), 409, "a form that no page has");
    assert_eq!(send(&own, &form), 303);
    assert_eq!(
        send(&own, &form),
        409,
        "the same form again, as by a reload"
    );
    notebook.until(1, "data-state=\"warned\"");
    let entered = ask(
        host,
        "GET",
        &notebook.link,
        &format!("host: {host}\r\n"),
        "",
    );
    assert_eq!(entered.status, 403, "the address works once");
    let outside = ask(host, "GET", "/page/0/", &format!("host: {host}\r\n"), "");
    assert!(
        outside.status == 401 && !outside.body.contains("hello"),
        "{}",
        outside.body
    );
}

#[test]
fn the_terminal_prints_the_line_for_a_browser_that_can_not_find_the_server() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("page.md"), PAGE).expect("a file");
    let mut command = OpenedNotebook::command(home.path(), "page.md", &[]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut address = String::new();
    BufReader::new(child.stdout.take().expect("output"))
        .read_line(&mut address)
        .expect("a line");
    let host = address
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .expect("a host");
    let mut lines = BufReader::new(child.stderr.take().expect("errors"))
        .lines()
        .map_while(Result::ok);
    let said = lines.find(|line| line.contains("/etc/hosts"));
    end(&mut child);
    assert!(
        said.is_some_and(|said| said.ends_with(&format!(": 127.0.0.1 {host}"))),
        "{host}"
    );
}

#[test]
fn each_answer_forbids_scripts_frames_and_contents_from_elsewhere() {
    let notebook = OpenedNotebook::open(PAGE);
    for path in ["/page/0/", "/page.css", "/page.js", "/nowhere", "/page/7/"] {
        let head = notebook.get(path).head;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
    }
}

#[test]
fn the_text_of_a_runbook_and_of_its_output_is_never_markup() {
    let notebook = OpenedNotebook::open(PAGE);
    assert_eq!(notebook.send("/page/0/run/5", ""), 303);
    let step = notebook.until(5, "data-state=\"passed\"");
    assert!(
        step.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b]0;title\\x07"),
        "{step}"
    );
    assert!(step.contains("<span class=\"c1\">red</span>"), "{step}");
    let page = notebook.get("/page/0/").body;
    assert!(
        !page.contains("<b>") && !page.contains("<script>"),
        "{page}"
    );
}

#[test]
fn a_changed_file_is_named_and_the_shown_bytes_run() {
    let notebook = OpenedNotebook::open(PAGE);
    notebook.save("page.md", &PAGE.replace("left:", "changed:"));
    assert!(
        notebook
            .get("/page/0/")
            .body
            .contains("The file has changed since it was opened")
    );
    assert_eq!(notebook.send("/page/0/run/1", ""), 303);
    let step = notebook.until(1, "data-state=\"warned\"");
    assert!(
        step.contains("left: ") && !step.contains("changed:"),
        "{step}"
    );
}
