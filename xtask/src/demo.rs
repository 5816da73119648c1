//! `cargo xtask demo`: two programs before and after.

use crate::examples::{self, Example};
use crate::measure::{Cost, Summary};
use crate::packages::{self, Description};
use crate::runs::{self, Place};
use crate::{python, setup};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Measured runs in each place, after one that warms the page cache.
const RUNS: usize = 3;

/// Runs the task.
pub fn run() -> Result<()> {
    setup::environment(examples::BASE)?;
    let taper = packages::build()?;
    let place = examples::repository().join("target/demo");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot empty {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let shown: Vec<Shown> = [("classify", "keep"), ("classify", "drop"), ("train", "drop")]
        .into_iter()
        .map(|(name, cold)| {
            // One environment has what both need.
            let example = Example { environment: examples::BASE, ..Example::named(name)? };
            show(&taper, example, cold, &place)
        })
        .collect::<Result<_>>()?;

    println!("{:<16}{:>20}{:>18}{:>16}{:>16}", "", "size, MB", "files", "run, s", "memory, MB");
    for one in &shown {
        let change = |before: f64, after: f64, digits: usize| {
            format!("{before:.digits$} → {after:.digits$}")
        };
        let about = &one.description;
        println!(
            "{:<16}{:>20}{:>18}{:>16}{:>16}",
            one.name,
            change(about.original_bytes as f64 / 1e6, about.bytes as f64 / 1e6, 1),
            change(about.original_files as f64, about.files as f64, 0),
            change(one.original.seconds, one.packed.seconds, 2),
            change(one.original.megabytes, one.packed.megabytes, 0),
        );
    }
    println!("\nrun: from start to end, import and first inference included; median of {RUNS}.");
    match runs::hiding() {
        Some(_) => println!("The packages ran with every original environment hidden from them,"),
        None => println!(
            "The packages ran over a Python with nothing installed (the originals\ncannot be hidden here without root),"
        ),
    }
    println!(
        "with no environment variables. Standard output and files were the same, byte for byte."
    );
    println!("\nTo run one: ");
    for one in &shown {
        let package = format!("target/demo/{}", one.name);
        println!(
            "  PYTHONPATH={package} python{} {}",
            python::VERSION,
            one.example.script().display()
        );
    }
    Ok(())
}

struct Shown {
    name: String,
    example: Example,
    description: Description,
    original: Medians,
    packed: Medians,
}

struct Medians {
    seconds: f64,
    megabytes: f64,
}

impl Medians {
    fn of(costs: &[Cost]) -> Result<Self> {
        let median = |value: fn(&Cost) -> f64| {
            Summary::of(costs.iter().map(value)).map(|summary| summary.median)
        };
        let seconds = median(|cost| cost.wall.as_secs_f64()).context("nothing was measured")?;
        let megabytes = median(|cost| cost.peak as f64 / 1e6).context("nothing was measured")?;
        Ok(Self { seconds, megabytes })
    }
}

fn show(taper: &Path, example: Example, cold: &str, place: &Path) -> Result<Shown> {
    let name = format!("{}-{cold}", example.name);
    let package = place.join(&name);
    eprintln!("packing {} with --cold {cold}", example.name);
    packages::quietly(&mut packages::pack(taper, example, &package, cold, &[])?)?;
    let description = Description::of(&package)?;
    if description.verified != Some(true) {
        bail!("{} says that it was not verified", package.display());
    }

    let scratch = tempfile::tempdir()?;
    let original = example.python()?;
    let bare = python::bare(&original, &scratch.path().join("bare"))?;
    let hidden = runs::hiding().is_some();
    let mut costs = (Vec::new(), Vec::new());
    for turn in 0..=RUNS {
        eprintln!("running {}, {turn} of {RUNS}", example.name);
        let (expected, before) = runs::run(example, Place::Original(&original), &[])?;
        let in_package = Place::Package { bare: &bare, folder: &package, hidden };
        let (found, after) = runs::run(example, in_package, &[])?;
        expected.check(&found).with_context(|| format!("{} from its package", example.name))?;
        if turn > 0 {
            costs.0.push(before);
            costs.1.push(after);
        }
    }
    let (original, packed) = (Medians::of(&costs.0)?, Medians::of(&costs.1)?);
    Ok(Shown { name, example, description, original, packed })
}
