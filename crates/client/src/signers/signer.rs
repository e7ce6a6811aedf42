//! Signers and key files.
//!
//! A signing key is a PKCS#8 v1 PEM file that this program reads itself, or any key with which `ssh-keygen` can sign
//! (`signers::ssh`). After a crash, a new key file is either missing or complete. An existing key file is never replaced.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use documents::{PemError, SecretKey, SignatureError, SshKey, SshKeyError};

/// Signs with one key.
///
/// The function `sign` returns a signature that `sshsig::verify` accepts for [`Signer::key`] and exactly these bytes
/// (raw Ed25519 or an SSHSIG blob). The call may wait a limited time for a person (passphrase, touch). Several threads
/// may call `sign` at the same time, and a call may be repeated after a failure. Raw signatures are deterministic, but
/// SSHSIG signatures may differ each time.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Returns the public key of the signatures.
    fn key(&self) -> &SshKey;

    /// Returns the path of the key file, if the signer asks a person at the terminal for a passphrase or a touch.
    fn asks(&self) -> Option<&Path> {
        None
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// Returns an error if the signer could not sign. A failure changes nothing.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// Signs with a private key file, whose private key stays in the memory of this program.
#[derive(Debug)]
pub struct FileSigner {
    secret: SecretKey,
    key: SshKey,
}

impl FileSigner {
    /// Opens a private key in a PKCS#8 v1 PEM file. The file must be a regular file of at most 16 KiB that belongs to
    /// this user or root, without access for other users. A symbolic link is refused. The checks use the open file
    /// descriptor, so no process can replace the file after the checks.
    ///
    /// # Errors
    /// Returns an error with the rule that the file breaks and the correction.
    pub fn open(path: &Path) -> Result<Self, SignerError> {
        let file = open(path, OFlags::NOFOLLOW)?;
        let metadata = file
            .metadata()
            .map_err(|error| SignerError::io("inspect", path, error))?;
        let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
        let own = rustix::process::geteuid().as_raw();
        if owner != own && owner != 0 {
            return Err(SignerError::Owner {
                path: path.into(),
                owner,
                expected: own,
            });
        }
        if mode & 0o077 != 0 {
            return Err(SignerError::Mode {
                path: path.into(),
                mode,
            });
        }
        let text = read_bounded(&file, path)?;
        let secret = SecretKey::from_pkcs8_pem(&text).map_err(|error| SignerError::PrivateKey {
            path: path.into(),
            error,
        })?;
        Ok(Self::new(secret))
    }

    /// Returns a signer for a key in memory.
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "an empty comment contains nothing to refuse"
    )]
    pub fn new(secret: SecretKey) -> Self {
        let key = SshKey::from_public(secret.public(), "")
            .expect("a key of our own without a comment is a key line");
        Self { secret, key }
    }

    /// Returns the private key. The boundary signs a checkpoint directly with this key, because a checkpoint is not in
    /// an envelope.
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

impl Signer for FileSigner {
    fn key(&self) -> &SshKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.secret.sign(message).to_vec())
    }
}

/// Writes a new private key file in PKCS#8 v1 PEM with the mode 0600. The file is durable, and an existing file is
/// never changed.
///
/// # Errors
/// Returns an error if a file with this name exists, or the directory cannot be written.
pub fn write_secret_key(path: &Path, key: &SecretKey) -> Result<KeyFileWritten, SignerError> {
    write_new(path, key.to_pkcs8_v1_pem().as_bytes(), 0o600)
}

/// Writes a new public key file with one OpenSSH line and the mode 0644. The file is durable, and an existing file is
/// never changed.
///
/// # Errors
/// Returns the errors of [`write_secret_key`].
pub fn write_public_key(path: &Path, key: &SshKey) -> Result<KeyFileWritten, SignerError> {
    write_new(path, format!("{}\n", key.line()).as_bytes(), 0o644)
}

/// Proof that a key file is durable under its final name.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyFileWritten(());

