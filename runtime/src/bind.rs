//! Binds code outside the package to the runtime's answers for signals.
//!
//! The interpreter and what else was loaded before call the C library by its name; the
//! words that hold the addresses of `sigaction` and its kind are set to the runtime's. The
//! package's own libraries were bound when they were written.

use crate::signals;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::slice;

/// One entry of a dynamic section.
#[repr(C)]
struct Dynamic {
    tag: u64,
    value: u64,
}

/// One relocation.
#[repr(C)]
struct Relocation {
    place: u64,
    kind: u32,
    symbol: u32,
    addend: i64,
}

/// The start of a dynamic symbol, and the rest of it.
#[repr(C)]
struct Symbol {
    name: u32,
    rest: [u8; 20],
}

/// `R_X86_64_GLOB_DAT` and `R_X86_64_JUMP_SLOT`.
const BOUND: [u32; 2] = [6, 7];

/// Objects that are the C library or part of the loader, or that cannot be written to.
const OTHERS: [&[u8]; 5] =
    [b"/libc.so.", b"/ld-linux", b"linux-vdso", b"linux-gate", b"/libtaper_runtime.so"];

/// What the runtime answers to a name.
fn answer(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"sigaction" => signals::taper_sigaction as *const () as usize,
        b"signal" => signals::taper_signal as *const () as usize,
        b"bsd_signal" => signals::taper_bsd_signal as *const () as usize,
        b"__sysv_signal" => signals::taper___sysv_signal as *const () as usize,
        b"sigprocmask" => signals::taper_sigprocmask as *const () as usize,
        b"pthread_sigmask" => signals::taper_pthread_sigmask as *const () as usize,
        _ => return None,
    })
}

/// Binds everything that is loaded. The loader's lock is held.
pub fn everywhere() {
    // SAFETY: the callback is as the loader wants it.
    unsafe { libc::dl_iterate_phdr(Some(each), core::ptr::null_mut()) };
}

unsafe extern "C" fn each(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the loader gives a valid object; its name is a C string.
    let (object, name) = unsafe {
        let object = &*object;
        (object, CStr::from_ptr(object.dlpi_name.cast::<c_char>()).to_bytes())
    };
    let is = |part: &&[u8]| name.windows(part.len()).any(|window| window == *part);
    if OTHERS.iter().any(is) {
        return 0;
    }
    // SAFETY: the loader's table of program headers.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let base = object.dlpi_addr as usize;
    let place = |kind: u32| {
        let header = headers.iter().find(|header| header.p_type == kind)?;
        let start = base + header.p_vaddr as usize;
        Some((start, start + header.p_memsz as usize))
    };
    let Some((dynamic, _)) = place(libc::PT_DYNAMIC) else { return 0 };
    // SAFETY: the loader has read these tables itself.
    unsafe { object_tables(base, dynamic as *const Dynamic, place(libc::PT_GNU_RELRO)) };
    0
}

/// Binds the words of one object that its relocations name.
unsafe fn object_tables(base: usize, mut entry: *const Dynamic, fixed: Option<(usize, usize)>) {
    let (mut symbols, mut strings) = (0, 0);
    let (mut tables, mut sizes) = ([0; 2], [0; 2]);
    // The loader has turned addresses into pointers, in most objects.
    let pointer = |value: u64| {
        let value = value as usize;
        if value < base { base + value } else { value }
    };
    // SAFETY: the section ends with an entry of tag 0.
    unsafe {
        while (*entry).tag != 0 {
            let value = (*entry).value;
            match (*entry).tag {
                5 => strings = pointer(value),
                6 => symbols = pointer(value),
                7 => tables[0] = pointer(value),
                8 => sizes[0] = value as usize,
                23 => tables[1] = pointer(value),
                2 => sizes[1] = value as usize,
                _ => {}
            }
            entry = entry.add(1);
        }
    }
    if symbols == 0 || strings == 0 {
        return;
    }
    for (table, size) in tables.into_iter().zip(sizes) {
        if table == 0 {
            continue;
        }
        // SAFETY: the table is as long as the section says; it names symbols of this
        // object, and these strings of it.
        unsafe {
            let count = size / size_of::<Relocation>();
            for relocation in slice::from_raw_parts(table as *const Relocation, count) {
                if !BOUND.contains(&relocation.kind) {
                    continue;
                }
                let symbol = symbols + relocation.symbol as usize * size_of::<Symbol>();
                let name = strings + (*(symbol as *const Symbol)).name as usize;
                let name = CStr::from_ptr(name as *const c_char).to_bytes();
                if let Some(target) = answer(name) {
                    set(base + relocation.place as usize, target, fixed);
                }
            }
        }
    }
}

/// Sets the word at `place`, which the loader may have made read-only with what is `fixed`.
unsafe fn set(place: usize, target: usize, fixed: Option<(usize, usize)>) {
    const PAGE: usize = 4096;
    let page = place & !(PAGE - 1);
    let closed = fixed.is_some_and(|(start, end)| page >= start & !(PAGE - 1) && page < end);
    let open = |rights: c_int| {
        // SAFETY: the page of the word, which holds no code.
        !closed || unsafe { libc::mprotect(page as *mut c_void, PAGE, rights) } == 0
    };
    if open(libc::PROT_READ | libc::PROT_WRITE) {
        // SAFETY: the word holds the address of a function.
        unsafe { (place as *mut usize).write_volatile(target) };
        open(libc::PROT_READ);
    }
}
