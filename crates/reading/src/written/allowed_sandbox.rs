//! What a rule of policy allows about the sandbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use documents::{
    AllowedHost, DeclaredLimits, DeclaredNetwork, DeclaredSandbox, MAX_PROGRAMS, Proc, Program,
    ProgramMode, Workdir,
};

/// What policy decides about the sandbox: limits, `/proc`, and the access to the host that a step may declare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRule {
    /// Limits of a step that declares none. A step may declare at most these limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<DeclaredLimits>,
    /// The part of `/proc` that a step sees. With `minimal`, a step cannot declare `full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proc: Option<Proc>,
    /// Paths of the host. A step may declare these paths, and paths below them, in `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Paths of the host. A step may declare these paths, and paths below them, in `write` and in `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Patterns of paths that no step can access, even below a path that the step declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// With `in-place`, a step may change directories of the host in place. A step may declare `copy` and `overlay`
    /// without this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<Workdir>,
    /// The network that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DeclaredNetwork<AllowedHost>>,
    /// Unix sockets of the host that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<String>>,
    /// Name of the user of the host that a step may declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// True if a step may declare that it runs without a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_be_off: Option<bool>,
    /// The programs that a step may execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramsRule>,
}

/// What policy decides about the programs that a step may execute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramsRule {
    /// With `listed`, a run may execute only the programs of its list, which follows from step, policy and built-in
    /// lists. With `any`, a run may execute every program of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ProgramMode>,
    /// Programs that every list contains, sorted: names, absolute paths, or `{work}/**` for programs that the step
    /// itself makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROGRAMS), extend("uniqueItems" = true))]
    pub allow: Option<Vec<Program>>,
}

impl SandboxRule {
    /// Returns the rule that allows at most the declaration `most`, whose network `network` replaces.
    pub fn allowing(
        most: DeclaredSandbox,
        network: Option<DeclaredNetwork<AllowedHost>>,
        may_be_off: Option<bool>,
        programs: Option<ProgramsRule>,
    ) -> Self {
        let DeclaredSandbox {
            limits,
            proc,
            read,
            write,
            deny,
            workdir,
            network: _,
            sockets,
            run_as,
            off_reason: _,
        } = most;
        Self {
            limits,
            proc,
            read,
            write,
            deny,
            workdir,
            network,
            sockets,
            run_as,
            may_be_off,
            programs,
        }
    }

    /// Adds a later rule for the same step. Its values replace the earlier values, but the deny patterns of both rules
    /// remain.
    pub fn add(&mut self, later: &Self) {
        fn set<T>(to: &mut Option<T>, later: Option<T>) {
            *to = later.or_else(|| to.take());
        }
        // A ruling stores the limits, `proc` and the programs elsewhere, with the origin of each value.
        let Self {
            limits: _,
            proc: _,
            programs: _,
            read,
            write,
            deny,
            workdir,
            network,
            sockets,
            run_as,
            may_be_off,
        } = later.clone();
        set(&mut self.read, read);
        set(&mut self.write, write);
        set(&mut self.workdir, workdir);
        set(&mut self.network, network);
        set(&mut self.sockets, sockets);
        set(&mut self.run_as, run_as);
        set(&mut self.may_be_off, may_be_off);
        self.deny
            .get_or_insert_default()
            .extend(deny.into_iter().flatten());
    }
}
