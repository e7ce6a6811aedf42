//! The table that the pages share. Uploaded bundles lie in a file without a name, which the system removes with the
//! process.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, MutexGuard},
};

use client::{
    AuditRow, AuditTable, ChosenTrust, RowPlace, Screen, join_bundles, judged_screen, read_again,
    unverified_words, with_any,
};
use documents::{BlobDigest, locked};
use verdict::VerifyOptions;

use crate::auditor::multipart::SentFile;

/// Path to which the upload form sends files.
pub const UPLOAD_PATH: &str = "/upload";
/// Maximum size of all uploaded bundles together, in bytes.
const MAX_UPLOADS: u64 = 512 << 20;

/// The table with its evidence.
pub struct KeptTable {
    /// What the auditor named.
    pub named: String,
    /// Trusted rosters.
    pub trust: Vec<ChosenTrust>,
    table: Mutex<AuditTable>,
    uploads: Mutex<(File, u64)>,
    /// What the last upload added.
    said: Mutex<Option<String>>,
}

impl KeptTable {
    /// Keeps a table.
    ///
    /// # Errors
    /// Returns an error if the file for uploads can't be made.
    pub fn new(named: String, trust: Vec<ChosenTrust>, table: AuditTable) -> io::Result<Self> {
        let uploads = Mutex::new((tempfile::tempfile()?, 0));
        Ok(Self {
            named,
            trust,
            table: Mutex::new(table),
            uploads,
            said: Mutex::default(),
        })
    }

    /// Returns the table.
    pub fn table(&self) -> MutexGuard<'_, AuditTable> {
        locked(&self.table)
    }

    /// Returns what the last upload added, in words.
    pub fn said(&self) -> Option<String> {
        locked(&self.said).clone()
    }

    /// Verifies uploaded files and adds their rows.
    ///
    /// # Errors
    /// Returns the reason if the files can't be kept. In this case, no row was added.
    pub fn upload(&self, files: &[SentFile<'_>]) -> Result<(), String> {
        let mut uploads = locked(&self.uploads);
        let (file, end) = &mut *uploads;
        let all: u64 = files.iter().map(|sent| sent.bytes.len() as u64).sum();
        if *end + all > MAX_UPLOADS {
            return Err(format!(
                "all uploaded bundles together may have {MAX_UPLOADS} bytes: save the bundles in a directory, and name \
                 the directory in the command"
            ));
        }
        let trust = join_bundles(&self.known_trust(), files.iter().map(|sent| sent.bytes));
        let mut results = Vec::new();
        for sent in files {
            // A crash of the program leaves nothing behind, because the file has no name.
            file.write_all_at(sent.bytes, *end)
                .map_err(|error| format!("the upload can't be kept: {error}"))?;
            let place = RowPlace::Upload(*end, sent.bytes.len(), BlobDigest::of(sent.bytes));
            let result = AuditRow::of_bundle(&sent.name, sent.bytes.to_vec(), &trust, place);
            if result.is_ok() {
                *end += sent.bytes.len() as u64;
            }
            results.push((&sent.name, result));
        }
        let rows = results.iter().filter(|(_, result)| result.is_ok()).count();
        let mut table = self.table();
        table.trust = trust;
        for (name, result) in results {
            table.add(name, result);
        }
        table.sort();
        let words = format!(
            "The last upload added {rows} rows. {} of its files are no bundles.",
            files.len() - rows
        );
        *locked(&self.said) = Some(words);
        Ok(())
    }

    /// Verifies the bundle of a row again and returns what `countersign verify` prints. Returns `None` for a row of a
    /// log.
    pub fn verified_again(&self, name: &str, place: &RowPlace) -> Option<Result<Screen, String>> {
        let (shown, bytes) = match place {
            RowPlace::File(path, digest) => (
                path.as_path(),
                read_again(path, digest).map_err(|failure| failure.message),
            ),
            RowPlace::Upload(at, length, digest) => {
                (Path::new(name), self.uploaded(*at, *length, digest))
            }
            RowPlace::Decision(_)
            | RowPlace::Denial(_)
            | RowPlace::Review(_)
            | RowPlace::Revocation(_)
            | RowPlace::Consumption(_) => return None,
        };
        let trust = self.known_trust();
        Some(bytes.and_then(
            |bytes| match with_any(&bytes, &trust, VerifyOptions::default()) {
                Ok(judged) => Ok(judged_screen(
                    shown,
                    &bytes,
                    &judged,
                    VerifyOptions::default(),
                )),
                Err(untrusted) => Err(unverified_words(shown, &untrusted)),
            },
        ))
    }

    fn uploaded(&self, at: u64, length: usize, digest: &BlobDigest) -> Result<Vec<u8>, String> {
        let uploads = locked(&self.uploads);
        let mut bytes = vec![0; length];
        let read = uploads.0.read_exact_at(&mut bytes, at);
        if read.is_err() || BlobDigest::of(&bytes) != *digest {
            return Err("the uploaded bundle can't be read: upload it again".to_owned());
        }
        Ok(bytes)
    }

    /// Returns the trusted rosters, with the older versions that the bundles contain.
    fn known_trust(&self) -> Vec<ChosenTrust> {
        let table = self.table();
        if table.trust.is_empty() {
            self.trust.clone()
        } else {
            table.trust.clone()
        }
    }
}
