//! The boundaries of a company, at their size: `scripts/estate` makes all of them and measures, and the test program plays a sample.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use documents::{SecretKey, SshKey};
use serde_json::{Value, json};

use crate::certified::{Certificates, TlsProxy};
use crate::companion::{entry, list, listed};
use crate::many_steps::{AREAS, RUNBOOKS, five_steps, with_error};
use crate::mcp::Server;
use crate::support::grants::as_holder;
use crate::support::people::{alice, authorization, bob, envelope, renew};
use crate::support::random::Random;
use crate::support::{SMALL, World, exited, runbook, said};

/// Sizes of an estate.
struct Sizes {
    runbooks: usize,
    approvers: usize,
    boundaries: usize,
    runs: usize,
    /// Number of measurements of each kind.
    rounds: usize,
}

impl Sizes {
    /// Reads the number of runs in each log that `scripts/estate` gives. Without it, the sizes are those of the sample.
    fn wanted() -> Self {
        match std::env::var("COUNTERSIGN_ESTATE") {
            Ok(runs) => Self {
                runbooks: 300,
                approvers: 200,
                boundaries: 12,
                runs: runs.parse().expect("a number"),
                rounds: 5,
            },
            Err(_) => Self {
                runbooks: 60,
                approvers: 40,
                boundaries: 3,
                runs: 3,
                rounds: 1,
            },
        }
    }
}

/// The runbooks of a company: paths, texts and the references of their steps.
struct Runbooks {
    files: Vec<(String, String)>,
    directories: Vec<String>,
    steps: Vec<String>,
}

/// Makes runbooks of five steps. Each directory has seven or eight of them.
fn runbooks(count: usize, random: &mut Random) -> Runbooks {
    let services = |at: usize| {
        AREAS
            .iter()
            .map(move |(area, services)| format!("{area}/{}", services[at]))
    };
    let mut directories: Vec<String> = (0..5).flat_map(services).collect();
    directories.truncate((count * 2).div_ceil(15));
    let (mut files, mut steps) = (Vec::new(), Vec::new());
    for at in 0..count {
        let (directory, name) = (
            &directories[at % directories.len()],
            RUNBOOKS[at / directories.len()],
        );
        let service = directory.split_once('/').expect("an area").1;
        let ids = five_steps(random);
        let scripts: Vec<String> = ids
            .iter()
            .map(|id| format!("echo \"{id} of {service}\""))
            .collect();
        let blocks: Vec<(&str, &str)> = ids
            .iter()
            .copied()
            .zip(scripts.iter().map(String::as_str))
            .collect();
        let title = format!("{name} of {service}");
        files.push((
            format!("{directory}/{name}.md"),
            runbook(SMALL, &blocks).replace("Steps of a test", &title),
        ));
        steps.extend(ids.iter().map(|id| format!("{directory}/{name}:{id}")));
    }
    Runbooks {
        files,
        directories,
        steps,
    }
}

/// Returns a roster with these approvers in their groups, eight in each of 25.
fn approvers(count: usize) -> Value {
    let mut roster = json!({});
    for at in 0..count {
        let mut seed = [25; 32];
        seed[..2].copy_from_slice(&[at as u8, (at >> 8) as u8]);
        let key =
            SshKey::from_public(SecretKey::from_seed(seed).public(), "person").expect("a key");
        let group = format!("team{}", at % count.div_ceil(8));
        roster["groups"][&group] = json!({});
        roster["approvers"][format!("person{at}")] =
            json!({"groups": [group], "keys": [key.line()]});
    }
    roster
}

/// Returns a policy with one rule for each directory.
fn policy(directories: &[String]) -> String {
    let rule = |directory: &String| {
        format!(
            "  - {{runbook: '{directory}/**', approvals: {{required: 2, from: [ops, security]}}}}\n"
        )
    };
    let rules: String = directories.iter().map(rule).collect();
    format!(
        "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {{required: 1, from: [ops, security]}}\n\
         overrides:\n{rules}"
    )
}

fn boundary(name: &str, made: &Runbooks, sizes: &Sizes) -> World {
    World::with(|setup| {
        setup.name = name.to_owned();
        setup
            .limits
            .push_str("calls_per_second = 1000000\npending_per_proposer = 100\n");
        setup.policy = policy(&made.directories);
        setup.roster = approvers(sizes.approvers);
        for (name, text) in &made.files {
            setup.runbook(name, text.clone());
        }
    })
}

/// Runs steps that two people signed.
fn run(world: &World, steps: &[String], runs: usize, random: &mut Random) {
    let mut statements = Vec::new();
    for _ in 0..runs.min(20) {
        statements.push(world.authorization(&steps[random.below(steps.len())], json!({})));
    }
    for at in 0..runs {
        let mut statement = statements[at % statements.len()].clone();
        renew(&mut statement);
        world
            .submit(&envelope(&authorization(&statement), &[&alice(), &bob()]))
            .ok(200);
    }
}

