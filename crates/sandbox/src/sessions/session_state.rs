//! State that a session carries from run to run: exported variables, removed variables and the working directory.
//!
//! A shell writes its state with a wrapper (`session.bash`, `session.sh`) at its end. This file reads what the wrapper
//! wrote. The step controls these bytes, so they decide only about the state of the same session.
//!
//! This file also contains the names of variables that make programs load or run other code ([`CODE_VARIABLES`]).
//!
//! [`read_exports`] reads the output of `export -p` in bash, dash and busybox.
//!
//! Each shell quotes in its own way: bash writes `declare -x A="b"` or `declare -x A=$'b\n'`, in POSIX mode `export`
//! instead of `declare -x`, and dash writes `export A='b'`.
//!
//! [`wrapper_for`] selects the wrapper with which a shell writes its state at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    SESSION_STATE_FILE, SESSION_WRAPPER_FILE, interpreter, isolation::interpreter::shebang,
    started_by_env,
};
use documents::{AuthorizationDigest, ContentDigest, hex, to_canonical};

/// Maximum size of a state, in bytes: all names and values, with two bytes for each variable, and the directory.
pub const MAX_STATE_BYTES: usize = 256 << 10;
/// Maximum size of one variable, in bytes, with its name, `=` and NUL byte. The kernel gives no larger variable to a
/// program.
pub const MAX_VARIABLE_BYTES: usize = 128 << 10;

/// Names that no session carries, besides [`CODE_VARIABLES`].
const NEVER: [&str; 19] = [
    // Names that the boundary, the sandbox or the shell itself sets.
    "PARAM_*",
    "COUNTERSIGN_*",
    "__countersign_*",
    "RUNBOOK_OUTPUT",
    "RUNBOOKS_OUTPUT",
    "GENERATED_FILES",
    "HOME",
    "TMPDIR",
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "POSIXLY_CORRECT",
    // Settings of interpreters and compilers, many of which change which code runs.
    "NODE_*",
    "RUBY*",
    "RUSTC_WRAPPER",
    // Variables that change where programs connect, whom they trust, and where they find their settings.
    "*_PROXY",
    "SSL_*",
    "XDG_*",
];

/// Variables that every run has, with their values. They are carried only if the script changes them.
const DEFAULTS: [(&[u8], &[u8]); 3] = [
    (b"PATH", interpreter::PATH.as_bytes()),
    (b"LANG", b"C.UTF-8"),
    (b"LC_ALL", b"C.UTF-8"),
];

/// Directories that each run has, some of them new and empty.
const OF_EACH_RUN: [&[u8]; 6] = [b"/", b"/tmp", b"/dev", b"/dev/shm", b"/proc", b"/run"];

/// State of the shell of a session. The default is the state of a new session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShellState {
    /// Variables that a script has set, with their values.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Absolute path of the directory in which the next run starts, or `None` for its work directory.
    pub cwd: Option<Vec<u8>>,
    /// Names of variables that the next run does not get, because a script has removed them.
    pub unset: BTreeSet<Vec<u8>>,
}

/// What a run gets regardless of its session.
#[derive(Default)]
pub struct GivenToRun {
    /// Variables that each run of the session gets, for example from policy. A script may change or remove them.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Names that are never carried, for example the variables of secrets.
    pub fixed: BTreeSet<Vec<u8>>,
    /// Work directory of the run, as the run saw the path.
    pub work: Option<Vec<u8>>,
    /// Other directories that each run of the session sees at the same path.
    pub directories: Vec<Vec<u8>>,
}

/// A state is larger than [`MAX_STATE_BYTES`], or one of its variables is larger than [`MAX_VARIABLE_BYTES`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateTooLarge(String);

impl ShellState {
    /// Returns the digest of this state after the run with this `authorization`, and after the state `previous`.
    /// `salt` is a secret of the boundary, so that nobody can guess a value from the digest.
    pub fn canonical_digest(
        &self,
        salt: &[u8; 32],
        previous: Option<ContentDigest>,
        authorization: Option<AuthorizationDigest>,
    ) -> ContentDigest {
        let env: Map<String, Value> = self
            .env
            .iter()
            .map(|(name, value)| (name_text(name), text(value)))
            .collect();
        let document = json!({
            "salt": hex(salt),
            "previous": previous,
            "authorization": authorization,
            "env": env,
            "cwd": self.cwd.as_deref().map(text),
            "unset": self.unset.iter().map(|name| name_text(name)).collect::<Vec<_>>(),
        });
        ContentDigest::of(&to_canonical(&document))
    }

