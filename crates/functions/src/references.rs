//! The read-only data that code names.
//!
//! Position-independent code reaches its constants, its lookup and jump tables and its
//! strings relative to the instruction pointer. A trace shows which pages of them were
//! read by the numbers that the workload computed with; the next run may look up others.

use crate::Function;
use elf::{Library, PAGE, ProgramHeader, flags};
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

/// The functions of `all` that code of the library calls at their start, ascending.
pub(crate) fn called(library: &Library<'_>, all: &[Function]) -> Vec<u64> {
    let mut called: Vec<u64> = all
        .par_chunks(1 << 12)
        .flat_map_iter(|part| {
            let mut called = Vec::new();
            decode(library, part.iter().map(|function| function.code.clone()), |instruction| {
                if instruction.mnemonic() == Mnemonic::Call {
                    called.push(instruction.near_branch_target());
                }
            });
            called
        })
        .collect();
    called.par_sort_unstable();
    called.dedup();
    let start = |at: &u64| all.binary_search_by_key(at, |function| function.code.start).is_ok();
    called.retain(start);
    called
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
