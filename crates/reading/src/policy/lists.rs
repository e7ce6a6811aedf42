//! Lists of patterns, each with its origin.
//!
//! A deny list ignores letter case in names, and the name of a denied command matches the program in every directory.
//! An allow list is case-sensitive.
//!
//! The patterns are compared with absolute paths, which are normalised as text, without access to the file system. The
//! caller resolves symbolic links first. `{repo}` and `{tmp}` may appear only at the beginning of a pattern. Their
//! values are compared literally, so wildcards in the name of a repository have no effect.
//!
//! The origin names the part of the policy that contains the rule.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{CaseSensitivity, LeadingDots, Pattern, PatternError, TRUSTED, base_name};
use documents::PermissionKind;

documents::words! {
    /// Kind of a list.
    pub enum ListSide {
        /// Allow list.
        Allow = "allow",
        /// Deny list.
        Deny = "deny",
    }
}

/// A compiled pattern of a list. Clones share the compiled form.
#[derive(Debug, Clone)]
pub struct ListedPattern {
    text: Arc<str>,
    matcher: Arc<Matcher>,
}

#[derive(Debug)]
enum Matcher {
    /// Pattern that is compared with the name of a variable or the base name of a command.
    Name(Pattern),
    /// Pattern that is compared with a whole path.
    Path(PathPattern),
}

impl ListedPattern {
    /// Parses a pattern of one list.
    ///
    /// # Errors
    /// Returns an error with the problem in the pattern and its correction.
    pub fn parse(kind: PermissionKind, side: ListSide, text: &str) -> Result<Self, PatternError> {
        let name = |text: &str| {
            let case = if side == ListSide::Deny {
                CaseSensitivity::Any
            } else {
                CaseSensitivity::Counts
            };
            // In a list of commands, `[` and `.` are the names of commands.
            if ["[", "."].contains(&text) {
                return Ok(Pattern::literal(text, case));
            }
            Pattern::parse_with(text, LeadingDots::Any, case)
        };
        let matcher = match kind {
            PermissionKind::Read | PermissionKind::Write => Matcher::Path(PathPattern::parse(text)?),
            PermissionKind::Env if text.contains('/') => {
                return Err(PatternError::new(text, "the name of a variable has no slash: remove the slash"));
            }
            PermissionKind::Run if text.contains('/') && side == ListSide::Deny => {
                // `{repo}` and `{tmp}` have no values at a boundary, so a deny pattern with one of them would match
                // nothing.
                if let Some((_, rest)) = text.split_once("}/").filter(|(name, _)| ["{repo", "{tmp"].contains(name)) {
                    let message = format!(
                        "a boundary has no directory {{repo}} or {{tmp}}, so the pattern would deny nothing: write \
                         **/{rest}"
                    );
                    return Err(PatternError::new(text, message));
                }
                Matcher::Path(PathPattern::parse_anywhere(text)?)
            }
            PermissionKind::Run if text.contains('/') => Matcher::Path(PathPattern::parse(text).map_err(|error| {
                if error.message.starts_with("the pattern is relative") {
                    PatternError::new(
                        text,
                        "a relative path names a different program in each directory: write a path that begins with / \
                         or {repo}/",
                    )
                } else {
                    error
                }
            })?),
            PermissionKind::Run | PermissionKind::Env => Matcher::Name(name(text)?),
        };
        Ok(Self {
            text: text.into(),
            matcher: Arc::new(matcher),
        })
    }

    /// Returns a pattern that matches only `text`, as a name or as a path.
    pub fn literal(text: &str) -> Self {
        Self {
            text: text.into(),
            matcher: Arc::new(Matcher::Name(Pattern::literal(
                text,
                CaseSensitivity::Counts,
            ))),
        }
    }

    /// Returns the text of the pattern.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns the number of alternatives that the braces in the pattern create.
    pub fn ways(&self) -> usize {
        match &*self.matcher {
            Matcher::Name(pattern) => pattern.ways(),
            Matcher::Path(pattern) => pattern.ways(),
        }
    }

