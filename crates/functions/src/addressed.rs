//! Read-only data whose address a program can hold.
//!
//! The kernel does not wait for a page to come back: a system call that is given the
//! address of a missing one fails. But only an address that the program holds can be given
//! to it. Data that instructions load from where they name it, and whose address none takes,
//! never leaves the processor's hands: constants, tables of an unwinder, code. Nor do the
//! names of C++ types: who prints one asks for its length first, and none is a path.
//!
//! What is behind an address has no length. Where a symbol says which object it is in, that
//! object counts; otherwise all up to the next thing that is known to be another one.

use crate::references::{decode, relocated};
use crate::{Function, Functions};
use elf::{Error, Library, PageSet, ProgramHeader, Symbol, flags};
use iced_x86::Mnemonic;
use rayon::prelude::*;
use std::collections::HashSet;
use std::ops::Range;

/// The pages of read-only data that may reach a system call: those that an instruction
/// takes the address of, a relocated word holds the address of, or a symbol exports; each
/// datum whole.
///
/// # Errors
/// What [`Error`] says of relocations and symbols that are not understood.
pub fn addressed(library: &Library<'_>, functions: &Functions) -> Result<PageSet, Error> {
    let symbols = library.symbols()?;
    let mut objects = objects(library, &symbols);
    let types = type_names(library, &symbols);
    let mut taken = taken(library, functions, &symbols)?;
    taken.retain(|at| !types.contains(at));
    let mut ends = ends(library, functions, &taken);
    ends.extend(objects.iter().flat_map(|object| [object.start, object.end]));
    ends.par_sort_unstable();
    ends.dedup();
    let mut pages = PageSet::new();
    let mut last = None;
    for start in taken {
        let object = objects.partition_point(|object| object.start <= start).checked_sub(1);
        let object = object.and_then(|at| objects.get(at)).filter(|object| object.contains(&start));
        // Many addresses may lie in one object; it is added once.
        if object.is_some() && object == last {
            continue;
        }
        last = object;
        let next = || ends.get(ends.partition_point(|end| *end <= start)).copied();
        let to_next = || start..next().unwrap_or(start + 1);
        pages.insert_addresses(object.cloned().unwrap_or_else(to_next));
    }
    let is_data = data(library, functions);
    let exported = symbols.iter().filter(|symbol| symbol.is_object() && symbol.is_defined());
    let exported: HashSet<u64> = exported.map(|symbol| symbol.address).collect();
    objects.retain(|object| {
        exported.contains(&object.start) && is_data(object.start) && !types.contains(&object.start)
    });
    for object in objects {
        pages.insert_addresses(object);
    }
    Ok(pages)
}

/// Whether read-only data may be at an address: outside code, or among it where no function is.
/// Where unwind tables speak of less than half of a section of instructions, its compiler made
/// none for most of it, and what they do not speak of is code as well.
fn data<'a>(
    library: &'a Library<'_>,
    functions: &'a Functions,
) -> impl Fn(u64) -> bool + Sync + use<'a> {
    let loads = library.loads().filter(|load| !load.is_writable());
    let (code, data): (Vec<&ProgramHeader>, Vec<&ProgramHeader>) =
        loads.partition(|load| load.flags & flags::EXECUTE != 0);
    let starts = crate::functions::entry_points(library);
    let silent: Vec<Range<u64>> =
        library.code_sections().filter(|section| !is_told(section, functions)).collect();
    let is_function = move |at: u64| {
        functions.at(at).is_some()
            || starts.binary_search(&at).is_ok()
            || silent.iter().any(|section| section.contains(&at))
    };
    move |at| {
        data.iter().any(|load| load.file_addresses().contains(&at))
            || (code.iter().any(|load| load.file_addresses().contains(&at)) && !is_function(at))
    }
}

/// Whether functions are known that cover half of `section`, and more.
fn is_told(section: &Range<u64>, functions: &Functions) -> bool {
    let (mut covered, mut last) = (0, section.start);
    for function in functions.all() {
        let (start, end) = (function.code.start.max(last), function.code.end.min(section.end));
        if start < end {
            covered += end - start;
            last = end;
        }
    }
    covered >= (section.end - section.start) / 2
}

/// The addresses of read-only data that instructions take or relocated words hold, ascending.
fn taken(
    library: &Library<'_>,
    functions: &Functions,
    symbols: &[Symbol<'_>],
) -> Result<Vec<u64>, Error> {
    let is_data = data(library, functions);
    let all = functions.all();
    let mut pieces: Vec<Range<u64>> = all.iter().map(|function| function.code.clone()).collect();
    let loads = library.loads().filter(|load| !load.is_writable());
    for load in loads.filter(|load| load.flags & flags::EXECUTE != 0) {
        pieces.extend(gaps(load.file_addresses(), all));
    }
    pieces.sort_by_key(|piece| (piece.start, piece.end));
    let mut taken: Vec<u64> = pieces
        .par_chunks(1 << 12)
        .flat_map_iter(|part| {
            let mut taken = Vec::new();
            decode(library, part.iter().cloned(), |instruction| {
                if instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand()
                {
                    taken.push(instruction.ip_rel_memory_address());
                }
            });
            taken.sort_unstable();
            taken.dedup();
            taken
        })
        .collect();
    taken.extend(relocated(library, symbols)?);
    taken.par_sort_unstable();
    taken.dedup();
    taken.retain(|at| is_data(*at));
    Ok(taken)
}

/// Where a datum must end at the latest: where another begins whose address is taken, and
/// where functions, unwind tables, sections and segments begin or end. What instructions name
/// only to load it may be the inside of a datum.
fn ends(library: &Library<'_>, functions: &Functions, taken: &[u64]) -> Vec<u64> {
    let mut ends = taken.to_vec();
    ends.extend(functions.all().iter().map(|function| function.code.start));
    let loads = library.loads().map(ProgramHeader::file_addresses);
    for range in loads.chain(functions.tables()).chain(library.sections()) {
        ends.extend([range.start, range.end]);
    }
    ends
}

/// The objects whose extent symbols tell, by address; of several at one place, the longest
/// is the last.
fn objects(library: &Library<'_>, exported: &[Symbol<'_>]) -> Vec<Range<u64>> {
    const OBJECT: u8 = 1;
    let local = library.local_symbols().filter(|symbol| symbol.kind == OBJECT);
    let local = local.map(|symbol| (symbol.address, symbol.size));
    let exported = exported.iter().filter(|symbol| symbol.is_object() && symbol.is_defined());
    let exported = exported.map(|symbol| (symbol.address, symbol.size.max(1)));
    let limit = library.loads().map(|load| load.addresses().end).max().unwrap_or(0);
    let mut objects: Vec<Range<u64>> = local
        .chain(exported)
        .map(|(start, size)| start..start.saturating_add(size).min(limit))
        .filter(|object| !object.is_empty())
        .collect();
    objects.sort_unstable_by_key(|object| (object.start, object.end));
    objects.dedup();
    objects
}

/// Where the names of types lie (`_ZTS`, Itanium C++ ABI 5.1.4.1).
fn type_names(library: &Library<'_>, exported: &[Symbol<'_>]) -> HashSet<u64> {
    let local = library.local_symbols().filter(|symbol| symbol.name.starts_with(b"_ZTS"));
    let exported = exported.iter().filter(|symbol| symbol.name.starts_with("_ZTS"));
    let exported = exported.filter(|symbol| symbol.is_defined()).map(|symbol| symbol.address);
    local.map(|symbol| symbol.address).chain(exported).collect()
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
