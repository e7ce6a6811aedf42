//! TLS. Only this module uses the crates of TLS and of certificates.

pub mod client_config;
pub mod proxy_address;
pub mod server;
