//! Runbook directories, and how their files become a registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    FileProblem, FoundStep, LOCK_FILE, LockFile, ReadPage, RegisteredStep, Registry, ScriptCheck,
    SharedSchemas, StepPlace, StoredStep, on_all_cores, read_page, read_text,
    registry::directory_walk::RunbookDirectoryWalk,
};
use documents::{StepDigest, StepRef};

/// Runbook directories, and how their files are read.
#[derive(Clone)]
pub struct RunbookDirectories {
    /// The directories. Their order does not matter.
    pub paths: Vec<PathBuf>,
    /// User who, besides root, may be able to write the files and directories. `None` allows any user.
    pub owner: Option<u32>,
    /// What happens to a file with an error.
    pub invalid: InvalidFiles,
    /// What happens to the lock of a directory.
    pub locks: Locks,
    /// Directory to which the names of the steps are relative. `None`: each step is named relative to its own directory
    /// in `paths`.
    pub within: Option<PathBuf>,
}

/// What happens to a runbook file with an error.
#[derive(Clone, PartialEq)]
pub enum InvalidFiles {
    /// The error prevents the registry.
    Refused,
    /// The registry contains no step of the file. Two files with the same step are both invalid.
    Skipped,
}

/// What happens to the file `countersign.lock` of a runbook directory.
#[derive(Clone, PartialEq)]
pub enum Locks {
    /// The steps of the directory must be the steps of the lock.
    Checked,
    /// The lock is not read.
    Ignored,
}

/// Content of the files, before the steps are registered.
#[derive(Default)]
struct FoundFiles {
    /// Steps with their places, and the index of their directory.
    steps: Vec<(StepPlace, usize, FoundStep)>,
    /// Prefix of the file names of each directory.
    prefixes: Vec<String>,
    remarks: Vec<FileProblem>,
    /// Errors in the content of files.
    errors: Vec<FileProblem>,
    /// Errors of paths, for example a link out of the directory or a file that another user can write. A skipped file
    /// must not hide such an error.
    path_errors: Vec<FileProblem>,
    schemas: SharedSchemas,
}

impl RunbookDirectories {
    /// Returns directories in which every error counts and every lock is checked.
    pub fn strict(paths: Vec<PathBuf>, owner: Option<u32>) -> Self {
        Self {
            paths,
            owner,
            invalid: InvalidFiles::Refused,
            locks: Locks::Checked,
            within: None,
        }
    }

    /// Reads every runbook. Names that begin with a dot are skipped. A symbolic link that leads out of its runbook
    /// directory is an error.
    ///
    /// # Errors
    /// Returns all errors of all files, sorted by file and place.
    pub fn load(&self) -> Result<Registry, Vec<FileProblem>> {
        let FoundFiles {
            steps: found,
            prefixes,
            mut remarks,
            mut errors,
            path_errors,
            schemas,
        } = self.read();
        let homes: BTreeMap<StepRef, usize> = found
            .iter()
            .map(|(_, home, step)| (step.definition.reference.clone(), *home))
            .collect();
        let mut all: Vec<(StepRef, Arc<str>)> = Vec::new();
        if self.invalid == InvalidFiles::Skipped {
            errors.extend(first_of_duplicates(&found));
            all.extend(
                found
                    .iter()
                    .map(|(at, _, step)| (step.definition.reference.clone(), Arc::clone(&at.file))),
            );
        }
        let found = found
            .into_iter()
            .map(|(at, _, step)| (at, StoredStep::found(step)));
        let mut steps = Registry::register_all(found, &schemas, ScriptCheck::Shell, &mut errors);
        errors.extend(plan_errors(&steps));
        errors.sort();
        let mut skipped = Vec::new();
        if self.invalid == InvalidFiles::Skipped {
            // An error in the script of a step can name another file than the file of the step, so the files of the
            // missing steps are skipped too.
            let refused = all
                .iter()
                .filter(|(step, _)| !steps.contains_key(step))
                .map(|(_, file)| file.to_string());
            let refused = refused.collect();
            skipped = skip(
                std::mem::take(&mut errors),
                refused,
                &mut steps,
                &mut remarks,
            );
        }
        errors.extend(path_errors);
        if self.locks == Locks::Checked {
            let objections = self.objections(&steps, &homes, &prefixes, !errors.is_empty());
            if !objections.is_empty() {
                // A skipped file may be the reason why a locked step is missing.
                errors.extend(skipped.iter().cloned());
            }
            errors.extend(objections);
        }
        remarks.sort();
        Ok(Registry {
            remarks,
            skipped,
            ..Registry::seal(steps, errors)?
        })
    }

