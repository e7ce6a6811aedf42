//! How many runs and connections fit into the descriptors that this process may have open, and the processes of its user.
//!
//! A run that finds none left is not started, and its approval is spent. One that finds no room waits, with its nonce unspent.

use rustix::process::{Resource, getrlimit};

use crate::http::app::HttpConfig;

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
/// The same at least: the service has about twenty open before anybody calls.
const LEAST_BESIDE: u64 = 32;
/// With fewer nothing can be promised to a run.
const LEAST: u64 = 64;
/// A run's own in the limit of its user: a thread of the service, its first process and its step.
const PROCESSES_OF_A_RUN: u64 = 3;
/// The helper, and threads of the service: up to 128 read the store while many call.
const PROCESSES_BESIDE: u64 = 160;

/// Whether this process may open as many files as one run takes, and the service beside it.
///
/// # Errors
/// Why it may not, and what to do.
pub(super) fn check() -> Result<(), String> {
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < LEAST => Err(format!(
            "this process may open no more than {most} files, and the service with one run takes {LEAST}: raise that limit \
             (systemd: LimitNOFILE=, a shell: ulimit -Hn)"
        )),
        _ => Ok(()),
    }
}

/// Shares out what the hard limit gives; the sandbox raises the soft one to it.
pub(super) fn share(runs: usize) -> Shares {
    let mut shares =
        of(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), runs, HttpConfig::default().max_connections);
    // Root is not held to it.
    let processes = getrlimit(Resource::Nproc).current.filter(|_| !rustix::process::geteuid().is_root());
    if let Some((fit, note)) = processes.and_then(|most| of_processes(most, shares.runs)) {
        shares = Shares { runs: fit, note: Some(note), ..shares };
    }
    shares
}

fn of(descriptors: u64, runs: usize, connections: usize) -> Shares {
    let part = descriptors / 4;
    let connections = at_most(part, connections);
    let left = descriptors.saturating_sub(connections as u64 + beside(descriptors));
    let fit = at_most((left / OF_A_RUN).max(1), runs);
    let note = (fit < runs).then(|| {
        format!(
            "{fit} runs at one time, not {runs}: this process may open no more than {descriptors} files, and what is approved \
             beyond that waits; raise that limit (systemd: LimitNOFILE=, a shell: ulimit -Hn) or lower `runs`"
        )
    });
    Shares { runs: fit, connections, note }
}

fn beside(descriptors: u64) -> u64 {
    (descriptors / 4).clamp(LEAST_BESIDE, BESIDE)
}

/// Fewer runs where the user of the service may not have the processes of all; what steps start themselves comes on top.
fn of_processes(most: u64, runs: usize) -> Option<(usize, String)> {
    let fit = at_most((most.saturating_sub(PROCESSES_BESIDE) / PROCESSES_OF_A_RUN).max(1), runs);
    let note = format!(
        "{fit} runs at one time, not {runs}: the user of this process may have no more than {most} processes and threads, and \
         what steps start counts too; raise that limit (systemd: LimitNPROC=, a shell: ulimit -u) or lower `runs`"
    );
    (fit < runs).then_some((fit, note))
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
    fn all_descriptor_shares_together_never_exceed_the_limit() {
        for descriptors in [64, 256, 1024, 2048, 4096, 20_000] {
            let shares = of(descriptors, 4096, 1024);
            let all = shares.runs as u64 * OF_A_RUN + shares.connections as u64 + beside(descriptors);
            assert!(all <= descriptors && shares.runs > 0, "{descriptors}: {shares:?}");
        }
        assert_eq!(of_processes(4096, 64), None);
        let (fit, note) = of_processes(256, 64).expect("told");
        assert!(fit == 32 && note.contains("32 runs at one time, not 64") && note.contains("LimitNPROC"), "{note}");
        assert_eq!(of_processes(1, 64).map(|(fit, _)| fit), Some(1));
        let note = of(1024, 500, 1024).note.expect("told");
        assert!(note.contains("85 runs at one time, not 500") && note.contains("LimitNOFILE"), "{note}");
    }
}
