//! Signs with key files and with `ssh-keygen`, and creates key files.
//!
//! A signing key is a PKCS#8 v1 PEM file that this program reads itself, or any key with which `ssh-keygen` can
//! sign. After a crash, a new key file is either missing or complete. An existing key file is never replaced.
//!
//! A key for `ssh-keygen` can be in ssh-agent, can have a passphrase, or can be a FIDO security key. This program never reads the
//! private key. ssh-keygen receives the message on stdin, and asks for passphrase, PIN and touch at the terminal.

use std::{
    fmt,
    fs::{File, Metadata, Permissions},
    io::{self, IsTerminal as _, Read, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::Engine as _;
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::ssh_agent;
use documents::{
    NAMESPACE, PemError, SecretKey, SignatureError, SshKey, SshKeyError, WireReader, joined, sshsig,
};
use verdict::directory_of;

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
        let (file, metadata) = open(path, OFlags::NOFOLLOW)?;
        let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
        let own = rustix::process::geteuid().as_raw();
        if owner != own && owner != 0 {
            return Err(SignerError::file(
                path,
                format!(
                    "the private key belongs to user {owner}, not to user {own} or root; run `chown {own} {path:?}` if \
                     the key is really yours"
                ),
            ));
        }
        if mode & 0o077 != 0 {
            return Err(SignerError::file(
                path,
                format!(
                    "the private key has mode {mode:04o}, so others can use it; run `chmod 600 {path:?}`, and make a \
                     new key if others may have read it"
                ),
            ));
        }
        let text = read_bounded(&file, path)?;
        let secret =
            SecretKey::from_pkcs8_pem(&text).map_err(|error| SignerError::file(path, error))?;
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
    pub fn secret(&self) -> &SecretKey {
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
pub fn write_secret_key(path: &Path, key: &SecretKey) -> Result<(), SignerError> {
    write_new(path, key.to_pkcs8_v1_pem().as_bytes(), 0o600)
}

/// Writes a new public key file with one OpenSSH line and the mode 0644. The file is durable, and an existing file is
/// never changed.
///
/// # Errors
/// Returns the errors of [`write_secret_key`].
pub fn write_public_key(path: &Path, key: &SshKey) -> Result<(), SignerError> {
    write_new(path, format!("{}\n", key.line()).as_bytes(), 0o644)
}

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
    /// The file breaks a rule for key files, or its text is not an accepted key.
    #[error("{path:?}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// The broken rule, and the correction.
        problem: String,
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
    fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io {
            action,
            path: path.into(),
            error,
        }
    }

    fn file(path: &Path, problem: impl fmt::Display) -> Self {
        Self::File {
            path: path.into(),
            problem: problem.to_string(),
        }
    }
}

/// Maximum size of a key file in bytes, for the case that the user names a large file by mistake.
const MAX_KEY_FILE: usize = 16 << 10;

/// Opens a regular file for reading, and returns what the system knows about the file.
pub fn open(path: &Path, extra: OFlags) -> Result<(File, Metadata), SignerError> {
    // NONBLOCK: opening a FIFO must not block the program.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | extra;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        if error == rustix::io::Errno::LOOP && extra.contains(OFlags::NOFOLLOW) {
            SignerError::file(
                path,
                "a private key must be a regular file, but this is a symbolic link; give the path of the file itself",
            )
        } else {
            SignerError::io("open", path)(error.into())
        }
    })?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(SignerError::io("inspect", path))?;
    if !metadata.is_file() {
        return Err(SignerError::file(
            path,
            "this is not a regular file; give the path of a key file",
        ));
    }
    Ok((file, metadata))
}

