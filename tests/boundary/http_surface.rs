//! The HTTP interface of the real binary: refused requests and the form of the answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// A service with its own directory, keys, port and token.
struct Service {
    child: Child,
    address: SocketAddr,
    token: String,
    directory: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Checks that the answer is a problem document of this status and code.
    fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        assert!(self.head.contains("cache-control: no-store"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{code}"), "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}

fn countersign(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env("XDG_CONFIG_HOME", directory)
        .output()
        .expect("the binary");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "countersign {}: {out}{err}", arguments.join(" "));
    out.into_owned()
}

impl Service {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        countersign(at, &["key", "generate", "--comment", "alice"]);
        let line = countersign(at, &["key", "show", "countersign/key.pem"]);
        let line = line.lines().find(|line| line.starts_with("ssh-ed25519 ")).expect("a public key").to_owned();
        std::fs::write(at.join("alice.pub"), line).expect("written");
        countersign(at, &["init", "b", "--yes", "--name", "test", "--approver", "alice=alice.pub"]);
        let configuration = at.join("b/countersign.toml");
        let text = std::fs::read_to_string(&configuration).expect("a configuration");
        std::fs::write(&configuration, text.replace("127.0.0.1:7433", "127.0.0.1:0")).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "b"])
            .current_dir(at)
            .env("HOME", at)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = lines
            .find_map(|line| line.ok()?.split_once("http://")?.1.trim().parse().ok())
            .expect("the address that it listens on");
        // The thread reads the later output of the service: the service must still be able to write to its stdout.
        std::thread::spawn(move || lines.for_each(drop));
        let created =
            countersign(at, &["token", "--config", "b", "create", "bot", "--scope", "propose", "--scope", "read"]);
        let token = created.split_whitespace().find(|word| word.starts_with("cst_")).expect("a secret").to_owned();
        Self { child, address, token, directory }
    }

    /// Sends the exact bytes of a request and reads the answer to its end.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
        stream.write_all(request).expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let _ = stream.shutdown(Shutdown::Both);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("content-length: {}\r\n", body.len());
        }
        self.raw(format!("{request}\r\n{body}").as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &self.bearer())], "")
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[("authorization", &self.bearer()), ("content-type", "application/json")], body)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn propose(&self) -> Value {
        let made = self.post("/v1/proposals", r#"{"step":"host:report","reason":"a look"}"#);
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()
    }
}

#[test]
fn a_web_page_of_another_origin_cannot_use_the_service() {
    let service = Service::start();
    let port = service.address.port();
    service.ask("GET", "/health", &[("host", "evil.example")], "").is_problem(403, "forbidden");
    service.ask("GET", "/health", &[("host", "localhost:1")], "").is_problem(403, "forbidden");
    service.ask("GET", "/health", &[("origin", "http://evil.example")], "").is_problem(403, "forbidden");
    service.ask("GET", "/health", &[("origin", "null")], "").is_problem(403, "forbidden");
    let here = format!("localhost:{port}");
    let answer = service.ask("GET", "/health", &[("host", &here), ("origin", &format!("http://{here}"))], "");
    assert_eq!(answer.status, 200);
    assert!(!answer.head.contains("access-control"), "no CORS: {}", answer.head);
    assert!(answer.head.contains("x-content-type-options: nosniff"));
    // A web page can send a form to another origin, but not a body of the type JSON.
    service
        .ask("POST", "/v1/proposals", &[("authorization", &service.bearer()), ("content-type", "text/plain")], "{}")
        .is_problem(415, "malformed");
    service.raw(b"GET /health HTTP/1.0\r\n\r\n").is_problem(403, "forbidden");
}

#[test]
fn callers_are_identified_only_with_their_bearer_token() {
    let service = Service::start();
    let problem = service.ask("GET", "/v1/registry", &[], "");
    problem.is_problem(401, "unauthenticated");
    assert!(problem.head.contains("www-authenticate: bearer"), "{}", problem.head);
    for bad in ["Bearer cst_wrong", "Basic dTpw", "Bearer"] {
        service.ask("GET", "/v1/registry", &[("authorization", bad)], "").is_problem(401, "unauthenticated");
    }
    assert_eq!(service.get("/v1/registry").status, 200);
    let query = service.ask("GET", &format!("/v1/registry?token={}", service.token), &[], "");
    assert!(!query.body.contains(&service.token), "a secret is not repeated");
    query.is_problem(400, "malformed");
    for open in ["/log/tile/entries/000", "/log/entries/000", "/v1/proposals"] {
        service.ask("GET", open, &[], "").is_problem(401, "unauthenticated");
    }
    for open in
        ["/health", "/ready", "/version", "/openapi.json", "/log/checkpoint", "/log/tile/0/000.p/1", "/log/proof/0"]
    {
        let answer = service.ask("GET", open, &[], "");
        assert_eq!(answer.status, 200, "{open}: {}", answer.body);
    }
}

