//! Kills the service with SIGKILL at every crash point and at every ordered pair of crash points. A seed makes failures
//! reproducible.
//!
//! Each start of the service arms one crash point, and the service dies there during recovery or under load. The next
//! start arms another point. The order of the points is a walk over all ordered pairs, so `n * n` cycles cover every
//! pair. After each death, the test checks the store at rest and the invariants of the log.
//!
//! `scripts/torture --cycles N --seed S` runs any number of cycles. The plain test covers every point and many pairs.
//! With `--postgres` the store is in a PostgreSQL database.
// Only builds with debug assertions contain crash points.
#![cfg(debug_assertions)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::people::{alice, dora, envelope, oscar};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::until;
use crate::support::random::Random;
use crate::support::{World, bytes_of, id_of, people, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::{Config, restore};
use documents::{BlobDigest, LeafKind, TilePath, merkle};
use serde_json::{Value, json};
use store::{POINTS, ProposalStatus, StoreReads};
use verdict::{
    AuditEvent, Auditor, EvidenceFiles, Expected, LogEntry, Pinned, Unreadable, rosters_in,
};

/// Number of cycles of a plain test run: each point at least once, and about as many pairs.
const CYCLES: usize = 60;
/// Number of cycles of one store. Every cycle checks the whole log, which grows, so a store gets only a limited number
/// of cycles.
const CYCLES_OF_A_STORE: usize = 40;

#[test]
fn promise_2_and_3_are_true_after_kill_9_at_every_point_and_pair_of_points() {
    torture(false, CYCLES);
}

#[test]
fn promise_2_and_3_are_true_with_postgresql_after_kill_9_at_every_point() {
    if Cluster::find("torture of a service with PostgreSQL").is_some() {
        torture(true, POINTS.len());
    }
}

fn torture(postgres: bool, cycles: usize) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect(name))
    };
    let cycles = number("COUNTERSIGN_TORTURE_CYCLES").unwrap_or(cycles as u64) as usize;
    let seed = number("COUNTERSIGN_TORTURE_SEED").unwrap_or(1);
    let walk = walk(POINTS.len(), seed);
    let pieces: Vec<Vec<usize>> = (0..cycles)
        .step_by(CYCLES_OF_A_STORE)
        // Each piece begins with the last point of the previous piece, so that no pair is lost between two stores.
        .map(|first| {
            let cycles = CYCLES_OF_A_STORE.min(cycles - first);
            (first.saturating_sub(1)..first + cycles)
                .map(|at| walk[at % walk.len()])
                .collect()
        })
        .collect();
    let began = Instant::now();
    let queue = Arc::new(Mutex::new(
        pieces.into_iter().enumerate().rev().collect::<Vec<_>>(),
    ));
    let totals = Arc::new(Mutex::new(Totals::default()));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (queue, totals) = (queue.clone(), totals.clone());
            std::thread::spawn(move || {
                loop {
                    let Some((piece, points)) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    let done = Torture::new(seed, piece, postgres).cycles(&points);
                    totals.lock().unwrap().add(done);
                }
            })
        })
        .collect();
    for worker in workers {
        worker
            .join()
            .expect("a piece of the torture failed: the seed above replays it");
    }
    let totals = totals.lock().unwrap();
    println!(
        "torture: seed {seed}, {} cycles in {:.0} s, {} deaths ({} while starting), {} of {} points, {} of {} ordered pairs, \
         {} runs, {} of unknown end",
        totals.cycles,
        began.elapsed().as_secs_f64(),
        totals.deaths,
        totals.at_start,
        totals.points.len(),
        POINTS.len(),
        totals.pairs.len(),
        POINTS.len() * POINTS.len(),
        totals.runs,
        totals.unknown,
    );
    assert_eq!(totals.deaths, totals.cycles, "every armed start died");
    assert_eq!(
        totals.points.len(),
        POINTS.len().min(cycles),
        "every point was met"
    );
    if cycles > POINTS.len() * POINTS.len() {
        assert_eq!(
            totals.pairs.len(),
            POINTS.len() * POINTS.len(),
            "every ordered pair was met"
        );
    }
}

