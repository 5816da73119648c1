//! What it takes to bring cold pages back, and what a program pays once they are there.

use crate::examples::{self, Example};
use crate::measure::Summary;
use crate::operators;
use crate::runs::Place;
use crate::{packages, python, setup, shell};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::Path;

/// Runs a part of the operator database in a package that was traced with `import torch`,
/// and says what bringing back one chunk took.
pub fn faults(taper: &Path, scratch: &Path) -> Result<()> {
    let example = Example::named("classify")?;
    let package = scratch.join("faults");
    let mut pack = std::process::Command::new(taper);
    pack.arg("pack").arg("--python").arg(example.python()?).arg("--to").arg(&package);
    packages::quietly(pack.args(["--no-verify", "--", "python", "-c", "import torch"]))?;
    let bare = python::bare(&example.python()?, &scratch.join("bare-faults"))?;
    let paths = std::env::join_paths([&package, &setup::database_modules()?])?;
    let script = examples::repository().join("xtask/checks/operators.py");
    let mut command = std::process::Command::new(bare);
    command.env_clear().env("PYTHONPATH", paths).env("TAPER_LOG", "1").env("HOME", scratch);
    command.arg(script).args(["-o", "/dev/null", "--ops", operators::SAMPLE]);
    let done = command.output().with_context(|| shell::line(&command))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        bail!("{} failed: {}\n{said}", shell::line(&command), done.status);
    }
    let all: Vec<(u64, f64)> = said.lines().filter_map(operators::chunk).collect();
    let pages: u64 = all.iter().map(|(pages, _)| pages).sum();
    let time = Summary::of(all.iter().map(|(_, time)| *time)).context("nothing was cold")?;
    println!(
        "\ncold faults, {} chunks, {:.1} MB brought back",
        all.len(),
        (pages * 4096) as f64 / 1e6
    );
    println!("  microseconds for a chunk                 {time:.0}");
    Ok(())
}

/// Runs inferences in the original and in a package in turn.
pub fn steady(taper: &Path, times: u32, scratch: &Path) -> Result<()> {
    println!(
        "\nsteady state, milliseconds of one inference, one thread; medians of {times} runs of 60, in turn"
    );
    for name in ["classify", "embed"] {
        let example = Example::named(name)?;
        let package = scratch.join(format!("steady-{name}"));
        let flags: [OsString; 3] = ["--no-verify".into(), "--level".into(), "fast".into()];
        packages::quietly(&mut packages::pack(taper, example, &package, "keep", &flags)?)?;
        let original = example.python()?;
        let bare = python::bare(&original, &scratch.join(format!("bare-{name}")))?;
        let places = [
            Place::Original(&original),
            Place::Package { bare: &bare, folder: &package, hidden: false },
        ];
        let script: [OsString; 3] = ["xtask/checks/steady.py".into(), name.into(), "60".into()];
        let mut medians = [Vec::new(), Vec::new()];
        for turn in 0..times {
            eprintln!("steady state of {name}, {turn} of {times}");
            for (place, medians) in places.iter().zip(&mut medians) {
                let said = shell::output(&mut place.python(&script, &[])?)?;
                let one = Summary::of(said.lines().filter_map(|line| line.parse().ok()));
                medians.push(one.context("it printed no times")?.median);
            }
        }
        let [before, after] = medians.map(|all| Summary::of(all).context("nothing was measured"));
        let (before, after) = (before?, after?);
        let ratio = after.median / before.median;
        println!("  {name:<40} {before:<22} → {after:<22} × {ratio:.3}");
    }
    Ok(())
}
