//! Finds the rosters that the user trusts. The program searches the options, the environment and the configuration
//! directory, but never a checkout.
//!
//! The first source is `--roster` (a file, a directory or a digest), and the second is `COUNTERSIGN_TRUST` (an absolute
//! path or a digest). The third source is the roster that `boundaries.toml` names for the boundary, and the fourth is the
//! configuration directory with `roster.json`, `rosters/*.json` and `trust` (one digest on each line). The current directory is
//! not searched, because it may be a checkout with files of other people.
//!
//! This file also checks whether the author of a commit under review could control a file.
//!
//! The author of a commit can write every file of the checkout. With a trusted roster from the checkout, the author
//! could approve the commit alone. The check follows symbolic links and covers each directory that a lookup of the path
//! uses, because a user who can write one of these directories can redirect the path to another file.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use crate::{CommandFailure, CommandResult, Home, PrintableText, fail_usage, read_bounded};
use documents::{BoundaryName, Envelope, MAX_ROSTER_BYTES, RosterDigest, SshKey, json};
use verdict::{Pinned, TrustedRoster, VersionFacts, bundle_check as audit};

/// Option that names the trusted roster.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArgs {
    /// The roster that you trust: a file, a directory with versions (*.json), or the sha256:… digest of its payload; may be
    /// repeated. The default is COUNTERSIGN_TRUST, or else your configuration directory (countersign/roster.json,
    /// countersign/rosters/*.json, countersign/trust)
    #[arg(long, value_name = "FILE|DIR|sha256:…")]
    pub roster: Vec<String>,
    /// The roster that the list of boundaries names. Options and environment have priority.
    #[arg(skip)]
    pub listed: Option<String>,
}

/// Trusted roster, with its source.
#[derive(Debug, Clone)]
pub struct ChosenTrust {
    /// Trusted roster, or its digest.
    pub pinned: Pinned,
    /// The same roster for the verifier of bundles, which parses the file again.
    pub audit: audit::RosterTrust,
    /// Source of the roster, as text for messages.
    pub from: String,
    /// File that contains the roster. The path is `-` if the roster was read from the standard input.
    pub file: Option<PathBuf>,
}

impl ChosenTrust {
    /// Returns the roster if one version was given as a document. For a digest or a chain of versions, the result is
    /// `None`.
    pub fn roster(&self) -> Option<&TrustedRoster> {
        match &self.pinned {
            Pinned::Roster(roster) => Some(roster),
            Pinned::Digest(_) | Pinned::Chain(_) => None,
        }
    }
}

/// Result of the choice between several trusted rosters.
pub struct DecidingRoster<'t, T> {
    /// The chosen roster.
    pub trust: &'t ChosenTrust,
    /// Result of `connect` for the chosen roster.
    pub found: T,
    /// Rosters that `connect` refused. Such a roster may belong to another boundary, or may be newer than the checked
    /// document.
    pub unconnected: Vec<&'t ChosenTrust>,
}

/// Calls `connect` for each trusted roster and chooses the roster that leads to the newest version, which `connect`
/// returns. Several rosters may lead to the same newest version. Then the function chooses the roster that is this
/// version itself. An older roster would not show that a key was removed later.
///
/// # Errors
/// If `connect` fails for every roster, returns each roster with the error. This list is empty if there is no trusted
/// roster.
pub fn newest_of<'t, T, E>(
    trust: &'t [ChosenTrust],
    mut connect: impl FnMut(&'t ChosenTrust) -> Result<(VersionFacts, T), E>,
) -> Result<DecidingRoster<'t, T>, Vec<(&'t ChosenTrust, E)>> {
    let mut best: Option<((u64, bool), &ChosenTrust, T)> = None;
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
            Ok(DecidingRoster {
                trust,
                found,
                unconnected,
            })
        }
        None => Err(refused),
    }
}

