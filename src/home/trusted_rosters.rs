//! Whom this person trusts: rosters from flags, environment or the user's own configuration, never from a checkout.
//!
//! In this order: `--roster` (a file or a digest), `COUNTERSIGN_TRUST` (an absolute path or a digest), and in the
//! user's configuration directory `roster.json`, `rosters/*.json` and `trust` (a digest a line). Nothing is looked
//! for in the current directory: what lies in a checkout is written by others.

use std::ffi::OsString;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::audit::bundle as audit;
use crate::crypto::digest::RosterDigest;
use crate::crypto::json;
use crate::crypto::sshsig::SshKey;
use crate::home::directories::Home;
use crate::home::named_file::read_bounded;
use crate::record::envelope::Envelope;
use crate::record::ident::BoundaryName;
use crate::record::roster::MAX_ROSTER_BYTES;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::Shown;
use crate::trust::chain::{Chain, Pinned};
use crate::trust::roster::TrustedRoster;

/// Where the trusted roster is from.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArgs {
    /// The roster that you trust: a file, or sha256:… of its payload. Else COUNTERSIGN_TRUST, else your
    /// configuration directory (countersign/roster.json, countersign/rosters/*.json, countersign/trust)
    #[arg(long, value_name = "FILE|sha256:…")]
    pub roster: Option<String>,
}

/// A trusted roster and where it is from.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The roster, or its digest.
    pub pinned: Pinned,
    /// The same for the verifier of bundles, which reads the file itself.
    pub audit: audit::Trust,
    /// In words.
    pub from: String,
    /// The file that it was read from; `-` is the standard input.
    pub file: Option<PathBuf>,
}

/// Of several trusted rosters the one that decides, what came of it, and the others that are connected with nothing here.
#[derive(Debug)]
pub struct Deciding<'t, T> {
    /// That roster.
    pub trust: &'t Trust,
    /// What `connect` gave for it.
    pub found: T,
    /// Each of these may be of another boundary, or newer than what was looked at.
    pub unconnected: Vec<&'t Trust>,
}

/// Lets the newest of several trusted rosters decide: of those that `connect` connects with what is looked at, the one
/// by which the newest version is known; of as new ones that which is trusted by hand, to which nothing needs to lead.
/// An older one knows of no key that was withdrawn since.
///
/// # Errors
/// Why none of them is connected, each with its reason; empty when there are none.
pub fn newest_of<'t, T, E>(
    trust: &'t [Trust],
    mut connect: impl FnMut(&'t Trust) -> Result<(Newest, T), E>,
) -> Result<Deciding<'t, T>, Vec<(&'t Trust, E)>> {
    let mut best: Option<((u64, bool), &Trust, T)> = None;
    let mut refused = Vec::new();
    for trust in trust {
        match connect(trust) {
            Ok((newest, found)) => {
                let rank = (newest.version, newest.digest == trust.pinned.digest());
                if best.as_ref().is_none_or(|(known, ..)| rank > *known) {
                    best = Some((rank, trust, found));
                }
            }
            Err(error) => refused.push((trust, error)),
        }
    }
    match best {
        Some((_, trust, found)) => {
            let unconnected = refused.into_iter().map(|(trust, _)| trust).collect();
            Ok(Deciding { trust, found, unconnected })
        }
        None => Err(refused),
    }
}

/// The newest version that is known by a trusted roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub version: u64,
    /// Its digest.
    pub digest: RosterDigest,
}

impl Newest {
    /// Of this chain.
    #[must_use]
    pub fn of(chain: &Chain) -> Self {
        Self { version: chain.newest().version(), digest: chain.newest().digest() }
    }
}

