//! A shared library's headers and segments.

use crate::bytes::{c_string, slice, u16_at, u32_at, u64_at};
use crate::entries::{Dynamic, entries, tag};
use crate::{Error, MAX_PAGE, PAGE, PageSet};
use std::ops::Range;

/// A place in a file, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

/// Program header types (gABI figure 5-2 and the GNU extensions).
pub mod segment {
    #![allow(missing_docs)]
    pub const LOAD: u32 = 1;
    pub const DYNAMIC: u32 = 2;
    pub const NOTE: u32 = 4;
    pub const PHDR: u32 = 6;
    pub const TLS: u32 = 7;
    pub const GNU_EH_FRAME: u32 = 0x6474_e550;
    pub const GNU_STACK: u32 = 0x6474_e551;
    pub const GNU_RELRO: u32 = 0x6474_e552;
    pub const GNU_PROPERTY: u32 = 0x6474_e553;
}

/// Segment permission bits, `p_flags`.
pub mod flags {
    #![allow(missing_docs)]
    pub const EXECUTE: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const READ: u32 = 4;
}

/// Values of `e_machine` that are told apart.
pub mod machine {
    #![allow(missing_docs)]
    pub const X86_64: u16 = 62;
}

/// The most program headers that are read. Wheels have a dozen; a library that
/// this program has shrunk has up to a few thousand.
const MAX_PROGRAM_HEADERS: u16 = 20_000;

/// One program header, as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProgramHeader {
    pub kind: u32,
    pub flags: u32,
    pub offset: FileOffset,
    pub address: u64,
    pub physical: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub align: u64,
}

impl ProgramHeader {
    /// Bytes of a program header in a 64-bit file.
    pub const SIZE: u64 = 56;

