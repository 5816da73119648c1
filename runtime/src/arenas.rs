//! Memory for Python's objects.
//!
//! CPython takes memory for small objects in arenas of 1 MiB, and chunks of the stack of its
//! frames (16 KiB or more, since 3.11), from the same allocator (`PyObject_SetArenaAllocator`;
//! Objects/obmalloc.c, Python/pystate.c). Its own maps each anew. An arena then costs 256 page
//! faults, and a loop whose calls cross the end of a chunk a mapping, a fault and an
//! unmapping each time round: importing a large package does so ten thousand times. Here the
//! pages of an arena come at once, and the chunk that was freed last is given out again.
//!
//! Huge pages for arenas were tried: where the machine is a virtual one, clearing them for the
//! first time took longer than the faults that they save.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The usual chunk of the stack (`DATA_STACK_CHUNK_SIZE` in Python/pystate.c), in bytes.
const CHUNK: usize = 16 << 10;

/// The size of an arena, in bytes. Larger chunks of the stack are rare, and not filled at once.
const ARENA: usize = 1 << 20;

/// The chunk that was freed last, until another takes it.
static SPARE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Gives `size` bytes, aligned to a page; null where there are none. What was in them, if not
/// zeros, is of no use.
#[unsafe(no_mangle)]
pub extern "C" fn taper_arena_alloc(_: *mut c_void, size: usize) -> *mut c_void {
    // Interpreters with a lock each may ask at the same time.
    if size == CHUNK {
        let spare = SPARE.swap(null_mut(), Ordering::AcqRel);
        if !spare.is_null() {
            return spare;
        }
    }
    let filled = if size == ARENA { libc::MAP_POPULATE } else { 0 };
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | filled;
    // SAFETY: a new mapping at a place that the system chooses.
    let place =
        unsafe { libc::mmap(null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0) };
    if place == libc::MAP_FAILED { null_mut() } else { place }
}

/// Takes back what [`taper_arena_alloc`] gave, or CPython's own allocator, which maps, too.
///
/// # Safety
/// `place` is the start of `size` such bytes, which nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_arena_free(_: *mut c_void, place: *mut c_void, size: usize) {
    let old = if size == CHUNK { SPARE.swap(place, Ordering::AcqRel) } else { place };
    if !old.is_null() {
        // SAFETY: a mapping of that size, as the caller says, or the spare one.
        unsafe { libc::munmap(old, size) };
    }
}
