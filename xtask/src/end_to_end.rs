//! Each example is packed and runs from its package, far from its environment.
//! `cargo xtask test` sets the variables that these tests need.

use crate::examples::{self, Example};
use crate::packages::{self, Description};
use crate::runs::{self, Place};
use crate::{python, test};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

fn check(name: &str) {
    let Some(taper) = std::env::var_os(test::PROGRAM).map(PathBuf::from) else {
        eprintln!("{} is not set: skipped; use cargo xtask test", test::PROGRAM);
        return;
    };
    let example = Example::named(name).unwrap();
    let place = tempfile::tempdir().unwrap();

    let packed = place.path().join("packed");
    let flags = ["--json".into(), "--quiet".into()];
    let done = packages::pack(&taper, example, &packed, &flags).unwrap().output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    // One document and nothing else, although the workload prints.
    serde_json::from_slice::<Value>(&done.stdout).unwrap();
    let description = Description::of(&packed).unwrap();
    assert_eq!(description.verified, Some(true), "{said}");
    assert!(description.bytes < description.original_bytes / 10, "{description:?}");

    // A package works where it is moved to.
    let package = place.path().join("moved/elsewhere");
    std::fs::create_dir(place.path().join("moved")).unwrap();
    std::fs::rename(&packed, &package).unwrap();
    let original = example.python().unwrap();
    let bare = python::bare(&original, &place.path().join("bare")).unwrap();
    let hidden = runs::hiding().is_some();
    let (expected, _) = runs::run(example, Place::Original(&original)).unwrap();
    let in_package = Place::Package { bare: &bare, folder: &package, hidden };
    let (found, _) = runs::run(example, in_package).unwrap();
    expected.check(&found).unwrap();
    // And a run leaves it as it was.
    Description::of(&package).unwrap();
}

#[test]
fn classify_runs_from_its_package() {
    check("classify");
}

#[test]
fn embed_runs_from_its_package() {
    check("embed");
}

#[test]
fn vad_runs_from_its_package() {
    check("vad");
}

#[test]
fn train_runs_from_its_package() {
    check("train");
}

#[test]
fn the_same_profile_gives_the_same_package() {
    let Some(taper) = std::env::var_os(test::PROGRAM).map(PathBuf::from) else {
        eprintln!("{} is not set: skipped; use cargo xtask test", test::PROGRAM);
        return;
    };
    let example = Example::named("classify").unwrap();
    let place = tempfile::tempdir().unwrap();
    let profile = place.path().join("classify.profile");
    let mut trace = Command::new(&taper);
    trace.args(["trace", "--target", "cpu", "--cpu", "native", "-o"]).arg(&profile);
    trace.arg("--python").arg(example.python().unwrap());
    trace.args(["--", "python"]).arg(example.script()).current_dir(examples::repository());
    packages::quietly(&mut trace).unwrap();
    let contents = ["one", "two"].map(|name| {
        let package = place.path().join(name);
        let mut pack = Command::new(&taper);
        pack.args(["pack", "--no-verify", "--cpu", "native", "--profile"]).arg(&profile);
        pack.arg("--python").arg(example.python().unwrap()).arg("--to").arg(&package);
        packages::quietly(&mut pack).unwrap();
        let mut contents = BTreeMap::new();
        for (file, _) in packages::files(&package).unwrap() {
            let hash = blake3::hash(&std::fs::read(&file).unwrap());
            contents.insert(file.strip_prefix(&package).unwrap().to_path_buf(), hash);
        }
        contents
    });
    assert!(contents[0].len() > 1_000);
    assert_eq!(contents[0], contents[1]);
}
