//! Reads the values of configured secrets. No error contains a value.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crossing::SecretPermits;
use documents::{SecretName, SecretValue};
use reading::Pattern;
use sandbox::MIN_MASKED;

/// Maximum size of a value, in bytes, without its final newline.
const MAX_VALUE: usize = 64 << 10;
/// Variable with the directory of the credentials that systemd gives to the service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A secret of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredSecret {
    /// The name of the secret.
    pub name: SecretName,
    /// The place of the value.
    pub source: SecretSource,
    /// Patterns of the references of the steps that may get the secret. There is at least one, and each is valid.
    pub steps: Vec<String>,
}

/// Place of the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A private file.
    File(PathBuf),
    /// A variable of the environment of the service.
    Env(String),
    /// A credential that systemd gives to the service.
    Credential(String),
}

/// Returns the configured secrets with their steps. Each run reads the current values.
pub fn permits(secrets: &[ConfiguredSecret]) -> SecretPermits {
    let steps = secrets.iter().map(|secret| {
        let patterns = secret
            .steps
            .iter()
            .filter_map(|pattern| Pattern::parse(pattern).ok());
        (secret.name.clone(), patterns.collect())
    });
    let secrets = secrets.to_vec();
    SecretPermits::new(
        steps.collect(),
        Arc::new(
            move |name| match secrets.iter().find(|secret| secret.name == *name) {
                Some(secret) => read(&secret.source),
                None => Err("it is not in countersign.toml".to_owned()),
            },
        ),
    )
}

/// Returns a note for each secret whose value this process can't read, or whose value is a JSON object.
pub fn notes(secrets: &[ConfiguredSecret]) -> impl Iterator<Item = String> {
    secrets
        .iter()
        .filter_map(|secret| match read(&secret.source) {
            Ok(value) => json_note(&secret.name, &value),
            Err(why) => Some(format!(
                "the secret {} can't be read, so runs that need it are refused: {why}",
                secret.name.as_str()
            )),
        })
}

/// Returns a note if the value is a JSON object, because output does not mask the members of the object.
pub fn json_note(name: &SecretName, value: &SecretValue) -> Option<String> {
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(value.expose()).ok()?;
    Some(format!(
        "the secret {} is a JSON object, and a value in it is masked in output only if it is a secret of its own: \
         configure each value as a secret",
        name.as_str()
    ))
}

/// Returns the path of the value, if the value is in a file.
pub fn path(source: &SecretSource) -> Option<PathBuf> {
    match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Env(_) => None,
        SecretSource::Credential(name) => {
            Some(PathBuf::from(std::env::var_os(CREDENTIALS)?).join(name))
        }
    }
}

/// Reads a value.
///
/// # Errors
/// Returns a message with the rule that the source breaks, and the correction.
pub fn read(source: &SecretSource) -> Result<SecretValue, String> {
    let bytes = match source {
        SecretSource::File(path) => read_file(path, true)?,
        SecretSource::Credential(name) => match path(source) {
            Some(path) => read_file(&path, false)?,
            None => {
                return Err(format!(
                    "the service has no credentials ({CREDENTIALS} is not set): add LoadCredential={name}:PATH to its \
                     systemd unit"
                ));
            }
        },
        SecretSource::Env(variable) => match std::env::var_os(variable) {
            Some(value) => Zeroizing::new(value.into_vec()),
            None => {
                return Err(format!(
                    "the variable {variable} is not set: set it, then start the program again"
                ));
            }
        },
    };
    let size = bytes.strip_suffix(b"\n").unwrap_or(&bytes).len();
    if size < MIN_MASKED {
        return Err(format!(
            "the value has {size} bytes, and output can be masked only from {MIN_MASKED} bytes: choose a longer secret"
        ));
    }
    if size > MAX_VALUE {
        return Err(format!(
            "the value is larger than {MAX_VALUE} bytes: choose a smaller secret"
        ));
    }
    Ok(SecretValue::new(Zeroizing::new(bytes[..size].to_vec())))
}

/// Reads a file. The owner and the mode are checked on the open descriptor, so that no process can replace the file
/// after the check. systemd protects the files of its credentials, so they are not `checked`.
fn read_file(path: &Path, checked: bool) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| format!("{shown} can't be read ({error}): create the file");
    // A link is refused, because its target can change. The private set has only the path that the file has at the
    // start.
    let no_link = if checked {
        OFlags::NOFOLLOW
    } else {
        OFlags::empty()
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | no_link;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => {
            return Err(format!("{shown} is a symbolic link: name the file itself"));
        }
        Err(error) => return Err(unreadable(error.into())),
    };
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(format!("{shown} is not a regular file: name a file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if checked && found.uid() != own && found.uid() != 0 {
        return Err(format!(
            "{shown} belongs to user {}: run `chown {own} {shown}`",
            found.uid()
        ));
    }
    if checked && found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!(
            "other users can read {shown} (mode {mode:04o}): run `chmod 600 {shown}`"
        ));
    }
    // The buffer never grows, because a growing buffer would leave copies in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 2));
    file.take(MAX_VALUE as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_value_of_a_file_is_its_content_without_one_final_newline() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let value = |content: &[u8], mode| {
            std::fs::write(&path, content).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            read(&SecretSource::File(path.clone())).map(|value| value.expose().to_vec())
        };
        assert_eq!(
            value(b"hunter2\n\n", 0o600).as_deref(),
            Ok(&b"hunter2\n"[..])
        );
        assert_eq!(
            value(b"\xff\x00hunter", 0o400).as_deref(),
            Ok(&b"\xff\x00hunter"[..])
        );
        assert!(value(&[b'x'; MAX_VALUE], 0o600).is_ok());
        for (content, mode, words) in [
            (&b"hunte\n"[..], 0o600, "the value has 5 bytes"),
            (b"", 0o600, "the value has 0 bytes"),
            (&[b'x'; MAX_VALUE + 1], 0o600, "larger than"),
            (b"hunter2", 0o640, "chmod 600"),
            (b"hunter2", 0o604, "chmod 600"),
        ] {
            let error = value(content, mode).expect_err(words);
            assert!(error.contains(words) && !error.contains("hunte"), "{error}");
        }
        std::os::unix::fs::symlink(&path, dir.path().join("link")).expect("a link");
        assert!(
            read(&SecretSource::File(dir.path().join("link")))
                .is_err_and(|error| error.contains("symbolic link"))
        );
        assert!(
            read(&SecretSource::File(dir.path().join("none")))
                .is_err_and(|error| error.contains("create the file"))
        );
        assert!(
            read(&SecretSource::File(dir.path().to_owned()))
                .is_err_and(|error| error.contains("not a regular"))
        );
    }

    #[test]
    fn a_missing_variable_or_credential_is_named() {
        for (source, words) in [
            (
                SecretSource::Env("COUNTERSIGN_TEST_NO_SUCH".to_owned()),
                "COUNTERSIGN_TEST_NO_SUCH",
            ),
            (
                SecretSource::Credential("db".to_owned()),
                "LoadCredential=db",
            ),
        ] {
            let error = read(&source).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
