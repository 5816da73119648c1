//! Section headers for linkers, debuggers and `strip`, for a file whose segments are new.
//!
//! The loader needs none. A linker finds the names that a library exports, and their versions,
//! through the headers of the sections that hold them and through nothing else: without these,
//! an extension that is built against a package (`-ltorch_cpu`) has undefined references. gdb 13
//! ends itself on a library without a section `.text`, and ltrace on one without sections. And
//! `strip` writes the sections, not the segments: every byte that is loaded has to be in one.

use crate::{ProgramHeader, flags, segment};
use std::collections::BTreeMap;
use std::ops::Range;

/// Section types (gABI figure 4-9, LSB 4 10.7).
mod kind {
    pub const PROGBITS: u32 = 1;
    pub const STRTAB: u32 = 3;
    pub const DYNAMIC: u32 = 6;
    pub const NOBITS: u32 = 8;
    pub const DYNSYM: u32 = 11;
    pub const VERDEF: u32 = 0x6fff_fffd;
    pub const VERNEED: u32 = 0x6fff_fffe;
    pub const VERSYM: u32 = 0x6fff_ffff;
}

/// `SHF_WRITE`, `SHF_ALLOC`, `SHF_EXECINSTR` and `SHF_TLS` (gABI figure 4-11).
const WRITABLE: u64 = 1;
const ALLOCATED: u64 = 2;
const EXECUTABLE: u64 = 4;
const THREADS: u64 = 0x400;

/// The most headers (`SHN_LORESERVE`, gABI 4); where that many were not enough, only what
/// linkers read has some.
const MOST: usize = 0xff00;

/// Bytes of the file's header.
const HEADER: u64 = 64;

/// Bytes of a section header.
const SIZE: usize = 64;

/// Section headers at the end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections {
    /// Their names, then the headers.
    pub bytes: Vec<u8>,
    /// Where the headers are in the file.
    pub offset: u64,
    /// How many there are; the last is that of the names.
    pub count: u16,
}

/// A section with a name.
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
}

/// Where the tables are that the dynamic section names, for tools that look for sections:
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTables {
    /// The dynamic section itself.
    pub dynamic: Range<u64>,
    /// The symbols.
    pub symbols: Range<u64>,
    /// How many symbols are local; these are the first.
    pub locals: u32,
    /// The names.
    pub strings: Range<u64>,
    /// The symbols' version numbers; empty where there are none.
    pub versions: Range<u64>,
    /// The versions that are asked for, and of how many libraries.
    pub needs: (Range<u64>, u32),
    /// The versions that are defined, and how many.
    pub defines: (Range<u64>, u32),
}

/// Section headers to lie at file offset `at`, for a file with the segments `headers`, whose
/// own headers lie at file offset `table`. `None` where a segment does not hold the symbols and
/// their names.
pub fn sections(
    tables: &LinkTables,
    headers: &[ProgramHeader],
    table: u64,
    at: u64,
) -> Option<Sections> {
    let offset = |address: u64| {
        let mut loads = headers.iter().filter(|header| header.kind == segment::LOAD);
        let load = loads.find(|load| load.file_addresses().contains(&address))?;
        Some(load.offset.0 + (address - load.address))
    };
    let LinkTables { dynamic, symbols, locals, strings, versions, needs, defines } = tables;
    // Each: name, type, addresses, linked section, number, alignment, bytes of an entry. The
    // first two are those that the others link to.
    let known = [
        (".dynsym", kind::DYNSYM, symbols, 2, *locals, 8, 24),
        (".dynstr", kind::STRTAB, strings, 0, 0, 1, 0),
        (".gnu.version", kind::VERSYM, versions, 1, 0, 2, 2),
        (".gnu.version_r", kind::VERNEED, &needs.0, 2, needs.1, 8, 0),
        (".gnu.version_d", kind::VERDEF, &defines.0, 2, defines.1, 8, 0),
        (".dynamic", kind::DYNAMIC, dynamic, 2, 0, 8, 16),
    ];
    let mut all = Vec::with_capacity(known.len() + 1);
    for (name, kind, range, link, info, align, entry) in known {
        let place = offset(range.start).filter(|_| !range.is_empty());
        let Some(offset) = place else {
            if all.len() < 2 {
                return None;
            }
            continue;
        };
        let writable = if kind == kind::DYNAMIC { WRITABLE } else { 0 };
        let (address, size) = (range.start, range.end - range.start);
        let flags = ALLOCATED | writable;
        all.push(Section { name, kind, flags, address, offset, size, link, info, align, entry });
    }
    let rest = rest(headers, table, &all);
    if all.len() + rest.len() + 2 < MOST {
        all.extend(rest);
    }
    all.push(Section {
        name: ".shstrtab",
        kind: kind::STRTAB,
        flags: 0,
        address: 0,
        offset: at,
        size: 0,
        link: 0,
        info: 0,
        align: 1,
        entry: 0,
    });
    Some(written(all, at))
}

