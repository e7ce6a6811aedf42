//! The rules of all models, each with a weakened form that breaks a promise.

use crate::promises::Promise;

/// A part of the models, with the work that its rules are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scene {
    Copies,
    Names,
    Inputs,
    Revocations,
    Uses,
    Tokens,
    Emergencies,
    Audit,
    Synchronous,
    Asynchronous,
    LaterKey,
    Takeover,
    NodeUses,
    NodeEmergencies,
}

impl Scene {
    pub const ALL: [Self; 14] = [
        Self::Copies,
        Self::Names,
        Self::Inputs,
        Self::Revocations,
        Self::Uses,
        Self::Tokens,
        Self::Emergencies,
        Self::Audit,
        Self::Synchronous,
        Self::Asynchronous,
        Self::LaterKey,
        Self::Takeover,
        Self::NodeUses,
        Self::NodeEmergencies,
    ];

    /// Returns what the part is about.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Copies => "one machine: authorizations with one nonce, denial, clock, prune",
            Self::Names => "one machine: an exclusive name, cancellation, a seal, crashes",
            Self::Inputs => "one machine: a session and a plan",
            Self::Revocations => "one machine: revocations of a key, a token and the epoch (freeze), and a thaw",
            Self::Uses => "one machine: uses of a grant, its revocation, a freeze, unknown ends and reviews",
            Self::Tokens => "one machine: uses of a grant to a token, and an administrator who changes rows",
            Self::Emergencies => "one machine: emergencies and their reviews",
            Self::Audit => "the log of a dishonest boundary, and its audit, which keeps a nonce only until its end",
            Self::Synchronous => "nodes on PostgreSQL with a synchronous replica",
            Self::Asynchronous => "nodes on PostgreSQL with an asynchronous replica",
            Self::LaterKey => "nodes on PostgreSQL, and the key of one node came with a later seal",
            Self::Takeover => "nodes on PostgreSQL: revocations, a freeze and a takeover",
            Self::NodeUses => "nodes on PostgreSQL: uses of a grant, unknown ends and reviews",
            Self::NodeEmergencies => "nodes on PostgreSQL: emergencies and their reviews",
        }
    }
}

/// A row of the table of weakened forms.
pub struct Weakened {
    pub name: &'static str,
    pub rule: &'static str,
    pub scene: Scene,
    pub breaks: Promise,
    /// Number of actions of the shortest trace.
    pub length: usize,
    /// All rules without this one.
    pub rules: Rules,
}

macro_rules! rules {
    ($($name:ident: $scene:ident, $breaks:ident, $length:literal, $says:literal;)*) => {
        /// The rules. A weakened form has one rule less.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Rules { $(#[doc = $says] pub $name: bool,)* }

        impl Rules {
            pub const ALL: Self = Self { $($name: true,)* };
        }

        /// All weakened forms.
        pub const WEAKENED: &[Weakened] = &[$(Weakened {
            name: stringify!($name),
            rule: $says,
            scene: Scene::$scene,
            breaks: Promise::$breaks,
            length: $length,
            rules: Rules { $name: false, ..Rules::ALL },
        },)*];
    };
}

