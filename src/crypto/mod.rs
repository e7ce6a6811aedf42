//! Basic cryptography: bytes, digests, signatures and trees.
pub mod canonical;
mod canonical_text;
pub mod cosignature;
pub mod digest;
pub mod json;
pub mod merkle;
pub mod note;
mod shape;
pub mod signature;
pub mod sshsig;
mod writer;
