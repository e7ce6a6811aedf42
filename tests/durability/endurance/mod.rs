//! Endurance: a service of an upgraded store under the load of many clients and the faults of a seed, round after round.
//!
//! A round ("hour") plays faults in an order that the seed chooses, while each client repeats its own random actions. After each
//! round the clients pause. Then the audit must be clean, each run must have left its line once, each promise must be in the
//! log or in the store, and the service must need no more memory, descriptors, threads and files than after the first round.
//!
//! `scripts/endure --hours N --seed S` plays any time, and goes on in a directory where it stopped. Seed and round repeat the
//! actions of each client and the faults in their order, but not the exact moment of each.

mod clients;
mod levels;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::store_care::{checked, must, store};
use super::stores::{copy_tree, of_0_2_0_in, serve};
use crate::many_runs::{alive, below};
use crate::second;
use crate::support::people::{
    self, alice, bob, envelope, oscar, payload_of, revocation, sha256, statement_of,
};
use crate::support::random::Random;
use crate::support::shim::shim;
use crate::support::{SMALL, World, not_run, runbook, said, wait_for};
use clients::Client;
use levels::Level;

/// Faults of a round. The first of them read the whole log, and occur once. The next end the service, and occur only in the
/// first half of a round, so that the age of the service at the end of each round is similar.
const FAULTS: [&str; 11] = [
    "restore",
    "backup",
    "kill",
    "kill",
    "clock",
    "stop",
    "full disk",
    "runbooks",
    "roster",
    "mirror",
    "freeze",
];
const ONCE: usize = 2;
const DEADLY: usize = 5;
/// The jump of the clock: two days.
const JUMP: i64 = 2 * 86_400;
/// Number of the last actions that a failure prints.
const LAST: usize = 120;
/// Short times, so that a round has thousands of expiries, prunings and packed entries.
const CONFIG: &str =
    "mcp = true\n[retention]\noutputs = \"4s\"\nproposals = \"4s\"\npack = \"10m\"\n";
const LIMITS: &str = "calls_per_second = 1000000\npending = 100000\npending_per_proposer = 50000\n";

#[test]
fn hours_of_load_and_faults_lose_nothing_double_nothing_and_leave_nothing_behind() {
    let number = |name: &str, plain: u64| {
        std::env::var(name).map_or(plain, |text| text.parse().expect(name))
    };
    let Ok(seconds) = std::env::var("COUNTERSIGN_ENDURE_SECONDS") else {
        let name = "hours_of_load_and_faults_lose_nothing_double_nothing_and_leave_nothing_behind";
        let why = "scripts/endure runs this test alone, because other tests change the levels that it compares";
        return not_run(name, why);
    };
    let seconds: u64 = seconds.parse().expect("a number of seconds");
    let seed = number("COUNTERSIGN_SEED", 1);
    let length = Duration::from_secs(number("COUNTERSIGN_ENDURE_ROUND", 3600).min(seconds / 3));
    let (clients, pause) = (
        number("COUNTERSIGN_ENDURE_CLIENTS", 64),
        number("COUNTERSIGN_ENDURE_PAUSE_MS", 1000),
    );
    let Some(shim) = shim("endurance under faults of the clock and the disk") else {
        return;
    };
    let temporary = tempfile::Builder::new()
        .prefix("countersign-endurance-")
        .tempdir()
        .unwrap();
    let dir = std::env::var("COUNTERSIGN_ENDURE_DIR")
        .map_or_else(|_| temporary.path().to_owned(), PathBuf::from);
    let mut scene = Scene::open(&dir, seed, &shim, clients, pause as usize + 1);
    while scene.progress.seconds < seconds || scene.progress.first.is_none() {
        let began = Instant::now();
        scene.play(length);
        scene.rest();
        scene.end_round(began.elapsed());
    }
    scene.last();
}

