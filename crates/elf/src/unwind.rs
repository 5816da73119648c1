//! Functions, from the unwind tables, which stripped libraries keep too.
//!
//! Each frame description entry of `.eh_frame` (LSB 4, 10.6) gives a function's
//! extent; a part that the compiler moved away (`foo.cold`) has an entry of its
//! own. Its language-specific data area names the landing pads, which may lie in
//! such a part. Hand-written assembly may have no entry: callers keep what no
//! entry covers by the page.

use crate::bytes::u32_at;
use crate::library::{Library, segment};
use crate::{Error, PAGE, PageSet};
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// A contiguous piece of code with one unwind entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its addresses.
    pub code: Range<u64>,
    /// The addresses of its frame description entry.
    pub entry: Range<u64>,
    /// The addresses of the common information entry that this one refers to.
    pub common: Range<u64>,
    /// The address of its language-specific data area.
    pub exceptions: Option<u64>,
}

/// The functions of a library, by address, and where their unwind data lies.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    all: Vec<Function>,
    /// Starts of the language-specific data areas, ascending: each ends where the next begins.
    areas: Vec<u64>,
    index: Range<u64>,
}

impl Functions {
    /// Reads every unwind entry of `library`; none where it has no unwind tables.
    pub fn read(library: &Library<'_>) -> Result<Self, Error> {
        let Some(header) = library.header(segment::GNU_EH_FRAME) else {
            return Ok(Self::default());
        };
        let damaged = |at| Error::damaged("the unwind tables", at);
        let table = library.read(header.address, header.file_size)?;
        // The header's first pointer is pc-relative, four bytes, in every toolchain's output.
        if table.len() < 12 || table[0] != 1 || table[1] != 0x1b {
            return Err(Error::Unsupported("unwind tables in an unknown encoding"));
        }
        let distance = u32_at(table, 4).ok_or_else(|| damaged(header.address))? as i32;
        let start = (header.address + 4)
            .checked_add_signed(i64::from(distance))
            .ok_or_else(|| damaged(header.address))?;
        let bytes = library.read_to_segment_end(start)?;
        let section = EhFrame::new(bytes, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(start).set_eh_frame_hdr(header.address);
        let last = library.loads().map(|load| load.addresses().end).max().unwrap_or(0);
        let mut commons = HashMap::new();
        let mut all = Vec::new();
        let mut entries = section.entries(&bases);
        while let Some(entry) = entries.next().map_err(|_| damaged(start))? {
            let CieOrFde::Fde(partial) = entry else { continue };
            let fde = partial
                .parse(|section, bases, offset| {
                    if let Some(common) = commons.get(&offset) {
                        return Ok(gimli::CommonInformationEntry::clone(common));
                    }
                    let common = section.cie_from_offset(bases, offset)?;
                    commons.insert(offset, common.clone());
                    Ok(common)
                })
                .map_err(|_| damaged(start))?;
            let Some(end) = fde.initial_address().checked_add(fde.len()) else { continue };
            // An entry whose code the linker discarded starts at address 0.
            if fde.len() == 0 || fde.initial_address() == 0 || end > last {
                continue;
            }
            // Lengths exclude the four-byte length field itself.
            let record =
                |at: usize, length: usize| start + at as u64..start + (at + length) as u64 + 4;
            all.push(Function {
                code: fde.initial_address()..end,
                entry: record(fde.offset(), fde.entry_len()),
                common: record(fde.cie().offset(), fde.cie().entry_len()),
                exceptions: match fde.lsda() {
                    Some(gimli::Pointer::Direct(address)) if address != 0 => Some(address),
                    _ => None,
                },
            });
        }
        all.sort_by_key(|function| (function.code.start, function.code.end));
        let areas: BTreeSet<u64> = all.iter().filter_map(|function| function.exceptions).collect();
        Ok(Self { all, areas: areas.into_iter().collect(), index: header.file_addresses() })
    }

    /// Every function, ascending by address.
    pub fn all(&self) -> &[Function] {
        &self.all
    }

    /// The function that covers `address`.
    pub fn at(&self, address: u64) -> Option<&Function> {
        self.index_at(address).map(|index| &self.all[index])
    }

    fn index_at(&self, address: u64) -> Option<usize> {
        let after = self.all.partition_point(|function| function.code.start <= address);
        after.checked_sub(1).filter(|index| self.all[*index].code.contains(&address))
    }

    /// The pages that belong to functions that ran, by the evidence of `touched`, or
    /// with an address in `entered`: all their code, unwind entries, exception
    /// tables, and the functions in which their landing pads lie. Pages of `touched`
    /// that no function covers are included; so is the unwinder's search table when
    /// any function is.
    ///
    /// A function ran only if the page of its entry was touched: where another of its
    /// pages was, a neighbour of that page ran. Code that the symbol table does not
    /// show to be entered at its start alone (the parts that compilers split off;
    /// everything, in a stripped library) counts with any of its pages.
    pub fn whole(&self, library: &Library<'_>, touched: &PageSet, entered: &[u64]) -> PageSet {
        let mut pages = touched.clone();
        let mut hot = vec![false; self.all.len()];
        let mut work: Vec<usize> = entered.iter().filter_map(|at| self.index_at(*at)).collect();
        let starts = entry_points(library);
        work.extend((0..self.all.len()).filter(|index| {
            let code = &self.all[*index].code;
            if starts.binary_search(&code.start).is_ok() {
                touched.contains(code.start / PAGE)
            } else {
                touched.touches(code.clone())
            }
        }));
        for address in entered {
            pages.insert_addresses(*address..address + 1);
        }
        let mut any = false;
        while let Some(index) = work.pop() {
            if std::mem::replace(&mut hot[index], true) {
                continue;
            }
            any = true;
            let function = &self.all[index];
            pages.insert_addresses(function.code.clone());
            pages.insert_addresses(function.entry.clone());
            pages.insert_addresses(function.common.clone());
            let Some(area) = function.exceptions else { continue };
            let next = self.areas.partition_point(|start| *start <= area);
            // The last area has no successor to bound it.
            let end = self.areas.get(next).copied().unwrap_or(area + PAGE);
            pages.insert_addresses(area..end);
            let bytes = library.read_to_segment_end(area).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min((end - area) as usize)];
            work.extend(
                landing_pads(bytes)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|pad| self.index_at(function.code.start.wrapping_add(pad))),
            );
        }
        if any {
            pages.insert_addresses(self.index.clone());
        }
        pages
    }
}