    /// Returns the registry without the files that have these errors. The errors are known only after policy and host
    /// have judged the steps.
    ///
    /// # Errors
    /// Returns the errors if no file may be skipped, or if a directory has a lock, because all steps of a lock must
    /// exist.
    pub fn without(
        &self,
        registry: &Registry,
        errors: Vec<FileProblem>,
    ) -> Result<Registry, Vec<FileProblem>> {
        let locked = self.locks == Locks::Checked
            && self
                .paths
                .iter()
                .any(|dir| !matches!(LockFile::read(dir, self.owner), Ok(None)));
        if self.invalid == InvalidFiles::Refused || locked {
            return Err(errors);
        }
        let (mut steps, mut remarks) = ((*registry.steps).clone(), registry.remarks.clone());
        let mut skipped = skip(errors, BTreeSet::new(), &mut steps, &mut remarks);
        skipped.extend(registry.skipped.iter().cloned());
        skipped.sort();
        Ok(Registry {
            remarks,
            skipped,
            ..Registry::seal(steps, Vec::new())?
        })
    }

    fn read(&self) -> FoundFiles {
        let mut found = FoundFiles::default();
        for (home, dir) in self.paths.iter().enumerate() {
            let is_prefixed = self.paths.len() > 1 && self.within.is_none();
            let prefix = if is_prefixed {
                format!("{}/", dir.display())
            } else {
                String::new()
            };
            let mut walk =
                RunbookDirectoryWalk::through(dir, self.within.as_deref(), prefix, self.owner);
            let read = |(relative, path): &(String, PathBuf)| {
                let page = read_text(path).map(|text| read_page(relative, path, &text, self.owner));
                let mut page = page.unwrap_or_else(ReadPage::of_flaws);
                page.steps
                    .iter_mut()
                    .for_each(|step| found.schemas.share(&mut step.definition));
                page
            };
            let pages = on_all_cores(walk.files.iter().collect(), read);
            for ((relative, _), page) in walk.files.iter().zip(pages) {
                let file: Arc<str> = format!("{}{relative}", walk.prefix).into();
                if page.flaws.is_empty() {
                    found
                        .remarks
                        .extend(FileProblem::of_flaws(&*file, page.remarks));
                }
                // If files with errors prevent the registry, the steps of such a file are added too, so that their
                // errors are reported.
                if page.flaws.is_empty() || self.invalid == InvalidFiles::Refused {
                    found.steps.extend(
                        page.steps
                            .into_iter()
                            .map(|step| (step.place_in(&file), home, step)),
                    );
                }
                found
                    .errors
                    .extend(FileProblem::of_flaws(&*file, page.flaws));
            }
            found.remarks.append(&mut walk.remarks);
            found.path_errors.append(&mut walk.errors);
            found.prefixes.push(walk.prefix);
        }
        found
            .steps
            .sort_by(|(a, ..), (b, ..)| (&a.file, a.place).cmp(&(&b.file, b.place)));
        found
    }

