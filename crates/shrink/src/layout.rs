//! Writes the smaller file: reserve a place for everything, then put it there.

use crate::choice::{self, Choice, HEADER};
use crate::cold::{self, Cold, Revive};
use crate::made::Made;
use crate::reserve::{From, New, Part, Reserved, Runs};
use crate::sections::sections;
use crate::{Error, Limits, Shrunk};
use elf::{Extents, Library, PAGE, PageSet, ProgramHeader, Sections, congruent, segment};
use std::collections::BTreeMap;
use std::io::{self, Write};

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

/// Lays out `library` with those pages of its read-only segments that are in `keep`
/// or that the loader reads. Writable segments stay whole but for names, and for pages that come
/// back and that nobody writes to.
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
    let chosen = Choice::of(library, keep, private, revive)?;
    let ranges = chosen.ranges(*limits)?;
    let runs = Runs::of(library, &ranges);

    // Where pages come back, the unwind tables are among them.
    let tables = chosen.unwind.as_ref().map_or(0, |tables| tables.bytes.len() as u64);
    let hole = if revive.is_some() { tables.next_multiple_of(PAGE) } else { 0 };
    let start = choice::end(library);
    let draft = revive.map(|revive| {
        let unwind = start / PAGE..(start + hole) / PAGE;
        let names = !chosen.absent.starts.is_empty();
        let (gone, unwritten) = (chosen.gone(), &chosen.unwritten);
        cold::draft(library, &ranges, &gone, unwritten, unwind, revive, names)
    });
    let new = New::behind(&runs, &chosen, hole, draft.as_ref().map_or(0, note::Draft::size));
    // The lengths do not depend on where the code lies, which follows from them.
    let lengths = Made::at(&chosen, new.tables, 0, &new.note)?;
    let reserved = Reserved::of(&chosen, runs, &new, &lengths, draft.is_some())?;
    if reserved.size + PAGE > library.data().len() as u64 {
        return Ok(Shrunk::Whole);
    }

    let made = Made::at(&chosen, new.tables, reserved.code, &new.note)?;
    let mut unwind = chosen.unwind.as_ref().map(|one| one.bytes.clone()).unwrap_or_default();
    let mut beside = (new.unwind, Vec::new());
    if hole != 0 {
        unwind.resize(hole as usize, 0);
        beside.1 = std::mem::take(&mut unwind);
    }
    let contents = Contents {
        unwind,
        note: draft.as_ref().map(|draft| draft.finish(0, [0; 32], [0; 8])).unwrap_or_default(),
        code: chosen.has_code().then_some(made.code.as_slice()),
        tables: &made.tables,
        patches: made.patches(&chosen),
    };
    let (extents, piece) = extents(library, &reserved, &new, contents)?;
    let cold = draft.map(|draft| Cold { draft, piece, absent: chosen.absent, beside });
    let mappings = reserved.headers.iter().filter(|one| one.kind == segment::LOAD).count();
    Ok(Shrunk::Smaller(Smaller { extents, mappings, cold }))
}

/// What the original does not have.
struct Contents<'m> {
    unwind: Vec<u8>,
    note: Vec<u8>,
    /// Tables that the loader reads.
    tables: &'m [u8],
    /// Instructions and what they read.
    code: Option<&'m [u8]>,
    /// Bytes that change, by address.
    patches: BTreeMap<u64, Vec<u8>>,
}

/// The second pass: everything at its place, and which piece the note is.
fn extents(
    library: &Library<'_>,
    reserved: &Reserved,
    new: &New,
    contents: Contents<'_>,
) -> Result<(Extents, usize), Error> {
    let Reserved { headers, parts, table, code, size } = reserved;
    let sections = sections(library, &contents.patches, headers, *table, *size)?;
    let total = *size + sections.as_ref().map_or(0, |sections| sections.bytes.len() as u64);
    let mut extents = Extents::new();
    for (number, part) in parts.iter().enumerate() {
        let From::Original(from) = part.from else { break };
        extents.pad_to(part.offset);
        let mut skip = 0;
        if number == 0 {
            if part.offset != 0 || from != 0 || part.addresses.end - part.addresses.start < HEADER {
                return Err(elf::Error::Unsupported("a library whose header is not first").into());
            }
            extents.bytes(file_header(library, headers.len(), *table, sections.as_ref()));
            skip = HEADER;
        }
        original(&mut extents, library, part, from, skip, &contents.patches)?;
    }
    extents.pad_to(new.offset);
    let unwind = contents.unwind.len() as u64;
    extents.bytes(contents.unwind);
    if !contents.note.is_empty() {
        extents.pad_to(new.offset + unwind.next_multiple_of(8));
    }
    let piece = extents.pieces().len();
    extents.bytes(contents.note);
    extents.pad_to(table - contents.tables.len() as u64);
    extents.bytes(contents.tables.to_vec());
    extents.pad_to(*table);
    extents.bytes(headers.iter().flat_map(ProgramHeader::to_bytes).collect());
    if let Some(bytes) = contents.code {
        let end = extents.size();
        extents.pad_to(congruent(end, *code));
        extents.bytes(bytes.to_vec());
    }
    if let Some(sections) = sections {
        extents.bytes(sections.bytes);
    }
    if extents.size() != total {
        return Err(Error::Size { reserved: total, written: extents.size() });
    }
    Ok((extents, piece))
}

/// Adds `part`, which is at the file offset `from` of the original, without its first `skip`
/// bytes and with `patches`.
fn original(
    extents: &mut Extents,
    library: &Library<'_>,
    part: &Part,
    from: u64,
    skip: u64,
    patches: &BTreeMap<u64, Vec<u8>>,
) -> Result<(), Error> {
    let size = part.addresses.end - part.addresses.start;
    let mut changed = patches.range(part.addresses.clone()).peekable();
    if changed.peek().is_none() {
        extents.original(from + skip..from + size);
        return Ok(());
    }
    let mut bytes = library.read(part.addresses.start, size)?.to_vec();
    for (address, patch) in changed {
        let at = (address - part.addresses.start) as usize;
        let place = bytes.get_mut(at..at + patch.len());
        let what = "tables that do not lie in one segment";
        place.ok_or(elf::Error::Unsupported(what))?.copy_from_slice(patch);
    }
    bytes.drain(..skip as usize);
    extents.bytes(bytes);
    Ok(())
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
