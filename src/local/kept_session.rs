//! Session of a page between two commands, so that `--from` and `--continue` go on where another command stopped.
//!
//! `sessions/DIGEST.json` beside the local receipts has the variables, the directory and the outputs, and
//! `sessions/DIGEST.files` has the files of a separate work directory. Only the person can read them, and no step sees
//! them. They never contain the value of a secret of the runbook.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::local::local_log::LocalLog;
use crate::local::walk_session::{StepOutputs, WalkSession};
use client::terminal::exit::{CommandFailure, Exit};
use documents::crypto::digest::{hex, sha256};
use sandbox::isolation::session_tree::SessionTree;
use sandbox::sessions::session_state::ShellState;

/// Maximum age of a kept session. Variables of a script can be credentials, so they don't stay on the disk.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Place of the session of one page.
#[derive(Debug)]
pub struct KeptSession {
    file: PathBuf,
    tree: PathBuf,
}

/// Content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct SessionContent {
    /// Id of the last step that ran.
    ran: String,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    unset: Vec<Vec<u8>>,
    cwd: Option<Vec<u8>>,
    outputs: StepOutputs,
    /// Path of the work directory in the run, if `DIGEST.files` has its content.
    tree: Option<PathBuf>,
}

impl KeptSession {
    /// Returns the place for the runbook with this real path, and removes sessions that are too old.
    ///
    /// # Errors
    /// Returns an error if the directory of the person's state is unknown or can't be written.
    pub fn of(page: &Path) -> Result<Self, CommandFailure> {
        let directory = LocalLog::of_process()?.directory().join("sessions");
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(|error| failed(&directory, &error))?;
        for entry in fs::read_dir(&directory).map_err(|error| failed(&directory, &error))?.flatten() {
            let age =
                entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > MAX_AGE) {
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
        let name = hex(&sha256(page.as_os_str().as_bytes()));
        Ok(Self { file: directory.join(format!("{name}.json")), tree: directory.join(format!("{name}.files")) })
    }

    /// Returns the kept session, and the id of the last step that ran in it. Returns `None` if no session is kept.
    ///
    /// # Errors
    /// Returns an error if the session can't be read.
    pub fn load(&self) -> Result<Option<(WalkSession, String)>, CommandFailure> {
        let text = match fs::read(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| failed(&self.file, &error))?,
        };
        let SessionContent { ran, env, unset, cwd, outputs, tree } =
            serde_json::from_slice(&text).map_err(|error| failed(&self.file, &error))?;
        let tree = tree.map(|path| SessionTree::of_directory(&self.tree, path)).transpose();
        let tree = tree.map_err(|error| failed(&self.tree, &error))?;
        let state = ShellState { env: env.into_iter().collect(), unset: unset.into_iter().collect(), cwd };
        Ok(Some((WalkSession::of_parts(state, outputs, tree), ran)))
    }

    /// Keeps a session in which the step `ran` was the last one.
    ///
    /// # Errors
    /// Returns an error if the session can't be written.
    pub fn save(&self, session: &WalkSession, ran: &str) -> Result<(), CommandFailure> {
        let tree = session.tree();
        // The tree of this session may be the kept directory itself.
        let new = self.tree.with_extension("new");
        let _ = fs::remove_dir_all(&new);
        if let Some(tree) = tree {
            let copied = DirBuilder::new().mode(0o700).create(&new).and_then(|()| tree.copy_to(&new));
            copied.map_err(|error| failed(&new, &error))?;
        }
        // A crash at any place below leaves a session without its files, or none.
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir_all(&self.tree);
        if tree.is_some() {
            fs::rename(&new, &self.tree).map_err(|error| failed(&self.tree, &error))?;
        }
        let ShellState { env, cwd, unset } = session.state().clone();
        let content = SessionContent {
            ran: ran.to_owned(),
            env: env.into_iter().collect(),
            unset: unset.into_iter().collect(),
            cwd,
            outputs: session.outputs().clone(),
            tree: tree.map(|tree| tree.path().to_owned()),
        };
        let text = serde_json::to_vec(&content).map_err(|error| failed(&self.file, &error))?;
        // A new temporary file has mode 0600.
        let file = tempfile::NamedTempFile::new_in(self.file.parent().unwrap_or(Path::new("/")));
        let written = file.and_then(|mut file| {
            io::Write::write_all(&mut file, &text)?;
            Ok(file.persist(&self.file)?)
        });
        written.map(drop).map_err(|error| failed(&self.file, &error))
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> CommandFailure {
    let message = format!("the session can't be kept or read: {}: {error}: check the directory", path.display());
    CommandFailure::new(Exit::Unreachable, message)
}
