//! Calls that wait for a listener of a system-call filter.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr,
};

use crate::isolation::syscalls::check;

/// Command to receive the next waiting call, `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: u32 = 0xc050_2100;
/// Command to answer a call, `_IOWR('!', 1, struct seccomp_notif_resp)`.
const ANSWER: u32 = 0xc018_2101;
/// Command to ask whether a call still waits, `_IOW('!', 2, __u64)`.
const IS_WAITING: u32 = 0x4008_2102;
/// Command to set flags of the listener, `_IOW('!', 4, __u64)`.
const SET_FLAGS: u32 = 0x4008_2104;
/// Flag of the listener: the kernel wakes caller and listener on the same processor.
const SYNCHRONOUS: u64 = 1;

/// A system call that waits.
pub struct WaitingCall {
    pub id: u64,
    /// Thread that made the call, in the pid namespace of this process.
    pub thread: u32,
    pub number: i32,
    pub arguments: [u64; 6],
}

/// Receives a waiting call. The listener must be readable, because this function would otherwise block.
pub fn receive(listener: &OwnedFd) -> io::Result<WaitingCall> {
    #[expect(unsafe_code, reason = "a zeroed structure that the kernel fills")]
    // SAFETY: `seccomp_notif` consists of integers, for which all zeroes are valid.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "there is no safe wrapper of this ioctl")]
    // SAFETY: The command contains the size of the structure, which is a live local of this type.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as libc::Ioctl, &raw mut call) };
    check(result.into())?;
    Ok(WaitingCall {
        id: call.id,
        thread: call.pid,
        number: call.data.nr,
        arguments: call.data.args,
    })
}

/// Returns true if the call with this id still waits. The thread of the call is then alive.
pub fn is_waiting(listener: &OwnedFd, id: u64) -> bool {
    #[expect(unsafe_code, reason = "there is no safe wrapper of this ioctl")]
    // SAFETY: The kernel reads an integer of 64 bits, which lives until the call returns.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            IS_WAITING as libc::Ioctl,
            &raw const id,
        )
    };
    check(result.into()).is_ok()
}

/// Lets the kernel execute the call with this id.
///
/// # Errors
/// Fails if the call no longer waits, because its thread was killed or interrupted by a signal.
pub fn let_continue(listener: &OwnedFd, id: u64) -> io::Result<()> {
    const CONTINUE: u32 = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: CONTINUE,
    };
    #[expect(unsafe_code, reason = "there is no safe wrapper of this ioctl")]
    // SAFETY: The command contains the size of the structure, which is a live local of this type.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), ANSWER as libc::Ioctl, &raw mut answer) };
    check(result.into()).map(drop)
}

/// Reads memory of a thread. Returns the number of read bytes, which is smaller if the range is not mapped completely.
pub fn read_memory(thread: u32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let address = usize::try_from(address).map_err(io::Error::other)?;
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = libc::iovec {
        iov_base: ptr::without_provenance_mut(address),
        iov_len: into.len(),
    };
    #[expect(unsafe_code, reason = "there is no safe wrapper of process_vm_readv")]
    // SAFETY: The kernel writes at most `iov_len` bytes to `local`, which is a mutable slice of this length. The address in
    // `remote` is only used in the memory of the other process.
    let read = unsafe {
        libc::process_vm_readv(
            thread.cast_signed(),
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Makes answers faster with the flag `SYNCHRONOUS`. Kernels before 6.6 don't have this flag, so errors are ignored.
pub fn answer_fast(listener: &OwnedFd) {
    #[expect(unsafe_code, reason = "there is no safe wrapper of this ioctl")]
    // SAFETY: This command takes an integer and no pointer.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as libc::Ioctl, SYNCHRONOUS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_contain_the_sizes_of_the_structures() {
        // The bits are 2 for the direction, 14 for the size, 8 for the letter and 8 for the number.
        let command = |direction: usize, number: usize, size: usize| {
            direction << 30 | size << 16 | 0x2100 | number
        };
        assert_eq!(
            RECEIVE as usize,
            command(3, 0, size_of::<libc::seccomp_notif>())
        );
        assert_eq!(
            ANSWER as usize,
            command(3, 1, size_of::<libc::seccomp_notif_resp>())
        );
        assert_eq!(IS_WAITING as usize, command(1, 2, size_of::<u64>()));
    }
}
