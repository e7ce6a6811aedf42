//! Finds the programs of a list on this host by their names.

use std::collections::BTreeSet;

use crate::record::later_parts::{ListedProgram, OnlyListed, ProgramList};
use crate::record::later_words::{OWN_PROGRAMS, Program};
use crate::record::reserved::ReservedPart as _;
use crate::sandbox::interpreter;
use crate::sandbox::listed_programs::{lies_in_system, real_program};
use crate::sandbox::program_format::{FileFormat, format_of};

/// Maximum number of interpreters between a script and a program in machine code (`BINPRM` in the kernel allows five
/// levels).
const MAX_INTERPRETERS: usize = 5;

/// Returns the list for programs that a person names: bare names, absolute paths, or `{work}/**`.
///
/// The list also contains the interpreters of programs that are scripts.
///
/// # Errors
/// Returns a message about the first name that is no program of this host.
pub fn list_of(names: &[String]) -> Result<ProgramList, String> {
    let mut list = Vec::new();
    let mut add = |name: &str, path: &str| -> Result<(), String> {
        let name = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
        let path = path.parse().map_err(|error| format!("{path:?}: {error}"))?;
        let one = ListedProgram { name, path };
        if !list.contains(&one) {
            list.push(one);
        }
        Ok(())
    };
    for name in names {
        if name == OWN_PROGRAMS {
            add(name, name)?;
            continue;
        }
        if name.is_empty() || (name.contains('/') && !name.starts_with('/')) {
            return Err(format!("{name:?} is neither the name of a program, nor an absolute path, nor {OWN_PROGRAMS}"));
        }
        let mut path = interpreter::find(name)
            .ok_or_else(|| format!("this host has no program {name} in {}", interpreter::PATH))?;
        let mut name = name.rsplit('/').next().unwrap_or(name).to_owned();
        for _ in 0..MAX_INTERPRETERS {
            add(&name, &path.to_string_lossy())?;
            let FileFormat::Script { interpreter, argument } = format_of(&real_program(&path)?)? else { break };
            let missing = |interpreter: &str| {
                format!("{} needs the program {interpreter}, which this host does not have", path.display())
            };
            let found = interpreter::find(&interpreter.to_string_lossy());
            let found = found.ok_or_else(|| missing(&interpreter.to_string_lossy()))?;
            name = interpreter.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // `env` starts the first word that is neither an option nor a variable.
            let by_env = argument
                .split([' ', '\t'])
                .find(|word| !word.is_empty() && !word.starts_with('-') && !word.contains('='));
            if let (true, Some(word)) = (name == "env", by_env) {
                add(&name, &found.to_string_lossy())?;
                let started = interpreter::find(word).ok_or_else(|| missing(word))?;
                (name, path) = (word.rsplit('/').next().unwrap_or(word).to_owned(), started);
            } else {
                path = found;
            }
        }
    }
    list.sort_by(|a, b| (a.name.as_str(), a.path.as_str()).cmp(&(b.name.as_str(), b.path.as_str())));
    Ok(ProgramList { mode: OnlyListed::Listed, list })
}

/// Returns the path of a program of this host, or `None` if no program has this name or this absolute path.
#[must_use]
pub fn program_path(name: &str) -> Option<String> {
    let path = interpreter::find(name)?;
    lies_in_system(&path).then(|| path.to_string_lossy().into_owned())
}

/// Reason why the names of a list can't be resolved on this host.
#[derive(Debug)]
pub struct ListError(String, bool);

impl ListError {
    /// Returns true if the list is too large for a profile.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        self.1
    }
}

impl std::fmt::Display for ListError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Resolves names on this host.
///
/// # Errors
/// Returns the first program that no list may contain.
pub fn resolve(required: &BTreeSet<Program>, optional: &BTreeSet<Program>) -> Result<ProgramList, ListError> {
    let mut names: Vec<String> = required.iter().map(ToString::to_string).collect();
    let there = |name: &&Program| !name.as_str().contains('*') && interpreter::find(name.as_str()).is_some();
    names.extend(optional.iter().filter(there).map(ToString::to_string));
    let list = list_of(&names).map_err(|why| ListError(why, false))?;
    list.check().map_err(|error| ListError(error.to_string(), true))?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_list_contains_the_interpreters_of_scripts_and_the_programs_that_env_starts() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = dir.path().join("tool");
        for (first_line, expected) in
            [("#!/bin/sh -e\n", &["sh", "tool"][..]), ("#!/usr/bin/env -S A=b sh -x\n", &["env", "sh", "tool"])]
        {
            fs::write(&script, first_line).expect("a file");
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("mode");
            let twice = vec![script.display().to_string(); 2];
            let list = list_of(&twice).expect("a list");
            let names: Vec<&str> = list.list.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, expected, "{first_line}");
        }
    }
}
