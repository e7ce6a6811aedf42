//! Sends the HTTP requests that a page shows, with the signatures that the page makes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::shown::walk::{DEADLINE, Walk};
use crate::shown::{Block, must_fit};

/// The state of the HTTP exchange: the values that later requests need.
#[derive(Default)]
pub(super) struct Exchange {
    pub(super) id: String,
    payload: String,
    signatures: Vec<Value>,
    pub(super) receipt: String,
    pub(super) statement: Value,
    authorization: Value,
    /// The answer that the page showed last, with all members.
    shown: Value,
}
impl Walk {
    /// Runs the block that signs `$PAYLOAD`: once as shown, for bob, and once with alice's key.
    pub(super) fn sign(&mut self, block: &Block, here: &str) {
        let alice = block
            .text
            .replace("bob.pem", "~/.config/countersign/key.pem")
            .replace("bob.pub", "alice.pub");
        for script in [&block.text, &alice] {
            let output = self
                .bash(script)
                .env("PAYLOAD", &self.exchange.payload)
                .output()
                .expect("started");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{here}: {said}{why}");
            // `base64 -w0` prints no newline, so the key id follows the signature directly.
            let (signature, keyid) = said
                .trim()
                .split_once("SHA256:")
                .unwrap_or_else(|| panic!("{here}: {said}"));
            let entry = json!({"keyid": format!("SHA256:{keyid}"), "sig": signature.trim()});
            self.exchange.signatures.push(entry);
        }
        self.exchange
            .signatures
            .sort_by_key(|entry| entry["keyid"].to_string());
    }

    pub(super) fn http(&mut self, block: &Block, here: &str) {
        let (request, response) = block
            .text
            .split_once("HTTP/1.1 ")
            .unwrap_or_else(|| panic!("{here}: no answer"));
        let token = std::fs::read_to_string(self.work().join("agent.token")).expect("a token");
        let (head, body) = request
            .trim_end()
            .split_once("\n\n")
            .unwrap_or((request.trim_end(), ""));
        let exchange = &self.exchange;
        let head = head
            .replace("prp_…", &exchange.id)
            .replace("rcp_…", &exchange.receipt)
            .replace("cst_…", token.trim());
        let (first, headers) = head.split_once('\n').unwrap_or((&head, ""));
        let body = if body.contains('…') {
            let shown: Value =
                serde_json::from_str(body).unwrap_or_else(|error| panic!("{here}: {error}"));
            let real = if first.contains("/signatures") {
                json!({"signatures": exchange.signatures})
            } else {
                exchange.authorization.clone()
            };
            must_fit(&shown, &real, here);
            real.to_string()
        } else {
            body.to_owned()
        };
        let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let message = format!(
            "{first} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        let mut answer = self.ask(&message);
        // The run has usually ended when the server answers. If not, the test repeats the request.
        let began = Instant::now();
        while first.contains("?wait=")
            && !answer.contains("\"finished\"")
            && began.elapsed() < DEADLINE
        {
            answer = self.ask(&message);
        }
        let (shown_head, shown_body) = response
            .split_once("\n\n")
            .unwrap_or_else(|| panic!("{here}: no body"));
        let (real_head, real_body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{here}: {answer}"));
        let mut shown_head = shown_head.lines();
        let status = shown_head.next().expect("a status");
        assert_eq!(
            real_head.lines().next(),
            Some(&*format!("HTTP/1.1 {status}")),
            "{here}: {real_body}"
        );
        for header in shown_head {
            let there = real_head
                .lines()
                .any(|line| line.eq_ignore_ascii_case(header));
            assert!(there, "{here}: {header} is not in\n{real_head}");
        }
        let mut shown: Value =
            serde_json::from_str(shown_body).unwrap_or_else(|error| panic!("{here}: {error}"));
        complete(&mut shown, &self.exchange.shown);
        self.exchange.shown = shown.clone();
        let mut real: Value =
            serde_json::from_str(real_body).unwrap_or_else(|error| panic!("{here}: {error}"));
        self.exchange.learn(&real);
        if shown["status"] == "approved"
            && ["running", "finished"]
                .iter()
                .any(|word| real["status"] == *word)
        {
            // The run may start before the server answers. Then the test compares only the other fields.
            for name in ["status", "next"] {
                real[name] = shown[name].clone();
            }
            for name in ["outcome", "receipt"] {
                real.as_object_mut().expect("an object").remove(name);
            }
        }
        must_fit(&shown, &real, here);
    }

    fn ask(&self, message: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream.write_all(message.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }
}

impl Exchange {
    fn learn(&mut self, answer: &Value) {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        if text("id").starts_with("prp_") {
            (self.id, self.payload) = (text("id"), text("payload"));
        }
        if text("receipt").starts_with("rcp_") {
            self.receipt = text("receipt");
        }
        if let Some(payload) = answer["envelope"]["payload"].as_str() {
            self.statement =
                serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON");
            self.authorization = answer["authorization"].clone();
        }
    }
}

/// Gives each shown object with the member `…` the missing members, with the values that the same object had in the
/// answer before.
fn complete(shown: &mut Value, before: &Value) {
    let Some(members) = shown.as_object_mut() else {
        return;
    };
    for (name, value) in members.iter_mut() {
        complete(value, &before[name.as_str()]);
    }
    if members.remove("…").is_some() {
        for (name, value) in before.as_object().into_iter().flatten() {
            members
                .entry(name.as_str())
                .or_insert_with(|| value.clone());
        }
    }
}
