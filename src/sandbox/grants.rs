//! The Landlock rules of a step.
//!
//! All rights of the kernel's ABI are handled and demanded: what is only partly enforced is an error. A path
//! without a rule can't be read, written, or executed; with ABI 6 no abstract socket or process outside can be reached.
//! With ABI 4 no TCP port can be bound or connected to on the host's network; on a network of the run's own servers and
//! clients may talk to each other.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

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
        let links = match grant.access {
            Access::Signed | Access::Write => ResolveFlags::NO_SYMLINKS,
            _ => ResolveFlags::empty(),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(CWD, &grant.path, flags, Mode::empty(), links).at(Stage::Landlock, what())?;
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

fn rights(access: Access, abi: ABI) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(abi);
    match access {
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
