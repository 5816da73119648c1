//! What the loader and shrunk libraries call.

use crate::{fault, found, loading};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// Finds what is loaded together with the runtime.
extern "C" fn start() {
    if loading::prepare(fault::take) {
        found::look(None, &fault::enter);
    }
}

/// A shrunk library calls this before any of its own code runs, and after all of it has.
///
/// # Safety
/// `note` has `length` bytes and stays until the second call; `base` is the library's load
/// base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_library(note: *mut u8, length: u32, base: usize, loaded: u32) {
    if loaded == 0 {
        loading::leave(note);
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { loading::enter(note, length, base, fault::take) };
}
