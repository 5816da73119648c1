//! Dynamic symbols, their versions, and the hash tables that count them.

use crate::Error;
use crate::bytes::{u16_at, u32_at};
use crate::entries::tag;
use crate::library::Library;
use std::ops::Range;

/// The most dynamic symbols that are read; libtorch_cpu has 90,000.
const MAX_SYMBOLS: u64 = 1 << 24;

/// One dynamic symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name, mangled, without version.
    pub name: &'a str,
    /// Binding in the high four bits, type in the low four.
    pub info: u8,
    /// Visibility.
    pub other: u8,
    /// 0 where it is undefined; otherwise a section number of the original link.
    pub section: u16,
    /// Its address, or its offset in the thread-local block.
    pub address: u64,
    /// Bytes of the object or function; 0 where unknown.
    pub size: u64,
    /// Its `DT_VERSYM` entry: 0 local, 1 global, else the index of a version, with
    /// bit 15 where it is hidden.
    pub version: u16,
}

impl Symbol<'_> {
    /// Whether this library defines it.
    pub fn is_defined(&self) -> bool {
        self.section != 0
    }
    /// `STB_WEAK`: it may stay undefined.
    pub fn is_weak(&self) -> bool {
        self.info >> 4 == 2
    }
    /// `STB_LOCAL`: other libraries do not see it.
    pub fn is_local(&self) -> bool {
        self.info >> 4 == 0
    }
    /// `STT_FUNC`.
    pub fn is_function(&self) -> bool {
        self.info & 15 == 2
    }
    /// `STT_OBJECT`.
    pub fn is_object(&self) -> bool {
        self.info & 15 == 1
    }
    /// Whether it is code: a function, or one that is chosen at load.
    pub fn is_code(&self) -> bool {
        self.is_function() || self.is_indirect_function()
    }
    /// Whether another library's definition may take its place: neither local nor
    /// of `STV_INTERNAL`, `STV_HIDDEN` or `STV_PROTECTED` visibility.
    pub fn is_preemptible(&self) -> bool {
        !self.is_local() && matches!(self.other & 3, 0)
    }
    /// `STT_TLS`.
    pub fn is_thread_local(&self) -> bool {
        self.info & 15 == 6
    }
    /// `STT_GNU_IFUNC`: the address is a function that returns the address.
    pub fn is_indirect_function(&self) -> bool {
        self.info & 15 == 10
    }
}

/// A library that this one needs certain versions of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNeed<'a> {
    /// The other library's name.
    pub library: &'a str,
    /// The versions: index in `DT_VERSYM`, and name.
    pub versions: Vec<(u16, &'a str)>,
}

/// The version tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions<'a> {
    /// What this library asks of others.
    pub needs: Vec<VersionNeed<'a>>,
    /// What it defines: index and name. The entry for the library itself, index 1, is included.
    pub defines: Vec<(u16, &'a str)>,
}

impl<'a> Versions<'a> {
    /// The name of the version with this `DT_VERSYM` value, and the library that it is asked of.
    pub fn name(&self, index: u16) -> Option<(&'a str, Option<&'a str>)> {
        let index = index & 0x7fff;
        if index < 2 {
            return None;
        }
        let needed = self.needs.iter().find_map(|need| {
            let (_, name) = need.versions.iter().find(|(number, _)| *number == index)?;
            Some((*name, Some(need.library)))
        });
        needed.or_else(|| {
            let (_, name) = self.defines.iter().find(|(number, _)| *number == index)?;
            Some((*name, None))
        })
    }
}

