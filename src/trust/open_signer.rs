//! Opens a signing key, by what its file holds.

use std::io::Read as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::trust::signer::{FileSigner, Signer, SignerError, open};
use crate::trust::ssh::SshKeygenSigner;

/// The signer for the key in this file, whatever of the known kinds it is: a PKCS#8 private key, an OpenSSH
/// private key, or an OpenSSH public key whose private half an agent or a token holds.
///
/// # Errors
/// When the file can't be opened, is none of these, or breaks a rule for private keys.
pub fn open_signer(path: &Path) -> Result<Box<dyn Signer>, SignerError> {
    // A link is followed here, ssh keys often are links; the PKCS#8 file is opened again, without following.
    let file = open(path, OFlags::empty())?;
    // Enough to tell the kinds apart, too little to hold any of the secret.
    let mut head = [0_u8; 36];
    let mut length = 0;
    while length < head.len() {
        match (&file).read(&mut head[length..]).map_err(|error| SignerError::io("read", path, error))? {
            0 => break,
            more => length += more,
        }
    }
    let head = &head[..length];
    // The type at the start of a public key line, of whatever algorithm: its own reader names what it refuses.
    let word = head.split(|&c| c == b' ').next().unwrap_or_default();
    let public = word.first().is_some_and(u8::is_ascii_lowercase) && word.contains(&b'-');
    if public || head.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        Ok(Box::new(SshKeygenSigner::open(path)?))
    } else {
        Ok(Box::new(FileSigner::open(path)?))
    }
}
