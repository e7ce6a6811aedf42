//! A browser of a test: raw HTTP to a program that serves pages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::KilledAtEnd;

/// An answer to a browser.
pub struct PageReply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl PageReply {
    /// Asserts the status, and a part of the page.
    #[track_caller]
    pub fn says(&self, status: u16, words: &str) {
        assert!(
            self.status == status && self.body.contains(words),
            "{words}: {} {}",
            self.status,
            self.body
        );
    }
}

/// A running program with pages, and a browser that was let in.
pub struct Pages {
    child: KilledAtEnd,
    pub host: String,
    pub link: String,
    pub cookie: String,
}

/// Sends one request, and returns the whole answer.
pub fn ask(host: &str, method: &str, path: &str, headers: &str, body: &str) -> PageReply {
    let port = host.rsplit(':').next().expect("a port");
    let address = if host.starts_with("127.") {
        host.to_owned()
    } else {
        format!("127.0.0.1:{port}")
    };
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a deadline");
    let length = if method == "POST" {
        format!("content-length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let kind = "content-type: application/x-www-form-urlencoded\r\n";
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}{kind}{length}connection: close\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    PageReply {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

impl Pages {
    /// Starts the program, and opens the address that it prints.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output"))
            .read_line(&mut line)
            .expect("a line");
        let address = line
            .split("http://")
            .nth(1)
            .unwrap_or_else(|| panic!("no address in {line:?}"))
            .trim();
        let (host, link) = address.split_once('/').expect("a path");
        let mut pages = Self {
            child: KilledAtEnd(child),
            host: host.to_owned(),
            link: format!("/{link}"),
            cookie: String::new(),
        };
        let entered = ask(host, "GET", &pages.link, &format!("host: {host}\r\n"), "");
        let cookie = entered
            .head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .expect("a cookie");
        pages.cookie = cookie.split(';').next().expect("a pair").to_owned();
        pages
    }

    pub fn headers(&self) -> String {
        format!(
            "host: {0}\r\ncookie: {1}\r\norigin: http://{0}\r\n",
            self.host, self.cookie
        )
    }

    pub fn get(&self, path: &str) -> PageReply {
        ask(&self.host, "GET", path, &self.headers(), "")
    }

    pub fn post(&self, path: &str, body: &str) -> PageReply {
        ask(&self.host, "POST", path, &self.headers(), body)
    }

    /// Returns the beginning of a stream, until it contains `wanted`.
    pub fn stream_until(&self, path: &str, wanted: &str) -> String {
        let port = self.host.rsplit(':').next().expect("a port");
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a deadline");
        write!(stream, "GET {path} HTTP/1.1\r\n{}\r\n", self.headers()).expect("sent");
        let (mut all, mut piece) = (String::new(), [0; 4096]);
        while !all.contains(wanted) {
            let read = stream.read(&mut piece).expect("a piece");
            assert!(read > 0, "the stream ended without {wanted:?}: {all}");
            all.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        all
    }
}

/// Returns the hidden fields of the form that leads to this path, as the body of a request. `None` if the page has no such
/// form.
pub fn form_of(page: &str, path: &str) -> Option<String> {
    let form = page
        .split("<form ")
        .find(|form| form.contains(&format!("action=\"{path}\"")))?;
    let form = form.split("</form>").next()?;
    let fields = form.split("<input type=\"hidden\" ").skip(1).map(|field| {
        let value = |name: &str| {
            let from = field.find(&format!("{name}=\"")).expect("an attribute") + name.len() + 2;
            field[from..].split('"').next().expect("a value").to_owned()
        };
        format!(
            "{}={}",
            value("name"),
            value("value")
                .replace('+', "%2B")
                .replace(':', "%3A")
                .replace(' ', "+")
        )
    });
    Some(fields.collect::<Vec<_>>().join("&"))
}

/// Returns the text of an element and of everything in it.
pub fn text_of(markup: &str) -> String {
    let mut text = String::new();
    for piece in markup.split('<') {
        text.push_str(piece.split_once('>').map_or("", |(_, text)| text));
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}
