//! The read-only data that code names.
//!
//! Position-independent code reaches its constants, its lookup and jump tables and its
//! strings relative to the instruction pointer. A trace shows which pages of them were
//! read by the numbers that the workload computed with; the next run may look up others.

use crate::Function;
use elf::{Error, Library, PAGE, ProgramHeader, Relocation, Symbol, flags};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::ops::Range;

/// The most bytes of a table that count as named together with its start. What code
/// names says where tables begin, not where they end: each ends where the next begins,
/// or here. Lookup tables of algorithms have up to 8 KiB; those that are larger are
/// reached by their traced pages.
const TABLE: u64 = 4 * PAGE;

/// The read-only data that those functions of `all`, which ascend, name that are `hot`:
/// ranges of addresses, each from a named one to the next that any function names.
pub(crate) fn data(library: &Library<'_>, all: &[Function], hot: &[bool]) -> Vec<Range<u64>> {
    let within: Vec<Range<u64>> = library
        .loads()
        .filter(|load| !load.is_writable() && load.flags & flags::EXECUTE == 0)
        .map(ProgramHeader::file_addresses)
        .collect();
    let inside = |at: &u64| within.iter().any(|range| range.contains(at));
    // Whatever names data, hot or not, tells where other data ends.
    let mut ends: Vec<u64> = all
        .par_chunks(1 << 12)
        .flat_map_iter(|part| {
            let mut named = named(library, part.iter().map(|function| function.code.clone()));
            named.retain(inside);
            named
        })
        .collect();
    ends.par_sort_unstable();
    ends.dedup();
    let ran = all.iter().zip(hot).filter(|(_, hot)| **hot);
    let starts = named(library, ran.map(|(function, _)| function.code.clone()));
    let starts = starts.into_iter().filter(inside);
    starts
        .map(|start| {
            let next = ends.get(ends.partition_point(|end| *end <= start));
            start..next.copied().unwrap_or(u64::MAX).min(start + TABLE)
        })
        .collect()
}

/// The addresses that the instructions at `codes` name relative to themselves,
/// ascending. Those that they call or jump to are not among them.
pub fn named(library: &Library<'_>, codes: impl Iterator<Item = Range<u64>>) -> Vec<u64> {
    let mut named = Vec::new();
    decode(library, codes, |instruction| {
        if instruction.is_ip_rel_memory_operand() {
            named.push(instruction.ip_rel_memory_address());
        }
    });
    named.sort_unstable();
    named.dedup();
    named
}

/// The functions of `all` that are entered at their start, ascending: since code of the library
/// calls them there or takes that address, or a symbol or a relocated word has it.
pub(crate) fn entered(library: &Library<'_>, all: &[Function]) -> Vec<u64> {
    let mut entered: Vec<u64> = all
        .par_chunks(1 << 12)
        .flat_map_iter(|part| {
            let mut entered = Vec::new();
            decode(library, part.iter().map(|function| function.code.clone()), |instruction| {
                match instruction.mnemonic() {
                    Mnemonic::Call => entered.push(instruction.near_branch_target()),
                    Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                        entered.push(instruction.ip_rel_memory_address());
                    }
                    _ => {}
                }
            });
            entered
        })
        .collect();
    // A library whose tables are damaged is refused elsewhere.
    let symbols = library.symbols().unwrap_or_default();
    let exported = symbols.iter().filter(|symbol| symbol.is_code() && symbol.is_defined());
    entered.extend(exported.map(|symbol| symbol.address));
    entered.extend(relocated(library, &symbols).unwrap_or_default());
    entered.par_sort_unstable();
    entered.dedup();
    let start = |at: &u64| all.binary_search_by_key(at, |function| function.code.start).is_ok();
    entered.retain(start);
    entered
}

/// The addresses of the library's own that the loader writes into words, in any order.
///
/// # Errors
/// What [`Error`] says of relocations that are not understood.
pub(crate) fn relocated(library: &Library<'_>, symbols: &[Symbol<'_>]) -> Result<Vec<u64>, Error> {
    let own = |index: u32| symbols.get(index as usize).filter(|symbol| symbol.is_defined());
    let target = |relocation: &Relocation| match relocation.kind {
        Relocation::RELATIVE => Some(relocation.addend as u64),
        Relocation::R_64 | Relocation::GLOB_DAT => own(relocation.symbol)
            .map(|symbol| symbol.address.wrapping_add_signed(relocation.addend)),
        _ => None,
    };
    let mut targets: Vec<u64> = library.relocations()?.iter().filter_map(target).collect();
    for address in library.relative_addresses()? {
        let word = library.read(address, 8).ok().and_then(|word| word.first_chunk().copied());
        targets.extend(word.map(u64::from_le_bytes));
    }
    Ok(targets)
}

/// Where the code at `code` calls and jumps to outside itself: each place and its target.
pub(crate) fn branches(library: &Library<'_>, code: &Range<u64>) -> Vec<(u64, u64)> {
    let mut targets = Vec::new();
    decode(library, std::iter::once(code.clone()), |instruction| {
        let target = instruction.near_branch_target();
        if target != 0 && !code.contains(&target) {
            targets.push((instruction.ip(), target));
        }
    });
    targets
}

/// The words at `slots` through which the code at `codes` calls functions, itself or by
/// an entry of the procedure linkage table (psABI 5.2): such an entry counts only where
/// code that is not itself one calls it.
pub fn called_through(
    library: &Library<'_>,
    codes: impl Iterator<Item = Range<u64>>,
    slots: &BTreeSet<u64>,
) -> BTreeSet<u64> {
    /// Bytes of an entry.
    const ENTRY: u64 = 16;
    let (mut calls, mut entries, mut through) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    decode(library, codes, |instruction| {
        if instruction.is_ip_rel_memory_operand() {
            let at = instruction.ip_rel_memory_address();
            if !slots.contains(&at) {
            } else if instruction.mnemonic() == Mnemonic::Jmp {
                entries.push((instruction.ip(), at));
            } else {
                through.insert(at);
            }
        } else if instruction.near_branch_target() != 0 {
            calls.insert(instruction.near_branch_target());
        }
    });
    for (place, slot) in entries {
        if calls.range(place.saturating_sub(ENTRY - 1)..=place).next().is_some() {
            through.insert(slot);
        }
    }
    through
}

/// Decodes what is at `codes`, which ascend, and shows `each` instruction.
pub(crate) fn decode(
    library: &Library<'_>,
    codes: impl Iterator<Item = Range<u64>>,
    mut each: impl FnMut(&Instruction),
) {
    let mut instruction = Instruction::default();
    // Entries of damaged tables may overlap: no byte is read twice.
    let mut last = 0;
    for code in codes {
        let start = code.start.max(last);
        last = last.max(code.end);
        if start >= code.end {
            continue;
        }
        let Ok(bytes) = library.read(start, code.end - start) else { continue };
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            each(&instruction);
        }
    }
}
