//! Every shared library of a real environment, cut to half of its pages, where
//! `TAPER_TEST_ENV` names a virtual environment.

use elf::{Library, PageSet, Relative};
use elf_verify::{Expected, Fault, Seen, loads, verify};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use taper_shrink::{Limits, Shrunk, shrink};

/// What the second reader says of what was `written` of `original` without pages but `keep`.
fn check(original: &[u8], keep: &PageSet, written: &[u8]) -> Result<Seen, Fault> {
    verify(
        &Expected { original, installed: original, keep, cold: None, private: &|_| false },
        written,
    )
}

fn libraries(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            libraries(&path, found);
        } else if path.file_name().unwrap().to_string_lossy().contains(".so") {
            found.push(path);
        }
    }
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn every_library_is_cut_and_read_again() {
    let place =
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test");
    let mut found = Vec::new();
    libraries(&Path::new(&place).join("lib"), &mut found);
    found.sort();
    let scratch = tempfile::tempdir().unwrap();
    let (mut cut, mut whole, mut packed) = (0, 0, 0);
    // A fixed sequence stands for chance.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for path in found {
        let data = fs::read(&path).unwrap();
        // What is not understood is copied whole, elsewhere.
        let Ok(library) = Library::parse(&data) else { continue };
        let mut keep = PageSet::new();
        for (number, page) in library.read_only_pages().iter().enumerate() {
            if number % 16 == 0 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            }
            if state >> (number % 16 + 40) & 1 == 0 && state >> 62 != 0 {
                keep.insert(page);
            }
        }
        let shrunk = shrink(&library, &keep, &|_| false, None, &Limits::default())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Shrunk::Smaller(smaller) = shrunk else {
            whole += 1;
            continue;
        };
        let mut written = Vec::new();
        smaller.write_to(&data, &mut written).unwrap();
        assert_eq!(written.len() as u64, smaller.size());
        let planned = keep.clone();
        let checked = check(&data, &planned, &written)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some(relative) = Relative::of(&library, &BTreeSet::new()) {
            keep.remove(&relative.pages());
            packed += 1;
        }
        assert!(checked.mappings <= 1_000 && checked.pages >= keep.len());
        let again = Library::parse(&written).unwrap();
        assert_eq!(again.build_id(), library.build_id());
        assert_eq!(again.symbols().unwrap(), library.symbols().unwrap());
        let file = scratch.path().join("library.so");
        fs::write(&file, &written).unwrap();
        loads(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // A byte that changes is found.
        let last = written.len() - 1;
        written[last / 2] ^= 0xff;
        let touched = check(&data, &planned, &written).is_err();
        let padding = written[last / 2] == 0xff;
        assert!(touched || padding, "{}", path.display());
        cut += 1;
    }
    assert!(packed > 3, "{packed} libraries with packed relocations");
    assert!(cut > 100, "{cut} libraries cut, {whole} left whole");
}
