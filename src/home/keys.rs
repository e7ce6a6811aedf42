//! Which key signs: `--key`, `COUNTERSIGN_KEY`, the user's `countersign/key.pem`, or an ssh key.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::crypto::signature::pae;
use crate::crypto::sshsig::{KeyId, SshKey};
use crate::home::directories::Home;
use crate::record::envelope::EnvelopeSignature;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::Shown;
use crate::trust::open_signer::open_signer;
use crate::trust::signer::Signer;

/// The key to sign with.
#[derive(Debug, Clone, Default, Args)]
pub struct KeyArgs {
    /// The key that signs: a PKCS#8 file, an OpenSSH key, or the .pub of a key in ssh-agent or a security key.
    /// Else countersign/key.pem in your configuration directory, else the ssh-ed25519 keys in ~/.ssh
    #[arg(long, env = "COUNTERSIGN_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// Keys that could sign, the preferred one first.
#[derive(Debug, Default)]
pub struct Keys {
    signers: Vec<Box<dyn Signer>>,
}

impl KeyArgs {
    /// The keys of this user. A key that was named is the only one.
    ///
    /// # Errors
    /// When the named key, or the user's `key.pem`, is there and can't be used.
    pub fn find(&self) -> Result<Keys, Failure> {
        find(self.key.as_deref(), &Home::of_process())
    }
}

fn find(named: Option<&Path>, home: &Home) -> Result<Keys, Failure> {
    let open = |path: &Path| open_signer(path).map_err(|error| Failure::usage(error.to_string()));
    if let Some(path) = named {
        return Ok(Keys { signers: vec![open(path)?] });
    }
    let mut signers = Vec::new();
    if let Some(own) = home.config.as_ref().map(|config| config.join("key.pem")).filter(|path| path.exists()) {
        signers.push(open(&own)?);
    }
    if let Some(entries) = home.home.as_ref().and_then(|home| std::fs::read_dir(home.join(".ssh")).ok()) {
        let mut public: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        public.retain(|path| path.extension().is_some_and(|ending| ending == "pub"));
        public.sort();
        // Keys of other algorithms are not ours to complain about.
        signers.extend(public.iter().filter_map(|path| open_signer(path).ok()));
    }
    Ok(Keys { signers })
}

impl Keys {
    /// Every key.
    pub fn all(&self) -> impl Iterator<Item = &dyn Signer> {
        self.signers.iter().map(AsRef::as_ref)
    }

    /// The first key for which `fits` holds.
    pub fn first(&self, fits: impl Fn(&SshKey) -> bool) -> Option<&dyn Signer> {
        self.all().find(|signer| fits(signer.key()))
    }

    /// The first key for which `fits` holds, or the first of all.
    ///
    /// # Errors
    /// When there is no key at all.
    pub fn preferred(&self, fits: impl Fn(&SshKey) -> bool) -> Result<&dyn Signer, Failure> {
        self.first(fits).or_else(|| self.all().next()).ok_or_else(no_key)
    }

    /// Whether one of them is this one.
    #[must_use]
    pub fn holds(&self, keyid: &KeyId) -> bool {
        self.all().any(|signer| signer.key().keyid() == *keyid)
    }
}

fn no_key() -> Failure {
    Failure::new(
        Exit::Usage,
        "there is no key to sign with; make one with `countersign key generate`, or name one with --key FILE (any ssh-ed25519 key does)",
    )
}

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Opening reading at the boundary. Nothing is decided by it.
    Read,
    /// Approving a proposal.
    Approve,
    /// Denying a proposal.
    Deny,
    /// Signing a version of the roster.
    Roster,
    /// Signing the receipt of a run of one's own.
    Receipt,
}

impl Purpose {
    const fn words(self) -> &'static str {
        match self {
            Self::Read => "to read from the boundary",
            Self::Approve => "to approve",
            Self::Deny => "to deny",
            Self::Roster => "to sign the roster",
            Self::Receipt => "to sign the receipt of this run",
        }
    }

    const fn failure(self) -> &'static str {
        match self {
            Self::Read => "the key could not open reading at the boundary",
            Self::Approve | Self::Deny | Self::Roster | Self::Receipt => "nothing was signed",
        }
    }
}

/// Signs `body` as a DSSE message of this type. Where a person will be asked for a passphrase or a touch, this says first for
/// which key, and for what.
///
/// # Errors
/// When the key did not sign.
pub fn sign(
    signer: &dyn Signer,
    purpose: Purpose,
    payload_type: &str,
    body: &[u8],
) -> Result<EnvelopeSignature, Failure> {
    if let Some(file) = signer.asks() {
        let (file, key) = (file.to_string_lossy(), signer.key());
        let about = Shown::text(&format!("{file} ({} {})", key.keyid(), key.comment()));
        let _ = writeln!(std::io::stderr(), "ssh-keygen asks for the key {}, {}:", about.as_str(), purpose.words());
    }
    let signature = signer
        .sign(&pae(payload_type, body))
        .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", purpose.failure())))?;
    Ok(EnvelopeSignature::new(signer.key().keyid(), &signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::SecretKey;
    use crate::trust::signer::{write_public_key, write_secret_key};

    #[test]
    fn a_named_key_is_used_alone_and_the_own_key_precedes_ssh_keys() {
        let directory = tempfile::tempdir().expect("directory");
        let home = Home::of(Some(directory.path().into()), None);
        assert!(find(None, &home).expect("none").preferred(|_| true).is_err());
        let config = home.config.clone().expect("configuration");
        std::fs::create_dir_all(&config).expect("directory");
        let ssh = directory.path().join(".ssh");
        std::fs::create_dir_all(&ssh).expect("directory");
        write_secret_key(&config.join("key.pem"), &SecretKey::from_seed([1; 32])).expect("written");
        let other = SshKey::from_public(SecretKey::from_seed([2; 32]).public(), "x").expect("key");
        write_public_key(&ssh.join("id_ed25519.pub"), &other).expect("written");
        std::fs::write(ssh.join("id_rsa.pub"), "ssh-rsa AAAA x\n").expect("written");
        let keys = find(None, &home).expect("keys");
        assert_eq!(keys.all().count(), 2);
        assert_eq!(keys.preferred(|_| false).expect("key").key().public(), &SecretKey::from_seed([1; 32]).public());
        assert_eq!(keys.preferred(|key| *key == other).expect("key").key(), &other);
        let named = find(Some(&ssh.join("id_ed25519.pub")), &home).expect("keys");
        assert_eq!(named.all().count(), 1);
        assert!(find(Some(&ssh.join("none")), &home).is_err());
    }
}
