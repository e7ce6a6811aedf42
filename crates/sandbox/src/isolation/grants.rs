//! The Landlock rules of a step.
//!
//! The ruleset handles all access rights of the kernel's Landlock ABI, and the kernel must enforce all of them. A path
//! without a rule can't be read, written or executed. With ABI 6 or later, the step can't reach abstract sockets or
//! signal processes outside the run. On the host's root file system with ABI 4 or later, the step can't use TCP ports,
//! unless the profile allows the host's network. In a network namespace of the run, Landlock does not restrict TCP.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};

use crate::{
    AtStage, SetupFailure, SetupResult, SetupStage,
    isolation::{
        opened::{kind_of, open, open_at},
        syscalls,
    },
};

pub struct PathGrant {
    pub path: PathBuf,
    pub access: PathAccess,
}

impl PathGrant {
    pub fn new(path: impl Into<PathBuf>, access: PathAccess) -> Self {
        Self {
            path: path.into(),
            access,
        }
    }
}

/// The access of a step to a path.
#[derive(Clone, Copy)]
pub enum PathAccess {
    /// The right to list the names in the directory.
    List,
    Read,
    ReadExecute,
    /// A path of the profile, with the same access as `ReadExecute`. The path must still be a real path without links.
    Signed,
    /// A path of the profile, with the same access as `Read`. The path must still be a real path without links.
    SignedRead,
    /// All rights except the creation of device nodes.
    Write,
    /// The same access as `Write`, without the right to execute files.
    WriteNoExecute,
    /// Read, write and ioctl, as programs need for `/dev/null`.
    Device,
}

/// Restricts this process and all its future children permanently with Landlock. If `ports` is true, the process can't
/// use TCP ports. Returns the Landlock ABI and the number of rules.
pub fn confine(grants: &[PathGrant], ports: bool) -> SetupResult<(u64, u64)> {
    let version =
        syscalls::landlock_abi().at(SetupStage::Landlock, "ask the kernel for Landlock")?;
    let abi = ABI::from(version);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failure)?;
    if ports && abi >= ABI::V4 {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(abi))
            .map_err(failure)?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(failure)?;
    }
    let mut created = ruleset.create().map_err(failure)?;
    for grant in grants {
        // `path_beneath_rules` of the crate skips paths that can't be opened, but a missing path must be an error.
        let fd = match grant.access {
            PathAccess::Signed
            | PathAccess::SignedRead
            | PathAccess::Write
            | PathAccess::WriteNoExecute => open_real(&grant.path),
            _ => open(&grant.path, OFlags::PATH),
        };
        let (fd, stat) = fd
            .and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)))
            .at(
                SetupStage::Landlock,
                format!("open {} for a Landlock rule", grant.path.display()),
            )?;
        let mut rights = rights(grant.access, abi);
        if kind_of(&stat) != FileType::Directory {
            rights &= AccessFs::from_file(abi);
        }
        created = created
            .add_rule(PathBeneath::new(fd, rights))
            .map_err(failure)?;
    }
    let status = created.restrict_self().map_err(failure)?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(SetupFailure::new(
            SetupStage::Landlock,
            "Landlock did not enforce every requested right",
        ));
    }
    Ok((u64::from(version.unsigned_abs()), grants.len() as u64))
}

/// Opens a path without following links, one component at a time. openat2(2) could do this too, but the system-call
/// filter of a run with a live tree blocks it.
fn open_real(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let mut at = open("/", flags)?;
    for part in path.strip_prefix("/").map_err(|_| Errno::INVAL)? {
        at = open_at(&at, part, flags)?;
        if kind_of(&rustix::fs::fstat(&at)?) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

fn rights(access: PathAccess, abi: ABI) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(abi);
    match access {
        PathAccess::List => AccessFs::ReadDir.into(),
        PathAccess::Read | PathAccess::SignedRead => read,
        PathAccess::ReadExecute | PathAccess::Signed => read | AccessFs::Execute,
        PathAccess::Write => all & !(AccessFs::MakeChar | AccessFs::MakeBlock),
        PathAccess::WriteNoExecute => {
            all & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::Execute)
        }
        PathAccess::Device => {
            all & (AccessFs::ReadFile
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::IoctlDev)
        }
    }
}

fn failure(error: impl std::error::Error) -> SetupFailure {
    let mut what = format!("Landlock: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    SetupFailure::new(SetupStage::Landlock, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landlock_rule_never_follows_a_link() {
        let home = tempfile::tempdir().expect("a directory");
        let base = home.path().canonicalize().expect("real");
        std::fs::create_dir_all(base.join("real/inner")).expect("directories");
        for (link, to) in [("link", "real"), ("real/last", "inner")] {
            std::os::unix::fs::symlink(to, base.join(link)).expect("a link");
        }
        let open = |name: &str| open_real(&base.join(name)).map(drop);
        assert_eq!(open("real/inner"), Ok(()));
        for bad in ["link", "link/inner", "real/last"] {
            assert_eq!(open(bad), Err(Errno::LOOP), "{bad}");
        }
        assert_eq!(open("absent"), Err(Errno::NOENT));
        assert!(open_real(Path::new("relative")).is_err());
    }
}