impl<'a> Library<'a> {
    /// The number of dynamic symbols, from `DT_HASH`, else from `DT_GNU_HASH`, and
    /// never less than what relocations refer to. The file format states it nowhere.
    pub fn symbol_count(&self) -> Result<u64, Error> {
        let mut count = 0;
        if let Some(at) = self.dynamic(tag::HASH) {
            count = u64::from(u32_at(self.read(at, 8)?, 4).unwrap_or(0));
        } else if let Some((_, symbols)) = self.gnu_hash()? {
            count = symbols;
        }
        for relocation in self.relocations()? {
            count = count.max(u64::from(relocation.symbol) + 1);
        }
        if count > MAX_SYMBOLS {
            return Err(Error::damaged("the number of dynamic symbols", count));
        }
        Ok(count)
    }

    /// The addresses of the GNU hash table.
    pub fn gnu_hash_range(&self) -> Result<Option<Range<u64>>, Error> {
        Ok(self.gnu_hash()?.map(|(range, _)| range))
    }

    /// The GNU hash table's addresses, and one past the highest symbol that it holds.
    fn gnu_hash(&self) -> Result<Option<(Range<u64>, u64)>, Error> {
        let Some(at) = self.dynamic(tag::GNU_HASH) else { return Ok(None) };
        let damaged = || Error::damaged("the symbol hash table", at);
        let table = self.read_to_segment_end(at)?;
        let word = |index: u64| u32_at(table, index * 4).map(u64::from).ok_or_else(damaged);
        let (buckets, first, bloom) = (word(0)?, word(1)?, word(2)?);
        let bucket_start = 4 + bloom * 2;
        let mut highest = 0;
        for bucket in 0..buckets {
            highest = highest.max(word(bucket_start + bucket)?);
        }
        let chains = bucket_start + buckets;
        if highest < first {
            return Ok(Some((at..at + chains * 4, first)));
        }
        // The last chain ends at the first entry with its lowest bit set.
        while word(chains + highest - first)? & 1 == 0 {
            highest += 1;
        }
        Ok(Some((at..at + (chains + highest - first + 1) * 4, highest + 1)))
    }

