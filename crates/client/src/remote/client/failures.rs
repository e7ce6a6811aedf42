//! What a person reads if the boundary refuses a request or does not answer.

use std::io::ErrorKind;

use ureq::Body;
use ureq::http::Response;

use crate::{Client, CommandFailure, Exit, Home, PrintableText, remote::client::refusal};
use documents::Code;
use wire::{Problem, TlsProblem, foreign_answer, unused_proxy};

impl Client {
    pub(super) fn refuse_problem(
        &self,
        response: Response<Body>,
    ) -> Result<Response<Body>, CommandFailure> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        if status == 401 && self.stranger {
            let base = self.address.base();
            return Err(CommandFailure::new(
                Exit::Refused,
                format!(
                    "{base} asked for credentials. Your token or key was not sent, because it is only for the \
                     boundary at --url. If {base} is that boundary, also give --url {base} (or COUNTERSIGN_URL)"
                ),
            ));
        }
        if response.status().is_redirection()
            && let Some(to) = response.headers().get("location")
        {
            return Err(self.odd(&format!(
                "the answer is a redirect to {}, and redirects are not followed, because your token could get to \
                 another server: if you trust that address, give it as --url (COUNTERSIGN_URL)",
                String::from_utf8_lossy(to.as_bytes())
            )));
        }
        let bytes = self.whole(response)?;
        let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) else {
            return Err(self.odd(&foreign_answer(status, &bytes)));
        };
        let mut failure = refusal(&problem, serde_json::from_slice(&bytes).ok());
        // The title of the problem asks for a token, but the request had a token. The message below explains how to
        // replace the token.
        if failure.has_code(Code::Unauthenticated)
            && self.keys.is_none()
            && self.bearer.borrow().is_some()
        {
            failure.message = format!(
                "the boundary at {} does not accept your token (unauthenticated): {}; the token comes from --token, \
                 --token-file, COUNTERSIGN_TOKEN, COUNTERSIGN_TOKEN_FILE or countersign/token in your configuration \
                 directory: give a token of this boundary, or the address of the token's boundary (--url, \
                 COUNTERSIGN_URL)",
                self.address.base(),
                PrintableText::text(&problem.detail).as_str()
            );
        }
        let keys = self
            .keys
            .as_ref()
            .filter(|_| failure.has_code(Code::Unauthenticated) && self.bearer.borrow().is_none());
        if keys.is_some_and(|keys| keys.find().is_ok_and(|keys| keys.all().next().is_none())) {
            failure.message = format!(
                "the boundary at {} answers only known people and tokens (unauthenticated), and there is no key in {}/key.pem \
                 or ~/.ssh: make a key with `countersign key generate`, name one with --key FILE, or give a token with \
                 --token-file",
                self.address.base(),
                Home::of_process().config_words()
            );
        }
        if failure.has_code(Code::Unauthenticated) && self.job.is_some() {
            failure.message = format!(
                "the boundary at {} does not accept the ID token of this job (unauthenticated): {}; compare the job with \
                 the claims that `countersign token list` prints at the boundary",
                self.address.base(),
                PrintableText::text(&problem.detail).as_str()
            );
        }
        let refused_keys = self.refused_keys.borrow();
        if failure.has_code(Code::Unauthenticated) && !refused_keys.is_empty() {
            let named = self.keys.as_ref().and_then(|keys| keys.key.as_ref());
            let named =
                named.map_or_else(|| "your keys".to_owned(), |file| file.display().to_string());
            failure.message = format!(
                "the boundary at {} does not accept {} (unauthenticated): {}; name another key with --key FILE \
                 (COUNTERSIGN_KEY), ask for a roster with your key, or give a token (--token-file)",
                self.address.base(),
                PrintableText::text(&named).as_str(),
                refused_keys.join("; ")
            );
        }
        Err(failure)
    }

    pub(super) fn unreachable(&self, error: &ureq::Error) -> CommandFailure {
        let base = self.address.base();
        if self.address.uses_tls()
            && let Some(problem) = TlsProblem::of(error)
        {
            return CommandFailure::new(
                Exit::Unreachable,
                format!(
                    "the boundary at {base} can't be reached: {}; {}",
                    PrintableText::text(&problem.to_string()).as_str(),
                    self.advice(&problem)
                ),
            );
        }
        let advice = match &self.proxy {
            Some(_) => Some(
                "the connection goes through the proxy of --proxy, so check its address too"
                    .to_owned(),
            ),
            None => unused_proxy("--proxy"),
        };
        if self.address.uses_tls()
            && let Some(advice) = advice
        {
            let message = format!("the boundary at {base} can't be reached: {error}; {advice}");
            return CommandFailure::new(Exit::Unreachable, message);
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
        if !self.address.uses_tls() && is_odd {
            advice.push_str("? If the server uses TLS, the address begins with https://");
        }
        CommandFailure::new(
            Exit::Unreachable,
            format!("the boundary at {base} can't be reached: {error}; {advice}"),
        )
    }

    /// Returns the next action of the user after this problem.
    pub(super) fn advice(&self, problem: &TlsProblem) -> String {
        let certificate = if self.stranger {
            "your client certificate is only for the boundary at --url; if this server is that boundary, also give its \
             address as --url (COUNTERSIGN_URL)"
        } else if self.has_certificate {
            "ask the operator which authority must sign a client certificate, and check --cert (COUNTERSIGN_CERT)"
        } else {
            "give your client certificate with --cert and --cert-key (COUNTERSIGN_CERT, COUNTERSIGN_CERT_KEY)"
        };
        match problem {
            TlsProblem::UnknownAuthority if self.has_authorities => "no authority in the file of --cacert \
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

    pub(super) fn odd(&self, what: &str) -> CommandFailure {
        CommandFailure::new(
            Exit::Unreachable,
            format!(
                "the boundary at {}: {}",
                self.address.base(),
                PrintableText::text(what).as_str()
            ),
        )
    }
}
