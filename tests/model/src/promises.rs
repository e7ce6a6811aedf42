//! What must be true in every state, for both models.
//!
//! A model tells the [`History`] what happened. The history decides which promise is broken.

/// A promise of the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    OneStart,
    DurableFirst,
    OneReceipt,
    NeverAfterDenial,
    ExclusiveRuns,
    LogGrows,
    VerdictInForce,
    SessionOpen,
    PlanFirst,
    WindowClosed,
    WindowOpen,
    KeyCounts,
    NothingWaits,
}

impl Promise {
    pub const ALL: [Self; 13] = [
        Self::OneStart,
        Self::DurableFirst,
        Self::OneReceipt,
        Self::NeverAfterDenial,
        Self::ExclusiveRuns,
        Self::LogGrows,
        Self::VerdictInForce,
        Self::SessionOpen,
        Self::PlanFirst,
        Self::WindowClosed,
        Self::WindowOpen,
        Self::KeyCounts,
        Self::NothingWaits,
    ];

    /// Returns the promise in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OneStart => "a nonce starts at most one run",
            Self::DurableFirst => "no run starts before its consumption is durable where it must be",
            Self::OneReceipt => "a consumption has at most one receipt",
            Self::NeverAfterDenial => "a run that was denied or cancelled before its consumption never starts",
            Self::ExclusiveRuns => "two runs with one exclusive name or one session never overlap",
            Self::LogGrows => "the log only grows, or every node refuses",
            Self::VerdictInForce => "a run starts only under the seal of its verdict",
            Self::SessionOpen => "no run of an ended session is consumed and starts",
            Self::PlanFirst => "no run applies a plan whose run has no receipt",
            Self::WindowClosed => "a window that the log saw ended stays closed",
            Self::WindowOpen => "no run is refused as expired before its window ends",
            Self::KeyCounts => "a key of the run's own seal signs the receipt",
            Self::NothingWaits => "from every state, the work can end without another fault",
        }
    }
}

/// The most runs that a model has.
pub const MOST_RUNS: usize = 4;

/// What happened so far, as far as a promise depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History {
    starts: [u8; MOST_RUNS],
    pub running: [u8; MOST_RUNS],
    pub receipts: [u8; MOST_RUNS],
    broken: u16,
}

impl History {
    pub fn is_broken(&self, promise: Promise) -> bool {
        self.broken >> promise as u16 & 1 == 1
    }

    pub fn holds(&self) -> bool {
        self.broken == 0
    }

    /// Breaks the promise if `holds` is false.
    pub fn demand(&mut self, promise: Promise, holds: bool) {
        self.broken |= u16::from(!holds) << promise as u16;
    }

    /// A process of the run starts. `durable` tells whether the consumption is durable where it must be.
    pub fn start(&mut self, run: usize, nonce: usize, durable: bool, shares: impl Fn(usize, usize) -> bool) {
        self.demand(Promise::OneStart, self.starts[nonce] == 0);
        self.demand(Promise::DurableFirst, durable);
        let alone = (0..MOST_RUNS).all(|other| other == run || !shares(run, other) || self.running[other] == 0);
        self.demand(Promise::ExclusiveRuns, alone);
        self.starts[nonce] = 1;
        self.running[run] += 1;
    }

    /// The processes of the run are dead.
    pub fn end(&mut self, run: usize) {
        self.running[run] = self.running[run].saturating_sub(1);
    }

    /// The receipt of the run is in the log.
    pub fn receipt(&mut self, run: usize) {
        self.demand(Promise::OneReceipt, self.receipts[run] == 0);
        self.receipts[run] = 1;
    }

    pub fn started(&self, nonce: usize) -> bool {
        self.starts[nonce] > 0
    }
}
