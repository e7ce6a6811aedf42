//! The system calls that a step may not make.
//!
//! The filter has a list of refused calls and not a list of allowed calls, because a step can be any program. The
//! filter refuses:
//! - Calls that could weaken namespaces and Landlock (mounts, namespaces, other processes, file handles).
//! - Large parts of the kernel that no step needs (bpf, perf, io_uring, userfaultfd, keyrings, modules, rare socket
//!   families).
//! - Calls that change the host (clock, swap, reboot) or the limits of other processes.
//! - Resources of the whole machine that no namespace and no limit divides (asynchronous I/O, huge pages).
//! - All calls that were unknown when this list was written.
//!
//! If files of the step stay on the host, the filter also refuses to set setuid and setgid bits. If a file has a setuid
//! bit, any user could run the file with the user id of the step. On the host's root file system, the filter also
//! forbids changes to the scheduling of other processes of the same user id. On the host's root file system, the filter
//! also refuses objects that would stay on the host (shared memory, semaphores, queues).

use std::sync::OnceLock;

use rustix::thread::SecureComputingMode;

use crate::crypto::digest::{hex, sha256};
use crate::sandbox::bpf::{self, ArgumentTest, FilterEntry, FilterVerdict, Instruction};
use crate::sandbox::protocol::{AtStage, HostSharing, SetupFailure, SetupStage, Sockets, SyscallFilter};
use crate::sandbox::syscalls;

/// Installs the filter for this process and all its future children, permanently. Returns the SHA-256 of the filter,
/// in hex.
///
/// # Errors
/// Returns an error if the kernel does not support filters or rejects this filter.
pub(super) fn confine(leaves: SyscallFilter) -> Result<String, SetupFailure> {
    let (program, digest) = made(leaves);
    syscalls::set_seccomp_filter(program).at(SetupStage::Seccomp, "install the system-call filter")?;
    let mode = rustix::thread::secure_computing_mode().at(SetupStage::Seccomp, "read the system-call filter back")?;
    if mode != SecureComputingMode::Filter {
        return Err(SetupFailure::new(SetupStage::Seccomp, "the system-call filter is not active"));
    }
    Ok(digest.clone())
}

/// Generates all filters before the first fork, so that child processes inherit the filters.
pub(super) fn prepare() {
    for leaves in ALL {
        made(leaves);
    }
}

/// All combinations of filter options.
const ALL: [SyscallFilter; 6] = [
    SyscallFilter { sockets: Sockets::Inet, ground: HostSharing::Own },
    SyscallFilter { sockets: Sockets::Inet, ground: HostSharing::LiveTree },
    SyscallFilter { sockets: Sockets::Inet, ground: HostSharing::Host },
    SyscallFilter { sockets: Sockets::Unix, ground: HostSharing::Own },
    SyscallFilter { sockets: Sockets::Unix, ground: HostSharing::LiveTree },
    SyscallFilter { sockets: Sockets::Unix, ground: HostSharing::Host },
];

/// Returns the filter and its SHA-256 in hex. Each filter is generated once.
fn made(leaves: SyscallFilter) -> &'static (Vec<Instruction>, String) {
    static MADE: [OnceLock<(Vec<Instruction>, String)>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
    let ground = match leaves.ground {
        HostSharing::Own => 0,
        HostSharing::LiveTree => 1,
        HostSharing::Host => 2,
    };
    MADE[usize::from(leaves.sockets == Sockets::Unix) * 3 + ground].get_or_init(|| {
        let program = filter(HOST, leaves);
        let digest = digest(&program);
        (program, digest)
    })
}

fn digest(program: &[Instruction]) -> String {
    hex(&sha256(&bpf::bytes(program)))
}

/// An architecture with a table of system calls.
#[allow(dead_code, reason = "the filter of the other architecture is only made by tests, which interpret it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    X86_64,
    Aarch64,
}

#[cfg(target_arch = "x86_64")]
const HOST: Machine = Machine::X86_64;
#[cfg(target_arch = "aarch64")]
const HOST: Machine = Machine::Aarch64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the sandbox knows the system calls of x86_64 and aarch64 only");

