//! Functions, from the unwind tables, which stripped libraries keep too.
//!
//! Each frame description entry of `.eh_frame` (LSB 4, 10.6) gives a function's
//! extent; a part that the compiler moved away (`foo.cold`) has an entry of its
//! own. Its language-specific data area names the landing pads, which may lie in
//! such a part. Hand-written assembly may have no entry: callers keep what no
//! entry covers by the page.

use crate::linkage::Linkage;
use crate::references::branches;
use crate::{area, bytes::word_at};
use elf::{Error, Library, PAGE, PageSet, segment};
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;

/// How far a function is from one that ran: this one did.
const RAN: u8 = 0;

/// So many steps from where an error is made or caught, calls are followed no more.
const STEPS: u8 = 4;

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
    /// The address where its personality routine's is found.
    pub(crate) personality: Option<u64>,
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
        let distance = word_at(table, 4).ok_or_else(|| damaged(header.address))? as i32;
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
                    // A distance of 0, which gives an address in the entry, means none.
                    Some(gimli::Pointer::Direct(address))
                        if !(start + fde.offset() as u64
                            ..start + (fde.offset() + fde.entry_len()) as u64 + 4)
                            .contains(&address) =>
                    {
                        Some(address)
                    }
                    _ => None,
                },
                personality: fde.personality().map(|pointer| match pointer {
                    gimli::Pointer::Direct(address) | gimli::Pointer::Indirect(address) => address,
                }),
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

    /// Where the language-specific data area that starts at `start` ends at the latest.
    pub(crate) fn area_end(&self, start: u64) -> u64 {
        let next = self.areas.partition_point(|area| *area <= start);
        // The last area has no successor to bound it.
        self.areas.get(next).copied().unwrap_or_else(|| start.saturating_add(PAGE))
    }

    /// The addresses of the unwind tables: the search table, all entries, and all
    /// language-specific data areas but the last, whose end nothing tells.
    pub fn tables(&self) -> [Range<u64>; 3] {
        let entries = self.all.iter().flat_map(|function| [&function.entry, &function.common]);
        let (mut start, mut end) = (u64::MAX, 0);
        for entry in entries {
            (start, end) = (start.min(entry.start), end.max(entry.end));
        }
        let areas =
            self.areas.first().copied().unwrap_or(0)..self.areas.last().copied().unwrap_or(0);
        [self.index.clone(), start.min(end)..end, areas]
    }

    /// Whether the original tables of all functions whose code lies on pages of `keep`
    /// lie on pages of it too.
    pub fn have_tables(&self, keep: &PageSet) -> bool {
        let inside = |range: Range<u64>| {
            (range.start / PAGE..range.end.div_ceil(PAGE)).all(|page| keep.contains(page))
        };
        inside(self.index.clone())
            && self.all.iter().filter(|function| inside(function.code.clone())).all(|function| {
                inside(function.entry.clone())
                    && inside(function.common.clone())
                    && function.exceptions.is_none_or(|area| inside(area..self.area_end(area)))
            })
    }

    /// The landing pads of a function.
    pub(crate) fn pads(&self, library: &Library<'_>, function: &Function) -> Vec<u64> {
        let Some(start) = function.exceptions else { return Vec::new() };
        let bytes = library.read_to_segment_end(start).unwrap_or_default();
        let size = (self.area_end(start) - start) as usize;
        let bytes = &bytes[..bytes.len().min(size)];
        let sites = area::read(bytes, start).map(|area| area.sites).unwrap_or_default();
        let pads = sites.into_iter().filter(|[_, _, pad, _]| *pad != 0);
        pads.map(|[_, _, pad, _]| function.code.start.wrapping_add(pad)).collect()
    }

    /// The addresses where functions are known to be entered, ascending: by the symbol table
    /// or, in a library without one, since something calls them there or has that address.
    pub fn entered(&self, library: &Library<'_>) -> Vec<u64> {
        let starts = entry_points(library);
        if starts.is_empty() { crate::references::entered(library, &self.all) } else { starts }
    }

    /// The functions that ran, by the evidence of `touched`, as [`Functions::whole`] reads it.
    pub(crate) fn ran(&self, library: &Library<'_>, touched: &PageSet) -> Vec<&Function> {
        let ran = self.indices_ran(library, touched);
        ran.into_iter().map(|index| &self.all[index]).collect()
    }

    fn indices_ran(&self, library: &Library<'_>, touched: &PageSet) -> Vec<usize> {
        let starts = entry_points(library);
        let ran = |index: &usize| {
            let code = &self.all[*index].code;
            if starts.binary_search(&code.start).is_ok() {
                touched.contains(code.start / PAGE)
            } else {
                touched.touches(code.clone())
            }
        };
        (0..self.all.len()).filter(ran).collect()
    }

    /// The pages that belong to functions that ran, by the evidence of `touched`, or
    /// with an address in `entered`: all their code, the functions in which their
    /// landing pads lie, and the data that they name. Pages of `touched` that no
    /// function covers are included.
    ///
    /// A function ran only if the page of its entry was touched: where another of its
    /// pages was, a neighbour of that page ran. Code that the symbol table does not
    /// show to be entered at its start alone (the parts that compilers split off;
    /// everything, in a stripped library) counts with any of its pages.
    ///
    /// Where those functions jump into the middle of others, as compilers make them do with
    /// parts that are seldom run, these count too. So does what landing pads and such parts call,
    /// and what that calls, a few steps on: an error on its way to the program must not be
    /// replaced by another one.
    pub fn whole(&self, library: &Library<'_>, touched: &PageSet, entered: &[u64]) -> Whole {
        let mut pages = touched.clone();
        let mut tables = PageSet::new();
        let mut hot = vec![false; self.all.len()];
        let mut steps = vec![u8::MAX; self.all.len()];
        let ran_at = |at: &u64| self.index_at(*at).map(|index| (index, RAN));
        let mut work: VecDeque<(usize, u8)> = entered.iter().filter_map(ran_at).collect();
        let linkage = Linkage::of(library);
        work.extend(self.indices_ran(library, touched).into_iter().map(|index| (index, RAN)));
        for address in entered {
            pages.insert(address / PAGE);
        }
        while let Some((index, step)) = work.pop_front() {
            // What is met again on a shorter way reaches further.
            if std::mem::replace(&mut hot[index], true) && steps[index] <= step {
                continue;
            }
            steps[index] = steps[index].min(step);
            let function = &self.all[index];
            pages.insert_addresses(function.code.clone());
            tables.insert_addresses(function.entry.clone());
            tables.insert_addresses(function.common.clone());
            let code = &function.code;
            let pads = self.pads(library, function);
            let first = pads.iter().copied().filter(|pad| code.contains(pad)).min();
            for (place, target) in branches(library, code) {
                let behind = linkage.get(target);
                if behind.is_some() {
                    pages.insert(target / PAGE);
                }
                let target = behind.unwrap_or(target);
                let Some(other) = self.index_at(target) else {
                    // Code without an entry: a table of jumps to other libraries.
                    pages.insert(target / PAGE);
                    continue;
                };
                let error = step > RAN || first.is_some_and(|first| place >= first);
                if self.all[other].code.start != target {
                    // What is jumped into runs as a part of this one, seldom.
                    work.push_back((other, step.max(1)));
                } else if error && step < STEPS {
                    work.push_back((other, step.max(1) + 1));
                }
            }
            work.extend(pads.iter().filter_map(|pad| Some((self.index_at(*pad)?, step.max(1)))));
            let Some(start) = function.exceptions else { continue };
            let end = self.area_end(start);
            tables.insert_addresses(start..end);
        }
        if !tables.is_empty() {
            tables.insert_addresses(self.index.clone());
        }
        for range in crate::references::data(library, &self.all, &hot) {
            pages.insert_addresses(range);
        }
        Whole { pages, tables }
    }
}

/// The pages of functions that ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whole {
    /// Their code and data.
    pub pages: PageSet,
    /// Their part of the unwind tables.
    pub tables: PageSet,
}

impl Whole {
    /// All of them.
    pub fn all(mut self) -> PageSet {
        self.pages.union(&self.tables);
        self.pages
    }
}

/// The addresses of functions in the symbol table, ascending, without the parts that
/// GCC and LLVM split off and jump into at any place.
pub(crate) fn entry_points(library: &Library<'_>) -> Vec<u64> {
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
