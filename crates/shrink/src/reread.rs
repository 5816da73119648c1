//! The second reader: it reads what was written with other code, and compares.

use crate::Error;
use crate::allowed::Allowed;
use crate::cold::{self, Revive};
use crate::original::Original;
use elf::{PAGE, PageSet, tag};
use object::LittleEndian as LE;
use object::elf::{FileHeader64, PF_R, PF_X, PT_GNU_STACK, PT_LOAD, PT_PHDR, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use std::ops::Range;

type Segment = ProgramHeader64<LE>;

/// What the second reader saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Pages of read-only segments that are in the file.
    pub pages: u64,
    /// Loadable segments.
    pub mappings: usize,
}

struct Image<'a> {
    data: &'a [u8],
    header: &'a FileHeader64<LE>,
    segments: &'a [Segment],
}

impl<'a> Image<'a> {
    fn read(data: &'a [u8]) -> Result<Self, Error> {
        let fail = |error: object::Error| Error::Unreadable(error.to_string());
        let header = FileHeader64::<LE>::parse(data).map_err(fail)?;
        let segments = header.program_headers(LE, data).map_err(fail)?;
        Ok(Self { data, header, segments })
    }

    fn loads(&self) -> impl Iterator<Item = &'a Segment> + use<'a> {
        self.segments.iter().filter(|segment| segment.p_type(LE) == PT_LOAD)
    }

    /// The bytes at an address range, from the one segment that holds it.
    fn at(&self, range: Range<u64>) -> Option<&'a [u8]> {
        let segment = self.loads().find(|segment| {
            let start = segment.p_vaddr(LE);
            start <= range.start && range.end <= start.saturating_add(segment.p_filesz(LE))
        })?;
        let bytes = segment.data(LE, self.data).ok()?;
        let start = (range.start - segment.p_vaddr(LE)) as usize;
        bytes.get(start..start + (range.end - range.start) as usize)
    }

    fn dynamic(&self) -> Result<Vec<(u64, u64)>, Error> {
        for segment in self.segments {
            let found = segment.dynamic(LE, self.data);
            let found = found.map_err(|error| Error::Unreadable(error.to_string()))?;
            if let Some(entries) = found {
                let pair = |entry: &object::elf::Dyn64<LE>| {
                    (entry.d_tag.get(LE).0 as u64, entry.d_val.get(LE))
                };
                return Ok(entries.iter().map(pair).take_while(|(tag, _)| *tag != 0).collect());
            }
        }
        Ok(Vec::new())
    }
}

/// The pages that are in the file.
fn new_pages(new: &Image<'_>) -> PageSet {
    let mut pages = PageSet::new();
    for segment in new.loads() {
        let start = segment.p_vaddr(LE);
        pages.insert_addresses(start..start.saturating_add(segment.p_filesz(LE)));
    }
    pages
}

fn writable(segment: &Segment) -> bool {
    segment.p_flags(LE).0 & object::elf::PF_W.0 != 0
}

/// Checks that the bytes `written` are the library `original` without some pages
/// that it was not to keep, written with the same `private` names and the same `revive`;
/// `beside` are tables that come back from the store, and their address.
///
/// # Errors
/// [`Error::Differs`] with the first thing that is not as it was:
/// a kept page that is missing or has other bytes, a writable segment, the dynamic
/// section, a table that it names, the thread-local, RELRO or unwind header.
pub fn check(
    original: &Original<'_>,
    written: &[u8],
    private: &dyn Fn(&str) -> bool,
    revive: Option<&Revive<'_>>,
    beside: (u64, &[u8]),
) -> Result<Checked, Error> {
    let (old, new) = (Image::read(original.data)?, Image::read(written)?);
    let first = original.library();
    let second = elf::Library::parse(written)?.with(beside.0, beside.1);
    let allowed = Allowed::of(original, &second, private, revive)?;
    segments(&old, &new, &allowed)?;
    let pages = pages(&old, &new, original.keep, &allowed.freed)?;
    if entries(&old, &allowed)? != entries(&new, &allowed)? {
        return Err(Error::Differs { what: "the dynamic section", at: 0 });
    }
    tables(&old, &new)?;
    exported(&new, first, &second)?;
    let moved = headers(&old, &new, revive.is_some())?;
    if let Some(revive) = revive {
        cold::check(first, &second, &new_pages(&new), &allowed.freed, revive.cold)?;
    }
    if moved {
        let before = original.functions.as_ref().map_err(Clone::clone)?;
        if let Err(at) = functions::check(first, before, &second, &original.present)? {
            return Err(Error::Differs { what: "the unwind tables of a function", at });
        }
    }
    Ok(Checked { pages, mappings: new.loads().count() })
}

