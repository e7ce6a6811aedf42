//! Finds the names below allowed directories that a run must not reach.
//!
//! A deny pattern that begins with `/` or `**/` is matched against the whole path. Any other deny pattern is matched
//! against the path relative to the allowed directory. `*` and `?` do not match `/`, but match a leading dot, because a
//! deny pattern should match too much rather than too little.
//!
//! The search also finds sockets that the profile does not name, and all hard links to denied files. Directories that
//! can't be listed or are too deep are denied too, because their content is unknown. The target of a denied symbolic
//! link is denied only if the target's own name is denied.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use regex::bytes::{RegexSet, RegexSetBuilder};
use rustix::{
    fs::{Dir, FileType, OFlags, Stat},
    io::Errno,
};

use crate::{
    AtStage, FileId, SetupFailure, SetupResult,
    isolation::{
        opened::{id_of, kind_of, open_at, stat_at},
        remove::entries,
    },
};

pub struct NamePatterns {
    /// Patterns for whole paths, or `None` if there are none, because the compilation of an empty set takes 20 µs for
    /// each run.
    whole: Option<RegexSet>,
    /// Patterns for paths below an allowed directory, or `None` if there are none.
    below: Option<RegexSet>,
    /// Sockets that the run may use. All others are denied, because a process that can read a directory can connect to
    /// its sockets.
    pub sockets: Vec<PathBuf>,
}

/// The denied names below one directory.
#[derive(Default)]
pub struct DeniedNames {
    /// Denied paths, relative to the searched directory, with their file types, sorted. Names below a denied directory
    /// are left out.
    pub names: Vec<(PathBuf, FileType)>,
    /// The denied files of all searched directories.
    pub files: Rc<BTreeSet<FileId>>,
    /// The files that have several names and at least one allowed name.
    pub links: Rc<BTreeSet<FileId>>,
}

impl DeniedNames {
    /// Returns the file type of a denied name, or `None` if `path` is not denied.
    pub fn kind(&self, path: &Path) -> Option<FileType> {
        let at = self
            .names
            .binary_search_by(|(name, _)| name.as_path().cmp(path))
            .ok()?;
        self.names.get(at).map(|(_, kind)| *kind)
    }

    /// Returns true if an opened file must not be read under any name. Such a file has a denied name, or got a further
    /// name after the search.
    pub fn has(&self, stat: &Stat) -> bool {
        let inode = id_of(stat);
        self.files.contains(&inode) || stat.st_nlink > 1 && !self.links.contains(&inode)
    }
}

/// Maximum number of entries in one tree, because a longer search would delay the start of a run too much.
const MAX_ENTRIES: u64 = 2_000_000;
/// Maximum depth of the search, because each level needs an open descriptor. Deeper directories are denied.
pub const MAX_DEPTH: usize = 128;
/// Maximum length of a directory's path in bytes. Directories with longer paths are denied. In the run's trees and in
/// overlay layers, the path of each name must fit into `PATH_MAX`.
const MAX_LENGTH: usize = 2048;
/// Maximum size of all compiled patterns together, in bytes.
const MAX_COMPILED: usize = 8 << 20;

