//! Another PyTorch with another Python, and a PyTorch whose insides have other names: what a
//! package does at its start is found out for each, and left alone where it is not understood.
//! All of `cargo xtask matrix` is these and more, for every version.
//!
//! `cargo xtask test` sets the variables that these tests need.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::examples::{self, Example};
use xtask::interpreters::Machine;
use xtask::matrix_cell::{self, Figures, Place};
use xtask::{links, shell, test};

/// The environment of `python`, with what is made of it in `work`.
fn place(python: PathBuf, work: &Path) -> Place {
    let mut ask = Command::new(&python);
    let base = shell::output(ask.args(["-c", "import sys; print(sys._base_executable)"])).unwrap();
    let base = base.trim().into();
    let (machine, taper) = (Machine::own(), test::program());
    Place { machine, base, python, taper, work: work.into(), each: Some(1) }
}

#[test]
#[ignore = "needs another PyTorch: cargo xtask test"]
fn another_pytorch_with_another_python_does_the_same() {
    let folder = PathBuf::from(std::env::var_os(test::OTHER).unwrap());
    let work = tempfile::tempdir().unwrap();
    let place = place(folder.join("bin/python"), work.path());
    let mut figures = Figures::default();
    matrix_cell::import(&place, &mut figures).unwrap();
    assert!(!figures.deferred.is_empty());
    assert!(figures.deferred.values().all(Vec::is_empty), "{:?}", figures.deferred);
    matrix_cell::database(&place, &mut figures).unwrap();
    assert!(figures.operators.0 > 400 && figures.chunks.is_some(), "{figures:?}");
    matrix_cell::observers(&place, &["dispatcher", "names", "readers"], &mut figures).unwrap();
    assert_eq!(figures.observers, ["dispatcher", "names", "readers"]);
}

/// What tomorrow's PyTorch calls otherwise: what an operator keeps of Python's kernels, the table
/// of operators of a higher order, and that of what fake tensors do.
const RENAMED: [(&str, &str); 3] = [
    ("py_kernels", "kernels_in_python"),
    ("_higher_order_ops", "_known_higher_order_ops"),
    ("op_implementations_dict", "implementations_by_operator"),
];

/// Renames in every source of a copy of torch; what it shares with the environment stays.
fn rename(torch: &Path) -> u32 {
    let mut changed = 0;
    let mut open = vec![torch.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "py") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let mut other = text.clone();
            for (old, new) in RENAMED {
                // Part of a longer name is another name, as is that of a package of torch.
                other = words(&other, old, new);
            }
            if other != text {
                fs::remove_file(&path).unwrap();
                fs::write(&path, other).unwrap();
                changed += 1;
            }
        }
    }
    changed
}

/// `text`, in which each word `old` that is no part of a path is `new`.
fn words(text: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let part = |one: Option<char>| one.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let package = before.ends_with("torch.") || before.ends_with("torch/");
        out += before;
        let whole = !part(before.chars().next_back()) && !part(after.chars().next());
        out += if whole && !package { new } else { old };
        rest = after;
    }
    out + rest
}

#[test]
fn whole_names_are_renamed() {
    let text = "a.one = one_two(one)\nimport torch.one";
    assert_eq!(words(text, "one", "1"), "a.1 = one_two(1)\nimport torch.one");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_pytorch_of_tomorrow_is_left_as_it_is() {
    let environment = PathBuf::from(std::env::var_os(test::ENVIRONMENT).unwrap());
    // Links need one file system.
    let scratch = tempfile::tempdir_in(environment.parent().unwrap()).unwrap();
    let copy = scratch.path().join("tomorrow");
    links::tree(&environment, &copy).unwrap();
    let python = copy.join("bin/python");
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let modules = shell::output(Command::new(&python).args(["-c", ask])).unwrap();
    assert!(modules.starts_with(copy.to_str().unwrap()), "{modules}");
    assert!(rename(&Path::new(modules.trim()).join("torch")) > 5);

    let script = examples::repository().join(Example::named("classify").unwrap().script());
    let package = scratch.path().join("package");
    let mut pack = Command::new(test::program());
    pack.arg("pack").arg("--python").arg(&python).arg("--to").arg(&package);
    pack.args(["--cpu", "native", "--level", "fast", "--", "python"]).arg(script);
    let done = pack.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let about = fs::read(package.join("taper.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    assert_eq!(about["verified"], true, "{said}");
    let groups = about["deferred"].as_object().unwrap();
    assert!(!groups.is_empty());
    for group in groups.values() {
        assert_eq!(group["waits"], false);
        assert!(!group["objections"].as_array().unwrap().is_empty());
    }
    // Whoever packs is told.
    assert!(said.contains("not deferred: torch._meta_registrations, which costs"), "{said}");
}
