//! Session of a walk: what the steps of one command carry to the steps after them.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::local::environment::InheritedEnvironment;
use client::{CommandResult, PrintableText, fail_refused, typed};
use documents::{Format, Profile, Workdir};
use reading::RegisteredStep;
use sandbox::{
    CapturedFile, End, GivenToRun, MAX_RESULT_FILES, PlannedSession, Report, ResultLimits,
    RunResults, SecretMasks, SessionTree, ShellState, always_readable, wrapper_for,
};

/// Exit codes after which the outputs of a step count: success, and success with a warning.
const CAPTURED: [u8; 2] = [0, 2];
/// Beginning of the parameters for `{{ .outputs.block.key }}`.
const OF_TEMPLATES: &str = "outputs_";
/// Maximum number of files that a note names.
const MAX_NAMED: usize = 5;

/// Outputs of the steps of a walk, by the names of parameters. If two steps wrote a name, the later value counts.
pub type StepOutputs = BTreeMap<String, String>;

/// What the steps of a walk leave for the steps after them.
#[derive(Default)]
pub struct WalkSession {
    /// True if each step begins with the variables and in the directory of the step before. Otherwise a step leaves
    /// only files and outputs.
    pub carries_state: bool,
    /// Variables and directory that the steps left.
    pub state: ShellState,
    /// Work directory that the steps left.
    pub tree: Option<Arc<SessionTree>>,
    /// Outputs of the steps so far.
    pub outputs: StepOutputs,
    /// Notes that the person sees before the next step.
    pub notes: Vec<String>,
    /// Files of `$COUNTERSIGN_OUTPUT` by their paths, or `None` if nobody needs them.
    pub files: Option<BTreeMap<String, CapturedFile>>,
    /// True if only the files of the last step are kept.
    pub only_last_files: bool,
}

/// What a step gets besides its session.
pub struct StepSurroundings {
    /// Id of the step.
    pub step: String,
    /// Profile of the run.
    pub profile: Profile,
    /// Variables that the step inherits from the environment of the person.
    pub inherited: Vec<(String, String)>,
    /// Scratch directory of the command. Its content is different for each run.
    pub scratch: PathBuf,
    /// Variables of secrets, which no later step gets.
    pub secret_variables: Vec<String>,
    /// Masks of the secrets of the run.
    pub masks: Option<Arc<SecretMasks>>,
}

impl WalkSession {
    /// Returns a session that begins with these variables, and that keeps the files of `$COUNTERSIGN_OUTPUT`.
    pub fn of_test(env: &[(String, String)]) -> Self {
        let state = ShellState {
            env: env.iter().map(as_bytes).collect(),
            ..ShellState::default()
        };
        Self {
            state,
            files: Some(BTreeMap::new()),
            carries_state: true,
            ..Self::default()
        }
    }

    /// Returns an output of a step.
    pub fn output(&self, step: &str, key: &str) -> Option<&str> {
        self.outputs
            .get(&template_parameter(step, key))
            .map(String::as_str)
    }

    /// Returns the part of the session for the plan of a step.
    ///
    /// # Errors
    /// Returns an error if the directory of the step before no longer exists. In another directory, the same script
    /// could do harm.
    pub fn plan(&self, step: &RegisteredStep) -> CommandResult<PlannedSession> {
        let definition = &step.definition;
        let own = self.tree.as_ref().map(|tree| tree.path());
        if let Some(cwd) = self
            .state
            .cwd
            .as_deref()
            .map(|cwd| Path::new(std::ffi::OsStr::from_bytes(cwd)))
            && !own.is_some_and(|own| cwd.starts_with(own))
            && !cwd.is_dir()
        {
            let cwd = cwd.display().to_string();
            return fail_refused(format!(
                "no part of {} was run: the step before ended in the directory {}, which was not kept: keep it with \
                     --allow-write, or begin each step with its own cd",
                definition.reference,
                PrintableText::text(&cwd)
            ));
        }
        Ok(PlannedSession {
            env: self
                .state
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            unset: self.state.unset.iter().cloned().collect(),
            cwd: self.state.cwd.clone(),
            tree: self.tree.clone(),
            wrapper: wrapper_for(definition.source.as_bytes(), &definition.interpreter)
                .filter(|_| self.carries_state),
        })
    }

