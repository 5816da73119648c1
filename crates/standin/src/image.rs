//! The stand-in's file.

use crate::code::{IMPORTS, RAISE, STUB, raise, search_table, stub, unwind};
use crate::entries::{packed, relocations};
use crate::names::readable;
use crate::relocate::{Kept, Target, is_code, kept};
use crate::tables::{NewSymbol, Strings, dynamic, hash_table, symbols, versions};
use crate::{Error, Wanted};
use elf::{
    Extents, FileOffset, Library, LinkTables, PAGE, PageSet, ProgramHeader, Sections, congruent,
    flags, segment, tag,
};
use functions::Functions;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

/// Bytes of the file's header, which the segments' headers follow.
const HEADER: u64 = 64;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The library that leaves.
    pub library: &'a Library<'a>,
    /// What is asked of it.
    pub wanted: &'a Wanted,
    /// Pages of it, of any segment, that stay.
    pub keep: &'a PageSet,
    /// What a function that is not kept says after its name and its library's.
    pub message: &'a str,
}

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

/// A run of the original's pages.
struct Part {
    load: ProgramHeader,
    addresses: Range<u64>,
    memory_end: u64,
}

/// Makes a stand-in.
///
/// # Errors
/// [`Error::Library`] where the original cannot be taken apart as far as is needed.
pub fn standin(request: &Request<'_>) -> Result<Standin, Error> {
    let library = request.library;
    let all = library.symbols()?;
    let soname = library.soname().unwrap_or("library").to_owned();
    let by_name: BTreeMap<&str, &elf::Symbol<'_>> = all
        .iter()
        .filter(|symbol| symbol.is_defined() && !symbol.is_local())
        .map(|symbol| (symbol.name, symbol))
        .collect();
    let objects: Vec<(u64, u64)> = request
        .wanted
        .symbols
        .keys()
        .filter_map(|name| by_name.get(name.as_str()))
        .filter(|symbol| symbol.is_object())
        .map(|symbol| (symbol.address, symbol.size))
        .collect();
    let kept = kept(library, request.keep, &objects, &request.wanted.absent_symbols)?;

    // Functions that raise: wanted ones without code, and targets of kept words.
    let mut stubs: BTreeSet<String> = BTreeSet::new();
    let mut exports: Vec<(NewSymbol, Option<String>)> = Vec::new();
    let mut with_code = 0;
    for (name, version) in &request.wanted.symbols {
        let found = by_name.get(name.as_str());
        let here = found.filter(|symbol| is_kept(library, symbol, &kept.pages));
        let info = found.map_or(0x12, |symbol| symbol.info);
        let (address, stub) = match here {
            Some(symbol) => (symbol.address, None),
            None => (0, Some(name.clone())),
        };
        with_code += u64::from(here.is_some_and(|symbol| symbol.is_function()));
        stubs.extend(stub.clone());
        let symbol = NewSymbol {
            name: name.clone(),
            // An indirect function without its resolver is an ordinary one that raises.
            info: if here.is_none() && info & 15 == 10 { 0x12 } else { info },
            address: Some(address),
            size: found.map_or(0, |symbol| symbol.size),
            version: version.clone(),
        };
        exports.push((symbol, stub));
    }
    for target in kept.words.values() {
        if let Target::Stub(name) = target {
            stubs.insert(name.clone());
        }
    }
    let layout = Layout::new(request, &kept, &soname, exports, &stubs)?;
    Ok(Standin {
        extents: layout.extents,
        with_code,
        raising: stubs.len() as u64,
        original: layout.original,
    })
}

