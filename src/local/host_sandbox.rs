//! Sandbox and profile of a step that a person runs at a terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::home::directories::Home;
use crate::local::decide::LocalRules;
use crate::local::project::Project;
use crate::local::working_directory::WorkingDirectory;
use crate::node::config;
use crate::policy::ruling::Ruling;
use crate::policy::step_profile::{PolicyProfile, RequiredLayers, effective};
use crate::record::declared::DeclaredSandbox;
use crate::record::profile::{Limits, Profile, STRICT};
use crate::sandbox::cancel_flag::CancelFlag;
use crate::sandbox::capture::Chunk;
use crate::sandbox::linux::{LinuxSandbox, Setup};
use crate::sandbox::profile_check::Prepared;
use crate::sandbox::unavailable::Unavailable;
use crate::sandbox::{Plan, Report, Sandbox};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Sandbox level that the person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxChoice {
    /// All layers are required. The program refuses the step if the host lacks a layer.
    Strict,
    /// The step gets the layers that this host supports. The program reports each missing layer.
    BestEffort,
    /// Only resource limits apply. The step runs without a sandbox. The value is the option that disabled the
    /// sandbox.
    Off(&'static str),
}

impl SandboxChoice {
    /// Returns a description of the chosen level.
    pub fn words(self) -> String {
        match self {
            Self::Strict => "sandbox strict".to_owned(),
            Self::BestEffort => "sandbox best-effort".to_owned(),
            Self::Off(flag) => format!("NO SANDBOX ({flag})"),
        }
    }
}

/// Sandbox of this host, for one call of a command.
#[derive(Debug)]
pub struct HostSandbox {
    wanted: SandboxChoice,
    sandbox: LinuxSandbox,
    /// Scratch directory, which is deleted when this value is dropped.
    scratch: tempfile::TempDir,
}

/// Returns the profile of a step at a terminal. Only this function creates such a profile.
///
/// # Errors
/// Returns an error if the step declares a resource that it cannot get.
pub fn profile(
    wanted: SandboxChoice,
    held: Vec<crate::record::profile::Layer>,
    ruling: &Ruling,
    declared: &DeclaredSandbox,
    rules: &LocalRules,
    work: &mut WorkingDirectory,
) -> Result<Profile, CommandFailure> {
    let level = match wanted {
        SandboxChoice::Strict => RequiredLayers::Strict,
        SandboxChoice::BestEffort => RequiredLayers::BestEffort(held),
        SandboxChoice::Off(_) => RequiredLayers::BestEffort(Vec::new()),
    };
    // A step at a terminal does not use the configuration of a boundary. The limits are the defaults of a boundary's
    // configuration.
    let given = PolicyProfile { level, limits: Limits::default(), maximum: config::maximum() };
    let mut profile =
        effective(ruling, declared, &given).map_err(|error| CommandFailure::new(Exit::Refused, error.to_string()))?;
    if matches!(wanted, SandboxChoice::Off(_)) {
        // Without a sandbox the step can reach every path, so only the working directory is set.
        work.put_off(&mut profile);
    } else {
        work.put(&mut profile, rules)?;
    }
    if let SandboxChoice::Off(flag) = wanted {
        profile.off_reason = Some(format!("the person at the terminal gave {flag}"));
    }
    Ok(profile)
}

impl HostSandbox {
    /// Probes the sandbox layers of this host. With the level `best-effort`, the function prints a warning about each
    /// missing layer.
    ///
    /// # Errors
    /// Returns an error if no run can be prepared.
    pub fn prepare(wanted: SandboxChoice, log: Option<&Path>, terminal: &Terminal) -> Result<Self, CommandFailure> {
        // The keys and receipts of the person are hidden from every step.
        let home = Home::of_process();
        let ssh = home.home.map(|home| home.join(".ssh"));
        let own = home.config.into_iter().chain(ssh).chain(log.map(Path::to_owned));
        let private: Vec<PathBuf> = own.filter(|path| path.exists()).collect();
        let private = if matches!(wanted, SandboxChoice::Off(_)) { Vec::new() } else { private };
        let hold = Self::new(wanted, private)?;
        if wanted == SandboxChoice::BestEffort {
            for state in &hold.sandbox.probe().layers {
                if let Some(missing) = &state.missing {
                    terminal.say(&format!(
                        "warning: the sandbox layer {} is missing on this host: {}; fix it with: {}",
                        state.layer.word(),
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
                // This sandbox gets no list of private files. A sandbox with such a list refuses each run if this host
                // cannot hide the files. With the level `best-effort`, the person accepts the risk that the step can
                // see these files.
                return Self::new(wanted, Vec::new());
            }
        }
        Ok(hold)
    }

    fn new(wanted: SandboxChoice, private: Vec<PathBuf>) -> Result<Self, CommandFailure> {
        let failed = |error: std::io::Error| {
            CommandFailure::new(
                Exit::Unreachable,
                format!("no run can be prepared ({error}): set TMPDIR to a writable directory"),
            )
        };
        let scratch = tempfile::Builder::new().prefix("countersign-run-").tempdir().map_err(failed)?;
        let below = |name: &str, mode: u32| {
            let path = scratch.path().join(name);
            std::fs::create_dir(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            std::io::Result::Ok(path)
        };
        // A run may have its own user id, so other users must be able to enter the directory of the run.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711)).map_err(failed)?;
        let setup = Setup {
            helper: None,
            scratch: below("runs", 0o711).map_err(failed)?,
            spool: below("spool", 0o700).map_err(failed)?,
            private,
            unwritable: Vec::new(),
        };
        let sandbox = LinuxSandbox::new(&setup);
        let sandbox = sandbox
            .map_err(|error| CommandFailure::new(Exit::Unreachable, format!("no run can be prepared: {error}")))?;
        Ok(Self { wanted, sandbox, scratch })
    }

    /// Returns the scratch directory.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the sandbox level that the person chose.
    pub const fn wanted(&self) -> SandboxChoice {
        self.wanted
    }

    /// Returns the working directory that a step gets under the policy.
    pub fn work(&self, rules: &LocalRules, ruling: &Ruling, project: &Project) -> WorkingDirectory {
        let off = matches!(self.wanted, SandboxChoice::Off(_));
        WorkingDirectory::find(rules, ruling, project, &self.sandbox.probe().held(), off)
    }

    /// Creates and checks the profile of a step. If the step cannot get the current directory, the step gets an empty
    /// directory. For example, a step cannot get a directory that contains the person's keys. If the step got an empty
    /// directory, `work` contains the reason after the call.
    ///
    /// # Errors
    /// Returns an error if the step or this host cannot use the profile. If there is an error, no process was
    /// started.
    pub fn check(
        &self,
        ruling: &Ruling,
        declared: &DeclaredSandbox,
        rules: &LocalRules,
        work: &mut WorkingDirectory,
    ) -> Result<Prepared, CommandFailure> {
        let held = self.sandbox.probe().held();
        let checked = self.sandbox.check(&profile(self.wanted, held.clone(), ruling, declared, rules, work)?);
        let checked = match checked {
            Err(why @ (Unavailable::Path { .. } | Unavailable::Private { .. }))
                if matches!(work, WorkingDirectory::InPlace { .. } | WorkingDirectory::Overlay { .. }) =>
            {
                *work = WorkingDirectory::Private(why.to_string());
                self.sandbox.check(&profile(self.wanted, held, ruling, declared, rules, work)?)
            }
            other => other,
        };
        checked.map_err(|unavailable| {
            let advice = match (&unavailable, self.wanted) {
                (Unavailable::Layer { .. } | Unavailable::Private { .. }, SandboxChoice::Strict) => {
                    "; or run the step with the layers that this host has (--sandbox), or without a sandbox \
                     (--no-sandbox)"
                }
                _ => "",
            };
            CommandFailure::new(Exit::Refused, format!("nothing was run: {unavailable}{advice}"))
        })
    }

    /// Runs a step to its end. When the function returns, no process of the step exists any more.
    pub fn run(&self, prepared: Prepared, plan: Plan, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) -> Report {
        self.sandbox.run(prepared, plan, live, cancel)
    }
}
