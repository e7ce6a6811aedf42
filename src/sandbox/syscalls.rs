//! System calls that no safe wrapper offers.
//!
//! The only file of the project with `unsafe`. All of it is for the launcher, which has one thread.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use crate::sandbox::bpf::Instruction;

/// Marks every descriptor from `first` up so that exec closes it.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` up. Only for the launcher's first moments, when nothing owns one yet.
pub(super) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper of close_range")]
    // SAFETY: takes three integers. The callers close descriptors only before any owner of one exists, and
    // otherwise only set a flag.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    check(result).map(drop)
}

/// Which side of a fork this is.
pub(super) enum Side {
    /// The new process.
    Child,
    /// The old one, and the child's id as it sees it.
    Parent(rustix::process::Pid),
}

/// fork(2). Only in the launcher.
pub(super) fn fork() -> io::Result<Side> {
    #[expect(unsafe_code, reason = "no safe wrapper of fork")]
    #[expect(clippy::disallowed_methods, reason = "the launcher is small and has one thread")]
    // SAFETY: the launcher never starts a thread, so no lock can be held by another one in the child.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(rustix::process::Pid::from_raw(pid).map_or(Side::Child, Side::Parent)),
    }
}

/// Which side of a clone this is.
pub(super) enum Cloned {
    /// The new process.
    Child,
    /// The old one: the child's id as it sees it, and a descriptor of the child.
    Parent { process: rustix::process::Pid, pidfd: OwnedFd },
}

/// clone3(2) of a process with `namespaces` (`CLONE_NEW…`) of its own, born in `cgroup`. Only in the helper.
pub(super) fn clone_process(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: libc::c_int = -1;
    #[expect(unsafe_code, reason = "a structure of the kernel's for which zeroes are the defaults")]
    // SAFETY: clone_args is plain integers, for which all zeroes are valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(namespaces.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    arguments.pidfd = (&raw mut pidfd).addr() as u64;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let _ = (&raw mut pidfd).expose_provenance();
    #[expect(unsafe_code, reason = "no safe wrapper of clone3")]
    // SAFETY: without CLONE_VM the child has its own copy of the memory and goes on from here on its own stack, as
    // after fork. The helper has one thread, so no lock is held by another one in the child; what libc caches
    // about the thread is its id, which nothing here uses. The kernel reads as many bytes of `arguments` as are named,
    // and writes one integer to `pidfd`; both live until the call returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match i32::try_from(check(pid)?).ok().and_then(rustix::process::Pid::from_raw) {
        None => Ok(Cloned::Child),
        Some(process) => {
            #[expect(unsafe_code, reason = "the kernel made this descriptor just now")]
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so `pidfd` is an open descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { process, pidfd })
        }
    }
}

/// Makes these the descriptors 0 to N-1 of this process and closes every other one. Only for the first moments of a
/// cloned process, which never comes back to who owned the others: it ends by `exit`, which drops nothing.
pub(super) fn keep_only<const N: usize>(descriptors: [BorrowedFd<'_>; N]) -> io::Result<[OwnedFd; N]> {
    let first = libc::c_int::try_from(N).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut above = [0; N];
    for (from, to) in descriptors.iter().zip(&mut above) {
        #[expect(unsafe_code, reason = "a number that nobody is to own")]
        // SAFETY: takes integers and makes a new descriptor, at N or above it.
        let copy = unsafe { libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first) };
        check(copy.into())?;
        *to = copy;
    }
    for (at, from) in (0..first).zip(above) {
        #[expect(unsafe_code, reason = "the safe wrapper wants an owner of the target")]
        // SAFETY: takes two integers. What was at `at` belonged to an owner in the helper's memory, which this process has
        // only a copy of and never drops (see above).
        let placed = unsafe { libc::dup2(from, at) };
        check(placed.into())?;
    }
    close_range(first.cast_unsigned(), 0)?;
    let mut next = 0;
    Ok([(); N].map(|()| {
        let at: libc::c_int = next;
        next += 1;
        #[expect(unsafe_code, reason = "descriptors that were made just now")]
        // SAFETY: `at` is below N, so it is open since the loop above, and nobody else will use it.
        unsafe {
            OwnedFd::from_raw_fd(at)
        }
    }))
}

/// A dead child.
pub(super) struct Dead {
    pub(super) process: rustix::process::Pid,
    /// The signal that ended it, if one did.
    pub(super) signal: Option<i32>,
    /// CPU time of it and all that it waited for.
    pub(super) cpu_us: u64,
    /// The largest resident set of one of them, in bytes.
    pub(super) resident_peak: u64,
}

/// Waits for a child that has ended; nothing when there is none.
pub(super) fn reap_any() -> Option<Dead> {
    let mut status = 0;
    #[expect(unsafe_code, reason = "a zeroed structure that the kernel fills")]
    // SAFETY: rusage is plain integers, for which all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "no safe wrapper of wait4")]
    // SAFETY: both pointers are to live, properly typed locals.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    let process = if pid > 0 { rustix::process::Pid::from_raw(pid)? } else { return None };
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    let (cpu_us, resident_peak) = spent(&usage);
    Some(Dead { process, signal, cpu_us, resident_peak })
}