    /// Returns the state after a run, from the bytes that the wrapper wrote. Without a complete record, the state
    /// before the run remains in force. This happens after a signal, after `exec`, and if the script wrote over the
    /// record.
    ///
    /// # Errors
    /// Returns an error if the state is too large.
    pub fn after(&self, captured: &[u8], given: &GivenToRun) -> Result<Self, StateTooLarge> {
        let Some((exported, cwd)) = last_record(captured) else {
            return Ok(self.clone());
        };
        let carried = |name: &[u8]| is_carried(name) && !given.fixed.contains(name);
        let unchanged = |name: &[u8], value: &[u8]| match given.env.get(name) {
            Some(before) => before == value,
            None => DEFAULTS.contains(&(name, value)),
        };
        let unset = given
            .env
            .keys()
            .filter(|name| carried(name) && *name != b"PATH" && !exported.contains_key(*name));
        let unset = unset.cloned().collect();
        let kept = |name: &[u8], value: &[u8]| {
            carried(name)
                && !unchanged(name, value)
                && (name != b"PATH" || is_within_own_path(value))
        };
        let cwd = given.cwd(cwd);
        let env = exported
            .into_iter()
            .filter(|(name, value)| kept(name, value))
            .collect();
        Self { env, cwd, unset }.check_size()
    }

    /// Returns true if this state decides about the variable, so that the run does not get it from elsewhere.
    pub fn decides(&self, name: &[u8]) -> bool {
        self.env.contains_key(name) || self.unset.contains(name)
    }

    /// Returns the directory in which the shell ended, if the next run does not see this directory.
    pub fn lost_directory(captured: &[u8], given: &GivenToRun) -> Option<Vec<u8>> {
        let (_, cwd) = last_record(captured)?;
        let is_kept = given.work.as_deref() == Some(cwd) || given.cwd(cwd).is_some();
        (cwd.starts_with(b"/") && !is_kept).then(|| cwd.to_owned())
    }

    fn check_size(self) -> Result<Self, StateTooLarge> {
        let variables = || {
            self.env
                .iter()
                .map(|(name, value)| (name.len() + value.len() + 2, name))
        };
        let names = self.unset.iter().map(|name| name.len() + 2);
        let all: usize = variables()
            .map(|(bytes, _)| bytes)
            .chain(names)
            .chain(self.cwd.iter().map(Vec::len))
            .sum();
        let largest = variables().max();
        let name = largest.map_or_else(String::new, |(_, name)| name_text(name));
        match largest {
            Some((bytes, _)) if bytes > MAX_VARIABLE_BYTES => Err(StateTooLarge(format!(
                "the exported variable {name} has {bytes} bytes, but the limit is {MAX_VARIABLE_BYTES} bytes: shorten it"
            ))),
            _ if all > MAX_STATE_BYTES => Err(StateTooLarge(format!(
                "the exported variables have {all} bytes, but a session carries at most {MAX_STATE_BYTES} bytes: export \
                 less, for example not {name}"
            ))),
            _ => Ok(self),
        }
    }
}

impl GivenToRun {
    /// Returns the directory for the state. Returns `None` for the work directory, and for a directory that the next
    /// run does not see, for example the `$TMPDIR` of a run on the host's root file system.
    fn cwd(&self, cwd: &[u8]) -> Option<Vec<u8>> {
        let climbs = cwd.split(|byte| *byte == b'/').any(|part| part == b"..");
        if !cwd.starts_with(b"/") || climbs || self.work.as_deref() == Some(cwd) {
            return None;
        }
        let is_below = |directory: &Vec<u8>| {
            let rest = cwd.strip_prefix(directory.as_slice());
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(b"/") || directory.ends_with(b"/")
            })
        };
        let mut all = self.work.iter().chain(&self.directories);
        (OF_EACH_RUN.contains(&cwd) || all.any(is_below)).then(|| cwd.to_owned())
    }
}