/// Returns the times in milliseconds below which half, 99 % and all of them are.
fn spread(times: Vec<Duration>) -> Value {
    let mut times: Vec<f64> = times
        .iter()
        .map(|time| time.as_secs_f64() * 1000.0)
        .collect();
    times.sort_by(f64::total_cmp);
    let below = |percent: usize| {
        (times[(times.len() * percent / 100).min(times.len() - 1)] * 100.0).round() / 100.0
    };
    json!({"count": times.len(), "p50_ms": below(50), "p99_ms": below(99), "most_ms": below(100)})
}

/// Prints a figure as a line.
fn tell(figures: &mut Value, name: &str, value: Value) {
    println!("{name}: {value}");
    figures[name] = value;
}

/// Asks the inbox of all boundaries. Returns the time until the last of the others was shown, and the time until the end.
fn inbox(world: &World, bad: &[&str], good: usize) -> (Duration, Duration) {
    let mut command = listed(world, &["inbox", "--boundary", "all", "--json"]);
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let (mut last, mut shown) = (Duration::ZERO, Vec::new());
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        let object: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let name = object["boundary"].as_str().expect("a name").to_owned();
        let is_bad = bad.contains(&name.as_str());
        assert_eq!(object["error"].is_string(), is_bad, "{object:#}");
        if !is_bad {
            last = begun.elapsed();
            assert!(
                !object["proposals"]
                    .as_array()
                    .expect("proposals")
                    .is_empty()
                    || object["frozen"].is_object()
            );
        }
        shown.push(name);
    }
    assert_eq!(
        (child.wait().expect("it ends").code(), shown.len()),
        (Some(125), good + bad.len()),
        "{shown:?}"
    );
    (last, begun.elapsed())
}

