//! An address for everything that is new in a stand-in.

use crate::Error;
use crate::code::{IMPORTS, RAISE, STUB, unwind};
use crate::content::Content;
use elf::{PAGE, ProgramHeader};

/// Bytes of the file's header, which the segments' headers follow.
pub(crate) const HEADER: u64 = 64;

/// Addresses. The new part has three segments: tables, code, and what is written.
pub(crate) struct Places {
    pub start: u64,
    pub headers: u64,
    pub symbols: u64,
    pub hashes: u64,
    pub version_numbers: u64,
    pub definitions: u64,
    pub relocations: u64,
    pub strings: u64,
    pub texts: u64,
    pub frames: u64,
    pub index: u64,
    pub tables_end: u64,
    pub code: u64,
    pub stubs: u64,
    pub apply: u64,
    pub code_end: u64,
    pub imports: u64,
    pub dynamic: u64,
    /// How many program headers there is room for.
    pub count: usize,
}

impl Places {
    /// Of everything in `content`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where there are more headers than the format can count.
    pub fn of(content: &Content<'_>) -> Result<Self, Error> {
        let count = content.parts.len() + 3 + 3 + content.others.len();
        if count >= usize::from(u16::MAX) {
            return Err(Error::TooLarge("a stand-in with too many runs of pages"));
        }
        let raising = content.messages.len() as u64;
        let start = content.start();
        let mut next = Next(start + HEADER);
        let headers = next.take(count as u64 * ProgramHeader::SIZE, 8);
        let symbols = next.take((content.symbols.len() as u64 + 1) * 24, 8);
        let hashes = next.take(content.hashes.len() as u64, 8);
        let version_numbers = next.take(content.version_numbers.len() as u64, 2);
        let definitions = next.take(content.definitions.len() as u64, 8);
        let relocations = next.take(content.relocations, 8);
        let strings = next.take(content.strings.bytes().len() as u64, 1);
        let texts = next.take(content.messages.iter().map(|(_, text)| text.len() as u64).sum(), 1);
        let frames = next.take(0, 8);
        next.take(unwind(frames, 0, raising).0.len() as u64, 1);
        let index = next.take(12 + (content.functions.len() as u64 + 2) * 8, 4);
        let tables_end = next.0;
        // The next two segments start in the page of the file where this one ends,
        // and in a page of memory of their own.
        next.page();
        let code = next.take(0, 1);
        let stubs = code + RAISE;
        next.take(RAISE + raising * STUB, 1);
        let apply = next.take(content.apply, 16);
        let code_end = next.0;
        next.page();
        let imports = next.take(IMPORTS.len() as u64 * 8, 8);
        let dynamic = next.take(0, 8);
        Ok(Self {
            start,
            headers,
            symbols,
            hashes,
            version_numbers,
            definitions,
            relocations,
            strings,
            texts,
            frames,
            index,
            tables_end,
            code,
            stubs,
            apply,
            code_end,
            imports,
            dynamic,
            count,
        })
    }

    /// The file offset of an address in the new part, which comes first in the file, with no
    /// gaps between its segments.
    pub fn offset(&self, address: u64) -> u64 {
        let gaps = u64::from(address >= self.code) + u64::from(address >= self.imports);
        address - self.start - gaps * PAGE
    }
}

/// Hands out addresses one after the other.
struct Next(u64);

impl Next {
    fn take(&mut self, size: u64, align: u64) -> u64 {
        let at = self.0.next_multiple_of(align);
        self.0 = at + size;
        at
    }

    /// Goes on a page further.
    fn page(&mut self) {
        self.0 = self.0.next_multiple_of(16) + PAGE;
    }
}
