//! Reads and saves the state of an audit in a file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;

use crate::{CommandFailure, CommandResult, PrintableText, fail_usage, read_file, replace_file};
use documents::{Hash, json};
use verdict::{SavedAudit, directory_of};

/// Maximum size of a state file, in bytes. The state contains each session, grant, denial and open run of the log, and each
/// nonce whose end has not come.
const MAX_STATE_BYTES: usize = 1 << 28;

/// Maximum time to wait until another audit has saved its state.
const TURN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// State file in a directory in which this process can write.
pub struct StateFile {
    /// Path of the state file, with symbolic links resolved, so that saving replaces the file and not a link to the
    /// file.
    path: PathBuf,
    directory: PathBuf,
}

/// Result of saving a state.
pub enum StateChange {
    /// The state was saved.
    Here,
    /// The file already contains a longer state of another audit, with this many entries, and was not replaced.
    Further(u64),
    /// The file contains a state of another audit with this many entries, and those entries differ from the audited
    /// log.
    Forked(u64),
}

impl StateFile {
    /// Opens a state file that may not exist yet. Before a long audit, the function tests that the directory can be
    /// written.
    pub fn open(named: &Path) -> CommandResult<Self> {
        let shown = PrintableText::file(named);
        let failed = |error: io::Error| {
            CommandFailure::usage(format!("can't save a state in {shown}: {error}"))
        };
        let path = if named.is_symlink() {
            fs::canonicalize(named).map_err(failed)?
        } else {
            named.to_owned()
        };
        let directory = directory_of(&path).to_owned();
        let _tried = tempfile::NamedTempFile::new_in(&directory).map_err(failed)?;
        Ok(Self { path, directory })
    }

    pub fn read(&self) -> CommandResult<Option<SavedAudit>> {
        let unusable = |failure| {
            CommandFailure::usage(format!(
                "{failure}: name another file with --state, or move this file away"
            ))
        };
        let Some(bytes) = read_file(&self.path, MAX_STATE_BYTES).map_err(unusable)? else {
            return Ok(None);
        };
        json::parse_as(&bytes, MAX_STATE_BYTES).map(Some).map_err(|error| {
            CommandFailure::usage(format!(
                "{} is no state of an audit: {error}; name another file, or move this file away",
                self.shown()
            ))
        })
    }

    /// Replaces the state atomically, or leaves it unchanged. `begun` is the state that was read before the audit. If
    /// another audit has saved a state in the meantime, the state of the larger log remains. `root_at` returns the root
    /// hash of the audited log at an earlier size.
    pub fn keep(
        &self,
        state: &SavedAudit,
        begun: Option<&SavedAudit>,
        root_at: impl FnOnce(u64) -> CommandResult<Hash>,
    ) -> CommandResult<StateChange> {
        let _turn = self.lock()?;
        if let Some(now) = self.read()?.filter(|now| begun != Some(now)) {
            if now.boundary != state.boundary {
                return fail_usage(format!(
                    "{} now contains the state of the boundary {}: use a separate state file for each boundary",
                    self.shown(),
                    now.boundary
                ));
            }
            if now.size > state.size {
                return Ok(StateChange::Further(now.size));
            }
            if let Some(tree) = now.frontier()
                && root_at(now.size)? != tree.root()
            {
                return Ok(StateChange::Forked(now.size));
            }
        }
        self.write(state).map_err(|error| {
            let shown = self.shown();
            CommandFailure::usage(format!(
                "can't save the state in {shown} ({error}): correct this, or name another file with --state, then run the \
                 audit again"
            ))
        })?;
        Ok(StateChange::Here)
    }

    fn write(&self, state: &SavedAudit) -> io::Result<()> {
        let bytes = serde_json::to_vec(state)?;
        if bytes.len() > MAX_STATE_BYTES {
            return Err(io::Error::other(
                "the state is larger than 256 MiB: audit without --state",
            ));
        }
        replace_file(&self.path, &bytes)
    }

    /// Waits for other audits with the same state file. The function locks the directory, because a lock on the file
    /// would have no effect after the file is replaced.
    fn lock(&self) -> CommandResult<File> {
        let failed = |error: io::Error| {
            CommandFailure::usage(format!(
                "can't lock the directory of {}: {error}",
                self.shown()
            ))
        };
        let directory = File::open(&self.directory).map_err(failed)?;
        let deadline = Instant::now() + TURN;
        loop {
            match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(directory),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE)
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let message = format!(
                        "another program has locked the directory of {}, so the state was not changed: run the audit \
                         again when that program has ended",
                        self.shown()
                    );
                    return Err(CommandFailure::unreachable(message));
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn shown(&self) -> String {
        PrintableText::file(&self.path).to_string()
    }
}
