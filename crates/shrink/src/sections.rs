//! What the sections of a smaller library are: the tables that its dynamic section names.

use elf::{Library, LinkTables, ProgramHeader, Sections, segment, tag};
use std::collections::BTreeMap;
use std::ops::Range;

/// Headers of the sections of the smaller `library`, to lie at file offset `at`. `patches` are
/// the bytes that changed, by address, and `headers` the segments of the new file, whose headers
/// lie at file offset `table`. `None` for a library without symbols.
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
    let range = |tag: u64, size: u64| -> Range<u64> {
        value(tag).map_or(0..0, |start| start..start.saturating_add(size))
    };
    let number = |tag: u64| value(tag).unwrap_or(0) as u32;
    let symbols = library.symbols()?;
    let count = symbols.len() as u64;
    let [needs, defines] = library.version_tables()?;
    let tables = LinkTables {
        dynamic: dynamic.file_addresses(),
        symbols: range(tag::SYMTAB, 24 * count),
        locals: symbols.iter().take_while(|symbol| symbol.is_local()).count() as u32,
        strings: range(tag::STRTAB, value(tag::STRSZ).unwrap_or(0)),
        versions: range(tag::VERSYM, 2 * count),
        needs: (range(tag::VERNEED, needs.end - needs.start), number(tag::VERNEEDNUM)),
        defines: (range(tag::VERDEF, defines.end - defines.start), number(tag::VERDEFNUM)),
    };
    Ok(elf::sections(&tables, headers, table, at))
}
