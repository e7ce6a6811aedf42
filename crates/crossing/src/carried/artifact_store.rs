//! Artifacts: files that callers upload, for runs that get them.
//!
//! Each proposer has its own directory, and the name of a file is the SHA-256 of its content. So a proposer can give
//! only its own uploads to a run. With a database server, a row for each file of a proposer replaces the directory.

use std::{
    collections::HashMap,
    fs::{self, DirEntry, File},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use tempfile::NamedTempFile;
use tokio::task::block_in_place;

use crate::{
    Refusal, RequestResult, Stopped,
    carried::recorded_outputs::{bytes_below, make_private},
    fault, refuse,
};
use documents::{
    Artifact, Artifacts, Code, ContentDigest, MAX_ARTIFACTS_BYTES, Name, Sha256Stream, Timestamp,
    locked,
};
use sandbox::PlannedInput;
use store::{Objects, TakeBytes};

/// Maximum number of bytes of all artifacts of one proposer.
const MOST_BYTES: u64 = 256 << 20;
/// Maximum number of artifacts of one proposer.
const MOST_FILES: usize = 256;
/// Maximum number of uploads of one proposer at the same time.
const MOST_UPLOADS: usize = 4;
/// Time for which an artifact is stored, in seconds. An authorization is valid for at most one day.
const KEPT_S: i64 = 2 * 24 * 3600;
/// Prefix of files whose upload is not complete.
const PARTIAL: &str = ".upload-";
/// Number of bytes in one read.
const PIECE: usize = 256 << 10;

/// The uploaded files of all proposers.
///
/// The methods block a thread and move the other tasks of this thread to another thread, because a disk can be slow.
#[derive(Clone)]
pub struct ArtifactStore {
    directory: PathBuf,
    /// With a database server: the objects of the database, which contain the uploaded files. The directory then has
    /// only uploads in progress.
    objects: Option<Arc<Objects>>,
    /// Held while an upload gets its final name, so that uploads at the same time do not exceed the limits together.
    naming: Arc<Mutex<()>>,
    /// A counter for each proposer. Each upload in progress has a copy of the counter of its proposer.
    uploads: Arc<Mutex<HashMap<Name, Arc<()>>>>,
}

/// An upload in progress. The file has no final name until [`Upload::finish`].
pub struct Upload {
    store: ArtifactStore,
    proposer: Name,
    file: NamedTempFile,
    sha256: Sha256Stream,
    bytes: u64,
    _counted: Arc<()>,
}

impl ArtifactStore {
    /// Uses `directory`, which is created with the first upload.
    pub fn new(directory: PathBuf, objects: Option<Arc<Objects>>) -> Self {
        Self {
            directory,
            objects,
            naming: Arc::default(),
            uploads: Arc::default(),
        }
    }

    /// Returns the size of the uploaded files on this disk.
    pub fn bytes(&self) -> u64 {
        bytes_below(&self.directory)
    }

    /// Deletes the files of uploads that an earlier service did not complete. Must be called before the first upload.
    ///
    /// # Errors
    /// Returns an error if a directory can't be read or a file can't be deleted.
    pub fn delete_incomplete_uploads(&self) -> io::Result<()> {
        self.files()?
            .iter()
            .filter(|file| is_partial(file))
            .try_for_each(|file| fs::remove_file(file.path()))
    }

    /// Begins an upload of `proposer`.
    ///
    /// # Errors
    /// Returns `rate-limited` if the proposer has too many artifacts or uploads, and a fault if the disk can't be
    /// written.
    pub fn begin(&self, proposer: &Name, digest: &ContentDigest) -> RequestResult<Upload> {
        block_in_place(|| {
            let mut uploads = locked(&self.uploads);
            uploads.retain(|_, counter| Arc::strong_count(counter) > 1);
            let counter = uploads.entry(proposer.clone()).or_default();
            // The map has one of the counted references.
            if Arc::strong_count(counter) > MOST_UPLOADS {
                let detail = format!(
                    "{proposer} has {MOST_UPLOADS} uploads in progress: wait until one has ended"
                );
                return Err(Refusal::new(Code::RateLimited, detail)
                    .retry_after(5)
                    .into());
            }
            let counted = counter.clone();
            drop(uploads);
            let directory = self.directory_of(proposer);
            make_private(&directory).map_err(unusable)?;
            self.check_room(proposer, digest, 0)?;
            let file = tempfile::Builder::new()
                .prefix(PARTIAL)
                .tempfile_in(&directory);
            let file = file.map_err(unusable)?;
            let (store, proposer) = (self.clone(), proposer.clone());
            Ok(Upload {
                store,
                proposer,
                file,
                sha256: Sha256Stream::default(),
                bytes: 0,
                _counted: counted,
            })
        })
    }

    fn directory_of(&self, proposer: &Name) -> PathBuf {
        self.directory.join(proposer.as_str())
    }

    /// Checks that one more artifact of this size stays within the limits of the proposer. A stored file may always be
    /// uploaded again.
    fn check_room(&self, proposer: &Name, digest: &ContentDigest, bytes: u64) -> RequestResult {
        if self.stored(proposer, digest).map_err(unusable)?.is_some() {
            return Ok(());
        }
        let usage = match &self.objects {
            Some(objects) => objects
                .uploaded(proposer)
                .map(|(files, bytes)| Usage { files, bytes }),
            None => Usage::of(&self.directory_of(proposer)),
        };
        usage.map_err(unusable)?.check_room(bytes)
    }

    /// Returns the size of an artifact of `proposer`, or `None` if it is not stored.
    ///
    /// # Errors
    /// Returns `busy` if a database server does not answer, and a fault if the file can't be opened.
    pub fn size(&self, proposer: &Name, digest: &ContentDigest) -> RequestResult<Option<u64>> {
        block_in_place(|| self.stored(proposer, digest)).map_err(unusable)
    }

    fn stored(&self, proposer: &Name, digest: &ContentDigest) -> io::Result<Option<u64>> {
        match &self.objects {
            Some(objects) => objects.upload_size(proposer, digest),
            None => Ok(self.open_file(proposer, digest)?.map(|(_, bytes)| bytes)),
        }
    }

    /// Returns the input of a run for the signed artifacts of `proposer`. The run compares each digest again when it
    /// copies the file.
    ///
    /// # Errors
    /// Returns `sandbox-unavailable` if an artifact is not stored, or if its content has changed. The run can start
    /// after the file is uploaded again.
    pub fn planned(
        &self,
        proposer: &Name,
        artifacts: Option<&Artifacts>,
    ) -> RequestResult<Vec<PlannedInput>> {
        let planned = |artifact: &Artifact| {
            let found = block_in_place(|| self.read(proposer, artifact)).map_err(unusable)?;
            let Some(file) = found else {
                let detail = format!(
                    "the artifact {} ({}) is not stored: upload the file again, with the next proposal or with PUT /v1/artifacts/{}",
                    artifact.name, artifact.digest, artifact.digest
                );
                return Err(refuse(Code::SandboxUnavailable, detail));
            };
            let (name, digest, bytes) = (artifact.name.clone(), artifact.digest, artifact.bytes);
            Ok(PlannedInput {
                name,
                digest,
                bytes,
                file: Arc::new(file),
            })
        };
        artifacts
            .map_or(&[][..], |artifacts| &artifacts.0)
            .iter()
            .map(planned)
            .collect()
    }

    /// Opens an artifact whose content has the signed digest, at its beginning.
    fn read(&self, proposer: &Name, artifact: &Artifact) -> io::Result<Option<File>> {
        let Some((mut file, _)) = self
            .open(proposer, &artifact.digest)?
            .filter(|(_, bytes)| *bytes == artifact.bytes)
        else {
            return Ok(None);
        };
        let mut sha256 = Sha256Stream::default();
        copy(&file, &mut |piece| {
            sha256.update(piece);
            Ok(())
        })?;
        file.rewind()?;
        Ok((ContentDigest::from_bytes(sha256.finish()) == artifact.digest).then_some(file))
    }

    /// Opens an artifact at its beginning, with its size. An object is copied into a file without a name.
    fn open(&self, proposer: &Name, digest: &ContentDigest) -> io::Result<Option<(File, u64)>> {
        let Some(objects) = &self.objects else {
            return self.open_file(proposer, digest);
        };
        let Some(bytes) = objects.upload_size(proposer, digest)? else {
            return Ok(None);
        };
        make_private(&self.directory)?;
        let mut file = tempfile::tempfile_in(&self.directory)?;
        objects.copy_upload(digest, &mut |piece| file.write_all(piece))?;
        file.rewind()?;
        Ok(Some((file, bytes)))
    }

    /// Opens a file of the directory. Only a regular file is opened, because another file could block the reader.
    fn open_file(
        &self,
        proposer: &Name,
        digest: &ContentDigest,
    ) -> io::Result<Option<(File, u64)>> {
        let path = self.directory_of(proposer).join(file_name(digest));
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        Ok(found.is_file().then_some((file, found.len())))
    }

    /// Deletes artifacts that were uploaded more than [`KEPT_S`] before `now`. Returns the number of deleted files.
    ///
    /// # Errors
    /// Returns an error if a directory can't be read.
    pub fn retire(&self, now: Timestamp) -> io::Result<usize> {
        let mut deleted = match &self.objects {
            Some(objects) => objects.retire_uploads(now.plus(-KEPT_S))?,
            None => 0,
        };
        for file in self.files()?.iter().filter(|file| !is_partial(file)) {
            if now.unix() - file.metadata()?.mtime() > KEPT_S {
                fs::remove_file(file.path())?;
                deleted += 1;
            }
        }
        self.remove_empty_directories()?;
        Ok(deleted)
    }

    /// Removes the empty directories of proposers without an upload in progress.
    fn remove_empty_directories(&self) -> io::Result<()> {
        let uploads = locked(&self.uploads);
        let in_progress = |entry: &DirEntry| {
            let known = uploads
                .iter()
                .find(|(name, _)| entry.file_name() == name.as_str());
            known.is_some_and(|(_, counter)| Arc::strong_count(counter) > 1)
        };
        for proposer in self
            .proposers()?
            .iter()
            .filter(|proposer| !in_progress(proposer))
        {
            match fs::remove_dir(proposer.path()) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn proposers(&self) -> io::Result<Vec<DirEntry>> {
        match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            found => found?.collect(),
        }
    }

    fn files(&self) -> io::Result<Vec<DirEntry>> {
        let mut files = Vec::new();
        for proposer in self.proposers()? {
            for file in fs::read_dir(proposer.path())? {
                files.push(file?);
            }
        }
        Ok(files)
    }
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// Returns `too-large` if the artifact is larger than 64 MiB.
    pub fn write(&mut self, bytes: &[u8]) -> RequestResult {
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_ARTIFACTS_BYTES {
            let detail = format!("an artifact may have at most {MAX_ARTIFACTS_BYTES} bytes");
            return Err(refuse(Code::TooLarge, detail));
        }
        self.sha256.update(bytes);
        block_in_place(|| self.file.write_all(bytes)).map_err(unusable)
    }

    /// Makes the artifact durable under its digest, and returns its size.
    ///
    /// # Errors
    /// Returns `malformed` if the content has another digest, and `rate-limited` if the artifacts of the proposer become
    /// too large.
    pub fn finish(self, digest: &ContentDigest) -> RequestResult<u64> {
        block_in_place(|| {
            let found = ContentDigest::from_bytes(self.sha256.finish());
            if found != *digest {
                let detail = format!(
                    "the body has the digest {found}, but the path names {digest}: send the same file"
                );
                return Err(refuse(Code::Malformed, detail));
            }
            let store = &self.store;
            match &store.objects {
                // The bytes are written before the lock is taken. An upload beyond the limits leaves bytes that
                // retention deletes.
                Some(objects) => {
                    objects.keep(digest.as_bytes(), &|to| copy(self.file.as_file(), to))
                }
                None => self.file.as_file().sync_all(),
            }
            .map_err(unusable)?;
            let _naming = locked(&store.naming);
            store.check_room(&self.proposer, digest, self.bytes)?;
            // A second upload of the same file replaces the first, so that its retention begins again.
            match &store.objects {
                Some(objects) => objects.add_upload(&self.proposer, digest, self.bytes),
                None => {
                    let directory = store.directory_of(&self.proposer);
                    let named = self.file.persist(directory.join(file_name(digest)));
                    named
                        .map_err(|error| error.error)
                        .and_then(|_| File::open(&directory)?.sync_all())
                }
            }
            .map_err(unusable)?;
            Ok(self.bytes)
        })
    }
}

/// Passes the bytes of a file to `to`, from the beginning.
fn copy(mut file: &File, to: TakeBytes<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    file.rewind()?;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            count => to(&piece[..count])?,
        }
    }
}

