//! Parses a request to a proxy.
//!
//! The request is `CONNECT name:port`, or a request with an absolute `http://` target. Requests that two parsers could
//! read differently are refused, because the server must see the same host as the proxy, and a request must not hide a
//! second one.

/// Maximum size of a request head, in bytes.
pub(crate) const MOST_HEAD: usize = 16 << 10;
const MOST_HEADERS: usize = 100;

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyTarget {
    /// Name of the host in lower case.
    pub(crate) name: String,
    pub(crate) port: u16,
    /// The request to forward, or `None` if the client requests a tunnel.
    pub(crate) forward: Option<RequestHead>,
}

/// The head of a request that the proxy forwards to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) bytes: Vec<u8>,
    /// Length of the request's body, in bytes.
    pub(crate) body: u64,
}

impl ProxyTarget {
    /// Returns `name:port`, in the same format as an allow list.
    pub(crate) fn target(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }
}

/// Parses a request head, including the empty line at its end.
pub(crate) fn parse(head: &[u8]) -> Result<ProxyTarget, &'static str> {
    let text = std::str::from_utf8(head).map_err(|_| "the request is not UTF-8 text")?;
    if text.bytes().any(|c| (c < b' ' && !matches!(c, b'\r' | b'\n' | b'\t')) || c == 0x7f) {
        return Err("the request contains control characters");
    }
    let text = text.strip_suffix("\r\n\r\n").ok_or("the request does not end with an empty line")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let headers: Vec<&str> = lines.collect();
    if text.replace("\r\n", "").contains(['\r', '\n']) {
        return Err("a line does not end with CR LF");
    }
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the first line is not a method, a target and a version");
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err("only HTTP/1.1 and HTTP/1.0 are supported");
    }
    if method.is_empty() || !method.bytes().all(|c| c.is_ascii_uppercase()) {
        return Err("the method is not in capital letters");
    }
    if method == "CONNECT" {
        let (name, port) = authority(target, None)?;
        return Ok(ProxyTarget { name, port, forward: None });
    }
    let scheme_less = target
        .strip_prefix("http://")
        .ok_or("the target is not absolute: this proxy accepts CONNECT name:port and http://name/path")?;
    let at = scheme_less.find(['/', '?', '#']).unwrap_or(scheme_less.len());
    let (host, path) = scheme_less.split_at(at);
    let (name, port) = authority(host, Some(80))?;
    if !path.bytes().all(|c| c.is_ascii_graphic()) || path.contains('#') {
        return Err("the target's path contains characters that must be escaped");
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (kept, body) = kept(&headers)?;
    let host = if port == 80 { name.clone() } else { format!("{name}:{port}") };
    let bytes = format!("{method} {path} {version}\r\nHost: {host}\r\nConnection: close\r\n{kept}\r\n").into_bytes();
    Ok(ProxyTarget { name, port, forward: Some(RequestHead { bytes, body }) })
}

/// Returns the headers to forward and the length of the body.
fn kept(headers: &[&str]) -> Result<(String, u64), &'static str> {
    if headers.len() > MOST_HEADERS {
        return Err("the request has too many headers");
    }
    let (mut kept, mut body) = (String::new(), None);
    for line in headers {
        let (name, value) = line.split_once(':').ok_or("a header has no colon")?;
        let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        // Parsers disagree on folded lines and on blanks before the colon.
        if name.is_empty() || !name.bytes().all(token) {
            return Err("a header's name contains forbidden characters");
        }
        match name.to_ascii_lowercase().as_str() {
            "host" | "connection" | "keep-alive" | "te" | "trailer" | "upgrade" | "expect" => {}
            hop if hop.starts_with("proxy-") => {}
            "transfer-encoding" => return Err("a body without a length is not forwarded: send Content-Length"),
            "content-length" => {
                let value = value.trim_matches([' ', '\t']);
                let digits = !value.is_empty() && value.len() <= 15 && value.bytes().all(|c| c.is_ascii_digit());
                if body.is_some() || !digits {
                    return Err("Content-Length is given twice, or is not a number");
                }
                body = value.parse::<u64>().ok();
                kept.push_str(line);
                kept.push_str("\r\n");
            }
            _ => {
                kept.push_str(line);
                kept.push_str("\r\n");
            }
        }
    }
    Ok((kept, body.unwrap_or(0)))
}

