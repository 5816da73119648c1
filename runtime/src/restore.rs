//! Brings cold pages back.
//!
//! A chunk is decompressed into fresh memory that nobody else sees, its rights are set, and
//! its pages are moved to their place in one step each: another thread finds the hole or
//! the whole page. No page is ever writable and executable.

use crate::library::{self, Chunk, Library};
use crate::line::Line;
use crate::restored_pages;
use crate::slots::{self, Working};
use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use note::{PAGE, Rights, Run};
use store::{Store, Workspace};

/// States of a chunk: 0 where it is not here; this where it is; or the process whose thread
/// brings it.
const DONE: u32 = u32::MAX;

/// How often a thread waits for [`WAIT`] before it does what another one has begun: that one
/// may have been stopped, and doing it twice does no harm.
const PATIENCE: u32 = 10;

/// Nanoseconds of one wait: the largest chunk takes less.
const WAIT: i64 = 10_000_000;

/// Whether to say what is brought back.
static TALKS: AtomicBool = AtomicBool::new(false);

static CHUNKS: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicU64 = AtomicU64::new(0);
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// What a fault was about.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The address.
    pub address: usize,
    /// Whether an instruction was to be fetched there.
    pub fetch: bool,
    /// Whether something was to be written there.
    pub write: bool,
}

