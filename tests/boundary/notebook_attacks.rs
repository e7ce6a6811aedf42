//! Attacks on the pages of `countersign open`, and bad input.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::opened_notebook::OpenedNotebook;
use crate::support::pages::ask;
use crate::support::wait_for;

/// Text that would be markup if a page did not escape it.
const EVIL: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>";

/// Returns each tag of a page whose name is not one that the pages write.
fn strange_tags(page: &str) -> Vec<&str> {
    let known = "!DOCTYPE html head meta title link script noscript body a header strong span div nav ul ol li h1 h2 h3 h4 h5 p pre \
        code form input select option textarea label button section table tr th td blockquote em del br hr img main";
    let known: Vec<&str> = known.split(' ').collect();
    let tags = page.split('<').skip(1).map(|rest| {
        rest.trim_start_matches('/')
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '!')
            .next()
            .unwrap_or_default()
    });
    tags.filter(|tag| !known.contains(tag)).collect()
}

fn assert_harmless(what: &str, page: &str) {
    assert_eq!(strange_tags(page), [""; 0], "{what}: {page}");
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script src=\"/page.js\" defer></script>")
            .count(),
        "{what}"
    );
    assert!(
        !page.contains("<img src=x") && !page.contains(" onerror=alert(1)>"),
        "{what}: {page}"
    );
    assert!(!page.contains("href=\"javascript:"), "{what}: {page}");
}

#[test]
fn hostile_text_in_every_field_and_in_names_is_never_markup() {
    let home = tempfile::tempdir().expect("a directory");
    let quoted = EVIL.replace('"', "\\\"");
    let page = format!(
        "---\ncountersign: 1\ntitle: \"{quoted}\"\nparams:\n  a: {{type: string, description: \"{quoted}\", default: \"{quoted}\"}}\n  \
         b: {{type: string, enum: [\"{quoted}\", two]}}\n---\n# {EVIL}\n\n{EVIL}\n\n| {EVIL} |\n|---|\n| {EVIL} |\n\n\
         [x](javascript:alert(1)) ![{EVIL}](a.png) `{EVIL}`\n\n\
         ```bash {{#one params=a,b title=\"{}\"}}\n# {EVIL}\nprintf '%s' \"$PARAM_A\"; echo '{EVIL}' >&2\n\
         echo '{EVIL}' > \"$COUNTERSIGN_OUTPUT/<b onclick=x>.txt\"; echo 'key={EVIL}' >> \"$RUNBOOK_OUTPUT\"; export EVIL\n```\n",
        EVIL.replace('"', "")
    );
    std::fs::write(home.path().join("page.md"), &page).expect("a file");
    std::fs::write(
        home.path().join("<i onclick=x>.md"),
        "---\ncountersign: [<b>\n---\n",
    )
    .expect("a file");
    let notebook = OpenedNotebook::start(home, ".", &["--allow-run", "printf,echo,export"]);
    let list = notebook.get("/").body;
    assert_harmless("the list", &list);
    assert_eq!(list.matches("can't be opened").count(), 1, "{list}");
    assert!(list.contains("&lt;i onclick=x&gt;.md"), "{list}");
    let at = 1;
    let (path, run) = (format!("/page/{at}/"), format!("/page/{at}/run/0"));
    assert_harmless("the page", &notebook.get(&path).body);
    assert_eq!(
        notebook.send(&run, "&p.a=%3Cscript%3Ealert(1)%3C%2Fscript%3E&p.b=two"),
        303
    );
    let page = notebook.until_page(&path, "exit code 0");
    assert_harmless("the page after a run", &page);
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    let file = page.split(&format!("/page/{at}/file/0/0")).count();
    assert!(file > 1, "{page}");
    assert_harmless(
        "the file",
        &notebook.get(&format!("/page/{at}/file/0/0")).body,
    );
    let body = format!(
        "{}&p.b=%3Cscript%3Ealert(2)%3C%2Fscript%3E",
        notebook.form(&run)
    );
    let refused = ask(&notebook.host, "POST", &run, &notebook.headers(), &body);
    assert_eq!(refused.status, 303);
    assert_harmless("a refused value", &notebook.get(&path).body);
    for path in [
        format!("{path}preview/"),
        format!("{path}preview/0"),
        format!("/page/{}/preview/", 1 - at),
        "/%3Cscript%3E".to_owned(),
    ] {
        assert_harmless(&path, &notebook.get(&path).body);
    }
}