/// Whether all of a symbol's bytes are kept: code pages, or data that is kept or
/// zero-filled.
fn is_kept(library: &Library<'_>, symbol: &elf::Symbol<'_>, pages: &PageSet) -> bool {
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

struct Layout {
    extents: Extents,
    original: u64,
}

impl Layout {
    fn new(
        request: &Request<'_>,
        kept: &Kept,
        soname: &str,
        mut exports: Vec<(NewSymbol, Option<String>)>,
        stubs: &BTreeSet<String>,
    ) -> Result<Self, Error> {
        let library = request.library;
        let parts = parts(library, &kept.pages);
        let writable = parts.iter().filter(|part| part.load.is_writable());
        let writable: Vec<Range<u64>> = writable.map(|part| part.addresses.clone()).collect();
        let block = library.header(segment::TLS).filter(|_| kept.thread_local);
        let relro = library
            .header(segment::GNU_RELRO)
            .filter(|header| covered(&parts, header.file_addresses()));
        let end = library.loads().map(|load| load.addresses().end).max().unwrap_or(0);
        let start = if parts.is_empty() { 0 } else { end.next_multiple_of(PAGE) };

        // Symbols that kept words and the raising function import.
        let mut imports: BTreeSet<&str> = IMPORTS.into_iter().collect();
        for target in kept.words.values() {
            if let Target::Symbol(name, ..) = target {
                imports.insert(name);
            }
        }
        let mut list: Vec<NewSymbol> = imports
            .iter()
            .map(|name| NewSymbol {
                name: (*name).to_owned(),
                // Weak: a symbol of a library that leaves may stay without address.
                info: 0x20,
                address: None,
                size: 0,
                version: None,
            })
            .collect();
        let number: BTreeMap<&str, u64> =
            imports.iter().enumerate().map(|(index, name)| (*name, index as u64 + 1)).collect();

        // Sizes first: names and counts decide them, addresses do not.
        let mut strings = Strings::new();
        let names: Vec<String> = request.wanted.versions.iter().cloned().collect();
        let message = |name: &str| format!("{} ({soname}) {}\0", readable(name), request.message);
        let messages: Vec<(String, String)> =
            stubs.iter().map(|name| (name.clone(), message(name))).collect();
        let mut needed: Vec<&str> = Vec::new();
        needed.extend(library.needed().into_iter().filter(|name| {
            let leaves = request.wanted.absent.contains(*name);
            request.wanted.through.contains(*name) || (!parts.is_empty() && !leaves)
        }));
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
        let functions = original_functions(library, kept)?;
        list.extend(exports.iter().map(|(symbol, _)| symbol.clone()));
        // Fixes every string's place; addresses follow below.
        symbols(&list, &mut strings);
        let (definitions, version_numbers) = versions(&list, &names, soname, &mut strings);
        let hashes = hash_table(&list);
        let header_count =
            parts.len() + 3 + 3 + usize::from(block.is_some()) + usize::from(relro.is_some());
        if header_count >= usize::from(u16::MAX) {
            return Err(Error::TooLarge("a stand-in with too many runs of pages"));
        }
        // Numbers and places decide the lengths, targets do not.
        let unplaced = relocations(kept, &number, &BTreeMap::new(), 0);
        let (unplaced, apply) = packed(unplaced, &writable, 0, 0)?;

        let mut place = Place { cursor: start + HEADER };
        place.take(header_count as u64 * ProgramHeader::SIZE, 8);
        let symbols_at = place.take((list.len() as u64 + 1) * 24, 8);
        let hashes_at = place.take(hashes.len() as u64, 8);
        let numbers_at = place.take(version_numbers.len() as u64, 2);
        let definitions_at = place.take(definitions.len() as u64, 8);
        let relocations_at = place.take(unplaced.len() as u64, 8);
        let strings_at = place.take(strings.bytes().len() as u64, 1);
        let texts_at = place.take(messages.iter().map(|(_, text)| text.len() as u64).sum(), 1);
        let frames_at = place.take(0, 8);
        let (frames, _) = unwind(frames_at, 0, stubs.len() as u64);
        place.take(frames.len() as u64, 1);
        let index_at = place.take(12 + (functions.len() as u64 + 2) * 8, 4);
        let read_only_end = place.cursor;
        // The next two segments start in the page of the file where this one ends,
        // and in a page of memory of their own.
        place.cursor = place.cursor.next_multiple_of(16) + PAGE;
        let code_at = place.cursor;
        let stubs_at = code_at + RAISE;
        place.take(RAISE + stubs.len() as u64 * STUB, 1);
        let apply_at = place.take(apply.map_or(0, |packed| packed.segment.len() as u64), 16);
        let code_end = place.cursor;
        place.cursor = place.cursor.next_multiple_of(16) + PAGE;
        let imports_at = place.take(IMPORTS.len() as u64 * 8, 8);
        let dynamic_at = place.take(0, 8);

        // Addresses of stubs, then everything that refers to them.
        let stub_of: BTreeMap<&str, u64> = messages
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.as_str(), stubs_at + index as u64 * STUB))
            .collect();
        for (symbol, stub) in &mut exports {
            if let Some(stub) = stub {
                symbol.address = stub_of.get(stub.as_str()).copied();
            }
        }
        let first_export = list.len() - exports.len();
        for (symbol, (export, _)) in list[first_export..].iter_mut().zip(&exports) {
            symbol.address = export.address;
        }
        let symbol_table = symbols(&list, &mut strings);
        let relocations = relocations(kept, &number, &stub_of, imports_at);
        let (relocations, apply) = packed(relocations, &writable, relocations_at, apply_at)?;
        let mut code = raise(code_at, imports_at);
        let mut text = texts_at;
        for (index, (_, message)) in messages.iter().enumerate() {
            code.extend(stub(stubs_at + index as u64 * STUB, text, code_at));
            text += message.len() as u64;
        }
        let (frames, own) = unwind(frames_at, code_at, stubs.len() as u64);
        let mut searched = functions;
        searched.push(own[0]);
        if !stubs.is_empty() {
            searched.push(own[1]);
        }
        searched.sort_unstable();
        let index = search_table(index_at, frames_at, &searched);

        entries.extend([
            (tag::HASH, hashes_at),
            (tag::STRTAB, strings_at),
            (tag::STRSZ, strings.bytes().len() as u64),
            (tag::SYMTAB, symbols_at),
            (tag::SYMENT, 24),
            (tag::RELA, relocations_at),
            (tag::RELASZ, relocations.len() as u64),
            (tag::RELAENT, 24),
        ]);
        if !names.is_empty() {
            entries.extend([
                (tag::VERSYM, numbers_at),
                (tag::VERDEF, definitions_at),
                (tag::VERDEFNUM, names.len() as u64 + 1),
            ]);
        }
        let dynamic_bytes = dynamic(&entries);
        let end = dynamic_at + dynamic_bytes.len() as u64;

        // The new part comes first in the file, whatever its addresses are.
        let new = |kind, flags, from: u64, to: u64, pages: u64, align| ProgramHeader {
            kind,
            flags,
            offset: FileOffset(from - start - pages * PAGE),
            address: from,
            physical: from,
            file_size: to - from,
            memory_size: to - from,
            align,
        };
        let mut file = Extents::new();
        let mut headers = Vec::new();
        let mut offset = end - start - 2 * PAGE;
        let mut original = 0;
        let mut placed = Vec::new();
        for part in &parts {
            let size = part.addresses.end - part.addresses.start;
            let at = congruent(offset, part.addresses.start);
            headers.push(ProgramHeader {
                kind: segment::LOAD,
                flags: part.load.flags,
                offset: FileOffset(at),
                address: part.addresses.start,
                physical: part.addresses.start,
                file_size: size,
                memory_size: part.memory_end - part.addresses.start,
                align: PAGE,
            });
            let from = part.load.offset.0 + (part.addresses.start - part.load.address);
            placed.push((at, from..from + size));
            original += size;
            offset = at + size;
        }
        headers.push(new(segment::LOAD, flags::READ, start, read_only_end, 0, PAGE));
        headers.push(new(segment::LOAD, flags::READ | flags::EXECUTE, code_at, code_end, 1, PAGE));
        headers.push(new(segment::LOAD, flags::READ | flags::WRITE, imports_at, end, 2, PAGE));
        headers.push(new(segment::DYNAMIC, flags::READ | flags::WRITE, dynamic_at, end, 2, 8));
        headers.push(new(
            segment::GNU_EH_FRAME,
            flags::READ,
            index_at,
            index_at + index.len() as u64,
            0,
            4,
        ));
        headers.push(ProgramHeader {
            kind: segment::GNU_STACK,
            flags: flags::READ | flags::WRITE,
            offset: FileOffset(0),
            address: 0,
            physical: 0,
            file_size: 0,
            memory_size: 0,
            align: 16,
        });
        for header in [block, relro].into_iter().flatten() {
            let offset = headers
                .iter()
                .find(|load| {
                    load.kind == segment::LOAD && load.addresses().contains(&header.address)
                })
                .map_or(0, |load| load.offset.0 + (header.address - load.address));
            headers.push(ProgramHeader { offset: FileOffset(offset), ..*header });
        }
        if headers.len() != header_count {
            return Err(Error::TooLarge("a stand-in whose headers were miscounted"));
        }

        let sized = |at: u64, part: &[u8]| at..at + part.len() as u64;
        let tables = LinkTables {
            dynamic: dynamic_at..end,
            symbols: sized(symbols_at, &symbol_table),
            locals: 1,
            strings: sized(strings_at, strings.bytes()),
            versions: sized(numbers_at, &version_numbers),
            needs: (0..0, 0),
            defines: (sized(definitions_at, &definitions), names.len() as u32 + 1),
        };
        let sections = elf::sections(&tables, &headers, HEADER, offset);

        let mut bytes = vec![0; (end - start - 2 * PAGE) as usize];
        let mut put = |at: u64, pages: u64, part: &[u8]| {
            let from = (at - start - pages * PAGE) as usize;
            bytes[from..from + part.len()].copy_from_slice(part);
        };
        put(start, 0, &file_header(headers.len(), sections.as_ref()));
        let table: Vec<u8> = headers.iter().flat_map(ProgramHeader::to_bytes).collect();
        put(start + HEADER, 0, &table);
        put(symbols_at, 0, &symbol_table);
        put(hashes_at, 0, &hashes);
        put(numbers_at, 0, &version_numbers);
        put(definitions_at, 0, &definitions);
        put(relocations_at, 0, &relocations);
        put(strings_at, 0, strings.bytes());
        let texts: String = messages.iter().map(|(_, text)| text.as_str()).collect();
        put(texts_at, 0, texts.as_bytes());
        put(frames_at, 0, &frames);
        put(index_at, 0, &index);
        put(code_at, 1, &code);
        if let Some(packed) = &apply {
            put(apply_at, 1, &packed.segment);
        }
        put(dynamic_at, 2, &dynamic_bytes);
        file.bytes(bytes);
        let words = apply.map(|packed| packed.words).unwrap_or_default();
        for ((at, range), part) in placed.into_iter().zip(&parts) {
            file.pad_to(at);
            let start = part.addresses.start;
            let mut changed = words.range(start..part.addresses.end).peekable();
            if changed.peek().is_none() {
                file.original(range);
                continue;
            }
            let mut bytes = library.read(start, part.addresses.end - start)?.to_vec();
            for (address, word) in changed {
                let at = (address - start) as usize;
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            file.bytes(bytes);
        }
        if let Some(sections) = sections {
            file.bytes(sections.bytes);
        }
        Ok(Self { extents: file, original })
    }
}