/// Returns the newest trusted roster file that `is_same` accepts and that `connect` refused. Such a version is newer
/// than the chain, or contradicts the chain. Version 1 is skipped, because two different first versions belong to two
/// different rosters.
pub fn newest_unconnected<'t>(
    unconnected: &[&'t ChosenTrust],
    is_same: impl Fn(&TrustedRoster) -> bool,
) -> Option<(&'t ChosenTrust, &'t TrustedRoster)> {
    let files = unconnected
        .iter()
        .filter_map(|trust| Some((*trust, trust.roster()?)));
    files
        .filter(|(_, roster)| roster.version() > 1 && is_same(roster))
        .max_by_key(|(_, roster)| roster.version())
}

/// Returns true if two versions probably belong to one roster, because they have the same name or share a boundary's
/// key. The result can be wrong, because the versions between the two may be missing: it is rarely false for two
/// versions of one roster, but may be true for two different rosters.
pub fn seem_same(one: &TrustedRoster, other: &TrustedRoster) -> bool {
    let shared = |name: &BoundaryName| {
        let keys = one.boundary_keys(name).iter();
        keys.map(SshKey::keyid)
            .any(|keyid| other.boundary_key(name, &keyid).is_some())
    };
    one.tables().name == other.tables().name || one.tables().boundaries.keys().any(shared)
}

/// Maximum size of a file with one envelope, in bytes. The payload in the envelope has at most `MAX_ROSTER_BYTES`.
const MAX_FILE_BYTES: usize = MAX_ROSTER_BYTES * 2;

impl TrustArgs {
    /// Returns the trusted rosters, or an empty list if there are none.
    ///
    /// # Errors
    /// Returns an error if a named roster cannot be read or parsed, or if other users can write the roster's file.
    pub fn find(&self) -> CommandResult<Vec<ChosenTrust>> {
        self.find_by(read_own)
    }

    /// Returns the trusted rosters, even if other users can write a file that the user named. The caller must check
    /// the file or pin its digest.
    ///
    /// # Errors
    /// Returns the errors of [`Self::find`], except the error for a file that other users can write.
    pub fn find_unchecked(&self) -> CommandResult<Vec<ChosenTrust>> {
        self.find_by(|path| read_bounded(path, MAX_FILE_BYTES))
    }

    fn find_by(
        &self,
        read: impl Fn(&Path) -> CommandResult<Vec<u8>>,
    ) -> CommandResult<Vec<ChosenTrust>> {
        let variable = std::env::var_os("COUNTERSIGN_TRUST").filter(|value| !value.is_empty());
        if let ([], None, Some(listed)) = (&self.roster[..], &variable, &self.listed) {
            return named(listed, &format!("boundaries.toml: {listed}"), &read);
        }
        find(&self.roster, variable, &Home::of_process(), read)
    }
}

fn find(
    flags: &[String],
    variable: Option<OsString>,
    home: &Home,
    read: impl Fn(&Path) -> CommandResult<Vec<u8>>,
) -> CommandResult<Vec<ChosenTrust>> {
    if !flags.is_empty() {
        let mut given = Vec::new();
        for flag in flags {
            given.extend(named(flag, &format!("--roster {flag}"), &read)?);
        }
        check_same(&given)?;
        return Ok(given);
    }
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        let value = value.into_string().map_err(|_| {
            CommandFailure::usage(
                "COUNTERSIGN_TRUST is not UTF-8: set the variable \
                 again",
            )
        })?;
        if !value.starts_with("sha256:") && !Path::new(&value).is_absolute() {
            return fail_usage(format!(
                "COUNTERSIGN_TRUST={value} is a relative path, which would mean a different roster in each \
                 directory; give an absolute path, or the sha256:... digest of the roster"
            ));
        }
        return named(&value, &format!("COUNTERSIGN_TRUST={value}"), &read);
    }
    configured(home)
}

