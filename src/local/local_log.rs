//! The local log with the person's own receipts. Each line is one envelope with a receipt. Each receipt contains the
//! digest of the previous receipt.
//!
//! The log is the file `$XDG_STATE_HOME/countersign/local/receipts.ndjson` with mode 0600, in a directory with mode
//! 0700. A writer locks the file, so concurrent runs keep one chain. This log is not the log of a boundary and proves
//!       nothing to other people.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::printable_text::PrintableText;
use documents::crypto::digest::{ContentDigest, hex, sha256};
use documents::crypto::json;
use documents::record::document::Predicate as _;
use documents::record::envelope::{Base64, Envelope, Signed};
use documents::record::local_receipt::LocalReceipt;

/// Path of the local log.
#[derive(Debug, Clone)]
pub struct LocalLog {
    directory: PathBuf,
}

/// Result of appending a receipt to the log.
#[derive(Debug)]
pub struct AppendedReceipt {
    /// Digest of the receipt's payload. The next receipt in the log contains this digest.
    pub digest: ContentDigest,
    /// File to which the bytes of an incomplete last line were moved, if the log had such a line.
    pub repaired: Option<PathBuf>,
}

/// One line of the log.
#[derive(Debug)]
pub enum LocalLogLine {
    /// An envelope, which may contain a local receipt.
    Envelope(Envelope),
    /// A line that is not an envelope, with the reason.
    Broken(String),
    /// Incomplete last line, after a crash or on a full disk. The value is the length of the line in bytes.
    Torn(usize),
}

const FILE: &str = "receipts.ndjson";
/// Maximum length of a line, in bytes: the largest payload in base64, and 8 KiB for the signature and the field names.
const MAX_LINE: usize = LocalReceipt::MAX_BYTES / 3 * 4 + (8 << 10);

