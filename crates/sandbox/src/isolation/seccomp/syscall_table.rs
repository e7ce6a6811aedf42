//! The table of system calls that the filter refuses, or allows only with some arguments.

use crate::{
    CodeInMemory, FilterEntry, FilterVerdict, HostSharing, Sockets, SyscallFilter,
    isolation::bpf::ArgumentTest,
};

/// An architecture with a table of system calls.
#[allow(
    dead_code,
    reason = "the filter of the other architecture is only made by tests, which interpret it"
)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

#[cfg(target_arch = "x86_64")]
pub const HOST: Machine = Machine::X86_64;
#[cfg(target_arch = "aarch64")]
pub const HOST: Machine = Machine::Aarch64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the sandbox knows the system calls of x86_64 and aarch64 only");

impl Machine {
    /// Returns the `AUDIT_ARCH_…` value: the flags for 64 bits and little-endian, and the ELF machine number.
    pub fn arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

/// The last call number that the table includes (`file_setattr` of Linux 6.17), on both architectures.
pub const LAST: u32 = 469;

const NO: FilterEntry = FilterEntry::Is(FilterVerdict::errno(EPERM));
/// Answer of a kernel without the call, after which programs use another call.
pub const UNKNOWN: FilterEntry = FilterEntry::Is(FilterVerdict::errno(ENOSYS));

pub const EPERM: u16 = 1;
pub const ENOMEM: u16 = 12;
pub const EACCES: u16 = 13;
pub const ENOSYS: u16 = 38;
pub const EPROTONOSUPPORT: u16 = 93;
pub const ESOCKTNOSUPPORT: u16 = 94;
pub const EAFNOSUPPORT: u16 = 97;

/// A system call that the filter does not always allow.
pub struct Call {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by the test that compares the numbers")
    )]
    pub name: &'static str,
    x86_64: Option<u32>,
    aarch64: Option<u32>,
    /// Answer if no files of the run stay on the host. `None` allows the call.
    entry: Option<FilterEntry>,
    /// Answer if files of the step stay on the host.
    live: Option<FilterEntry>,
    /// Answer for a run on the host's root file system.
    host: Option<FilterEntry>,
    /// Answer if the run can't execute code from memory without a file, instead of the answers above.
    mapped: Option<FilterEntry>,
}

impl Call {
    /// Returns the number of the call, or `None` if the architecture does not have the call.
    pub fn number(&self, machine: Machine) -> Option<u32> {
        match machine {
            Machine::X86_64 => self.x86_64,
            Machine::Aarch64 => self.aarch64,
        }
    }

    pub fn entry(&self, leaves: SyscallFilter) -> Option<FilterEntry> {
        let entry = match leaves.ground {
            HostSharing::Own => self.entry,
            HostSharing::LiveTree => self.live,
            HostSharing::Host => self.host,
        };
        if entry == Some(MEMFD) && leaves.code != CodeInMemory::All {
            return Some(UNKNOWN);
        }
        if leaves.code == CodeInMemory::MappedFiles && self.mapped.is_some() {
            return self.mapped;
        }
        if entry == Some(SOCKET) && leaves.sockets == Sockets::Unix {
            Some(SOCKET_UNIX)
        } else {
            entry
        }
    }

    #[cfg(test)]
    pub fn named(name: &str) -> &'static Self {
        CALLS
            .iter()
            .find(|call| call.name == name)
            .expect("in the table")
    }

    const fn or_mapped(self, mapped: FilterEntry) -> Self {
        Self {
            mapped: Some(mapped),
            ..self
        }
    }

    const fn or_live(self, live: FilterEntry) -> Self {
        Self {
            live: Some(live),
            host: Some(live),
            ..self
        }
    }
}

const fn call(name: &'static str, x86_64: u32, aarch64: u32, entry: FilterEntry) -> Call {
    let entry = Some(entry);
    Call {
        name,
        x86_64: Some(x86_64),
        aarch64: Some(aarch64),
        entry,
        live: entry,
        host: entry,
        mapped: None,
    }
}

