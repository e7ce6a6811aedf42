//! Opens a signer for a key file of any supported kind.

use std::io::Read as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::{FileSigner, Signer, SignerError, SshKeygenSigner, signers::signer::open};

/// Opens the signer for a key file: a PKCS#8 private key, an OpenSSH private key, or an OpenSSH public key whose
/// private half is in an agent or a hardware token.
///
/// # Errors
/// Returns an error if the file cannot be opened, is of an unsupported kind, or breaks a rule for private keys.
pub fn open_signer(path: &Path) -> Result<Box<dyn Signer>, SignerError> {
    // Follow symbolic links, because SSH keys often are links. A PKCS#8 file is opened again without following links.
    let file = open(path, OFlags::empty())?;
    // Enough bytes to distinguish the kinds of files, without any byte of the secret.
    let mut head = [0_u8; 36];
    let mut length = 0;
    while length < head.len() {
        match (&file)
            .read(&mut head[length..])
            .map_err(|error| SignerError::io("read", path, error))?
        {
            0 => break,
            more => length += more,
        }
    }
    let head = &head[..length];
    // Accept every type of key here, because the parser of public keys names an unsupported type in its error.
    let word = head.split(|&c| c == b' ').next().unwrap_or_default();
    let public = word.first().is_some_and(u8::is_ascii_lowercase) && word.contains(&b'-');
    if public || head.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        Ok(Box::new(SshKeygenSigner::open(path)?))
    } else {
        Ok(Box::new(FileSigner::open(path)?))
    }
}
