//! How much memory the process may keep: few threads, and an allocator that gives large buffers back. The one place with `unsafe`.

use lrl_store::budget::WORKERS;

/// Sets the process up; called once, before any thread is started.
pub fn limit() {
    set_allocator();
    // More would take more memory than the budget of 64 MiB has.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
    // Fails only if a pool is there already; then that one is used.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}

/// By default glibc keeps what each thread has freed, and raises the length from which buffers go back to the system to the
/// longest one it has seen: with chunks of up to 4 MiB that doubles the peak. Of what is free at the end of the heap it keeps two megabytes:
/// to give each buffer of 64 KiB back and to have its pages cleared again took a fifth of the time of a large restore.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn set_allocator() {
    // SAFETY: mallopt only sets parameters of the allocator, and no other thread is running yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 << 20);
    }
}

/// musl maps whatever is longer than 128 KiB on its own and gives it back when it is freed: nothing is to be set, and peaks are below glibc's.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set_allocator() {}
