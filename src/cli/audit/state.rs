//! The file that the state of an audit is kept in.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::audit::kept::SavedAudit;
use crate::crypto::json;
use crate::crypto::merkle::Hash;
use crate::remote::log_source::read_file;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::screen::PrintableText;

/// The most that a state may have: a day's nonces of a busy boundary.
const MAX_STATE_BYTES: usize = 1 << 30;

/// How long another audit may take to put its state in place.
const TURN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A file for the state, in a directory that can be written to.
#[derive(Debug)]
pub(super) struct StateFile {
    /// Where links lead: what is replaced is the file, and the link stays.
    path: PathBuf,
    directory: PathBuf,
}

/// What became of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StateChange {
    /// It is kept.
    Here,
    /// Another audit kept one of more entries meanwhile, as many as this, which stays.
    Further(u64),
    /// Another audit kept one meanwhile that stands for other entries: as many as this.
    Forked(u64),
}

impl StateFile {
    /// The file of this name, which need not be there. That it can be written shows before an audit, which may take hours.
    pub(super) fn open(named: &Path) -> Result<Self, CommandFailure> {
        let shown = PrintableText::text(&named.to_string_lossy());
        let failed =
            |error: io::Error| CommandFailure::usage(format!("can't keep a state in {}: {error}", shown.as_str()));
        let path = if named.is_symlink() { fs::canonicalize(named).map_err(failed)? } else { named.to_owned() };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = directory.to_owned();
        let _tried = tempfile::NamedTempFile::new_in(&directory).map_err(failed)?;
        Ok(Self { path, directory })
    }

    /// The state that is kept there.
    pub(super) fn read(&self) -> Result<Option<SavedAudit>, CommandFailure> {
        let Some(bytes) = read_file(&self.path, MAX_STATE_BYTES)? else { return Ok(None) };
        json::parse_as(&bytes, MAX_STATE_BYTES).map(Some).map_err(|error| {
            CommandFailure::usage(format!(
                "{} is no state of an audit: {error}; name another file, or move it away",
                self.shown()
            ))
        })
    }

    /// Replaces the state at once, or leaves it as it was. `begun` is the one that the audit began with; where another
    /// audit moved it since, `root_at` gives the root of the audited log at an earlier size, and the longer one stays.
    pub(super) fn keep(
        &self,
        state: &SavedAudit,
        begun: Option<&SavedAudit>,
        root_at: impl FnOnce(u64) -> Result<Hash, CommandFailure>,
    ) -> Result<StateChange, CommandFailure> {
        let _turn = self.lock()?;
        if let Some(now) = self.read()?.filter(|now| begun != Some(now)) {
            if now.boundary != state.boundary {
                return Err(CommandFailure::usage(format!(
                    "{} is the state of the boundary {} by now: give each boundary a state of its own",
                    self.shown(),
                    now.boundary
                )));
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
        self.write(state)
            .map_err(|error| CommandFailure::usage(format!("can't keep the state in {}: {error}", self.shown())))?;
        Ok(StateChange::Here)
    }

    fn write(&self, state: &SavedAudit) -> io::Result<()> {
        let bytes = serde_json::to_vec(state)?;
        // Made anew with the rights of its owner alone; a crash leaves the old state, and at most a file beside it.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all())?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(&self.directory).and_then(|directory| directory.sync_all())
    }

    /// Its turn among audits with one state. The file itself is replaced, so that the lock is on its directory.
    fn lock(&self) -> Result<File, CommandFailure> {
        let failed =
            |error: io::Error| CommandFailure::usage(format!("can't lock the directory of {}: {error}", self.shown()));
        let directory = File::open(&self.directory).map_err(failed)?;
        let deadline = Instant::now() + TURN;
        loop {
            match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(directory),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let message = format!(
                        "another program holds the directory of {} locked, so the state was left as it was: run this again \
                         when that has ended",
                        self.shown()
                    );
                    return Err(CommandFailure::new(Exit::Unreachable, message));
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn shown(&self) -> String {
        PrintableText::text(&self.path.to_string_lossy()).as_str().to_owned()
    }
}