impl NamePatterns {
    /// Compiles the patterns. The time to match a path is linear in the length of the path.
    ///
    /// # Errors
    /// Returns the reason as an error if a pattern is invalid.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let (mut whole, mut below) = (Vec::new(), Vec::new());
        for pattern in patterns {
            let (list, text) = match pattern.strip_prefix('/') {
                Some(text) => (&mut whole, text),
                None if pattern.starts_with("**/") => (&mut whole, pattern.as_str()),
                None => (&mut below, pattern.as_str()),
            };
            list.push(
                translate(text).map_err(|why| format!("the deny pattern {pattern:?} {why}"))?,
            );
        }
        let compile = |list: Vec<String>| {
            if list.is_empty() {
                return Ok(None);
            }
            let mut set = RegexSetBuilder::new(list);
            let set = set.unicode(false).size_limit(MAX_COMPILED).build();
            set.map(Some).map_err(|_| {
                "the deny patterns together are too large: write fewer patterns or fewer alternatives"
            })
        };
        Ok(Self {
            whole: compile(whole)?,
            below: compile(below)?,
            sockets: Vec::new(),
        })
    }

    /// Returns true if a pattern denies `below`, a path relative to the directory `allowed`.
    pub fn deny(&self, allowed: &Path, below: &Path) -> bool {
        let whole = allowed.join(below);
        let whole = whole.as_os_str().as_bytes();
        matches(
            self.whole.as_ref(),
            whole.strip_prefix(b"/").unwrap_or(whole),
        ) || matches(self.below.as_ref(), below.as_os_str().as_bytes())
    }

    /// Returns true if a pattern for whole paths denies the absolute `path`.
    pub fn deny_named(&self, path: &str) -> bool {
        matches(self.whole.as_ref(), path.trim_start_matches('/').as_bytes())
    }

    /// Finds the denied names at and below each of `roots`, with their paths as the step sees them.
    ///
    /// All roots are searched together, because a denied file may have another name in another root. If the host
    /// changes a directory during the search, the search is repeated, because it may have missed a renamed file. If
    /// files still change during the last search and `surely` is set, files that may have an unseen name are denied
    /// too.
    ///
    /// # Errors
    /// Fails if a root can't be searched completely, or if directories are renamed during every search.
    pub fn find(
        &self,
        roots: &[(BorrowedFd<'_>, &Path)],
        surely: bool,
    ) -> SetupResult<Vec<DeniedNames>> {
        for turn in 1.. {
            let begun = now();
            let looked = self.look(roots)?;
            match looked.changes(roots, begun) {
                Changes::None => return Ok(looked.denied(roots, false)),
                Changes::Files if turn == TURNS => return Ok(looked.denied(roots, surely)),
                Changes::Directories if turn == TURNS => break,
                _ => std::thread::sleep(PAUSE),
            }
        }
        let what = "the host moves directories of the profile faster than this program can search them for denied \
                    names; try again";
        Err(SetupFailure::other(what))
    }

    fn look(&self, roots: &[(BorrowedFd<'_>, &Path)]) -> SetupResult<Looked> {
        let mut looked = Looked::default();
        for (root, allowed) in roots {
            let mut walk = Walk {
                patterns: self,
                allowed,
                found: Found::default(),
                entries: 0,
                known: &mut looked.known,
            };
            let stat = rustix::fs::fstat(root).doing(format!("look at {}", allowed.display()))?;
            match kind_of(&stat) {
                FileType::Directory => walk.directory(root, Path::new(""), false, 0)?,
                FileType::RegularFile if stat.st_nlink > 1 => walk.linked(PathBuf::new(), &stat),
                _ => {}
            }
            looked.found.push(walk.found);
        }
        Ok(looked)
    }
}

/// Maximum number of searches if the host changes directories during a search.
const TURNS: usize = 4;
const PAUSE: Duration = Duration::from_millis(25);
/// Maximum time in nanoseconds between two changes with the same timestamp. Kernels before 6.13 update timestamps once
/// per tick, at most every 10 ms.
const TICK: i128 = 20_000_000;
/// Maximum time in nanoseconds by which a timestamp may be in the future. A later timestamp comes from another clock.
const AHEAD: i128 = 1_000_000_000;

fn now() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(0))
}

/// Result of one search through all allowed directories.
#[derive(Default)]
struct Looked {
    found: Vec<Found>,
    known: Known,
}

/// Kind of change that the host made during a search.
enum Changes {
    None,
    Files,
    Directories,
}

#[derive(Default)]
struct Found {
    names: Vec<(PathBuf, FileType)>,
    linked: Vec<Linked>,
    directories: Vec<Seen>,
}

/// The state of a directory before its entries were read.
struct Seen {
    path: PathBuf,
    inode: FileId,
    changed: i128,
    /// True if the directory contains other directories.
    nests: bool,
}

impl Looked {
    /// Compares the directories with their state before the search, to find changes by the host.
    fn changes(&self, roots: &[(BorrowedFd<'_>, &Path)], begun: i128) -> Changes {
        let mut changes = Changes::None;
        for ((root, _), found) in roots.iter().zip(&self.found) {
            for seen in &found.directories {
                let same = stat_at(root, Path::new(".").join(&seen.path))
                    .is_ok_and(|stat| id_of(&stat) == seen.inode && changed(&stat) == seen.changed);
                let recent = (begun - TICK..begun + AHEAD).contains(&seen.changed);
                match (same && !recent, seen.nests) {
                    (true, _) => {}
                    (false, true) => return Changes::Directories,
                    (false, false) => changes = Changes::Files,
                }
            }
        }
        changes
    }

    /// Returns the denied names. If `surely` is set, the result also contains the files that may have unseen names.
    fn denied(self, roots: &[(BorrowedFd<'_>, &Path)], surely: bool) -> Vec<DeniedNames> {
        let Self { found, known } = self;
        let mut out_of_reach = known.files.clone();
        if known.blind || surely {
            out_of_reach.extend(with_names_elsewhere(roots, &found));
        }
        let files = Rc::new(known.files);
        let links: Rc<BTreeSet<FileId>> = Rc::new(
            found
                .iter()
                .flat_map(|found| &found.linked)
                .map(|file| file.inode)
                .collect(),
        );
        let denied = |Found {
                          mut names, linked, ..
                      }: Found| {
            let aliases = linked
                .into_iter()
                .filter(|file| out_of_reach.contains(&file.inode));
            names.extend(aliases.map(|file| (file.path, FileType::RegularFile)));
            names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            DeniedNames {
                names,
                files: files.clone(),
                links: links.clone(),
            }
        };
        found.into_iter().map(denied).collect()
    }
}

/// Returns the time of the last inode change, in nanoseconds since the epoch.
fn changed(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

/// Returns the files that have a name outside the searched directories, or in a directory that can't be listed.
fn with_names_elsewhere(roots: &[(BorrowedFd<'_>, &Path)], found: &[Found]) -> Vec<FileId> {
    // A searched directory may contain another searched directory, so count each name once.
    let mut seen: BTreeMap<FileId, (BTreeSet<PathBuf>, u128)> = BTreeMap::new();
    for ((_, allowed), found) in roots.iter().zip(found) {
        for file in &found.linked {
            let (names, links) = seen.entry(file.inode).or_default();
            names.insert(allowed.join(&file.path));
            *links = file.links;
        }
    }
    seen.into_iter()
        .filter(|(_, (names, links))| *links > names.len() as u128)
        .map(|(inode, _)| inode)
        .collect()
}

fn matches(set: Option<&RegexSet>, path: &[u8]) -> bool {
    set.is_some_and(|set| set.is_match(path))
}

/// Facts about the files of all searched directories together.
#[derive(Default)]
struct Known {
    /// Denied files.
    files: BTreeSet<FileId>,
    /// True if a denied directory could not be listed, so the files in the directory are unknown.
    blind: bool,
}

/// An allowed name of a file with several names.
struct Linked {
    path: PathBuf,
    inode: FileId,
    links: u128,
}

struct Walk<'a> {
    patterns: &'a NamePatterns,
    allowed: &'a Path,
    found: Found,
    entries: u64,
    known: &'a mut Known,
}

impl Walk<'_> {
    fn directory(&mut self, at: impl AsFd, path: &Path, denied: bool, depth: usize) -> SetupResult {
        let what = || {
            format!(
                "look for denied names in {}",
                self.allowed.join(path).display()
            )
        };
        let opened = open_at(&at, ".", DIRECTORY)
            .and_then(|opened| Ok((rustix::fs::fstat(&opened)?, Dir::new(opened)?)));
        let (stat, listed) = opened.doing(what())?;
        let number = self.found.directories.len();
        self.found.directories.push(Seen {
            path: path.to_owned(),
            inode: id_of(&stat),
            changed: changed(&stat),
            nests: false,
        });
        for entry in entries(listed) {
            let entry = entry.doing(what())?;
            let name = entry.file_name();
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let many = format!(
                    "{}: the directory tree has more than {MAX_ENTRIES} entries",
                    what()
                );
                return Err(SetupFailure::other(many));
            }
            let stat = match stat_at(&at, name) {
                Err(Errno::NOENT) => continue,
                stat => stat.doing(what())?,
            };
            let kind = kind_of(&stat);
            let entry = path.join(OsStr::from_bytes(name.to_bytes()));
            let undeclared = kind == FileType::Socket
                && !self.patterns.sockets.contains(&self.allowed.join(&entry));
            let here = !denied && (undeclared || self.patterns.deny(self.allowed, &entry));
            if here {
                self.found.names.push((entry.clone(), kind));
            }
            let denied = denied || here;
            self.found.directories[number].nests |= kind == FileType::Directory;
            match kind {
                FileType::Directory
                    if depth == MAX_DEPTH || entry.as_os_str().len() > MAX_LENGTH =>
                {
                    self.unknown(entry, denied);
                }
                FileType::Directory => match open_at(&at, name, DIRECTORY | OFlags::NOFOLLOW) {
                    Ok(directory) => self.directory(directory, &entry, denied, depth + 1)?,
                    Err(Errno::ACCESS | Errno::PERM) => self.unknown(entry, denied),
                    Err(Errno::NOENT | Errno::NOTDIR) => {}
                    Err(error) => return Err(error).doing(what()),
                },
                FileType::RegularFile if denied => {
                    self.known.files.insert(id_of(&stat));
                }
                FileType::RegularFile if stat.st_nlink > 1 => self.linked(entry, &stat),
                _ => {}
            }
        }
        Ok(())
    }

    fn unknown(&mut self, path: PathBuf, denied: bool) {
        if denied {
            self.known.blind = true;
        } else {
            self.found.names.push((path, FileType::Directory));
        }
    }

    fn linked(&mut self, path: PathBuf, stat: &Stat) {
        self.found.linked.push(Linked {
            path,
            inode: id_of(stat),
            links: stat.st_nlink.into(),
        });
    }
}

pub const DIRECTORY: OFlags = OFlags::DIRECTORY;

/// Translates a glob pattern to a regular expression over bytes.
fn translate(glob: &str) -> Result<String, String> {
    if glob.is_empty() || glob.ends_with('/') || glob.contains('\0') || glob.contains("//") {
        return Err(
            "is not a path: write segments with single slashes between the segments".into(),
        );
    }
    let mut regex = String::from("(?s)^");
    let segments: Vec<&str> = glob.split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let (first, last) = (at == 0, at + 1 == segments.len());
        match *segment {
            "." | ".." => {
                return Err("contains `.` or `..`: write the path without such segments".into());
            }
            // A denied directory is denied with its whole content, so a `**` at the end matches every path below the
            // directory. `a/**` also matches `a`.
            "**" if last => regex.push_str(if first { ".*" } else { "(?:/.*)?" }),
            "**" if first => regex.push_str("(?:[^/]+/)*"),
            "**" => regex.push_str("/(?:[^/]+/)*"),
            _ => {
                if !first && segments[at - 1] != "**" {
                    regex.push('/');
                }
                segment_of(segment, &mut regex)?;
            }
        }
    }
    regex.push('$');
    Ok(regex)
}

fn segment_of(segment: &str, regex: &mut String) -> Result<(), String> {
    let mut characters = segment.chars().peekable();
    let mut alternatives = 0;
    let literal =
        |regex: &mut String, c: char| regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    while let Some(c) = characters.next() {
        match c {
            '*' => {
                while characters.next_if_eq(&'*').is_some() {}
                regex.push_str("[^/]*");
            }
            '?' => regex.push_str("[^/]"),
            '\\' => literal(regex, characters.next().ok_or("ends with a backslash")?),
            '{' => {
                alternatives += 1;
                regex.push_str("(?:");
            }
            '}' if alternatives > 0 => {
                alternatives -= 1;
                regex.push(')');
            }
            ',' if alternatives > 0 => regex.push('|'),
            '[' => {
                let mut set = String::from("[");
                if characters.next_if(|c| matches!(c, '!' | '^')).is_some() {
                    set.push_str("^/");
                }
                let mut any = false;
                loop {
                    match characters
                        .next()
                        .ok_or("has a character set that is not closed: add ]")?
                    {
                        ']' if any => break,
                        '-' if any && characters.peek() != Some(&']') => set.push('-'),
                        c if c.is_ascii() => set.push_str(&format!("\\x{:02x}", c as u32)),
                        _ => {
                            return Err(
                                "has a character set with characters other than ASCII: write alternatives in braces"
                                    .into(),
                            );
                        }
                    }
                    any = true;
                }
                regex.push_str(&set);
                regex.push(']');
            }
            c => literal(regex, c),
        }
    }
    if alternatives > 0 {
        Err("has a brace that is not closed: add }".into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::opened::open;

    fn denies(pattern: &str, below: &str) -> bool {
        NamePatterns::new(&[pattern.to_owned()])
            .expect("a pattern")
            .deny(Path::new("/srv/app"), Path::new(below))
    }

    #[test]
    fn deny_patterns_match_names_and_whole_paths() {
        for (pattern, below) in [
            ("**/.env", ".env"),
            ("**/.env", "deep/a/.env"),
            (".env", ".env"),
            ("/srv/app/.env", ".env"),
            ("/srv/**/key", "a/b/key"),
            ("**/.env*", ".env.local"),
            ("*", ".hidden"),
            ("a/**", "a"),
            ("a/**", "a/b/c"),
            ("**", "anything/at/all"),
            ("**/*.{pem,key}", "tls/site.key"),
            ("**/id_[er]sa", "x/id_rsa"),
            ("**/[!a-c]x", "dx"),
            ("a?c", "abc"),
            ("q\\*", "q*"),
            ("a**b", "axxb"),
            ("**/ä", "x/ä"),
        ] {
            assert!(denies(pattern, below), "{pattern} {below}");
        }
        for (pattern, below) in [
            (".env", "deep/.env"),
            ("**/.env", ".environment"),
            ("/srv/other/.env", ".env"),
            ("*", "a/b"),
            ("**/*.key", "key"),
            ("**/[!a-c]x", "ax"),
            ("a?c", "a/c"),
            ("q\\*", "qq"),
            ("a.c", "abc"),
        ] {
            assert!(!denies(pattern, below), "{pattern} {below}");
        }
    }

    #[test]
    fn invalid_deny_patterns_are_refused_and_large_patterns_are_matched_quickly() {
        for bad in [
            "", "a/", "a//b", "../x", "a/./b", "[a", "{a", "a\\", "[ä]", "a\0",
        ] {
            assert!(NamePatterns::new(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        let stars = "*a".repeat(1000);
        let long = "a".repeat(200_000);
        assert!(!denies(&stars, &format!("{long}b")));
        assert!(!denies(&format!("{}x", "**/a/".repeat(500)), &long));
        assert!(
            NamePatterns::new(&["{a,b}".repeat(200_000)])
                .is_err_and(|why| why.contains("too large"))
        );
    }

    #[test]
    fn hard_links_of_denied_files_and_unnamed_sockets_are_denied_too() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir_all(path("sub/deep")).expect("directories");
        std::fs::create_dir(path("secrets")).expect("a directory");
        std::fs::write(path(".env"), "x").expect("a file");
        std::fs::write(path("plain"), "x").expect("a file");
        std::fs::write(path("secrets/key"), "x").expect("a file");
        let _sockets = ["sub/open", "sub/shut"]
            .map(|name| std::os::unix::net::UnixListener::bind(path(name)).expect("a socket"));
        std::fs::hard_link(path(".env"), path("sub/notes")).expect("a link");
        std::fs::hard_link(path("plain"), path("sub/other")).expect("a link");
        std::fs::hard_link(path("secrets/key"), path("sub/deep/copy")).expect("a link");
        symlink(".env", path("sub/link")).expect("a link");
        let mut patterns =
            NamePatterns::new(&["**/.env".into(), "secrets".into()]).expect("patterns");
        patterns.sockets = vec![path("sub/open")];
        let root = open(home.path(), DIRECTORY).expect("open");
        let found = patterns
            .find(&[(root.as_fd(), home.path())], false)
            .expect("walks")
            .remove(0);
        assert_eq!(
            names(&found),
            [".env", "secrets", "sub/deep/copy", "sub/notes", "sub/shut"]
        );
        assert!(
            found.kind(Path::new(".env")).is_some() && found.kind(Path::new("plain")).is_none()
        );
    }

    fn names(found: &DeniedNames) -> Vec<String> {
        found
            .names
            .iter()
            .map(|(path, _)| path.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn hard_links_of_a_denied_file_are_found_in_all_paths_of_the_run() {
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        for name in ["one", "two"] {
            std::fs::create_dir(path(name)).expect("a directory");
        }
        std::fs::write(path("two/.env"), "x").expect("a file");
        for name in ["one/notes", "two/alias", "file"] {
            std::fs::hard_link(path("two/.env"), path(name)).expect("a link");
        }
        let patterns = NamePatterns::new(&["**/.env".into()]).expect("patterns");
        let opened = ["one", "two", "file"]
            .map(|name| (open(path(name), OFlags::PATH).expect("open"), path(name)));
        let roots: Vec<_> = opened
            .iter()
            .map(|(root, path)| (root.as_fd(), path.as_path()))
            .collect();
        let found = patterns.find(&roots, false).expect("walks");
        assert_eq!(
            found.iter().map(names).collect::<Vec<_>>(),
            [vec!["notes"], vec![".env", "alias"], vec![""]]
        );
    }

    #[test]
    fn files_are_denied_if_they_may_be_in_a_directory_that_cannot_be_listed() {
        // Root can list every directory, so use a directory that is too deep.
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        let mut deep = path("secrets");
        (0..MAX_DEPTH + 2).for_each(|_| deep.push("d"));
        std::fs::create_dir_all(&deep).expect("directories");
        std::fs::write(deep.join("key"), "x").expect("a file");
        std::fs::hard_link(deep.join("key"), path("copy")).expect("a link");
        std::fs::write(path("one"), "x").expect("a file");
        std::fs::hard_link(path("one"), path("other")).expect("a link");
        let root = open(home.path(), DIRECTORY).expect("open");
        let find = |deny: &[&str]| {
            let patterns = NamePatterns::new(
                &deny
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            );
            names(
                &patterns
                    .expect("patterns")
                    .find(&[(root.as_fd(), home.path())], false)
                    .expect("walks")[0],
            )
        };
        // The search finds all names of the file `one`. The search misses one name of the file `copy`.
        assert_eq!(find(&["secrets"]), ["copy", "secrets"]);
        let found = find(&[]);
        assert!(
            found.len() == 1 && found[0].matches('/').count() == MAX_DEPTH,
            "{found:?}"
        );
        let long: PathBuf = std::iter::repeat_n("x".repeat(250), 12).collect();
        std::fs::create_dir_all(path("long").join(&long)).expect("directories");
        let found = find(&["secrets"]);
        assert!(
            found.len() == 3 && found[1].len() > MAX_LENGTH && found[1].len() < MAX_LENGTH + 256,
            "{found:?}"
        );
    }
}
