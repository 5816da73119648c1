//! `cargo xtask bench`: what packing costs, and what a package takes to start and run.

use crate::examples::{self, Example};
use crate::measure::{self, Cost, Summary};
use crate::packages::{self, Description};
use crate::runs::Place;
use crate::{python, setup, shell};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

    packing(&taper, example, arguments.packings, scratch.path(), &package)?;
    starting(example, arguments.runs, scratch.path(), &package)
}

/// Packs some times and leaves the last package in `package`.
fn packing(
    taper: &Path,
    example: Example,
    times: u32,
    scratch: &Path,
    package: &Path,
) -> Result<()> {
    let profile = scratch.join("workload.profile");
    let mut trace = Command::new(taper);
    trace.arg("trace").arg("-o").arg(&profile).arg("--python").arg(example.python()?);
    trace.args(["--target", "cpu", "--", "python"]).arg(example.script());
    trace.current_dir(examples::repository());
    let mut from_profile = Command::new(taper);
    from_profile.arg("pack").arg("--python").arg(example.python()?).arg("--to").arg(package);
    from_profile.args(["--target", "cpu", "--cold", "drop", "--no-verify", "--profile"]);
    from_profile.arg(&profile).current_dir(examples::repository());
    let mut whole = packages::pack(taper, example, package, "drop", &[])?;

    let mut seconds = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut peak = 0;
    let copy = scratch.join("copy");
    // The first turn warms the page cache for every step.
    for turn in 0..=times {
        eprintln!("packing {}, {turn} of {times}", example.name);
        let mut costs = Vec::new();
        for (command, made) in [
            (&mut trace, &profile),
            (&mut from_profile, &package.into()),
            (&mut whole, &package.into()),
        ] {
            remove(made)?;
            costs.push(packages::quietly(command)?);
        }
        let mut copying = copy_sources(example, package, &copy)?;
        costs.push(packages::quietly(&mut copying)?);
        remove(&copy)?;
        if turn > 0 {
            // The workload's own memory is no part of it: this one neither traces nor verifies.
            peak = peak.max(costs[1].peak);
            for (all, one) in seconds.iter_mut().zip(costs) {
                all.push(one.wall.as_secs_f64());
            }
        }
    }
    let description = Description::of(package)?;
    println!(
        "{}: {:.1} MB in {} files, from {:.1} MB in {} files\n",
        example.name,
        description.bytes as f64 / 1e6,
        description.files,
        description.original_bytes as f64 / 1e6,
        description.original_files
    );
    let [trace, from_profile, whole, copy] = seconds.map(Summary::of);
    let copy = copy.context("nothing was copied")?;
    println!("packing, seconds, median (least–greatest) of {times}");
    for (name, one) in [
        ("cp -a of the originals of its libraries", Some(copy)),
        ("trace", trace),
        ("pack from a profile, without verifying", from_profile),
        ("pack with trace and verification", whole),
    ] {
        let one = one.context("nothing was measured")?;
        println!("  {name:<40} {one:<22} × {:.2}", one.median / copy.median);
    }
    println!("peak memory of pack from a profile: {:.0} MB", peak as f64 / 1e6);
    Ok(())
}

/// `cp -a` of the originals of every library in the package.
fn copy_sources(example: Example, package: &Path, to: &Path) -> Result<Command> {
    let print = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let environment = shell::output(Command::new(example.python()?).args(["-c", print]))?;
    let environment = PathBuf::from(environment.trim());
    let mut libraries = Vec::new();
    for (file, _) in packages::files(package)? {
        let name = file.strip_prefix(package)?.to_path_buf();
        if is_elf(&file)? && environment.join(&name).is_file() {
            libraries.push(name);
        }
    }
    if libraries.is_empty() {
        bail!("{} has no library that its environment has", package.display());
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut command = Command::new("cp");
    command.args(["-a", "--parents", "--target-directory"]).arg(to).args(libraries);
    command.current_dir(environment);
    Ok(command)
}

fn is_elf(file: &Path) -> Result<bool> {
    let mut magic = Vec::new();
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    open.take(4).read_to_end(&mut magic)?;
    Ok(magic == *b"\x7fELF")
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Starts the original and the package in turn, so that both see the same machine.
fn starting(example: Example, times: u32, scratch: &Path, package: &Path) -> Result<()> {
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