/// Returns the variables and the directory of the last complete record.
fn last_record(captured: &[u8]) -> Option<(Exports, &[u8])> {
    let parts: Vec<&[u8]> = captured.split(|byte| *byte == 0).collect();
    parts.windows(4).rev().find_map(|record| match record {
        [b"begin", exports, cwd, b"end"] => Some((
            read_exports(exports)?,
            cwd.strip_suffix(b"\n").unwrap_or(cwd),
        )),
        _ => None,
    })
}

/// Returns true if a session may carry a variable with this name.
pub fn is_carried(name: &[u8]) -> bool {
    std::str::from_utf8(name)
        .is_ok_and(|name| !matches_any(name, &CODE_VARIABLES) && !matches_any(name, &NEVER))
}

fn is_within_own_path(value: &[u8]) -> bool {
    let own: Vec<&[u8]> = interpreter::PATH
        .as_bytes()
        .split(|byte| *byte == b':')
        .collect();
    value
        .split(|byte| *byte == b':')
        .all(|directory| own.contains(&directory))
}

/// Returns a name, which contains only ASCII.
fn name_text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn text(value: &[u8]) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) => Value::from(text),
        Err(_) => json!({"base64": STANDARD.encode(value)}),
    }
}

/// Variables that make programs load or run other code, or sign with the keys of the person. No step inherits them, and
/// no session carries them. A `*` at the end matches any text.
pub const CODE_VARIABLES: [&str; 58] = [
    // Dynamic loaders and shells.
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
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
    "LESSOPEN",
    "LESSCLOSE",
    "GOFLAGS",
    "RUSTC",
    "RUSTC_*",
    "RUSTFLAGS",
    "CARGO_*",
    "DOTNET_STARTUP_HOOKS",
    "AWKLIBPATH",
    "LOCPATH",
    // Variables that change which programs git runs.
    "GIT_*",
    // A process that can reach the SSH agent can sign with the person's keys.
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS*",
];

/// Returns true if `name` matches one of the patterns `names`. A `*` at the end of a pattern matches any text. A `*` at
/// the beginning also matches any text, and the rest of the pattern is compared with `name` in upper case.
pub fn matches_any(name: &str, names: &[&str]) -> bool {
    names.iter().any(
        |pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.to_ascii_uppercase().ends_with(end),
            (None, Some(beginning)) => name.starts_with(beginning),
            (None, None) => name == *pattern,
        },
    )
}

/// Exported variables by name.
pub type Exports = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the output of `export -p`. Variables without a value, and arrays, are left out. Returns `None` if the text is
/// no such output.
pub fn read_exports(text: &[u8]) -> Option<Exports> {
    let mut reader = ExportReader { rest: text };
    let mut variables = BTreeMap::new();
    while !reader.rest.is_empty() {
        if let Some((name, value)) = reader.line()? {
            variables.insert(name, value);
        }
    }
    Some(variables)
}

struct ExportReader<'a> {
    rest: &'a [u8],
}

