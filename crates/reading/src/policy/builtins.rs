//! The built-in allow lists and deny lists. The built-in lists apply unless the policy contains `extends: none`.
//!
//! The lists come from the security document of the project Rundown, and each closure names the document that it comes
//! from. A seal names the canonical JSON of the lists and closures by its digest. A boundary decides with the lists in
//! its own program. A verifier decides with the lists that the seal names.
//!
//! A closure contains the programs that a program starts to do its job. For example, a list of programs with `git` must
//! also contain the files that git executes. A closure does not contain programs that a script, an option or a setting
//! chooses (hooks, `ProxyCommand`, pagers, editors). The closures contain the paths of all distributions, and the
//! search on a host leaves out the files that the host does not have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use serde_json::Value;

use crate::{
    RuleOrigin, TextPlace, YamlFlaw,
    policy::{lists::AllPermissionLists, policy_reader::read_lists},
};
use documents::Program;

/// Built-in lists in canonical JSON.
pub const CANONICAL: &[u8] = include_bytes!("builtins.json");

/// Compiled built-in lists. The default value contains no patterns.
#[derive(Clone, PartialEq, Default)]
pub struct Builtins {
    /// The lists of each kind.
    pub lists: Arc<AllPermissionLists>,
    /// The programs that each program starts.
    pub closures: Arc<Closures>,
}

impl Builtins {
    /// Returns the built-in lists of this program.
    pub fn current() -> &'static Self {
        &CURRENT
    }

    /// Parses the built-in lists of a seal or of a bundle. The lists have the format
    /// `{"version":1,"run":{"allow":[…],"deny":[…]},"read":…,"write":…,"env":…,"closures":…}`, in which only `version`
    /// is required.
    ///
    /// # Errors
    /// Returns all problems in the lists, for example another version.
    pub fn from_sealed(value: &Value) -> Result<Self, Vec<YamlFlaw>> {
        let mut lists = AllPermissionLists::default();
        for written in read_lists(value)? {
            lists.add(
                written.kind,
                written.side,
                written.listed,
                RuleOrigin::BuiltIn,
            );
        }
        let closures = match value.get("closures") {
            Some(closures) => Closures::from_value(closures).map_err(|flaws| {
                flaws
                    .into_iter()
                    .map(|message| YamlFlaw::new(TextPlace::START, message))
                    .collect::<Vec<_>>()
            })?,
            None => Closures::default(),
        };
        Ok(Self {
            lists: Arc::new(lists),
            closures: Arc::new(closures),
        })
    }
}

#[expect(
    clippy::expect_used,
    reason = "the lists are compiled into the program, and every test of this module reads them"
)]
static CURRENT: LazyLock<Builtins> = LazyLock::new(|| {
    let value = serde_json::from_slice(CANONICAL).expect("the built-in lists are JSON");
    Builtins::from_sealed(&value).expect("the built-in lists are lists")
});

/// Maximum number of programs with a closure, and maximum number of programs in one closure.
const MAX_PROGRAMS: usize = 512;
/// Maximum length of a source, in bytes.
const MAX_SOURCE: usize = 512;

/// Closures by the name of the program. The default value contains no closures.
#[derive(Debug, PartialEq, Default)]
pub struct Closures(BTreeMap<Program, Closure>);

/// The programs that one program starts.
#[derive(Debug, PartialEq)]
pub struct Closure {
    /// The document that names the started programs: a manual page, a page of the project or a source file.
    pub source: String,
    /// Bare names, or absolute paths in which `*` matches any characters of one segment. Empty if the program starts
    /// only what a script, an option or a setting chooses.
    pub starts: BTreeSet<Program>,
}

impl Closures {
    /// Parses closures: `{"scp":{"source":"scp(1)","starts":["ssh"]}}`. The names in `starts` are sorted.
    ///
    /// # Errors
    /// Returns all problems, each with the name of its program.
    pub fn from_value(value: &Value) -> Result<Self, Vec<String>> {
        let Value::Object(members) = value else {
            return Err(vec![
                "closures: expected an object from the names of programs to closures".to_owned(),
            ]);
        };
        if members.len() > MAX_PROGRAMS {
            return Err(vec![format!(
                "closures: {} programs, and at most {MAX_PROGRAMS} are allowed",
                members.len()
            )]);
        }
        let mut problems = Vec::new();
        let mut closures = BTreeMap::new();
        for (name, value) in members {
            let program = bare_name(name);
            if program.is_none() {
                problems.push(format!(
                    "closures: {name:?} is not the bare name of a program"
                ));
            }
            let closure = closure(name, value).map_err(|more| problems.extend(more));
            closures.extend(program.zip(closure.ok()));
        }
        if problems.is_empty() {
            Ok(Self(closures))
        } else {
            Err(problems)
        }
    }

