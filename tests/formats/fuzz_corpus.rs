//! Runs the fuzz targets on the stable compiler, with every seed and 2,000 damaged variants of each seed.
//!
//! `fuzz/seeds.txt` lists the seeds. Inputs that a fuzzer found are in `fuzz/regressions/TARGET/`, and the tests replay
//! them.

use std::collections::BTreeMap;
use std::path::Path;

#[path = "../../fuzz/src/targets.rs"]
#[allow(
    unreachable_pub,
    missing_docs,
    reason = "also the library of the fuzz workspace"
)]
mod targets;

/// Number of damaged variants of each seed.
const ROUNDS: usize = 2_000;

macro_rules! replays {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            replay(stringify!($target));
        }
    )*};
}

replays! {
    bundle_verify envelope gruntwork_runbook id_token json_reader launcher_request markdown_runbook note_and_proof policy_yaml program_lists step_definition
    rundown_runbook runnable_page ssh_key_line shell_commands sshsig_blob statement_each_kind template_source
}

#[test]
fn every_fuzz_target_has_a_seed_a_binary_and_a_replay() {
    let seeds = seeds();
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("the manifest");
    let here = include_str!("fuzz_corpus.rs");
    for (name, _) in targets::ALL {
        assert!(seeds.contains_key(name), "{name} has no seed");
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
        assert!(
            root()
                .join(format!("fuzz/fuzz_targets/{name}.rs"))
                .is_file(),
            "{name} has no binary"
        );
        assert!(here.contains(name), "{name} is not replayed");
    }
    assert_eq!(seeds.len(), targets::ALL.len(), "a seed of no target");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The seeds of each target, with their file names.
fn seeds() -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let list = std::fs::read_to_string(root().join("fuzz/seeds.txt")).expect("the list of seeds");
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (target, file) = line.split_once(' ').expect("target and file");
        let bytes =
            std::fs::read(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        found
            .entry(target.to_owned())
            .or_default()
            .push((file.to_owned(), bytes));
    }
    found
}

fn replay(name: &str) {
    let (_, target) = targets::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target");
    let seeds = seeds().remove(name).expect("seeds");
    for entry in std::fs::read_dir(root().join("fuzz/regressions").join(name))
        .into_iter()
        .flatten()
    {
        let path = entry.expect("an entry").path();
        run(
            *target,
            &std::fs::read(&path).expect("a file"),
            &path.display().to_string(),
        );
    }
    for (file, seed) in &seeds {
        run(*target, seed, file);
        for round in 0..ROUNDS {
            let mut random = Random::new(file, round);
            let other = &seeds[random.below(seeds.len())].1;
            let damaged = damage(seed, other, &mut random, &TOKENS);
            run(*target, &damaged, &format!("round {round} of {file}"));
        }
    }
}

/// Runs one input. After a panic, prints the input, so that it can become a regression file.
fn run(target: targets::Target, input: &[u8], what: &str) {
    if let Err(panic) = std::panic::catch_unwind(|| target(input)) {
        let shown = String::from_utf8_lossy(&input[..input.len().min(2000)]);
        eprintln!("{what}: {shown}");
        std::panic::resume_unwind(panic);
    }
}

/// xorshift64*, so that the damage is the same on every machine and in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(file: &str, round: usize) -> Self {
        let seed = file.bytes().fold(round as u64 + 1, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// Tokens that are difficult for parsers: limits of numbers, names, quotes and nesting.
const TOKENS: [&str; 36] = [
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ":",
    ",",
    "null",
    "true",
    "-0",
    "1e9",
    "9007199254740992",
    "18446744073709551616",
    "0.1",
    "\n\n",
    "\n",
    "\r\n",
    "\u{feff}",
    "\0",
    "=",
    "==",
    "-",
    "---\n",
    "```\n",
    "{#x}",
    "SSHSIG",
    "ssh-ed25519 ",
    "\u{2014} ",
    "sha256:",
    "&a ",
    "*a",
    "!!python/object ",
];

/// Returns `seed` with up to four changes: other bytes, tokens, and parts of `other`.
pub(crate) fn damage(seed: &[u8], other: &[u8], random: &mut Random, tokens: &[&str]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let most = 1 << random.below(8);
        let length = random.below(most).min(bytes.len() - at);
        match random.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap_or(0),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            5 => drop(bytes.splice(at..at, tokens[random.below(tokens.len())].bytes())),
            6 => drop(bytes.splice(at..at + length, tokens[random.below(tokens.len())].bytes())),
            7 => {
                let from = random.below(other.len() + 1);
                let taken = random.below(64).min(other.len() - from);
                drop(bytes.splice(at..at, other[from..from + taken].to_vec()));
            }
            _ => {
                let with = random.below(bytes.len() + 1);
                if at < bytes.len() && with < bytes.len() {
                    bytes.swap(at, with);
                }
            }
        }
    }
    bytes
}