impl ExportReader<'_> {
    fn line(&mut self) -> Option<Option<(Vec<u8>, Vec<u8>)>> {
        self.rest = [&b"export "[..], b"declare "]
            .iter()
            .find_map(|word| self.rest.strip_prefix(*word))?;
        while self.rest.starts_with(b"-") {
            let end = self.rest.iter().position(|byte| *byte == b' ')?;
            self.rest = &self.rest[end + 1..];
        }
        let end = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\n'))?;
        let (name, rest) = (self.rest[..end].to_owned(), &self.rest[end + 1..]);
        let has_value = self.rest[end] == b'=';
        self.rest = rest;
        if !is_name(&name) {
            return None;
        }
        if !has_value {
            return Some(None);
        }
        // Only the value of an array begins with a parenthesis outside of quotes.
        let is_array = rest.starts_with(b"(");
        let value = self.value()?;
        Some((!is_array).then_some((name, value)))
    }

    /// Reads quoted and unquoted parts, up to the end of the line outside of quotes.
    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'\n' => return Some(value),
                b'\'' => loop {
                    match self.next()? {
                        b'\'' => break,
                        byte => value.push(byte),
                    }
                },
                b'"' => self.quoted(b'"', &mut value)?,
                b'$' if self.rest.starts_with(b"'") => {
                    self.next();
                    self.quoted(b'\'', &mut value)?;
                }
                b'\\' => value.push(self.next()?),
                byte => value.push(byte),
            }
        }
    }

    /// Reads the text of `"…"` or `$'…'` after its first quote. `end` is the last quote.
    fn quoted(&mut self, end: u8, value: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.next()? {
                byte if byte == end => return Some(()),
                b'\\' if end == b'\'' => value.push(self.escaped()?),
                b'\\' if matches!(self.rest.first(), Some(b'"' | b'\\' | b'$' | b'`')) => {
                    value.push(self.next()?)
                }
                byte => value.push(byte),
            }
        }
    }

    /// Reads an escape as bash writes it. Bash writes an unprintable byte as three octal digits.
    fn escaped(&mut self) -> Option<u8> {
        Some(match self.next()? {
            b'a' => 0x07,
            b'b' => 0x08,
            b'e' | b'E' => 0x1b,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            digit @ b'0'..=b'3' => {
                let mut octal = || {
                    self.next()
                        .filter(|byte| matches!(byte, b'0'..=b'7'))
                        .map(|byte| byte - b'0')
                };
                (digit - b'0') << 6 | octal()? << 3 | octal()?
            }
            byte @ (b'\\' | b'\'' | b'"') => byte,
            _ => return None,
        })
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

fn is_name(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(is_letter)
        && name
            .iter()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// A file through which a shell saves its state at its end.
///
/// In `env` and `arguments`, the path of the file replaces [`SESSION_WRAPPER_FILE`], and the path of the state replaces
/// [`SESSION_STATE_FILE`], because both paths depend on the form of the run.
#[derive(Clone)]
pub struct SessionWrapper {
    /// Name of the file, without a slash.
    pub name: &'static str,
    /// Content of the file, which the step can't change.
    pub content: &'static [u8],
    /// Variables of the step, which replace all other variables with the same names. An example is `BASH_ENV` with the
    /// value `{wrapper}`.
    pub env: Vec<(String, String)>,
    /// Arguments of the interpreter before the path of the script, in place of its usual arguments.
    pub arguments: Option<Vec<String>>,
}

/// Names of the variables that tell a wrapper where the state and the wrapper itself are.
const STATE: &str = "COUNTERSIGN_SESSION";
const SHELL: &str = "COUNTERSIGN_SESSION_SHELL";
/// The commands with which `sh` reads the wrapper and then the script. The path of the script is in `$0`.
const READ_BOTH: &str = r#". "$COUNTERSIGN_SESSION_SHELL"; . "$0""#;

/// Returns the wrapper for a script, or `None` if the script only reads the state of its session. bash, sh and dash
/// write their state, unless the shebang line has options that a wrapper can't keep. A wrapper keeps only the options
/// with the letters `efuxaBCEhTb`.
pub fn wrapper_for(source: &[u8], interpreter: &str) -> Option<SessionWrapper> {
    let (shell, arguments) = match shebang(source).ok()? {
        None => (interpreter.to_owned(), Vec::new()),
        Some(program) => {
            let argument = program.arguments.join(" ");
            let shell = match started_by_env(&program.path, &argument) {
                Some(shell) => {
                    let words = argument.strip_prefix("-S ").unwrap_or(&argument);
                    let options = words.trim_start().strip_prefix(shell)?;
                    if !options.split_whitespace().all(is_kept) {
                        return None;
                    }
                    shell
                }
                None if program.arguments.iter().all(|argument| is_kept(argument)) => {
                    program.path.to_str()?
                }
                None => return None,
            };
            (shell.to_owned(), program.arguments)
        }
    };
    let paths = |names: [(&str, &str); 2]| {
        names
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .into()
    };
    match Path::new(&shell).file_name()?.to_str()? {
        "bash" => Some(SessionWrapper {
            name: "session.bash",
            content: include_bytes!("session.bash"),
            env: paths([
                ("BASH_ENV", SESSION_WRAPPER_FILE),
                (STATE, SESSION_STATE_FILE),
            ]),
            arguments: None,
        }),
        "sh" | "dash" => Some(SessionWrapper {
            name: "session.sh",
            content: include_bytes!("session.sh"),
            env: paths([(SHELL, SESSION_WRAPPER_FILE), (STATE, SESSION_STATE_FILE)]),
            arguments: Some(
                arguments
                    .into_iter()
                    .chain(["-c".to_owned(), READ_BOTH.to_owned()])
                    .collect(),
            ),
        }),
        _ => None,
    }
}

fn is_kept(option: &str) -> bool {
    option.strip_prefix('-').is_some_and(|letters| {
        !letters.is_empty() && letters.chars().all(|c| "efuxaBCEhTb".contains(c))
    })
}

#[cfg(test)]
mod session_wrapper_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(exports: &str, cwd: &str) -> Vec<u8> {
        format!("\0begin\0{exports}\0{cwd}\n\0end\0").into_bytes()
    }

    fn state(env: &[(&str, &[u8])]) -> ShellState {
        let env = env
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect();
        ShellState {
            env,
            ..ShellState::default()
        }
    }

    #[test]
    fn the_digest_of_a_state_covers_all_its_parts() {
        let full = ShellState {
            cwd: Some(b"/work/a".to_vec()),
            unset: BTreeSet::from([b"GONE".to_vec()]),
            ..state(&[("A", b"1\n"), ("B", b"\xff")])
        };
        let (first, second) = (ContentDigest::of(b"1"), AuthorizationDigest::of(b"2"));
        let text = format!(
            r#"{{"authorization":"{second}","cwd":"/work/a","env":{{"A":"1\n","B":{{"base64":"/w=="}}}},"previous":"{first}","salt":"{}","unset":["GONE"]}}"#,
            "07".repeat(32)
        );
        assert_eq!(
            full.canonical_digest(&[7; 32], Some(first), Some(second)),
            ContentDigest::of(text.as_bytes())
        );
        let empty = format!(
            r#"{{"authorization":null,"cwd":null,"env":{{}},"previous":null,"salt":"{}","unset":[]}}"#,
            "00".repeat(32)
        );
        assert_eq!(
            ShellState::default().canonical_digest(&[0; 32], None, None),
            ContentDigest::of(empty.as_bytes())
        );
    }

    #[test]
    fn a_large_state_is_an_error_with_its_size() {
        let half = "x".repeat(MAX_VARIABLE_BYTES - 3);
        let after = |exports: &str| {
            ShellState::default().after(&record(exports, "/var"), &GivenToRun::default())
        };
        let full = format!("export A='{half}'\nexport B='{half}'\n");
        assert!(after(&full).is_ok());
        let error = after(&format!("{full}export C=''\n")).expect_err("too large");
        assert!(
            error
                .to_string()
                .contains("have 262147 bytes, but a session carries at most 262144 bytes"),
            "{error}"
        );
        let error = after(&format!("export A='{half}x'\n")).expect_err("too large");
        let words = "variable A has 131073 bytes, but the limit is 131072 bytes";
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn names_of_secrets_and_unchanged_variables_are_not_carried() {
        let given = GivenToRun {
            env: BTreeMap::from([
                (b"SAME".to_vec(), b"1".to_vec()),
                (b"OTHER".to_vec(), b"1".to_vec()),
            ]),
            fixed: BTreeSet::from([b"TOKEN".to_vec()]),
            ..GivenToRun::default()
        };
        let exports =
            "export SAME='1'\nexport OTHER='2'\nexport TOKEN='secret'\nexport LANG='C.UTF-8'\n";
        let after = state(&[("OLD", b"1")])
            .after(&record(exports, "/var"), &given)
            .expect("small");
        assert_eq!(after, state(&[("OTHER", b"2")]));
    }

    #[test]
    fn the_last_complete_record_counts() {
        let given = GivenToRun::default();
        let mut bytes = record("export A='1'\n", "/var");
        bytes.extend(record(
            "declare -rx A=\"2\"\ndeclare -x B\ndeclare -ax C=([0]=\"a\")\n",
            "/var",
        ));
        assert_eq!(
            ShellState::default().after(&bytes, &given).expect("small"),
            state(&[("A", b"2")])
        );
        bytes.extend(b"\0begin\0export A='3'\n\0/var\n\0");
        assert_eq!(
            ShellState::default().after(&bytes, &given).expect("small"),
            state(&[("A", b"2")])
        );
        bytes.extend(record("rm -rf /\n", "/var"));
        assert_eq!(
            ShellState::default().after(&bytes, &given).expect("small"),
            state(&[("A", b"2")])
        );
    }
}
