//! The secrets of a run: their files, and their variables.
//!
//! The files are in a memory file system of the run, which the kernel never writes to a disk or to swap space. Only a
//! run with its own root file system has such files.

use std::path::Path;

use rustix::mount::MountFlags;

use crate::{
    AtStage, PlannedSecret, RunRequest, RunTexts, SetupResult, SetupStage, directory_at,
    isolation::{
        mounts::{READ_DATA, new_file, seal},
        planned_secret::SECRETS,
        protocol::SecretEntry,
    },
    secret_path,
};

/// Returns the description of a secret for the first process of a run.
pub fn entry_of(secret: &PlannedSecret) -> SecretEntry {
    SecretEntry {
        name: secret.name.clone(),
        bytes: secret.value.expose().len() as u64,
        as_file: secret.as_file,
        variable: secret.variable.clone(),
    }
}

/// Mounts the directory with the secret files. The current directory is the new root of the run, and the process has the
/// user id of the step.
pub fn mount(request: &RunRequest, texts: &RunTexts) -> SetupResult {
    let mut files = request
        .secrets
        .iter()
        .zip(&texts.secrets)
        .filter(|(secret, _)| secret.as_file)
        .peekable();
    if files.peek().is_none() {
        return Ok(());
    }
    let what = "mount the directory of the secrets";
    directory_at(SECRETS, 0o500)?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Unlike a tmpfs, a ramfs is never written to swap space. Its size has no limit, so it is read-only for the step.
    rustix::mount::mount("ramfs", SECRETS, "ramfs", quiet, c"mode=0500")
        .at(SetupStage::Mounts, what)?;
    for (secret, value) in files {
        let name = secret.name.as_str();
        new_file(&Path::new(SECRETS).join(name), value.expose(), 0o400)
            .at(SetupStage::Mounts, format!("write the secret {name}"))?;
    }
    seal(SECRETS, READ_DATA).at(SetupStage::Mounts, what)
}

/// Returns the variables of the secrets: a value, or the path of a file.
pub fn variables<'a>(
    request: &'a RunRequest,
    texts: &'a RunTexts,
) -> impl Iterator<Item = (&'a str, zeroize::Zeroizing<Vec<u8>>)> {
    request
        .secrets
        .iter()
        .zip(&texts.secrets)
        .filter_map(|(secret, value)| {
            let given = if secret.as_file {
                secret_path(&secret.name).into_bytes()
            } else {
                value.expose().to_vec()
            };
            Some((secret.variable.as_deref()?, given.into()))
        })
}