    /// Returns true if the pattern matches everything, for example `*` or `**`.
    pub fn is_everything(&self) -> bool {
        ["*", "**", "/**", "**/*", "**/**", "***"].contains(&&*self.text)
    }
}

/// A pattern with its origin.
#[derive(Debug, Clone)]
pub struct ListEntry {
    /// The pattern.
    pub listed: ListedPattern,
    /// Origin of the pattern.
    pub origin: RuleOrigin,
}

impl PartialEq for ListEntry {
    fn eq(&self, other: &Self) -> bool {
        (self.listed.text(), &self.origin) == (other.listed.text(), &other.origin)
    }
}

impl Eq for ListEntry {}

/// A list of patterns, in the order of their origins. A search by name costs one hash lookup, and one comparison for
/// each pattern with wildcards.
#[derive(Debug, Clone)]
pub struct PatternList {
    /// Kind of the list.
    pub side: ListSide,
    entries: Vec<ListEntry>,
    /// Index of the first entry for each name without wildcards. The keys of a deny list are in lower case.
    names: HashMap<Arc<str>, usize>,
    globs: Vec<usize>,
    paths: Vec<usize>,
}

impl PartialEq for PatternList {
    fn eq(&self, other: &Self) -> bool {
        self.side == other.side && self.entries == other.entries
    }
}

impl PatternList {
    /// Returns an empty list.
    pub fn new(side: ListSide) -> Self {
        Self {
            side,
            entries: Vec::new(),
            names: HashMap::new(),
            globs: Vec::new(),
            paths: Vec::new(),
        }
    }

    /// Adds a pattern.
    pub fn add(&mut self, listed: ListedPattern, origin: RuleOrigin) {
        let at = self.entries.len();
        match &*listed.matcher {
            Matcher::Path(_) => self.paths.push(at),
            Matcher::Name(pattern) => match pattern.only() {
                Some(name) => {
                    self.names.entry(name.into()).or_insert(at);
                }
                None => self.globs.push(at),
            },
        }
        self.entries.push(ListEntry { listed, origin });
    }

    /// Returns the patterns in the order of the list.
    pub fn entries(&self) -> &[ListEntry] {
        &self.entries
    }

    /// Returns the first pattern that matches the name `name`.
    pub fn find_name(&self, name: &str) -> Option<&ListEntry> {
        let plain = match self.side {
            ListSide::Allow => self.names.get(name),
            ListSide::Deny => self.names.get(name.to_lowercase().as_str()),
        };
        let glob = || self.globs.iter().find(|at| self.is_name(**at, name));
        plain.or_else(glob).map(|at| &self.entries[*at])
    }

    /// Returns the pattern without wildcards whose text is exactly this name or path.
    pub fn find_literal(&self, name: &str) -> Option<&ListEntry> {
        self.names.get(name).map(|at| &self.entries[*at])
    }

    /// Returns all patterns that match the name `name`.
    pub fn find_all_names(&self, name: &str) -> impl Iterator<Item = &ListEntry> {
        self.entries
            .iter()
            .enumerate()
            .filter(move |(at, _)| self.is_name(*at, name))
            .map(|(_, entry)| entry)
    }

    fn is_name(&self, at: usize, name: &str) -> bool {
        matches!(&*self.entries[at].listed.matcher, Matcher::Name(pattern) if pattern.matches(name))
    }

    fn is_path(&self, at: usize, path: &str, places: Option<&PathVariables>) -> bool {
        matches!(&*self.entries[at].listed.matcher, Matcher::Path(pattern) if pattern.matches(path, places))
    }

    /// Returns the first pattern that matches the path `path`. The path must be absolute and normalised.
    pub fn find_path(&self, path: &str, places: Option<&PathVariables>) -> Option<&ListEntry> {
        let plain = self.names.get(path);
        let pattern = || {
            self.paths
                .iter()
                .find(|at| self.is_path(**at, path, places))
        };
        plain.or_else(pattern).map(|at| &self.entries[*at])
    }

