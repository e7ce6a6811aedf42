//! Adds to the client the messages about failures, and requests for access and for files:
//!
//! - what a person reads if the boundary refuses a request or does not answer
//! - read access with a key of the roster: the challenge of the boundary, and the answer to the challenge
//! - uploads and downloads of files, which can be large
//! - the exchange of the ID token of a CI job for a bearer

use std::{
    fs::File,
    io::{ErrorKind, Seek as _, Write},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Body,
    http::{Method, Response},
};

use crate::{
    Client, CommandFailure, CommandResult, Home, KeyArgs, PrintableText, Secret, eprintln_quietly,
    fail_refused,
    remote::{
        address::JobIdentity,
        client::{refusal, retry_after, written},
    },
};
use documents::{Code, EnvelopeSignature, KeyId, SealDigest};
use wire::{
    AdmissionResponse, Challenge, ChallengeAnswer, ChallengeRequest, IdTokenBody, Problem,
    TlsProblem, foreign_answer, may_pass, unused_proxy,
};

impl Client {
    pub(super) fn refuse_problem(&self, response: Response<Body>) -> CommandResult<Response<Body>> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        if status == 401 && self.stranger {
            let base = &self.address.base;
            return fail_refused(format!(
                "{base} asked for credentials. Your token or key was not sent, because it is only for the \
                     boundary at --url. If {base} is that boundary, also give --url {base} (or COUNTERSIGN_URL)"
            ));
        }
        if response.status().is_redirection()
            && let Some(to) = response.headers().get("location")
        {
            return Err(self.odd(format!(
                "the answer is a redirect to {}, and redirects are not followed, because your token could get to \
                 another server: if you trust that address, give it as --url (COUNTERSIGN_URL)",
                String::from_utf8_lossy(to.as_bytes())
            )));
        }
        let bytes = self.whole(response)?;
        let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) else {
            return Err(self.odd(foreign_answer(status, &bytes)));
        };
        let mut failure = refusal(&problem, serde_json::from_slice(&bytes).ok());
        if failure.has_code(Code::Unauthenticated)
            && let Some(words) = self.unauthenticated_words(&problem.detail)
        {
            failure.message = words;
        }
        Err(failure)
    }

    /// Returns how to replace the credentials that the boundary does not accept. The title of the problem asks for a
    /// token, although the request may already have had a token.
    fn unauthenticated_words(&self, detail: &str) -> Option<String> {
        let (base, detail) = (&self.address.base, PrintableText::text(detail));
        let (refused_keys, has_bearer) =
            (self.refused_keys.borrow(), self.bearer.borrow().is_some());
        let has_none = |keys: &KeyArgs| keys.find().is_ok_and(|keys| keys.all().next().is_none());
        Some(match &self.keys {
            keys if !refused_keys.is_empty() => {
                let named = keys.as_ref().and_then(|keys| keys.key.as_ref());
                let named =
                    named.map_or_else(|| "your keys".to_owned(), |file| file.display().to_string());
                format!(
                    "the boundary at {base} does not accept {} (unauthenticated): {}; name another key with --key FILE \
                     (COUNTERSIGN_KEY), ask for a roster with your key, or give a token (--token-file)",
                    PrintableText::text(&named),
                    refused_keys.join("; ")
                )
            }
            _ if self.job.is_some() => format!(
                "the boundary at {base} does not accept the ID token of this job (unauthenticated): {detail}; compare the \
                 job with the claims that `countersign token list` prints at the boundary"
            ),
            Some(keys) if !has_bearer && has_none(keys) => format!(
                "the boundary at {base} answers only known people and tokens (unauthenticated), and there is no key in \
                 {}/key.pem or ~/.ssh: make a key with `countersign key generate`, name one with --key FILE, or give a \
                 token with --token-file",
                Home::of_process().config_words()
            ),
            None if has_bearer => format!(
                "the boundary at {base} does not accept your token (unauthenticated): {detail}; the token comes from \
                 --token, --token-file, COUNTERSIGN_TOKEN, COUNTERSIGN_TOKEN_FILE or countersign/token in your \
                 configuration directory: give a token of this boundary, or the address of the token's boundary (--url, \
                 COUNTERSIGN_URL)"
            ),
            _ => return None,
        })
    }

    pub(super) fn unreachable(&self, error: &ureq::Error) -> CommandFailure {
        let base = &self.address.base;
        if self.address.uses_tls
            && let Some(problem) = TlsProblem::of(error)
        {
            return CommandFailure::unreachable(format!(
                "the boundary at {base} can't be reached: {}; {}",
                PrintableText::text(&problem.to_string()),
                self.advice(&problem)
            ));
        }
        let advice = match &self.tls.proxy {
            Some(_) => Some(
                "the connection goes through the proxy of --proxy, so check its address too"
                    .to_owned(),
            ),
            None => unused_proxy("--proxy"),
        };
        if self.address.uses_tls
            && let Some(advice) = advice
        {
            let message = format!("the boundary at {base} can't be reached: {error}; {advice}");
            return CommandFailure::unreachable(message);
        }
        let mut advice =
            "is the boundary running (`countersign serve`), and is this the right address (--url, \
             COUNTERSIGN_URL)"
                .to_owned();
        // A server that expects TLS answers with bytes that are no HTTP, or closes the connection.
        let is_odd = match error {
            ureq::Error::Protocol(_) => true,
            ureq::Error::Io(error) => error.kind() != ErrorKind::ConnectionRefused,
            _ => false,
        };
        if !self.address.uses_tls && is_odd {
            advice += "? If the server uses TLS, the address begins with https://";
        }
        CommandFailure::unreachable(format!(
            "the boundary at {base} can't be reached: {error}; {advice}"
        ))
    }

    /// Returns the next action of the user after this problem.
    pub(super) fn advice(&self, problem: &TlsProblem) -> String {
        let certificate = if self.stranger {
            "your client certificate is only for the boundary at --url; if this server is that boundary, also give its \
             address as --url (COUNTERSIGN_URL)"
        } else if self.tls.cert.is_some() {
            "ask the operator which authority must sign a client certificate, and check --cert (COUNTERSIGN_CERT)"
        } else {
            "give your client certificate with --cert and --cert-key (COUNTERSIGN_CERT, COUNTERSIGN_CERT_KEY)"
        };
        match problem {
            TlsProblem::UnknownAuthority if self.tls.cacert.is_some() => "no authority in the file of --cacert \
                 (COUNTERSIGN_CACERT) signed the certificate: ask the operator for the file of the right authority; \
                 otherwise don't trust this server"
                .to_owned(),
            TlsProblem::UnknownAuthority => "if the server has a certificate of your own authority, name the file of \
                 this authority with --cacert (COUNTERSIGN_CACERT); otherwise don't trust this server"
                .to_owned(),
            TlsProblem::AuthorityAsServer => "the operator must make a server certificate (CA:FALSE), signed by this \
                 authority"
                .to_owned(),
            TlsProblem::OtherName(_) => {
                "give the address with a name of the certificate, or let the operator add this name".to_owned()
            }
            TlsProblem::Expired(_) => "the operator of the server must renew the certificate".to_owned(),
            TlsProblem::NotYetValid(_) => "check the clock of this machine".to_owned(),
            TlsProblem::CertificateRequired | TlsProblem::CertificateRefused(_) => certificate.to_owned(),
            TlsProblem::NoTls => {
                "check the port; if the server uses plain HTTP on this machine, the address begins with http://"
                    .to_owned()
            }
            TlsProblem::OldVersion => "the operator of the server must permit TLS 1.2 or TLS 1.3".to_owned(),
            TlsProblem::NoRoom => "try again soon; if this happens again, tell the operator".to_owned(),
            TlsProblem::Closed | TlsProblem::Other(_) => {
                format!(
                    "is this the right address (--url, COUNTERSIGN_URL)? If the server requires a client \
                         certificate, {certificate}"
                )
            }
        }
    }

    pub(super) fn odd(&self, what: impl std::fmt::Display) -> CommandFailure {
        CommandFailure::unreachable(format!(
            "the boundary at {}: {}",
            self.address.base,
            PrintableText::text(&what.to_string())
        ))
    }
}

