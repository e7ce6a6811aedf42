//! Rosters and the public keys in them.
pub mod chain;
pub mod chain_error;
pub mod key_history;
pub mod succession;
pub mod trusted_roster;
pub mod version_file;
pub mod version_reading;
