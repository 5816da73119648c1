//! Tables and instructions that are made anew.

use crate::Error;
use crate::choice::Choice;
use crate::link::{self, Link};
use crate::relative::{self, Packed};
use elf::segment;
use format::TRAP;
use std::collections::BTreeMap;
use std::ops::Range;

/// Tables and instructions that depend on where they lie.
pub(crate) struct Made {
    /// Tables that the loader reads.
    pub tables: Vec<u8>,
    pub code: Vec<u8>,
    packed: Option<Packed>,
    /// Entries of the dynamic section with their new values.
    dynamic: Vec<(u64, u64)>,
}

impl Made {
    /// Makes the tables to lie at `tables`, a multiple of eight, and the instructions at
    /// `code`, for a note at `note`. Their lengths do not depend on where they lie.
    pub fn at(
        choice: &Choice<'_>,
        tables: u64,
        code: u64,
        note: &Range<u64>,
    ) -> Result<Self, Error> {
        let link = choice.link.as_ref();
        let before = link.map_or(0, |_| link::CODE);
        let extra: Vec<_> = link.iter().map(|link| link.relocation()).collect();
        let packed = match &choice.relative {
            Some(relative) => relative::pack(relative, &extra, tables, code + before)?,
            None => None,
        };
        let mut made =
            Self { tables: Vec::new(), code: Vec::new(), packed: None, dynamic: Vec::new() };
        if let Some(packed) = &packed {
            made.tables.extend(&packed.rela);
            made.dynamic.extend(packed.dynamic);
        } else if link.is_some() {
            let range = choice.library.dynamic_range(elf::tag::RELA, elf::tag::RELASZ);
            let range = range.unwrap_or(0..0);
            made.tables.extend(choice.library.read(range.start, range.end - range.start)?);
            made.tables.extend(extra.iter().flat_map(elf::Relocation::to_bytes));
            let size = made.tables.len() as u64;
            made.dynamic.extend([(elf::tag::RELA, tables), (elf::tag::RELASZ, size)]);
        }
        if let Some(link) = link {
            made.tables.resize(made.tables.len().next_multiple_of(8), 0);
            let (bytes, dynamic) = link.tables(tables + made.tables.len() as u64);
            made.tables.extend(bytes);
            made.dynamic.extend(dynamic);
            made.dynamic.extend(Link::calls(code));
            made.code = link.code(code, note)?;
        }
        made.code.extend(packed.iter().flat_map(|packed| &packed.segment));
        made.packed = packed;
        Ok(made)
    }

    /// Bytes of the original that change, by address: words that the packed relocations
    /// relocate, entries of the dynamic section, names, and the beginnings of functions that
    /// are lost.
    pub fn patches(&self, choice: &Choice<'_>) -> BTreeMap<u64, Vec<u8>> {
        let (library, link) = (choice.library, choice.link.as_ref());
        let names = choice.names.as_ref();
        let mut patches = names.map(|names| names.patches.clone()).unwrap_or_default();
        patches.retain(|address, _| !link.is_some_and(|link| link.moved(*address)));
        let word = |(address, word): (&u64, &u64)| (*address, word.to_le_bytes().to_vec());
        patches.extend(self.packed.iter().flat_map(|packed| packed.words.iter().map(word)));
        let start = library.header(segment::DYNAMIC).map_or(0, |header| header.address);
        for (number, entry) in library.dynamic_entries().iter().enumerate() {
            if let Some((_, value)) = self.dynamic.iter().find(|(tag, _)| *tag == entry.tag) {
                let address = start + 16 * number as u64 + 8;
                patches.insert(address, value.to_le_bytes().to_vec());
            }
        }
        for (address, entry) in link.iter().flat_map(|link| link.entries()) {
            patches.remove(&(address + 8));
            patches.insert(address, entry);
        }
        patches.extend(choice.absent.halted.iter().map(|at| (*at, vec![TRAP])));
        patches
    }
}
