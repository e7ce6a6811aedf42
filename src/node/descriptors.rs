//! Computes how many concurrent runs and connections the limits of this process allow (RLIMIT_NOFILE, RLIMIT_NPROC).
//!
//! A run that finds no free file descriptor at its start fails, and its nonce is spent. Therefore the service limits
//! the number of runs: a run that waits for capacity still has an unspent nonce.

use rustix::process::{Resource, getrlimit};

use boundary::HttpConfig;

#[derive(Debug)]
pub struct DescriptorShares {
    pub runs: usize,
    pub connections: usize,
    /// Message to the operator if `runs` is lower than the configured number of runs.
    pub note: Option<String>,
}

/// Number of file descriptors that one run needs in this process: socket, output, process, cancellation, and one more
/// during the start.
const OF_A_RUN: u64 = 6;
/// Number of file descriptors for the store, its readers, and connections that the service refuses.
const BESIDE: u64 = 256;
/// Minimum number of file descriptors for the store and its readers. The idle service has about twenty open
/// descriptors.
const LEAST_BESIDE: u64 = 32;
/// Lowest limit of open files (RLIMIT_NOFILE) with which the service starts.
const LEAST: u64 = 64;
/// Number of processes and threads of one run: a thread of the service, the run's first process, and the step's
/// process.
const PROCESSES_OF_A_RUN: u64 = 3;
/// Number of processes and threads of the service besides its runs: the helper, and up to 128 threads that read the
/// store.
const PROCESSES_BESIDE: u64 = 160;

/// Checks that the limit of open files is high enough for the service and one run.
///
/// # Errors
/// Returns the message for the operator if the limit is too low.
pub fn check() -> Result<(), String> {
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < LEAST => Err(format!(
            "this process may open at most {most} files, but the service with one run needs {LEAST}: raise the limit \
             (systemd: LimitNOFILE=, a shell: ulimit -Hn)"
        )),
        _ => Ok(()),
    }
}

/// Divides the hard limit of open files between runs and connections. The sandbox raises the soft limit to the hard
/// limit.
pub fn share(runs: usize) -> DescriptorShares {
    let mut shares = of(
        getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
        runs,
        HttpConfig::default().max_connections,
    );
    // The kernel does not enforce RLIMIT_NPROC (limit of processes) for root.
    let processes = getrlimit(Resource::Nproc)
        .current
        .filter(|_| !rustix::process::geteuid().is_root());
    if let Some((fit, note)) = processes.and_then(|most| of_processes(most, shares.runs)) {
        shares = DescriptorShares {
            runs: fit,
            note: Some(note),
            ..shares
        };
    }
    shares
}

fn of(descriptors: u64, runs: usize, connections: usize) -> DescriptorShares {
    let part = descriptors / 4;
    let connections = at_most(part, connections);
    let left = descriptors.saturating_sub(connections as u64 + beside(descriptors));
    let fit = at_most((left / OF_A_RUN).max(1), runs);
    let note = (fit < runs).then(|| {
        format!(
            "the boundary starts at most {fit} runs at one time instead of {runs}: this process may open at most \
             {descriptors} files, so further approved runs wait; raise the limit (systemd: LimitNOFILE=, a shell: \
             ulimit -Hn) or lower `runs`"
        )
    });
    DescriptorShares {
        runs: fit,
        connections,
        note,
    }
}

fn beside(descriptors: u64) -> u64 {
    (descriptors / 4).clamp(LEAST_BESIDE, BESIDE)
}

/// Returns a lower number of concurrent runs if RLIMIT_NPROC is too low for `runs`. Processes that a step starts are
/// not counted.
fn of_processes(most: u64, runs: usize) -> Option<(usize, String)> {
    let fit = at_most(
        (most.saturating_sub(PROCESSES_BESIDE) / PROCESSES_OF_A_RUN).max(1),
        runs,
    );
    let note = format!(
        "the boundary starts at most {fit} runs at one time instead of {runs}: the user of this process may have at \
         most {most} processes and threads, and processes of steps count too; raise the limit (systemd: \
         LimitNPROC=, a shell: ulimit -u) or lower `runs`"
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
    fn the_default_limits_need_at_most_1024_descriptors() {
        for descriptors in [1024, 20_000, 524_288, u64::MAX] {
            let shares = of(descriptors, 64, 2048);
            assert_eq!((shares.runs, shares.note), (64, None), "{descriptors}");
        }
        assert_eq!(
            (
                of(4096, 64, 2048).connections,
                of(8192, 64, 2048).connections
            ),
            (1024, 2048)
        );
    }

    #[test]
    fn runs_and_connections_never_exceed_the_descriptor_limit() {
        for descriptors in [64, 256, 1024, 2048, 4096, 20_000] {
            let shares = of(descriptors, 4096, 2048);
            let all =
                shares.runs as u64 * OF_A_RUN + shares.connections as u64 + beside(descriptors);
            assert!(
                all <= descriptors && shares.runs > 0,
                "{descriptors}: {shares:?}"
            );
        }
        assert_eq!(of_processes(4096, 64), None);
        let (fit, note) = of_processes(256, 64).expect("told");
        assert!(
            fit == 32
                && note.contains("at most 32 runs at one time instead of 64")
                && note.contains("LimitNPROC"),
            "{note}"
        );
        assert_eq!(of_processes(1, 64).map(|(fit, _)| fit), Some(1));
        let note = of(1024, 500, 1024).note.expect("told");
        assert!(
            note.contains("at most 85 runs at one time instead of 500")
                && note.contains("LimitNOFILE"),
            "{note}"
        );
    }
}
