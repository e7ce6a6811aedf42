//! TLS. Only this module uses the crates of TLS and of certificates.

pub mod certificate_fields;
pub mod client_config;
pub mod client_problem;
pub mod database;
pub mod proxy_address;
pub mod server;
pub mod server_pair;
