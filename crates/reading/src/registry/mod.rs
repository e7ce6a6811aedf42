//! Registry: the sealed set of steps.
//!
//! The registry is built once, from the runbook directories or from the definitions of a seal. After that, no step can
//! be added or changed. The files are read only while the registry is built, so the source that runs is the source that
//! was hashed.
pub mod attributes;
mod call_habits;
pub mod declared_needs;
pub mod directory_walk;
pub mod evaluate;
pub mod fence_remarks;
pub mod fenced_block;
pub mod file_problem;
pub mod found_step;
pub mod front_matter;
pub mod gruntwork;
pub mod lock_file;
pub mod markdown;
pub mod on_all_cores;
pub mod page;
pub mod parameter_schema;
mod placeholders;
pub mod prose_tree;
pub mod runbook_directories;
pub mod rundown;
pub mod runnable;
pub mod script_remarks;
pub mod step_contents;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::Path,
    sync::Arc,
};

use crate::{
    FileProblem, RegisteredStep, ScriptCheck, ScriptOrigin, SharedSchemas, Shell, StepPlace,
    StoredStep, TextPlace, Workflow, on_all_cores, read_page, read_text,
    registry::step_contents::register, script_remarks, shell::commands::names_set_in,
};
use documents::{
    BlobDigest, ContentDigest, RegistryLeaf, RegistryRoot, SessionUse, StepDefinition, StepRef,
    canonical_of, merkle,
};

/// Sealed set of steps.
#[derive(Debug, Clone)]
pub struct Registry {
    // Copies of a registry share the large parts.
    steps: Arc<BTreeMap<StepRef, Arc<RegisteredStep>>>,
    manifest: Arc<[u8]>,
    /// Hashes of all complete subtrees, one list for each height, so that a proof needs no new hash. The first list
    /// contains the leaf hashes in the order of `steps`.
    tree: Arc<Vec<Vec<merkle::Hash>>>,
    /// Remarks about the runbook files, except remarks about scripts.
    remarks: Vec<FileProblem>,
    /// First error of each file that was skipped, sorted by file.
    skipped: Vec<FileProblem>,
}

/// Steps of one runbook file.
pub struct FileSteps {
    /// Steps in file order.
    pub steps: Vec<Arc<RegisteredStep>>,
    /// Order of the steps, if the file is a Rundown runbook.
    pub workflow: Option<Workflow>,
    /// Remarks about the file and its scripts, in file order.
    pub remarks: Vec<FileProblem>,
}

/// Proof that a step is in the registry. A bundle contains such a proof.
#[derive(Debug, PartialEq)]
pub struct RegistryProof {
    /// Index of the step among the leaves, from 0.
    pub index: u64,
    /// Number of leaves.
    pub size: u64,
    /// Hashes of the inclusion proof, lowest first.
    pub hashes: Vec<merkle::Hash>,
}

impl Registry {
    /// Reads one runbook for the command `run`. `name` is the path in the step references, with the file ending.
    /// `shown` is the name of the file in errors.
    ///
    /// # Errors
    /// Returns all errors of the file, sorted by place.
    pub fn of_file(path: &Path, name: &str, shown: &str) -> Result<FileSteps, Vec<FileProblem>> {
        let all = |flaws| FileProblem::of_flaws(shown, flaws);
        let text = read_text(path).map_err(all)?;
        let read = read_page(name, path, &text, None)
            .without_flaws()
            .map_err(all)?;
        let file: Arc<str> = shown.into();
        let mut found = read.steps;
        let workflow = if name.ends_with(".runbook.md") {
            Some(rundown::read_workflow(&text).map_err(all)?)
        } else {
            None
        };
        found.sort_by_key(|step| step.place);
        let references: Vec<StepRef> = found
            .iter()
            .map(|step| step.definition.reference.clone())
            .collect();
        let registry = Self::of_found(
            found
                .into_iter()
                .map(|step| (step.place_in(&file), StoredStep::found(step))),
        )?;
        let steps = references
            .iter()
            .filter_map(|step| registry.get(step).cloned())
            .collect();
        let mut remarks: Vec<FileProblem> = all(read.remarks);
        remarks.extend(registry.remarks());
        remarks.sort();
        Ok(FileSteps {
            steps,
            workflow,
            remarks,
        })
    }

    /// Builds the sealed registry again from the stored definitions, because the sealed steps stay in force even if the
    /// files have changed. The registry has no contents of files, so its steps can be judged but not run.
    ///
    /// # Errors
    /// Returns the errors of all steps that this version can't seal or run.
    pub fn from_definitions(
        definitions: impl IntoIterator<Item = StepDefinition>,
    ) -> Result<Self, Vec<FileProblem>> {
        Self::from_stored(
            definitions
                .into_iter()
                .map(|step| StoredStep::Read(Box::new(step), Vec::new())),
        )
    }

