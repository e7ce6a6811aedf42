//! Filter for the environment variables that a step inherits.
//!
//! A step inherits the variables that the policy lists by name, but never variables that change which code runs, or
//! variables that this program sets. The program asks the person no questions about other variables.

use std::ffi::OsString;

use client::{CommandResult, PrintableText, fail_refused};
use sandbox::{CODE_VARIABLES, matches_any};

/// Variables that are never inherited, even if the policy allows them, besides [`CODE_VARIABLES`]: this program sets
/// them.
const OWN_NAMES: [&str; 3] = ["PARAM_*", "COUNTERSIGN_*", "RUNBOOKS_OUTPUT"];

/// Maximum size of a step's environment in bytes, as in the sandbox.
const MOST: usize = 100 << 10;

/// Environment of a step.
#[derive(Debug, Default, PartialEq)]
pub struct InheritedEnvironment {
    /// Variables that the step inherits, sorted by name.
    pub variables: Vec<(String, String)>,
    /// Sorted names of variables that the policy allows but the step does not inherit.
    pub withheld: Vec<String>,
}

/// Filters the environment of this process. `own` lists the variables that the sandbox sets.
pub fn inherit(
    environment: impl Iterator<Item = (OsString, OsString)>,
    own: &[&str],
    allows: impl Fn(&str) -> bool,
) -> InheritedEnvironment {
    let mut inherited = InheritedEnvironment::default();
    for (name, value) in environment {
        // A step cannot use a variable whose name is not a valid identifier, so such a variable is not reported.
        let Some(name) = name.to_str().filter(|name| is_name(name)) else {
            continue;
        };
        if own.contains(&name) || !allows(name) {
            continue;
        }
        let is_never = matches_any(name, &CODE_VARIABLES) || matches_any(name, &OWN_NAMES);
        match value.into_string() {
            Ok(value) if !is_never => inherited.variables.push((name.to_owned(), value)),
            _ => inherited.withheld.push(name.to_owned()),
        }
    }
    inherited.variables.sort();
    inherited.withheld.sort();
    inherited
}

impl InheritedEnvironment {
    /// Adds variables, which replace inherited variables with the same name.
    ///
    /// # Errors
    /// Returns an error if the environment is too large for a run.
    pub fn with(mut self, set: Vec<(String, String)>) -> CommandResult<Vec<(String, String)>> {
        self.variables
            .retain(|(name, _)| set.iter().all(|(other, _)| other != name));
        self.variables.extend(set);
        let bytes: usize = self
            .variables
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        if bytes <= MOST {
            return Ok(self.variables);
        }
        let largest = self
            .variables
            .iter()
            .max_by_key(|(_, value)| value.len())
            .map_or("", |(name, _)| name);
        fail_refused(format!(
            "the step would inherit an environment of {bytes} bytes, but the limit is {MOST} bytes: unset {}, or \
                 deny it in the policy's env rules",
            PrintableText::text(largest)
        ))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn of(variables: &[(&str, &str)], allows: impl Fn(&str) -> bool) -> InheritedEnvironment {
        inherit(
            variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
            &["PATH"],
            allows,
        )
    }

    #[test]
    fn only_variables_that_the_policy_allows_are_inherited() {
        let inherited = of(
            &[("B", "2"), ("A", "1"), ("C", "3"), ("PATH", "/evil")],
            |name| name != "C",
        );
        assert_eq!(
            inherited.variables,
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ]
        );
        assert_eq!(inherited.withheld, Vec::<String>::new());
    }

    #[test]
    fn variables_that_change_which_code_runs_are_never_inherited() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "BASH_ENV",
            "ENV",
            "SHELLOPTS",
            "BASHOPTS",
            "PS4",
            "IFS",
            "PROMPT_COMMAND",
            "GIT_SSH_COMMAND",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "NODE_OPTIONS",
            "PERL5OPT",
            "RUBYOPT",
            "SSH_AUTH_SOCK",
            "PARAM_HOST",
            "COUNTERSIGN_TOKEN",
            "COUNTERSIGN_PARAMS",
            "GCONV_PATH",
            "ZDOTDIR",
        ] {
            let inherited = of(&[(name, "x"), ("TERM", "xterm")], |_| true);
            assert_eq!(inherited.variables.len(), 1, "{name}");
            assert_eq!(inherited.withheld, [name], "{name}");
        }
        // The name of an exported shell function is not a valid identifier.
        assert_eq!(
            of(
                &[("BASH_FUNC_ls%%", "() { :; }"), ("1A", "x"), ("", "x")],
                |_| true
            ),
            InheritedEnvironment::default()
        );
    }

    #[test]
    fn variables_that_are_not_utf8_are_withheld_and_reported() {
        let odd = OsString::from_vec(vec![0xff]);
        let inherited = inherit([("ODD".into(), odd)].into_iter(), &[], |_| true);
        assert_eq!(
            (inherited.variables.len(), inherited.withheld),
            (0, vec!["ODD".to_owned()])
        );
    }

    #[test]
    fn variables_of_the_program_replace_inherited_variables_and_a_too_large_environment_is_refused()
    {
        let set = vec![("PARAM_A".to_owned(), "mine".to_owned())];
        let inherited = InheritedEnvironment {
            variables: vec![("PARAM_A".into(), "theirs".into())],
            withheld: Vec::new(),
        };
        assert_eq!(inherited.with(set.clone()).expect("fits"), set);
        let large = InheritedEnvironment {
            variables: vec![("LARGE".into(), "x".repeat(MOST))],
            withheld: Vec::new(),
        };
        assert!(
            large
                .with(set)
                .expect_err("too much")
                .message
                .contains("LARGE")
        );
    }
}
