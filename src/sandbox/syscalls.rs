//! System calls that no safe wrapper offers.
//!
//! The only file of the project with `unsafe`. All of it is for the launcher, which has one thread.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
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

/// Blocks every signal, so that they wait for [`next_signal`].
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

/// A signal that arrived.
pub(super) struct Arrived {
    /// Its number.
    pub(super) signal: i32,
    /// The sender's id; 0 when it is outside of our pid namespace.
    pub(super) sender: i32,
}

/// Waits for the next blocked signal.
pub(super) fn next_signal() -> io::Result<Arrived> {
    let set = full_set()?;
    #[expect(unsafe_code, reason = "a zeroed structure that the kernel fills")]
    // SAFETY: siginfo_t is plain data for which all zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "no safe wrapper of sigwaitinfo")]
    // SAFETY: both pointers are to live, properly typed locals.
    let signal = unsafe { libc::sigwaitinfo(&raw const set, &raw mut info) };
    check(signal.into())?;
    let sent = info.si_code == libc::SI_USER || info.si_code == libc::SI_TKILL || info.si_code == libc::SI_QUEUE;
    #[expect(unsafe_code, reason = "a field of a C union")]
    // SAFETY: for these codes the kernel fills the sender's fields; otherwise they are not read.
    let sender = if sent { unsafe { info.si_pid() } } else { 0 };
    Ok(Arrived { signal, sender })
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
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let resident = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
    Ok((micros(usage.ru_utime) + micros(usage.ru_stime), resident))
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