    /// Returns the first pattern of a deny list that matches the command `name`. A pattern for names matches the base
    /// name of a program in every directory. A pattern for paths matches the whole path of a program. A name without a
    /// slash has a path in each directory of [`TRUSTED`].
    pub fn find_denied(&self, name: &str, places: Option<&PathVariables>) -> Option<&ListEntry> {
        let base = base_name(name);
        if let Some(found) = self.find_name(base) {
            return Some(found);
        }
        if self.paths.is_empty() {
            return None;
        }
        if base == name {
            return TRUSTED
                .iter()
                .find_map(|directory| self.find_path(&format!("{directory}/{name}"), places));
        }
        let path = normalised(name);
        // A system program can have several paths, because `/bin` may be a link to `/usr/bin` and `/proc/self/root`
        // leads to `/`. Therefore a pattern for a program in a system directory matches every path that ends in the
        // name of the program.
        let same = |at: &usize| {
            let entry = &self.entries[*at];
            let last = entry.listed.text().rsplit('/').next();
            last == Some(base)
                && TRUSTED
                    .iter()
                    .any(|directory| self.is_path(*at, &format!("{directory}/{base}"), places))
        };
        if let Some(at) = self.paths.iter().find(|at| same(at)) {
            return Some(&self.entries[*at]);
        }
        // The directory of a relative path is unknown, so the path is treated as if it began at `/`.
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{}", path.trim_start_matches("../"))
        };
        self.find_path(&path, places)
    }
}

/// Allow list and deny list of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct PermissionLists {
    /// Allow list.
    pub allow: PatternList,
    /// Deny list, which takes precedence over the allow list.
    pub deny: PatternList,
}

/// Lists of every kind.
#[derive(Debug, Clone, PartialEq)]
pub struct AllPermissionLists([PermissionLists; 4]);

impl Default for AllPermissionLists {
    fn default() -> Self {
        Self(std::array::from_fn(|_| PermissionLists {
            allow: PatternList::new(ListSide::Allow),
            deny: PatternList::new(ListSide::Deny),
        }))
    }
}

impl AllPermissionLists {
    /// Returns the lists for one permission kind.
    pub fn of(&self, kind: PermissionKind) -> &PermissionLists {
        &self.0[kind as usize]
    }

    /// Adds a pattern to one of the lists.
    pub fn add(
        &mut self,
        kind: PermissionKind,
        side: ListSide,
        listed: ListedPattern,
        origin: RuleOrigin,
    ) {
        let rules = &mut self.0[kind as usize];
        match side {
            ListSide::Allow => rules.allow.add(listed, origin),
            ListSide::Deny => rules.deny.add(listed, origin),
        }
    }
}

/// Values of `{repo}` and `{tmp}`.
#[derive(Debug, PartialEq)]
pub struct PathVariables {
    repo: String,
    tmp: String,
}

impl PathVariables {
    /// Normalises both paths, and returns `None` if one of the paths is not absolute.
    pub fn new(repo: &str, tmp: &str) -> Option<Self> {
        (repo.starts_with('/') && tmp.starts_with('/')).then(|| Self {
            repo: normalised(repo),
            tmp: normalised(tmp),
        })
    }

    /// Returns the directory `{repo}`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Returns the directory `{tmp}`.
    pub fn tmp(&self) -> &str {
        &self.tmp
    }
}

