//! Stores large outputs as files, or as objects of a database server, before the receipt is stored.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::{KeptResults, RecordedOutput, Recording};
use documents::{Blake3Digest, StreamName, locked};
use store::{MAX_INLINE_BYTES, Objects, OutputRow};

/// The directory of large outputs and of temporary files.
#[derive(Clone)]
pub struct Outputs {
    directory: PathBuf,
    /// With a database server: the objects of the database, which contain the large outputs.
    objects: Option<Arc<Objects>>,
    /// Names of new files of runs until the store has rows for them. Without this map, such a file would seem to be
    /// unused.
    kept: Arc<Mutex<BTreeMap<Blake3Digest, usize>>>,
}

/// Outputs of a run before the store contains them. The boundary does not remove their files until this value is
/// dropped.
#[derive(Default)]
pub struct RecordedRows {
    /// Output rows for the store.
    pub rows: Vec<OutputRow>,
    names: Vec<Blake3Digest>,
    kept: Arc<Mutex<BTreeMap<Blake3Digest, usize>>>,
}

impl RecordedRows {
    fn claim(&mut self, name: Blake3Digest) {
        *locked(&self.kept).entry(name).or_default() += 1;
        self.names.push(name);
    }
}

impl Drop for RecordedRows {
    fn drop(&mut self) {
        let mut kept = locked(&self.kept);
        for name in &self.names {
            match kept.get_mut(name) {
                Some(runs) if *runs > 1 => *runs -= 1,
                _ => drop(kept.remove(name)),
            }
        }
    }
}

impl Outputs {
    /// Uses `directory`, which must exist and must be accessible only to the service. With `objects`, the directory has only
    /// temporary files.
    pub fn new(directory: PathBuf, objects: Option<Arc<Objects>>) -> Self {
        Self {
            directory,
            objects,
            kept: Arc::default(),
        }
    }

    /// Returns the directory for spools of runs in progress.
    pub fn scratch(&self) -> PathBuf {
        self.directory.clone()
    }

    /// Returns true if the database of another machine has the large outputs, so that this disk has only temporary files.
    pub fn are_elsewhere(&self) -> bool {
        self.objects.is_some()
    }

    /// Returns the number of free bytes on the disk of the outputs.
    ///
    /// # Errors
    /// Returns an error if the file system does not report its free space.
    pub fn room(&self) -> io::Result<u64> {
        free_bytes(&self.directory)
    }

    /// Returns the size of the large outputs on this disk.
    pub fn bytes(&self) -> u64 {
        if self.are_elsewhere() {
            0
        } else {
            bytes_below(&self.directory)
        }
    }

    /// Prepares the output of a run for the store: small outputs as rows, large outputs as durable files or objects.
    ///
    /// # Errors
    /// Returns an error if a file can't be written or synced.
    pub fn keep(
        &self,
        recorded: &RecordedOutput,
        recording: &Recording,
        results: &KeptResults,
        path: impl Fn(&Blake3Digest) -> PathBuf,
    ) -> io::Result<RecordedRows> {
        let mut kept = RecordedRows {
            rows: Vec::new(),
            names: Vec::new(),
            kept: self.kept.clone(),
        };
        for (name, stream) in [
            (StreamName::Stdout, &recorded.stdout),
            (StreamName::Stderr, &recorded.stderr),
        ] {
            self.keep_one(&mut kept, stream.blake3, stream.recorded, &path, |to| {
                recording.copy(name, to)
            })?;
        }
        for file in &results.files {
            self.keep_one(
                &mut kept,
                file.entry.blake3,
                file.entry.bytes,
                &path,
                |to| file.copy(to),
            )?;
        }
        Ok(kept)
    }

    /// Adds one row. `copy` passes the bytes to a function, piece by piece.
    fn keep_one(
        &self,
        kept: &mut RecordedRows,
        name: Blake3Digest,
        bytes: u64,
        path: &impl Fn(&Blake3Digest) -> PathBuf,
        copy: impl Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        if bytes == 0 || kept.rows.iter().any(|row| row.name == name) {
            return Ok(());
        }
        let data = if bytes <= MAX_INLINE_BYTES as u64 {
            let mut data = Vec::new();
            copy(&mut |piece| {
                data.extend_from_slice(piece);
                Ok(())
            })?;
            Some(data)
        } else {
            // Add the name to the map before the following check, so that no sweep removes an existing file in
            // between.
            kept.claim(name);
            match &self.objects {
                Some(objects) => objects.keep(name.as_bytes(), &copy)?,
                None => self.write(&path(&name), copy)?,
            }
            None
        };
        kept.rows.push(OutputRow { name, bytes, data });
        Ok(())
    }

    /// Removes a file that no row names, unless the file belongs to a run whose rows are not stored yet.
    ///
    /// # Errors
    /// Returns an error if the file can't be removed or the store can't be read.
    pub fn remove<E: From<io::Error>>(
        &self,
        name: &Blake3Digest,
        path: &Path,
        named: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        // Hold the lock until the file is removed. A later run then finds no file and writes the file again.
        let kept = locked(&self.kept);
        if kept.contains_key(name) || named()? {
            return Ok(false);
        }
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the names of all files, including files that no row names.
    pub fn names(&self) -> Vec<Blake3Digest> {
        let directories = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let files = directories
            .filter_map(|entry| fs::read_dir(entry.path()).ok())
            .flatten()
            .flatten();
        files
            .filter_map(|file| {
                format!("blake3:{}", file.file_name().to_str()?)
                    .parse()
                    .ok()
            })
            .collect()
    }

    fn write(
        &self,
        path: &Path,
        copy: impl Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        if path.exists() {
            return Ok(()); // the name is the digest of the content, so an existing file has the same bytes
        }
        let parent = path.parent().unwrap_or(&self.directory);
        if !parent.exists() {
            make_private(parent)?;
            File::open(&self.directory)?.sync_all()?;
        }
        let temporary = tempfile::Builder::new()
            .prefix(".output-")
            .tempfile_in(&self.directory)?;
        let mut writer = BufWriter::new(temporary.as_file());
        copy(&mut |bytes| writer.write_all(bytes))?;
        writer.flush()?;
        drop(writer);
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        File::open(parent)?.sync_all()
    }

    /// Returns true if rows can contain the whole output, so that no file is needed.
    pub fn is_inline(recorded: &RecordedOutput) -> bool {
        [&recorded.stdout, &recorded.stderr]
            .iter()
            .all(|stream| stream.recorded <= MAX_INLINE_BYTES as u64)
    }

    /// Removes the temporary files that remained after a crash. Output files remain, because their content matches
    /// their name.
    ///
    /// # Errors
    /// Returns an error if the directory can't be read.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".output-") {
                fs::remove_file(entry.path())?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// Makes a directory, and the directories above it, for this user alone.
pub fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(directory)
}

/// Returns the size of all files in the two levels of a directory.
pub fn bytes_below(directory: &Path) -> u64 {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let files =
        entries(directory).flat_map(|directory| entries(&directory.path()).collect::<Vec<_>>());
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// Returns the number of free bytes on the disk of a directory that an unprivileged process can use.
///
/// # Errors
/// Returns an error if the file system does not report its free space.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
