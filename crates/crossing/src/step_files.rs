//! The files of a step: checks that the sandbox has a directory for the files, and passes the sealed files to a run.

use documents::{Format, Profile, StepDefinition, Workdir};
use reading::RegisteredStep;
use sandbox::PlannedFile;

/// Reason why the files of a step can't reach a run.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The step starts in a directory of the host, where its files would remain.
    #[error(
        "the step has files, and a run would write them into a directory of the host (workdir=in-place): use the work \
         directory private, copy or overlay, or remove the files"
    )]
    LiveTree,
    /// The registry has no contents of the files.
    #[error("the contents of the step's files are missing: start the service again")]
    NoContents,
}

/// Checks that a run with this profile has a directory of its own for the files of the step.
///
/// # Errors
/// Returns an error if the step has files and starts in a directory of the host.
pub fn check_files(step: &StepDefinition, profile: &Profile) -> Result<(), FilesError> {
    if profile.workdir == Workdir::InPlace && !step.files.is_empty() {
        Err(FilesError::LiveTree)
    } else {
        Ok(())
    }
}

/// Returns the sealed files of a step, for the plan of a run.
///
/// # Errors
/// Returns an error if the registry was built without contents.
pub fn planned_files(step: &RegisteredStep) -> Result<Vec<PlannedFile>, FilesError> {
    let files = &step.definition.files;
    if files.len() != step.contents.len() {
        return Err(FilesError::NoContents);
    }
    // The program for which runnable fences are written puts the files of a page into /tmp.
    let in_tmp = step.definition.format == Format::Runnable;
    let planned = files.iter().zip(&step.contents);
    Ok(planned
        .map(|(file, bytes)| PlannedFile {
            file: file.clone(),
            bytes: bytes.clone(),
            in_tmp,
        })
        .collect())
}
