//! The services of the boundary that no run may reach: its database, its witnesses, and its nodes.

use std::sync::Arc;

use axum::http::Uri;

use crate::crossing::{cross::Crossing, stage::Admitted};
use documents::NetworkMode;

impl Crossing {
    /// Returns the services that an admitted run may not reach. The witnesses are those of the roster in force.
    pub(super) fn unreachable(&self, admitted: &Admitted) -> Arc<[(String, u16)]> {
        if admitted.document().predicate().sandbox.network.mode != NetworkMode::Allow {
            return [].into();
        }
        let witnesses = admitted.sealed().roster.tables().witness.iter();
        self.services
            .iter()
            .cloned()
            .chain(witnesses.filter_map(|witness| service_of(&witness.url)))
            .collect()
    }
}

/// Returns the host and the port of a URL.
fn service_of(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        });
    Some((uri.host()?.to_owned(), port))
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