/// The addresses of functions in the symbol table, ascending, without the parts that
/// GCC and LLVM split off and jump into at any place.
fn entry_points(library: &Library<'_>) -> Vec<u64> {
    const FUNCTION: u8 = 2;
    let split = memchr::memmem::Finder::new(b".cold");
    let mut starts: Vec<u64> = library
        .local_symbols()
        .filter(|symbol| symbol.kind == FUNCTION && split.find(symbol.name).is_none())
        .map(|symbol| symbol.address)
        .collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// The landing pads of a language-specific data area, as offsets from the start
/// of its function. Layout: Itanium C++ ABI, exception handling tables, as GCC
/// writes it. `None` where the area does not parse or has another base.
fn landing_pads(area: &[u8]) -> Option<Vec<u64>> {
    const OMITTED: u8 = 0xff;
    let mut at = 0usize;
    let base_encoding = *area.get(at)?;
    at += 1;
    if base_encoding != OMITTED {
        return None;
    }
    let types_encoding = *area.get(at)?;
    at += 1;
    if types_encoding != OMITTED {
        leb128(area, &mut at)?;
    }
    let site_encoding = *area.get(at)?;
    at += 1;
    let length = usize::try_from(leb128(area, &mut at)?).ok()?;
    let end = at.checked_add(length)?.min(area.len());
    let mut pads = Vec::new();
    while at < end {
        let mut field = || match site_encoding & 0x0f {
            0x01 => leb128(area, &mut at),
            0x03 | 0x0b => {
                let value = u32_at(area, at as u64)?;
                at += 4;
                Some(u64::from(value))
            }
            _ => None,
        };
        let (_start, _length, pad) = (field()?, field()?, field()?);
        leb128(area, &mut at)?;
        if pad != 0 {
            pads.push(pad);
        }
    }
    Some(pads)
}

fn leb128(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::landing_pads;

    #[test]
    fn landing_pads_are_read_and_damage_is_refused() {
        // lpstart omitted, types omitted, uleb128 sites: (0, 5, 0x90, 1), (5, 2, 0, 0)
        let area = [0xff, 0xff, 0x01, 9, 0, 5, 0x90, 0x01, 1, 5, 2, 0, 0];
        assert_eq!(landing_pads(&area), Some(vec![0x90]));
        assert_eq!(landing_pads(&area[..6]), None);
        assert_eq!(landing_pads(&[0, 0xff, 1, 0]), None);
        assert_eq!(landing_pads(&[]), None);
    }
}
