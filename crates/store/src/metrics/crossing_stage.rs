//! The stages of a crossing, as the metrics name them.

documents::words! {
    /// Stage of a crossing, as in the label `stage`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum CrossingStage {
        /// Decoding, verification and admission of a request.
        Verify = "verify",
        /// The durable commit that spends the nonce.
        Consume = "consume",
        /// The run in the sandbox.
        Run = "run",
        /// Writing and signing of the receipt, and its durable commit.
        Receipt = "receipt",
    }
}