    /// Returns an error for each step that differs from the lock of its directory. `incomplete` is true if an error
    /// already explains why steps are missing.
    fn objections(
        &self,
        steps: &BTreeMap<StepRef, Arc<RegisteredStep>>,
        homes: &BTreeMap<StepRef, usize>,
        prefixes: &[String],
        incomplete: bool,
    ) -> Vec<FileProblem> {
        let mut errors = Vec::new();
        for (home, (dir, prefix)) in self.paths.iter().zip(prefixes).enumerate() {
            let file = format!("{prefix}{LOCK_FILE}");
            // If the directory itself is missing, another error already says so.
            let lock = match LockFile::read(dir, self.owner) {
                Ok(Some(lock)) => lock,
                Ok(None) => continue,
                Err(message) => {
                    errors.push(FileProblem::whole(&file, message));
                    continue;
                }
            };
            let here = steps
                .iter()
                .filter(|(reference, _)| homes.get(*reference) == Some(&home));
            let digests: BTreeMap<StepRef, StepDigest> = here
                .map(|(reference, step)| (reference.clone(), step.digest))
                .collect();
            for (reference, message) in lock.objections(&digests) {
                // A step with this ref in another directory is not the step of this lock.
                let step = steps
                    .get(&reference)
                    .filter(|_| digests.contains_key(&reference));
                match step.and_then(|step| step.place.as_ref()) {
                    Some(at) => errors.push(FileProblem::of_step(at, message)),
                    None if incomplete => {}
                    None => errors.push(FileProblem::whole(&file, message)),
                }
            }
        }
        errors
    }
}

/// Removes the steps and the remarks of each file with an error, and of each file in `refused`. Returns the first error
/// of each file.
fn skip(
    mut errors: Vec<FileProblem>,
    mut refused: BTreeSet<String>,
    steps: &mut BTreeMap<StepRef, Arc<RegisteredStep>>,
    remarks: &mut Vec<FileProblem>,
) -> Vec<FileProblem> {
    errors.sort();
    errors.dedup_by(|later, first| later.file == first.file);
    refused.extend(errors.iter().map(|error| error.file.clone()));
    steps.retain(|_, step| {
        step.place
            .as_ref()
            .is_none_or(|at| !refused.contains(&*at.file))
    });
    remarks.retain(|remark| !refused.contains(&remark.file));
    errors
}

/// Returns an error for the first place of each step that exists twice. The later places have their errors already.
fn first_of_duplicates(found: &[(StepPlace, usize, FoundStep)]) -> Vec<FileProblem> {
    let mut first: BTreeMap<&StepRef, &StepPlace> = BTreeMap::new();
    let mut errors = Vec::new();
    for (at, _, step) in found {
        let reference = &step.definition.reference;
        match first.get(reference) {
            None => {
                first.insert(reference, at);
            }
            Some(other) => {
                let StepPlace { file, place, .. } = at;
                let message = format!(
                    "the step {reference} is also at {file}:{place}: change the id of one of the two steps"
                );
                errors.push(FileProblem::of_step(other, message));
            }
        }
    }
    errors
}

/// Returns an error for each step whose plan is no registered step, or takes other parameters. The parameters of a plan
/// and of the step that applies it are equal, so both have the same names.
fn plan_errors(steps: &BTreeMap<StepRef, Arc<RegisteredStep>>) -> Vec<FileProblem> {
    let names = |step: &RegisteredStep| -> BTreeSet<String> {
        let keys = step.definition.params.keys();
        keys.map(|(name, _)| name.clone()).collect()
    };
    let objection = |step: &RegisteredStep| {
        let plan = step.definition.plan.as_ref()?;
        match steps.get(&plan.step) {
            None => Some(format!(
                "the plan {} is no registered step: check the name in `plan`",
                plan.step
            )),
            Some(planned) if names(planned) != names(step) => Some(format!(
                "{} plans this step, but takes other parameters: give both steps the same `params`",
                plan.step
            )),
            Some(_) => None,
        }
    };
    let found = steps
        .values()
        .filter_map(|step| Some((step.place.as_ref()?, objection(step)?)));
    found
        .map(|(place, message)| FileProblem::of_step(place, message))
        .collect()
}
