//! `cargo xtask lint`: formatting, clippy and documentation, without warnings.

use crate::shell;
use anyhow::Result;

/// Runs the task.
pub fn run() -> Result<()> {
    code()?;
    let doc = ["doc", "--workspace", "--no-deps"];
    shell::run(shell::cargo().args(doc).env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Formatting and clippy.
pub fn code() -> Result<()> {
    let cargo = |words: &[&str]| {
        let mut command = shell::cargo();
        command.args(words);
        command
    };
    shell::run(cargo(&["fmt", "--all"]).args(["--", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets"];
    shell::run(cargo(&clippy).args(["--", "--deny", "warnings"]))?;
    // What lies in packages is a workspace of its own.
    let runtime = ["--manifest-path", "runtime/Cargo.toml"];
    shell::run(cargo(&["fmt"]).args(runtime).args(["--", "--check"]))?;
    let clippy = ["clippy", "--release", "--locked", "--target-dir", "target/runtime"];
    shell::run(cargo(&clippy).args(runtime).args(["--", "--deny", "warnings"]))
}
