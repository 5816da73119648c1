//! Calls of functions that are not in the package.
//!
//! The call has happened: the instruction pointer is at the function's start and the
//! caller's address on top of the stack. In the function's place runs one that raises an
//! error: for the interpreter, a Python error and a null pointer; for everybody else, a C++
//! exception, which PyTorch turns into the same Python error. Where nobody can catch one,
//! the C++ runtime says what it was and ends the process.

use crate::library::{self, Library};
use crate::line::Line;
use crate::map::Memory;
use crate::slots::{self, Working};
use crate::{restore, restored_pages, symbols};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::{mem, slice};
use format::TRAP;
use libc::ucontext_t;
use note::{Names, PAGE};
use store::Workspace;

/// What the kernel says of an instruction that programs may not execute.
const SI_KERNEL: c_int = 0x80;

/// Deals with a fault at `address` that is not about a cold page. True if the program goes
/// on at another place.
pub fn refuse(address: usize, code: c_int, machine: &mut ucontext_t) -> bool {
    let registers = &mut machine.uc_mcontext.gregs;
    let place = registers[libc::REG_RIP as usize] as usize;
    if let Some(library) = library::around(place) {
        let called = (place == address && code != SI_KERNEL)
            // SAFETY: the instruction has just been read there.
            || (code == SI_KERNEL && unsafe { (place as *const u8).read() } == TRAP);
        if called && let Some(name) = name(library, (place - library.base) as u64) {
            restored_pages::page(&library, ((place - library.base) as u64 / PAGE) as u32);
            let of = library.note.name();
            let file = of.iter().rposition(|byte| *byte == b'/').map_or(of, |at| &of[at + 1..]);
            let arguments = [
                (libc::REG_RDI, name.as_ptr() as usize),
                (libc::REG_RSI, name.len()),
                (libc::REG_RDX, file.as_ptr() as usize),
                (libc::REG_RCX, file.len()),
                (libc::REG_RIP, taper_refused as *const () as usize),
            ];
            for (register, value) in arguments {
                registers[register as usize] = value as i64;
            }
            return true;
        }
    }
    if let Some(library) = library::around(address).filter(|_| code != SI_KERNEL)
        && library.note.names().is_some()
    {
        Line::new()
            .text("a part of ")
            .bytes(library.note.name())
            .text(" that is not in this package was touched, at ")
            .address((address - library.base) as u64)
            .text("; pack with --cold keep")
            .say();
    }
    false
}

/// A question, and its answer.
struct Search {
    library: Library,
    address: u64,
    slot: Working,
    name: Option<&'static [u8]>,
}

/// The name of the absent function that starts at an unrelocated `address`.
fn name(library: Library, address: u64) -> Option<&'static [u8]> {
    let mut search = Search { library, address, slot: slots::take(slots::process()), name: None };
    let top = search.slot.stack();
    // SAFETY: `look` takes a pointer to such a search.
    unsafe { slots::on_stack(top, look, (&raw mut search).cast()) };
    search.name
}

extern "C" fn look(search: *mut c_void) {
    // SAFETY: `name` gives a valid one.
    let search = unsafe { &mut *search.cast::<Search>() };
    search.name = found(&search.library, search.address, &mut search.slot);
}

fn found(library: &Library, address: u64, slot: &mut Working) -> Option<&'static [u8]> {
    let number = library.note.names()?;
    let store = library::store()?;
    let length = store.entry(number)?.length as usize;
    let mut known = library.names.load(core::sync::atomic::Ordering::Acquire);
    if known.is_null() {
        let memory = Memory::new(length.next_multiple_of(PAGE as usize))?.keep().cast::<u8>();
        // SAFETY: fresh memory of that length.
        let out = unsafe { slice::from_raw_parts_mut(memory, length) };
        let mut workspace = Workspace::new(slot.workspace())?;
        if store.read(number, out, &mut workspace).is_err() {
            Line::new()
                .text("the bytes in _taper/cold are not those that were written; ")
                .text("copy the package again")
                .end();
        }
        library.names.store(memory, core::sync::atomic::Ordering::Release);
        known = memory;
    }
    // SAFETY: memory of that length, which stays.
    let names = Names::open(unsafe { slice::from_raw_parts(known, length) })?;
    names.at(address)
}

unsafe extern "C" {
    /// Runs in the place of an absent function, on its caller's stack. What throws must
    /// not be called by Rust: exceptions do not pass through it.
    fn taper_refused();
}

core::arch::global_asm!(
    ".pushsection .text.taper_refused, \"ax\", @progbits",
    ".hidden taper_refused",
    ".globl taper_refused",
    ".type taper_refused, @function",
    "taper_refused:",
    ".cfi_startproc",
    "endbr64",
    "mov r8, [rsp]",
    "sub rsp, 40",
    ".cfi_adjust_cfa_offset 40",
    "cld",
    "mov r9, rsp",
    "call {raise}",
    "test rax, rax",
    "jz 2f",
    "mov rdi, [rsp]",
    "mov rsi, [rsp + 8]",
    "mov rdx, [rsp + 16]",
    "call rax",
    "ud2",
    "2:",
    "mov rax, [rsp]",
    "xor edx, edx",
    "pxor xmm0, xmm0",
    "add rsp, 40",
    ".cfi_adjust_cfa_offset -40",
    "ret",
    ".cfi_endproc",
    ".size taper_refused, . - taper_refused",
    ".popsection",
    raise = sym raise,
);

/// Bytes of a `std::runtime_error`.
const SIZE: usize = 16;