/// Reason why a key file could not be read or written, or why a signature is missing.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The operating system refused to open, read or write the file.
    #[error("could not {action} {path:?}: {error}")]
    Io {
        /// The attempted action, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        error: io::Error,
    },
    /// The private key file is a symbolic link.
    #[error(
        "the private key {path:?} is a symbolic link, but a private key must be a regular file; give the path of the \
         file itself"
    )]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a regular file.
    #[error("{path:?} is not a regular file; give the path of a key file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The private key file belongs to another user.
    #[error(
        "the private key {path:?} belongs to user {owner}, not to user {expected} or root; run `chown {expected} \
         {path:?}` if the key is really yours"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// The user id of the owner of the file.
        owner: u32,
        /// The user id with which this program runs.
        expected: u32,
    },
    /// Other users may read or write the private key file.
    #[error(
        "the private key {path:?} has mode {mode:04o}, so others can use it; run `chmod 600 {path:?}`, and make a new \
         key if others may have read it"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// The access mode of the file.
        mode: u32,
    },
    /// The file is larger than any valid key file.
    #[error("{path:?} is larger than {MAX_KEY_FILE} bytes, so it is not a key file")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is not an accepted private key.
    #[error("{path:?}: {error}")]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// The error in the text of the private key.
        #[source]
        error: PemError,
    },
    /// The text is not an accepted public key.
    #[error("{path:?}: {error}")]
    PublicKey {
        /// The file.
        path: PathBuf,
        /// The error in the text of the public key.
        #[source]
        error: SshKeyError,
    },
    /// A file with this name already exists.
    #[error(
        "{path:?} already exists and is not replaced; move the file away or choose another name"
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The program could not start `ssh-keygen`.
    #[error(
        "could not start ssh-keygen: {0}; install the OpenSSH client, or use a PKCS#8 key file"
    )]
    NoSshKeygen(#[source] io::Error),
    /// `ssh-keygen` made no signature.
    #[error("ssh-keygen did not sign ({status}): {stderr}")]
    SshKeygen {
        /// The exit status.
        status: String,
        /// The output on stderr.
        stderr: String,
    },
    /// The signature of `ssh-keygen` is not valid for the requested key.
    #[error(
        "ssh-keygen made an invalid signature: {0}; check that the private key and the public key belong together"
    )]
    Signature(#[source] SignatureError),
}

impl SignerError {
    pub(crate) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            error,
        }
    }
}

/// Maximum size of a key file in bytes, for the case that the user names a large file by mistake.
const MAX_KEY_FILE: u64 = 16 << 10;

/// Opens a regular file for reading.
pub fn open(path: &Path, extra: OFlags) -> Result<File, SignerError> {
    // NONBLOCK: opening a FIFO must not block the program.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | extra;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        if error == rustix::io::Errno::LOOP && extra.contains(OFlags::NOFOLLOW) {
            SignerError::Link { path: path.into() }
        } else {
            SignerError::io("open", path, error.into())
        }
    })?;
    let stat =
        rustix::fs::fstat(&file).map_err(|error| SignerError::io("inspect", path, error.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(SignerError::NotAFile { path: path.into() });
    }
    Ok(File::from(file))
}