    /// Removes the variables that the session sets or has removed.
    pub fn apply(&self, inherited: &mut InheritedEnvironment) {
        inherited
            .variables
            .retain(|(name, _)| !self.state.decides(name.as_bytes()));
    }

    /// Takes what a step left.
    pub fn take(&mut self, report: &Report, around: &StepSurroundings) {
        if let Some(files) = self.files.as_mut().filter(|_| self.only_last_files) {
            files.clear();
        }
        let Some(results) = &report.results else {
            return;
        };
        // A shell that gets a signal may still write its state, but the step did not come to its end.
        let ended = matches!(report.end, End::Exited(_));
        let captured = results
            .session_state()
            .filter(|_| ended && self.carries_state)
            .unwrap_or_default();
        let given = given(around, results.work());
        let holds_secret = |bytes: &[u8]| {
            around
                .masks
                .as_ref()
                .is_some_and(|masks| masks.contains(bytes))
        };
        match self.state.after(&captured, &given) {
            Ok(mut state) => {
                state.env.retain(|_, value| !holds_secret(value));
                state.cwd = state.cwd.filter(|cwd| !holds_secret(cwd));
                self.state = state;
            }
            Err(error) => self.notes.push(format!(
                "the variables and the directory of {} are not carried to the next step: {error}",
                around.step
            )),
        }
        let lost = ShellState::lost_directory(&captured, &given);
        let gone = self
            .state
            .cwd
            .take_if(|cwd| is_of_one_run(cwd, around, results));
        if let Some(directory) = lost.or(gone) {
            self.notes.push(format!(
                "{} ended in {}, which no other step sees: the next step starts in its work directory",
                around.step,
                PrintableText::text(&String::from_utf8_lossy(&directory))
            ));
        }
        let tree = results
            .work()
            .filter(|tree| around.masks.is_none() || !tree.contains(&holds_secret).unwrap_or(true));
        if tree.is_none() && results.work().is_some() {
            self.notes.push(format!(
                "the files of {} contain a secret, so the next step does not get them",
                around.step
            ));
        }
        self.tree = tree.cloned().or_else(|| self.tree.take());
        if matches!(&report.end, End::Exited(code) if CAPTURED.contains(code)) {
            self.take_outputs(results, &around.step, &holds_secret);
            self.take_files(results, around);
        }
    }

    fn take_files(&mut self, results: &RunResults, around: &StepSurroundings) {
        let Some(files) = &mut self.files else { return };
        let limits = ResultLimits {
            files: MAX_RESULT_FILES,
            bytes: around.profile.limits.disk_bytes,
        };
        match results.files(&limits) {
            Ok(found) => files.extend(
                found
                    .into_iter()
                    .map(|file| (file.path.as_str().to_owned(), file)),
            ),
            Err(error) => self.notes.push(format!(
                "the files of {} are left out: {error}",
                around.step
            )),
        }
    }

    fn take_outputs(
        &mut self,
        results: &RunResults,
        step: &str,
        holds_secret: &dyn Fn(&[u8]) -> bool,
    ) {
        match results.outputs() {
            Ok(outputs) => {
                for (key, value) in outputs {
                    if holds_secret(&value) {
                        self.notes.push(format!(
                            "the output {key} of {step} contains a secret, and is left out"
                        ));
                        continue;
                    }
                    match String::from_utf8(value) {
                        Ok(value) => {
                            self.outputs
                                .insert(template_parameter(step, &key), value.clone());
                            self.outputs.insert(key, value);
                        }
                        Err(_) => self.notes.push(format!(
                            "the output {key} of {step} is not UTF-8, and is left out"
                        )),
                    }
                }
            }
            Err(error) => self
                .notes
                .push(format!("the outputs of {step} are left out: {error}")),
        }
    }
}

