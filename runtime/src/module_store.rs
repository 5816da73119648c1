//! What the package's Python side calls to read its modules.

use crate::map::{self, Memory};
use core::ffi::{CStr, c_char, c_int};
use core::slice;
use format::store_error;
use store::{Error, Store, Workspace};

/// The number by which Python knows an error; errors of the system are positive.
fn code(error: Error) -> c_int {
    match error {
        Error::Foreign => store_error::FOREIGN,
        Error::Truncated => store_error::TRUNCATED,
        Error::Damaged => store_error::DAMAGED,
        Error::Range => store_error::RANGE,
    }
}

/// Maps the store at `path` for as long as the process lives, and gives its address and
/// size. Returns 0, the number of a system's error, or one of [`code`].
///
/// # Safety
/// `path` is a C string; `bytes` and `size` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_map(
    path: *const c_char,
    bytes: *mut *const u8,
    size: *mut usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    let mapped = match map::file(path) {
        Ok(mapped) => mapped,
        Err(error) => return error,
    };
    if let Err(error) = Store::open(mapped) {
        return code(error);
    }
    // SAFETY: the caller's promise.
    unsafe {
        *bytes = mapped.as_ptr();
        *size = mapped.len();
    }
    0
}

/// The number of bytes of chunk `number` of a store that [`taper_map`] mapped; below
/// zero for one of [`code`].
///
/// # Safety
/// `bytes` and `size` are what [`taper_map`] gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_length(bytes: *const u8, size: usize, number: u32) -> i64 {
    // SAFETY: the caller's promise.
    let store = Store::checked(unsafe { slice::from_raw_parts(bytes, size) });
    match store.and_then(|store| store.entry(number).ok_or(Error::Range)) {
        Ok(entry) => entry.length.into(),
        Err(error) => code(error).into(),
    }
}

/// Fills `out` with chunk `number`. Returns 0 or an error as [`taper_map`] does.
///
/// # Safety
/// `bytes` and `size` are what [`taper_map`] gave; `out` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_read(
    bytes: *const u8,
    size: usize,
    number: u32,
    out: *mut u8,
    length: usize,
) -> c_int {
    let Some(mut memory) = Memory::new(Workspace::size()) else { return libc::ENOMEM };
    let Some(mut workspace) = Workspace::new(memory.words()) else { return libc::ENOMEM };
    // SAFETY: the caller's promise.
    let (bytes, out) =
        unsafe { (slice::from_raw_parts(bytes, size), slice::from_raw_parts_mut(out, length)) };
    match Store::checked(bytes).and_then(|store| store.read(number, out, &mut workspace)) {
        Ok(()) => 0,
        Err(error) => code(error),
    }
}
