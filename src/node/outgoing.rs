//! HTTP clients of the service: for witnesses and for targets of messages.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;
use wire::ProxyAddress;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// Returns a client that follows no redirect. The proxy is for TLS only.
pub fn agent(tls: Option<TlsConfig>, proxy: Option<&ProxyAddress>) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(ANSWER))
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        config = config
            .https_only(true)
            .tls_config(tls)
            .proxy(proxy.and_then(ProxyAddress::proxy));
    }
    config.build().new_agent()
}
