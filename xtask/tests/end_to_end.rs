//! Each example is packed and runs from its package, far from its environment.
//! `cargo xtask test` sets the variables that these tests need.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use xtask::examples::{self, Example};
use xtask::operators::{self, Counts};
use xtask::packages::{self, Description};
use xtask::runs::{self, Place};
use xtask::{python, test};

/// Packs an example for CPUs, in a word that `--cpu` knows, and runs it from its packages. More
/// CPUs are more runs; one example for all of them shows what the others need not.
fn check(name: &str, cpu: &str) {
    let taper = test::program();
    let example = Example::named(name).unwrap();
    let place = tempfile::tempdir().unwrap();
    let profile = place.path().join("profile");
    let mut trace = Command::new(&taper);
    trace.arg("trace").arg("--python").arg(example.python().unwrap()).arg("-o").arg(&profile);
    trace.args(["--cpu", cpu, "--", "python"]).arg(example.script());
    packages::quietly(trace.current_dir(examples::repository())).unwrap();
    // A package works where it is moved to.
    std::fs::create_dir(place.path().join("moved")).unwrap();
    let original = example.python().unwrap();
    let bare = python::bare(&original, &place.path().join("bare")).unwrap();
    let hidden = runs::hiding().is_some();
    let (expected, _) = runs::run(example, Place::Original(&original), &[]).unwrap();
    for cold in ["drop", "keep"] {
        let packed = place.path().join(cold);
        let mut flags: Vec<std::ffi::OsString> =
            ["--json", "--quiet", "--cpu", cpu, "--level", "fast", "--profile"]
                .map(Into::into)
                .to_vec();
        flags.push(profile.clone().into());
        let mut pack = packages::pack(&taper, example, &packed, cold, &flags).unwrap();
        let done = pack.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{said}");
        // One document and nothing else, although the workload prints.
        serde_json::from_slice::<Value>(&done.stdout).unwrap();
        let description = Description::of(&packed).unwrap();
        assert_eq!(description.verified, Some(true), "{said}");
        assert!(description.bytes < description.original_bytes / 10, "{description:?}");

        let package = place.path().join("moved").join(cold);
        std::fs::rename(&packed, &package).unwrap();
        let in_package = Place::Package { bare: &bare, folder: &package, hidden };
        let (found, _) = runs::run(example, in_package, &[]).unwrap();
        expected.check(&found).unwrap();
        if cold == "keep" {
            // Nothing is lost: other inputs take other paths.
            let words = example.otherwise;
            let (expected, _) = runs::run(example, Place::Original(&original), words).unwrap();
            let (found, _) = runs::run(example, in_package, words).unwrap();
            expected.check(&found).unwrap();
        }
        // And a run leaves it as it was.
        Description::of(&package).unwrap();
    }
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn operators_that_nobody_traced_give_what_they_gave() {
    let taper = test::program();
    let place = tempfile::tempdir().unwrap();
    let words = ["--ops".to_owned(), operators::SAMPLE.into()];
    let (before, after) = (place.path().join("before.txt"), place.path().join("after.txt"));
    operators::digest(None, &before, &words).unwrap();
    // A package for a GPU does on a machine without one what the original does there.
    for (target, drop) in [("cpu", false), ("cpu", true), ("sm_90", false)] {
        let package = place.path().join(format!("package-{target}-{drop}"));
        operators::pack(&taper, &package, target, drop).unwrap();
        operators::digest(Some(&package), &after, &words).unwrap();
        let counts = Counts::of(&before, &after).unwrap();
        assert_eq!(counts.other, 0, "{counts:?}");
        if drop {
            assert!(counts.same >= 10 && counts.refused > 20, "{counts:?}");
        } else {
            assert!(counts.same > 200 && counts.refused + counts.missing == 0, "{counts:?}");
        }
    }
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn classify_runs_from_its_package() {
    check("classify", "any");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn embed_runs_from_its_package() {
    check("embed", "native");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn vad_runs_from_its_package() {
    check("vad", "native");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn train_runs_from_its_package() {
    check("train", "native");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn the_same_profile_gives_the_same_package() {
    let taper = test::program();
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
        pack.args(["pack", "--no-verify", "--cpu", "native", "--level", "fast", "--profile"])
            .arg(&profile);
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
