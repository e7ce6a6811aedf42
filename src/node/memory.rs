//! Release of the memory that the service needed only for its start.

/// Returns freed memory to the kernel at once. Without this call, the allocator keeps about 20 MB after the program has
/// read a large registry. The allocator returns pages to the kernel only while the program allocates memory, and a
/// service without requests allocates no memory.
pub(super) fn release_freed_memory() {
    #[expect(unsafe_code, reason = "a function of C without arguments in memory")]
    // SAFETY: `mi_collect` may be called at any time from any thread (mimalloc's documentation, "Extended Functions").
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
