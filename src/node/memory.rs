//! Release of the memory that the service needed only for its start.

/// Returns freed memory to the kernel, which is about 20 MB after a large registry was read. Without this call, the
/// allocator returns pages only while the program allocates memory, and an idle service allocates no memory.
pub(super) fn release_freed_memory() {
    #[expect(unsafe_code, reason = "a function of C without arguments in memory")]
    // SAFETY: `mi_collect` may be called at any time from any thread (mimalloc's documentation, "Extended Functions").
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
