//! An ELF file as ranges of bytes with names, and symbols that label them.

use crate::component::{self, Family, Rules};
use crate::inspection::Division;
use crate::span::divide;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, FileKind};
use std::ops::Range;

/// The most symbols of one library that are read: libtorch_cpu has 550,000.
const MAX_SYMBOLS: usize = 1 << 24;

/// A section, or a segment where there are no sections.
pub(crate) struct Area {
    /// Its name, as it is shown.
    pub name: String,
    /// What to subtract from an address in it for the offset in the file. Wraps.
    pub shift: u64,
    /// What all of it is, where that needs no symbols.
    pub whole: Option<&'static str>,
}

/// A symbol with an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol {
    /// Its address.
    pub start: u64,
    /// Where it ends; `start` where its size is unknown.
    pub end: u64,
    /// What it belongs to.
    pub family: Family,
}

/// An ELF file, divided.
pub(crate) struct ElfFile {
    /// By what.
    pub division: Division,
    /// Its areas in the file, ascending, not overlapping.
    pub areas: Vec<(Range<u64>, Area)>,
    /// Its symbols in memory, in no order.
    pub symbols: Vec<Symbol>,
    /// Whether those are all symbols (`.symtab`) or only what it exports.
    pub complete: bool,
}

impl ElfFile {
    /// Divides the file whose bytes are `data`.
    pub(crate) fn read(data: &[u8], rules: &Rules) -> Self {
        match FileKind::parse(data) {
            Ok(FileKind::Elf64) => read::<elf::FileHeader64<Endianness>>(data, rules),
            Ok(FileKind::Elf32) => read::<elf::FileHeader32<Endianness>>(data, rules),
            _ => None,
        }
        .unwrap_or(Self {
            division: Division::NotUnderstood,
            areas: Vec::new(),
            symbols: Vec::new(),
            complete: false,
        })
    }
}

fn read<H: FileHeader<Endian = Endianness>>(data: &[u8], rules: &Rules) -> Option<ElfFile> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let size = data.len() as u64;
    let areas = divide(sections(header, endian, data).unwrap_or_default(), size);
    if areas.is_empty() {
        let areas = divide(segments(header, endian, data)?, size);
        let division = if areas.is_empty() { Division::NotUnderstood } else { Division::Segments };
        return Some(ElfFile { division, areas, symbols: Vec::new(), complete: false });
    }
    let mut complete = true;
    let mut symbols = symbols(header, endian, data, elf::SHT_SYMTAB, rules).unwrap_or_default();
    if symbols.is_empty() {
        complete = false;
        symbols = self::symbols(header, endian, data, elf::SHT_DYNSYM, rules).unwrap_or_default();
    }
    Some(ElfFile { division: Division::Sections, areas, symbols, complete })
}

/// The sections with bytes in the file; `None` where the table cannot be read.
fn sections<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    data: &[u8],
) -> Option<Vec<(Range<u64>, Area)>> {
    let table = header.sections(endian, data).ok()?;
    let areas = table.iter().filter_map(|section| {
        let (offset, size) = section.file_range(endian)?;
        let name = table.section_name(endian, section).unwrap_or(b"");
        let name = match String::from_utf8_lossy(name) {
            empty if empty.is_empty() => "(no name)".to_owned(),
            name => name.into_owned(),
        };
        let kind = section.sh_type(endian);
        let loaded = section.sh_flags(endian).contains(elf::SHF_ALLOC);
        let whole = component::of_section(&name, kind, loaded);
        let address: u64 = section.sh_addr(endian).into();
        let area = Area { name, shift: address.wrapping_sub(offset), whole };
        Some((offset..offset.checked_add(size)?, area))
    });
    Some(areas.collect())
}

/// The loadable segments.
fn segments<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    data: &[u8],
) -> Option<Vec<(Range<u64>, Area)>> {
    let table = header.program_headers(endian, data).ok()?;
    let areas = table.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).filter_map(
        |segment| {
            let (offset, size) = segment.file_range(endian);
            let flags = segment.p_flags(endian);
            let letter = |bit, letter| if flags.contains(bit) { letter } else { '-' };
            let (r, w, x) =
                (letter(elf::PF_R, 'r'), letter(elf::PF_W, 'w'), letter(elf::PF_X, 'x'));
            let address: u64 = segment.p_vaddr(endian).into();
            let name = format!("(segment {r}{w}{x})");
            let area = Area { name, shift: address.wrapping_sub(offset), whole: None };
            Some((offset..offset.checked_add(size)?, area))
        },
    );
    Some(areas.collect())
}

/// The defined symbols of the table of type `kind`.
fn symbols<H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    data: &[u8],
    kind: elf::SectionType,
    rules: &Rules,
) -> Option<Vec<Symbol>> {
    let sections = header.sections(endian, data).ok()?;
    let table = sections.symbols(endian, data, kind).ok()?;
    // The source file of local symbols: that of the last STT_FILE before them.
    let mut file = None;
    let mut symbols = Vec::new();
    for symbol in table.iter().take(MAX_SYMBOLS) {
        let local = symbol.st_bind() == elf::STB_LOCAL;
        let name = || table.symbol_name(endian, symbol).unwrap_or(b"");
        let start: u64 = symbol.st_value(endian).into();
        match symbol.st_type() {
            elf::STT_FILE => file = rules.of_file(name()),
            elf::STT_FUNC | elf::STT_OBJECT | elf::STT_GNU_IFUNC | elf::STT_NOTYPE => {
                let section = symbol.st_shndx(endian);
                if matches!(section, elf::SHN_UNDEF | elf::SHN_ABS | elf::SHN_COMMON) || start == 0
                {
                    continue;
                }
                let size: u64 = symbol.st_size(endian).into();
                let family = rules.of_symbol(name(), file.filter(|_| local));
                symbols.push(Symbol { start, end: start.saturating_add(size), family });
            }
            // Sections, and thread-local ones, whose values are no addresses.
            _ => {}
        }
    }
    Some(symbols)
}
