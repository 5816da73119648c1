//! Read-only data whose address a program can hold.
//!
//! The kernel does not wait for a page to come back: a system call that is given the
//! address of a missing one fails. But only an address that the program holds can be given
//! to it. Data that instructions load from where they name it, and whose address none takes,
//! never leaves the processor's hands: constants, tables of an unwinder, code. Nor do the
//! names of C++ types: who prints one asks for its length first, and none is a path.

use crate::references::{TABLE, decode};
use crate::{Function, Functions};
use elf::{Error, Library, PageSet, ProgramHeader, Relocation, Symbol, flags};
use iced_x86::Mnemonic;
use rayon::prelude::*;
use std::collections::HashSet;
use std::ops::Range;

/// The pages of read-only data that may reach a system call: those that an instruction
/// takes the address of, a relocated word holds the address of, or a symbol exports; each
/// datum up to where the next begins, or for 16 KiB.
///
/// # Errors
/// What [`Error`] says of relocations and symbols that are not understood.
pub fn addressed(library: &Library<'_>, functions: &Functions) -> Result<PageSet, Error> {
    let all = functions.all();
    let loads = || library.loads().filter(|load| !load.is_writable());
    let (code, data): (Vec<&ProgramHeader>, Vec<&ProgramHeader>) =
        loads().partition(|load| load.flags & flags::EXECUTE != 0);
    let starts = crate::functions::entry_points(library);
    let covered = |at: u64| functions.at(at).is_some() || starts.binary_search(&at).is_ok();
    let inside = |at: &u64| {
        data.iter().any(|load| load.file_addresses().contains(at))
            // Data may lie among code.
            || (code.iter().any(|load| load.file_addresses().contains(at)) && !covered(*at))
    };
    let mut pieces: Vec<Range<u64>> = all.iter().map(|function| function.code.clone()).collect();
    for load in &code {
        pieces.extend(gaps(load.file_addresses(), all));
    }
    pieces.sort_by_key(|piece| (piece.start, piece.end));
    // What is named and not taken tells where other data ends.
    let found: Vec<(u64, bool)> = pieces
        .par_chunks(1 << 12)
        .flat_map_iter(|part| {
            let mut found = Vec::new();
            decode(library, part.iter().cloned(), |instruction| {
                if instruction.is_ip_rel_memory_operand() {
                    let taken = instruction.mnemonic() == Mnemonic::Lea;
                    found.push((instruction.ip_rel_memory_address(), taken));
                }
            });
            found.retain(|(at, _)| inside(at));
            found.sort_unstable();
            found.dedup();
            found
        })
        .collect();
    let mut ends: Vec<u64> = found.iter().map(|(at, _)| *at).collect();
    let mut taken: Vec<u64> = found.iter().filter(|(_, taken)| *taken).map(|(at, _)| *at).collect();
    let symbols = library.symbols()?;
    let own = |index: u32| symbols.get(index as usize).filter(|symbol| symbol.is_defined());
    for relocation in library.relocations()? {
        let target = match relocation.kind {
            Relocation::RELATIVE => Some(relocation.addend as u64),
            Relocation::R_64 | Relocation::GLOB_DAT => own(relocation.symbol)
                .map(|symbol| symbol.address.wrapping_add_signed(relocation.addend)),
            _ => None,
        };
        taken.extend(target);
    }
    for address in library.relative_addresses()? {
        let word = library.read(address, 8).ok().and_then(|word| word.first_chunk().copied());
        taken.extend(word.map(u64::from_le_bytes));
    }
    taken.retain(inside);
    ends.extend(&taken);
    let types = type_names(library, &symbols);
    taken.retain(|at| !types.contains(at));
    let mut pages = PageSet::new();
    for symbol in symbols.iter().filter(|symbol| symbol.is_object() && symbol.is_defined()) {
        if inside(&symbol.address) && !types.contains(&symbol.address) {
            ends.push(symbol.address);
            let limit = loads().map(|load| load.addresses().end).max().unwrap_or(0);
            let end = symbol.address.saturating_add(symbol.size.max(1)).min(limit);
            pages.insert_addresses(symbol.address..end);
        }
    }
    ends.par_sort_unstable();
    ends.dedup();
    for start in taken {
        let next = ends.get(ends.partition_point(|end| *end <= start)).copied();
        let end = next.unwrap_or(u64::MAX).min(start.saturating_add(TABLE));
        pages.insert_addresses(start..text_end(library, start).unwrap_or(end));
    }
    Ok(pages)
}

/// Where the names of types lie (`_ZTS`, Itanium C++ ABI 5.1.4.1).
fn type_names(library: &Library<'_>, exported: &[Symbol<'_>]) -> HashSet<u64> {
    let local = library.local_symbols().filter(|symbol| symbol.name.starts_with(b"_ZTS"));
    let exported = exported.iter().filter(|symbol| symbol.name.starts_with("_ZTS"));
    let exported = exported.filter(|symbol| symbol.is_defined()).map(|symbol| symbol.address);
    local.map(|symbol| symbol.address).chain(exported).collect()
}

/// The end of the text at `start`, if a text with an end is there.
fn text_end(library: &Library<'_>, start: u64) -> Option<u64> {
    let bytes = library.read_to_segment_end(start).ok()?;
    let length = bytes.iter().take(TABLE as usize).position(|byte| *byte == 0)?;
    let text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\n' | b'\t');
    (length > 0 && bytes[..length].iter().all(text)).then(|| start + length as u64 + 1)
}

/// What of `range` no function covers; `all` ascend.
fn gaps(range: Range<u64>, all: &[Function]) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut last = range.start;
    for function in all.iter().filter(|function| range.contains(&function.code.start)) {
        if function.code.start > last {
            gaps.push(last..function.code.start);
        }
        last = last.max(function.code.end);
    }
    if last < range.end {
        gaps.push(last..range.end);
    }
    gaps
}
