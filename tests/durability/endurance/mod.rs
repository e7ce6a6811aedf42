//! Endurance: a service of an upgraded store under the load of many clients and the faults of a seed, round after round.
//!
//! A round ("hour") plays faults in an order that the seed chooses, while each client repeats its own random actions. After each
//! round the clients pause. Then the audit must be clean, each run must have left its line once, each promise must be in the
//! log or in the store, and the service must need no more memory, descriptors, threads and files than after the first round.
//!
//! `scripts/endure --hours N --seed S` plays any time. A seed repeats the actions of each client and the faults in their order,
//! but not the exact moment of each.

mod clients;
mod levels;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use documents::crypto::tlog_tiles::split_entries;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::random::Random;
use super::shim::shim;
use super::store_care::{checked, must, store};
use super::stores::{copy_tree, of_0_2_0, serve};
use crate::commands::roster_chain;
use crate::many_runs::{alive, below};
use crate::second;
use crate::support::people::{self, alice, bob, envelope, oscar, payload_of, revocation, sha256, statement_of};
use crate::support::{SMALL, World, id_of, runbook, said, wait_for};
use clients::Client;
use levels::Level;

const CLIENTS: u64 = 64;
/// Faults of a round. The first of them end the service, and occur only in the first half of a round, so that the age of the
/// service at the end of each round is similar.
const FAULTS: [&str; 11] =
    ["kill", "kill", "clock", "restore", "stop", "full disk", "runbooks", "roster", "backup", "mirror", "freeze"];
const DEADLY: usize = 4;
/// The jump of the clock: two days.
const JUMP: i64 = 2 * 86_400;
/// Number of the last actions that a failure prints.
const LAST: usize = 120;
/// Short times, so that a round has thousands of expiries and prunings.
const CONFIG: &str = "mcp = true\n[retention]\noutputs = \"4s\"\nproposals = \"4s\"\n";
const LIMITS: &str = "calls_per_second = 1000000\npending = 100000\npending_per_proposer = 50000\n";

#[test]
fn hours_of_load_and_faults_lose_nothing_double_nothing_and_leave_nothing_behind() {
    let number = |name: &str, plain: u64| std::env::var(name).map_or(plain, |text| text.parse().expect(name));
    let (seed, seconds) = (number("COUNTERSIGN_SEED", 1), number("COUNTERSIGN_ENDURE_SECONDS", 120));
    let length = Duration::from_secs(number("COUNTERSIGN_ENDURE_ROUND", 3600).min(seconds / 3));
    let Some(shim) = shim("endurance under faults of the clock and the disk") else { return };
    let (began, pause) = (Instant::now(), number("COUNTERSIGN_ENDURE_PAUSE_MS", 1000) as usize);
    let scene = Scene::new(seed, &shim, pause + 1);
    let mut clients: Vec<Client> =
        (0..number("COUNTERSIGN_ENDURE_CLIENTS", CLIENTS)).map(|number| Client::new(seed, number as usize)).collect();
    let (mut faults, mut first) = (Random(seed), None);
    while began.elapsed().as_secs() < seconds || scene.round.load(Ordering::Relaxed) < 2 {
        scene.round.fetch_add(1, Ordering::Relaxed);
        scene.play(&mut clients, &mut faults, length);
        scene.rest();
        let world = scene.world.read().unwrap();
        let level = Level::settled(&world, first.as_ref());
        println!("endurance: {}", scene.summary(&level));
        first.get_or_insert(level);
    }
    scene.last();
}

/// What an answer with the status 200 or 201 promised.
struct Promise {
    kind: &'static str,
    needle: String,
}

/// The part of the log that was read.
#[derive(Default)]
struct Log {
    size: u64,
    /// Kinds with what they are about: the proposal of a receipt, the subject and the payload of other entries.
    found: HashSet<String>,
    /// Line and outcome of each run that has ended since the last comparison.
    ends: Vec<(String, String)>,
    runs: u64,
    unknown: u64,
}

impl Log {
    /// Reads the entries that are new.
    fn read(&mut self, world: &World) {
        let size = world.log_size();
        for index in self.size / 256..size.div_ceil(256) {
            let width = (size - index * 256).min(256);
            let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
            let reply = world.wire.get(&format!("/log/tile/entries/{}{partial}", tile(index)), &world.reader);
            assert_eq!(reply.status, 200, "{}", reply.text());
            let entries = split_entries(&reply.body).expect("an entries tile");
            for entry in &entries[(self.size - index * 256) as usize..] {
                self.entry(&serde_json::from_slice(entry).expect("an envelope"));
            }
        }
    }

