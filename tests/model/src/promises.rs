//! What must be true in every state, for all models. A model tells the [`History`] what happened, and the history decides
//! which promise is broken.

macro_rules! promises {
    ($($name:ident: $words:literal;)*) => {
        /// A promise of the boundary.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Promise { $(#[doc = $words] $name,)* }

        impl Promise {
            /// Returns the promise in words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

promises! {
    OneStart: "a nonce starts at most one run";
    DurableFirst: "no run starts before its consumption is durable where it must be";
    SecondUseFound: "the audit finds each second use of a nonce in a log, although it keeps no nonce after its end";
    OneReceipt: "a consumption has at most one receipt";
    NeverAfterDenial: "a run that was denied or cancelled before its consumption never starts";
    NeverAfterRevocation: "no authorization is consumed after the revocation of its key, token, grant or epoch";
    GrantFirst: "no use of a grant is consumed before the entry of the grant";
    UsesCounted: "the uses of a grant in the log have the numbers 1 to k without a gap, and k is at most the limit";
    PresentedOnly: "each consumed use of a grant to a token was asked for by a call that presented the sealed credential";
    NotWhilePaused: "no use of a grant is consumed while a run of the grant is unsettled";
    FewOpen: "no emergency is consumed while as many as policy allows are open";
    ReviewsDecide: "after each review, the store has as open and unsettled exactly the runs that the log has";
    ExclusiveRuns: "two runs with one exclusive name or session never overlap, and no receipt comes before the end";
    LogGrows: "the log only grows, or every node refuses";
    VerdictInForce: "a run starts only under the seal of its verdict";
    SessionOpen: "no run starts that was consumed after the end of its session";
    PlanFirst: "no run applies a plan whose run has no receipt";
    WindowClosed: "a window that the log saw ended stays closed";
    WindowOpen: "no run is refused as expired before its window ends";
    KeyCounts: "a key of the run's own seal signs the receipt";
    EndSeen: "a receipt says cancelled only if the service stopped the run";
    NothingWaits: "from every state, the work can end without another fault";
}

/// Maximum number of runs of a model.
pub const MOST_RUNS: usize = 4;

/// Maximum number of uses of the grant.
pub const MOST_USES: u8 = 2;

/// What happened so far, as far as a promise depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History {
    /// The only promise that is watched, or `None` for all promises.
    only: Option<Promise>,
    /// The first promise that was broken.
    pub broken: Option<Promise>,
    started: u8,
    pub running: [u8; MOST_RUNS],
}

impl History {
    pub fn new(only: Option<Promise>) -> Self {
        Self { only, ..Self::default() }
    }

    /// Notes that the promise is broken if `holds` is false.
    pub fn demand(&mut self, promise: Promise, holds: bool) {
        if !holds && self.broken.is_none() && self.only.is_none_or(|only| only == promise) {
            self.broken = Some(promise);
        }
    }

    /// A process of the run starts. `durable` is true if the consumption is durable where it must be. `shares` returns
    /// true for each run that must not overlap.
    pub fn start(&mut self, run: usize, nonce: usize, durable: bool, shares: impl Fn(usize) -> bool) {
        self.demand(Promise::OneStart, self.started >> nonce & 1 == 0);
        self.demand(Promise::DurableFirst, durable);
        let overlaps = (0..MOST_RUNS).any(|other| other != run && shares(other) && self.running[other] > 0);
        self.demand(Promise::ExclusiveRuns, !overlaps);
        self.started |= 1 << nonce;
        self.running[run] += 1;
    }

    /// The processes of the run are dead.
    pub fn end(&mut self, run: usize) {
        self.running[run] = self.running[run].saturating_sub(1);
    }

    /// The log gets a receipt of the run.
    pub fn receipt(&mut self, run: usize, has_receipt: bool) {
        self.demand(Promise::OneReceipt, !has_receipt);
        self.demand(Promise::ExclusiveRuns, self.running[run] == 0);
    }

    pub fn nothing_runs(&self) -> bool {
        self.running == [0; MOST_RUNS]
    }
}
