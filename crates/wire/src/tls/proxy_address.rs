//! The address of a proxy through which a client opens connections with CONNECT (RFC 9110, section 9.3.6).

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ureq::{
    Agent, Proxy, ProxyProtocol, config::ConfigBuilder, tls::TlsConfig, typestate::AgentScope,
};

/// The address of an HTTP proxy: `http://HOST:PORT`. TLS runs between the client and the server, through the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyAddress(String);

impl ProxyAddress {
    /// Returns the setting of an HTTP client.
    fn proxy(&self) -> Option<Proxy> {
        Proxy::new(&self.0).ok()
    }
}

impl FromStr for ProxyAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let proxy = Proxy::new(text)
            .ok()
            .filter(|proxy| proxy.protocol() == ProxyProtocol::Http);
        match proxy.filter(|_| text.starts_with("http://")) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(
                "a proxy has an address such as http://proxy.example:3128: write this form"
                    .to_owned(),
            ),
        }
    }
}

impl TryFrom<String> for ProxyAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProxyAddress> for String {
    fn from(address: ProxyAddress) -> Self {
        address.0
    }
}

impl AsRef<str> for ProxyAddress {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Begins the settings of a client that follows no redirect and ignores the proxy settings of the environment. The
/// proxy is for TLS only.
pub fn agent_config(
    tls: Option<TlsConfig>,
    proxy: Option<&ProxyAddress>,
) -> ConfigBuilder<AgentScope> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false);
    match tls {
        Some(tls) => config
            .https_only(true)
            .tls_config(tls)
            .proxy(proxy.and_then(ProxyAddress::proxy)),
        None => config,
    }
}

/// Returns advice if the environment names a proxy, which this program never uses. `instead` is the setting of this
/// program that names a proxy.
pub fn unused_proxy(instead: &str) -> Option<String> {
    let set = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let name = set
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    Some(format!(
        "{name} is set, but this program uses a proxy only if {instead} names it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_address_names_a_proxy() {
        for text in [
            "http://proxy.example:3128",
            "http://10.0.0.1:8080",
            "http://user:word@proxy:3128",
        ] {
            assert_eq!(
                text.parse::<ProxyAddress>().map(|address| address.0),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "proxy:3128",
            "socks5://a:1",
            "https://a:1",
            "ftp://a",
            "http://",
            "http:// a",
        ] {
            assert!(text.parse::<ProxyAddress>().is_err(), "{text}");
        }
    }
}
