//! System calls for which no safe wrapper exists.
//!
//! Only this file and its two submodules contain `unsafe` code. Only the helper and its child processes use this file,
//! and each of these processes has one thread. The service uses only `syscalls/notifications.rs`.

pub mod loopback;
pub mod notifications;

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
    panic::AssertUnwindSafe,
    ptr,
};

use rustix::process;

use rustix::mm;

use crate::Instruction;

/// Closes all descriptors with the number `first` or a higher number, or marks them as close-on-exec with the flag
/// `CLOSE_RANGE_CLOEXEC`. Without the flag, only the start of the helper may call this, when no value owns a
/// descriptor.
pub fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    #[expect(unsafe_code, reason = "there is no safe wrapper of close_range")]
    // SAFETY: The call takes three integers. Callers close descriptors only before any value owns a descriptor. Other
    // callers only set the close-on-exec flag.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    check(result).map(drop)
}

/// The process (parent or child) in which a fork returned.
pub enum ForkSide {
    /// The new process.
    Child,
    /// The parent process, with the process id of the child.
    Parent(process::Pid),
}

/// Calls fork(2). Only for the helper and its child processes.
pub fn fork() -> io::Result<ForkSide> {
    #[expect(unsafe_code, reason = "there is no safe wrapper of fork")]
    #[expect(
        clippy::disallowed_methods,
        reason = "the helper is small and has one thread"
    )]
    // SAFETY: The helper and its child processes never start a thread, so no other thread can hold a lock in the
    // child.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(process::Pid::from_raw(pid).map_or(ForkSide::Child, ForkSide::Parent)),
    }
}

/// The process (parent or child) in which a clone returned.
pub enum Cloned {
    /// The new process.
    Child,
    /// The parent process, with the process id and a pidfd of the child.
    Parent {
        process: process::Pid,
        pidfd: OwnedFd,
    },
}

/// Calls clone3(2) to create a process with new `namespaces` (`CLONE_NEW…`) in `cgroup`. Only for the helper.
pub fn clone_process(
    namespaces: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: libc::c_int = -1;
    #[expect(
        unsafe_code,
        reason = "a structure of the kernel's for which zeroes are the defaults"
    )]
    // SAFETY: `clone_args` consists of integers, for which all zeroes are valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags =
        u64::from(namespaces.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    arguments.pidfd = (&raw mut pidfd).addr() as u64;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let _ = (&raw mut pidfd).expose_provenance();
    #[expect(unsafe_code, reason = "there is no safe wrapper of clone3")]
    // SAFETY: Without `CLONE_VM`, the child has its own copy of the memory and continues on its own stack, as after
    // fork. The helper has one thread, so no other thread holds a lock in the child. The C library caches the thread id
    // of the parent, but only abort() and raise() use this cached id. In the child, these functions signal no process,
    // and abort() then ends the process with a faulting instruction. The kernel reads `arguments` up to the given size
    // and writes one integer to `pidfd`. The variables `arguments` and `pidfd` live until the call returns.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(check(pid)?)
        .ok()
        .and_then(process::Pid::from_raw)
    {
        None => Ok(Cloned::Child),
        Some(process) => {
            #[expect(unsafe_code, reason = "the kernel made this descriptor just now")]
            // SAFETY: clone3 succeeded with `CLONE_PIDFD`, so `pidfd` is an open descriptor without another owner.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { process, pidfd })
        }
    }
}