    fn entry(&mut self, leaf: &Value) {
        let statement = statement_of(leaf);
        let kind = statement["predicateType"].as_str().unwrap();
        let kind = kind.trim_start_matches("https://countersign.dev/").trim_end_matches("/v1");
        let predicate = &statement["predicate"];
        if kind == "receipt" {
            let of = people::predicate_of(&predicate["authorization"]);
            let outcome = predicate["outcome"]["status"].as_str().unwrap().to_owned();
            self.found.insert(format!("receipt {}", of["proposal"].as_str().unwrap()));
            (self.runs, self.unknown) = (self.runs + 1, self.unknown + u64::from(outcome == "unknown"));
            let step = of["step"]["ref"].as_str().unwrap();
            if ["mark:", "carry:", "pair:"].iter().any(|runbook| step.starts_with(runbook)) {
                self.ends.push((format!("{step} {}", of["params"]["text"].as_str().unwrap()), outcome));
            }
        } else if kind != "consumption" {
            let subject = statement["subject"][0]["digest"]["sha256"].as_str().unwrap_or_default();
            self.found.insert(format!("{kind} {subject}"));
            self.found.insert(format!("{kind} {}", sha256(&payload_of(leaf))));
        }
        self.size += 1;
    }
}

/// Sends a request of an operator again as long as the boundary is busy.
fn insist(world: &World, request: &Value) {
    wait_for("the operator's request is done", || match world.control(request) {
        Ok(_) => true,
        Err(words) => {
            assert!(words.starts_with("busy"), "{request}: {words}");
            false
        }
    });
}

/// Returns the number of a tile in a path; see C2SP tlog-tiles.
fn tile(index: u64) -> String {
    if index < 1000 { format!("{index:03}") } else { format!("x{:03}/{:03}", index / 1000, index % 1000) }
}

/// The boundary, and what the test knows about it.
struct Scene {
    seed: u64,
    round: AtomicU64,
    pause_ms: usize,
    /// Requests read, and a start of the service writes. So a start waits until each request has failed.
    world: RwLock<World>,
    /// The digest of the first roster version that is trusted.
    roster: String,
    marks: tempfile::TempDir,
    /// Seconds that the clock of the service is ahead.
    clock: File,
    shift: AtomicI64,
    /// The newest version of the roster.
    version: Mutex<Value>,
    /// True from a kill until the service has started again.
    dying: AtomicBool,
    /// True if the clients should pause.
    over: AtomicBool,
    promises: Mutex<Vec<Promise>>,
    kept: AtomicU64,
    /// An envelope that ran.
    spent: Mutex<Option<Value>>,
    log: Mutex<Log>,
    did: Mutex<VecDeque<String>>,
    actions: AtomicU64,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let did = self.did.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let last = did.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
            eprintln!("seed {}, round {:?}: the last actions\n{last}", self.seed, self.round);
            eprintln!("again: scripts/endure --seed {} with the same --hours and --round", self.seed);
        }
    }
}

impl Scene {
    fn new(seed: u64, shim: &str, pause_ms: usize) -> Self {
        let marks = tempfile::Builder::new().prefix("countersign-marks-").tempdir().unwrap();
        fs::set_permissions(marks.path(), Permissions::from_mode(0o777)).unwrap();
        fs::write(marks.path().join("lines"), "").unwrap();
        fs::set_permissions(marks.path().join("lines"), Permissions::from_mode(0o666)).unwrap();
        let mut world = of_0_2_0(CONFIG);
        let config = fs::read_to_string(world.path("b/countersign.toml")).unwrap();
        world.write("b/countersign.toml", &format!("{config}{LIMITS}"));
        world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
        let [clock, full] = ["clock", "full"].map(|name| world.path(name));
        fs::write(&clock, 0_i64.to_ne_bytes()).unwrap();
        world.setup.env("COUNTERSIGN_LOG", "warn");
        world.setup.env("LD_PRELOAD", shim);
        world.setup.env("SHIM_CLOCK_FILE", clock.to_str().unwrap());
        world.setup.env("SHIM_FULL", full.to_str().unwrap());
        upgrade_and_go_back(&mut world);
        let version = fs::read(world.path("b/boundary/roster.d/2.json")).unwrap();
        let scene = Self {
            seed,
            round: AtomicU64::new(0),
            pause_ms,
            roster: world.started["roster"].as_str().unwrap().to_owned(),
            marks,
            clock: File::options().write(true).open(clock).unwrap(),
            shift: AtomicI64::new(0),
            version: Mutex::new(serde_json::from_slice(&version).unwrap()),
            dying: AtomicBool::new(false),
            over: AtomicBool::new(false),
            promises: Mutex::default(),
            kept: AtomicU64::new(0),
            spent: Mutex::default(),
            log: Mutex::default(),
            did: Mutex::default(),
            actions: AtomicU64::new(0),
            world: RwLock::new(world),
        };
        scene.write_runbooks(0);
        scene.change_roster(0);
        scene
    }