/// Number of services that run in parallel. More services only compete for the CPU.
const WORKERS: usize = 3;

#[derive(Default)]
struct Totals {
    cycles: usize,
    deaths: usize,
    at_start: usize,
    points: BTreeSet<usize>,
    pairs: BTreeSet<(usize, usize)>,
    runs: usize,
    unknown: usize,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.deaths += other.deaths;
        self.at_start += other.at_start;
        self.points.extend(other.points);
        self.pairs.extend(other.pairs);
        self.runs += other.runs;
        self.unknown += other.unknown;
    }
}

/// Returns an order of points in which each ordered pair is adjacent once: a random Eulerian circuit of the complete
/// graph with loops (Hierholzer). The walk begins with one round over all points.
fn walk(points: usize, seed: u64) -> Vec<usize> {
    let mut random = Random(seed);
    let mut left: Vec<Vec<usize>> = (0..points)
        .map(|_| {
            let mut to: Vec<usize> = (0..points).collect();
            random.shuffle(&mut to);
            to
        })
        .collect();
    // Begin with one round over all points, so that a short run also covers each point.
    let mut round: Vec<usize> = (0..points).collect();
    random.shuffle(&mut round);
    for (at, from) in round.iter().enumerate() {
        let to = round[(at + 1) % points];
        left[*from].retain(|other| *other != to);
    }
    let (mut stack, mut circuit) = (vec![round[0]], Vec::new());
    while let Some(at) = stack.last().copied() {
        match left[at].pop() {
            Some(next) => stack.push(next),
            None => circuit.extend(stack.pop()),
        }
    }
    circuit.reverse();
    // The round and the circuit begin and end at the same point.
    let mut walk = round;
    walk.extend(circuit);
    walk.pop();
    walk
}

#[test]
fn the_torture_test_visits_every_ordered_pair_of_fault_points_once() {
    for seed in 0..20 {
        let walk = walk(POINTS.len(), seed);
        assert_eq!(walk.len(), POINTS.len() * POINTS.len());
        let pairs: BTreeSet<_> = (0..walk.len())
            .map(|at| (walk[at], walk[(at + 1) % walk.len()]))
            .collect();
        assert_eq!(pairs.len(), walk.len());
        let first: BTreeSet<_> = walk[..POINTS.len()].iter().collect();
        assert_eq!(
            first.len(),
            POINTS.len(),
            "the first round meets every point"
        );
    }
    assert_ne!(walk(POINTS.len(), 1), walk(POINTS.len(), 2));
}

/// One store whose service is killed repeatedly.
struct Torture {
    world: World,
    /// The database server, unless the store is a file.
    server: Option<Cluster>,
    random: Random,
    seed: u64,
    piece: usize,
    cycle: usize,
    /// Leaf hashes of the entries that were present at the previous check. They must stay the prefix of the log.
    seen: Vec<merkle::Hash>,
    /// Repeats every decision of the log, and continues with the new entries after each cycle.
    auditor: Option<Auditor>,
    /// The outcome of each run that the service reported as finished, by proposal.
    answered: BTreeMap<String, Value>,
    totals: Totals,
}

/// The blobs of a store at rest, for the auditor. Tiles are not read, because the check of the store already compared
/// them.
struct Blobs<'a>(&'a StoreReads);

impl EvidenceFiles for Blobs<'_> {
    fn blob(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, Unreadable> {
        self.0
            .blob(digest)
            .map_err(|fault| Unreadable(fault.to_string()))
    }

    fn tile(&self, _: &TilePath) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(None)
    }

    fn entries(&self, _: u64, _: u64) -> Result<Vec<Vec<u8>>, Unreadable> {
        Err(Unreadable(
            "only the end of an audit reads entries again".to_owned(),
        ))
    }
}

/// The connection failed, because the service is dead.
struct Gone;

