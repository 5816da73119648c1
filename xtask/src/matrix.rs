//! `cargo xtask matrix`: packages of several versions of PyTorch, made with several versions of
//! Python. One environment at a time is on the disk, and what is known of a pair stays in the
//! cache folder, so that a run that was stopped goes on.

use crate::interpreters::{self, Machine};
use crate::matrix_cell::{self, Cell, Figures, Place};
use crate::{examples, matrix_table, packages, python, setup, shell};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Each PyTorch once and each Python once, and the corners: the oldest of both, the newest of
/// both, and each with the other's limit.
const CELLS: [Cell; 7] = [
    Cell { torch: "2.4.1", minor: 10 },
    Cell { torch: "2.4.1", minor: 12 },
    Cell { torch: "2.6.0", minor: 13 },
    Cell { torch: "2.9.1", minor: 12 },
    Cell { torch: "2.12.0", minor: 14 },
    Cell { torch: "2.15.0", minor: 11 },
    Cell { torch: "2.15.0", minor: 15 },
];

/// Samples of each operator.
const SAMPLES: u32 = 4;

/// What the task runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// These pairs of PyTorch and Python alone, as `2.6.0/3.13`.
    #[arg(long, value_delimiter = ',', value_name = "TORCH/PYTHON,…")]
    only: Vec<String>,
    /// Whatever is known of a pair.
    #[arg(long)]
    again: bool,
    /// The whole operator database instead of the first four samples of each operator.
    #[arg(long)]
    whole: bool,
    /// Write the table of what is known, and run nothing.
    #[arg(long)]
    table: bool,
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    let named = |cell: &Cell| arguments.only.is_empty() || arguments.only.contains(&cell.name());
    if let Some(unknown) =
        arguments.only.iter().find(|name| !CELLS.iter().any(|cell| cell.name() == **name))
    {
        let known = CELLS.map(|cell| cell.name()).join(", ");
        bail!("there is no pair {unknown:?}; the pairs are {known}");
    }
    let folder = examples::cache()?.join("matrix");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = |cell: &Cell| folder.join(format!("{}.json", cell.name().replace('/', "-")));
    if !arguments.table {
        let _lock = setup::lock_on("matrix")?;
        let taper = packages::build()?;
        let program = blake3::hash(&fs::read(&taper)?).to_hex()[..12].to_owned();
        for cell in CELLS.iter().filter(|cell| named(cell)) {
            let known = known(&file(cell)).is_some_and(|figures| {
                figures.taper == program && figures.sample != arguments.whole
            });
            if known && !arguments.again {
                eprintln!("{}: known", cell.name());
                continue;
            }
            let mut figures = measured(*cell, &taper, &folder, !arguments.whole)?;
            figures.taper.clone_from(&program);
            fs::write(file(cell), serde_json::to_vec_pretty(&figures)?)?;
            for (step, why) in &figures.failures {
                eprintln!("{}: {step}: {why}", cell.name());
            }
        }
    }
    let all: Vec<(Cell, Option<Figures>)> =
        CELLS.iter().map(|cell| (*cell, known(&file(cell)))).collect();
    let page = examples::repository().join("docs/versions.md");
    fs::write(&page, matrix_table::page(&all))
        .with_context(|| format!("cannot write {}", page.display()))?;
    eprintln!("wrote {}", page.display());
    let bad = all.iter().filter(|(cell, figures)| {
        named(cell) && !figures.as_ref().is_some_and(|figures| figures.failures.is_empty())
    });
    let bad: Vec<String> = bad.map(|(cell, _)| cell.name()).collect();
    if !bad.is_empty() {
        bail!("not all holds with {}", bad.join(", "));
    }
    Ok(())
}

/// What a file says of a pair; `None` where there is none of this format.
fn known(file: &Path) -> Option<Figures> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Makes the environment of a pair, measures in it, and removes it.
fn measured(cell: Cell, taper: &Path, folder: &Path, sample: bool) -> Result<Figures> {
    let (machine, base) = match interpreters::interpreter(cell.minor, taper) {
        Ok(found) => found,
        Err(error) => {
            return Ok(Figures::impossible("interpreter", &error));
        }
    };
    let environment = folder.join("environment");
    let work = folder.join("work");
    setup::remove(&environment)?;
    setup::remove(&work)?;
    fs::create_dir_all(&work)?;
    let python = match made(cell, &machine, &base, &environment) {
        Ok(python) => python,
        Err(error) => return Ok(Figures::impossible("installation", &error)),
    };
    let each = sample.then_some(SAMPLES);
    let (taper, work) = (taper.into(), work);
    let place = Place { machine, base, python, taper, work, each };
    let figures = matrix_cell::measure(cell, &place);
    let figures = figures.unwrap_or_else(|error| Figures::impossible("environment", &error));
    setup::remove(&environment)?;
    setup::remove(&place.work)?;
    Ok(figures)
}

/// Makes an environment, and gives its interpreter.
///
/// # Errors
/// Where no wheel fits, or it cannot be installed.
pub fn made(cell: Cell, machine: &Machine, base: &Path, folder: &Path) -> Result<PathBuf> {
    eprintln!("making {} with {} (some minutes, 7 GB)", folder.display(), cell.name());
    shell::run(machine.command(base).args(["-m", "venv"]).arg(folder))?;
    let python = folder.join("bin/python");
    let mut install = machine.command(&python);
    // Were the environment gone meanwhile, its interpreter would be the one that it is built on.
    install.args([
        "-m",
        "pip",
        "--require-virtualenv",
        "install",
        "--no-input",
        "--quiet",
        "--no-cache-dir",
    ]);
    install.args(["--compile", "--disable-pip-version-check"]);
    install.arg(format!("torch=={}", cell.torch)).args(["torchvision", "numpy", "pillow"]);
    shell::run(&mut install)?;
    Ok(python)
}

/// The folder of an environment of another PyTorch than the examples' and, where this machine has
/// one, of another Python; it is made unless it is there. Normal tests run in it.
///
/// # Errors
/// As [`made`].
pub fn other() -> Result<PathBuf> {
    let _lock = setup::lock()?;
    let found =
        [13, 12, 10].into_iter().find_map(|minor| Some((minor, python::with_minor(minor)?)));
    let (minor, base) = match found {
        Some(found) => found,
        None => (11, setup::base_python()?),
    };
    let cell = Cell { torch: "2.6.0", minor };
    let folder = examples::environment("other")?;
    let stamp = folder.with_file_name("env-other.stamp");
    if !fs::read_to_string(&stamp).is_ok_and(|text| text == cell.name()) {
        setup::remove(&folder)?;
        made(cell, &Machine::own(), &base, &folder)?;
        fs::write(&stamp, cell.name())
            .with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(folder)
}
