//! Machine code that raises, and the unwind data that lets it.
//!
//! A stub loads the address of its message and jumps to `raise`, which throws a
//! `std::runtime_error` by the Itanium C++ ABI (level II, 2.4): allocate,
//! construct, throw. PyTorch's bindings make a Python RuntimeError of it.

/// What `raise` takes from the C++ runtime, in the order of its table of addresses.
pub(crate) const IMPORTS: [&str; 5] = [
    "__cxa_allocate_exception",
    "_ZNSt13runtime_errorC1EPKc",
    "_ZTISt13runtime_error",
    "_ZNSt13runtime_errorD1Ev",
    "__cxa_throw",
];

/// Bytes from one stub to the next.
pub(crate) const STUB: u64 = 16;

/// Bytes of `raise`.
pub(crate) const RAISE: u64 = 64;

/// Bytes of a `std::runtime_error`: a virtual table and one reference to a string.
const OBJECT: u8 = 16;

fn distance(from: u64, to: u64) -> [u8; 4] {
    // All new segments together are far smaller than 2 GiB.
    (to.wrapping_sub(from) as u32).to_le_bytes()
}

/// `lea message(%rip), %rdi; jmp raise`, for a stub at `at`.
pub(crate) fn stub(at: u64, message: u64, raise: u64) -> Vec<u8> {
    let mut code = vec![0x48, 0x8d, 0x3d];
    code.extend(distance(at + 7, message));
    code.push(0xe9);
    code.extend(distance(at + 12, raise));
    code.resize(STUB as usize, 0xcc);
    code
}

/// The function that throws, at `at`, with the addresses of [`IMPORTS`] in a table
/// at `imports`.
pub(crate) fn raise(at: u64, imports: u64) -> Vec<u8> {
    // push %rbx; push %r12; sub $8, %rsp: the stack is aligned for calls.
    let mut code = vec![0x53, 0x41, 0x54, 0x48, 0x83, 0xec, 0x08];
    let through = |code: &mut Vec<u8>, opcode: &[u8], index: u64| {
        code.extend(opcode);
        let next = at + code.len() as u64 + 4;
        code.extend(distance(next, imports + index * 8));
    };
    code.extend([0x48, 0x89, 0xfb]); // mov %rdi, %rbx
    code.extend([0xbf, OBJECT, 0, 0, 0]); // mov $16, %edi
    through(&mut code, &[0xff, 0x15], 0); // call *__cxa_allocate_exception
    code.extend([0x49, 0x89, 0xc4]); // mov %rax, %r12
    code.extend([0x48, 0x89, 0xc7]); // mov %rax, %rdi
    code.extend([0x48, 0x89, 0xde]); // mov %rbx, %rsi
    through(&mut code, &[0xff, 0x15], 1); // call *runtime_error::runtime_error
    code.extend([0x4c, 0x89, 0xe7]); // mov %r12, %rdi
    through(&mut code, &[0x48, 0x8b, 0x35], 2); // mov typeinfo, %rsi
    through(&mut code, &[0x48, 0x8b, 0x15], 3); // mov ~runtime_error, %rdx
    through(&mut code, &[0xff, 0x15], 4); // call *__cxa_throw
    code.extend([0x0f, 0x0b]); // ud2
    debug_assert!(code.len() as u64 <= RAISE);
    code.resize(RAISE as usize, 0xcc);
    code
}

/// Unwind entries (LSB 4, 10.6) for `raise` and for the stubs that follow it, to be
/// placed at `at`; and the addresses of the two entries.
pub(crate) fn unwind(at: u64, raise: u64, stubs: u64) -> (Vec<u8>, [(u64, u64); 2]) {
    let mut bytes = Vec::new();
    // Common entry: version 1, "zR", factors 1 and -8, return address in 16,
    // pc-relative four-byte addresses; the frame starts at rsp + 8.
    record(&mut bytes, None, &[1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1]);
    let mut entries = [(raise, 0), (raise + RAISE, 0)];
    // After each instruction of raise's start: the frame's size, and what was saved.
    let saved = [0x41, 0x0e, 16, 0x83, 2, 0x42, 0x0e, 24, 0x8c, 3, 0x44, 0x0e, 32];
    for (index, (size, steps)) in
        [(RAISE, &saved[..]), (stubs * STUB, &[][..])].into_iter().enumerate()
    {
        entries[index].1 = at + bytes.len() as u64;
        let place = at + bytes.len() as u64 + 8;
        let mut body = Vec::new();
        body.extend(distance(place, entries[index].0));
        body.extend((size as u32).to_le_bytes());
        body.push(0);
        body.extend(steps);
        record(&mut bytes, Some(()), &body);
    }
    bytes.extend([0; 4]);
    (bytes, entries)
}

/// Appends one record: its length, the distance back to the common entry at the
/// start (0 for that entry itself), and its body, filled up with no-operations.
fn record(bytes: &mut Vec<u8>, refers: Option<()>, body: &[u8]) {
    let start = bytes.len();
    let length = (4 + body.len()).next_multiple_of(8) + 4;
    bytes.extend((length as u32).to_le_bytes());
    let back = if refers.is_some() { start as u32 + 4 } else { 0 };
    bytes.extend(back.to_le_bytes());
    bytes.extend(body);
    bytes.resize(start + 4 + length, 0);
}

/// The unwinder's search table (LSB 4, 10.6.2), to be placed at `at`, for unwind
/// entries that start at `frames`: function and entry addresses, ascending.
pub(crate) fn search_table(at: u64, frames: u64, entries: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
    bytes.extend(distance(at + 4, frames));
    bytes.extend((entries.len() as u32).to_le_bytes());
    for (function, entry) in entries {
        bytes.extend(distance(at, *function));
        bytes.extend(distance(at, *entry));
    }
    bytes
}
