//! Chooses the key that signs: `--key`, `COUNTERSIGN_KEY`, `countersign/key.pem` in the user's configuration
//! directory, or an SSH key.
//!
//! The module also finds the private keys that any program of this user can use without a person: key files and the
//! keys in ssh-agent.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use clap::Args;

use crate::{
    CommandFailure, CommandResult, Home, PrintableText, Signer, SshKeygenSigner, open_signer,
    read_bounded, ssh_agent,
};
use documents::{EnvelopeSignature, KeyId, Name, PAYLOAD_TYPE, SecretKey, SshKey, locked, pae};
use verdict::TrustedRoster;
use wire::CHALLENGE_TYPE;

/// Option that names the signing key.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// The key that signs: a PKCS#8 file, an OpenSSH key, or the .pub file of a key in ssh-agent or on a security key.
    /// The default is countersign/key.pem in your configuration directory, or else the ssh-ed25519 keys in ~/.ssh
    #[arg(long, env = "COUNTERSIGN_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Further keys, after `key`.
    #[arg(skip)]
    pub more: Vec<PathBuf>,
}

/// Keys that could sign, in order of preference.
#[derive(Default)]
pub struct Keys {
    signers: Vec<Box<dyn Signer>>,
}

impl KeyArgs {
    /// Returns the keys of this user, or only the key that the user named.
    ///
    /// # Errors
    /// Returns an error if the named key, or an existing `key.pem` of the user, cannot be used.
    pub fn find(&self) -> CommandResult<Keys> {
        let mut keys = find(self.key.as_deref(), &Home::of_process())?;
        for path in &self.more {
            keys.signers.push(open(path)?);
        }
        Ok(keys)
    }
}

fn open(path: &Path) -> CommandResult<Box<dyn Signer>> {
    open_signer(path).map_err(CommandFailure::usage)
}

fn find(named: Option<&Path>, home: &Home) -> CommandResult<Keys> {
    if let Some(path) = named {
        return Ok(Keys {
            signers: vec![open(path)?],
        });
    }
    let mut signers = Vec::new();
    if let Some(own) = home
        .config
        .as_ref()
        .map(|config| config.join("key.pem"))
        .filter(|path| path.exists())
    {
        signers.push(open(&own)?);
    }
    if let Some(entries) = home
        .home
        .as_ref()
        .and_then(|home| std::fs::read_dir(home.join(".ssh")).ok())
    {
        let mut public: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        public.retain(|path| path.extension().is_some_and(|ending| ending == "pub"));
        public.sort();
        // `~/.ssh` may contain keys of other algorithms, so unusable keys are skipped.
        signers.extend(public.iter().filter_map(|path| open_signer(path).ok()));
    }
    Ok(Keys { signers })
}

impl Keys {
    /// Returns all keys.
    pub fn all(&self) -> impl Iterator<Item = &dyn Signer> {
        self.signers.iter().map(AsRef::as_ref)
    }

    /// Returns the ids of all keys.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().map(|signer| signer.key().keyid()).collect()
    }

    /// Returns the first key for which `fits` returns true.
    pub fn first(&self, fits: impl Fn(&SshKey) -> bool) -> Option<&dyn Signer> {
        self.all().find(|signer| fits(signer.key()))
    }

    /// Returns the first key for which `fits` returns true, or else the first key.
    ///
    /// # Errors
    /// Returns an error if there is no key.
    pub fn preferred(&self, fits: impl Fn(&SshKey) -> bool) -> CommandResult<&dyn Signer> {
        self.first(fits)
            .or_else(|| self.all().next())
            .ok_or_else(|| {
                CommandFailure::usage(
                    "there is no key to sign with; make a key with `countersign key generate`, or name any ssh-ed25519 \
                     key with --key FILE",
                )
            })
    }

    /// Returns a key that belongs to an approver of the roster, and the name of the approver.
    ///
    /// # Errors
    /// Returns an error if no key belongs to an approver of the roster.
    pub fn of_approver(
        &self,
        roster: Option<&TrustedRoster>,
    ) -> CommandResult<(&dyn Signer, Name)> {
        let approver = |keyid: &KeyId| {
            roster
                .and_then(|roster| roster.approver_of(keyid))
                .map(|(approver, _)| approver)
        };
        let signer = self.preferred(|key| approver(&key.keyid()).is_some())?;
        let keyid = signer.key().keyid();
        let name = approver(&keyid).map(|approver| approver.name.clone()).ok_or_else(|| {
            CommandFailure::refused(format!(
                    "nothing was signed: {keyid} is no approver's key in roster version {}; name your key with --key FILE",
                    roster.map_or(0, TrustedRoster::version)
                ),
            )
        })?;
        Ok((signer, name))
    }
}