/// Runs `work` in a new process that shares the memory of this process (as after vfork(2)). The function returns after
/// the new process has executed a program or exited.
///
/// Changes that `work` makes in memory remain afterwards. The new process has its own working directory, descriptors,
/// ids, limits, filters and signal handlers. If `work` returns, the new process exits immediately. Only for the first
/// process of a run, which has all signals blocked.
pub fn spawn(mut work: &mut dyn FnMut()) -> io::Result<process::Pid> {
    extern "C" fn enter(work: *mut libc::c_void) -> libc::c_int {
        #[expect(unsafe_code, reason = "an argument that went through C")]
        // SAFETY: The kernel passes to this function the pointer that `clone` received below. The pointer refers to a
        // live `&mut dyn FnMut()`. No other code uses the closure at the same time, because the parent process waits.
        let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
        // A panic must not unwind into C code.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
        end(127)
    }
    let stack = Stack::new()?;
    let work: *mut &mut dyn FnMut() = &raw mut work;
    #[expect(unsafe_code, reason = "there is no safe wrapper of clone")]
    // SAFETY: The child has its own stack, which is mapped, aligned to a page, and alive until this function returns.
    // With `CLONE_VFORK` the kernel suspends this process until the child calls exec or exits. So the two processes
    // never use the shared memory at the same time. From the view of this memory, the child is like a function that
    // this thread calls. All signals are blocked, so no signal handler runs in the child. Memory that the child
    // allocates and does not free before exec stays allocated. If this process is killed, the child still has the
    // shared memory.
    let pid = unsafe {
        libc::clone(
            enter,
            stack.top(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            work.cast(),
        )
    };
    check(pid.into())?;
    process::Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Stack for a child process that shares the memory of this process. An inaccessible guard page below detects an
/// overflow.
struct Stack {
    base: *mut libc::c_void,
}

impl Stack {
    /// Size of the stack in bytes. Pages that are never written cost no memory.
    const BYTES: usize = 1 << 20;
    /// Size of the guard area in bytes (the largest page size of the supported architectures).
    const GUARD: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        let (protection, flags) = (mm::ProtFlags::empty(), mm::MapFlags::PRIVATE);
        #[expect(unsafe_code, reason = "a mapping is made by address")]
        // SAFETY: The kernel chooses the address, so no existing mapping is replaced.
        let base = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                Self::GUARD + Self::BYTES,
                protection,
                flags,
            )?
        };
        let stack = Self { base };
        let usable = mm::MprotectFlags::READ | mm::MprotectFlags::WRITE;
        #[expect(unsafe_code, reason = "a mapping is changed by address")]
        // SAFETY: These pages are the part of the mapping above the guard area. No other code uses these pages yet.
        unsafe {
            mm::mprotect(
                stack.base.wrapping_byte_add(Self::GUARD),
                Self::BYTES,
                usable,
            )?;
        }
        Ok(stack)
    }

    /// Returns the end address of the mapping, because stacks grow down.
    fn top(&self) -> *mut libc::c_void {
        self.base.wrapping_byte_add(Self::GUARD + Self::BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "a mapping is removed by address")]
        // SAFETY: The range is the whole mapping that `new` created. The process that used the stack has called exec or
        // has exited.
        let _ = unsafe { mm::munmap(self.base, Self::GUARD + Self::BYTES) };
    }
}

