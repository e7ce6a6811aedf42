//! Checks the paths in a profile, before a nonce is spent.

use std::path::Path;

use rustix::fs::{self, Access, AtFlags};

use crate::{
    HostProbe, Missing, NamePatterns, Unavailable,
    isolation::{mounts::Mounts, step_paths, system_paths},
};
use documents::{ISOLATED, Profile, Workdir};

/// Directories that the sandbox creates in each run. No path of the host can be mounted in these directories.
const OWN: [&str; 5] = ["/proc", "/dev", "/sys", "/run/step", "/tmp/work"];

fn unusable(path: &str, why: String) -> Unavailable {
    Unavailable::Path {
        path: path.to_owned(),
        why,
    }
}

pub fn check_paths(paths: &[String]) -> Result<(), Unavailable> {
    for written in paths {
        let wrong = |why: String| Err(unusable(written, why));
        let path = Path::new(written);
        match path.canonicalize() {
            Ok(real) if real.as_os_str() == path.as_os_str() => {}
            Ok(real) => return wrong(format!("leads to {}; write the real path", real.display())),
            Err(error) => return wrong(format!("can't be read: {error}")),
        }
        let why = match written.as_str() {
            "/" => "is the whole host; name only the paths that the step needs",
            "/tmp" => "is private to each run; name only the paths below that the step needs",
            "/etc" => "is created for each run; name the files that the step needs",
            // In a run, /var/tmp is a symbolic link to /tmp, and a path of a profile must not contain links.
            _ if path.starts_with("/var/tmp") => {
                "is below /var/tmp, which is private to each run; remove the path from the profile"
            }
            _ if system_paths::ETC_HOST_FILES.map(Path::new).contains(&path) => {
                "is created for each run, so the file of the host can't be used; remove the path from the profile"
            }
            _ => "",
        };
        if !why.is_empty() {
            return wrong(why.into());
        }
        if let Some(own) = OWN.into_iter().find(|own| path.starts_with(own)) {
            return wrong(format!(
                "is below {own}, which is private to each run; remove the path from the profile"
            ));
        }
        if let Some(own) = OWN.into_iter().find(|own| Path::new(own).starts_with(path)) {
            return wrong(format!(
                "would cover {own}, which is private to each run; name only the paths below that the step needs"
            ));
        }
    }
    Ok(())
}

pub fn check_trees(profile: &Profile) -> Result<(), Unavailable> {
    let trees: Vec<String> = step_paths::host_paths(&profile.write)
        .map(str::to_owned)
        .collect();
    check_paths(&trees)?;
    for (at, path) in trees.iter().enumerate() {
        let wrong = |why: &str| Err(unusable(path, why.into()));
        let real = Path::new(path);
        if system_paths::always_visible()
            .any(|system| real.starts_with(system) || system.starts_with(real))
        {
            return wrong(
                "belongs to the operating system, and no run can write there; remove the path from `write`",
            );
        }
        if profile.workdir != Workdir::Private && !real.is_dir() {
            return wrong("is not a directory, but a work directory must be a directory");
        }
        let others = trees.iter().skip(at + 1).chain(&profile.read);
        if others
            .into_iter()
            .any(|other| real.starts_with(other) || Path::new(other).starts_with(real))
        {
            return wrong("overlaps another path of the profile; name only the outer path");
        }
    }
    Ok(())
}

pub fn check_sockets(profile: &Profile) -> Result<(), Unavailable> {
    use std::os::unix::fs::FileTypeExt as _;
    check_paths(&profile.sockets)?;
    let copied = matches!(profile.workdir, Workdir::Copy | Workdir::Overlay);
    for path in &profile.sockets {
        let wrong = |why: String| Err(unusable(path, why));
        if !Path::new(path)
            .metadata()
            .is_ok_and(|it| it.file_type().is_socket())
        {
            return wrong("is no socket".into());
        }
        // No process listens on a copied socket.
        let tree =
            step_paths::host_paths(&profile.write).find(|tree| Path::new(path).starts_with(tree));
        if let Some(tree) = tree.filter(|_| copied) {
            return wrong(format!(
                "is in {tree}, but the run gets a copy or an overlay of {tree}, where no process listens; use \
                 \"in-place\", or move the socket to another directory"
            ));
        }
    }
    Ok(())
}

/// Refuses a path that the profile both names and denies. Otherwise this mistake would only appear during the run.
pub fn check_denied(profile: &Profile, patterns: &NamePatterns) -> Result<(), Unavailable> {
    for path in step_paths::named_paths(profile) {
        // A path in a denied directory is denied too.
        let denied = Path::new(path)
            .ancestors()
            .filter_map(Path::to_str)
            .find(|above| patterns.deny_named(above));
        let why = match denied {
            None => continue,
            Some(itself) if itself == path => {
                "is denied by a pattern of the same profile; remove the path or the \
                                               pattern"
                    .to_owned()
            }
            Some(above) => {
                format!(
                    "is in {above}, which a pattern of the same profile denies; remove the path or the pattern"
                )
            }
        };
        return Err(unusable(path, why));
    }
    Ok(())
}

