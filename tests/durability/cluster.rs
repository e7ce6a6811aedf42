//! Two nodes of one boundary and their database servers under faults that a seed chooses.
//!
//! Clients send copies of approvals, and of uses of standing grants, to both nodes during all faults. A run appends a line to
//! the file of its approval, and both nodes use the same directory, so a file with two lines is a second run.
//!
//! In most seeds each COMMIT waits for a replica. Then no fault loses a batch, and after all faults the boundary runs steps
//! again. In every fourth seed the database goes back to an earlier time. Then nothing runs any more.
//!
//! `scripts/cluster --seed N --count N` runs any number of seeds. A seed repeats the faults and their order, but not the
//! exact moments in the nodes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::merkle;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::grants::{self, granted};
use crate::support::nodes::same_tokens;
use crate::support::people::{self, alice, envelope, robot};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::proxy::{Proxy, Side};
use crate::support::postgres::until;
use crate::support::random::{Random, play_seeds};
use crate::support::shim::shim;
use crate::support::wire::{Reply, Wire};
use crate::support::{SMALL, World, bytes_of, runbook};

/// Number of seeds of a plain test run.
const COUNT: u64 = 4;
/// Number of seeds that run at one time.
const WORKERS: usize = 4;
/// Number of clients of each node.
const CLIENTS: u64 = 3;
const NAMES: [&str; 2] = ["one", "two"];
/// Number of standing grants. A grant pauses while the end of one of its runs is unknown.
const GRANTS: usize = 8;
const MOST_USES: u64 = 4;

#[test]
fn promise_2_and_3_are_true_under_seeded_faults_of_nodes_servers_and_connections() {
    const TEST: &str = "seeded faults of two nodes";
    if Cluster::find(TEST).is_none() || shim(TEST).is_none() {
        return;
    }
    play_seeds("cluster", COUNT, WORKERS, |seed| Scene::of(seed).play());
}

#[test]
fn copies_of_one_approval_run_once_during_a_takeover() {
    const TEST: &str = "copies during a takeover";
    if shim(TEST).is_none() {
        return;
    }
    let Some(server) = Cluster::start(TEST, "") else {
        return;
    };
    let boundary = Boundary::new(&server, "none");
    let numbers: Vec<usize> = (0..20)
        .map(|_| boundary.approve("0"))
        .chain((0..12).map(|number| boundary.use_grant("0", number)))
        .collect();
    std::thread::scope(|scope| {
        for node in 0..2 {
            for client in 0..16 {
                let (boundary, numbers) = (&boundary, &numbers);
                scope.spawn(move || {
                    for copy in 0..2 {
                        // Half of the copies come before the takeover.
                        until("the second node is active", || {
                            copy == 0 || boundary.nodes[1].is_active()
                        });
                        numbers.iter().for_each(|number| {
                            _ = boundary.submit(node, (number + client) % numbers.len())
                        });
                    }
                });
            }
        }
        until("some have run", || {
            boundary
                .approvals
                .lock()
                .unwrap()
                .iter()
                .any(|one| one.answered.is_some())
        });
        boundary.nodes[0].signal(Signal::KILL);
    });
    let log = boundary.nodes[1].world.log();
    let spent = log
        .iter()
        .filter_map(|(_, statement)| statement["predicate"]["spent"].as_array())
        .flatten();
    let (uses, signed): (Vec<_>, Vec<_>) = spent.partition(|item| item.get("grant").is_some());
    assert_eq!(
        signed.len(),
        20,
        "64 copies of each of 20 approvals are 20 runs"
    );
    assert!(!uses.is_empty(), "no use of a grant ran");
    boundary.check(1);
}

/// A process that can be the active node.
struct Node {
    world: World,
    proxy: Proxy,
    process: Mutex<Option<Child>>,
    /// False while the process stays ended.
    wanted: AtomicBool,
}