/// Hands out addresses one after the other.
struct Place {
    cursor: u64,
}

impl Place {
    fn take(&mut self, size: u64, align: u64) -> u64 {
        let at = self.cursor.next_multiple_of(align);
        self.cursor = at + size;
        at
    }
}

/// The runs of kept pages, clipped to their segments. The last run of a writable
/// segment has the segment's zero-filled rest.
fn parts(library: &Library<'_>, pages: &PageSet) -> Vec<Part> {
    let mut parts = Vec::new();
    if pages.is_empty() {
        return parts;
    }
    for load in library.loads() {
        let whole = load.file_addresses();
        let mut inside = PageSet::new();
        inside.insert_addresses(whole.clone());
        let kept: PageSet = inside.iter().filter(|page| pages.contains(*page)).collect();
        for run in kept.runs() {
            let range = (run.start * PAGE).max(whole.start)..(run.end * PAGE).min(whole.end);
            let last = range.end == whole.end;
            parts.push(Part {
                load: *load,
                memory_end: if last { load.addresses().end } else { range.end },
                addresses: range,
            });
        }
    }
    parts
}

fn covered(parts: &[Part], range: Range<u64>) -> bool {
    parts.iter().any(|part| part.addresses.start <= range.start && range.end <= part.memory_end)
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

/// The file header (gABI figure 4-3) of a shared library for x86-64 with `count` segments.
fn file_header(count: usize, sections: Option<&Sections>) -> Vec<u8> {
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    header.resize(16, 0);
    header.extend(3u16.to_le_bytes());
    header.extend(62u16.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(HEADER.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, ProgramHeader::SIZE as u16, count as u16, 64, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    if let Some(sections) = sections {
        sections.put(&mut header);
    }
    header
}
