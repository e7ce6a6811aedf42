//! The directory `roster.d`, with one file for each version of the roster, and the draft of the next version.
//!
//! The file `roster.d/<version>.json` is the envelope of one version. Approvers sign this envelope, and the next start
//! puts the version in force if it has enough signatures. The service also writes the sealed versions into this
//! directory, because tools need the previous version. The service itself reads the sealed versions from the store, so
//! an edit of their files has no effect.
//!
//! The file `roster.d/next.json` is the draft: the predicate of the next version, which people may edit. Only a draft of
//! version 1 takes effect without signatures, when the log begins. `roster sign` makes `<version>.json` from a later draft.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use crate::{Config, InFile as _, read_owned};
use client::changes;
use documents::{Base64, Envelope, Roster, RosterVersion, json};
use reading::{FileProblem, Policy};
use serde::de::DeserializeOwned;
use verdict::{Chain, FileWritten, MAX_FILE_BYTES, TrustedRoster, payload_of, version_file};

/// Returns the path of a version's file.
pub fn path(config: &Config, version: u64) -> PathBuf {
    config.rosters.join(format!("{version}.json"))
}

/// Returns the path of the draft.
pub fn draft_path(config: &Config) -> PathBuf {
    config.rosters.join("next.json")
}

/// Reads a version. Returns `None` if the file of the version does not exist.
///
/// # Errors
/// Returns an error if the file is no envelope, or if other users can write the file.
pub fn read(config: &Config, version: u64) -> Result<Option<Envelope>, FileProblem> {
    let advice = format!("envelope of a roster: move the file away; {WRITTEN_AGAIN}");
    read_file(&path(config, version), &advice)
}

/// Reads the next version: its file, or else its draft as an envelope without signatures. Returns the path and the envelope, or
/// `None` if the version has neither.
///
/// # Errors
/// Returns an error if the file is no version of a roster, or if other users can write the file.
pub fn next(config: &Config, version: u64) -> Result<Option<(PathBuf, Envelope)>, FileProblem> {
    if let Some(envelope) = read(config, version)? {
        return Ok(Some((path(config, version), envelope)));
    }
    let Some(draft) = read_draft(config)?.filter(|draft| draft.version == version) else {
        return Ok(None);
    };
    let path = draft_path(config);
    let roster = TrustedRoster::from_tables(draft).at(&path)?;
    Ok(Some((path, Envelope::new(roster.payload(), Vec::new()))))
}

/// Reads the draft. Returns `None` if there is no draft.
///
/// # Errors
/// Returns an error if the file is no roster, or if other users can write the file.
pub fn read_draft(config: &Config) -> Result<Option<Roster>, FileProblem> {
    read_file(&draft_path(config), "draft of a roster: correct the file")
}

fn read_file<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Option<T>, FileProblem> {
    if path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        return Ok(None);
    }
    let text = read_owned(path)?;
    json::parse_as(text.as_bytes(), MAX_FILE_BYTES)
        .map(Some)
        .map_err(|error| format!("{error}: the file is no {what}"))
        .at(path)
}

/// Returns the signed versions up to the newest. Before the log begins, returns version 1 as the draft states it, with
/// the digest of `policy`. Without `policy`, the digest in the draft stays.
///
/// # Errors
/// Returns an error if there is no valid roster.
pub fn newest(config: &Config, policy: Option<&Policy>) -> Result<Chain, FileProblem> {
    if let Some(chain) = chain(config)? {
        return Ok(chain);
    }
    let path = draft_path(config);
    let mut draft = read_draft(config)?
        .ok_or("the roster is missing: write its first version with `countersign init`")
        .at(&path)?;
    if draft.version != 1 {
        return Err(needs_all(config, &path, draft.version));
    }
    if let Some(policy) = policy {
        draft.policy = policy.digest();
    }
    let roster = TrustedRoster::from_tables(draft).at(&path)?;
    Ok(Chain::of(&roster))
}

/// Returns the next version of the roster from its file or its draft, also if signatures are missing. If there is neither,
/// returns the newest signed version.
///
/// # Errors
/// Returns an error if there is no valid roster, or if the next version can't be read.
pub fn newest_drafted(config: &Config, policy: &Policy) -> Result<TrustedRoster, FileProblem> {
    let newest = newest(config, Some(policy))?;
    match next(config, newest.last().version() + 1)? {
        Some((path, envelope)) => stated(&path, &envelope),
        None => Ok(newest.last().clone()),
    }
}

fn needs_all(config: &Config, path: &Path, version: u64) -> FileProblem {
    FileProblem::whole(
        path,
        format!(
            "a log that begins with version {version} of a roster needs all versions, signed, in {}: copy them from a \
             boundary that has them, or move this file away",
            config.rosters.display()
        ),
    )
}