/// What a later call needs to go on. It is in a file beside the boundary.
#[derive(Default, Serialize, Deserialize)]
struct Progress {
    seed: u64,
    /// The last round that began. An interrupted round counts here, but not in the seconds.
    round: u64,
    seconds: u64,
    /// A token that proposes for each client, because a proposer may leave only 1,000 proposals unsigned in an hour.
    agents: Vec<String>,
    reader: String,
    /// The digest of the first roster version that is trusted.
    roster: String,
    actions: AtomicU64,
    /// Numbers of actions and of runs at the end of the round before.
    before: (u64, u64),
    log: Mutex<Log>,
    /// The level after the first round.
    first: Option<Level>,
}

/// The part of the log that was read.
#[derive(Default, Serialize, Deserialize)]
struct Log {
    entries: u64,
    runs: u64,
    unknown: u64,
    /// Number of bytes of the lines of runs that were compared.
    lines: u64,
    /// Number of promises that were kept.
    kept: u64,
    /// The authorizations of runs without a receipt, by their leaf.
    authorizations: HashMap<String, Value>,
    /// Kinds of the entries of this round with what they are about: the proposal of a receipt, the subject and the payload of
    /// other entries.
    #[serde(skip)]
    found: HashSet<String>,
    /// Line and outcome of each run that has ended since the last comparison.
    #[serde(skip)]
    ends: Vec<(String, String)>,
}

impl Log {
    fn entry(&mut self, leaf: &Value) {
        let statement = statement_of(leaf);
        let kind = statement["predicateType"].as_str().unwrap();
        let kind = kind
            .trim_start_matches("https://countersign.dev/")
            .trim_end_matches("/v1");
        let predicate = &statement["predicate"];
        if kind == "receipt" {
            let entry = predicate["authorization"]["leaf"].as_str().unwrap();
            let of = self.authorizations.remove(entry).expect("its entry");
            let outcome = predicate["outcome"]["status"].as_str().unwrap().to_owned();
            self.found
                .insert(format!("receipt {}", of["proposal"].as_str().unwrap()));
            (self.runs, self.unknown) = (
                self.runs + 1,
                self.unknown + u64::from(outcome == "unknown"),
            );
            let step = of["step"]["ref"].as_str().unwrap();
            if ["mark:", "carry:", "pair:"]
                .iter()
                .any(|runbook| step.starts_with(runbook))
            {
                self.ends.push((
                    format!("{step} {}", of["params"]["text"].as_str().unwrap()),
                    outcome,
                ));
            }
        } else if kind == "authorization" {
            let entry = documents::leaf_hash(&people::canonical(leaf));
            let entry = documents::LeafHash::from_bytes(entry).to_string();
            self.authorizations.insert(entry, predicate.clone());
        } else if kind != "consumption" {
            let subject = statement["subject"][0]["digest"]["sha256"]
                .as_str()
                .unwrap_or_default();
            self.found.insert(format!("{kind} {subject}"));
            self.found
                .insert(format!("{kind} {}", sha256(&payload_of(leaf))));
        }
    }
}

/// Sends a request of an operator again as long as the boundary is busy.
fn insist(world: &World, request: &Value) {
    wait_for("the operator's request is done", || {
        let done = world.control(request);
        done.map_err(|words| assert!(words.starts_with("busy"), "{request}: {words}"))
            .is_ok()
    });
}

/// Sets the flag at its end, also after a failure.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The boundary, and what the test knows about it.
struct Scene {
    progress: Progress,
    pause_ms: usize,
    /// Requests read, and a start of the service writes. So a start waits until each request has failed.
    world: RwLock<World>,
    /// True from a kill until the service has started again.
    dying: AtomicBool,
    /// True if the clients should pause.
    over: AtomicBool,
    /// What the answers with the status 200 or 201 promised: a kind, and a name or a digest.
    promises: Mutex<Vec<(&'static str, String)>>,
    /// An envelope that ran.
    spent: Mutex<Option<Value>>,
    did: Mutex<VecDeque<String>>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let did = self.did.get_mut().unwrap_or_else(PoisonError::into_inner);
            let (Progress { seed, round, .. }, last) =
                (&self.progress, did.make_contiguous().join("\n"));
            let last = format!("seed {seed}, round {round}: the last actions\n{last}");
            eprintln!(
                "{last}\nagain: scripts/endure --seed {seed} with the same --hours and --round"
            );
            self.world
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .write("failed", &last);
        }
    }
}

