//! How many runs and connections fit into the descriptors that this process may have open.
//!
//! A run that finds none left is not started, and its approval is spent. One that finds no room waits, with its nonce unspent.

use rustix::process::{Resource, getrlimit};

use crate::http::HttpConfig;

/// What may go on at one time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) runs: usize,
    pub(super) connections: usize,
    /// Why there are fewer runs than were asked for, and what to do.
    pub(super) note: Option<String>,
}

/// Descriptors of a run in this process: its socket, output, process and word to stop, and one while it begins.
const OF_A_RUN: u64 = 6;
/// For the store, those who read it and callers who are turned away.
const BESIDE: u64 = 256;

/// Shares out what the hard limit gives; the sandbox raises the soft one to it.
pub(super) fn share(runs: usize) -> Shares {
    of(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), runs, HttpConfig::default().max_connections)
}

fn of(descriptors: u64, runs: usize, connections: usize) -> Shares {
    let part = descriptors / 4;
    let connections = at_most(part, connections);
    let left = descriptors - connections as u64 - part.min(BESIDE);
    let fit = at_most((left / OF_A_RUN).max(1), runs);
    let note = (fit < runs).then(|| {
        format!(
            "{fit} runs at one time, not {runs}: this process may open no more than {descriptors} files, and what is approved \
             beyond that waits; raise that limit (systemd: LimitNOFILE=, a shell: ulimit -Hn) or lower `runs`"
        )
    });
    Shares { runs: fit, connections, note }
}

fn at_most(most: u64, asked: usize) -> usize {
    usize::try_from(most).map_or(asked, |most| most.min(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_into_a_thousand_descriptors() {
        for descriptors in [1024, 20_000, 524_288, u64::MAX] {
            let shares = of(descriptors, 64, 1024);
            assert_eq!((shares.runs, shares.note), (64, None), "{descriptors}");
        }
        assert_eq!(of(4096, 64, 1024).connections, 1024);
    }

    #[test]
    fn all_shares_together_are_never_more_than_there_are() {
        for descriptors in [64, 256, 1024, 2048, 4096, 20_000] {
            let shares = of(descriptors, 4096, 1024);
            let all = shares.runs as u64 * OF_A_RUN + shares.connections as u64 + (descriptors / 4).min(BESIDE);
            assert!(all <= descriptors && shares.runs > 0, "{descriptors}: {shares:?}");
        }
        let note = of(1024, 500, 1024).note.expect("told");
        assert!(note.contains("85 runs at one time, not 500") && note.contains("LimitNOFILE"), "{note}");
    }
}
