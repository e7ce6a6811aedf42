//! The files of a run on the host's root file system, and checks whether a run has reached a size limit.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use crate::{
    AtStage as _, HOME, PathAccess, PathGrant, PutFiles, RunRequest, RunTexts, SYSTEM, SetupResult,
    SetupStage, StepPaths, directory_at, file_at, host_paths, interpreter,
    isolation::{
        filesystem::DEVICES,
        run_places, step_files,
        step_paths::begins_in,
        system_paths::{ETC_FILES, ETC_HOST_FILES, etc_directories},
    },
};

/// Creates the files in the run's private directory `run_dir` on the host, and returns the paths that Landlock allows.
/// The user `own_id` owns the step's directories. The service's user owns the script and the parameters.
pub fn host_view(
    request: &RunRequest,
    run_dir: &Path,
    texts: &RunTexts,
    control: &mut UnixStream,
) -> SetupResult<StepPaths> {
    let owner = request.own_id;
    std::env::set_current_dir(run_dir).at(SetupStage::Workdir, "enter the run's directory")?;
    let readable = if owner.is_some() { 0o444 } else { 0o400 };
    let (script, parameters) = (
        interpreter::script_name(&request.interpreter),
        "params.json",
    );
    file_at(script, &texts.source, readable)?;
    file_at(parameters, &texts.params, readable)?;
    for name in ["work", "tmp"] {
        directory_at(name, 0o700)?;
        std::os::unix::fs::chown(name, owner, owner)
            .at(SetupStage::Mounts, format!("give away {name}"))?;
    }
    let mut places = run_places::on_the_host(request, run_dir, texts, control)?;
    let mut grants = std::mem::take(&mut places.grants);
    let mut grant = |path: PathBuf, access| grants.push(PathGrant::new(path, access));
    for path in SYSTEM {
        if Path::new(path).is_dir() {
            grant(path.into(), PathAccess::ReadExecute);
        }
    }
    for path in &request.profile.read {
        grant(path.into(), PathAccess::Signed);
    }
    for path in host_paths(&request.profile.write) {
        grant(path.into(), PathAccess::Write);
    }
    for path in etc_directories().chain(ETC_FILES).chain(ETC_HOST_FILES) {
        if Path::new(path).exists() {
            grant(path.into(), PathAccess::Read);
        }
    }
    for name in DEVICES {
        grant(format!("/dev/{name}").into(), PathAccess::Device);
    }
    grant(run_dir.join(script), PathAccess::Read);
    grant(run_dir.join(parameters), PathAccess::Read);
    grant(run_dir.join("work"), PathAccess::Write);
    grant(run_dir.join("tmp"), PathAccess::Write);
    let work = run_dir.join("work");
    let PutFiles {
        script: beside_files,
        new: new_files,
    } = step_files::write(request, texts, &work, owner)?;
    step_files::link(request, &work, Path::new("tmp"))?;
    Ok(StepPaths {
        home: places.home.clone().unwrap_or_else(|| work.clone()),
        work: begins_in(&request.profile).map_or(work, PathBuf::from),
        masked: None,
        tmp: run_dir.join("tmp"),
        script: beside_files.unwrap_or_else(|| run_dir.join(script)),
        params: run_dir.join(parameters),
        grants,
        places,
        new_files,
    })
}

/// Returns true if a writable file system of this run is full. Only the first process of a run may call this function.
pub fn disk_is_full() -> bool {
    // The work directory of a session is on the file system of the results.
    ["/tmp", HOME, run_places::OUTPUT].into_iter().any(|path| {
        rustix::fs::statvfs(path).is_ok_and(|found| found.f_bavail == 0 || found.f_ffree == 0)
    })
}

/// Maximum number of files whose size is compared with a limit.
pub const MAX_SEEN: usize = 100_000;

/// Returns true if a file in a directory that the step may write has exactly this size. At most [`MAX_SEEN`] files are
/// compared.
pub fn has_file_of_size(view: &StepPaths, bytes: u64) -> bool {
    let writable = |access| matches!(access, PathAccess::Write | PathAccess::WriteNoExecute);
    let trees = view.grants.iter().filter(|grant| writable(grant.access));
    let mut rest: Vec<PathBuf> = trees.map(|grant| grant.path.clone()).collect();
    let mut seen = 0;
    while let Some(directory) = rest.pop() {
        // `DirEntry::metadata` follows no link.
        for (path, found) in fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|one| (one.path(), one.metadata()))
        {
            seen += 1;
            match found {
                _ if seen > MAX_SEEN => return false,
                Ok(found) if found.is_dir() => rest.push(path),
                Ok(found) if found.is_file() && found.len() == bytes => return true,
                _ => {}
            }
        }
    }
    false
}
