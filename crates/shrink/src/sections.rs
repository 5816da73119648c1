//! Section headers for linkers, debuggers and `strip`.
//!
//! The loader needs none, so the original's leave. A linker finds the names that a library
//! exports, and their versions, through the headers of the sections that hold them and
//! through nothing else: without these, an extension that is built against a package
//! (`-ltorch_cpu`) has undefined references. gdb 13 ends itself on a library without a section
//! `.text`. And `strip` writes the sections, not the segments: every byte that is loaded has to
//! be in one.

use elf::{Library, ProgramHeader, flags, segment, tag};
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
pub(crate) struct Sections {
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

/// Headers of the sections that say what `library` exports, to lie at file offset `at`.
/// `patches` are the bytes that changed, by address, and `headers` the segments of the
/// new file, whose headers lie at file offset `table`. `None` for a library without symbols.
///
/// # Errors
/// [`elf::Error::Damaged`] for tables that cannot be read.
pub(crate) fn sections(
    library: &Library<'_>,
    patches: &BTreeMap<u64, Vec<u8>>,
    headers: &[ProgramHeader],
    table: u64,
    at: u64,
) -> Result<Option<Sections>, elf::Error> {
    let Some(dynamic) = library.header(segment::DYNAMIC) else { return Ok(None) };
    let value = |wanted: u64| {
        let entries = library.dynamic_entries();
        let index = entries.iter().position(|entry| entry.tag == wanted)?;
        let place = dynamic.address + 16 * index as u64 + 8;
        let new = patches.get(&place).and_then(|bytes| bytes.first_chunk().copied());
        Some(new.map_or(entries[index].value, u64::from_le_bytes))
    };
    let offset = |address: u64| {
        let mut loads = headers.iter().filter(|header| header.kind == segment::LOAD);
        let load = loads.find(|load| load.file_addresses().contains(&address))?;
        Some(load.offset.0 + (address - load.address))
    };
    let symbols = library.symbols()?;
    let local = symbols.iter().take_while(|symbol| symbol.is_local()).count();
    let (count, local) = (symbols.len() as u64, local as u32);
    let [needs, defines] = library.version_tables()?;
    let number = |tag: u64| value(tag).unwrap_or(0) as u32;
    // Each: name, type, tag of its address, bytes, linked section, number, alignment, bytes
    // of an entry. The first two are those that the others link to.
    let tables = [
        (".dynsym", kind::DYNSYM, tag::SYMTAB, 24 * count, 2, local, 8, 24),
        (".dynstr", kind::STRTAB, tag::STRTAB, value(tag::STRSZ).unwrap_or(0), 0, 0, 1, 0),
        (".gnu.version", kind::VERSYM, tag::VERSYM, 2 * count, 1, 0, 2, 2),
        (
            ".gnu.version_r",
            kind::VERNEED,
            tag::VERNEED,
            needs.end - needs.start,
            2,
            number(tag::VERNEEDNUM),
            8,
            0,
        ),
        (
            ".gnu.version_d",
            kind::VERDEF,
            tag::VERDEF,
            defines.end - defines.start,
            2,
            number(tag::VERDEFNUM),
            8,
            0,
        ),
    ];
    let mut all = Vec::with_capacity(tables.len() + 2);
    for (name, kind, tag, size, link, info, align, entry) in tables {
        if let Some(address) = value(tag)
            && let Some(offset) = offset(address)
        {
            let flags = ALLOCATED;
            all.push(Section {
                name,
                kind,
                flags,
                address,
                offset,
                size,
                link,
                info,
                align,
                entry,
            });
        } else if all.len() < 2 {
            return Ok(None);
        }
    }
    all.push(Section {
        name: ".dynamic",
        kind: kind::DYNAMIC,
        flags: ALLOCATED | WRITABLE,
        address: dynamic.address,
        offset: offset(dynamic.address).unwrap_or(0),
        size: dynamic.file_size,
        link: 2,
        info: 0,
        align: 8,
        entry: 16,
    });
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
    Ok(Some(written(all, at)))
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
