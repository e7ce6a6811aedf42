//! Who is who, and who signs.
pub mod chain;
pub mod roster;
pub mod signer;
pub mod ssh;
pub mod succession;