const fn only_x86_64(name: &'static str, number: u32, entry: FilterEntry) -> Call {
    Call {
        aarch64: None,
        ..call(name, number, 0, entry)
    }
}

/// A call that is checked only if the run has a live tree or is on the host's root file system.
const fn in_a_live_tree(
    name: &'static str,
    x86_64: u32,
    aarch64: Option<u32>,
    live: FilterEntry,
) -> Call {
    Call {
        aarch64,
        entry: None,
        ..call(name, x86_64, 0, live)
    }
}

/// A call that the filter checks only if the run can't execute code from memory without a file.
const fn only_mapped(name: &'static str, x86_64: u32, aarch64: u32, mapped: FilterEntry) -> Call {
    Call {
        entry: None,
        live: None,
        host: None,
        ..call(name, x86_64, aarch64, mapped).or_mapped(mapped)
    }
}

/// A call that is checked only on the host's root file system.
const fn on_the_host(name: &'static str, x86_64: u32, aarch64: u32, host: FilterEntry) -> Call {
    Call {
        entry: None,
        live: None,
        ..call(name, x86_64, aarch64, host)
    }
}

/// Matches every argument, and allows the call.
const ALLOWED: ArgumentTest = ArgumentTest::Else(FilterVerdict::ALLOW);

/// Allows the call if the masked argument is one of these values.
const fn allowed(argument: u32, mask: u32, values: &'static [u32]) -> ArgumentTest {
    value(argument, mask, values, true, FilterVerdict::ALLOW)
}

const fn value(
    argument: u32,
    mask: u32,
    values: &'static [u32],
    is_one: bool,
    then: FilterVerdict,
) -> ArgumentTest {
    ArgumentTest::Value {
        argument,
        mask,
        values,
        is_one,
        then,
    }
}

/// Refuses the call if the argument has any of these bits.
const fn no_bit(argument: u32, bits: u32, errno: u16) -> ArgumentTest {
    ArgumentTest::AnyBit {
        argument,
        bits,
        then: FilterVerdict::errno(errno),
    }
}

/// Refuses the call if the masked argument is one of these values.
const fn refused(argument: u32, mask: u32, values: &'static [u32], errno: u16) -> ArgumentTest {
    value(argument, mask, values, true, FilterVerdict::errno(errno))
}

/// Refuses the call if the masked argument is none of these values.
const fn only(argument: u32, mask: u32, values: &'static [u32], errno: u16) -> ArgumentTest {
    value(argument, mask, values, false, FilterVerdict::errno(errno))
}

/// Refuses a mode of a device node.
const fn no_device(argument: u32) -> ArgumentTest {
    refused(argument, 0o170_000, &[0o020_000, 0o060_000], EPERM)
}

/// Flags of clone(2) that create a namespace. `CLONE_NEWTIME` is missing, because in clone(2) its bit belongs to the
/// signal number.
const CLONE: FilterEntry = FilterEntry::Looks(&[no_bit(0, 0x7e02_0000, EPERM), ALLOWED]);
/// `TIOCSTI` and `TIOCLINUX` insert input into a terminal, and `TIOCSETD` loads line disciplines. All private ioctls of
/// btrfs and bcachefs are refused too, because a snapshot or a subvolume would show the files of a live tree without
/// their masks. `FICLONE`, `FICLONERANGE` and `FIDEDUPERANGE` have the ioctl type of btrfs but work on all file
/// systems. The kernel uses only 32 bits of the command.
const IOCTL: FilterEntry = FilterEntry::Looks(&[
    refused(1, u32::MAX, &[0x5412, 0x541c, 0x5423], EPERM),
    allowed(1, u32::MAX, &SHARE_BLOCKS),
    refused(1, 0xff00, &[0x9400, 0xbc00], EPERM),
    ALLOWED,
]);
const SHARE_BLOCKS: [u32; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];
/// Refuses device nodes. mknod may only create pipes, sockets and files.
const MKNOD: FilterEntry = FilterEntry::Looks(&[no_device(1), ALLOWED]);
const MKNODAT: FilterEntry = FilterEntry::Looks(&[no_device(2), ALLOWED]);
/// The setuid and setgid bits.
const SET_ID: u32 = 0o6000;
/// The flags of open(2) for which the kernel uses the mode (`O_CREAT`, and the bit that only `O_TMPFILE` has). The
/// flags have the same values on both architectures.
const CREATES: u32 = 0o20_000_100;
/// Refuses setuid and setgid in a mode that is the second argument.
const MODE_1: FilterEntry = FilterEntry::Looks(&[no_bit(1, SET_ID, EPERM), ALLOWED]);
const MODE_2: FilterEntry = FilterEntry::Looks(&[no_bit(2, SET_ID, EPERM), ALLOWED]);
const OPEN: FilterEntry =
    FilterEntry::Looks(&[allowed(1, CREATES, &[0]), no_bit(2, SET_ID, EPERM), ALLOWED]);
