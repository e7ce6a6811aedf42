//! The local log: a person's own receipts, one envelope a line, each naming the one before it.
//!
//! `$XDG_STATE_HOME/countersign/local/receipts.ndjson`, 0600 in a directory 0700. Whoever appends holds the file's lock, so
//! that runs beside each other keep one chain. No log of a boundary: nothing here proves anything to anybody else.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::crypto::digest::{ContentDigest, hex, sha256};
use crate::crypto::json;
use crate::record::document::Predicate as _;
use crate::record::envelope::{Base64, Envelope, Signed};
use crate::record::local_receipt::LocalReceipt;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::Shown;

/// Where the log is; nothing is opened yet.
#[derive(Debug, Clone)]
pub struct LocalLog {
    directory: PathBuf,
}

/// A receipt is in the log, durably.
#[derive(Debug)]
pub struct Appended {
    /// Digest of its payload: what the next one names.
    pub digest: ContentDigest,
    /// Where the bytes of a line that was cut short were put, if there was one.
    pub mended: Option<PathBuf>,
}

/// One line of the log.
#[derive(Debug)]
pub enum Line {
    /// An envelope that may hold a local receipt.
    Envelope(Envelope),
    /// No envelope, and why.
    Broken(String),
    /// The last one, without its end: a write that a crash or a full disk cut short.
    Torn(usize),
}

const FILE: &str = "receipts.ndjson";
/// The longest line: a payload of the largest size in base64, its signature, and room.
const MAX_LINE: usize = LocalReceipt::MAX_BYTES / 3 * 4 + (8 << 10);

impl LocalLog {
    /// That of this process's user.
    ///
    /// # Errors
    /// When the environment names no home.
    pub fn of_process() -> Result<Self, Failure> {
        Self::of(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
    }

    /// A relative path is ignored, as the XDG specification demands.
    fn of(state: Option<OsString>, home: Option<OsString>) -> Result<Self, Failure> {
        let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
        let state = state.and_then(absolute);
        let state = state.or_else(|| home.and_then(absolute).map(|home| home.join(".local/state")));
        let state = state.ok_or_else(|| {
            Failure::usage("there is no home for the local log: set HOME or XDG_STATE_HOME, or run with --no-receipt")
        })?;
        Ok(Self { directory: state.join("countersign/local") })
    }

    /// The log's file.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The log's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes sure that a receipt could be appended, before anything runs.
    ///
    /// # Errors
    /// Why none could.
    pub fn check_writable(&self) -> Result<(), Failure> {
        let mut file = self.open()?;
        let _ = self.tail(&mut file)?;
        Ok(())
    }

    /// Appends what `make` makes of the digest of the receipt before it. Waits for whoever appends now.
    ///
    /// # Errors
    /// When it can't be made or written; then the log is as it was.
    pub fn append(
        &self,
        make: impl FnOnce(Option<ContentDigest>) -> Result<Envelope, Failure>,
    ) -> Result<Appended, Failure> {
        let mut file = self.open()?;
        let tail = self.tail(&mut file)?;
        let envelope = make(tail.previous)?;
        let payload = Base64::Strict.decode("/payload", &envelope.payload).map_err(|error| self.broken(error))?;
        let mut line = envelope.to_canonical().map_err(|error| self.broken(error))?;
        line.push(b'\n');
        let mended = tail.torn.map(|torn| self.set_aside(&torn)).transpose()?;
        let failed = |error: io::Error| self.failed("write", &error);
        // A crash after this and before the write has set a torn line aside and nothing else.
        file.set_len(tail.whole).map_err(failed)?;
        let written = file.seek(SeekFrom::Start(tail.whole)).and_then(|_| file.write_all(&line));
        // A crash between the two leaves a line without its end, which the next run finds and sets aside.
        if let Err(error) = written.and_then(|()| file.sync_all()) {
            let _ = file.set_len(tail.whole);
            return Err(failed(error));
        }
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(Appended { digest: ContentDigest::of(&payload), mended })
    }

    /// Reads the log from its first line; nothing when there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self) -> Result<Option<impl Iterator<Item = Result<Line, Failure>> + '_>, Failure> {
        let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", &error)),
        };
        lock(&file, FlockOperation::LockShared).map_err(|error| self.failed("lock", &error))?;
        let mut lines = BufReader::new(file);
        Ok(Some(std::iter::from_fn(move || self.next_line(&mut lines).transpose())))
    }

    fn next_line(&self, lines: &mut BufReader<File>) -> Result<Option<Line>, Failure> {
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
        match read.map_err(|error| self.failed("read", &error))? {
            0 => Ok(None),
            _ if line.last() == Some(&b'\n') => {
                line.pop();
                Ok(Some(match envelope(&line) {
                    Ok(envelope) => Line::Envelope(envelope),
                    Err(why) => Line::Broken(why),
                }))
            }
            length if length > MAX_LINE => {
                // The rest of it is no receipt either.
                let _ = lines.skip_until(b'\n').map_err(|error| self.failed("read", &error))?;
                Ok(Some(Line::Broken("it is longer than any receipt".to_owned())))
            }
            length => Ok(Some(Line::Torn(length))),
        }
    }

    /// The file, private and locked.
    fn open(&self) -> Result<File, Failure> {
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
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "the local log {} must be a file of yours that nobody else may read or write: chown and chmod 600 it, \
                     after a look into it with `countersign run --log`",
                    self.shown()
                ),
            ));
        }
        lock(&file, FlockOperation::LockExclusive).map_err(|error| self.failed("lock", &error))?;
        Ok(file)
    }

    /// The end of the log: its last whole line, and what stands behind that.
    fn tail(&self, file: &mut File) -> Result<Tail, Failure> {
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
                Failure::new(
                    Exit::Refused,
                    format!(
                        "the last line of the local log {} is no local receipt ({why}), so nothing can follow it: look into \
                         it with `countersign run --log`, then move the file away to begin a new one",
                        self.shown()
                    ),
                )
            })?),
            // More than the longest line without an end of one.
            None if start > 0 => {
                return Err(self.broken("its last line is longer than any receipt"));
            }
            None => None,
        };
        Ok(Tail { whole: start + whole as u64, previous, torn: (!torn.is_empty()).then_some(torn) })
    }

    /// Keeps the bytes of a torn line, in a file named by them.
    fn set_aside(&self, torn: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory.join(format!("torn-{}", &hex(&sha256(torn))[..16]));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|mut file| file.write_all(torn).and_then(|()| file.sync_all())) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            Err(error) => Err(self.failed("set a torn line aside in", &error)),
        }
    }

    fn shown(&self) -> String {
        Shown::text(&self.file().to_string_lossy()).as_str().to_owned()
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::new(Exit::Unreachable, format!("can't {what} the local log {}: {error}", self.shown()))
    }

    fn broken(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Unreachable, format!("the local log {}: {why}", self.shown()))
    }
}

