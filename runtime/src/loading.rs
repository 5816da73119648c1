//! What happens as libraries are loaded and unloaded: the store is opened, signals are taken,
//! libraries are listed.

use crate::library::{self, Entering};
use crate::line::Line;
use crate::{bind, map, restore, slots};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};
use note::Note;
use store::Store;

/// Whether the process ends: libraries say farewell, but their code may still run.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Lists a library, unless it is listed, and calls `take`, which takes the signals. False where
/// that is not possible: this thread was interrupted while it did so.
///
/// # Safety
/// `note` has `length` bytes and stays until [`leave`]; `base` is the library's load base.
pub unsafe fn enter(note: *mut u8, length: u32, base: usize, take: fn()) -> bool {
    let Some(entering) = Entering::begin() else { return false };
    if library::knows(note) {
        take();
        return true;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts(note, length as usize) };
    let Ok(read) = Note::open(bytes) else {
        Line::new().text("the note of a library is damaged; copy the package again").end();
    };
    begin(&read);
    if library::is_empty() {
        // What came after the runtime, and before this.
        bind::everywhere();
    }
    library::list(&entering, bytes, &read, base);
    take();
    true
}

/// Takes a library off the list, unless the process ends.
pub fn leave(note: *mut u8) {
    if !ENDING.load(Ordering::Relaxed) {
        library::forget(note);
    }
}

/// Opens the store and calls `take`, which takes the signals, where there is a store; false where
/// there is none.
pub fn prepare(take: fn()) -> bool {
    let mut path = [0u8; 4096];
    let there = |path: &CStr| {
        // SAFETY: a C string.
        unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
    };
    let Some(_entering) = Entering::begin() else { return false };
    if !beside(&mut path).is_some_and(there) {
        return false;
    }
    ready();
    take();
    true
}

/// Opens the store, once.
fn ready() {
    if !library::has_store() {
        restore::listen();
        slots::begin();
        open();
        bind::everywhere();
        // SAFETY: the function stays: the runtime is never unloaded.
        unsafe { __cxa_atexit(ending, ptr::null_mut(), ptr::null_mut()) };
    }
}

/// Opens the store where it is not; checks that `note` speaks of this store.
fn begin(note: &Note<'_>) {
    ready();
    let whole = |root: [u8; 32], count: u32| {
        let last = note.first_chunk().checked_add(note.chunks());
        note.root() == root && last.is_some_and(|last| last <= count)
    };
    match library::store() {
        Some(store) if whole(store.root(), store.len()) => {}
        _ => Line::new()
            .bytes(note.name())
            .text(" and the store _taper/cold are of two packages; copy the package again")
            .end(),
    }
}

extern "C" fn ending(_: *mut c_void) {
    ENDING.store(true, Ordering::Relaxed);
    restore::summary();
}

fn open() {
    let mut path = [0u8; 4096];
    let Some(path) = beside(&mut path) else {
        Line::new().text("the loader does not say where the package is").end();
    };
    let says = |what: &str, number: i32| -> ! {
        let line = Line::new().text("cannot read ").bytes(path.to_bytes()).text(": ").text(what);
        let line = if number > 0 { line.number(number as u64) } else { line };
        line.text("; copy the package again").end()
    };
    let bytes = match map::file(path) {
        Ok(bytes) => bytes,
        Err(libc::ENOENT) => says("it is not there", 0),
        Err(libc::EACCES) => says("permission denied", 0),
        Err(number) => says("system error ", number),
    };
    if Store::open(bytes).is_err() {
        says("its bytes are not those that were written", 0);
    }
    library::set_store(bytes);
}

/// The path of the store, which lies beside the runtime.
fn beside(buffer: &mut [u8; 4096]) -> Option<&CStr> {
    const NAME: &[u8] = b"cold\0";
    struct Search {
        path: *mut [u8; 4096],
        length: usize,
    }
    unsafe extern "C" fn each(
        object: *mut libc::dl_phdr_info,
        _: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader gives a valid object, `beside` a valid search.
        let (object, search) = unsafe { (&*object, &mut *search.cast::<Search>()) };
        let own = each as *const () as usize;
        // SAFETY: the loader's table of program headers.
        let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        let inside = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
            let start = object.dlpi_addr as usize + header.p_vaddr as usize;
            (start..start + header.p_memsz as usize).contains(&own)
        });
        if !inside {
            return 0;
        }
        // SAFETY: a name of the loader's is a C string.
        let name = unsafe { CStr::from_ptr(object.dlpi_name.cast::<c_char>()) }.to_bytes();
        let folder = name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        // SAFETY: the buffer of `beside`.
        let path = unsafe { &mut *search.path };
        if let Some(place) = path.get_mut(..folder + NAME.len()) {
            place[..folder].copy_from_slice(&name[..folder]);
            place[folder..].copy_from_slice(NAME);
            search.length = place.len();
        }
        1
    }
    let mut search = Search { path: buffer, length: 0 };
    // SAFETY: the callback and its argument are as the loader wants them.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut search).cast()) };
    CStr::from_bytes_with_nul(buffer.get(..search.length)?).ok()
}

unsafe extern "C" {
    fn __cxa_atexit(
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        library: *mut c_void,
    ) -> c_int;
}
