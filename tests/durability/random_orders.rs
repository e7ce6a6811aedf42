//! Random orders of grants, uses, emergencies, reviews, stops, seals, crashes and jumps of the clock at one boundary.
//!
//! A seed chooses the actions. After each action, the test compares the new log entries, the answers and the views with a
//! small reference (`reference.rs`). The order of the log decides about requests that are sent at the same time. A step adds a
//! line to the file of its run, so two lines are a second run. At the end, both auditors and the check of the store read all.
//!
//! `scripts/random-orders --seed N --count N` plays any number of seeds. A seed repeats the actions and their order, but not
//! the exact moment of a crash or of a request. In every fourth seed, the store is a PostgreSQL database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::reference::{
    Asked, Codes, Grant, RULES, Reference, Run, entries, key_digest, keyid_of, list, text,
};
use crate::second;
use crate::support::people::{
    self, CHALLENGE, Key, envelope, now, payload_of, sha256, stamp, statement,
};
use crate::support::postgres::cluster::Cluster;
use crate::support::random::{Random, play_seeds};
use crate::support::shim::shim;
use crate::support::tokens;
use crate::support::{DEADLINE, SMALL, World, bytes_of, exited, runbook, said, said_at_exit};

/// Number of seeds of a plain test run.
const COUNT: u64 = 4;
const WORKERS: usize = 3;
/// Number of actions of a seed.
const ACTIONS: usize = 60;
/// Seconds by which the clock jumps: longer than a window, a rate and the shorter grants.
const JUMP: i64 = 7200;
const STEPS: [&str; 3] = ["mark:it", "mark:wait", "other:go"];
/// Writes at which the service can be killed.
const WRITES: [&str; 8] = [
    "proposal",
    "revocation",
    "consume",
    "receipt",
    "advance",
    "grant",
    "review",
    "seal",
];
/// The approvers, and people whose signatures never count.
const PEOPLE: [&str; 5] = ["alice", "bob", "dora", "gina", "hugo"];
const OTHERS: [&str; 6] = ["carol", "frank", "erin", "mallory", "robot", "oscar"];

#[test]
fn every_order_of_grants_uses_stops_seals_and_crashes_is_decided_as_the_log_says() {
    let postgres = Cluster::find("random orders with PostgreSQL").is_some();
    play_seeds("random-orders", COUNT, WORKERS, |seed| {
        Scene::of(seed, postgres && seed.is_multiple_of(4)).play()
    });
}

/// A request over HTTP, or over the control socket if the path is empty.
struct Call {
    asked: Asked,
    path: String,
    token: String,
    body: Value,
}

enum Answer {
    /// The connection broke.
    Lost(String),
    Done(Value),
    /// The code, and the words.
    Refused(String, String),
}

impl Call {
    fn send(&self, world: &World) -> Answer {
        if self.path.is_empty() {
            return match world.control(&self.body) {
                Ok(value) => Answer::Done(value),
                Err(words) if words.contains("not frozen") => {
                    Answer::Refused("wrong-state".to_owned(), words)
                }
                Err(words) if words.contains("os error") || words.contains("EOF") => {
                    Answer::Lost(words)
                }
                Err(words) => Answer::Refused("busy".to_owned(), words),
            };
        }
        match world.wire.try_post(&self.path, &self.token, &self.body) {
            Ok(reply) if reply.status < 300 => Answer::Done(reply.json()),
            Ok(reply) => {
                let problem = reply.json();
                let code = text(&problem["type"])
                    .trim_start_matches("/problems/")
                    .to_owned();
                Answer::Refused(code, problem.to_string())
            }
            Err(words) => Answer::Lost(words),
        }
    }
}

fn write_runbooks(world: &World, path: &str, variant: usize) {
    let front = format!("params:\n  text: {{type: string, maxLength: 40}}\n{SMALL}");
    let write = format!("write={path} workdir=in-place");
    let line = format!("echo run >> {path}/\"$PARAM_TEXT\"\n");
    let (it, wait) = (
        format!("{line}# {variant}"),
        format!("{line}exec sleep 60{variant}"),
    );
    let mark = [
        (&*format!("it {write}"), &*it),
        (&*format!("wait {write}"), &*wait),
    ];
    world.write("b/runbooks/mark.md", &runbook(&front, &mark));
    world.write(
        "b/runbooks/other.md",
        &runbook(&front, &[(&format!("go {write}"), &line)]),
    );
}

/// A boundary, and what the test knows about it.
struct Scene {
    seed: u64,
    random: Random,
    world: World,
    _server: Option<Cluster>,
    marks: tempfile::TempDir,
    reference: Reference,
    leaves: Vec<Vec<u8>>,
    /// Name, id and first epoch of the boundary.
    boundary: Value,
    /// Envelopes of the versions of the roster, by digest.
    versions: BTreeMap<String, Value>,
    /// The newest key of each person, as a seed.
    keys: BTreeMap<&'static str, u8>,
    /// The newest token that proposes.
    token: (String, String),
    /// Complete envelopes by the number of the run.
    envelopes: BTreeMap<usize, Value>,
    /// Runs whose envelope was answered with a receipt.
    answered: BTreeSet<usize>,
    /// Runs that were proposed and have not ended.
    proposed: BTreeSet<usize>,
    /// The entries that were read, but not compared yet.
    read: Vec<Vec<u8>>,
    /// Seconds by which the time of the service was ahead when it started.
    moved: i64,
    /// True until the first comparison after a start.
    starts: bool,
    /// True if the service may die.
    dies: bool,
    /// A run that does not end by itself.
    waits: Option<usize>,
    did: Vec<String>,
}

