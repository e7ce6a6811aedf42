//! The server of the Model Context Protocol (MCP), for agents.
//!
//! The server is a view of the HTTP API: each tool makes HTTP calls through [`boundary_api::BoundaryApi`], with the
//! token of the agent or the key of a grantee. The module contains no signing code, and it cannot import the store, the
//! sandbox or the service.

pub mod answers;
pub mod boundary_api;
mod granted_use;
pub mod grantee_key;
pub mod line_transport;
mod output_reading;
pub mod progress;
pub mod run_evidence;
pub mod sent_proposals;
pub mod server;
pub mod tool_calls;
pub mod tools;
