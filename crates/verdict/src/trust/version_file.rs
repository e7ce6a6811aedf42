//! The file of one roster version: an envelope that approvers sign.

use std::{
    fs::{DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use documents::{Envelope, MAX_ROSTER_BYTES};

/// Maximum size of a version's file in bytes: an envelope with the largest roster and all signatures.
pub const MAX_FILE_BYTES: usize = 2 * MAX_ROSTER_BYTES;

/// Writes the file of a version atomically, and replaces an existing file.
///
/// # Errors
/// Returns a message if the directory cannot be written.
pub fn write(path: &Path, envelope: &Envelope) -> Result<FileWritten, String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!("the file can't be written ({error}): check the directory")
    };
    let mut bytes = envelope.to_canonical().map_err(|error| failed(&error))?;
    bytes.push(b'\n');
    // Every user may read the file, which contains only public keys and signatures. The user of the service must be
    // able to read a file that root wrote.
    replace(path, &bytes, 0o644).map_err(|error| failed(&error))
}

/// Returns the directory of a file. A name alone is a file of the current directory.
pub fn directory_of(file: &Path) -> &Path {
    file.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Proof that a version file is durable.
pub struct FileWritten(());

/// Replaces or creates a file atomically. The new file has the owner and the mode of the old file.
///
/// # Errors
/// Returns the error of the failed system call.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<FileWritten> {
    let directory = directory_of(path);
    if !directory.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)?;
        // The mode must not depend on the umask, because a service without root rights must read files that root wrote.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    }
    let before = std::fs::symlink_metadata(path).ok();
    if before.as_ref().is_some_and(|before| !before.is_file()) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists but is not a regular file",
        ));
    }
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    let mode = before
        .as_ref()
        .map_or(mode, |before| before.mode() & 0o7777);
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))?;
    if let Some(before) =
        before.filter(|before| before.uid() != rustix::process::geteuid().as_raw())
    {
        std::os::unix::fs::fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()?;
    Ok(FileWritten(()))
}