    /// The addresses that have bytes in the file.
    pub fn file_addresses(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.file_size)
    }

    /// The addresses in memory, zero-filled part included.
    pub fn addresses(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.memory_size)
    }

    /// Whether the program may write to it.
    pub fn is_writable(&self) -> bool {
        self.flags & flags::WRITE != 0
    }

    /// The header's bytes as a 64-bit little-endian file holds them.
    pub fn to_bytes(&self) -> [u8; 56] {
        let mut out = [0; 56];
        out[0..4].copy_from_slice(&self.kind.to_le_bytes());
        out[4..8].copy_from_slice(&self.flags.to_le_bytes());
        let words = [
            self.offset.0,
            self.address,
            self.physical,
            self.file_size,
            self.memory_size,
            self.align,
        ];
        for (index, word) in words.into_iter().enumerate() {
            out[8 + index * 8..16 + index * 8].copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

/// A parsed x86-64 shared library over the bytes of its file.
///
/// What is promised once [`Library::parse`] has succeeded: loadable segments are
/// ascending, do not overlap in memory, lie inside the file, and have offsets
/// congruent to their addresses modulo [`PAGE`].
#[derive(Debug, Clone)]
pub struct Library<'a> {
    data: &'a [u8],
    headers: Vec<ProgramHeader>,
    dynamic: Vec<Dynamic>,
    /// Bytes that are not in the file, and their address.
    beside: (u64, &'a [u8]),
}

impl<'a> Library<'a> {
    /// Reads the headers of the file whose bytes are `data`.
    ///
    /// # Errors
    /// [`Error::NotElf`]; [`Error::Unsupported`] for 32-bit, big-endian,
    /// other-machine or non-library files and for text relocations;
    /// [`Error::Damaged`] for structures that lie outside the file.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        if data.get(..4) != Some(b"\x7fELF") {
            return Err(Error::NotElf);
        }
        match (data.get(4), data.get(5)) {
            (Some(2), Some(1)) => {}
            (Some(1), _) => return Err(Error::Unsupported("a 32-bit ELF file")),
            _ => return Err(Error::Unsupported("an ELF file that is not little-endian")),
        }
        let header = || Error::damaged("the file header", 0);
        if u16_at(data, 18).ok_or_else(header)? != machine::X86_64 {
            return Err(Error::Unsupported("an ELF file for another machine than x86-64"));
        }
        if u16_at(data, 16).ok_or_else(header)? != 3 {
            return Err(Error::Unsupported("an ELF file that is not a shared library"));
        }
        let headers = program_headers(data)?;
        check_segments(&headers, data.len() as u64)?;
        let mut library = Self { data, headers, dynamic: Vec::new(), beside: (0, &[]) };
        let Some(header) = library.header(segment::DYNAMIC) else {
            return Err(Error::Unsupported("an ELF file without a dynamic section"));
        };
        let section = library.read(header.address, header.file_size)?;
        library.dynamic = entries(section, header.address)?;
        if library.dynamic(tag::TEXTREL).is_some()
            || library.dynamic(tag::FLAGS).is_some_and(|bits| bits & 4 != 0)
        {
            return Err(Error::Unsupported("a library with text relocations"));
        }
        Ok(library)
    }

    /// The bytes of the whole file.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Every program header, in file order.
    pub fn headers(&self) -> &[ProgramHeader] {
        &self.headers
    }

    /// The loadable segments, ascending by address.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.headers.iter().filter(|header| header.kind == segment::LOAD)
    }

    /// The first program header of a kind of [`segment`].
    pub fn header(&self, kind: u32) -> Option<&ProgramHeader> {
        self.headers.iter().find(|header| header.kind == kind)
    }

    /// The dynamic section's entries, up to its terminator.
    pub fn dynamic_entries(&self) -> &[Dynamic] {
        &self.dynamic
    }

    /// The value of the first dynamic entry with this [`tag`].
    pub fn dynamic(&self, tag: u64) -> Option<u64> {
        self.dynamic.iter().find(|entry| entry.tag == tag).map(|entry| entry.value)
    }

    /// The library with `bytes` at `address`, where its file has none.
    #[must_use]
    pub fn with(self, address: u64, bytes: &'a [u8]) -> Self {
        Self { beside: (address, bytes), ..self }
    }

    /// What lies beside the file from `address` on.
    fn beside(&self, address: u64) -> Option<&'a [u8]> {
        let (start, bytes) = self.beside;
        let at = usize::try_from(address.checked_sub(start)?).ok()?;
        bytes.get(at..).filter(|rest| !rest.is_empty())
    }

    /// The file's bytes for `len` bytes at `address`, if one segment holds them all.
    pub fn read(&self, address: u64, len: u64) -> Result<&'a [u8], Error> {
        let outside = || Error::damaged("an address outside every segment", address);
        let end = address.checked_add(len).ok_or_else(outside)?;
        if let Some(bytes) = self.beside(address) {
            return slice(bytes, 0, len).ok_or_else(outside);
        }
        let load = self
            .loads()
            .find(|load| load.address <= address && end <= load.file_addresses().end)
            .ok_or_else(outside)?;
        slice(self.data, load.offset.0 + (address - load.address), len).ok_or_else(outside)
    }

    /// The file's bytes from `address` to the end of its segment's file part.
    pub fn read_to_segment_end(&self, address: u64) -> Result<&'a [u8], Error> {
        if let Some(bytes) = self.beside(address) {
            return Ok(bytes);
        }
        let load = self
            .loads()
            .find(|load| load.file_addresses().contains(&address))
            .ok_or_else(|| Error::damaged("an address outside every segment", address))?;
        self.read(address, load.file_addresses().end - address)
    }

    /// A NUL-terminated string at `offset` in the dynamic string table.
    pub fn dynamic_string(&self, offset: u64) -> Result<&'a str, Error> {
        let damaged = || Error::damaged("a string of the dynamic string table", offset);
        let table = self.dynamic(tag::STRTAB).ok_or_else(damaged)?;
        let size = self.dynamic(tag::STRSZ).ok_or_else(damaged)?;
        let bytes = c_string(self.read(table, size)?, offset).ok_or_else(damaged)?;
        std::str::from_utf8(bytes).map_err(|_| damaged())
    }

    fn strings(&self, tag: u64) -> impl Iterator<Item = &'a str> {
        self.dynamic
            .iter()
            .filter(move |entry| entry.tag == tag)
            .filter_map(|entry| self.dynamic_string(entry.value).ok())
    }

    /// The library's own name, `DT_SONAME`.
    pub fn soname(&self) -> Option<&'a str> {
        self.strings(tag::SONAME).next()
    }

    /// The libraries that it names in `DT_NEEDED`, in order.
    pub fn needed(&self) -> Vec<&'a str> {
        self.strings(tag::NEEDED).collect()
    }

    /// The folders that the loader searches for them: `DT_RUNPATH`, else
    /// `DT_RPATH`, with `$ORIGIN` as written.
    pub fn search_path(&self) -> Vec<&'a str> {
        self.strings(tag::RUNPATH)
            .next()
            .or_else(|| self.strings(tag::RPATH).next())
            .map(|path| path.split(':').filter(|folder| !folder.is_empty()).collect())
            .unwrap_or_default()
    }

    /// The build id note, if there is one, in hexadecimal as `readelf -n` shows it.
    pub fn build_id_text(&self) -> Option<String> {
        let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap_or('0');
        let id = self.build_id()?.iter();
        Some(id.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    /// The build id note's bytes, if there is one.
    pub fn build_id(&self) -> Option<&'a [u8]> {
        self.headers.iter().filter(|header| header.kind == segment::NOTE).find_map(|note| {
            let bytes = slice(self.data, note.offset.0, note.file_size)?;
            let mut at = 0;
            loop {
                let (name_size, size) = (u32_at(bytes, at)?, u32_at(bytes, at + 4)?);
                let name = slice(bytes, at + 12, name_size.into())?;
                let content = at + 12 + u64::from(name_size).next_multiple_of(4);
                let value = slice(bytes, content, size.into())?;
                if name == b"GNU\0" && u32_at(bytes, at + 8)? == 3 {
                    return Some(value);
                }
                at = content + u64::from(size).next_multiple_of(4);
            }
        })
    }

    /// The pages of read-only segments that have bytes in the file: those that a
    /// package may leave out.
    pub fn read_only_pages(&self) -> PageSet {
        let mut pages = PageSet::new();
        for load in self.loads().filter(|load| !load.is_writable()) {
            pages.insert_addresses(load.file_addresses());
        }
        pages
    }
}