    /// The dynamic symbols, the empty first one included.
    pub fn symbols(&self) -> Result<Vec<Symbol<'a>>, Error> {
        let count = self.symbol_count()?;
        let Some(at) = self.dynamic(tag::SYMTAB) else { return Ok(Vec::new()) };
        let table = self.read(at, count * 24)?;
        let strings = match self.dynamic_range(tag::STRTAB, tag::STRSZ) {
            Some(range) => self.read(range.start, range.end - range.start)?,
            None => &[],
        };
        let versions = match self.dynamic(tag::VERSYM) {
            Some(at) => self.read(at, count * 2)?,
            None => &[],
        };
        table
            .chunks_exact(24)
            .enumerate()
            .map(|(index, entry)| {
                let damaged = || Error::damaged("a dynamic symbol", at + index as u64 * 24);
                let name = u32_at(entry, 0).ok_or_else(damaged)?;
                let name = crate::bytes::c_string(strings, name.into()).ok_or_else(damaged)?;
                Ok(Symbol {
                    name: std::str::from_utf8(name).map_err(|_| damaged())?,
                    info: entry[4],
                    other: entry[5],
                    section: u16_at(entry, 6).ok_or_else(damaged)?,
                    address: crate::bytes::u64_at(entry, 8).ok_or_else(damaged)?,
                    size: crate::bytes::u64_at(entry, 16).ok_or_else(damaged)?,
                    version: u16_at(versions, index as u64 * 2).unwrap_or(1),
                })
            })
            .collect()
    }

    /// The version tables; empty where the library has none.
    pub fn versions(&self) -> Result<Versions<'a>, Error> {
        let mut versions = Versions::default();
        self.walk_needs(|library, index, name, _| {
            let known = versions.needs.last().is_some_and(|need| need.library == library);
            if !known {
                versions.needs.push(VersionNeed { library, versions: Vec::new() });
            }
            if let Some(need) = versions.needs.last_mut() {
                need.versions.push((index, name));
            }
        })?;
        self.walk_definitions(|index, name, _| versions.defines.push((index, name)))?;
        Ok(versions)
    }

    /// The addresses of the table of versions that it asks of others, and of that of those
    /// that it defines; empty ranges where it has none.
    pub fn version_tables(&self) -> Result<[Range<u64>; 2], Error> {
        let join = |table: &mut Range<u64>, range: Range<u64>| {
            let start = if table.is_empty() { range.start } else { table.start.min(range.start) };
            *table = start..table.end.max(range.end);
        };
        let (mut needs, mut defines) = (0..0, 0..0);
        self.walk_needs(|_, _, _, range| join(&mut needs, range))?;
        self.walk_definitions(|_, _, range| join(&mut defines, range))?;
        Ok([needs, defines])
    }

    /// The addresses that the version tables occupy.
    pub(crate) fn version_ranges(&self) -> Result<Vec<Range<u64>>, Error> {
        let mut ranges = Vec::new();
        self.walk_needs(|_, _, _, range| ranges.push(range))?;
        self.walk_definitions(|_, _, range| ranges.push(range))?;
        Ok(ranges)
    }

    /// Walks `Verneed` (16 bytes) and its `Vernaux` (16 bytes), LSB 4, 10.7.5.
    fn walk_needs(
        &self,
        mut visit: impl FnMut(&'a str, u16, &'a str, Range<u64>),
    ) -> Result<(), Error> {
        let Some(mut at) = self.dynamic(tag::VERNEED) else { return Ok(()) };
        for _ in 0..self.dynamic(tag::VERNEEDNUM).unwrap_or(0).min(MAX_SYMBOLS) {
            let damaged = || Error::damaged("a version need", at);
            let need = self.read(at, 16)?;
            let half = |index| u16_at(need, index).ok_or_else(damaged);
            let word = |index| u32_at(need, index).map(u64::from).ok_or_else(damaged);
            let library = self.dynamic_string(word(4)?)?;
            let mut entry = at + word(8)?;
            for _ in 0..half(2)? {
                let bytes = self.read(entry, 16)?;
                let index = u16_at(bytes, 6).ok_or_else(damaged)?;
                let name = u32_at(bytes, 8).ok_or_else(damaged)?;
                let range = at.min(entry)..(at + 16).max(entry + 16);
                visit(library, index, self.dynamic_string(name.into())?, range);
                entry += u32_at(bytes, 12).map(u64::from).ok_or_else(damaged)?;
            }
            match word(12)? {
                0 => break,
                next => at += next,
            }
        }
        Ok(())
    }

    /// Walks `Verdef` (20 bytes) and the first `Verdaux` (8 bytes) of each, LSB 4, 10.7.3.
    fn walk_definitions(
        &self,
        mut visit: impl FnMut(u16, &'a str, Range<u64>),
    ) -> Result<(), Error> {
        let Some(mut at) = self.dynamic(tag::VERDEF) else { return Ok(()) };
        for _ in 0..self.dynamic(tag::VERDEFNUM).unwrap_or(0).min(MAX_SYMBOLS) {
            let damaged = || Error::damaged("a version definition", at);
            let bytes = self.read(at, 20)?;
            let index = u16_at(bytes, 4).ok_or_else(damaged)?;
            let first = at + u32_at(bytes, 12).map(u64::from).ok_or_else(damaged)?;
            let mut end = at + 20;
            let mut entry = first;
            let mut name = None;
            for _ in 0..u16_at(bytes, 6).ok_or_else(damaged)? {
                let aux = self.read(entry, 8)?;
                end = end.max(entry + 8);
                let offset = u32_at(aux, 0).ok_or_else(damaged)?;
                if name.is_none() {
                    name = Some(self.dynamic_string(offset.into())?);
                }
                entry += u32_at(aux, 4).map(u64::from).ok_or_else(damaged)?;
            }
            visit(index, name.ok_or_else(damaged)?, at..end);
            match u32_at(bytes, 16).ok_or_else(damaged)? {
                0 => break,
                next => at += u64::from(next),
            }
        }
        Ok(())
    }
}
