//! The rewriting on every module of an environment, as if each import were heavy and changed
//! nothing else. `cargo xtask test` names the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use taper_lint::{Change, Evidence, Source, apply, check};

fn changed(source: &Source) -> (usize, String) {
    let heavy = Evidence { modules: 9, ..Evidence::default() };
    let imports = source.uses.imports.iter();
    let measured: BTreeMap<String, Evidence> =
        imports.map(|import| (import.text(), heavy.clone())).collect();
    let found = check(source, &measured, &BTreeSet::new());
    let changes: Vec<&Change> = found.iter().filter_map(|one| one.change.as_ref()).collect();
    (changes.len(), apply(source, &changes))
}

fn modules(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "py") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn every_module_is_rewritten_once_and_keeps_its_names() {
    let folder = PathBuf::from(
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test"),
    );
    let (mut read, mut rewritten) = (0, 0);
    for path in modules(&folder.join("lib")) {
        let Ok(source) = Source::read(&path) else { continue };
        read += 1;
        let (count, text) = changed(&source);
        if count == 0 {
            assert_eq!(text, source.text, "{}", path.display());
            continue;
        }
        rewritten += 1;
        let mut now = Source::new(&path, text).unwrap();
        for _ in 0..6 {
            now = Source::new(&path, changed(&now).1).unwrap();
        }
        assert_eq!(changed(&now).1, now.text, "{} changes again", path.display());
        for name in source.uses.names.keys() {
            let (before, after) = (&source.uses.bound, &now.uses.bound);
            let same = before.contains_key(name) == after.contains_key(name);
            assert!(same, "{}: {name}", path.display());
        }
        let size = |source: &Source| source.uses.names.values().map(Vec::len).sum::<usize>();
        assert_eq!(size(&source), size(&now), "{}", path.display());
    }
    assert!(read > 1000 && rewritten > 100, "{read} {rewritten}");
}
