//! Finds out whether the clock of this host is synchronized with another clock.

use std::io;

/// Returns true if the kernel's clock is synchronized (adjtimex(2): without the bit `STA_UNSYNC`). NTP daemons and
/// hypervisors set this state.
///
/// # Errors
/// Returns an error if the kernel or a filter refuses the call.
pub fn is_synchronized() -> io::Result<bool> {
    #[expect(unsafe_code, reason = "there is no safe wrapper of adjtimex")]
    // SAFETY: all bytes zero is a valid `timex`, and with `modes` 0 the kernel only fills the structure.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0)
}
