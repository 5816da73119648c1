//! Section headers for linkers.
//!
//! The loader needs none, so the original's leave. A linker finds the names that a library
//! exports, and their versions, through the headers of the sections that hold them and
//! through nothing else: without these, an extension that is built against a package
//! (`-ltorch_cpu`) has undefined references.

use elf::{Library, ProgramHeader, segment, tag};
use std::collections::BTreeMap;

/// Section types (gABI figure 4-9, LSB 4 10.7).
mod kind {
    pub const STRTAB: u32 = 3;
    pub const DYNAMIC: u32 = 6;
    pub const DYNSYM: u32 = 11;
    pub const VERDEF: u32 = 0x6fff_fffd;
    pub const VERNEED: u32 = 0x6fff_fffe;
    pub const VERSYM: u32 = 0x6fff_ffff;
}

/// `SHF_ALLOC`.
const ALLOCATED: u64 = 2;

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
/// new file. `None` for a library without symbols.
///
/// # Errors
/// [`elf::Error::Damaged`] for tables that cannot be read.
pub(crate) fn sections(
    library: &Library<'_>,
    patches: &BTreeMap<u64, Vec<u8>>,
    headers: &[ProgramHeader],
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
            all.push(Section { name, kind, address, offset, size, link, info, align, entry });
        } else if all.len() < 2 {
            return Ok(None);
        }
    }
    all.push(Section {
        name: ".dynamic",
        kind: kind::DYNAMIC,
        address: dynamic.address,
        offset: offset(dynamic.address).unwrap_or(0),
        size: dynamic.file_size,
        link: 2,
        info: 0,
        align: 8,
        entry: 16,
    });
    all.push(Section {
        name: ".shstrtab",
        kind: kind::STRTAB,
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

/// The bytes of `all`, whose last section holds the names, at file offset `at`.
fn written(mut all: Vec<Section>, at: u64) -> Sections {
    let mut bytes = vec![0];
    let mut names = Vec::with_capacity(all.len());
    for section in &all {
        names.push(bytes.len() as u32);
        bytes.extend(section.name.as_bytes());
        bytes.push(0);
    }
    if let Some(last) = all.last_mut() {
        last.size = bytes.len() as u64;
    }
    let offset = (at + bytes.len() as u64).next_multiple_of(8);
    bytes.resize((offset - at) as usize + SIZE, 0);
    for (section, name) in all.iter().zip(names) {
        let flags = if section.address == 0 { 0 } else { ALLOCATED };
        bytes.extend(name.to_le_bytes());
        bytes.extend(section.kind.to_le_bytes());
        for word in [flags, section.address, section.offset, section.size] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(section.link.to_le_bytes());
        bytes.extend(section.info.to_le_bytes());
        bytes.extend(section.align.to_le_bytes());
        bytes.extend(section.entry.to_le_bytes());
    }
    Sections { bytes, offset, count: all.len() as u16 + 1 }
}