/// Parses `name:port`, and returns an error for an IP address in any notation.
fn authority(text: &str, default: Option<u16>) -> Result<(String, u16), &'static str> {
    if text.contains(['@', '[', ']', '%', '\\', '/', '?', '#']) {
        return Err("the target is not a plain host name with a port");
    }
    let (name, port) = match (text.rsplit_once(':'), default) {
        (Some((name, port)), _) => (name, Some(port)),
        (None, Some(_)) => (text, None),
        (None, None) => return Err("the target has no port"),
    };
    let port = match (port, default) {
        (Some(port), _) if !port.is_empty() && port.len() <= 5 && port.bytes().all(|c| c.is_ascii_digit()) => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("the target's port is not in the range 1 to 65535")?,
        (None, Some(default)) => default,
        _ => return Err("the port of the target is not a number"),
    };
    // A trailing dot names the same host, but would not match the allow list.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    documents::record::host_names::check_address(&format!("{name}:{port}"))
        .map_err(|_| "the target is not a host name, and numeric addresses are not allowed")?;
    Ok((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<ProxyTarget, &'static str> {
        parse(text.as_bytes())
    }

    #[test]
    fn connect_requests_and_absolute_targets_are_parsed() {
        let tunnel = asked("CONNECT Api.Example.com:443 HTTP/1.1\r\nHost: other\r\n\r\n").expect("a tunnel");
        assert_eq!((tunnel.target().as_str(), &tunnel.forward), ("api.example.com:443", &None));
        let plain = asked(
            "POST http://a.example/x?y=1 HTTP/1.1\r\nHost: evil.example\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\n\
             content-length: 3\r\nX-Kept: 1\r\n\r\n",
        )
        .expect("a request");
        assert_eq!(plain.target(), "a.example:80");
        let head = plain.forward.expect("passed on");
        let text = String::from_utf8(head.bytes).expect("text");
        assert_eq!(
            (text.as_str(), head.body),
            (
                "POST /x?y=1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\ncontent-length: 3\r\nX-Kept: 1\r\n\r\n",
                3
            )
        );
        assert_eq!(
            asked("GET http://a.example:8080 HTTP/1.0\r\n\r\n").map(|one| one.target()),
            Ok("a.example:8080".into())
        );
        assert_eq!(
            asked("CONNECT a.example.:443 HTTP/1.1\r\n\r\n").map(|one| one.target()),
            Ok("a.example:443".into())
        );
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        for bad in [
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET https://a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example@b.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example\\@b.example/ HTTP/1.1\r\n\r\n",
            "GET http://127.0.0.1/ HTTP/1.1\r\n\r\n",
            "GET http://2130706433/ HTTP/1.1\r\n\r\n",
            "GET http://0x7f.1/ HTTP/1.1\r\n\r\n",
            "GET http://[::1]/ HTTP/1.1\r\n\r\n",
            "GET http://a.example%2f@b/ HTTP/1.1\r\n\r\n",
            "CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n",
            "CONNECT [::ffff:127.0.0.1]:80 HTTP/1.1\r\n\r\n",
            "CONNECT a.example HTTP/1.1\r\n\r\n",
            "CONNECT a.example:0 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:99999 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443:1 HTTP/1.1\r\n\r\n",
            "CONNECT  a.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/2\r\n\r\n",
            "CONNECT a.example:443\r\n\r\n",
            "connect a.example:443 HTTP/1.1\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\n\n",
            "GET http://a.example/ HTTP/1.1\nX: 1\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nX: 1\r\n folded: 2\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nX : 1\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nno colon\r\n\r\n",
            "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET http://a.example/\u{0} HTTP/1.1\r\n\r\n",
            "GET http://a.example/ä HTTP/1.1\r\n\r\n",
            "",
            "\r\n\r\n",
        ] {
            assert!(asked(bad).is_err(), "{bad:?}: {:?}", asked(bad));
        }
    }
}
