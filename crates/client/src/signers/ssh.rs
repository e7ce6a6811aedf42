//! Signatures that the installed `ssh-keygen` makes.
//!
//! The key can be in ssh-agent, can have a passphrase, or can be a FIDO security key. This program never reads the
//! private key. ssh-keygen receives the message on stdin, and asks for passphrase, PIN and touch at the terminal.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::{
    Signer, SignerError,
    signers::signer::{open, read_bounded},
};
use documents::{NAMESPACE, SignatureError, SshKey, SshKeyError, WireReader, sshsig};

/// Maximum time for a person to type a passphrase and to touch a key. Then ssh-keygen is stopped.
const DEADLINE: Duration = Duration::from_secs(120);

/// Interval between two checks for the end of ssh-keygen, too short for a person to notice.
const LOOK: Duration = Duration::from_millis(10);

/// Time that ssh-keygen gets to clean up after SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

/// Maximum number of stored output bytes of ssh-keygen. A signature has 306 bytes, and a message has a few lines.
const MAX_OUTPUT: u64 = 8 << 10;

/// Signs with a key that `ssh-keygen` can use.
#[derive(Debug)]
pub struct SshKeygenSigner {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
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
        let file = open(path, OFlags::empty())?;
        let text = read_bounded(&file, path)?;
        let key = if text.starts_with(PRIVATE_BEGIN) {
            public_half(&text)
        } else {
            SshKey::parse(text.trim_end_matches(['\n', '\r']))
        };
        let key = key.map_err(|error| SignerError::PublicKey {
            path: path.into(),
            error,
        })?;
        Ok(Self {
            program: "ssh-keygen".into(),
            environment: Vec::new(),
            path: path.into(),
            key,
        })
    }

    /// Uses this `ssh-keygen` instead of the first `ssh-keygen` in `PATH`.
    #[cfg(test)]
    fn with_program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// Adds a variable to the environment of `ssh-keygen`, for example another `SSH_AUTH_SOCK`.
    #[cfg(test)]
    fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

impl SshKeygenSigner {
    /// Returns true if the private half is in a file with a passphrase.
    pub fn has_passphrase(&self) -> bool {
        let private = match self.path.extension() {
            Some(ending) if ending == "pub" => self.path.with_extension(""),
            _ => self.path.clone(),
        };
        let text = open(&private, OFlags::empty()).and_then(|file| read_bounded(&file, &private));
        text.ok()
            .and_then(|text| cipher(&text))
            .is_some_and(|cipher| cipher != b"none")
    }

    /// Returns true if an agent has the private half, so that `ssh-keygen` asks for no passphrase.
    fn is_in_agent(&self) -> bool {
        let mut command = Command::new("ssh-add");
        command.arg("-L").stdin(Stdio::null()).stderr(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let listed = command
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        let listed = String::from_utf8_lossy(&listed).into_owned();
        listed
            .lines()
            .filter_map(|line| SshKey::parse(line).ok())
            .any(|key| key.keyid() == self.key.keyid())
    }
}

impl Signer for SshKeygenSigner {
    fn key(&self) -> &SshKey {
        &self.key
    }

    fn asks(&self) -> Option<&Path> {
        // Without a terminal, ssh-keygen cannot ask a person.
        if std::fs::File::open("/dev/tty").is_err() {
            return None;
        }
        let touched = self.key.is_security_key();
        (touched || (self.has_passphrase() && !self.is_in_agent())).then_some(&self.path)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let mut command = Command::new(&self.program);
        command
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(&self.path);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // ssh-keygen would open a window for its question, because stdin carries the message. If a terminal exists,
        // ssh-keygen must ask there, unless the user chose another program for the question.
        if std::env::var_os("SSH_ASKPASS").is_none() && std::fs::File::open("/dev/tty").is_ok() {
            command.env("SSH_ASKPASS_REQUIRE", "never");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
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
        let show = std::io::stderr().is_terminal();
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
                if let Some(id) = i32::try_from(child.id())
                    .ok()
                    .and_then(rustix::process::Pid::from_raw)
                {
                    let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
                    std::thread::sleep(GRACE);
                }
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
            drop(std::io::stderr().write_all(bytes));
        }
        if u64::try_from(kept.len()).is_ok_and(|length| length < MAX_OUTPUT) {
            kept.extend_from_slice(bytes);
        }
    }
    kept
}

/// Returns the output of ssh-keygen on one line, without control characters.
fn plain(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty() && line != "Signing data on standard input")
        .collect();
    lines.join("; ")
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

/// Returns the cipher of an OpenSSH private key file, which is `none` without a passphrase.
fn cipher(text: &str) -> Option<Vec<u8>> {
    parts(text).ok().map(|(cipher, _)| cipher)
}

/// Returns the name of the cipher, and the public key.
fn parts(text: &str) -> Result<(Vec<u8>, Vec<u8>), SshKeyError> {
    let body = text
        .trim()
        .strip_prefix(PRIVATE_BEGIN)
        .and_then(|rest| rest.strip_suffix(PRIVATE_END));
    let body = body.ok_or(SshKeyError::Base64)?;
    let mut joined = Zeroizing::new(String::with_capacity(body.len()));
    body.lines().for_each(|line| joined.push_str(line));
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(joined.as_bytes())
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
    use crate::{open_signer, write_public_key};
    use std::os::unix::fs::PermissionsExt as _;

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
        let signed = signer.with_variable("SSH_AUTH_SOCK", &socket).sign(MESSAGE);
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
