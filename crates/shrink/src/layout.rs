//! Where everything goes in the smaller file.

use crate::absent::{Absent, HALT};
use crate::cold::{self, Cold, Revive};
use crate::link::{self, Link};
use crate::names::{self, Names};
use crate::relative::{self, Packed};
use crate::runs::{join, of_segment};
use crate::sections::sections;
use crate::{Error, Limits, Shrunk};
use elf::{
    Extents, FileOffset, Library, PAGE, PageSet, ProgramHeader, Relative, Sections, congruent,
    flags, segment,
};
use functions::{Functions, Tables};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

/// Bytes of a 64-bit ELF header.
const HEADER: u64 = 64;

/// A smaller file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smaller {
    extents: Extents,
    mappings: usize,
    cold: Option<Cold>,
}

impl Smaller {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.extents.size()
    }

    /// What is not in it and comes back from the package's store.
    pub fn cold(&self) -> Option<&Cold> {
        self.cold.as_ref()
    }

    /// Says in the file that its cold pages are the chunks from `first` on of the store
    /// with this `root`, and that the BLAKE3 hash of the original starts with `content`.
    pub fn seal(&mut self, first: u32, root: [u8; 32], content: [u8; 8]) {
        if let Some(cold) = &self.cold {
            self.extents.replace(cold.piece, cold.draft.finish(first, root, content));
        }
    }

    /// The number of loadable segments.
    pub fn mappings(&self) -> usize {
        self.mappings
    }

    /// Writes it, given the bytes of the original.
    pub fn write_to(&self, original: &[u8], sink: &mut dyn Write) -> io::Result<()> {
        self.extents.write_to(original, sink)
    }
}

/// A range of addresses that is in the file, and from where.
struct Part {
    addresses: Range<u64>,
    from: From,
    offset: u64,
}

/// What the original does not have.
struct New {
    /// File offset.
    offset: u64,
    /// Unwind tables, which come first.
    unwind: Vec<u8>,
    note: Vec<u8>,
    /// Tables that the loader reads.
    tables: Vec<u8>,
    /// Instructions and what they read, with their address.
    code: Option<(u64, Vec<u8>)>,
    /// Bytes that change, by address.
    patches: BTreeMap<u64, Vec<u8>>,
}

/// Bytes of the original that change: words that the packed relocations relocate, entries
/// of the dynamic section, names.
fn patches(
    library: &Library<'_>,
    made: &Made,
    link: Option<&Link>,
    names: Option<Names>,
) -> BTreeMap<u64, Vec<u8>> {
    let mut patches = names.map(|names| names.patches).unwrap_or_default();
    patches.retain(|address, _| !link.is_some_and(|link| link.moved(*address)));
    let word = |(address, word): (&u64, &u64)| (*address, word.to_le_bytes().to_vec());
    patches.extend(made.packed.iter().flat_map(|packed| packed.words.iter().map(word)));
    let start = library.header(segment::DYNAMIC).map_or(0, |header| header.address);
    for (number, entry) in library.dynamic_entries().iter().enumerate() {
        if let Some((_, value)) = made.dynamic.iter().find(|(tag, _)| *tag == entry.tag) {
            let address = start + 16 * number as u64 + 8;
            patches.insert(address, value.to_le_bytes().to_vec());
        }
    }
    for (address, entry) in link.iter().flat_map(|link| link.entries()) {
        patches.remove(&(address + 8));
        patches.insert(address, entry);
    }
    patches
}

/// Tables and instructions that depend on where they lie.
struct Made {
    tables: Vec<u8>,
    code: Vec<u8>,
    packed: Option<Packed>,
    /// Entries of the dynamic section with their new values.
    dynamic: Vec<(u64, u64)>,
}

/// What is needed to make them.
struct Maker<'l> {
    library: &'l Library<'l>,
    relative: Option<&'l Relative>,
    link: Option<&'l Link>,
}

