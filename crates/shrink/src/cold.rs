//! Pages that are not in the file and come back from the package's store.

use crate::absent::Absent;
use elf::{Library, PAGE, PageSet, ProgramHeader, flags, segment};
use format::TRAP;
use note::{Draft, Piece, Rights};
use std::ops::Range;

/// What a library needs to bring its pages back.
#[derive(Debug, Clone, Copy)]
pub struct Revive<'a> {
    /// Its path in the package.
    pub name: &'a str,
    /// The runtime, as `DT_NEEDED` names it: a path that starts with `$ORIGIN`.
    pub runtime: &'a str,
    /// The most pages of a chunk.
    pub chunk: u64,
    /// The pages that come back. Those that are neither among them nor in the file are
    /// lost, and whoever calls a function there is told so. Pages of writable segments are among
    /// them only where nobody is known to write to them.
    pub cold: &'a PageSet,
}

/// A chunk of the store.
#[derive(Debug)]
pub enum Chunk<'a> {
    /// Pieces of the original, and whether they are code.
    Original(Vec<&'a [u8]>, bool),
    /// Bytes that are not the original's.
    New(Vec<u8>),
}

/// The pages of a library that are not in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cold {
    /// Which pages each chunk holds.
    pub(crate) draft: Draft,
    /// The piece of the file that is the note.
    pub(crate) piece: usize,
    /// The functions that are lost.
    pub(crate) absent: Absent,
    /// Tables that are made anew, whole pages, and their address.
    pub(crate) beside: (u64, Vec<u8>),
}

impl Cold {
    /// The bytes of `library` that each chunk holds, in their order.
    /// Last, where there are any, the names of functions that are lost.
    pub fn chunks<'a>(&'a self, library: &Library<'a>) -> Vec<Chunk<'a>> {
        let chunk = |pieces: &Vec<Piece>| {
            let parts: Vec<&[u8]> =
                pieces.iter().flat_map(|piece| self.bytes(library, piece)).collect();
            let halts: Vec<usize> = self.halts(pieces).collect();
            if halts.is_empty() {
                return Chunk::Original(
                    parts,
                    pieces.first().is_some_and(|piece| piece.rights == Rights::Execute),
                );
            }
            let mut bytes = parts.concat();
            for at in halts {
                bytes[at] = TRAP;
            }
            Chunk::New(bytes)
        };
        let mut chunks: Vec<Chunk<'a>> = self.draft.chunks().iter().map(chunk).collect();
        if self.draft.has_names() {
            chunks.push(Chunk::New(self.absent.names(library)));
        }
        chunks
    }

    /// The bytes of a piece: of the original, or of tables that are made anew.
    fn bytes<'a>(&'a self, library: &Library<'a>, piece: &Piece) -> [&'a [u8]; 3] {
        let (start, tables) = (self.beside.0 / PAGE, &self.beside.1);
        let at = |page: u64| (page.saturating_sub(start) * PAGE) as usize;
        match tables.get(at(piece.pages.start)..at(piece.pages.end)) {
            Some(part) if piece.pages.start >= start => [&[], part, &[]],
            _ => bytes(library, piece),
        }
    }

    /// Where in the chunk of these `pieces` functions begin that are lost.
    fn halts<'p>(&'p self, pieces: &'p [Piece]) -> impl Iterator<Item = usize> + 'p {
        let mut place = 0;
        pieces.iter().flat_map(move |piece| {
            let (start, end) = (piece.pages.start * PAGE, piece.pages.end * PAGE);
            let before = place;
            place += end - start;
            self.absent.halted.range(start..end).map(move |at| (before + at - start) as usize)
        })
    }

    /// The pages of each chunk, in their order in it.
    pub fn pieces(&self) -> &[Vec<Piece>] {
        self.draft.chunks()
    }

    /// Bytes of the cold pages.
    pub fn size(&self) -> u64 {
        let pieces = self.draft.chunks().iter().flatten();
        pieces.map(|piece| (piece.pages.end - piece.pages.start) * PAGE).sum()
    }
}

