//! System calls that no safe wrapper offers.
//!
//! The only file of the project with `unsafe`. All of it is for the helper and the processes that come from it, each with one
//! thread.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::ptr;

use crate::sandbox::bpf::Instruction;

/// Marks every descriptor from `first` up so that exec closes it.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` up. Only for the helper's first moments, when nothing owns one yet.
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

/// fork(2). Only in the helper and what comes from it.
pub(super) fn fork() -> io::Result<Side> {
    #[expect(unsafe_code, reason = "no safe wrapper of fork")]
    #[expect(clippy::disallowed_methods, reason = "the helper is small and has one thread")]
    // SAFETY: neither the helper nor what comes from it ever starts a thread, so no lock can be held by another one in the
    // child.
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
    // after fork. The helper has one thread, so no lock is held by another one in the child. libc goes on with the parent's
    // id of the thread, which only abort() and raise() use: they then signal nobody, and abort() ends the process by an
    // instruction that faults. The kernel reads as many bytes of `arguments` as are named, and writes one integer to
    // `pidfd`; both live until the call returns.
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

/// Runs `work` in a new process that shares this one's memory (as after vfork(2)), and waits until that one has executed a
/// program or ended. What `work` leaves in memory is there afterwards. Its directory, descriptors, ids, limits, filters and
/// dispositions are its own; when it comes back the process ends. Only in the first process of a run, which has all
/// signals blocked.
pub(super) fn spawn(mut work: &mut dyn FnMut()) -> io::Result<rustix::process::Pid> {
    extern "C" fn enter(work: *mut libc::c_void) -> libc::c_int {
        #[expect(unsafe_code, reason = "an argument that went through C")]
        // SAFETY: `clone` hands on the pointer that it was given below: to a live `&mut dyn FnMut()`, that nobody else uses
        // meanwhile, because the one who made it waits.
        let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
        // Nothing may unwind into C.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
        end(127)
    }
    let stack = Stack::new()?;
    let work: *mut &mut dyn FnMut() = &raw mut work;
    #[expect(unsafe_code, reason = "no safe wrapper of clone")]
    // SAFETY: the child runs on a stack of its own, mapped, aligned to a page, and alive until this returns. With CLONE_VFORK
    // the kernel lets this process go on only when the child has another memory (exec) or none (exit), so the two never run
    // in this memory at one time, and for it the child is a function that this thread calls: the thread's locals and locks
    // are used by one of them only. Signals are blocked, so no handler runs in between. What the child allocates and does not
    // free before it executes something stays allocated. If this process is killed, the child keeps the memory.
    let pid =
        unsafe { libc::clone(enter, stack.top(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, work.cast()) };
    check(pid.into())?;
    rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// A stack for a process that shares this one's memory. Below it lies a page that can't be touched.
struct Stack {
    base: *mut libc::c_void,
}

impl Stack {
    /// Pages that are not touched cost nothing.
    const BYTES: usize = 1 << 20;
    /// The largest page of the architectures that this is built for.
    const GUARD: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        let (protection, flags) = (rustix::mm::ProtFlags::empty(), rustix::mm::MapFlags::PRIVATE);
        #[expect(unsafe_code, reason = "a mapping is made by address")]
        // SAFETY: the kernel chooses the address, so nothing that is there already is replaced.
        let base =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), Self::GUARD + Self::BYTES, protection, flags)? };
        let stack = Self { base };
        let usable = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
        #[expect(unsafe_code, reason = "a mapping is changed by address")]
        // SAFETY: these are the pages of the mapping above, from behind its guard to its end, which nobody uses yet.
        unsafe {
            rustix::mm::mprotect(stack.base.wrapping_byte_add(Self::GUARD), Self::BYTES, usable)?;
        }
        Ok(stack)
    }

    /// Where it begins: stacks grow down.
    fn top(&self) -> *mut libc::c_void {
        self.base.wrapping_byte_add(Self::GUARD + Self::BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "a mapping is removed by address")]
        // SAFETY: the whole mapping, made by `new`; whoever ran on it has another memory by now, or none.
        let _ = unsafe { rustix::mm::munmap(self.base, Self::GUARD + Self::BYTES) };
    }
}