fn program_headers(data: &[u8]) -> Result<Vec<ProgramHeader>, Error> {
    let damaged = || Error::damaged("the program header table", 32);
    let table = u64_at(data, 32).ok_or_else(damaged)?;
    let size = u16_at(data, 54).ok_or_else(damaged)?;
    let count = u16_at(data, 56).ok_or_else(damaged)?;
    if u64::from(size) != ProgramHeader::SIZE || count == 0 || count > MAX_PROGRAM_HEADERS {
        return Err(damaged());
    }
    let bytes = slice(data, table, u64::from(count) * ProgramHeader::SIZE).ok_or_else(damaged)?;
    bytes
        .chunks_exact(ProgramHeader::SIZE as usize)
        .map(|header| {
            let word = |index: u64| u64_at(header, 8 + index * 8).ok_or_else(damaged);
            Ok(ProgramHeader {
                kind: u32_at(header, 0).ok_or_else(damaged)?,
                flags: u32_at(header, 4).ok_or_else(damaged)?,
                offset: FileOffset(word(0)?),
                address: word(1)?,
                physical: word(2)?,
                file_size: word(3)?,
                memory_size: word(4)?,
                align: word(5)?,
            })
        })
        .collect()
}

/// Holds the promises that [`Library`] makes about its segments.
fn check_segments(headers: &[ProgramHeader], file_size: u64) -> Result<(), Error> {
    let mut last_end = 0;
    let mut loads = 0;
    for header in headers {
        let damaged = || Error::damaged("a segment", header.address);
        let file_end = header.offset.0.checked_add(header.file_size).ok_or_else(damaged)?;
        let end = header.address.checked_add(header.memory_size).ok_or_else(damaged)?;
        if header.kind == segment::GNU_STACK {
            continue;
        }
        if file_end > file_size || end > MAX_PAGE * PAGE {
            return Err(damaged());
        }
        if header.kind != segment::LOAD {
            continue;
        }
        loads += 1;
        if header.file_size > header.memory_size
            || header.address < last_end
            || header.offset.0 % PAGE != header.address % PAGE
        {
            return Err(damaged());
        }
        last_end = end;
    }
    if loads == 0 {
        return Err(Error::damaged("the program header table: no loadable segment", 32));
    }
    Ok(())
}