/// What tells the interpreter that an error is set: -1 where it takes what comes back for a
/// number, a null pointer otherwise. The instructions at `caller`, to which the call
/// returns, show it: they look at half of the register, or compare it with -1. Where the
/// first few do not show it, it is a pointer: most functions that Python calls return one.
///
/// # Safety
/// `caller` is code.
unsafe fn answer(mut caller: *const u8) -> usize {
    const NUMBER: usize = usize::MAX;
    for _ in 0..12 {
        // SAFETY: code goes on for longer than an instruction behind a call.
        let byte = |at: usize| unsafe { caller.add(at).read() };
        let prefix = if byte(0) & 0xf0 == 0x40 { byte(0) } else { 0 };
        let at = usize::from(prefix != 0);
        let (code, mode) = (byte(at), byte(at + 1));
        let answer = if prefix & 8 == 0 { NUMBER } else { 0 };
        // Bits of the prefix extend the numbers of registers; a is 0.
        let (is_first, direct) = ((mode >> 3 & 7) | (prefix & 4) == 0, mode >> 6 == 3);
        let is_second = direct && (mode & 7) | (prefix & 1) == 0;
        // Bytes of an immediate number.
        let number = match code {
            // test, mov and shr of registers, mov to memory
            0x85 | 0x89 if is_first => return answer,
            0x85 | 0x8b | 0xc1 if is_second => return answer,
            // cmp with -1 and other numbers
            0x83 if is_second && mode >> 3 & 7 == 7 => {
                return if byte(at + 2) == 0xff { NUMBER } else { answer };
            }
            0x3d => return answer,
            // What is put into a before anybody has looked at it.
            0x8b | 0x8d if is_first => return 0,
            // add, or, sub, xor, cmp, test, mov, lea, inc, dec
            0x01 | 0x03 | 0x09 | 0x29 | 0x2b | 0x31 | 0x33 | 0x39 | 0x3b | 0x85 | 0x89 | 0x8b
            | 0x8d | 0xff => 0,
            0x80 | 0x83 | 0xc1 => 1,
            0x81 | 0xc7 => 4,
            // pop, and a jump that is not taken
            0x59..=0x5f | 0x70..=0x7f => {
                // SAFETY: the next instruction.
                caller = unsafe { caller.add(at + 1 + usize::from(code >= 0x70)) };
                continue;
            }
            _ => return 0,
        };
        // Where the operand is: register, memory, memory with an index, relative.
        let index = usize::from(!direct && mode & 7 == 4);
        let distance = match mode >> 6 {
            1 => 1,
            2 => 4,
            0 if mode & 7 == 5 || (index == 1 && byte(at + 2) & 7 == 5) => 4,
            _ => 0,
        };
        // SAFETY: the next instruction.
        caller = unsafe { caller.add(at + 2 + index + distance + number) };
    }
    0
}

/// Makes the error. Gives the function that throws, with its arguments in `thrown`; or null
/// where a Python error is set, with what the function returns.
///
/// # Safety
/// The name and the file's name are there; `thrown` can be written.
unsafe extern "C" fn raise(
    name: *const u8,
    name_length: usize,
    file: *const u8,
    file_length: usize,
    caller: usize,
    thrown: *mut [usize; 3],
) -> usize {
    // SAFETY: the caller's promise.
    let (name, file) = unsafe {
        (slice::from_raw_parts(name, name_length), slice::from_raw_parts(file, file_length))
    };
    let mut text = [0u8; 768];
    let mut length = 0;
    let parts: [&[u8]; 6] = [
        name,
        b" (",
        file,
        b") is not in this package; trace a workload that uses it, or pack with --cold keep (or --keep ",
        file,
        b")",
    ];
    for part in parts {
        // One byte stays 0.
        let count = part.len().min(text.len() - 1 - length);
        text[length..length + count].copy_from_slice(&part[..count]);
        length += count;
    }
    if restore::talks() {
        Line::new().text("refused ").bytes(name).say();
    }
    // SAFETY: the caller's promise.
    unsafe { *thrown = [0; 3] };
    let Ok(message) = CStr::from_bytes_until_nul(&text) else { return 0 };
    let python = symbols::find(c"PyErr_SetString");
    if let (Some(set), Some(kind)) = (python, symbols::find(c"PyExc_RuntimeError"))
        && symbols::object(caller) == Some(set.base)
    {
        // SAFETY: the interpreter's own functions; it has just called, so its lock is held.
        unsafe {
            let set: extern "C" fn(*mut c_void, *const c_char) = mem::transmute(set.address);
            set(*(kind.address as *const *mut c_void), message.as_ptr());
            *thrown = [answer(caller as *const u8), 0, 0];
        }
        return 0;
    }
    let all = [
        c"__cxa_allocate_exception",
        c"_ZNSt13runtime_errorC1EPKc",
        c"_ZTISt13runtime_error",
        c"_ZNSt13runtime_errorD1Ev",
        c"__cxa_throw",
    ];
    let [Some(allocate), Some(construct), Some(kind), Some(destroy), Some(throw)] =
        all.map(symbols::find)
    else {
        Line::new().bytes(message.to_bytes()).end();
    };
    // SAFETY: the C++ ABI's and the standard library's functions, as they are declared.
    unsafe {
        let allocate: extern "C" fn(usize) -> *mut c_void = mem::transmute(allocate.address);
        let construct: extern "C" fn(*mut c_void, *const c_char) =
            mem::transmute(construct.address);
        let error = allocate(SIZE);
        construct(error, message.as_ptr());
        *thrown = [error as usize, kind.address, destroy.address];
    }
    throw.address
}
