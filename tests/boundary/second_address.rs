//! The second address of the pages, for browsers that do not know `*.localhost`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::companion::{digits, person, review_path, sign_path, signatures};
use crate::opened_notebook::{OpenedNotebook, end};
use crate::support::pages::{PageReply, ask, form_of};
use crate::support::people::alice;
use crate::support::{World, wait_for};

const PAGE: &str =
    "---\ncountersign: 1\n---\n# Page\n\n[out](https://example.com/)\n\n```bash {#one}\necho the-output\n```\n";

/// A browser that opened the second address of a program.
struct SecondBrowser {
    child: Child,
    /// Host of the first address.
    named_host: String,
    host: String,
    link: String,
    prefix: String,
}

impl Drop for SecondBrowser {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl SecondBrowser {
    /// Starts the program, waits until the terminal shows the second address, and opens this address.
    fn start(mut command: Command) -> Self {
        command.args(["--patience", "1s"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("output")).read_line(&mut first).expect("a line");
        let named_host =
            first.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("a host").to_owned();
        let mut lines = BufReader::new(child.stderr.take().expect("errors")).lines().map_while(Result::ok);
        let said = lines.find(|line| line.contains("no browser has opened the address"));
        let said = said.expect("the second address");
        let (_, address) = said.split_once("http://").unwrap_or_else(|| panic!("no address in {said}"));
        let (host, link) = address.trim().split_once('/').expect("a path");
        let (host, link) = (host.to_owned(), format!("/{link}"));
        assert!(
            host.starts_with("127.") && !host.starts_with("127.0.0.1:"),
            "no other page was ever at this host: {host}"
        );
        let looked = ask(&host, "HEAD", &link, &format!("host: {host}\r\n"), "");
        assert_eq!(looked.status, 405, "a look at the address does not use it up");
        let entered = ask(&host, "GET", &link, &format!("host: {host}\r\n"), "");
        assert!(entered.status == 200 && !entered.head.contains("set-cookie"), "{} {}", entered.head, entered.body);
        let prefix = entered.body.split("0;url=").nth(1).and_then(|rest| rest.split('"').next()).expect("a path");
        let prefix = prefix.trim_end_matches('/').to_owned();
        assert!(prefix.len() == 33 && !said.contains(&prefix), "the secret is only in the answer: {prefix}");
        Self { child, named_host, host, link, prefix }
    }

    fn get(&self, path: &str) -> PageReply {
        ask(&self.host, "GET", &format!("{}{path}", self.prefix), &format!("host: {}\r\n", self.host), "")
    }

    fn post(&self, path: &str, body: &str) -> PageReply {
        let headers = format!("host: {0}\r\norigin: http://{0}\r\n", self.host);
        ask(&self.host, "POST", &format!("{}{path}", self.prefix), &headers, body)
    }

    /// Returns the hidden fields of the form for this path.
    fn form(&self, page: &str, path: &str) -> String {
        form_of(page, &format!("{}{path}", self.prefix)).unwrap_or_else(|| panic!("no form for {path}: {page}"))
    }
}

fn notebook() -> (tempfile::TempDir, SecondBrowser) {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("page.md"), PAGE).expect("a file");
    let browser = SecondBrowser::start(OpenedNotebook::command(home.path(), "page.md", &[]));
    (home, browser)
}

#[test]
fn if_no_browser_comes_the_terminal_prints_an_address_under_which_every_path_has_its_secret() {
    let (_home, browser) = notebook();
    let first = browser.get("/");
    assert!(first.head.contains(&format!("location: {}/page/0/", browser.prefix)), "{}", first.head);
    let page = browser.get("/page/0/");
    for name in ["href", "action", "src", "data-events"] {
        for rest in page.body.split(&format!(" {name}=\"/")).skip(1) {
            assert!(format!("/{rest}").starts_with(&format!("{}/", browser.prefix)), "{name}: {rest}");
        }
    }
    assert!(page.body.contains("href=\"https://example.com/\""), "{}", page.body);
    assert!(page.head.contains("referrer-policy: same-origin") && !page.head.contains("set-cookie"), "{}", page.head);
    for path in ["/page.css", "/page.js"] {
        assert_eq!(browser.get(path).status, 200, "{path}");
    }
    let run = "/page/0/run/0";
    let body = browser.form(&page.body, run);
    let sent = browser.post(run, &body);
    assert!(
        sent.status == 303 && sent.head.contains(&format!("location: {}/page/0/", browser.prefix)),
        "{}",
        sent.head
    );
    wait_for("the output", || browser.get("/page/0/").body.contains(">the-output"));
    assert_eq!(browser.post(run, &body).status, 409, "the same form again");
    let again = ask(&browser.host, "GET", &browser.link, &format!("host: {}\r\n", browser.host), "");
    assert_eq!(again.status, 403, "the address works once");
    let other = ask(&browser.host, "GET", &browser.link, &format!("host: {}\r\n", browser.named_host), "");
    assert_eq!(other.status, 403, "and the first address is used with it");
}

#[test]
fn without_the_secret_the_host_and_the_origin_of_the_second_address_nothing_is_shown_and_nothing_runs() {
    let (_home, browser) = notebook();
    let (host, port) = (&browser.host, browser.host.rsplit(':').next().expect("a port"));
    let address = host.split(':').next().expect("an address");
    let own = format!("host: {host}\r\norigin: http://{host}\r\n");
    let path = format!("{}/page/0/", browser.prefix);
    let wrong = format!("{}0", &browser.prefix[..32]);
    for (what, path, headers, status) in [
        ("no secret", "/page/0/", own.clone(), 401),
        ("a wrong secret", &format!("{wrong}1/page/0/"), own.clone(), 401),
        ("a part of the secret", &format!("{}/page/0/", &browser.prefix[..32]), own.clone(), 401),
        ("the secret in the query", &format!("/page/0/?{}", &browser.prefix[1..]), own.clone(), 401),
        (
            "the secret as a cookie",
            "/page/0/",
            format!("{own}cookie: countersign_pages={}\r\n", &browser.prefix[1..]),
            401,
        ),
        ("the secret under the first address", &path, own.replace(host, &browser.named_host), 401),
        ("another name", &path, own.replace(address, "localhost"), 421),
        ("another number", &path, own.replace(address, "127.0.0.1"), 421),
        ("a name that leads here", &path, own.replace(host, &format!("evil.example:{port}")), 421),
        ("no port", &path, format!("host: {address}\r\norigin: http://{host}\r\n"), 421),
        ("two hosts", &path, format!("host: {host}\r\nhost: {host}\r\n"), 421),
    ] {
        let reply = ask(host, "GET", path, &headers, "");
        // The server itself refuses two hosts.
        assert!(reply.status == status || (what == "two hosts" && reply.status == 400), "{what}: {}", reply.status);
        assert!(!reply.body.contains("the-output") && !reply.body.contains(&browser.prefix), "{what}: {}", reply.body);
    }
    let run = "/page/0/run/0";
    let body = browser.form(&browser.get("/page/0/").body, run);
    let path = format!("{}{run}", browser.prefix);
    for (what, origin) in [
        ("no origin", String::new()),
        ("a sandboxed frame", "origin: null\r\n".to_owned()),
        ("another port of this machine", "origin: http://127.0.0.1:1\r\n".to_owned()),
        ("the first address", format!("origin: http://{}\r\n", browser.named_host)),
        ("another name", format!("origin: http://localhost:{port}\r\n")),
    ] {
        let reply = ask(host, "POST", &path, &format!("host: {host}\r\n{origin}"), &body);
        assert_eq!(reply.status, 403, "{what}: {}", reply.body);
    }
    assert!(browser.get("/page/0/").body.contains("data-state=\"ready\""));
}

#[test]
fn a_person_reviews_and_signs_under_the_second_address() {
    let world = World::new();
    let proposal = world.propose("two:go", json!({}));
    let browser = SecondBrowser::start(person(&world, &alice(), &["console", "--url", &world.wire.url]));
    let page = browser.get(&review_path(&proposal)).body;
    let body = format!("{}&digits={}", browser.form(&page, &sign_path(&proposal)), digits(&proposal));
    let outside = ask(
        &browser.host,
        "POST",
        &sign_path(&proposal),
        &format!("host: {0}\r\norigin: http://{0}\r\n", browser.host),
        &body,
    );
    assert_eq!((outside.status, signatures(&world, &proposal)), (401, 0));
    let signed = browser.post(&sign_path(&proposal), &body);
    assert!(
        signed.status == 303 && signed.head.contains(&format!("location: {}/b/0/run/", browser.prefix)),
        "{}",
        signed.body
    );
    assert_eq!(signatures(&world, &proposal), 1);
}
