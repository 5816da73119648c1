//! Brings cold pages back.
//!
//! A chunk is decompressed into fresh memory that nobody else sees, its rights are set, and
//! its pages are moved to their place in one step each: another thread finds the hole or
//! the whole page. No page is ever writable and executable.

use crate::library::{self, Library};
use crate::record;
use crate::say::Line;
use crate::slots::{self, Working};
use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use note::{PAGE, Run};
use store::{Store, Workspace};

/// States of a chunk: 0 where it is not here; this where it is; or the process whose thread
/// brings it.
const DONE: u32 = u32::MAX;

/// How often a thread lets others run before it does what another one has begun: that one
/// may have been stopped, and doing it twice does no harm.
const PATIENCE: u32 = 1_000;

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
    unsafe { record::listen() };
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
    if fault.fetch && !run.execute {
        return false;
    }
    let Some(store) = library::store() else { return false };
    let number = library.note.first_chunk() + run.chunk;
    // While what is touched is recorded, a page comes back alone, and its neighbours when
    // they are touched themselves. Two threads may bring the same one.
    let alone = record::records().then_some(page);
    let Some(state) = library.states.get(run.chunk as usize) else { return false };
    let own = slots::process();
    if alone.is_none() && !claim(state, own) {
        // Another thread brought it; or it was here, and somebody took the right to read it.
        return !is_repeated(fault.address, own);
    }
    let start = if TALKS.load(Ordering::Relaxed) { now() } else { 0 };
    let mut slot = slots::take(own);
    let slot = &mut slot;
    let mut work = Work { library: &library, store: &store, number, index, slot, alone, pages: 0 };
    let top = work.slot.stack();
    // SAFETY: `bring` takes a pointer to such work.
    unsafe { slots::on_stack(top, bring, (&raw mut work).cast()) };
    match alone {
        Some(page) => record::page(&library, page),
        None => state.store(DONE, Ordering::Release),
    }
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
        // SAFETY: it only gives the processor away.
        unsafe { libc::sched_yield() };
    }
    true
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
    slot: &'a mut Working,
    /// The only page to bring back.
    alone: Option<u32>,
    /// How many pages came back.
    pages: u64,
}

extern "C" fn bring(work: *mut c_void) {
    // SAFETY: `restore` gives a valid one.
    let work = unsafe { &mut *work.cast::<Work<'_>>() };
    let fail = |what: &str| -> ! {
        Line::new()
            .text("cannot bring back a part of ")
            .bytes(work.library.note.name())
            .text(": ")
            .text(what)
            .end()
    };
    let Some(entry) = work.store.entry(work.number) else { fail("the store lacks it") };
    let size = (entry.length as usize).next_multiple_of(PAGE as usize);
    let runs = || work.library.note.together(work.index);
    let pages: u64 = runs().map(|run| u64::from(run.count)).sum();
    if pages * PAGE != u64::from(entry.length) || size == 0 {
        fail("the store holds another part in its place");
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: a fresh anonymous mapping.
    let fresh = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
    if fresh == libc::MAP_FAILED {
        fail("there is no memory for it");
    }
    // SAFETY: the mapping is this long and nobody else knows it.
    let out = unsafe { core::slice::from_raw_parts_mut(fresh.cast::<u8>(), size) };
    let read = match Workspace::new(work.slot.workspace()) {
        Some(mut workspace) => work.store.read(work.number, out, &mut workspace),
        None => fail("there is no memory for it"),
    };
    if read.is_err() {
        fail("the bytes in _taper/cold are not those that were written; copy the package again");
    }
    let execute = runs().next().is_some_and(|run| run.execute);
    let rights = libc::PROT_READ | if execute { libc::PROT_EXEC } else { 0 };
    // SAFETY: the whole of the fresh mapping.
    if unsafe { libc::mprotect(fresh, size, rights) } != 0 {
        fail("the system does not let memory become executable");
    }
    for run in runs().filter_map(|run| part(run, work.alone)) {
        if let Err(number) = put(work.library.base, &run, fresh.cast()) {
            let what = if number == libc::ENOMEM {
                "the process has too many mappings (vm.max_map_count) or too little memory"
            } else {
                "the system does not move it to its place"
            };
            fail(what);
        }
    }
    work.pages = pages;
    if let Some(gone) = work.alone.and_then(|page| runs().find_map(|run| part(run, Some(page)))) {
        work.pages = 1;
        // Where the page was, somebody else may have put something since.
        let place = gone.place as usize * PAGE as usize;
        let after = place + PAGE as usize;
        for (start, end) in [(0, place), (after, size)].into_iter().filter(|part| part.0 < part.1) {
            // SAFETY: parts of the fresh mapping that stayed.
            unsafe { libc::munmap(fresh.add(start), end - start) };
        }
    }
}

/// The part of `run` that is the page `alone`, if only that is wanted.
fn part(run: Run, alone: Option<u32>) -> Option<Run> {
    match alone {
        None => Some(run),
        Some(page) if run.contains(page) => {
            Some(Run { page, count: 1, place: run.place + (page - run.page), ..run })
        }
        Some(_) => None,
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
