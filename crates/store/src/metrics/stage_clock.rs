//! The duration of each stage of a crossing.

use std::sync::Arc;
use std::time::Instant;

use crate::{CrossingStage, Metrics};

/// Clock for the stages of one crossing. A stage that ends with a refusal is not recorded.
#[derive(Debug)]
pub struct StageClock {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl StageClock {
    /// Starts the first stage.
    pub fn start(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            began: Instant::now(),
        }
    }

    /// Records the duration of `stage`, which has just ended, and starts the next stage.
    pub fn end(&mut self, stage: CrossingStage) {
        self.metrics.crossing_stage(stage, self.began.elapsed());
        self.restart();
    }

    /// Starts the next stage without a record of the time until now.
    pub fn restart(&mut self) {
        self.began = Instant::now();
    }
}