/// The newest of these trusted files that is of the same roster as what was looked at, and not connected with it: too new
/// for it, or of another branch. Another version 1 is another roster.
pub fn newest_unconnected<'t>(
    unconnected: &[&'t Trust],
    is_same: impl Fn(&TrustedRoster) -> bool,
) -> Option<(&'t Trust, &'t TrustedRoster)> {
    let files = unconnected.iter().filter_map(|trust| match &trust.pinned {
        Pinned::Roster(roster) => Some((*trust, &**roster)),
        Pinned::Digest(_) | Pinned::Chain(_) => None,
    });
    files.filter(|(_, roster)| roster.version() > 1 && is_same(roster)).max_by_key(|(_, roster)| roster.version())
}

/// Whether two versions seem to be of one roster: by its name, or by a key of one boundary. What lies between them may be
/// missing, so that nothing better is there to go by: rather one too many than one too few.
#[must_use]
pub fn seem_same(one: &TrustedRoster, other: &TrustedRoster) -> bool {
    let shared = |name: &BoundaryName| {
        let keys = one.boundary_keys(name).iter();
        keys.map(SshKey::keyid).any(|keyid| other.boundary_key(name, &keyid).is_some())
    };
    one.tables().name == other.tables().name || one.tables().boundary.iter().any(|entry| shared(&entry.name))
}

/// One envelope: its payload is at most a roster's.
const MAX_FILE_BYTES: usize = MAX_ROSTER_BYTES * 2;

impl TrustArgs {
    /// The rosters that are trusted; none is no error here.
    ///
    /// # Errors
    /// When what was named can't be read, is no roster, or can be written by others.
    pub fn find(&self) -> Result<Vec<Trust>, Failure> {
        self.find_by(read_own)
    }

    /// The same, also if others can write the file that was named: for a caller that checks it, or pins its digest.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_unchecked(&self) -> Result<Vec<Trust>, Failure> {
        self.find_by(|path| read_bounded(path, MAX_FILE_BYTES))
    }

    fn find_by(&self, read: impl Fn(&Path) -> Result<Vec<u8>, Failure>) -> Result<Vec<Trust>, Failure> {
        find(self.roster.as_deref(), std::env::var_os("COUNTERSIGN_TRUST"), &Home::of_process(), read)
    }
}

fn find(
    flag: Option<&str>,
    variable: Option<OsString>,
    home: &Home,
    read: impl Fn(&Path) -> Result<Vec<u8>, Failure>,
) -> Result<Vec<Trust>, Failure> {
    if let Some(flag) = flag {
        return Ok(vec![digest_or_file(flag, format!("--roster {flag}"), read)?]);
    }
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        let value = value.into_string().map_err(|_| Failure::usage("COUNTERSIGN_TRUST is not UTF-8, set it anew"))?;
        if !value.starts_with("sha256:") && !Path::new(&value).is_absolute() {
            return Err(Failure::usage(format!(
                "COUNTERSIGN_TRUST={value} is a relative path, which would mean another roster in every directory; \
                 give an absolute path, or sha256:… of the roster"
            )));
        }
        return Ok(vec![digest_or_file(&value, format!("COUNTERSIGN_TRUST={value}"), read)?]);
    }
    let Some(config) = &home.config else { return Ok(Vec::new()) };
    let mut files = vec![config.join("roster.json")];
    if let Ok(entries) = std::fs::read_dir(config.join("rosters")) {
        let mut more: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        more.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
        more.sort();
        files.extend(more);
    }
    let mut found = Vec::new();
    for path in files.iter().filter(|path| path.exists()) {
        found.push(roster_of(read_own(path)?, path, path.to_string_lossy().into_owned())?);
    }
    let pins = config.join("trust");
    if pins.is_file() {
        let text = String::from_utf8_lossy(&read_own(&pins)?).into_owned();
        for line in text.lines() {
            // A digest, then perhaps a remark.
            let Some(word) = line.split_whitespace().next().filter(|word| !word.starts_with('#')) else { continue };
            let pinned = digest(parse_digest(word)?, pins.to_string_lossy().into_owned());
            found.push(Trust { file: Some(pins.clone()), ..pinned });
        }
    }
    Ok(found)
}

