//! The first pass: an address and a file offset for everything.

use crate::Error;
use crate::choice::{Choice, end};
use crate::made::Made;
use elf::{FileOffset, Library, PAGE, ProgramHeader, congruent, flags, segment};
use functions::Tables;
use std::ops::Range;

/// A range of addresses that is in the file, and from where.
pub(crate) struct Part {
    pub addresses: Range<u64>,
    pub from: From,
    /// File offset.
    pub offset: u64,
}

/// Where bytes come from.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// A file offset of the original.
    Original(u64),
    /// What is made anew, which is last.
    New,
}

/// What is new and lies in a read-only segment of its own, past everything: where it shared a
/// page with zero-filled memory, the loader would take zeros for it. Unwind tables come first,
/// then the note, then the loader's tables.
pub(crate) struct New {
    /// The address of the unwind tables.
    pub unwind: u64,
    /// Bytes of them that come back, whole pages: the segment begins behind these.
    pub hole: u64,
    /// The segment's file offset and its address.
    pub offset: u64,
    pub address: u64,
    /// The addresses of the note.
    pub note: Range<u64>,
    /// The address of the loader's tables.
    pub tables: u64,
}

impl New {
    /// Behind `runs`, for the tables and the note of `choice`.
    pub fn behind(runs: &Runs, choice: &Choice<'_>, hole: u64, note: u64) -> Self {
        let unwind = end(choice.library);
        let tables = choice.unwind.as_ref().map_or(0, |tables| tables.bytes.len() as u64);
        let address = unwind + hole;
        let start = address + if hole == 0 { tables.next_multiple_of(8) } else { 0 };
        let note = start..start + note;
        let offset = congruent(runs.end, address);
        let tables = address + (note.end - address).next_multiple_of(8);
        Self { unwind, hole, offset, address, note, tables }
    }
}

/// The original's part of the file: a loadable segment for each run of pages.
pub(crate) struct Runs {
    headers: Vec<ProgramHeader>,
    parts: Vec<Part>,
    /// Where the last one ends in the file.
    end: u64,
    last_load: usize,
}

impl Runs {
    /// One for each of `ranges`, which are those of each loadable segment.
    pub fn of(library: &Library<'_>, ranges: &[Vec<Range<u64>>]) -> Self {
        let mut runs = Self { headers: Vec::new(), parts: Vec::new(), end: 0, last_load: 0 };
        let mut segments = library.loads().zip(ranges);
        for header in library.headers() {
            if header.kind != segment::LOAD {
                runs.headers.push(*header);
                continue;
            }
            let Some((load, ranges)) = segments.next() else { break };
            for range in ranges {
                runs.add(load, range);
            }
        }
        runs
    }

    fn add(&mut self, load: &ProgramHeader, range: &Range<u64>) {
        let offset = congruent(self.end, range.start);
        // Only the end of a writable segment has a zero-filled rest.
        let last = range.end == load.file_addresses().end;
        let rest = if last { load.memory_size - load.file_size } else { 0 };
        let mut header = loaded(load.flags, offset, range.start, range.end - range.start);
        header.memory_size += rest;
        self.headers.push(header);
        let from = From::Original(load.offset.0 + (range.start - load.address));
        self.parts.push(Part { addresses: range.clone(), from, offset });
        self.last_load = self.headers.len();
        self.end = offset + (range.end - range.start);
    }
}

/// The header of a segment that is loaded as it is in the file.
fn loaded(flags: u32, offset: u64, address: u64, size: u64) -> ProgramHeader {
    ProgramHeader {
        kind: segment::LOAD,
        flags,
        offset: FileOffset(offset),
        address,
        physical: address,
        file_size: size,
        memory_size: size,
        align: PAGE,
    }
}

/// Where everything lies.
pub(crate) struct Reserved {
    pub headers: Vec<ProgramHeader>,
    pub parts: Vec<Part>,
    /// The file offset of the program headers.
    pub table: u64,
    /// The address of the instructions.
    pub code: u64,
    /// Bytes of the file, without section headers.
    pub size: u64,
}

impl Reserved {
    /// Places `new`, for which `made` tells the lengths, and the program headers behind `runs`.
    ///
    /// # Errors
    /// [`elf::Error::Unsupported`] where there are more headers than the format can count.
    pub fn of(
        choice: &Choice<'_>,
        runs: Runs,
        new: &New,
        made: &Made,
        revived: bool,
    ) -> Result<Self, Error> {
        let Runs { mut headers, mut parts, mut last_load, .. } = runs;
        if let Some(tables) = &choice.unwind {
            move_index(tables, new, &mut headers, &mut parts);
        }
        headers.retain(|header| revived || reachable(header, &parts));
        if let Some(at) = headers.iter().rposition(|header| header.kind == segment::LOAD) {
            last_load = at + 1;
        }
        let before = (new.tables - new.address) + made.tables.len() as u64;
        let count = headers.len() + 1 + usize::from(before > 0) + usize::from(choice.has_code());
        if count >= usize::from(u16::MAX) {
            return Err(elf::Error::Unsupported("a library with too many runs of pages").into());
        }
        // The program headers have a segment of their own, on the next page of memory: tools
        // that lay a file out anew know them only at the beginning of one.
        let offset = new.offset + before;
        let address = (new.address + before).next_multiple_of(PAGE) + offset % PAGE;
        let table = loaded(flags::READ, offset, address, count as u64 * ProgramHeader::SIZE);
        let mut size = offset + table.file_size;
        if before > 0 {
            headers.insert(last_load, loaded(flags::READ, new.offset, new.address, before));
            last_load += 1;
        }
        headers.insert(last_load, table);
        let code = (address + table.file_size).next_multiple_of(PAGE);
        if choice.has_code() {
            let (at, length) = (congruent(size, code), made.code.len() as u64);
            let rights = flags::READ | flags::EXECUTE;
            headers.insert(last_load + 1, loaded(rights, at, code, length));
            size = at + length;
        }
        for header in headers.iter_mut().filter(|header| header.kind != segment::LOAD) {
            if header.kind == segment::PHDR {
                *header = ProgramHeader { kind: segment::PHDR, align: header.align, ..table };
            } else if let Some(part) = part_of(header, &parts) {
                header.offset = FileOffset(part.offset + (header.address - part.addresses.start));
            } else {
                // It has no bytes in the file: thread-local zeros, or the stack's rights.
                header.offset = FileOffset(0);
            }
        }
        Ok(Self { headers, parts, table: offset, code, size })
    }
}

/// Has the unwinder's header speak of the index of the new `tables`.
fn move_index(tables: &Tables, new: &New, headers: &mut [ProgramHeader], parts: &mut Vec<Part>) {
    let size = tables.index;
    if new.hole == 0 {
        let addresses = new.unwind..new.unwind + size;
        parts.push(Part { addresses, from: From::New, offset: new.offset });
    }
    for header in headers.iter_mut().filter(|header| header.kind == segment::GNU_EH_FRAME) {
        (header.address, header.physical) = (new.unwind, new.unwind);
        (header.file_size, header.memory_size) = (size, size);
    }
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