impl Client {
    /// Asks for the text that a key of the roster signs for read access. Returns also the id of the boundary in the text.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the text does not have the form of a challenge.
    pub fn challenge(&self, keyid: KeyId) -> CommandResult<(String, SealDigest)> {
        let Challenge { challenge } =
            self.post_once("/v1/challenges", &ChallengeRequest { keyid })?;
        let well_formed = challenge.starts_with("countersign-challenge/v1 ")
            && challenge.len() <= 512
            && challenge.bytes().all(|c| (0x20..0x7f).contains(&c));
        let id = challenge
            .split(' ')
            .nth(1)
            .and_then(|id| id.parse().ok())
            .filter(|_| well_formed);
        let odd = || self.odd("the challenge does not have version 1, so nothing was signed");
        id.map(|id| (challenge, id)).ok_or_else(odd)
    }

    /// Exchanges a signed challenge for a bearer.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn answer_challenge(
        &self,
        challenge: String,
        signature: EnvelopeSignature,
    ) -> CommandResult<AdmissionResponse> {
        self.post_once(
            "/v1/challenges/answer",
            &ChallengeAnswer {
                challenge,
                signature,
            },
        )
    }

    /// Sends a JSON document. If the server requires credentials, the request is not repeated with a key.
    fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> CommandResult<T> {
        let answer = self.send_once(path, body)?;
        self.typed(self.refuse_problem(answer)?)
    }

    fn send_once(&self, path: &str, body: &impl Serialize) -> CommandResult<Response<Body>> {
        let body = written(body)?;
        self.send(&Method::POST, path, Some(&body), "application/json")
    }
}