const OPENAT: FilterEntry =
    FilterEntry::Looks(&[allowed(2, CREATES, &[0]), no_bit(3, SET_ID, EPERM), ALLOWED]);
/// [`MKNOD`] and [`MKNODAT`] for a live tree, where setuid and setgid bits are refused too.
const MKNOD_LIVE: FilterEntry =
    FilterEntry::Looks(&[no_device(1), no_bit(1, SET_ID, EPERM), ALLOWED]);
const MKNODAT_LIVE: FilterEntry =
    FilterEntry::Looks(&[no_device(2), no_bit(2, SET_ID, EPERM), ALLOWED]);
/// Allows only the process id 0, which means the calling process. Otherwise a step could end another process of the
/// same user id with a resource limit.
const OF_ITSELF: FilterEntry = FilterEntry::Looks(&[only(0, u32::MAX, &[0], EPERM), ALLOWED]);
/// Refuses `PRIO_USER` and `IOPRIO_WHO_USER`, which affect all processes of a user id. A step may change only its own
/// process or process group.
const PRIORITY: FilterEntry = FilterEntry::Looks(&[
    refused(0, u32::MAX, &[2], EPERM),
    only(1, u32::MAX, &[0], EPERM),
    ALLOWED,
]);
const IO_PRIORITY: FilterEntry = FilterEntry::Looks(&[
    refused(0, u32::MAX, &[3], EPERM),
    only(1, u32::MAX, &[0], EPERM),
    ALLOWED,
]);
/// `RENAME_WHITEOUT` creates a device node that neither the mknod rule nor Landlock checks.
const RENAMEAT2: FilterEntry = FilterEntry::Looks(&[no_bit(4, 4, EPERM), ALLOWED]);
/// Refuses `MAP_HUGETLB`, because one process could use all huge pages of the machine, which another program such as a
/// database may need. Refuses `MAP_GROWSDOWN`, because `RLIMIT_DATA` does not count a mapping with this flag. A kernel
/// without free huge pages returns the same error as the filter.
const MMAP: FilterEntry = FilterEntry::Looks(&[no_bit(3, 0x4_0100, ENOMEM), ALLOWED]);
/// Refuses what [`MMAP`] refuses. Also refuses memory that is writable and executable, and executable memory without a
/// file (`MAP_ANONYMOUS`).
const MMAP_MAPPED: FilterEntry = FilterEntry::Looks(&[
    no_bit(3, 0x4_0100, ENOMEM),
    refused(2, 0x6, &[0x6], EACCES),
    allowed(2, 0x4, &[0]),
    no_bit(3, 0x20, EACCES),
    ALLOWED,
]);
/// Refuses to make memory executable (`PROT_EXEC`).
const MPROTECT: FilterEntry = FilterEntry::Looks(&[no_bit(2, 0x4, EACCES), ALLOWED]);
/// Refuses `SHM_EXEC`, because a shared segment can be attached once for writing and once for execution.
const SHMAT: FilterEntry = FilterEntry::Looks(&[no_bit(2, 0o100_000, EACCES), ALLOWED]);
/// Refuses `MFD_HUGETLB`.
const MEMFD: FilterEntry = FilterEntry::Looks(&[no_bit(1, 0x4, ENOMEM), ALLOWED]);
/// Refuses `SHM_HUGETLB`.
const SHMGET: FilterEntry = FilterEntry::Looks(&[no_bit(2, 0o4000, ENOMEM), ALLOWED]);
/// Allows the Linux personality and the 32-bit Linux personality, each with or without `UNAME26`, and the query of the
/// current value.
const PERSONALITY: FilterEntry = FilterEntry::Looks(&[
    only(0, u32::MAX, &[0, 8, 0x2_0000, 0x2_0008, u32::MAX], EPERM),
    ALLOWED,
]);
/// Allows Unix sockets, and TCP and UDP over IPv4 and IPv6. Sockets of other families can reach a hypervisor from any
/// network namespace (vsock), load kernel modules, or bypass Landlock's TCP rules (MPTCP, SCTP).
const SOCKET: FilterEntry = FilterEntry::Looks(&[
    allowed(0, u32::MAX, &[AF_UNIX]),
    only(0, u32::MAX, &[AF_INET, AF_INET6], EAFNOSUPPORT),
    only(1, 0xf, &[STREAM, DATAGRAM], ESOCKTNOSUPPORT),
    only(2, u32::MAX, &[0, TCP, UDP], EPROTONOSUPPORT),
    ALLOWED,
]);
/// Allows only Unix sockets, because no network namespace isolates the run.
const SOCKET_UNIX: FilterEntry = FilterEntry::Looks(&[
    allowed(0, u32::MAX, &[AF_UNIX]),
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
pub const CALLS: &[Call] = &[
    // Namespaces. A filter can't read the flags of clone3, which are in memory. If clone3 fails, libraries use clone.
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
    // A file that is opened by its handle bypasses the access rules of directories. Device nodes and quotas belong to
    // the host.
    call("open_by_handle_at", 304, 265, NO),
    call("mknodat", 259, 33, MKNODAT).or_live(MKNODAT_LIVE),
    only_x86_64("mknod", 133, MKNOD).or_live(MKNOD_LIVE),
    call("renameat2", 316, 276, RENAMEAT2),
    call("quotactl", 179, 60, NO),
    call("quotactl_fd", 443, 443, NO),
    call("fanotify_init", 300, 262, NO),
    call("fanotify_mark", 301, 263, NO),
    // Any user can run a file with a setuid or setgid bit with the user id of the step. mkdir ignores these bits. A
    // filter can't read the mode of openat2, which is in memory, so openat2 is refused.
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
    // Shared objects with a key or a name. Without an IPC namespace, they belong to the host and remain after the run.
    Call {
        host: Some(UNKNOWN),
        ..call("shmget", 29, 194, SHMGET)
    },
    on_the_host("shmat", 30, 196, UNKNOWN).or_mapped(SHMAT),
    only_mapped("mprotect", 10, 226, MPROTECT),
    only_mapped("pkey_mprotect", 329, 288, MPROTECT),
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
    // Resources of the whole machine. `fs.aio-max-nr` limits all processes together, so one step could prevent
    // databases from starting. Programs then use other calls, as on an old kernel.
    call("io_setup", 206, 0, UNKNOWN),
    call("io_destroy", 207, 1, UNKNOWN),
    call("io_submit", 209, 2, UNKNOWN),
    call("io_cancel", 210, 3, UNKNOWN),
    call("io_getevents", 208, 4, UNKNOWN),
    call("io_pgetevents", 333, 292, UNKNOWN),
    call("mmap", 9, 222, MMAP).or_mapped(MMAP_MAPPED),
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

    #[test]
    fn no_system_call_is_in_the_table_twice() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let mut numbers: Vec<u32> = CALLS
                .iter()
                .filter_map(|call| call.number(machine))
                .collect();
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
                    Call::named(stringify!($name)).number(HOST).map(i64::from), Some(libc::$constant), stringify!($name)
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
}