/// Reads the text of an open key file.
pub fn read_bounded(file: &File, path: &Path) -> Result<Zeroizing<String>, SignerError> {
    // Allocate the whole length at once, because a growing buffer would leave copies of the secret in memory.
    // The bytes are never moved, because a move would leave a copy of the secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_KEY_FILE));
    file.take(MAX_KEY_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(SignerError::io("read", path))?;
    if bytes.len() > MAX_KEY_FILE {
        return Err(SignerError::file(
            path,
            format!("the file is larger than {MAX_KEY_FILE} bytes, so it is not a key file"),
        ));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(SignerError::file(path, PemError::NotPem)),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SignerError> {
    let failed = |action| SignerError::io(action, path);
    let exists = || {
        SignerError::file(
            path,
            "the file already exists and is not replaced; move the file away or choose another name",
        )
    };
    let directory = directory_of(path);
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    // The new file has the mode 0600. If the program crashes before the file has its final name, a temporary file
    // remains that no program reads.
    let mut file = NamedTempFile::new_in(directory).map_err(failed("create a file beside"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    file.as_file().sync_all().map_err(failed("sync"))?;
    file.persist_noclobber(path)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed("name")(error.error),
        })?;
    // After a crash at this point, the key file may be missing, but the caller has not reported it yet.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory of"))
}

/// Opens the signer for a key file: a PKCS#8 private key, an OpenSSH private key, or an OpenSSH public key whose
/// private half is in an agent or a hardware token.
///
/// # Errors
/// Returns an error if the file cannot be opened, is of an unsupported kind, or breaks a rule for private keys.
pub fn open_signer(path: &Path) -> Result<Box<dyn Signer>, SignerError> {
    // Follow symbolic links, because SSH keys often are links. A PKCS#8 file is opened again without following links.
    let (file, _) = open(path, OFlags::empty())?;
    // Enough bytes to distinguish the kinds of files, without any byte of the secret.
    let mut head = Vec::new();
    file.take(36)
        .read_to_end(&mut head)
        .map_err(SignerError::io("read", path))?;
    // Accept every type of key here, because the parser of public keys names an unsupported type in its error.
    let word = head.split(|&c| c == b' ').next().unwrap_or_default();
    let public = word.first().is_some_and(u8::is_ascii_lowercase) && word.contains(&b'-');
    if public || head.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        Ok(Box::new(SshKeygenSigner::open(path)?))
    } else {
        Ok(Box::new(FileSigner::open(path)?))
    }
}

/// Maximum time for a person to type a passphrase and to touch a key. Then ssh-keygen is stopped.
const DEADLINE: Duration = Duration::from_secs(120);

/// Interval between two checks for the end of ssh-keygen, too short for a person to notice.
const LOOK: Duration = Duration::from_millis(10);

/// Time that ssh-keygen gets to clean up after SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

/// Maximum number of stored output bytes of ssh-keygen. A signature has 306 bytes, and a message has a few lines.
const MAX_OUTPUT: usize = 8 << 10;

/// Signs with a key that `ssh-keygen` can use.
#[derive(Debug)]
pub struct SshKeygenSigner {
    program: PathBuf,

    path: PathBuf,
    key: SshKey,
}

impl SshKeygenSigner {
    /// Opens the signer for an OpenSSH private key file, or for an OpenSSH public key file. The private half of a
    /// public key is in the agent, in a security key, or in the file of the same name without `.pub`. The call does not
    /// ask for a passphrase, a PIN or a touch.
    ///
    /// # Errors
    /// Returns an error if the file is not an OpenSSH key file, or if the program does not accept the type of the key.
    pub fn open(path: &Path) -> Result<Self, SignerError> {
        let (file, _) = open(path, OFlags::empty())?;
        let text = read_bounded(&file, path)?;
        let key = if text.starts_with(PRIVATE_BEGIN) {
            public_half(&text)
        } else {
            SshKey::parse(text.trim_end_matches(['\n', '\r']))
        };
        let key = key.map_err(|error| SignerError::file(path, error))?;
        Ok(Self {
            program: "ssh-keygen".into(),

            path: path.into(),
            key,
        })
    }

    /// Uses this `ssh-keygen` instead of the first `ssh-keygen` in `PATH`.
    #[cfg(test)]
    fn with_program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// Returns true if the private half is in a file with a passphrase.
    pub fn has_passphrase(&self) -> bool {
        let private = match self.path.extension() {
            Some(ending) if ending == "pub" => self.path.with_extension(""),
            _ => self.path.clone(),
        };
        let text =
            open(&private, OFlags::empty()).and_then(|(file, _)| read_bounded(&file, &private));
        text.ok()
            .and_then(|text| parts(&text).ok())
            .is_some_and(|(cipher, _)| cipher != b"none")
    }

    /// Returns true if an agent has the private half, so that `ssh-keygen` asks for no passphrase.
    fn is_in_agent(&self) -> bool {
        let keys = std::env::var_os("SSH_AUTH_SOCK")
            .and_then(|socket| ssh_agent::keys(Path::new(&socket)).ok());
        keys.into_iter()
            .flatten()
            .any(|key| key.keyid() == self.key.keyid())
    }
}

impl Signer for SshKeygenSigner {
    fn key(&self) -> &SshKey {
        &self.key
    }

    fn asks(&self) -> Option<&Path> {
        // Without a terminal, ssh-keygen cannot ask a person.
        if File::open("/dev/tty").is_err() {
            return None;
        }
        let touched = self.key.is_security_key();
        (touched || (self.has_passphrase() && !self.is_in_agent())).then_some(&self.path)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let mut command = Command::new(&self.program);
        command
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // ssh-keygen would open a window for its question, because stdin is used for the message. If a terminal exists,
        // ssh-keygen must ask there, unless the user chose another program for the question.
        if std::env::var_os("SSH_ASKPASS").is_none() && File::open("/dev/tty").is_ok() {
            command.env("SSH_ASKPASS_REQUIRE", "never");
        }

        let mut child = command.spawn().map_err(SignerError::NoSshKeygen)?;
        let (status, stdout, stderr) = converse(&mut child, message);
        if status != "exit status: 0" {
            return Err(SignerError::SshKeygen {
                status,
                stderr: plain(&stderr),
            });
        }
        let armoured = std::str::from_utf8(&stdout).map_err(|_| {
            SignerError::Signature(SignatureError::Form("ssh-keygen's output is not text"))
        })?;
        // Some versions of ssh-keygen print "Confirm user presence" before the signature.
        let armoured = armoured
            .find("-----BEGIN")
            .map_or(armoured, |start| &armoured[start..]);
        let blob = sshsig::dearmour(armoured).map_err(SignerError::Signature)?;
        // The agent, or the private key file next to a .pub file, may contain another key than the .pub file.
        let _proof = sshsig::verify(&self.key, message, &blob).map_err(SignerError::Signature)?;
        Ok(blob)
    }
}

/// Writes the message to ssh-keygen and waits for its end until the deadline. Returns the exit status and both outputs.
fn converse(child: &mut Child, message: &[u8]) -> (String, Vec<u8>, Vec<u8>) {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // ssh-keygen may exit before it reads the message, for example after a wrong passphrase. Its exit
                // status reports this.
                drop(stdin.write_all(message));
            }
        });
        let stdout =
            scope.spawn(move || stdout.map_or_else(Vec::new, |stream| gather(stream, false)));
        // The person must see "Confirm user presence for key …" while ssh-keygen waits for the touch.
        let show = io::stderr().is_terminal();
        let stderr =
            scope.spawn(move || stderr.map_or_else(Vec::new, |stream| gather(stream, show)));
        let status = wait(child);
        (
            status,
            stdout.join().unwrap_or_default(),
            stderr.join().unwrap_or_default(),
        )
    })
}

