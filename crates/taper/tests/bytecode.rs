//! What a package compiles is kept where Python keeps bytecode, and counts for its source alone.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use world::World;

const CACHE: &str = "torch/__pycache__";

const PROGRAM: &str = "
import torch.unused
print(torch.unused.VALUE, torch.unused.place.__code__.co_filename)";

fn package() -> World {
    let unused = "VALUE = 1\ndef place(): pass\n";
    let world = World::with_torch(&[("torch/__init__.py", ""), ("torch/unused.py", unused)]);
    world.compile();
    let words = ["pack", "--to", "out", "--cpu", "native", "--", "python", "-c", "import torch"];
    let done = world.taper(&words);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    world
}

/// What the program prints from the package in `folder`, which may write bytecode.
fn said(world: &World, folder: &Path, variables: &[(&str, &str)]) -> String {
    let variables = [&[("PYTHONDONTWRITEBYTECODE", "")], variables].concat();
    let done = world.python_with(folder, &["-c", PROGRAM], &variables);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// What it prints there with this value.
fn with(value: u32, folder: &Path) -> String {
    format!("{value} {}\n", folder.join("torch/unused.py").display())
}

/// The bytecode of the module in `folder`.
fn kept(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("unused."))
}

/// Puts the code of another source into kept bytecode.
fn exchange(world: &World, path: &Path) {
    let code = "import marshal, sys
with open(sys.argv[1], 'r+b') as file:
    begin = file.read(16)
    code = compile('VALUE = 2\\ndef place(): pass', 'elsewhere.py', 'exec')
    file.seek(0)
    file.truncate()
    file.write(begin + marshal.dumps(code))";
    let path = path.to_str().unwrap();
    assert!(world.python(&world.path("none"), &["-c", code, path]).status.success());
}

#[test]
fn what_was_compiled_is_not_compiled_again() {
    let world = package();
    let out = world.path("out");
    let done = world.python(&out, &["-c", PROGRAM]);
    assert!(
        done.status.success() && kept(&out.join(CACHE)).is_none(),
        "PYTHONDONTWRITEBYTECODE holds"
    );
    assert_eq!(said(&world, &out, &[]), with(1, &out));
    let path = kept(&out.join(CACHE)).unwrap();
    exchange(&world, &path);
    assert_eq!(said(&world, &out, &[]), with(2, &out));
    // Elsewhere, names of files are those of there.
    let moved = world.path("moved");
    fs::rename(&out, &moved).unwrap();
    assert_eq!(said(&world, &moved, &[]), with(2, &moved));
    // A folder for all bytecode counts, as it does for Python.
    let folder = world.path("bytecode");
    let elsewhere = [("PYTHONPYCACHEPREFIX", folder.to_str().unwrap())];
    assert_eq!(said(&world, &moved, &elsewhere), with(1, &moved));
    assert!(kept(&folder.join(moved.strip_prefix("/").unwrap()).join("torch")).is_some());
    assert_eq!(said(&world, &moved, &[("TAPER_EAGER", "1")]), with(1, &moved));
}

#[test]
fn damaged_bytecode_and_that_of_another_source_do_not_count() {
    let world = package();
    let out = world.path("out");
    assert_eq!(said(&world, &out, &[]), with(1, &out));
    let path = kept(&out.join(CACHE)).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in [0, 3, 16, 17, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(said(&world, &out, &[]), with(1, &out), "{length} bytes");
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    exchange(&world, &path);
    let mut other = fs::read(&path).unwrap();
    other[8] ^= 1;
    fs::write(&path, other).unwrap();
    assert_eq!(said(&world, &out, &[]), with(1, &out));
    // What is no code is not run.
    let mut number = whole[..16].to_vec();
    number.extend(b"i\x01\0\0\0");
    fs::write(&path, number).unwrap();
    assert_eq!(said(&world, &out, &[]), with(1, &out));
}
