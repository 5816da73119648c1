//! The runtime of a package: a small library without std that brings back what lies
//! compressed in it.
//!
//! [`entry`] is what the loader and shrunk libraries call. [`loading`] lists the libraries in
//! [`library`], and [`found`] looks for others. [`fault`] sees a page that is not there and hands on
//! every other fault to whoever asked [`signals`], [`restore`] puts the page in its place, [`refuse`]
//! answers calls of what is not in the package, [`restored_pages`] keeps a list of both for the next
//! package. [`module_store`] and [`gated_function`] are what the package's Python side calls. In the
//! fault path, the C library is asked for system calls and memory moves only.

#![no_std]

mod bind;
mod entry;
mod fault;
mod found;
mod gated_function;
mod library;
mod line;
mod loading;
mod map;
mod module_store;
mod refuse;
mod restore;
mod restored_pages;
mod signals;
mod slots;
mod symbols;

/// Nothing here panics by design; if something does, the process ends as it would
/// on any other broken promise.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: abort takes nothing and does not return.
    unsafe { libc::abort() }
}