impl Maker<'_> {
    /// Makes the tables to lie at `tables`, a multiple of eight, and the instructions at
    /// `code`. Their lengths do not depend on where they lie.
    fn make(&self, tables: u64, code: u64, note: &Range<u64>) -> Result<Made, Error> {
        let before = self.link.map_or(0, |_| link::CODE);
        let extra: Vec<_> = self.link.iter().map(|link| link.relocation()).collect();
        let packed = match self.relative {
            Some(relative) => relative::pack(relative, &extra, tables, code + before)?,
            None => None,
        };
        let mut made =
            Made { tables: Vec::new(), code: Vec::new(), packed: None, dynamic: Vec::new() };
        if let Some(packed) = &packed {
            made.tables.extend(&packed.rela);
            made.dynamic.extend(packed.dynamic);
        } else if self.link.is_some() {
            let range = self.library.dynamic_range(elf::tag::RELA, elf::tag::RELASZ);
            let range = range.unwrap_or(0..0);
            made.tables.extend(self.library.read(range.start, range.end - range.start)?);
            made.tables.extend(extra.iter().flat_map(elf::Relocation::to_bytes));
            let size = made.tables.len() as u64;
            made.dynamic.extend([(elf::tag::RELA, tables), (elf::tag::RELASZ, size)]);
        }
        if let Some(link) = self.link {
            made.tables.resize(made.tables.len().next_multiple_of(8), 0);
            let (bytes, dynamic) = link.tables(tables + made.tables.len() as u64);
            made.tables.extend(bytes);
            made.dynamic.extend(dynamic);
            made.dynamic.extend(Link::calls(code));
            made.code = link.code(code, note)?;
        }
        made.code.extend(packed.iter().flat_map(|packed| &packed.segment));
        made.packed = packed;
        Ok(made)
    }
}

/// Where bytes come from.
#[derive(Clone, Copy)]
enum From {
    /// A file offset of the original.
    Original(u64),
    /// What is made anew, which is last.
    New,
}

