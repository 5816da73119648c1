//! Unwind entries of a library, as its index lists them.

use crate::image::Image;
use elf::{PAGE, PageSet};
use gimli::{
    BaseAddresses, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice, FrameDescriptionEntry,
    LittleEndian, ParsedEhFrameHdr, UnwindSection,
};
use object::LittleEndian as LE;
use object::elf::PT_GNU_EH_FRAME;
use std::ops::Range;

pub(crate) type Bytes<'a> = EndianSlice<'a, LittleEndian>;
pub(crate) type Entry<'a> = FrameDescriptionEntry<Bytes<'a>>;

/// A function that an unwind table knows.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// The addresses of its code.
    pub code: Range<u64>,
    /// Where its entry is, from the beginning of the entries.
    pub entry: EhFrameOffset<usize>,
}

/// An index of entries, and the entries.
pub(crate) struct Tables<'a> {
    index: ParsedEhFrameHdr<Bytes<'a>>,
    pub entries: EhFrame<Bytes<'a>>,
    pub bases: BaseAddresses,
}

impl<'a> Tables<'a> {
    /// Reads the index at an address; `rest` gives what lies from an address on.
    pub fn read(at: u64, size: u64, rest: impl Fn(u64) -> Option<&'a [u8]>) -> Option<Self> {
        let bytes = rest(at)?.get(..usize::try_from(size).ok()?)?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(at);
        let index = EhFrameHdr::new(bytes, LittleEndian).parse(&bases, 8).ok()?;
        let start = index.eh_frame_ptr().direct().ok()?;
        let entries = EhFrame::new(rest(start)?, LittleEndian);
        Some(Self { index, entries, bases: bases.set_eh_frame(start) })
    }

    /// The entry at an offset.
    pub fn entry(&self, offset: EhFrameOffset<usize>) -> Option<Entry<'a>> {
        self.entries.fde_from_offset(&self.bases, offset, EhFrame::cie_from_offset).ok()
    }

    /// Where the handlers of an entry are, if it has any; a distance of nothing, which leads into
    /// the entry itself, means that it has none.
    pub fn area(&self, entry: &Entry<'_>) -> Option<u64> {
        let at = entry.lsda()?.pointer();
        let own = self.bases.eh_frame.section?.saturating_add(entry.offset() as u64);
        let end = own.saturating_add(entry.entry_len() as u64 + 4);
        Some(at).filter(|at| !(own..end).contains(at))
    }

    /// All functions, by address. `None` where any cannot be read.
    pub fn functions(&self) -> Option<Vec<Function>> {
        let Some(table) = self.index.table() else { return Some(Vec::new()) };
        let mut all = Vec::new();
        let mut rows = table.iter(&self.bases);
        while let Some((start, place)) = rows.next().ok()? {
            let offset = place.direct().ok()?.checked_sub(self.bases.eh_frame.section?)?;
            let offset = EhFrameOffset(usize::try_from(offset).ok()?);
            let entry = self.entry(offset)?;
            let code = entry.initial_address()..entry.end_address();
            if start.direct().ok()? != code.start || code.end < code.start {
                return None;
            }
            all.push(Function { code, entry: offset });
        }
        all.is_sorted_by_key(|one| one.code.start).then_some(all)
    }
}

/// The tables of a library, all of which is filed.
pub(crate) fn filed<'a>(image: &Image<'a>) -> Option<Tables<'a>> {
    let header = image.segment(PT_GNU_EH_FRAME.0)?;
    Tables::read(header.p_vaddr.get(LE), header.p_filesz.get(LE), |at| image.rest(at))
}

/// The functions that the tables of a library know; none where these are not understood.
pub(crate) fn functions(image: &Image<'_>) -> Vec<Function> {
    filed(image).and_then(|tables| tables.functions()).unwrap_or_default()
}

/// Whether all pages that the addresses `place` touch are among `pages`.
pub(crate) fn within(pages: &PageSet, place: Range<u64>) -> bool {
    (place.start / PAGE..place.end.div_ceil(PAGE)).all(|page| pages.contains(page))
}
