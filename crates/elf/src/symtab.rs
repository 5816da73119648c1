//! The full symbol table, `.symtab`, where a library still has one.
//!
//! It is not loaded and not needed to run; it holds the names of local functions.

use crate::bytes::{c_string, slice, u16_at, u32_at, u64_at};
use crate::library::Library;

/// `SHT_SYMTAB`.
const SYMTAB: u32 = 2;

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

    /// The bytes of `.symtab` and of its string table (gABI, sections).
    fn symtab(&self) -> Option<(&'a [u8], &'a [u8])> {
        let data = self.data();
        let table = u64_at(data, 40)?;
        let size = u64::from(u16_at(data, 58)?);
        let count = u64::from(u16_at(data, 60)?).min(MAX_SECTIONS);
        let header = |index: u64| {
            let at = table.checked_add(index.checked_mul(size)?)?;
            slice(data, at, 64)
        };
        let bytes = |header: &[u8]| slice(data, u64_at(header, 24)?, u64_at(header, 32)?);
        if table == 0 || size < 64 {
            return None;
        }
        let symbols =
            (0..count).filter_map(header).find(|header| u32_at(header, 4) == Some(SYMTAB))?;
        let strings = header(u32_at(symbols, 40)?.into())?;
        Some((bytes(symbols)?, bytes(strings)?))
    }
}
