//! The signed head of a boundary's log. Each new head must continue the newest head that was verified here before.

use std::sync::Mutex;

use client::{ChosenTrust, Client, CommandFailure, CommandResult, LogSource, Terminal, export};
use documents::{Checkpoint, Note, locked};
use tempfile::TempDir;
use verdict::{Pinned, TrustedRoster};

/// The hashes of a log up to the newest verified head, as `countersign log export --hashes` writes them. The directory is
/// deleted with the program.
#[derive(Debug, Default)]
pub struct VerifiedHashes(Mutex<Option<TempDir>>);

/// A head that was checked on this machine.
#[derive(Debug)]
pub struct CheckedHead {
    /// The head.
    pub checkpoint: Checkpoint,
    /// The head with its signature lines.
    pub note: String,
    /// Number of entries of the head before, or 0 for the first head.
    pub before: u64,
    /// Version of the trusted roster whose key signed the head. `None` without a trusted roster.
    pub roster: Option<u64>,
    /// Number of further signature lines, which nobody checked here.
    pub more_signatures: usize,
}

impl CheckedHead {
    /// Returns the root hash as the head writes it.
    pub fn root(&self) -> String {
        self.checkpoint
            .body()
            .lines()
            .nth(2)
            .unwrap_or_default()
            .to_owned()
    }
}

impl VerifiedHashes {
    /// Reads the head and the hashes of the new entries, as `countersign log export --hashes` does. Checks the signature with
    /// the newest trusted roster.
    ///
    /// # Errors
    /// Returns an error if the boundary can't be read, if the head has no valid signature, or if the log does not continue
    /// the log that was verified before.
    pub fn check(
        &self,
        chosen: &[ChosenTrust],
        trusted: Option<&TrustedRoster>,
        client: &Client,
    ) -> CommandResult<CheckedHead> {
        // A copy of hashes names no roster, so the export needs the roster itself, also if the person pinned a digest.
        let pinned = chosen.first().zip(trusted).map(|(from, roster)| {
            let pinned = Pinned::Roster(Box::new(roster.clone()));
            ChosenTrust {
                pinned,
                ..from.clone()
            }
        });
        let pinned: Vec<ChosenTrust> = pinned.into_iter().collect();
        let mut kept = locked(&self.0);
        let unkept = |error: std::io::Error| {
            CommandFailure::usage(format!(
                "the directory for the hashes of the log can't be made: {error}"
            ))
        };
        let directory = match &mut *kept {
            Some(directory) => directory,
            none => none.insert(tempfile::tempdir().map_err(unkept)?),
        };
        let served = LogSource::Served(Box::new(client.clone()));
        let done = export(
            &served,
            directory.path(),
            true,
            &pinned,
            &Terminal::new(true),
        )?;
        let unread = |why: String| {
            CommandFailure::check_said_no(format!("the head of the log can't be read: {why}"))
        };
        let note = LogSource::Directory(directory.path().to_owned()).head()?;
        let note = note.ok_or_else(|| unread("it is missing".to_owned()))?;
        drop(kept);
        let parsed = Note::parse(&note).map_err(|error| unread(error.to_string()))?;
        let checkpoint = Checkpoint::parse(parsed.unverified_text())
            .map_err(|error| unread(error.to_string()))?;
        let (roster, more_signatures) = (
            trusted.map(|roster| roster.version()),
            parsed.signatures().len(),
        );
        let more_signatures = more_signatures - usize::from(roster.is_some());
        Ok(CheckedHead {
            checkpoint,
            note,
            before: done.before,
            roster,
            more_signatures,
        })
    }
}
