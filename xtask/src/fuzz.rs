//! The fuzzers, which are a workspace of their own in `fuzz/`.

use crate::{examples, shell};
use anyhow::Result;
use std::path::PathBuf;

/// Their manifest, where there are any.
pub fn manifest() -> Option<PathBuf> {
    let manifest = examples::repository().join("fuzz/Cargo.toml");
    manifest.is_file().then_some(manifest)
}

/// Runs every fuzzer, all of them together for about so many seconds.
pub fn run(seconds: u32) -> Result<()> {
    let Some(manifest) = manifest() else {
        eprintln!("there are no fuzzers in fuzz/");
        return Ok(());
    };
    let mut command = shell::cargo();
    command.args(["run", "--release", "--manifest-path"]).arg(manifest);
    shell::run(command.args(["--", "--seconds", &seconds.to_string()]))
}
