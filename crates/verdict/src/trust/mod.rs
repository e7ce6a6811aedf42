//! Rosters, signers and keys.
pub mod chain;
pub mod chain_error;
pub mod open_signer;
pub mod signer;
pub mod ssh;
pub mod ssh_agent;
pub mod succession;
pub mod trusted_roster;
pub mod version_file;
