//! Both ends of a connection to a boundary.
//!
//! - [`api`]: the bodies of the HTTP API
//! - [`tls`]: encrypted connections and their certificates
//! - [`mcp`]: the MCP server for agents, a view of the HTTP API
#![forbid(unsafe_code)]

pub mod api;
pub mod mcp;
pub mod tls;