impl LocalLog {
    /// Returns the log of this process's user.
    ///
    /// # Errors
    /// Returns an error if neither HOME nor XDG_STATE_HOME is set.
    pub fn of_process() -> Result<Self, CommandFailure> {
        Self::of(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
    }

    /// Returns the log below `state`, or below `home` if `state` is missing or relative. The XDG Base Directory
    /// Specification requires that relative paths are ignored.
    fn of(state: Option<OsString>, home: Option<OsString>) -> Result<Self, CommandFailure> {
        let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
        let state = state.and_then(absolute);
        let state = state.or_else(|| home.and_then(absolute).map(|home| home.join(".local/state")));
        let state = state.ok_or_else(|| {
            CommandFailure::usage(
                "there is no directory for the local log: set HOME or XDG_STATE_HOME, or run with \
                --no-receipt",
            )
        })?;
        Ok(Self { directory: state.join("countersign/local") })
    }

    /// Returns the path of the log file.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Returns the directory of the log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Checks that a receipt can be appended. Callers make this check before they start a run.
    ///
    /// # Errors
    /// Returns the reason why an append is impossible.
    pub fn check_writable(&self) -> Result<(), CommandFailure> {
        let mut file = self.open()?;
        let _ = self.tail(&mut file)?;
        Ok(())
    }

    /// Appends the envelope that `make` creates from the digest of the previous receipt. Waits for other writers.
    ///
    /// # Errors
    /// Returns an error if the envelope cannot be created or written. After an error the log is unchanged.
    pub fn append(
        &self,
        make: impl FnOnce(Option<ContentDigest>) -> Result<Envelope, CommandFailure>,
    ) -> Result<AppendedReceipt, CommandFailure> {
        let mut file = self.open()?;
        let tail = self.tail(&mut file)?;
        let envelope = make(tail.previous)?;
        let payload = Base64::Strict.decode("/payload", &envelope.payload).map_err(|error| self.broken(error))?;
        let mut line = envelope.to_canonical().map_err(|error| self.broken(error))?;
        line.push(b'\n');
        let repaired = tail.torn.map(|torn| self.set_aside(&torn)).transpose()?;
        let failed = |error: io::Error| self.failed("write", &error);
        // After a crash at this point, a separate file contains the incomplete line, and the log does not contain the
        // new receipt.
        file.set_len(tail.whole).map_err(failed)?;
        let written = file.seek(SeekFrom::Start(tail.whole)).and_then(|_| file.write_all(&line));
        // A crash during this write leaves an incomplete line in the log. The next run moves this line to a separate
        // file.
        if let Err(error) = written.and_then(|()| file.sync_all()) {
            let _ = file.set_len(tail.whole);
            return Err(failed(error));
        }
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(AppendedReceipt { digest: ContentDigest::of(&payload), repaired })
    }

    /// Reads the log from its first line. Returns `None` if the log does not exist.
    ///
    /// # Errors
    /// Returns an error if the log cannot be read.
    pub fn read(
        &self,
    ) -> Result<Option<impl Iterator<Item = Result<LocalLogLine, CommandFailure>> + '_>, CommandFailure> {
        let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", &error)),
        };
        lock(&file, FlockOperation::LockShared).map_err(|error| self.failed("lock", &error))?;
        let mut lines = BufReader::new(file);
        Ok(Some(std::iter::from_fn(move || self.next_line(&mut lines).transpose())))
    }

    fn next_line(&self, lines: &mut BufReader<File>) -> Result<Option<LocalLogLine>, CommandFailure> {
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
        match read.map_err(|error| self.failed("read", &error))? {
            0 => Ok(None),
            _ if line.last() == Some(&b'\n') => {
                line.pop();
                Ok(Some(match envelope(&line) {
                    Ok(envelope) => LocalLogLine::Envelope(envelope),
                    Err(why) => LocalLogLine::Broken(why),
                }))
            }
            length if length > MAX_LINE => {
                let _ = lines.skip_until(b'\n').map_err(|error| self.failed("read", &error))?;
                Ok(Some(LocalLogLine::Broken("the line is longer than any receipt".to_owned())))
            }
            length => Ok(Some(LocalLogLine::Torn(length))),
        }
    }

    /// Opens and locks the log file, and creates it if necessary. Returns an error if other users can read the file.
    fn open(&self) -> Result<File, CommandFailure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|error| self.failed("make", &error))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow());
        let file = options.open(self.file()).map_err(|error| self.failed("open", &error))?;
        let found = file.metadata().map_err(|error| self.failed("look at", &error))?;
        let me = rustix::process::geteuid().as_raw();
        if !found.is_file() || found.uid() != me || found.mode() & 0o077 != 0 {
            return Err(CommandFailure::new(
                Exit::Refused,
                format!(
                    "the local log {} must belong to you, and no other user may read or write it: check it with \
                     `countersign run --log`, then run chown and chmod 600 on it",
                    self.shown()
                ),
            ));
        }
        lock(&file, FlockOperation::LockExclusive).map_err(|error| self.failed("lock", &error))?;
        Ok(file)
    }

    /// Reads the end of the log: the last complete line, and the bytes after it.
    fn tail(&self, file: &mut File) -> Result<Tail, CommandFailure> {
        let failed = |error: io::Error| self.failed("read", &error);
        let length = file.metadata().map_err(failed)?.len();
        let start = length.saturating_sub(2 * MAX_LINE as u64);
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut bytes = Vec::new();
        io::Read::take(&mut *file, 2 * MAX_LINE as u64).read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let torn = bytes.split_off(whole);
        let last = bytes.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        let previous = match last {
            Some(line) => Some(envelope(line).and_then(|envelope| payload_digest(&envelope)).map_err(|why| {
                CommandFailure::new(
                    Exit::Refused,
                    format!(
                        "the last line of the local log {} is no local receipt ({why}), so no receipt can follow this \
                         line: check the log with `countersign run --log`, then move the file away to begin a new \
                         log",
                        self.shown()
                    ),
                )
            })?),
            // The bytes contain no line end, although they are more than the longest valid line.
            None if start > 0 => {
                return Err(self.broken("the last line is longer than any receipt"));
            }
            None => None,
        };
        Ok(Tail { whole: start + whole as u64, previous, torn: (!torn.is_empty()).then_some(torn) })
    }

    /// Writes the bytes of an incomplete line to a file whose name contains their digest.
    fn set_aside(&self, torn: &[u8]) -> Result<PathBuf, CommandFailure> {
        let path = self.directory.join(format!("torn-{}", &hex(&sha256(torn))[..16]));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|mut file| file.write_all(torn).and_then(|()| file.sync_all())) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            Err(error) => Err(self.failed("move an incomplete line out of", &error)),
        }
    }

    fn shown(&self) -> String {
        PrintableText::text(&self.file().to_string_lossy()).as_str().to_owned()
    }

    fn failed(&self, what: &str, error: &io::Error) -> CommandFailure {
        CommandFailure::new(Exit::Unreachable, format!("can't {what} the local log {}: {error}", self.shown()))
    }

    fn broken(&self, why: impl std::fmt::Display) -> CommandFailure {
        CommandFailure::new(Exit::Unreachable, format!("the local log {}: {why}", self.shown()))
    }
}

