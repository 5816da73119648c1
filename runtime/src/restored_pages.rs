//! What was brought back, or asked for in vain, as lines in a file: `TAPER_PROFILE=DIR`.
//!
//! A line says one page of one library, which a hash of the original's content names. Each
//! is one write to a file that is opened for it: nothing is lost when the process is
//! killed, and a child after `fork` has a file of its own. `crates/profile` reads them.

use crate::library::Library;
use crate::line::Line;
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use format::{record, variable};

/// Bytes of the longest path of a folder.
const PATH: usize = 4096;

/// The folder, with a slash after it. It is written before another thread can read it.
struct Folder(core::cell::UnsafeCell<[u8; PATH]>);

// SAFETY: written once, while the loader's lock is held, before `LENGTH` says so.
unsafe impl Sync for Folder {}

static FOLDER: Folder = Folder(core::cell::UnsafeCell::new([0; PATH]));
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicBool = AtomicBool::new(false);

/// The most pages that come back one by one: each may split a mapping in three, and a process
/// has 65,530 by default (`vm.max_map_count`), which others need too.
const SINGLE: usize = 8192;

/// How many more pages may come back one by one.
static SINGLE_LEFT: AtomicUsize = AtomicUsize::new(SINGLE);

/// Records into the folder that the environment's variable names, from now on; it is made
/// if its parent is there. The program may change its own folder later.
///
/// # Safety
/// No other thread changes the environment meanwhile.
pub unsafe fn listen() {
    // SAFETY: a C string; the caller's promise.
    let value = unsafe { libc::getenv(variable::PROFILE.as_ptr()) };
    if value.is_null() {
        return;
    }
    // SAFETY: the environment holds C strings.
    let named = unsafe { CStr::from_ptr(value) }.to_bytes();
    // SAFETY: see `Folder`.
    let folder = unsafe { &mut *FOLDER.0.get() };
    let mut length = 0;
    if named.first() != Some(&b'/') {
        // SAFETY: the buffer is this long.
        if unsafe { libc::getcwd(folder.as_mut_ptr().cast(), PATH) }.is_null() {
            return;
        }
        length = folder.iter().position(|byte| *byte == 0).unwrap_or(0);
        if let Some(byte) = folder.get_mut(length) {
            *byte = b'/';
        }
        length += 1;
    }
    // The name of a file follows.
    let Some(place) =
        folder.get_mut(length..length + named.len() + 40).filter(|_| !named.is_empty())
    else {
        return;
    };
    place.fill(0);
    place[..named.len()].copy_from_slice(named);
    length += named.len();
    // SAFETY: a C string, which a zero ends. If it is there, that is well; what else is
    // wrong is said when a file is to be made in it.
    unsafe { libc::mkdir(folder.as_ptr().cast(), 0o777) };
    folder[length] = b'/';
    LENGTH.store(length + 1, Ordering::Release);
}

/// Whether anything is to be recorded.
pub fn records() -> bool {
    LENGTH.load(Ordering::Acquire) != 0
}

/// Whether the next page comes back alone, so that only what is touched is recorded; the
/// count of those that may is limited, after which whole chunks come back, and are recorded.
pub fn is_page_by_page() -> bool {
    let less = |left: usize| left.checked_sub(1);
    records() && SINGLE_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}

/// Records a `page` of `library`.
pub fn page(library: &Library, page: u32) {
    if !records() {
        return;
    }
    let mut line = Line::bare().text(record::PAGE);
    for byte in library.note.content() {
        line = line.hexadecimal(byte);
    }
    append(line.text(" ").number(page.into()).text(" ").bytes(library.note.name()));
}

/// Records that the stored module with this path in the package was loaded.
///
/// # Safety
/// `path` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_loaded(path: *const c_char, length: usize) {
    if records() {
        // SAFETY: the caller's promise.
        let path = unsafe { core::slice::from_raw_parts(path.cast(), length) };
        append(Line::bare().text(record::MODULE).bytes(path));
    }
}

/// Whether the package's Python side, which may be here before any library, is to record.
#[unsafe(no_mangle)]
pub extern "C" fn taper_records() -> c_int {
    if !records() {
        // SAFETY: the interpreter's lock is held, which guards the environment.
        unsafe { listen() };
    }
    records().into()
}

fn append(line: Line) {
    let length = LENGTH.load(Ordering::Acquire);
    // SAFETY: it is not written any more.
    let folder = unsafe { &*FOLDER.0.get() };
    let mut path = [0u8; PATH];
    path[..length].copy_from_slice(&folder[..length]);
    // SAFETY: it takes nothing.
    let own = Line::bare().number(unsafe { libc::getpid() } as u64).text(record::ENDING);
    let Some(place) = path.get_mut(length..length + own.so_far().len()) else { return };
    place.copy_from_slice(own.so_far());
    let how = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: a C string, which a zero ends.
    let file = unsafe { libc::open(path.as_ptr().cast(), how, 0o666) };
    if file < 0 {
        if !FAILED.swap(true, Ordering::Relaxed) {
            // SAFETY: the thread's own place.
            let number = unsafe { *libc::__errno_location() };
            let line = Line::new().text("cannot record in ").bytes(&folder[..length]);
            line.text(" (TAPER_PROFILE): system error ").number(number as u64).say();
        }
        return;
    }
    line.write(file);
    // SAFETY: the descriptor was just opened.
    unsafe { libc::close(file) };
}
