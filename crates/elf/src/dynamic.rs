//! The dynamic section, relocations, and what the loader reads through them.

use crate::bytes::{u32_at, u64_at};
use crate::entries::tag;
use crate::library::{Library, segment};
use crate::{Error, PageSet};
use std::ops::Range;

/// One `Elf64_Rela`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// The address that is written.
    pub address: u64,
    /// The relocation type of the x86-64 psABI, table 4.9.
    pub kind: u32,
    /// Index in the dynamic symbol table; 0 is none.
    pub symbol: u32,
    /// The constant part.
    pub addend: i64,
}

impl Relocation {
    /// Bytes of an entry of a table.
    pub const SIZE: u64 = 24;

    /// The entry as in the file.
    pub fn to_bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.kind.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.symbol.to_le_bytes());
        bytes[16..].copy_from_slice(&self.addend.to_le_bytes());
        bytes
    }

    /// `S + A`.
    pub const R_64: u32 = 1;
    /// Copy of a symbol's data, in programs.
    pub const COPY: u32 = 5;
    /// Address of a symbol in the global offset table.
    pub const GLOB_DAT: u32 = 6;
    /// Address of a function in the procedure linkage table's part of it.
    pub const JUMP_SLOT: u32 = 7;
    /// Load base plus addend.
    pub const RELATIVE: u32 = 8;
    /// Module number of a thread-local variable.
    pub const DTPMOD64: u32 = 16;
    /// Offset of a thread-local variable in its module's block.
    pub const DTPOFF64: u32 = 17;
    /// Offset of a thread-local variable from the thread pointer.
    pub const TPOFF64: u32 = 18;
    /// Thread-local variable descriptor.
    pub const TLSDESC: u32 = 36;
    /// What the function at the addend returns.
    pub const IRELATIVE: u32 = 37;
}

/// The addresses that the words of a `DT_RELR` table tell; `None` past the end of the
/// address space.
pub fn decode(words: &[u64]) -> Option<Vec<u64>> {
    let mut all = Vec::new();
    let mut next: u64 = 0;
    for word in words {
        if word & 1 == 0 {
            all.push(*word);
            next = word.checked_add(8)?;
        } else {
            for bit in (0..63).filter(|bit| word >> (bit + 1) & 1 != 0) {
                all.push(next.checked_add(bit * 8)?);
            }
            next = next.checked_add(63 * 8)?;
        }
    }
    Some(all)
}

