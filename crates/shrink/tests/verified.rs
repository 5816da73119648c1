//! Faults that a writer could have: the second reader finds each.

use elf::{Library, PAGE, PageSet, Relocation, segment, tag};
use elf_verify::{Cold, Expected, Fault, verify};
use note::Note;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use store::{Level, Writer};
use taper_shrink::{Chunk, Limits, Revive, Shrunk, shrink};

/// Functions on pages of their own, tables of their addresses, and names that others define.
const LIBRARY: &str = r#"
#include <stdio.h>
#define APART __attribute__((aligned(4096), noinline))
#define TEN(x) x, x, x, x, x, x, x, x, x, x
static int own = 3;
int *words[] = { TEN(TEN(&own)), 0, TEN(&own) };
int (*printers[])(const char *) = { TEN(TEN(puts)), 0, TEN(puts) };
const int numbers[3000] = { TEN(7), 1, 2, 3 };
// Nobody writes there: code for GPUs that a linker put among variables.
__attribute__((aligned(4096))) char cold_variables[6 * 4096] = { TEN(TEN(9)), 1, 2, 3 };
APART int hot(int x) { return x + own + numbers[x & 2047]; }
APART int cold1(int x) { return x * 3 + *words[1]; }
APART int cold2(int x) { return x * 5 + printers[1]("two"); }
APART int hotter(int x) { return x ? hot(x - 1) + 1 : 0; }
#define COLD(n) APART int cold##n(int x) { return x * 1##n; }
#define SOME(n) COLD(n##0) COLD(n##1) COLD(n##2) COLD(n##3) COLD(n##4) \
    COLD(n##5) COLD(n##6) COLD(n##7) COLD(n##8) COLD(n##9) \
    APART int hot##n(int x) { return x + n; }
APART int torn(int x) { __asm__ volatile(".fill 5000, 1, 0x90"); return x + 1; }
SOME(1) SOME(2) SOME(3) SOME(4) SOME(5) SOME(6) SOME(7) SOME(8) SOME(9)
"#;

/// What lies behind instructions, and never runs.
const FILLER: u8 = 0xcc;

const PATH: &str = "pkg/lib/library.so";

const RUNTIME: &str = "$ORIGIN/../../_taper/runtime.so";

/// A library, what it was to become, and what it became.
struct Made {
    original: Vec<u8>,
    keep: PageSet,
    cold: PageSet,
    written: Vec<u8>,
    store: Vec<u8>,
}

impl Made {
    /// What the second reader says of these bytes.
    fn says(&self, written: &[u8], store: &[u8]) -> Result<(), Fault> {
        let cold = Cold { pages: &self.cold, name: PATH, runtime: RUNTIME, store };
        let Self { original, keep, .. } = self;
        verify(
            &Expected { original, installed: original, keep, cold: Some(cold), private: &|_| true },
            written,
        )
        .map(drop)
    }

    fn finds(&self, written: &[u8], fault: &str) {
        assert!(self.says(written, &self.store).is_err(), "not found: {fault}");
    }
}

fn compiled(place: &Path) -> Vec<u8> {
    fs::write(place.join("library.c"), LIBRARY).unwrap();
    let words = ["-shared", "-fPIC", "-O1", "library.c", "-o", "library.so"];
    let done = Command::new("cc").args(words).current_dir(place).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read(place.join("library.so")).unwrap()
}

/// The library without its cold functions, whose chunks `disturb` changes before they are
/// compressed.
fn made(disturb: impl FnOnce(&mut Vec<Vec<u8>>)) -> Made {
    let place = tempfile::tempdir().unwrap();
    let data = compiled(place.path());
    let library = Library::parse(&data).unwrap();
    let mut keep = library.loader_pages().unwrap();
    let mut cold = PageSet::new();
    for symbol in library.symbols().unwrap().iter().filter(|symbol| symbol.is_defined()) {
        let pages = if symbol.name.starts_with("cold") { &mut cold } else { &mut keep };
        pages.insert_addresses(symbol.address..symbol.address + symbol.size.max(1));
    }
    // Of one function, the end is lost.
    let torn = function(&library, "torn") / PAGE;
    keep.remove(&[torn + 1].into_iter().collect());
    let mut rest = library.read_only_pages();
    rest.remove(&cold);
    rest.remove(&[torn + 1].into_iter().collect());
    keep.union(&rest);
    cold.remove(&keep);
    assert!(cold.len() >= 5, "{}", cold.len());
    let revive = Revive { name: PATH, runtime: RUNTIME, chunk: 1, cold: &cold };
    let Shrunk::Smaller(mut smaller) =
        shrink(&library, &keep, &|_| true, Some(&revive), &Limits { mappings: 100 }).unwrap()
    else {
        panic!("nothing was saved")
    };
    let bytes = |chunk| match chunk {
        Chunk::Original(parts, _) => parts.concat(),
        Chunk::New(bytes) => bytes,
    };
    let chunks = smaller.cold().unwrap().chunks(&library).into_iter();
    let mut chunks: Vec<Vec<u8>> = chunks.map(bytes).collect();
    disturb(&mut chunks);
    let mut writer = Writer::new();
    for chunk in chunks {
        writer.add(chunk).unwrap();
    }
    let (store, root) = writer.finish(Level::Fast).unwrap();
    let hash = blake3::hash(&data);
    smaller.seal(0, root, *hash.as_bytes().first_chunk().unwrap());
    let mut written = Vec::new();
    smaller.write_to(&data, &mut written).unwrap();
    Made { original: data, keep, cold, written, store }
}

/// The address of a function.
fn function(library: &Library<'_>, name: &str) -> u64 {
    let symbols = library.symbols().unwrap();
    symbols.iter().find(|symbol| symbol.name == name).unwrap().address
}

/// Where in the file the bytes at an address are.
fn offset(written: &[u8], address: u64) -> usize {
    let library = Library::parse(written).unwrap();
    let holds = |load: &&elf::ProgramHeader| load.file_addresses().contains(&address);
    let load = library.loads().find(holds).unwrap();
    (load.offset.0 + (address - load.address)) as usize
}

fn with(written: &[u8], at: usize, word: &[u8]) -> Vec<u8> {
    let mut other = written.to_vec();
    other[at..at + word.len()].copy_from_slice(word);
    other
}

fn flipped(written: &[u8], at: usize) -> Vec<u8> {
    with(written, at, &[written[at] ^ 0x10])
}

fn word(written: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*written[at..].first_chunk().unwrap())
}

