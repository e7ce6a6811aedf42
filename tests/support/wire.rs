//! HTTP client of the tests, with checks of the answers.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{Method, Request};

/// A boundary's address.
#[derive(Clone)]
pub struct Wire {
    agent: ureq::Agent,
    pub url: String,
}

/// A complete answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(70)))
            .build();
        Self {
            agent: config.into(),
            url: url.to_owned(),
        }
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Sends a request. Returns an error if the connection breaks.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match body {
            Some(body) => self.agent.run(request.body(body).expect("a request")),
            None => self.agent.run(request.body(()).expect("a request")),
        }
    }

    /// Sends a request and reads the whole answer.
    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Reply, String> {
        let mut response = self
            .send(method, path, headers, body)
            .map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let body = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_vec()
            .map_err(|e| e.to_string())?;
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    pub fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Reply {
        self.try_call(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn get(&self, path: &str, token: &str) -> Reply {
        self.try_get(path, token)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub fn try_get(&self, path: &str, token: &str) -> Result<Reply, String> {
        self.try_call(
            "GET",
            path,
            &[("authorization", &format!("Bearer {token}"))],
            None,
        )
    }

    /// Sends a GET request without a token.
    pub fn peek(&self, path: &str) -> Reply {
        self.call("GET", path, &[], None)
    }

    pub fn try_post(&self, path: &str, token: &str, body: &Value) -> Result<Reply, String> {
        self.try_post_bytes(path, token, body.to_string().as_bytes())
    }

    pub fn post(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.post_bytes(path, token, body.to_string().as_bytes())
    }

    fn try_post_bytes(&self, path: &str, token: &str, body: &[u8]) -> Result<Reply, String> {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json")];
        if !token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        self.try_call("POST", path, &headers, Some(body))
    }

    pub fn post_bytes(&self, path: &str, token: &str, body: &[u8]) -> Reply {
        self.try_post_bytes(path, token, body)
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Returns the live events of a proposal after this number, as lines.
    pub fn lines(&self, id: &str, token: &str, after: u64) -> impl Iterator<Item = Value> + use<> {
        let reader = self.stream(
            &format!("/v1/proposals/{id}/events"),
            token,
            "application/x-ndjson",
            after,
        );
        reader.lines().map_while(Result::ok).map(|line| {
            // The strict parser refuses a line with a duplicate key.
            documents::json::parse(line.as_bytes(), 1 << 20).expect("a line of JSON")
        })
    }

    /// Returns the server-sent events of a proposal after this number, in the shape of the lines.
    pub fn server_sent(
        &self,
        id: &str,
        token: &str,
        after: u64,
    ) -> impl Iterator<Item = Value> + use<> {
        let reader = self.stream(
            &format!("/v1/proposals/{id}/events"),
            token,
            "text/event-stream",
            after,
        );
        let (mut number, mut kind) = (0_u64, String::new());
        reader
            .lines()
            .map_while(Result::ok)
            .filter_map(move |line| {
                if let Some(value) = line.strip_prefix("id: ") {
                    number = value.parse().expect("a number");
                } else if let Some(value) = line.strip_prefix("event: ") {
                    kind = value.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    let mut event: Value = serde_json::from_str(data).expect("JSON");
                    assert_eq!(event["type"], json!(kind), "the event's name is its type");
                    event["id"] = json!(number);
                    return Some(event);
                } else {
                    assert!(line.is_empty() || line.starts_with(':'), "{line:?}");
                }
                None
            })
    }

    /// Returns the events of the boundary, as lines.
    pub fn feed(&self, query: &str, token: &str) -> impl Iterator<Item = Value> + use<> {
        let reader = self.stream(
            &format!("/v1/events{query}"),
            token,
            "application/x-ndjson",
            0,
        );
        reader.lines().map_while(Result::ok).map(|line| {
            assert!(line.len() <= 512, "{line}");
            documents::json::parse(line.as_bytes(), 1 << 20).expect("a line of JSON")
        })
    }

    pub fn stream(
        &self,
        path: &str,
        token: &str,
        accept: &str,
        after: u64,
    ) -> BufReader<impl Read + use<>> {
        let (bearer, after) = (format!("Bearer {token}"), after.to_string());
        let mut headers = vec![("authorization", &*bearer), ("accept", accept)];
        if after != "0" {
            headers.push(("last-event-id", &after));
        }
        let response = self.send("GET", path, &headers, None).expect("a stream");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], accept);
        BufReader::new(response.into_body().into_reader())
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// Returns the value of each sample of `/metrics`, by its name and labels.
    pub fn samples(&self) -> BTreeMap<String, f64> {
        assert_eq!(self.status, 200, "{}", self.text());
        let text = self.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                (sample.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// Checks the status of an answer and returns its JSON.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        self.json()
    }

    /// Asserts a refusal with this code, whose detail contains these words.
    #[track_caller]
    pub fn refuses(&self, code: &str, words: &str) {
        let problem = self.problem(code);
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(words)),
            "{words}: {problem:#}"
        );
    }

    /// Returns the problem document of a refusal. Asserts that the document follows RFC 9457 and has the status of its
    /// code.
    #[track_caller]
    pub fn problem(&self, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(
            problem["type"],
            json!(format!("/problems/{code}")),
            "{problem:#}"
        );
        let status = match code {
            "malformed" if self.status == 415 => 415,
            "malformed" => 400,
            "unauthenticated" => 401,
            "forbidden" => 403,
            // Status 410 means that the boundary deleted the data after the retention.
            "not-found" if self.status == 410 => 410,
            "not-found" | "unknown-step" => 404,
            "step-changed" | "nonce-replayed" | "context-changed" | "wrong-state"
            | "grant-exhausted" | "grant-paused" => 409,
            "too-large" => 413,
            "rate-limited" => 429,
            "busy" | "standby" | "database" => 503,
            _ => 422,
        };
        assert_eq!(
            (self.status, &problem["status"]),
            (status, &json!(status)),
            "{problem:#}"
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        for text in ["title", "detail"] {
            assert!(
                problem[text].as_str().is_some_and(|text| text.len() > 5),
                "{problem:#}"
            );
        }
        let retry = self
            .header("retry-after")
            .map(|text| text.parse::<u64>().expect("seconds"));
        if matches!(code, "busy" | "standby" | "database" | "rate-limited") {
            assert!(
                retry.is_some_and(|seconds| seconds > 0),
                "it says when to come back: {:?}",
                self.headers
            );
        } else {
            assert_eq!(retry, None);
        }
        assert_eq!(
            self.header("www-authenticate").is_some(),
            code == "unauthenticated"
        );
        problem
    }
}

/// Returns the pointers of a problem, in order.
pub fn pointers(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors
        .map(|error| error["pointer"].as_str().expect("a pointer").to_owned())
        .collect()
}

/// A call of a tool of MCP.
pub fn tool_call(tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}
