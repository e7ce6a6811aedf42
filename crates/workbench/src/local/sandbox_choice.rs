//! Sandbox level of `countersign run` and `countersign open`.

/// Options that choose the sandbox level.
#[derive(Clone, Copy, clap::Args)]
#[command(next_help_heading = "Sandbox")]
pub struct SandboxArgs {
    /// Use all sandbox layers that this host supports, and report the missing layers
    #[arg(long, conflicts_with_all = ["no_sandbox", "sandbox_strict"])]
    sandbox: bool,
    /// Run without a sandbox: only the limits and a clean environment apply
    #[arg(long, conflicts_with = "sandbox_strict")]
    no_sandbox: bool,
    /// Refuse to run if this host lacks a sandbox layer. This is the default
    #[arg(long)]
    sandbox_strict: bool,
}

impl SandboxArgs {
    /// Returns the chosen level. Without a policy, the default is no sandbox.
    pub fn wanted(self, allows_all: bool) -> SandboxChoice {
        if self.no_sandbox {
            SandboxChoice::Off("--no-sandbox")
        } else if self.sandbox {
            SandboxChoice::BestEffort
        } else if allows_all && !self.sandbox_strict {
            SandboxChoice::Off("--allow-all")
        } else {
            SandboxChoice::Strict
        }
    }
}

/// Sandbox level that the person chose.
#[derive(Clone, Copy, PartialEq)]
pub enum SandboxChoice {
    /// All layers are required. If the host lacks a layer, the step is refused.
    Strict,
    /// The layers that this host supports. The program reports each missing layer.
    BestEffort,
    /// Resource limits only, without a sandbox. The value is the option that disabled the sandbox.
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
