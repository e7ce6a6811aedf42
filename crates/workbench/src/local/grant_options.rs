//! Command line options of `run` that allow or deny permissions in advance.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{Project, real_program};
use client::{CommandFailure, CommandResult, PrintableText};
use documents::PermissionKind;
use reading::{Flags, Granted, split_patterns};

/// Permissions that the command line grants or denies.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Policy")]
pub struct GrantArgs {
    /// Commands that may run, regardless of the policy
    #[arg(long, value_name = "COMMANDS")]
    allow_run: Vec<String>,
    /// Paths that may be read, including everything below them
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    allow_read: Vec<String>,
    /// Paths that may be written, including everything below them
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    pub allow_write: Vec<String>,
    /// Variables that a step may inherit, or set before a command
    #[arg(long, value_name = "NAMES")]
    allow_env: Vec<String>,
    /// Use no policy and no sandbox; the program prints a warning
    #[arg(long)]
    pub allow_all: bool,
    /// Deny everything that is not explicitly allowed; has priority over --allow-all
    #[arg(long)]
    pub deny_all: bool,
    /// Allow everything that is in no list, without a question; denied and unknown items are not allowed
    #[arg(short, long)]
    pub yes: bool,
}

impl GrantArgs {
    /// Returns true if the options disable the policy.
    pub const fn allows_all(&self) -> bool {
        self.allow_all && !self.deny_all
    }

    /// Returns the granted permissions of each kind, with the option for this kind.
    pub fn grants(&self) -> [(PermissionKind, &'static str, Vec<String>); 4] {
        let patterns =
            |given: &[String]| given.iter().flat_map(|list| split_patterns(list)).collect();
        [
            (
                PermissionKind::Run,
                "--allow-run",
                patterns(&self.allow_run),
            ),
            (
                PermissionKind::Read,
                "--allow-read",
                self.allow_read.clone(),
            ),
            (
                PermissionKind::Write,
                "--allow-write",
                self.allow_write.clone(),
            ),
            (
                PermissionKind::Env,
                "--allow-env",
                patterns(&self.allow_env),
            ),
        ]
    }

    /// Returns the granted permissions as patterns, and the granted paths outside the current directory: first the
    /// paths to read, then the paths to write.
    ///
    /// # Errors
    /// Returns an error if a value is not a valid pattern, or if a path does not exist.
    pub fn flags(&self, project: &Project) -> CommandResult<(Flags, [Vec<PathBuf>; 2])> {
        let mut granted = Granted::default();
        let mut elsewhere = [Vec::new(), Vec::new()];
        for (kind, flag, patterns) in self.grants() {
            for pattern in &patterns {
                let pattern = match kind {
                    PermissionKind::Read | PermissionKind::Write => {
                        let real = real_path(project, flag, pattern)?;
                        let text = if real == Path::new("/") {
                            String::new()
                        } else {
                            real.to_string_lossy().into_owned()
                        };
                        if !real.starts_with(&project.cwd) && !project.cwd.starts_with(&real) {
                            elsewhere[usize::from(kind == PermissionKind::Write)].push(real);
                        }
                        format!("{}/**", literal(&text))
                    }
                    PermissionKind::Run | PermissionKind::Env => pattern.clone(),
                };
                granted
                    .grant(kind, &pattern)
                    .map_err(|error| CommandFailure::usage(format!("{flag}: {error}")))?;
            }
        }
        let flags = Flags {
            granted,
            allow_all: self.allow_all,
            deny_all: self.deny_all,
            places: project.places(),
            real: Some(real_program),
        };
        Ok((flags, elsewhere))
    }
}

/// Resolves the symbolic links in a path from the command line. The path must exist.
fn real_path(project: &Project, flag: &str, path: &str) -> CommandResult<PathBuf> {
    let shown = PrintableText::text(path);
    if path.contains(['*', '?', '{']) {
        return Err(CommandFailure::usage(format!(
            "{flag} {shown}: name whole paths, not patterns"
        )));
    }
    let real = project.cwd.join(path).canonicalize();
    let real = real.map_err(|error| CommandFailure::usage(format!("{flag} {shown}: {error}")))?;
    match real.to_str() {
        Some(_) => Ok(real),
        None => Err(CommandFailure::usage(format!(
            "{flag} {shown}: its real path is not UTF-8"
        ))),
    }
}

/// Escapes a path, so that the pattern matches only this path.
pub fn literal(path: &str) -> String {
    let special = |c: char| {
        matches!(
            c,
            '*' | '?' | '[' | ']' | '{' | '}' | '(' | ')' | '!' | '+' | '@' | '\\' | ','
        )
    };
    path.chars().fold(String::new(), |mut text, c| {
        if special(c) {
            text.push('\\');
        }
        text.push(c);
        text
    })
}
