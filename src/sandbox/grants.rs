//! The Landlock rules of a step.
//!
//! All rights of the kernel's ABI are handled and demanded: what is only partly enforced is an error. A path
//! without a rule can't be read, written, or executed; with ABI 6 no abstract socket or process outside can be reached.
//! With ABI 4 no TCP port can be bound or connected to on the host's network, unless the profile gives it; on a network of the run's own servers and
//! clients may talk to each other.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sandbox::protocol::{At, Failure, Stage};
use crate::sandbox::syscalls;

/// One path and what the step may do at and below it.
pub(super) struct Grant {
    pub(super) path: PathBuf,
    pub(super) access: Access,
}

/// What a step may do at a path.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Names alone.
    List,
    Read,
    ReadExecute,
    /// The same, for a path of the profile: it must still be the real path that was signed.
    Signed,
    /// Everything but making device nodes.
    Write,
    /// Read, write and control, as `/dev/null` needs.
    Device,
}

/// Confines this process and all it will start, for ever; with `ports` to no TCP port. Answers the ABI and the number of
/// rules.
pub(super) fn confine(grants: &[Grant], ports: bool) -> Result<(u64, u64), Failure> {
    let version = syscalls::landlock_abi().at(Stage::Landlock, "ask the kernel for Landlock")?;
    let abi = ABI::from(version);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failure)?;
    if ports && abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(failure)?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(failure)?;
    }
    let mut created = ruleset.create().map_err(failure)?;
    for grant in grants {
        let what = || format!("open {} for a Landlock rule", grant.path.display());
        // The crate's own helper skips paths that can't be opened; here that is an error.
        let fd = match grant.access {
            Access::Signed | Access::Write => open_real(&grant.path),
            _ => rustix::fs::open(&grant.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
        }
        .at(Stage::Landlock, what())?;
        let mode = rustix::fs::fstat(&fd).at(Stage::Landlock, what())?.st_mode;
        let mut rights = rights(grant.access, abi);
        if FileType::from_raw_mode(mode) != FileType::Directory {
            rights &= AccessFs::from_file(abi);
        }
        created = created.add_rule(PathBeneath::new(fd, rights)).map_err(failure)?;
    }
    let status = created.restrict_self().map_err(failure)?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(Failure::new(Stage::Landlock, "Landlock did not enforce every right that was asked for"));
    }
    Ok((u64::from(version.unsigned_abs()), grants.len() as u64))
}

/// Opens a path in which no link may stand, one name at a time: in a live tree the filter that holds this process already leaves
/// no openat2(2), which could be asked for that.
fn open_real(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open("/", flags, Mode::empty())?;
    for part in path.strip_prefix("/").map_err(|_| Errno::INVAL)? {
        at = rustix::fs::openat(&at, part, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&at)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

fn rights(access: Access, abi: ABI) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(abi);
    match access {
        Access::List => AccessFs::ReadDir.into(),
        Access::Read => read,
        Access::ReadExecute | Access::Signed => read | AccessFs::Execute,
        Access::Write => all & !(AccessFs::MakeChar | AccessFs::MakeBlock),
        Access::Device => all & (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev),
    }
}

fn failure(error: impl std::error::Error) -> Failure {
    let mut what = format!("Landlock: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    Failure::new(Stage::Landlock, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_landlock_rule_follows_a_symbolic_link() {
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
