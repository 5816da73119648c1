//! `cargo xtask test`: every test, those that need the environments included.

use crate::fingerprint::Fingerprint;
use crate::{examples, fuzz, packages, python, setup, shell, source};
use anyhow::{Context, Result};

/// Tests that need an environment with torch read its folder from here.
pub const ENVIRONMENT: &str = "TAPER_TEST_ENV";

/// And the folder of the environment of the other examples from here.
pub const EXAMPLES: &str = "TAPER_TEST_EXAMPLES";

/// And the folder of the environment of other programs' distributions from here.
pub const STRANGERS: &str = "TAPER_TEST_STRANGERS";

/// Tests of the program itself read the path of its release from here.
pub const PROGRAM: &str = "TAPER_TEST_BINARY";

/// Tests on a source tree of PyTorch read its folder from here. It is there once
/// `cargo xtask source` has run.
pub const SOURCE: &str = "TAPER_TEST_SOURCE";

/// Runs the task.
pub fn run() -> Result<()> {
    setup::run()?;
    let taper = packages::build()?;

    let mut before = Vec::new();
    for name in examples::ENVIRONMENTS {
        let folder = examples::environment(name)?;
        before.push((Fingerprint::of(&folder)?, folder));
    }
    let mut command = shell::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .env(ENVIRONMENT, examples::environment("classify")?)
        .env(EXAMPLES, examples::environment("examples")?)
        .env(STRANGERS, examples::environment(examples::STRANGERS)?)
        .env(PROGRAM, taper);
    let tree = source::tree()?;
    if tree.exists() {
        command.env(SOURCE, tree);
    }
    let tests = shell::run(&mut command);
    // What runs inside the interpreter, in the other versions of it that are here.
    let mut others = Ok(());
    for python in python::others() {
        let packed = ["modules", "cold", "learn", "collector", "answers"];
        for (package, tests) in [("taper", &packed[..]), ("taper-package", &["once", "deferred"])] {
            let mut command = shell::cargo();
            command.args(["test", "--package", package]).env("TAPER_TEST_PYTHON", &python);
            for test in tests {
                command.args(["--test", test]);
            }
            let done = shell::run(&mut command);
            others = others.and(done.with_context(|| format!("with {}", python.display())));
        }
    }
    // Said even where a test failed: a changed environment explains later failures.
    for (fingerprint, folder) in before {
        fingerprint.check(&folder).context("the tests must leave the environments alone")?;
    }
    tests?;
    others?;
    // Ten seconds for each target find what breaks at once.
    fuzz::fuzz(10, None)
}
