//! Many runs at one time: fifty runs whose service is killed, and five hundred parallel runs.
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::people::{alice, envelope};
use crate::support::poor::poor_container;
use crate::support::{POLICY, World, bytes_of, id_of, not_run, people, runbook, wait_for};
use serde_json::{Value, json};

/// Creates a directory on the host that every run may enter.
fn tree() -> (tempfile::TempDir, String) {
    let dir = tempfile::Builder::new()
        .prefix("countersign-tree-")
        .tempdir()
        .unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.path().canonicalize().unwrap().display().to_string();
    (dir, path)
}

/// Process ids, each with the start time of the process, because the kernel reuses ids.
pub(crate) type Processes = BTreeSet<(u32, String)>;

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the parent and the start time of a process, or None for a zombie; see proc_pid_stat(5).
fn stat(pid: u32) -> Option<(u32, String)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    (!matches!(fields[0], "Z" | "X")).then(|| (fields[1].parse().unwrap(), fields[19].to_owned()))
}

/// Returns all descendants of a process.
pub(crate) fn below(ancestor: u32) -> Processes {
    let all: Vec<(u32, u32, String)> = processes()
        .filter_map(|pid| stat(pid).map(|(parent, start)| (pid, parent, start)))
        .collect();
    let mut found = BTreeSet::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (pid, _, start) in all.iter().filter(|(_, of, _)| *of == parent) {
            found.insert((*pid, start.clone()));
            parents.push(*pid);
        }
    }
    found
}

pub(crate) fn alive(these: &Processes) -> Processes {
    these
        .iter()
        .filter(|(pid, start)| stat(*pid).is_some_and(|(_, now)| now == *start))
        .cloned()
        .collect()
}

/// Returns the processes with this text in their command line or their environment.
fn marked(mark: &str) -> Vec<u32> {
    let carries = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes
            .windows(mark.len())
            .any(|window| window == mark.as_bytes())
    };
    processes()
        .filter(|pid| carries(*pid, "cmdline") || carries(*pid, "environ"))
        .collect()
}

/// Returns how many processes have exactly this command line.
fn lines(words: &[&str]) -> usize {
    let line = words.join("\0") + "\0";
    processes()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes())
        })
        .count()
}

/// Returns the control groups of this world's runs.
pub(crate) fn groups(world: &World) -> Vec<PathBuf> {
    let scratch = world.path("b/runs").canonicalize().unwrap();
    let name = format!(
        "countersign-{}",
        &people::sha256(scratch.as_os_str().as_encoded_bytes())[..32]
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/")
        .trim_start_matches('/');
    let parents = places.map(|line| {
        PathBuf::from(line.split(' ').nth(4).unwrap())
            .join(own)
            .join(&name)
    });
    parents
        .flat_map(|parent| entries(&parent, "run-"))
        .collect()
}

/// Returns the directories of this world's runs on the host.
pub(crate) fn trees(world: &World) -> Vec<PathBuf> {
    entries(&world.path("b/runs"), "run-")
}

fn entries(directory: &std::path::Path, prefix: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    all.filter(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    })
    .collect()
}

/// Proposes this many runs of a step, each with its number, and signs each proposal.
fn signed(world: &World, count: usize, step: &str, params: impl Fn(usize) -> Value) -> Vec<Value> {
    let offer = |number| {
        let proposal = world.propose(step, params(number));
        world.sign(&proposal, &[&alice()]).ok(200);
        proposal
    };
    (0..count).map(offer).collect()
}

// Fifty runs whose service is killed

const FIFTY: usize = 50;

/// If `noted` is a writable directory, the step writes its process id there. Then the step sleeps together with two
/// processes that left its session and its parent.
const SLEEP: &str = "trap '' TERM HUP INT\n\
    [ ! -w \"$PARAM_NOTED\" ] || echo $$ >> \"$PARAM_NOTED/$PARAM_NUMBER\"\n\
    (setsid sh -c 'trap \"\" TERM HUP; sleep \"$PARAM_MARK\" & exec sleep \"$PARAM_MARK\"' > /dev/null 2>&1 &)\n\
    sleep \"$PARAM_MARK\"";

const SLEEP_PARAMS: &str =
    "params:\n  mark: {type: string}\n  number: {type: integer}\n  noted: {type: string}";