/// Returns an error that names two given rosters that can't be versions of one roster, although they seem to be.
fn check_same(given: &[ChosenTrust]) -> CommandResult<()> {
    for (at, one) in given.iter().enumerate() {
        for other in &given[at + 1..] {
            let (Some(roster), Some(second)) = (one.roster(), other.roster()) else {
                continue;
            };
            let (low, high) = if roster.version() <= second.version() {
                (roster, second)
            } else {
                (second, roster)
            };
            let why = if low.version() == high.version() && low.digest() != high.digest() {
                format!("two different rosters of version {}", low.version())
            } else if low.version() + 1 == high.version()
                && high.tables().previous != Some(low.digest())
            {
                format!(
                    "version {} and a version {} that does not follow it",
                    low.version(),
                    high.version()
                )
            } else {
                continue;
            };
            if seem_same(roster, second) {
                let words = format!(
                    "{} and {} are {why}, both of {}: give only the versions of one roster, from the person who maintains it",
                    one.from,
                    other.from,
                    roster.tables().name
                );
                return Err(CommandFailure::no_trust(PrintableText::text(&words)));
            }
        }
    }
    Ok(())
}

/// Returns the trusted rosters of the configuration directory.
///
/// # Errors
/// Returns an error if a file cannot be read or parsed, or if other users can write it.
pub fn configured(home: &Home) -> CommandResult<Vec<ChosenTrust>> {
    let Some(config) = &home.config else {
        return Ok(Vec::new());
    };
    let mut files = vec![config.join("roster.json")];
    files.extend(json_files(&config.join("rosters")).unwrap_or_default());
    let mut found = Vec::new();
    for path in files.iter().filter(|path| path.exists()) {
        found.push(roster_of(
            read_own(path)?,
            path,
            path.to_string_lossy().into_owned(),
        )?);
    }
    let pins = config.join("trust");
    if pins.is_file() {
        let text = String::from_utf8_lossy(&read_own(&pins)?).into_owned();
        for line in text.lines() {
            // A line contains a digest, which a comment may follow.
            let Some(word) = line
                .split_whitespace()
                .next()
                .filter(|word| !word.starts_with('#'))
            else {
                continue;
            };
            let pinned = digest(parse_digest(word)?, pins.to_string_lossy().into_owned());
            found.push(ChosenTrust {
                file: Some(pins.clone()),
                ..pinned
            });
        }
    }
    Ok(found)
}

/// Returns the rosters that a text names: a digest, a file, or all versions of a directory.
fn named(
    text: &str,
    from: &str,
    read: impl Fn(&Path) -> CommandResult<Vec<u8>>,
) -> CommandResult<Vec<ChosenTrust>> {
    if text.starts_with("sha256:") {
        return Ok(vec![digest(parse_digest(text)?, from.to_owned())]);
    }
    let path = Path::new(text);
    if !path.is_dir() {
        let bytes = if is_stream(path) {
            read_bounded(path, MAX_FILE_BYTES)?
        } else {
            read(path)?
        };
        return Ok(vec![roster_of(bytes, path, from.to_owned())?]);
    }
    let failed = |why: &str| {
        let shown = PrintableText::text(text);
        CommandFailure::no_trust(format!("the directory {shown} {why}"))
    };
    let files = json_files(path).map_err(|error| failed(&format!("can't be read: {error}")))?;
    if files.is_empty() {
        return Err(failed(
            "has no roster: each version is a file that ends with .json",
        ));
    }
    let one = |file: PathBuf| {
        let from = file.file_name().map_or_else(String::new, |name| {
            format!("{from}: {}", name.to_string_lossy())
        });
        roster_of(read(&file)?, &file, from)
    };
    files.into_iter().map(one).collect()
}

/// Returns the files of a directory whose names end with `.json`, in their order.
fn json_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    Ok(files)
}

fn digest(digest: RosterDigest, from: String) -> ChosenTrust {
    ChosenTrust {
        pinned: Pinned::Digest(digest),
        audit: audit::RosterTrust::Digest(digest),
        from,
        file: None,
    }
}

fn parse_digest(text: &str) -> CommandResult<RosterDigest> {
    text.parse()
        .map_err(|error| CommandFailure::usage(format!("{}: {error}", PrintableText::text(text))))
}

fn roster_of(bytes: Vec<u8>, path: &Path, from: String) -> CommandResult<ChosenTrust> {
    let place = PrintableText::file(path);
    let failed = |error: &dyn std::fmt::Display| {
        CommandFailure::no_trust(format!(
            "{place} is no roster: {error}; give the roster's envelope, as `countersign roster show --json` prints it"
        ))
    };
    let envelope: Envelope =
        json::parse_as(&bytes, MAX_FILE_BYTES).map_err(|error| failed(&error))?;
    let pinned = Pinned::from_envelope(&envelope).map_err(|error| failed(&error))?;
    Ok(ChosenTrust {
        pinned,
        audit: audit::RosterTrust::Roster(bytes),
        from,
        file: Some(path.to_owned()),
    })
}

