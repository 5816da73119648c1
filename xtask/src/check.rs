//! `cargo xtask check`: what a change can be tried with in a few minutes.

use crate::{cargo_tests, examples, lint, shell};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

/// Programs of tests that take long, because they pack or wait: `cargo xtask test` runs them.
const LONG: [&str; 14] = [
    "absent",
    "answers",
    "changed",
    "cold",
    "collector",
    "damage",
    "early",
    "explain",
    "extremes",
    "kernel_reads",
    "learn",
    "proofs",
    "runs",
    "sources",
];

/// Runs the task.
pub fn run() -> Result<()> {
    lint::code()?;
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
    for name in programs()? {
        command.args(["--test", &name]);
    }
    let mut counts = cargo_tests::run(&mut command)?;
    counts.tell();
    cargo_tests::passed(&counts)
}

/// The programs of tests of all crates, but for [`LONG`] ones.
fn programs() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let crates = examples::repository().join("crates");
    let context = || format!("cannot read {}", crates.display());
    for folder in fs::read_dir(&crates).with_context(context)? {
        let tests = folder.with_context(context)?.path().join("tests");
        for file in fs::read_dir(tests).into_iter().flatten().flatten() {
            let path = file.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|end| end == "rs") && !LONG.contains(&name) {
                all.insert(name.to_owned());
            }
        }
    }
    Ok(all)
}