#[test]
fn every_page_and_every_form_needs_the_cookie_the_host_and_the_origin() {
    let page = "---\ncountersign: 1\n---\n```bash {#one}\necho one\n```\n";
    let (notebook, other) = (OpenedNotebook::open(page), OpenedNotebook::open(page));
    let host = notebook.host.clone();
    let paths = [
        "/",
        "/page/0/",
        "/page/0/preview/",
        "/page/0/preview/0",
        "/page/0/file/0/0",
        "/page/0/image/0",
        "/events",
        "/fresh?path=/stop",
    ];
    for path in paths {
        let with = |headers: &str| ask(&host, "GET", path, headers, "").status;
        assert_eq!(with(&format!("host: {host}\r\n")), 401, "{path}: no cookie");
        assert_eq!(
            with(&format!("host: {host}\r\ncookie: {}\r\n", other.cookie)),
            401,
            "{path}: the cookie of another port"
        );
        let port = host.rsplit(':').next().expect("a port");
        for foreign in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            "evil.example".to_owned(),
            format!("evil.{host}"),
        ] {
            assert_eq!(
                with(&format!(
                    "host: {foreign}\r\ncookie: {}\r\n",
                    notebook.cookie
                )),
                421,
                "{path}: {foreign}"
            );
        }
        let two = format!(
            "host: {host}\r\nhost: evil.example\r\ncookie: {}\r\n",
            notebook.cookie
        );
        assert!([400, 421].contains(&with(&two)), "{path}: two hosts");
    }
    let long = ask(
        &host,
        "POST",
        "/stop",
        &notebook.headers(),
        &format!("x={}", "y".repeat(70_000)),
    );
    long.says(413, "more than 64 KiB");
    for path in [
        "/page/0/run/0",
        "/page/0/walk",
        "/page/0/reset",
        "/stop",
        "/answer/1/o",
    ] {
        let form = notebook.form(path);
        let origins = [
            String::new(),
            "origin: null\r\n".into(),
            format!("origin: http://{}\r\n", other.host),
            format!("origin: https://{host}\r\n"),
            format!("origin: http://{host}\r\norigin: http://{}\r\n", other.host),
        ];
        for origin in origins {
            let headers = format!("host: {host}\r\ncookie: {}\r\n{origin}", notebook.cookie);
            assert_eq!(
                ask(&host, "POST", path, &headers, &form).status,
                403,
                "{path}: {origin}"
            );
        }
        // A form of another program, or a path of another form.
        assert!(
            [404, 409]
                .contains(&ask(&host, "POST", path, &notebook.headers(), &other.form(path)).status),
            "{path}"
        );
    }
    assert!(
        notebook.step(0).contains("data-state=\"ready\""),
        "nothing ran"
    );
}

