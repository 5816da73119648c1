//! `cargo xtask fuzz`: the writer on damaged libraries, for longer than the tests do.

use crate::shell;
use anyhow::Result;

/// Flags of the task.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Damaged copies of each seed; the tests try 3,000.
    #[arg(long, default_value_t = 1_000_000)]
    rounds: u32,
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args(["test", "--package", "taper-shrink", "--test", "hostile"])
        .env("TAPER_FUZZ_ROUNDS", arguments.rounds.to_string());
    shell::run(&mut command)
}
