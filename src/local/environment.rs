//! What of a person's environment a step inherits.
//!
//! What policy allows by name, and of that never what changes which code runs or what the program itself sets. Nothing is
//! asked about: a variable that no list allows is not handed on.

use std::ffi::OsString;

use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::Shown;

/// Never handed on, whatever policy says: each makes programs load or run something else, or is this program's own to set.
/// A star at the end stands for anything.
const NEVER: [&str; 48] = [
    // Loaders and shells.
    "LD_*",
    "DYLD_*",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "BASH_ENV",
    "ENV",
    "BASH_FUNC_*",
    "BASH_ALIASES",
    "BASH_CMDS",
    "BASH_LOADABLES_PATH",
    "BASH_XTRACEFD",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "IFS",
    "CDPATH",
    "GLOBIGNORE",
    "EXECIGNORE",
    "ZDOTDIR",
    // Interpreters and build tools.
    "PERL5*",
    "PERLLIB",
    "RUBYOPT",
    "RUBYLIB",
    "GEM_*",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_*",
    "npm_config_*",
    "NPM_CONFIG_*",
    "PYTHON*",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "LUA_*",
    "MAKEFLAGS",
    "GNUMAKEFLAGS",
    "MAKEFILES",
    "TAR_OPTIONS",
    // What git runs.
    "GIT_*",
    // Whoever reaches the agent signs with the person's keys.
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS*",
    // The program's own.
    "PARAM_*",
    "COUNTERSIGN_*",
    "RUNBOOKS_OUTPUT",
];

/// The most that a step's environment may hold, in bytes: what the sandbox takes.
const MOST: usize = 100 << 10;

/// What a step inherits.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Sorted by name.
    pub variables: Vec<(String, String)>,
    /// Names that policy allows and that are not handed on all the same, sorted.
    pub withheld: Vec<String>,
}

/// Filters the environment of this process. `own` names what the sandbox itself sets.
pub fn inherit(
    environment: impl Iterator<Item = (OsString, OsString)>,
    own: &[&str],
    allows: impl Fn(&str) -> bool,
) -> Inherited {
    let mut inherited = Inherited::default();
    for (name, value) in environment {
        // What no step could name is not worth a word.
        let Some(name) = name.to_str().filter(|name| is_name(name)) else { continue };
        if own.contains(&name) || !allows(name) {
            continue;
        }
        match value.into_string() {
            Ok(value) if !is_never(name) => inherited.variables.push((name.to_owned(), value)),
            _ => inherited.withheld.push(name.to_owned()),
        }
    }
    inherited.variables.sort();
    inherited.withheld.sort();
    inherited
}

impl Inherited {
    /// With what the program sets itself, which goes over what was inherited.
    ///
    /// # Errors
    /// When it is more than a run takes.
    pub fn with(mut self, set: Vec<(String, String)>) -> Result<Vec<(String, String)>, Failure> {
        self.variables.retain(|(name, _)| set.iter().all(|(other, _)| other != name));
        self.variables.extend(set);
        let bytes: usize = self.variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        if bytes <= MOST {
            return Ok(self.variables);
        }
        let largest = self.variables.iter().max_by_key(|(_, value)| value.len()).map_or("", |(name, _)| name);
        Err(Failure::new(
            Exit::Refused,
            format!(
                "the step would inherit {bytes} bytes of environment, and at most {MOST} are handed on: unset {}, or deny it \
                 in the policy's env rules",
                Shown::text(largest).as_str()
            ),
        ))
    }
}

fn is_never(name: &str) -> bool {
    NEVER.iter().any(|never| match never.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *never,
    })
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

    fn of(variables: &[(&str, &str)], allows: impl Fn(&str) -> bool) -> Inherited {
        inherit(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())), &["PATH"], allows)
    }

    #[test]
    fn only_variables_that_policy_allows_are_inherited() {
        let inherited = of(&[("B", "2"), ("A", "1"), ("C", "3"), ("PATH", "/evil")], |name| name != "C");
        assert_eq!(inherited.variables, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
        assert_eq!(inherited.withheld, Vec::<String>::new());
    }

    #[test]
    fn variables_that_change_the_executed_code_are_never_inherited() {
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
        // Exported functions are no names that a step could use.
        assert_eq!(of(&[("BASH_FUNC_ls%%", "() { :; }"), ("1A", "x"), ("", "x")], |_| true), Inherited::default());
    }

    #[test]
    fn variables_with_invalid_text_are_withheld_and_reported() {
        let odd = OsString::from_vec(vec![0xff]);
        let inherited = inherit([("ODD".into(), odd)].into_iter(), &[], |_| true);
        assert_eq!((inherited.variables.len(), inherited.withheld), (0, vec!["ODD".to_owned()]));
    }

    #[test]
    fn variables_of_the_program_take_precedence_and_an_oversized_environment_is_refused() {
        let set = vec![("PARAM_A".to_owned(), "mine".to_owned())];
        let inherited = Inherited { variables: vec![("PARAM_A".into(), "theirs".into())], withheld: Vec::new() };
        assert_eq!(inherited.with(set.clone()).expect("fits"), set);
        let large = Inherited { variables: vec![("LARGE".into(), "x".repeat(MOST))], withheld: Vec::new() };
        assert!(large.with(set).expect_err("too much").message.contains("LARGE"));
    }
}