    /// Builds the sealed registry from stored steps, some of which another registry may already contain.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::from_definitions`].
    pub fn from_stored(
        steps: impl IntoIterator<Item = StoredStep>,
    ) -> Result<Self, Vec<FileProblem>> {
        let named = steps.into_iter().map(|step| {
            let (file, place) = (Arc::from(step.reference().as_str()), TextPlace::default());
            (
                StepPlace {
                    file,
                    place,
                    script: ScriptOrigin::Below(0),
                    added: (0, 0),
                },
                step,
            )
        });
        Self::of_found(named)
    }

    fn of_found(
        found: impl IntoIterator<Item = (StepPlace, StoredStep)>,
    ) -> Result<Self, Vec<FileProblem>> {
        let mut errors = Vec::new();
        let steps = Self::register_all(
            found,
            &SharedSchemas::default(),
            ScriptCheck::Template,
            &mut errors,
        );
        Self::seal(steps, errors)
    }

    /// Registers the steps, and adds an error for each step that is no valid step or exists already.
    fn register_all(
        found: impl IntoIterator<Item = (StepPlace, StoredStep)>,
        schemas: &SharedSchemas,
        check: ScriptCheck,
        errors: &mut Vec<FileProblem>,
    ) -> BTreeMap<StepRef, Arc<RegisteredStep>> {
        let mut steps: BTreeMap<StepRef, Arc<RegisteredStep>> = BTreeMap::new();
        let mut places: BTreeMap<String, (StepRef, Arc<str>, TextPlace)> = BTreeMap::new();
        let mut found = found.into_iter();
        loop {
            let batch: Vec<_> = found.by_ref().take(STEPS_AT_ONCE).collect();
            if batch.is_empty() {
                return steps;
            }
            let registered = on_all_cores(batch, |(at, stored)| {
                let reference = stored.reference().clone();
                let step = match stored {
                    StoredStep::Known(step) => Ok(step),
                    StoredStep::Read(definition, contents) => {
                        register(*definition, contents, &at, schemas, ScriptCheck::Sealed)
                    }
                    StoredStep::Found(definition, contents) => {
                        register(*definition, contents, &at, schemas, check)
                    }
                };
                (at, reference, step)
            });
            for (at, reference, step) in registered {
                // People confuse names that differ only in capital letters, so runbook files can't contain both. Sealed
                // steps with such names are still accepted.
                let (name, is_sealed) = (reference.as_str(), at.place.line == 0);
                let name = if is_sealed {
                    name.to_owned()
                } else {
                    name.to_ascii_lowercase()
                };
                match places.entry(name) {
                    Entry::Vacant(first) => {
                        first.insert((reference.clone(), Arc::clone(&at.file), at.place));
                    }
                    Entry::Occupied(first) => {
                        let (other, file, first) = first.get();
                        let message = format!(
                            "the step {reference} already exists at {file}:{first} as {other}: change the id of one of the two steps"
                        );
                        // The reader of a file has already reported an id that the file contains twice.
                        if is_sealed || *other != reference || *file != at.file {
                            errors.push(FileProblem::of_step(&at, message));
                        }
                    }
                }
                match step {
                    Ok(step) => {
                        steps.entry(reference).or_insert_with(|| Arc::new(step));
                    }
                    Err(error) => errors.extend(error),
                }
            }
        }
    }

    /// Returns the registry of these steps.
    ///
    /// # Errors
    /// Returns the given errors and the errors of the registry itself, sorted.
    fn seal(
        steps: BTreeMap<StepRef, Arc<RegisteredStep>>,
        mut errors: Vec<FileProblem>,
    ) -> Result<Self, Vec<FileProblem>> {
        let leaves: Vec<RegistryLeaf> = steps
            .iter()
            .map(|(reference, step)| RegistryLeaf {
                digest: step.digest,
                reference: reference.clone(),
            })
            .collect();
        let mut hashes = Vec::with_capacity(leaves.len());
        for leaf in &leaves {
            match canonical_of(leaf) {
                Ok(bytes) => hashes.push(merkle::leaf_hash(&bytes)),
                Err(error) => errors.push(FileProblem::whole(
                    leaf.reference.as_str(),
                    error.to_string(),
                )),
            }
        }
        match canonical_of(&leaves) {
            Ok(manifest) if errors.is_empty() => {
                let (steps, manifest, tree) =
                    (steps.into(), manifest.into(), levels(hashes).into());
                Ok(Self {
                    steps,
                    manifest,
                    tree,
                    remarks: Vec::new(),
                    skipped: Vec::new(),
                })
            }
            manifest => {
                errors.extend(
                    manifest.err().map(|error| {
                        FileProblem::whole("the registry's manifest", error.to_string())
                    }),
                );
                errors.sort();
                errors.dedup();
                Err(errors)
            }
        }
    }

