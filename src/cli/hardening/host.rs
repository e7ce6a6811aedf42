//! Points about the host: isolation of the machine, user of the service, modes of files.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::{
    Config, DoctorFinding,
    cli::doctor::finding::{fail, pass, yours},
    in_a_shell,
};
use client::lock_digest;
use documents::Level;

/// Reminds the operator to check where the program comes from.
pub fn program() -> Vec<DoctorFinding> {
    vec![yours(format!(
        "countersign {} with the dependencies of Cargo.lock {}: compare the digest with the release \
         (`countersign --version --long`, SHA256SUMS of the packages)",
        env!("CARGO_PKG_VERSION"),
        lock_digest()
    ))]
}

/// Checks the sandbox level, and whether the machine runs only this service. `is_sound` is true if `doctor`, which reports
/// each missing layer, reports no problem.
pub fn isolation(config: &Config, is_sound: bool) -> Vec<DoctorFinding> {
    let level = match config.sandbox.level {
        Level::Strict => is_sound.then(|| pass("runs have the sandbox level strict")),
        configured => Some(fail(
            format!("the configured sandbox level is {}", configured.word()),
            "set `level = \"strict\"` in [sandbox] of countersign.toml",
        )),
    };
    level.into_iter().chain([machine()]).collect()
}

/// Finds out if the service is isolated in a container or a virtual machine.
fn machine() -> DoctorFinding {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        return yours("the service is in a container: run no other service in this container");
    }
    if read("/proc/cpuinfo")
        .lines()
        .any(|line| line.starts_with("flags") && line.contains(" hypervisor"))
    {
        return yours("the service is in a virtual machine: run no other service on this machine");
    }
    yours(
        "no container and no VM was found: give the boundary a separate machine, VM or container, so that an exploit \
         of the kernel reaches nothing else",
    )
}

/// Returns the path and the owner of the store. The owner of the store is taken as the user of the service.
fn store_owner(config: &Config) -> Option<(&Path, u32)> {
    let places = config.database.file().into_iter().chain([&*config.data]);
    places
        .into_iter()
        .find_map(|path| Some((path, path.metadata().ok()?.uid())))
}

/// Checks that the service does not run as root.
pub fn user(config: &Config) -> Vec<DoctorFinding> {
    vec![match store_owner(config) {
        None => yours("there is no store yet: run the service as a separate user"),
        Some((path, 0)) => fail(
            format!(
                "{} belongs to root, so the service runs as root",
                path.display()
            ),
            "set `User=` in the unit to a separate user, and run `chown -R USER DIR` on the directory of the boundary",
        ),
        Some((path, user)) => pass(format!(
            "{} belongs to the ordinary user {user}",
            path.display()
        )),
    }]
}

/// Checks that no run and no other user can reach the key and the private files. `is_sound` is true if `doctor`, which
/// checks the places of these files, reports no problem.
pub fn keys_and_files(config: &Config, is_sound: bool) -> Vec<DoctorFinding> {
    // The database does not exist before the first start.
    let database = config.database.file().filter(|path| path.exists());
    let paths = [&*config.key, &config.path, &config.policy, &config.rosters]
        .into_iter()
        .chain(database);
    let user =
        store_owner(config).map_or_else(|| rustix::process::geteuid().as_raw(), |(_, user)| user);
    let is_secret = |path: &Path| *path == config.key || Some(path) == database;
    let mut findings: Vec<DoctorFinding> = paths
        .filter_map(|path| open_to_others(path, user, is_secret(path)))
        .collect();
    if findings.is_empty() && is_sound {
        findings.push(pass(
            "no run and no other user can reach the key, the store, the policy or the roster",
        ));
    }
    findings.push(yours(format!(
        "keep a copy of {} apart from the backups of the store: a person who has both can continue the log",
        config.key.display()
    )));
    findings
}

/// Returns a failure if another user than `user` and root can write the file, or can read a secret file.
fn open_to_others(path: &Path, user: u32, secret: bool) -> Option<DoctorFinding> {
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) => {
            let says = format!("{} can't be checked ({error})", path.display());
            return Some(fail(
                says,
                "run `doctor` as the user of the service, and check the path",
            ));
        }
    };
    let mode = found.mode() & 0o7777;
    let bad = if secret { 0o077 } else { 0o022 };
    if mode & bad != 0 {
        let right = if secret { "600" } else { "go-w" };
        let says = format!("{} has mode {mode:04o}", path.display());
        Some(fail(
            says,
            format!("chmod {right} {}", in_a_shell(&path.to_string_lossy())),
        ))
    } else if found.uid() != user && found.uid() != 0 {
        let says = format!("{} belongs to the user {}", path.display(), found.uid());
        Some(fail(
            says,
            format!("chown {user} {}", in_a_shell(&path.to_string_lossy())),
        ))
    } else {
        None
    }
}