impl Scene {
    fn of(seed: u64, postgres: bool) -> Self {
        let marks = tempfile::Builder::new()
            .prefix("countersign-marks-")
            .tempdir()
            .unwrap();
        fs::set_permissions(marks.path(), Permissions::from_mode(0o777)).unwrap();
        let server = postgres.then(|| Cluster::start("random orders", "").expect("PostgreSQL"));
        let path = marks.path().display().to_string();
        let mut world = World::prepared(|setup| {
            let config = |server: &Cluster| server.config(&server.socket_url("service"), "one");
            setup.config = server.as_ref().map(config).unwrap_or_default();
            setup.limits = "calls_per_second = 1000000\n".to_owned();
            setup.policy = RULES[0].policy(&path).to_string();
            for (name, seed, groups) in [
                ("gina", 20, &["ops", "security"][..]),
                ("hugo", 21, &["security"]),
            ] {
                let line = Key::of(name, seed).ssh.line().to_owned();
                setup.roster["approvers"][name] = json!({"groups": groups, "keys": [line]});
            }
        });
        if let Some(shim) = shim("jumps of the clock in random orders").filter(|_| !postgres) {
            world.setup.env("LD_PRELOAD", shim);
            world.setup.env("SHIM_CLOCK", JUMP.to_string());
            world.setup.env(
                "SHIM_CLOCK_WHILE",
                world.path("moved").display().to_string(),
            );
        }
        server.iter().for_each(|server| server.migrate(&world));
        let mut reference = Reference::default();
        reference.tokens = ["agent", "reader", "courier"].map(str::to_owned).into();
        reference.policies = RULES
            .map(|rules| (digest_of(&rules.policy(&path)), rules))
            .into();
        // Each definition of the steps is sealed once, so that its digests are known.
        for variant in [1, 0] {
            write_runbooks(&world, &path, variant);
            if variant == 1 {
                world.start();
                world.make_tokens();
            } else {
                world
                    .control(&json!({"do": "seal", "new_epoch": false}))
                    .expect("a seal");
            }
            let step = |step: &str| {
                world
                    .wire
                    .get(&format!("/v1/steps/{step}"), &world.reader)
                    .ok(200)
            };
            let steps = STEPS.map(|name| (name.to_owned(), step(name))).into();
            let (_, seal) = world.log().pop().unwrap();
            reference
                .registries
                .insert(text(&seal["predicate"]["registry_root"]).to_owned(), steps);
        }
        let keys = [
            ("alice", 1),
            ("bob", 2),
            ("carol", 3),
            ("dora", 5),
            ("frank", 6),
            ("erin", 7),
            ("robot", 8),
        ];
        let more = [("oscar", 9), ("gina", 20), ("hugo", 21), ("mallory", 66)];
        let (boundary, token) = (world.boundary(), ("agent".to_owned(), world.agent.clone()));
        let first = fs::read(world.path("b/boundary/roster.d/1.json")).expect("a version");
        let mut scene = Self {
            seed,
            random: Random(seed),
            world,
            _server: server,
            marks,
            reference,
            leaves: Vec::new(),
            boundary,
            versions: BTreeMap::new(),
            keys: keys.into_iter().chain(more).collect(),
            token,
            envelopes: BTreeMap::new(),
            answered: BTreeSet::new(),
            proposed: BTreeSet::new(),
            read: Vec::new(),
            moved: 0,
            starts: true,
            dies: false,
            waits: None,
            did: Vec::new(),
        };
        scene.know_version(serde_json::from_slice(&first).expect("an envelope"));
        scene.settle();
        scene.fold(&[]);
        scene
    }

