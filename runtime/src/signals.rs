//! The signals by which a missing page is seen, and everybody else who wants them.
//!
//! The runtime's handler stays in place. What others ask for (faulthandler, PyTorch's data
//! loader, the program) is kept and answered as the system would: it acts on every signal
//! that is not about a cold page.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::mem::zeroed;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use libc::{SIGBUS, SIGSEGV, sigaction, sighandler_t, siginfo_t, sigset_t, ucontext_t};

/// What somebody asked for, for one signal. Readers take the newest; a writer fills the
/// next place and then says that it is the newest.
struct Asked {
    newest: AtomicUsize,
    writing: AtomicBool,
    places: UnsafeCell<[sigaction; 8]>,
}

// SAFETY: places are written by one thread at a time, and none that is the newest.
unsafe impl Sync for Asked {}

impl Asked {
    const fn new() -> Self {
        // SAFETY: all zeros is a valid action: the default one.
        let places = UnsafeCell::new(unsafe { zeroed() });
        Self { newest: AtomicUsize::new(0), writing: AtomicBool::new(false), places }
    }

    fn get(&self) -> sigaction {
        let place = self.newest.load(Ordering::Acquire) % 8;
        // SAFETY: the place is not written before seven more were.
        unsafe { (*self.places.get())[place] }
    }

    fn set(&self, action: sigaction) {
        while self.writing.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        let next = self.newest.load(Ordering::Relaxed).wrapping_add(1);
        // SAFETY: this thread alone writes, and no reader takes this place yet.
        unsafe { (&mut *self.places.get())[next % 8] = action };
        self.newest.store(next, Ordering::Release);
        self.writing.store(false, Ordering::Release);
    }
}

static SEGV: Asked = Asked::new();
static BUS: Asked = Asked::new();

/// A thread in which a handler of somebody else's runs, and where on its stack.
struct Handling {
    thread: AtomicI32,
    frame: AtomicUsize,
}

static HANDLING: [Handling; 64] =
    [const { Handling { thread: AtomicI32::new(0), frame: AtomicUsize::new(0) } }; 64];

/// Whether what `thread` was doing, as `context` has it, is a handler that has not ended. One
/// that was left by `siglongjmp` has: its frame is no longer on the stack.
fn is_handling(thread: i32, context: &ucontext_t) -> bool {
    let top = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    let start = context.uc_stack.ss_sp as usize;
    let apart = start..start.saturating_add(context.uc_stack.ss_size);
    let mut inside = false;
    for one in HANDLING.iter().filter(|one| one.thread.load(Ordering::Acquire) == thread) {
        let frame = one.frame.load(Ordering::Relaxed);
        // Stacks grow down; of a stack for signals, the rest of the thread knows nothing.
        let below = if apart.contains(&frame) { apart.contains(&top) } else { top < frame };
        if below {
            inside = true;
        } else {
            one.thread.store(0, Ordering::Release);
        }
    }
    inside
}

fn asked(number: c_int) -> Option<&'static Asked> {
    match number {
        SIGSEGV => Some(&SEGV),
        SIGBUS => Some(&BUS),
        _ => None,
    }
}

/// A handler, as `SA_SIGINFO` has it.
pub type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Puts a handler in place where it is not, and keeps what was there.
pub fn take(handler: Handler) {
    let ours = handler as *const () as sighandler_t;
    for number in [SIGSEGV, SIGBUS] {
        // SAFETY: actions that can be read and written; all zeros is a valid one.
        unsafe {
            let mut there: sigaction = zeroed();
            if libc::sigaction(number, ptr::null(), &raw mut there) != 0
                || there.sa_sigaction == ours
            {
                continue;
            }
            if let Some(asked) = asked(number) {
                asked.set(there);
            }
            let mut own: sigaction = zeroed();
            own.sa_sigaction = ours;
            own.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // Nothing else runs meanwhile, but a store that is cut short is still noticed.
            libc::sigfillset(&raw mut own.sa_mask);
            libc::sigdelset(&raw mut own.sa_mask, SIGBUS);
            libc::sigaction(number, &raw const own, ptr::null_mut());
        }
    }
}

