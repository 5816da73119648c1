//! The read-only data that code names.
//!
//! Position-independent code reaches its constants, its lookup and jump tables and its
//! strings relative to the instruction pointer. A trace shows which pages of them were
//! read by the numbers that the workload computed with; the next run may look up others.

use elf::{Library, PAGE, ProgramHeader};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use std::ops::Range;

/// The most bytes of a table that count as named together with its start. What code
/// names says where tables begin, not where they end: each ends where the next begins,
/// or here. Lookup tables of algorithms have up to 8 KiB; those that are larger are
/// reached by their traced pages.
const TABLE: u64 = 2 * PAGE;

/// The addresses of read-only data that the code at `codes` names, as ranges, each
/// from a named address to the next.
pub fn data(library: &Library<'_>, codes: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let within: Vec<Range<u64>> = library
        .loads()
        .filter(|load| !load.is_writable() && load.flags & 1 == 0)
        .map(ProgramHeader::file_addresses)
        .collect();
    let mut named = Vec::new();
    let mut instruction = Instruction::default();
    for code in codes {
        let Ok(bytes) = library.read(code.start, code.end - code.start) else { continue };
        let mut decoder = Decoder::with_ip(64, bytes, code.start, DecoderOptions::NONE);
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if instruction.is_ip_rel_memory_operand() {
                let at = instruction.ip_rel_memory_address();
                if within.iter().any(|range| range.contains(&at)) {
                    named.push(at);
                }
            }
        }
    }
    named.sort_unstable();
    named.dedup();
    let ends = named.iter().skip(1).copied().chain([u64::MAX]);
    named.iter().zip(ends).map(|(start, next)| *start..next.min(start + TABLE)).collect()
}
