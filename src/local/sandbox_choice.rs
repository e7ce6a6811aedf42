//! Sandbox level of `countersign run`.

/// Sandbox level that the person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
