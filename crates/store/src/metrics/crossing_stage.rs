//! The stages of a crossing, as the metrics name them.

/// Stage of a crossing, as in the label `stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrossingStage {
    /// Decoding, verification and admission of a request.
    Verify,
    /// The durable commit that spends the nonce.
    Consume,
    /// The run in the sandbox.
    Run,
    /// Writing and signing of the receipt, and its durable commit.
    Receipt,
}

impl CrossingStage {
    /// All stages.
    pub const ALL: [Self; 4] = [Self::Verify, Self::Consume, Self::Run, Self::Receipt];

    /// Returns the name of the stage.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Consume => "consume",
            Self::Run => "run",
            Self::Receipt => "receipt",
        }
    }
}