struct Tail {
    /// Total length of the complete lines, in bytes.
    whole: u64,
    previous: Option<ContentDigest>,
    torn: Option<Vec<u8>>,
}

fn envelope(line: &[u8]) -> Result<Envelope, String> {
    let envelope: Envelope = json::parse_as(line, MAX_LINE).map_err(|error| error.to_string())?;
    // Only the canonical form of an envelope is valid, so that a line contains no unsigned data.
    match envelope.to_canonical() {
        Ok(canonical) if canonical == line => Ok(envelope),
        Ok(_) => Err("the line is not in canonical form".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn payload_digest(envelope: &Envelope) -> Result<ContentDigest, String> {
    let signed = Signed::<LocalReceipt>::from_envelope(envelope, Base64::Strict).map_err(|error| error.to_string())?;
    let _complete = signed.check_document().map_err(|error| error.to_string())?;
    Ok(ContentDigest::from_bytes(signed.digest()))
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

fn no_follow() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::crypto::digest::{PolicyDigest, StepDigest};
    use documents::record::authorization::StepReference;
    use documents::record::receipt::{Outcome, Output, Stream};
    use sandbox::runs::enforcement_facts::nothing_enforced;

    fn log() -> (tempfile::TempDir, LocalLog) {
        let home = tempfile::tempdir().expect("a directory");
        let log = LocalLog::of(None, Some(home.path().into())).expect("a log");
        (home, log)
    }

    fn receipt(host: &str, previous: Option<ContentDigest>) -> Envelope {
        let receipt = LocalReceipt {
            person: "p".to_owned(),
            host: host.to_owned(),
            step: StepReference { reference: "a:b".parse().expect("a ref"), digest: StepDigest::of(b"x") },
            params: serde_json::json!({}),
            policy: PolicyDigest::of(b"{}"),
            answers: Vec::new(),
            outcome: Outcome::exited(0),
            output: Output { stdout: Stream::empty(), stderr: Stream::empty() },
            sandbox: nothing_enforced(),
            programs: None,
            previous,
        };
        Envelope::new(&receipt.into_statement().to_payload().expect("a payload"), Vec::new())
    }

    fn append(log: &LocalLog, host: &str) -> (Option<ContentDigest>, AppendedReceipt) {
        let mut seen = None;
        let appended = log.append(|previous| {
            seen = previous;
            Ok(receipt(host, previous))
        });
        (seen, appended.expect("appended"))
    }

    fn lines(log: &LocalLog) -> Vec<&'static str> {
        let word = |line: Result<LocalLogLine, CommandFailure>| match line.expect("read") {
            LocalLogLine::Envelope(_) => "envelope",
            LocalLogLine::Broken(_) => "broken",
            LocalLogLine::Torn(_) => "torn",
        };
        log.read().expect("read").map(|lines| lines.map(word).collect()).unwrap_or_default()
    }

    #[test]
    fn each_local_receipt_names_the_previous_receipt_and_the_log_file_is_private() {
        let (_home, log) = log();
        assert!(log.read().expect("none").is_none());
        log.check_writable().expect("writable");
        let (none, first) = append(&log, "one");
        let (named, second) = append(&log, "two");
        assert_eq!((none, named), (None, Some(first.digest)));
        assert_eq!(append(&log, "three").0, Some(second.digest));
        assert_eq!(lines(&log), ["envelope"; 3]);
        assert_eq!(log.file().metadata().expect("there").mode() & 0o777, 0o600);
        assert_eq!(log.directory().metadata().expect("there").mode() & 0o777, 0o700);
    }

    #[test]
    fn an_incomplete_line_is_moved_to_a_file_and_the_chain_continues() {
        let (_home, log) = log();
        let (_, first) = append(&log, "one");
        let text = std::fs::read(log.file()).expect("read");
        let torn = &text[..text.len() / 2];
        OpenOptions::new().append(true).open(log.file()).and_then(|mut file| file.write_all(torn)).expect("torn");
        assert_eq!(lines(&log), ["envelope", "torn"]);
        log.check_writable().expect("it can be repaired");
        assert_eq!(lines(&log), ["envelope", "torn"], "and was not yet");
        let (named, appended) = append(&log, "two");
        assert_eq!(named, Some(first.digest));
        assert_eq!(std::fs::read(appended.repaired.expect("set aside")).expect("there"), torn);
        assert_eq!(lines(&log), ["envelope"; 2]);
    }

    #[test]
    fn no_receipt_is_appended_after_an_invalid_last_line() {
        for (bad, in_list) in [
            ("{}\n".to_owned(), "broken"),
            ("\n".to_owned(), "broken"),
            (format!("{}\n", "x".repeat(MAX_LINE + 5)), "broken"),
            (
                format!(
                    "{}\n",
                    String::from_utf8_lossy(&Envelope::new(b"{}", Vec::new()).to_canonical().expect("json"))
                ),
                "envelope",
            ),
        ] {
            let (_home, log) = log();
            append(&log, "one");
            OpenOptions::new()
                .append(true)
                .open(log.file())
                .and_then(|mut file| file.write_all(bad.as_bytes()))
                .expect("written");
            assert_eq!(lines(&log), ["envelope", in_list]);
            assert!(log.check_writable().is_err(), "{bad:.40}");
            let before = std::fs::read(log.file()).expect("read");
            assert!(log.append(|previous| Ok(receipt("two", previous))).is_err());
            assert_eq!(std::fs::read(log.file()).expect("read"), before);
        }
    }

    #[test]
    fn a_failed_receipt_leaves_the_log_unchanged() {
        let (_home, log) = log();
        append(&log, "one");
        let before = std::fs::read(log.file()).expect("read");
        assert!(log.append(|_| Err(CommandFailure::usage("no key"))).is_err());
        assert_eq!(std::fs::read(log.file()).expect("read"), before);
    }

    #[test]
    fn a_local_log_that_is_a_link_or_writable_by_others_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let (home, log) = log();
        append(&log, "one");
        std::fs::set_permissions(log.file(), std::fs::Permissions::from_mode(0o620)).expect("mode");
        assert!(log.check_writable().is_err());
        std::fs::rename(log.file(), home.path().join("elsewhere")).expect("moved");
        std::os::unix::fs::symlink(home.path().join("elsewhere"), log.file()).expect("a link");
        assert!(log.check_writable().is_err());
    }
}
