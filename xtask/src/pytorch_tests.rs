//! `cargo xtask pytorch-tests`: PyTorch's own tests, in the environment that they were written
//! for and in a package of it that was traced with `import torch` alone.

use crate::pytorch_runs::{self, Outcome, Place};
use crate::{examples, packages, python, setup, source};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The files that are run unless others are named.
const FILES: &str = "test_torch,test_autograd,test_nn,test_indexing,test_view_ops,\
test_serialization,test_dataloader,test_multiprocessing,test_fx,test_jit,test_linalg,test_sparse,\
test_mkldnn,test_type_promotion";

/// What the task runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Files of PyTorch's folder `test`, without their ending.
    #[arg(long, value_delimiter = ',', default_value = FILES, value_name = "FILE,…")]
    pub files: Vec<String>,
    /// The K-th of N equal parts of each file.
    #[arg(long, value_name = "K/N", default_value = "1/1", value_parser = Part::parse)]
    pub part: Part,
    /// Stop after so long; the same command goes on.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
}

/// One of some equal parts.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// From 0.
    number: usize,
    of: usize,
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, of)| {
            Some((number.parse::<usize>().ok()?, of.parse::<usize>().ok()?))
        });
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number: number - 1, of }),
            _ => Err(format!("{text:?} is not K/N with K from 1 to N, as 1/4")),
        }
    }

    fn take<'a>(&self, tests: &'a [String]) -> &'a [String] {
        let bound = |part: usize| tests.len() * part / self.of;
        &tests[bound(self.number)..bound(self.number + 1)]
    }
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::environment(examples::TESTS)?;
    let tests = source::tests()?;
    let taper = packages::build()?;
    let until = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let folder = examples::cache()?.join("pytorch-tests");
    let program = blake3::hash(&fs::read(&taper)?).to_hex()[..12].to_owned();
    let (logs, own) = (folder.join("original"), folder.join(&program));
    for made in [&logs, &own] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    let interpreter = examples::environment(examples::TESTS)?.join("bin/python");
    let package = pack(&taper, &interpreter, &folder, &own)?;
    let scratch = tempfile::tempdir()?;
    let bare = python::bare(&interpreter, &scratch.path().join("bare"))?;
    let two = Two {
        original: Place { python: interpreter, paths: vec![tests.clone()] },
        package: Place { python: bare, paths: vec![package, tests] },
    };
    println!(
        "{:<22} {:>6} {:>6} {:>9} {:>7} {:>7}",
        "file", "tests", "same", "original", "chance", "differ"
    );
    let (mut different, mut left) = (0, 0);
    for file in &arguments.files {
        let listed = two.original.list(&[file])?;
        let chosen = arguments.part.take(&listed);
        let logs = Logs { original: &logs, package: &own, name: file };
        let Some(counts) = two.compare(chosen, &logs, until)? else {
            left += 1;
            continue;
        };
        println!(
            "{file:<22} {:>6} {:>6} {:>9} {:>7} {:>7}",
            chosen.len(),
            counts.same,
            counts.not_before,
            counts.chance,
            counts.different
        );
        different += counts.different;
    }
    println!(
        "tests; passed in both; did not pass in the original; failed once; fail in the package"
    );
    if left > 0 {
        println!("{left} files are not done: the same command goes on");
    }
    if different > 0 {
        bail!("{different} tests pass in the original and not in the package");
    }
    Ok(())
}

/// Packs the environment, once for each program taper; packages of others are removed.
fn pack(taper: &Path, interpreter: &Path, folder: &Path, own: &Path) -> Result<PathBuf> {
    let package = own.join("package");
    if package.exists() {
        return Ok(package);
    }
    for entry in fs::read_dir(folder)? {
        setup::remove(&entry?.path().join("package"))?;
    }
    let mut command = Command::new(taper);
    command.arg("pack").arg("--python").arg(interpreter).arg("--to").arg(&package);
    command.args(["--target", "cpu", "--no-verify", "--level", "fast", "--cold", "keep"]);
    // What compiles an extension asks for it, and torch 2.6.0 does not say that it does.
    command.args(["--keep", "setuptools", "--", "python", "-c", "import torch"]);
    packages::quietly(&mut command)?;
    Ok(package)
}