    fn play(mut self) {
        for _ in 0..ACTIONS {
            self.act();
            self.look();
        }
        self.ends();
        let Reference {
            runs, grants, size, ..
        } = &self.reference;
        let ran = runs.iter().filter(|run| run.place.is_some()).count();
        let uses: usize = grants.iter().map(|grant| grant.uses.len()).sum();
        if std::env::var("P2_DID").is_ok() {
            println!("{}", self.did.join("\n"));
        }
        println!(
            "seed {}: {size} entries, {} runs, {ran} consumed, {uses} uses of {} grants",
            self.seed,
            runs.len(),
            grants.len()
        );
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.random.below(all.len())].clone()
    }

    fn key(&self, name: &'static str) -> Key {
        Key::of(name, self.keys[name])
    }

    fn shift(&self) -> i64 {
        if self.world.path("moved").exists() {
            JUMP
        } else {
            0
        }
    }

    /// Returns true if the clock leapt ahead during the time of the service, which then runs nothing.
    fn is_ahead(&self) -> bool {
        self.shift() > self.moved + 3600
    }

    /// Returns true if the clock is behind the log. The time of the boundary is then a little later than that of the log.
    fn is_behind(&self) -> bool {
        self.reference.last_at > now() + self.shift() + 60
    }

    /// Returns the time of the boundary.
    fn now(&self) -> i64 {
        self.reference.last_at.max(
            now()
                + if self.is_ahead() {
                    self.moved
                } else {
                    self.shift()
                },
        )
    }

    fn epoch(&self) -> String {
        text(&self.reference.seal["epoch"]).to_owned()
    }

    fn here(&self) -> Value {
        let mut here = self.boundary.clone();
        here["epoch"] = json!(self.epoch());
        here
    }

    // Requests, and what follows from them

    /// Sends requests at the same time, and compares the answers and the log with the reference.
    fn send(&mut self, calls: &[Call], kill: bool) -> Vec<Answer> {
        let delay = Duration::from_millis(self.random.below(40) as u64);
        self.dies |= kill;
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let world = &self.world;
            let sent: Vec<_> = calls
                .iter()
                .map(|call| scope.spawn(move || call.send(world)))
                .collect();
            if kill {
                std::thread::sleep(delay);
                world.signal(Signal::KILL);
            }
            sent.into_iter()
                .map(|one| one.join().expect("an answer"))
                .collect()
        });
        if kill {
            self.revive();
        }
        let died = self.settle() || kill;
        let seen = self.fold(calls);
        for ((Call { asked, .. }, answer), (codes, free)) in calls.iter().zip(&answers).zip(seen) {
            let (word, is_done) = match answer {
                Answer::Lost(words) => (&**words, false),
                Answer::Done(_) => ("done", true),
                Answer::Refused(code, _) => (&**code, false),
            };
            self.did.push(format!("{asked:?}: {word}"));
            match answer {
                Answer::Lost(words) => assert!(died, "no answer: {words}"),
                Answer::Done(value) => self.check_done(asked, value, died),
                Answer::Refused(code, words) => {
                    let is_late = code == "busy" && (calls.len() > 1 || self.is_ahead());
                    let is_late = is_late || code == "not-yet-valid" && self.is_behind();
                    assert!(
                        is_late || codes.contains(&**code),
                        "{asked:?}: {words}, not one of {codes:?}"
                    );
                }
            }
            assert!(
                free || !is_done || matches!(asked, Asked::Sign(..)),
                "{asked:?} in spite of {codes:?}"
            );
        }
        answers
    }

    /// Compares a promise of the boundary with the log.
    fn check_done(&mut self, asked: &Asked, answer: &Value, died: bool) {
        let leaf = || {
            people::statement_of(
                &serde_json::from_slice(&self.leaves[answer["index"].as_u64().unwrap() as usize])
                    .unwrap(),
            )
        };
        match asked {
            Asked::Submit { run, .. } => {
                assert!(
                    self.answered.insert(*run),
                    "a second answer for {}",
                    self.reference.runs[*run].of
                );
                let receipt = &self.reference.runs[*run]
                    .receipt
                    .as_ref()
                    .expect("an answered run")
                    .0;
                assert_eq!(people::predicate_of(&answer["receipt"]), *receipt);
            }
            Asked::Endorse(number, keys) => {
                let at = self.now();
                let grant = &mut self.reference.grants[*number];
                assert!(
                    answer["index"].is_null() || answer["index"].as_u64() == grant.leaf,
                    "{answer:#}"
                );
                if grant.leaf.is_none() {
                    grant.keys.extend(keys.iter().cloned());
                    assert_ne!(
                        self.reference.ended(*number, at),
                        Codes::from(["not-granted"]),
                        "{answer:#}"
                    );
                }
            }
            Asked::Review(run, ..) => {
                let (logged, run) = (leaf(), &self.reference.runs[*run]);
                assert_eq!(
                    logged["subject"][0]["digest"]["sha256"],
                    *run.receipt.as_ref().unwrap().1
                );
                assert!(
                    died || answer["open"] == run.open && answer["unsettled"] == run.unsettled,
                    "{answer:#}"
                );
            }
            Asked::Revoke { digest, .. } => {
                assert_eq!(leaf()["subject"][0]["digest"]["sha256"], **digest)
            }
            _ => {}
        }
    }

    /// Waits until no run is in progress, and reads the log. Starts a dead service again. Returns true if the service died.
    fn settle(&mut self) -> bool {
        let (mut died, began) = (false, Instant::now());
        let waits = self
            .waits
            .map(|run| self.reference.runs[run].of["proposal"].clone());
        loop {
            match self.read_all() {
                Ok((proposals, leaves)) => {
                    let is = |status: &'static str| {
                        proposals.iter().filter(move |one| one["status"] == status)
                    };
                    let open = is("running").any(|one| Some(&one["id"]) != waits.as_ref());
                    let open = open || !self.is_ahead() && is("approved").next().is_some();
                    // The list of a PostgreSQL database can be newer than the log that readers get.
                    let (spent, ended) = leaves.iter().fold((0, 0), |(spent, ended), leaf| {
                        let of = people::statement_of(
                            &serde_json::from_slice(leaf).expect("an envelope"),
                        );
                        let is_receipt = text(&of["predicateType"]).ends_with("/receipt/v1");
                        (
                            spent + list(&of["predicate"]["spent"]).len(),
                            ended + usize::from(is_receipt),
                        )
                    });
                    let finished = is("finished").count();
                    if !open && ended >= finished && spent >= finished + is("running").count() {
                        self.read = leaves;
                        return died;
                    }
                    assert!(
                        began.elapsed() < DEADLINE,
                        "a run does not end: {proposals:#?}"
                    );
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(_) => {
                    self.revive();
                    died = true;
                }
            }
        }
    }

    /// Returns the newest proposals and all log entries.
    fn read_all(&self) -> Result<(Vec<Value>, Vec<Vec<u8>>), String> {
        let proposals = self
            .world
            .wire
            .try_get("/v1/proposals", &self.world.reader)?
            .ok(200)["proposals"]
            .take();
        let note = self
            .world
            .wire
            .try_get("/log/checkpoint", &self.world.reader)?
            .text();
        let size = note
            .lines()
            .nth(1)
            .and_then(|size| size.parse().ok())
            .expect("a size");
        Ok((
            list(&proposals).to_vec(),
            self.world.try_raw_entries(0, size)?,
        ))
    }

    fn revive(&mut self) {
        assert!(
            std::mem::take(&mut self.dies),
            "the service died: {}",
            self.world.service_log()
        );
        assert_eq!(self.world.ended(), None);
        self.start(None);
    }

    /// Starts the service, which is killed at a crash point.
    fn start(&mut self, point: Option<String>) {
        self.world
            .setup
            .env
            .retain(|(name, _)| name != "COUNTERSIGN_FAULT");
        (self.moved, self.starts, self.dies) = (self.shift(), true, point.is_some());
        if let Some(point) = point {
            self.world.setup.env("COUNTERSIGN_FAULT", point);
            if self.world.try_start().is_ok() {
                return;
            }
            self.start(None);
        } else {
            self.world.start();
        }
    }

    /// Reads the new entries. Returns for each request the codes with which the boundary could refuse it, and whether there
    /// was a time without a code.
    fn fold(&mut self, calls: &[Call]) -> Vec<(Codes, bool)> {
        let leaves = std::mem::take(&mut self.read);
        assert!(leaves.starts_with(&self.leaves), "an earlier entry changed");
        let mut seen = vec![(Codes::new(), false); calls.len()];
        for leaf in leaves[self.leaves.len()..].iter().map(Some).chain([None]) {
            let now = self.now();
            if self.reference.size > 0 {
                for ((codes, free), call) in seen.iter_mut().zip(calls) {
                    let now = self.reference.may_refuse(&call.asked, now);
                    *free |= now.is_empty();
                    codes.extend(now);
                }
                for run in 0..self.reference.runs.len() {
                    let codes = self.reference.refusals(&self.reference.runs[run], now);
                    self.reference.runs[run].codes.extend(codes);
                }
            }
            if let Some(leaf) = leaf {
                self.reference
                    .entry(&serde_json::from_slice(leaf).expect("an envelope"), now);
            }
        }
        self.leaves = leaves;
        if std::mem::take(&mut self.starts) {
            self.moved = self.shift().max(self.reference.last_at - now());
        }
        seen
    }

    /// Compares the views of the boundary and the files of the runs with the reference.
    fn look(&mut self) {
        let (at, world, reference) = (self.now(), &self.world, &self.reference);
        let get = |path: &str| world.wire.get(path, &world.reader).ok(200);
        for (number, grant) in reference
            .grants
            .iter()
            .enumerate()
            .filter(|(_, grant)| grant.leaf.is_some())
        {
            let view = get(&format!("/v1/grants/{}", text(&grant.of["grant"])));
            let ended = reference.ended(number, at);
            let why = text(&view["why"]["code"]);
            let same = if ended.is_empty() {
                view["status"] == "active"
            } else {
                ended.contains(why)
            };
            let same = same || why == "not-yet-valid" && self.is_behind();
            assert!(
                same && view["uses"] == grant.uses.len(),
                "{ended:?}, {} uses: {view:#}",
                grant.uses.len()
            );
        }
        let owed = reference
            .runs
            .iter()
            .filter(|run| run.open || run.unsettled)
            .map(|run| text(&run.of["proposal"]));
        let listed = get("/v1/unsettled");
        assert_eq!(
            list(&listed["runs"])
                .iter()
                .map(|run| text(&run["proposal"]))
                .collect::<BTreeSet<_>>(),
            owed.collect()
        );
        self.proposed.retain(|number| {
            let run = &reference.runs[*number];
            let view = get(&format!("/v1/proposals/{}", text(&run.of["proposal"])));
            let stopped = || {
                reference
                    .refusals(run, at)
                    .iter()
                    .any(|code| ["revoked", "step-changed"].contains(code))
            };
            let same = match text(&view["status"]) {
                "pending" => run.place.is_none() && !stopped(),
                "approved" => run.place.is_none(),
                "running" | "finished" => run.place.is_some(),
                "expired" => run.place.is_none() && run.codes.contains("expired"),
                _ => run.place.is_none() && run.codes.contains(text(&view["refusal"]["code"])),
            };
            assert!(same, "{:?}, {:?}: {view:#}", run.place, run.codes);
            ["pending", "approved", "running"].contains(&text(&view["status"]))
        });
        for run in &reference.runs {
            let file = self.marks.path().join(text(&run.of["params"]["text"]));
            let lines = fs::read_to_string(file).map_or(0, |text| text.lines().count());
            let outcome = run
                .receipt
                .as_ref()
                .map_or("", |receipt| text(&receipt.0["outcome"]["status"]));
            let right = match outcome {
                "succeeded" => lines == 1,
                "unknown" | "cancelled" => lines <= 1,
                _ => lines == 0,
            };
            assert!(right, "{lines} lines, the end {outcome:?}: {:#}", run.of);
        }
    }

    /// Compares the whole log, as both auditors and the check of the store read it, with the reference.
    fn ends(&mut self) {
        if self.dies {
            self.world.stop();
            self.start(None);
        }
        self.settle();
        self.fold(&[]);
        self.look();
        self.world.check_history();
        let roster = text(&self.world.started["roster"]).to_owned();
        let url = &self.world.wire.url;
        let mut audit = self
            .world
            .program(&["audit", url, "--url", url, "--roster", &roster, "--json"]);
        let done = exited(
            audit
                .env("COUNTERSIGN_TOKEN", &self.world.reader)
                .output()
                .expect("audit"),
            0,
        );
        let summary: Value = serde_json::from_slice(
            done.stdout
                .split(|byte| *byte == b'\n')
                .rfind(|line| !line.is_empty())
                .unwrap(),
        )
        .unwrap();
        let copy = self.world.export("copy");
        let first = self.world.path("b/boundary/roster.d/1.json");
        let second = second::python()
            .arg("audit")
            .arg(copy)
            .arg("--roster")
            .arg(first)
            .output()
            .expect("python3");
        let second: Value =
            serde_json::from_slice(&second.stdout).unwrap_or_else(|_| panic!("{}", said(&second)));
        assert_eq!(
            (&second["sound"], &second["findings"]),
            (&json!(true), &json!([]))
        );
        let reference = &self.reference;
        let grants: Vec<Value> = reference
            .grants
            .iter()
            .filter(|grant| grant.leaf.is_some())
            .map(|grant| json!([grant.leaf, grant.uses.len()]))
            .collect();
        let listed: Vec<Value> = list(&summary["grants"])
            .iter()
            .map(|line| json!([line["entry"], line["uses"]]))
            .collect();
        assert_eq!(
            BTreeSet::from_iter(listed.iter().map(Value::to_string)),
            BTreeSet::from_iter(grants.iter().map(Value::to_string))
        );
        let owed = reference
            .runs
            .iter()
            .filter(|run| run.open || run.unsettled);
        let owed: BTreeSet<_> = owed
            .filter_map(|run| {
                Some((
                    run.receipt.as_ref()?.2,
                    run.open,
                    run.unsettled,
                    run.disputed,
                ))
            })
            .collect();
        let is = |line: &Value, name: &str| line[name] == true;
        let ours = list(&summary["reviews"]).iter().map(|line| {
            (
                line["entry"].as_u64().unwrap(),
                is(line, "emergency"),
                is(line, "unsettled"),
                is(line, "disputed"),
            )
        });
        let theirs = list(&second["reviews"]).iter().map(|line| {
            let end = text(&line["end"]);
            (
                line["entry"].as_u64().unwrap(),
                line["emergency"] == "open",
                ["unsettled", "disputed"].contains(&end),
                end == "disputed",
            )
        });
        assert_eq!(ours.collect::<BTreeSet<_>>(), owed);
        assert_eq!(
            theirs.filter(|one| one.1 || one.2).collect::<BTreeSet<_>>(),
            owed
        );
        self.world.stop();
        let checked = self
            .world
            .program(&["store", "check", "--config"])
            .arg(self.world.path("b/countersign.toml"))
            .output();
        said_at_exit(checked.expect("store check"), 0, "no defect");
    }

    // Actions

    fn act(&mut self) {
        if self.reference.has_ended(&self.token.0) {
            let name = format!("agent-{}", self.reference.tokens.len());
            self.reference.tokens.insert(name.clone());
            let token =
                json!({"name": name, "owners": ["carol"], "scopes": ["propose"], "patterns": []});
            let secret = tokens::secret();
            let call = control(Asked::Seal, tokens::request(&token, &secret));
            if let Answer::Done(_) = &self.send(&[call], false)[0] {
                self.token = (name, secret);
            }
        }
        let grant = self.any_grant();
        match self
            .random
            .below(if self.reference.is_frozen() { 60 } else { 32 })
        {
            0 | 1 => self.draft(),
            2 | 3
                if grant
                    .is_none_or(|grant| !self.reference.ended(grant, self.now()).is_empty()) =>
            {
                self.draft()
            }
            2 | 3 => grant.into_iter().for_each(|grant| self.endorse(grant)),
            4..=9 => grant
                .into_iter()
                .for_each(|grant| self.ask(Some(grant), false)),
            10..=12 => self.ask(None, false),
            13 | 14 => self.ask(None, true),
            15..=17 => self
                .review()
                .into_iter()
                .for_each(|call| drop(self.send(&[call], false))),
            18 | 19 => {
                let call = if self.one_in(3) {
                    self.change()
                } else {
                    self.stop()
                };
                self.send(&[call], false);
            }
            20 | 21 => self.arm(),
            22 => self.jump(),
            23..=27 => self.race(grant),
            28 | 29 => self.wait(grant),
            30 => {
                let old: Vec<usize> = self.envelopes.keys().copied().collect();
                if !old.is_empty() {
                    let run = self.pick(&old);
                    let call = self.hand_in(run);
                    self.send(&[call], false);
                }
            }
            31 => {
                let is_short =
                    |run: &&usize| self.reference.runs[**run].of["step"]["ref"] != "mark:wait";
                let pending: Vec<usize> = self.proposed.iter().filter(is_short).copied().collect();
                if !pending.is_empty() {
                    let run = self.pick(&pending);
                    self.sign(run);
                }
            }
            _ => drop(self.send(&[control(Asked::Thaw, json!({"do": "thaw"}))], false)),
        }
    }

    /// Returns a grant, most often the newest that can be used.
    fn any_grant(&mut self) -> Option<usize> {
        let at = self.now();
        let all: Vec<usize> = (0..self.reference.grants.len()).collect();
        let usable = all
            .iter()
            .copied()
            .rfind(|grant| self.reference.ended(*grant, at).is_empty());
        if all.is_empty() || usable.is_some() && !self.one_in(3) {
            usable
        } else {
            Some(self.pick(&all))
        }
    }

    /// Returns true if the roster has the newest key of a person, and nobody has revoked the key.
    fn counts(&self, name: &'static str) -> bool {
        let keyid = self.key(name).keyid();
        self.reference.holder(&keyid).is_some()
            && !self.reference.is_revoked("key", &key_digest(&keyid))
    }

    /// Returns keys of some of these people, and sometimes of somebody whose signature does not count.
    fn signers(&mut self, most: usize, people: &[&'static str]) -> Vec<Key> {
        let mut names = people.to_vec();
        self.random.shuffle(&mut names);
        if !self.one_in(6) {
            names.sort_by_key(|name| !self.counts(name));
        }
        names.truncate(if self.one_in(6) { 1 } else { most });
        // If the service dies at a wrong signature, nobody knows whether it was stored.
        if !self.dies && self.one_in(10) {
            names[0] = self.pick(&OTHERS);
        }
        names.iter().map(|name| self.key(name)).collect()
    }

    fn signers_of_run(&mut self, grant: bool) -> Vec<Key> {
        if grant {
            self.signers(1, &["robot"])
        } else {
            self.signers(2, &PEOPLE)
        }
    }

    /// Returns a step and a parameter of a run. A grant does not cover each of them.
    fn wanted(&mut self, grant: bool, step: &'static str) -> (&'static str, String) {
        let (other, wide) = (grant && self.one_in(12), self.one_in(12));
        (
            if other { "other:go" } else { step },
            format!("{}{:x}", if wide { "X" } else { "x" }, self.random.next()),
        )
    }

    /// Asks for a run: as a proposal, or as a complete envelope that is handed in now or later.
    fn ask(&mut self, grant: Option<usize>, emergency: bool) {
        if self.one_in(2) {
            if let Some(run) = self.propose(grant, emergency, "mark:it") {
                self.sign(run);
            }
            return;
        }
        let run = self.approve(grant, emergency);
        if !self.one_in(5) {
            let call = self.hand_in(run);
            let kill = self.one_in(12);
            self.send(&[call], kill);
        }
    }

    /// Makes a complete envelope. Returns the number of the run.
    fn approve(&mut self, grant: Option<usize>, emergency: bool) -> usize {
        let ((step, param), at) = (self.wanted(grant.is_some(), "mark:it"), self.now());
        let end = at + 3600;
        let sealed = &self.reference.steps()[step];
        let rendered = format!(
            "sha256:{}",
            sha256(text(&sealed["definition"]["source"]).as_bytes())
        );
        let mut of = json!({
            "boundary": self.here(), "proposal": people::proposal_id_until(end), "nonce": people::nonce_until(end),
            "step": {"ref": step, "digest": sealed["digest"]}, "params": {"text": param}, "rendered": rendered,
            "permissions": [], "sandbox": sealed["sandbox"], "proposer": self.token.0, "reason": "because",
            "issued_at": stamp(at), "not_before": stamp(at), "expires_at": stamp(end),
        });
        if let Some(grant) = grant {
            of["proposer"] = json!("robot");
            of["grant"] = json!(format!(
                "sha256:{}",
                sha256(&self.reference.grants[grant].payload)
            ));
        }
        if emergency {
            of["emergency"] = json!(true);
        }
        let (payload, keys) = (
            people::authorization(&of),
            self.signers_of_run(grant.is_some()),
        );
        let number = self.reference.runs.len();
        self.envelopes
            .insert(number, envelope(&payload, &keys.iter().collect::<Vec<_>>()));
        self.reference.runs.push(Run::new(
            payload,
            grant,
            keys.iter().map(Key::keyid).collect(),
            true,
        ));
        number
    }

    fn hand_in(&mut self, run: usize) -> Call {
        let bearer = if self.reference.runs[run].grant.is_some() && self.one_in(2) {
            self.bearer()
        } else {
            None
        };
        let (by, token) =
            bearer.map_or_else(|| self.token.clone(), |bearer| ("robot".to_owned(), bearer));
        post(
            Asked::Submit { run, by },
            "/v1/authorizations".to_owned(),
            &token,
            self.envelopes[&run].clone(),
        )
    }

    /// Returns the bearer of the grantee, unless the key is revoked.
    fn bearer(&self) -> Option<String> {
        let robot = self.key("robot");
        let ask = |path: &str, body: Value| self.world.wire.post(path, "", &body).json();
        let challenge = ask("/v1/challenges", json!({"keyid": robot.keyid()}));
        let words = challenge["challenge"].as_str()?;
        let signature = robot.sign_as(CHALLENGE, words.as_bytes());
        ask(
            "/v1/challenges/answer",
            json!({"challenge": words, "signature": signature}),
        )["bearer"]
            .as_str()
            .map(str::to_owned)
    }

    fn propose(
        &mut self,
        grant: Option<usize>,
        emergency: bool,
        step: &'static str,
    ) -> Option<usize> {
        let (by, token) = if grant.is_some() {
            ("robot".to_owned(), self.bearer()?)
        } else {
            self.token.clone()
        };
        let (step, param) = self.wanted(grant.is_some(), step);
        let mut wish = World::wish(step, json!({"text": param}));
        // Shorter than the longest window of an emergency, because the time of the boundary can be a little earlier.
        let mut end = self.now() + 3000;
        if let Some(grant) = grant {
            let of = &self.reference.grants[grant].of;
            wish["grant"] = of["grant"].clone();
            end = end.min(people::unix_of(text(&of["expires_at"])));
        }
        wish["nonce"] = json!(people::nonce_until(end));
        if emergency {
            wish["emergency"] = json!(true);
        }
        let asked = Asked::Propose {
            by,
            grant,
            emergency,
        };
        let Answer::Done(view) = &self.send(
            &[post(asked, "/v1/proposals".to_owned(), &token, wish)],
            false,
        )[0] else {
            return None;
        };
        let (number, run) = (
            self.reference.runs.len(),
            Run::new(bytes_of(view), grant, BTreeSet::new(), false),
        );
        // The boundary ends a use that the grant does not cover at once, and soon deletes the proposal.
        let ended = view["status"] == "refused";
        if ended {
            let (codes, code) = (
                self.reference.refusals(&run, self.now()),
                text(&view["refusal"]["code"]),
            );
            assert!(
                grant.is_some() && codes.contains(code),
                "{codes:?}: {view:#}"
            );
        }
        self.reference.runs.push(run);
        (!ended && self.proposed.insert(number)).then_some(number)
    }

    fn sign(&mut self, number: usize) {
        let run = &self.reference.runs[number];
        let (path, before) = (
            format!("/v1/proposals/{}/signatures", text(&run.of["proposal"])),
            run.keys.clone(),
        );
        let (payload, grant) = (run.payload.clone(), run.grant.is_some());
        let keys = self.signers_of_run(grant);
        let ids: Vec<String> = keys.iter().map(Key::keyid).collect();
        self.reference.runs[number].keys.extend(ids.clone());
        let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&payload)).collect();
        let call = post(
            Asked::Sign(number, ids),
            path,
            "",
            json!({"signatures": signatures}),
        );
        if let Answer::Refused(..) = self.send(&[call], false)[0] {
            self.reference.runs[number].keys = before;
        }
    }

    fn draft(&mut self) {
        let (by, uses) = (self.token.0.clone(), 1 + self.random.below(5) as u64);
        let params = json!({"type": "object", "properties": {"text": {"type": "string", "pattern": "^[a-z0-9]{1,20}$"}}, "required": ["text"]});
        let steps = if self.one_in(2) {
            &STEPS[..1]
        } else {
            &STEPS[..2]
        };
        let steps: Vec<Value> = steps
            .iter()
            .map(|step| json!({"step": step, "params": params}))
            .collect();
        let grantee = self.key("robot").keyid();
        let mut terms = json!({"grantee": {"name": "robot", "key": grantee}, "steps": steps, "max_uses": uses, "reason": "each night", "expires_in_s": self.pick(&[5400, 86_400])});
        if self.one_in(4) {
            terms["rate"] = json!({"uses": uses.min(2), "seconds": 3600});
        }
        let call = post(
            Asked::Draft { by, uses, grantee },
            "/v1/grants".to_owned(),
            &self.token.1,
            json!({"draft": terms}),
        );
        if let Answer::Done(view) = &self.send(&[call], false)[0] {
            let (of, payload) = (view["grant"].clone(), bytes_of(view));
            self.reference.grants.push(Grant {
                of,
                payload,
                leaf: None,
                keys: BTreeSet::new(),
                uses: Vec::new(),
            });
            self.endorse(self.reference.grants.len() - 1);
        }
    }

    fn endorse(&mut self, number: usize) {
        let keys = self.signers(2, &["alice", "dora", "gina", "hugo"]);
        let grant = &self.reference.grants[number];
        let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&grant.payload)).collect();
        let path = format!("/v1/grants/{}/signatures", text(&grant.of["grant"]));
        let asked = Asked::Endorse(number, keys.iter().map(Key::keyid).collect());
        self.send(
            &[post(asked, path, "", json!({"signatures": signatures}))],
            false,
        );
    }

    /// Returns a review of a run, most often of one that needs a review.
    fn review(&mut self) -> Option<Call> {
        // A settled run can be disputed.
        let settled = self.one_in(3);
        let runs = || {
            self.reference
                .runs
                .iter()
                .enumerate()
                .filter(|(_, run)| run.receipt.is_some())
        };
        let needs = |run: &Run| run.open || run.unsettled || settled && run.is_settled();
        let mut numbers: Vec<usize> = runs()
            .filter(|(_, run)| needs(run))
            .map(|(at, _)| at)
            .collect();
        if numbers.is_empty() {
            numbers = runs().map(|(at, _)| at).collect();
        }
        if numbers.is_empty() {
            return None;
        }
        let number = self.pick(&numbers);
        let key = self.signers(1, &PEOPLE).pop()?;
        let run = &self.reference.runs[number];
        let mut review = json!({"boundary": run.of["boundary"], "verdict": "accepted", "reason": people::nonce()});
        let subject = json!([{"name": "receipt", "digest": {"sha256": run.receipt.as_ref()?.1}}]);
        let path = format!(
            "/v1/receipts/{}/reviews",
            text(&run.of["proposal"]).replace("prp_", "rcp_")
        );
        if (run.unsettled || run.is_settled()) && !self.one_in(4) {
            review["observed"] = json!(self.pick(&["succeeded", "succeeded", "failed"]));
        }
        let asked = Asked::Review(number, key.keyid(), review["observed"].clone());
        let review = envelope(&statement("review", &subject, &review), &[&key]);
        Some(post(asked, path, "", review))
    }

    /// Returns a revocation of a grant, a key, a token or the epoch.
    fn stop(&mut self) -> Call {
        let grants = self.reference.grants.len();
        let name = self.pick(&["alice", "bob", "dora", "gina", "hugo", "robot"]);
        let (kind, digest, people) = match self.random.below(8) {
            0..=4 if grants > 0 => {
                let grant = self.random.below(grants);
                (
                    "grant",
                    sha256(&self.reference.grants[grant].payload),
                    [name, "oscar"],
                )
            }
            5 => ("key", key_digest(&self.key(name).keyid()), [name, "oscar"]),
            4 | 6 => ("token", sha256(self.token.0.as_bytes()), ["carol", "oscar"]),
            _ => ("epoch", sha256(self.epoch().as_bytes()), ["erin", "oscar"]),
        };
        let by = if self.one_in(6) {
            self.pick(&OTHERS)
        } else {
            self.pick(&people)
        };
        self.revocation(kind, digest, by)
    }

    fn revocation(&self, kind: &'static str, digest: String, by: &'static str) -> Call {
        let (key, epoch) = (self.key(by), self.epoch());
        let payload = people::revocation(&self.here(), kind, &digest);
        let asked = Asked::Revoke {
            kind,
            digest,
            key: key.keyid(),
            epoch,
        };
        post(
            asked,
            "/v1/revocations".to_owned(),
            "",
            envelope(&payload, &[&key]),
        )
    }

    /// Writes other runbooks, or a signed version of the roster with another policy, other approvers or other keys. Returns
    /// the request for a seal.
    fn change(&mut self) -> Call {
        let path = self.marks.path().display().to_string();
        let base = self.versions[text(&self.reference.seal["roster"])].clone();
        let (rules, what) = (
            self.pick(&[RULES[0], RULES[0], RULES[1], RULES[2]]),
            self.random.below(8),
        );
        let mut names = vec!["alice", "bob", "dora", "gina", "hugo", "robot"];
        self.random.shuffle(&mut names);
        // A new key for somebody whose signature does not count, so that the boundary goes on.
        let name = names
            .iter()
            .copied()
            .find(|name| what > 1 && !self.counts(name))
            .unwrap_or(names[0]);
        let seed = 100 + self.versions.len() as u8;
        let old = self.keys.clone();
        let payload = people::next_roster(&base, |tables| {
            let role = if name == "robot" {
                "proposers"
            } else {
                "approvers"
            };
            let entries = tables[role].as_object_mut().unwrap();
            match what {
                0 if role == "approvers" => drop(entries.remove(name)),
                1..=3 => {
                    self.keys.insert(name, seed);
                    let keys = json!([Key::of(name, seed).ssh.line()]);
                    let groups = json!(["ops", "security"]);
                    let entry = entries.entry(name);
                    entry.or_insert_with(|| json!({"groups": groups}))["keys"] = keys;
                }
                _ => tables["policy"] = json!(digest_of(&rules.policy(&path))),
            }
        });
        let tables = serde_json::from_slice::<Value>(&payload).unwrap()["predicate"].take();
        let keys: Vec<Key> = ["alice", "bob", "carol", "dora", "frank", "gina", "hugo"]
            .map(|name| Key::of(name, old[name]))
            .into_iter()
            .filter(|key| {
                self.reference.holder(&key.keyid()).is_some()
                    && !self.reference.is_revoked("key", &key_digest(&key.keyid()))
            })
            .filter(|key| {
                entries(&tables["approvers"])
                    .flat_map(|one| list(&one["keys"]))
                    .any(|line| keyid_of(line) == key.keyid())
            })
            .collect();
        if what > 5 || keys.len() < 2 {
            self.keys = old;
            write_runbooks(&self.world, &path, self.random.below(2));
        } else {
            let policy = RULES
                .map(|rules| rules.policy(&path))
                .into_iter()
                .find(|policy| tables["policy"] == digest_of(policy));
            self.world
                .write("b/boundary/policy.yaml", &policy.unwrap().to_string());
            let version = people::roster_version(&payload, &keys.iter().collect::<Vec<_>>());
            self.world.write(
                &format!("b/boundary/roster.d/{}.json", tables["version"]),
                &version.to_string(),
            );
            self.know_version(version);
        }
        control(Asked::Seal, json!({"do": "seal", "new_epoch": false}))
    }

    fn know_version(&mut self, version: Value) {
        let digest = format!("sha256:{}", sha256(&payload_of(&version)));
        self.reference
            .rosters
            .insert(digest.clone(), people::predicate_of(&version));
        self.versions.insert(digest, version);
    }

    /// Starts the service again, so that it dies before or after the next writes of a kind.
    fn arm(&mut self) {
        let (side, write, time) = (
            self.pick(&["before", "after"]),
            self.pick(&WRITES),
            1 + self.random.below(2),
        );
        let point = format!("{side}-{write}-commit:{time}");
        self.did.push(point.clone());
        self.world.stop();
        self.start(Some(point));
        self.settle();
        self.fold(&[]);
    }

    /// Moves the clock, and sometimes starts the service again.
    fn jump(&mut self) {
        if self._server.is_some() {
            return;
        }
        let (file, restart) = (self.world.path("moved"), self.one_in(2));
        self.did.push(format!(
            "the clock, {} to {JUMP}, restart {restart}",
            self.shift()
        ));
        if self.shift() == 0 {
            fs::write(file, "")
        } else {
            fs::remove_file(file)
        }
        .expect("a file");
        if restart {
            self.world.stop();
            self.start(None);
        }
        self.settle();
        self.fold(&[]);
    }

    /// Sends runs and something that can forbid them at the same time.
    fn race(&mut self, grant: Option<usize>) {
        let mut calls = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let run = match self.random.below(4) {
                0 => self.approve(None, true),
                1 => self.approve(None, false),
                _ => self.approve(grant, false),
            };
            calls.push(self.hand_in(run));
            if self.one_in(4) {
                calls.push(self.hand_in(run));
            }
        }
        match self.random.below(8) {
            0..=3 => calls.push(self.stop()),
            4 => calls.push(self.change()),
            5 => calls.extend(self.review()),
            6 => calls.push(control(Asked::Thaw, json!({"do": "thaw"}))),
            _ => {}
        }
        let kill = self.one_in(4);
        self.send(&calls, kill);
    }

    /// Begins a run that does not end, and kills or freezes the boundary.
    fn wait(&mut self, grant: Option<usize>) {
        let grant = grant.filter(|_| self.random.below(2) == 0);
        let Some(run) = self.propose(grant, false, "mark:wait") else {
            return;
        };
        self.waits = Some(run);
        self.sign(run);
        if self.reference.runs[run].place.is_some() && self.reference.runs[run].receipt.is_none() {
            self.waits = None;
            if self.one_in(3) {
                let freeze = self.revocation("epoch", sha256(self.epoch().as_bytes()), "oscar");
                self.send(&[freeze], false);
            } else {
                self.did.push("kill during the run".to_owned());
                self.send(&[], true);
            }
        }
        self.waits = None;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed after:\n{}", self.seed, self.did.join("\n"));
        }
    }
}

fn post(asked: Asked, path: String, token: &str, body: Value) -> Call {
    Call {
        asked,
        path,
        token: token.to_owned(),
        body,
    }
}

fn control(asked: Asked, body: Value) -> Call {
    post(asked, String::new(), "", body)
}

/// Returns the digest of a policy in a seal.
fn digest_of(policy: &Value) -> String {
    format!("sha256:{}", sha256(&people::canonical(policy)))
}
