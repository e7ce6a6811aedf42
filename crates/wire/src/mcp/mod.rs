//! The server of the Model Context Protocol (MCP), for agents.
//!
//! The server is a view of the HTTP API: each tool makes HTTP calls through [`boundary_api::BoundaryApi`], with the
//! token of the agent. The module contains no signing code, and it cannot import the store, the sandbox or the service.

pub mod answers;
pub mod boundary_api;
pub mod line_transport;
mod output_reading;
pub mod progress;
mod rpc_errors;
pub mod run_evidence;
mod sent_proposals;
pub mod server;
pub mod tool_calls;
pub mod tool_problem;
pub mod tools;
pub mod visible_text;