/// Lays out `library` with those pages of its read-only segments that are in `keep`
/// or that the loader reads. Writable segments stay whole but for names.
///
/// `private` tells of a function's name whether nothing else in the package defines or
/// imports it: without its code, such a function loses its name.
///
/// With `revive`, nothing is lost: what is not in the file is listed in [`Smaller::cold`],
/// every name stays, and the file is tied to the runtime that brings the pages back.
pub fn shrink(
    library: &Library<'_>,
    keep: &PageSet,
    private: &dyn Fn(&str) -> bool,
    revive: Option<&Revive<'_>>,
    limits: &Limits,
) -> Result<Shrunk, Error> {
    let mut kept = library.loader_pages()?;
    kept.union(keep);
    let mut present = kept.clone();
    if let Some(revive) = revive {
        present.union(revive.cold);
    }
    let names = Names::of(library, &present, private);
    let link = revive.map(|revive| Link::of(library, revive.runtime, names.as_ref()));
    let link = link.transpose()?;
    let relative = Relative::of(library, &names::own(library, private));
    if let Some(relative) = &relative {
        kept.remove(&relative.pages());
    }
    let freed = names.as_ref().map(|names| names.freed.clone()).unwrap_or_default();
    kept.remove(&freed);
    if let Some(link) = &link {
        kept.remove(&link.freed);
        // A page of two segments has two sets of rights.
        kept.union(&cold::shared(library));
    }
    let loads: Vec<&ProgramHeader> = library.loads().collect();
    if loads[0].offset.0 != 0 || loads[0].file_size < HEADER {
        return Err(elf::Error::Unsupported("a library whose header is not mapped").into());
    }
    let mut ranges = Vec::with_capacity(loads.len());
    for load in &loads {
        if load.is_writable() {
            let mut pages = PageSet::new();
            pages.insert_addresses(load.file_addresses());
            pages.remove(&freed);
            pages.remove(&link.as_ref().map(|link| link.freed.clone()).unwrap_or_default());
            ranges.push(of_segment(load, &pages));
        } else if load.memory_size > load.file_size {
            let what = "a library with zero-filled read-only memory";
            return Err(elf::Error::Unsupported(what).into());
        } else {
            ranges.push(of_segment(load, &kept));
        }
    }
    // One mapping is for the program headers themselves, one for the code that relocates.
    let has_code = relative.is_some() || link.is_some();
    let own = 2 + usize::from(has_code);
    join(&mut ranges, limits.mappings.saturating_sub(own).max(loads.len()));

    let mut headers = Vec::new();
    let mut parts: Vec<Part> = Vec::new();
    let mut cursor = 0;
    let mut last_load = 0;
    let mut segments = loads.iter().zip(&ranges);
    for header in library.headers() {
        if header.kind != segment::LOAD {
            headers.push(*header);
            continue;
        }
        let Some((load, ranges)) = segments.next() else { break };
        for range in ranges {
            let offset = congruent(cursor, range.start);
            let size = range.end - range.start;
            // Only the end of a writable segment has a zero-filled rest.
            let last = range.end == load.file_addresses().end;
            let rest = if last { load.memory_size - load.file_size } else { 0 };
            headers.push(ProgramHeader {
                kind: segment::LOAD,
                flags: load.flags,
                offset: FileOffset(offset),
                address: range.start,
                physical: range.start,
                file_size: size,
                memory_size: size + rest,
                align: PAGE,
            });
            let from = load.offset.0 + (range.start - load.address);
            let from = From::Original(from);
            parts.push(Part { addresses: range.clone(), from, offset });
            last_load = headers.len();
            cursor = offset + size;
        }
    }

    // What is new lies in a read-only segment of its own, past everything: where it
    // shared a page with zero-filled memory, the loader would take zeros for it. Unwind
    // tables come first, then the program headers.
    let end = loads.last().map_or(0, |load| load.addresses().end);
    let place = end.next_multiple_of(PAGE);
    // Tables that are not understood are none.
    let functions = Functions::read(library).unwrap_or_default();
    let unwind = unwind_tables(library, &functions, &present, place);
    let tables = unwind.as_ref().map_or(0, |tables| tables.bytes.len() as u64);
    // Where pages come back, the unwind tables are among them.
    let hole = if revive.is_some() { tables.next_multiple_of(PAGE) } else { 0 };
    let new_address = place + hole;
    let new_offset = congruent(cursor, new_address);
    let absent = revive.map(|_| Absent::of(library, &functions, &present)).unwrap_or_default();
    let draft = revive.map(|revive| {
        let gone = relative.as_ref().map(Relative::pages).unwrap_or_default();
        let gone = [&gone, &link.as_ref().map(|link| link.freed.clone()).unwrap_or_default()]
            .into_iter()
            .fold(PageSet::new(), |mut all, one| {
                all.union(one);
                all
            });
        let unwind = place / PAGE..(place + hole) / PAGE;
        cold::draft(library, &ranges, &gone, unwind, revive, !absent.starts.is_empty())
    });
    let note = new_address + if hole == 0 { tables.next_multiple_of(8) } else { 0 };
    let note = note..note + draft.as_ref().map_or(0, note::Draft::size);
    let first = (note.end - new_address).next_multiple_of(8);
    // The lengths do not depend on where the code lies, which follows from them.
    let maker = Maker { library, relative: relative.as_ref(), link: link.as_ref() };
    let before = first + maker.make(new_address + first, 0, &note)?.tables.len() as u64;
    // The program headers have a segment of their own, on the next page of memory: tools that
    // lay a file out anew know them only at the beginning of one.
    let table_offset = new_offset + before;
    let table_address = (new_address + before).next_multiple_of(PAGE) + table_offset % PAGE;
    if let Some(tables) = &unwind {
        let size = tables.index;
        if hole == 0 {
            let addresses = place..place + size;
            parts.push(Part { addresses, from: From::New, offset: new_offset });
        }
        for header in headers.iter_mut().filter(|header| header.kind == segment::GNU_EH_FRAME) {
            (header.address, header.physical) = (place, place);
            (header.file_size, header.memory_size) = (size, size);
        }
    }
    headers.retain(|header| draft.is_some() || reachable(header, &parts));
    let last_load = headers
        .iter()
        .rposition(|header| header.kind == segment::LOAD)
        .map_or(last_load, |at| at + 1);
    let count = headers.len() as u64 + 1 + u64::from(before > 0) + u64::from(has_code);
    let table_size = count * ProgramHeader::SIZE;
    let table = ProgramHeader {
        kind: segment::LOAD,
        flags: flags::READ,
        offset: FileOffset(table_offset),
        address: table_address,
        physical: table_address,
        file_size: table_size,
        memory_size: table_size,
        align: PAGE,
    };
    let mut size = new_offset + before + table_size;
    let load = |kind_flags, offset, address, size| ProgramHeader {
        flags: kind_flags,
        offset: FileOffset(offset),
        address,
        physical: address,
        file_size: size,
        memory_size: size,
        ..table
    };
    if before > 0 {
        headers.insert(last_load, load(flags::READ, new_offset, new_address, before));
    }
    let last_load = last_load + usize::from(before > 0);
    headers.insert(last_load, table);
    let code_address = (table_address + table_size).next_multiple_of(PAGE);
    let made = maker.make(new_address + first, code_address, &note)?;
    if has_code {
        let code_offset = congruent(size, code_address);
        let length = made.code.len() as u64;
        let flags = flags::READ | flags::EXECUTE;
        headers.insert(last_load + 1, load(flags, code_offset, code_address, length));
        size = code_offset + length;
    }
    for header in headers.iter_mut().filter(|header| header.kind != segment::LOAD) {
        if header.kind == segment::PHDR {
            let align = header.align;
            *header = ProgramHeader { kind: segment::PHDR, align, ..table };
        } else if let Some(part) = part_of(header, &parts) {
            header.offset = FileOffset(part.offset + (header.address - part.addresses.start));
        } else {
            // It has no bytes in the file: thread-local zeros, or the stack's rights.
            header.offset = FileOffset(0);
        }
    }
    if headers.len() >= usize::from(u16::MAX) {
        return Err(elf::Error::Unsupported("a library with too many runs of pages").into());
    }

    if size + PAGE > library.data().len() as u64 {
        return Ok(Shrunk::Whole);
    }
    let mut patches = patches(library, &made, link.as_ref(), names);
    patches.extend(absent.halted.iter().map(|at| (*at, vec![HALT])));
    let mut unwind = unwind.map(|tables| tables.bytes).unwrap_or_default();
    let mut beside = (place, Vec::new());
    if hole != 0 {
        unwind.resize(hole as usize, 0);
        beside.1 = std::mem::take(&mut unwind);
    }
    let note = draft.as_ref().map(|draft| draft.finish(0, [0; 32], [0; 8])).unwrap_or_default();
    let code = has_code.then_some((code_address, made.code));
    let new = New { offset: new_offset, unwind, note, tables: made.tables, code, patches };
    let sections = sections(library, &new.patches, &headers, table_offset, size)?;
    size += sections.as_ref().map_or(0, |sections| sections.bytes.len() as u64);
    let (extents, piece) = extents(library, &parts, &headers, new, table_offset, sections)?;
    let cold = draft.map(|draft| Cold { draft, piece, absent, beside });
    let mappings = headers.iter().filter(|header| header.kind == segment::LOAD).count();
    let smaller = Smaller { extents, mappings, cold };
    if smaller.size() != size {
        return Err(Error::Differs { what: "the size", at: smaller.size() });
    }
    Ok(Shrunk::Smaller(smaller))
}

