//! The runtime of a package: a small library without std that reads its store.
//!
//! It asks the C library for system calls and memory moves only.

#![no_std]

mod map;
mod modules;

/// Nothing here panics by design; if something does, the process ends as it would
/// on any other broken promise.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: abort takes nothing and does not return.
    unsafe { libc::abort() }
}