impl Library<'_> {
    /// The address range that a pair of tags names, if both are there.
    pub fn dynamic_range(&self, start: u64, size: u64) -> Option<Range<u64>> {
        let (start, size) = (self.dynamic(start)?, self.dynamic(size)?);
        Some(start..start.checked_add(size)?)
    }

    /// Every relocation with an explicit addend: `DT_RELA`, then `DT_JMPREL`.
    pub fn relocations(&self) -> Result<Vec<Relocation>, Error> {
        let mut all = Vec::new();
        if self.dynamic(tag::PLTREL).is_some_and(|kind| kind != tag::RELA) {
            return Err(Error::Unsupported("a library with relocations without addends"));
        }
        let tables = [(tag::RELA, tag::RELASZ), (tag::JMPREL, tag::PLTRELSZ)];
        for range in tables.into_iter().filter_map(|(start, size)| self.dynamic_range(start, size))
        {
            let bytes = self.read(range.start, range.end - range.start)?;
            all.reserve(bytes.len() / 24);
            for entry in bytes.chunks_exact(24) {
                let damaged = || Error::damaged("a relocation", range.start);
                let info = u64_at(entry, 8).ok_or_else(damaged)?;
                all.push(Relocation {
                    address: u64_at(entry, 0).ok_or_else(damaged)?,
                    kind: info as u32,
                    symbol: (info >> 32) as u32,
                    addend: u64_at(entry, 16).ok_or_else(damaged)? as i64,
                });
            }
        }
        Ok(all)
    }

    /// The addresses that `DT_RELR` relocates by the load base (gABI, "Relative
    /// relocation table").
    pub fn relative_addresses(&self) -> Result<Vec<u64>, Error> {
        let Some(range) = self.dynamic_range(tag::RELR, tag::RELRSZ) else {
            return Ok(Vec::new());
        };
        let bytes = self.read(range.start, range.end - range.start)?;
        let words: Vec<u64> = bytes.chunks_exact(8).filter_map(|word| u64_at(word, 0)).collect();
        decode(&words).ok_or_else(|| Error::damaged("the relative relocation table", range.start))
    }

    /// The address ranges that the loader reads before any code of the library
    /// runs, each with the name that a plan gives as the reason.
    pub fn loader_ranges(&self) -> Result<Vec<(Range<u64>, &'static str)>, Error> {
        let mut ranges = Vec::new();
        let sized = [
            (tag::STRTAB, tag::STRSZ, "dynamic strings"),
            (tag::RELA, tag::RELASZ, "relocations"),
            (tag::JMPREL, tag::PLTRELSZ, "relocations"),
            (tag::RELR, tag::RELRSZ, "relocations"),
            (tag::INIT_ARRAY, tag::INIT_ARRAYSZ, "initialisers"),
            (tag::FINI_ARRAY, tag::FINI_ARRAYSZ, "finalisers"),
        ];
        for (start, size, name) in sized {
            ranges.extend(self.dynamic_range(start, size).map(|range| (range, name)));
        }
        let count = self.symbol_count()?;
        for (start, size, name) in
            [(tag::SYMTAB, 24, "dynamic symbols"), (tag::VERSYM, 2, "symbol versions")]
        {
            ranges
                .extend(self.dynamic(start).map(|at| (at..at.saturating_add(count * size), name)));
        }
        ranges.extend(self.gnu_hash_range()?.map(|range| (range, "symbol hash table")));
        if let Some(at) = self.dynamic(tag::HASH) {
            let counts = self.read(at, 8)?;
            let buckets = u64::from(u32_at(counts, 0).unwrap_or(0));
            let chains = u64::from(u32_at(counts, 4).unwrap_or(0));
            ranges.push((at..at.saturating_add((2 + buckets + chains) * 4), "symbol hash table"));
        }
        for range in self.version_ranges()? {
            ranges.push((range, "symbol versions"));
        }
        for header in self.headers() {
            let name = match header.kind {
                segment::DYNAMIC => "dynamic section",
                segment::NOTE | segment::GNU_PROPERTY => "notes",
                segment::TLS => "thread-local data",
                _ => continue,
            };
            ranges.push((header.file_addresses(), name));
        }
        for (range, _) in &ranges {
            if range.start < range.end {
                self.read(range.start, range.end - range.start)?;
            }
        }
        Ok(ranges)
    }

    /// Addresses of code that the loader itself calls: `DT_INIT`, `DT_FINI`, their
    /// arrays' entries and the resolvers of indirect functions.
    pub fn loader_calls(&self) -> Result<Vec<u64>, Error> {
        let mut calls: Vec<u64> =
            [tag::INIT, tag::FINI].into_iter().filter_map(|tag| self.dynamic(tag)).collect();
        let arrays: Vec<Range<u64>> = [
            self.dynamic_range(tag::INIT_ARRAY, tag::INIT_ARRAYSZ),
            self.dynamic_range(tag::FINI_ARRAY, tag::FINI_ARRAYSZ),
        ]
        .into_iter()
        .flatten()
        .collect();
        for relocation in self.relocations()? {
            let in_array = arrays.iter().any(|array| array.contains(&relocation.address));
            if relocation.kind == Relocation::IRELATIVE
                || (in_array && relocation.kind == Relocation::RELATIVE)
            {
                calls.push(relocation.addend as u64);
            }
        }
        for array in arrays {
            let bytes = self.read(array.start, array.end - array.start)?;
            calls.extend(bytes.chunks_exact(8).filter_map(|entry| u64_at(entry, 0)));
        }
        calls.extend(
            self.symbols()?
                .iter()
                .filter(|symbol| symbol.is_indirect_function() && symbol.is_defined())
                .map(|symbol| symbol.address),
        );
        calls.retain(|call| *call != 0 && *call != u64::MAX);
        calls.sort_unstable();
        calls.dedup();
        Ok(calls)
    }

    /// Addresses of code that the loader calls before the library's initialiser: the
    /// resolvers of indirect functions.
    pub fn resolvers(&self) -> Result<Vec<u64>, Error> {
        let mut calls: Vec<u64> = self
            .relocations()?
            .iter()
            .filter(|relocation| relocation.kind == Relocation::IRELATIVE)
            .map(|relocation| relocation.addend as u64)
            .collect();
        let symbols = self.symbols()?;
        let own =
            |symbol: &&crate::Symbol<'_>| symbol.is_indirect_function() && symbol.is_defined();
        calls.extend(symbols.iter().filter(own).map(|symbol| symbol.address));
        calls.sort_unstable();
        calls.dedup();
        Ok(calls)
    }

    /// The pages of [`Library::loader_ranges`] and of the file header.
    pub fn loader_pages(&self) -> Result<PageSet, Error> {
        let mut pages = PageSet::new();
        if let Some(first) = self.loads().find(|load| load.offset.0 == 0) {
            pages.insert_addresses(first.address..first.address + 64);
        }
        for (range, _) in self.loader_ranges()? {
            pages.insert_addresses(range);
        }
        Ok(pages)
    }
}