/// Compares each segment of `new` with the bytes that the original has at its addresses.
fn segments(old: &Image<'_>, new: &Image<'_>, allowed: &Allowed) -> Result<(), Error> {
    let differs = |what, at| Err(Error::Differs { what, at });
    let table = new.header.e_phoff.get(LE);
    let last = old.loads().map(|load| load.p_vaddr(LE) + load.p_memsz(LE)).max().unwrap_or(0);
    let mut last_end = 0;
    for segment in new.loads() {
        let (start, offset) = (segment.p_vaddr(LE), segment.p_offset(LE));
        if start < last_end || offset % PAGE != start % PAGE {
            return differs("the order or alignment of a segment", start);
        }
        last_end = start + segment.p_memsz(LE);
        let Ok(bytes) = segment.data(LE, new.data) else {
            return differs("the extent of a segment", start);
        };
        // The new tables, and the code that relocates, have no counterpart.
        let end = offset + segment.p_filesz(LE);
        let tables = (offset..end).contains(&table) || (start >= last && end == table);
        if tables || allowed.code == Some(start) {
            let rights = if tables { PF_R.0 } else { PF_R.0 | PF_X.0 };
            if segment.p_flags(LE).0 != rights || start < last {
                return differs("the place or rights of new tables and code", start);
            }
            continue;
        }
        let holds = |load: &&Segment| {
            let from = load.p_vaddr(LE);
            from == start || (from..from.saturating_add(load.p_memsz(LE))).contains(&start)
        };
        if old.loads().find(holds).map(|load| load.p_flags(LE)) != Some(segment.p_flags(LE)) {
            return differs("the rights of a segment", start);
        }
        let Some(before) = old.at(start..start.saturating_add(bytes.len() as u64)) else {
            return differs("a segment that the original does not have", start);
        };
        // The file header has new places for the tables.
        let skip = if offset == 0 { 64 } else { 0 };
        let wrong = |place: &usize| {
            bytes[*place] != before[*place] && !allowed.may_change(start + *place as u64)
        };
        // Whole pages are compared at once: few have anything that may differ.
        for from in (skip..bytes.len()).step_by(PAGE as usize) {
            let piece = from..(from + PAGE as usize).min(bytes.len());
            if bytes[piece.clone()] == before[piece.clone()] {
                continue;
            }
            if let Some(place) = piece.into_iter().find(wrong) {
                return differs("a byte", start + place as u64);
            }
        }
    }
    let holds = |segment: &Segment| {
        let start = segment.p_offset(LE);
        !writable(segment) && (start..start + segment.p_filesz(LE)).contains(&table)
    };
    if !new.loads().any(holds) {
        return differs("the program headers, which no read-only segment holds", table);
    }
    Ok(())
}

/// Whether the pages `keep` and all writable memory are in `new`, but for pages of `freed`; how
/// many pages of read-only segments are there.
fn pages(old: &Image<'_>, new: &Image<'_>, keep: &PageSet, freed: &PageSet) -> Result<u64, Error> {
    let differs = |what, at| Err(Error::Differs { what, at });
    let mut pages = 0;
    for segment in old.loads() {
        let (start, size) = (segment.p_vaddr(LE), segment.p_filesz(LE));
        if writable(segment) {
            // Its memory ends where it ended, with the same rights all over.
            let end = start + segment.p_memsz(LE);
            let own = |other: &Segment| other.p_vaddr(LE) >= start && other.p_vaddr(LE) < end;
            let ends = new.loads().any(|other| other.p_vaddr(LE) + other.p_memsz(LE) == end);
            let rights = |other: &Segment| other.p_flags(LE) == segment.p_flags(LE);
            if !ends || !new.loads().filter(|other| own(other)).all(rights) {
                return differs("a writable segment", start);
            }
        }
        for page in start / PAGE..(start + size).div_ceil(PAGE) {
            let range = (page * PAGE).max(start)..((page + 1) * PAGE).min(start + size);
            let found = new.at(range.clone()).is_some();
            pages += u64::from(found && !writable(segment));
            let needed = keep.contains(page) || writable(segment);
            if needed && !found && !freed.contains(page) {
                return differs("a kept page, which is missing", range.start);
            }
        }
    }
    Ok(pages)
}

