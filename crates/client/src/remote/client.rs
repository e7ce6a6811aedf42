//! Client of the boundary's HTTP interface.
//!
//! The client uses TLS, or plain HTTP for a boundary on this machine. The client ignores redirects and the proxy
//! settings of the environment, because they could send the token to another server. Over plain HTTP to another machine,
//! the client only reads, and sends no token and no signature of a key.
mod failures;

use std::{
    cell::{Cell, RefCell},
    io::{BufRead, BufReader, Read as _},
    time::Duration,
};
use ureq::{
    Agent, AsSendBody, Body,
    http::{Method, Request, Response, request::Builder},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, error::Category};

use crate::{
    Address, CommandFailure, CommandResult, Exit, KeyArgs, PrintableText, Secret, SignaturePurpose,
    TlsFiles, home::keys, remote::address::JobIdentity,
};
use documents::{BlobDigest, Code, Envelope, KeyId, MAX_BUNDLE_BYTES, MEDIA_TYPE, Name};
use wire::{Problem, ProblemError, agent_config, for_command_line, foreign_answer, may_pass};

/// Maximum size of an answer in bytes, except for streams.
const MAX_ANSWER_BYTES: u64 = 32 << 20;
/// Size of each buffer of a connection, in bytes.
const BUFFER: usize = 32 << 10;
/// Time limit between a request and the first byte of its answer. A call that waits at the server asks for a shorter
/// wait.
const ANSWER: Duration = Duration::from_secs(90);
const CONNECT: Duration = Duration::from_secs(10);
/// Time limit for the whole body of an answer, except for streams. The limit is long, because the largest answers
/// have several MiB.
const WHOLE: Duration = Duration::from_secs(180);
/// Longest pause before a call is repeated.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// HTTP client for one boundary.
#[derive(Clone)]
pub struct Client {
    address: Address,
    agent: Agent,
    /// Longest time for the answer to a request that only reads, if it is shorter than usual.
    patience: Cell<Option<Duration>>,
    keys: Option<KeyArgs>,
    /// The CI job in which the client runs, if its ID token is used.
    job: Option<JobIdentity>,
    tls: TlsFiles,
    /// True for a mirror, to which the client sends no credentials.
    stranger: bool,
    bearer: RefCell<Option<Secret>>,
    name: RefCell<Option<Name>>,
    /// The key that the boundary accepted for read access.
    admitted_key: Cell<Option<KeyId>>,
    /// What the boundary says about each key of the user, if it accepted none of them.
    refused_keys: RefCell<Vec<String>>,
}

impl Client {
    /// Creates a client with a token or with keys. The client loads the keys and signs a challenge only if a request
    /// needs credentials, so an unusable key does not prevent a request for public data.
    ///
    /// # Errors
    /// Returns an error if the client would send the token over plain HTTP to another machine, or if a file for TLS
    /// cannot be used.
    pub fn new(
        address: Address,
        tls: &TlsFiles,
        token: Option<Secret>,
        keys: Option<KeyArgs>,
    ) -> CommandResult<Self> {
        Self::with(address, tls, token, keys, WHOLE)
    }

    /// Creates a client without credentials, for a mirror. A hostile mirror could steal the token, or could let the
    /// person's key sign a challenge of a boundary. A mirror also learns nothing about the client certificate.
    ///
    /// # Errors
    /// Returns an error if the file of the trusted authorities cannot be used.
    pub fn stranger(address: Address, tls: &TlsFiles) -> CommandResult<Self> {
        Ok(Self {
            stranger: true,
            ..Self::new(address, &tls.without_certificate(), None, None)?
        })
    }

