//! Defines how a client reaches a boundary:
//!
//! - addresses of boundaries and mirrors
//! - the ID token of the CI job in which the client runs, with which the client uses a token of the boundary without a
//!   stored secret
//! - options for TLS: the trusted authorities, the client certificate and the proxy
//! - a secret that no message shows

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use serde_json::Value;
use ureq::{http::Uri, tls::TlsConfig};

use crate::{CommandFailure, CommandResult, PrintableText, fail_usage, read_bounded, read_private};
use documents::joined;
use wire::{ClientCertificatePem, ClientConfigError, ProxyAddress, agent_config, client_config};

/// Default address of the boundary.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7433";

/// Address of a boundary or a mirror: `http` or `https`, host and port, and an optional path before `/v1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// URL without `/` at its end.
    pub base: String,
    /// True if the client connects with TLS.
    pub uses_tls: bool,
    /// True for a loopback address.
    pub is_loopback: bool,
}

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    /// Returns an error if the URL does not have the form `http://host[:port][/path]` or `https://host[:port][/path]`.
    pub fn parse(url: &str) -> CommandResult<Self> {
        // The text before `@` may be a password.
        let hidden = url
            .rsplit_once('@')
            .map(|(_, rest)| format!("(hidden)@{rest}"));
        let shown = PrintableText::text(hidden.as_deref().unwrap_or(url));
        let wrong = |why: &str| {
            let shown = shown.as_str();
            CommandFailure::usage(format!(
                "{shown} is not an address like {DEFAULT_URL} or https://boundary.example: {why}"
            ))
        };
        if hidden.is_some() {
            return Err(wrong(
                "it contains `@`, and an address has no user name and no password: remove them",
            ));
        }
        let uses_tls = url.starts_with("https://");
        if !(uses_tls || url.starts_with("http://")) {
            return Err(wrong("begin with http:// or https:// in lower case"));
        }
        if url.contains(|c: char| !c.is_ascii_graphic() || "?#\\".contains(c)) {
            return Err(wrong(
                "remove `?`, `#`, `\\`, spaces, and letters outside of ASCII",
            ));
        }
        // Use the parser of the HTTP library, because the library connects to the host that this parser finds.
        let no_host =
            || wrong("after //, write a host, and `:` with a port between 0 and 65535 or nothing");
        let parsed: Uri = url.parse().map_err(|_| no_host())?;
        let host = parsed.host().unwrap_or_default();
        let authority = parsed
            .authority()
            .map_or("", |authority| authority.as_str());
        let port = authority.strip_prefix(host).ok_or_else(no_host)?;
        if !port.is_empty()
            && port
                .strip_prefix(':')
                .is_none_or(|port| port.parse::<u16>().is_err())
        {
            return Err(no_host());
        }
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(no_host());
        }
        let is_loopback =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            uses_tls,
            is_loopback,
        })
    }

    /// Checks that nobody on the network can read what a client sends. A client sends a token, or the signature of a
    /// key, only after this check.
    ///
    /// # Errors
    /// Returns an error if the address is plain HTTP to another machine. `what` names what would be sent.
    pub fn check_private(&self, what: &str) -> CommandResult<()> {
        if self.uses_tls || self.is_loopback {
            return Ok(());
        }
        fail_usage(format!(
            "{what} was not sent to {}: plain HTTP to another machine has no encryption. Use the https:// address of \
             the boundary, or a tunnel: ssh -N -L 7433:127.0.0.1:7433 HOST, and --url {DEFAULT_URL}",
            PrintableText::text(&self.base)
        ))
    }
}

/// The variable with an ID token, which GitLab sets for `id_tokens`.
const GIVEN: &str = "COUNTERSIGN_ID_TOKEN";
/// The variables with which GitHub gives ID tokens to jobs with `permissions: id-token: write`.
const GITHUB: [&str; 2] = [
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
];
/// Maximum size of the answer of GitHub in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// Time limit of the request to GitHub.
const ANSWER: Duration = Duration::from_secs(30);

/// Where the client gets the ID token of its job.
#[derive(Clone)]
pub enum JobIdentity {
    /// The ID token itself.
    Given(Secret),
    /// The URL and the bearer of the request, and the audience.
    GitHub(String, Secret, String),
}

