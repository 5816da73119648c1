//! The stand-in's file: headers, what is new, and the original's pages.

use crate::Error;
use crate::content::Content;
use crate::filled::Filled;
use crate::parts::Part;
use crate::places::{HEADER, Places};
use elf::{Extents, FileOffset, Library, PAGE, ProgramHeader, Sections, congruent, flags, segment};
use std::collections::BTreeMap;

/// Lays out the file of `content` at its `places`, with what these are `filled` with.
///
/// # Errors
/// [`Error::TooLarge`] where there are not as many headers as there is room for.
pub(crate) fn file(
    content: &Content<'_>,
    places: &Places,
    filled: &Filled,
) -> Result<Extents, Error> {
    let mut offset = places.offset(filled.end);
    let new = offset;
    let mut headers = Vec::new();
    for part in &content.parts {
        headers.push(kept(part, congruent(offset, part.addresses.start)));
        offset = headers.last().map_or(0, |last| last.offset.0 + last.file_size);
    }
    headers.extend(made(places, filled));
    for header in &content.others {
        let holds = |load: &&ProgramHeader| {
            load.kind == segment::LOAD && load.addresses().contains(&header.address)
        };
        let load = headers.iter().find(holds);
        let offset = load.map_or(0, |load| load.offset.0 + (header.address - load.address));
        headers.push(ProgramHeader { offset: FileOffset(offset), ..*header });
    }
    if headers.len() != places.count {
        return Err(Error::TooLarge("a stand-in whose headers were miscounted"));
    }
    let sections = elf::sections(&filled.tables, &headers, HEADER, offset);

    let mut bytes = vec![0; new as usize];
    let mut put = |address: u64, part: &[u8]| {
        let from = places.offset(address) as usize;
        bytes[from..from + part.len()].copy_from_slice(part);
    };
    put(places.start, &file_header(headers.len(), sections.as_ref()));
    let table: Vec<u8> = headers.iter().flat_map(ProgramHeader::to_bytes).collect();
    put(places.headers, &table);
    for (address, piece) in &filled.pieces {
        put(*address, piece);
    }
    let mut file = Extents::new();
    file.bytes(bytes);
    for (part, header) in content.parts.iter().zip(&headers) {
        file.pad_to(header.offset.0);
        original(&mut file, content.library, part, &filled.words)?;
    }
    if let Some(sections) = sections {
        file.bytes(sections.bytes);
    }
    Ok(file)
}

/// The header of a part of the original at a file offset.
fn kept(part: &Part, offset: u64) -> ProgramHeader {
    let start = part.addresses.start;
    ProgramHeader {
        kind: segment::LOAD,
        flags: part.load.flags,
        offset: FileOffset(offset),
        address: start,
        physical: start,
        file_size: part.addresses.end - start,
        memory_size: part.memory_end - start,
        align: PAGE,
    }
}

/// The headers of what is new.
fn made(places: &Places, filled: &Filled) -> [ProgramHeader; 6] {
    let new = |kind, flags, from: u64, to: u64, align| ProgramHeader {
        kind,
        flags,
        offset: FileOffset(places.offset(from)),
        address: from,
        physical: from,
        file_size: to - from,
        memory_size: to - from,
        align,
    };
    let (read, write) = (flags::READ, flags::READ | flags::WRITE);
    let execute = flags::READ | flags::EXECUTE;
    let stack = ProgramHeader {
        kind: segment::GNU_STACK,
        flags: write,
        offset: FileOffset(0),
        address: 0,
        physical: 0,
        file_size: 0,
        memory_size: 0,
        align: 16,
    };
    [
        new(segment::LOAD, read, places.start, places.tables_end, PAGE),
        new(segment::LOAD, execute, places.code, places.code_end, PAGE),
        new(segment::LOAD, write, places.imports, filled.end, PAGE),
        new(segment::DYNAMIC, write, places.dynamic, filled.end, 8),
        new(segment::GNU_EH_FRAME, read, filled.index.start, filled.index.end, 4),
        stack,
    ]
}

/// Adds a part of the original, with other `words` at their addresses.
fn original(
    file: &mut Extents,
    library: &Library<'_>,
    part: &Part,
    words: &BTreeMap<u64, u64>,
) -> Result<(), Error> {
    let (start, end) = (part.addresses.start, part.addresses.end);
    let mut changed = words.range(start..end).peekable();
    if changed.peek().is_none() {
        let from = part.load.offset.0 + (start - part.load.address);
        file.original(from..from + (end - start));
        return Ok(());
    }
    let mut bytes = library.read(start, end - start)?.to_vec();
    for (address, word) in changed {
        let at = (address - start) as usize;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    file.bytes(bytes);
    Ok(())
}

/// The file header (gABI figure 4-3) of a shared library for x86-64 with `count` segments.
fn file_header(count: usize, sections: Option<&Sections>) -> Vec<u8> {
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    header.resize(16, 0);
    header.extend(3u16.to_le_bytes());
    header.extend(62u16.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(HEADER.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, ProgramHeader::SIZE as u16, count as u16, 64, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    if let Some(sections) = sections {
        sections.put(&mut header);
    }
    header
}
