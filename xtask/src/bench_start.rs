//! What a package takes to start, in time and memory, beside the original.

use crate::examples::Example;
use crate::measure::{self, Cost, Summary};
use crate::runs::Place;
use crate::{python, shell};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

/// Starts the original and the package in turn, so that both see the same machine.
pub fn starting(example: Example, times: u32, scratch: &Path, package: &Path) -> Result<()> {
    let original = example.python()?;
    let bare = python::bare(&original, &scratch.join("bare"))?;
    let places = [
        Place::Original(&original),
        Place::Package { bare: &bare, folder: package, hidden: false },
    ];
    let import: [OsString; 2] = ["-c".into(), "import torch".into()];
    let workload: [OsString; 1] = [example.script().into()];
    let programs: [(&str, &[OsString]); 2] =
        [("import torch", &import), ("import and first inference", &workload)];

    println!("\nstart, median (least–greatest) of {times} runs each, original and package in turn");
    for emptied in [false, true] {
        let cache = if emptied { "emptied page cache" } else { "warm" };
        if emptied && !measure::may_empty_page_cache() {
            println!("  {cache}: skipped, only root can empty the page cache");
            continue;
        }
        for (name, words) in programs {
            let mut costs: [Vec<Cost>; 2] = [Vec::new(), Vec::new()];
            for turn in 0..=times {
                eprintln!("{name}, {cache}, {turn} of {times}");
                for (place, costs) in places.iter().zip(&mut costs) {
                    let mut command = place.python(words, &[])?;
                    command.stdout(Stdio::null()).stderr(Stdio::null());
                    if emptied {
                        measure::empty_page_cache()?;
                    }
                    let cost = measure::measure(&mut command)?;
                    if !cost.status.success() {
                        bail!("{} failed: {}", shell::line(&command), cost.status);
                    }
                    if turn > 0 {
                        costs.push(cost);
                    }
                }
            }
            println!("  {name}, {cache}");
            tell("seconds", &costs, 2, |cost| cost.wall.as_secs_f64())?;
            tell("memory, MB", &costs, 0, |cost| cost.peak as f64 / 1e6)?;
        }
    }
    Ok(())
}

/// One line: original, package, and the ratio of the medians with the range of the
/// ratios of neighbouring runs.
fn tell(
    unit: &str,
    [original, package]: &[Vec<Cost>; 2],
    digits: usize,
    value: fn(&Cost) -> f64,
) -> Result<()> {
    let summary =
        |costs: &[Cost]| Summary::of(costs.iter().map(value)).context("nothing was measured");
    let (before, after) = (summary(original)?, summary(package)?);
    let pairs = original.iter().zip(package).map(|(before, after)| value(after) / value(before));
    let mut ratio = Summary::of(pairs).context("nothing was measured")?;
    ratio.median = after.median / before.median;
    println!("    {unit:<11} {before:<24.digits$} → {after:<24.digits$} × {ratio:.2}");
    Ok(())
}
