//! A version of the roster that people will sign, with the versions before it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::{
    ChosenTrust, CommandFailure, CommandResult, DecidingRoster, NewestRoster, PrintableText,
    newest_of, newest_unconnected, read_bounded, seem_same,
};
use documents::{Base64, Envelope, Roster, RosterDigest, json};
use verdict::{Chain, MAX_FILE_BYTES, Pinned, TrustedRoster, payload_of};

/// A new roster version, and the versions before it.
pub struct ProposedRoster {
    /// Envelope of the version. The payload is encoded again, because documents require strict base64.
    pub envelope: Envelope,
    /// File of the envelope: the given file, or `VERSION.json` beside a draft.
    pub file: PathBuf,
    /// The new version.
    pub next: TrustedRoster,
    /// The version directly before the new version.
    pub before: TrustedRoster,
    /// Chain of all versions from 1 to `before`, if all these versions were found.
    chain: Option<Chain>,
}

/// Maximum number of files in the directory that are read.
const MOST_FILES: usize = 2048;

impl ProposedRoster {
    /// Reads the file, which may be a draft, and finds the previous version in the directory of the file, in `earlier`, or
    /// among the trusted rosters.
    ///
    /// # Errors
    /// Returns an error if the file is no roster, is version 1, or if its previous version was not found. A draft is also
    /// refused if the file of its version has another content, because that content may have signatures.
    pub fn read(file: &Path, earlier: &[PathBuf], trust: &[ChosenTrust]) -> CommandResult<Self> {
        let place = PrintableText::file(file).as_str().to_owned();
        let wrong =
            |error: &dyn std::fmt::Display| CommandFailure::usage(format!("{place}: {error}"));
        let (mut envelope, next, is_draft) = read_version(file)?;
        let Some(previous) = next.tables().previous else {
            return Err(CommandFailure::usage(format!(
                "{place} is version 1 of a roster, which has no signatures: compare its digest {} with the person \
                 who maintains it",
                next.digest()
            )));
        };
        let own = if is_draft {
            file.with_file_name(format!("{}.json", next.version()))
        } else {
            file.to_owned()
        };
        if is_draft && own.symlink_metadata().is_ok() {
            let (there, other, _) = read_version(&own)?;
            if other.digest() != next.digest() {
                return Err(CommandFailure::refused(format!(
                    "nothing was changed: {} contains another version {} with {} signatures: name that file, or \
                         delete the file, which discards its signatures",
                    PrintableText::file(&own),
                    other.version(),
                    there.signatures.len()
                )));
            }
            envelope = there;
        }
        let mut known: HashMap<RosterDigest, (Option<Envelope>, TrustedRoster)> = HashMap::new();
        for trust in trust {
            if let Pinned::Roster(roster) = &trust.pinned {
                known.insert(roster.digest(), (None, (**roster).clone()));
            }
        }
        // Files in the same directory are untrusted, so use a file only if its digest matches.
        for beside in siblings(file) {
            if let Ok((envelope, roster, _)) = read_version(&beside) {
                known.insert(roster.digest(), (Some(envelope), roster));
            }
        }
        for path in earlier {
            let (envelope, roster, _) = read_version(path)?;
            known.insert(roster.digest(), (Some(envelope), roster));
        }
        let Some((_, before)) = known.get(&previous) else {
            return Err(CommandFailure::usage(format!(
                "{place} follows the roster {previous}, which was not found: put the file of version {} into the \
                 same directory, or name that file with --earlier",
                next.version().saturating_sub(1)
            )));
        };
        let before = before.clone();
        if next.version() != before.version() + 1 {
            return Err(wrong(&format!(
                "version {} can't follow version {}",
                next.version(),
                before.version()
            )));
        }
        // Collects the earlier versions back to version 1, or to the first gap.
        let mut versions = Vec::new();
        let mut at = Some(previous);
        while let Some(digest) = at {
            let Some((envelope, roster)) = known.get(&digest) else {
                break;
            };
            let envelope = match envelope {
                Some(envelope) => envelope.clone(),
                // A trusted version needs no signatures, unless the user trusts an older version.
                None => Envelope::new(roster.payload(), Vec::new()),
            };
            versions.push(envelope);
            at = roster.tables().previous;
            if at.is_none() {
                versions.reverse();
            }
        }
        let whole = at.is_none();
        let chain = if whole {
            // Here the last version of the chain counts as pinned. If the user trusts an older version, `trusted_by`
            // verifies the versions after it.
            let chain = Chain::connect(&Pinned::Digest(previous), &versions)
                .map_err(|error| wrong(&error))?;
            let _follows = chain
                .check_follows(&envelope)
                .map_err(|error| wrong(&error))?;
            Some(chain)
        } else {
            None
        };
        Ok(Self {
            envelope,
            file: own,
            next,
            before,
            chain,
        })
    }