/// Normalises `path` as text. Removes empty segments, `.`, and `..` with the segment before it. A `..` directly after
/// the root is removed. A `..` at the beginning of a relative path remains. An empty result becomes `.`.
pub fn normalised(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if absolute => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// A pattern over absolute paths.
#[derive(Debug)]
pub struct PathPattern {
    base: PatternBase,
    /// Pattern below the base, or `None` if only the base itself matches.
    rest: Option<Pattern>,
}

/// Beginning of a pattern.
#[derive(Debug, Clone, Copy)]
pub enum PatternBase {
    /// The root directory, also if the pattern begins with `**`.
    Root,
    /// The directory `{repo}`.
    Repo,
    /// The directory `{tmp}`.
    Tmp,
}

impl PathPattern {
    /// Parses a pattern that begins with `/`, `{repo}`, `{tmp}` or `**`.
    ///
    /// # Errors
    /// Returns an error with the problem in the pattern and its correction.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let placed = [("{repo}", PatternBase::Repo), ("{tmp}", PatternBase::Tmp)];
        for (name, base) in placed {
            let Some(rest) = text.strip_prefix(name) else {
                continue;
            };
            return match rest.strip_prefix('/') {
                None if rest.is_empty() => Ok(Self { base, rest: None }),
                None => Err(PatternError::new(
                    text,
                    format!("the slash after {name} is missing: write {name}/{rest}"),
                )),
                Some("") => Err(PatternError::new(
                    text,
                    format!("the pattern ends with a slash: write {name} or {name}/**"),
                )),
                Some(rest) => Self::below(text, base, rest),
            };
        }
        if placed.iter().any(|(name, _)| text.contains(name)) {
            return Err(PatternError::new(
                text,
                "{repo} and {tmp} may appear only at the beginning: write the whole path",
            ));
        }
        if text == "/" {
            return Ok(Self {
                base: PatternBase::Root,
                rest: None,
            });
        }
        if let Some(rest) = text.strip_prefix('/') {
            return Self::below(text, PatternBase::Root, rest);
        }
        if text == "**" || text.starts_with("**/") {
            return Self::below(text, PatternBase::Root, text);
        }
        if text.starts_with('~') {
            return Err(PatternError::new(
                text,
                "`~` is not expanded in a pattern: write the whole path",
            ));
        }
        if text.starts_with('$') {
            return Err(PatternError::new(text, VARIABLE));
        }
        let rest = text.strip_prefix("./").unwrap_or(text);
        Err(PatternError::new(
            text,
            format!(
                "the pattern is relative and never matches a whole path: write {{repo}}/{rest}, **/{rest}, or a path \
                 that begins with /"
            ),
        ))
    }

    /// Parses a pattern of a deny list. A relative pattern is also accepted, and matches in every directory.
    ///
    /// # Errors
    /// Returns an error with the problem in the pattern and its correction.
    pub fn parse_anywhere(text: &str) -> Result<Self, PatternError> {
        let begins = ["/", "{repo}", "{tmp}", "**/", "~"]
            .iter()
            .any(|begin| text.starts_with(begin))
            || text == "**";
        if begins {
            return Self::parse(text);
        }
        Self::below(
            text,
            PatternBase::Root,
            &format!("**/{}", text.strip_prefix("./").unwrap_or(text)),
        )
    }

    fn below(text: &str, base: PatternBase, rest: &str) -> Result<Self, PatternError> {
        // Wildcards match leading dots, because a rule for a directory also applies to its hidden files.
        let pattern = Pattern::parse_with(rest, LeadingDots::Any, CaseSensitivity::Counts)
            .map_err(|error| PatternError {
                pattern: PatternError::new(text, "").pattern,
                ..error
            })?;
        Ok(Self {
            base,
            rest: Some(pattern),
        })
    }

    /// Returns the number of alternatives that the braces in the pattern create.
    pub fn ways(&self) -> usize {
        self.rest.as_ref().map_or(1, Pattern::ways)
    }

    /// Returns true if the pattern matches `path`, which must be absolute and normalised. Without `places`, patterns
    /// with `{repo}` or `{tmp}` match nothing.
    pub fn matches(&self, path: &str, places: Option<&PathVariables>) -> bool {
        let below = match self.base {
            PatternBase::Root => below(path, "/"),
            PatternBase::Repo => places.and_then(|places| below(path, &places.repo)),
            PatternBase::Tmp => places.and_then(|places| below(path, &places.tmp)),
        };
        match (below, &self.rest) {
            (None, _) => false,
            (Some(""), None) => true,
            (Some(_), None) => false,
            // `dir/**` also matches `dir`, as in picomatch.
            (Some(""), Some(rest)) => rest.as_str().split('/').all(|segment| segment == "**"),
            (Some(below), Some(rest)) => rest.matches(below),
        }
    }
}

/// Message about a pattern with a variable of the shell.
pub const VARIABLE: &str = "variables are not expanded in a pattern: write the whole path, with [$] for a `$` in the path itself";

