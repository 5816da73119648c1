//! A library as its program headers place it in memory.

use elf::{PAGE, PageSet};
use object::LittleEndian as LE;
use object::elf::{FileHeader64, PF_W, PF_X, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use std::ops::Range;

pub(crate) type Segment = ProgramHeader64<LE>;

/// A loadable segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub start: u64,
    /// What of it is in the file.
    pub bytes: &'a [u8],
    /// Its size in memory.
    pub memory: u64,
    pub flags: u32,
    /// File offset.
    pub offset: u64,
}

impl Load<'_> {
    /// The addresses of what is in the file.
    pub fn filed(&self) -> Range<u64> {
        self.start..self.start + self.bytes.len() as u64
    }

    /// The address past all of it.
    pub fn end(&self) -> u64 {
        self.start + self.memory
    }

    pub fn is_writable(&self) -> bool {
        self.flags & PF_W.0 != 0
    }

    pub fn is_code(&self) -> bool {
        self.flags & PF_X.0 != 0
    }
}

/// A library.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub data: &'a [u8],
    pub header: &'a FileHeader64<LE>,
    pub segments: &'a [Segment],
    /// In the order of their addresses.
    pub loads: Vec<Load<'a>>,
}

impl<'a> Image<'a> {
    /// Reads a file.
    pub fn read(data: &'a [u8]) -> Result<Self, String> {
        let header = FileHeader64::<LE>::parse(data).map_err(|error| error.to_string())?;
        let segments = header.program_headers(LE, data).map_err(|error| error.to_string())?;
        let mut loads: Vec<Load<'a>> = Vec::new();
        for segment in segments.iter().filter(|one| one.p_type(LE) == PT_LOAD) {
            let start = segment.p_vaddr(LE);
            let strange = || format!("the segment at {start:#x} is damaged");
            let bytes = segment.data(LE, data).map_err(|()| strange())?;
            let memory = segment.p_memsz(LE);
            let (last, offset) = (loads.last().map_or(0, Load::end), segment.p_offset(LE));
            let fits = start.checked_add(memory).is_some_and(|end| end < u64::MAX - PAGE);
            if start < last || !fits || memory < bytes.len() as u64 || offset % PAGE != start % PAGE
            {
                return Err(strange());
            }
            loads.push(Load { start, bytes, memory, flags: segment.p_flags(LE).0, offset });
        }
        Ok(Self { data, header, segments, loads })
    }

    /// The segment that holds an address in what is filed of it.
    pub fn load(&self, address: u64) -> Option<&Load<'a>> {
        let at = self.loads.partition_point(|load| load.start <= address);
        self.loads.get(at.checked_sub(1)?).filter(|load| load.filed().contains(&address))
    }

    /// What is filed from an address on, to the end of its segment.
    pub fn rest(&self, address: u64) -> Option<&'a [u8]> {
        let load = self.load(address)?;
        load.bytes.get((address - load.start) as usize..)
    }

    /// The bytes at an address, of one segment.
    pub fn bytes(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        if size == 0 {
            return Some(&[]);
        }
        self.rest(address)?.get(..usize::try_from(size).ok()?)
    }

    /// The pages of which anything is filed.
    pub fn pages(&self) -> PageSet {
        let mut pages = PageSet::new();
        for load in &self.loads {
            pages.insert_addresses(load.filed());
        }
        pages
    }

    /// The first address past all segments.
    pub fn end(&self) -> u64 {
        self.loads.last().map_or(0, Load::end)
    }

    /// The addresses of instructions that `old` does not have: an executable segment past it.
    pub fn own_code(&self, old: &Image<'_>) -> Option<Range<u64>> {
        let past = |load: &&Load<'_>| load.start >= old.end() && load.is_code();
        self.loads.iter().find(past).map(Load::filed)
    }

    /// The program header of a kind.
    pub fn segment(&self, kind: u32) -> Option<&'a Segment> {
        self.segments.iter().find(|segment| segment.p_type(LE).0 == kind)
    }
}

/// The little-endian number at a place; `None` past the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// As [`u64_at`].
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// As [`u64_at`].
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