/// Returns true if the path is a stream that the shell created. Other users cannot write to such a stream.
fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
        || path == Path::new("/dev/stdin")
        || ["/dev/fd", "/proc/self/fd"]
            .iter()
            .any(|streams| path.starts_with(streams))
}

/// Reads a file that the program will trust. The function refuses a file that users other than this user and root can
/// write.
fn read_own(path: &Path) -> CommandResult<Vec<u8>> {
    check_own(path)?;
    read_bounded(path, MAX_FILE_BYTES)
}

/// Checks the owner and the mode of a file that the program will trust, and of the directory of the file, because users
/// who can write the directory can replace the file.
///
/// # Errors
/// Returns an error if the file is missing, belongs to another user, or can be written or replaced by other users.
pub fn check_own(path: &Path) -> CommandResult<()> {
    let failed = |path: &Path, error: io::Error| {
        CommandFailure::no_trust(format!("{}: {error}", PrintableText::file(path)))
    };
    let real = path.canonicalize().map_err(|error| failed(path, error))?;
    let me = rustix::process::geteuid().as_raw();
    for place in std::iter::once(real.as_path()).chain(real.parent()) {
        let meta = std::fs::metadata(place).map_err(|error| failed(place, error))?;
        // In a directory with the sticky bit, other users cannot replace files of this user.
        let closed = meta.mode() & 0o022 == 0 || (meta.is_dir() && meta.mode() & 0o1000 != 0);
        if (meta.uid() != me && meta.uid() != 0) || !closed {
            let what = if meta.is_dir() { "the directory " } else { "" };
            return Err(CommandFailure::no_trust(format!(
                "other users can write {what}{0}, so {1} can't be trusted: check its content, then run `chown \
                     {me} {0}` and `chmod go-w {0}`; or name the roster by its digest, --roster sha256:...",
                PrintableText::file(place),
                if meta.is_dir() {
                    "the file in it"
                } else {
                    "it"
                },
            )));
        }
    }
    Ok(())
}

/// Returns the advice for a user without a trusted roster.
pub fn trust_advice(seen: Option<RosterDigest>, place: &str) -> String {
    let config = Home::of_process().config_words();
    match seen {
        Some(digest) => format!(
            "the {place} names the roster {digest}; ask the person who maintains the roster for its digest, over \
             another channel than this {place}; if the digests are equal, give --roster sha256:... with the digest \
             from that person, or trust the roster from now on: mkdir -p {config} && echo sha256:... >> \
             {config}/trust"
        ),
        None => format!(
            "get the roster from the person who maintains it; then give --roster FILE, or save the roster as \
             {config}/roster.json"
        ),
    }
}

/// Directories that may contain changes from other people.
pub struct CheckoutDirectories {
    current: PathBuf,
    workspaces: Vec<(&'static str, PathBuf)>,
}

/// Environment variables of CI runners that contain the checkout directory.
const WORKSPACES: [&str; 10] = [
    "GITHUB_WORKSPACE",
    "CI_PROJECT_DIR",
    "WORKSPACE",
    "BITBUCKET_CLONE_DIR",
    "BUILD_SOURCESDIRECTORY",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "DRONE_WORKSPACE",
    "CIRCLE_WORKING_DIRECTORY",
    "CODEBUILD_SRC_DIR",
    "TRAVIS_BUILD_DIR",
];

/// Directory entries that exist only in the top directory of a work tree.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Maximum number of symbolic links that are followed in one path, as on Linux (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

impl CheckoutDirectories {
    /// Returns the checkouts of this process: the current directory and the directories that a CI runner names.
    ///
    /// # Errors
    /// Returns an error if the process has no current directory.
    pub fn of_process() -> io::Result<Self> {
        Ok(Self::of(&std::env::current_dir()?, |name| {
            std::env::var_os(name)
        }))
    }