impl Node {
    fn starts(&self) {
        let open = |name| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.world.path(name))
                .expect("a log")
        };
        let mut serve =
            self.world
                .boundary_command(&["serve", "--json", "--listen", &self.world.setup.listen]);
        serve
            .arg(self.world.path("b"))
            .envs(self.world.setup.env.iter().cloned());
        let child = serve
            .stdout(open("serve.out"))
            .stderr(open("serve.log"))
            .spawn()
            .expect("serve");
        *self.process.lock().unwrap() = Some(child);
    }

    /// Starts the process again after its end, as a service manager does.
    fn tend(&self) {
        let ended = self
            .process
            .lock()
            .unwrap()
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some());
        if ended && self.wanted.load(SeqCst) {
            self.starts();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &mut *self.process.lock().unwrap()
            && child.try_wait().unwrap().is_none()
        {
            let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal);
        }
    }

    fn submit(&self, envelope: &Value) -> Option<Reply> {
        self.world
            .wire
            .try_post("/v1/authorizations", &self.world.agent, envelope)
            .ok()
    }

    fn is_active(&self) -> bool {
        self.world
            .wire
            .try_call("GET", "/ready", &[], None)
            .is_ok_and(|reply| reply.status == 200)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.process.lock().unwrap().as_mut().map(Child::wait);
    }
}

/// An approval with the file to which its run appends a line.
#[derive(Clone)]
struct Approval {
    nonce: String,
    file: PathBuf,
    envelope: Value,
    /// The outcome in the answer of a submission.
    answered: Option<Value>,
    /// True if a node confirmed a denial.
    denied: bool,
}

impl Approval {
    fn lines(&self) -> usize {
        fs::read_to_string(&self.file).map_or(0, |text| text.lines().count())
    }
}

/// What the threads of a scene share.
struct Boundary {
    nodes: [Node; 2],
    markers: tempfile::TempDir,
    /// Predicate of an authorization.
    template: Value,
    /// Digests of the standing grants.
    grants: Vec<String>,
    approvals: Mutex<Vec<Approval>>,
    ended: AtomicBool,
}