#[test]
fn what_is_written_as_planned_is_accepted() {
    let made = made(|_| {});
    made.says(&made.written, &made.store).unwrap();
}

#[test]
fn variables_that_nobody_writes_to_come_back() {
    let made = made(|_| {});
    let original = Library::parse(&made.original).unwrap();
    let written = Library::parse(&made.written).unwrap();
    let start = function(&original, "cold_variables");
    for page in 0..6 {
        assert!(written.read(start + page * PAGE, 1).is_err(), "page {page} is in the file");
    }
    assert!(written.loads().any(elf::ProgramHeader::is_writable));
    let runs = written.loads().filter(|load| load.is_writable());
    let runs: Vec<Range<u64>> = runs.map(elf::ProgramHeader::addresses).collect();
    let data = original.loads().find(|load| load.is_writable()).unwrap().addresses();
    assert_eq!(runs.first().unwrap().start, data.start);
    assert_eq!(runs.last().unwrap().end, data.end);
}

#[test]
fn a_byte_of_a_kept_page_is_another() {
    let made = made(|_| {});
    let first = Library::parse(&made.original).unwrap();
    // Names and the file header have other values; what they mean is compared elsewhere.
    let strings = first.dynamic_range(tag::STRTAB, tag::STRSZ).unwrap();
    let mut tried = 0;
    for load in first.loads().filter(|load| !load.is_writable()) {
        for address in load.file_addresses().step_by(7) {
            let kept = made.keep.contains(address / PAGE);
            if !kept || address < 64 + 56 * 20 || strings.contains(&address) {
                continue;
            }
            let second = Library::parse(&made.written).unwrap();
            if second.read(address, 1).is_err() {
                continue;
            }
            let fault = format!("the byte at {address:#x}");
            let was = second.read(address, 1).unwrap() == first.read(address, 1).unwrap();
            if was && !of_old_tables(&first, address) {
                made.finds(&flipped(&made.written, offset(&made.written, address)), &fault);
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

/// Whether tables were at an `address` that are elsewhere now: nobody reads them there.
fn of_old_tables(library: &Library<'_>, address: u64) -> bool {
    let symbols = library.symbols().unwrap().len() as u64;
    let at = |tag, size: u64| {
        let start = library.dynamic(tag).unwrap();
        start..start + size
    };
    let rela = library.dynamic_range(tag::RELA, tag::RELASZ).unwrap();
    let tables: [Range<u64>; 3] =
        [at(tag::SYMTAB, 24 * symbols), at(tag::VERSYM, 2 * symbols), rela];
    tables.iter().any(|table| table.contains(&address))
}

#[test]
fn a_segment_is_shorter_or_has_other_rights() {
    let made = made(|_| {});
    let library = Library::parse(&made.written).unwrap();
    let table = word(&made.written, 32) as usize;
    for (index, header) in library.headers().iter().enumerate() {
        let at = table + 56 * index;
        if header.kind != segment::LOAD {
            continue;
        }
        let fault = format!("segment {index} at {:#x}", header.address);
        for flag in [1, 2, 4] {
            let flags = (header.flags ^ flag).to_le_bytes();
            made.finds(&with(&made.written, at + 4, &flags), &format!("{fault}, right {flag}"));
        }
        // The last page is not in the map.
        let short = header.file_size.saturating_sub(PAGE);
        let mut other = with(&made.written, at + 32, &short.to_le_bytes());
        let memory = header.memory_size.saturating_sub(PAGE);
        other[at + 40..at + 48].copy_from_slice(&memory.to_le_bytes());
        made.finds(&other, &format!("{fault}, a page shorter"));
        let moved = with(&made.written, at + 8, &(header.offset.0 + PAGE).to_le_bytes());
        made.finds(&moved, &format!("{fault}, from another place of the file"));
        made.finds(&with(&made.written, at, &[0; 4]), &format!("{fault}, not loaded"));
    }
}

#[test]
fn a_relocation_is_another() {
    let made = made(|_| {});
    let library = Library::parse(&made.written).unwrap();
    let table = library.dynamic_range(tag::RELA, tag::RELASZ).unwrap();
    let size = Relocation::SIZE;
    let mut tried = 0;
    for address in table.step_by(size as usize) {
        let at = offset(&made.written, address);
        for (field, change) in [(0, 8u64), (8, 1), (8, 1 << 32), (16, 8)] {
            let other = word(&made.written, at + field).wrapping_add(change).to_le_bytes();
            let fault = format!("field {field} of the relocation at {address:#x}");
            made.finds(&with(&made.written, at + field, &other), &fault);
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
    // What the library does itself: its instructions, and the words that they read.
    let code = library.dynamic(tag::INIT).unwrap();
    for address in code..code + library.read_to_segment_end(code).unwrap().len() as u64 {
        let at = offset(&made.written, address);
        if made.written[at] == FILLER {
            continue;
        }
        made.finds(&flipped(&made.written, at), &format!("the byte of its own code {address:#x}"));
    }
}

#[test]
fn a_symbol_is_another() {
    let made = made(|_| {});
    let library = Library::parse(&made.written).unwrap();
    let start = library.dynamic(tag::SYMTAB).unwrap();
    for index in 1..library.symbols().unwrap().len() as u64 {
        for (field, change) in [(0, 1u8), (4, 1), (6, 1), (8, 8), (16, 1)] {
            let at = offset(&made.written, start + 24 * index) + field;
            let other = with(&made.written, at, &[made.written[at] ^ change]);
            made.finds(&other, &format!("field {field} of symbol {index}"));
        }
    }
}

#[test]
fn an_entry_of_the_dynamic_section_is_another() {
    let made = made(|_| {});
    let library = Library::parse(&made.written).unwrap();
    let start = library.header(segment::DYNAMIC).unwrap().address;
    for (index, entry) in library.dynamic_entries().iter().enumerate() {
        let at = offset(&made.written, start + 16 * index as u64);
        let other = (entry.value ^ 8).to_le_bytes();
        made.finds(&with(&made.written, at + 8, &other), &format!("the value of {:#x}", entry.tag));
        made.finds(&flipped(&made.written, at), &format!("the tag {:#x}", entry.tag));
    }
}

#[test]
fn a_function_that_is_lost_is_not_stopped_or_another_is() {
    let made = made(|_| {});
    let original = Library::parse(&made.original).unwrap();
    let byte = |name: &str| offset(&made.written, function(&original, name));
    let torn = byte("torn");
    assert_eq!(made.written[torn], 0xf4);
    let was = original.read(function(&original, "torn"), 1).unwrap();
    made.finds(&with(&made.written, torn, was), "what is left of a function runs");
    made.finds(&with(&made.written, byte("hot"), &[0xf4]), "a function that is there is stopped");
}

#[test]
fn the_note_names_other_pages() {
    let made = made(|_| {});
    let library = Library::parse(&made.written).unwrap();
    let code = library.read_to_segment_end(library.dynamic(tag::INIT).unwrap()).unwrap();
    let (start, length) = note::named(code).unwrap();
    let place = u64::from(start)..u64::from(start + length);
    let at = offset(&made.written, place.start);
    let size = (place.end - place.start) as usize;
    let runs = Note::open(&made.written[at..at + size]).unwrap().len();
    assert!(runs >= 5, "{runs}");
    for run in 0..runs {
        let run = note::HEADER + 16 * run;
        // Page, number of pages, rights, chunk, place in the chunk.
        let fields = [(0, "page"), (4, "count"), (6, "rights"), (8, "chunk"), (12, "place")];
        for (field, name) in fields {
            for change in [1u8, 0xff] {
                let mut other = made.written.clone();
                let byte = &mut other[at + run + field];
                *byte = byte.wrapping_add(change);
                // As a writer with that fault would have sealed it.
                let hash = blake3::Hasher::new()
                    .update(&other[at..at + 80])
                    .update(&other[at + 112..at + size])
                    .finalize();
                other[at + 80..at + 112].copy_from_slice(hash.as_bytes());
                made.finds(&other, &format!("the {name} of the run at {run}"));
            }
        }
    }
}

#[test]
fn chunks_of_the_store_are_others() {
    let count = {
        let mut count = 0;
        let made = made(|chunks| count = chunks.len());
        made.says(&made.written, &made.store).unwrap();
        count
    };
    assert!(count >= 3, "{count}");
    let fails = |fault: &str, disturb: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let made = made(|chunks| disturb(chunks));
        assert!(made.says(&made.written, &made.store).is_err(), "not found: {fault}");
    };
    for other in 1..count {
        fails("two chunks in each other's place", &|chunks| chunks.swap(0, other));
    }
    // The last one is of names.
    for one in 0..count {
        if one + 1 < count {
            fails("a byte of a chunk", &|chunks| chunks[one][100] ^= 1);
        }
        fails("a chunk that is a byte short", &|chunks| {
            chunks[one].pop();
        });
    }
    fails("a chunk that is missing", &|chunks| {
        chunks.pop();
    });
}
