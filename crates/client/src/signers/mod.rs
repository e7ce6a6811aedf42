//! Signers: private key files, and keys with which `ssh-keygen` signs.

pub mod signer;
pub mod ssh_agent;
