//! The sandbox and the profile of a step that a person runs at a terminal.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::home::directories::Home;
use crate::local::decide::LocalRules;
use crate::local::project::Project;
use crate::local::working_directory::WorkingDirectory;
use crate::node::config;
use crate::policy::profile::{PolicyProfile, RequiredLayers, effective};
use crate::policy::ruling::Ruling;
use crate::record::declared::DeclaredSandbox;
use crate::record::profile::{Limits, Profile, STRICT};
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::capture::Chunk;
use crate::sandbox::linux::{LinuxSandbox, Setup};
use crate::sandbox::profile::{Prepared, Unavailable};
use crate::sandbox::{Plan, Report, Sandbox};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Sandbox level that the person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxChoice {
    /// All layers are required. If the host lacks a layer, the step is refused.
    Strict,
    /// The step gets the layers that this host supports. The program reports each missing layer.
    BestEffort,
    /// Only resource limits apply. The value is the option that disabled the sandbox.
    Off(&'static str),
}

impl SandboxChoice {
    /// Returns a description of the choice.
    pub fn words(self) -> String {
        match self {
            Self::Strict => "sandbox strict".to_owned(),
            Self::BestEffort => "sandbox best-effort".to_owned(),
            Self::Off(flag) => format!("NO SANDBOX ({flag})"),
        }
    }
}

/// The sandbox of this host for one command.
#[derive(Debug)]
pub struct HostSandbox {
    wanted: SandboxChoice,
    sandbox: LinuxSandbox,
    /// Scratch directory, deleted on drop.
    scratch: tempfile::TempDir,
}

/// Returns the profile of a step at a terminal. No other function creates the profile of a step at a terminal.
///
/// # Errors
/// Returns an error if the step asks for something that it cannot get.
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
    // No configuration of a boundary is read here. The limits are those of a default configuration.
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
    /// Probes the sandbox layers of this host. With best effort, the function warns about each missing layer.
    ///
    /// # Errors
    /// Returns an error if no run can be prepared.
    pub fn prepare(wanted: SandboxChoice, log: Option<&Path>, terminal: &Terminal) -> Result<Self, CommandFailure> {
        // No step may see the person's keys and receipts.
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
                // The sandbox would refuse a run if the sandbox could not hide these private files. With best effort
                // the person accepts this risk.
                return Self::new(wanted, Vec::new());
            }
        }
        Ok(hold)
    }

    fn new(wanted: SandboxChoice, private: Vec<PathBuf>) -> Result<Self, CommandFailure> {
        let failed = |error: std::io::Error| {
            CommandFailure::new(
                Exit::Unreachable,
                format!("no run can be prepared ({error}): make the temporary directory writable (TMPDIR)"),
            )
        };
        let scratch = tempfile::Builder::new().prefix("countersign-run-").tempdir().map_err(failed)?;
        let below = |name: &str, mode: u32| {
            let path = scratch.path().join(name);
            std::fs::create_dir(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            std::io::Result::Ok(path)
        };
        // A run with its own user id must be able to enter its directory below the scratch directory.
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

    /// Returns the working directory of a step under the policy.
    pub fn work(&self, rules: &LocalRules, ruling: &Ruling, project: &Project) -> WorkingDirectory {
        let off = matches!(self.wanted, SandboxChoice::Off(_));
        WorkingDirectory::find(rules, ruling, project, &self.sandbox.probe().held(), off)
    }

    /// Creates and checks the profile of a step. If the step cannot get the current directory, for example because the
    /// person's keys are in it, the step gets an empty directory. In this case `work` contains the reason.
    ///
    /// # Errors
    /// Returns an error if the step or this host cannot meet the profile. If the function returns an error, nothing was
    /// run.
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
                    "; or run it with what this host holds (--sandbox), or with none (--no-sandbox)"
                }
                _ => "",
            };
            CommandFailure::new(Exit::Refused, format!("nothing was run: {unavailable}{advice}"))
        })
    }

    /// Runs a step to its end. All processes of the step are dead when the function returns.
    pub fn run(&self, prepared: Prepared, plan: Plan, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) -> Report {
        self.sandbox.run(prepared, plan, live, cancel)
    }
}
