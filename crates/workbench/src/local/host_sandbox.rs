//! Sandbox and profile of a step that a person runs at a terminal.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    LocalRules, SandboxChoice, StepPrograms, WorkingDirectory, local::step_programs::not_enforced,
};
use client::{CommandFailure, CommandResult, Home, Terminal};
use documents::{ConfiguredLimits, DeclaredSandbox, Layer, Profile, STRICT, Workdir};
use reading::{PolicyProfile, Ruling, effective};
use sandbox::{LocalSandbox, Prepared, Setup, Unavailable};

/// Sandbox of this host for one command.
pub struct HostSandbox {
    /// The sandbox that the person wants.
    pub wanted: SandboxChoice,
    pub(crate) sandbox: LocalSandbox,
    /// Scratch directory, which is deleted when this value is dropped.
    scratch: tempfile::TempDir,
}

/// Returns the profile of a step at a terminal.
///
/// # Errors
/// Returns an error if the step declares a resource that it cannot get.
pub fn profile(
    wanted: SandboxChoice,
    held: Vec<Layer>,
    ruling: &Ruling,
    declared: &DeclaredSandbox,
    rules: &LocalRules,
    work: &mut WorkingDirectory,
) -> CommandResult<Profile> {
    let require = match wanted {
        SandboxChoice::Strict => STRICT.to_vec(),
        SandboxChoice::BestEffort => held,
        SandboxChoice::Off(_) => Vec::new(),
    };
    // A step at a terminal gets the default limits of a boundary's configuration.
    let ConfiguredLimits { default, maximum } = ConfiguredLimits::default();
    let given = PolicyProfile {
        require,
        limits: default,
        maximum,
    };
    let path = rules.runbook.shown();
    let mut profile = effective(ruling, path, declared, &given).map_err(|errors| {
        CommandFailure::refused(format!(
            "{}; policy compared its overrides with the path {path}: `--root DIR` names the directory of the runbooks",
            errors.join("; ")
        ))
    })?;
    match (wanted, &*work) {
        // A step without a sandbox can reach every path, so only the working directory is set.
        (SandboxChoice::Off(flag), work) => {
            if let WorkingDirectory::InPlace { directory, .. } = work {
                profile.workdir = Workdir::InPlace;
                profile.write = vec![directory.clone()];
            }
            profile.off_reason = Some(format!("the person at the terminal gave {flag}"));
        }
        _ => work.put(&mut profile, rules)?,
    }
    Ok(profile)
}

impl HostSandbox {
    /// Probes the sandbox layers of this host. With the level `best-effort`, each missing layer causes a warning.
    ///
    /// # Errors
    /// Returns an error if no run can be prepared.
    pub fn prepare(wanted: SandboxChoice, terminal: &Terminal) -> CommandResult<Self> {
        // The keys of the person are hidden from every step.
        let home = Home::of_process();
        let ssh = home.home.map(|home| home.join(".ssh"));
        let own = home.config.into_iter().chain(ssh);
        let private: Vec<PathBuf> = own.filter(|path| path.exists()).collect();
        let private = if matches!(wanted, SandboxChoice::Off(_)) {
            Vec::new()
        } else {
            private
        };
        let hold = Self::new(wanted, private)?;
        if wanted == SandboxChoice::BestEffort {
            // The line about the programs of each step names the reason for the missing layer `programs`.
            for state in hold
                .sandbox
                .probe()
                .layers
                .iter()
                .filter(|state| state.layer != Layer::Programs)
            {
                if let Some(missing) = &state.missing {
                    terminal.say(format!(
                        "warning: the sandbox layer {} is missing on this host: {}; fix it with: {}",
                        state.layer,
                        missing.why,
                        missing.knob
                    ));
                }
            }
            if hold.sandbox.probe().held().len() < STRICT.len() {
                terminal.say(
                    "warning: because of the missing layer, the step may reach more of this host, including your own \
                     files",
                );
                // This host cannot hide the private files, and a sandbox with a list of private files would refuse each
                // run. With the level `best-effort`, the person accepts that the step can see these files.
                return Self::new(wanted, Vec::new());
            }
        }
        Ok(hold)
    }

    fn new(wanted: SandboxChoice, private: Vec<PathBuf>) -> CommandResult<Self> {
        let failed = |error: std::io::Error| {
            CommandFailure::unreachable(format!(
                "no run can be prepared ({error}): set TMPDIR to a writable directory"
            ))
        };
        let scratch = tempfile::Builder::new()
            .prefix("countersign-run-")
            .tempdir()
            .map_err(failed)?;
        let below = |name: &str, mode: u32| {
            let path = scratch.path().join(name);
            std::fs::create_dir(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            std::io::Result::Ok(path)
        };
        // A run may have its own user id, so other users must be able to enter the directory.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))
            .map_err(failed)?;
        let setup = Setup {
            helper: None,
            scratch: below("runs", 0o711).map_err(failed)?,
            spool: below("spool", 0o700).map_err(failed)?,
            private,
            unwritable: Vec::new(),
        };
        let sandbox = LocalSandbox::open(&setup);
        let sandbox = sandbox.map_err(|error| {
            CommandFailure::unreachable(format!("no run can be prepared: {error}"))
        })?;
        Ok(Self {
            wanted,
            sandbox,
            scratch,
        })
    }

    /// Returns the scratch directory.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Creates and checks the profile of a step. If the step cannot get the current directory (for example because it
    /// contains the person's keys), the step gets an empty directory, and `work` contains the reason after the call. If
    /// this host can't enforce a list of programs with the level best-effort, `programs` contains the reason.
    ///
    /// # Errors
    /// Returns an error if the step or this host cannot use the profile. No process was started.
    pub fn check(
        &self,
        ruling: &Ruling,
        declared: &DeclaredSandbox,
        rules: &LocalRules,
        work: &mut WorkingDirectory,
        programs: &mut StepPrograms,
    ) -> CommandResult<Prepared> {
        let check = |work: &mut WorkingDirectory, programs: &StepPrograms| {
            let profile = profile(
                self.wanted,
                self.sandbox.probe().held(),
                ruling,
                declared,
                rules,
                work,
            )?;
            Ok::<_, CommandFailure>(self.sandbox.check(&programs.put(profile)?))
        };
        let mut checked = check(work, programs)?;
        if let Err(why @ (Unavailable::Path { .. } | Unavailable::Private { .. })) = &checked
            && matches!(
                work,
                WorkingDirectory::InPlace { .. } | WorkingDirectory::Overlay { .. }
            )
        {
            *work = WorkingDirectory::Private(why.to_string());
            checked = check(work, programs)?;
        }
        if let (Err(Unavailable::Programs { why }), SandboxChoice::BestEffort) =
            (&checked, self.wanted)
        {
            *programs = StepPrograms::Any(not_enforced(why));
            checked = check(work, programs)?;
        }
        checked.map_err(|unavailable| {
            let advice = match (&unavailable, self.wanted) {
                (Unavailable::Layer { .. } | Unavailable::Private { .. }, SandboxChoice::Strict) => {
                    "; or run the step with the layers that this host has (--sandbox), or without a sandbox \
                     (--no-sandbox)"
                }
                (Unavailable::Programs { .. }, SandboxChoice::Strict) => {
                    "; or let the step start every program: `sandbox: {programs: {mode: any}}` in the policy (version: \
                     2), or --sandbox"
                }
                _ => "",
            };
            CommandFailure::refused(format!("nothing was run: {unavailable}{advice}"))
        })
    }
}
