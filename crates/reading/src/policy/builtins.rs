//! The built-in allow lists and deny lists. The built-in lists apply unless the policy contains `extends: none`.
//!
//! The lists come from the security document of the project Rundown, and the closures from the documents that each closure
//! names, in canonical JSON. A seal names this canonical
//! JSON by its digest. A boundary decides with the lists in its own program, a verifier with the lists that the seal
//! names.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::{
    Closures, RuleOrigin, TextPlace, YamlFlaw,
    policy::{lists::AllPermissionLists, policy_reader::read_lists},
};

/// Built-in lists in canonical JSON.
pub const CANONICAL: &[u8] = include_bytes!("builtins.json");

/// Compiled built-in lists. The default value contains no patterns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// `{"version":1,"run":{"allow":[…],"deny":[…]},"read":…,"write":…,"env":…,"closures":…}`, in which only `version` is
    /// required.
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
