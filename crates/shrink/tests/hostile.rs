//! Damaged libraries: the reader and the writer refuse them or write what the
//! second reader accepts; they never panic, hang, or ask for absurd memory.
//!
//! Deterministic: a fixed sequence of mutations of two libraries built here. The
//! number of rounds is taken from `TAPER_FUZZ_ROUNDS` for longer runs.

use elf::{Library, PageSet};
use elf_verify::{Expected, verify};
use functions::Functions;
use std::fs;
use std::process::Command;
use taper_shrink::{Limits, Shrunk, shrink};

const SOURCE: &str = r#"
#include <stdexcept>
thread_local int counter = 3;
int count() { return ++counter; }
static int one() { return 1; }
extern "C" { static int (*pick(void))() { return one; } }
extern "C" int chosen() __attribute__((ifunc("pick")));
__attribute__((aligned(4096))) int throws(int x) { if (x) throw std::logic_error("x"); return x; }
__attribute__((aligned(4096))) int more(int x) { return x + 1; }
struct Start { Start() { counter = 5; } } start;
"#;

fn seeds() -> Vec<Vec<u8>> {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.cc"), SOURCE).unwrap();
    fs::write(place.path().join("v.map"), "V_1 { global: *; };\n").unwrap();
    let plain: &[&str] = &["-Wl,--hash-style=both"];
    let versioned: &[&str] = &["-Wl,--version-script=v.map", "-Wl,-z,noseparate-code", "-s"];
    [plain, versioned]
        .iter()
        .map(|extra| {
            let done = Command::new("g++")
                .args(["-shared", "-fPIC", "-O1", "a.cc", "-o", "a.so"])
                .args(*extra)
                .current_dir(place.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            fs::read(place.path().join("a.so")).unwrap()
        })
        .collect()
}

/// A small generator of numbers (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

/// Values that break arithmetic: around powers of two, and the largest ones.
const HARD: [u64; 10] =
    [0, 1, 7, 0x7f, 0xfff, 0x1000, 0x7fff_ffff, 0xffff_ffff, u64::MAX - 7, u64::MAX];

fn damaged(seed: &[u8], interesting: &[usize], chance: &mut Chance) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=chance.below(3) {
        // Half of the edits hit headers and tables, where they matter.
        let at = match chance.below(4) {
            0 => chance.below(data.len()),
            1 => chance.below(1024.min(data.len())),
            _ => interesting[chance.below(interesting.len())] + chance.below(64),
        };
        match chance.below(3) {
            0 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = chance.below(256) as u8;
                }
            }
            1 => {
                let word = HARD[chance.below(HARD.len())].to_le_bytes();
                let at = at & !7;
                if let Some(place) = data.get_mut(at..at + 8) {
                    place.copy_from_slice(&word);
                }
            }
            _ => data.truncate(if chance.below(8) == 0 { at } else { data.len() }),
        }
    }
    data
}

fn exercise(data: &[u8], chance: &mut Chance) -> bool {
    let Ok(library) = Library::parse(data) else { return false };
    // Everything that can be read may be refused; nothing may panic.
    let _ = (library.soname(), library.needed(), library.search_path(), library.build_id());
    let _ = (library.symbols(), library.versions(), library.relocations());
    let _ = (library.relative_addresses(), library.loader_calls(), library.loader_ranges());
    let _ = library.local_symbols().count();
    let mut keep = PageSet::new();
    for page in library.read_only_pages().iter().take(4096) {
        if chance.below(2) == 0 {
            keep.insert(page);
        }
    }
    if let Ok(functions) = Functions::read(&library) {
        keep.union(&functions.whole(&library, &keep, &[]).all());
    }
    let Ok(Shrunk::Smaller(smaller)) =
        shrink(&library, &keep, &|_| false, None, &Limits { mappings: 8 })
    else {
        return false;
    };
    let mut written = Vec::new();
    if smaller.write_to(data, &mut written).is_err() {
        return false;
    }
    assert_eq!(written.len() as u64, smaller.size());
    let none = PageSet::new();
    let expected =
        Expected { original: data, installed: data, keep: &none, cold: None, private: &|_| false };
    verify(&expected, &written).is_ok()
}

#[test]
fn damage_is_refused_or_written_as_it_is() {
    let rounds = std::env::var("TAPER_FUZZ_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(3_000);
    let mut accepted = 0;
    for (number, seed) in seeds().iter().enumerate() {
        let mut chance = Chance(number as u64);
        assert!(exercise(seed, &mut chance), "the seed itself is written and read again");
        let library = Library::parse(seed).unwrap();
        let mut interesting: Vec<usize> = vec![0, 32, 54];
        interesting.extend((0..library.headers().len()).map(|index| 64 + index * 56));
        for (range, _) in library.loader_ranges().unwrap() {
            let load = library.loads().find(|load| load.file_addresses().contains(&range.start));
            let offset = load.map(|load| load.offset.0 + (range.start - load.address));
            interesting.extend(offset.map(|offset| offset as usize));
        }
        if let Some(frames) = library.header(elf::segment::GNU_EH_FRAME) {
            interesting.push(frames.offset.0 as usize);
            interesting.push((frames.offset.0 + frames.file_size) as usize);
        }
        for _ in 0..rounds {
            let data = damaged(seed, &interesting, &mut chance);
            accepted += u32::from(exercise(&data, &mut chance));
        }
    }
    // Some damage does not matter; if none were accepted, nothing would be tested.
    assert!(accepted > 100, "{accepted}");
}
