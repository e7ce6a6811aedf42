//! Random numbers of a seed, and tests of many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Plays seeds, `workers` at one time. The variables `COUNTERSIGN_SEED` and `COUNTERSIGN_COUNT` name the first seed and the
/// number of seeds. Fails after all seeds if a seed failed.
pub fn play_seeds(script: &str, count: u64, workers: usize, play: impl Fn(u64) + Sync) {
    let number =
        |name: &str, plain| std::env::var(name).map_or(plain, |text| text.parse().expect(name));
    let first = number("COUNTERSIGN_SEED", 1);
    let seeds = first..first + number("COUNTERSIGN_COUNT", count);
    let (next, failed) = (Mutex::new(seeds), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().unwrap().next() } {
                    if catch_unwind(AssertUnwindSafe(|| play(seed))).is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "seeds that failed: {failed:?}; one again: scripts/{script} --seed {:?}",
        failed[0]
    );
}

/// SplitMix64, a seeded generator, so that a failure is reproducible.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            let at = self.below(end);
            items.swap(end - 1, at);
        }
    }
}
