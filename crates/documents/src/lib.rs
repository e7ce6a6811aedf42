//! The documents that are hashed and signed.
//!
//! - [`crypto`]: digests, strict JSON, signatures and Merkle trees
//! - [`yaml`]: YAML within the data model of JSON, with line numbers
//! - [`record`]: the documents
#![forbid(unsafe_code)]

pub mod crypto;
pub mod record;
pub mod yaml;
