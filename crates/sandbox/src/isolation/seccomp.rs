//! The system calls that a step may not make.
//!
//! The filter lists refused calls, not allowed calls, because a step can be any program. The filter refuses:
//! - Calls that could weaken namespaces and Landlock (mounts, namespaces, other processes, file handles).
//! - Large parts of the kernel that no step needs (bpf, perf, io_uring, userfaultfd, keyrings, modules, rare socket
//!   families).
//! - Calls that change the host (clock, swap, reboot) or the limits of other processes.
//! - Resources of the whole machine that no namespace and no limit divides (asynchronous I/O, huge pages).
//! - All calls that were unknown when this list was written.
//!
//! If files of the step stay on the host, the filter also refuses setuid and setgid bits, because any user could run
//! such a file with the user id of the step. On the host's root file system, the filter also refuses to change the
//! scheduling of other processes of the same user id, and to create objects that would stay on the host (shared memory,
//! semaphores, queues).

mod syscall_table;

use std::{io, os::fd::OwnedFd, sync::LazyLock};

use rustix::thread::SecureComputingMode;

use crate::{
    AtStage, CodeInMemory, FilterEntry, FilterVerdict, HostSharing, Instruction, SetupFailure,
    SetupResult, SetupStage, Sockets, SyscallFilter,
    isolation::{
        bpf,
        seccomp::syscall_table::{CALLS, HOST, LAST, Machine, UNKNOWN},
        syscalls,
    },
};
use documents::{hex, sha256};

/// Installs the filter for this process and all its future children, permanently. Returns the SHA-256 of the filter,
/// in hex.
///
/// # Errors
/// Returns an error if the kernel does not support filters or rejects this filter.
pub fn confine(leaves: SyscallFilter) -> SetupResult<String> {
    let made = MADE.iter().find(|(known, ..)| *known == leaves);
    let (_, program, digest) =
        made.ok_or_else(|| SetupFailure::new(SetupStage::Seccomp, "no filter has these options"))?;
    syscalls::seccomp_filter(program, 0)
        .at(SetupStage::Seccomp, "install the system-call filter")?;
    let mode = rustix::thread::secure_computing_mode()
        .at(SetupStage::Seccomp, "read the system-call filter back")?;
    if mode != SecureComputingMode::Filter {
        return Err(SetupFailure::new(
            SetupStage::Seccomp,
            "the system-call filter is not active",
        ));
    }
    Ok(digest.clone())
}

/// Installs a second filter for this process and all its future children. With this filter, each call that executes a
/// program waits until the holder of the returned listener has answered. The filter refuses nothing, and the kernel
/// follows the stricter verdict of two filters, so the first filter keeps its effect.
///
/// # Errors
/// Returns an error if the kernel or the container of the service gives no listener. No filter is installed then.
pub fn announce_programs() -> io::Result<OwnedFd> {
    let mut calls = [libc::SYS_execve, libc::SYS_execveat]
        .map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    calls.sort_unstable();
    let is = |verdict| FilterEntry::Is(verdict);
    let entries = calls.map(|number| {
        [
            (number, is(FilterVerdict::NOTIFY)),
            (number + 1, is(FilterVerdict::ALLOW)),
        ]
    });
    syscalls::set_notifying_filter(&bpf::program(HOST.arch(), entries.as_flattened()))
}

/// Generates all filters before the first fork, so that child processes inherit them.
pub fn prepare() {
    LazyLock::force(&MADE);
}

/// The filter for each combination of options that a run can have, with its SHA-256 in hex.
static MADE: LazyLock<Vec<(SyscallFilter, Vec<Instruction>, String)>> = LazyLock::new(|| {
    let mut made = Vec::new();
    for sockets in [Sockets::Inet, Sockets::Unix] {
        for ground in [HostSharing::Own, HostSharing::LiveTree, HostSharing::Host] {
            for code in [
                CodeInMemory::All,
                CodeInMemory::NoFiles,
                CodeInMemory::MappedFiles,
            ] {
                // Only a run with namespaces can have a closed list of programs, which restricts code in memory.
                let is_listed = code != CodeInMemory::All;
                if is_listed && (sockets == Sockets::Unix || ground == HostSharing::Host) {
                    continue;
                }
                let leaves = SyscallFilter {
                    sockets,
                    ground,
                    code,
                };
                let program = filter(HOST, leaves);
                let digest = hex(&sha256(&bpf::bytes(&program)));
                made.push((leaves, program, digest));
            }
        }
    }
    made
});

