//! The names that the model shares with the program. `tests/house/model.rs` compares this file with the source code of
//! the program: each status, each reason not to spend a nonce and each crash point is either in an enum here or in
//! [`NOT_MODELLED`].

/// The status of a proposal (`ProposalStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum Status { Approved, Running, Finished, Denied, Expired, Cancelled }

/// The reason why a nonce is not spent (`ConsumeStop`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum ConsumeStop {
    Moved, Denied, WrongState, Expired, ClockAhead, ExclusiveBusy, Replayed, RowLost,
    GrantPaused, GrantExhausted, Unreviewed,
}

/// The subject of a revocation (`RevokedSubject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rustfmt::skip]
pub enum Subject { Grant, Key, Token, Epoch }

/// A point at which the process can be killed (`POINTS`; `before-seal-commit` is `BeforeSealCommit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::enum_variant_names, reason = "the variants have the names of the program")]
#[rustfmt::skip]
pub enum CrashPoint {
    BeforeSealCommit, AfterSealCommit, BeforeDenialCommit, AfterDenialCommit,
    BeforeRevocationCommit, AfterRevocationCommit,
    BeforeGrantCommit, AfterGrantCommit, BeforeReviewCommit, AfterReviewCommit,
    BeforeConsumeCommit, AfterConsumeCommit, BeforeReceiptCommit, AfterReceiptCommit,
    BeforeAdvanceCommit, AfterAdvanceCommit, BeforePruneCommit, AfterPruneCommit,
}

/// Names of the program that have no part in the model, each with the reason.
#[rustfmt::skip]
#[allow(dead_code, reason = "people and a test of the house read this table")]
pub const NOT_MODELLED: &[(&str, &str)] = &[
    ("Pending", "the crossing takes a pending proposal with all signatures as it takes an approved one"),
    ("Refused", "a refused proposal ends like a cancelled one: no run can start"),
    ("NoSeal", "the model begins after the first seal"),
    ("BadWindow", "depends only on the signed document, and not on the order of events"),
    ("WindowTooLong", "depends only on the signed document, and not on the order of events"),
    ("NotYetValid", "the windows of the model are open from the beginning"),
    ("ClocksDiffer", "a difference of the clocks only delays a run"),
    ("SignerOutside", "a second end of the window, checked at the same place"),
    ("OtherAuthorization", "each proposal of the model has one authorization"),
    ("Fault", "the model has crashes, failed syncs and lost connections instead"),
    ("GrantRate", "the rate is a second limit of the same uses, and a refused use can run later"),
    ("before-message", "a message decides nothing"),
    ("after-message", "a message decides nothing"),
    ("before-told-commit", "the position of a target decides nothing"),
    ("after-told-commit", "the position of a target decides nothing"),
    ("before-admission-commit", "an ID token opens only a bearer, and no run depends on it"),
    ("after-admission-commit", "an ID token opens only a bearer, and no run depends on it"),
    ("before-proposal-commit", "the model begins with stored proposals"),
    ("after-proposal-commit", "the model begins with stored proposals"),
    ("before-refusal-commit", "no run depends on a refusal"),
    ("after-refusal-commit", "no run depends on a refusal"),
    ("before-pack-commit", "packing changes no entry, only the form in which its bytes are stored"),
    ("after-pack-commit", "packing changes no entry, only the form in which its bytes are stored"),
    ("before-retire-commit", "no run depends on outputs and on proposals that never ran"),
    ("after-retire-commit", "no run depends on outputs and on proposals that never ran"),
    ("restore-old-log-kept", "a restore begins a new log, and the model has one log"),
    ("restore-new-log-in-place", "a restore begins a new log, and the model has one log"),
    ("backup-rows-copied", "a backup does not change the store"),
    ("move-begun", "no service runs during a move between engines, and the log stays the same"),
    ("piece-written", "no batch refers to an output before all its pieces are stored"),
    ("move-group-copied", "no service runs during a move between engines, and the log stays the same"),
    ("move-rows-copied", "no service runs during a move between engines, and the log stays the same"),
    ("move-old-log-marked", "no service runs during a move between engines, and the log stays the same"),
    ("move-finished", "no service runs during a move between engines, and the log stays the same"),
];