#[test]
fn bad_input_is_refused_with_its_place_and_changes_nothing() {
    let service = Service::start();
    for (body, pointer) in [
        (r#"{"step":"host:report","step":"host:report"}"#, ""),
        (r#"{"step":"host:report","params":{"warn_percent":1.5}}"#, ""),
        (r#"{"step":"host:report","extra":1}"#, "/extra"),
        (r#"{"step":"host:report","grant":"grt_x"}"#, "/grant"),
        (r#"{"step":"host:report","session":"ses_x"}"#, "/session"),
        (r#"{"step":"host:report"} {}"#, ""),
        ("1", ""),
        ("", ""),
        ("\u{feff}{}", ""),
    ] {
        let problem = service.post("/v1/proposals", body).is_problem(400, "malformed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    let problem = service.post("/v1/proposals", r#"{"step":"host:nothing"}"#);
    problem.is_problem(404, "unknown-step");
    let many = format!(r#"{{"step":"host:report","reason":"{}"}}"#, "x".repeat(300_000));
    service.post("/v1/proposals", &many).is_problem(413, "too-large");
    let head = format!(
        "POST /v1/proposals HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
        service.address,
        service.bearer()
    );
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 300_000, "x".repeat(300_000));
    service.raw((head + &chunk).as_bytes()).is_problem(413, "too-large");
    for path in ["/v1/proposals?limit=0", "/v1/proposals?status=odd", "/v1/proposals?color=red", "/v1/proposals/x"] {
        service.get(path).is_problem(400, "malformed");
    }
    assert_eq!(service.get("/v1/proposals").json()["proposals"], json!([]), "nothing was kept");
}

#[test]
fn unknown_paths_and_methods_and_later_features_are_answered_with_a_problem_document() {
    let service = Service::start();
    service.get("/v1/nothing").is_problem(404, "not-found");
    service.get("/log/tile/0/1").is_problem(404, "not-found");
    service.get("/log/tile/0/999").is_problem(404, "not-found");
    for (path, feature) in [("/v1/grants/grt_x", "grants"), ("/v1/revocations", "revocations")] {
        let problem = service.get(path).is_problem(404, "not-found");
        assert_eq!(problem["detail"], format!("{feature} are not in this version"));
    }
    let answer = service.ask("DELETE", "/v1/proposals", &[("authorization", &service.bearer())], "");
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: ") && answer.head.contains("post"), "{}", answer.head);
    assert_eq!(answer.json()["type"], "about:blank");
    assert_eq!(service.get("/openapi.json").json(), countersign::http::openapi::openapi());
    let head = service.ask("HEAD", "/version", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_proposal_can_be_created_and_awaited_and_followed_and_cancelled() {
    let service = Service::start();
    let made = service.propose();
    let id = made["id"].as_str().expect("an id");
    assert_eq!(made["status"], "pending");
    let again = service.post("/v1/proposals", r#"{"step":"host:report","reason":"a look"}"#);
    assert_eq!((again.status, &again.json()["id"]), (200, &made["id"]), "the same wish is answered with what exists");
    // If a wait times out, the proposal stays pending.
    assert_eq!(service.get(&format!("/v1/proposals/{id}?wait=0s")).json()["status"], "pending");
    service.get(&format!("/v1/proposals/{id}?wait=soon")).is_problem(400, "malformed");
    service.get(&format!("/v1/proposals/{id}/events?shape=simple")).is_problem(400, "malformed");
    service.post(&format!("/v1/proposals/{id}/signatures"), r#"{"signatures":[]}"#).is_problem(400, "malformed");
    let signature = json!({"keyid": format!("SHA256:{}", "A".repeat(43)), "sig": "AAAA"});
    let many = json!({"signatures": vec![signature.clone(); 17]}).to_string();
    service.post(&format!("/v1/proposals/{id}/signatures"), &many).is_problem(413, "too-large");
    let stranger = json!({"signatures": [signature]}).to_string();
    service
        .ask("POST", &format!("/v1/proposals/{id}/signatures"), &[("content-type", "application/json")], &stranger)
        .is_problem(422, "unknown-signer");
    // A wait ends as soon as the status changes. A stream ends after the last event.
    let (waited, followed) = std::thread::scope(|scope| {
        let waited = scope.spawn(|| service.get(&format!("/v1/proposals/{id}?wait=20s")));
        let followed = scope.spawn(|| {
            let headers = [("authorization", service.bearer()), ("accept", "application/x-ndjson".to_owned())];
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            service.ask("GET", &format!("/v1/proposals/{id}/events"), &headers, "")
        });
        let cancelled = service.post(&format!("/v1/proposals/{id}/cancellation"), "{}");
        assert_eq!(cancelled.json()["status"], "cancelled", "{}", cancelled.body);
        (waited.join().expect("no panic"), followed.join().expect("no panic"))
    });
    assert_eq!(waited.json()["status"], "cancelled");
    assert!(followed.head.contains("content-type: application/x-ndjson"), "{}", followed.head);
    assert!(followed.body.contains(r#""status":"pending""#) && followed.body.contains(r#""status":"cancelled""#));
    let events = service.get(&format!("/v1/proposals/{id}/events"));
    assert!(events.head.contains("content-type: text/event-stream"), "{}", events.head);
    assert!(events.body.contains("id: 1\nevent: status\ndata: {\"type\":\"status\",\"status\":\"pending\"}\n\n"));
    let rest = service.ask(
        "GET",
        &format!("/v1/proposals/{id}/events"),
        &[("authorization", &service.bearer()), ("last-event-id", "1")],
        "",
    );
    assert!(!rest.body.contains("pending") && rest.body.contains("cancelled"), "{}", rest.body);
    service.post(&format!("/v1/proposals/{id}/cancellation"), "{}").is_problem(409, "wrong-state");
    assert!(service.directory.path().exists());
}
