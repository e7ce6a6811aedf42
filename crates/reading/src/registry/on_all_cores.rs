//! The same work for many values, on all cores.

use std::{num::NonZero, sync::Mutex, thread};

use documents::locked;

/// Returns `work` of each value, in the order of the values. The calls run on all cores.
pub fn on_all_cores<T: Send, R: Send>(values: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS)
        .min(values.len());
    if threads <= 1 {
        return values.into_iter().map(work).collect();
    }
    let values = Mutex::new(values.into_iter().enumerate());
    let part = || {
        let mut done = Vec::new();
        loop {
            let next = locked(&values).next();
            let Some((at, value)) = next else { return done };
            done.push((at, work(value)));
        }
    };
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        // If the system refuses a thread, the other threads do its work.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, part).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut all = part();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Maximum number of threads. Each thread keeps some memory of its own.
const MAX_THREADS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_order_of_the_values() {
        for count in [0, 1, 2, 1000] {
            let doubled: Vec<usize> = (0..count).map(|value| 2 * value).collect();
            assert_eq!(
                on_all_cores((0..count).collect(), |value| 2 * value),
                doubled
            );
        }
    }
}
