//! The handler of faults: a page that is not there comes back, a call of what is lost becomes an
//! error, and everything else is handed on.

use crate::line::Line;
use crate::{found, library, loading, refuse, restore, signals};
use core::ffi::{c_int, c_void};
use libc::{SIGBUS, SIGSEGV, siginfo_t, ucontext_t};

/// Bits of the processor's error code for a page fault.
const WRITE: i64 = 2;
const FETCH: i64 = 16;

/// Takes the signals by which a missing page is seen.
pub fn take() {
    signals::take(handle);
}

/// Makes a library known that was found.
pub fn enter(note: *mut u8, length: u32, base: usize) -> bool {
    // SAFETY: the note is part of a segment that the loader has mapped, for as long as the
    // library is loaded.
    unsafe { loading::enter(note, length, base, take) }
}

/// Looks for a library of the package that is not known and in which one of `places` lies, and
/// makes it known. False where there is none.
fn look(places: [usize; 2]) -> bool {
    let unknown = |place: usize| library::around(place).is_none();
    let found = places.map(|place| unknown(place) && found::look(Some(place), &enter));
    found.contains(&true)
}

unsafe extern "C" fn handle(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the thread's own place.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel gives both.
    let (about, machine) = unsafe { (&*info, &mut *context.cast::<ucontext_t>()) };
    // The kernel's own faults have codes above 0; 1 and 2 are about a page.
    let page = matches!(about.si_code, 1 | 2);
    // SAFETY: the field is there for these signals.
    let address = unsafe { about.si_addr() } as usize;
    if number == SIGBUS && about.si_code > 0 && library::in_store(address) {
        Line::new()
            .text("_taper/cold was cut short while the program ran; copy the package again")
            .end();
    }
    let code = machine.uc_mcontext.gregs[libc::REG_ERR as usize];
    let (fetch, write) = (code & FETCH != 0, code & WRITE != 0);
    let fault = restore::Fault { address, fetch, write };
    let place = machine.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    let mut answer = || {
        (page && restore::restore(fault))
            || (!write && about.si_code > 0 && refuse::refuse(address, about.si_code, machine))
    };
    let done = number == SIGSEGV && (answer() || (look([address, place]) && answer()));
    if !done {
        // SAFETY: the kernel's own arguments.
        unsafe { signals::hand_on(number, info, context) };
    }
    // SAFETY: the thread's own place.
    unsafe { *libc::__errno_location() = errno };
}
