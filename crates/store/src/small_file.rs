//! Small files in the private directory of a boundary, which are replaced as a whole.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Prefix of the name of a temporary file. The program writes the temporary file first and then renames the file.
const TEMPORARY: &str = ".checkpoint-";

/// Deletes the temporary files that a crash left behind.
///
/// # Errors
/// Returns an error if the directory cannot be read or a file cannot be deleted.
pub fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Replaces a small file by a rename. After a crash the file has either the old or the new content.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync(directory)
}

/// Returns the path with `suffix` after its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}

/// Makes a file, or the names in a directory, durable.
///
/// # Errors
/// Returns an error if the file or the directory cannot be opened or synced.
pub fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