    fn note(&self, did: String) {
        let mut last = self.did.lock().unwrap();
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(did);
        self.actions.fetch_add(1, Ordering::Relaxed);
    }

    fn summary(&self, level: &Level) -> String {
        let (log, actions, kept) = (self.log.lock().unwrap(), &self.actions, &self.kept);
        format!(
            "seed {}, round {:?}: {actions:?} actions, {} entries, {} runs, {} of unknown end, {kept:?} promises kept; {level}",
            self.seed, self.round, log.size, log.runs, log.unknown
        )
    }

    // A round

    /// Lets the clients work while the faults occur.
    fn play(&self, clients: &mut [Client], faults: &mut Random, length: Duration) {
        self.over.store(false, Ordering::Relaxed);
        let until_over = |work: &mut dyn FnMut()| {
            let done = catch_unwind(AssertUnwindSafe(work));
            if done.is_err() {
                self.over.store(true, Ordering::Relaxed);
            }
            done.unwrap_or_else(|panic| resume_unwind(panic));
        };
        std::thread::scope(|scope| {
            for client in clients {
                scope.spawn(move || until_over(&mut || client.play(self)));
            }
            until_over(&mut || self.drive(faults, length));
            self.over.store(true, Ordering::Relaxed);
        });
    }

    /// Plays all faults in an order of the seed, again and again, until the time is over.
    fn drive(&self, faults: &mut Random, length: Duration) {
        let began = Instant::now();
        let is_over = |part| self.over.load(Ordering::Relaxed) || began.elapsed() >= length / part;
        let mut play = |deck: &[&'static str], is_over: &dyn Fn() -> bool| {
            let mut deck = deck.to_vec();
            faults.shuffle(&mut deck);
            for kind in deck {
                let mut dice = Random(faults.next());
                if !is_over() {
                    std::thread::sleep(Duration::from_millis(500 + dice.below(2500) as u64));
                    self.fault(kind, &mut dice);
                }
            }
        };
        play(&FAULTS, &|| self.over.load(Ordering::Relaxed));
        while !is_over(2) {
            play(&FAULTS, &|| is_over(2));
        }
        while !is_over(1) {
            play(&FAULTS[DEADLY..], &|| is_over(1));
        }
    }

