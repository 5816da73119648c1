//! `cargo xtask operators`: PyTorch's own operator database, in the original environment
//! and in a package.

use crate::examples::{self, Example};
use crate::{packages, python, runs, setup};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What the task runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// A package of `--cold drop` that was traced with `add` alone: each call must give the
    /// original's result or taper's error, and no process may die.
    #[arg(long)]
    pub drop: bool,
    /// The device that the package is for.
    #[arg(long, default_value = "cpu")]
    pub target: String,
    /// With `--drop`: each group of so many operators in a process of its own.
    #[arg(long, default_value_t = 1)]
    pub isolate: u32,
}

/// What every error of taper's says.
const REFUSED: &str = "is not in this package";

/// Operators of every part of PyTorch, for checks that take seconds.
pub const SAMPLE: &str = "add,cumsum,linalg.svd,nn.functional.conv3d,fft.rfft,sort,einsum,logsumexp,\
nn.functional.ctc_loss,special.bessel_j0,cholesky_solve,histogramdd,nn.functional.grid_sample,\
topk,scatter_reduce,unique,nn.functional.interpolate,stft,masked.var,ops.nvprims.view";

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    let taper = packages::build()?;
    let place = tempfile::tempdir()?;
    let (package, original) = (place.path().join("package"), place.path().join("original.txt"));
    let start = Instant::now();
    digest(None, &original, &[])?;
    let before = start.elapsed();
    pack(&taper, &package, &arguments.target, arguments.drop)?;
    let isolate = ["--isolate".to_owned(), arguments.isolate.to_string()];
    let words = if arguments.drop { &isolate[..] } else { &[] };
    let (found, start) = (place.path().join("package.txt"), Instant::now());
    let died = digest(Some(&package), &found, words);
    let ratio = start.elapsed().as_secs_f64() / before.as_secs_f64();
    let counts = Counts::of(&original, &found)?;
    println!("{counts:?}; {ratio:.2} times the original's time");
    died?;
    if counts.other > 0 || (!arguments.drop && counts.refused + counts.missing > 0) {
        bail!("the package does not do what the original does");
    }
    Ok(())
}

/// Packs for a `target` what `import torch`, or the database's `add`, uses.
pub fn pack(taper: &Path, package: &Path, target: &str, drop: bool) -> Result<()> {
    let example = Example::named("classify")?;
    let mut command = Command::new(taper);
    command.arg("pack").arg("--python").arg(example.python()?).arg("--to").arg(package);
    command.args(["--target", target, "--no-verify", "--level", "fast", "--cold"]);
    command.arg(if drop { "drop" } else { "keep" }).args(["--", "python"]);
    if drop {
        command.arg(script()).args(["--ops", "add", "-o", "/dev/null"]);
        command.env("PYTHONPATH", setup::database_modules()?);
    } else {
        command.args(["-c", "import torch"]);
    }
    packages::quietly(&mut command)?;
    Ok(())
}

/// Runs the database in a package, or in the original environment, and writes a line for
/// each call to `out`.
pub fn digest(package: Option<&Path>, out: &Path, words: &[String]) -> Result<()> {
    let example = Example::named("classify")?;
    let original = example.python()?;
    let scratch = tempfile::tempdir()?;
    let bare = python::bare(&original, &scratch.path().join("bare"))?;
    let mut command = Command::new(if package.is_some() { &bare } else { &original });
    let mut paths: Vec<PathBuf> = package.map(Path::to_path_buf).into_iter().collect();
    paths.push(setup::database_modules()?);
    command.env_clear().env("PYTHONPATH", std::env::join_paths(paths)?);
    command.env("PYTHONHASHSEED", "0").env("HOME", scratch.path());
    command.arg(script()).arg("-o").arg(out).args(words);
    let _ = runs::hiding();
    packages::quietly(&mut command)?;
    Ok(())
}

/// Lines of the database's digest in two places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The same in both.
    pub same: usize,
    /// Taper's error.
    pub refused: usize,
    /// Neither.
    pub other: usize,
    /// Not there.
    pub missing: usize,
}

impl Counts {
    /// All calls in the original.
    pub fn all(&self) -> usize {
        self.same + self.refused + self.other + self.missing
    }

    /// Compares the lines of `found` with those of `original`, which may have more.
    pub fn of(original: &Path, found: &Path) -> Result<Self> {
        let (before, after) = (lines(original)?, lines(found)?);
        let mut counts = Self::default();
        for (call, result) in &after {
            match before.get(call) {
                Some(expected) if expected == result => counts.same += 1,
                _ if result.contains(REFUSED) => counts.refused += 1,
                _ => {
                    eprintln!("{call}: {result}");
                    counts.other += 1;
                }
            }
        }
        counts.missing = before.keys().filter(|call| !after.contains_key(*call)).count();
        Ok(counts)
    }
}

/// What the runtime says of a chunk that it brought back: its pages, and the microseconds that it
/// took. `None` of another line.
pub fn chunk(line: &str) -> Option<(u64, f64)> {
    // taper: brought back 14 pages of torch/lib/libtorch_cpu.so for 0x1234 in 170 us
    let words: Vec<&str> = line.strip_prefix("taper: brought back ")?.split(' ').collect();
    let [pages, "pages", .., time, "us"] = words[..] else { return None };
    Some((pages.parse().ok()?, time.parse().ok()?))
}

/// Results by operator, variant and number, which tabs divide.
///
/// # Errors
/// Where the file cannot be read.
pub fn lines(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
    let split = |line: &str| {
        line.rsplit_once('\t').map(|(call, result)| (call.to_owned(), result.to_owned()))
    };
    Ok(text.lines().filter_map(split).collect())
}

fn script() -> OsString {
    examples::repository().join("xtask/checks/operators.py").into()
}
