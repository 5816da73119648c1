//! `cargo xtask lint`: formatting, clippy and documentation, without warnings.

use crate::{fuzz, shell};
use anyhow::Result;

/// Runs the task.
pub fn run() -> Result<()> {
    let mut manifests = vec![None];
    manifests.extend(fuzz::manifest().map(Some));
    for manifest in manifests {
        let cargo = |words: &[&str]| {
            let mut command = shell::cargo();
            command.args(words);
            if let Some(manifest) = &manifest {
                command.arg("--manifest-path").arg(manifest);
            }
            command
        };
        shell::run(cargo(&["fmt", "--all"]).args(["--", "--check"]))?;
        let clippy = ["clippy", "--workspace", "--all-targets"];
        shell::run(cargo(&clippy).args(["--", "--deny", "warnings"]))?;
        let doc = ["doc", "--workspace", "--no-deps"];
        shell::run(cargo(&doc).env("RUSTDOCFLAGS", "--deny warnings"))?;
    }
    Ok(())
}
