//! The model of the crossing.
mod checking;
mod cluster;
mod machine;
mod names;
mod promises;
mod rules;

use checking::search;
use machine::Machine;
use rules::{Rules, Scene, WEAKENED};

use crate::cluster::Cluster;

fn run(scene: Scene, rules: Rules, only: Option<promises::Promise>, faults: u8) -> checking::Found {
    match scene {
        Scene::Copies | Scene::Names | Scene::Inputs => search(&Machine::new(scene, rules, 2, faults), only),
        _ => search(&Cluster { rules, faults, nodes: 2, runs: 2, scene }, only),
    }
}

fn main() {
    let faults = std::env::args().nth(1).map_or(2, |a| a.parse().unwrap());
    for scene in Scene::ALL {
        let found = run(scene, Rules::ALL, None, faults);
        println!("{scene:?} {} {:.1}", found.states, found.seconds);
        for (p, t) in found.broken {
            println!("  BROKEN {p:?} {}\n   {}", t.len(), t.join("\n   "));
        }
    }
    for weak in WEAKENED {
        let found = run(weak.scene, weak.rules, Some(weak.breaks), faults);
        println!(
            "{} {:?} {} {:.1} {:?}",
            weak.name,
            weak.breaks,
            found.states,
            found.seconds,
            found.broken.first().map(|b| b.1.len())
        );
        if std::env::args().nth(2).as_deref() == Some(weak.name) {
            println!("   {}", found.broken[0].1.join("\n   "));
        }
    }
}