impl Client {
    /// Copies bytes of an announced size to a file or another sink, while they arrive.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached, the answer is longer, or the bytes can't
    /// be written.
    pub fn copy(&self, path: &str, size: u64, to: &mut impl Write) -> CommandResult<()> {
        let response = self.request(Method::GET, path, None, "*/*")?;
        // The reader fails if a body has as many bytes as its limit.
        let mut reader = response
            .into_body()
            .into_with_config()
            .limit(size + 1)
            .reader();
        std::io::copy(&mut reader, to)
            .map(drop)
            .map_err(|error| self.odd(format!("{size} bytes of {path} can't be copied: {error}")))
    }

    /// Uploads a file, and reads the answer.
    ///
    /// # Errors
    /// Returns the boundary's refusal, or an error if the boundary cannot be reached.
    pub fn put_file<T: DeserializeOwned>(&self, path: &str, file: File) -> CommandResult<T> {
        self.address.check_private("the file")?;
        // Get the credentials first, because a server that refuses an upload without credentials ends the connection
        // while the file is sent.
        if self.bearer.borrow().is_none() {
            self.admit_again()?;
        }
        let response = self.again_when_admission_ended(false, || {
            let request = self
                .begin(&Method::PUT, path)
                .header("content-type", "application/octet-stream");
            let mut file = file.try_clone().map_err(|error| self.odd(error))?;
            file.rewind().map_err(|error| self.odd(error))?;
            self.run(self.complete(request, file)?)
        })?;
        self.typed(response)
    }
}

/// Maximum time in seconds for which a job waits for a busy boundary.
const LONGEST_WAIT_S: u64 = 330;

impl Client {
    /// Returns the client with the ID token of a job in place of a token and of keys.
    pub fn with_job(self, job: JobIdentity) -> Self {
        Self {
            job: Some(job),
            keys: None,
            ..self
        }
    }

    /// Gets a bearer with the ID token of the job, or with a key of the user. Returns false if the client has neither, or if
    /// the boundary knows none of the keys.
    pub(super) fn admit_again(&self) -> CommandResult<bool> {
        match (&self.job, &self.keys) {
            (Some(job), _) => self.admit_job(job).map(|()| true),
            (None, Some(keys)) => self.admit(keys),
            (None, None) => Ok(false),
        }
    }

    fn admit_job(&self, job: &JobIdentity) -> CommandResult<()> {
        self.address.check_private("the ID token of the job")?;
        *self.bearer.borrow_mut() = None;
        let mut waited = 0;
        let answer = loop {
            let body = IdTokenBody {
                id_token: (*job.id_token(self.tls.proxy.as_ref())?.0).clone(),
            };
            let answer = self.send_once("/v1/admissions", &body)?;
            match seconds_until_retry(&answer).filter(|seconds| waited + seconds <= LONGEST_WAIT_S)
            {
                Some(seconds) => {
                    eprintln_quietly(&format!(
                        "the boundary can't check the ID token of this job now (busy): trying again in {seconds} s"
                    ));
                    std::thread::sleep(Duration::from_secs(seconds));
                    waited += seconds;
                }
                None => break answer,
            }
        };
        let admission: AdmissionResponse = self.typed(self.refuse_problem(answer)?)?;
        *self.bearer.borrow_mut() = Some(Secret::new(&admission.bearer));
        *self.name.borrow_mut() = Some(admission.name);
        Ok(())
    }
}

/// Returns the seconds after which a busy boundary wants to be asked again. After the rotation of the keys of an issuer, a
/// boundary may wait some minutes before it asks the issuer again.
fn seconds_until_retry(answer: &Response<Body>) -> Option<u64> {
    retry_after(answer)
        .filter(|_| may_pass(answer.status().as_u16()))
        .map(|pause| pause.as_secs().max(1))
}
