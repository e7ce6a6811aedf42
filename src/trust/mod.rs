//! Who is who, and who signs.
pub mod signer;
pub mod ssh;
