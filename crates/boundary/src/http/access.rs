//! Checks of the bearer token and of the headers Host and Origin.
//!
//! A hostile website can point its own host name to the address of this service (DNS rebinding). A browser then sends
//! the host name of the website in `Host`, and this module refuses the request. The service sends no CORS headers and
//! ignores proxy headers (`X-Forwarded-*`).

use std::net::{IpAddr, SocketAddr};

use axum::http::{
    HeaderMap, HeaderName, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN},
};

use crate::fail;
use crossing::{RequestResult, refuse};
use documents::Code;

/// Host names under which clients may call this service.
pub struct Hosts {
    bound: SocketAddr,
    /// True if clients use https.
    encrypted: bool,
    names: Vec<String>,
}

impl Hosts {
    /// Allows loopback names with the port of `bound`, the address `bound` itself, and each name in `names`. A name has
    /// the form `host` (any port) or `host:port`.
    pub fn new(bound: SocketAddr, encrypted: bool, names: &[String]) -> Self {
        Self {
            bound,
            encrypted,
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    /// Refuses a request with an unknown `Host`, or a request that a page of another origin sent.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> RequestResult {
        let host = only(headers, &HOST)?
            .ok_or_else(|| refuse(Code::Forbidden, "the request has no Host header"))?;
        if uri
            .authority()
            .is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host))
        {
            return fail(
                Code::Forbidden,
                "the request's target and its Host header differ",
            );
        }
        if !self.is_ours(host) {
            let port = self.bound.port();
            let detail = format!(
                "the service does not accept the host name or the port of this address: on the same machine and through \
                 a tunnel (ssh -L {port}:localhost:{port}), use localhost:{port}; for another name, the operator must \
                 add the name to `hosts` in countersign.toml and restart the service"
            );
            return fail(Code::Forbidden, &detail);
        }
        match only(headers, &ORIGIN)? {
            None => Ok(()),
            Some(origin) => {
                // Without TLS of its own, the service may be behind a proxy with TLS, so both schemes are valid.
                let plain = origin.strip_prefix("http://").filter(|_| !self.encrypted);
                let from = plain.or_else(|| origin.strip_prefix("https://"));
                if from.is_some_and(|from| from.eq_ignore_ascii_case(host)) {
                    Ok(())
                } else {
                    fail(
                        Code::Forbidden,
                        "pages of other origins may not call this service",
                    )
                }
            }
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some((name, port)) = split_port(host) else {
            return false;
        };
        let here = port.unwrap_or(if self.encrypted { 443 } else { 80 }) == self.bound.port();
        let address = match name.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .and_then(|v6| v6.parse().ok())
                .map(IpAddr::V6),
            None => name.parse().ok().map(IpAddr::V4),
        };
        let local = match address {
            Some(address) => address.is_loopback() || address == self.bound.ip(),
            None => name.eq_ignore_ascii_case("localhost"),
        };
        (local && here)
            || self.names.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name)
            })
    }
}

