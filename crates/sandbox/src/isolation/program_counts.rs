//! Counts the programs that a run started and those that its list refused.
//!
//! The memory for the counts is bounded, also for a run that starts endless different programs.

use std::collections::{BTreeMap, VecDeque};

use documents::{
    Execution, Executions, HostPath, MAX_PROGRAM_FACTS_BYTES, MAX_REFUSED, MAX_STARTED,
    ProgramFacts, ProgramMode, canonical,
};

/// Maximum number of started programs, and of refused programs, that are counted by their path. Further programs are only
/// counted together.
pub const MAX_PATHS: usize = 128;
/// Number of latest refusals that are kept, to recognize a repeated one.
const MAX_RECENT: usize = 32;

/// Device and inode number of a file.
pub type FileId = (u64, u64);

/// A program that the kernel executes, or that the list refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundProgram {
    /// Real path of the program in the run.
    pub path: String,
    /// The path that the caller gave.
    pub given: String,
    pub file: FileId,
}

/// The programs of one attempt to execute a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecAttempt {
    /// The file, then the interpreter of each script.
    Started(Vec<FoundProgram>),
    /// The list refuses this program.
    Refused(FoundProgram),
    /// No executable file has the given path.
    Nothing,
    /// The service can't read which file the caller named.
    Unknown,
}

/// Counters of one run.
#[derive(Debug, Default)]
pub struct ProgramCounts {
    started: CountsByPath,
    refused: CountsByPath,
    unknown: u64,
    /// The latest refusals, each with its thread.
    recent: VecDeque<(u32, FoundProgram)>,
}

#[derive(Debug, Default)]
struct CountsByPath {
    /// For each path the number of executions, and the path that the first caller gave.
    named: BTreeMap<String, (u64, String)>,
    more: u64,
}

impl CountsByPath {
    fn add(&mut self, program: FoundProgram) {
        let full = self.named.len() >= MAX_PATHS;
        match self.named.get_mut(&program.path) {
            Some((count, _)) => *count += 1,
            None if full || program.path.parse::<HostPath>().is_err() => self.more += 1,
            None => drop(self.named.insert(program.path, (1, program.given))),
        }
    }

    /// Returns at most `most` paths, the most frequent ones first. Of paths with equal counts, the smaller path has
    /// priority.
    fn executions(&self, most: usize, more: u64) -> Executions {
        let mut counts: Vec<(&String, u64)> = self
            .named
            .iter()
            .map(|(path, (count, _))| (path, *count))
            .collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let (named, unnamed) = counts.split_at(most.min(counts.len()));
        let more = unnamed
            .iter()
            .fold(self.more.saturating_add(more), |sum, (_, count)| {
                sum.saturating_add(*count)
            });
        let execution = |(path, count): &(&String, u64)| {
            Some(Execution {
                path: path.parse().ok()?,
                count: *count,
            })
        };
        let mut paths: Vec<Execution> = named.iter().filter_map(execution).collect();
        paths.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
        Executions { paths, more }
    }
}

impl ProgramCounts {
    /// Counts an attempt of a thread.
    pub fn add(&mut self, thread: u32, attempt: ExecAttempt) {
        match attempt {
            ExecAttempt::Started(programs) => programs
                .into_iter()
                .for_each(|program| self.started.add(program)),
            ExecAttempt::Refused(program) => {
                if self.is_repeated(thread, &program) {
                    return;
                }
                if self.recent.len() == MAX_RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back((thread, program.clone()));
                self.refused.add(program);
            }
            ExecAttempt::Nothing => {}
            ExecAttempt::Unknown => self.unknown += 1,
        }
    }

    /// Returns true if the thread tries the same file again by another path. After a refusal, shells try the next
    /// directory of the search path, which on many hosts is a link to the same directory.
    fn is_repeated(&mut self, thread: u32, program: &FoundProgram) -> bool {
        let at = self.recent.iter().position(|(other, _)| *other == thread);
        let repeated = at.is_some_and(|at| {
            self.recent[at].1.file == program.file && self.recent[at].1.given != program.given
        });
        if !repeated && let Some(at) = at {
            self.recent.remove(at);
        }
        repeated
    }