rules! {
    nonce_looked_up: Copies, OneStart, 5, "The writer refuses a nonce that is spent.";
    open_nonces_of_log: Copies, OneStart, 11, "A start reads the open nonces from the log, not only from their rows.";
    state_compared: Names, VerdictInForce, 3, "The consume transaction compares the seal and the version of the verdict.";
    end_compared: Copies, OneStart, 9, "The writer refuses a consumption at or after the end of its nonce.";
    end_is_expiry: Copies, OneStart, 8, "The end of a nonce is the end of its authorization.";
    denial_looked_up: Copies, NeverAfterDenial, 5, "The consume transaction looks for a denial.";
    status_compared: Names, NeverAfterDenial, 5, "Only an approved proposal can begin to run.";
    start_after_commit: Names, DurableFirst, 2, "A run starts after the commit of its consumption.";
    answer_after_commit: Copies, NeverAfterDenial, 7, "A caller gets the answer after the commit.";
    failed_sync_ends: Names, DurableFirst, 3, "If a sync fails, the process ends.";
    exclusive_claimed: Names, ExclusiveRuns, 5, "A run with an exclusive name waits for the receipt of the holder.";
    old_runs_dead: Names, ExclusiveRuns, 6, "A start waits until the processes of earlier runs are dead.";
    recovery_closes: Names, NothingWaits, 2, "A start writes a receipt for each run without one.";
    authorization_in_commit: Names, NothingWaits, 2, "The commit of a consumption also writes the authorization that it names.";
    recovery_reads_log: Names, OneReceipt, 8, "Recovery closes no run whose receipt is in the log, whatever its row says.";
    recovery_never_starts: Names, OneStart, 7, "Recovery writes the outcome unknown, and starts nothing.";
    recovery_first: Names, ExclusiveRuns, 4, "A start recovers before it accepts requests.";
    log_time_counts: Copies, WindowClosed, 9, "The time of a decision is never before the last entry.";
    mark_counts: Copies, OneStart, 14, "A window that ended at or before the low-water mark is closed.";
    mark_durable: Copies, WindowClosed, 9, "The commit that deletes nonces stores the low-water mark.";
    mark_by_boot_clock: Copies, WindowOpen, 5, "The low-water mark rises no faster than the time since boot.";
    leap_refused: Copies, WindowOpen, 3, "While the clock is ahead, the time goes on with the boot clock.";
    session_claimed: Inputs, SessionOpen, 3, "A consumption claims its open session for one run.";
    plan_has_receipt: Inputs, PlanFirst, 3, "A run that applies a plan needs the receipt of the plan's run.";
    revoked_key_skipped: Revocations, NeverAfterRevocation, 4, "A verdict counts no signature of a revoked key.";
    revoked_token_refused: Revocations, NeverAfterRevocation, 4, "A verdict refuses each proposal of a revoked token.";
    frozen_refuses: Revocations, NeverAfterRevocation, 4, "After a freeze, each verdict refuses until a seal with a new epoch.";
    new_state_version: Revocations, NeverAfterRevocation, 3, "A revocation increases the state version.";
    version_read_first: Revocations, NeverAfterRevocation, 5, "A verdict reads the state version before or with the revocations.";
    revocations_at_start: Revocations, NeverAfterRevocation, 6, "A start reads the revocations of the log.";
    freeze_in_log: Revocations, NeverAfterRevocation, 7, "A freeze is an entry of the log, and not only in memory.";
    thaw_has_new_epoch: Revocations, NeverAfterRevocation, 6, "A thaw is a seal with a new epoch.";
    seal_keeps_freeze: Revocations, NeverAfterRevocation, 6, "A seal with the same epoch ends no freeze.";
    freeze_names_epoch: Revocations, NothingWaits, 4, "A freeze ends one epoch, and authorizations of the next epoch run.";
    thaw_keeps_keys: Revocations, NeverAfterRevocation, 7, "A thaw ends only the freeze: revoked keys and tokens stay revoked.";
    freeze_stops_runs: Revocations, NothingWaits, 4, "A freeze stops the running runs.";
    late_start_stopped: Revocations, NothingWaits, 4, "A run that was consumed before the freeze and starts after it is stopped too.";
    unknown_after_crash: Revocations, EndSeen, 6, "Recovery writes unknown also for a run of a revoked epoch.";
    frozen_takes_denials: Revocations, NothingWaits, 2, "Denials go on after a freeze.";
    frozen_takes_receipts: Revocations, NothingWaits, 3, "Receipts go on after a freeze.";
    use_after_entry: Uses, GrantFirst, 2, "A verdict takes only a grant of the log.";
    revoked_grant_refused: Uses, NeverAfterRevocation, 6, "A verdict refuses each use of a revoked grant.";
    use_in_transaction: Uses, UsesCounted, 5, "The consume transaction decides the number of a use.";
    batch_counts_uses: Uses, UsesCounted, 5, "The uses of one batch get their numbers one after the other.";
    use_with_nonce: Uses, UsesCounted, 13, "The commit that spends the nonce stores the use.";
    uses_limited: Uses, UsesCounted, 6, "The consume transaction refuses a use beyond the limit.";
    unsettled_pauses: Uses, NotWhilePaused, 8, "The consume transaction refuses each use of a grant with an unsettled run.";
    receipt_pauses_batch: Uses, NotWhilePaused, 8, "A receipt `unknown` pauses the grant also for its batch.";
    reviews_end: Uses, NothingWaits, 4, "The last required review settles the run, and the grant goes on.";
    review_compared: Uses, ReviewsDecide, 10, "A review is logged only at the state version at which the people were counted.";
    frozen_takes_reviews: Uses, NothingWaits, 6, "Reviews go on after a freeze.";
    credential_of_seal: Tokens, PresentedOnly, 5, "The sealed entry of a token says what a caller must present, and not its row.";
    asked_is_signed: Tokens, PresentedOnly, 5, "The boundary signs only the use that the call asked for, whatever its row says.";
    open_in_transaction: Emergencies, FewOpen, 3, "The consume transaction counts the emergencies whose review is open.";
    batch_counts_open: Emergencies, FewOpen, 3, "An emergency counts for the later consumptions of its batch.";
    open_from_consumption: Emergencies, FewOpen, 3, "An emergency is open from its consumption on, and not from its receipt on.";
    emergencies_at_start: Emergencies, FewOpen, 7, "A start reads the open emergencies from the store.";

    audit_compares_end: Audit, SecondUseFound, 3, "The audit finds each consumption at or after the end of its nonce.";
    audit_compares_expiry: Audit, SecondUseFound, 3, "The audit finds an item whose expires_at is not the end of its nonce.";
    audit_compares_times: Audit, SecondUseFound, 4, "The audit finds each time that is before an earlier time of the log.";
    audit_keeps_used: Audit, SecondUseFound, 3, "The audit keeps a used nonce until its end.";
    audit_saves_used: Audit, SecondUseFound, 3, "The state of an audit has the used nonces that it keeps.";
    audit_saves_time: Audit, SecondUseFound, 5, "The state of an audit has the latest time of the log.";

    unique_keys: Synchronous, OneStart, 13, "Nonce, leaf index and batch number are unique keys.";
    batch_number: Synchronous, NeverAfterDenial, 10, "Each batch has the number after the last one that it read.";
    number_read_first: Synchronous, NeverAfterDenial, 12, "A batch reads the last batch number before or with the rest of the state.";
    warning_is_unknown: Synchronous, DurableFirst, 4, "A warning at a commit makes the commit unknown.";
    settle_commits: Synchronous, DurableFirst, 5, "A node settles with a synchronous commit of its own before it answers.";
    settle_by_own_batch: Synchronous, OneStart, 14, "A node settles by the id of its own batch.";
    settle_after_change: Asynchronous, OneStart, 11, "A consumption that has not started when the server changes is settled again.";
    head_before_start: Asynchronous, OneStart, 11, "A node stores the head that covers the consumption before the run starts.";
    heads_compared: Asynchronous, LogGrows, 10, "After a change of the server, the kept heads are compared before the next consumption.";
    heads_of_all: Asynchronous, OneStart, 10, "The kept heads of all nodes are compared, not only the own one.";
    missing_head_blocks: Asynchronous, OneStart, 11, "A missing head blocks, until the node comes or the operator says that it is lost.";
    new_epoch_after_lost: Asynchronous, OneStart, 12, "If a lost node's head is missing, nothing is consumed until a seal with a new epoch.";
    older_term_fenced: Synchronous, SessionOpen, 9, "A batch of an older term has only receipts of its node's open runs.";
    over_by_deadline: Synchronous, ExclusiveRuns, 10, "Another node writes unknown only after the deadline or after node lost.";
    own_by_deadline: Asynchronous, NothingWaits, 8, "A node also closes a run of its own after the deadline, if it does not hold the run.";
    start_before_deadline: Synchronous, ExclusiveRuns, 11, "A run whose consumption is too old at its start does not start.";
    exclusive_in_database: Synchronous, ExclusiveRuns, 12, "An exclusive name is read from the database and frees with the receipt.";
    receipt_names_batch: Asynchronous, ExclusiveRuns, 14, "A receipt closes only the consumption that it names.";
    late_receipt_kept: Synchronous, OneReceipt, 15, "A receipt that comes after another one is a file and no entry.";
    key_of_seal: LaterKey, KeyCounts, 14, "A node without a key in the seal of an open run stands by.";
    takeover_reads_log: Takeover, NeverAfterRevocation, 7, "After a takeover, the revocations of all nodes count.";
    uses_in_database: NodeUses, UsesCounted, 7, "The number of a use follows the uses in the database, and is a unique key.";
    pause_in_database: NodeUses, NotWhilePaused, 11, "A node reads in the database whether a run of a grant is unsettled.";
    open_in_database: NodeEmergencies, FewOpen, 7, "After a batch of another node, a node reads the open emergencies again.";
}
