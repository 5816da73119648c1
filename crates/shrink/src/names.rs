//! Names of functions that are not in the file.
//!
//! A library that exports tens of thousands of functions has megabytes of their names.
//! Where a function's code leaves and nothing else in the package speaks of it, its
//! symbol becomes local: it keeps its place, for the library's own relocations, and loses
//! its name. Whoever looks for it is told by the loader that it is undefined, and not
//! sent to code that is not there.

use elf::{Library, PAGE, PageSet, Symbol, tag};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Fewer bytes of names are not worth it.
const WORTHWHILE: usize = 1 << 13;

/// `STV_HIDDEN`. Of a local symbol, the linker's rules ask for nothing more; glibc's lazy
/// binding looks at this and not at the binding.
const HIDDEN: u8 = 2;

/// The section number of an address that is not relocated.
const ABSOLUTE: u16 = 0xfff1;

/// Bytes of a symbol.
const SYMBOL: u64 = 24;

/// What becomes of a library's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// Bytes that change, by address: the string table, and all that refers to it.
    pub patches: BTreeMap<u64, Vec<u8>>,
    /// Pages that held nothing but the end of the string table.
    pub freed: PageSet,
}

/// Whether a symbol may lose its name: a function whose code is not all on pages of
/// `keep`.
pub(crate) fn leaves(symbol: &Symbol<'_>, keep: &PageSet) -> bool {
    let code = symbol.address..symbol.address.saturating_add(symbol.size.max(1));
    symbol.is_function()
        && symbol.is_defined()
        && symbol.section != ABSOLUTE
        && matches!(symbol.info >> 4, 1 | 2)
        && !(code.start / PAGE..code.end.div_ceil(PAGE)).all(|page| keep.contains(page))
}

/// The symbols of `library` that mean what it defines, whatever else is loaded:
/// functions and objects of which `private` says that nothing else speaks. Those of
/// `STB_GNU_UNIQUE`, which libraries that are loaded later share, are not among them.
pub(crate) fn own(library: &Library<'_>, private: &dyn Fn(&str) -> bool) -> BTreeSet<u32> {
    let symbols = library.symbols().unwrap_or_default();
    let means = |symbol: &Symbol<'_>| {
        (symbol.is_function() || symbol.is_object())
            && symbol.is_defined()
            && symbol.section != ABSOLUTE
            && matches!(symbol.info >> 4, 1 | 2)
            && private(symbol.name)
    };
    let numbered = symbols.iter().enumerate();
    numbered.filter(|(_, symbol)| means(symbol)).map(|(index, _)| index as u32).collect()
}

impl Names {
    /// Takes the names away that `private` says nothing else speaks of. `None` where that
    /// saves little, or where the tables are not understood.
    pub fn of(
        library: &Library<'_>,
        keep: &PageSet,
        private: &dyn Fn(&str) -> bool,
    ) -> Option<Self> {
        let strings = library.dynamic_range(tag::STRTAB, tag::STRSZ)?;
        let symbols = library.symbols().ok()?;
        let hidden: BTreeSet<u32> = symbols
            .iter()
            .enumerate()
            .filter(|(_, symbol)| leaves(symbol, keep) && private(symbol.name))
            .map(|(index, _)| index as u32)
            .collect();
        let saved: usize = hidden
            .iter()
            .filter_map(|index| symbols.get(*index as usize))
            .map(|s| s.name.len())
            .sum();
        if saved < WORTHWHILE {
            return None;
        }
        let table = library.dynamic(tag::SYMTAB)?;
        let old = library.read(strings.start, strings.end - strings.start).ok()?;
        let mut fields = library.name_fields().ok()?;
        for index in 0..symbols.len() as u32 {
            let address = table + SYMBOL * u64::from(index);
            let field = library.read(address, 4).ok()?.first_chunk()?;
            let offset = u64::from(u32::from_le_bytes(*field));
            if !hidden.contains(&index) {
                fields.push(elf::NameField { address, size: 4, offset });
            }
        }
        let used: BTreeSet<u64> = fields.iter().map(|field| field.offset).collect();
        let (new, places) = compact(old, &used)?;
        let mut patches = BTreeMap::new();
        for field in &fields {
            let place = places.get(&field.offset)?.to_le_bytes();
            patches.insert(field.address, place[..field.size as usize].to_vec());
        }
        for index in &hidden {
            let symbol = symbols.get(*index as usize)?;
            let mut head = vec![0, 0, 0, 0, symbol.info & 15, (symbol.other & !3) | HIDDEN];
            head.extend(symbol.section.to_le_bytes());
            patches.insert(table + SYMBOL * u64::from(*index), head);
        }
        let start = library.header(elf::segment::DYNAMIC)?.address;
        for (number, _) in
            library.dynamic_entries().iter().enumerate().filter(|(_, e)| e.tag == tag::STRSZ)
        {
            let size = new.len() as u64;
            patches.insert(start + 16 * number as u64 + 8, size.to_le_bytes().to_vec());
        }
        let freed = freed(&strings, new.len() as u64);
        patches.insert(strings.start, new);
        Some(Self { patches, freed })
    }
}

/// The pages that hold nothing but what lies past the first `left` bytes of `strings`.
fn freed(strings: &Range<u64>, left: u64) -> PageSet {
    ((strings.start + left).div_ceil(PAGE)..strings.end / PAGE).collect()
}

/// A string table of those strings of `old` that start at `used`, and where each is.
fn compact(old: &[u8], used: &BTreeSet<u64>) -> Option<(Vec<u8>, BTreeMap<u64, u64>)> {
    let mut new = vec![0];
    let mut places = BTreeMap::from([(0, 0)]);
    // A name may be the end of a longer one.
    let (mut start, mut end, mut place) = (0, 0, 0);
    for offset in used.iter().copied().filter(|offset| *offset != 0) {
        if offset >= end {
            let rest = old.get(usize::try_from(offset).ok()?..)?;
            let length = memchr::memchr(0, rest)?;
            (start, end, place) = (offset, offset + length as u64 + 1, new.len() as u64);
            new.extend(&rest[..=length]);
        }
        places.insert(offset, place + (offset - start));
    }
    (old.first() == Some(&0) && new.len() <= old.len()).then_some((new, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_what_is_used_and_shared_ends() {
        let old = b"\0unused\0long_name\0other\0";
        let used = BTreeSet::from([0, 8, 13, 18]);
        let (new, places) = compact(old, &used).unwrap();
        assert_eq!(new, b"\0long_name\0other\0");
        assert_eq!(places, BTreeMap::from([(0, 0), (8, 1), (13, 6), (18, 11)]));
        assert_eq!(compact(old, &BTreeSet::from([99])), None);
        assert_eq!(compact(b"\0open", &BTreeSet::from([1])), None);
    }
}
