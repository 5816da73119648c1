//! What a stand-in holds besides the original's pages, before anything has a place.

use crate::Error;
use crate::code::IMPORTS;
use crate::entries::{packed, relocations};
use crate::names::readable;
use crate::parts::{Part, covered, parts};
use crate::relocate::{Kept, Target, is_code};
use crate::request::Request;
use crate::tables::{NewSymbol, Strings, hash_table, symbols, versions};
use elf::{Library, PAGE, ProgramHeader, segment, tag};
use functions::Functions;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Tables whose lengths names and counts decide, not addresses.
pub(crate) struct Content<'a> {
    pub library: &'a Library<'a>,
    pub kept: &'a Kept,
    pub parts: Vec<Part>,
    /// Addresses of the original that are writable.
    pub writable: Vec<Range<u64>>,
    /// Headers of the original that hold: thread-local data, what is read-only once relocated.
    pub others: Vec<ProgramHeader>,
    /// Symbols: what is imported, then what is exported. Those that raise have no address yet.
    pub symbols: Vec<NewSymbol>,
    /// The numbers of imported symbols.
    pub numbers: BTreeMap<&'a str, u64>,
    pub strings: Strings,
    /// The first entries of the dynamic section: names of libraries and folders.
    pub named: Vec<(u64, u64)>,
    /// Names of versions that it defines, their table, and that of the symbols' versions.
    pub versions: Vec<String>,
    pub definitions: Vec<u8>,
    pub version_numbers: Vec<u8>,
    pub hashes: Vec<u8>,
    /// What functions raise, by their names.
    pub messages: Vec<(String, String)>,
    /// Addresses of the original's functions that are whole, and of their unwind entries.
    pub functions: Vec<(u64, u64)>,
    /// Bytes of the relocations, and of the code that applies packed ones.
    pub relocations: u64,
    pub apply: u64,
}

impl<'a> Content<'a> {
    /// Of a stand-in for `request` that keeps `kept`, exports `exports` and raises in `stubs`.
    ///
    /// # Errors
    /// [`Error::Library`] where the original's unwind tables are not understood.
    pub fn of(
        request: &'a Request<'a>,
        kept: &'a Kept,
        exports: Vec<NewSymbol>,
        stubs: &BTreeSet<String>,
    ) -> Result<Self, Error> {
        let library = request.library;
        let soname = library.soname().unwrap_or("library");
        let parts = parts(library, &kept.pages);
        let writable = parts.iter().filter(|part| part.load.is_writable());
        let writable: Vec<Range<u64>> = writable.map(|part| part.addresses.clone()).collect();
        let block = library.header(segment::TLS).filter(|_| kept.thread_local);
        let relro = library
            .header(segment::GNU_RELRO)
            .filter(|header| covered(&parts, header.file_addresses()));

        let imports = imports(kept);
        let numbers = imports.iter().enumerate().map(|(index, name)| (*name, index as u64 + 1));
        let numbers = numbers.collect();
        let mut list: Vec<NewSymbol> = imports.into_iter().map(imported).collect();
        list.extend(exports);

        let message = |name: &str| format!("{} ({soname}) {}\0", readable(name), request.message);
        let mut strings = Strings::new();
        let named = named(request, !parts.is_empty(), soname, &mut strings);
        // Fixes every string's place; addresses follow later.
        symbols(&list, &mut strings);
        let names: Vec<String> = request.wanted.versions.iter().cloned().collect();
        let (definitions, version_numbers) = versions(&list, &names, soname, &mut strings);
        // Numbers and places decide the lengths, targets do not.
        let unplaced = relocations(kept, &numbers, &BTreeMap::new(), 0);
        let (unplaced, apply) = packed(unplaced, &writable, 0, 0)?;
        Ok(Self {
            functions: original_functions(library, kept)?,
            hashes: hash_table(&list),
            messages: stubs.iter().map(|name| (name.clone(), message(name))).collect(),
            others: [block, relro].into_iter().flatten().copied().collect(),
            relocations: unplaced.len() as u64,
            apply: apply.map_or(0, |packed| packed.segment.len() as u64),
            symbols: list,
            versions: names,
            library,
            kept,
            parts,
            writable,
            numbers,
            strings,
            named,
            definitions,
            version_numbers,
        })
    }

    /// Where the new part begins in memory: past the original, if pages of that are there.
    pub fn start(&self) -> u64 {
        let end = self.library.loads().map(|load| load.addresses().end).max().unwrap_or(0);
        if self.parts.is_empty() { 0 } else { end.next_multiple_of(PAGE) }
    }
}

/// Symbols that kept words and the raising function import.
fn imports(kept: &Kept) -> BTreeSet<&str> {
    let mut imports: BTreeSet<&str> = IMPORTS.into_iter().collect();
    for target in kept.words.values() {
        if let Target::Symbol(name, ..) = target {
            imports.insert(name);
        }
    }
    imports
}

fn imported(name: &str) -> NewSymbol {
    NewSymbol {
        name: name.to_owned(),
        // Weak: a symbol of a library that leaves may stay without address.
        info: 0x20,
        address: None,
        size: 0,
        version: None,
    }
}

/// Entries of the dynamic section for the libraries that it needs, its own name, and where the
/// loader searches; `keeps` tells whether pages of the original are there.
fn named(
    request: &Request<'_>,
    keeps: bool,
    soname: &str,
    strings: &mut Strings,
) -> Vec<(u64, u64)> {
    let (library, wanted) = (request.library, request.wanted);
    let mut needed: Vec<&str> = library.needed();
    needed
        .retain(|name| wanted.through.contains(*name) || (keeps && !wanted.absent.contains(*name)));
    for name in ["libstdc++.so.6", "libc.so.6"] {
        if !needed.contains(&name) {
            needed.push(name);
        }
    }
    let mut entries: Vec<(u64, u64)> =
        needed.iter().map(|name| (tag::NEEDED, u64::from(strings.add(name)))).collect();
    entries.push((tag::SONAME, strings.add(soname).into()));
    let path = library.search_path().join(":");
    if !path.is_empty() && needed.len() > 2 {
        entries.push((tag::RPATH, strings.add(&path).into()));
    }
    entries
}

/// The original's functions whose code and unwind entries are all kept.
fn original_functions(library: &Library<'_>, kept: &Kept) -> Result<Vec<(u64, u64)>, Error> {
    if !kept.pages.iter().any(|page| is_code(library, page * PAGE)) {
        return Ok(Vec::new());
    }
    let whole = |range: &Range<u64>| {
        (range.start / PAGE..range.end.div_ceil(PAGE)).all(|page| kept.pages.contains(page))
    };
    let functions = Functions::read(library)?;
    Ok(functions
        .all()
        .iter()
        .filter(|function| {
            whole(&function.code) && whole(&function.entry) && whole(&function.common)
        })
        .map(|function| (function.code.start, function.entry.start))
        .collect())
}
