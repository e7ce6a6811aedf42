//! Reads and saves the state of an audit in a file.
//!
//! A second file beside the state has short hashes of all nonces and proposals that the audits of a log have read.
//!
//! An audit only appends to the second file. The state names the number of hashes and the digest of the bytes. So if a
//! crash prevents that the state is replaced, the old state still fits the beginning of the second file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;

use crate::{CommandFailure, CommandResult, PrintableText, read_file, replace_file};
use documents::{Blake3Stream, Hash, json};
use verdict::{SavedAudit, directory_of};

/// Maximum size of a state file, in bytes. The state contains each session, grant, denial and open run of the log.
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
    /// The file with the hashes, which may not exist yet.
    used: PathBuf,
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
        let mut used = path.as_os_str().to_owned();
        used.push(".used");
        Ok(Self {
            used: used.into(),
            path,
            directory,
        })
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

    /// Replaces the state atomically, or leaves it unchanged. `begun` is the state that was read before the audit, and
    /// `earlier` the nonces and proposals of this state if the audit continued from it. If another audit has saved a state in
    /// the meantime, the state of the larger log remains. `root_at` returns the root hash of the audited log at an earlier
    /// size.
    pub fn keep(
        &self,
        mut state: SavedAudit,
        begun: Option<&SavedAudit>,
        (earlier, hashes): (Option<&EarlierValues>, &[Vec<u64>]),
        root_at: impl FnOnce(u64) -> CommandResult<Hash>,
    ) -> CommandResult<StateChange> {
        let _turn = self.lock()?;
        if let Some(now) = self.read()?.filter(|now| begun != Some(now)) {
            if now.boundary != state.boundary {
                return Err(CommandFailure::usage(format!(
                    "{} now contains the state of the boundary {}: use a separate state file for each boundary",
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
        self.write_used(&mut state, earlier, hashes)
            .and_then(|()| self.write(&state))
            .map_err(|error| {
                let shown = self.shown();
                CommandFailure::usage(format!(
                    "can't save the state in {shown} and {shown}.used ({error}): make room and make both files writable, or name another \
                     file with --state, then run the audit again"
                ))
            })?;
        Ok(StateChange::Here)
    }

    fn write(&self, state: &SavedAudit) -> io::Result<()> {
        let bytes = serde_json::to_vec(state)?;
        if bytes.len() > MAX_STATE_BYTES {
            return Err(io::Error::other("the state is larger than 256 MiB"));
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

const HASH_BYTES: u64 = 8;
/// Number of bytes that are read or written at once: a multiple of the size of a hash.
const BLOCK_BYTES: usize = 1 << 20;

/// The verified beginning of the file, up to the last hash of a state.
pub struct EarlierValues {
    file: File,
    end: u64,
    digest: Blake3Stream,
}

impl StateFile {
    /// Opens the file and verifies the bytes that the state names. The error is the reason why they can't be used.
    pub fn earlier_values(&self, state: &SavedAudit) -> Result<EarlierValues, String> {
        let shown = PrintableText::file(&self.used).to_string();
        let failed = |error: io::Error| format!("can't read {shown}: {error}");
        // Without this flag, opening a pipe would block until a process writes to it.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(&self.used)
            .map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        let end = state.used_values.saturating_mul(HASH_BYTES);
        if !facts.is_file() {
            return Err(format!("{shown} is no file"));
        }
        if end > facts.len() {
            return Err(format!("{shown} is shorter than the state says"));
        }

        let mut earlier = EarlierValues {
            file,
            end,
            digest: Blake3Stream::default(),
        };
        let mut digest = Blake3Stream::default();
        earlier
            .each_block(|block| {
                digest.update(block);
                Ok(())
            })
            .map_err(failed)?;
        earlier.digest = digest;
        if Some(earlier.digest.finish()) != state.used_digest {
            return Err(format!(
                "the content of {shown} is not the content that the state names"
            ));
        }
        Ok(earlier)
    }

    /// Adds the hashes to the file, or replaces the file if `earlier` is not its beginning, and names the result in
    /// `state`. If the process stops before the state is replaced, the earlier state fits the beginning of an extended
    /// file, but not a replaced file. After a replaced file, the next audit reads the log from its first entry.
    fn write_used(
        &self,
        state: &mut SavedAudit,
        earlier: Option<&EarlierValues>,
        hashes: &[Vec<u64>],
    ) -> io::Result<()> {
        let same = |earlier: &&EarlierValues| {
            let (ours, now) = (earlier.file.metadata()?, self.used.metadata()?);
            Ok::<_, io::Error>((ours.dev(), ours.ino()) == (now.dev(), now.ino()))
        };
        let mut digest =
            earlier.map_or_else(Blake3Stream::default, |earlier| earlier.digest.clone());
        if let Some(earlier) = earlier.filter(|earlier| same(earlier).unwrap_or(false)) {
            let mut file = OpenOptions::new().append(true).open(&self.used)?;
            // Remove what an interrupted audit has appended.
            file.set_len(earlier.end)?;
            write_hashes(&mut file, &mut digest, hashes)?;
            file.sync_all()?;
        } else {
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            if let Some(earlier) = earlier {
                earlier.each_block(|block| file.write_all(block))?;
            }
            write_hashes(&mut file, &mut digest, hashes)?;
            file.as_file().sync_all()?;
            file.persist(&self.used).map_err(|error| error.error)?;
        }
        state.used_digest = Some(digest.finish());
        Ok(())
    }
}

impl EarlierValues {
    /// Passes the hashes to `take`, in pieces.
    pub fn each(&self, mut take: impl FnMut(&[u64])) -> io::Result<()> {
        let mut hashes = Vec::with_capacity(BLOCK_BYTES / 8);
        self.each_block(|block| {
            hashes.clear();
            hashes.extend(
                block
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| u64::from_le_bytes(*bytes)),
            );
            take(&hashes);
            Ok(())
        })
    }

    /// Passes the bytes up to the last hash to `take`.
    fn each_block(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let (mut at, mut block) = (0, vec![0; BLOCK_BYTES]);
        while at < self.end {
            let length = usize::try_from(self.end - at)
                .unwrap_or(BLOCK_BYTES)
                .min(BLOCK_BYTES);
            self.file.read_exact_at(&mut block[..length], at)?;
            take(&block[..length])?;
            at += length as u64;
        }
        Ok(())
    }
}

fn write_hashes(
    file: &mut impl io::Write,
    digest: &mut Blake3Stream,
    hashes: &[Vec<u64>],
) -> io::Result<()> {
    for piece in hashes
        .iter()
        .flat_map(|chunk| chunk.chunks(BLOCK_BYTES / 8))
    {
        let bytes: Vec<u8> = piece.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        digest.update(&bytes);
        file.write_all(&bytes)?;
    }
    Ok(())
}
