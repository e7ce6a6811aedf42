//! Paths as policy compares them.
//!
//! Whole and normalised by their letters: nothing here looks at a disk. Links are resolved by whoever asks, before.
//! `{repo}` and `{tmp}` stand at the beginning of a pattern only and are compared as they are, so that a repository
//! whose name looks like a pattern is none.

use crate::policy::patterns::{CaseSensitivity, LeadingDots, Pattern, PatternError};

/// What `{repo}` and `{tmp}` stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathVariables {
    repo: String,
    tmp: String,
}

impl PathVariables {
    /// The two places, normalised; nothing if one of them is not absolute.
    #[must_use]
    pub fn new(repo: &str, tmp: &str) -> Option<Self> {
        (repo.starts_with('/') && tmp.starts_with('/')).then(|| Self { repo: normalised(repo), tmp: normalised(tmp) })
    }

    /// What `{repo}` stands for.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// What `{tmp}` stands for.
    #[must_use]
    pub fn tmp(&self) -> &str {
        &self.tmp
    }
}

/// `path` without empty segments, `.` and, as far as its letters tell, `..`: above the root there is only the root,
/// and what climbs out of a relative path keeps its `..` at the beginning. `.` for nothing.
#[must_use]
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

/// `path` as seen from the directory `cwd`, normalised.
#[must_use]
pub fn absolute(cwd: &str, path: &str) -> String {
    if path.starts_with('/') { normalised(path) } else { normalised(&format!("{cwd}/{path}")) }
}

/// A pattern over absolute paths.
#[derive(Debug, Clone)]
pub struct PathPattern {
    base: PatternBase,
    /// What lies below the base; nothing is the base itself.
    rest: Option<Pattern>,
}

/// Where a pattern begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternBase {
    /// Wherever: it begins with `**`.
    Anywhere,
    /// At the root.
    Root,
    /// At `{repo}`.
    Repo,
    /// At `{tmp}`.
    Tmp,
}

impl PathPattern {
    /// Reads a pattern that is absolute, begins with `{repo}` or `{tmp}`, or with `**`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let placed = [("{repo}", PatternBase::Repo), ("{tmp}", PatternBase::Tmp)];
        for (name, base) in placed {
            let Some(rest) = text.strip_prefix(name) else { continue };
            return match rest.strip_prefix('/') {
                None if rest.is_empty() => Ok(Self { base, rest: None }),
                None => Err(PatternError::new(text, format!("after {name} comes a slash: write {name}/{rest}"))),
                Some("") => Err(PatternError::new(text, format!("it ends in a slash: write {name} or {name}/**"))),
                Some(rest) => Self::below(text, base, rest),
            };
        }
        if placed.iter().any(|(name, _)| text.contains(name)) {
            return Err(PatternError::new(text, "{repo} and {tmp} stand at the beginning only: write the path out"));
        }
        if text == "/" {
            return Ok(Self { base: PatternBase::Root, rest: None });
        }
        if let Some(rest) = text.strip_prefix('/') {
            return Self::below(text, PatternBase::Root, rest);
        }
        if text == "**" || text.starts_with("**/") {
            return Self::below(text, PatternBase::Anywhere, text);
        }
        if text.starts_with('~') {
            return Err(PatternError::new(text, "`~` is nobody's directory here: write the path out"));
        }
        let rest = text.strip_prefix("./").unwrap_or(text);
        Err(PatternError::new(
            text,
            format!(
                "it is relative and never matches a whole path: write {{repo}}/{rest}, **/{rest}, or a path from /"
            ),
        ))
    }

    /// The same, or a relative pattern, which is looked for anywhere: for what is denied.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse_anywhere(text: &str) -> Result<Self, PatternError> {
        let begins = ["/", "{repo}", "{tmp}", "**/", "~"].iter().any(|begin| text.starts_with(begin)) || text == "**";
        if begins {
            return Self::parse(text);
        }
        Self::below(text, PatternBase::Anywhere, &format!("**/{}", text.strip_prefix("./").unwrap_or(text)))
    }

    fn below(text: &str, base: PatternBase, rest: &str) -> Result<Self, PatternError> {
        // A rule for a directory holds for what is hidden in it.
        let pattern = Pattern::parse_with(rest, LeadingDots::Any, CaseSensitivity::Counts)
            .map_err(|error| PatternError { pattern: PatternError::new(text, "").pattern, ..error })?;
        Ok(Self { base, rest: Some(pattern) })
    }

    /// Where it begins.
    #[must_use]
    pub const fn base(&self) -> PatternBase {
        self.base
    }

    /// The pattern below the base, relative; nothing is the base itself.
    #[must_use]
    pub fn rest(&self) -> Option<&str> {
        self.rest.as_ref().map(Pattern::as_str)
    }

    /// How many patterns without braces it stands for.
    #[must_use]
    pub fn ways(&self) -> usize {
        self.rest.as_ref().map_or(1, Pattern::ways)
    }

    /// Whether it matches `path`, which is absolute and normalised. Without places `{repo}` and `{tmp}` match nothing.
    #[must_use]
    pub fn matches(&self, path: &str, places: Option<&PathVariables>) -> bool {
        let below = match self.base {
            PatternBase::Anywhere | PatternBase::Root => below(path, "/"),
            PatternBase::Repo => places.and_then(|places| below(path, &places.repo)),
            PatternBase::Tmp => places.and_then(|places| below(path, &places.tmp)),
        };
        match (below, &self.rest) {
            (None, _) => false,
            (Some(""), None) => true,
            (Some(_), None) => false,
            // As picomatch: `dir/**` takes in `dir`.
            (Some(""), Some(rest)) => rest.as_str().split('/').all(|segment| segment == "**"),
            (Some(below), Some(rest)) => rest.matches(below),
        }
    }
}