documents::words! {
    /// Purpose of a signature.
    pub enum SignaturePurpose {
        /// Authenticate read requests to the boundary. The signature approves nothing.
        Read = "to read from the boundary",
        /// Approve a proposal.
        Approve = "to approve",
        /// Deny a proposal.
        Deny = "to deny",
        /// Revoke a key or a token, or freeze a boundary.
        Revoke = "to sign the revocation",
        /// Review a run.
        Review = "to sign the review of the run",
        /// Sign a version of the roster.
        Roster = "to sign the roster",
        /// Approve a standing grant.
        Grant = "to approve the standing grant",
        /// Run a step under a standing grant.
        Use = "to run a step under the standing grant",
    }
}

/// Lock that is held while ssh-keygen asks a question. Several boundaries are read at the same time, but a person
/// answers one question at a time.
static ONE_QUESTION: Mutex<()> = Mutex::new(());

/// Signs `body` as a DSSE message: a challenge to read, or else a statement. If ssh-keygen will ask for a passphrase or
/// a touch, the function first prints the key and the purpose.
///
/// # Errors
/// Returns an error if the key could not sign.
pub fn sign(
    signer: &dyn Signer,
    purpose: SignaturePurpose,
    body: &[u8],
) -> CommandResult<EnvelopeSignature> {
    let mut _turn = None;
    if let Some(file) = signer.asks() {
        _turn = Some(locked(&ONE_QUESTION));
        let (file, key) = (file.to_string_lossy(), signer.key());
        let about = PrintableText::text(&format!("{file} ({} {})", key.keyid(), key.comment()));
        let _ = writeln!(
            std::io::stderr(),
            "ssh-keygen asks for the key {about}, {purpose}:"
        );
    }
    let (payload_type, failed) = match purpose {
        SignaturePurpose::Read => (
            CHALLENGE_TYPE,
            "the boundary could not be read with this key",
        ),
        // The match has no wildcard, so a new purpose must choose its payload type here.
        SignaturePurpose::Approve
        | SignaturePurpose::Deny
        | SignaturePurpose::Revoke
        | SignaturePurpose::Review
        | SignaturePurpose::Grant
        | SignaturePurpose::Roster
        | SignaturePurpose::Use => (PAYLOAD_TYPE, "nothing was signed"),
    };
    let signature = signer
        .sign(&pae(payload_type, body))
        .map_err(|error| CommandFailure::usage(format!("{failed}: {error}")))?;
    Ok(EnvelopeSignature::new(signer.key().keyid(), &signature))
}

/// Maximum size of a key file in bytes.
const MAX_KEY_BYTES: usize = 64 << 10;

/// Maximum number of ancestor processes whose environment is searched.
#[cfg(target_os = "linux")]
const MAX_ANCESTORS: usize = 64;

/// A key that a program of this user can use.
pub struct UsableKey {
    /// Fingerprint of the key.
    pub keyid: KeyId,
    /// Place of the key, as text for messages.
    pub place: String,
}

/// The keys that were found.
#[derive(Default)]
pub struct UsableKeys {
    /// Keys that need no person.
    pub keys: Vec<UsableKey>,
    /// Places that could not be searched, with the reason.
    pub unknown: Vec<String>,
}