impl Sections {
    /// Writes where they are into the header of a file (gABI figure 4-3).
    ///
    /// # Panics
    /// Where `header` has less than the 64 bytes of one.
    pub fn put(&self, header: &mut [u8]) {
        header[40..48].copy_from_slice(&self.offset.to_le_bytes());
        // Bytes of a header, their number, and the one of the names.
        let words = [SIZE as u16, self.count, self.count - 1];
        header[58..64].copy_from_slice(words.map(u16::to_le_bytes).as_flattened());
    }
}

/// Sections for all bytes of the segments `headers` that are in none of `known`, and for the
/// zeros after them. None crosses the bounds of another segment, for a tool that lays the file
/// out anew puts whole sections into segments; and none holds the file's header or the segments'
/// at file offset `table`, which such a tool writes itself.
fn rest(headers: &[ProgramHeader], table: u64, known: &[Section]) -> Vec<Section> {
    let loads = || headers.iter().filter(|header| header.kind == segment::LOAD);
    let own = [(0, HEADER), (table, headers.len() as u64 * ProgramHeader::SIZE)];
    let taken: Vec<Range<u64>> = own
        .into_iter()
        .filter_map(|(place, size)| {
            let held = |load: &&ProgramHeader| {
                (load.offset.0..load.offset.0 + load.file_size).contains(&place)
            };
            let load = loads().find(held)?;
            let start = load.address + (place - load.offset.0);
            Some(start..start + size)
        })
        .chain(known.iter().map(|section| section.address..section.address + section.size))
        .collect();
    let inner = headers.iter().filter(|header| header.kind != segment::LOAD);
    let mut cuts: Vec<u64> = inner
        .filter(|header| header.file_size > 0)
        .map(ProgramHeader::file_addresses)
        .chain(taken.iter().cloned())
        .flat_map(|range| [range.start, range.end])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let tls = headers.iter().find(|header| header.kind == segment::TLS);
    let mut all = Vec::new();
    for load in loads() {
        let (start, end) = (load.address, load.file_addresses().end);
        let first = cuts.partition_point(|cut| *cut <= start);
        let within = cuts[first..].iter().copied().take_while(|cut| *cut < end);
        let mut at = start;
        for next in within.chain([end]).filter(|next| *next > start) {
            if !taken.iter().any(|range| range.contains(&at)) {
                let threads = tls.is_some_and(|tls| tls.file_addresses().contains(&at));
                let offset = load.offset.0 + (at - start);
                all.push(Section::plain(load, threads, at..next, offset, false));
            }
            at = next;
        }
        if load.memory_size > load.file_size {
            let range = end..load.addresses().end;
            all.push(Section::plain(load, false, range, load.offset.0 + load.file_size, true));
        }
        if let Some(tls) = tls.filter(|tls| load.addresses().contains(&tls.address))
            && tls.memory_size > tls.file_size
        {
            let range = tls.file_addresses().end..tls.addresses().end;
            let offset = tls.offset.0 + tls.file_size;
            all.push(Section::plain(load, true, range, offset, true));
        }
    }
    all
}

impl Section {
    /// A section of the segment `load` that only says what it is: variables of `threads` or not,
    /// `zeros` or bytes of the file.
    fn plain(
        load: &ProgramHeader,
        threads: bool,
        range: Range<u64>,
        offset: u64,
        zeros: bool,
    ) -> Self {
        let execute = load.flags & flags::EXECUTE != 0;
        let name = match (execute, load.is_writable(), threads, zeros) {
            (true, ..) => ".text",
            (_, _, true, false) => ".tdata",
            (_, _, true, true) => ".tbss",
            (.., true) => ".bss",
            (_, true, ..) => ".data",
            _ => ".rodata",
        };
        Self {
            name,
            kind: if zeros { kind::NOBITS } else { kind::PROGBITS },
            flags: ALLOCATED
                | if execute { EXECUTABLE } else { 0 }
                | if load.is_writable() { WRITABLE } else { 0 }
                | if threads { THREADS } else { 0 },
            address: range.start,
            offset,
            size: range.end - range.start,
            link: 0,
            info: 0,
            align: 1,
            entry: 0,
        }
    }
}

/// The bytes of `all`, whose last section holds the names, at file offset `at`.
fn written(mut all: Vec<Section>, at: u64) -> Sections {
    let mut bytes = vec![0];
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    let mut names = Vec::with_capacity(all.len());
    for section in &all {
        names.push(*places.entry(section.name).or_insert_with(|| {
            let place = bytes.len() as u32;
            bytes.extend(section.name.as_bytes());
            bytes.push(0);
            place
        }));
    }
    if let Some(last) = all.last_mut() {
        last.size = bytes.len() as u64;
    }
    let offset = (at + bytes.len() as u64).next_multiple_of(8);
    bytes.resize((offset - at) as usize + SIZE, 0);
    for (section, name) in all.iter().zip(names) {
        bytes.extend(name.to_le_bytes());
        bytes.extend(section.kind.to_le_bytes());
        for word in [section.flags, section.address, section.offset, section.size] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(section.link.to_le_bytes());
        bytes.extend(section.info.to_le_bytes());
        bytes.extend(section.align.to_le_bytes());
        bytes.extend(section.entry.to_le_bytes());
    }
    Sections { bytes, offset, count: all.len() as u16 + 1 }
}