fn digest_or_file(
    text: &str,
    from: String,
    read: impl Fn(&Path) -> Result<Vec<u8>, Failure>,
) -> Result<Trust, Failure> {
    if text.starts_with("sha256:") {
        return Ok(digest(parse_digest(text)?, from));
    }
    let path = Path::new(text);
    let bytes = if is_stream(path) { read_bounded(path, MAX_FILE_BYTES)? } else { read(path)? };
    roster_of(bytes, path, from)
}

fn digest(digest: RosterDigest, from: String) -> Trust {
    Trust { pinned: Pinned::Digest(digest), audit: audit::Trust::Digest(digest), from, file: None }
}

fn parse_digest(text: &str) -> Result<RosterDigest, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{}: {error}", Shown::text(text).as_str())))
}

fn roster_of(bytes: Vec<u8>, path: &Path, from: String) -> Result<Trust, Failure> {
    let place = Shown::text(&path.to_string_lossy());
    let advice = "give the roster's envelope, as `countersign roster show --json` prints it";
    let envelope: Envelope = json::parse_as(&bytes, MAX_FILE_BYTES)
        .map_err(|error| Failure::new(Exit::NoTrust, format!("{} is no roster: {error}; {advice}", place.as_str())))?;
    let pinned = Pinned::from_envelope(&envelope)
        .map_err(|error| Failure::new(Exit::NoTrust, format!("{} is no roster: {error}; {advice}", place.as_str())))?;
    Ok(Trust { pinned, audit: audit::Trust::Roster(bytes), from, file: Some(path.to_owned()) })
}

/// Whether the caller's shell hands this over: there is no file that others could write.
fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
        || path == Path::new("/dev/stdin")
        || ["/dev/fd", "/proc/self/fd"].iter().any(|streams| path.starts_with(streams))
}

/// Reads a file that is a ground for trust, and that nobody else may have written.
fn read_own(path: &Path) -> Result<Vec<u8>, Failure> {
    let _own = check_own(path)?;
    read_bounded(path, MAX_FILE_BYTES)
}

/// Nobody but this user and root may write the file.
#[derive(Debug)]
pub struct Own(());

/// Checks owner and mode of a file that is to be a ground for trust, and of the directory in which it could be replaced.
///
/// # Errors
/// When it is not there, is another user's, or others may write or replace it.
pub fn check_own(path: &Path) -> Result<Own, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(Exit::NoTrust, format!("{}: {error}", Shown::text(&path.to_string_lossy()).as_str()))
    };
    let real = path.canonicalize().map_err(|error| failed(path, error))?;
    let me = rustix::process::geteuid().as_raw();
    for place in std::iter::once(real.as_path()).chain(real.parent()) {
        let meta = std::fs::metadata(place).map_err(|error| failed(place, error))?;
        // In a directory with the sticky bit others can't replace what is not theirs.
        let closed = meta.mode() & 0o022 == 0 || (meta.is_dir() && meta.mode() & 0o1000 != 0);
        if (meta.uid() != me && meta.uid() != 0) || !closed {
            let what = if meta.is_dir() { "the directory " } else { "" };
            return Err(Failure::new(
                Exit::NoTrust,
                format!(
                    "{what}{0} can be written by others, so {1} is no ground for trust: look into it, then `chown {me} {0}` and \
                     `chmod go-w {0}`; or name the roster by its digest, --roster sha256:…",
                    Shown::text(&place.to_string_lossy()).as_str(),
                    if meta.is_dir() { "the file in it" } else { "it" },
                ),
            ));
        }
    }
    Ok(Own(()))
}