/// Returns the part of `path` below `directory`, which is empty for `directory` itself.
fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory.strip_suffix('/').unwrap_or(directory))?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

/// Path of a runbook, for comparison with the patterns of overrides and grants. A pattern matches the path with or
/// without the file ending.
pub struct RunbookPath {
    /// The path in several forms, with and without the file ending.
    written: Vec<String>,
    /// True if the path is outside the directory of the runbooks.
    outside: bool,
}

impl RunbookPath {
    /// Takes the path of a file, relative to the directory of the runbooks. `./`, `..` and double slashes are resolved
    /// as text, so that every form of the path matches the same overrides. Only patterns that begin with `**` match a
    /// path outside the directory.
    pub fn of_file(path: &str) -> Self {
        let path = normalised(path);
        let outside = path.starts_with('/') || path.starts_with("../") || path == "..";
        let inner = path
            .trim_start_matches('/')
            .trim_start_matches("../")
            .to_owned();
        let stems = ENDINGS
            .iter()
            .filter_map(|ending| inner.strip_suffix(ending))
            .filter(|stem| !stem.is_empty());
        let written = stems.map(str::to_owned).chain([inner.clone()]).collect();
        Self { written, outside }
    }

    /// Takes the path of a step reference, which has no file ending. A pattern with a file ending may still match.
    pub fn of_ref(path: &str) -> Self {
        let endings = ENDINGS.iter().map(|ending| format!("{path}{ending}"));
        Self {
            written: [path.to_owned()].into_iter().chain(endings).collect(),
            outside: false,
        }
    }

    /// Takes the path of a file, or the path of a step reference, which has no ending of a runbook format.
    pub fn of_name(path: &str) -> Self {
        let mut named = Self::of_file(path);
        if !ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            let inner = named.written.concat();
            named
                .written
                .extend(ENDINGS.iter().map(|ending| format!("{inner}{ending}")));
        }
        named
    }

    /// Returns the path without the ending of a runbook, or the whole path if it is outside the directory.
    pub fn shown(&self) -> &str {
        let at = if self.outside {
            self.written.len().saturating_sub(1)
        } else {
            0
        };
        self.written.get(at).map_or("", String::as_str)
    }

    /// Returns true if `pattern` does not match this path, but would match it without the endings of both.
    pub fn differs_in_ending(&self, pattern: &Pattern) -> bool {
        let Some(shortest) = self.written.first() else {
            return false;
        };
        let any_ending = Self {
            outside: self.outside,
            ..Self::of_ref(shortest)
        };
        !self.is_met_by(pattern) && any_ending.is_met_by(pattern)
    }

    /// Returns true if `pattern` matches the path of this runbook.
    pub fn is_met_by(&self, pattern: &Pattern) -> bool {
        let begins = pattern.as_str() == "**" || pattern.as_str().starts_with("**/");
        (!self.outside || begins) && self.written.iter().any(|path| pattern.matches(path))
    }
}

/// File endings of the runbook formats.
const ENDINGS: [&str; 3] = [".runbook.md", ".mdx", ".md"];

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithOrigin<T> {
    /// The value.
    pub value: T,
    /// Rule that set the value.
    pub origin: RuleOrigin,
}