/// The bytes of whole pages of one segment, with zeros where it begins or ends inside one.
fn bytes<'a>(library: &Library<'a>, piece: &Piece) -> [&'a [u8]; 3] {
    static ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
    let (start, end) = (piece.pages.start * PAGE, piece.pages.end * PAGE);
    let inside = |load: &&ProgramHeader| {
        load.file_addresses().start < end && start < load.file_addresses().end
    };
    let held = library.loads().find(inside).map(ProgramHeader::file_addresses).unwrap_or(0..0);
    let held = held.start.max(start)..held.end.min(end);
    let middle = library.read(held.start, held.end - held.start).unwrap_or_default();
    [&ZEROS[..(held.start - start) as usize], middle, &ZEROS[..(end - held.end) as usize]]
}

/// Pages on which two segments lie.
pub(crate) fn shared(library: &Library<'_>) -> PageSet {
    let (mut seen, mut shared) = (PageSet::new(), PageSet::new());
    for load in library.loads() {
        let range = load.addresses();
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            if !seen.insert(page) {
                shared.insert(page);
            }
        }
    }
    shared
}

/// The pages among `cold` that a writable segment of `library` fills with bytes of the file and
/// that neither the loader nor an initialiser of taper's writes to.
///
/// # Errors
/// What [`elf::Error`] says of relocations that cannot be read.
pub(crate) fn unwritten(library: &Library<'_>, cold: &PageSet) -> Result<PageSet, elf::Error> {
    let mut pages = PageSet::new();
    for load in library.loads().filter(|load| load.is_writable()) {
        let held = load.file_addresses();
        // Zeros that are not in the file follow what is.
        let zeros = load.memory_size > load.file_size;
        let end = if zeros { held.end.saturating_sub(1) } else { held.end };
        let whole = held.start.div_ceil(PAGE)..end / PAGE;
        pages.union(&whole.filter(|page| cold.contains(*page)).collect());
    }
    if pages.is_empty() {
        return Ok(pages);
    }
    pages.remove(&shared(library));
    // The loader gives this range another right, holes included.
    for header in library.headers().iter().filter(|one| one.kind == segment::GNU_RELRO) {
        let mut protected = PageSet::new();
        protected.insert_addresses(header.addresses());
        pages.remove(&protected);
    }
    let mut relocated = PageSet::new();
    for relocation in library.relocations()? {
        relocated.insert_addresses(relocation.address..relocation.address.saturating_add(8));
    }
    pages.remove(&relocated);
    Ok(pages)
}

/// Divides the pages of `library` that are in none of `ranges`, what of each
/// segment is in the file, and not in `gone`, tables that are made anew; and the pages
/// `beside` all segments, where such tables lie.
pub(crate) fn draft(
    library: &Library<'_>,
    ranges: &[Vec<Range<u64>>],
    gone: &PageSet,
    unwritten: &PageSet,
    beside: Range<u64>,
    revive: &Revive<'_>,
    names: bool,
) -> Draft {
    let mut cold = Vec::new();
    for (load, ranges) in library.loads().zip(ranges) {
        let mut pages = PageSet::new();
        pages.insert_addresses(load.file_addresses());
        let comes_back = if load.is_writable() { unwritten } else { revive.cold };
        pages = pages.iter().filter(|page| comes_back.contains(*page)).collect();
        pages.remove(gone);
        let mut there = PageSet::new();
        for range in ranges {
            there.insert_addresses(range.clone());
        }
        pages.remove(&there);
        let rights = match (load.is_writable(), load.flags & flags::EXECUTE != 0) {
            (true, _) => Rights::Write,
            (false, true) => Rights::Execute,
            (false, false) => Rights::Read,
        };
        cold.extend(pages.runs().into_iter().map(|pages| Piece { pages, rights }));
    }
    cold.sort_by_key(|piece| piece.pages.start);
    let end = library.loads().map(|load| load.addresses().end).max().unwrap_or(0);
    let end = end.div_ceil(PAGE).max(beside.end);
    if beside.start < beside.end {
        cold.push(Piece { pages: beside, rights: Rights::Read });
    }
    Draft::new(revive.name, end, &cold, revive.chunk, names)
}
