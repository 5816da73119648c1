//! Functions of Python that ask first.
//!
//! A package lets bodies of modules wait (`python/deferred.py`) until something asks what
//! they registered. Functions of C that do stand for others of the same kind here, so that
//! nobody can tell them apart by looking.

use core::ffi::{CStr, c_char, c_void};
use core::mem;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The name of the capsules in which functions find what they are.
pub const CAPSULE: &CStr = c"taper.gate";

type Object = *mut c_void;

/// A function of the interpreter, which has been loaded if this code runs.
///
/// # Safety
/// `F` is the type of a pointer to the function.
unsafe fn python<F: Copy>(name: &CStr) -> Option<F> {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() || size_of::<F>() != size_of::<*mut c_void>() {
        return None;
    }
    // SAFETY: a pointer to a function of that type, as the caller says.
    Some(unsafe { mem::transmute_copy(&found) })
}

/// What a method definition with positional and named arguments points to. `this` is a
/// capsule of a tuple of two: what is called first with the same arguments, and what then
/// gives the result. Raises what either raises.
///
/// # Safety
/// The interpreter calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_gate(this: Object, words: Object, named: Object) -> Object {
    type Pointer = unsafe extern "C" fn(Object, *const c_char) -> Object;
    type Item = unsafe extern "C" fn(Object, isize) -> Object;
    type Call = unsafe extern "C" fn(Object, Object, Object) -> Object;
    type Free = unsafe extern "C" fn(Object);
    // SAFETY: the interpreter's own functions (Python/C API, stable since 3.2), called with
    // the lock that it holds while it calls this one; references that are borrowed stay, for
    // the capsule's tuple does.
    unsafe {
        let (Some(pointer), Some(item), Some(call), Some(free)) = (
            python::<Pointer>(c"PyCapsule_GetPointer"),
            python::<Item>(c"PyTuple_GetItem"),
            python::<Call>(c"PyObject_Call"),
            python::<Free>(c"Py_DecRef"),
        ) else {
            return core::ptr::null_mut();
        };
        let both = pointer(this, CAPSULE.as_ptr());
        if both.is_null() {
            return both;
        }
        let asked = call(item(both, 0), words, named);
        if asked.is_null() {
            return asked;
        }
        free(asked);
        call(item(both, 1), words, named)
    }
}

/// What [`taper_hooked`] calls, and where it goes on.
static CALLED: AtomicUsize = AtomicUsize::new(0);
static GOES_ON: AtomicUsize = AtomicUsize::new(0);

/// The address of a function that calls `called`, which takes nothing and throws nothing,
/// and goes on to the function at `goes_on` as if that had been called: what it returns or
/// throws reaches the caller. There is one.
#[unsafe(no_mangle)]
pub extern "C" fn taper_hook(called: usize, goes_on: usize) -> usize {
    CALLED.store(called, Ordering::Release);
    GOES_ON.store(goes_on, Ordering::Release);
    taper_hooked as *const () as usize
}

unsafe extern "C" {
    /// See [`taper_hook`]. Its arguments are those of a function of C++ with up to three words.
    fn taper_hooked();
}

core::arch::global_asm!(
    ".pushsection .text.taper_hooked, \"ax\", @progbits",
    ".hidden taper_hooked",
    ".globl taper_hooked",
    ".type taper_hooked, @function",
    "taper_hooked:",
    ".cfi_startproc",
    "endbr64",
    // Three words and the caller's address keep the stack aligned.
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "push rdx",
    ".cfi_adjust_cfa_offset 8",
    "call [rip + {called}]",
    "pop rdx",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "jmp [rip + {goes_on}]",
    ".cfi_endproc",
    ".size taper_hooked, . - taper_hooked",
    ".popsection",
    called = sym CALLED,
    goes_on = sym GOES_ON,
);