    fn fault(&self, kind: &str, dice: &mut Random) {
        assert_eq!(self.world.read().unwrap().wire.peek("/health").status, 200, "before {kind}");
        let began = Instant::now();
        match kind {
            "kill" => self.end(Signal::KILL, |_| ()),
            "clock" => self.jump(dice),
            "stop" => {
                let world = self.world.read().unwrap();
                world.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(200 + dice.below(2500) as u64));
                world.signal(Signal::CONT);
            }
            "full disk" => self.fill(dice),
            "runbooks" => self.write_runbooks(dice.next()),
            "roster" => self.change_roster(dice.below(2) as u64),
            "backup" => drop(self.back_up("backup")),
            "restore" => self.restore(),
            "mirror" => self.audit(),
            _ => self.freeze(),
        }
        self.note(format!("FAULT {kind}, {:.1} s, the clock at {:?}", began.elapsed().as_secs_f64(), self.shift));
    }

    // Faults

    /// Ends the service with this signal during requests, does some work, and starts the service again.
    fn end(&self, signal: Signal, work: impl FnOnce(&World)) {
        let processes = {
            let world = self.world.read().unwrap();
            self.dying.store(true, Ordering::SeqCst);
            let processes = below(world.pid());
            world.signal(signal);
            processes
        };
        {
            let mut world = self.world.write().unwrap();
            assert_eq!(world.ended(), if signal == Signal::KILL { None } else { Some(0) }, "{}", world.service_log());
            wait_for("no process of the old service is left", || alive(&processes).is_empty());
            work(&world);
            world.start();
            self.dying.store(false, Ordering::SeqCst);
        }
        self.check_promises();
    }

    fn move_clock(&self, seconds: i64) {
        let shift = self.shift.fetch_add(seconds, Ordering::Relaxed) + seconds;
        self.clock.write_all_at(&shift.to_ne_bytes(), 0).unwrap();
    }

    /// Moves the clock while the service runs. Then the clock goes back, or a restart accepts the new time.
    fn jump(&self, dice: &mut Random) {
        let seconds = if dice.below(3) == 0 { -JUMP } else { JUMP };
        self.move_clock(seconds);
        std::thread::sleep(Duration::from_secs(1));
        match dice.below(3) {
            0 => self.move_clock(-seconds),
            1 => self.end(Signal::TERM, |_| ()),
            _ => self.end(Signal::KILL, |_| ()),
        }
    }

    fn fill(&self, dice: &mut Random) {
        let world = self.world.read().unwrap();
        fs::write(world.path("full"), "").unwrap();
        std::thread::sleep(Duration::from_millis(300 + dice.below(2000) as u64));
        fs::remove_file(world.path("full")).unwrap();
        wait_for("the service writes again", || {
            let name = format!("full{:x}", dice.next());
            let token = json!({"name": name, "owners": [], "scopes": ["read"], "patterns": []});
            world.control(&json!({"do": "token-create", "token": token})).is_ok()
        });
    }

    fn write_runbooks(&self, variant: u64) {
        let world = self.world.read().unwrap();
        let front = format!("params:\n  text: {{type: string, maxLength: 60}}\n{SMALL}");
        let path = self.marks.path().display();
        let step = |name: &str, more: &str, script: &str| {
            let (_, id) = name.split_once(':').unwrap();
            let script = format!("echo \"{name} $PARAM_TEXT\" >> {path}/lines\n{script}\n# {variant}");
            (format!("{id} {more} write={path} workdir=in-place"), script)
        };
        let loud =
            "i=0; while [ $i -lt 1500 ]; do echo \"line $i of an output that is a file of its own\"; i=$((i+1)); done";
        let mark = [step("mark:it", "", ""), step("mark:wait", "", "sleep 1"), step("mark:loud", "", loud)];
        let file = "cat \"$COUNTERSIGN_ARTIFACTS/note\"; echo left > \"$COUNTERSIGN_OUTPUT/left\"";
        let carry = [
            step("carry:file", "", file),
            step("carry:set", "session=write", "export COUNT=$((${COUNT:-0} + 1))"),
            step("carry:plan", "", "echo grow"),
            step("carry:apply", "plan=plan plan-max-age=1h", "cat \"$COUNTERSIGN_ARTIFACTS/plan\""),
        ];
        for (name, steps) in [("mark", &mark[..]), ("carry", &carry[..]), ("pair", &[step("pair:it", "", "")][..])] {
            let steps: Vec<(&str, &str)> = steps.iter().map(|(name, script)| (&**name, &**script)).collect();
            world.write(&format!("b/runbooks/{name}.md"), &runbook(&front, &steps));
        }
        if variant > 0 {
            insist(&world, &json!({"do": "seal", "new_epoch": false}));
        }
    }

    /// Puts a signed version of the roster with another policy in force.
    fn change_roster(&self, variant: u64) {
        let world = self.world.read().unwrap();
        let (groups, path) = (["ops", "security"], self.marks.path());
        let place = json!({"write": [path], "workdir": "in-place"});
        let steps = [("mark", 1), ("carry", 1), ("pair", 2)].map(|(name, people)| {
            json!({"runbook": name, "sandbox": place, "approvals": {"required": people, "from": groups}})
        });
        let policy = json!({"version": 3, "extends": "none", "settle": {"required": 1, "from": groups}, "overrides": steps,
            "default": {"mode": "execute", "approvals": {"required": 1, "from": groups},
                "standing": {"max_uses": 20 + variant, "max_days": 7},
                "emergency": {"required": 1, "from": ["ops"], "max_unreviewed": 100, "max_window_s": 600,
                    "review": {"required": 1, "from": groups}}}});
        let mut version = self.version.lock().unwrap();
        let digest = format!("sha256:{}", sha256(&people::canonical(&policy)));
        let payload = roster_chain::after(&version, |tables| tables["policy"] = json!(digest));
        *version = roster_chain::envelope(&payload, &[&alice(), &bob()]);
        let number = statement_of(&version)["predicate"]["version"].clone();
        world.write("b/boundary/policy.yaml", &policy.to_string());
        world.write(&format!("b/boundary/roster.d/{number}.json"), &version.to_string());
        insist(&world, &json!({"do": "seal", "new_epoch": false}));
    }

    /// Makes a backup, and checks it.
    fn back_up(&self, name: &str) -> PathBuf {
        let world = self.world.read().unwrap();
        let directory = world.path(name);
        let text = directory.to_str().unwrap();
        // A version with `store backup --onto` brings the backup of an earlier round up to date.
        let help = said(&world.program(&["store", "backup", "--help"]).output().unwrap());
        if name == "backup" && help.contains("--onto") && directory.exists() {
            must(store(&world, &["backup", "--onto", text]));
        } else {
            let _ = fs::remove_dir_all(&directory);
            must(store(&world, &["backup", text]));
        }
        let found = checked(&world, &[text]).1;
        let defects = found[0]["defects"].as_array().unwrap();
        // Retention can delete an output during the copy. No other data may be missing.
        let is_gone = |defect: &Value| defect["what"].as_str().unwrap().contains("is missing although");
        assert!(defects.iter().all(is_gone), "{found:#?}");
        directory
    }

    /// Restores a backup into another directory, serves and audits it. Two services of one key refuse to run at one time.
    fn restore(&self) {
        let backup = self.back_up("restored");
        self.end(Signal::TERM, |world| self.serve_elsewhere(world, &backup));
        fs::remove_dir_all(backup).unwrap();
    }

    fn serve_elsewhere(&self, world: &World, backup: &Path) {
        let mut other = World::prepared(|setup| setup.env = world.setup.env.clone());
        fs::remove_dir_all(other.path("b")).unwrap();
        for name in ["countersign.toml", "boundary/roster.toml", "boundary/policy.yaml", "boundary/key.pem"] {
            let name = format!("b/{name}");
            other.write(&name, &fs::read_to_string(world.path(&name)).unwrap());
        }
        for name in ["b/runbooks", "b/boundary/roster.d"] {
            copy_tree(&other, &world.path(name), name);
        }
        fs::set_permissions(other.path("b/boundary"), Permissions::from_mode(0o700)).unwrap();
        let restored = must(store(&other, &["restore", backup.to_str().unwrap(), "--keep-tokens", "all"]));
        other.start();
        (other.agent, other.reader) = (world.agent.clone(), world.reader.clone());
        if let Some(spent) = &*self.spent.lock().unwrap() {
            assert!(other.submit(spent).status >= 400, "an envelope of the old log runs in the new log");
        }
        other.assert_verified(&other.run("plain:true", json!({}), &[&alice()]));
        other.assert_audited();
        let closed = restored["closed"].as_str().unwrap();
        let audited = other.program(&["audit", closed, "--roster", &self.roster]).output().unwrap();
        assert!(audited.status.success(), "{}", said(&audited));
        other.stop();
    }

    /// Brings a mirror up to date and audits it, and audits the boundary itself. Both audits continue from a state.
    fn audit(&self) {
        let world = self.world.read().unwrap();
        let url = &world.wire.url;
        let mirror = world.path("mirror").display().to_string();
        let run = |words: &[&str]| {
            let output =
                world.program(words).args(["--url", url]).env("COUNTERSIGN_TOKEN", &world.reader).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", said(&output));
        };
        run(&["log", "export", &mirror]);
        for (of, state) in [(&mirror, "mirror.state"), (url, "url.state")] {
            run(&["audit", of, "--roster", &self.roster, "--state", world.path(state).to_str().unwrap()]);
        }
    }

    fn freeze(&self) {
        let world = self.world.read().unwrap();
        let boundary = world.boundary();
        let epoch = sha256(boundary["epoch"].as_str().unwrap().as_bytes());
        let frozen = envelope(&revocation(&boundary, "epoch", &epoch), &[&oscar()]);
        wait_for("the boundary is frozen", || {
            let reply = world.wire.post("/v1/revocations", "", &frozen);
            reply.status == 200 || reply.problem("busy").is_null()
        });
        std::thread::sleep(Duration::from_millis(500));
        insist(&world, &json!({"do": "thaw"}));
    }

    // What must be true

    /// Checks that everything that an answer promised is in the log or in the store.
    fn check_promises(&self) {
        let promises = std::mem::take(&mut *self.promises.lock().unwrap());
        let (world, mut log) = (self.world.read().unwrap(), self.log.lock().unwrap());
        log.read(&world);
        let tokens = world.control(&json!({"do": "token-list"})).expect("a list").to_string();
        for Promise { kind, needle } in &promises {
            let is_kept = match *kind {
                // Retention deletes a proposal some seconds after its end.
                "cancelled" => {
                    let view = world.wire.get(&format!("/v1/proposals/{needle}"), &world.reader);
                    [404, 410].contains(&view.status) || view.json()["status"] == "cancelled"
                }
                "token" => tokens.contains(&format!("\"{needle}\"")),
                _ => log.found.contains(&format!("{kind} {needle}")),
            };
            assert!(is_kept, "promised, but neither in the log nor in the store: {kind} {needle}");
        }
        self.kept.fetch_add(promises.len() as u64, Ordering::Relaxed);
    }

    /// Waits for the ends of all runs, and compares their lines with the receipts.
    fn rest(&self) {
        {
            let world = self.world.read().unwrap();
            let until = Instant::now() + Duration::from_secs(180);
            while !(world.list("approved").is_empty() && world.list("running").is_empty()) {
                assert!(Instant::now() < until, "a run does not end: {:#?}", world.list("approved"));
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        self.check_promises();
        let path = self.marks.path().join("lines");
        let mut lines = BTreeMap::<String, u64>::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        fs::write(path, "").unwrap();
        for (line, outcome) in std::mem::take(&mut self.log.lock().unwrap().ends) {
            let count = lines.remove(&line).unwrap_or(0);
            let right = match &*outcome {
                "succeeded" => count == 1,
                "not_started" => count == 0,
                _ => count <= 1,
            };
            assert!(right, "{count} lines of {line}, the end {outcome}");
        }
        assert!(lines.is_empty(), "lines without a receipt: {lines:?}");
        self.audit();
    }

    /// Audits the whole log with both auditors, and checks the store at rest.
    fn last(self) {
        let mut world = self.world.write().unwrap();
        let copy = world.export("copy");
        world.assert_audited();
        let roster = world.path("b/boundary/roster.d/1.json");
        let second = second::python().arg("audit").arg(copy).arg("--roster").arg(roster).output().expect("python3");
        let second: Value = serde_json::from_slice(&second.stdout).unwrap_or_else(|_| panic!("{}", said(&second)));
        assert_eq!((&second["sound"], &second["findings"]), (&json!(true), &json!([])));
        world.stop();
        let (code, stores) = checked(&world, &[]);
        assert_eq!((code, &stores[0]["defects"]), (0, &json!([])), "{stores:#?}");
    }
}

/// Starts the store of the oldest version with this program, and goes back as docs/operate.md says: the backup from before the
/// upgrade begins a new log, which lacks what happened later. The saved copy still has it.
fn upgrade_and_go_back(world: &mut World) {
    let [before, saved] = ["before", "saved"].map(|name| world.path(name).display().to_string());
    must(store(world, &["backup", &before]));
    serve(world);
    let later = world.run("say:echo", json!({"text": "after the upgrade"}), &[&alice()]);
    let spent = envelope(&people::authorization(&world.authorization("plain:true", json!({}))), &[&alice()]);
    world.submit(&spent).ok(200);
    let roster = world.started["roster"].as_str().unwrap().to_owned();
    world.stop();
    copy_tree(world, &world.path("b/boundary"), "saved");
    for name in ["countersign.db", "outputs", "checkpoint"] {
        fs::rename(world.path("b/boundary").join(name), world.path(&format!("lost-{name}"))).unwrap();
    }
    let restored = must(store(world, &["restore", &before, "--keep-tokens", "all"]));
    assert!(restored["follows"].is_string(), "{restored:#}");
    serve(world);
    let receipt = format!("/v1/receipts/{}", later["receipt"].as_str().unwrap());
    world.wire.get(&receipt, &world.reader).problem("not-found");
    world.submit(&spent).problem("wrong-boundary");
    let audited = world.program(&["audit", &saved, "--roster", &roster]).output().unwrap();
    assert!(audited.status.success(), "{}", said(&audited));
    assert!(id_of(&later).starts_with("prp_"));
    world.assert_audited();
}