/// Splits a text of the form `name`, `name:port`, `[v6]` or `[v6]:port`. Returns `None` for any other text.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, rest) = host.split_at(end);
    let plain = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    if name.is_empty() || !(name.starts_with('[') || name.bytes().all(plain)) {
        return None;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((name, None)),
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
            Some((name, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

/// Returns the bearer token of the `Authorization` header, or `None` if the request has no such header.
pub fn bearer(headers: &HeaderMap) -> RequestResult<Option<&str>> {
    let Some(value) = only(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    match value.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() =>
        {
            Ok(Some(token.trim()))
        }
        _ => fail(
            Code::Unauthenticated,
            "expected `Authorization: Bearer cst_...`",
        ),
    }
}

/// Returns the value of a header as text. The function refuses a header that occurs twice.
pub fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> RequestResult<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return fail(Code::Malformed, format!("the header {name} occurs twice"));
    }
    value.to_str().map(Some).map_err(|_| {
        refuse(
            Code::Malformed,
            format!("the header {name} is not plain text"),
        )
    })
}

/// Returns true if a query field looks like a secret. Such a field is refused, because queries appear in logs and
/// browser histories.
pub fn looks_secret(key: &str, value: &str) -> bool {
    value.starts_with("cst_")
        || [
            "token",
            "access_token",
            "bearer",
            "authorization",
            "api_key",
        ]
        .iter()
        .any(|name| key.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use crossing::Stopped;

    use super::*;

    fn checked(host: Option<&str>, origin: Option<&str>) -> Result<(), u16> {
        let names = ["Approve.example".into(), "alt.example:8443".into()];
        let hosts = Hosts::new(([127, 0, 0, 1], 7433).into(), false, &names);
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).expect("a header"));
            }
        }
        hosts
            .check(&headers, &Uri::from_static("/health"))
            .map_err(|stopped| problem_status(&stopped))
    }

    fn problem_status(stopped: &Stopped) -> u16 {
        crate::http::problem::problem(stopped).status
    }

    #[test]
    fn only_loopback_addresses_with_the_port_of_the_service_and_allowed_names_are_valid_hosts() {
        for good in [
            "127.0.0.1:7433",
            "127.8.9.1:7433",
            "localhost:7433",
            "LocalHost:7433",
            "[::1]:7433",
            "approve.example",
            "approve.example:443",
            "ALT.example:8443",
        ] {
            assert_eq!(checked(Some(good), None), Ok(()), "{good}");
        }
        for bad in [
            "evil.example:7433",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost:7434",
            "localhost.evil.example:7433",
            "evil.example",
            "alt.example",
            "alt.example:1",
            "10.0.0.1:7433",
            "[::2]:7433",
            "[::1:7433",
            "::1:7433",
            "127.0.0.1:7433:7433",
            "127.0.0.1:+7433",
            "127.1:7433",
            "user@localhost:7433",
            "localhost:7433/",
            ":7433",
            "",
        ] {
            assert_eq!(checked(Some(bad), None), Err(403), "{bad}");
        }
        assert_eq!(checked(None, None), Err(403));
    }

    #[test]
    fn a_request_of_another_origin_is_refused() {
        assert_eq!(
            checked(Some("localhost:7433"), Some("http://localhost:7433")),
            Ok(())
        );
        assert_eq!(
            checked(Some("approve.example"), Some("https://approve.example")),
            Ok(())
        );
        for bad in [
            "http://127.0.0.1:7433",
            "null",
            "http://localhost",
            "http://evil.example",
            "localhost:7433",
            "",
        ] {
            assert_eq!(
                checked(Some("localhost:7433"), Some(bad)),
                Err(403),
                "{bad}"
            );
        }
    }

    #[test]
    fn with_tls_only_the_https_origin_and_the_default_port_of_https_are_accepted() {
        let checked = |port, host: &'static str, origin: &'static str| {
            let hosts = Hosts::new(
                ([127, 0, 0, 1], port).into(),
                true,
                &["approve.example".into()],
            );
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            hosts.check(&headers, &Uri::from_static("/health")).is_ok()
        };
        assert!(checked(7433, "localhost:7433", "https://localhost:7433"));
        assert!(checked(7433, "approve.example", "https://approve.example"));
        assert!(checked(443, "localhost", "https://localhost"));
        assert!(!checked(80, "localhost", "https://localhost"));
        assert!(!checked(7433, "localhost:7433", "http://localhost:7433"));
        assert!(!checked(7433, "approve.example", "http://approve.example"));
    }

    #[test]
    fn a_host_header_that_is_repeated_or_differs_from_the_target_is_refused() {
        let hosts = Hosts::new(([127, 0, 0, 1], 7433).into(), false, &[]);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost:7433"));
        assert!(
            hosts
                .check(&headers, &Uri::from_static("http://localhost:7433/"))
                .is_ok()
        );
        assert!(
            hosts
                .check(&headers, &Uri::from_static("http://evil.example/"))
                .is_err()
        );
        headers.append(HOST, HeaderValue::from_static("localhost:7433"));
        assert!(hosts.check(&headers, &Uri::from_static("/")).is_err());
    }

    #[test]
    fn only_the_bearer_scheme_with_a_token_is_accepted() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers)
                .map(|bearer| bearer.map(str::to_owned))
                .map_err(|stopped| problem_status(&stopped))
        };
        assert_eq!(of("Bearer cst_x"), Ok(Some("cst_x".into())));
        assert_eq!(of("bearer  cst_x "), Ok(Some("cst_x".into())));
        for bad in ["Basic dTpw", "cst_x", "Bearer", "Bearer ", ""] {
            assert_eq!(of(bad), Err(401), "{bad}");
        }
        assert!(bearer(&HeaderMap::new()).expect("none is fine").is_none());
    }
}
