//! How the code is laid out: which files import which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What each file of a crate imports of the others, by their names.
fn imports(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension() != Some("rs".as_ref()) || name == "lib" || name == "main" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // Tests may import anything.
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = text.lines().map(|line| line.split("//").next().unwrap());
        let text = lines.collect::<Vec<_>>().join("\n");
        let mut found = BTreeSet::new();
        for after in text.split("crate::").skip(1) {
            let list = match after.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap(),
                None => after.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap(),
            };
            found.extend(
                list.split(',').map(|one| one.trim().split(':').next().unwrap().to_owned()),
            );
        }
        all.insert(name, found);
    }
    all
}

/// The files that `name` leads to.
fn reached(all: &BTreeMap<String, BTreeSet<String>>, name: &str) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(one) = open.pop() {
        for next in all.get(&one).into_iter().flatten().filter(|next| all.contains_key(*next)) {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn files_of_a_crate_do_not_import_each_other_in_circles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let crates = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut circles = BTreeSet::new();
    for folder in crates.chain([root.join("runtime"), root.join("xtask")]) {
        let all = imports(&folder.join("src"));
        let reached: BTreeMap<&String, _> =
            all.keys().map(|one| (one, reached(&all, one))).collect();
        for (name, to) in &reached {
            let back = |other: &&String| reached[*other].contains(*name);
            let circle: Vec<&str> = to.iter().filter(back).map(String::as_str).collect();
            if to.contains(*name) {
                let owner = folder.file_name().unwrap().to_str().unwrap();
                circles.insert(format!("{owner}: {}", circle.join(" ")));
            }
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Lines of the largest crate; and of the command line, which holds no phase of any command.
const LINES: usize = 3500;
const COMMAND_LINE: usize = 2000;

/// Lines of Rust and Python in a folder and those below it.
fn lines(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let code = |path: &Path| path.extension().is_some_and(|end| end == "rs" || end == "py");
    entries
        .map(|path| match path.is_dir() {
            true => lines(&path),
            false if code(&path) => fs::read_to_string(&path).unwrap().lines().count(),
            false => 0,
        })
        .sum()
}

#[test]
fn crates_are_of_a_size_to_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
    let mut too_large = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let most = if name == "taper" { COMMAND_LINE } else { LINES };
        let count = lines(&folder.join("src"));
        if count > most {
            too_large.push(format!("{name}: {count} lines, at most {most}"));
        }
    }
    assert!(too_large.is_empty(), "{too_large:#?}");
}

#[test]
fn the_second_reader_knows_nothing_of_the_writer() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../elf-verify/Cargo.toml");
    let text = fs::read_to_string(file).unwrap();
    for writer in ["shrink", "functions", "standin", "plan", "assemble"] {
        assert!(!text.contains(&format!("\n{writer}")), "{writer}");
    }
}
