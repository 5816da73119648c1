//! The full symbol table, `.symtab`, where a library still has one.
//!
//! It is not loaded and not needed to run; it holds the names of local functions.

use crate::bytes::{c_string, slice, u16_at, u32_at, u64_at};
use crate::library::Library;
use std::ops::Range;

/// `SHT_SYMTAB`.
const SYMTAB: u32 = 2;

/// `SHF_ALLOC`.
const ALLOC: u64 = 2;

/// A section's flag: it holds instructions.
const INSTRUCTIONS: u64 = 4;

/// The most section headers that are read.
const MAX_SECTIONS: u64 = 1 << 16;

/// One entry of `.symtab` with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalSymbol<'a> {
    /// Its name, mangled.
    pub name: &'a [u8],
    /// Its address.
    pub address: u64,
    /// Bytes; 0 where unknown.
    pub size: u64,
    /// `STT_FUNC` is 2, `STT_OBJECT` 1.
    pub kind: u8,
}

impl<'a> Library<'a> {
    /// The defined symbols of `.symtab`; none where the library is stripped.
    pub fn local_symbols(&self) -> impl Iterator<Item = LocalSymbol<'a>> + use<'a> {
        let (table, strings) = self.symtab().unwrap_or_default();
        table.chunks_exact(24).filter_map(move |entry| {
            let name = c_string(strings, u32_at(entry, 0)?.into())?;
            if name.is_empty() || u16_at(entry, 6)? == 0 {
                return None;
            }
            Some(LocalSymbol {
                name,
                address: u64_at(entry, 8)?,
                size: u64_at(entry, 16)?,
                kind: entry[4] & 15,
            })
        })
    }

    /// The address of the first symbol of `.symtab` with this name.
    pub fn local_symbol(&self, name: &str) -> Option<u64> {
        self.local_symbols()
            .find(|symbol| symbol.name == name.as_bytes())
            .map(|symbol| symbol.address)
    }

    /// The addresses of the sections that are loaded, in the table's order, as far as the
    /// library has section headers that make sense.
    pub fn sections(&self) -> impl Iterator<Item = Range<u64>> + use<'a> {
        self.sections_with(ALLOC)
    }

    /// Those that linkers filled with instructions (`SHF_EXECINSTR`).
    pub fn code_sections(&self) -> impl Iterator<Item = Range<u64>> + use<'a> {
        self.sections_with(ALLOC | INSTRUCTIONS)
    }

    fn sections_with(&self, flags: u64) -> impl Iterator<Item = Range<u64>> + use<'a> {
        self.section_headers().filter_map(move |header| {
            let (start, size) = (u64_at(header, 16)?, u64_at(header, 32)?);
            let has_them = u64_at(header, 8)? & flags == flags && size > 0;
            has_them.then_some(start..start.checked_add(size)?)
        })
    }

    /// The section headers (gABI, sections), each 64 bytes.
    fn section_headers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let data = self.data();
        let table = u64_at(data, 40).filter(|table| *table != 0);
        let size = u16_at(data, 58).filter(|size| *size >= 64);
        let count = u64::from(u16_at(data, 60).unwrap_or(0)).min(MAX_SECTIONS);
        (0..count).filter_map(move |index| {
            let at = table?.checked_add(index.checked_mul(size?.into())?)?;
            slice(data, at, 64)
        })
    }

    /// The bytes of `.symtab` and of its string table (gABI, sections).
    fn symtab(&self) -> Option<(&'a [u8], &'a [u8])> {
        let data = self.data();
        let bytes = |header: &[u8]| slice(data, u64_at(header, 24)?, u64_at(header, 32)?);
        let symbols = self.section_headers().find(|header| u32_at(header, 4) == Some(SYMTAB))?;
        let strings = self.section_headers().nth(u32_at(symbols, 40)? as usize)?;
        Some((bytes(symbols)?, bytes(strings)?))
    }
}