struct Tail {
    /// Bytes of whole lines.
    whole: u64,
    previous: Option<ContentDigest>,
    torn: Option<Vec<u8>>,
}

fn envelope(line: &[u8]) -> Result<Envelope, String> {
    let envelope: Envelope = json::parse_as(line, MAX_LINE).map_err(|error| error.to_string())?;
    // One spelling only: nothing can stand beside what is signed.
    match envelope.to_canonical() {
        Ok(canonical) if canonical == line => Ok(envelope),
        Ok(_) => Err("it is not written as this program writes it".to_owned()),
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
    use crate::crypto::digest::{PolicyDigest, StepDigest};
    use crate::record::authorization::StepReference;
    use crate::record::receipt::{Outcome, Output, Stream};
    use crate::sandbox::facts::nothing_enforced;

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
            previous,
        };
        Envelope::new(&receipt.into_statement().to_payload().expect("a payload"), Vec::new())
    }

    fn append(log: &LocalLog, host: &str) -> (Option<ContentDigest>, Appended) {
        let mut seen = None;
        let appended = log.append(|previous| {
            seen = previous;
            Ok(receipt(host, previous))
        });
        (seen, appended.expect("appended"))
    }

    fn lines(log: &LocalLog) -> Vec<&'static str> {
        let word = |line: Result<Line, Failure>| match line.expect("read") {
            Line::Envelope(_) => "envelope",
            Line::Broken(_) => "broken",
            Line::Torn(_) => "torn",
        };
        log.read().expect("read").map(|lines| lines.map(word).collect()).unwrap_or_default()
    }

    #[test]
    fn each_receipt_names_the_one_before_and_the_file_is_private() {
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
    fn a_torn_line_is_moved_aside_and_the_chain_continues() {
        let (_home, log) = log();
        let (_, first) = append(&log, "one");
        let text = std::fs::read(log.file()).expect("read");
        let torn = &text[..text.len() / 2];
        OpenOptions::new().append(true).open(log.file()).and_then(|mut file| file.write_all(torn)).expect("torn");
        assert_eq!(lines(&log), ["envelope", "torn"]);
        log.check_writable().expect("it can be mended");
        assert_eq!(lines(&log), ["envelope", "torn"], "and was not yet");
        let (named, appended) = append(&log, "two");
        assert_eq!(named, Some(first.digest));
        assert_eq!(std::fs::read(appended.mended.expect("set aside")).expect("there"), torn);
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
        assert!(log.append(|_| Err(Failure::usage("no key"))).is_err());
        assert_eq!(std::fs::read(log.file()).expect("read"), before);
    }

    #[test]
    fn a_log_that_others_may_write_or_that_is_a_link_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let (home, log) = log();
        append(&log, "one");
        std::fs::set_permissions(log.file(), std::fs::Permissions::from_mode(0o620)).expect("mode");
        assert!(log.check_writable().is_err());
        std::fs::rename(log.file(), home.path().join("elsewhere")).expect("moved");
        std::os::unix::fs::symlink(home.path().join("elsewhere"), log.file()).expect("a link");
        assert!(log.check_writable().is_err());
    }

    #[test]
    fn parallel_runs_keep_one_chain() {
        let (_home, log) = log();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || (0..8).for_each(|n| drop(append(log, &format!("{thread}-{n}")))));
            }
        });
        let mut before = None;
        let mut count = 0;
        for line in log.read().expect("read").expect("a log") {
            let Line::Envelope(envelope) = line.expect("a line") else { panic!("broken") };
            let payload = Base64::Strict.decode("", &envelope.payload).expect("base64");
            let value: serde_json::Value = serde_json::from_slice(&payload).expect("json");
            let previous = value["predicate"].get("previous").and_then(|text| text.as_str()).map(str::to_owned);
            assert_eq!(previous, before.map(|digest: ContentDigest| digest.to_string()));
            before = Some(ContentDigest::of(&payload));
            count += 1;
        }
        assert_eq!(count, 32);
    }
}