    fn with(
        address: Address,
        tls: &TlsFiles,
        token: Option<Secret>,
        keys: Option<KeyArgs>,
        whole: Duration,
    ) -> CommandResult<Self> {
        if token.is_some() {
            address.check_private("the token")?;
        }
        let tls_config = address.uses_tls.then(|| tls.config()).transpose()?;
        let config = agent_config(tls_config, tls.proxy.as_ref())
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(whole))
            // Small buffers save memory, because each page that follows a run has a connection of its own. The defaults
            // are 128 KiB.
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")));
        let keys = if token.is_some() { None } else { keys };
        Ok(Self {
            address,
            agent: config.build().new_agent(),
            patience: Cell::default(),
            keys,
            tls: tls.clone(),
            job: None,
            stranger: false,
            bearer: RefCell::new(token),
            name: RefCell::new(None),
            admitted_key: Cell::default(),
            refused_keys: RefCell::default(),
        })
    }

    /// Limits the time for the answer to each later request that only reads. `None` gives the usual limits.
    pub fn limit_reads(&self, limit: Option<Duration>) {
        self.patience.set(limit);
    }

    /// Returns the name of the person who got read access with a key, or `None` if no key was used.
    pub fn name(&self) -> Option<Name> {
        self.name.borrow().clone()
    }

    /// Returns the key with which the person got read access, or `None` if no key was used.
    pub fn admitted_key(&self) -> Option<KeyId> {
        self.admitted_key.get()
    }

    /// Fetches a JSON document.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> CommandResult<T> {
        self.typed(self.request(Method::GET, path, None, "application/json")?)
    }

    /// Fetches bytes.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn bytes(&self, path: &str) -> CommandResult<Vec<u8>> {
        self.whole(self.request(Method::GET, path, None, "*/*")?)
    }

    /// Fetches a resource of at most `most` bytes. Returns `None` for status 404. A mirror may answer an error without
    /// a problem document.
    ///
    /// # Errors
    /// Returns the refusal, or an error if the server cannot be reached.
    pub fn find(&self, path: &str, most: usize) -> CommandResult<Option<Vec<u8>>> {
        let response = self.answered(true, || self.send(&Method::GET, path, None, "*/*"))?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        self.up_to(most as u64, self.refuse_problem(response)?)
            .map(Some)
    }

    /// Fetches a blob of the log and checks its digest.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached or the digest is wrong.
    pub fn blob(&self, digest: &[u8; 32]) -> CommandResult<Vec<u8>> {
        let digest = BlobDigest::from_bytes(*digest);
        let bytes = self.bytes(&format!("/log/blob/sha256/{}", digest.hex()))?;
        if BlobDigest::of(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(CommandFailure::unreachable(format!(
                "the boundary returned other bytes for the blob {digest}: don't trust this boundary"
            )))
        }
    }

    /// Reads the versions of the roster from `first` to the version in force, as JSON in the form of a bundle.
    ///
    /// # Errors
    /// Returns an error if the boundary does not answer.
    pub fn rosters(&self, first: u64) -> CommandResult<Vec<u8>> {
        self.bytes(&format!("/v1/rosters?from={first}"))
    }

    /// Sends a JSON document and reads the answer.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> CommandResult<T> {
        self.typed(self.request(Method::POST, path, Some(written(body)?), "application/json")?)
    }

    /// Sends a request with the token or the key, and returns status and body of any answer.
    ///
    /// # Errors
    /// Returns an error if the boundary cannot be reached or refuses the key, or if the answer ends too early.
    pub fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        range: Option<&str>,
    ) -> CommandResult<(u16, Vec<u8>)> {
        let response = self.answered(method.is_safe() || carries_nonce(body), || {
            let mut request = self.begin(method, path);
            if let Some(range) = range {
                request = request.header("range", range);
            }
            if body.is_some() {
                request = request.header("content-type", "application/json");
            }
            self.run(self.complete(request, body.unwrap_or_default())?)
        })?;
        Ok((response.status().as_u16(), self.whole(response)?))
    }

    /// Sends a POST request without a body and reads the answer.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn post_nothing<T: DeserializeOwned>(&self, path: &str) -> CommandResult<T> {
        self.typed(self.request(Method::POST, path, None, "application/json")?)
    }

    /// Opens an NDJSON stream. The stream begins after the event `after`.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn lines(&self, path: &str, after: Option<u64>) -> CommandResult<impl BufRead + use<>> {
        let response = self.again_when_admission_ended(true, || {
            let mut request = self
                .begin(&Method::GET, path)
                .header("accept", "application/x-ndjson");
            if let Some(after) = after {
                request = request.header("last-event-id", after.to_string());
            }
            let request = self.complete(request, ())?;
            // A stream lasts as long as the run.
            let endless = self.agent.configure_request(request);
            self.run(endless.timeout_recv_body(None).build())
        })?;
        Ok(BufReader::new(
            response
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader(),
        ))
    }

    /// Sends an envelope that runs at once, and reads the bundle, which comes when the run has ended.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn submit(&self, envelope: &Envelope) -> CommandResult<Value> {
        self.typed(self.request(
            Method::POST,
            "/v1/authorizations",
            Some(written(envelope)?),
            MEDIA_TYPE,
        )?)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        accept: &str,
    ) -> CommandResult<Response<Body>> {
        let can_repeat = method.is_safe() || carries_nonce(body.as_deref());
        self.again_when_admission_ended(can_repeat, || {
            self.send(&method, path, body.as_deref(), accept)
        })
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        accept: &str,
    ) -> CommandResult<Response<Body>> {
        if !method.is_safe() {
            self.address.check_private("the request")?;
        }
        let request = self.begin(method, path).header("accept", accept);
        let Some(body) = body else {
            let request = self.complete(request, ())?;
            let limit = self.patience.get().filter(|_| method.is_safe());
            return self.run(match limit {
                Some(limit) => self
                    .agent
                    .configure_request(request)
                    .timeout_global(Some(limit))
                    .build(),
                None => request,
            });
        };
        let request = self.complete(request.header("content-type", "application/json"), body)?;
        // A request that waits for the end of a run has no limit here, because the run has its own time limit.
        let answer = (accept != MEDIA_TYPE).then_some(ANSWER);
        let limited = self.agent.configure_request(request);
        self.run(limited.timeout_recv_response(answer).build())
    }

    /// Begins a request, with the bearer of the client.
    fn begin(&self, method: &Method, path: &str) -> Builder {
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.address.base));
        match &*self.bearer.borrow() {
            Some(bearer) => request.header("authorization", format!("Bearer {}", *bearer.0)),
            None => request,
        }
    }

    fn complete<B>(&self, request: Builder, body: B) -> CommandResult<Request<B>> {
        request.body(body).map_err(|error| self.odd(error))
    }

    fn run(&self, request: Request<impl AsSendBody>) -> CommandResult<Response<Body>> {
        self.agent
            .run(request)
            .map_err(|error| self.unreachable(&error))
    }

    /// Sends a request. If the server requires credentials, the client gets read access with a key and repeats the
    /// request.
    fn again_when_admission_ended(
        &self,
        can_repeat: bool,
        send: impl Fn() -> CommandResult<Response<Body>>,
    ) -> CommandResult<Response<Body>> {
        self.refuse_problem(self.answered(can_repeat, send)?)
    }

    /// Like [`Self::again_when_admission_ended`], but returns a response with an error status as `Ok`. If the answer asks for
    /// a short pause, a call that can be repeated is repeated once.
    fn answered(
        &self,
        can_repeat: bool,
        send: impl Fn() -> CommandResult<Response<Body>>,
    ) -> CommandResult<Response<Body>> {
        let response = send()?;
        // Without a token, status 429 means that all callers without a token at this address have reached their common
        // limit. A key has a limit of its own.
        let unknown = match response.status().as_u16() {
            401 => true,
            429 => self.bearer.borrow().is_none(),
            _ => false,
        };
        if unknown && self.admit_again()? {
            return send();
        }
        let pause = retry_after(&response).filter(|pause| can_repeat && *pause <= LONGEST_PAUSE);
        match pause
            .filter(|_| self.patience.get().is_none() && may_pass(response.status().as_u16()))
        {
            Some(pause) => {
                std::thread::sleep(pause);
                send()
            }
            None => Ok(response),
        }
    }

    /// Returns true if the caller has a token or a key.
    pub fn has_credentials(&self) -> bool {
        self.bearer.borrow().is_some() || !self.refused_keys.borrow().is_empty()
    }

    /// Returns true if the token allows all requests of a review, or if the client has no token.
    ///
    /// The check requests the first entry of the log, for which a token needs the same scope as for a review: `read`
    /// for every step. If the boundary cannot be reached, the result is true, because the next call reports the error.
    pub fn token_reads_all(&self) -> bool {
        if self.bearer.borrow().is_none() {
            return true;
        }
        let answer = self.send(&Method::HEAD, "/log/tile/entries/000.p/1", None, "*/*");
        answer.map_or(true, |answer| {
            !matches!(answer.status().as_u16(), 401 | 403)
        })
    }

    /// Gets read access with the first key that the boundary knows. Returns false if the boundary knows none of the
    /// keys.
    ///
    /// # Errors
    /// Returns an error if a key cannot be used, or if the boundary refuses the signature.
    pub fn admit(&self, keys: &KeyArgs) -> CommandResult<bool> {
        self.address.check_private("the signature of your key")?;
        *self.bearer.borrow_mut() = None;
        self.refused_keys.borrow_mut().clear();
        for signer in keys.find()?.all() {
            let (challenge, _) = match self.challenge(signer.key().keyid()) {
                Err(failure) if failure.has_code(Code::UnknownSigner) => {
                    let detail = failure
                        .problem
                        .as_ref()
                        .and_then(|problem| problem["detail"].as_str());
                    self.refused_keys
                        .borrow_mut()
                        .push(PrintableText::text(detail.unwrap_or_default()).to_string());
                    continue;
                }
                challenge => challenge?,
            };
            let signature = keys::sign(signer, SignaturePurpose::Read, challenge.as_bytes())?;
            let admission = self.answer_challenge(challenge, signature)?;
            *self.bearer.borrow_mut() = Some(Secret::new(&admission.bearer));
            *self.name.borrow_mut() = Some(admission.name);
            self.admitted_key.set(Some(signer.key().keyid()));
            return Ok(true);
        }
        Ok(false)
    }

    fn whole(&self, response: Response<Body>) -> CommandResult<Vec<u8>> {
        self.up_to(MAX_ANSWER_BYTES.max(MAX_BUNDLE_BYTES as u64), response)
    }

    fn up_to(&self, most: u64, response: Response<Body>) -> CommandResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_with_config().limit(most).reader();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| self.odd(format!("the answer ended too early: {error}")))?;
        Ok(bytes)
    }

    fn typed<T: DeserializeOwned>(&self, response: Response<Body>) -> CommandResult<T> {
        let bytes = self.whole(response)?;
        serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
            Category::Data => self.odd(format!(
                "this version of the program does not understand the answer: {error}"
            )),
            _ => self.odd(foreign_answer(200, &bytes)),
        })
    }
}