/// Executes a program in this process's stead: the one at this path, which has a slash. Comes back only with why not.
pub(super) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    #[expect(unsafe_code, reason = "no safe wrapper of execvpe")]
    // SAFETY: a NUL-terminated path, and two arrays of NUL-terminated texts that end with a null pointer; all of them live
    // until the call returns, and if it does not, this memory is not this process's any more.
    unsafe {
        libc::execvpe(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

/// Ends this process at once, without what a program does at its end: a copy of a process has nothing to tidy up.
pub(super) fn end(code: i32) -> ! {
    #[expect(unsafe_code, reason = "std's exit tidies up")]
    // SAFETY: takes an integer; nothing of this process runs afterwards, so whatever is left undone is nobody's.
    unsafe {
        libc::_exit(code)
    }
}

/// Gives back what this process has in memory of files as they are, its own program above all: what is used again comes
/// again from the same files.
pub(super) fn forget_files() {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (from, to) in as_in_files(&maps) {
        #[expect(unsafe_code, reason = "memory is named by address")]
        // SAFETY: a private mapping of a file that may not be written now, and of which no page is another than the file's: each is
        // read from there again when it is touched. No other thread could have changed that meanwhile: there is none.
        // The kernel refuses what is not mapped.
        let _ = unsafe { libc::madvise(ptr::with_exposed_provenance_mut(from), to - from, libc::MADV_DONTNEED) };
    }
}

/// The mappings in `/proc/self/smaps` of which every page is as its file has it, and stays so.
fn as_in_files(smaps: &str) -> Vec<(usize, usize)> {
    let (mut found, mut at, mut clean) = (Vec::new(), None, false);
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        match (fields.next(), fields.next()) {
            (Some("Anonymous:"), pages) => clean = pages == Some("0"),
            // Of what is not in memory nothing is counted above.
            (Some("Swap:"), pages) => {
                found.extend(at.take().filter(|_| clean && pages == Some("0")));
                clean = false;
            }
            (Some(range), Some(rights)) if !range.ends_with(':') => {
                let of_a_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
                at = (matches!(rights, "r-xp" | "r--p") && of_a_file).then(|| addresses(range)).flatten();
                clean = false;
            }
            _ => {}
        }
    }
    found
}

fn addresses(range: &str) -> Option<(usize, usize)> {
    let (from, to) = range.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    (from < to).then_some((from, to))
}

/// Makes this the descriptor 3 of this process and closes every one above it. Only for the first moments of a cloned process,
/// which never comes back to who owned the others: it ends by `end`, which drops nothing.
pub(super) fn keep_only(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const AT: libc::c_int = 3;
    #[expect(unsafe_code, reason = "the safe wrapper wants an owner of the target")]
    // SAFETY: takes two integers. What was there belonged to an owner in the helper's memory, which this process has only a
    // copy of and never drops (see above).
    let placed = unsafe { libc::dup2(descriptor.as_raw_fd(), AT) };
    check(placed.into())?;
    close_range(AT.cast_unsigned() + 1, 0)?;
    #[expect(unsafe_code, reason = "a descriptor that was made just now")]
    // SAFETY: it is open since the call above, and its owner before, if there was one, will not use it (see there).
    Ok(unsafe { OwnedFd::from_raw_fd(AT) })
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

/// Default dispositions, which what comes from this process begins with as well.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        #[expect(unsafe_code, reason = "no safe wrapper of signal")]
        // SAFETY: the default disposition runs no code of ours. Signals that can't be changed answer with an
        // error, which means that they have their default already.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// An empty mask: what a program may expect to be started with.
pub(super) fn unblock_signals() -> io::Result<()> {
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

    fn ended(process: rustix::process::Pid) -> rustix::process::WaitStatus {
        let waited = rustix::process::waitpid(Some(process), rustix::process::WaitOptions::empty());
        waited.expect("waits").expect("has ended").1
    }

    #[test]
    fn a_spawned_process_shares_only_its_memory_with_its_parent() {
        let (mut said, mut pid) = (Vec::new(), 0);
        let before = std::env::current_dir().expect("a directory");
        let process = spawn(&mut || {
            pid = std::process::id();
            // A little more than a frame.
            let deep = std::hint::black_box([7_u8; 64 << 10]);
            said.extend_from_slice(&deep[..3]);
            rustix::process::chdir("/proc").expect("enters");
        })
        .expect("spawns");
        assert_eq!((said.as_slice(), pid), ([7; 3].as_slice(), process.as_raw_pid().cast_unsigned()));
        assert_eq!(ended(process).exit_status(), Some(127), "it came back and executed nothing");
        assert_eq!(std::env::current_dir().expect("a directory"), before);
    }

    #[test]
    fn a_spawned_process_that_panics_ends_and_its_parent_continues() {
        let process = spawn(&mut || std::panic::resume_unwind(Box::new("on purpose"))).expect("spawns");
        assert_eq!(ended(process).exit_status(), Some(127));
    }

    #[test]
    fn a_program_is_executed_with_exactly_these_arguments_and_this_environment() {
        let text = |text: &str| CString::new(text).expect("no NUL");
        let script = r#"test "$1" = 'a b' && test "$(env | grep -c '^ONLY=')" = 1 && test -z "$HOME" && exit 3"#;
        let arguments = ["sh", "-c", script, "sh", "a b"].map(text);
        let (environment, mut failed) = ([text("ONLY=x=y"), text("PATH=/usr/bin:/bin")], None);
        let process = spawn(&mut || failed = Some(execute(c"/bin/sh", &arguments, &environment))).expect("spawns");
        assert_eq!((ended(process).exit_status(), failed.is_none()), (Some(3), true));
        let process = spawn(&mut || failed = Some(execute(c"/nonexistent", &arguments, &[]))).expect("spawns");
        assert_eq!(ended(process).exit_status(), Some(127));
        assert_eq!(failed.map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn only_unchanged_file_mappings_are_dropped_from_memory() {
        let entry = |first: &str, anonymous: &str, swap: &str| {
            format!(
                "{first}\nRss: 8 kB\nAnonymous: {anonymous} kB\nLazyFree: 0 kB\nSwap: {swap} kB\nSwapPss: 0 kB\nVmFlags: rd\n"
            )
        };
        let code = "55d0c0a00000-55d0c0b00000 r-xp 00100000 fe:00 131 /usr/bin/with a blank";
        let data = "7f0000000000-7f0000001000 r--p 00000000 fe:00 131 /usr/lib/x.so";
        let both = [(0x55d0_c0a0_0000, 0x55d0_c0b0_0000), (0x7f00_0000_0000, 0x7f00_0000_1000)];
        assert_eq!(as_in_files(&(entry(code, "0", "0") + &entry(data, "0", "0"))), both);
        // Relocated and then sealed; the same, and swapped out.
        for (anonymous, swap) in [("4", "0"), ("0", "4"), ("", "0")] {
            assert_eq!(as_in_files(&(entry(code, "0", "0") + &entry(data, anonymous, swap))), both[..1]);
        }
        for other in [
            "55d0c0a00000-55d0c0b00000 rw-p 00100000 fe:00 131 /usr/bin/x",
            "55d0c0a00000-55d0c0b00000 rwxp 00100000 fe:00 131 /usr/bin/x",
            "55d0c0a00000-55d0c0b00000 r-xs 00100000 fe:00 131 /usr/bin/x",
            "7ffd0000-7ffd1000 r-xp 00000000 00:00 0 [vdso]",
            "7ffd0000-7ffd1000 r--p 00000000 00:00 0",
            "7ffd1000-7ffd0000 r-xp 00000000 00:00 0 /x",
            "x-y r-xp 0 0 0 /x",
        ] {
            assert_eq!(as_in_files(&entry(other, "0", "0")), [], "{other}");
        }
        assert_eq!(as_in_files(&format!("{code}\nSwap: 0 kB\n")), [], "nothing is said of its pages");
    }

    /// In a process with one thread, as the helper is.
    #[test]
    fn a_process_continues_after_its_file_mappings_were_dropped() {
        let here = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
            (maps.lines().count(), LINES.iter().copied().sum::<u64>())
        };
        static LINES: [u64; 4] = [1, 20, 300, 4000];
        let Side::Parent(process) = fork().expect("forks") else {
            let before = here();
            forget_files();
            end(if here() == before { 7 } else { 8 });
        };
        assert_eq!(ended(process).exit_status(), Some(7));
    }

    #[test]
    fn a_bpf_instruction_has_the_layout_of_the_kernel() {
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