    /// Returns the facts for a receipt. They have at most [`MAX_PROGRAM_FACTS_BYTES`]. If the facts are too large, the
    /// longest paths are only counted, of equal lengths first those of started programs.
    pub fn facts(&self, mode: ProgramMode, listed: u64) -> ProgramFacts {
        let nothing_read =
            self.unknown > 0 && self.started.named.is_empty() && self.refused.named.is_empty();
        if nothing_read {
            return ProgramFacts {
                mode,
                listed,
                refused: None,
                started: None,
            };
        }
        let mut started = self.started.executions(MAX_STARTED, self.unknown);
        let mut refused = self.refused.executions(MAX_REFUSED, 0);
        loop {
            let facts = ProgramFacts {
                mode,
                listed,
                refused: Some(refused.clone()),
                started: Some(started.clone()),
            };
            let fits = canonical::canonical_of(&facts)
                .is_ok_and(|bytes| bytes.len() <= MAX_PROGRAM_FACTS_BYTES);
            let longest = |executions: &Executions| {
                executions
                    .paths
                    .iter()
                    .map(|one| one.path.as_str().len())
                    .max()
            };
            let (in_started, in_refused) = (longest(&started), longest(&refused));
            let shortened = if in_started >= in_refused {
                &mut started
            } else {
                &mut refused
            };
            let Some(length) = in_started.max(in_refused).filter(|_| !fits) else {
                return facts;
            };
            if let Some(at) = shortened
                .paths
                .iter()
                .rposition(|one| one.path.as_str().len() == length)
            {
                shortened.more = shortened
                    .more
                    .saturating_add(shortened.paths.remove(at).count);
            }
        }
    }

    /// Returns the started programs: the path, the number of executions, and the path that the first caller gave.
    pub fn started(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.started
            .named
            .iter()
            .map(|(path, (count, given))| (path.as_str(), *count, given.as_str()))
    }

