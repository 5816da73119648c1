//! Each word that the format gives a meaning, one at a time, with the values that break
//! arithmetic: whatever reads libraries refuses them or goes on, and never panics.
//!
//! Chance finds such words seldom: the fuzzers need minutes for one that lies at the end of
//! the address space.

use elf::{Library, PageSet, Relative};
use functions::{Functions, Member};
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::process::Command;
use taper_standin::{Request, Wanted, standin};

const SOURCE: &str = r#"
#include <cstdio>
#include <stdexcept>
thread_local int counter = 3;
int count() { return ++counter; }
static int one() { return 1; }
extern "C" { static int (*pick(void))() { return one; } }
#ifdef RESOLVED
extern "C" int chosen() __attribute__((ifunc("pick")));
#endif
extern const int numbers[4]; const int numbers[4] = {1, 2, 3, 4};
int throws(int x) { if (x) throw std::logic_error("x"); return numbers[x & 3]; }
int catches(int x) { try { return throws(x); } catch (std::exception &) { puts("it"); return 2; } }
struct Base { virtual ~Base() {} virtual int number() { return 1; } };
struct Start : Base { Start() { counter = 5; } int number() override { return 2; } };
Start start;
"#;

fn library(options: &[&str]) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.cc"), SOURCE).unwrap();
    fs::write(place.path().join("v.map"), "V_1 { global: *; };\nV_2 { } V_1;\n").unwrap();
    let done = Command::new("g++")
        .args(["-shared", "-fPIC", "-O1", "a.cc", "-o", "a.so"])
        .args(options)
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read(place.path().join("a.so")).unwrap()
}

/// The file offsets of the words that readers interpret.
fn places(data: &[u8]) -> BTreeSet<usize> {
    let library = Library::parse(data).unwrap();
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let read = library.loader_ranges().unwrap();
    ranges.extend(read.into_iter().filter(|(_, what)| *what != "dynamic strings").map(|one| one.0));
    let unwind = library.header(elf::segment::GNU_EH_FRAME).unwrap();
    let frames = unwind.address + unwind.memory_size;
    ranges.push(unwind.file_addresses());
    ranges.push(frames..frames + 512);
    ranges.extend(Functions::read(&library).unwrap().tables());
    let headers = 0..64 + 56 * library.headers().len();
    let mut places: BTreeSet<usize> = headers.step_by(8).collect();
    for range in ranges {
        let Some(load) = library.loads().find(|load| load.file_addresses().contains(&range.start))
        else {
            continue;
        };
        let start = load.offset.0 + (range.start - load.address);
        let end = start + (range.end - range.start).min(4096);
        places.extend((start as usize..end as usize).step_by(8));
    }
    places.retain(|place| place + 8 <= data.len());
    places
}

fn exercise(data: &[u8]) {
    let Ok(library) = Library::parse(data) else { return };
    let _ = (library.soname(), library.needed(), library.search_path(), library.build_id());
    let _ = (library.versions(), library.version_tables(), library.name_fields());
    let _ = (library.relative_addresses(), library.loader_calls(), library.resolvers());
    let _ = (library.loader_pages(), library.local_symbols().count(), library.sections().count());
    let _ = Relative::of(&library, &BTreeSet::new());
    let Ok(functions) = Functions::read(&library) else { return };
    let pages = library.read_only_pages();
    let _ = (functions.tables(), functions.have_tables(&pages), functions.entered(&library));
    let keep = functions.whole(&library, &pages, &[]).all();
    let calls = library.loader_calls().unwrap_or_default();
    let _ = functions::reached(&library, &functions, &calls);
    let _ = functions::addressed(&library, &functions);
    let _ = functions::tables(&library, &functions, &pages, 1 << 20);
    if let Ok(member) = Member::new(&library, &functions, &pages) {
        functions::callable(&[member]);
    }
    let mut wanted = Wanted::default();
    for symbol in library.symbols().unwrap_or_default().iter().filter(|one| one.is_defined()) {
        wanted.symbols.insert(symbol.name.to_owned(), None);
    }
    for keep in [keep, PageSet::new()] {
        let request =
            Request { library: &library, wanted: &wanted, keep: &keep, message: "is not here" };
        let Ok(made) = standin(&request) else { continue };
        let mut written = Vec::new();
        if made.write_to(data, &mut written).is_ok() {
            assert_eq!(written.len() as u64, made.size());
        }
    }
}

/// Exercises every edit of every place of a library that is linked with `options`.
fn edit(options: &[&str]) {
    let whole = [1 << 47, i64::MAX as u64, u64::MAX - 7, u64::MAX].map(u64::to_le_bytes);
    let halves = [0x7fff_ffff_u32, u32::MAX].map(u32::to_le_bytes);
    let seed = library(options);
    exercise(&seed);
    let places = places(&seed);
    // Without the tables, nothing would be tested.
    assert!(places.len() > 300, "{}", places.len());
    for place in places {
        let words = whole.iter().map(|word| (place, &word[..]));
        let halves = halves.iter().flat_map(|half| [(place, &half[..]), (place + 4, &half[..])]);
        for (at, bytes) in words.chain(halves) {
            let mut data = seed.clone();
            data[at..at + bytes.len()].copy_from_slice(bytes);
            exercise(&data);
        }
    }
}

#[test]
fn extreme_words_are_refused_or_read() {
    let all: [&[&str]; 3] = [
        &["-Wl,--hash-style=both", "-DRESOLVED"],
        &["-Wl,--version-script=v.map", "-Wl,-z,noseparate-code", "-s", "-Wl,--hash-style=gnu"],
        &["-Wl,-z,pack-relative-relocs"],
    ];
    std::thread::scope(|scope| {
        for options in all {
            scope.spawn(move || edit(options));
        }
    });
}
