//! The directory `roster.d`, with one file for each version of the roster.
//!
//! The file `roster.d/<version>.json` is the envelope of one version. Approvers sign this envelope, and the next start
//! puts the version in force if it has enough signatures. The service also writes the sealed versions into this
//! directory, because tools need the previous version. The service itself reads the sealed versions from the store, so
//! an edit of their files has no effect.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Config, read_owned};
use documents::{Base64, Envelope, json};
use reading::FileProblem;
use verdict::{Chain, FileWritten, MAX_FILE_BYTES, TrustedRoster, payload_of, version_file};

/// Returns the directory of the roster versions (`roster.d`). Example: `boundary/roster.toml` → `boundary/roster.d`.
pub fn directory(config: &Config) -> PathBuf {
    config.roster.with_extension("d")
}

/// Returns the path of a version's file.
pub fn path(config: &Config, version: u64) -> PathBuf {
    directory(config).join(format!("{version}.json"))
}

/// Reads a version. Returns `None` if the file of the version does not exist.
///
/// # Errors
/// Returns an error if the file is no envelope, or if other users can write the file.
pub fn read(config: &Config, version: u64) -> Result<Option<Envelope>, FileProblem> {
    let path = path(config, version);
    if path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        return Ok(None);
    }
    let text = read_owned(&path)?;
    json::parse_as(text.as_bytes(), MAX_FILE_BYTES)
        .map(Some)
        .map_err(|error| {
            FileProblem::whole(
                &path,
                format!(
                    "the file is no envelope of a roster ({error}): move the file away; \
             {DRAFT_AGAIN}"
                ),
            )
        })
}

/// Advice with the commands that write a missing version file. The program never overwrites an unreadable file.
const DRAFT_AGAIN: &str = "`countersign roster draft` writes the next version again, and a start of the service writes the \
    sealed versions again";

/// Returns the sorted numbers of the versions that have a file.
pub fn listed(config: &Config) -> Vec<u64> {
    let entries = std::fs::read_dir(directory(config))
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<u64> = entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".json")?
                .parse()
                .ok()
        })
        .collect();
    versions.sort_unstable();
    versions
}

/// Returns the longest chain of valid versions that starts at version 1.
///
/// # Errors
/// Returns an error if a version file is unreadable or version 1 is invalid.
pub fn chain(config: &Config) -> Result<Option<Chain>, FileProblem> {
    let mut envelopes = Vec::new();
    while let Some(next) = read(config, envelopes.len() as u64 + 1)? {
        envelopes.push(next);
    }
    // The last versions may be unsigned drafts, so versions are removed from the end until the chain is valid.
    loop {
        match (Chain::from_first(&envelopes), envelopes.len()) {
            (Ok(chain), _) => return Ok(Some(chain)),
            (Err(_), 0) => return Ok(None),
            (Err(error), 1) => {
                return Err(FileProblem::whole(
                    &path(config, 1),
                    format!(
                        "{error}: get this file from the running \
                     boundary"
                    ),
                ));
            }
            (Err(_), _) => drop(envelopes.pop()),
        }
    }
}

/// Parses the roster in an envelope. Signatures are not verified.
///
/// # Errors
/// Returns an error if the payload of the envelope is not a roster.
pub fn stated(path: &Path, envelope: &Envelope) -> Result<TrustedRoster, FileProblem> {
    let odd = |error: &dyn std::fmt::Display| {
        FileProblem::whole(
            path,
            format!("the file is no roster ({error}): move the file away; {DRAFT_AGAIN}"),
        )
    };
    let payload = payload_of(envelope, Base64::Strict).map_err(|error| odd(&error))?;
    TrustedRoster::from_payload(&payload).map_err(|error| odd(&error))
}

/// Writes the files of sealed versions that have no file yet. Errors are returned as notes, because only tools need
/// these files.
pub fn keep(config: &Config, chain: &Chain) -> Vec<String> {
    let mut trouble = Vec::new();
    for (roster, envelope) in chain.versions().iter().zip(chain.envelopes()) {
        let path = path(config, roster.version());
        if path.symlink_metadata().is_ok() {
            continue;
        }
        if let Err(problem) = write(&path, envelope) {
            trouble.push(problem.to_string());
            break;
        }
    }
    trouble
}

/// Writes the file of a version atomically, and replaces an existing file.
///
/// # Errors
/// Returns an error if the directory cannot be written.
pub fn write(path: &Path, envelope: &Envelope) -> Result<FileWritten, FileProblem> {
    version_file::write(path, envelope).map_err(|error| FileProblem::whole(path, error))
}