/// Origin of a value in a ruling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOrigin {
    /// A built-in value or list that the policy file has not replaced.
    BuiltIn,
    /// The `default` rule.
    Default,
    /// An override, with its index from 0 and its pattern.
    Override(usize, Arc<str>),
    /// A grant, with its index from 0.
    Grant(usize),
    /// A command-line option.
    CommandLine,
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Default => f.write_str("default"),
            Self::Override(index, pattern) => write!(f, "overrides[{index}] ({pattern})"),
            Self::Grant(index) => write!(f, "grants[{index}]"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: PermissionKind, side: ListSide, patterns: &[&str]) -> PatternList {
        let mut list = PatternList::new(side);
        for text in patterns {
            list.add(
                ListedPattern::parse(kind, side, text).expect(text),
                RuleOrigin::Default,
            );
        }
        list
    }

    #[test]
    fn a_denied_command_is_found_in_any_directory_and_in_any_letter_case() {
        let deny = list(
            PermissionKind::Run,
            ListSide::Deny,
            &["rm", "mkfs*", "scripts/*.sh", "/opt/x/tool", "["],
        );
        for name in [
            "rm",
            "RM",
            "/bin/rm",
            "./rm",
            "a/../rm",
            "mkfs.ext4",
            "/sbin/MKFS",
            "[",
            "/usr/bin/[",
        ] {
            assert!(deny.find_denied(name, None).is_some(), "{name}");
        }
        for name in [
            "scripts/a.sh",
            "./scripts/a.sh",
            "../scripts/a.sh",
            "/repo/scripts/a.sh",
            "/opt/../opt/x/tool",
        ] {
            assert!(deny.find_denied(name, None).is_some(), "{name}");
        }
        let by_path = list(PermissionKind::Run, ListSide::Deny, &["/usr/bin/dd"]);
        assert!(
            by_path.find_denied("dd", None).is_some(),
            "a bare name is looked for there"
        );
        for name in [
            "/bin/dd",
            "/bin/../bin/dd",
            "/proc/self/root/usr/bin/dd",
            "./dd",
            "/usr/sbin/dd",
        ] {
            assert!(by_path.find_denied(name, None).is_some(), "{name}");
        }
        for name in ["/usr/bin/ddx", "./d", "/dd/x"] {
            assert!(by_path.find_denied(name, None).is_none(), "{name}");
        }
        for name in [
            "rmx",
            "/rm/x",
            "a.sh",
            "/scripts/x/a.sh",
            "opt/y/tool",
            "tool",
        ] {
            assert!(deny.find_denied(name, None).is_none(), "{name}");
        }
    }

    #[test]
    fn an_allowed_command_name_matches_only_in_the_same_letter_case() {
        let allow = list(PermissionKind::Env, ListSide::Allow, &["PATH", "npm_*"]);
        assert!(allow.find_name("PATH").is_some() && allow.find_name("npm_x").is_some());
        assert!(allow.find_name("path").is_none() && allow.find_name("NPM_X").is_none());
        let deny = list(PermissionKind::Env, ListSide::Deny, &["*_TOKEN"]);
        assert!(deny.find_name("github_token").is_some());
    }

    #[test]
    fn a_pattern_of_the_wrong_type_is_refused() {
        for (kind, side, text) in [
            (PermissionKind::Env, ListSide::Allow, "A/B"),
            (PermissionKind::Run, ListSide::Allow, "./gradlew"),
            (PermissionKind::Run, ListSide::Allow, "{repo}"),
            (PermissionKind::Read, ListSide::Deny, "*.key"),
            (PermissionKind::Run, ListSide::Deny, "[a"),
            (PermissionKind::Run, ListSide::Deny, "{repo}/scripts/*"),
        ] {
            assert!(ListedPattern::parse(kind, side, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_with_a_thousand_stars_does_not_hang() {
        let text = "*a".repeat(255);
        let deny = list(PermissionKind::Run, ListSide::Deny, &[&text]);
        assert!(
            deny.find_name(&format!("{}b\n", "a".repeat(4096)))
                .is_none()
        );
        assert!(
            ListedPattern::parse(PermissionKind::Run, ListSide::Deny, &"*".repeat(1000)).is_err()
        );
        let read = list(
            PermissionKind::Read,
            ListSide::Deny,
            &["**/*secret*", "/a/*"],
        );
        assert!(
            read.find_path("/x\ny/a\nsecret", None).is_some()
                && read.find_path("/a/b\nc", None).is_some()
        );
    }
}

#[cfg(test)]
mod paths_tests {
    use super::*;

    #[test]
    fn paths_are_normalised_as_text() {
        for (path, expected) in [
            ("/", "/"),
            ("", "."),
            ("./a//b/.", "a/b"),
            ("/a/../../b", "/b"),
            ("a/../../b", "../b"),
            ("../../a", "../../a"),
            ("/usr/bin/../../tmp/git", "/tmp/git"),
            ("/.../..a", "/.../..a"),
        ] {
            assert_eq!(normalised(path), expected, "{path}");
            assert_eq!(normalised(expected), expected);
        }
    }

    #[test]
    fn a_repository_name_with_wildcards_is_matched_literally() {
        let places = PathVariables::new("/srv/[app]", "/tmp/*").expect("places");
        let matches = |pattern: &str, path: &str| {
            PathPattern::parse(pattern)
                .expect(pattern)
                .matches(path, Some(&places))
        };
        assert!(matches("{repo}/**", "/srv/[app]/src/.hidden"));
        assert!(matches("{repo}/**", "/srv/[app]"));
        assert!(matches("{repo}", "/srv/[app]"));
        assert!(!matches("{repo}", "/srv/[app]/x"));
        for other in ["/srv/a/src", "/srv/[app]x/y", "/srv/[app", "/srv"] {
            assert!(!matches("{repo}/**", other), "{other}");
        }
        assert!(matches("{tmp}/x-*", "/tmp/*/x-1"));
        assert!(!matches("{tmp}/x-*", "/tmp/y/x-1"));
        let root = PathVariables::new("/", "/tmp").expect("places");
        assert!(
            PathPattern::parse("{repo}/etc/*")
                .expect("a pattern")
                .matches("/etc/x", Some(&root))
        );
        assert!(
            !PathPattern::parse("{repo}/**")
                .expect("a pattern")
                .matches("/repo/x", None)
        );
        assert_eq!(PathVariables::new("repo", "/tmp"), None);
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for (text, word) in [
            ("src/**", "{repo}/src/**"),
            ("./x", "{repo}/x"),
            ("*.pem", "**/*.pem"),
            ("~/.ssh/**", "write the whole path"),
            ("{repo}x", "is missing"),
            ("{repo}/", "ends with a slash"),
            ("/a/{repo}/b", "only at the beginning"),
            ("**x/y", "relative"),
            ("/a//b", "empty segment"),
            ("/a/../b", "segment `.` or `..`"),
        ] {
            let error = PathPattern::parse(text).expect_err(text);
            assert!(error.message.contains(word), "{text}: {error}");
            assert_eq!(error.pattern, text);
        }
        assert!(
            PathPattern::parse_anywhere("scripts/*.sh")
                .expect("read")
                .matches("/repo/scripts/x.sh", None)
        );
        assert!(PathPattern::parse_anywhere("../x").is_err());
    }

    #[test]
    fn no_spelling_of_a_runbook_path_escapes_an_override() {
        let meets = |pattern: &str, path: &RunbookPath| {
            path.is_met_by(
                &Pattern::parse_with(pattern, LeadingDots::Any, CaseSensitivity::Counts)
                    .expect(pattern),
            )
        };
        for path in [
            "community/a/b.runbook.md",
            "./community/a/b.runbook.md",
            "x/../community//a/./b.runbook.md",
            "community/.hidden/b.runbook.md",
            "community/b.runbook.md",
        ] {
            assert!(
                meets("community/**/*.runbook.md", &RunbookPath::of_file(path)),
                "{path}"
            );
            assert!(meets("community/**", &RunbookPath::of_file(path)), "{path}");
            assert!(!meets("deploy/**", &RunbookPath::of_file(path)), "{path}");
        }
        let outside = RunbookPath::of_file("../../deploy/b.runbook.md");
        assert!(meets("**", &outside) && meets("**/*.runbook.md", &outside));
        assert!(
            !meets("deploy/**", &outside),
            "a rule for a directory is not for another of that name"
        );
        let reference = RunbookPath::of_ref("deploy/app");
        for pattern in [
            "deploy/app",
            "deploy/*",
            "deploy/*.runbook.md",
            "deploy/app.md",
            "**/app.mdx",
        ] {
            assert!(meets(pattern, &reference), "{pattern}");
        }
        assert!(!meets("deploy/*.txt", &reference));
        let file = RunbookPath::of_file("deploy/app.runbook.md");
        assert!(
            meets("deploy/app", &file)
                && meets("deploy/app.runbook.md", &file)
                && !meets("deploy/*.mdx", &file)
        );
    }
}