/// Executes the program at the path `program`, which must contain a slash. Returns only after an error.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    #[expect(unsafe_code, reason = "there is no safe wrapper of execvpe")]
    // SAFETY: The path is NUL-terminated. Both arrays (`arguments` and `environment`) contain pointers to
    // NUL-terminated strings and end with a null pointer. The path and the arrays live until the call returns. If the
    // call succeeds, the kernel replaces this memory.
    unsafe {
        libc::execvpe(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

/// Exits immediately without clean-up, because a copy of a process must not run the clean-up of the original.
pub fn end(code: i32) -> ! {
    #[expect(unsafe_code, reason = "std's exit tidies up")]
    // SAFETY: The call takes an integer, and no code of this process runs after the call.
    unsafe {
        libc::_exit(code)
    }
}

/// Releases memory pages that are identical to their files, most of them pages of the program. The kernel reads them
/// again when they are needed.
pub fn forget_files() {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (from, to) in as_in_files(&maps) {
        #[expect(unsafe_code, reason = "memory is named by address")]
        // SAFETY: Each range is a private mapping of a file that is mapped read-only and has no modified pages. So the
        // kernel reads a released page again from the file when the page is used. The helper has no other thread that
        // could change the mapping at the same time. The kernel returns an error for unmapped ranges.
        let _ = unsafe {
            libc::madvise(
                ptr::with_exposed_provenance_mut(from),
                to - from,
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// Returns the read-only mappings in `/proc/self/smaps` whose pages are all unmodified.
fn as_in_files(smaps: &str) -> Vec<(usize, usize)> {
    let (mut found, mut at, mut clean) = (Vec::new(), None, false);
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        match (fields.next(), fields.next()) {
            (Some("Anonymous:"), pages) => clean = pages == Some("0"),
            // The counters of private and dirty pages do not include swapped pages.
            (Some("Swap:"), pages) => {
                found.extend(at.take().filter(|_| clean && pages == Some("0")));
                clean = false;
            }
            (Some(range), Some(rights)) if !range.ends_with(':') => {
                let of_a_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
                at = (matches!(rights, "r-xp" | "r--p") && of_a_file)
                    .then(|| addresses(range))
                    .flatten();
                clean = false;
            }
            _ => {}
        }
    }
    found
}

fn addresses(range: &str) -> Option<(usize, usize)> {
    let (from, to) = range.split_once('-')?;
    let (from, to) = (
        usize::from_str_radix(from, 16).ok()?,
        usize::from_str_radix(to, 16).ok()?,
    );
    (from < to).then_some((from, to))
}

/// Moves this descriptor to number 3 and closes all descriptors with higher numbers. Only for a cloned process, at its
/// start. The process exits with `end`, which drops no values, so the owners of the other descriptors are never used.
pub fn keep_only(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const AT: libc::c_int = 3;
    #[expect(unsafe_code, reason = "the safe wrapper wants an owner of the target")]
    // SAFETY: The call takes two integers. In the helper's memory, a descriptor with this number may have an owner.
    // This process has only a copy of the owner and never drops the copy.
    let placed = unsafe { libc::dup2(descriptor.as_raw_fd(), AT) };
    check(placed.into())?;
    close_range(AT.cast_unsigned() + 1, 0)?;
    #[expect(unsafe_code, reason = "a descriptor that was made just now")]
    // SAFETY: The call dup2 above opened this descriptor. An earlier owner of the number never uses the descriptor
    // again.
    Ok(unsafe { OwnedFd::from_raw_fd(AT) })
}

/// A child process that ended and was reaped.
pub struct ReapedChild {
    pub process: process::Pid,
    /// The signal that killed the process, or `None` if the process exited.
    pub signal: Option<i32>,
    /// CPU time in microseconds of the process and of all children that the process reaped.
    pub cpu_us: u64,
    /// Maximum resident set size of the process or of one of its reaped children, in bytes.
    pub resident_peak: u64,
}

/// Reaps one child that has ended, or returns `None` if no child has ended.
pub fn reap_any() -> Option<ReapedChild> {
    let mut status = 0;
    #[expect(unsafe_code, reason = "a zeroed structure that the kernel fills")]
    // SAFETY: `rusage` consists of integers, for which all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "there is no safe wrapper of wait4")]
    // SAFETY: Both pointers refer to live locals of the correct types.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    let process = if pid > 0 {
        process::Pid::from_raw(pid)?
    } else {
        return None;
    };
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    let (cpu_us, resident_peak) = spent(&usage);
    Some(ReapedChild {
        process,
        signal,
        cpu_us,
        resident_peak,
    })
}

/// Creates a descriptor that is readable while a blocked signal is pending.
pub fn signal_descriptor() -> io::Result<OwnedFd> {
    let set = full_set()?;
    #[expect(unsafe_code, reason = "there is no safe wrapper of signalfd")]
    // SAFETY: The set is alive, and -1 requests a new descriptor.
    let descriptor =
        unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(descriptor.into())?;
    #[expect(unsafe_code, reason = "the kernel made this descriptor just now")]
    // SAFETY: signalfd succeeded, so the descriptor is open and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Discards the pending signals that a [`signal_descriptor`] reports.
pub fn drain(signals: &OwnedFd) {
    let mut buffer = [0; 8 * size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|read| read == buffer.len()) {}
}

/// Sends `signal` to all other processes that this process may signal: those in its pid namespace, or with its user id.
pub fn signal_all(signal: process::Signal) {
    #[expect(unsafe_code, reason = "the safe wrapper takes no -1")]
    // SAFETY: The call takes two integers. The caller is the first process of a run's pid namespace, or has just
    // changed to a user id that only one run has.
    unsafe {
        libc::kill(-1, signal.as_raw());
    }
}

/// Calls unshare(2). `flags` may contain only `CLONE_NEW…` flags.
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "the safe wrapper is deprecated because of CLONE_FILES, which is not used here"
    )]
    // SAFETY: The call takes an integer, and namespace flags do not affect descriptors or memory.
    let result = unsafe { libc::unshare(flags) };
    check(result.into()).map(drop)
}

/// Calls mount_setattr(2) to set `flags` (`MOUNT_ATTR_…`) on `mount`, and on all mounts below it if `recursive` is
/// true.
pub fn set_mount_flags(mount: BorrowedFd<'_>, flags: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: flags,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let at = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    #[expect(unsafe_code, reason = "there is no safe wrapper of mount_setattr")]
    // SAFETY: The path is a NUL-terminated literal. The kernel reads exactly the given size of the structure, which
    // lives until the call returns.
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

/// Returns the kernel's Landlock ABI. The error is `EOPNOTSUPP` if Landlock is disabled, and `ENOSYS` if the kernel was
/// built without Landlock.
pub fn landlock_abi() -> io::Result<i32> {
    const VERSION: libc::c_uint = 1;
    #[expect(unsafe_code, reason = "the landlock crate keeps this query private")]
    // SAFETY: With the flag `LANDLOCK_CREATE_RULESET_VERSION` the kernel requires a null pointer and size 0, and reads
    // no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    };
    check(result).map(|abi| i32::try_from(abi).unwrap_or(i32::MAX))
}

/// Installs a filter like [`seccomp_filter`], and returns its listener, which receives the calls with the verdict
/// [`FilterVerdict::NOTIFY`](crate::isolation::bpf::FilterVerdict::NOTIFY).
pub fn set_notifying_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // With the second flag, a signal that does not kill the process does not interrupt a call that the listener already
    // has. Kernels before 5.19 refuse this flag.
    let listener = seccomp_filter(
        program,
        listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    )
    .or_else(|_| seccomp_filter(program, listen))?;
    let listener = i32::try_from(listener).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "the kernel made this descriptor just now")]
    // SAFETY: The call seccomp succeeded, so the descriptor is open and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Installs a seccomp filter for this process and all its future children, permanently. The kernel requires that the
/// process has set `no_new_privs` before this call.
pub fn seccomp_filter(program: &[Instruction], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    #[expect(unsafe_code, reason = "there is no safe wrapper of seccomp")]
    // SAFETY: An `Instruction` has the layout of a `sock_filter` (`repr(C)`, the same four fields, checked by a test).
    // The kernel reads `len` instructions, which live in the slice until the call returns. The kernel only reads the
    // instructions.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    check(result)
}

/// Joins a new session keyring, so that this process can't use the keyring of the service.
pub fn join_new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    #[expect(unsafe_code, reason = "there is no safe wrapper of keyctl")]
    // SAFETY: A null name requests an anonymous keyring, and the kernel reads no memory.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<u8>()) };
    check(result).map(drop)
}