/// Returns the versions with which a log begins. If other boundaries already use a later version, the log begins with
/// all versions from their files.
///
/// # Errors
/// Returns an error if there is no valid roster, or if the directory also has a draft, an unsigned version, or a later
/// version without all versions before it.
pub fn first(config: &Config, policy: Option<&Policy>) -> Result<Chain, FileProblem> {
    let first = newest(config, policy)?;
    let version = first.last().version() + 1;
    // If a later version lacks signatures, or if a draft is beside the file of its version, the operator must decide.
    if let Some((path, _)) = next(config, version)? {
        return Err(needs_all(config, &path, version));
    }
    if let Some(later) = listed(config).into_iter().find(|later| *later >= version) {
        return Err(needs_all(config, &path(config, later), later));
    }
    if path(config, 1).exists() && read_draft(config)?.is_some_and(|draft| draft.version == 1) {
        let why = "this draft and 1.json are both version 1 of the roster: move one of them away";
        return Err(FileProblem::whole(draft_path(config), why));
    }
    Ok(first)
}

/// Advice with the commands that write a missing version file. The program never overwrites an unreadable file.
const WRITTEN_AGAIN: &str = "`countersign roster sign` writes the next version again, and a start of the service writes the \
    sealed versions again";

/// Returns the sorted numbers of the versions that have a file.
pub fn listed(config: &Config) -> Vec<u64> {
    let entries = std::fs::read_dir(&config.rosters)
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
    let Some(first) = read(config, 1)? else {
        return Ok(None);
    };
    let mut chain = Chain::from_first(&[RosterVersion::Whole(first)])
        .map_err(|error| format!("{error}: get this file from the running boundary"))
        .at(&path(config, 1))?;
    // The last versions may lack signatures.
    while let Some(next) = read(config, chain.last().version() + 1)? {
        match chain.extend(&next) {
            Ok(longer) => chain = longer,
            Err(_) => break,
        }
    }
    Ok(Some(chain))
}

/// Parses the roster in an envelope. Signatures are not verified.
///
/// # Errors
/// Returns an error if the payload of the envelope is not a roster.
pub fn stated(path: &Path, envelope: &Envelope) -> Result<TrustedRoster, FileProblem> {
    let read = || {
        let payload = payload_of(envelope, Base64::Strict)?;
        Ok(TrustedRoster::from_payload(&payload)?)
    };
    read()
        .map_err(|error: Box<dyn Error>| {
            format!("the file is no roster ({error}): move the file away; {WRITTEN_AGAIN}")
        })
        .at(path)
}

/// Returns true if a version changes more than the fields `version` and `previous` of the version before.
pub fn is_changed(before: &TrustedRoster, next: &TrustedRoster) -> bool {
    before.policy() != next.policy() || !changes(before.tables(), next.tables()).is_empty()
}

/// Writes the files of sealed versions that have no file yet. Errors are returned as notes, because only tools need
/// these files.
pub fn keep(config: &Config, chain: &Chain) -> Option<String> {
    let is_missing = |version: u64| path(config, version).symlink_metadata().is_err();
    let first = chain.numbers().find(|version| is_missing(*version))?;
    let mut missing = chain
        .each_from(first)
        .filter(|roster| is_missing(roster.version()));
    missing.find_map(|roster| {
        let envelope = chain.envelope_of(&roster)?;
        let path = path(config, roster.version());
        Some(write(&path, &envelope).err()?.to_string())
    })
}

/// Removes the draft of version 1, which is sealed now. The draft stays if the file of version 1 could not be written.
pub fn remove_first_draft(config: &Config) {
    // After a crash before this call, the draft stays, and the next `roster add`, `remove` or `set` replaces it.
    if path(config, 1).exists() {
        let _ = std::fs::remove_file(draft_path(config));
    }
}

/// Writes the draft atomically, and replaces an existing draft.
///
/// # Errors
/// Returns an error if the directory cannot be written.
pub fn write_draft(config: &Config, draft: &Roster) -> Result<FileWritten, FileProblem> {
    let path = draft_path(config);
    version_file::replace(&path, pretty(draft).as_bytes(), 0o644)
        .map_err(|error| format!("the draft can't be written ({error}): check the directory"))
        .at(&path)
}

/// Returns a draft as text that people can edit.
pub fn pretty(draft: &Roster) -> String {
    let mut text = serde_json::to_string_pretty(draft).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes the file of a version atomically, and replaces an existing file.
///
/// # Errors
/// Returns an error if the directory cannot be written.
pub fn write(path: &Path, envelope: &Envelope) -> Result<FileWritten, FileProblem> {
    version_file::write(path, envelope).at(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_draft_stays_until_version_1_has_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config::read(&dir.path().join("countersign.toml"), "name = \"a\"\n");
        let config = config.expect("a configuration");
        std::fs::create_dir_all(&config.rosters).expect("made");
        std::fs::write(draft_path(&config), "{}").expect("written");
        remove_first_draft(&config);
        assert!(draft_path(&config).exists());
        std::fs::write(path(&config, 1), "{}").expect("written");
        remove_first_draft(&config);
        assert!(!draft_path(&config).exists());
    }
}