/// Reads the environment's variables, while it is safe to.
pub fn listen() {
    // SAFETY: a C string; the loader's lock is held, and no other thread has a reason to
    // change the environment while a library is loaded.
    let value = unsafe { libc::getenv(c"TAPER_LOG".as_ptr()) };
    // SAFETY: the environment holds C strings.
    let on = !value.is_null() && unsafe { CStr::from_ptr(value) } == c"1";
    TALKS.store(on, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { restored_pages::listen() };
}

/// Whether to say what is done.
pub fn talks() -> bool {
    TALKS.load(Ordering::Relaxed)
}

/// What was brought back in all, when the process ends.
pub fn summary() {
    if TALKS.load(Ordering::Relaxed) {
        Line::new()
            .text("brought back ")
            .number(PAGES.load(Ordering::Relaxed) * PAGE / 1000)
            .text(" kB in ")
            .number(CHUNKS.load(Ordering::Relaxed))
            .text(" chunks and ")
            .number(NANOSECONDS.load(Ordering::Relaxed) / 1_000_000)
            .text(" ms")
            .say();
    }
}

/// Brings the page of `fault` back, with the rest of its chunk. False if the fault is not
/// about a cold page.
pub fn restore(fault: Fault) -> bool {
    let Some(library) = library::at(fault.address) else { return false };
    let Ok(page) = u32::try_from((fault.address - library.base) as u64 / PAGE) else {
        return false;
    };
    let Some(index) = library.note.find(page) else { return false };
    let Some(run) = library.note.run(index) else { return false };
    let lacks = (fault.fetch && run.rights != Rights::Execute)
        || (fault.write && run.rights != Rights::Write);
    if lacks {
        return false;
    }
    let Some(store) = library::store() else { return false };
    let number = library.note.first_chunk() + run.chunk;
    let Some(chunk) = library.chunks.get(run.chunk as usize) else { return false };
    // While what is touched is recorded, a page comes back alone, and its neighbours when
    // they are touched themselves. Two threads may bring the same one.
    let alone = restored_pages::is_page_by_page().then_some(page);
    let own = slots::process();
    if alone.is_none() && !claim(&chunk.state, own) {
        // Another thread brought it; or it was here, and somebody took the right to read it.
        return !is_repeated(fault.address, own);
    }
    let start = if TALKS.load(Ordering::Relaxed) { now() } else { 0 };
    let mut slot = slots::take(own);
    let slot = &mut slot;
    let mut work =
        Work { library: &library, store: &store, number, index, chunk, slot, alone, pages: 0 };
    let top = work.slot.stack();
    // SAFETY: `bring` takes a pointer to such work.
    unsafe { slots::on_stack(top, bring, (&raw mut work).cast()) };
    if alone.is_none() {
        chunk.state.store(DONE, Ordering::Release);
        wake(&chunk.state);
    }
    record(&library, index, alone);
    if TALKS.load(Ordering::Relaxed) {
        let spent = now().saturating_sub(start);
        CHUNKS.fetch_add(1, Ordering::Relaxed);
        PAGES.fetch_add(work.pages, Ordering::Relaxed);
        NANOSECONDS.fetch_add(spent, Ordering::Relaxed);
        Line::new()
            .text("brought back ")
            .number(work.pages)
            .text(" pages of ")
            .bytes(library.note.name())
            .text(" for ")
            .address((fault.address - library.base) as u64)
            .text(" in ")
            .number(spent / 1000)
            .text(" us")
            .say();
    }
    true
}

/// Faults in a row at one address whose page is there, after which they are the program's.
const REPEATS: usize = 3;

/// The last of such faults of some threads: what tells them apart, and in the last byte how often.
static LAST: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Whether this thread of process `own` keeps faulting at `address`, although its page is there.
fn is_repeated(address: usize, own: u32) -> bool {
    // SAFETY: it takes nothing.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u64;
    let Some(last) = LAST.get(thread as usize % LAST.len()) else { return false };
    let what = (address as u64 ^ (thread << 40) ^ u64::from(own)) << 8;
    let before = last.load(Ordering::Relaxed);
    let times = if before & !0xff == what { (before & 0xff) + 1 } else { 1 };
    last.store(what | times, Ordering::Relaxed);
    if times as usize > REPEATS {
        last.store(0, Ordering::Relaxed);
        return true;
    }
    false
}

/// Whether this thread is to bring the chunk back; otherwise it is there now.
fn claim(state: &AtomicU32, own: u32) -> bool {
    for _ in 0..PATIENCE {
        let seen = state.load(Ordering::Acquire);
        if seen == DONE {
            return false;
        }
        // Where another process's thread began, this one was forked from it meanwhile.
        if seen != own
            && state.compare_exchange(seen, own, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            return true;
        }
        let limit = libc::timespec { tv_sec: 0, tv_nsec: WAIT };
        let how = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: it reads the word and the time; both are there.
        unsafe { libc::syscall(libc::SYS_futex, state.as_ptr(), how, own, &raw const limit) };
    }
    state.load(Ordering::Acquire) != DONE
}

/// Lets those go on that wait for the chunk.
fn wake(state: &AtomicU32) {
    let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: it looks for who waits at this address.
    unsafe { libc::syscall(libc::SYS_futex, state.as_ptr(), how, c_int::MAX) };
}

/// Records what came back: the page `alone`, or all that is in the chunk of run `index`.
fn record(library: &Library, index: usize, alone: Option<u32>) {
    if !restored_pages::records() {
        return;
    }
    if let Some(page) = alone {
        return restored_pages::page(library, page);
    }
    for run in library.note.together(index) {
        for page in run.page..run.page + u32::from(run.count) {
            restored_pages::page(library, page);
        }
    }
}

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time can be written; it needs no lock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

struct Work<'a> {
    library: &'a Library,
    store: &'a Store<'static>,
    number: u32,
    index: usize,
    chunk: &'a Chunk,
    slot: &'a mut Working,
    /// The only page to bring back.
    alone: Option<u32>,
    /// How many pages came back.
    pages: u64,
}