impl Boundary {
    /// Starts the two nodes of a new boundary. The server must have no schema yet.
    fn new(server: &Cluster, replicas: &str) -> Self {
        let markers = tempfile::Builder::new()
            .prefix("countersign-marks-")
            .tempdir()
            .unwrap();
        fs::set_permissions(markers.path(), Permissions::from_mode(0o777)).unwrap();
        let mut nodes = NAMES.map(|name| {
            let proxy = Proxy::start(server.address());
            let mut world = World::prepared(|setup| {
                setup.listen = format!("127.0.0.1:{}", server.free_port());
                let (url, path) = (proxy.url("service"), markers.path().display());
                setup.config = format!("{}replicas = \"{replicas}\"\n", server.config(&url, name));
                let front = format!("params:\n  file: {{type: string}}\n  pause: {{type: string}}\n{SMALL}");
                let step = "echo run >> \"$PARAM_FILE\"\nsleep \"$PARAM_PAUSE\"";
                setup.runbook("mark.md", runbook(&front, &[(&format!("it write={path} workdir=in-place"), step)]));
                setup.policy = format!(
                    "{}  - {{runbook: mark, sandbox: {{write: [\"{path}\"], workdir: in-place}}}}\n",
                    grants::POLICY
                );
            });
            world.setup.env("LD_PRELOAD", shim("nodes").unwrap_or_default());
            world.setup.env("SHIM_CLOCK", if name == "one" { "40" } else { "-40" });
            world.setup.env("SHIM_CLOCK_WHILE", world.path("shift").display().to_string());
            world.wire = Wire::new(&format!("http://{}", world.setup.listen));
            Node { world, proxy, process: Mutex::default(), wanted: AtomicBool::new(true) }
        });
        server.migrate(&nodes[0].world);
        let [one, two] = &mut nodes;
        one.starts();
        until("the first node is active", || one.is_active());
        one.world.make_tokens();
        let said = fs::read_to_string(one.world.path("serve.out")).unwrap();
        one.world.started =
            serde_json::from_str::<Value>(said.lines().next().unwrap()).unwrap()["started"].take();
        two.world.started.clone_from(&one.world.started);
        same_tokens(&one.world, &mut two.world);
        let proposal = one
            .world
            .propose("mark:it", json!({"file": "none", "pause": "0"}));
        let template =
            serde_json::from_slice::<Value>(&bytes_of(&proposal)).unwrap()["predicate"].take();
        let any = json!({"type": "object", "required": ["file", "pause"], "properties": {"file": {"type": "string"}, "pause": {"type": "string"}}});
        let mut terms = grants::terms();
        (terms["steps"], terms["max_uses"]) = (
            json!([{"step": "mark:it", "params": any}]),
            json!(MOST_USES),
        );
        let digest = |_| {
            granted(&one.world, &terms)["digest"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let grants = (0..GRANTS).map(digest).collect();
        two.starts();
        // A copy of the database from before this moment would not contain the second node.
        until("the second node stands by", || {
            two.world
                .wire
                .try_call("GET", "/ready", &[], None)
                .is_ok_and(|reply| reply.status == 503)
        });
        Self {
            nodes,
            markers,
            template,
            grants,
            approvals: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Makes a new approval and returns its number.
    fn approve(&self, pause: &str) -> usize {
        self.make(pause, None)
    }

    /// Makes a new use of a standing grant and returns its number.
    fn use_grant(&self, pause: &str, grant: usize) -> usize {
        self.make(pause, Some(&self.grants[grant % GRANTS]))
    }

    fn make(&self, pause: &str, grant: Option<&str>) -> usize {
        let mut approvals = self.approvals.lock().unwrap();
        let file = self.markers.path().join(approvals.len().to_string());
        let mut predicate = self.template.clone();
        people::renew(&mut predicate);
        let nonce = predicate["nonce"].as_str().unwrap().to_owned();
        predicate["params"] = json!({"file": file, "pause": pause});
        if let Some(grant) = grant {
            (predicate["grant"], predicate["proposer"]) = (json!(grant), json!("robot"));
        }
        let signer = if grant.is_some() { robot() } else { alice() };
        let envelope = envelope(&people::authorization(&predicate), &[&signer]);
        approvals.push(Approval {
            nonce,
            file,
            envelope,
            answered: None,
            denied: false,
        });
        approvals.len() - 1
    }

    /// Sends a copy of an approval to a node. Returns true if the run has ended.
    fn submit(&self, node: usize, number: usize) -> bool {
        let envelope = self.approvals.lock().unwrap()[number].envelope.clone();
        let Some(reply) = self.nodes[node]
            .submit(&envelope)
            .filter(|reply| reply.status == 200)
        else {
            return false;
        };
        let outcome = people::predicate_of(&reply.json()["receipt"])["outcome"].clone();
        let answered = self.approvals.lock().unwrap()[number]
            .answered
            .replace(outcome);
        assert_eq!(
            answered, None,
            "approval {number} ran again for another caller"
        );
        true
    }

    /// Denies an approval.
    fn deny(&self, node: usize, number: usize) -> bool {
        let payload = people::payload_of(&self.approvals.lock().unwrap()[number].envelope);
        let denial = envelope(
            &people::denial(&self.template["boundary"], &payload, "no"),
            &[&alice()],
        );
        let body = json!({"denial": denial, "payload": STANDARD.encode(payload)});
        let denied = self.nodes[node]
            .world
            .wire
            .try_post("/v1/denials", "", &body)
            .is_ok_and(|reply| reply.status == 200);
        self.approvals.lock().unwrap()[number].denied |= denied;
        denied
    }

    /// Sends new and recent approvals to a node until the end of the scene.
    fn client(&self, node: usize, seed: u64) {
        let mut random = Random(seed);
        while !self.ended.load(SeqCst) {
            let made = self.approvals.lock().unwrap().len();
            let number = if made == 0 || random.below(8) == 0 {
                let pause = ["0", "0", "0.3"][random.below(3)];
                if random.below(3) == 0 {
                    self.use_grant(pause, random.below(GRANTS))
                } else {
                    self.approve(pause)
                }
            } else {
                made - 1 - random.below(made.min(10))
            };
            let done = if random.below(12) == 0 {
                self.deny(node, number)
            } else {
                self.submit(node, number)
            };
            sleep(Duration::from_millis(if done { 10 } else { 60 }));
        }
    }

    fn tend(&self) {
        while !self.ended.load(SeqCst) {
            self.nodes.iter().for_each(Node::tend);
            sleep(Duration::from_millis(300));
        }
    }

    /// Waits until a node runs a new approval. Returns the number of the node.
    fn works(&self) -> usize {
        let (mut number, mut node) = (self.approve("0"), 0);
        until("a node runs steps", || {
            node = 1 - node;
            // An approval that was consumed, but whose run never started, stays without a second run.
            let reply = self.nodes[node].is_active() && self.submit(node, number);
            number = if reply { number } else { self.approve("0") };
            sleep(Duration::from_millis(30));
            reply
        });
        node
    }

    /// Checks the log of a node against the files of the runs and the answers to the clients.
    fn check(&self, node: usize) {
        let approvals = self.approvals.lock().unwrap().clone();
        let world = &self.nodes[node].world;
        let (mut places, mut outcomes, mut denials) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut uses: BTreeMap<String, u64> = BTreeMap::new();
        for (index, (kind, statement)) in world.log().iter().enumerate() {
            let predicate = &statement["predicate"];
            match kind.as_str() {
                "consumption" => {
                    for (item, spent) in predicate["spent"].as_array().unwrap().iter().enumerate() {
                        places.insert(
                            spent["nonce"].as_str().unwrap().to_owned(),
                            (index as u64, item as u64),
                        );
                        if let Some(grant) = spent["grant"].as_str() {
                            let number = uses.entry(grant.to_owned()).or_default();
                            *number += 1;
                            assert!(
                                spent["use"] == *number && *number <= MOST_USES,
                                "use {number} of {grant}: {spent}"
                            );
                        }
                    }
                }
                "receipt" => {
                    let of = &predicate["consumption"];
                    let place = (of["index"].as_u64().unwrap(), of["item"].as_u64().unwrap());
                    outcomes.insert(place, predicate["outcome"].clone());
                }
                "denial" => {
                    let digest = statement["subject"][0]["digest"]["sha256"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    denials.entry(digest).or_insert(index as u64);
                }
                _ => {}
            }
        }
        for (number, approval) in approvals.iter().enumerate() {
            let (lines, place) = (approval.lines(), places.get(&approval.nonce));
            let outcome = place.and_then(|place| outcomes.get(place));
            assert!(
                lines <= usize::from(place.is_some()),
                "approval {number} ran {lines} times"
            );
            assert!(
                approval.answered.is_none() || approval.answered.as_ref() == outcome,
                "the answer of {number}"
            );
            let status = outcome.map_or("none", |outcome| outcome["status"].as_str().unwrap());
            assert!(
                status != "succeeded" || lines == 1,
                "approval {number} has a receipt and did not run"
            );
            assert!(
                status != "not_started" || lines == 0,
                "approval {number} ran, but its receipt denies it"
            );
            let denial = denials.get(&people::sha256(&people::payload_of(&approval.envelope)));
            assert!(
                !approval.denied || denial.is_some(),
                "the denial of approval {number} is not in the log"
            );
            assert!(
                denial.is_none_or(|at| place.is_none_or(|place| place.0 < *at)),
                "denied approval {number} ran"
            );
        }
        world.check_history();
        world.assert_audited();
    }
}

/// A boundary with its servers. Drop ends the threads.
struct Scene {
    seed: u64,
    random: Random,
    began: Instant,
    primary: Cluster,
    replica: Option<Cluster>,
    boundary: Arc<Boundary>,
    threads: Vec<JoinHandle<()>>,
    faults: Vec<String>,
    /// Size and root of the checkpoints that the nodes showed.
    shown: Vec<(u64, String)>,
}

impl Scene {
    fn of(seed: u64) -> Self {
        let began = Instant::now();
        let primary = Cluster::start("seeded faults", "").expect("PostgreSQL");
        let synchronous = !seed.is_multiple_of(4);
        let replica = synchronous.then(|| primary.replica("r0", true));
        let boundary = Arc::new(Boundary::new(
            &primary,
            if synchronous { "synchronous" } else { "none" },
        ));
        let mut threads: Vec<_> = (0..2 * CLIENTS)
            .map(|client| {
                let boundary = boundary.clone();
                let seed = seed.wrapping_mul(97).wrapping_add(client);
                std::thread::spawn(move || boundary.client(client as usize % 2, seed))
            })
            .collect();
        let tended = boundary.clone();
        threads.push(std::thread::spawn(move || tended.tend()));
        let (faults, shown) = (Vec::new(), Vec::new());
        Self {
            seed,
            random: Random(seed),
            began,
            primary,
            replica,
            boundary,
            threads,
            faults,
            shown,
        }
    }

    fn note(&mut self, fault: impl Into<String>) {
        self.faults.push(format!(
            "{:.1} s: {}",
            self.began.elapsed().as_secs_f64(),
            fault.into()
        ));
    }

    fn pause(&mut self, least: usize, most: usize) {
        sleep(Duration::from_millis(
            (least + self.random.below(most - least)) as u64,
        ));
    }

    fn play(mut self) {
        if self.replica.is_none() {
            self.goes_back();
        } else {
            let lost_commit = self.random.below(3);
            for number in 0..3 {
                self.works();
                if number == lost_commit {
                    self.lost_commit(number);
                } else {
                    self.small_fault();
                }
                self.pause(100, 900);
                self.look();
            }
            self.ends();
        }
        let all = self.boundary.approvals.lock().unwrap().clone();
        let ran = all.iter().filter(|approval| approval.lines() > 0).count();
        let took = self.began.elapsed().as_secs_f64();
        println!(
            "seed {}: {took:.1} s, {} approvals, {ran} runs; {}",
            self.seed,
            all.len(),
            self.faults.join("; ")
        );
    }

    /// Notes the checkpoints that the nodes show.
    fn look(&mut self) {
        for node in &self.boundary.nodes {
            let Ok(reply) = node
                .world
                .wire
                .try_call("GET", "/log/checkpoint", &[], None)
            else {
                continue;
            };
            let text = reply.text();
            if let (200, [_, size, root, ..]) = (reply.status, &*text.lines().collect::<Vec<_>>()) {
                self.shown.push((size.parse().unwrap(), (*root).to_owned()));
            }
        }
    }

    /// Ends all faults, and checks all.
    fn ends(&mut self) {
        self.works();
        self.look();
        self.join();
        let node = self.boundary.works();
        // Approvals that no node has consumed may run now.
        let count = self.boundary.approvals.lock().unwrap().len();
        std::thread::scope(|scope| {
            for client in 0..8 {
                let boundary = &self.boundary;
                scope.spawn(move || {
                    (client / 2..count)
                        .step_by(4)
                        .for_each(|number| _ = boundary.submit(client % 2, number))
                });
            }
        });
        self.boundary.check(node);
        let world = &self.boundary.nodes[node].world;
        let hashes: Vec<_> = world
            .raw_entries(world.log_size())
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        for (size, root) in &self.shown {
            let now = hashes
                .get(..*size as usize)
                .map(|hashes| STANDARD.encode(merkle::root(hashes)));
            assert_eq!(
                now.as_ref(),
                Some(root),
                "the checkpoint of {size} entries that a node showed"
            );
        }
    }

    fn works(&mut self) {
        let node = self.boundary.works();
        self.note(format!("node {} runs", NAMES[node]));
    }

    fn join(&mut self) {
        self.boundary.ended.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client found a second run");
        }
    }

    /// Returns the active node.
    fn active(&self) -> usize {
        self.boundary
            .nodes
            .iter()
            .position(Node::is_active)
            .unwrap_or_default()
    }

    fn backends(&self, node: usize) -> Vec<u32> {
        self.primary
            .backends(&format!("countersign:{}", NAMES[node]))
    }

    /// A fault of a node, of its connections or of the server, without a lost batch.
    fn small_fault(&mut self) {
        let (boundary, active) = (self.boundary.clone(), self.active());
        let node = if self.random.below(4) == 0 {
            1 - active
        } else {
            active
        };
        let (one, name) = (&boundary.nodes[node], NAMES[node]);
        match self.random.below(11) {
            0 | 1 => {
                self.note(format!("kill node {name}"));
                one.wanted.store(false, SeqCst);
                one.signal(Signal::KILL);
                self.pause(100, 2_500);
                one.wanted.store(true, SeqCst);
            }
            2 | 3 => {
                self.note(format!("freeze node {name} and end its connections"));
                one.signal(Signal::STOP);
                self.backends(node)
                    .iter()
                    .for_each(|pid| self.primary.terminate(*pid));
                self.pause(1_000, 3_000);
                one.signal(Signal::CONT);
            }
            4 => {
                // A node whose last sign is 15 s old loses the role.
                let long = self.random.below(3) == 0;
                self.note(format!(
                    "freeze node {name}{}",
                    if long { " for a long time" } else { "" }
                ));
                one.signal(Signal::STOP);
                if long {
                    self.pause(17_000, 19_000)
                } else {
                    self.pause(500, 3_000)
                }
                one.signal(Signal::CONT);
            }
            5 => {
                self.note(format!(
                    "freeze the connections of node {name} in the server"
                ));
                let backends = self.backends(node);
                backends.iter().for_each(|pid| self.primary.sigstop(*pid));
                self.pause(300, 3_000);
                backends.iter().for_each(|pid| self.primary.sigcont(*pid));
            }
            6 => {
                let side = if self.random.below(2) == 0 {
                    Side::Before
                } else {
                    Side::After
                };
                self.note(format!("cut node {name} {side:?} each COMMIT"));
                for _ in 0..4 {
                    one.proxy
                        .cut_at_commit(side, 1 + self.random.below(2) as u64);
                    self.pause(100, 700);
                }
                one.proxy.no_cut();
            }
            7 | 8 => {
                self.note(format!("cut flights of node {name} at random"));
                let (seed, mean) = (self.random.next(), 3 + self.random.below(8) as u64);
                one.proxy.cut_at_random(seed, mean);
                self.pause(800, 2_500);
                one.proxy.no_cut();
            }
            9 => {
                self.note(format!("node {name} can't reach the server"));
                one.proxy.black_hole(true);
                self.pause(300, 2_500);
                one.proxy.black_hole(false);
            }
            _ => {
                self.note("the server ends and starts");
                if self.random.below(2) == 0 {
                    self.primary.kill9()
                } else {
                    self.primary.stop_immediate()
                }
                self.primary.start_again();
            }
        }
        if self.random.below(3) == 0 {
            self.note(format!("the clock of node {name} moves"));
            fs::write(one.world.path("shift"), "").unwrap();
            self.pause(200, 1_000);
            fs::remove_file(one.world.path("shift")).unwrap();
        }
    }

    /// A COMMIT waits for a replica that is away. The wait ends in one of several ways, then the replica becomes the primary.
    /// The replica never had the batch, so the log must not have it.
    fn lost_commit(&mut self, number: usize) {
        const WAITING: &str =
            "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'";
        let boundary = self.boundary.clone();
        let replica = self.replica.take().expect("a replica");
        replica.stop();
        until("a COMMIT waits for the replica", || {
            !self.primary.psql(WAITING).is_empty()
        });
        let cancel = |scene: &Self, function: &str| {
            // Also the commits that settle a batch.
            for _ in 0..12 {
                scene
                    .primary
                    .psql(&format!("SELECT {function}(pid) FROM ({WAITING}) w"));
                sleep(Duration::from_millis(200));
            }
        };
        if self.random.below(3) == 0 {
            let active = self.active();
            self.note(format!("a COMMIT waits; kill node {}", NAMES[active]));
            boundary.nodes[active].signal(Signal::KILL);
        }
        match self.random.below(4) {
            0 => {
                self.note("a COMMIT waits; the waits are cancelled");
                cancel(self, "pg_cancel_backend");
            }
            1 => {
                self.note("a COMMIT waits; its connections are ended");
                cancel(self, "pg_terminate_backend");
            }
            2 => {
                self.note("a COMMIT waits; the server is killed and starts");
                self.primary.kill9();
                self.primary.start_again();
            }
            _ => {
                self.note("a COMMIT waits; the server restarts");
                self.primary.restart_immediate();
            }
        }
        // The nodes reach the old primary, which shows the batch.
        self.pause(300, 2_500);
        // A node can reach the old primary for some time after the promotion.
        let split = self.random.below(3) == 0;
        if !split {
            self.primary.stop_immediate();
        }
        replica.start_again();
        replica.promote();
        let next = replica.replica(&format!("r{}", number + 1), true);
        let old = std::mem::replace(&mut self.primary, replica);
        self.replica = Some(next);
        let first = self.random.below(2);
        self.note(format!(
            "the replica is promoted{}",
            if split { ", the old primary lives" } else { "" }
        ));
        boundary.nodes[first].proxy.lead_to(self.primary.address());
        if split {
            self.pause(500, 2_500);
            drop(old.try_psql(
                "super",
                &format!("SELECT pg_cancel_backend(pid) FROM ({WAITING}) w"),
            ));
            self.pause(100, 1_000);
        }
        boundary.nodes[1 - first]
            .proxy
            .lead_to(self.primary.address());
    }

    /// The database loses runs. After that, no node runs anything.
    fn goes_back(&mut self) {
        let boundary = self.boundary.clone();
        boundary.works();
        let runs = |boundary: &Boundary| {
            let all = boundary.approvals.lock().unwrap().clone();
            let answered = all
                .iter()
                .filter(|approval| approval.answered.is_some())
                .count();
            (all.iter().map(Approval::lines).sum::<usize>(), answered)
        };
        let copy = if self.random.below(2) == 0 {
            Ok(self.primary.snapshot())
        } else {
            let replica = self.primary.replica("r0", false);
            replica.stop();
            Err(replica)
        };
        let active = boundary.works();
        // The checkpoint of the first lost run must be kept at once. Later the service writes it in any case.
        if self.random.below(3) == 0 {
            self.pause(100, 1_500);
        }
        let fault = self.random.below(4);
        self.note(format!(
            "{} node {}",
            ["kill", "keep off", "freeze", "leave"][fault],
            NAMES[active]
        ));
        boundary.nodes[active].wanted.store(fault != 1, SeqCst);
        match fault {
            0 | 1 => boundary.nodes[active].signal(Signal::KILL),
            2 => boundary.nodes[active].signal(Signal::STOP),
            _ => {}
        }
        match copy {
            Ok(snapshot) => {
                self.note("the database is restored from a copy");
                self.primary.restore(&snapshot);
            }
            Err(replica) => {
                self.note("an old replica is promoted");
                self.primary.stop_immediate();
                replica.start_again();
                replica.promote();
                self.primary = replica;
                boundary
                    .nodes
                    .iter()
                    .for_each(|node| node.proxy.lead_to(self.primary.address()));
            }
        }
        boundary.nodes[active].signal(Signal::CONT);
        // Runs that were in progress may still end.
        sleep(Duration::from_secs(1));
        let nonces = || self.primary.psql("SELECT count(*) FROM countersign.nonce");
        let before = (runs(&boundary), nonces());
        sleep(Duration::from_secs(3));
        boundary.nodes[active].wanted.store(true, SeqCst);
        sleep(Duration::from_secs(2));
        boundary
            .nodes
            .iter()
            .for_each(|node| node.signal(Signal::KILL));
        sleep(Duration::from_secs(3));
        assert_eq!(
            (runs(&boundary), nonces()),
            before,
            "runs that files and answers show, and nonces of the database"
        );
        self.join();
        let all = boundary.approvals.lock().unwrap().clone();
        assert!(
            all.iter().all(|approval| approval.lines() <= 1),
            "an approval ran twice"
        );
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.boundary.ended.store(true, SeqCst);
        self.boundary
            .nodes
            .iter()
            .for_each(|node| node.signal(Signal::KILL));
        if std::thread::panicking() {
            eprintln!(
                "seed {} failed after: {}",
                self.seed,
                self.faults.join("; ")
            );
        }
        self.threads
            .drain(..)
            .for_each(|thread| drop(thread.join()));
    }
}
