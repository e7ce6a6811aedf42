//! Reads the documents of issuers of ID tokens.

use wire::{ProxyAddress, TlsProblem, client_config, unused_proxy};

use crate::node::witnessing::agent;
use boundary::MAX_DOCUMENT_BYTES;

/// Reads a document over TLS, without redirects and within 10 s. `authorities` is the PEM text of the trusted authorities;
/// without it, those of the system are trusted.
///
/// # Errors
/// Returns a message with the address.
pub fn fetch(
    url: &str,
    authorities: Option<&str>,
    proxy: Option<&ProxyAddress>,
) -> Result<Vec<u8>, String> {
    let of = |why: String| format!("{url}: {why}");
    let tls = client_config(authorities.map(str::as_bytes), None)
        .map_err(|error| of(error.to_string()))?;
    let answer = agent(Some(tls), proxy)
        .get(url)
        .header("accept", "application/json")
        .call();
    let mut answer = answer.map_err(|error| {
        let problem = TlsProblem::of(&error);
        let why = problem.map_or_else(|| error.to_string(), |problem| problem.to_string());
        let unused = unused_proxy("`proxy` in the configuration").filter(|_| proxy.is_none());
        of(unused.map_or_else(|| why.clone(), |advice| format!("{why}; {advice}")))
    })?;
    match answer.status().as_u16() {
        200 => {}
        status @ 300..400 => return Err(of(format!("the answer is a redirect ({status})"))),
        status => return Err(of(format!("the answer has the status {status}"))),
    }
    let body = answer
        .body_mut()
        .with_config()
        .limit(MAX_DOCUMENT_BYTES as u64)
        .read_to_vec();
    body.map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(most) => of(format!("the answer has more than {most} bytes")),
        error => of(error.to_string()),
    })
}
