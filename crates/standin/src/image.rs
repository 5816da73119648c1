//! What a stand-in is asked for, and its making.

use crate::Error;
use crate::content::Content;
use crate::file::file;
use crate::filled::Filled;
use crate::places::Places;
use crate::relocate::{Target, is_code, kept};
use crate::request::Request;
use crate::tables::NewSymbol;
use elf::{Extents, Library, PAGE, PageSet, Symbol};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// A stand-in, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standin {
    extents: Extents,
    /// Wanted functions that keep their code.
    pub with_code: u64,
    /// Functions that raise.
    pub raising: u64,
    /// Bytes of the original that are kept.
    pub original: u64,
}

impl Standin {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.extents.size()
    }

    /// Writes it, given the bytes of the original.
    pub fn write_to(&self, original: &[u8], sink: &mut dyn Write) -> io::Result<()> {
        self.extents.write_to(original, sink)
    }
}

/// Makes a stand-in.
///
/// # Errors
/// [`Error::Library`] where the original cannot be taken apart as far as is needed.
pub fn standin(request: &Request<'_>) -> Result<Standin, Error> {
    let library = request.library;
    let all = library.symbols()?;
    let by_name: BTreeMap<&str, &Symbol<'_>> = all
        .iter()
        .filter(|symbol| symbol.is_defined() && !symbol.is_local())
        .map(|symbol| (symbol.name, symbol))
        .collect();
    let wanted = request.wanted.symbols.keys().filter_map(|name| by_name.get(name.as_str()));
    let objects = wanted.filter(|symbol| symbol.is_object());
    let objects: Vec<(u64, u64)> = objects.map(|symbol| (symbol.address, symbol.size)).collect();
    let kept = kept(library, request.keep, &objects, &request.wanted.absent_symbols)?;

    let Exports { symbols, mut stubs, with_code } = exports(request, &by_name, &kept.pages);
    stubs.extend(kept.words.values().filter_map(|target| match target {
        Target::Stub(name) => Some(name.clone()),
        _ => None,
    }));
    let content = Content::of(request, &kept, symbols, &stubs)?;
    let places = Places::of(&content)?;
    let filled = Filled::with(&content, &places)?;
    let original = content.parts.iter().map(|part| part.addresses.end - part.addresses.start);
    Ok(Standin {
        extents: file(&content, &places, &filled)?,
        with_code,
        raising: stubs.len() as u64,
        original: original.sum(),
    })
}

/// What a stand-in defines for others.
struct Exports {
    /// Those whose code or data is not kept have the address 0.
    symbols: Vec<NewSymbol>,
    /// The names of these: functions that raise.
    stubs: BTreeSet<String>,
    /// Functions that keep their code.
    with_code: u64,
}

fn exports(
    request: &Request<'_>,
    by_name: &BTreeMap<&str, &Symbol<'_>>,
    pages: &PageSet,
) -> Exports {
    let mut exports = Exports { symbols: Vec::new(), stubs: BTreeSet::new(), with_code: 0 };
    for (name, version) in &request.wanted.symbols {
        let found = by_name.get(name.as_str());
        let here = found.filter(|symbol| is_kept(request.library, symbol, pages));
        let info = found.map_or(0x12, |symbol| symbol.info);
        exports.with_code += u64::from(here.is_some_and(|symbol| symbol.is_function()));
        if here.is_none() {
            exports.stubs.insert(name.clone());
        }
        exports.symbols.push(NewSymbol {
            name: name.clone(),
            // An indirect function without its resolver is an ordinary one that raises.
            info: if here.is_none() && info & 15 == 10 { 0x12 } else { info },
            address: Some(here.map_or(0, |symbol| symbol.address)),
            size: found.map_or(0, |symbol| symbol.size),
            version: version.clone(),
        });
    }
    exports
}

/// Whether all of a symbol's bytes are kept: code pages, or data that is kept or
/// zero-filled.
fn is_kept(library: &Library<'_>, symbol: &Symbol<'_>, pages: &PageSet) -> bool {
    if symbol.is_thread_local() {
        return false;
    }
    let Some(end) = symbol.address.checked_add(symbol.size.max(1)) else { return false };
    let range = symbol.address..end;
    let held = (range.start / PAGE..range.end.div_ceil(PAGE)).all(|page| pages.contains(page));
    let zeros = !is_code(library, symbol.address)
        && library.loads().any(|load| {
            load.is_writable()
                && load.file_addresses().end <= range.start
                && range.end <= load.addresses().end
        });
    held || (zeros && !pages.is_empty())
}