    /// Returns the number of executions whose program is not named by [`Self::started`].
    pub fn more(&self) -> u64 {
        self.started.more.saturating_add(self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str, given: &str) -> FoundProgram {
        let file = (1, path.bytes().map(u64::from).sum());
        FoundProgram {
            path: path.to_owned(),
            given: given.to_owned(),
            file,
        }
    }

    fn started(path: &str) -> ExecAttempt {
        ExecAttempt::Started(vec![program(path, path)])
    }

    fn refused(path: &str) -> ExecAttempt {
        ExecAttempt::Refused(program(path, path))
    }

    fn counts(executions: &Executions) -> Vec<(&str, u64)> {
        executions
            .paths
            .iter()
            .map(|one| (one.path.as_str(), one.count))
            .collect()
    }

    #[test]
    fn a_run_with_endless_programs_has_a_record_of_bounded_size() {
        let mut all = ProgramCounts::default();
        for number in 0..100_000 {
            all.add(
                1,
                started(&format!("/usr/bin/program-{:05}", number % 50_000)),
            );
            all.add(number, refused(&format!("/usr/bin/other-{number:05}")));
        }
        assert_eq!(
            (
                all.started.named.len(),
                all.refused.named.len(),
                all.recent.len()
            ),
            (128, 128, 32)
        );
        let facts = all.facts(ProgramMode::Listed, 128);
        assert_eq!(facts.check(), Ok(()));
        let (started, refused) = (
            facts.started.expect("recorded"),
            facts.refused.expect("recorded"),
        );
        assert_eq!((started.paths.len(), refused.paths.len()), (16, 8));
        let sum = |executions: &Executions| {
            executions.more + executions.paths.iter().map(|one| one.count).sum::<u64>()
        };
        assert_eq!(
            (sum(&started), sum(&refused)),
            (100_000, 100_000),
            "each execution is counted once"
        );
    }

    #[test]
    fn the_most_frequent_programs_are_named() {
        let mut all = ProgramCounts::default();
        for number in (0..20).rev() {
            all.add(1, started(&format!("/usr/bin/a{number:02}")));
        }
        all.add(1, started("/usr/bin/z"));
        all.add(1, started("/usr/bin/z"));
        let facts = all.facts(ProgramMode::Listed, 1);
        let found = facts.started.expect("recorded");
        let mut expected: Vec<(String, u64)> = (0..15)
            .map(|number| (format!("/usr/bin/a{number:02}"), 1))
            .collect();
        expected.push(("/usr/bin/z".to_owned(), 2));
        let expected: Vec<(&str, u64)> = expected
            .iter()
            .map(|(path, count)| (path.as_str(), *count))
            .collect();
        assert_eq!((counts(&found), found.more), (expected, 5));
    }

    #[test]
    fn facts_that_are_too_large_name_the_shorter_paths() {
        let mut all = ProgramCounts::default();
        let long = |letter: char, length: usize| format!("/{}", letter.to_string().repeat(length));
        for (letter, length) in [('a', 200), ('b', 255), ('c', 255), ('d', 255), ('e', 255)] {
            all.add(1, started(&long(letter, length)));
            all.add(1, refused(&long(letter, length)));
        }
        all.add(1, started("/usr/bin/git"));
        all.add(2, refused("/usr/bin/id"));
        let facts = all.facts(ProgramMode::Listed, 1);
        assert_eq!(facts.check(), Ok(()));
        let (started, refused) = (
            facts.started.expect("recorded"),
            facts.refused.expect("recorded"),
        );
        let names = |executions: &Executions| -> Vec<String> {
            executions
                .paths
                .iter()
                .map(|one| one.path.as_str().chars().take(2).collect())
                .collect()
        };
        assert_eq!(
            (names(&started), started.more),
            (vec!["/a".into(), "/b".into(), "/u".into()], 3)
        );
        assert_eq!(
            (names(&refused), refused.more),
            (
                ["/a", "/b", "/c", "/d", "/e", "/u"]
                    .map(String::from)
                    .to_vec(),
                0
            )
        );
    }

    #[test]
    fn a_path_that_a_receipt_cannot_contain_is_only_counted() {
        let mut all = ProgramCounts::default();
        all.add(1, refused("/tmp/a\nb"));
        all.add(1, refused(&format!("/{}", "a/".repeat(600))));
        let facts = all.facts(ProgramMode::Listed, 1);
        assert_eq!(
            (facts.check(), facts.refused),
            (
                Ok(()),
                Some(Executions {
                    paths: vec![],
                    more: 2
                })
            )
        );
    }

    #[test]
    fn a_search_through_linked_directories_counts_as_one_refusal() {
        let mut all = ProgramCounts::default();
        let by = |given: &str| ExecAttempt::Refused(program("/usr/bin/id", given));
        for given in ["/usr/bin/id", "/bin/id", "/usr/bin/id", "/bin/id"] {
            all.add(7, by(given));
        }
        all.add(8, by("/bin/id"));
        let found = all.facts(ProgramMode::Listed, 1).refused.expect("recorded");
        assert_eq!(counts(&found), [("/usr/bin/id", 3)]);
    }

    #[test]
    fn programs_that_the_service_cannot_read_are_counted_without_a_name() {
        let mut all = ProgramCounts::default();
        all.add(1, ExecAttempt::Unknown);
        let facts = all.facts(ProgramMode::Listed, 1);
        assert_eq!(
            (facts.started, facts.refused),
            (None, None),
            "nothing was recorded"
        );
        all.add(1, started("/usr/bin/sh"));
        let found = all.facts(ProgramMode::Listed, 1).started.expect("recorded");
        assert_eq!((counts(&found), found.more), (vec![("/usr/bin/sh", 1)], 1));
    }
}
