//! Artifacts: files that callers upload, for runs that get them.
//!
//! Each proposer has its own directory, and the name of a file is the SHA-256 of its content. So a proposer can give
//! only its own uploads to a run.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::crossing::refusal::{Refusal, Stopped, fault};
use crate::crypto::digest::{ContentDigest, Sha256Stream};
use crate::record::code::Code;
use crate::record::ident::Name;
use crate::record::later_parts::{Artifact, Artifacts, MAX_ARTIFACTS_BYTES};
use crate::sandbox::PlannedInput;

/// Maximum number of bytes of all artifacts of one proposer.
const MOST_BYTES: u64 = 256 << 20;
/// Maximum number of artifacts of one proposer.
const MOST_FILES: usize = 256;
/// Maximum number of uploads of one proposer at the same time.
const MOST_UPLOADS: usize = 4;
/// Time for which an artifact is stored. An authorization is valid for at most one day.
const KEPT: Duration = Duration::from_secs(2 * 24 * 3600);
/// Time after which an upload that did not end is deleted.
const KEPT_PARTIAL: Duration = Duration::from_secs(3600);
/// Prefix of files whose upload is not complete.
const PARTIAL: &str = ".upload-";

/// The uploaded files of all proposers.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    directory: PathBuf,
    /// Held while an upload gets its final name, so that uploads at the same time do not exceed the limits together.
    naming: Arc<Mutex<()>>,
}

/// An upload in progress. The file has no final name until [`Upload::finish`].
#[derive(Debug)]
pub struct Upload {
    directory: PathBuf,
    file: NamedTempFile,
    sha256: Sha256Stream,
    bytes: u64,
    naming: Arc<Mutex<()>>,
}