/// Resets all signal handlers to their defaults, which child processes inherit.
pub fn reset_signals() {
    for signal in 1..=64 {
        #[expect(unsafe_code, reason = "there is no safe wrapper of signal")]
        // SAFETY: The default handler of a signal runs no code of this program. For a signal that can't be changed, the
        // call returns an error, and the signal already has its default handler.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Returns the CPU time of all reaped descendants in microseconds, and the maximum resident set size of one descendant
/// in bytes.
pub fn usage_of_children() -> io::Result<(u64, u64)> {
    #[expect(unsafe_code, reason = "a zeroed structure that the kernel fills")]
    // SAFETY: `rusage` consists of integers, for which all zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "there is no safe wrapper of getrusage")]
    // SAFETY: The pointer refers to a live local of the correct type.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    check(result.into())?;
    Ok(spent(&usage))
}

fn spent(usage: &libc::rusage) -> (u64, u64) {
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let resident = u64::try_from(usage.ru_maxrss)
        .unwrap_or(0)
        .saturating_mul(1024);
    (micros(usage.ru_utime) + micros(usage.ru_stime), resident)
}

fn full_set() -> io::Result<libc::sigset_t> {
    #[expect(unsafe_code, reason = "a zeroed structure that libc fills")]
    // SAFETY: `sigset_t` consists of integers, for which all zeroes are valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "there is no safe wrapper of sigfillset")]
    // SAFETY: The pointer refers to a live local of the correct type.
    let result = unsafe { libc::sigfillset(&raw mut set) };
    check(result.into())?;
    Ok(set)
}

/// Blocks or unblocks all signals.
pub fn mask_all_signals(how: libc::c_int) -> io::Result<()> {
    let set = full_set()?;
    #[expect(unsafe_code, reason = "there is no safe wrapper of sigprocmask")]
    // SAFETY: The set is alive, and a null pointer for the old mask is allowed.
    let result = unsafe { libc::sigprocmask(how, &raw const set, ptr::null_mut()) };
    check(result.into()).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(process: rustix::process::Pid) -> rustix::process::WaitStatus {
        let waited = rustix::process::waitpid(Some(process), rustix::process::WaitOptions::empty());
        waited.expect("waits").expect("has ended").1
    }

    #[test]
    fn a_spawned_process_changes_shared_memory_but_not_the_working_directory() {
        let (mut said, mut pid) = (Vec::new(), 0);
        let before = std::env::current_dir().expect("a directory");
        let process = spawn(&mut || {
            pid = std::process::id();
            // Use more stack than a small stack frame.
            let deep = std::hint::black_box([7_u8; 64 << 10]);
            said.extend_from_slice(&deep[..3]);
            rustix::process::chdir("/proc").expect("enters");
        })
        .expect("spawns");
        assert_eq!(
            (said.as_slice(), pid),
            ([7; 3].as_slice(), process.as_raw_pid().cast_unsigned())
        );
        assert_eq!(
            ended(process).exit_status(),
            Some(127),
            "it came back and executed nothing"
        );
        assert_eq!(std::env::current_dir().expect("a directory"), before);
    }

    #[test]
    fn a_panic_in_a_spawned_process_does_not_stop_its_parent() {
        let process =
            spawn(&mut || std::panic::resume_unwind(Box::new("on purpose"))).expect("spawns");
        assert_eq!(ended(process).exit_status(), Some(127));
    }

    #[test]
    fn a_program_gets_exactly_the_given_arguments_and_environment() {
        let text = |text: &str| CString::new(text).expect("no NUL");
        let script = r#"test "$1" = 'a b' && test "$(env | grep -c '^ONLY=')" = 1 && test -z "$HOME" && exit 3"#;
        let arguments = ["sh", "-c", script, "sh", "a b"].map(text);
        let (environment, mut failed) = ([text("ONLY=x=y"), text("PATH=/usr/bin:/bin")], None);
        let process = spawn(&mut || failed = Some(execute(c"/bin/sh", &arguments, &environment)))
            .expect("spawns");
        assert_eq!(
            (ended(process).exit_status(), failed.is_none()),
            (Some(3), true)
        );
        let process = spawn(&mut || failed = Some(execute(c"/nonexistent", &arguments, &[])))
            .expect("spawns");
        assert_eq!(ended(process).exit_status(), Some(127));
        assert_eq!(
            failed.map(|error| error.kind()),
            Some(io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn only_unmodified_memory_pages_of_files_are_released() {
        let entry = |first: &str, anonymous: &str, swap: &str| {
            format!(
                "{first}\nRss: 8 kB\nAnonymous: {anonymous} kB\nLazyFree: 0 kB\nSwap: {swap} kB\nSwapPss: 0 kB\nVmFlags: rd\n"
            )
        };
        let code = "55d0c0a00000-55d0c0b00000 r-xp 00100000 fe:00 131 /usr/bin/with a blank";
        let data = "7f0000000000-7f0000001000 r--p 00000000 fe:00 131 /usr/lib/x.so";
        let both = [
            (0x55d0_c0a0_0000, 0x55d0_c0b0_0000),
            (0x7f00_0000_0000, 0x7f00_0000_1000),
        ];
        assert_eq!(
            as_in_files(&(entry(code, "0", "0") + &entry(data, "0", "0"))),
            both
        );
        // The pages were relocated and then made read-only, or were swapped out, or were not reported.
        for (anonymous, swap) in [("4", "0"), ("0", "4"), ("", "0")] {
            assert_eq!(
                as_in_files(&(entry(code, "0", "0") + &entry(data, anonymous, swap))),
                both[..1]
            );
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
        assert_eq!(
            as_in_files(&format!("{code}\nSwap: 0 kB\n")),
            [],
            "nothing is said of its pages"
        );
    }

    /// The test forks a process with one thread, like the helper.
    #[test]
    fn a_process_continues_after_its_file_pages_are_released() {
        let here = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
            // The heap can grow while the file is read, so only mappings of files count.
            (
                maps.lines().filter(|line| line.contains('/')).count(),
                LINES.iter().copied().sum::<u64>(),
            )
        };
        static LINES: [u64; 4] = [1, 20, 300, 4000];
        let ForkSide::Parent(process) = fork().expect("forks") else {
            let before = here();
            forget_files();
            end(if here() == before { 7 } else { 8 });
        };
        assert_eq!(ended(process).exit_status(), Some(7));
    }

    #[test]
    fn a_filter_instruction_has_the_memory_layout_of_the_kernel_structure() {
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
