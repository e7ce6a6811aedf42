//! `roster.d`: each version of the roster as a file.
//!
//! Beside `roster.toml`, `roster.d/<version>.json` is the envelope of that version: what people sign, and what `serve`
//! takes once enough have. The service keeps the versions that it sealed there too, so that tools find the one before;
//! what is sealed stands in the store, and no file changes it.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::crypto::json;
use crate::node::config::Config;
use crate::node::owned::read_owned;
use crate::node::problem::FileProblem;
use crate::record::envelope::{Base64, Envelope};
use crate::record::roster::MAX_ROSTER_BYTES;
use crate::trust::chain::{Chain, payload_of};
use crate::trust::roster::TrustedRoster;

/// The largest file: an envelope of the largest roster with all signatures.
pub const MAX_FILE_BYTES: usize = 2 * MAX_ROSTER_BYTES;

/// The directory of a boundary's versions: `boundary/roster.toml` → `boundary/roster.d`.
#[must_use]
pub fn directory(config: &Config) -> PathBuf {
    config.roster.with_extension("d")
}

/// Where a version lies.
#[must_use]
pub fn path(config: &Config, version: u64) -> PathBuf {
    directory(config).join(format!("{version}.json"))
}

/// Reads a version; nothing when there is no such file.
///
/// # Errors
/// When it is no envelope, or others could have written it.
pub fn read(config: &Config, version: u64) -> Result<Option<Envelope>, FileProblem> {
    let path = path(config, version);
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let text = read_owned(&path)?;
    json::parse_as(text.as_bytes(), MAX_FILE_BYTES).map(Some).map_err(|error| {
        FileProblem::whole(&path, format!("it is no envelope of a roster ({error}): move it away, {ANEW}"))
    })
}

/// Who writes what is missing: nothing that is there is written over as long as it can't be read.
const ANEW: &str = "`countersign roster draft` writes a next version anew, a start those that are sealed";

/// The versions that have a file, in order.
#[must_use]
pub fn listed(config: &Config) -> Vec<u64> {
    let entries = std::fs::read_dir(directory(config)).into_iter().flatten().flatten();
    let mut versions: Vec<u64> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()).collect();
    versions.sort_unstable();
    versions
}

/// Versions from 1 on, as far as each follows the one before.
///
/// # Errors
/// When a file can't be read or version 1 is none.
pub fn chain(config: &Config) -> Result<Option<Chain>, FileProblem> {
    let mut envelopes = Vec::new();
    while let Some(next) = read(config, envelopes.len() as u64 + 1)? {
        envelopes.push(next);
    }
    // All but the last few follow: what is drafted and not signed yet stands at the end.
    loop {
        match (Chain::from_first(&envelopes), envelopes.len()) {
            (Ok(chain), _) => return Ok(Some(chain)),
            (Err(_), 0) => return Ok(None),
            (Err(error), 1) => {
                return Err(FileProblem::whole(&path(config, 1), format!("{error}: get it from the running boundary")));
            }
            (Err(_), _) => drop(envelopes.pop()),
        }
    }
}

/// The statement in a version's envelope, whoever signed it.
///
/// # Errors
/// When it is no roster.
pub fn stated(path: &Path, envelope: &Envelope) -> Result<TrustedRoster, FileProblem> {
    let odd = |error: &dyn std::fmt::Display| {
        FileProblem::whole(path, format!("it is no roster ({error}): move it away, {ANEW}"))
    };
    let payload = payload_of(envelope, Base64::Strict).map_err(|error| odd(&error))?;
    TrustedRoster::from_payload(&payload).map_err(|error| odd(&error))
}

/// Writes the sealed versions that have no file yet. Says what could not be kept: nothing but tools needs them.
pub fn keep(config: &Config, chain: &Chain) -> Vec<String> {
    let mut trouble = Vec::new();
    for (roster, envelope) in chain.versions().iter().zip(chain.envelopes()) {
        let path = path(config, roster.version());
        if path.symlink_metadata().is_ok() {
            continue;
        }
        if let Err(problem) = write(&path, envelope) {
            trouble.push(problem.to_string());
            break;
        }
    }
    trouble
}

/// Writes a version's file: whole or not at all, in place of what was there.
///
/// # Errors
/// When the directory can't be written.
pub fn write(path: &Path, envelope: &Envelope) -> Result<FileWritten, FileProblem> {
    let failed = |error: &dyn std::fmt::Display| {
        FileProblem::whole(path, format!("it can't be written ({error}): check the directory"))
    };
    let mut bytes = envelope.to_canonical().map_err(|error| failed(&error))?;
    bytes.push(b'\n');
    // It holds public keys and signatures, and only root and the service's own user may write it: the mode is for the
    // service, which reads what root writes.
    replace(path, &bytes, 0o644).map_err(|error| failed(&error))
}

/// A file is on the disk under its name.
#[derive(Debug)]
pub struct FileWritten(());

/// Puts a file in place of another, or where none was: after a crash the one or the other is there. It keeps the owner and
/// mode of the one before.
///
/// # Errors
/// As the system says.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<FileWritten> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        // Whatever the umask says: under that of root the service could not read it.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    }
    let before = std::fs::symlink_metadata(path).ok();
    if before.as_ref().is_some_and(|before| !before.is_file()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no file is there"));
    }
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    let mode = before.as_ref().map_or(mode, |before| before.mode() & 0o7777);
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    if let Some(before) = before.filter(|before| before.uid() != rustix::process::geteuid().as_raw()) {
        std::os::unix::fs::fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()?;
    Ok(FileWritten(()))
}