/// Returns the pause that an answer asks for (RFC 9110, section 10.2.3).
fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    answer
        .headers()
        .get("retry-after")?
        .to_str()
        .ok()?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn written(body: &impl Serialize) -> CommandResult<Vec<u8>> {
    serde_json::to_vec(body)
        .map_err(|error| CommandFailure::usage(format!("the request can't be written: {error}")))
}

/// Returns true if a call has a nonce, so that a repetition is the same call.
fn carries_nonce(body: Option<&[u8]>) -> bool {
    let body = body.and_then(|body| serde_json::from_slice::<Value>(body).ok());
    body.is_some_and(|body| body["nonce"].is_string())
}

fn refusal(problem: &Problem, whole: Option<Value>) -> CommandFailure {
    let word = problem.kind.rsplit('/').next().unwrap_or_default();
    let code = serde_json::from_value::<Code>(Value::from(word)).ok();
    let exit = match code {
        // Status 410: the boundary has deleted the named document.
        Some(_) if problem.status == 410 => Exit::Refused,
        Some(code) => Exit::of_code(code),
        None => Exit::Unreachable,
    };
    // A problem document may quote untrusted text of other people.
    let detail = for_command_line(&problem.detail);
    let mut message = if detail.starts_with(&problem.title) {
        format!("{detail} ({word})")
    } else {
        format!("{} ({word}): {detail}", problem.title)
    };
    // The detail of a parameter error already contains the errors with their places, so they are not repeated.
    let told = |error: &ProblemError| {
        let pointer = error
            .pointer
            .strip_prefix("/params")
            .unwrap_or(&error.pointer);
        problem
            .detail
            .contains(&format!("{pointer}: {}", error.detail))
    };
    for error in problem.errors.iter().filter(|error| !told(error)) {
        message += &format!("; {}: {}", error.pointer, error.detail);
    }
    if let Some(receipt) = &problem.receipt {
        message += &format!("; receipt {receipt}");
    }
    if let Some(proposal) = &problem.proposal {
        message += &format!("; proposal {proposal}");
    }
    if let Some(fault) = problem
        .fault
        .as_ref()
        .filter(|fault| !problem.detail.contains(fault.as_str()))
    {
        message += &format!("; the service's log has details under {fault}");
    }
    if code == Some(Code::Unauthenticated) {
        message += "; give a token (--token-file, COUNTERSIGN_TOKEN; the file countersign/token is sent only to a boundary on \
             this machine), or a key of the roster (--key)";
    }
    CommandFailure {
        problem: whole,
        ..CommandFailure::new(exit, PrintableText::message(&message).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_problem_is_preserved_and_its_control_characters_are_escaped() {
        let problem = Problem {
            kind: "/problems/unknown-step".into(),
            title: "no such step is registered".into(),
            status: 404,
            detail: "a\x1b[2Jb".into(),
            errors: Vec::new(),
            receipt: None,
            proposal: None,
            fault: None,
        };
        let failure = refusal(&problem, None);
        assert_eq!(failure.exit.code(), 127);
        assert!(failure.message.contains(r"a\x1b[2Jb"), "{failure}");
    }

    #[test]
    fn each_error_of_a_problem_is_printed_once() {
        let at = |pointer: &str, detail: &str| ProblemError {
            pointer: pointer.into(),
            detail: detail.into(),
        };
        let mut problem = Problem {
            kind: "/problems/invalid-params".into(),
            title: "the parameters do not fit".into(),
            status: 422,
            detail: "/text: expected a string; expected an object".into(),
            errors: vec![
                at("/params/text", "expected a string"),
                at("/params/other", "unknown"),
            ],
            receipt: None,
            proposal: None,
            fault: None,
        };
        let failure = refusal(&problem, None);
        assert!(
            failure.message.ends_with(
                ": /text: expected a string; expected an object; /params/other: unknown"
            ),
            "{failure}"
        );
        // The message names a place that the detail does not name.
        problem.detail = "expected 1 to 5 seconds".into();
        problem.errors = vec![at("/expires_in_s", "expected 1 to 5 seconds")];
        assert!(
            refusal(&problem, None)
                .message
                .ends_with("; /expires_in_s: expected 1 to 5 seconds")
        );
        // The message contains the title only once, even if the detail begins with the title.
        problem.errors.clear();
        problem.detail = "the parameters do not fit: none is known".into();
        assert_eq!(
            refusal(&problem, None).message,
            "the parameters do not fit: none is known (invalid-params)"
        );
    }

    #[test]
    fn a_slow_answer_exceeds_the_time_limit_but_a_stream_has_no_time_limit() {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
                    while stream.write_all(b"\n").is_ok() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                });
            }
        });
        let address = Address::parse(&url).expect("an address");
        let client = Client::with(
            address,
            &TlsFiles::default(),
            None,
            None,
            Duration::from_millis(300),
        )
        .expect("a client");
        let began = std::time::Instant::now();
        for failure in [
            client.find("/log/checkpoint", 1000).map(drop),
            client.bytes("/log/blob").map(drop),
        ]
        .map(Result::unwrap_err)
        {
            assert!(failure.message.contains("ended too early"), "{failure}");
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(
            client
                .lines("/v1/events", None)
                .expect("a stream")
                .lines()
                .take(12)
                .flatten()
                .count(),
            12
        );
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("cst_x\n")), "[redacted]");
    }
}