/// Measures the inbox with one silent, one refusing and one frozen boundary, and one with a bad certificate.
fn inboxes(worlds: &[World], sizes: &Sizes, figures: &mut Value) {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tls = TlsProxy::new(made, "server", &worlds[0].wire.url);
    let id = |world: &World| {
        let registry = world
            .wire
            .get("/v1/registry?query=x", &world.reader)
            .ok(200);
        registry["boundary"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let own = id(&worlds[0]);
    let silent_url = format!("http://{}", silent.local_addr().expect("an address"));
    let mut entries = String::new();
    for (name, url) in [
        ("silent", silent_url.as_str()),
        ("refusing", "http://127.0.0.1:1"),
        ("wrong", &tls.url()),
    ] {
        entries.push_str(&entry(&worlds[0], name, url, &own));
    }
    for world in worlds {
        entries.push_str(&entry(
            world,
            &world.setup.name,
            &world.wire.url,
            &id(world),
        ));
    }
    list(&worlds[0], &entries);
    let frozen = worlds.last().expect("a boundary");
    exited(
        as_holder(frozen, &bob(), &["freeze", "--yes", "--reason", "stop"]),
        0,
    );
    let times = (0..sizes.rounds)
        .map(|_| inbox(&worlds[0], &["silent", "refusing", "wrong"], worlds.len()));
    let (shown, whole): (Vec<Duration>, Vec<Duration>) = times.unzip();
    tell(figures, "inbox: last of the others", spread(shown));
    tell(figures, "inbox: whole", spread(whole));
}

/// Measures searches and hints, each over HTTP, and searches with MCP.
fn searches(
    world: &World,
    steps: &[String],
    sizes: &Sizes,
    random: &mut Random,
    figures: &mut Value,
) {
    let (mut bare, mut found, mut hinted, mut listed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut server = Server::opened(world, &world.wire.url);
    for _ in 0..200 * sizes.rounds {
        let right = &steps[random.below(steps.len())];
        let words = right.replace(['/', ':'], "+");
        let begun = Instant::now();
        world.wire.peek("/health");
        bare.push(begun.elapsed());
        let begun = Instant::now();
        let reply = world
            .wire
            .get(&format!("/v1/registry?query={words}"), &world.reader);
        found.push(begun.elapsed());
        let view = reply.ok(200);
        assert_eq!(view["steps"][0]["ref"], json!(right), "{words}");
        let wrong = with_error(right, random);
        if !steps.contains(&wrong) {
            let begun = Instant::now();
            let reply = world.wire.get(&format!("/v1/steps/{wrong}"), &world.agent);
            hinted.push(begun.elapsed());
            let problem = reply.problem("unknown-step");
            assert!(
                problem["detail"]
                    .as_str()
                    .expect("a text")
                    .contains("did you mean "),
                "{wrong}: {problem}"
            );
        }
        let begun = Instant::now();
        let answer = server.call("list_steps", json!({"query": right}));
        listed.push(begun.elapsed());
        assert_eq!(answer["steps"][0]["step"], json!(right));
    }
    tell(figures, "health check over HTTP", spread(bare));
    tell(figures, "search over HTTP", spread(found));
    tell(figures, "hints over HTTP", spread(hinted));
    tell(figures, "search with MCP", spread(listed));
}

/// Counts the lines of `roster sign` for one changed word of policy.
fn changed_word(world: &World, figures: &mut Value) {
    let changed = world.setup.policy.replacen("required: 2", "required: 1", 1);
    world.write("b/boundary/policy.yaml", &changed);
    let draft = world
        .boundary_command(&[
            "roster",
            "--config",
            &world.path("b").to_string_lossy(),
            "set",
        ])
        .output();
    exited(draft.expect("it starts"), 0);
    let pinned = world.started["roster"].as_str().expect("a digest");
    let mut sign = world.program(&[
        "--url",
        &world.wire.url,
        "roster",
        "sign",
        "--review",
        "--roster",
        pinned,
    ]);
    sign.arg("--policy")
        .arg(world.path("b/boundary/policy.yaml"))
        .arg(world.path("b/boundary/roster.d/next.json"));
    let screen = said(&exited(
        sign.env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("it starts"),
        0,
    ));
    let lines = screen.lines().count();
    assert!(
        lines <= 40 && screen.contains("The verdict changes for "),
        "{screen}"
    );
    tell(
        figures,
        "roster sign: lines for one changed word",
        json!(lines),
    );
}

/// Measures one audit of all logs, and an audit of each log.
fn audits(worlds: &[World], sizes: &Sizes, figures: &mut Value) {
    let mirrors: Vec<PathBuf> = worlds.iter().map(|world| world.export("mirror")).collect();
    let audit = |places: &[PathBuf]| {
        let mut command: Command = worlds[0].program(&["audit"]);
        command.args(places);
        for world in worlds {
            command.args([
                "--roster",
                world.started["roster"].as_str().expect("a digest"),
            ]);
        }
        let begun = Instant::now();
        let output = command.output().expect("it starts");
        (begun.elapsed(), said(&exited(output, 0)))
    };
    let (mut together, mut each) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        let (time, told) = audit(&mirrors);
        assert!(
            mirrors
                .iter()
                .all(|mirror| told.contains(&format!("== {} ==", mirror.display()))),
            "{told}"
        );
        together.push(time);
        each.push(
            mirrors
                .iter()
                .map(|mirror| audit(std::slice::from_ref(mirror)).0)
                .sum(),
        );
    }
    let ratio = |(one, other): (&Duration, &Duration)| {
        (one.as_secs_f64() / other.as_secs_f64() * 100.0).round() / 100.0
    };
    let mut ratios: Vec<f64> = together.iter().zip(&each).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    tell(figures, "audit of all logs", spread(together));
    tell(figures, "an audit of each log", spread(each));
    tell(
        figures,
        "audit of all logs, in the median of the pairs, divided by audits of each",
        json!(ratios[ratios.len() / 2]),
    );
}

#[test]
fn the_boundaries_of_a_company_are_served_searched_signed_and_audited_at_their_size() {
    let sizes = Sizes::wanted();
    let mut random =
        Random(std::env::var("COUNTERSIGN_SEED").map_or(1, |seed| seed.parse().expect("a seed")));
    let made = runbooks(sizes.runbooks, &mut random);
    assert_eq!(made.steps.len(), sizes.runbooks * 5);
    let mut figures = json!({});
    let begun = Instant::now();
    let worlds: Vec<World> = (0..sizes.boundaries)
        .map(|at| boundary(&format!("b{at}"), &made, &sizes))
        .collect();
    tell(
        &mut figures,
        "estate",
        json!({"runbooks": sizes.runbooks, "steps": made.steps.len(), "directories": made.directories.len(),
               "approvers": sizes.approvers, "boundaries": worlds.len(), "made_s": begun.elapsed().as_secs()}),
    );
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (at, world) in worlds.iter().enumerate() {
            let (steps, mut random) = (&made.steps, Random(random.next() ^ at as u64));
            scope.spawn(move || run(world, steps, sizes.runs, &mut random));
        }
    });
    let runs = sizes.runs * worlds.len();
    tell(
        &mut figures,
        "runs",
        json!({"count": runs, "made_s": begun.elapsed().as_secs()}),
    );
    for world in &worlds {
        for at in 0..25 {
            world.propose(&made.steps[at * 7], json!({}));
        }
    }
    searches(&worlds[0], &made.steps, &sizes, &mut random, &mut figures);
    changed_word(&worlds[0], &mut figures);
    audits(&worlds, &sizes, &mut figures);
    inboxes(&worlds, &sizes, &mut figures);
    println!("{figures}");
}
