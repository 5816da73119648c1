//! The shrunk libraries that are loaded, and the store that holds their cold pages.

use crate::line::Line;
use crate::{bind, map, restore, signals, slots};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use note::{Note, PAGE};
use store::Store;

/// The most libraries of one process.
const LIBRARIES: usize = 4096;

/// A loaded library. Nothing of it is changed while it is listed.
struct Entry {
    /// Addresses from the first cold page to the last; both 0 where nothing is listed.
    start: AtomicUsize,
    end: AtomicUsize,
    base: AtomicUsize,
    note: AtomicPtr<u8>,
    length: AtomicUsize,
    /// For each of its chunks, what has become of it: see [`restore`].
    chunks: AtomicPtr<Chunk>,
    /// The names of absent functions, once they were needed.
    names: AtomicPtr<u8>,
    pages: AtomicUsize,
}

static ENTRIES: [Entry; LIBRARIES] = [const {
    Entry {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        base: AtomicUsize::new(0),
        note: AtomicPtr::new(ptr::null_mut()),
        length: AtomicUsize::new(0),
        chunks: AtomicPtr::new(ptr::null_mut()),
        names: AtomicPtr::new(ptr::null_mut()),
        pages: AtomicUsize::new(0),
    }
}; LIBRARIES];

/// How many entries were ever used.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The store's bytes.
static STORE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static STORE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Whether the process ends: libraries say farewell, but their code may still run.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What has become of a chunk of a library in this process. All zeros: nothing yet.
pub struct Chunk {
    /// See [`restore`].
    pub state: AtomicU32,
    /// A copy of it that no code knows, while pages come back one by one.
    pub copy: AtomicPtr<u8>,
}

/// A library in which something is cold.
#[derive(Clone, Copy)]
pub struct Library {
    /// Its load base.
    pub base: usize,
    /// Its note, which was checked when it was loaded.
    pub note: Note<'static>,
    /// What has become of its chunks. The same library may be loaded twice, in namespaces of
    /// the loader's.
    pub chunks: &'static [Chunk],
    /// The names of absent functions in memory, once they were needed.
    pub names: &'static AtomicPtr<u8>,
}

/// The library whose cold pages lie around `address`.
pub fn at(address: usize) -> Option<Library> {
    listed(|entry| {
        (entry.start.load(Ordering::Acquire)..entry.end.load(Ordering::Acquire)).contains(&address)
    })
}

/// The library in whose range of addresses `address` lies.
pub fn around(address: usize) -> Option<Library> {
    listed(|entry| {
        let base = entry.base.load(Ordering::Acquire);
        let size = entry.pages.load(Ordering::Acquire) * PAGE as usize;
        entry.end.load(Ordering::Acquire) != 0 && (base..base + size).contains(&address)
    })
}

fn listed(is: impl Fn(&Entry) -> bool) -> Option<Library> {
    let count = COUNT.load(Ordering::Acquire).min(LIBRARIES);
    let found = ENTRIES[..count].iter().find(|entry| is(entry))?;
    let (at, length) = (found.note.load(Ordering::Acquire), found.length.load(Ordering::Acquire));
    // SAFETY: the library is loaded, and the note is part of it.
    let note = Note::checked(unsafe { slice::from_raw_parts(at, length) }).ok()?;
    let chunks = found.chunks.load(Ordering::Acquire);
    // SAFETY: they were made for its number of chunks, and are never taken away.
    let chunks = unsafe { slice::from_raw_parts(chunks, note.chunks() as usize) };
    let base = found.base.load(Ordering::Acquire);
    Some(Library { base, note, chunks, names: &found.names })
}

/// The store.
pub fn store() -> Option<Store<'static>> {
    let (at, size) = (STORE.load(Ordering::Acquire), STORE_SIZE.load(Ordering::Acquire));
    if at.is_null() {
        return None;
    }
    // SAFETY: the file stays mapped.
    Store::checked(unsafe { slice::from_raw_parts(at, size) }).ok()
}

/// Whether `address` lies in the store.
pub fn in_store(address: usize) -> bool {
    let at = STORE.load(Ordering::Acquire) as usize;
    at != 0 && (at..at + STORE_SIZE.load(Ordering::Acquire)).contains(&address)
}

/// A shrunk library calls this before any of its own code runs, and after all of it has.
///
/// # Safety
/// `note` has `length` bytes and stays until the second call; `base` is the library's load
/// base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_library(note: *mut u8, length: u32, base: usize, loaded: u32) {
    if loaded == 0 {
        if !ENDING.load(Ordering::Relaxed) {
            forget(note);
        }
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { enter(note, length, base) };
}

