//! The limits of a whole run in a delegated control group (cgroup v2).
//!
//! Each test needs a control group that contains no process but the test, so it runs as a process of its own.
//! `scripts/second-kernel` plays these tests on a kernel with all controllers, as root and as an ordinary user.

use documents::{HeldLimit, LimitHolder, Profile};
use sandbox::{End, Report};

use crate::runs::{Bench, limited, mark, out, plan, profile, sleepers};
use crate::support::host::not_run;

/// Returns a sandbox whose runs have a control group with all controllers.
fn grouped(name: &str) -> Option<Bench> {
    let bench = Bench::strict();
    match &bench.sandbox.probe().cgroup {
        Ok(controllers) if controllers.len() == 3 => Some(bench),
        Ok(controllers) => {
            not_run(
                name,
                &format!("this process may only use the controllers {controllers:?}"),
            );
            None
        }
        Err(why) => {
            not_run(name, why);
            None
        }
    }
}

fn python(bench: &Bench, profile: &Profile, source: &str) -> (End, String, Report) {
    let mut report = bench.run_with(profile, plan("python", source));
    (
        report.end.clone(),
        out(&mut report).trim().to_owned(),
        report,
    )
}

/// Each process stays below the limit, but all processes together exceed it. With `memory.swap.max`, the kernel moves no
/// page of the run to the swap space of the host.
#[test]
fn three_processes_that_exceed_the_memory_of_the_run_together_end() {
    let Some(bench) = grouped("three_processes_that_exceed_the_memory_of_the_run_together_end")
    else {
        return;
    };
    let mark = mark("memory");
    let script = format!(
        r#"
import os, time
for _ in range(3):
    if os.fork() == 0:
        b = bytearray(300 << 20)
        for i in range(0, len(b), 4096): b[i] = 1
        os.execvp("sleep", ["sleep", "{mark}"]) if os.fork() == 0 else time.sleep(60)
while True:
    if os.wait()[1] != 0: print("a process ended")
"#
    );
    let large = limited(|limits| limits.wall_ms = 60_000);
    assert_eq!(large.limits.memory_bytes, 512 << 20);
    let (end, output, report) = python(&bench, &large, &script);
    assert_eq!((end, output.as_str()), (End::Killed("memory_bytes"), ""));
    assert_eq!(
        (sleepers(&mark), report.enforcement.left),
        (0, None),
        "all processes end together"
    );
    let facts = report.enforcement;
    assert!(
        facts
            .kill
            .is_some_and(|kill| kill == ["cgroup.kill", "pidns"])
    );
    let limits = facts.limits.expect("facts");
    for (held, max) in [
        (limits.memory, 512 << 20),
        (limits.processes, 100),
        (limits.cpu, 1000),
    ] {
        assert_eq!(
            held,
            Some(HeldLimit {
                max,
                by: LimitHolder::Cgroup2
            })
        );
    }
    assert_eq!(limits.unbounded, None);
    let peak = report.usage.memory_peak_bytes;
    assert!((400 << 20..=512 << 20).contains(&peak), "{peak}");
    // The same processes end as usual if the run may use more memory.
    let script = script
        .replace("time.sleep(60)", "os._exit(0)")
        .replace("while True:", "for _ in range(3):");
    let enough = limited(|limits| (limits.memory_bytes, limits.wall_ms) = (1 << 30, 60_000));
    assert_eq!(python(&bench, &enough, &script).0, End::Exited(0));
}

/// Without a control group, these kinds of memory have no limit. The receipt of a run in a group does not list them.
#[test]
fn each_kind_of_memory_counts_towards_the_memory_of_the_run() {
    let Some(bench) = grouped("each_kind_of_memory_counts_towards_the_memory_of_the_run") else {
        return;
    };
    let small = limited(|limits| (limits.memory_bytes, limits.wall_ms) = (48 << 20, 60_000));
    let enough = limited(|limits| (limits.memory_bytes, limits.wall_ms) = (512 << 20, 60_000));
    for (kind, script) in [
        (
            "shared memory",
            "import mmap\nm = mmap.mmap(-1, 96 << 20)\nfor i in range(0, len(m), 4096): m[i] = 1",
        ),
        (
            "a file in memory",
            "f = os.memfd_create('x')\nfor _ in range(60): os.write(f, bytes(1 << 20))",
        ),
        (
            "the work directory",
            "f = open('f', 'wb', 0)\nfor _ in range(60): f.write(bytes(1 << 20))",
        ),
        (
            "pipes",
            "import fcntl\nfor _ in range(60):\n r, w = os.pipe()\n fcntl.fcntl(w, 1031, 1 << 20)\n os.write(w, bytes(1 << 20))",
        ),
        (
            "socket buffers",
            "import socket\nkept = []\nfor _ in range(400):\n a, b = socket.socketpair()\n kept += [a, b]\n\
             \x20for s in (a, b):\n  s.setblocking(False)\n  try:\n   while True: s.send(bytes(32768))\n  except BlockingIOError: pass",
        ),
        (
            "page tables",
            "import mmap\nm = mmap.mmap(-1, 64 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)\n\
             for i in range(0, len(m), 2 << 20): m[i]",
        ),
        (
            "kernel objects",
            "for i in range(60000): open(str(i), 'x').close()",
        ),
    ] {
        // A refused allocation is an error of the script, or the kernel ends the run.
        let script = format!(
            "import os\ntry:\n exec({script:?})\n print('got it')\nexcept (OSError, MemoryError): print('refused')"
        );
        let (end, output, _) = python(&bench, &small, &script);
        assert!(
            end == End::Killed("memory_bytes") || output == "refused",
            "{kind}: {end:?} {output}"
        );
        let (end, output, _) = python(&bench, &enough, &script);
        assert_eq!((end, output.as_str()), (End::Exited(0), "got it"), "{kind}");
    }
}

#[test]
fn all_processes_of_a_run_share_one_processor() {
    let Some(bench) = grouped("all_processes_of_a_run_share_one_processor") else {
        return;
    };
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return not_run(
            "all_processes_of_a_run_share_one_processor",
            "this host has one processor",
        );
    }
    let share = |cpu_milli: u64| {
        let profile = limited(|limits| (limits.cpu_milli, limits.wall_ms) = (cpu_milli, 4000));
        let report = bench.run_with(
            &profile,
            plan("bash", "for i in 1 2; do while :; do :; done & done; wait"),
        );
        assert_eq!(report.end, End::TimedOut);
        report.usage.cpu_ms as f64 / report.duration_ms as f64
    };
    let (one, two, half) = (share(1000), share(2000), share(500));
    assert!(
        half < 0.7 && (0.7..1.2).contains(&one) && two > 1.3,
        "{half} {one} {two}"
    );
}

#[test]
fn a_run_has_at_most_a_hundred_processes() {
    let Some(bench) = grouped("a_run_has_at_most_a_hundred_processes") else {
        return;
    };
    let script = "import os, time\nn = 1\ntry:\n while True:\n  if os.fork() == 0: time.sleep(60)\n  n += 1\nexcept OSError: print(n)";
    let (end, output, _) = python(&bench, &profile(), script);
    assert_eq!((end, output.as_str()), (End::Exited(0), "100"));
    let few = limited(|limits| limits.processes = 8);
    let bomb = "for i in $(seq 20); do sleep 1 & done; wait; exit 1";
    assert_eq!(
        bench.run_with(&few, plan("bash", bomb)).end,
        End::Killed("processes")
    );
}
