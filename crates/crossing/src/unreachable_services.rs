//! The services of the boundary that no run may reach: its database, its witnesses, and its nodes.

use std::sync::Arc;

use crate::{Admitted, Crossing};
use documents::NetworkMode;

impl Crossing {
    /// Returns the services that an admitted run may not reach. The witnesses are those of the roster in force.
    pub(super) fn unreachable(&self, admitted: &Admitted) -> Arc<[(String, u16)]> {
        if admitted.verified.document.predicate().sandbox.network.mode != NetworkMode::Allow {
            return [].into();
        }
        let witnesses = admitted.verified.sealed.roster.tables().witnesses.values();
        self.services
            .iter()
            .cloned()
            .chain(witnesses.filter_map(|witness| service_of(&witness.url)))
            .collect()
    }
}

/// Returns the host and the port of a URL.
fn service_of(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (_, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    match address.rsplit_once(':') {
        // The last colon of an IPv6 address without a port is inside its brackets.
        Some((host, port)) if !port.ends_with(']') => Some((host.to_owned(), port.parse().ok()?)),
        _ => {
            let port = if scheme.eq_ignore_ascii_case("http") {
                80
            } else {
                443
            };
            Some((address.to_owned(), port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_witness_is_read_from_its_url() {
        for (url, service) in [
            ("https://witness.example", "witness.example:443"),
            (
                "https://Witness.example/base/path?x#y",
                "witness.example:443",
            ),
            ("http://witness.example/", "witness.example:80"),
            ("https://witness.example:8443/x", "witness.example:8443"),
            (
                "https://user:secret@witness.example:8443",
                "witness.example:8443",
            ),
            ("https://[fd00::1]/x", "[fd00::1]:443"),
            ("http://[fd00::1]:81/x", "[fd00::1]:81"),
        ] {
            let found =
                service_of(url).map(|(name, port)| format!("{name}:{port}").to_ascii_lowercase());
            assert_eq!(found.as_deref(), Some(service), "{url}");
        }
    }
}
