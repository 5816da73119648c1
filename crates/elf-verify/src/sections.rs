//! Section headers: what linkers find through them is what the loader finds through the dynamic
//! section.

use crate::dynamic::{Dynamic, tag};
use crate::image::Image;
use crate::{Fault, differs};
use object::LittleEndian as LE;
use object::read::elf::{FileHeader, SectionHeader};

/// Compares the symbols and strings of `new` as its sections show them with what its dynamic
/// section shows; `old` tells how many symbols are of interest to linkers.
pub(crate) fn check(
    new: &Image<'_>,
    old: &Dynamic<'_>,
    dynamic: &Dynamic<'_>,
) -> Result<(), Fault> {
    if dynamic.value(tag::SYMTAB).is_none() {
        return Ok(());
    }
    let fail = |error: object::Error| Fault::Unreadable(error.to_string());
    let fault = |index: usize| differs("a symbol of a section", index as u64);
    let sections = new.header.sections(LE, new.data).map_err(fail)?;
    let symbols = sections.symbols(LE, new.data, object::elf::SHT_DYNSYM).map_err(fail)?;
    let versions = sections.versions(LE, new.data).map_err(fail)?;
    if symbols.len() != old.symbols.len() {
        return Err(fault(symbols.len()));
    }
    let strings = sections.section(symbols.string_section()).map_err(fail)?;
    let place = (strings.sh_addr(LE), strings.sh_size(LE));
    if (Some(place.0), Some(place.1)) != (dynamic.value(tag::STRTAB), dynamic.value(tag::STRSZ)) {
        return Err(differs("the section of strings", place.0));
    }
    for ((index, symbol), expected) in symbols.enumerate().zip(&dynamic.symbols) {
        let name = symbols.symbol_name(LE, symbol).map_err(fail)?;
        let version = versions.as_ref().map_or(1, |all| all.version_index(LE, index).0 & 0x7fff);
        let same = name == expected.name
            && symbol.st_value.get(LE) == expected.value
            && (versions.is_none() || version == expected.version & 0x7fff);
        if !same {
            return Err(fault(index.0));
        }
    }
    Ok(())
}