/// Generates the filter from the sorted table of calls. Numbers without an entry are allowed. Numbers above the last
/// known number get ENOSYS. Among these numbers are the x32 calls, which begin at 2^30.
fn filter(machine: Machine, leaves: SyscallFilter) -> Vec<Instruction> {
    let mut table: Vec<(u32, FilterEntry)> = CALLS
        .iter()
        .filter_map(|call| Some((call.number(machine)?, call.entry(leaves)?)))
        .collect();
    table.sort_unstable_by_key(|(number, _)| *number);
    let mut entries: Vec<(u32, FilterEntry)> = Vec::with_capacity(table.len() * 2);
    for (number, entry) in table {
        // Merge neighbours with the same answer into one entry. The numbers between two entries are allowed.
        match entries.as_slice() {
            [.., (_, before), (next, _)] if *next == number && *before == entry => {
                entries.pop();
            }
            [.., (next, _)] if *next == number => {
                entries.pop();
                entries.push((number, entry));
            }
            _ => entries.push((number, entry)),
        }
        entries.push((number + 1, FilterEntry::Is(FilterVerdict::ALLOW)));
    }
    entries.push((LAST + 1, UNKNOWN));
    bpf::program(machine.arch(), &entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::{
        bpf::machine,
        seccomp::syscall_table::{
            Call, EACCES, EAFNOSUPPORT, ENOMEM, ENOSYS, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT,
        },
    };

    const BOTH: [Machine; 2] = [Machine::X86_64, Machine::Aarch64];

    const INET: SyscallFilter = SyscallFilter {
        sockets: Sockets::Inet,
        ground: HostSharing::Own,
        code: CodeInMemory::All,
    };

    fn all() -> impl Iterator<Item = SyscallFilter> {
        MADE.iter().map(|(leaves, ..)| *leaves)
    }

    fn answer(machine: Machine, number: u32, arguments: [u64; 6]) -> u32 {
        machine::run(&filter(machine, INET), machine.arch(), number, arguments).0
    }

    fn errno(errno: u16) -> u32 {
        0x0005_0000 | u32::from(errno)
    }

    const ALLOW: u32 = 0x7fff_0000;

    #[test]
    fn the_filter_answers_every_system_call_number_as_the_table_says() {
        for machine in BOTH {
            for leaves in all() {
                let program = filter(machine, leaves);
                assert!(program.len() < 400, "{} instructions", program.len());
                for call_number in (0..4096).chain([0x3fff_ffff, u32::MAX]) {
                    let (found, steps) =
                        machine::run(&program, machine.arch(), call_number, [0; 6]);
                    let call = CALLS
                        .iter()
                        .find(|call| call.number(machine) == Some(call_number));
                    let expected = match call
                        .and_then(|call| Some((call.name, call.entry(leaves)?)))
                    {
                        _ if call_number > LAST => errno(ENOSYS),
                        None => ALLOW,
                        // The filter allows these calls if all arguments are zero.
                        Some((
                            "clone" | "ioctl" | "mknod" | "mknodat" | "renameat2" | "personality",
                            _,
                        )) => ALLOW,
                        Some(("memfd_create", FilterEntry::Is(verdict)))
                            if leaves.code != CodeInMemory::All =>
                        {
                            verdict.0
                        }
                        Some(
                            ("mmap" | "memfd_create" | "mprotect" | "pkey_mprotect", _)
                            | ("shmget", FilterEntry::Looks(_)),
                        ) => ALLOW,
                        Some(("shmat", FilterEntry::Looks(_))) => ALLOW,
                        Some((
                            "open" | "openat" | "creat" | "chmod" | "fchmod" | "fchmodat"
                            | "fchmodat2",
                            _,
                        )) => ALLOW,
                        // With zeroes as arguments, these calls change only the caller.
                        Some(("prlimit64" | "setpriority" | "ioprio_set", _)) => ALLOW,
                        Some((name, FilterEntry::Looks(_))) if name.starts_with("sched_set") => {
                            ALLOW
                        }
                        // Zero is not a valid socket family.
                        Some(("socket" | "socketpair", _)) => errno(EAFNOSUPPORT),
                        Some((_, FilterEntry::Is(verdict))) => verdict.0,
                        Some((name, _)) => panic!("{name} is looked at and not expected here"),
                    };
                    assert_eq!(found, expected, "{machine:?} {call_number}");
                    assert!(
                        steps <= 28,
                        "{machine:?} {call_number} took {steps} instructions"
                    );
                }
            }
        }
    }

    #[test]
    fn system_calls_of_another_architecture_kill_the_process_and_x32_calls_are_refused_as_unknown()
    {
        for machine in BOTH {
            // The architectures are 32-bit x86 and ARM, big-endian ARM, the other supported architecture, and an
            // invalid value.
            let others = BOTH
                .into_iter()
                .filter(|other| *other != machine)
                .map(Machine::arch);
            for arch in others.chain([0x4000_0003, 0x4000_0028, 0x8000_00b7, 0]) {
                for call_number in 0..600 {
                    let program = filter(machine, INET);
                    let (found, _) = machine::run(&program, arch, call_number, [0; 6]);
                    assert_eq!(found, 0x8000_0000, "{machine:?} {arch:#x} {call_number}");
                }
            }
        }
        for call_number in 0..1024 {
            assert_eq!(
                answer(Machine::X86_64, 0x4000_0000 + call_number, [0; 6]),
                errno(ENOSYS)
            );
        }
    }

    #[test]
    fn the_filter_checks_the_arguments_of_some_calls() {
        let no = errno(EPERM);
        for machine in BOTH {
            let at = |name: &str, arguments: [u64; 3]| {
                let [a, b, c] = arguments;
                Call::named(name)
                    .number(machine)
                    .map(|number| answer(machine, number, [a, b, c, 0, 0, 0]))
            };
            for flag in [
                0x2_0000_u64,
                0x200_0000,
                0x400_0000,
                0x800_0000,
                0x1000_0000,
                0x2000_0000,
                0x4000_0000,
            ] {
                assert_eq!(at("clone", [flag | 17, 0, 0]), Some(no), "{flag:#x}");
            }
            // Flags of fork, of vfork, and of a new thread in glibc.
            for flags in [0x0120_0011, 0x4111, 0x3d_0f00] {
                assert_eq!(at("clone", [flags, 0, 0]), Some(ALLOW), "{flags:#x}");
            }
            for command in [
                0x5412_u64,
                0x541c,
                0x5423,
                0xffff_ffff_0000_5412,
                0x1_0000_5412,
            ] {
                assert_eq!(at("ioctl", [0, command, 0]), Some(no), "{command:#x}");
            }
            assert_eq!(at("ioctl", [0, 0x5401, 0]), Some(ALLOW), "TCGETS");
            for (mode, expected) in [
                (0o020_666, no),
                (0o060_600, no),
                (0o010_600, ALLOW),
                (0o100_600, ALLOW),
            ] {
                assert_eq!(at("mknodat", [0, 0, mode]), Some(expected), "{mode:o}");
                assert!(
                    at("mknod", [0, mode, 0]).is_none_or(|found| found == expected),
                    "{mode:o}"
                );
            }
            for (family, kind, protocol, expected) in [
                (1, 1, 0, ALLOW),
                (1, 5, 0, ALLOW),
                (2, 1, 0, ALLOW),
                (2, 0o2_004_001, 6, ALLOW),
                (10, 2, 17, ALLOW),
                (2, 1, 262, errno(EPROTONOSUPPORT)),
                (10, 1, 132, errno(EPROTONOSUPPORT)),
                (2, 3, 255, errno(ESOCKTNOSUPPORT)),
                (2, 5, 0, errno(ESOCKTNOSUPPORT)),
                (16, 3, 0, errno(EAFNOSUPPORT)),
                (17, 3, 0, errno(EAFNOSUPPORT)),
                (40, 1, 0, errno(EAFNOSUPPORT)),
                (38, 5, 0, errno(EAFNOSUPPORT)),
                (0x1_0000_0028, 1, 0, errno(EAFNOSUPPORT)),
            ] {
                assert_eq!(
                    at("socket", [family, kind, protocol]),
                    Some(expected),
                    "{family} {kind} {protocol}"
                );
            }
            assert_eq!(
                (at("socketpair", [1, 1, 0]), at("socketpair", [30, 1, 0])),
                (Some(ALLOW), Some(errno(97)))
            );
            assert_eq!(at("personality", [0xffff_ffff, 0, 0]), Some(ALLOW));
            assert_eq!(
                at("personality", [0x40_0000, 0, 0]),
                Some(no),
                "READ_IMPLIES_EXEC"
            );
            let only_unix = filter(
                machine,
                SyscallFilter {
                    sockets: Sockets::Unix,
                    ..INET
                },
            );
            let socket = Call::named("socket").number(machine).expect("both have it");
            for (family, expected) in [(1, ALLOW), (2, errno(97)), (10, errno(97)), (16, errno(97))]
            {
                assert_eq!(
                    machine::run(&only_unix, machine.arch(), socket, [family, 1, 0, 0, 0, 0]).0,
                    expected
                );
            }
        }
    }

    #[test]
    fn the_filter_refuses_snapshots_of_a_live_tree() {
        for machine in BOTH {
            for leaves in all() {
                let program = filter(machine, leaves);
                let ioctl = Call::named("ioctl").number(machine).expect("both have it");
                let at = |command: u64| {
                    machine::run(&program, machine.arch(), ioctl, [0, command, 0, 0, 0, 0]).0
                };
                // The commands for snapshots, subvolumes and their flags, defragmentation, the same ioctl type with
                // other sizes, and bcachefs.
                for command in [
                    0x5000_9401_u64,
                    0x5000_940e,
                    0x5000_9417,
                    0x5000_9418,
                    0x4008_941a,
                    0x5000_9402,
                    0x8004_9409,
                    0x7_5000_9417,
                    0x4010_bc10,
                ] {
                    assert_eq!(at(command), errno(EPERM), "{command:#x}");
                }
                // The commands FICLONE, FICLONERANGE and FIDEDUPERANGE (cp --reflink), and a command for the flags of a
                // file.
                for command in [0x4004_9409_u64, 0x4020_940d, 0xc018_9436, 0x8008_6601] {
                    assert_eq!(at(command), ALLOW, "{command:#x}");
                }
            }
        }
    }

    #[test]
    fn a_run_cannot_set_the_setuid_or_setgid_bit_in_a_live_tree() {
        const CREATE: u64 = 0o100;
        const TMPFILE: u64 = 0o20_200_000;
        for machine in BOTH {
            for leaves in all() {
                let program = filter(machine, leaves);
                let refused = if leaves.ground != HostSharing::Own {
                    errno(EPERM)
                } else {
                    ALLOW
                };
                // Each entry has a name, the index of the flags (if the mode depends on them) and the index of the
                // mode.
                for (name, flags, mode) in [
                    ("open", Some(1_usize), 2),
                    ("openat", Some(2), 3),
                    ("creat", None, 1),
                    ("chmod", None, 1),
                    ("fchmod", None, 1),
                    ("fchmodat", None, 2),
                    ("fchmodat2", None, 2),
                    ("mknod", None, 1),
                    ("mknodat", None, 2),
                ] {
                    let Some(number) = Call::named(name).number(machine) else {
                        continue;
                    };
                    let of = |flag: u64, bits: u64| {
                        let mut arguments = [0; 6];
                        if let Some(at) = flags {
                            arguments[at] = flag;
                        }
                        arguments[mode] = bits;
                        machine::run(&program, machine.arch(), number, arguments).0
                    };
                    for with in [CREATE, TMPFILE, CREATE | TMPFILE | 0o1] {
                        for bits in [0o4755, 0o2755, 0o6000, 0xffff_0000_0000_4000 | 0o4000] {
                            assert_eq!(
                                of(with, bits),
                                refused,
                                "{machine:?} {leaves:?} {name} {with:o} {bits:o}"
                            );
                        }
                        for bits in [0o755, 0o1777, 0] {
                            assert_eq!(
                                of(with, bits),
                                ALLOW,
                                "{machine:?} {leaves:?} {name} {with:o} {bits:o}"
                            );
                        }
                    }
                    if flags.is_some() {
                        assert_eq!(
                            of(0o2_000_002, 0o6777),
                            ALLOW,
                            "{name}: a mode that is never read"
                        );
                    }
                }
                let openat2 = machine::run(&program, machine.arch(), 437, [0; 6]).0;
                assert_eq!(
                    openat2,
                    if leaves.ground != HostSharing::Own {
                        errno(ENOSYS)
                    } else {
                        ALLOW
                    }
                );
                // Device nodes are refused for every kind of run.
                let mknodat = Call::named("mknodat")
                    .number(machine)
                    .expect("both have it");
                let device = machine::run(
                    &program,
                    machine.arch(),
                    mknodat,
                    [0, 0, 0o060_600, 0, 0, 0],
                )
                .0;
                assert_eq!(device, errno(EPERM));
            }
        }
    }

    #[test]
    fn a_step_cannot_change_the_limits_or_the_scheduling_of_other_processes() {
        for machine in BOTH {
            for leaves in all() {
                let program = filter(machine, leaves);
                let at = |name: &str, arguments: [u64; 2]| {
                    let number = Call::named(name).number(machine).expect("both have it");
                    machine::run(
                        &program,
                        machine.arch(),
                        number,
                        [arguments[0], arguments[1], 0, 0, 0, 0],
                    )
                    .0
                };
                for process in [1, 4711, u64::MAX, 0x1_0000_0001] {
                    assert_eq!(at("prlimit64", [process, 0]), errno(EPERM));
                }
                // The kernel uses only 32 bits of the process id.
                assert_eq!(
                    (at("prlimit64", [0, 7]), at("prlimit64", [1 << 32, 7])),
                    (ALLOW, ALLOW)
                );
                let refused = if leaves.ground == HostSharing::Host {
                    errno(EPERM)
                } else {
                    ALLOW
                };
                for name in [
                    "sched_setparam",
                    "sched_setscheduler",
                    "sched_setaffinity",
                    "sched_setattr",
                ] {
                    assert_eq!(
                        (at(name, [0, 0]), at(name, [4711, 0])),
                        (ALLOW, refused),
                        "{leaves:?} {name}"
                    );
                }
                for (name, [process, group, user]) in
                    [("setpriority", [0, 1, 2]), ("ioprio_set", [1, 2, 3])]
                {
                    for which in [process, group] {
                        assert_eq!(
                            (at(name, [which, 0]), at(name, [which, 4711])),
                            (ALLOW, refused),
                            "{name}"
                        );
                    }
                    assert_eq!(
                        (at(name, [user, 0]), at(name, [user, 4711])),
                        (refused, refused),
                        "{leaves:?} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn shared_ipc_objects_are_created_only_in_an_ipc_namespace() {
        for machine in BOTH {
            for leaves in all() {
                let program = filter(machine, leaves);
                for name in [
                    "shmget",
                    "semget",
                    "msgget",
                    "mq_open",
                    "shmctl",
                    "semctl",
                    "msgctl",
                    "mq_unlink",
                ] {
                    let number = Call::named(name).number(machine).expect("both have it");
                    let found = machine::run(&program, machine.arch(), number, [0; 6]).0;
                    assert_eq!(
                        found,
                        if leaves.ground == HostSharing::Host {
                            errno(ENOSYS)
                        } else {
                            ALLOW
                        },
                        "{name}"
                    );
                }
            }
        }
    }

    /// This test uses call numbers instead of the table `CALLS`. No namespace, resource limit or control group divides
    /// the resources in this test.
    #[test]
    fn the_filter_refuses_resources_of_the_whole_machine() {
        // The call numbers of old and new asynchronous I/O, then of mmap, memfd_create and shmget.
        for (machine, aio, [mmap, memfd, shmget]) in [
            (
                Machine::X86_64,
                [206, 207, 208, 209, 210, 333, 425, 426, 427],
                [9, 319, 29],
            ),
            (
                Machine::Aarch64,
                [0, 1, 2, 3, 4, 292, 425, 426, 427],
                [222, 279, 194],
            ),
        ] {
            for leaves in all() {
                let program = filter(machine, leaves);
                let at = |number: u32, arguments: [u64; 6]| {
                    machine::run(&program, machine.arch(), number, arguments).0
                };
                for number in aio {
                    assert_eq!(
                        at(number, [0; 6]),
                        errno(ENOSYS),
                        "{machine:?} {leaves:?} {number}"
                    );
                }
                // The flags are `MAP_PRIVATE | MAP_ANONYMOUS`, then with `MAP_HUGETLB`, with huge pages of 1 GiB, and
                // with `MAP_GROWSDOWN`.
                let map = |flags: u64| at(mmap, [0, 4096, 3, flags, u64::MAX, 0]);
                assert_eq!(
                    (map(0x22), map(0x2_0022)),
                    (ALLOW, ALLOW),
                    "MAP_STACK is what threads use"
                );
                for flags in [0x4_0022, 0x7804_0022, 0x122, 0xffff_ffff_0000_0122] {
                    assert_eq!(
                        map(flags),
                        errno(ENOMEM),
                        "{machine:?} {leaves:?} {flags:#x}"
                    );
                }
                let files = (at(memfd, [0, 3, 0, 0, 0, 0]), at(memfd, [0, 4, 0, 0, 0, 0]));
                assert_eq!(
                    files,
                    if leaves.code == CodeInMemory::All {
                        (ALLOW, errno(ENOMEM))
                    } else {
                        (errno(ENOSYS), errno(ENOSYS))
                    }
                );
                let shared = |flags: u64| at(shmget, [0, 4096, flags, 0, 0, 0]);
                match leaves.ground {
                    HostSharing::Host => assert_eq!(shared(0o1600), errno(ENOSYS)),
                    _ => assert_eq!((shared(0o1600), shared(0o5600)), (ALLOW, errno(ENOMEM))),
                }
            }
        }
    }

    #[test]
    fn memory_becomes_executable_only_if_the_list_of_programs_allows_it() {
        for machine in BOTH {
            for leaves in all() {
                let program = filter(machine, leaves);
                let at = |name: &str, arguments: [u64; 4]| {
                    let number = Call::named(name).number(machine).expect("both have it");
                    let [a, b, c, d] = arguments;
                    machine::run(&program, machine.arch(), number, [a, b, c, d, 0, 0]).0
                };
                let refused = if leaves.code == CodeInMemory::MappedFiles {
                    errno(EACCES)
                } else {
                    ALLOW
                };
                // The protection is written in the third argument: 1 to read, 2 to write, 4 to execute.
                for protection in [4, 5, 7, 0xffff_ffff_0000_0005] {
                    assert_eq!(
                        at("mprotect", [0, 4096, protection, 0]),
                        refused,
                        "{leaves:?} {protection:#x}"
                    );
                    assert_eq!(
                        at("pkey_mprotect", [0, 4096, protection, 0]),
                        refused,
                        "{leaves:?} {protection:#x}"
                    );
                }
                for (protection, flags, expected) in [
                    (7, 2, refused),
                    (6, 0x22, refused),
                    (5, 0x22, refused),
                    (5, 2, ALLOW),
                    (3, 0x22, ALLOW),
                    (1, 1, ALLOW),
                ] {
                    assert_eq!(
                        at("mmap", [0, 4096, protection, flags]),
                        expected,
                        "{leaves:?} {protection} {flags:#x}"
                    );
                }
                assert_eq!(
                    (
                        at("mprotect", [0, 4096, 3, 0]),
                        at("mmap", [0, 4096, 3, 0x4_0022])
                    ),
                    (ALLOW, errno(ENOMEM))
                );
                // `SHM_EXEC` is 0o100000.
                if leaves.ground != HostSharing::Host {
                    assert_eq!(
                        (
                            at("shmat", [0, 0, 0o100_000, 0]),
                            at("shmat", [0, 0, 0o10_000, 0])
                        ),
                        (refused, ALLOW)
                    );
                }
            }
        }
    }

    #[test]
    fn the_filter_refuses_to_list_mounts_and_to_create_whiteouts() {
        for machine in BOTH {
            let renameat2 = if machine == Machine::X86_64 { 316 } else { 276 };
            for leaves in all() {
                let program = filter(machine, leaves);
                let at = |number: u32, arguments: [u64; 6]| {
                    machine::run(&program, machine.arch(), number, arguments).0
                };
                assert_eq!(
                    (at(457, [0; 6]), at(458, [0; 6])),
                    (errno(EPERM), errno(EPERM))
                );
                // The flags are `RENAME_NOREPLACE` and `RENAME_EXCHANGE`, then combinations with `RENAME_WHITEOUT`. The
                // kernel uses 32 bits of the flags.
                let rename = |flags: u64| at(renameat2, [0, 0, 0, 0, flags, 0]);
                assert_eq!(
                    (rename(0), rename(1), rename(2), rename(4 << 32)),
                    (ALLOW, ALLOW, ALLOW, ALLOW)
                );
                for flags in [4, 5, 0x7_0000_0004] {
                    assert_eq!(
                        rename(flags),
                        errno(EPERM),
                        "{machine:?} {leaves:?} {flags:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn each_filter_has_a_different_digest() {
        let programs = |machine| all().map(move |leaves| bpf::bytes(&filter(machine, leaves)));
        let found: std::collections::BTreeSet<Vec<u8>> =
            BOTH.into_iter().flat_map(programs).collect();
        assert_eq!((MADE.len(), found.len()), (10, 20));
        for (leaves, program, digest) in MADE.iter() {
            assert_eq!(*program, filter(HOST, *leaves));
            assert_eq!(*digest, hex(&sha256(&bpf::bytes(program))));
        }
    }
}