fn wait(child: &mut Child) -> String {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if start.elapsed() < DEADLINE => std::thread::sleep(LOOK),
            Ok(None) => {
                // Send SIGTERM first, because ssh-keygen then restores the echo of the terminal.
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
                std::thread::sleep(GRACE);
                drop(child.kill());
                drop(child.wait());
                return format!(
                    "ssh-keygen was stopped, because it did not finish within {} s",
                    DEADLINE.as_secs()
                );
            }
            Err(error) => {
                drop(child.kill());
                return error.to_string();
            }
        }
    }
}

/// Returns the first bytes of a stream. Reads to the end, so that ssh-keygen never blocks on a full pipe.
fn gather(mut stream: impl Read, show: bool) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0_u8; 512]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let bytes = &buffer[..count];
        // ssh-keygen prints this line for every signature, so it has no value for the person.
        if show && bytes != SIGNING {
            drop(io::stderr().write_all(bytes));
        }
        if kept.len() < MAX_OUTPUT {
            kept.extend_from_slice(bytes);
        }
    }
    kept
}

/// Returns the output of ssh-keygen on one line, without control characters.
fn plain(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty() && line != "Signing data on standard input");
    joined(lines, "; ")
}

/// Line that ssh-keygen prints for every signature over its stdin.
const SIGNING: &[u8] = b"Signing data on standard input\n";

