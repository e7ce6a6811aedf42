//! The memory of the service: no other process can read it, and memory of the start is released.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Prevents core dumps of the service, and access of other processes of its user to its memory and environment, because
/// both contain keys and secrets.
///
/// # Errors
/// Returns an error if the kernel refuses.
pub fn make_private() -> io::Result<()> {
    rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

/// Returns freed memory to the kernel: about 20 MB after a large registry was read. Without this call, the allocator
/// returns pages only while the program allocates memory, and an idle service allocates no memory.
pub fn release_freed_memory() {
    #[expect(unsafe_code, reason = "a function of C without arguments in memory")]
    // SAFETY: `mi_collect` may be called at any time from any thread (mimalloc's documentation, "Extended Functions").
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