/// The environment and its package.
pub struct Two {
    /// The environment.
    pub original: Place,
    /// Its package.
    pub package: Place,
}

/// Where the outcomes of one file are kept.
pub struct Logs<'a> {
    /// The folder of those in the environment.
    pub original: &'a Path,
    /// And in the package.
    pub package: &'a Path,
    /// The file's name there.
    pub name: &'a str,
}

/// How tests ended in the two places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed in both.
    pub same: usize,
    /// Did not pass in the original.
    pub not_before: usize,
    /// Passed in the original, not in the package, and then as in the other.
    pub chance: usize,
    /// Pass in the original and not in the package.
    pub different: usize,
}

impl Two {
    /// Runs tests of a file in both places. `None` if `until` came before the end.
    pub fn compare(
        &self,
        tests: &[String],
        logs: &Logs<'_>,
        until: Option<Instant>,
    ) -> Result<Option<Counts>> {
        let log = |folder: &Path| folder.join(format!("{}.log", logs.name));
        let (before, after) = (log(logs.original), log(logs.package));
        if !self.original.run(tests, &before, until)? || !self.package.run(tests, &after, until)? {
            return Ok(None);
        }
        let (before, after) = (pytorch_runs::outcomes(&before)?, pytorch_runs::outcomes(&after)?);
        let mut counts = Counts::default();
        for test in tests {
            let (Some(old), Some(new)) = (before.get(test), after.get(test)) else {
                bail!("{test} has no outcome");
            };
            match (old, new) {
                (Outcome::Passed, Outcome::Passed) => counts.same += 1,
                (Outcome::Passed, _) => match self.again(test, tests, logs, until)? {
                    None => return Ok(None),
                    Some(true) => {
                        println!("DIFFERS {test}: {new}");
                        counts.different += 1;
                    }
                    Some(false) => {
                        println!("CHANCE {test}: {new}");
                        counts.chance += 1;
                    }
                },
                _ => counts.not_before += 1,
            }
        }
        if let Some(end) = tests.first().map(|test| pytorch_runs::exit(test))
            && before.get(&end) == Some(&Outcome::Passed)
            && let Some(new @ Outcome::Died(_)) = after.get(&end)
        {
            println!("DIFFERS {end}: {new}");
            counts.different += 1;
        }
        Ok(Some(counts))
    }

    /// Whether a test that did not pass in the package does so again: alone, twice in both
    /// places, or after those that come before it in its class. It does not count if the
    /// original fails too.
    fn again(
        &self,
        test: &str,
        tests: &[String],
        logs: &Logs<'_>,
        until: Option<Instant>,
    ) -> Result<Option<bool>> {
        let class = |test: &str| test.rsplit_once('.').map(|(class, _)| class.to_owned());
        let mut company: Vec<String> =
            tests.iter().filter(|other| class(other) == class(test)).cloned().collect();
        company.truncate(company.iter().position(|other| other == test).map_or(0, |at| at + 1));
        let alone = vec![test.to_owned()];
        let mut fails = false;
        let hash = &blake3::hash(test.as_bytes()).to_hex()[..12];
        for (turn, tests) in [&alone, &alone, &company].into_iter().enumerate() {
            for (what, place) in [("original", &self.original), ("package", &self.package)] {
                let log = logs.package.join(format!("{}.{hash}.{what}.{turn}", logs.name));
                if !place.run(tests, &log, until)? {
                    return Ok(None);
                }
                let passed = pytorch_runs::outcomes(&log)?.get(test) == Some(&Outcome::Passed);
                match what {
                    "original" if !passed => return Ok(Some(false)),
                    _ => fails |= !passed,
                }
            }
            // What fails alone needs no company.
            if turn == 1 && fails {
                break;
            }
        }
        Ok(Some(fails))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_test_once() {
        let tests: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let all: Vec<String> = ["1/3", "2/3", "3/3"]
            .iter()
            .flat_map(|part| Part::parse(part).unwrap().take(&tests).to_vec())
            .collect();
        assert_eq!(all, tests);
        for wrong in ["", "1", "0/2", "3/2", "1/0", "a/b", "-1/2"] {
            assert!(Part::parse(wrong).is_err(), "{wrong}");
        }
    }
}