extern "C" fn bring(work: *mut c_void) {
    // SAFETY: `restore` gives a valid one.
    let work = unsafe { &mut *work.cast::<Work<'_>>() };
    if let Some(page) = work.alone {
        let copy = match work.chunk.copy.load(Ordering::Acquire) {
            copy if copy.is_null() => work.keep_copy(),
            copy => copy,
        };
        work.bring_page(page, copy);
    } else {
        work.bring_chunk();
    }
}

impl Work<'_> {
    fn fail(&self, what: &str) -> ! {
        Line::new()
            .text("cannot bring back a part of ")
            .bytes(self.library.note.name())
            .text(": ")
            .text(what)
            .end()
    }

    /// The runs of the chunk.
    fn runs(&self) -> impl Iterator<Item = Run> {
        self.library.note.together(self.index)
    }

    /// Fresh memory that nobody else knows.
    fn fresh(&self, size: usize) -> *mut u8 {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a fresh anonymous mapping.
        let fresh = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if fresh == libc::MAP_FAILED {
            self.fail("there is no memory for it");
        }
        fresh.cast()
    }

    /// The chunk in fresh memory, and the size of that.
    fn decompress(&mut self) -> (*mut u8, usize) {
        let Some(entry) = self.store.entry(self.number) else { self.fail("the store lacks it") };
        let size = (entry.length as usize).next_multiple_of(PAGE as usize);
        let pages: u64 = self.runs().map(|run| u64::from(run.count)).sum();
        if pages * PAGE != u64::from(entry.length) || size == 0 {
            self.fail("the store holds another part in its place");
        }
        let fresh = self.fresh(size);
        // SAFETY: the mapping is this long and nobody else knows it.
        let out = unsafe { core::slice::from_raw_parts_mut(fresh, size) };
        let read = match Workspace::new(self.slot.workspace()) {
            Some(mut workspace) => self.store.read(self.number, out, &mut workspace),
            None => self.fail("there is no memory for it"),
        };
        if read.is_err() {
            self.fail(
                "the bytes in _taper/cold are not those that were written; copy the package again",
            );
        }
        self.pages = pages;
        (fresh, size)
    }

    /// Gives `size` bytes of fresh memory the rights of the chunk's pages.
    fn set_rights(&self, fresh: *mut u8, size: usize) {
        let rights = self.runs().next().map_or(Rights::Read, |run| run.rights);
        let rights = match rights {
            Rights::Read => libc::PROT_READ,
            Rights::Execute => libc::PROT_READ | libc::PROT_EXEC,
            Rights::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: the whole of a fresh mapping.
        if unsafe { libc::mprotect(fresh.cast(), size, rights) } != 0 {
            self.fail("the system does not let memory become executable");
        }
    }

    fn bring_chunk(&mut self) {
        let (fresh, size) = self.decompress();
        self.set_rights(fresh, size);
        for run in self.runs() {
            self.put(&run, fresh);
        }
    }

    /// Decompresses the chunk into a copy that stays, for the pages that will be wanted.
    fn keep_copy(&mut self) -> *mut u8 {
        let (fresh, size) = self.decompress();
        // Nobody is to change what will be run. Where that fails, it works nevertheless.
        // SAFETY: the whole of a fresh mapping.
        unsafe { libc::mprotect(fresh.cast(), size, libc::PROT_READ) };
        let place = &self.chunk.copy;
        match place.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => {
                // Another thread did the same meanwhile.
                // SAFETY: nobody else knows this one.
                unsafe { libc::munmap(fresh.cast(), size) };
                other
            }
        }
    }

    /// Brings `page` back alone, from a copy of its chunk.
    fn bring_page(&mut self, page: u32, copy: *const u8) {
        let Some(run) = self.runs().find(|run| run.contains(page)) else {
            self.fail("the store holds another part in its place")
        };
        let place = run.place + (page - run.page);
        let fresh = self.fresh(PAGE as usize);
        // SAFETY: the copy is as long as the chunk, in which the run lies; the fresh page is
        // another.
        unsafe {
            let from = copy.add(place as usize * PAGE as usize);
            ptr::copy_nonoverlapping(from, fresh, PAGE as usize);
        }
        self.set_rights(fresh, PAGE as usize);
        self.put(&Run { page, count: 1, place: 0, ..run }, fresh);
        self.pages = 1;
    }

    /// Moves the pages of `run` from the chunk at `from` to their place.
    fn put(&self, run: &Run, from: *mut u8) {
        match put(self.library.base, run, from) {
            Ok(()) => {}
            Err(libc::ENOMEM) => self
                .fail("the process has too many mappings (vm.max_map_count) or too little memory"),
            Err(_) => self.fail("the system does not move it to its place"),
        }
    }
}

/// Moves the pages of `run` from the chunk at `chunk` to their place.
fn put(base: usize, run: &Run, chunk: *mut u8) -> Result<(), c_int> {
    let size = usize::from(run.count) * PAGE as usize;
    let place = base + run.page as usize * PAGE as usize;
    // SAFETY: the run lies inside the chunk, as was checked, and its place inside the
    // library's own range of addresses, where nothing but the hole is.
    let done = unsafe {
        let from = chunk.add(run.place as usize * PAGE as usize);
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        libc::mremap(from.cast(), size, size, how, place as *mut u8)
    };
    if done != libc::MAP_FAILED {
        return Ok(());
    }
    // SAFETY: the thread's own place.
    Err(unsafe { *libc::__errno_location() })
}