impl JobIdentity {
    /// Reads the variables of the job. The audience names the boundary, if the caller knows its id. The boundary itself is
    /// never asked, because another server at its address could answer with the id of any boundary that trusts this job.
    ///
    /// # Errors
    /// Returns an error if the process runs in no job that can get an ID token, if the audience is missing, or if the given
    /// ID token is for another audience.
    pub fn of_process(audience: Option<String>) -> CommandResult<Self> {
        Self::of_variables(audience, |name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn of_variables(
        audience: Option<String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> CommandResult<Self> {
        Ok(match (variable(GIVEN), GITHUB.map(&variable)) {
            (Some(id_token), _) => {
                // In GitLab, the definition of the job names the audience, so the client can only compare it.
                if let Some(audience) = audience.filter(|audience| !is_for(&id_token, audience)) {
                    return fail_usage(format!(
                        "the ID token in {GIVEN} is not for the audience {audience}, so it was not sent: write this audience \
                         to `aud` below `id_tokens`, or correct --boundary-id (COUNTERSIGN_BOUNDARY)"
                    ));
                }
                Self::Given(Secret::new(&id_token))
            }
            (None, [Some(url), Some(token)]) => {
                let audience = audience.ok_or_else(|| {
                    CommandFailure::usage(
                        "--oidc needs the id of the boundary, because otherwise another server could get an ID token for \
                         this boundary: give --boundary-id sha256:... (COUNTERSIGN_BOUNDARY). The id is the part after \
                         `countersign:` in the audience that `countersign token create --oidc` printed, and `countersign \
                         serve` prints it, too",
                    )
                })?;
                Self::GitHub(url, Secret::new(&token), audience)
            }
            (None, _) if variable("GITHUB_ACTIONS").is_some() => {
                return fail_usage(
                    "--oidc: GitHub gives this job no ID token: add `permissions: {id-token: write}` to the job",
                );
            }
            (None, _) => {
                return fail_usage(format!(
                    "--oidc needs the ID token of a CI job. In GitHub Actions, add `permissions: {{id-token: write}}` to the \
                     job. In GitLab, add `id_tokens: {{{GIVEN}: {{aud: AUDIENCE}}}}` to the job, with the audience that \
                                          `countersign token create --oidc` printed"
                ));
            }
        })
    }

    /// Returns an ID token.
    ///
    /// # Errors
    /// Returns an error if GitHub gives no ID token.
    pub(super) fn id_token(&self, proxy: Option<&ProxyAddress>) -> CommandResult<Secret> {
        match self {
            Self::Given(id_token) => Ok(id_token.clone()),
            Self::GitHub(url, token, audience) => of_github(url, token, audience, proxy),
        }
    }
}

/// Returns true if the claim `aud` of an ID token is this audience. The boundary verifies the ID token.
fn is_for(id_token: &str, audience: &str) -> bool {
    let claims = id_token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    claims.is_some_and(|claims| match &claims["aud"] {
        Value::Array(audiences) => audiences.iter().any(|one| one == audience),
        one => one == audience,
    })
}

/// Asks GitHub for an ID token of this job.
fn of_github(
    url: &str,
    token: &Secret,
    audience: &str,
    proxy: Option<&ProxyAddress>,
) -> CommandResult<Secret> {
    let server = joined(url.split('/').take(3), "/");
    let address = Address::parse(&server)?;
    address.check_private("the request for an ID token")?;
    let tls = address
        .uses_tls
        .then(|| TlsFiles::default().config())
        .transpose()?;
    let between = if url.contains('?') { '&' } else { '?' };
    let request = agent_config(tls, proxy)
        .timeout_global(Some(ANSWER))
        .build()
        .new_agent()
        .get(format!("{url}{between}audience={audience}"));
    let answer = request
        .header("authorization", format!("Bearer {}", *token.0))
        .call();
    let mut answer = answer.map_err(failed)?;
    let body = answer
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec();
    let body = body.map_err(failed)?;
    if answer.status().as_u16() != 200 {
        return Err(failed(format!(
            "its answer has the status {}",
            answer.status().as_u16()
        )));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|_| failed("its answer is no JSON"))?;
    body["value"]
        .as_str()
        .map(Secret::new)
        .ok_or_else(|| failed("its answer has no `value`"))
}

fn failed(why: impl fmt::Display) -> CommandFailure {
    let why = PrintableText::text(&why.to_string());
    CommandFailure::unreachable(format!("GitHub gave no ID token for this job: {why}"))
}

/// Maximum size of a file with certificates in bytes. The list of a whole system has a quarter of this size.
const MAX_CERTIFICATES_BYTES: usize = 1 << 20;
const MAX_KEY_BYTES: usize = 64 << 10;

/// The files and the proxy for `https://` addresses.
#[derive(Clone, Default, Args)]
pub struct TlsFiles {
    /// For https: a PEM file with the certificate authorities to trust, instead of those of this system
    #[arg(long, global = true, env = "COUNTERSIGN_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// For https: a PEM file with your client certificate, if the boundary requires one
    #[arg(long, global = true, env = "COUNTERSIGN_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The PEM file of mode 0600 with the private key of --cert
    #[arg(long, global = true, env = "COUNTERSIGN_CERT_KEY", value_name = "FILE")]
    pub cert_key: Option<PathBuf>,
    /// For https: connect through this HTTP proxy (CONNECT), http://HOST:PORT. The environment never names a proxy
    #[arg(long, global = true, value_name = "URL")]
    pub proxy: Option<ProxyAddress>,
}

impl TlsFiles {
    /// Returns the files for a server to which the client sends no credentials.
    pub fn without_certificate(&self) -> Self {
        Self {
            cert: None,
            cert_key: None,
            ..self.clone()
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be used, or if the system has no list of authorities.
    pub fn config(&self) -> CommandResult<TlsConfig> {
        let authorities = self
            .cacert
            .as_ref()
            .map(|path| read_bounded(path, MAX_CERTIFICATES_BYTES))
            .transpose()?;
        let pair = match (&self.cert, &self.cert_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((
                read_bounded(cert, MAX_CERTIFICATES_BYTES)?,
                read_private(key, MAX_KEY_BYTES, "key")?,
            )),
            (Some(_), None) => {
                return fail_usage(
                    "--cert (COUNTERSIGN_CERT) needs its private key: name the file with --cert-key \
                     (COUNTERSIGN_CERT_KEY)",
                );
            }
            (None, Some(_)) => {
                return fail_usage(
                    "--cert-key (COUNTERSIGN_CERT_KEY) is the key of a client certificate: name the file of the \
                     certificate with --cert (COUNTERSIGN_CERT)",
                );
            }
        };
        let pem = pair
            .as_ref()
            .map(|(certificates, key)| ClientCertificatePem { certificates, key });
        client_config(authorities.as_deref(), pem).map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &ClientConfigError) -> CommandFailure {
        let shown = |path: &Option<PathBuf>| {
            PrintableText::file(path.as_deref().unwrap_or(Path::new(""))).to_string()
        };
        let why = PrintableText::text(&error.to_string()).to_string();
        CommandFailure::usage(match error {
            ClientConfigError::NoSystemAuthorities(_) => format!(
                "{why}: install one (on Debian the package ca-certificates), or name the authority of the server \
                 with --cacert FILE (COUNTERSIGN_CACERT)"
            ),
            ClientConfigError::Authorities(_) => format!("--cacert {}: {why}", shown(&self.cacert)),
            ClientConfigError::Certificate(_) => format!("--cert {}: {why}", shown(&self.cert)),
            ClientConfigError::Key(_) => format!("--cert-key {}: {why}", shown(&self.cert_key)),
            ClientConfigError::OtherKey => {
                format!(
                    "{why}: --cert {} and --cert-key {} must be a pair",
                    shown(&self.cert),
                    shown(&self.cert_key)
                )
            }
        })
    }
}

/// Secret that must not be printed.
#[derive(Clone)]
pub struct Secret(pub(super) zeroize::Zeroizing<String>);

impl Secret {
    /// Creates a secret from a text. Whitespace at both ends is removed.
    pub fn new(text: &str) -> Self {
        Self(zeroize::Zeroizing::new(text.trim().to_owned()))
    }

    /// Returns true if the secret has only letters, digits, `_` and `-`, so that it can be sent in a header.
    pub fn is_plain(&self) -> bool {
        !self.0.is_empty()
            && self
                .0
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_the_loopback_keep_credentials_private() {
        for (url, uses_tls, is_loopback) in [
            ("http://127.0.0.1:7433", false, true),
            ("http://127.1.2.3", false, true),
            ("http://[::1]:7433/", false, true),
            ("http://localhost", false, true),
            ("https://localhost:7433/x", true, true),
            ("https://boundary.example", true, false),
            ("https://10.0.0.1:7433", true, false),
            ("http://10.0.0.1:7433", false, false),
            ("http://boundary.example", false, false),
            // These names and numbers may mean this machine, but the resolver of the system decides about them.
            ("http://localhost.example", false, false),
            ("http://localhost.", false, false),
            ("http://127.1", false, false),
            ("http://2130706433", false, false),
            ("http://0x7f000001", false, false),
            ("http://0.0.0.0:7433", false, false),
            ("http://[::]:7433", false, false),
            ("http://[::ffff:127.0.0.1]:7433", false, false),
        ] {
            let address = Address::parse(url).expect(url);
            assert_eq!(
                (address.uses_tls, address.is_loopback),
                (uses_tls, is_loopback),
                "{url}"
            );
            assert_eq!(
                address.check_private("the token").is_ok(),
                uses_tls || is_loopback,
                "{url}"
            );
        }
        let refused = Address::parse("http://10.0.0.1")
            .expect("an address")
            .check_private("the token");
        let message = refused.expect_err("plain HTTP").message;
        assert!(
            message.contains("https://") && message.contains("ssh -N -L"),
            "{message}"
        );
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for bad in [
            "",
            "boundary:7433",
            "ftp://x",
            "HTTP://127.0.0.1",
            "http://",
            "https://",
            "https://:443",
            "http://a b",
            "http://user@host",
            "http://127.0.0.1@evil.example",
            "http://127.0.0.1:7433@evil.example",
            "http://[::1]evil.example",
            "http://[::1",
            "http://127.0.0.1\\@evil.example",
            "http://localhost:99999",
            "http://localhost:x",
            "http://h/?q",
            "http://h#f",
            "http://h\n",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_malformed_address_is_refused_with_the_rule_and_without_a_password() {
        for (bad, words) in [
            (
                "https://u:secret@localhost:7433",
                "no user name and no password",
            ),
            ("u:secret@localhost", "no user name and no password"),
            (
                "https://u:a@secret@localhost/",
                "no user name and no password",
            ),
            (
                "https://u:/secret@localhost/",
                "no user name and no password",
            ),
            ("HTTPS://localhost", "in lower case"),
            ("localhost:7433", "begin with http:// or https://"),
            ("https://localhost:/", "a port between"),
            ("https://localhost:70000", "a port between"),
            ("https://h/?q", "remove `?`"),
            ("https://", "write a host"),
            ("https://:443", "write a host"),
        ] {
            let message = Address::parse(bad).expect_err(bad).message;
            assert!(
                message.contains(words) && !message.contains("secret"),
                "{bad}: {message}"
            );
        }
    }
}

#[cfg(test)]
mod job_identity_tests {
    use super::*;

    #[test]
    fn the_job_gives_its_id_token_or_a_message_about_what_is_missing() {
        let of_audience = |audience: Option<&str>, variables: &[(&str, &str)]| {
            let find = |name: &str| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            JobIdentity::of_variables(audience.map(str::to_owned), find)
                .map_err(|failure| failure.message)
        };
        let of = |variables: &[(&str, &str)]| of_audience(Some("countersign:a"), variables);
        let github = [
            (GITHUB[0], "https://github.example/?a=b"),
            (GITHUB[1], "t"),
            ("GITHUB_ACTIONS", "true"),
        ];
        assert!(matches!(of(&github), Ok(JobIdentity::GitHub(..))));
        assert!(
            of_audience(None, &github).is_err_and(|message| message.contains("--boundary-id")),
            "nothing is asked"
        );
        let given = |claims: &str| format!("a.{}.c", URL_SAFE_NO_PAD.encode(claims));
        for right in [
            r#"{"aud":"countersign:a"}"#,
            r#"{"aud":["countersign:a"]}"#,
            r#"{"aud":["b","countersign:a"]}"#,
        ] {
            assert!(matches!(
                of(&[github[0], github[1], (GIVEN, &given(right))]),
                Ok(JobIdentity::Given(_))
            ));
        }
        for wrong in [
            given(r#"{"aud":"countersign:b"}"#),
            given(r#"{"aud":["a","b"]}"#),
            "a.b.c".to_owned(),
        ] {
            assert!(
                of(&[(GIVEN, &wrong)]).is_err_and(|message| message.contains("was not sent")),
                "{wrong}"
            );
            assert!(
                matches!(
                    of_audience(None, &[(GIVEN, &wrong)]),
                    Ok(JobIdentity::Given(_))
                ),
                "the job chose it"
            );
        }
        assert!(of(&github[1..]).is_err_and(
            |message| message.contains("id-token: write") && !message.contains("GitLab")
        ));
        assert!(of(&[]).is_err_and(
            |message| message.contains("id-token: write") && message.contains("id_tokens")
        ));
    }
}