impl Scene {
    /// Makes the boundary in this directory, or goes on with it.
    fn open(dir: &Path, seed: u64, shim: &str, clients: u64, pause_ms: usize) -> Self {
        let kept = fs::read(dir.join("progress.json")).ok();
        assert!(
            kept.is_some() || !dir.join("b").exists(),
            "{dir:?} has no progress.json: name a new directory"
        );
        let failed = dir.join("failed");
        assert!(
            !failed.exists(),
            "a round failed: see {failed:?}. Without this file, the next round begins"
        );
        let mut world = match kept {
            Some(_) => World::prepared(|setup| setup.dir = Some(dir.to_owned())),
            None => of_0_2_0_in(Some(dir), CONFIG),
        };
        // The service ends together with this test.
        world.setup.before = ["setpriv", "--pdeathsig", "KILL"]
            .map(str::to_owned)
            .to_vec();
        let [clock, full] = ["clock", "full"].map(|name| world.path(name).display().to_string());
        let env = [
            ("COUNTERSIGN_LOG", "warn"),
            ("LD_PRELOAD", shim),
            ("SHIM_CLOCK_FILE", &clock),
            ("SHIM_FULL", &full),
        ];
        world.setup.env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let progress = if let Some(bytes) = &kept {
            let progress: Progress = serde_json::from_slice(bytes).expect("progress.json");
            assert_eq!(progress.seed, seed, "the seed of {dir:?}");
            // A killed call may leave a full disk and half a backup.
            let _ = (
                fs::remove_file(full),
                fs::remove_dir_all(world.path("backup")),
            );
            (world.agent, world.reader) = (progress.agents[0].clone(), progress.reader.clone());
            world.start();
            progress
        } else {
            Self::begin(&mut world, seed, clients)
        };
        let mut scene = Self {
            progress,
            pause_ms,
            world: RwLock::new(world),
            dying: AtomicBool::new(false),
            over: AtomicBool::new(false),
            promises: Mutex::default(),
            spent: Mutex::default(),
            did: Mutex::default(),
        };
        if kept.is_none() {
            scene.write_runbooks(0);
            scene.change_roster(0);
        } else {
            // The lines of an interrupted round must also be right.
            scene.rest();
        }
        scene.begin_round();
        scene
    }

