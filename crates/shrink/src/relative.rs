//! The part of a library that relocates it by its load base.
//!
//! One executable segment holds the code and, after it, the table that the code reads:
//! lists, each of the address of a word (0: the load base is meant), the number of bytes
//! that follow, and the words that it is for, as `DT_RELR` encodes them. To each of these
//! words the load base is added; or they get the value of the first.

use crate::Error;
use elf::{Relative, Relocation, encode, tag};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, qword_ptr, r8, r9, r10, r11, rax, rcx, rdi, rdx, rsi};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes before the table; the code is shorter.
const CODE: u64 = 192;

/// The parts of a library with packed relocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The table of the other relocations, with the one that calls the code.
    pub rela: Vec<u8>,
    /// Where code and table lie.
    pub code: u64,
    /// Code and table.
    pub segment: Vec<u8>,
    /// Words of writable segments with the addresses that they hold.
    pub words: BTreeMap<u64, u64>,
    /// Entries of the dynamic section that change, with their new values.
    pub dynamic: [(u64, u64); 3],
}

/// Packs `relative`; the new relocation table, with the relocations `extra` in it, will lie
/// at `rela`, the segment at `segment`, a multiple of eight. The lengths of both do not depend on where they lie.
///
/// # Errors
/// None but faults of taper's own.
pub fn pack(
    relative: &Relative,
    extra: &[Relocation],
    rela: u64,
    segment: u64,
) -> Result<Option<Packed>, Error> {
    let mut words = relative.words.iter();
    // The loader stores what the code returns: the first word's value.
    let Some((first, target)) = words.next() else { return Ok(None) };
    let mut table = Vec::new();
    list(&mut table, 0, words.map(|(address, _)| *address));
    for (source, places) in &relative.copies {
        list(&mut table, *source, places.iter().copied());
    }
    let place = segment + CODE..segment + CODE + 8 * table.len() as u64;
    let mut bytes = code(segment, &place, *target)?;
    bytes.extend(table.iter().flat_map(|word| word.to_le_bytes()));
    let call = Relocation {
        address: *first,
        kind: Relocation::IRELATIVE,
        symbol: 0,
        addend: segment as i64,
    };
    let left = relative.others.iter().take_while(|other| other.kind == Relocation::RELATIVE);
    let count = left.count();
    let (before, after) = relative.others.split_at(count);
    let entries: Vec<u8> =
        // After all that it copies from.
        before.iter().chain(after).chain(extra).chain([&call]).flat_map(Relocation::to_bytes).collect();
    let dynamic =
        [(tag::RELA, rela), (tag::RELASZ, entries.len() as u64), (tag::RELACOUNT, count as u64)];
    Ok(Some(Packed {
        rela: entries,
        code: segment,
        segment: bytes,
        words: relative.words.clone(),
        dynamic,
    }))
}

fn list(table: &mut Vec<u64>, source: u64, places: impl Iterator<Item = u64>) {
    let words = encode(places);
    table.extend([source, 8 * words.len() as u64]);
    table.extend(words);
}

/// The code at `at`: does what `table` says, and returns `target` relocated. It keeps the
/// registers that a function must (psABI, figure 3.4) and uses no stack.
///
/// # Errors
/// For a table past 2 GiB, which its instructions do not reach. [`Relative::of`] leaves
/// such libraries alone.
fn code(at: u64, table: &Range<u64>, target: u64) -> Result<Vec<u8>, Error> {
    let reached = |address: u64| i32::try_from(address).is_ok();
    if !reached(at + CODE) || !reached(table.end) {
        return Err(Error::Code("it lies past 2 GiB".into()));
    }
    let made = assemble(at, table, target).map_err(|error| Error::Code(error.to_string()))?;
    let mut bytes = made;
    if bytes.len() as u64 > CODE {
        return Err(Error::Code("it is too long".into()));
    }
    bytes.resize(CODE as usize, 0xcc);
    Ok(bytes)
}

fn assemble(at: u64, table: &Range<u64>, target: u64) -> Result<Vec<u8>, IcedError> {
    let mut code = CodeAssembler::new(64)?;
    let (mut start, mut end) = (code.create_label(), code.create_label());
    let (mut list, mut next, mut bitmap, mut bit) =
        (code.create_label(), code.create_label(), code.create_label(), code.create_label());
    let (mut skip, mut done) = (code.create_label(), code.create_label());
    let offset = |address: u64| address as i32;
    code.endbr64()?;
    // rdx: the load base.
    code.set_label(&mut start)?;
    code.lea(rdx, qword_ptr(start))?;
    code.sub(rdx, offset(at + 4))?;
    // rsi to rdi: what is left of the table.
    code.lea(rsi, rdx + offset(table.start))?;
    code.lea(rdi, rdx + offset(table.end))?;
    // Each word becomes itself and r10, plus r11.
    code.set_label(&mut list)?;
    code.cmp(rsi, rdi)?;
    code.jae(done)?;
    code.mov(rax, qword_ptr(rsi))?;
    code.mov(r8, qword_ptr(rsi + 8))?;
    code.add(rsi, 16)?;
    code.add(r8, rsi)?;
    code.mov(r10, -1i64)?;
    code.mov(r11, rdx)?;
    code.test(rax, rax)?;
    code.je(next)?;
    code.xor(r10, r10)?;
    code.mov(r11, qword_ptr(rdx + rax))?;
    // The words of a list, up to r8.
    code.set_label(&mut next)?;
    code.cmp(rsi, r8)?;
    code.jae(list)?;
    code.mov(rax, qword_ptr(rsi))?;
    code.add(rsi, 8)?;
    code.test(rax, 1)?;
    code.jne(bitmap)?;
    // An address, of one word.
    code.lea(r9, rdx + rax)?;
    code.and(qword_ptr(r9), r10)?;
    code.add(qword_ptr(r9), r11)?;
    code.add(r9, 8)?;
    code.jmp(next)?;
    // One bit for each of the next 63 words.
    code.set_label(&mut bitmap)?;
    code.mov(rcx, r9)?;
    code.set_label(&mut bit)?;
    code.shr(rax, 1)?;
    code.je(end)?;
    code.test(rax, 1)?;
    code.je(skip)?;
    code.and(qword_ptr(rcx), r10)?;
    code.add(qword_ptr(rcx), r11)?;
    code.set_label(&mut skip)?;
    code.add(rcx, 8)?;
    code.jmp(bit)?;
    code.set_label(&mut end)?;
    code.add(r9, 63 * 8)?;
    code.jmp(next)?;
    code.set_label(&mut done)?;
    code.mov(r8, target)?;
    code.lea(rax, rdx + r8)?;
    code.ret()?;
    code.assemble(at)
}