    /// Returns the closure of a program, given by its bare name or by an absolute path that ends with the name.
    pub fn of(&self, program: &Program) -> Option<&Closure> {
        let name = program.as_str().rsplit('/').next()?;
        self.0.get(&name.parse().ok()?)
    }

    /// Returns the names of the programs that have a closure.
    pub fn names(&self) -> impl Iterator<Item = &Program> {
        self.0.keys()
    }

    /// Returns all programs that the given programs start, all programs that those start, and so on, each with a
    /// program that starts it. The result contains none of the given programs, and no program for which `may` returns
    /// false.
    pub fn started_by(
        &self,
        names: &BTreeSet<Program>,
        may: impl Fn(&Program) -> bool,
    ) -> BTreeMap<Program, Program> {
        let mut started = BTreeMap::new();
        let mut waiting: Vec<Program> = names.iter().cloned().collect();
        while let Some(starter) = waiting.pop() {
            for program in self
                .of(&starter)
                .into_iter()
                .flat_map(|closure| &closure.starts)
            {
                if !names.contains(program) && !started.contains_key(program) && may(program) {
                    started.insert(program.clone(), starter.clone());
                    waiting.push(program.clone());
                }
            }
        }
        started
    }
}

/// Parses the closure of one program.
fn closure(name: &str, value: &Value) -> Result<Closure, Vec<String>> {
    let of = |problem: String| format!("closures/{name}: {problem}");
    let (Some(members), Some(source), Some(words)) = (
        value.as_object(),
        value.get("source").and_then(Value::as_str),
        value.get("starts").and_then(Value::as_array),
    ) else {
        return Err(vec![of(
            "expected an object with the text `source` and the array `starts`".to_owned(),
        )]);
    };
    let mut problems = Vec::new();
    if let Some(key) = members
        .keys()
        .find(|key| !["source", "starts"].contains(&key.as_str()))
    {
        problems.push(of(format!("unknown key {key:?}")));
    }
    if source.trim().is_empty() || source.len() > MAX_SOURCE || source.chars().any(char::is_control)
    {
        problems.push(of(format!(
            "`source` is not a text of 1 to {MAX_SOURCE} bytes without control characters"
        )));
    }
    if words.len() > MAX_PROGRAMS {
        problems.push(of(format!(
            "{} programs in `starts`, and at most {MAX_PROGRAMS} are allowed",
            words.len()
        )));
        return Err(problems);
    }
    let mut starts = BTreeSet::new();
    for word in words {
        let Some(program) = word
            .as_str()
            .and_then(|word| bare_name(word).or_else(|| path_pattern(word)))
        else {
            problems.push(of(format!(
                "{word} in `starts` is neither the bare name of a program nor an absolute path with optional `*`"
            )));
            continue;
        };
        if program.as_str() == name {
            problems.push(of(
                "the program itself is in `starts`: leave it out".to_owned()
            ));
        }
        if starts.last().is_some_and(|last| *last >= program) {
            problems.push(of(format!(
                "`starts` is not sorted without duplicates at {:?}",
                program.as_str()
            )));
        }
        starts.insert(program);
    }
    if problems.is_empty() {
        Ok(Closure {
            source: source.to_owned(),
            starts,
        })
    } else {
        Err(problems)
    }
}

/// Parses a bare name such as `ld.bfd` or `g++`.
fn bare_name(word: &str) -> Option<Program> {
    let plain = word
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"._+-".contains(&c))
        && !word.starts_with('-');
    if plain { word.parse().ok() } else { None }
}