/// A path where runs can write nothing on the host.
const NOWHERE: &str = "/nowhere";

/// Returns a number of seconds that no other test sleeps.
fn mark(of: u32) -> String {
    format!("86396.{of}{}", std::process::id())
}

/// Starts fifty runs, kills the service, and asserts that only fifty receipts are left of the runs.
fn killed_with_fifty(name: &str, mut world: World, mark: &str, noted: &str) {
    let params = |number| json!({"mark": mark, "number": number, "noted": noted});
    let proposals = signed(&world, FIFTY, "s:sleep", params);
    // Each run has three `sleep` processes and a bash with the mark in its environment.
    wait_for("fifty run", || lines(&["sleep", mark]) == 3 * FIFTY);
    assert_eq!(world.list("running").len(), FIFTY);
    let of_the_service = below(world.pid());
    let found = marked(mark);
    assert!(found.len() >= 4 * FIFTY, "{} are marked", found.len());
    let known: BTreeSet<u32> = of_the_service.iter().map(|(pid, _)| *pid).collect();
    assert!(
        found.iter().all(|pid| known.contains(pid)),
        "one left the service's processes"
    );
    if groups(&world).is_empty() {
        let reason =
            "cgroup v2 gives the service of a test no group here, so there is none of a run";
        not_run(&format!("{name}: control groups are swept"), reason);
    }
    assert_eq!(
        trees(&world).len(),
        if noted == NOWHERE { FIFTY } else { 0 },
        "directories of runs on the host"
    );
    world.kill9();
    wait_for("no process of any run is left", || marked(mark).is_empty());
    wait_for(
        "the helper and the first processes of runs are gone",
        || alive(&of_the_service).is_empty(),
    );
    world.start();
    assert_eq!(world.started["recovered"], json!(FIFTY));
    assert_eq!(
        (groups(&world), trees(&world)),
        (vec![], vec![]),
        "what the runs left is swept"
    );
    for proposal in &proposals {
        let finished = world.show(id_of(proposal));
        assert_eq!(
            (&finished["status"], &finished["outcome"]),
            (&json!("finished"), &json!({"status": "unknown"}))
        );
        assert_eq!(
            world.receipt(&finished)["outcome"],
            json!({"status": "unknown"})
        );
    }
    world.assert_verified(&world.show(id_of(&proposals[FIFTY - 1])));
    assert_eq!(
        (world.count("consumption"), world.count("receipt")),
        (FIFTY, FIFTY)
    );
    world.check_history();
    for proposal in &proposals {
        world
            .submit(&envelope(&bytes_of(proposal), &[&alice()]))
            .problem("nonce-replayed");
    }
    // The service works again. By the end of this run, a run that had started again would be visible.
    assert_eq!(
        world.run("plain:true", json!({}), &[&alice()])["outcome"]["status"],
        "succeeded"
    );
    assert_eq!(marked(mark), [0; 0], "one runs again");
    world.assert_audited();
    world.restart();
    assert_eq!(
        (&world.started["recovered"], world.count("receipt")),
        (&json!(0), FIFTY + 1)
    );
}

#[test]
fn fifty_runs_end_if_the_service_is_killed_and_do_not_run_again() {
    let (dir, noted) = tree();
    let world = World::with(|setup| {
        let front =
            format!("{SLEEP_PARAMS}\ndefaults: {{timeout: 300s, memory: 64MiB, processes: 20}}");
        setup.runbook(
            "s.md",
            runbook(
                &front,
                &[(&format!("sleep write={noted} workdir=in-place"), SLEEP)],
            ),
        );
        setup.policy = format!(
            "{POLICY}overrides:\n  - {{runbook: s, sandbox: {{write: [\"{noted}\"], workdir: in-place}}}}\n"
        );
    });
    let ready = world.wire.peek("/ready").json();
    assert_eq!(
        ready["sandbox"], "strict",
        "this host can't hold strict: {ready:#}"
    );
    killed_with_fifty(
        "fifty_runs_end_if_the_service_is_killed_and_do_not_run_again",
        world,
        &mark(1),
        &noted,
    );
    // Each run wrote one line on the host, so each run started once.
    let begun: Vec<String> = (0..FIFTY)
        .map(|n| fs::read_to_string(dir.path().join(n.to_string())).unwrap())
        .collect();
    assert!(
        begun.iter().all(|text| text.lines().count() == 1),
        "{begun:?}"
    );
}