/// What to do when no trusted roster is there.
#[must_use]
pub fn trust_advice(seen: Option<RosterDigest>, config: &str) -> String {
    match seen {
        Some(digest) => format!(
            "the boundary names the roster {digest}; ask the person who keeps it for its digest, by another way than this boundary; if the \
             two agree, give --roster sha256:..., as the person told you, or trust it from now on: mkdir -p {config} && echo sha256:... >> \
             {config}/trust"
        ),
        None => format!(
            "get the roster from the person who keeps it; then give --roster FILE, or put it at {config}/roster.json"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn found(flag: Option<&str>, variable: Option<OsString>, home: &Home) -> Result<Vec<Trust>, Failure> {
        find(flag, variable, home, read_own)
    }

    const GOLDEN: &[u8] = include_bytes!("../../tests/conformance/golden/valid/roster.json");

    fn home(directory: &Path) -> Home {
        Home::of(Some(directory.into()), None)
    }

    #[test]
    fn a_roster_in_the_current_directory_is_not_trusted() {
        // The current directory of the test is the checkout; what a checkout could hold is written into it as a home of its own.
        let checkout = tempfile::tempdir().expect("directory");
        std::fs::create_dir_all(checkout.path().join(".config/countersign/rosters")).expect("directories");
        for place in [
            "roster.json",
            ".config/countersign/roster.json",
            ".config/countersign/rosters/a.json",
            "countersign/roster.json",
        ] {
            let path = checkout.path().join(place);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            std::fs::write(path, GOLDEN).expect("file");
        }
        let nobody = tempfile::tempdir().expect("directory");
        assert!(found(None, None, &home(nobody.path())).expect("no error").is_empty());
        // Variables that would make it mean the current directory count for nothing.
        for relative in [".", "", "home", ".config"] {
            let home = Home::of(Some(relative.into()), Some(relative.into()));
            assert!(home.config.is_none() && home.home.is_none(), "{relative}");
            assert!(found(None, None, &home).expect("no error").is_empty());
        }
        let error = found(None, Some("roster.json".into()), &home(nobody.path())).expect_err("relative");
        assert_eq!(error.exit, Exit::Usage);
    }

    #[test]
    fn a_flag_overrides_a_variable_and_a_variable_overrides_the_configuration() {
        let directory = tempfile::tempdir().expect("directory");
        let config = directory.path().join(".config/countersign");
        std::fs::create_dir_all(&config).expect("directory");
        let file = config.join("roster.json");
        std::fs::write(&file, GOLDEN).expect("file");
        let home = home(directory.path());
        let own = found(None, None, &home).expect("found");
        assert_eq!(own.len(), 1);
        let digest = format!("sha256:{}", "a".repeat(64));
        let other = format!("sha256:{}", "b".repeat(64));
        let by_variable = found(None, Some(digest.clone().into()), &home).expect("found");
        assert_eq!(by_variable[0].pinned.digest().to_string(), digest);
        let by_flag = found(Some(&other), Some(digest.into()), &home).expect("found");
        assert_eq!(by_flag[0].pinned.digest().to_string(), other);
        std::fs::write(config.join("trust"), format!("# mine\n{other} prod\n\n")).expect("file");
        assert_eq!(found(None, None, &home).expect("found").len(), 2);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("mode");
        assert_eq!(found(None, None, &home).expect_err("others can write it").exit, Exit::NoTrust);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("mode");
        assert_eq!(found(None, None, &home).expect("found").len(), 2);
        // Who writes the directory puts another file in its place.
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o777)).expect("mode");
        let refused = found(None, None, &home).expect_err("others can replace it");
        assert!(refused.exit == Exit::NoTrust && refused.to_string().contains("chmod go-w"), "{refused}");
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o1777)).expect("mode");
        assert_eq!(found(None, None, &home).expect("nobody else's file is replaced there").len(), 2);
    }

    #[test]
    fn a_file_without_a_roster_is_reported_as_such() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("r.json");
        std::fs::write(&file, b"{}").expect("file");
        let error = found(Some(&file.to_string_lossy()), None, &Home::default()).expect_err("no roster");
        assert_eq!(error.exit, Exit::NoTrust);
        assert!(found(Some("sha256:xyz"), None, &Home::default()).is_err());
    }
}