/// Lists a library, unless it is listed. False where that is not possible: this thread was
/// interrupted while it did so.
///
/// # Safety
/// As for [`taper_library`].
pub unsafe fn enter(note: *mut u8, length: u32, base: usize) -> bool {
    let Some(_entering) = Entering::begin() else { return false };
    let known = |entry: &Entry| {
        entry.note.load(Ordering::Relaxed) == note && entry.end.load(Ordering::Relaxed) != 0
    };
    let count = COUNT.load(Ordering::Relaxed).min(LIBRARIES);
    if ENTRIES[..count].iter().any(known) {
        signals::take();
        return true;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts(note, length as usize) };
    let Ok(read) = Note::open(bytes) else {
        Line::new().text("the note of a library is damaged; copy the package again").end();
    };
    begin(&read);
    if count == 0 {
        // What came after the runtime, and before this.
        bind::everywhere();
    }
    // Where nothing is cold, there may be names.
    let last = read.len().checked_sub(1).and_then(|last| read.run(last));
    let (first, last) = match (read.run(0), last) {
        (Some(first), Some(last)) => (first.page, last.page as usize + usize::from(last.count)),
        _ => (0, 1),
    };
    let start = base + first as usize * PAGE as usize;
    let end = base + last * PAGE as usize;
    let free = ENTRIES[..count].iter().position(|entry| entry.end.load(Ordering::Relaxed) == 0);
    let index = free.unwrap_or(count);
    let Some(entry) = ENTRIES.get(index) else {
        Line::new().text("more than 4096 libraries of the package are loaded").end();
    };
    let Some(chunks) = map::Memory::new(read.chunks() as usize * size_of::<Chunk>()) else {
        Line::new().text("there is no memory to bring pages back in").end();
    };
    entry.chunks.store(chunks.keep().cast(), Ordering::Relaxed);
    entry.note.store(note, Ordering::Relaxed);
    entry.length.store(length as usize, Ordering::Relaxed);
    entry.names.store(ptr::null_mut(), Ordering::Relaxed);
    entry.pages.store(read.pages() as usize, Ordering::Relaxed);
    entry.base.store(base, Ordering::Relaxed);
    entry.start.store(start, Ordering::Release);
    entry.end.store(end, Ordering::Release);
    if free.is_none() {
        COUNT.store(index + 1, Ordering::Release);
    }
    signals::take();
    true
}

/// The right to change the list, of one thread at a time. Whoever finds a library in a handler
/// of faults does not hold the loader's lock.
struct Entering;

/// The process and the thread that change the list; 0 for nobody.
static OWNER: AtomicU64 = AtomicU64::new(0);

impl Entering {
    /// Waits for the right; `None` where this thread has it.
    fn begin() -> Option<Self> {
        // SAFETY: they take nothing.
        let (process, thread) = unsafe { (libc::getpid(), libc::syscall(libc::SYS_gettid)) };
        let own = (process as u64) << 32 | thread as u64 & 0xffff_ffff;
        loop {
            let owner = OWNER.load(Ordering::Acquire);
            if owner == own {
                return None;
            }
            // A thread of the process that this one was forked from is not here.
            let free = owner >> 32 != process as u64;
            let swap = OWNER.compare_exchange(owner, own, Ordering::AcqRel, Ordering::Relaxed);
            if free && swap.is_ok() {
                return Some(Self);
            }
            // SAFETY: it takes nothing.
            unsafe { libc::sched_yield() };
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        OWNER.store(0, Ordering::Release);
    }
}

fn forget(note: *mut u8) {
    let _entering = Entering::begin();
    for entry in &ENTRIES[..COUNT.load(Ordering::Relaxed).min(LIBRARIES)] {
        if entry.note.load(Ordering::Relaxed) == note {
            entry.end.store(0, Ordering::Release);
            entry.start.store(0, Ordering::Release);
            entry.note.store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Opens the store and takes the signals, where there is a store; false where there is none.
pub fn prepare() -> bool {
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
    signals::take();
    true
}

/// Opens the store, once.
fn ready() {
    if STORE.load(Ordering::Relaxed).is_null() {
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
    match store() {
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
    STORE_SIZE.store(bytes.len(), Ordering::Release);
    STORE.store(bytes.as_ptr().cast_mut(), Ordering::Release);
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
