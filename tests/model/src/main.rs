//! Checks the model of the crossing, all promises under all rules, and that each weakened form breaks its promise.
//! `scripts/model` runs this program.

mod audit;
mod checking;
mod cluster;
mod machine;
mod names;
mod promises;
mod rules;
mod tokens;

use std::process::ExitCode;
use std::sync::Mutex;

use audit::Audit;
use checking::{Found, search};
use cluster::Cluster;
use machine::Machine;
use promises::Promise;
use rules::{Rules, Scene, WEAKENED, Weakened};
use tokens::Tokens;

const USAGE: &str = "usage: countersign-model [--trace NAME] [--nodes N] [--nonces N] [--faults N]";

/// The limits of the model.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bounds {
    nodes: u8,
    nonces: u8,
    faults: u8,
}

/// The limits of the short check. The lengths in the table of weakened forms are those of these limits.
const SHORT: Bounds = Bounds { nodes: 2, nonces: 2, faults: 2 };

fn check(scene: Scene, rules: Rules, only: Option<Promise>, bounds: Bounds) -> Found {
    let Bounds { nodes, nonces: runs, faults } = bounds;
    let waits = only.is_none_or(|promise| promise == Promise::NothingWaits);
    match scene {
        Scene::Copies | Scene::Names | Scene::Inputs | Scene::Revocations | Scene::Emergencies => {
            search(&Machine { rules, scene, runs: usize::from(runs), faults, only }, waits)
        }
        Scene::Tokens => search(&Tokens { rules, faults, only }, waits),
        Scene::Audit => search(&Audit { rules, nonces: runs, only }, waits),
        // One run more than the grant has uses.
        Scene::Uses => search(&Machine { rules, scene, runs: 3, faults, only }, waits),
        Scene::NodeUses => search(&Cluster { rules, scene, nodes, runs: 3, faults, only }, waits),
        // Each revocation of this scene concerns all runs, so one run suffices.
        Scene::Takeover => search(&Cluster { rules, scene, nodes, runs: 1, faults, only }, waits),
        _ => search(&Cluster { rules, scene, nodes, runs, faults, only }, waits),
    }
}

/// Checks one part of the model under all rules. Returns true if all promises are kept.
fn check_scene(scene: Scene, bounds: Bounds) -> bool {
    let Found { states, seconds, broken } = check(scene, Rules::ALL, None, bounds);
    println!("{states:9} states {seconds:6.1} s  {}", scene.words());
    let Some((promise, trace)) = &broken else { return true };
    println!("BROKEN: {}\n  {}", promise.words(), trace.join("\n  "));
    false
}

/// Checks one weakened form. Returns true if its promise breaks after the stated number of actions.
fn check_weakened(weak: &Weakened) -> bool {
    let found = check(weak.scene, weak.rules, Some(weak.breaks), SHORT);
    let length = found.broken.map_or(0, |(_, trace)| trace.len());
    println!("without {:22} {:?} breaks after {length} actions", weak.name, weak.breaks);
    if length != weak.length {
        println!("WRONG: the table says {} actions", weak.length);
    }
    length == weak.length && length > 0
}

fn print_trace(weak: &Weakened) -> bool {
    println!("Without the rule: {}\n({})\n", weak.rule, weak.scene.words());
    let Some((promise, trace)) = check(weak.scene, weak.rules, Some(weak.breaks), SHORT).broken else { return false };
    for (number, words) in (1..).zip(&trace) {
        println!("{number:3}. {words}");
    }
    println!("\nBroken: {}", promise.words());
    true
}

/// Does the work with two threads. Returns true if `check` returned true for all work.
fn all<T: Sync>(work: &[T], check: impl Fn(&T) -> bool + Sync) -> bool {
    let waiting = Mutex::new(work.iter());
    let next = || waiting.lock().ok().and_then(|mut work| work.next());
    let run = || std::iter::from_fn(next).filter(|work| !check(work)).count() == 0;
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let good = run();
        other.join().is_ok_and(|other| other) && good
    })
}

fn main() -> ExitCode {
    let mut bounds = SHORT;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = value.parse().ok().filter(|number| (1..=4).contains(number));
        match (argument.as_str(), number) {
            ("--trace", _) => {
                let Some(weak) = WEAKENED.iter().find(|weak| weak.name == value) else {
                    WEAKENED.iter().for_each(|weak| println!("{:22} {}", weak.name, weak.rule));
                    return ExitCode::from(2);
                };
                return if print_trace(weak) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            ("--nodes", Some(number)) => bounds.nodes = number,
            ("--nonces", Some(number)) => bounds.nonces = number,
            ("--faults", Some(number)) => bounds.faults = number,
            _ => {
                eprintln!("{USAGE}\nN is 1 to 4. Without a NAME, --trace lists the weakened forms.");
                return ExitCode::from(2);
            }
        }
    }
    let mut good = all(&Scene::ALL, |scene| check_scene(*scene, bounds));
    if bounds == SHORT {
        good &= all(WEAKENED, check_weakened);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
