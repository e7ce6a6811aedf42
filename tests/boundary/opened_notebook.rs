//! A running `countersign open` with a browser that was let in.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::PROGRAM;
use crate::support::pages::{PageReply, ask};

/// A running `countersign open` with a browser that was let in.
pub(crate) struct OpenedNotebook {
    pub(crate) child: Child,
    pub(crate) host: String,
    pub(crate) link: String,
    pub(crate) cookie: String,
    pub(crate) home: tempfile::TempDir,
}

/// Ends the program. While a step runs, the first signal only cancels the step.
pub(crate) fn end(child: &mut Child) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    for _ in 0..20 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < next {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for OpenedNotebook {
    fn drop(&mut self) {
        // The program deletes its temporary directory when it gets this signal.
        end(&mut self.child);
    }
}

impl OpenedNotebook {
    /// Opens this page in a directory of its own.
    pub(crate) fn open(page: &str) -> Self {
        Self::open_with(page, &[])
    }

    /// Opens this page with these further options.
    pub(crate) fn open_with(page: &str, options: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("page.md"), page).expect("a file");
        Self::start(home, "page.md", options)
    }

    /// Opens a file or directory of `home`.
    pub(crate) fn start(home: tempfile::TempDir, file: &str, options: &[&str]) -> Self {
        let mut child = Self::command(home.path(), file, options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output"))
            .read_line(&mut line)
            .expect("a line");
        let address = line.split("http://").nth(1).expect("an address").trim();
        let (host, link) = address.split_once('/').expect("a path");
        let mut notebook = Self {
            child,
            host: host.to_owned(),
            link: format!("/{link}"),
            cookie: String::new(),
            home,
        };
        let entered = ask(
            host,
            "GET",
            &notebook.link,
            &format!("host: {host}\r\n"),
            "",
        );
        let cookie = entered
            .head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .expect("a cookie");
        assert!(
            cookie.contains("httponly") && cookie.contains("samesite=strict"),
            "{cookie}"
        );
        notebook.cookie = cookie.split(';').next().expect("a pair").to_owned();
        notebook
    }

    /// Returns the command that opens a file of `home`.
    pub(crate) fn command(home: &Path, file: &str, options: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["open", file, "--sandbox"])
            .args(options)
            .current_dir(home)
            .env("HOME", home);
        command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME");
        command
            .env("API_TOKEN", "a secret value")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Saves a file as an editor does: a new file takes the place of the old one.
    pub(crate) fn save(&self, name: &str, text: &str) {
        let (new, place) = (self.home.path().join(".new"), self.home.path().join(name));
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, place).expect("a renamed file");
    }

    pub(crate) fn headers(&self) -> String {
        format!(
            "host: {0}\r\ncookie: {1}\r\norigin: http://{0}\r\n",
            self.host, self.cookie
        )
    }

    pub(crate) fn get(&self, path: &str) -> PageReply {
        ask(&self.host, "GET", path, &self.headers(), "")
    }

    /// Returns the hidden fields of a new form for this path.
    pub(crate) fn form(&self, path: &str) -> String {
        let fields: serde_json::Value =
            serde_json::from_str(&self.get(&format!("/fresh?path={path}")).body).expect("JSON");
        let form = format!(
            "form={}&seal={}",
            fields["form"].as_str().expect("text"),
            fields["seal"].as_str().expect("text")
        );
        // The form of a step also has the digest of the step that the page shows.
        let Some((page, step)) = path
            .strip_prefix("/page/")
            .and_then(|rest| rest.split_once("/run/"))
        else {
            return form;
        };
        let shown = self.get(&format!("/page/{page}/")).body;
        let block = shown
            .split(&format!("id=\"step-{page}-{step}\""))
            .nth(1)
            .unwrap_or_default();
        let digest = block
            .split("name=\"digest\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        format!("{form}&digest={}", digest.unwrap_or_default())
    }

    pub(crate) fn send(&self, path: &str, more: &str) -> u16 {
        let body = format!("{}{more}", self.form(path));
        ask(&self.host, "POST", path, &self.headers(), &body).status
    }

    /// Returns the page of a form after it was sent with errors: a browser is led to this page.
    pub(crate) fn refused(&self, path: &str, more: &str) -> String {
        assert_eq!(self.send(path, more), 303, "{path}{more}");
        self.get(&format!("{}/", path.split("/run/").next().expect("a page")))
            .body
    }

    /// Returns the block with this fragment.
    pub(crate) fn block(&self, id: &str) -> String {
        let page = self.get("/page/0/").body;
        let from = page
            .find(&format!("id=\"{id}\""))
            .unwrap_or_else(|| panic!("no {id} in {page}"));
        let rest = &page[from..];
        rest[..rest.find("</section>").expect("the end of the block")].to_owned()
    }

    /// Returns the block of a step.
    pub(crate) fn step(&self, at: usize) -> String {
        self.block(&format!("step-0-{at}"))
    }

    /// Waits until the block with this fragment has this text.
    pub(crate) fn until_block(&self, id: &str, wanted: &str) -> String {
        until(|| self.block(id), wanted)
    }

    /// Waits until the answer of a path has this text.
    pub(crate) fn until_page(&self, path: &str, wanted: &str) -> String {
        until(|| self.get(path).body, wanted)
    }

    /// Gives an answer to the question that waits in the block with this fragment.
    pub(crate) fn answer(&self, id: &str, letter: &str) -> u16 {
        let block = self.until_block(id, "class=\"question\"");
        let at = block.find("/answer/").expect("an answer") + 8;
        let number: String = block[at..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        self.send(&format!("/answer/{number}/{letter}"), "")
    }

    /// Waits until a step shows this text.
    pub(crate) fn until(&self, at: usize, wanted: &str) -> String {
        until(|| self.step(at), wanted)
    }
}

/// Looks until the text is there.
fn until(look: impl Fn() -> String, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let found = look();
        if found.contains(wanted) {
            return found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no {wanted:?} in {found}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
