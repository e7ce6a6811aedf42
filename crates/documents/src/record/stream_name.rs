//! One of the two output streams of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

words! {
    /// A stream of output.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum StreamName {
        /// Standard output.
        Stdout = "standard output",
        /// Standard error.
        Stderr = "standard error",
    }
}