    /// Upgrades the store of the oldest version, and begins with the lines of runs and with a right clock.
    fn begin(world: &mut World, seed: u64, clients: u64) -> Progress {
        let config = fs::read_to_string(world.path("b/countersign.toml")).unwrap();
        world.write("b/countersign.toml", &format!("{config}{LIMITS}"));
        world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
        world.write("marks/lines", "");
        for (name, mode) in [("marks", 0o777), ("marks/lines", 0o666)] {
            fs::set_permissions(world.path(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::write(world.path("clock"), 0_i64.to_ne_bytes()).unwrap();
        upgrade_and_go_back(world);
        let roster = world.started["roster"].as_str().unwrap().to_owned();
        let agents = (0..clients)
            .map(|number| world.token(&format!("agent{number}"), &["carol"], &["propose"]))
            .collect();
        Progress {
            seed,
            roster,
            agents,
            reader: world.reader.clone(),
            ..Progress::default()
        }
    }

    /// Keeps the progress, so that a later call begins after this round.
    fn begin_round(&mut self) {
        self.progress.round += 1;
        let world = self.world.get_mut().unwrap();
        world.write(
            "progress.new",
            &serde_json::to_string(&self.progress).unwrap(),
        );
        fs::rename(world.path("progress.new"), world.path("progress.json")).unwrap();
    }

    fn end_round(&mut self, took: Duration) {
        let level = Level::settled(self.world.get_mut().unwrap(), self.progress.first.as_ref());
        self.progress.seconds += took.as_secs();
        let Progress {
            seed,
            round,
            seconds,
            actions,
            before,
            log,
            ..
        } = &mut self.progress;
        let (
            Log {
                entries,
                runs,
                unknown,
                kept,
                ..
            },
            hours,
        ) = (log.get_mut().unwrap(), *seconds as f64 / 3600.0);
        let now = (*actions.get_mut(), *runs);
        assert!(
            now.1 - before.1 > (now.0 - before.0) / 20,
            "nearly no action of this round led to a run: {before:?} {now:?}"
        );
        *before = now;
        println!(
            "endurance: seed {seed}, round {round}, {hours:.2} hours: {actions:?} actions, {entries} entries, {runs} runs, \
             {unknown} of unknown end, {kept} promises kept; {level}"
        );
        self.progress.first.get_or_insert(level);
        self.begin_round();
    }

    fn note(&self, did: String) {
        let mut last = self.did.lock().unwrap();
        if last.len() == LAST {
            last.pop_front();
        }
        last.push_back(did);
        self.progress.actions.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the generator of a client or of the faults in this round.
    fn dice(&self, number: u64) -> Random {
        Random(Random(self.progress.seed ^ (self.progress.round << 32) ^ (number << 16)).next())
    }

    // A round

    /// Lets the clients work while the faults occur.
    fn play(&self, length: Duration) {
        self.over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for number in 0..self.progress.agents.len() as u64 {
                scope.spawn(move || {
                    let _ends = Ends(&self.over);
                    Client::new(number, self.dice(number + 1)).play(self);
                });
            }
            let _ends = Ends(&self.over);
            self.drive(length);
        });
    }

    /// Plays all faults in an order of the seed, again and again, until the time is over.
    fn drive(&self, length: Duration) {
        let (began, mut faults, mut from) = (Instant::now(), self.dice(0), 0);
        let is_over = |part| self.over.load(Ordering::Relaxed) || began.elapsed() >= length / part;
        while from == 0 || !is_over(1) {
            let mut deck = FAULTS[from..].to_vec();
            faults.shuffle(&mut deck);
            for kind in deck {
                let mut dice = Random(faults.next());
                if !self.over.load(Ordering::Relaxed)
                    && (from == 0 || !is_over(if from == ONCE { 2 } else { 1 }))
                {
                    std::thread::sleep(Duration::from_millis(500 + dice.below(2500) as u64));
                    self.fault(kind, &mut dice);
                }
            }
            from = if is_over(2) { DEADLY } else { ONCE };
        }
    }

    fn fault(&self, kind: &str, dice: &mut Random) {
        assert_eq!(
            self.world.read().unwrap().wire.peek("/health").status,
            200,
            "before {kind}"
        );
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
        self.note(format!(
            "FAULT {kind}, {:.1} s, the clock at {}",
            began.elapsed().as_secs_f64(),
            self.move_clock(0)
        ));
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
            assert_eq!(
                world.ended(),
                if signal == Signal::KILL {
                    None
                } else {
                    Some(0)
                },
                "{}",
                world.service_log()
            );
            wait_for("no process of the old service is left", || {
                alive(&processes).is_empty()
            });
            work(&world);
            world.start();
            self.dying.store(false, Ordering::SeqCst);
        }
        self.check_promises();
    }

    /// Returns the seconds that the clock of the service is ahead. The service maps the file.
    fn move_clock(&self, seconds: i64) -> i64 {
        let path = self.world.read().unwrap().path("clock");
        let shift = seconds + i64::from_ne_bytes(fs::read(&path).unwrap().try_into().unwrap());
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&shift.to_ne_bytes(), 0).unwrap();
        shift
    }

