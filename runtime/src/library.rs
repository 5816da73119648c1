//! The shrunk libraries that are loaded, and the store that holds their cold pages.

use crate::line::Line;
use crate::map;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// Whether the store was opened.
pub fn has_store() -> bool {
    !STORE.load(Ordering::Relaxed).is_null()
}

/// Whether `address` lies in the store.
pub fn in_store(address: usize) -> bool {
    let at = STORE.load(Ordering::Acquire) as usize;
    at != 0 && (at..at + STORE_SIZE.load(Ordering::Acquire)).contains(&address)
}

/// Whether no library was ever listed.
pub fn is_empty() -> bool {
    COUNT.load(Ordering::Relaxed) == 0
}

/// Whether the library with this note is listed.
pub fn knows(note: *mut u8) -> bool {
    let known = |entry: &Entry| {
        entry.note.load(Ordering::Relaxed) == note && entry.end.load(Ordering::Relaxed) != 0
    };
    ENTRIES[..COUNT.load(Ordering::Relaxed).min(LIBRARIES)].iter().any(known)
}

/// Lists the library at `base` with this note, whose bytes stay until it is forgotten.
pub fn list(_entering: &Entering, bytes: &[u8], note: &Note<'_>, base: usize) {
    let count = COUNT.load(Ordering::Relaxed).min(LIBRARIES);
    // Where nothing is cold, there may be names.
    let last = note.len().checked_sub(1).and_then(|last| note.run(last));
    let (first, last) = match (note.run(0), last) {
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
    let Some(chunks) = map::Memory::new(note.chunks() as usize * size_of::<Chunk>()) else {
        Line::new().text("there is no memory to bring pages back in").end();
    };
    entry.chunks.store(chunks.keep().cast(), Ordering::Relaxed);
    entry.note.store(bytes.as_ptr().cast_mut(), Ordering::Relaxed);
    entry.length.store(bytes.len(), Ordering::Relaxed);
    entry.names.store(ptr::null_mut(), Ordering::Relaxed);
    entry.pages.store(note.pages() as usize, Ordering::Relaxed);
    entry.base.store(base, Ordering::Relaxed);
    entry.start.store(start, Ordering::Release);
    entry.end.store(end, Ordering::Release);
    if free.is_none() {
        COUNT.store(index + 1, Ordering::Release);
    }
}

/// Takes the library with this note off the list.
pub fn forget(note: *mut u8) {
    let _entering = Entering::begin();
    for entry in &ENTRIES[..COUNT.load(Ordering::Relaxed).min(LIBRARIES)] {
        if entry.note.load(Ordering::Relaxed) == note {
            entry.end.store(0, Ordering::Release);
            entry.start.store(0, Ordering::Release);
            entry.note.store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Says where the store is; its bytes stay.
pub fn set_store(bytes: &'static [u8]) {
    STORE_SIZE.store(bytes.len(), Ordering::Release);
    STORE.store(bytes.as_ptr().cast_mut(), Ordering::Release);
}

/// The right to change the list, of one thread at a time. Whoever finds a library in a handler
/// of faults does not hold the loader's lock.
pub struct Entering;

/// The process and the thread that change the list; 0 for nobody.
static OWNER: AtomicU64 = AtomicU64::new(0);

impl Entering {
    /// Waits for the right; `None` where this thread has it.
    pub fn begin() -> Option<Self> {
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