/// The entries of the dynamic section, without the values that may differ.
fn entries(image: &Image<'_>, allowed: &Allowed) -> Result<Vec<(u64, u64)>, Error> {
    let pairs = image.dynamic()?.into_iter();
    Ok(pairs
        .filter(|(tag, _)| !allowed.gone.contains(tag))
        .map(|(tag, value)| (tag, if allowed.moved.contains(&tag) { 0 } else { value }))
        .collect())
}

/// Every table that the dynamic section names with a size is there in full; relocations
/// and names are compared one by one.
fn tables(old: &Image<'_>, new: &Image<'_>) -> Result<(), Error> {
    use object::elf::{
        DT_FINI_ARRAY, DT_FINI_ARRAYSZ, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_JMPREL, DT_PLTRELSZ,
        DynamicTag,
    };
    let entries = old.dynamic()?;
    let value = |tag: DynamicTag| {
        entries.iter().find(|(found, _)| *found == tag.0 as u64).map(|(_, value)| *value)
    };
    for (start, size) in [
        (DT_JMPREL, DT_PLTRELSZ),
        (DT_INIT_ARRAY, DT_INIT_ARRAYSZ),
        (DT_FINI_ARRAY, DT_FINI_ARRAYSZ),
    ] {
        if let (Some(start), Some(size)) = (value(start), value(size))
            && let Some(end) = start.checked_add(size)
            && old.at(start..end) != new.at(start..end)
        {
            return Err(Error::Differs { what: "a table of the dynamic section", at: start });
        }
    }
    Ok(())
}

/// What linkers find through section headers is what the loader finds through the dynamic
/// section: names, values, versions.
fn exported(
    new: &Image<'_>,
    first: &elf::Library<'_>,
    second: &elf::Library<'_>,
) -> Result<(), Error> {
    let fail = |error: object::Error| Error::Unreadable(error.to_string());
    let differs = |at: usize| Error::Differs { what: "a symbol of a section", at: at as u64 };
    let expected = second.symbols()?;
    let count = first.symbols()?.len();
    if first.dynamic(tag::SYMTAB).is_none() {
        return Ok(());
    }
    let sections = new.header.sections(LE, new.data).map_err(fail)?;
    let symbols = sections.symbols(LE, new.data, object::elf::SHT_DYNSYM).map_err(fail)?;
    let versions = sections.versions(LE, new.data).map_err(fail)?;
    if symbols.len() != count {
        return Err(differs(symbols.len()));
    }
    for ((index, symbol), expected) in symbols.enumerate().zip(&expected) {
        let name = symbols.symbol_name(LE, symbol).map_err(fail)?;
        let version = versions.as_ref().map_or(1, |all| all.version_index(LE, index).0 & 0x7fff);
        let same = name == expected.name.as_bytes()
            && symbol.st_value.get(LE) == expected.address
            && (versions.is_none() || version == expected.version & 0x7fff);
        if !same {
            return Err(differs(index.0));
        }
    }
    Ok(())
}

/// Every header that is neither a loadable segment nor the table itself is as it
/// was, and what it speaks of is there. The unwind table's may be absent with it or
/// speak of a new one, which the result says.
fn headers(old: &Image<'_>, new: &Image<'_>, revived: bool) -> Result<bool, Error> {
    let others = |image: &Image<'_>| -> Vec<(u32, u32, u64, u64, u64)> {
        image
            .segments
            .iter()
            .filter(|segment| !matches!(segment.p_type(LE), PT_LOAD | PT_PHDR))
            .map(|segment| {
                let kind = segment.p_type(LE).0;
                let sizes = (segment.p_filesz(LE), segment.p_memsz(LE));
                (kind, segment.p_flags(LE).0, segment.p_vaddr(LE), sizes.0, sizes.1)
            })
            .collect()
    };
    let after = others(new);
    let mut moved = false;
    for header in others(old) {
        let (kind, _, address, size, _) = header;
        let there = after.contains(&header);
        let optional = kind == object::elf::PT_GNU_EH_FRAME.0;
        if !there && !optional {
            return Err(Error::Differs { what: "a program header", at: address });
        }
        moved |= !there && after.iter().any(|other| other.0 == kind);
        if there && kind != PT_GNU_STACK.0 && size > 0 {
            // The bytes of every segment were compared before.
            // The unwinder's table may be cold.
            let absent = new.at(address..address.saturating_add(size)).is_none();
            if absent && !(optional && revived) {
                return Err(Error::Differs { what: "what a program header names", at: address });
            }
        }
    }
    Ok(moved)
}
