//! Basic cryptography: bytes, digests, signatures and trees.
pub mod canonical;
pub mod digest;
pub mod json;
pub mod key_file;
pub mod key_id;
pub mod merkle;
pub mod note;
pub mod passkey;
pub mod passkey_signing;
pub mod secret_value;
mod shape;
pub mod signature;
pub mod ssh_key;
pub mod ssh_wire;
pub mod sshsig;
mod writer;
