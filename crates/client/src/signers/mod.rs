//! Signers: private key files, and keys with which `ssh-keygen` signs.

pub mod open_signer;
pub mod signer;
pub mod ssh;
pub mod ssh_agent;
