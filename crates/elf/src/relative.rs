//! Relocations that can be told in a bit each: those by the load base alone, and those
//! that give many words the value of one.
//!
//! An `Elf64_Rela` of this kind takes 24 bytes; a library with many virtual functions
//! has hundreds of thousands. `DT_RELR` (gABI, "Relative relocation table") tells the
//! same in about a bit, but no glibc before 2.36 reads it. The writer therefore puts
//! the same table beside a few instructions that apply it, and has the loader call them
//! as it resolves an indirect function: while it relocates the library, before any code
//! of it, or of whatever binds to it, runs.

use crate::library::Library;
use crate::{PAGE, PageSet, Relocation, tag};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Fewer relocations are not worth a mapping more.
const WORTHWHILE: usize = 1 << 9;

/// The highest end of a library's segments, in bytes.
const REACH: u64 = 1 << 30;

/// Fewer words of one value are not worth a list of their own.
const ALIKE: usize = 32;

/// A library's relocation table in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relative {
    /// Words that hold an address of the library, and that address.
    pub words: BTreeMap<u64, u64>,
    /// Words that have the value of another one, by the address of that one, which the
    /// loader relocates: a library with many classes names the same few parts of the C++
    /// runtime in each.
    pub copies: BTreeMap<u64, Vec<u64>>,
    /// The other relocations of `DT_RELA`, in their order.
    pub others: Vec<Relocation>,
    /// The addresses of the table.
    pub table: Range<u64>,
}

impl Relative {
    /// Takes the table of `library` apart, in which the symbols `own` mean what the
    /// library itself defines. `None` where that saves little, or where a relocation is
    /// not a plain one: the table then stays as it is.
    pub fn of(library: &Library<'_>, own: &BTreeSet<u32>) -> Option<Self> {
        let table = library.dynamic_range(tag::RELA, tag::RELASZ)?;
        let absent = |tag| library.dynamic(tag).is_none();
        // Instructions reach 2 GiB; what is written anew lies past the last segment.
        let end = library.loads().map(|load| load.addresses().end).max()?;
        if end > REACH
            || !absent(tag::RELR)
            || !absent(tag::TEXTREL)
            || !table.start.is_multiple_of(8)
        {
            return None;
        }
        // Resolvers of the library's own run while it is relocated, in an order that
        // the loader chooses.
        let symbols = library.symbols().ok()?;
        if symbols.iter().any(crate::Symbol::is_indirect_function) {
            return None;
        }
        let writable: Vec<Range<u64>> = library
            .loads()
            .filter(|load| load.is_writable())
            .map(crate::ProgramHeader::file_addresses)
            .collect();
        // The loader reads these arrays itself.
        let arrays = [
            library.dynamic_range(tag::INIT_ARRAY, tag::INIT_ARRAYSZ),
            library.dynamic_range(tag::FINI_ARRAY, tag::FINI_ARRAYSZ),
        ];
        let plain = |address: u64| {
            address.is_multiple_of(8)
                && writable.iter().any(|part| part.contains(&address) && part.end - address >= 8)
                && !arrays.iter().flatten().any(|array| array.contains(&address))
        };
        let mut relative =
            Self { words: BTreeMap::new(), copies: BTreeMap::new(), others: Vec::new(), table };
        let all = library.relocations().ok()?;
        let count = ((relative.table.end - relative.table.start) / 24) as usize;
        for relocation in all.iter().take(count) {
            let own = own.contains(&relocation.symbol).then_some(relocation.symbol as usize);
            let own = own.and_then(|symbol| symbols.get(symbol)).map(|symbol| symbol.address);
            let target = match (relocation.kind, own) {
                (Relocation::IRELATIVE, _) => return None,
                (Relocation::RELATIVE, _) => Some(relocation.addend as u64),
                (Relocation::R_64, Some(own)) => Some(own.wrapping_add_signed(relocation.addend)),
                (Relocation::GLOB_DAT, Some(own)) => Some(own),
                _ => None,
            };
            match target.filter(|_| plain(relocation.address)) {
                Some(target) => {
                    if relative.words.insert(relocation.address, target).is_some() {
                        return None;
                    }
                }
                None => relative.others.push(*relocation),
            }
        }
        if all.iter().any(|relocation| relocation.kind == Relocation::IRELATIVE)
            || relative.others.iter().any(|other| relative.words.contains_key(&other.address))
        {
            return None;
        }
        relative.take_copies(plain);
        // Those that are left come first, as DT_RELACOUNT says.
        relative.others.sort_by_key(|other| other.kind != Relocation::RELATIVE);
        (relative.words.len() >= WORTHWHILE).then_some(relative)
    }

    /// Takes the relocations out of `others` that give a `plain` word the value that an
    /// earlier one gave another.
    fn take_copies(&mut self, plain: impl Fn(u64) -> bool) {
        let mut groups: BTreeMap<(u32, i64), Vec<u64>> = BTreeMap::new();
        let alike = |one: &Relocation| one.kind == Relocation::R_64 && plain(one.address);
        for one in self.others.iter().filter(|one| alike(one)) {
            groups.entry((one.symbol, one.addend)).or_default().push(one.address);
        }
        let mut taken = BTreeSet::new();
        for mut places in groups.into_values().filter(|places| places.len() >= ALIKE) {
            places.sort_unstable();
            places.dedup();
            let source = places.remove(0);
            taken.extend(places.iter().copied());
            self.copies.insert(source, places);
        }
        self.others.retain(|one| !(alike(one) && taken.contains(&one.address)));
    }

    /// The pages that hold nothing but the table.
    pub fn pages(&self) -> PageSet {
        let mut pages = PageSet::new();
        for page in self.table.start.div_ceil(PAGE)..self.table.end / PAGE {
            pages.insert(page);
        }
        pages
    }
}

/// The words at `addresses`, which ascend and are multiples of eight, as `DT_RELR`
/// encodes them.
pub fn encode(addresses: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut out = Vec::new();
    let (mut base, mut bits) = (None, 0u64);
    for address in addresses {
        loop {
            let Some(start) = base else {
                out.push(address);
                base = Some(address + 8);
                break;
            };
            let place = (address - start) / 8;
            if place < 63 {
                bits |= 1 << (place + 1);
                break;
            }
            if bits == 0 {
                base = None;
            } else {
                out.push(bits | 1);
                bits = 0;
                base = Some(start + 63 * 8);
            }
        }
    }
    if bits != 0 {
        out.push(bits | 1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encode;
    use crate::dynamic::decode;

    #[test]
    fn what_is_encoded_is_decoded() {
        let far =
            [8, 16, 24, 8 + 63 * 8, 16 + 63 * 8, 24 + 126 * 8, 1 << 20, (1 << 20) + 8, 1 << 30];
        for count in 0..=far.len() {
            let words = encode(far[..count].iter().copied());
            assert_eq!(decode(&words), Some(far[..count].to_vec()), "{words:x?}");
        }
        let dense: Vec<u64> = (1..10_000).map(|number| number * 8).collect();
        let words = encode(dense.iter().copied());
        assert!(words.len() < 170);
        assert_eq!(decode(&words), Some(dense));
    }
}
