//! The private keys that any program of this user can use without a person: key files and the keys in ssh-agent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Home, PrintableText, Signer as _, SshKeygenSigner, read_bounded, ssh_agent};
use documents::{KeyId, SecretKey, SshKey};

/// Maximum size of a key file in bytes.
const MAX_KEY_BYTES: usize = 64 << 10;

/// Maximum number of processes above this one whose environment is searched.
#[cfg(target_os = "linux")]
const MAX_ANCESTORS: usize = 64;

/// A key that a program of this user can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsableKey {
    /// Fingerprint of the key.
    pub keyid: KeyId,
    /// Place of the key, as text for messages.
    pub place: String,
}

/// The keys that were found.
#[derive(Debug, Default)]
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

/// Returns the variable of the nearest process above this one that belongs to the same user and has the variable.
/// Clients of MCP often start a server without the variables of the user, although the agent's own programs have them.
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

/// This system does not show the environment of other processes.
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
