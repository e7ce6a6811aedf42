//! Who is who, and who signs.
pub mod chain;
pub mod open_signer;
pub mod roster;
pub mod signer;
pub mod ssh;
pub mod succession;