/// Parses an absolute path such as `/usr/lib/gcc/*/*/cc1`.
fn path_pattern(word: &str) -> Option<Program> {
    let plain = |segment: &str| {
        segment
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._+-*".contains(&c))
            && !matches!(segment, "" | "." | "..")
            && !segment.contains("**")
    };
    if word.strip_prefix('/')?.split('/').all(plain) {
        word.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::PermissionKind;
    use documents::canonical;

    #[test]
    fn the_built_in_lists_are_canonical_and_sorted() {
        let value: Value = serde_json::from_slice(CANONICAL).expect("JSON");
        assert_eq!(canonical::to_canonical(&value), CANONICAL);
        for kind in PermissionKind::ALL {
            let rules = Builtins::current().lists.of(kind);
            for list in [&rules.allow, &rules.deny] {
                let texts: Vec<&str> = list
                    .entries()
                    .iter()
                    .map(|entry| &**entry.listed.text())
                    .collect();
                let mut sorted = texts.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert!(!texts.is_empty() && texts == sorted, "{kind:?}: {texts:?}");
            }
        }
    }

    #[test]
    fn each_everyday_program_that_starts_others_has_a_closure() {
        let closures = &Builtins::current().closures;
        for name in [
            "git",
            "gcc",
            "g++",
            "cc",
            "c++",
            "clang",
            "make",
            "tar",
            "python",
            "python3",
            "pip",
            "pip3",
            "node",
            "npm",
            "npx",
            "perl",
            "ssh",
            "scp",
            "curl",
            "jq",
            "go",
            "cargo",
            "rustc",
            "java",
            "javac",
            "psql",
            "pg_dump",
            "pg_restore",
        ] {
            let program = name.parse().expect("a program");
            assert!(closures.of(&program).is_some(), "{name}");
        }
    }

    #[test]
    fn no_closure_contains_a_pager_or_an_editor() {
        let closures = &Builtins::current().closures;
        let all = closures.started_by(&closures.names().cloned().collect(), |_| true);
        for name in [
            "less",
            "more",
            "most",
            "pager",
            "vi",
            "vim",
            "nano",
            "ed",
            "emacs",
            "editor",
            "sensible-editor",
        ] {
            assert!(all.keys().all(|program| program.as_str() != name), "{name}");
        }
    }

    #[test]
    fn sealed_lists_are_read_strictly() {
        let read = |text: &str| Builtins::from_sealed(&serde_json::from_str(text).expect("JSON"));
        let empty = AllPermissionLists::default();
        assert_eq!(*read(r#"{"version":1}"#).expect("read").lists, empty);
        let second = read(r#"{"closures":{"a":{"source":"a(1)","starts":["b"]}},"version":1}"#)
            .expect("read");
        assert_eq!(second.closures.names().count(), 1);
        let some = read(r#"{"read":{"deny":["**/id_*"]},"run":{"deny":["rm"]},"version":1}"#)
            .expect("read");
        assert_ne!(*some.lists, empty);
        for bad in [
            r#"{"version":2}"#,
            "{}",
            "[]",
            r#"{"version":2,"closures":{}}"#,
            r#"{"version":1,"closures":[]}"#,
            r#"{"version":1,"closures":{"a b":{"source":"x","starts":[]}}}"#,
            r#"{"version":1,"runs":{}}"#,
            r#"{"version":1,"run":{"denny":[]}}"#,
            r#"{"version":1,"run":{"deny":[1]}}"#,
            r#"{"version":1,"read":{"deny":["*.pem"]}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

#[cfg(test)]
mod closures_tests {
    use super::*;
    use serde_json::json;

    fn set(names: &[&str]) -> BTreeSet<Program> {
        names
            .iter()
            .map(|name| name.parse().expect("a program"))
            .collect()
    }

    #[test]
    fn closures_are_read_strictly() {
        let one = |value: Value| Closures::from_value(&json!({ "a": value }));
        assert!(Closures::from_value(&json!({})).is_ok());
        assert!(one(json!({"source": "a(1)", "starts": []})).is_ok());
        assert!(one(json!({"source": "a(1)", "starts": ["/usr/lib/x-*/*/a", "b", "g++"]})).is_ok());
        for (bad, words) in [
            (
                json!({"source": "a(1)", "starts": [], "more": 1}),
                "unknown key \"more\"",
            ),
            (
                json!({"starts": []}),
                "expected an object with the text `source`",
            ),
            (json!({"source": "a(1)"}), "and the array `starts`"),
            (json!(["b"]), "expected an object"),
            (
                json!({"source": " ", "starts": []}),
                "`source` is not a text",
            ),
            (
                json!({"source": "a\nb", "starts": []}),
                "`source` is not a text",
            ),
            (
                json!({"source": "x".repeat(513), "starts": []}),
                "`source` is not a text",
            ),
            (
                json!({"source": "a(1)", "starts": ["c", "b"]}),
                "not sorted without duplicates at \"b\"",
            ),
            (
                json!({"source": "a(1)", "starts": ["b", "b"]}),
                "not sorted without duplicates at \"b\"",
            ),
            (
                json!({"source": "a(1)", "starts": ["a"]}),
                "the program itself",
            ),
            (
                json!({"source": "a(1)", "starts": [1]}),
                "1 in `starts` is neither",
            ),
            (
                json!({"source": "a(1)", "starts": vec!["b"; 513]}),
                "513 programs in `starts`",
            ),
        ] {
            let problems = one(bad.clone()).expect_err("refused").join("\n");
            assert!(
                problems.contains(words) && problems.starts_with("closures/a: "),
                "{bad}: {problems}"
            );
        }
        let long = format!("/{}", "x".repeat(128));
        let bad = ["", "b*", "b\n", &long];
        let bad = bad.into_iter().chain(
            ". .. -b ./b x/b / /b/ //b /b/../c /b/./c /b/** /b/{c,d} /b/[c] /b/? {work}/**"
                .split(' '),
        );
        for bad in bad.chain(["b c"]) {
            let problems = one(json!({"source": "a(1)", "starts": [bad]}))
                .expect_err("refused")
                .join("\n");
            assert!(
                problems.contains("is neither the bare name"),
                "{bad:?}: {problems}"
            );
            if !bad.is_empty() {
                let named = json!({ bad: {"source": "a(1)", "starts": []} });
                assert!(Closures::from_value(&named).is_err(), "{bad:?} as a name");
            }
        }
        assert!(
            Closures::from_value(&json!({"/usr/bin/a": {"source": "a(1)", "starts": []}})).is_err(),
            "a path"
        );
        assert!(Closures::from_value(&json!([])).is_err());
        let many = |count: usize| {
            let one = json!({"source": "a(1)", "starts": []});
            Closures::from_value(
                &(0..count)
                    .map(|number| (format!("p{number}"), one.clone()))
                    .collect(),
            )
        };
        assert!(many(512).is_ok());
        assert_eq!(
            many(513),
            Err(vec![
                "closures: 513 programs, and at most 512 are allowed".to_owned()
            ])
        );
    }

    #[test]
    fn all_problems_are_reported_together() {
        let value = json!({"a b": {"source": "", "starts": ["/"]}, "c": 1});
        assert_eq!(Closures::from_value(&value).expect_err("refused").len(), 4);
    }

    #[test]
    fn everything_that_programs_start_is_found_with_its_starter() {
        let closure = |starts: &[&str]| json!({"source": "x(1)", "starts": starts});
        let closures = Closures::from_value(&json!({
            "a": closure(&["/usr/lib/*/b", "x"]), "b": closure(&["c"]), "c": closure(&["a", "d"]), "e": closure(&[]),
        }))
        .expect("closures");
        for (given, expected) in [
            (&["a"][..], &["/usr/lib/*/b", "c", "d", "x"][..]),
            (&["/opt/bin/a"], &["/usr/lib/*/b", "a", "c", "d", "x"]),
            (&["e", "unknown", "{work}/**"], &[]),
            (&[], &[]),
        ] {
            let started = closures.started_by(&set(given), |_| true);
            assert_eq!(
                started.keys().cloned().collect::<BTreeSet<_>>(),
                set(expected),
                "{given:?}"
            );
        }
        let started = closures.started_by(&set(&["a"]), |name| name.as_str() != "c");
        let starters: Vec<(&str, &str)> = started
            .iter()
            .map(|(name, by)| (name.as_str(), by.as_str()))
            .collect();
        assert_eq!(
            starters,
            [("/usr/lib/*/b", "a"), ("x", "a")],
            "only c starts d"
        );
        assert!(
            Closures::default()
                .started_by(&set(&["a"]), |_| true)
                .is_empty()
        );
    }
}