/// New unwind tables, where those of kept functions do not lie on kept pages. Tables
/// that are not understood stay as far as their pages do.
fn unwind_tables(
    library: &Library<'_>,
    functions: &Functions,
    kept: &PageSet,
    address: u64,
) -> Option<Tables> {
    library.header(segment::GNU_EH_FRAME)?;
    if functions.have_tables(kept) {
        return None;
    }
    functions::tables(library, functions, kept, address).ok()?
}

fn part_of<'a>(header: &ProgramHeader, parts: &'a [Part]) -> Option<&'a Part> {
    let wanted = header.file_addresses();
    parts
        .iter()
        .find(|part| part.addresses.start <= wanted.start && wanted.end <= part.addresses.end)
}

/// Whether what a header speaks of is in the file. The unwinder's table is not
/// where no function is kept: then nothing looks for it.
fn reachable(header: &ProgramHeader, parts: &[Part]) -> bool {
    match header.kind {
        segment::LOAD | segment::PHDR | segment::GNU_STACK => true,
        _ if header.file_size == 0 => true,
        _ => part_of(header, parts).is_some(),
    }
}

fn extents(
    library: &Library<'_>,
    parts: &[Part],
    headers: &[ProgramHeader],
    new: New,
    table_offset: u64,
    sections: Option<Sections>,
) -> Result<(Extents, usize), Error> {
    let mut extents = Extents::new();
    for (number, part) in parts.iter().enumerate() {
        extents.pad_to(part.offset);
        let size = part.addresses.end - part.addresses.start;
        let From::Original(start) = part.from else { break };
        let mut from = start;
        if number == 0 {
            if part.offset != 0 || from != 0 || size < HEADER {
                return Err(elf::Error::Unsupported("a library whose header is not first").into());
            }
            extents.bytes(file_header(library, headers.len(), table_offset, sections.as_ref()));
            from = HEADER;
        }
        let mut changed = new.patches.range(part.addresses.clone()).peekable();
        if changed.peek().is_none() {
            extents.original(from..start + size);
            continue;
        }
        let mut bytes = library.read(part.addresses.start, size)?.to_vec();
        for (address, patch) in changed {
            let at = (address - part.addresses.start) as usize;
            let place = bytes.get_mut(at..at + patch.len());
            let what = "tables that do not lie in one segment";
            place.ok_or(elf::Error::Unsupported(what))?.copy_from_slice(patch);
        }
        bytes.drain(..(from - start) as usize);
        extents.bytes(bytes);
    }
    extents.pad_to(new.offset);
    let unwind = new.unwind.len() as u64;
    extents.bytes(new.unwind);
    if !new.note.is_empty() {
        extents.pad_to(new.offset + unwind.next_multiple_of(8));
    }
    let piece = extents.pieces().len();
    extents.bytes(new.note);
    extents.pad_to(table_offset - new.tables.len() as u64);
    extents.bytes(new.tables);
    extents.pad_to(table_offset);
    extents.bytes(headers.iter().flat_map(ProgramHeader::to_bytes).collect());
    if let Some((address, code)) = new.code {
        let end = extents.size();
        extents.pad_to(congruent(end, address));
        extents.bytes(code);
    }
    if let Some(sections) = sections {
        extents.bytes(sections.bytes);
    }
    Ok((extents, piece))
}

/// The file header: program and section headers at their new places (gABI figure 4-3).
fn file_header(
    library: &Library<'_>,
    count: usize,
    table_offset: u64,
    sections: Option<&Sections>,
) -> Vec<u8> {
    let mut header = library.data()[..HEADER as usize].to_vec();
    header[32..40].copy_from_slice(&table_offset.to_le_bytes());
    header[40..48].fill(0);
    header[56..58].copy_from_slice(&(count as u16).to_le_bytes());
    header[58..64].fill(0);
    if let Some(sections) = sections {
        sections.put(&mut header);
    }
    header
}