    /// Moves the clock while the service runs. In some cases, a restart accepts the new time. The clock goes back, unless the
    /// service accepted a later time: behind the log, the time of the boundary is slower.
    fn jump(&self, dice: &mut Random) {
        let (seconds, end) = (if dice.below(3) == 0 { -JUMP } else { JUMP }, dice.below(3));
        self.move_clock(seconds);
        std::thread::sleep(Duration::from_secs(1));
        if end > 0 {
            self.end(if end == 1 { Signal::TERM } else { Signal::KILL }, |_| ());
        }
        if seconds < 0 || end == 0 {
            self.move_clock(-seconds);
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
            world.create_token(&token).is_ok()
                && world
                    .control(&json!({"do": "token-revoke", "name": name}))
                    .is_ok()
        });
    }

    fn write_runbooks(&self, variant: u64) {
        let world = self.world.read().unwrap();
        let front = format!("params:\n  text: {{type: string, maxLength: 60}}\n{SMALL}");
        let path = world.path("marks").display().to_string();
        let step = |name: &str, more: &str, script: &str| {
            let (_, id) = name.split_once(':').unwrap();
            let script =
                format!("echo \"{name} $PARAM_TEXT\" >> {path}/lines\n{script}\n# {variant}");
            (format!("{id} {more} write={path} workdir=in-place"), script)
        };
        let loud = "i=0; while [ $i -lt 1500 ]; do echo \"line $i of an output that is a file of its own\"; i=$((i+1)); done";
        let mark = [
            step("mark:it", "", ""),
            step("mark:wait", "", "sleep 1"),
            step("mark:loud", "", loud),
        ];
        let file = "cat \"$COUNTERSIGN_ARTIFACTS/note\"; echo left > \"$COUNTERSIGN_OUTPUT/left\"";
        let carry = [
            step("carry:file", "", file),
            step(
                "carry:set",
                "session=write",
                "export COUNT=$((${COUNT:-0} + 1))",
            ),
            step("carry:plan", "", "echo grow"),
            step(
                "carry:apply",
                "plan=plan plan-max-age=1h",
                "cat \"$COUNTERSIGN_ARTIFACTS/plan\"",
            ),
        ];
        for (name, steps) in [
            ("mark", &mark[..]),
            ("carry", &carry[..]),
            ("pair", &[step("pair:it", "", "")][..]),
        ] {
            let steps: Vec<(&str, &str)> = steps
                .iter()
                .map(|(name, script)| (&**name, &**script))
                .collect();
            world.write(&format!("b/runbooks/{name}.md"), &runbook(&front, &steps));
        }
        if variant > 0 {
            insist(&world, &json!({"do": "seal", "new_epoch": false}));
        }
    }

    /// Puts a signed version of the roster with another policy in force.
    fn change_roster(&self, variant: u64) {
        let world = self.world.read().unwrap();
        let (groups, path) = (["ops", "security"], world.path("marks"));
        let place = json!({"write": [path], "workdir": "in-place"});
        let steps = [("mark", 1), ("carry", 1), ("pair", 2)].map(|(name, people)| {
            json!({"runbook": name, "sandbox": place, "approvals": {"required": people, "from": groups}})
        });
        let policy = json!({"version": 1, "extends": "none", "settle": {"required": 1, "from": groups}, "overrides": steps,
            "default": {"mode": "execute", "approvals": {"required": 1, "from": groups},
                "standing": {"max_uses": 20 + variant, "max_days": 7},
                "emergency": {"required": 1, "from": ["ops"], "max_unreviewed": 100, "max_window_s": 600,
                    "review": {"required": 1, "from": groups}}}});
        let number = fs::read_dir(world.path("b/boundary/roster.d"))
            .unwrap()
            // The draft of the next version is no version.
            .filter(|entry| entry.as_ref().unwrap().file_name() != "next.json")
            .count();
        let newest = fs::read(world.path(&format!("b/boundary/roster.d/{number}.json"))).unwrap();
        let newest = serde_json::from_slice(&newest).unwrap();
        let digest = format!("sha256:{}", sha256(&people::canonical(&policy)));
        let payload = people::next_roster(&newest, |tables| tables["policy"] = json!(digest));
        let version = people::roster_version(&payload, &[&alice(), &bob()]);
        world.write("b/boundary/policy.yaml", &policy.to_string());
        world.write(
            &format!("b/boundary/roster.d/{}.json", number + 1),
            &version.to_string(),
        );
        insist(&world, &json!({"do": "seal", "new_epoch": false}));
    }

    /// Makes a backup, and checks it.
    fn back_up(&self, name: &str) -> PathBuf {
        let world = self.world.read().unwrap();
        let directory = world.path(name);
        let text = directory.to_str().unwrap();
        let onto = if directory.exists() {
            &["--onto"][..]
        } else {
            &[]
        };
        must(store(&world, &[&["backup", text], onto].concat()));
        let found = checked(&world, &[text]).1;
        let defects = found[0]["defects"].as_array().unwrap();
        // Retention can delete an output during the copy. No other data may be missing.
        let is_gone = |defect: &Value| {
            defect["what"]
                .as_str()
                .unwrap()
                .contains("is missing although")
        };
        assert!(defects.iter().all(is_gone), "{found:#?}");
        directory
    }

    /// Restores a backup into another directory, serves and audits it. Two services of one key refuse to run at one time.
    fn restore(&self) {
        let _ = fs::remove_dir_all(self.world.read().unwrap().path("restored"));
        let backup = self.back_up("restored");
        self.end(Signal::TERM, |world| self.serve_elsewhere(world, &backup));
        fs::remove_dir_all(backup).unwrap();
    }

    fn serve_elsewhere(&self, world: &World, backup: &Path) {
        let _ = fs::remove_dir_all(world.path("other"));
        for name in [
            "countersign.toml",
            "boundary/policy.yaml",
            "boundary/key.pem",
        ] {
            world.write(
                &format!("other/b/{name}"),
                &fs::read_to_string(world.path(&format!("b/{name}"))).unwrap(),
            );
        }
        for name in ["b/runbooks", "b/boundary/roster.d"] {
            copy_tree(world, &world.path(name), &format!("other/{name}"));
        }
        let mut other = World::prepared(|setup| {
            (setup.env, setup.before) = (world.setup.env.clone(), world.setup.before.clone());
            setup.dir = Some(world.path("other"));
        });
        fs::set_permissions(other.path("b/boundary"), Permissions::from_mode(0o700)).unwrap();
        let restored = must(store(
            &other,
            &["restore", backup.to_str().unwrap(), "--keep-tokens", "all"],
        ));
        other.start();
        (other.agent, other.reader) = (world.agent.clone(), world.reader.clone());
        if let Some(spent) = &*self.spent.lock().unwrap() {
            assert!(
                other.submit(spent).status >= 400,
                "an envelope of the old log runs in the new log"
            );
        }
        other.assert_verified(&other.run("plain:true", json!({}), &[&alice()]));
        other.assert_audited();
        let closed = restored["closed"].as_str().unwrap();
        self.continue_audit(world, closed, "closed.state");
        other.stop();
        fs::remove_dir_all(other.path("")).unwrap();
    }

    /// Brings a mirror up to date and audits it, and audits the boundary itself. Both audits continue from a state.
    fn audit(&self) {
        let world = self.world.read().unwrap();
        let mirror = world.export("mirror");
        self.continue_audit(&world, mirror.to_str().unwrap(), "mirror.state");
        self.continue_audit(&world, &world.wire.url, "url.state");
    }

    fn continue_audit(&self, world: &World, log: &str, state: &str) {
        let mut audit = world.program(&[
            "audit",
            log,
            "--url",
            &world.wire.url,
            "--roster",
            &self.progress.roster,
            "--state",
        ]);
        let output = audit
            .arg(world.path(state))
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .unwrap();
        assert!(output.status.success(), "{log}: {}", said(&output));
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
        let (world, mut log) = (
            self.world.read().unwrap(),
            self.progress.log.lock().unwrap(),
        );
        let size = world.log_size();
        for entry in world
            .try_raw_entries(log.entries, size)
            .expect("the entries")
        {
            log.entry(&serde_json::from_slice(&entry).expect("an envelope"));
        }
        log.entries = size;
        let tokens = world
            .control(&json!({"do": "token-list"}))
            .expect("a list")
            .to_string();
        for (kind, needle) in &promises {
            let is_kept = match *kind {
                // Retention deletes a proposal some seconds after its end.
                "cancelled" => {
                    let view = world
                        .wire
                        .get(&format!("/v1/proposals/{needle}"), &world.reader);
                    [404, 410].contains(&view.status) || view.json()["status"] == "cancelled"
                }
                "token" => tokens.contains(&format!("\"{needle}\"")),
                _ => log.found.contains(&format!("{kind} {needle}")),
            };
            assert!(
                is_kept,
                "promised, but neither in the log nor in the store: {kind} {needle}"
            );
        }
        log.kept += promises.len() as u64;
    }

    /// Waits for the ends of all runs, and compares their lines with the receipts.
    fn rest(&self) {
        {
            let world = self.world.read().unwrap();
            let until = Instant::now() + Duration::from_secs(180);
            while !(world.list("approved").is_empty() && world.list("running").is_empty()) {
                assert!(
                    Instant::now() < until,
                    "a run does not end: {:#?}",
                    world.list("approved")
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        self.check_promises();
        let text = fs::read_to_string(self.world.read().unwrap().path("marks/lines")).unwrap();
        let mut log = self.progress.log.lock().unwrap();
        let mut lines = BTreeMap::<&str, u64>::new();
        for line in text[log.lines as usize..].lines() {
            *lines.entry(line).or_default() += 1;
        }
        log.lines = text.len() as u64;
        log.found.clear();
        for (line, outcome) in std::mem::take(&mut log.ends) {
            let count = lines.remove(&*line).unwrap_or(0);
            let (least, most) = (
                u64::from(outcome == "succeeded"),
                u64::from(outcome != "not_started"),
            );
            assert!(
                (least..=most).contains(&count),
                "{count} lines of {line}, the end {outcome}"
            );
        }
        drop(log);
        assert!(lines.is_empty(), "lines without a receipt: {lines:?}");
        self.audit();
    }

    /// Audits the whole log with both auditors, and checks the store at rest.
    fn last(&self) {
        let mut world = self.world.write().unwrap();
        let copy = world.export("mirror");
        world.assert_audited();
        let roster = world.path("b/boundary/roster.d/1.json");
        let second = second::python()
            .arg("audit")
            .arg(copy)
            .arg("--roster")
            .arg(roster)
            .output()
            .expect("python3");
        let second: Value =
            serde_json::from_slice(&second.stdout).unwrap_or_else(|_| panic!("{}", said(&second)));
        assert_eq!(
            (&second["sound"], &second["findings"]),
            (&json!(true), &json!([]))
        );
        world.stop();
        let (code, stores) = checked(&world, &[]);
        assert_eq!(
            (code, &stores[0]["defects"]),
            (0, &json!([])),
            "{stores:#?}"
        );
    }
}

/// Starts the store of the oldest version with this program, and goes back as docs/operate.md says: the backup from before the
/// upgrade begins a new log, which lacks what happened later. The saved copy still has it.
fn upgrade_and_go_back(world: &mut World) {
    let [before, saved] = ["before", "saved"].map(|name| world.path(name).display().to_string());
    must(store(world, &["backup", &before]));
    serve(world);
    let later = world.run(
        "say:echo",
        json!({"text": "after the upgrade"}),
        &[&alice()],
    );
    let spent = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world.submit(&spent).ok(200);
    let roster = world.started["roster"].as_str().unwrap().to_owned();
    world.stop();
    copy_tree(world, &world.path("b/boundary"), "saved");
    for name in ["countersign.db", "outputs", "checkpoint"] {
        fs::rename(
            world.path("b/boundary").join(name),
            world.path(&format!("lost-{name}")),
        )
        .unwrap();
    }
    let restored = must(store(world, &["restore", &before, "--keep-tokens", "all"]));
    assert!(restored["follows"].is_string(), "{restored:#}");
    serve(world);
    let receipt = format!("/v1/receipts/{}", later["receipt"].as_str().unwrap());
    world.wire.get(&receipt, &world.reader).problem("not-found");
    world.submit(&spent).problem("wrong-boundary");
    let audited = world
        .program(&["audit", &saved, "--roster", &roster])
        .output()
        .unwrap();
    assert!(audited.status.success(), "{}", said(&audited));
    world.assert_audited();
}
