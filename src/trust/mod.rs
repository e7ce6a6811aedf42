//! Rosters, signers and keys.
pub mod chain;
pub mod chain_error;
pub mod open_signer;
pub mod signer;
pub mod ssh;
pub mod succession;
pub mod trusted_roster;
