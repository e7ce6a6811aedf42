//! Addresses of boundaries and mirrors.

use std::net::IpAddr;

use ureq::http::Uri;

use crate::{CommandFailure, CommandResult, PrintableText};

/// Default address of the boundary.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7433";

/// Address of a boundary or a mirror: `http` or `https`, host and port, and an optional path before `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    base: String,
    uses_tls: bool,
    is_loopback: bool,
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
        // The HTTP library connects to the host that this parser finds.
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

    /// Returns the URL without `/` at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns true if the client connects with TLS.
    pub const fn uses_tls(&self) -> bool {
        self.uses_tls
    }

    /// Returns true if the address is a loopback address.
    pub const fn is_loopback(&self) -> bool {
        self.is_loopback
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
        Err(CommandFailure::usage(format!(
            "{what} was not sent to {}: plain HTTP to another machine has no encryption. Use the https:// address of \
             the boundary, or a tunnel: ssh -N -L 7433:127.0.0.1:7433 HOST, and --url {DEFAULT_URL}",
            PrintableText::text(&self.base)
        )))
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
                (address.uses_tls(), address.is_loopback()),
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