impl Torture {
    fn new(seed: u64, piece: usize, postgres: bool) -> Self {
        let server = postgres.then(|| Cluster::start("torture", "").expect("PostgreSQL"));
        let mut world = World::prepared(|setup| {
            setup.config = server.as_ref().map_or_else(String::new, |server| {
                server.config(&server.socket_url("service"), "one")
            });
        });
        server.iter().for_each(|server| server.migrate(&world));
        world.start();
        world.make_tokens();
        world.stop();
        let random = Random(seed ^ (piece as u64 + 1).wrapping_mul(0x0123_4567_89ab_cdef));
        Self {
            world,
            server,
            random,
            seed,
            piece,
            cycle: 0,
            seen: Vec::new(),
            auditor: None,
            answered: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    fn cycles(mut self, points: &[usize]) -> Totals {
        // The first point of a later piece only opens the first pair. The previous piece already counted this point.
        let mut before = if self.piece == 0 {
            None
        } else {
            Some(points[0])
        };
        if self.piece > 0 {
            self.cycle(points[0], None);
            self.totals = Totals::default();
        }
        let points = if self.piece == 0 {
            points
        } else {
            &points[1..]
        };
        for point in points {
            self.cycle(*point, before);
            before = Some(*point);
        }
        self.last();
        self.totals
    }

    fn cycle(&mut self, point: usize, before: Option<usize>) {
        self.cycle += 1;
        let place = self.place(point, before);
        self.world.setup.env.clear();
        // Sometimes the service dies at the second occurrence of the point, so that other work or a part of recovery
        // precedes it. Pruning and retiring are excluded, because their second occurrence can take long.
        let by_itself = ["prune", "retire"]
            .iter()
            .any(|kind| POINTS[point].contains(kind));
        let time = if !by_itself && self.random.below(4) == 0 {
            2
        } else {
            1
        };
        self.world
            .setup
            .env("COUNTERSIGN_FAULT", format!("{}:{time}", POINTS[point]));
        self.world.setup.env("COUNTERSIGN_LOG", "info");
        match self.world.try_start() {
            Ok(()) => {
                let deadline = Instant::now() + Duration::from_secs(180);
                let mut counters = BTreeMap::new();
                while self.work(POINTS[point]).is_ok() && self.scrape(&mut counters, &place).is_ok()
                {
                    assert!(Instant::now() < deadline, "{place}: it does not die");
                }
                assert_eq!(self.world.ended(), None, "{place}: it was killed");
            }
            // The service died during recovery.
            Err(_) => self.totals.at_start += 1,
        }
        self.totals.cycles += 1;
        self.totals.deaths += 1;
        self.totals.points.insert(point);
        if let Some(before) = before {
            self.totals.pairs.insert((before, point));
        }
        self.hold(&place, false);
    }

    fn place(&self, point: usize, before: Option<usize>) -> String {
        let before = before.map_or("nothing", |before| POINTS[before]);
        format!(
            "seed {}, store {}, cycle {}: {before}, then {}",
            self.seed, self.piece, self.cycle, POINTS[point]
        )
    }

    /// Does some work that reaches the point, sometimes after other random work.
    fn work(&mut self, point: &str) -> Result<(), Gone> {
        if self.random.below(3) == 0 {
            match self.random.below(3) {
                0 => self.run_whole()?,
                1 => drop(self.propose("plain:true")?),
                _ => self.token()?,
            }
        }
        let kind = point
            .trim_start_matches("before-")
            .trim_start_matches("after-")
            .trim_end_matches("-commit");
        match kind {
            "seal" => self.token(),
            "proposal" => self.propose("plain:true").map(drop),
            "denial" => self.deny(),
            "revocation" => self.revoke(),
            "refusal" => self.refuse(),
            "advance" if self.random.below(2) == 0 => self.cancel(),
            "advance" => self.run_online(),
            "consume" | "receipt" if self.random.below(2) == 0 => self.run_whole(),
            "consume" | "receipt" => self.run_online(),
            // Housekeeping starts by itself, directly after the start of the service.
            _ => {
                std::thread::sleep(Duration::from_millis(5));
                self.world
                    .wire
                    .try_call("GET", "/health", &[], None)
                    .map(drop)
                    .map_err(|_| Gone)
            }
        }
    }

    fn propose(&mut self, step: &str) -> Result<Value, Gone> {
        let mut wish = World::wish(step, json!({}));
        wish["nonce"] = json!(people::nonce());
        let propose = || {
            self.world
                .wire
                .try_post("/v1/proposals", &self.world.agent, &wish)
                .map_err(|_| Gone)
        };
        let mut reply = propose()?;
        // A proposer can have at most 20 pending proposals, and earlier cycles leave some pending. Cancel them.
        if reply.status == 429 {
            for waiting in self.listed("pending")? {
                self.cancel_one(id_of(&waiting))?;
            }
            reply = propose()?;
        }
        Ok(reply.ok(201))
    }

    fn listed(&self, status: &str) -> Result<Vec<Value>, Gone> {
        let bearer = format!("Bearer {}", self.world.reader);
        let path = format!("/v1/proposals?status={status}");
        let reply = self
            .world
            .wire
            .try_call("GET", &path, &[("authorization", &bearer)], None)
            .map_err(|_| Gone)?;
        Ok(reply.ok(200)["proposals"].as_array().unwrap().clone())
    }

    fn token(&mut self) -> Result<(), Gone> {
        let name = format!("t{:x}", self.random.next());
        self.token_with(&name)
    }

    fn token_with(&mut self, name: &str) -> Result<(), Gone> {
        let token = json!({"name": name, "owners": [], "scopes": ["read"], "patterns": []});
        self.world.create_token(&token).map(drop).map_err(|_| Gone)
    }

    fn deny(&mut self) -> Result<(), Gone> {
        let proposal = self.propose("plain:true")?;
        self.world
            .try_deny(&proposal, &dora())
            .map_err(|_| Gone)?
            .ok(200);
        Ok(())
    }

    fn revoke(&mut self) -> Result<(), Gone> {
        let name = format!("t{:x}", self.random.next());
        self.token_with(&name)?;
        let like = self.propose("plain:true")?;
        let boundary =
            &serde_json::from_slice::<Value>(&bytes_of(&like)).unwrap()["predicate"]["boundary"];
        let payload = people::revocation(boundary, "token", &people::sha256(name.as_bytes()));
        let reply =
            self.world
                .wire
                .try_post("/v1/revocations", "", &envelope(&payload, &[&oscar()]));
        reply.map_err(|_| Gone)?.ok(200);
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), Gone> {
        let proposal = self.propose("plain:true")?;
        self.cancel_one(id_of(&proposal))
    }

    fn cancel_one(&self, id: &str) -> Result<(), Gone> {
        let path = format!("/v1/proposals/{id}/cancellation");
        let reply = self
            .world
            .wire
            .try_post(&path, &self.world.agent, &json!({}))
            .map_err(|_| Gone)?;
        assert!(matches!(reply.status, 200 | 409), "{}", reply.text());
        Ok(())
    }

    fn run_online(&mut self) -> Result<(), Gone> {
        let proposal = self.propose("plain:true")?;
        let signature = alice().sign(&bytes_of(&proposal));
        let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
        let signed = self
            .world
            .wire
            .try_post(&path, "", &json!({"signatures": [signature]}));
        signed.map_err(|_| Gone)?.ok(200);
        let (path, bearer) = (
            format!("/v1/proposals/{}?wait=10s", id_of(&proposal)),
            format!("Bearer {}", self.world.reader),
        );
        loop {
            let reply = self
                .world
                .wire
                .try_call("GET", &path, &[("authorization", &bearer)], None);
            let view = reply.map_err(|_| Gone)?.ok(200);
            if view["status"] == "finished" {
                self.answered
                    .insert(id_of(&proposal).to_owned(), view["outcome"].clone());
                return Ok(());
            }
        }
    }

    /// A new signed authorization with its own id and nonce, made from the bytes of another proposal.
    fn whole(&mut self) -> Result<(String, Value), Gone> {
        let like = self.propose("plain:true")?;
        let mut predicate =
            serde_json::from_slice::<Value>(&bytes_of(&like)).unwrap()["predicate"].take();
        people::renew(&mut predicate);
        let id = predicate["proposal"].as_str().unwrap().to_owned();
        Ok((
            id,
            envelope(&people::authorization(&predicate), &[&alice()]),
        ))
    }

    fn run_whole(&mut self) -> Result<(), Gone> {
        let (id, whole) = self.whole()?;
        let hand_in = || {
            self.world
                .wire
                .try_post("/v1/authorizations", &self.world.agent, &whole)
                .map_err(|_| Gone)
        };
        let bundle = hand_in()?.ok(200);
        self.answered.insert(
            id,
            people::predicate_of(&bundle["receipt"])["outcome"].clone(),
        );
        // The same envelope again must be refused: one nonce gives one run.
        hand_in()?.problem("nonce-replayed");
        Ok(())
    }

    fn refuse(&mut self) -> Result<(), Gone> {
        let (_, mut whole) = self.whole()?;
        // Signatures over another authorization cause a refusal of a known token, which the service logs in the
        // background.
        whole["signatures"] = self.whole()?.1["signatures"].clone();
        let reply = self
            .world
            .wire
            .try_post("/v1/authorizations", &self.world.agent, &whole)
            .map_err(|_| Gone)?;
        assert_ne!(reply.status, 200, "{}", reply.text());
        for _ in 0..40 {
            self.world
                .wire
                .try_call("GET", "/health", &[], None)
                .map_err(|_| Gone)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Reads the counters of `/metrics`. Since the last start, no counter may have gone back or disappeared.
    fn scrape(&self, before: &mut BTreeMap<String, f64>, place: &str) -> Result<(), Gone> {
        let bearer = format!("Bearer {}", self.world.reader);
        let headers = [("authorization", bearer.as_str())];
        let reply = self
            .world
            .wire
            .try_call("GET", "/metrics", &headers, None)
            .map_err(|_| Gone)?;
        let mut counters = reply.samples();
        counters.retain(|sample, _| {
            sample
                .split('{')
                .next()
                .is_some_and(|name| name.ends_with("_total"))
        });
        assert!(!counters.is_empty(), "{place}: no counters");
        for (sample, value) in before.iter() {
            assert!(
                counters.get(sample) >= Some(value),
                "{place}: {sample} was {value}, is {:?}",
                counters.get(sample)
            );
        }
        *before = counters;
        Ok(())
    }

    /// Checks the invariants in the store at rest.
    fn hold(&mut self, place: &str, recovered: bool) {
        if let Some(server) = &self.server {
            until("the server has noticed the end of the service", || {
                server.backends("countersign").is_empty()
            });
        }
        let config = Config::load(&self.world.path("b/countersign.toml")).expect("a configuration");
        let report =
            restore::look_through(&config, &config.database, &config.outputs(), &mut |_, _| {});
        let report = report.unwrap_or_else(|fault| panic!("{place}: {fault}"));
        assert_eq!(report.defects, [], "{place}");
        let (reads, head) = config.database.at_rest().expect("a store");
        let leaves = reads.leaves(0..head.size).expect("leaves");
        let hashes: Vec<_> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        assert!(
            hashes.starts_with(&self.seen),
            "{place}: an entry that was there has changed or is gone"
        );
        // The checkpoint file beside the store must be a prefix of the log.
        let kept = std::fs::read_to_string(config.kept_checkpoint()).expect("a checkpoint");
        let size: usize = kept.lines().nth(1).unwrap().parse().unwrap();
        let root = STANDARD.encode(merkle::root(&hashes[..size]));
        assert_eq!(
            kept.lines().nth(2),
            Some(&*root),
            "{place}: the kept checkpoint"
        );
        self.decide_again(place, &leaves, &Blobs(&reads));
        let (mut nonces, mut items, mut receipts) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut unknown = 0;
        for (index, leaf) in leaves.iter().enumerate() {
            let kind = reads
                .leaf(index as u64)
                .expect("read")
                .expect("a leaf")
                .kind;
            let predicate =
                people::predicate_of(&serde_json::from_slice(leaf).expect("an envelope"));
            match kind {
                LeafKind::Consumption => {
                    for (item, spent) in predicate["spent"].as_array().unwrap().iter().enumerate() {
                        assert!(
                            nonces.insert(spent["nonce"].to_string()),
                            "{place}: a nonce was spent twice"
                        );
                        items.insert((index as u64, item as u64));
                    }
                }
                LeafKind::Receipt => {
                    let of = &predicate["consumption"];
                    let at = (of["index"].as_u64().unwrap(), of["item"].as_u64().unwrap());
                    assert!(
                        items.contains(&at),
                        "{place}: a receipt before its consumption"
                    );
                    assert!(
                        receipts.insert(at),
                        "{place}: two receipts for one consumption"
                    );
                    unknown += usize::from(predicate["outcome"]["status"] == "unknown");
                }
                _ => {}
            }
        }
        // Before the next recovery, a consumption can lack its receipt. The number must match the unfinished runs.
        let open = reads.unfinished().expect("read").len();
        assert_eq!(
            items.len() - receipts.len(),
            open,
            "{place}: consumptions without a receipt"
        );
        assert!(!recovered || open == 0, "{place}: recovery left a run open");
        for (id, outcome) in &self.answered {
            let row = reads.proposal(&id.parse().unwrap()).expect("read");
            let row = row.unwrap_or_else(|| panic!("{place}: {id} was answered and is gone"));
            assert_eq!(
                row.status,
                ProposalStatus::Finished,
                "{place}: {id} was finished"
            );
            let detail: Value = serde_json::from_slice(row.detail.as_deref().unwrap()).unwrap();
            assert_eq!(&detail, outcome, "{place}: {id} ended otherwise");
        }
        // The service's own log lists the runs: no run occurs twice, and every run has a proposal in the store.
        let log = self.world.service_log();
        let mut ran = BTreeSet::new();
        for line in log.lines().filter(|line| line.contains(" ran proposal=")) {
            let id = line
                .split("proposal=")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned();
            assert!(
                reads
                    .proposal(&id.parse().unwrap())
                    .expect("read")
                    .is_some(),
                "{place}: {id} ran unknown"
            );
            assert!(ran.insert(id.clone()), "{place}: {id} ran twice");
        }
        assert!(
            ran.len() <= items.len(),
            "{place}: more ran than was consumed"
        );
        self.seen = hashes;
        self.totals.runs = items.len();
        self.totals.unknown = unknown;
    }

    /// Audits the entries that are new since the previous call.
    fn decide_again(&mut self, place: &str, leaves: &[Vec<u8>], beside: &dyn EvidenceFiles) {
        let roster = self.world.started["roster"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let auditor = self.auditor.get_or_insert_with(|| {
            let versions = rosters_in(&leaves[..1], beside)
                .expect("readable")
                .expect("a seal");
            Auditor::new(Pinned::Digest(roster), &versions, Expected::default())
                .expect("the trusted roster")
        });
        for leaf in &leaves[auditor.size() as usize..] {
            for said in auditor
                .entry(&LogEntry::of(leaf.clone()), beside)
                .expect("readable")
            {
                assert!(
                    !matches!(said, AuditEvent::Finding(_)),
                    "{place}: the auditor: {said:?}"
                );
            }
        }
    }

    /// Starts the service without a crash point: all open work ends, and new work succeeds.
    fn last(&mut self) {
        self.world.setup.env.clear();
        self.world.start();
        wait_for("what was approved has run", || {
            self.world.list("approved").is_empty() && self.world.list("running").is_empty()
        });
        for waiting in self.world.list("pending") {
            assert!(self.cancel_one(id_of(&waiting)).is_ok(), "it is taken back");
        }
        let finished = self.world.run("say:echo", json!({}), &[&alice()]);
        self.world.assert_verified(&finished);
        self.world.check_history();
        self.world.assert_audited();
        self.world.stop();
        self.hold(
            &format!("seed {}, store {}, at the end", self.seed, self.piece),
            true,
        );
    }
}