/// Returns a note about the files that a step left in `$COUNTERSIGN_OUTPUT`, which `countersign run` does not keep.
pub fn files_note(results: &RunResults, limits: &ResultLimits) -> Option<String> {
    let files = match results.files(limits) {
        Ok(files) if files.is_empty() => return None,
        Ok(files) => files,
        Err(error) => return Some(format!("note: {error}")),
    };
    let mut names: Vec<&str> = files
        .iter()
        .take(MAX_NAMED)
        .map(|file| file.path.as_str())
        .collect();
    if files.len() > MAX_NAMED {
        names.push("...");
    }
    Some(format!(
        "note: `countersign run` keeps no files of $COUNTERSIGN_OUTPUT: {}; write them to the working directory with \
         --allow-write .",
        PrintableText::text(&names.join(", "))
    ))
}

fn given(around: &StepSurroundings, tree: Option<&Arc<SessionTree>>) -> GivenToRun {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let profile = &around.profile;
    let paths = profile
        .write
        .iter()
        .chain(&profile.read)
        .map(|path| path.as_bytes().to_vec());
    let everything = profile.off_reason.is_some().then(|| b"/".to_vec());
    let work = match profile.workdir {
        Workdir::Private => tree.map(|tree| bytes(tree.path())),
        Workdir::InPlace | Workdir::Overlay | Workdir::Copy => {
            profile.write.first().map(|path| path.as_bytes().to_vec())
        }
    };
    GivenToRun {
        env: around.inherited.iter().map(as_bytes).collect(),
        fixed: around
            .secret_variables
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect(),
        work,
        directories: paths
            .chain(always_readable().map(bytes))
            .chain(everything)
            .collect(),
    }
}

/// Returns a variable as the sandbox takes it.
fn as_bytes((name, value): &(String, String)) -> (Vec<u8>, Vec<u8>) {
    (name.clone().into_bytes(), value.clone().into_bytes())
}

/// Returns true if the directory belongs to one run on the host, such as its directory for temporary files. Only the
/// work directory continues in the next run.
fn is_of_one_run(cwd: &[u8], around: &StepSurroundings, results: &RunResults) -> bool {
    let cwd = Path::new(std::ffi::OsStr::from_bytes(cwd));
    let continues = results
        .work()
        .is_some_and(|tree| cwd.starts_with(tree.path()));
    cwd.starts_with(&around.scratch) && !continues
}

/// Returns the name of the parameter through which a Gruntwork template receives an output.
fn template_parameter(step: &str, key: &str) -> String {
    format!("{OF_TEMPLATES}{step}_{key}").replace('-', "_")
}

/// Adds the outputs of earlier steps to the parameters of a step, unless the person gave a value. A parameter has the
/// name of the output. In a Gruntwork template, `{{ .outputs.block.key }}` is the parameter `outputs_block_key`.
///
/// # Errors
/// Returns an error if an output does not have the type of its parameter.
pub fn add_outputs(
    step: &RegisteredStep,
    outputs: &StepOutputs,
    own: &mut Map<String, Value>,
) -> CommandResult<()> {
    let schema = &step.definition.params;
    let is_template = step.definition.format == Format::Gruntwork;
    for (name, value) in outputs
        .iter()
        .filter(|(name, _)| !is_template || name.starts_with(OF_TEMPLATES))
    {
        if !own.contains_key(name) && schema.key(name).is_some() {
            let (name, value) = typed(&format!("{name}={value}"), schema)?;
            own.insert(name, value);
        }
    }
    Ok(())
}

/// Returns true if an earlier step of the walk may give the parameter as an output.
pub fn may_come_from(earlier: &RegisteredStep, name: &str) -> bool {
    let block = template_parameter(earlier.definition.reference.step(), "");
    let is_named = if earlier.definition.format == Format::Gruntwork {
        name.starts_with(&block)
    } else {
        true
    };
    is_named && earlier.definition.source.contains("RUNBOOK_OUTPUT")
}