/// Does what somebody asked for.
///
/// # Safety
/// The arguments are the kernel's.
pub unsafe fn hand_on(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(asked) = asked(number) else { return };
    let action = asked.get();
    // SAFETY: the kernel's own arguments.
    let (sent, before) =
        unsafe { ((*info).si_code <= 0, (*context.cast::<ucontext_t>()).uc_sigmask) };
    // SAFETY: it takes nothing.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    // SAFETY: the kernel's own argument.
    let nested = is_handling(thread, unsafe { &*context.cast::<ucontext_t>() })
        && action.sa_flags & libc::SA_NODEFER == 0;
    let ignored = action.sa_sigaction == libc::SIG_IGN;
    if ignored && sent {
        return;
    }
    if action.sa_sigaction == libc::SIG_DFL || ignored || nested {
        // SAFETY: the default action is valid. The instruction runs again and ends the
        // process where it failed; a signal that was sent is sent again.
        unsafe {
            let default: sigaction = zeroed();
            libc::sigaction(number, &raw const default, ptr::null_mut());
            if sent {
                libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, number);
            }
        }
        return;
    }
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        // SAFETY: all zeros is a valid action.
        asked.set(unsafe { zeroed() });
    }
    let free = |one: &&Handling| {
        one.thread.compare_exchange(0, thread, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let place = HANDLING.iter().find(free);
    if let Some(place) = place {
        // Only this thread looks at it.
        place.frame.store((&raw const action) as usize, Ordering::Relaxed);
    }
    // SAFETY: masks that can be read and written; the handler is called as it asked to be.
    unsafe {
        let (mut mask, mut own): (sigset_t, sigset_t) = (before, zeroed());
        for other in 1..65 {
            if libc::sigismember(&raw const action.sa_mask, other) == 1 {
                libc::sigaddset(&raw mut mask, other);
            }
        }
        // Its code may be cold.
        libc::sigdelset(&raw mut mask, SIGSEGV);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, &raw mut own);
        let handler = action.sa_sigaction as *const ();
        if action.sa_flags & libc::SA_SIGINFO == 0 {
            let handler: extern "C" fn(c_int) = core::mem::transmute(handler);
            handler(number);
        } else {
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                core::mem::transmute(handler);
            handler(number, info, context);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const own, ptr::null_mut());
    }
    if let Some(place) = place {
        place.thread.store(0, Ordering::Release);
    }
}

/// `sigaction(2)` for code that the package or [`crate::bind`] has bound to the runtime.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_sigaction(
    number: c_int,
    action: *const sigaction,
    before: *mut sigaction,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(asked) = asked(number) else {
            if action.is_null() {
                return libc::sigaction(number, action, before);
            }
            // Code of a handler may be cold.
            let mut own = *action;
            libc::sigdelset(&raw mut own.sa_mask, SIGSEGV);
            return libc::sigaction(number, &raw const own, before);
        };
        let old = asked.get();
        if !action.is_null() {
            asked.set(*action);
        }
        if !before.is_null() {
            *before = old;
        }
    }
    0
}

/// `signal(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: the caller's promise.
    unsafe { simple(number, handler, libc::SA_RESTART) }
}

/// `signal(2)`, by its older name.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_bsd_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: the caller's promise.
    unsafe { simple(number, handler, libc::SA_RESTART) }
}

/// `signal` as System V has it.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper___sysv_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: the caller's promise.
    unsafe { simple(number, handler, libc::SA_RESETHAND | libc::SA_NODEFER) }
}

unsafe fn simple(number: c_int, handler: sighandler_t, flags: c_int) -> sighandler_t {
    // SAFETY: actions that can be read and written; all zeros is a valid one.
    unsafe {
        let (mut action, mut before): (sigaction, sigaction) = (zeroed(), zeroed());
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        if taper_sigaction(number, &raw const action, &raw mut before) == 0 {
            before.sa_sigaction
        } else {
            libc::SIG_ERR
        }
    }
}

/// `sigprocmask(2)`: a thread that blocks every signal still gets its pages back.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_sigprocmask(
    how: c_int,
    set: *const sigset_t,
    before: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        if set.is_null() || how == libc::SIG_UNBLOCK {
            return libc::sigprocmask(how, set, before);
        }
        let mut own = *set;
        libc::sigdelset(&raw mut own, SIGSEGV);
        libc::sigprocmask(how, &raw const own, before)
    }
}

/// `pthread_sigmask(3)`, which returns its error.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    before: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise; the thread's own place.
    unsafe {
        let errno = *libc::__errno_location();
        if taper_sigprocmask(how, set, before) == 0 {
            return 0;
        }
        core::mem::replace(&mut *libc::__errno_location(), errno)
    }
}
