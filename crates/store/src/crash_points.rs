//! Crash points, at which a test kills the process.
//!
//! Builds without `debug_assertions` contain no crash points.

/// Names of the crash points before and after commits that each boundary makes, in pairs and in the order of
/// `WriteKind`.
#[cfg(debug_assertions)]
pub const POINTS: &[&str] = &[
    "before-seal-commit",
    "after-seal-commit",
    "before-proposal-commit",
    "after-proposal-commit",
    "before-denial-commit",
    "after-denial-commit",
    "before-revocation-commit",
    "after-revocation-commit",
    "before-consume-commit",
    "after-consume-commit",
    "before-receipt-commit",
    "after-receipt-commit",
    "before-refusal-commit",
    "after-refusal-commit",
    "before-advance-commit",
    "after-advance-commit",
    "before-prune-commit",
    "after-prune-commit",
    "before-retire-commit",
    "after-retire-commit",
];

/// Names of the other crash points before and after commits, in the same form. A boundary without targets of messages,
/// grants, reviews, ID tokens and old log entries never reaches these points.
#[cfg(debug_assertions)]
pub const OTHER_POINTS: &[&str] = &[
    "before-told-commit",
    "after-told-commit",
    "before-grant-commit",
    "after-grant-commit",
    "before-review-commit",
    "after-review-commit",
    "before-admission-commit",
    "after-admission-commit",
    "before-pack-commit",
    "after-pack-commit",
];

/// Kind of a document in a batch of writes, with a crash point before the commit and one after the commit.
pub(crate) enum WriteKind {
    Seal,
    Proposal,
    Denial,
    Revocation,
    Consume,
    Receipt,
    Refusal,
    Advance,
    Prune,
    Retire,
    Told,
    Grant,
    Review,
    Admission,
    Pack,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct WriteKinds(u16);

impl WriteKinds {
    pub(crate) fn add(&mut self, kind: WriteKind) {
        self.0 |= 1 << kind as u16;
    }

    /// Reaches the crash points of these kinds: the points after the commit if `committed` is true, else the points
    /// before the commit.
    #[cfg(debug_assertions)]
    pub(crate) fn pass(self, committed: bool) {
        for (at, names) in POINTS.chunks(2).chain(OTHER_POINTS.chunks(2)).enumerate() {
            if self.0 >> at & 1 == 1 {
                point(names[usize::from(committed)]);
            }
        }
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(crate) fn pass(self, _: bool) {}
}

/// Kills this process if the variable `COUNTERSIGN_FAULT` is `name`. The value `name:n` kills the process at the n-th
/// call with this name (counted from 1).
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);

    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("COUNTERSIGN_FAULT").ok()?;
        match text.split_once(':') {
            Some((name, time)) => Some((name.to_owned(), time.parse().ok()?)),
            None => Some((text, 1)),
        }
    });
    if let Some((armed, time)) = armed
        && armed == name
        && SEEN.fetch_add(1, Ordering::Relaxed) + 1 == *time
    {
        // Like the kernel's out-of-memory killer, SIGKILL runs no destructor and flushes nothing.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing in builds without `debug_assertions`.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: &str) {}