    /// Returns the steps, sorted by the bytes of their refs. The leaves have the same order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &Arc<RegisteredStep>> {
        self.steps.values()
    }

    /// Returns facts about the runbook files that a person should know and that are no errors, sorted by file and
    /// place. A registry that was built from stored steps has no remarks.
    pub fn remarks(&self) -> Vec<FileProblem> {
        let mut remarks = self.remarks.clone();
        remarks.extend(self.steps().flat_map(|step| script_remarks(step)));
        remarks.sort();
        remarks
    }

    /// Returns the first error of each runbook file that the registry leaves out, sorted by file. Only
    /// [`runbook_directories::InvalidFiles::Skipped`] leaves out a file.
    pub fn skipped(&self) -> &[FileProblem] {
        &self.skipped
    }

    /// Returns, for each runbook, the variables that its session carries from run to run: those that the scripts of its
    /// steps with `session=write` set or export by name.
    pub fn session_names(&self) -> BTreeMap<String, Arc<BTreeSet<String>>> {
        let mut names: BTreeMap<String, Arc<BTreeSet<String>>> = BTreeMap::new();
        for step in self
            .steps()
            .filter(|step| step.definition.session == SessionUse::Write)
        {
            let Some(shell) = Shell::of(&step.definition.interpreter) else {
                continue;
            };
            let of_runbook = names
                .entry(step.definition.reference.path().to_owned())
                .or_default();
            Arc::make_mut(of_runbook).extend(names_set_in(shell, &step.sample().source));
        }
        names
    }

    /// Returns the step with this ref.
    pub fn get(&self, reference: &StepRef) -> Option<&Arc<RegisteredStep>> {
        self.steps.get(reference)
    }

    /// Returns the blob that a seal names as `registry`: the canonical JSON array of the leaves.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Returns the leaves of the registry, sorted like [`Self::steps`].
    pub fn leaves(&self) -> impl Iterator<Item = RegistryLeaf> {
        self.steps.iter().map(|(reference, step)| RegistryLeaf {
            digest: step.digest,
            reference: reference.clone(),
        })
    }

    /// Returns the blobs that a seal of this registry names: the manifest, the definitions, and the contents of files.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobDigest, Vec<u8>)> {
        let steps = self.steps.values().map(|step| {
            (
                BlobDigest::from_bytes(*step.digest.as_bytes()),
                step.canonical(),
            )
        });
        let of_step = |step: &Arc<RegisteredStep>| {
            let files = step.definition.files.iter().map(|file| file.digest);
            files.zip(step.contents.clone()).collect::<Vec<_>>()
        };
        // Several steps can have the same file.
        let contents: BTreeMap<ContentDigest, Arc<[u8]>> =
            self.steps.values().flat_map(of_step).collect();
        let contents = contents
            .into_iter()
            .map(|(digest, bytes)| (BlobDigest::from_bytes(*digest.as_bytes()), bytes.to_vec()));
        [(BlobDigest::of(&self.manifest), self.manifest.to_vec())]
            .into_iter()
            .chain(steps)
            .chain(contents)
    }

    /// Returns the RFC 6962 root over the canonical leaves.
    pub fn root(&self) -> RegistryRoot {
        RegistryRoot::from_bytes(merkle::root(&self.tree[0]))
    }

    /// Returns the proof of the step at this index in [`Self::steps`].
    pub fn proof_at(&self, index: usize) -> Option<RegistryProof> {
        let (index, size) = (index as u64, self.tree[0].len() as u64);
        let subtree = |level: u8, index: u64| -> Result<merkle::Hash, ()> {
            let level = self.tree.get(usize::from(level)).ok_or(())?;
            usize::try_from(index)
                .ok()
                .and_then(|index| level.get(index))
                .copied()
                .ok_or(())
        };
        // `tree` contains the hash of every complete subtree, so this call always succeeds.
        let hashes = merkle::inclusion_path(index, size, subtree).ok()??;
        Some(RegistryProof {
            index,
            size,
            hashes,
        })
    }
}

/// Number of steps that are registered at once, so that only these are in memory before their parameter schemas are
/// shared.
const STEPS_AT_ONCE: usize = 256;

/// Returns the hashes of all complete subtrees over these leaves, one list for each height.
fn levels(leaves: Vec<merkle::Hash>) -> Vec<Vec<merkle::Hash>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let (pairs, _) = below.as_chunks::<2>();
        let above = pairs
            .iter()
            .map(|[left, right]| merkle::node_hash(left, right))
            .collect();
        levels.push(above);
    }
    levels
}

#[cfg(test)]
mod tests;
