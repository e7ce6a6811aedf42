//! Places where a test kills the process.
//!
//! In builds without `debug_assertions` every place compiles to nothing.

/// The names of all places, in the order of the crossing.
#[cfg(debug_assertions)]
pub const POINTS: &[&str] = &[
    "before-seal-commit",
    "after-seal-commit",
    "before-proposal-commit",
    "after-proposal-commit",
    "before-denial-commit",
    "after-denial-commit",
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

/// What a batch holds; two places each, before and after its commit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WriteKind {
    Seal,
    Proposal,
    Denial,
    Consume,
    Receipt,
    Refusal,
    Advance,
    Prune,
    Retire,
}

/// The kinds in one batch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteKinds(u16);

impl WriteKinds {
    pub(crate) const fn add(&mut self, kind: WriteKind) {
        self.0 |= 1 << kind as u16;
    }

    /// Comes by the places before, or after, the commit of a batch of these kinds.
    #[cfg(debug_assertions)]
    pub(crate) fn pass(self, committed: bool) {
        for (at, names) in POINTS.chunks(2).enumerate() {
            if self.0 >> at & 1 == 1 {
                point(names[usize::from(committed)]);
            }
        }
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(crate) const fn pass(self, _: bool) {}
}

/// Kills this process at once when `COUNTERSIGN_FAULT` is `name`, or `name:n` at the n-th time, counting from 1.
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
        // As the kernel's out-of-memory killer or an operator would: no destructor, no flush.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn point(_: &str) {}
