//! The names that the model shares with the program. `tests/house/model.rs` compares this file with the source code of the
//! program: each status, each reason not to spend a nonce and each crash point is either in an enum here or in
//! [`NOT_MODELLED`].

/// The status of a proposal (`StoredStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Approved,
    Running,
    Finished,
    Denied,
    Expired,
    Cancelled,
}

/// The reason why a nonce is not spent (`ConsumeStop`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsumeStop {
    Moved,
    Denied,
    WrongState,
    Expired,
    ClockAhead,
    ExclusiveBusy,
    Replayed,
    RowLost,
}

/// A point at which the process can be killed (`POINTS`, in CamelCase).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    BeforeSealCommit,
    AfterSealCommit,
    BeforeDenialCommit,
    AfterDenialCommit,
    BeforeConsumeCommit,
    AfterConsumeCommit,
    BeforeReceiptCommit,
    AfterReceiptCommit,
    BeforeAdvanceCommit,
    AfterAdvanceCommit,
    BeforePruneCommit,
    AfterPruneCommit,
}

/// Names of the program that have no part in the model, each with the reason. The test of the house reads this table.
#[rustfmt::skip]
pub const NOT_MODELLED: &[(&str, &str)] = &[
    ("Pending", "the crossing takes a pending proposal with all signatures as it takes an approved one"),
    ("Refused", "a refused proposal ends like a cancelled one: no run can start"),
    ("NoSeal", "the model begins after the first seal"),
    ("BadWindow", "depends only on the signed document, and never on the order of events"),
    ("WindowTooLong", "depends only on the signed document, and never on the order of events"),
    ("NotYetValid", "the window is open from the beginning"),
    ("SignerOutside", "a second end of the window, checked at the same place"),
    ("OtherAuthorization", "each proposal has one authorization here"),
    ("Fault", "the actions for a crash, a failed sync and a lost connection take its place"),
    ("before-proposal-commit", "a proposal that is not stored cannot run"),
    ("after-proposal-commit", "the model begins with stored proposals"),
    ("before-refusal-commit", "a refusal changes nothing that a run depends on"),
    ("after-refusal-commit", "a refusal changes nothing that a run depends on"),
    ("before-retire-commit", "outputs and old proposals that never ran are not in the model"),
    ("after-retire-commit", "outputs and old proposals that never ran are not in the model"),
    ("restore-old-log-kept", "a restore begins a new log, and the model has one log"),
    ("restore-new-log-in-place", "a restore begins a new log, and the model has one log"),
];