    /// Returns the reason why the previous version is trusted, as text.
    ///
    /// # Errors
    /// Returns an error if no trusted roster is connected with the previous version, or if a newer version is already
    /// trusted.
    pub fn trusted_by(&self, trust: &[ChosenTrust]) -> CommandResult<String> {
        let already = |trust: &ChosenTrust, version| {
            vec![format!(
                "{} is version {version} already",
                PrintableText::text(&trust.from)
            )]
        };
        let connect = |trust: &ChosenTrust| match &self.chain {
            _ if trust.pinned.digest() == self.before.digest() => Ok(self.newest_before()),
            Some(chain) => Chain::connect(&trust.pinned, chain.envelopes())
                .map(|chain| NewestRoster::of(&chain))
                .map_err(|error| format!("{}: {error}", trust.from)),
            None => Err(format!(
                "{}: the versions between were not found",
                trust.from
            )),
        };
        let why = match newest_of(trust, |trust| connect(trust).map(|newest| (newest, newest))) {
            Err(refused) => refused.into_iter().map(|(_, why)| why).collect(),
            Ok(DecidingRoster { trust, found, .. }) if found.version > self.before.version() => {
                already(trust, found.version)
            }
            Ok(DecidingRoster {
                trust, unconnected, ..
            }) => {
                let newer = newest_unconnected(&unconnected, |roster| {
                    roster.version() > self.before.version() && seem_same(roster, &self.before)
                });
                match newer {
                    Some((newer, roster)) => already(newer, roster.version()),
                    None if trust.pinned.digest() == self.before.digest() => {
                        return Ok(format!(
                            "version {}, from {}",
                            self.before.version(),
                            trust.from
                        ));
                    }
                    None => {
                        return Ok(format!(
                            "version {}, which follows from {} ({})",
                            self.before.version(),
                            trust.from,
                            trust.pinned.digest()
                        ));
                    }
                }
            }
        };
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" ({})", why.join("; "))
        };
        Err(CommandFailure::no_trust(format!(
            "nothing was signed: you trust no roster that this version follows{why}; this version follows \
                 version {} ({}): ask the person who maintains the roster for the digest, over another channel than \
                 this file; if the digest is the same, give --roster {}",
            self.before.version(),
            self.before.digest(),
            self.before.digest()
        )))
    }

    fn newest_before(&self) -> NewestRoster {
        NewestRoster {
            version: self.before.version(),
            digest: self.before.digest(),
        }
    }

    /// Returns true if all versions, starting with version 1, were found. A removed key can be detected only with all
    /// versions.
    pub const fn is_whole(&self) -> bool {
        self.chain.is_some()
    }
}

/// Reads a version of a roster: an envelope, or a draft, which becomes an envelope without signatures. Returns true for a
/// draft.
///
/// # Errors
/// Returns an error if the file cannot be read or contains no roster.
pub fn read_version(path: &Path) -> CommandResult<(Envelope, TrustedRoster, bool)> {
    let place = PrintableText::file(path).as_str().to_owned();
    let wrong = |error: &dyn std::fmt::Display| {
        let error = PrintableText::text(&error.to_string()).as_str().to_owned();
        CommandFailure::usage(format!("{place} is no version of a roster: {error}"))
    };
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    let value = json::parse(&bytes, MAX_FILE_BYTES).map_err(|error| wrong(&error))?;
    if value.get("payload").is_none() {
        let tables: Roster = json::typed(&value).map_err(|error| wrong(&error))?;
        let roster = TrustedRoster::from_tables(tables).map_err(|error| wrong(&error))?;
        return Ok((Envelope::new(roster.payload(), Vec::new()), roster, true));
    }
    let envelope: Envelope = json::typed(&value).map_err(|error| wrong(&error))?;
    let payload = payload_of(&envelope, Base64::Lenient).map_err(|error| wrong(&error))?;
    let roster = TrustedRoster::from_payload(&payload).map_err(|error| wrong(&error))?;
    let envelope = Envelope::new(&payload, envelope.signatures);
    Ok((envelope, roster, false))
}

fn siblings(file: &Path) -> Vec<PathBuf> {
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .take(MOST_FILES);
    let numbered = |path: &PathBuf| {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        path.extension().is_some_and(|ending| ending == "json")
            && (stem.bytes().all(|c| c.is_ascii_digit()) || stem == "roster")
            && path != file
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(numbered).collect();
    found.sort();
    found
}
