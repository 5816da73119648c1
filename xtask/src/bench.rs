//! `cargo xtask bench`: what packing costs, and what a package takes to start and run.

use crate::examples::{self, Example};
use crate::{
    bench_cold, bench_modules, bench_packing, bench_start, bench_workers, packages, setup,
};
use anyhow::{Context, Result};
use std::fs;

/// Flags of the task.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The example to measure.
    #[arg(long, default_value = "classify")]
    example: String,
    /// Measured runs in each place.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measured packings.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    packings: u32,
    /// One part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The levels that are measured, in this order; a level may be there more than once.
    #[arg(long, value_delimiter = ',', default_values = ["fast", "max", "default"])]
    levels: Vec<String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Packing, beside copying.
    Packing,
    /// Start, first inference and memory, beside the original.
    Start,
    /// Tracing, beside the program alone.
    Tracing,
    /// The levels of compression.
    Levels,
    /// Bringing cold pages back.
    Faults,
    /// Inferences once all is there, beside the original.
    Steady,
    /// Importing modules that no workload imported, beside the original.
    Modules,
    /// The memory of eight worker processes, beside the original.
    Workers,
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    let example = Example::named(&arguments.example)?;
    setup::run()?;
    let taper = packages::build()?;
    // In the target folder: the system's folder for temporary files may be memory.
    let target = examples::repository().join("target");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(&target)?;
    let package = scratch.path().join("package");

    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    if wanted(Part::Packing) {
        bench_packing::packing(&taper, example, arguments.packings, scratch.path(), &package)?;
    }
    if wanted(Part::Start) {
        bench_packing::remove(&package)?;
        packages::quietly(&mut packages::pack(&taper, example, &package, "keep", &[])?)?;
        bench_start::starting(example, arguments.runs, scratch.path(), &package)?;
    }
    if wanted(Part::Tracing) {
        bench_packing::tracing(&taper, example, arguments.runs, scratch.path())?;
    }
    if wanted(Part::Levels) {
        let (levels, times) = (&arguments.levels, arguments.packings);
        bench_packing::levels(&taper, levels, times, scratch.path(), &package)?;
    }
    if wanted(Part::Faults) {
        bench_cold::faults(&taper, scratch.path())?;
    }
    if wanted(Part::Steady) {
        bench_cold::steady(&taper, arguments.packings.max(4), scratch.path())?;
    }
    if wanted(Part::Modules) {
        bench_modules::importing(&taper, arguments.packings.max(5), scratch.path())?;
    }
    if wanted(Part::Workers) {
        bench_workers::memory(&taper, arguments.packings, scratch.path())?;
    }
    Ok(())
}
