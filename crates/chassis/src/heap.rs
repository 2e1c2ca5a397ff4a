//! How the C library's allocator deals with large buffers.
#![expect(
    unsafe_code,
    reason = "mallopt is a C function; it touches no memory, only settings of the allocator"
)]

/// Blocks from this size on are mapped by themselves, and given back when they are freed; buffers of received pieces are smaller.
#[cfg(target_env = "gnu")]
const OWN_MAPPING_BYTES: libc::c_int = 8 * 1024 * 1024;

/// So much free memory at the end of a heap is kept.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 8 * 1024 * 1024;

/// Has the allocator keep the buffers that data comes in. To be called before there are threads.
///
/// Left alone it returns each to the kernel, which clears it anew for the next: reading from a peer to memory takes half as long
/// again. Allocators of other C libraries are left as they are.
pub fn keep_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: both take an integer, and refuse one that they do not like.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}