/// Refuses a profile with an overlay if the kernel can't mount overlays.
pub fn without_overlays(profile: &Profile, missing: &Missing) -> Result<(), Unavailable> {
    let Missing { why, knob } = missing;
    let why = format!("can have no overlay on this host ({why}): {knob}");
    match step_paths::host_paths(&profile.write).next() {
        Some(path) if profile.workdir == Workdir::Overlay => Err(unusable(path, why)),
        _ => Ok(()),
    }
}

/// Refuses an overlay over a tree that contains another mount, because an overlay covers one file system only.
pub fn check_overlays(profile: &Profile, mounts: &Mounts) -> Result<(), Unavailable> {
    if profile.workdir != Workdir::Overlay {
        return Ok(());
    }
    for path in step_paths::host_paths(&profile.write) {
        if let Some(inner) = mounts.below(Path::new(path)) {
            let why = format!(
                "contains another file system at {}, which an overlay can't cover; let the step work on a copy, or \
                 name a tree without another file system",
                inner.display()
            );
            return Err(unusable(path, why));
        }
    }
    Ok(())
}

/// Checks that the run's first process can enter the directories of the profile. The first process may have no
/// capabilities on the host. Without this check, the run could fail at a closed directory after the nonce is spent. A
/// host user in `run_as` is not checked, because ACLs may give more rights than the mode bits.
pub fn check_reached(profile: &Profile, probe: &HostProbe) -> Result<(), Unavailable> {
    if profile.run_as != ISOLATED {
        return Ok(());
    }
    for path in step_paths::named_paths(profile) {
        let real = Path::new(path);
        let looked_into = real.is_dir().then_some((real, 0o5));
        let closed = looked_into
            .into_iter()
            .chain(real.ancestors().skip(1).map(|above| (above, 0o1)))
            .find(|(directory, bits)| !is_open(directory, *bits, probe.own_id));
        if let Some((directory, bits)) = closed {
            let (rights, whose) = if bits == 0o5 {
                ("r and x", "look into")
            } else {
                ("x", "enter")
            };
            let user = if probe.own_id {
                "user id of the run"
            } else {
                "user of the service"
            };
            let why = format!(
                "can't be used: the {user} can't {whose} {}; add the rights {rights} to this directory, or name another path",
                directory.display()
            );
            return Err(unusable(path, why));
        }
    }
    Ok(())
}

/// Returns true if the run's id has these rights to a directory (r is 4, x is 1). For a run with its own id, the mode
/// bits of "others" apply.
fn is_open(directory: &Path, bits: u32, own_id: bool) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = directory.metadata() else {
        return false;
    };
    if own_id {
        return found.mode() & bits == bits;
    }
    // The run's first process can access every directory that the service's user owns.
    let rights = if bits == 0o5 {
        Access::READ_OK | Access::EXEC_OK
    } else {
        Access::EXEC_OK
    };
    found.uid() == rustix::process::geteuid().as_raw()
        || fs::accessat(fs::CWD, directory, rights, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SetupFailure, SetupStage};
    use documents::{Limits, STRICT};

    #[test]
    fn an_overlay_is_refused_if_the_kernel_mounts_no_overlays() {
        let failure = SetupFailure {
            stage: SetupStage::Workdir,
            what: "mount it".into(),
            errno: Some(libc::ENODEV),
        };
        let missing = Missing::overlay(&failure);
        let mut wanted = Profile::nothing(STRICT.to_vec(), Limits::default());
        (wanted.write, wanted.workdir) = (vec!["/srv/tree".into()], Workdir::Overlay);
        let text = without_overlays(&wanted, &missing)
            .expect_err("refused")
            .to_string();
        assert!(
            text.contains("/srv/tree can have no overlay on this host")
                && text.contains("modprobe overlay"),
            "{text}"
        );
        wanted.workdir = Workdir::Copy;
        assert!(
            without_overlays(&wanted, &missing).is_ok(),
            "what needs none goes on"
        );
    }

    #[test]
    fn a_profile_contains_only_paths_without_symbolic_links() {
        let home = tempfile::tempdir().expect("a directory");
        let base = home.path().canonicalize().expect("real");
        let link = base.join("link");
        std::os::unix::fs::symlink("/usr", &link).expect("a link");
        let written = |path: &Path| path.display().to_string();
        for bad in [
            written(&link),
            written(&base.join("absent")),
            format!("{}/.", base.display()),
            "/".into(),
        ] {
            assert!(
                matches!(
                    check_paths(std::slice::from_ref(&bad)),
                    Err(Unavailable::Path { .. })
                ),
                "{bad}"
            );
        }
        for bad in [
            "/proc",
            "/proc/self",
            "/tmp",
            "/etc",
            "/etc/passwd",
            "/dev/null",
            "/run",
            "/var/tmp",
            "relative",
        ] {
            assert!(check_paths(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(
            check_paths(&[written(&base), "/etc/services".into()]),
            Ok(())
        );
    }
}
