//! A proxy between the MCP server and the boundary. It changes requests and answers.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::support::World;

/// Status and body of an answer. Without an answer, the proxy closes the connection.
pub(crate) type Passed = Option<(u16, Vec<u8>)>;

/// A request of the MCP server, without its headers.
pub(crate) struct Asked<'r> {
    /// Method and path, for example `POST /v1/proposals`.
    pub(crate) line: &'r str,
    /// Value of the header `Range`, or an empty text.
    pub(crate) range: &'r str,
    pub(crate) body: &'r [u8],
}

type ChangeBody = Arc<dyn Fn(&Asked) -> Vec<u8> + Send + Sync>;
type ChangeAnswer = Arc<dyn Fn(&Asked, u16, Vec<u8>) -> Passed + Send + Sync>;

/// Starts a proxy that changes the answers to requests, and returns its address.
pub(crate) fn proxy(
    world: &World,
    answers: impl Fn(&Asked, u16, Vec<u8>) -> Passed + Send + Sync + 'static,
) -> String {
    proxy_of_both(world, |asked| asked.body.to_vec(), answers)
}

/// Starts a proxy that changes the bodies of requests, and then the answers.
pub(crate) fn proxy_of_both(
    world: &World,
    bodies: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    answers: impl Fn(&Asked, u16, Vec<u8>) -> Passed + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let target = world.wire.address().to_owned();
    let (bodies, answers): (ChangeBody, ChangeAnswer) = (Arc::new(bodies), Arc::new(answers));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (target, bodies, answers) = (target.clone(), bodies.clone(), answers.clone());
            std::thread::spawn(move || relay(&stream, &target, &bodies, &answers));
        }
    });
    url
}

/// Relays requests until the client ends.
fn relay(
    mut client: &TcpStream,
    target: &str,
    bodies: &ChangeBody,
    answers: &ChangeAnswer,
) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    loop {
        let request = head(&mut reader, target)?;
        let mut body = vec![0; request.length];
        reader.read_exact(&mut body).ok()?;
        let line = request.words[..2].join(" ");
        let body = bodies(&Asked {
            line: &line,
            range: &request.range,
            body: &body,
        });
        let mut service = TcpStream::connect(target).ok()?;
        let length = body.len();
        service
            .write_all(
                format!(
                    "{}content-length: {length}\r\nconnection: close\r\n\r\n",
                    request.head
                )
                .as_bytes(),
            )
            .ok()?;
        service.write_all(&body).ok()?;
        let mut from_service = BufReader::new(service);
        let answer = head(&mut from_service, target)?;
        let mut bytes = Vec::new();
        from_service.read_to_end(&mut bytes).ok()?;
        let status = answer.words[1].parse().ok()?;
        let asked = Asked {
            line: &line,
            range: &request.range,
            body: &body,
        };
        let Some((new, bytes)) = answers(&asked, status, bytes) else {
            return client.shutdown(std::net::Shutdown::Both).ok();
        };
        let head = answer.head.replacen(&answer.words[1], &new.to_string(), 1);
        client
            .write_all(format!("{head}content-length: {}\r\n\r\n", bytes.len()).as_bytes())
            .ok()?;
        client.write_all(&bytes).ok()?;
    }
}

/// Head of a message without the headers about the connection and the length of the body.
struct Head {
    /// Words of the first line.
    words: Vec<String>,
    head: String,
    range: String,
    length: usize,
}

fn head(from: &mut impl BufRead, target: &str) -> Option<Head> {
    let (mut head, mut length, mut range) = (String::new(), 0, String::new());
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_lowercase();
        match lower.split_once(':') {
            _ if line == "\r\n" => break,
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(("host", _)) => head.push_str(&format!("host: {target}\r\n")),
            Some(("connection", _)) => {}
            other => {
                if let Some(("range", value)) = other {
                    value.trim().clone_into(&mut range);
                }
                head.push_str(&line);
            }
        }
    }
    let words = head.lines().next()?.split(' ').map(str::to_owned).collect();
    Some(Head {
        words,
        head,
        range,
        length,
    })
}
