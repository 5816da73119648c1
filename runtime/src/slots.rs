//! Memory to work in, for as many threads as fault at once.

use crate::line::Line;
use crate::map::Memory;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use store::Workspace;

/// Threads beyond so many wait for each other.
const SLOTS: usize = 64;

/// Bytes of the stack that a page is brought back on: threads may have small ones, and
/// alternate signal stacks are.
const STACK: usize = 64 << 10;

struct Slot {
    /// The process whose thread works in it, or 0. After a fork, the slots that threads of
    /// the parent worked in are free in the child.
    owner: AtomicU32,
    memory: AtomicPtr<u8>,
}

static ALL: [Slot; SLOTS] =
    [const { Slot { owner: AtomicU32::new(0), memory: AtomicPtr::new(ptr::null_mut()) } }; SLOTS];

/// A word that says which process this is. It is 0 in a child after `fork`, and the same
/// in one that shares the memory of its parent (`vfork`), whose threads go on.
static PROCESS: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// Makes ready; no other thread is here yet.
pub fn begin() {
    let Some(page) = Memory::new(size_of::<AtomicU32>()) else { return };
    let at = page.keep();
    // SAFETY: the whole of a page that nobody else knows.
    if unsafe { libc::madvise(at.cast(), 4096, libc::MADV_WIPEONFORK) } == 0 {
        PROCESS.store(at.cast(), Ordering::Release);
    }
}

/// A number of this process, not 0, that a child after `fork` does not share.
pub fn process() -> u32 {
    // SAFETY: it takes nothing.
    let number = unsafe { libc::getpid() } as u32;
    let word = PROCESS.load(Ordering::Acquire);
    if word.is_null() {
        // An old kernel: children that share memory look like others.
        return number;
    }
    // SAFETY: the page stays.
    let word = unsafe { &*word };
    match word.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => number,
        Err(known) => known,
    }
}

/// A slot that this thread works in.
pub struct Working(&'static Slot);

/// Takes a free slot for the process `own`.
pub fn take(own: u32) -> Working {
    loop {
        for slot in &ALL {
            let owner = slot.owner.load(Ordering::Relaxed);
            if owner == own
                || slot
                    .owner
                    .compare_exchange(owner, own, Ordering::Acquire, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            if slot.memory.load(Ordering::Relaxed).is_null() {
                slot.memory.store(allocate(), Ordering::Relaxed);
            }
            return Working(slot);
        }
        // SAFETY: it only gives the processor away.
        unsafe { libc::sched_yield() };
    }
}

fn allocate() -> *mut u8 {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let bytes = STACK + Workspace::size().next_multiple_of(4096);
    // SAFETY: a fresh anonymous mapping.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
    if at == libc::MAP_FAILED {
        Line::new().text("there is no memory to bring a page back in").end();
    }
    at.cast()
}

impl Working {
    /// The end of the stack, which grows down.
    pub fn stack(&self) -> *mut u8 {
        // SAFETY: the slot's memory is at least this long.
        unsafe { self.0.memory.load(Ordering::Relaxed).add(STACK) }
    }

    /// The decompressor's memory.
    pub fn workspace(&mut self) -> &mut [u64] {
        let words = Workspace::size().div_ceil(8);
        // SAFETY: the slot's memory goes on so far past the stack, is aligned to a page, and
        // belongs to this thread until it gives the slot back.
        unsafe { core::slice::from_raw_parts_mut(self.stack().cast(), words) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.owner.store(0, Ordering::Release);
    }
}

/// Calls `function` with `argument` on the stack that ends at `top`, a slot's: that of the
/// thread, or the one that it has for signals, may be small.
///
/// # Safety
/// The stack is nobody else's, and `argument` what `function` takes.
pub unsafe fn on_stack(top: *mut u8, function: extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: the caller's promise; the end of a slot's stack is aligned to a page. `r12`
    // keeps the old stack pointer: the function keeps that register, as every one must.
    unsafe {
        core::arch::asm!(
            "xchg rsp, r12",
            "call {function}",
            "mov rsp, r12",
            function = in(reg) function,
            in("rdi") argument,
            inout("r12") top => _,
            clobber_abi("C"),
        );
    }
}
