//! Trial runs, which find the layers that this host supports.

use std::os::unix::fs::PermissionsExt as _;

use crate::{
    AtStage as _, CancelFlag, FollowedRun, HostProbe, LinuxSandbox, Missing, Plan, Prepared,
    ProbeFailures, RunDir, RunForm, SetupFailure, SetupResult, SetupStage, StepEnd, SyscallFilter,
    runs::linux::{SELF_TEST, TRIAL_MS, filters_here},
};
use documents::{Layer, Level, Limits, Profile, STRICT, Workdir};

impl LinuxSandbox {
    /// Probes the whole set-up with a script that checks the sandbox from inside, and repeats the probe without each
    /// part that fails.
    pub(super) fn try_everything(&mut self, own_id: bool) -> HostProbe {
        let mut lacking = ProbeFailures::default();
        // Each iteration finds one part that this host does not support.
        let broken = loop {
            let Err(failure) = self.trial(&lacking) else {
                break None;
            };
            // If a control group can be created, but no process in it, repeat the probe without control groups.
            if let Ok(groups) = &self.groups
                && groups.controllers.any()
                && self.trial_without_groups(&lacking).is_ok()
            {
                break None;
            }
            let part = match failure.stage {
                SetupStage::Helper => break Some(failure),
                SetupStage::Landlock => &mut lacking.landlock,
                SetupStage::Seccomp => &mut lacking.seccomp,
                _ => &mut lacking.namespaces,
            };
            if part.is_some() {
                break Some(failure);
            }
            *part = Some(failure);
        };
        HostProbe::conclude(&lacking, own_id).broken(broken.as_ref())
    }

    /// Returns the reason why runs on this host can't have an overlay, or `None` if overlays can be mounted. Only the
    /// first call mounts a test overlay, because this takes longer than the rest of the probe.
    pub fn overlay(&self) -> Option<&Missing> {
        let tried = self
            .overlay
            .get_or_init(|| match self.trial_of_an_overlay() {
                // A failure of another stage says nothing about overlays.
                Err(failure) if failure.stage == SetupStage::Workdir => {
                    Some(Missing::overlay(&failure))
                }
                _ => None,
            });
        tried.as_ref()
    }

    fn trial_of_an_overlay(&self) -> SetupResult {
        let probe = &self.probe;
        // Use mode 0755, so that the user of each run can read the directory.
        let open = std::fs::Permissions::from_mode(0o755);
        let made = RunDir::make(&self.around.scratch)
            .and_then(|tree| std::fs::set_permissions(tree.path(), open).map(|()| tree));
        let tree = made.doing("make a directory for the overlay test")?;
        let mut profile = nothing(probe.held());
        (profile.write, profile.workdir) =
            (vec![tree.path().display().to_string()], Workdir::Overlay);
        let mut prepared = prepared_trial(
            RunForm::Namespaces,
            profile,
            probe.missing(Layer::Landlock).is_none(),
            probe.missing(Layer::Seccomp).is_none(),
        );
        prepared.layers = probe.held();
        let plan = Plan::shell("exit 0", []);
        self.play(&prepared, &plan)?.0.failure.map_or(Ok(()), Err)
    }

    fn trial_without_groups(&mut self, lacking: &ProbeFailures) -> SetupResult {
        let groups = std::mem::replace(
            &mut self.groups,
            Err("this host can't create a process directly in a control group".into()),
        );
        self.trial(lacking).inspect_err(|_| self.groups = groups)
    }

    fn trial(&self, lacking: &ProbeFailures) -> SetupResult {
        let form = if lacking.namespaces.is_some() {
            RunForm::Host
        } else {
            RunForm::Namespaces
        };
        let landlock = lacking.landlock.is_none();
        let has_filter = lacking.seccomp.is_none();
        let prepared = prepared_trial(form, nothing(vec![]), landlock, has_filter);
        let filters = has_filter.then(|| (filters_here() + 1).to_string());
        let env = [
            ("FILTERS", filters.unwrap_or_default()),
            ("LANDLOCK", if landlock { "held" } else { "" }.into()),
            (
                "FORM",
                if form == RunForm::Namespaces {
                    "namespaces"
                } else {
                    "host"
                }
                .into(),
            ),
        ];
        let plan = Plan::shell(SELF_TEST, env);
        let (run, said) = self.play(&prepared, &plan)?;
        let is_late = run.is_late();
        match (run.failure, run.step) {
            (Some(failure), _) => Err(failure),
            (None, Some(StepEnd::Exited(0))) => Ok(()),
            (None, None) if is_late => Err(SetupFailure::new(
                SetupStage::Late,
                format!(
                    "the self-test in the sandbox did not end within {} s",
                    TRIAL_MS / 1000
                ),
            )),
            (None, end) => Err(SetupFailure::new(
                SetupStage::Namespaces,
                format!(
                    "the self-test in the sandbox failed ({end:?}): {}",
                    String::from_utf8_lossy(&said).trim()
                ),
            )),
        }
    }

    /// Runs a probe script and returns the run with its output.
    fn play(&self, prepared: &Prepared, plan: &Plan) -> SetupResult<(FollowedRun, Vec<u8>)> {
        let cancel =
            CancelFlag::new().at(SetupStage::Processes, "make the cancel flag of a run")?;
        let once = || {
            let (mut run, mut said) = (
                FollowedRun::new(&self.spool, &prepared.profile.limits),
                Vec::new(),
            );
            self.attempt(
                &mut run,
                prepared,
                plan,
                &mut |chunk| said.extend_from_slice(chunk.bytes),
                &cancel,
            );
            (run, said)
        };
        let (run, said) = once();
        // If the helper was stopped, the result does not describe this host. Repeat the test run with a new helper.
        Ok(if run.silent { once() } else { (run, said) })
    }
}

/// Returns the profile of a trial without paths of the host.
fn nothing(layers: Vec<Layer>) -> Profile {
    let limits = Limits {
        wall_ms: TRIAL_MS,
        ..Limits::default()
    };
    Profile::nothing(layers, limits)
}

/// Returns the checked profile of a trial run. The report of this run names all layers.
fn prepared_trial(form: RunForm, profile: Profile, landlock: bool, has_filter: bool) -> Prepared {
    let filter = has_filter.then(|| SyscallFilter::of(form, &profile));
    Prepared {
        profile,
        form,
        user: None,
        landlock,
        filter,
        level: Level::Strict,
        layers: STRICT.to_vec(),
        programs: None,
        learn: false,
        stream: false,
    }
}