impl ArtifactStore {
    /// Uses `directory`, which is created with the first upload.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, naming: Arc::default() }
    }

    /// Begins an upload of `proposer`.
    ///
    /// # Errors
    /// Returns `rate-limited` if the proposer has too many artifacts or uploads, and a fault if the disk can't be
    /// written.
    pub fn begin(&self, proposer: &Name, digest: &ContentDigest) -> Result<Upload, Stopped> {
        let directory = self.directory.join(proposer.as_str());
        DirBuilder::new().mode(0o700).recursive(true).create(&directory).map_err(|error| unwritable(&error))?;
        let usage = Usage::of(&directory).map_err(|error| fault(&error))?;
        if usage.partial >= MOST_UPLOADS {
            let detail = format!("{proposer} has {MOST_UPLOADS} uploads in progress: wait until one has ended");
            return Err(Refusal::new(Code::RateLimited, detail).retry_after(5).into());
        }
        // A stored file may always be uploaded again.
        if !directory.join(file_name(digest)).exists() {
            usage.check_room(0)?;
        }
        let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&directory);
        let file = file.map_err(|error| unwritable(&error))?;
        let naming = self.naming.clone();
        Ok(Upload { directory, file, sha256: Sha256Stream::default(), bytes: 0, naming })
    }

    /// Returns an artifact of `proposer` with its size, or `None` if it is not stored.
    ///
    /// # Errors
    /// Returns an error if the file can't be opened.
    pub fn open(&self, proposer: &Name, digest: &ContentDigest) -> io::Result<Option<(File, u64)>> {
        match File::open(self.directory.join(proposer.as_str()).join(file_name(digest))) {
            Ok(file) => {
                let bytes = file.metadata()?.len();
                Ok(Some((file, bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the input of a run for the signed artifacts of `proposer`. The run compares each digest again when it
    /// copies the file.
    ///
    /// # Errors
    /// Returns `sandbox-unavailable` if an artifact is not stored. The run can start after the file is uploaded again.
    pub fn planned(&self, proposer: &Name, artifacts: Option<&Artifacts>) -> Result<Vec<PlannedInput>, Stopped> {
        let planned = |artifact: &Artifact| {
            let found = self.open(proposer, &artifact.digest).map_err(|error| fault(&error))?;
            let found = found.filter(|(_, bytes)| *bytes == artifact.bytes);
            let Some((file, bytes)) = found else {
                let detail = format!(
                    "the artifact {} ({}) is not stored: upload the file again, with the next proposal or with PUT /v1/artifacts/{}",
                    artifact.name, artifact.digest, artifact.digest
                );
                return Err(Refusal::new(Code::SandboxUnavailable, detail).into());
            };
            Ok(PlannedInput { name: artifact.name.clone(), digest: artifact.digest, bytes, file: Arc::new(file) })
        };
        artifacts.map_or(&[][..], |artifacts| &artifacts.0).iter().map(planned).collect()
    }

    /// Deletes artifacts that were uploaded more than [`KEPT`] ago, and uploads that never ended. Returns the number of
    /// deleted files.
    ///
    /// # Errors
    /// Returns an error if a directory can't be read.
    pub fn retire(&self) -> io::Result<usize> {
        let mut deleted = 0;
        let proposers = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            found => found?,
        };
        for proposer in proposers {
            for entry in fs::read_dir(proposer?.path())? {
                let entry = entry?;
                let age =
                    entry.metadata()?.modified().map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
                let is_partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
                let kept = if is_partial { KEPT_PARTIAL } else { KEPT };
                if age.is_ok_and(|age| age > kept) {
                    fs::remove_file(entry.path())?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// Returns `too-large` if the artifact is larger than 64 MiB.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_ARTIFACTS_BYTES {
            let detail = format!("an artifact may have at most {MAX_ARTIFACTS_BYTES} bytes");
            return Err(Refusal::new(Code::TooLarge, detail).into());
        }
        self.sha256.update(bytes);
        self.file.write_all(bytes).map_err(|error| unwritable(&error))
    }

    /// Makes the artifact durable under its digest, and returns its size.
    ///
    /// # Errors
    /// Returns `malformed` if the content has another digest, and `rate-limited` if the artifacts of the proposer become
    /// too large.
    pub fn finish(self, digest: &ContentDigest) -> Result<u64, Stopped> {
        let found = ContentDigest::from_bytes(self.sha256.finish());
        if found != *digest {
            let detail = format!("the body has the digest {found}, but the path names {digest}: send the same file");
            return Err(Refusal::new(Code::Malformed, detail).into());
        }
        self.file.as_file().sync_all().map_err(|error| unwritable(&error))?;
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.directory.join(file_name(digest)).exists() {
            Usage::of(&self.directory).map_err(|error| fault(&error))?.check_room(self.bytes)?;
        }
        // A second upload of the same file replaces the first, so that its retention begins again.
        self.file.persist(self.directory.join(file_name(digest))).map_err(|error| unwritable(&error.error))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(|error| unwritable(&error))?;
        Ok(self.bytes)
    }
}

fn unwritable(error: &io::Error) -> Stopped {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let detail = "the boundary's disk is full: ask the operator to free space, then try again";
            Refusal::new(Code::Busy, detail).retry_after(60).into()
        }
        _ => fault(error),
    }
}

fn file_name(digest: &ContentDigest) -> String {
    crate::crypto::digest::hex(digest.as_bytes())
}

/// What a proposer has in its directory.
#[derive(Debug, Default)]
struct Usage {
    files: usize,
    bytes: u64,
    /// Uploads in progress.
    partial: usize,
}

impl Usage {
    fn of(directory: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                usage.partial += 1;
                continue;
            }
            usage.files += 1;
            usage.bytes += entry.metadata()?.len();
        }
        Ok(usage)
    }

    /// Checks that one more artifact of this size has room.
    fn check_room(&self, bytes: u64) -> Result<(), Stopped> {
        if self.files < MOST_FILES && self.bytes + bytes <= MOST_BYTES {
            return Ok(());
        }
        let detail = format!(
            "{} artifacts of this proposer have {} bytes together, and at most {MOST_FILES} of together {MOST_BYTES} bytes \
             are kept: an artifact is deleted two days after its upload",
            self.files, self.bytes
        );
        Err(Refusal::new(Code::RateLimited, detail).retry_after(3600).into())
    }
}