impl Machine {
    /// Returns the `AUDIT_ARCH_…` value, which consists of the flags for 64 bits and little-endian and the ELF machine
    /// number.
    const fn arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

/// Generates the filter from the sorted table of calls. The filter allows numbers without an entry. The filter returns
/// ENOSYS for a number above the last known number. The error ENOSYS also applies to x32 calls, because their numbers
/// begin at 2^30.
fn filter(machine: Machine, leaves: SyscallFilter) -> Vec<Instruction> {
    let mut table: Vec<(u32, FilterEntry)> = CALLS
        .iter()
        .filter_map(|call| {
            let number = match machine {
                Machine::X86_64 => call.x86_64,
                Machine::Aarch64 => call.aarch64,
            };
            Some((number?, call.entry(leaves)?))
        })
        .collect();
    table.sort_unstable_by_key(|(number, _)| *number);
    let mut entries: Vec<(u32, FilterEntry)> = Vec::with_capacity(table.len() * 2);
    for (number, entry) in table {
        // Merge neighbours in the table that have the same answer into one entry. The numbers between two entries are
        // allowed.
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

/// The last call number that the table includes (`file_setattr` of Linux 6.17), on both architectures.
const LAST: u32 = 469;

const NO: FilterEntry = FilterEntry::Is(FilterVerdict::errno(EPERM));
/// The answer of a kernel that does not have the call. Programs then use another call instead.
const UNKNOWN: FilterEntry = FilterEntry::Is(FilterVerdict::errno(ENOSYS));

const EPERM: u16 = 1;
const ENOMEM: u16 = 12;
const ENOSYS: u16 = 38;
const EPROTONOSUPPORT: u16 = 93;
const ESOCKTNOSUPPORT: u16 = 94;
const EAFNOSUPPORT: u16 = 97;

/// A system call that the filter does not always allow.
struct Call {
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that compares the numbers"))]
    name: &'static str,
    x86_64: Option<u32>,
    aarch64: Option<u32>,
    /// The filter's answer if no files of the run stay on the host. `None` allows the call.
    entry: Option<FilterEntry>,
    /// The filter's answer if files of the step stay on the host.
    live: Option<FilterEntry>,
    /// The filter's answer for a run on the host's root file system.
    host: Option<FilterEntry>,
}

impl Call {
    fn entry(&self, leaves: SyscallFilter) -> Option<FilterEntry> {
        let entry = match leaves.ground {
            HostSharing::Own => self.entry,
            HostSharing::LiveTree => self.live,
            HostSharing::Host => self.host,
        };
        if entry == Some(SOCKET) && leaves.sockets == Sockets::Unix { Some(SOCKET_UNIX) } else { entry }
    }

    const fn or_live(self, live: FilterEntry) -> Self {
        Self { live: Some(live), host: Some(live), ..self }
    }

    const fn or_on_the_host(self, host: FilterEntry) -> Self {
        Self { host: Some(host), ..self }
    }
}

const fn call(name: &'static str, x86_64: u32, aarch64: u32, entry: FilterEntry) -> Call {
    let entry = Some(entry);
    Call { name, x86_64: Some(x86_64), aarch64: Some(aarch64), entry, live: entry, host: entry }
}

const fn only_x86_64(name: &'static str, number: u32, entry: FilterEntry) -> Call {
    Call { aarch64: None, ..call(name, number, 0, entry) }
}

/// A call that the filter checks only if the run has a live tree or is on the host's root file system.
const fn in_a_live_tree(name: &'static str, x86_64: u32, aarch64: Option<u32>, live: FilterEntry) -> Call {
    Call { name, x86_64: Some(x86_64), aarch64, entry: None, live: Some(live), host: Some(live) }
}

/// A call that the filter checks only if the run is on the host's root file system.
const fn on_the_host(name: &'static str, x86_64: u32, aarch64: u32, host: FilterEntry) -> Call {
    Call { name, x86_64: Some(x86_64), aarch64: Some(aarch64), entry: None, live: None, host: Some(host) }
}

/// Flags of clone(2) that create a namespace. `CLONE_NEWTIME` is not included, because in clone(2) its bit is part of
/// the signal number.
const CLONE: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 0, bits: 0x7e02_0000, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// `TIOCSTI` and `TIOCLINUX` insert input into a terminal, and `TIOCSETD` loads line disciplines. All private ioctls
/// of btrfs and bcachefs are refused too. A snapshot or a subvolume would show the files of a live tree without their
/// masks. `FICLONE`, `FICLONERANGE` and `FIDEDUPERANGE` have the ioctl type of btrfs but work on all file systems.
/// The kernel uses only 32 bits of the command.
const IOCTL: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf {
        argument: 1,
        mask: u32::MAX,
        values: &[0x5412, 0x541c, 0x5423],
        then: FilterVerdict::errno(EPERM),
    },
    ArgumentTest::OneOf { argument: 1, mask: u32::MAX, values: &SHARE_BLOCKS, then: FilterVerdict::ALLOW },
    ArgumentTest::OneOf { argument: 1, mask: 0xff00, values: &[0x9400, 0xbc00], then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const SHARE_BLOCKS: [u32; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];
/// Refuses device nodes. The mknod rule allows pipes, sockets and files only.
const MKNOD: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf {
        argument: 1,
        mask: 0o170_000,
        values: &[0o020_000, 0o060_000],
        then: FilterVerdict::errno(EPERM),
    },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const MKNODAT: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf {
        argument: 2,
        mask: 0o170_000,
        values: &[0o020_000, 0o060_000],
        then: FilterVerdict::errno(EPERM),
    },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// The setuid and setgid bits.
const SET_ID: u32 = 0o6000;
/// The flags of open(2) for which the kernel uses the mode (`O_CREAT`, and the bit that only `O_TMPFILE` has). The
/// flags have the same values on both architectures.
const CREATES: u32 = 0o20_000_100;
/// Refuses setuid and setgid in a mode that is the second argument.
const MODE_1: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 1, bits: SET_ID, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const MODE_2: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 2, bits: SET_ID, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const OPEN: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf { argument: 1, mask: CREATES, values: &[0], then: FilterVerdict::ALLOW },
    ArgumentTest::AnyBit { argument: 2, bits: SET_ID, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const OPENAT: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf { argument: 2, mask: CREATES, values: &[0], then: FilterVerdict::ALLOW },
    ArgumentTest::AnyBit { argument: 3, bits: SET_ID, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// The rules of [`MKNOD`] and [`MKNODAT`], which in a live tree also refuse setuid and setgid bits.
const MKNOD_LIVE: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf {
        argument: 1,
        mask: 0o170_000,
        values: &[0o020_000, 0o060_000],
        then: FilterVerdict::errno(EPERM),
    },
    ArgumentTest::AnyBit { argument: 1, bits: SET_ID, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const MKNODAT_LIVE: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf {
        argument: 2,
        mask: 0o170_000,
        values: &[0o020_000, 0o060_000],
        then: FilterVerdict::errno(EPERM),
    },
    ArgumentTest::AnyBit { argument: 2, bits: SET_ID, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Allows only the process id 0, which means the calling process. A step that sets resource limits of another process
/// of the same user id could end this process or limit its descriptors.
const OF_ITSELF: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::NoneOf { argument: 0, mask: u32::MAX, values: &[0], then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Refuses `PRIO_USER` and `IOPRIO_WHO_USER`, which affect all processes of a user id. A step may change only its own
/// process or process group.
const PRIORITY: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf { argument: 0, mask: u32::MAX, values: &[2], then: FilterVerdict::errno(EPERM) },
    ArgumentTest::NoneOf { argument: 1, mask: u32::MAX, values: &[0], then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
const IO_PRIORITY: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf { argument: 0, mask: u32::MAX, values: &[3], then: FilterVerdict::errno(EPERM) },
    ArgumentTest::NoneOf { argument: 1, mask: u32::MAX, values: &[0], then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// `RENAME_WHITEOUT` creates a device node that neither the mknod rule nor Landlock checks.
const RENAMEAT2: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 4, bits: 4, then: FilterVerdict::errno(EPERM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Refuses `MAP_HUGETLB`, because one process could use all huge pages of the machine. Another program, for example a
/// database, may need these pages. Refuses `MAP_GROWSDOWN`, because `RLIMIT_DATA` does not count a mapping with this
/// flag. A kernel without free huge pages returns the same error as the filter.
const MMAP: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 3, bits: 0x4_0100, then: FilterVerdict::errno(ENOMEM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Refuses `MFD_HUGETLB`.
const MEMFD: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 1, bits: 0x4, then: FilterVerdict::errno(ENOMEM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Refuses `SHM_HUGETLB`.
const SHMGET: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::AnyBit { argument: 2, bits: 0o4000, then: FilterVerdict::errno(ENOMEM) },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Allows the Linux personality and the 32-bit Linux personality, each with or without `UNAME26`, and the query of the
/// current value.
const PERSONALITY: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::NoneOf {
        argument: 0,
        mask: u32::MAX,
        values: &[0, 8, 0x2_0000, 0x2_0008, u32::MAX],
        then: FilterVerdict::errno(EPERM),
    },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Allows Unix sockets, and TCP and UDP over IPv4 and IPv6. Sockets of other families can reach a hypervisor from any
/// network namespace (vsock), load kernel modules, or bypass Landlock's TCP rules (MPTCP, SCTP).
const SOCKET: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf { argument: 0, mask: u32::MAX, values: &[AF_UNIX], then: FilterVerdict::ALLOW },
    ArgumentTest::NoneOf {
        argument: 0,
        mask: u32::MAX,
        values: &[AF_INET, AF_INET6],
        then: FilterVerdict::errno(EAFNOSUPPORT),
    },
    ArgumentTest::NoneOf {
        argument: 1,
        mask: 0xf,
        values: &[STREAM, DATAGRAM],
        then: FilterVerdict::errno(ESOCKTNOSUPPORT),
    },
    ArgumentTest::NoneOf {
        argument: 2,
        mask: u32::MAX,
        values: &[0, TCP, UDP],
        then: FilterVerdict::errno(EPROTONOSUPPORT),
    },
    ArgumentTest::Else(FilterVerdict::ALLOW),
]);
/// Allows only Unix sockets, because no network namespace isolates the run.
const SOCKET_UNIX: FilterEntry = FilterEntry::Looks(&[
    ArgumentTest::OneOf { argument: 0, mask: u32::MAX, values: &[AF_UNIX], then: FilterVerdict::ALLOW },
    ArgumentTest::Else(FilterVerdict::errno(EAFNOSUPPORT)),
]);
const SOCKETPAIR: FilterEntry = SOCKET_UNIX;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const STREAM: u32 = 1;
const DATAGRAM: u32 = 2;
const TCP: u32 = 6;
const UDP: u32 = 17;

/// The system calls that the filter does not always allow, with their numbers on both architectures.
const CALLS: &[Call] = &[
    // Namespaces. A filter can't read the flags of clone3, because the flags are in memory. If clone3 fails, libraries
    // use clone instead.
    call("clone", 56, 220, CLONE),
    call("clone3", 435, 435, UNKNOWN),
    call("unshare", 272, 97, NO),
    call("setns", 308, 268, NO),
    // Mounts.
    call("mount", 165, 40, NO),
    call("umount2", 166, 39, NO),
    call("pivot_root", 155, 41, NO),
    call("chroot", 161, 51, NO),
    call("open_tree", 428, 428, NO),
    call("move_mount", 429, 429, NO),
    call("fsopen", 430, 430, NO),
    call("fsconfig", 431, 431, NO),
    call("fsmount", 432, 432, NO),
    call("fspick", 433, 433, NO),
    call("mount_setattr", 442, 442, NO),
    call("open_tree_attr", 467, 467, NO),
    call("statmount", 457, 457, NO),
    call("listmount", 458, 458, NO),
    // A file that is opened by its handle bypasses the access rules of all directories. Device nodes and quotas belong
    // to the host.
    call("open_by_handle_at", 304, 265, NO),
    call("mknodat", 259, 33, MKNODAT).or_live(MKNODAT_LIVE),
    only_x86_64("mknod", 133, MKNOD).or_live(MKNOD_LIVE),
    call("renameat2", 316, 276, RENAMEAT2),
    call("quotactl", 179, 60, NO),
    call("quotactl_fd", 443, 443, NO),
    call("fanotify_init", 300, 262, NO),
    call("fanotify_mark", 301, 263, NO),
    // If a file has a setuid or setgid bit, any user can run the file with the user id of the step. The call mkdir
    // ignores the setuid and setgid bits. The mode of openat2 is in memory, which a filter can't read, so openat2 is
    // refused completely.
    in_a_live_tree("open", 2, None, OPEN),
    in_a_live_tree("openat", 257, Some(56), OPENAT),
    in_a_live_tree("openat2", 437, Some(437), UNKNOWN),
    in_a_live_tree("creat", 85, None, MODE_1),
    in_a_live_tree("chmod", 90, None, MODE_1),
    in_a_live_tree("fchmod", 91, Some(52), MODE_1),
    in_a_live_tree("fchmodat", 268, Some(53), MODE_2),
    in_a_live_tree("fchmodat2", 452, Some(452), MODE_2),
    // Other processes.
    call("ptrace", 101, 117, NO),
    call("process_vm_readv", 310, 270, NO),
    call("process_vm_writev", 311, 271, NO),
    call("process_madvise", 440, 440, NO),
    call("process_mrelease", 448, 448, NO),
    call("pidfd_getfd", 438, 438, NO),
    call("kcmp", 312, 272, NO),
    call("move_pages", 279, 239, NO),
    call("migrate_pages", 256, 238, NO),
    call("prlimit64", 302, 261, OF_ITSELF),
    on_the_host("sched_setparam", 142, 118, OF_ITSELF),
    on_the_host("sched_setscheduler", 144, 119, OF_ITSELF),
    on_the_host("sched_setaffinity", 203, 122, OF_ITSELF),
    on_the_host("sched_setattr", 314, 274, OF_ITSELF),
    on_the_host("setpriority", 141, 140, PRIORITY),
    on_the_host("ioprio_set", 251, 30, IO_PRIORITY),
    // Calls that create shared objects with a key or a name. Without an IPC namespace, these objects belong to the host
    // and remain after the run.
    call("shmget", 29, 194, SHMGET).or_on_the_host(UNKNOWN),
    on_the_host("shmat", 30, 196, UNKNOWN),
    on_the_host("shmctl", 31, 195, UNKNOWN),
    on_the_host("semget", 64, 190, UNKNOWN),
    on_the_host("semop", 65, 193, UNKNOWN),
    on_the_host("semctl", 66, 191, UNKNOWN),
    on_the_host("semtimedop", 220, 192, UNKNOWN),
    on_the_host("msgget", 68, 186, UNKNOWN),
    on_the_host("msgsnd", 69, 189, UNKNOWN),
    on_the_host("msgrcv", 70, 188, UNKNOWN),
    on_the_host("msgctl", 71, 187, UNKNOWN),
    on_the_host("mq_open", 240, 180, UNKNOWN),
    on_the_host("mq_unlink", 241, 181, UNKNOWN),
    // Sockets and terminals.
    call("socket", 41, 198, SOCKET),
    call("socketpair", 53, 199, SOCKETPAIR),
    call("ioctl", 16, 29, IOCTL),
    // Calls that use resources of the whole machine. `fs.aio-max-nr` limits all processes together, so one step could
    // prevent databases from starting. Without these calls, programs use other calls, as on an old kernel.
    call("io_setup", 206, 0, UNKNOWN),
    call("io_destroy", 207, 1, UNKNOWN),
    call("io_submit", 209, 2, UNKNOWN),
    call("io_cancel", 210, 3, UNKNOWN),
    call("io_getevents", 208, 4, UNKNOWN),
    call("io_pgetevents", 333, 292, UNKNOWN),
    call("mmap", 9, 222, MMAP),
    call("memfd_create", 319, 279, MEMFD),
    call("io_uring_setup", 425, 425, UNKNOWN),
    call("io_uring_enter", 426, 426, UNKNOWN),
    call("io_uring_register", 427, 427, UNKNOWN),
    call("bpf", 321, 280, NO),
    call("perf_event_open", 298, 241, NO),
    call("userfaultfd", 323, 282, NO),
    call("add_key", 248, 217, NO),
    call("request_key", 249, 218, NO),
    call("keyctl", 250, 219, NO),
    call("personality", 135, 92, PERSONALITY),
    call("lookup_dcookie", 212, 18, UNKNOWN),
    call("nfsservctl", 180, 42, UNKNOWN),
    only_x86_64("modify_ldt", 154, NO),
    only_x86_64("uselib", 134, UNKNOWN),
    only_x86_64("ustat", 136, UNKNOWN),
    only_x86_64("sysfs", 139, UNKNOWN),
    only_x86_64("_sysctl", 156, UNKNOWN),
    // The machine itself.
    call("clock_settime", 227, 112, NO),
    call("clock_adjtime", 305, 266, NO),
    call("settimeofday", 164, 170, NO),
    call("adjtimex", 159, 171, NO),
    call("kexec_load", 246, 104, NO),
    call("kexec_file_load", 320, 294, NO),
    call("init_module", 175, 105, NO),
    call("finit_module", 313, 273, NO),
    call("delete_module", 176, 106, NO),
    only_x86_64("create_module", 174, UNKNOWN),
    only_x86_64("query_module", 178, UNKNOWN),
    only_x86_64("get_kernel_syms", 177, UNKNOWN),
    call("swapon", 167, 224, NO),
    call("swapoff", 168, 225, NO),
    call("reboot", 169, 142, NO),
    call("acct", 163, 89, NO),
    call("syslog", 103, 116, NO),
    call("vhangup", 153, 58, NO),
    call("sethostname", 170, 161, NO),
    call("setdomainname", 171, 162, NO),
    only_x86_64("iopl", 172, NO),
    only_x86_64("ioperm", 173, NO),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::bpf::machine;

    const BOTH: [Machine; 2] = [Machine::X86_64, Machine::Aarch64];

    fn number(machine: Machine, call: &Call) -> Option<u32> {
        if machine == Machine::X86_64 { call.x86_64 } else { call.aarch64 }
    }

    const INET: SyscallFilter = SyscallFilter { sockets: Sockets::Inet, ground: HostSharing::Own };

    fn answer(machine: Machine, number: u32, arguments: [u64; 6]) -> u32 {
        machine::run(&filter(machine, INET), machine.arch(), number, arguments).0
    }

    fn named(name: &str) -> &'static Call {
        CALLS.iter().find(|call| call.name == name).expect("in the table")
    }

    fn errno(errno: u16) -> u32 {
        0x0005_0000 | u32::from(errno)
    }

    const ALLOW: u32 = 0x7fff_0000;

    #[test]
    fn the_filter_answers_every_system_call_number_as_the_table_says() {
        for machine in BOTH {
            for leaves in ALL {
                let program = filter(machine, leaves);
                assert!(program.len() < 400, "{} instructions", program.len());
                for call_number in (0..4096).chain([0x3fff_ffff, u32::MAX]) {
                    let (found, steps) = machine::run(&program, machine.arch(), call_number, [0; 6]);
                    let call = CALLS.iter().find(|call| number(machine, call) == Some(call_number));
                    let expected = match call.and_then(|call| Some((call.name, call.entry(leaves)?))) {
                        _ if call_number > LAST => errno(ENOSYS),
                        None => ALLOW,
                        // The filter allows these calls if all arguments are zero.
                        Some(("clone" | "ioctl" | "mknod" | "mknodat" | "renameat2" | "personality", _)) => ALLOW,
                        Some(("mmap" | "memfd_create", _) | ("shmget", FilterEntry::Looks(_))) => ALLOW,
                        Some(("open" | "openat" | "creat" | "chmod" | "fchmod" | "fchmodat" | "fchmodat2", _)) => ALLOW,
                        // With zeroes as arguments, these calls change only the caller itself.
                        Some(("prlimit64" | "setpriority" | "ioprio_set", _)) => ALLOW,
                        Some((name, FilterEntry::Looks(_))) if name.starts_with("sched_set") => ALLOW,
                        // Zero is not a valid socket family.
                        Some(("socket" | "socketpair", _)) => errno(EAFNOSUPPORT),
                        Some((_, FilterEntry::Is(verdict))) => verdict.0,
                        Some((name, _)) => panic!("{name} is looked at and not expected here"),
                    };
                    assert_eq!(found, expected, "{machine:?} {call_number}");
                    assert!(steps <= 28, "{machine:?} {call_number} took {steps} instructions");
                }
            }
        }
    }

    #[test]
    fn system_calls_of_another_architecture_kill_the_process_and_x32_calls_are_refused_as_unknown() {
        for machine in BOTH {
            // The architectures are 32-bit x86 and ARM, big-endian ARM, the other supported architecture, and an
            // invalid value.
            let others = BOTH.into_iter().filter(|other| *other != machine).map(Machine::arch);
            for arch in others.chain([0x4000_0003, 0x4000_0028, 0x8000_00b7, 0]) {
                for call_number in 0..600 {
                    let program = filter(machine, INET);
                    let (found, _) = machine::run(&program, arch, call_number, [0; 6]);
                    assert_eq!(found, 0x8000_0000, "{machine:?} {arch:#x} {call_number}");
                }
            }
        }
        for call_number in 0..1024 {
            assert_eq!(answer(Machine::X86_64, 0x4000_0000 + call_number, [0; 6]), errno(ENOSYS));
        }
    }

    #[test]
    fn the_filter_checks_the_arguments_of_some_calls() {
        let no = errno(EPERM);
        for machine in BOTH {
            let at = |name: &str, arguments: [u64; 3]| {
                let [a, b, c] = arguments;
                number(machine, named(name)).map(|number| answer(machine, number, [a, b, c, 0, 0, 0]))
            };
            for flag in [0x2_0000_u64, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
                assert_eq!(at("clone", [flag | 17, 0, 0]), Some(no), "{flag:#x}");
            }
            // The flags that fork, vfork, and the creation of a thread in glibc use.
            for flags in [0x0120_0011, 0x4111, 0x3d_0f00] {
                assert_eq!(at("clone", [flags, 0, 0]), Some(ALLOW), "{flags:#x}");
            }
            for command in [0x5412_u64, 0x541c, 0x5423, 0xffff_ffff_0000_5412, 0x1_0000_5412] {
                assert_eq!(at("ioctl", [0, command, 0]), Some(no), "{command:#x}");
            }
            assert_eq!(at("ioctl", [0, 0x5401, 0]), Some(ALLOW), "TCGETS");
            for (mode, expected) in [(0o020_666, no), (0o060_600, no), (0o010_600, ALLOW), (0o100_600, ALLOW)] {
                assert_eq!(at("mknodat", [0, 0, mode]), Some(expected), "{mode:o}");
                assert!(at("mknod", [0, mode, 0]).is_none_or(|found| found == expected), "{mode:o}");
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
                assert_eq!(at("socket", [family, kind, protocol]), Some(expected), "{family} {kind} {protocol}");
            }
            assert_eq!((at("socketpair", [1, 1, 0]), at("socketpair", [30, 1, 0])), (Some(ALLOW), Some(errno(97))));
            assert_eq!(at("personality", [0xffff_ffff, 0, 0]), Some(ALLOW));
            assert_eq!(at("personality", [0x40_0000, 0, 0]), Some(no), "READ_IMPLIES_EXEC");
            let only_unix = filter(machine, SyscallFilter { sockets: Sockets::Unix, ..INET });
            let socket = number(machine, named("socket")).expect("both have it");
            for (family, expected) in [(1, ALLOW), (2, errno(97)), (10, errno(97)), (16, errno(97))] {
                assert_eq!(machine::run(&only_unix, machine.arch(), socket, [family, 1, 0, 0, 0, 0]).0, expected);
            }
        }
    }

    #[test]
    fn the_filter_refuses_snapshots_of_a_live_tree() {
        for machine in BOTH {
            for leaves in ALL {
                let program = filter(machine, leaves);
                let ioctl = number(machine, named("ioctl")).expect("both have it");
                let at = |command: u64| machine::run(&program, machine.arch(), ioctl, [0, command, 0, 0, 0, 0]).0;
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
            for leaves in ALL {
                let program = filter(machine, leaves);
                let refused = if leaves.ground != HostSharing::Own { errno(EPERM) } else { ALLOW };
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
                    let Some(number) = number(machine, named(name)) else { continue };
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
                            assert_eq!(of(with, bits), refused, "{machine:?} {leaves:?} {name} {with:o} {bits:o}");
                        }
                        for bits in [0o755, 0o1777, 0] {
                            assert_eq!(of(with, bits), ALLOW, "{machine:?} {leaves:?} {name} {with:o} {bits:o}");
                        }
                    }
                    if flags.is_some() {
                        assert_eq!(of(0o2_000_002, 0o6777), ALLOW, "{name}: a mode that is never read");
                    }
                }
                let openat2 = machine::run(&program, machine.arch(), 437, [0; 6]).0;
                assert_eq!(openat2, if leaves.ground != HostSharing::Own { errno(ENOSYS) } else { ALLOW });
                // The filter refuses device nodes for every kind of run.
                let mknodat = number(machine, named("mknodat")).expect("both have it");
                let device = machine::run(&program, machine.arch(), mknodat, [0, 0, 0o060_600, 0, 0, 0]).0;
                assert_eq!(device, errno(EPERM));
            }
        }
    }

    #[test]
    fn a_step_cannot_change_the_limits_or_the_scheduling_of_other_processes() {
        for machine in BOTH {
            for leaves in ALL {
                let program = filter(machine, leaves);
                let at = |name: &str, arguments: [u64; 2]| {
                    let number = number(machine, named(name)).expect("both have it");
                    machine::run(&program, machine.arch(), number, [arguments[0], arguments[1], 0, 0, 0, 0]).0
                };
                for process in [1, 4711, u64::MAX, 0x1_0000_0001] {
                    assert_eq!(at("prlimit64", [process, 0]), errno(EPERM));
                }
                // The kernel uses only 32 bits of the process id.
                assert_eq!((at("prlimit64", [0, 7]), at("prlimit64", [1 << 32, 7])), (ALLOW, ALLOW));
                let refused = if leaves.ground == HostSharing::Host { errno(EPERM) } else { ALLOW };
                for name in ["sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"] {
                    assert_eq!((at(name, [0, 0]), at(name, [4711, 0])), (ALLOW, refused), "{leaves:?} {name}");
                }
                for (name, [process, group, user]) in [("setpriority", [0, 1, 2]), ("ioprio_set", [1, 2, 3])] {
                    for which in [process, group] {
                        assert_eq!((at(name, [which, 0]), at(name, [which, 4711])), (ALLOW, refused), "{name}");
                    }
                    assert_eq!((at(name, [user, 0]), at(name, [user, 4711])), (refused, refused), "{leaves:?} {name}");
                }
            }
        }
    }

    #[test]
    fn shared_ipc_objects_are_created_only_in_an_ipc_namespace() {
        for machine in BOTH {
            for leaves in ALL {
                let program = filter(machine, leaves);
                for name in ["shmget", "semget", "msgget", "mq_open", "shmctl", "semctl", "msgctl", "mq_unlink"] {
                    let number = number(machine, named(name)).expect("both have it");
                    let found = machine::run(&program, machine.arch(), number, [0; 6]).0;
                    assert_eq!(found, if leaves.ground == HostSharing::Host { errno(ENOSYS) } else { ALLOW }, "{name}");
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
            (Machine::X86_64, [206, 207, 208, 209, 210, 333, 425, 426, 427], [9, 319, 29]),
            (Machine::Aarch64, [0, 1, 2, 3, 4, 292, 425, 426, 427], [222, 279, 194]),
        ] {
            for leaves in ALL {
                let program = filter(machine, leaves);
                let at = |number: u32, arguments: [u64; 6]| machine::run(&program, machine.arch(), number, arguments).0;
                for number in aio {
                    assert_eq!(at(number, [0; 6]), errno(ENOSYS), "{machine:?} {leaves:?} {number}");
                }
                // The flags are `MAP_PRIVATE | MAP_ANONYMOUS`, then with `MAP_HUGETLB`, with huge pages of 1 GiB, and
                // with `MAP_GROWSDOWN`.
                let map = |flags: u64| at(mmap, [0, 4096, 3, flags, u64::MAX, 0]);
                assert_eq!((map(0x22), map(0x2_0022)), (ALLOW, ALLOW), "MAP_STACK is what threads use");
                for flags in [0x4_0022, 0x7804_0022, 0x122, 0xffff_ffff_0000_0122] {
                    assert_eq!(map(flags), errno(ENOMEM), "{machine:?} {leaves:?} {flags:#x}");
                }
                assert_eq!((at(memfd, [0, 3, 0, 0, 0, 0]), at(memfd, [0, 4, 0, 0, 0, 0])), (ALLOW, errno(ENOMEM)));
                let shared = |flags: u64| at(shmget, [0, 4096, flags, 0, 0, 0]);
                match leaves.ground {
                    HostSharing::Host => assert_eq!(shared(0o1600), errno(ENOSYS)),
                    _ => assert_eq!((shared(0o1600), shared(0o5600)), (ALLOW, errno(ENOMEM))),
                }
            }
        }
    }

    #[test]
    fn the_filter_refuses_to_list_mounts_and_to_create_whiteouts() {
        for machine in BOTH {
            let renameat2 = if machine == Machine::X86_64 { 316 } else { 276 };
            for leaves in ALL {
                let program = filter(machine, leaves);
                let at = |number: u32, arguments: [u64; 6]| machine::run(&program, machine.arch(), number, arguments).0;
                assert_eq!((at(457, [0; 6]), at(458, [0; 6])), (errno(EPERM), errno(EPERM)));
                // The flags are `RENAME_NOREPLACE` and `RENAME_EXCHANGE`, then combinations with `RENAME_WHITEOUT`. The
                // kernel uses 32 bits of the flags.
                let rename = |flags: u64| at(renameat2, [0, 0, 0, 0, flags, 0]);
                assert_eq!((rename(0), rename(1), rename(2), rename(4 << 32)), (ALLOW, ALLOW, ALLOW, ALLOW));
                for flags in [4, 5, 0x7_0000_0004] {
                    assert_eq!(rename(flags), errno(EPERM), "{machine:?} {leaves:?} {flags:#x}");
                }
            }
        }
    }

    #[test]
    fn no_system_call_is_in_the_table_twice() {
        for machine in BOTH {
            let mut numbers: Vec<u32> = CALLS.iter().filter_map(|call| number(machine, call)).collect();
            numbers.sort_unstable();
            let count = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), count);
            assert!(numbers.last() <= Some(&LAST));
        }
    }

    /// Compares the table with the constants of the libc crate for this architecture.
    #[test]
    fn the_system_call_numbers_match_the_kernel() {
        macro_rules! same {
            ($($name:ident $constant:ident),* $(,)?) => {
                $(assert_eq!(
                    number(HOST, named(stringify!($name))).map(i64::from), Some(libc::$constant), stringify!($name)
                );)*
            };
        }
        same!(
            clone SYS_clone, clone3 SYS_clone3, unshare SYS_unshare, setns SYS_setns, mount SYS_mount,
            umount2 SYS_umount2, pivot_root SYS_pivot_root, chroot SYS_chroot, open_tree SYS_open_tree,
            move_mount SYS_move_mount, fsopen SYS_fsopen, fsconfig SYS_fsconfig, fsmount SYS_fsmount, fspick SYS_fspick,
            mount_setattr SYS_mount_setattr, open_by_handle_at SYS_open_by_handle_at, mknodat SYS_mknodat,
            quotactl SYS_quotactl, quotactl_fd SYS_quotactl_fd, fanotify_init SYS_fanotify_init,
            fanotify_mark SYS_fanotify_mark, ptrace SYS_ptrace, process_vm_readv SYS_process_vm_readv,
            process_vm_writev SYS_process_vm_writev, process_madvise SYS_process_madvise,
            process_mrelease SYS_process_mrelease, pidfd_getfd SYS_pidfd_getfd, kcmp SYS_kcmp,
            move_pages SYS_move_pages, migrate_pages SYS_migrate_pages, socket SYS_socket, socketpair SYS_socketpair,
            ioctl SYS_ioctl, io_uring_setup SYS_io_uring_setup, io_uring_enter SYS_io_uring_enter,
            io_uring_register SYS_io_uring_register, bpf SYS_bpf, perf_event_open SYS_perf_event_open,
            userfaultfd SYS_userfaultfd, add_key SYS_add_key, request_key SYS_request_key, keyctl SYS_keyctl,
            personality SYS_personality, lookup_dcookie SYS_lookup_dcookie, clock_settime SYS_clock_settime,
            clock_adjtime SYS_clock_adjtime, settimeofday SYS_settimeofday, adjtimex SYS_adjtimex,
            kexec_load SYS_kexec_load, kexec_file_load SYS_kexec_file_load, init_module SYS_init_module,
            finit_module SYS_finit_module, delete_module SYS_delete_module, swapon SYS_swapon, swapoff SYS_swapoff,
            reboot SYS_reboot, acct SYS_acct, syslog SYS_syslog, vhangup SYS_vhangup, sethostname SYS_sethostname,
            setdomainname SYS_setdomainname, nfsservctl SYS_nfsservctl, openat SYS_openat, openat2 SYS_openat2,
            fchmod SYS_fchmod, fchmodat SYS_fchmodat, prlimit64 SYS_prlimit64, sched_setparam SYS_sched_setparam,
            sched_setscheduler SYS_sched_setscheduler, sched_setaffinity SYS_sched_setaffinity,
            sched_setattr SYS_sched_setattr, setpriority SYS_setpriority, ioprio_set SYS_ioprio_set, shmget SYS_shmget,
            shmat SYS_shmat, shmctl SYS_shmctl, semget SYS_semget, semop SYS_semop, semctl SYS_semctl,
            semtimedop SYS_semtimedop, msgget SYS_msgget, msgsnd SYS_msgsnd, msgrcv SYS_msgrcv, msgctl SYS_msgctl,
            mq_open SYS_mq_open, mq_unlink SYS_mq_unlink, io_setup SYS_io_setup, io_destroy SYS_io_destroy,
            io_submit SYS_io_submit, io_cancel SYS_io_cancel, io_getevents SYS_io_getevents,
            mmap SYS_mmap, memfd_create SYS_memfd_create, renameat2 SYS_renameat2,
        );
        #[cfg(target_arch = "x86_64")]
        same!(
            mknod SYS_mknod, modify_ldt SYS_modify_ldt, uselib SYS_uselib, ustat SYS_ustat, sysfs SYS_sysfs,
            _sysctl SYS__sysctl, iopl SYS_iopl, ioperm SYS_ioperm, open SYS_open, creat SYS_creat, chmod SYS_chmod,
        );
    }

    #[test]
    fn a_cached_filter_equals_a_new_one() {
        prepare();
        for leaves in ALL {
            let fresh = filter(HOST, leaves);
            assert_eq!(made(leaves), &(fresh.clone(), digest(&fresh)), "{leaves:?}");
        }
    }

    #[test]
    fn each_filter_has_a_different_digest() {
        let digests: std::collections::BTreeSet<String> =
            BOTH.into_iter().flat_map(|machine| ALL.map(|leaves| digest(&filter(machine, leaves)))).collect();
        assert_eq!(digests.len(), 2 * ALL.len());
    }
}
