//! The growth of the data, and the days for which the disk has space: `/metrics`, `/ready` and `doctor --production`.

use std::fs;

use serde_json::Value;

use crate::support::shim::shim;
use crate::support::{World, said, wait_for};

const DAY_S: i64 = 86_400;
/// The note of `/ready` about a short time.
const NOTE: &str = "the disk of the store has space for 0 more days at the growth of the last";

/// Starts the service with a clock that is `days` ahead, and waits until the sizes have `lines` lines.
fn start_after(world: &mut World, days: i64, lines: usize) {
    world.setup.env.retain(|(name, _)| name != "SHIM_CLOCK");
    world.setup.env("SHIM_CLOCK", (days * DAY_S).to_string());
    world.start();
    wait_for("the service measures its data", || {
        sizes(world).len() == lines
    });
}

/// Returns the measured sizes in bytes.
fn sizes(world: &World) -> Vec<u64> {
    let text = fs::read_to_string(world.path("b/boundary/sizes")).unwrap_or_default();
    text.lines()
        .skip(1)
        .map(|line| {
            line.split_once(' ')
                .expect("a time")
                .1
                .parse()
                .expect("a number")
        })
        .collect()
}

/// Returns the metrics about the growth (bytes a day, days left), after a check of the notes of `/ready`.
fn growth(world: &World) -> (Option<f64>, Option<f64>) {
    let samples = world.wire.get("/metrics", &world.reader).samples();
    let value = |name: &str| samples.get(&format!("countersign_growth_{name}")).copied();
    let ready = world.wire.peek("/ready");
    assert_eq!(
        ready.status,
        200,
        "a note does not stop the service: {}",
        ready.text()
    );
    let found = (value("per_day_bytes"), value("days_left"));
    let is_noted = ready.json()["notes"].to_string().contains(NOTE);
    assert_eq!(
        is_noted,
        found.1 == Some(0.0),
        "{found:?}: {}",
        ready.text()
    );
    found
}

/// Returns the finding of `doctor --production` about the free space, with its result.
fn finding(world: &World) -> (String, String) {
    let doctor = world
        .program(&["doctor", "--production", "--json"])
        .arg(world.path("b"))
        .output()
        .expect("doctor");
    let list: Value =
        serde_json::from_slice(&doctor.stdout).unwrap_or_else(|_| panic!("{}", said(&doctor)));
    let points = list["points"].as_array().expect("points");
    let all = points
        .iter()
        .flat_map(|point| point["findings"].as_array().expect("findings"));
    let of_space = all.filter(|one| {
        one["says"]
            .as_str()
            .expect("words")
            .contains("MiB are free")
    });
    let found: Vec<_> = of_space
        .map(|one| (one["result"].to_string(), one["says"].to_string()))
        .collect();
    let [one] = &found[..] else {
        panic!("{found:?}")
    };
    one.clone()
}

#[test]
fn the_days_left_follow_from_the_growth_of_the_last_7_days() {
    let Some(shim) = shim("the_days_left_follow_from_the_growth_of_the_last_7_days") else {
        return;
    };
    // The clock of `doctor` is the real clock, so the log begins five days ago.
    let mut world = World::prepared(|setup| setup.env("LD_PRELOAD", shim));
    start_after(&mut world, -5, 1);
    world.make_tokens();
    assert_eq!(growth(&world), (None, None), "a single size is no growth");
    let (result, says) = finding(&world);
    assert!(
        result.contains("ok") && says.contains("no growth of the data is known"),
        "{says}"
    );
    // A sparse file among the outputs counts with its whole size.
    let outputs = world.path("b/boundary/outputs/aa");
    fs::create_dir_all(&outputs).expect("a directory");
    let large = outputs.join("large");
    fs::File::create(&large)
        .expect("a file")
        .set_len(8 << 40)
        .expect("a sparse file");
    world.stop();
    start_after(&mut world, -3, 2);
    let (per_day, days) = growth(&world);
    let grown = (sizes(&world)[1] - sizes(&world)[0]) as f64;
    assert!(
        per_day.is_some_and(|found| (found * 2.0 / grown - 1.0).abs() < 0.01),
        "{per_day:?} of {grown}"
    );
    assert_eq!(days, Some(0.0));
    let (result, says) = finding(&world);
    assert!(
        result.contains("fix") && says.contains("at the growth of the last 2 days"),
        "{says}"
    );
    // After a pruning the data is smaller than at the first size.
    fs::remove_file(&large).expect("removed");
    world.stop();
    start_after(&mut world, -1, 3);
    if sizes(&world)[2] <= sizes(&world)[0] {
        assert_eq!(growth(&world), (None, None));
    } else {
        let days = growth(&world).1.expect("days");
        assert!(days > 0.0, "a log that grew by some KiB: {days}");
    }
    assert!(finding(&world).0.contains("ok"));
    // The clock is set back by three days: the later sizes, one of them with the large file, do not count any more.
    world.stop();
    start_after(&mut world, -4, 2);
    assert_ne!(growth(&world).1, Some(0.0));
}

#[test]
fn a_start_replaces_a_pipe_at_the_path_of_the_sizes() {
    let mut world = World::new();
    world.stop();
    let sizes = world.path("b/boundary/sizes");
    let _ = fs::remove_file(&sizes);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&sizes)
            .status()
            .expect("mkfifo")
            .success()
    );
    world.start();
    wait_for("the sizes are a file", || {
        fs::metadata(&sizes).is_ok_and(|file| file.is_file())
    });
}