/// Without namespaces, the death of the first process does not end a run, and runs leave directories on the host.
#[test]
fn fifty_runs_without_namespaces_end_if_the_service_is_killed() {
    const NAME: &str = "fifty_runs_without_namespaces_end_if_the_service_is_killed";
    let mut world = World::prepared(|setup| {
        setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned();
        let front =
            format!("{SLEEP_PARAMS}\ndefaults: {{timeout: 300s, memory: 64MiB, processes: 20}}");
        setup.runbook("s.md", runbook(&front, &[("sleep", SLEEP)]));
    });
    if !poor_container(&mut world, NAME) {
        return;
    }
    world.start();
    world.make_tokens();
    killed_with_fifty(NAME, world, &mark(2), NOWHERE);
}

// Five hundred parallel runs

/// Steps that wait for one lock without using CPU time and then print their number.
struct Gate {
    dir: tempfile::TempDir,
    path: String,
    held: fs::File,
}

impl Gate {
    fn new() -> Self {
        let (dir, path) = tree();
        let held = fs::File::create(dir.path().join("gate")).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        Self { dir, path, held }
    }

    fn world(&self, runs: usize, before: &[&str]) -> World {
        World::with(|setup| {
            // An operator raises the limit with the same setting.
            setup.limits = format!("runs = {runs}");
            let front = "params:\n  number: {type: integer}\ndefaults: {timeout: 300s, memory: 64MiB, processes: 20}";
            let script = format!("flock -s {}/gate true && echo \"$PARAM_NUMBER\"", self.path);
            setup.runbook(
                "s.md",
                runbook(front, &[(&format!("wait read={}", self.path), &script)]),
            );
            setup.policy = format!(
                "{POLICY}overrides:\n  - {{runbook: s, sandbox: {{read: [\"{}\"]}}}}\n",
                self.path
            );
            setup.before = before.iter().map(|word| (*word).to_owned()).collect();
        })
    }

    fn waiting(&self) -> usize {
        lines(&["flock", "-s", &format!("{}/gate", self.path), "true"])
    }

    /// Releases the lock and asserts that each run succeeds and prints its own number.
    fn open(self, world: &World, proposals: &[Value]) {
        drop(self.held);
        for (number, proposal) in proposals.iter().enumerate() {
            let finished = world.until(id_of(proposal), "finished");
            assert_eq!(
                finished["outcome"],
                json!({"status": "succeeded", "exit_code": 0}),
                "run {number}"
            );
            assert_eq!(world.output(&finished, "stdout"), format!("{number}\n"));
        }
        assert_eq!(world.count("receipt"), proposals.len());
        world.check_history();
        world.assert_audited();
        drop(self.dir);
    }
}

const FIVE_HUNDRED: usize = 500;

#[test]
fn five_hundred_parallel_runs_continue_to_their_ends() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .maximum
        .unwrap_or(u64::MAX);
    if files < 5000 {
        let reason = "this process may open fewer than 5000 files";
        return not_run("five_hundred_parallel_runs_continue_to_their_ends", reason);
    }
    let gate = Gate::new();
    let world = gate.world(FIVE_HUNDRED, &[]);
    let proposals = signed(
        &world,
        FIVE_HUNDRED,
        "s:wait",
        |number| json!({"number": number}),
    );
    wait_for("five hundred run at one time", || {
        gate.waiting() == FIVE_HUNDRED
    });
    gate.open(&world, &proposals);
}

/// The test has more approvals than the descriptor limit permits at one time. A run without descriptors must wait:
/// otherwise the service would consume the nonce and report `not_started`.
#[test]
fn runs_beyond_the_descriptor_limit_wait_and_no_run_is_lost() {
    let gate = Gate::new();
    let world = gate.world(FIVE_HUNDRED, &["prlimit", "--nofile=256:256"]);
    let notes = world.started["notes"].to_string();
    assert!(
        notes.contains("at most 21 runs at one time instead of 500")
            && notes.contains("LimitNOFILE"),
        "{notes}"
    );
    let proposals = signed(&world, 60, "s:wait", |number| json!({"number": number}));
    wait_for("as many run as may", || gate.waiting() == 21);
    assert_eq!(world.list("approved").len(), 60 - 21);
    gate.open(&world, &proposals);
}
