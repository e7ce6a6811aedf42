//! Normalised paths, and patterns that are compared with them.
//!
//! Paths are absolute and normalised as text, without access to the file system. The caller resolves symbolic links
//! first. `{repo}` and `{tmp}` may appear only at the beginning of a pattern. Their values are compared literally, so
//! wildcards in the name of a repository have no effect.

use crate::{CaseSensitivity, LeadingDots, Pattern, PatternError};

/// Values of `{repo}` and `{tmp}`.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone)]
pub struct PathPattern {
    base: PatternBase,
    /// Pattern below the base, or `None` if only the base itself matches.
    rest: Option<Pattern>,
}

/// Beginning of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternBase {
    /// Every directory, because the pattern begins with `**`.
    Anywhere,
    /// The root directory.
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
            return Self::below(text, PatternBase::Anywhere, text);
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
            PatternBase::Anywhere,
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
            PatternBase::Anywhere | PatternBase::Root => below(path, "/"),
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
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
