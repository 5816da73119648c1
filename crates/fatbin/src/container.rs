//! Containers, found by magic in any bytes.

use crate::word::{u16_at, u64_at};
use crate::{Entry, Malformed};
use memchr::memmem;
use std::ops::Range;

/// The first four bytes of a container.
pub const MAGIC: [u8; 4] = 0xBA55_ED50_u32.to_le_bytes();

const VERSION: u16 = 1;
const HEADER: usize = 16;

/// One fat binary. Offsets are bytes in the searched slice.
///
/// Its bytes are its header, its entries one after the other, and the padding
/// behind them, without gap or overlap. A malformed one covers only what was
/// understood of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Where its header starts.
    pub offset: u64,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// Bytes behind the last entry that are too few for another.
    pub padding: u64,
    /// What is wrong with it. A container that is not understood is kept whole.
    pub malformed: Option<Malformed>,
}

impl Container {
    /// Bytes of a container's own header.
    pub const HEADER_SIZE: u64 = HEADER as u64;

    /// Where in its header the size of its entries is.
    pub(crate) const SIZE_AT: u64 = 8;

    /// Bytes of header, entries and padding.
    pub fn size(&self) -> u64 {
        let entries: u64 = self.entries.iter().map(Entry::size).sum();
        Self::HEADER_SIZE + entries + self.padding
    }

    /// Where it lies.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.size()
    }

    /// Reads the container at `at`; `None` where the magic stands for something else.
    fn read(data: &[u8], at: usize) -> Option<Self> {
        let header = data.get(at..at.checked_add(HEADER)?)?;
        if u16_at(header, 4)? != VERSION || usize::from(u16_at(header, 6)?) != HEADER {
            return None;
        }
        let offset = at as u64;
        let mut container = Self { offset, entries: Vec::new(), padding: 0, malformed: None };
        let size = u64_at(header, 8)?;
        let mut next = at + HEADER;
        if size > (data.len() - next) as u64 {
            container.malformed = Some(Malformed::Truncated { offset, size });
            return Some(container);
        }
        let end = next + size as usize;
        while next < end {
            if let Some(entry) = Entry::read(data, next, end) {
                next += entry.size() as usize;
                container.entries.push(entry);
            } else if data[next..end].iter().all(|byte| *byte == 0) {
                container.padding = (end - next) as u64;
                break;
            } else {
                container.malformed = Some(Malformed::Entry { offset: next as u64 });
                break;
            }
        }
        Some(container)
    }
}

/// The fat binaries in `data`, ascending, none inside another. `data` may be a whole
/// file or one section of it.
///
/// The magic with another version or header size is chance (a constant in code) and
/// is passed over; from there on a container is yielded, malformed ones too, which
/// the search leaves behind at the last entry that it could read.
pub fn containers(data: &[u8]) -> Containers<'_> {
    Containers { data, at: 0, finder: memmem::Finder::new(&MAGIC) }
}

/// See [`containers`].
#[derive(Debug, Clone)]
pub struct Containers<'a> {
    data: &'a [u8],
    at: usize,
    finder: memmem::Finder<'static>,
}

impl Iterator for Containers<'_> {
    type Item = Container;

    fn next(&mut self) -> Option<Container> {
        loop {
            let found = self.finder.find(self.data.get(self.at..)?)?;
            let at = self.at + found;
            if let Some(container) = Container::read(self.data, at) {
                self.at = container.range().end as usize;
                return Some(container);
            }
            self.at = at + MAGIC.len();
        }
    }
}
