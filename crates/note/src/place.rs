//! Where a library says that its note is.

/// Bytes of the instructions with which the initialiser of a shrunk library starts, up to the
/// length of its note.
pub const INITIALISER: usize = 33;

/// What these start with: `endbr64; push rdi; push rsi; push rdx; lea rdx, [rip + …]`.
const START: [u8; 10] = [0xf3, 0x0f, 0x1e, 0xfa, 0x57, 0x56, 0x52, 0x48, 0x8d, 0x15];

/// What names the note: `lea rdi, [rdx + …]` and `mov esi, …`.
const LEA: [u8; 3] = [0x48, 0x8d, 0xba];
const MOV: u8 = 0xbe;

/// The unrelocated address and the length in bytes of the note of the library whose initialiser
/// is `code`; `None` for any other.
pub fn named(code: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| code.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
    let known =
        code.starts_with(&START) && code.get(21..24) == Some(&LEA) && code.get(28) == Some(&MOV);
    Some((number(24)?, number(29)?)).filter(|_| known)
}
