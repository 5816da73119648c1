//! `cargo xtask test`: every test, those that need the environments included.

use crate::cargo_tests::Counts;
use crate::fingerprint::Fingerprint;
use crate::{cargo_tests, examples, fuzz, matrix, packages, python, setup, shell, source};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Tests that need an environment with torch read its folder from here.
pub const ENVIRONMENT: &str = "TAPER_TEST_ENV";

/// And the folder of the environment of the other examples from here.
pub const EXAMPLES: &str = "TAPER_TEST_EXAMPLES";

/// And the folder of the environment of other programs' distributions from here.
pub const STRANGERS: &str = "TAPER_TEST_STRANGERS";

/// And the folder of the environment of another PyTorch and Python from here.
pub const OTHER: &str = "TAPER_TEST_OTHER";

/// Tests of the program itself read its path from here.
pub const PROGRAM: &str = "TAPER_TEST_BINARY";

/// And a folder of modules that builds of Python packages need from here.
pub const MODULES: &str = "TAPER_TEST_MODULES";

/// Tests on a source tree of PyTorch read its folder from here. It is there once
/// `cargo xtask source` has run.
pub const SOURCE: &str = "TAPER_TEST_SOURCE";

/// The program that [`PROGRAM`] names.
///
/// # Panics
/// Where the variable is not set: only tests that `cargo xtask test` runs ask.
pub fn program() -> PathBuf {
    std::env::var_os(PROGRAM).expect("cargo xtask test sets it").into()
}

/// Tests that this machine cannot run, with what they need and is not here.
fn unable() -> Vec<(&'static str, &'static str)> {
    let mount = "mount -t tmpfs tmpfs /mnt";
    let apart = |words: &[&str]| {
        shell::succeeds(Command::new("unshare").args(words).args(["--mount", "sh", "-c", mount]))
    };
    let needs = [
        ("a_disk_that_is_full", "the right to mount a file system", apart(&[])),
        (
            "a_read_only_file_system_will_do",
            "the right to mount a file system in a namespace of its own",
            apart(&["--user", "--map-root-user"]),
        ),
        (
            "tests_of_pytorch_pass_as_before",
            "Debian's source package of PyTorch",
            source::tests().is_ok(),
        ),
        (
            "the_real_tree_knows_what_is_chosen_for_it",
            "a source tree of PyTorch (cargo xtask source)",
            source::tree().is_ok_and(|tree| tree.exists()),
        ),
    ];
    needs.into_iter().filter(|need| !need.2).map(|(test, what, _)| (test, what)).collect()
}

/// Builds taper and the tests while the environments are made: one mostly waits for downloads
/// and the disk, the other computes. Gives the path of taper, and the folder of [`OTHER`].
fn prepare() -> Result<(PathBuf, PathBuf)> {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| setup::run().and_then(|()| matrix::other()));
        let built = packages::build_for_tests().and_then(|taper| {
            let mut tests = shell::cargo();
            shell::run(tests.args(["test", "--workspace", "--no-run"]))?;
            Ok(taper)
        });
        let other = made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((built?, other))
    })
}

/// Runs the task.
pub fn run() -> Result<()> {
    let (taper, other) = prepare()?;

    let mut before = vec![(Fingerprint::of(&other)?, other.clone())];
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
        .env(OTHER, other)
        .env(MODULES, setup::build_modules()?)
        .env(SOURCE, source::tree()?)
        .env(PROGRAM, taper);
    let unable = unable();
    command.args(["--", "--include-ignored"]);
    for (test, _) in &unable {
        command.args(["--skip", test]);
    }
    let mut runs = vec![cargo_tests::run(&mut command)];
    // What runs inside the interpreter, in the other versions of it that are here.
    for python in python::others() {
        let packed = ["modules", "cold", "learn", "collector", "answers"];
        for (package, tests) in [("taper", &packed[..]), ("taper-package", &["once", "deferred"])] {
            let mut command = shell::cargo();
            command.args(["test", "--no-fail-fast", "--package", package]);
            command.env("TAPER_TEST_PYTHON", &python);
            for test in tests {
                command.args(["--test", test]);
            }
            let done = cargo_tests::run(&mut command);
            runs.push(done.with_context(|| format!("with {}", python.display())));
        }
    }
    // Said even where a test failed: a changed environment explains later failures.
    for (fingerprint, folder) in before {
        fingerprint.check(&folder).context("the tests must leave the environments alone")?;
    }
    let mut counts = Counts::default();
    for run in runs {
        counts.merge(run?);
    }
    counts.tell();
    for (test, what) in &unable {
        eprintln!("not run: {test}: it needs {what}");
    }
    cargo_tests::passed(&counts)?;
    // Ten seconds for each target find what breaks at once.
    fuzz::fuzz(10, None)
}