/// Reads the text of an open key file.
pub fn read_bounded(mut file: &File, path: &Path) -> Result<Zeroizing<String>, SignerError> {
    // Allocate the whole length at once, because a growing buffer would leave copies of the secret in memory.
    let mut bytes = Zeroizing::new(vec![
        0_u8;
        usize::try_from(MAX_KEY_FILE + 1).unwrap_or(usize::MAX)
    ]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SignerError::io("read", path, error)),
        }
    }
    if length == bytes.len() {
        return Err(SignerError::TooLarge { path: path.into() });
    }
    match std::str::from_utf8(&bytes[..length]) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(SignerError::PrivateKey {
            path: path.into(),
            error: PemError::NotPem,
        }),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<KeyFileWritten, SignerError> {
    let failed = |action| move |error: io::Error| SignerError::io(action, path, error);
    let exists = || SignerError::Exists { path: path.into() };
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    // The new file has the mode 0600. After a crash before its name is set, a file remains that no process reads.
    let mut file = NamedTempFile::new_in(directory).map_err(failed("create a file beside"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    file.as_file().sync_all().map_err(failed("sync"))?;
    file.persist_noclobber(path)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => SignerError::io("name", path, error.error),
        })?;
    // After a crash at this point, the key file may be missing, but the caller has not reported it yet.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory of"))?;
    Ok(KeyFileWritten(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_signer;
    use documents::sshsig;
    use std::os::unix::fs::symlink;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key.pem");
        write_secret_key(&path, &key(1)).expect("written");
        (directory, path)
    }

    #[test]
    fn a_written_key_can_sign_and_only_its_owner_can_read_the_file() {
        let (directory, path) = written();
        assert_eq!(
            path.metadata().expect("file").permissions().mode() & 0o7777,
            0o600
        );
        let golden =
            include_str!("../../../../tests/conformance/golden/valid/keys/alice.TEST-ONLY.pem");
        assert_eq!(std::fs::read_to_string(&path).expect("file"), golden);
        let signer = open_signer(&path).expect("signer");
        let signature = signer.sign(b"message").expect("signature");
        assert_eq!(signature.len(), 64);
        assert!(sshsig::verify(signer.key(), b"message", &signature).is_ok());
        assert_eq!(
            std::fs::read_dir(directory.path())
                .expect("directory")
                .count(),
            1,
            "nothing is left beside it"
        );
        assert!(!format!("{signer:?}").contains("AQEBAQ"));
    }

    #[test]
    fn an_existing_file_is_never_replaced() {
        let (directory, path) = written();
        assert!(matches!(
            write_secret_key(&path, &key(2)),
            Err(SignerError::Exists { .. })
        ));
        let link = directory.path().join("link");
        symlink("nowhere", &link).expect("link");
        let public = SshKey::from_public(key(2).public(), "bob").expect("key");
        assert!(matches!(
            write_public_key(&link, &public),
            Err(SignerError::Exists { .. })
        ));
        assert_eq!(
            FileSigner::open(&path).expect("signer").key().public(),
            &key(1).public()
        );
        let place = directory.path().join("bob.pub");
        write_public_key(&place, &public).expect("written");
        assert_eq!(
            place.metadata().expect("file").permissions().mode() & 0o7777,
            0o644
        );
        assert_eq!(
            std::fs::read_to_string(&place).expect("file"),
            include_str!("../../../../tests/conformance/golden/valid/keys/bob.pub")
        );
        assert!(matches!(
            write_secret_key(&directory.path().join("no/such/key"), &key(1)),
            Err(SignerError::Io { .. })
        ));
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused_with_a_correction() {
        let (_directory, path) = written();
        for mode in [0o640, 0o604, 0o644, 0o620, 0o601, 0o666] {
            set_mode(&path, mode);
            let error = FileSigner::open(&path).expect_err("refused");
            assert!(matches!(error, SignerError::Mode { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        set_mode(&path, 0o400);
        assert!(FileSigner::open(&path).is_ok(), "stricter is fine");
    }

    #[test]
    fn links_and_directories_and_fifos_and_large_files_are_refused_as_private_keys() {
        let (directory, path) = written();
        let link = directory.path().join("link");
        symlink(&path, &link).expect("link");
        assert!(matches!(open_signer(&link), Err(SignerError::Link { .. })));
        assert!(matches!(
            open_signer(directory.path()),
            Err(SignerError::NotAFile { .. })
        ));
        assert!(matches!(
            open_signer(&directory.path().join("none")),
            Err(SignerError::Io { .. })
        ));
        let fifo = directory.path().join("fifo");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .expect("mkfifo")
                .success()
        );
        assert!(matches!(
            open_signer(&fifo),
            Err(SignerError::NotAFile { .. })
        ));
        let large = directory.path().join("large");
        std::fs::write(&large, vec![b'x'; 17 << 10]).expect("file");
        set_mode(&large, 0o600);
        assert!(matches!(
            open_signer(&large),
            Err(SignerError::TooLarge { .. })
        ));
        std::fs::write(&large, b"\xff\xfe").expect("file");
        assert!(matches!(
            open_signer(&large),
            Err(SignerError::PrivateKey {
                error: PemError::NotPem,
                ..
            })
        ));
    }
}