    /// Returns the checkouts for this current directory and this environment.
    pub fn of(current: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // CircleCI sets its variable to `~/project` by default, with a literal `~`.
        let home = variable("HOME").map(PathBuf::from);
        let whole = |path: PathBuf| match (path.strip_prefix("~"), &home) {
            (Ok(below), Some(home)) => home.join(below),
            _ => path,
        };
        let workspaces = WORKSPACES.iter().filter_map(|name| {
            let path = whole(PathBuf::from(variable(name)?));
            (path.is_absolute() && path != Path::new("/")).then(|| (*name, real(&path)))
        });
        Self {
            current: real(current),
            workspaces: workspaces.collect(),
        }
    }

    /// Returns the reason why a checkout controls the file, or `None` if no checkout controls the file.
    ///
    /// # Errors
    /// Returns an error if the path cannot be resolved, for example because the file does not exist.
    pub fn holding(&self, path: &Path) -> io::Result<Option<String>> {
        Ok(self.lookups(path)?.iter().find_map(|place| self.why(place)))
    }

    fn why(&self, place: &Path) -> Option<String> {
        if let Some((name, _)) = self
            .workspaces
            .iter()
            .find(|(_, workspace)| place.starts_with(workspace))
        {
            return Some(format!("the file is in the checkout that ${name} names"));
        }
        // The directory `/` is no checkout. In a container it may be the current directory, and every file is below
        // `/`.
        if self.current != Path::new("/") && place.starts_with(&self.current) {
            return Some(
                "the file is in the current directory (if you trust this directory, change to another directory \
                 first)"
                    .to_owned(),
            );
        }
        let mark = |top: &&Path| {
            MARKS
                .iter()
                .any(|mark| top.join(mark).symlink_metadata().is_ok())
        };
        place
            .ancestors()
            .find(mark)
            .map(|top| format!("the file is in the work tree {}", top.display()))
    }

    /// Returns the real directories that a lookup of the path uses, and last the file.
    fn lookups(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut rest: VecDeque<OsString> = parts(&self.current.join(path));
        let mut at = PathBuf::from("/");
        let mut found = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            found.push(at.clone());
            let next = at.join(&part);
            if !next.symlink_metadata()?.file_type().is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = next.read_link()?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        found.push(at);
        Ok(found)
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Exit;

    fn found(
        flag: Option<&str>,
        variable: Option<OsString>,
        home: &Home,
    ) -> CommandResult<Vec<ChosenTrust>> {
        find(
            &flag.map(str::to_owned).into_iter().collect::<Vec<_>>(),
            variable,
            home,
            read_own,
        )
    }

    const GOLDEN: &[u8] = include_bytes!("../../../../tests/conformance/golden/valid/roster.json");

    fn home(directory: &Path) -> Home {
        Home::of(Some(directory.into()), None)
    }

    #[test]
    fn a_roster_in_the_current_directory_is_not_trusted() {
        // The current directory is a checkout that contains the files of a whole home directory.
        let checkout = tempfile::tempdir().expect("directory");
        std::fs::create_dir_all(checkout.path().join(".config/countersign/rosters"))
            .expect("directories");
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
        assert!(
            found(None, None, &home(nobody.path()))
                .expect("no error")
                .is_empty()
        );
        // A relative path in `HOME` or `XDG_CONFIG_HOME` would name a place in the current directory, so it is ignored.
        for relative in [".", "", "home", ".config"] {
            let home = Home::of(Some(relative.into()), Some(relative.into()));
            assert!(home.config.is_none() && home.home.is_none(), "{relative}");
            assert!(found(None, None, &home).expect("no error").is_empty());
        }
        let error =
            found(None, Some("roster.json".into()), &home(nobody.path())).expect_err("relative");
        assert_eq!(error.exit, Exit::Usage);
    }

    #[test]
    fn the_roster_flag_overrides_the_variable_and_the_variable_overrides_the_configuration() {
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
        assert_eq!(
            found(None, None, &home)
                .expect_err("others can write it")
                .exit,
            Exit::NoTrust
        );
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("mode");
        assert_eq!(found(None, None, &home).expect("found").len(), 2);
        // A user who can write the directory can replace the file.
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o777)).expect("mode");
        let refused = found(None, None, &home).expect_err("others can replace it");
        assert!(
            refused.exit == Exit::NoTrust && refused.to_string().contains("chmod go-w"),
            "{refused}"
        );
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o1777)).expect("mode");
        assert_eq!(
            found(None, None, &home)
                .expect("nobody else's file is replaced there")
                .len(),
            2
        );
    }

    #[test]
    fn a_file_that_is_no_roster_is_reported() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("r.json");
        std::fs::write(&file, b"{}").expect("file");
        let error =
            found(Some(&file.to_string_lossy()), None, &Home::default()).expect_err("no roster");
        assert_eq!(error.exit, Exit::NoTrust);
        assert!(found(Some("sha256:xyz"), None, &Home::default()).is_err());
    }
}

