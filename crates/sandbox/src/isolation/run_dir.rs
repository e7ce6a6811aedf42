//! The private directories of runs on the host's root file system.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{Id, isolation::remove};

const PREFIX: &str = "run-";

/// The private directory of a run on the host. The directory is deleted when this value is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    keeps: bool,
    /// Id of the run. A later run with the same id could change the files.
    id: Option<Id>,
}

impl RunDir {
    /// Creates the directory below `scratch`.
    pub fn make(scratch: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(scratch)?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711))?;
        Ok(Self {
            path: directory.keep(),
            keeps: false,
            id: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reserves the id of the run until the directory is deleted, so that no other run gets the id.
    pub fn hold(&mut self, id: Option<Id>) {
        self.id = id;
    }

    /// Leaves the directory for the next start of the service, because a living process may still write to it.
    pub fn keep(mut self) {
        self.keeps = true;
        // The living process may still use this user id. If it were reused, the end of one run would kill processes of
        // the other.
        std::mem::forget(self.id.take());
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keeps {
            delete(&self.path);
        }
    }
}

/// Deletes the directories of runs that an earlier service did not delete.
pub fn sweep(scratch: &Path) {
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            delete(&entry.path());
        }
    }
}

fn delete(path: &Path) {
    if let Err(error) = remove::tree(path) {
        tracing::warn!(%error, path = %path.display(), "the directory of a run could not be removed");
    }
}