const PRIVATE_BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const PRIVATE_END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// Returns the public key of an OpenSSH private key file, which is not encrypted even if the file has a passphrase.
fn public_half(text: &str) -> Result<SshKey, SshKeyError> {
    let (_, blob) = parts(text)?;
    SshKey::from_blob(&blob, "")
}

/// Returns the name of the cipher, which is `none` without a passphrase, and the public key.
fn parts(text: &str) -> Result<(Vec<u8>, Vec<u8>), SshKeyError> {
    let body = text
        .trim()
        .strip_prefix(PRIVATE_BEGIN)
        .and_then(|rest| rest.strip_suffix(PRIVATE_END));
    let body = body.ok_or(SshKeyError::Base64)?;
    let mut encoded = Zeroizing::new(String::with_capacity(body.len()));
    body.lines().for_each(|line| encoded.push_str(line));
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded.as_bytes())
        .map_err(|_| SshKeyError::Base64)?;
    let bytes = Zeroizing::new(bytes);
    // OpenSSH's PROTOCOL.key: byte[] "openssh-key-v1\0" | string cipher | string kdf | string kdfoptions
    // | uint32 number of keys | string public key | string encrypted private keys
    let mut wire = WireReader(
        bytes
            .strip_prefix(b"openssh-key-v1\0")
            .ok_or(SshKeyError::Blob)?,
    );
    let header = (wire.string(), wire.string(), wire.string(), wire.u32());
    let (Some(cipher), Some(_), Some(_), Some(1)) = header else {
        return Err(SshKeyError::Blob);
    };
    Ok((
        cipher.to_vec(),
        wire.string().ok_or(SshKeyError::Blob)?.to_vec(),
    ))
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

    /// Returns true if the result is the error of a key file with this text.
    fn is_refused<T>(result: Result<T, SignerError>, text: &str) -> bool {
        matches!(result, Err(SignerError::File { problem, .. }) if problem.contains(text))
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
        assert!(is_refused(
            write_secret_key(&path, &key(2)),
            "already exists"
        ));
        let link = directory.path().join("link");
        symlink("nowhere", &link).expect("link");
        let public = SshKey::from_public(key(2).public(), "bob").expect("key");
        assert!(is_refused(
            write_public_key(&link, &public),
            "already exists"
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
            let error = FileSigner::open(&path).expect_err("refused").to_string();
            assert!(error.contains(&format!("has mode {mode:04o}")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
        }
        set_mode(&path, 0o400);
        assert!(FileSigner::open(&path).is_ok(), "stricter is fine");
    }

    #[test]
    fn links_and_directories_and_fifos_and_large_files_are_refused_as_private_keys() {
        let (directory, path) = written();
        let link = directory.path().join("link");
        symlink(&path, &link).expect("link");
        assert!(is_refused(open_signer(&link), "symbolic link"));
        assert!(is_refused(
            open_signer(directory.path()),
            "not a regular file"
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
        assert!(is_refused(open_signer(&fifo), "not a regular file"));
        let large = directory.path().join("large");
        std::fs::write(&large, vec![b'x'; 17 << 10]).expect("file");
        set_mode(&large, 0o600);
        assert!(is_refused(open_signer(&large), "larger than 16384 bytes"));
        std::fs::write(&large, b"\xff\xfe").expect("file");
        assert!(is_refused(
            open_signer(&large),
            &PemError::NotPem.to_string()
        ));
    }
}

#[cfg(test)]
mod ssh_tests {
    use super::*;
    use crate::{open_signer, write_public_key};

    const MESSAGE: &[u8] = b"DSSEv1 28 application/vnd.in-toto+json 2 {}";

    /// Runs a tool that must be installed on the machine that runs the tests.
    fn run(directory: &Path, program: &str, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
        let (status, stdout, stderr) = converse(&mut child, input);
        assert_eq!(
            status,
            "exit status: 0",
            "{program} {arguments:?}: {}",
            plain(&stderr)
        );
        String::from_utf8(stdout).expect("text")
    }

    fn made(passphrase: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("directory");
        run(
            directory.path(),
            "ssh-keygen",
            &[
                "-q", "-t", "ed25519", "-N", passphrase, "-C", "eve", "-f", "id",
            ],
            b"",
        );
        directory
    }

    #[test]
    fn unmodified_ssh_keygen_reads_the_same_keys_and_accepts_the_same_signatures() {
        let directory = made("");
        let path = |name: &str| directory.path().join(name);
        for name in ["id", "id.pub"] {
            let signer = open_signer(&path(name)).expect(name);
            let blob = signer.sign(MESSAGE).expect("signature");
            assert!(sshsig::verify(signer.key(), MESSAGE, &blob).is_ok());
            assert!(sshsig::verify(signer.key(), b"another", &blob).is_err());
            assert!(
                run(directory.path(), "ssh-keygen", &["-lf", name], b"")
                    .contains(signer.key().keyid().as_str())
            );
            let principal = format!("eve namespaces=\"countersign\" {}\n", signer.key().line());
            std::fs::write(path("allowed"), principal).expect("file");
            std::fs::write(path("signature"), sshsig::armour(&blob)).expect("file");
            let verify = [
                "-Y",
                "verify",
                "-f",
                "allowed",
                "-I",
                "eve",
                "-n",
                NAMESPACE,
                "-s",
                "signature",
            ];
            assert!(
                run(directory.path(), "ssh-keygen", &verify, MESSAGE)
                    .starts_with("Good \"countersign\" signature")
            );
        }
    }

    #[test]
    fn a_sha256_signature_of_ssh_keygen_is_accepted_and_another_namespace_is_refused() {
        let directory = made("");
        let key = SshKeygenSigner::open(&directory.path().join("id.pub"))
            .expect("signer")
            .key;
        let sign = |arguments: &[&str]| {
            let armoured = run(
                directory.path(),
                "ssh-keygen",
                &[&["-Y", "sign", "-f", "id"], arguments].concat(),
                MESSAGE,
            );
            sshsig::dearmour(&armoured).expect("armour")
        };
        assert!(
            sshsig::verify(
                &key,
                MESSAGE,
                &sign(&["-n", NAMESPACE, "-O", "hashalg=sha256"])
            )
            .is_ok()
        );
        assert!(matches!(
            sshsig::verify(&key, MESSAGE, &sign(&["-n", "git"])),
            Err(SignatureError::OtherNamespace(found)) if found == "git"
        ));
    }

    #[test]
    fn the_key_lines_of_this_program_equal_the_key_lines_of_ssh_keygen() {
        let directory = tempfile::tempdir().expect("directory");
        let public = documents::SecretKey::from_seed([5; 32]).public();
        let key = SshKey::from_public(public, "mallory").expect("key");
        write_public_key(&directory.path().join("key.pub"), &key).expect("written");
        let shown = run(directory.path(), "ssh-keygen", &["-lf", "key.pub"], b"");
        assert_eq!(
            shown.trim(),
            format!("256 {} mallory (ED25519)", key.keyid())
        );
    }

    #[test]
    fn the_public_half_of_a_key_is_readable_without_its_passphrase() {
        let directory = made("correct horse");
        let private = SshKeygenSigner::open(&directory.path().join("id")).expect("signer");
        let public = SshKeygenSigner::open(&directory.path().join("id.pub")).expect("signer");
        assert_eq!(private.key().keyid(), public.key().keyid());
        assert_eq!(
            (public.key().comment(), private.key().comment()),
            ("eve", "")
        );
    }

    #[test]
    fn the_error_contains_the_message_of_ssh_keygen() {
        let directory = made("");
        let path = directory.path().join("id");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("mode");
        let signer = SshKeygenSigner::open(&path).expect("signer");
        match signer.sign(MESSAGE).expect_err("too open") {
            SignerError::SshKeygen { status, stderr } => {
                assert_eq!(status, "exit status: 255");
                assert!(
                    stderr.contains("permissions") || stderr.contains("Permissions"),
                    "{stderr}"
                );
            }
            other => panic!("{other}"),
        }
        let missing = signer.with_program(directory.path().join("no-such-program"));
        assert!(matches!(
            missing.sign(MESSAGE),
            Err(SignerError::NoSshKeygen(_))
        ));
    }

    #[test]
    fn a_key_that_exists_only_in_the_agent_can_sign() {
        let directory = made("");
        let socket = directory.path().join("agent");
        let mut agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent must be installed");
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the agent must come up"
            );
            std::thread::sleep(LOOK);
        }
        let private = directory.path().join("id");
        let added = Command::new("ssh-add")
            .arg(&private)
            .env("SSH_AUTH_SOCK", &socket)
            .output()
            .expect("ssh-add");
        assert!(added.status.success(), "{}", plain(&added.stderr));
        std::fs::remove_file(&private).expect("removed");
        let signer = SshKeygenSigner::open(&directory.path().join("id.pub")).expect("signer");
        let program = directory.path().join("ssh-keygen");
        let script = format!(
            "#!/bin/sh\nSSH_AUTH_SOCK='{}' exec ssh-keygen \"$@\"\n",
            socket.display()
        );
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
        let signed = signer.with_program(program).sign(MESSAGE);
        agent.kill().expect("stopped");
        agent.wait().expect("ended");
        assert!(signed.is_ok(), "{signed:?}");
    }

    #[test]
    fn a_signature_of_an_unexpected_key_is_not_returned() {
        let (shown, used) = (made(""), made(""));
        std::fs::copy(used.path().join("id"), shown.path().join("id")).expect("copy");
        let signer = SshKeygenSigner::open(&shown.path().join("id.pub")).expect("signer");
        assert!(signer.sign(MESSAGE).is_err());
    }

    #[test]
    fn other_key_types_and_broken_files_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        run(
            directory.path(),
            "ssh-keygen",
            &["-q", "-t", "ecdsa", "-N", "", "-f", "id"],
            b"",
        );
        for name in ["id", "id.pub"] {
            let error = SshKeygenSigner::open(&directory.path().join(name)).expect_err("ecdsa");
            assert!(error.to_string().contains("ecdsa-sha2-nistp256"), "{error}");
        }
        let text = std::fs::read_to_string(made("").path().join("id")).expect("file");
        for length in [PRIVATE_BEGIN.len(), 60, 100, text.len() - 5] {
            assert!(public_half(&text[..length]).is_err());
            assert!(
                public_half(&format!("{}\n{PRIVATE_END}", &text[..length])).is_err()
                    || length > 300
            );
        }
    }
}