fn unusable(error: io::Error) -> Stopped {
    match error.kind() {
        io::ErrorKind::NotConnected => {
            let detail = "the database of the boundary does not answer: try again";
            Refusal::new(Code::Busy, detail).retry_after(5).into()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let detail =
                "the boundary's disk is full: ask the operator to free space, then try again";
            Refusal::new(Code::Busy, detail).retry_after(60).into()
        }
        _ => fault(error),
    }
}

fn is_partial(file: &DirEntry) -> bool {
    file.file_name().to_string_lossy().starts_with(PARTIAL)
}

fn file_name(digest: &ContentDigest) -> String {
    documents::hex(digest.as_bytes())
}

/// What a proposer has in its directory.
#[derive(Default)]
struct Usage {
    files: usize,
    bytes: u64,
}

impl Usage {
    fn of(directory: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !is_partial(&entry) {
                usage.files += 1;
                usage.bytes += entry.metadata()?.len();
            }
        }
        Ok(usage)
    }

    /// Checks that one more artifact of this size stays within the limits.
    fn check_room(&self, bytes: u64) -> RequestResult {
        if self.files < MOST_FILES && self.bytes + bytes <= MOST_BYTES {
            return Ok(());
        }
        let detail = format!(
            "{} artifacts of this proposer have {} bytes together, and at most {MOST_FILES} of together {MOST_BYTES} bytes \
             are kept: an artifact is deleted two days after its upload",
            self.files, self.bytes
        );
        Err(Refusal::new(Code::RateLimited, detail)
            .retry_after(3600)
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_deleted_two_days_after_its_upload_by_the_time_of_the_boundary() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = ArtifactStore::new(directory.path().to_owned(), None);
        let (proposer, digest) = ("agent".parse().expect("a name"), ContentDigest::of(b"file"));
        let mut upload = store.begin(&proposer, &digest).expect("an upload");
        upload.write(b"file").expect("written");
        upload.finish(&digest).expect("stored");
        let at = fs::metadata(directory.path().join("agent").join(file_name(&digest)))
            .expect("a file")
            .mtime();
        for (age, kept) in [(0, true), (KEPT_S, true), (KEPT_S + 1, false)] {
            store
                .retire(Timestamp::from_unix(at + age))
                .expect("retired");
            assert_eq!(
                store.size(&proposer, &digest).expect("readable").is_some(),
                kept,
                "{age}"
            );
        }
    }

    #[test]
    fn an_empty_directory_of_a_proposer_is_deleted_only_without_an_upload_in_progress() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = ArtifactStore::new(directory.path().to_owned(), None);
        let digest = ContentDigest::of(b"file");
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let mut kept = store.begin(&name("kept"), &digest).expect("an upload");
        kept.write(b"file").expect("written");
        kept.finish(&digest).expect("stored");
        drop(store.begin(&name("given-up"), &digest).expect("an upload"));
        let mut running = store.begin(&name("running"), &digest).expect("an upload");
        store.retire(Timestamp::from_unix(0)).expect("retired");
        let names = || {
            let entries = fs::read_dir(directory.path()).expect("a directory");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["kept", "running"]);
        running.write(b"file").expect("written");
        running.finish(&digest).expect("stored");
        store
            .retire(Timestamp::from_unix(i64::from(u32::MAX)))
            .expect("retired");
        assert!(names().is_empty(), "{:?}", names());
    }
}
