//! The bytes of everything that is new in a stand-in, at its place.

use crate::Error;
use crate::code::{STUB, raise, search_table, stub, unwind};
use crate::content::Content;
use crate::entries::{packed, relocations};
use crate::places::Places;
use crate::tables::{dynamic, symbols};
use elf::{LinkTables, tag};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is new, without headers.
pub(crate) struct Filled {
    /// Each piece with its address.
    pub pieces: Vec<(u64, Vec<u8>)>,
    /// Words of the original's pages that change, by address.
    pub words: BTreeMap<u64, u64>,
    /// Where the new part ends.
    pub end: u64,
    /// The addresses of the unwinder's search table.
    pub index: Range<u64>,
    /// Where linkers find symbols.
    pub tables: LinkTables,
}

impl Filled {
    /// Fills `places` with `content`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where code does not fit.
    pub fn with(content: &Content<'_>, places: &Places) -> Result<Self, Error> {
        let stubs: BTreeMap<&str, u64> = content
            .messages
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.as_str(), places.stubs + index as u64 * STUB))
            .collect();
        // Exports without an address raise.
        let mut list = content.symbols.clone();
        for symbol in list.iter_mut().filter(|symbol| symbol.address == Some(0)) {
            symbol.address = stubs.get(symbol.name.as_str()).copied().or(symbol.address);
        }
        let symbol_table = symbols(&list, &mut content.strings.clone());
        let all = relocations(content.kept, &content.numbers, &stubs, places.imports);
        let (relocations, apply) =
            packed(all, &content.writable, places.relocations, places.apply)?;
        let (frames, own) = unwind(places.frames, places.code, stubs.len() as u64);
        let mut searched = content.functions.clone();
        searched.extend(own.into_iter().take(1 + usize::from(!stubs.is_empty())));
        searched.sort_unstable();
        let index = search_table(places.index, places.frames, &searched);
        let dynamic = dynamic_section(content, places, relocations.len() as u64);
        let end = places.dynamic + dynamic.len() as u64;
        let sized = |at: u64, part: &[u8]| at..at + part.len() as u64;
        let tables = LinkTables {
            dynamic: places.dynamic..end,
            symbols: sized(places.symbols, &symbol_table),
            locals: 1,
            strings: sized(places.strings, content.strings.bytes()),
            versions: sized(places.version_numbers, &content.version_numbers),
            needs: (0..0, 0),
            defines: (
                sized(places.definitions, &content.definitions),
                content.versions.len() as u32 + 1,
            ),
        };
        let texts: String = content.messages.iter().map(|(_, text)| text.as_str()).collect();
        let found = sized(places.index, &index);
        let mut pieces = vec![
            (places.symbols, symbol_table),
            (places.hashes, content.hashes.clone()),
            (places.version_numbers, content.version_numbers.clone()),
            (places.definitions, content.definitions.clone()),
            (places.relocations, relocations),
            (places.strings, content.strings.bytes().to_vec()),
            (places.texts, texts.into_bytes()),
            (places.frames, frames),
            (places.index, index),
            (places.code, code(content, places)),
            (places.dynamic, dynamic),
        ];
        pieces.extend(apply.iter().map(|packed| (places.apply, packed.segment.clone())));
        let words = apply.map(|packed| packed.words).unwrap_or_default();
        Ok(Self { pieces, words, end, index: found, tables })
    }
}

/// The function that raises, and those that call it with their message.
fn code(content: &Content<'_>, places: &Places) -> Vec<u8> {
    let mut code = raise(places.code, places.imports);
    let mut text = places.texts;
    for (index, (_, message)) in content.messages.iter().enumerate() {
        code.extend(stub(places.stubs + index as u64 * STUB, text, places.code));
        text += message.len() as u64;
    }
    code
}

fn dynamic_section(content: &Content<'_>, places: &Places, relocations: u64) -> Vec<u8> {
    let mut entries = content.named.clone();
    entries.extend([
        (tag::HASH, places.hashes),
        (tag::STRTAB, places.strings),
        (tag::STRSZ, content.strings.bytes().len() as u64),
        (tag::SYMTAB, places.symbols),
        (tag::SYMENT, 24),
        (tag::RELA, places.relocations),
        (tag::RELASZ, relocations),
        (tag::RELAENT, 24),
    ]);
    if !content.versions.is_empty() {
        entries.extend([
            (tag::VERSYM, places.version_numbers),
            (tag::VERDEF, places.definitions),
            (tag::VERDEFNUM, content.versions.len() as u64 + 1),
        ]);
    }
    dynamic(&entries)
}
