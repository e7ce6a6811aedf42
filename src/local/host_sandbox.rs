//! What holds a step at a terminal: its profile, in one place, and this host's sandbox.

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

/// What the person asked of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxChoice {
    /// Every layer, or the step is refused.
    Strict,
    /// What this host holds; each missing layer is said.
    BestEffort,
    /// Limits and hygiene only, and by which flag.
    Off(&'static str),
}

impl SandboxChoice {
    /// In words, with what a step works in.
    pub fn words(self) -> String {
        match self {
            Self::Strict => "sandbox strict".to_owned(),
            Self::BestEffort => "sandbox best-effort".to_owned(),
            Self::Off(flag) => format!("NO SANDBOX ({flag})"),
        }
    }
}

/// This host's sandbox, for one call of the command.
#[derive(Debug)]
pub struct HostSandbox {
    wanted: SandboxChoice,
    sandbox: LinuxSandbox,
    /// Removed with this.
    scratch: tempfile::TempDir,
}

/// The profile of a step at a terminal. The one place that decides it.
///
/// # Errors
/// What the step can't have.
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
    // No configuration of a boundary is asked: a runbook may ask for as much as one with an untouched configuration gives.
    let given = PolicyProfile { level, limits: Limits::default(), maximum: config::maximum() };
    let mut profile =
        effective(ruling, declared, &given).map_err(|error| CommandFailure::new(Exit::Refused, error.to_string()))?;
    if matches!(wanted, SandboxChoice::Off(_)) {
        // Whatever there is can be reached anyway.
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
    /// Finds out what this host holds, by doing it once, and says what it does not.
    ///
    /// # Errors
    /// When no run can be prepared at all.
    pub fn prepare(wanted: SandboxChoice, log: Option<&Path>, terminal: &Terminal) -> Result<Self, CommandFailure> {
        // The person's keys and receipts are in no step's view.
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
                    "warning: the step may reach what a missing layer would have kept from it, your own files among it",
                );
                // Where nothing could keep them out of view the run was refused for them; that was asked for just now.
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
        // Runs with a user id of their own must be able to enter theirs.
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

    /// The directory that is removed with this.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// What was asked for.
    pub const fn wanted(&self) -> SandboxChoice {
        self.wanted
    }

    /// Where a step works: what policy lets it have of the current directory.
    pub fn work(&self, rules: &LocalRules, ruling: &Ruling, project: &Project) -> WorkingDirectory {
        let off = matches!(self.wanted, SandboxChoice::Off(_));
        WorkingDirectory::find(rules, ruling, project, &self.sandbox.probe().held(), off)
    }

    /// The profile of a step, and that this host holds it. Where it can't have the current directory, as when the person's
    /// keys lie below that, it works in an empty one, and `work` tells why.
    ///
    /// # Errors
    /// What the step can't have, or this host can't hold; then nothing is run.
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

    /// Runs a step to its end; when this returns its whole tree is dead.
    pub fn run(&self, prepared: Prepared, plan: Plan, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) -> Report {
        self.sandbox.run(prepared, plan, live, cancel)
    }
}