/// Returns the keys of this user.
///
/// The search covers the named keys, the files of `countersign` in the configuration directories,
/// the files of `~/.ssh`, and the agent behind `SSH_AUTH_SOCK`. A file with a passphrase is skipped, because a program
/// cannot use it alone.
pub fn usable_keys(
    homes: &[Home],
    named: impl IntoIterator<Item = PathBuf>,
    agent: Option<OsString>,
) -> UsableKeys {
    let mut found = UsableKeys::default();
    if homes.iter().all(|home| home.home.is_none()) {
        found.unknown.push(
            "the home directory of this user is unknown: set HOME to its absolute path".to_owned(),
        );
    }
    let mut files: Vec<PathBuf> = named.into_iter().collect();
    let directories = homes
        .iter()
        .flat_map(|home| {
            [
                home.config.clone(),
                home.home.as_ref().map(|home| home.join(".ssh")),
            ]
        })
        .flatten();
    for entries in directories.filter_map(|directory| std::fs::read_dir(directory).ok()) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    // The private half of `id_ed25519.pub` is `id_ed25519`.
    let private = |path: PathBuf| match path.extension() {
        Some(ending) if ending == "pub" => path.with_extension(""),
        _ => path,
    };
    files = files
        .into_iter()
        .map(private)
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files.dedup();
    for path in files {
        if let Some(keyid) = key_of_file(&path) {
            let shown = PrintableText::file(&path);
            found.keys.push(UsableKey {
                keyid,
                place: format!("the file {shown}"),
            });
        }
    }
    if let Some(socket) = agent.filter(|socket| !socket.is_empty()) {
        let place = format!("the ssh-agent {}", PrintableText::file(Path::new(&socket)));
        match ssh_agent::keys(Path::new(&socket)) {
            Ok(keys) => {
                found.keys.extend(keys.iter().map(|key| UsableKey {
                    keyid: key.keyid(),
                    place: place.clone(),
                }));
            }
            // Without an agent behind the socket, no program can use a key there.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                found.unknown.push(format!(
                    "{place}: {error}: correct this, or set SSH_AUTH_SOCK to an empty text"
                ));
            }
        }
    }
    found
}

/// Returns the variable of the nearest ancestor process that belongs to the same user and has the variable. Clients of
/// MCP often start a server without the variables of the user, although the agent's own programs have them.
#[cfg(target_os = "linux")]
pub fn variable_of_ancestors(name: &str) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::MetadataExt as _;

    let user = rustix::process::geteuid().as_raw();
    let mut process = rustix::process::getppid()?.as_raw_nonzero().to_string();
    for _ in 0..MAX_ANCESTORS {
        let place = PathBuf::from(format!("/proc/{process}"));
        let is_own = std::fs::metadata(&place).is_ok_and(|meta| meta.uid() == user);
        let environment = if is_own {
            std::fs::read(place.join("environ")).unwrap_or_default()
        } else {
            Vec::new()
        };
        let value = |entry: &'_ [u8]| {
            entry
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
                .map(<[u8]>::to_vec)
        };
        if let Some(found) = environment.split(|byte| *byte == 0).find_map(value) {
            return Some(OsString::from_vec(found));
        }
        let status = std::fs::read_to_string(place.join("status")).ok()?;
        process = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))?
            .trim()
            .to_owned();
    }
    None
}

/// Returns `None`, because this system does not show the environment of other processes.
#[cfg(not(target_os = "linux"))]
pub fn variable_of_ancestors(_name: &str) -> Option<OsString> {
    None
}

/// Returns the key of a private key file, even if the mode of the file lets others read it.
fn key_of_file(path: &Path) -> Option<KeyId> {
    let text = zeroize::Zeroizing::new(read_bounded(path, MAX_KEY_BYTES).ok()?);
    let text = std::str::from_utf8(&text).ok()?;
    if text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        let signer = SshKeygenSigner::open(path).ok()?;
        return (!signer.has_passphrase()).then(|| signer.key().keyid());
    }
    let secret = SecretKey::from_pkcs8_pem(text).ok()?;
    SshKey::from_public(secret.public(), "")
        .ok()
        .map(|key| key.keyid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{write_public_key, write_secret_key};
    use documents::SecretKey;

    #[test]
    fn a_key_that_the_user_names_is_the_only_key_and_key_pem_has_priority_over_ssh_keys() {
        let directory = tempfile::tempdir().expect("directory");
        let home = Home::of(Some(directory.path().into()), None);
        assert!(
            find(None, &home)
                .expect("none")
                .preferred(|_| true)
                .is_err()
        );
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
        assert_eq!(
            keys.preferred(|_| false).expect("key").key().public(),
            &SecretKey::from_seed([1; 32]).public()
        );
        assert_eq!(
            keys.preferred(|key| *key == other).expect("key").key(),
            &other
        );
        let named = find(Some(&ssh.join("id_ed25519.pub")), &home).expect("keys");
        assert_eq!(named.all().count(), 1);
        assert!(find(Some(&ssh.join("none")), &home).is_err());
    }
}