/// What of `path` lies below `directory`; empty for itself.
fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory.strip_suffix('/').unwrap_or(directory))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// The path of a runbook as overrides and grants are matched with it: in a repository or a runbook directory, with or
/// without the ending of its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunbookPath {
    /// The ways that it may be written.
    written: Vec<String>,
    /// It lies outside of the directory that patterns are relative to.
    outside: bool,
}

impl RunbookPath {
    /// The path of a file, relative to the directory of the runbooks. `./`, `..` and doubled slashes are resolved by
    /// their letters, so that they escape no override. A path that lies outside is met only by patterns that begin with
    /// `**`.
    #[must_use]
    pub fn of_file(path: &str) -> Self {
        let path = normalised(path);
        let outside = path.starts_with('/') || path.starts_with("../") || path == "..";
        let inner = path.trim_start_matches('/').trim_start_matches("../").to_owned();
        let stems = ENDINGS.iter().filter_map(|ending| inner.strip_suffix(ending)).filter(|stem| !stem.is_empty());
        let written = stems.map(str::to_owned).chain([inner.clone()]).collect();
        Self { written, outside }
    }

    /// The path of a ref, which has no ending: a pattern may write one.
    #[must_use]
    pub fn of_ref(path: &str) -> Self {
        let endings = ENDINGS.iter().map(|ending| format!("{path}{ending}"));
        Self { written: [path.to_owned()].into_iter().chain(endings).collect(), outside: false }
    }

    /// Whether a pattern is for it.
    #[must_use]
    pub fn is_met_by(&self, pattern: &Pattern) -> bool {
        let begins = pattern.as_str() == "**" || pattern.as_str().starts_with("**/");
        (!self.outside || begins) && self.written.iter().any(|path| pattern.matches(path))
    }
}

/// Directories of programs that only the system's owner writes: where a bare name is looked for.
pub const TRUSTED: [&str; 6] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
/// Endings of the formats.
const ENDINGS: [&str; 3] = [".runbook.md", ".mdx", ".md"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_by_their_letters() {
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
        assert_eq!(absolute("/repo", "src/../../etc/passwd"), "/etc/passwd");
        assert_eq!(absolute("/repo", "/x/./y"), "/x/y");
    }

    #[test]
    fn a_repository_named_like_a_pattern_is_literal() {
        let places = PathVariables::new("/srv/[app]", "/tmp/*").expect("places");
        let matches =
            |pattern: &str, path: &str| PathPattern::parse(pattern).expect(pattern).matches(path, Some(&places));
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
        assert!(PathPattern::parse("{repo}/etc/*").expect("a pattern").matches("/etc/x", Some(&root)));
        assert!(!PathPattern::parse("{repo}/**").expect("a pattern").matches("/repo/x", None));
        assert_eq!(PathVariables::new("repo", "/tmp"), None);
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for (text, word) in [
            ("src/**", "{repo}/src/**"),
            ("./x", "{repo}/x"),
            ("*.pem", "**/*.pem"),
            ("~/.ssh/**", "write the path out"),
            ("{repo}x", "comes a slash"),
            ("{repo}/", "ends in a slash"),
            ("/a/{repo}/b", "beginning only"),
            ("**x/y", "relative"),
            ("/a//b", "empty segment"),
            ("/a/../b", "segment . or .."),
        ] {
            let error = PathPattern::parse(text).expect_err(text);
            assert!(error.message.contains(word), "{text}: {error}");
            assert_eq!(error.pattern, text);
        }
        assert!(PathPattern::parse_anywhere("scripts/*.sh").expect("read").matches("/repo/scripts/x.sh", None));
        assert!(PathPattern::parse_anywhere("../x").is_err());
    }

    #[test]
    fn no_spelling_of_a_runbooks_path_escapes_an_override() {
        let meets = |pattern: &str, path: &RunbookPath| {
            path.is_met_by(&Pattern::parse_with(pattern, LeadingDots::Any, CaseSensitivity::Counts).expect(pattern))
        };
        for path in [
            "community/a/b.runbook.md",
            "./community/a/b.runbook.md",
            "x/../community//a/./b.runbook.md",
            "community/.hidden/b.runbook.md",
            "community/b.runbook.md",
        ] {
            assert!(meets("community/**/*.runbook.md", &RunbookPath::of_file(path)), "{path}");
            assert!(meets("community/**", &RunbookPath::of_file(path)), "{path}");
            assert!(!meets("deploy/**", &RunbookPath::of_file(path)), "{path}");
        }
        let outside = RunbookPath::of_file("../../deploy/b.runbook.md");
        assert!(meets("**", &outside) && meets("**/*.runbook.md", &outside));
        assert!(!meets("deploy/**", &outside), "a rule for a directory is not for another of that name");
        let reference = RunbookPath::of_ref("deploy/app");
        for pattern in ["deploy/app", "deploy/*", "deploy/*.runbook.md", "deploy/app.md", "**/app.mdx"] {
            assert!(meets(pattern, &reference), "{pattern}");
        }
        assert!(!meets("deploy/*.txt", &reference));
        let file = RunbookPath::of_file("deploy/app.runbook.md");
        assert!(meets("deploy/app", &file) && meets("deploy/app.runbook.md", &file) && !meets("deploy/*.mdx", &file));
    }
}
