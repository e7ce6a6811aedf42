//! The services of the boundary that no run may reach: its database, its witnesses, and its nodes.

use std::sync::Arc;

use crate::crossing::cross::Crossing;
use crate::crossing::stage::Admitted;
use documents::record::profile::NetworkMode;

impl Crossing {
    /// Returns the services that an admitted run may not reach. The witnesses are those of the roster in force.
    pub(super) fn unreachable(&self, admitted: &Admitted) -> Arc<[String]> {
        if admitted.document().predicate().sandbox.network.mode != NetworkMode::Allow {
            return [].into();
        }
        let witnesses = admitted.sealed().roster.tables().witness.iter();
        self.services.iter().cloned().chain(witnesses.filter_map(|witness| service_of(&witness.url))).collect()
    }
}

/// Returns the host and the port of a URL as `NAME:PORT`.
fn service_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()));
    if has_port {
        return Some(host);
    }
    Some(format!("{}:{}", host.trim_end_matches(':'), if scheme == "http" { 80 } else { 443 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_witness_is_read_from_its_url() {
        for (url, service) in [
            ("https://witness.example", "witness.example:443"),
            ("https://Witness.example/base/path?x#y", "witness.example:443"),
            ("http://witness.example/", "witness.example:80"),
            ("https://witness.example:8443/x", "witness.example:8443"),
            ("https://user:secret@witness.example:8443", "witness.example:8443"),
            ("https://[fd00::1]/x", "[fd00::1]:443"),
            ("http://[fd00::1]:81/x", "[fd00::1]:81"),
        ] {
            assert_eq!(service_of(url).as_deref(), Some(service), "{url}");
        }
    }
}