#[cfg(test)]
mod checkout_tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        std::fs::write(path, b"{}").expect("written");
    }

    #[test]
    fn a_checkout_is_detected_in_every_directory_of_the_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("real");
        let at = |name: &str| top.join(name);
        for file in [
            "checkout/.git/HEAD",
            "checkout/roster.json",
            "checkout/a/b/roster.json",
            "safe/roster.json",
        ] {
            write(&at(file));
        }
        write(&at("elsewhere/x"));
        symlink(at("safe/roster.json"), at("checkout/link.json")).expect("link");
        symlink(at("checkout"), at("safe/way")).expect("link");
        symlink("../checkout/link.json", at("safe/through.json")).expect("link");
        symlink(at("safe/loop"), at("safe/loop")).expect("link");
        let outside = CheckoutDirectories::of(&at("elsewhere"), |_| None);
        let held = |file: &str| outside.holding(&at(file)).expect(file).is_some();
        assert!(!held("safe/roster.json"));
        assert!(!held("elsewhere/../safe/roster.json") || at("elsewhere").starts_with(&top));
        for file in [
            "checkout/roster.json",
            "checkout/a/b/roster.json",
            "checkout/link.json",
            "safe/way/roster.json",
            "safe/way/link.json",
            "safe/through.json",
            "checkout/../checkout/roster.json",
        ] {
            assert!(held(file), "{file}");
        }
        assert!(
            outside.holding(&at("safe/loop")).is_err()
                && outside.holding(&at("safe/none")).is_err()
        );
    }

    #[test]
    fn files_in_the_current_directory_or_the_ci_workspace_count_as_files_of_a_checkout() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("real");
        write(&top.join("work/sub/roster.json"));
        write(&top.join("trust/roster.json"));
        let here = CheckoutDirectories::of(&top.join("work"), |_| None);
        assert!(
            here.holding(Path::new("sub/roster.json"))
                .expect("there")
                .is_some()
        );
        assert!(
            here.holding(&top.join("work/sub/roster.json"))
                .expect("there")
                .is_some()
        );
        assert!(
            here.holding(Path::new("../trust/roster.json"))
                .expect("there")
                .is_none()
        );
        for name in WORKSPACES {
            let runner = CheckoutDirectories::of(&top.join("trust"), |asked| {
                (asked == name).then(|| top.join("work").into())
            });
            assert!(
                runner
                    .holding(&top.join("work/sub/roster.json"))
                    .expect("there")
                    .is_some(),
                "{name}"
            );
        }
        let circle = |home: Option<&Path>| {
            CheckoutDirectories::of(&top.join("trust"), |asked| match asked {
                "CIRCLE_WORKING_DIRECTORY" => Some("~/work".into()),
                "HOME" => home.map(Into::into),
                _ => None,
            })
        };
        assert!(
            circle(Some(&top))
                .holding(&top.join("work/sub/roster.json"))
                .expect("there")
                .is_some()
        );
        assert!(
            circle(None)
                .holding(&top.join("work/sub/roster.json"))
                .expect("there")
                .is_none()
        );
        let root = CheckoutDirectories::of(Path::new("/"), |_| Some("/".into()));
        assert!(
            root.holding(&top.join("trust/roster.json"))
                .expect("there")
                .is_none()
        );
    }
}