#[test]
fn ten_clicks_on_one_button_run_a_step_once() {
    let page =
        "---\ncountersign: 1\n---\n```bash {#one}\nn=$((n + 1)); export n; echo \"run $n\"\n```\n";
    let notebook = OpenedNotebook::open(page);
    let (form, headers, host) = (
        notebook.form("/page/0/run/0"),
        notebook.headers(),
        notebook.host.clone(),
    );
    let clicks: Vec<_> = (0..10)
        .map(|_| {
            let (form, headers, host) = (form.clone(), headers.clone(), host.clone());
            std::thread::spawn(move || ask(&host, "POST", "/page/0/run/0", &headers, &form).status)
        })
        .collect();
    let answers: Vec<u16> = clicks
        .into_iter()
        .map(|click| click.join().expect("an answer"))
        .collect();
    assert_eq!(
        answers.iter().filter(|status| **status == 303).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(
        answers.iter().filter(|status| **status == 409).count(),
        9,
        "{answers:?}"
    );
    notebook.until(0, "run 1\n");
    // The output is shown a moment before the step has ended.
    wait_for("the step has ended", || {
        notebook.send("/page/0/run/0", "") == 303
    });
    notebook.until(0, "run 2\n");
}

#[test]
fn ten_megabytes_of_output_in_one_line_end_and_the_page_says_what_it_leaves_out() {
    let page = "---\ncountersign: 1\n---\n```bash {#wide output=100MiB}\nprintf '%010485760d' 0; echo; echo end\n```\n";
    let notebook = OpenedNotebook::open_with(page, &["--allow-run", "printf"]);
    assert_eq!(notebook.send("/page/0/run/0", ""), 303);
    let begun = Instant::now();
    let step = loop {
        let step = notebook.step(0);
        if !step.contains("data-state=\"running\"") {
            break step;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    };
    assert!(
        step.contains("(the page shows no more of this output)"),
        "{}",
        step.len()
    );
    assert!(step.len() < 3 << 20, "{}", step.len());
}

#[test]
fn a_page_of_many_blocks_opens_and_its_last_step_runs_and_a_larger_page_says_what_to_do() {
    let page = |blocks: usize| {
        let blocks: String = (0..blocks)
            .map(|at| format!("```bash {{#s{at}}}\necho \"block {at}\"\n```\n"))
            .collect();
        format!("---\ncountersign: 1\n---\n{blocks}")
    };
    let notebook = OpenedNotebook::open(&page(3000));
    assert_eq!(
        notebook
            .get("/page/0/")
            .body
            .matches("<section class=\"step\"")
            .count(),
        3000
    );
    assert_eq!(notebook.send("/page/0/run/2999", ""), 303);
    notebook.until(2999, "block 2999\n");
    notebook.save("large.md", &page(5000));
    let mut command = OpenedNotebook::command(notebook.home.path(), "large.md", &[]);
    let output = command.stderr(Stdio::piped()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && said.contains("more than 10000 lines: split the page"),
        "{said}"
    );
}

#[test]
fn a_file_that_is_no_runbook_and_a_taken_port_end_the_command_with_words() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(
        home.path().join("page.md"),
        "---\ncountersign: 1\n---\n```bash {#one}\necho one\n```\n",
    )
    .expect("a file");
    std::fs::write(home.path().join("bad.md"), "---\ncountersign: [\n---\n").expect("a file");
    std::fs::write(home.path().join("bytes.md"), [0xff, 0xfe, 0x00]).expect("a file");
    std::fs::create_dir(home.path().join("empty")).expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for (file, options, words) in [
        ("missing.md", &[][..], "can't read missing.md"),
        ("bad.md", &[], "bad.md:"),
        ("bytes.md", &[], "bytes.md"),
        ("empty", &[], "without a file that ends in"),
        ("page.md", &["--port", &port], "choose another --port"),
        ("page.md", &["--secret", "db=value"], "--secret db"),
        ("page.md", &["--policy", "missing.yaml"], "missing.yaml"),
    ] {
        let mut command = OpenedNotebook::command(home.path(), file, options);
        let output = command.stderr(Stdio::piped()).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && said.contains(words),
            "{file} {options:?}: {said}"
        );
        assert!(output.stdout.is_empty(), "no address: {said}");
    }
}

#[test]
fn a_directory_shows_its_broken_files_beside_the_others() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(
        home.path().join("good.md"),
        "---\ncountersign: 1\n---\n```bash {#one}\necho one\n```\n",
    )
    .expect("a file");
    std::fs::write(home.path().join("bytes.md"), [0xff, 0xfe, 0x00]).expect("a file");
    std::fs::write(home.path().join("bad.md"), "---\ncountersign: [\n---\n").expect("a file");
    let notebook = OpenedNotebook::start(home, ".", &[]);
    let list = notebook.get("/").body;
    assert!(
        list.matches("can't be opened").count() == 2
            && list.contains("good.md")
            && list.contains("bad.md:"),
        "{list}"
    );
}