/// A descriptor that can be read while a blocked signal waits.
pub(super) fn signal_descriptor() -> io::Result<OwnedFd> {
    let set = full_set()?;
    #[expect(unsafe_code, reason = "no safe wrapper of signalfd")]
    // SAFETY: the set is live; -1 asks for a new descriptor.
    let descriptor = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(descriptor.into())?;
    #[expect(unsafe_code, reason = "the kernel made this descriptor just now")]
    // SAFETY: signalfd succeeded, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes what waits at a [`signal_descriptor`].
pub(super) fn drain(signals: &OwnedFd) {
    let mut buffer = [0; 8 * size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|read| read == buffer.len()) {}
}

/// Sends `signal` to every other process that this one may signal: of its pid namespace, or of its id.
pub(super) fn signal_all(signal: rustix::process::Signal) {
    #[expect(unsafe_code, reason = "the safe wrapper takes no -1")]
    // SAFETY: takes two integers. The callers are the first process of a run's pid namespace, or have just become
    // an id that only one run has.
    unsafe {
        libc::kill(-1, signal.as_raw());
    }
}

/// unshare(2) with `CLONE_NEW…` flags only.
pub(super) fn unshare(flags: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the safe wrapper is deprecated because of CLONE_FILES, which is not used here")]
    // SAFETY: takes an integer; namespace flags don't touch descriptors or memory.
    let result = unsafe { libc::unshare(flags) };
    check(result.into()).map(drop)
}

/// mount_setattr(2): sets `flags` (`MOUNT_ATTR_…`) on the mount at `mount`, and with `recursive` on all below it.
pub(super) fn set_mount_flags(mount: BorrowedFd<'_>, flags: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let at = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    #[expect(unsafe_code, reason = "no safe wrapper of mount_setattr")]
    // SAFETY: the path is a NUL-terminated literal; the kernel reads exactly the size that is passed with the
    // structure, which lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            at,
            ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// The kernel's Landlock ABI; `EOPNOTSUPP` when it is not enabled, `ENOSYS` when it is not built in.
pub(super) fn landlock_abi() -> io::Result<i32> {
    const VERSION: libc::c_uint = 1;
    #[expect(unsafe_code, reason = "the landlock crate keeps this query private")]
    // SAFETY: with this flag the kernel demands a null pointer and size 0 and reads no memory.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0_usize, VERSION) };
    check(result).map(|abi| i32::try_from(abi).unwrap_or(i32::MAX))
}

/// Puts this process and all it will start under a seccomp filter, for ever. Needs no_new_privs.
pub(super) fn set_seccomp_filter(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    const FLAGS: libc::c_uint = 0;
    #[expect(unsafe_code, reason = "no safe wrapper of seccomp")]
    // SAFETY: an Instruction has the layout of a sock_filter (repr(C), the same four fields; held by a test), the kernel
    // reads as many as `len` says, all of which live in the slice until the call returns, and writes none.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, FLAGS, &raw const program) };
    check(result).map(drop)
}

/// Turns the loopback device of this process's network namespace on.
pub(super) fn bring_loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    #[expect(unsafe_code, reason = "a zeroed structure of C")]
    // SAFETY: ifreq is a name and a union of plain data, for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    #[expect(unsafe_code, reason = "no safe wrapper of this ioctl")]
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into()).map(drop)
}

/// Leaves the keyring of the session that the service was started in.
pub(super) fn join_new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    #[expect(unsafe_code, reason = "no safe wrapper of keyctl")]
    // SAFETY: a null name means an anonymous keyring; no memory is read.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<u8>()) };
    check(result).map(drop)
}

/// Blocks every signal, so that they wait at a [`signal_descriptor`].
pub(super) fn block_signals() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, &full_set()?)
}

/// Default dispositions and an empty mask: what a program may expect to be started with.
pub(super) fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        #[expect(unsafe_code, reason = "no safe wrapper of signal")]
        // SAFETY: the default disposition runs no code of ours. Signals that can't be changed answer with an
        // error, which means that they have their default already.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    change_mask(libc::SIG_UNBLOCK, &full_set()?)
}

/// What all waited-for descendants used: CPU time in microseconds, and the largest resident set of one process
/// in bytes.
pub(super) fn usage_of_children() -> io::Result<(u64, u64)> {
    #[expect(unsafe_code, reason = "a zeroed structure that the kernel fills")]
    // SAFETY: rusage is plain integers, for which all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "no safe wrapper of getrusage")]
    // SAFETY: the pointer is to a live, properly typed local.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    check(result.into())?;
    Ok(spent(&usage))
}

fn spent(usage: &libc::rusage) -> (u64, u64) {
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let resident = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
    (micros(usage.ru_utime) + micros(usage.ru_stime), resident)
}

fn full_set() -> io::Result<libc::sigset_t> {
    #[expect(unsafe_code, reason = "a zeroed structure that libc fills")]
    // SAFETY: sigset_t is plain integers, for which all zeroes are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "no safe wrapper of sigfillset")]
    // SAFETY: the pointer is to a live, properly typed local.
    let result = unsafe { libc::sigfillset(&raw mut set) };
    check(result.into())?;
    Ok(set)
}

fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper of sigprocmask")]
    // SAFETY: the set is live; a null pointer for the old mask is allowed.
    let result = unsafe { libc::sigprocmask(how, ptr::from_ref(set), ptr::null_mut()) };
    check(result.into()).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_laid_out_as_the_kernels_is() {
        use std::mem::offset_of;
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
        assert_eq!(
            [
                offset_of!(Instruction, code),
                offset_of!(Instruction, jump_true),
                offset_of!(Instruction, jump_false),
                offset_of!(Instruction, value)
            ],
            [
                offset_of!(libc::sock_filter, code),
                offset_of!(libc::sock_filter, jt),
                offset_of!(libc::sock_filter, jf),
                offset_of!(libc::sock_filter, k)
            ]
        );
    }
}
