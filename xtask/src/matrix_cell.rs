//! What is measured of one PyTorch with one Python.

use crate::interpreters::Machine;
use crate::measure::{self, Summary};
use crate::operators::{self, Counts};
use crate::packages::{self, Description};
use crate::{examples, setup, shell};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A PyTorch and a Python.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// The version of PyTorch.
    pub torch: &'static str,
    /// The minor version of Python 3.
    pub minor: u32,
}

impl Cell {
    /// As `2.6.0/3.13`.
    pub fn name(&self) -> String {
        format!("{}/3.{}", self.torch, self.minor)
    }
}

/// Where it is measured.
#[derive(Debug)]
pub struct Place {
    /// Where all runs.
    pub machine: Machine,
    /// The interpreter that the environment is built on.
    pub base: PathBuf,
    /// The environment's.
    pub python: PathBuf,
    /// Taper.
    pub taper: PathBuf,
    /// A folder for what is made.
    pub work: PathBuf,
    /// So many samples of each operator of PyTorch's database; all without.
    pub each: Option<u32>,
}

/// Sizes of an example's packages in bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sizes {
    /// With code that no run needed.
    pub keep: u64,
    /// Without.
    pub drop: u64,
}

/// What was seen of a pair.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// A hash of the taper that was used.
    pub taper: String,
    /// The day, as `2026-12-01`.
    pub date: String,
    /// The C library.
    pub libc: String,
    /// The exact version of Python.
    pub python: String,
    /// Of torchvision.
    pub torchvision: String,
    /// Bytes of the environment.
    pub original: u64,
    /// By example.
    pub sizes: BTreeMap<String, Sizes>,
    /// Of a package of `import torch` with all that a CPU can run.
    pub import: u64,
    /// By module that begins a group: what speaks against deferring it; nothing does where it is.
    pub deferred: BTreeMap<String, Vec<String>>,
    /// Times of `import torch` as parts of the original's: as packed, and with `TAPER_EAGER=1`.
    pub start: Option<(Summary, Summary)>,
    /// Whether the operators were a sample.
    pub sample: bool,
    /// Calls of operators: the same ones, and all.
    pub operators: (usize, usize),
    /// Those of the others that vary in the original.
    #[serde(default)]
    pub varying: usize,
    /// Chunks that came back meanwhile, and microseconds for each.
    pub chunks: Option<(usize, Summary)>,
    /// Programs that watch what PyTorch registers and that see the same.
    pub observers: Vec<String>,
    /// Those of them that differed in a run and agreed in others, as the original does with itself.
    #[serde(default)]
    pub observers_varying: Vec<String>,
    /// Those that fail in the original.
    pub unable: Vec<String>,
    /// What did not hold, by step.
    pub failures: BTreeMap<String, String>,
}

impl Figures {
    /// Where nothing could be measured.
    pub fn impossible(step: &str, why: &anyhow::Error) -> Self {
        let failures = BTreeMap::from([(step.to_owned(), brief(why))]);
        Self { failures, date: today().unwrap_or_default(), ..Self::default() }
    }
}

/// Runs of `import torch` in each place.
const RUNS: u32 = 10;

/// Seconds that a program may take.
const LIMIT: &str = "1800";

/// Programs of `xtask/checks/observers` that need a compiler or are no program.
const OTHERS: [&str; 4] = ["compile", "digest", "extension", "inductor"];

/// Adds what it sees to the figures.
type Step = fn(&Place, &mut Figures) -> Result<()>;

/// Measures all, and says of each step that fails why.
///
/// # Errors
/// Only where the environment itself cannot be asked.
pub fn measure(cell: Cell, place: &Place) -> Result<Figures> {
    let sample = place.each.is_some();
    let mut figures = Figures { sample, date: today()?, ..Figures::default() };
    let program = "import platform, torch, torchvision
print(platform.python_version(), platform.libc_ver()[1], torchvision.__version__)";
    let mut ask = place.python(&place.python, &[], &[]);
    let said = shell::output(ask.args(["-W", "ignore", "-c", program]))?;
    let words: Vec<&str> = said.split_whitespace().collect();
    let [python, libc, torchvision] = words[..] else { bail!("versions are {said:?}") };
    figures.python = python.into();
    figures.libc = libc.into();
    figures.torchvision = torchvision.into();

    let steps: [(&str, Step); 6] = [
        ("classify", |place, figures| example(place, "classify", figures)),
        ("train", |place, figures| example(place, "train", figures)),
        ("import torch", import),
        ("start", start),
        ("operators", database),
        ("observers", |place, figures| observers(place, &[], figures)),
    ];
    for (name, step) in steps {
        eprintln!("{}: {name}", cell.name());
        if let Err(error) = step(place, &mut figures) {
            figures.failures.insert(name.to_owned(), brief(&error));
        }
    }
    Ok(figures)
}

/// The most lines and characters of an error that are kept.
const LINES: usize = 6;
const LENGTH: usize = 300;

/// What an error says besides the command that failed: what programs call a warning or an error,
/// or else the last line. No path of this machine is in it.
fn brief(error: &anyhow::Error) -> String {
    let mut text = format!("{error:#}");
    let cache = examples::cache().unwrap_or_default();
    for place in [&cache, examples::repository()] {
        if place.is_absolute() {
            text = text.replace(&*place.to_string_lossy(), "…");
        }
    }
    let telling = |line: &&str| {
        ["warning: ", "error: "].iter().any(|begin| line.starts_with(begin))
            || line.contains("Error: ")
    };
    let marked: Vec<&str> = text.lines().filter(telling).take(LINES).collect();
    let kept = match (&marked[..], text.rsplit_once(" failed: ")) {
        ([], Some((_, rest))) => rest.to_owned(),
        ([], None) => text,
        _ => marked.join("\n"),
    };
    kept.chars().take(LENGTH).collect()
}

fn today() -> Result<String> {
    Ok(shell::output(Command::new("date").args(["-u", "+%F"]))?.trim().to_owned())
}

impl Place {
    /// `taper ARGS` there.
    fn taper(&self, args: &[&str]) -> Command {
        let mut command = self.machine.command(&self.taper);
        command.args(args).arg("--python").arg(&self.python);
        command
    }

    /// An interpreter there that imports from these folders as well, and has a folder of its own
    /// to write to.
    fn python(&self, python: &Path, paths: &[&Path], variables: &[(&str, &str)]) -> Command {
        let mut command = self.machine.command("timeout");
        command.args([LIMIT, "env", "-i", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0"]);
        command.args(["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"]);
        let word = |name: &str, value: &OsStr| {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            word
        };
        command.arg(word("HOME", self.work.as_os_str()));
        if let Ok(paths) = std::env::join_paths(paths) {
            command.arg(word("PYTHONPATH", &paths));
        }
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(python);
        command
    }

    /// The interpreter of an environment with nothing in it.
    fn bare(&self) -> Result<PathBuf> {
        let folder = self.work.join("bare");
        if !folder.exists() {
            let mut make = self.machine.command(&self.base);
            shell::output(make.args(["-m", "venv", "--without-pip"]).arg(&folder))?;
        }
        Ok(folder.join("bin/python"))
    }

    /// Runs PyTorch's operator database in the original, or in the package of `import torch`, and
    /// gives what it said besides the results in `out`.
    fn operators(&self, packed: bool, out: &Path, words: &[&str]) -> Result<String> {
        let modules = setup::database_modules()?;
        let mut command = if packed {
            self.python(&self.bare()?, &[&self.package(), &modules], &[("TAPER_LOG", "1")])
        } else {
            self.python(&self.python, &[&modules], &[])
        };
        command.arg("xtask/checks/operators.py").arg("-o").arg(out).args(words);
        if let Some(each) = self.each {
            command.args(["--each", &each.to_string()]);
        }
        let done = command.output().with_context(|| shell::line(&command))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if !done.status.success() {
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            bail!("{} failed: {}: {}", shell::line(&command), done.status, last.join(" | "));
        }
        Ok(said)
    }

    /// The package of `import torch`.
    fn package(&self) -> PathBuf {
        self.work.join("package")
    }
}

/// Packs an example from one profile, with and without cold code, and runs it in both packages.
fn example(place: &Place, name: &str, figures: &mut Figures) -> Result<()> {
    let script = format!("examples/{name}/{name}.py");
    let profile = place.work.join(format!("{name}.profile"));
    let mut trace = place.taper(&["trace"]);
    trace.arg("-o").arg(&profile).args(["--", "python", &script]);
    packages::quietly(&mut trace)?;
    let mut sizes = [0, 0];
    for (cold, size) in ["keep", "drop"].into_iter().zip(&mut sizes) {
        let package = place.work.join(format!("{name}-{cold}"));
        let mut pack = place.taper(&["pack", "--cold", cold]);
        pack.arg("--to").arg(&package).arg("--profile").arg(&profile);
        packages::quietly(pack.args(["--", "python", &script]))?;
        let about = Description::of(&package)?;
        if about.verified != Some(true) {
            bail!("the package with --cold {cold} was not verified");
        }
        (figures.original, *size) = (about.original_bytes, about.bytes);
        setup::remove(&package)?;
    }
    let [keep, drop] = sizes;
    figures.sizes.insert(name.to_owned(), Sizes { keep, drop });
    Ok(())
}

/// Packs `import torch`.
///
/// # Errors
/// Where it cannot be packed.
pub fn import(place: &Place, figures: &mut Figures) -> Result<()> {
    let package = place.package();
    let mut pack = place.taper(&["pack"]);
    packages::quietly(pack.arg("--to").arg(&package))?;
    figures.import = Description::of(&package)?.bytes;
    let about: Value = serde_json::from_slice(&fs::read(package.join("taper.json"))?)?;
    let groups = about["deferred"].as_object().context("taper.json has no \"deferred\"")?;
    for (root, group) in groups {
        let against = serde_json::from_value(group["objections"].clone())?;
        figures.deferred.insert(root.clone(), against);
    }
    Ok(())
}

/// Imports torch in turn.
fn start(place: &Place, figures: &mut Figures) -> Result<()> {
    let (bare, package) = (place.bare()?, place.package());
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for turn in 0..=RUNS {
        let mut commands = [
            place.python(&place.python, &[], &[]),
            place.python(&bare, &[&package], &[]),
            place.python(&bare, &[&package], &[("TAPER_EAGER", "1")]),
        ];
        for (command, times) in commands.iter_mut().zip(&mut times) {
            command.args(["-c", "import torch"]).stdout(Stdio::null()).stderr(Stdio::null());
            let cost = measure::measure(command)?;
            if !cost.status.success() {
                bail!("{} failed: {}", shell::line(command), cost.status);
            }
            if turn > 0 {
                times.push(cost.wall.as_secs_f64());
            }
        }
    }
    let [original, deferred, eager] = times;
    let ratio =
        |one: &[f64]| Summary::of(one.iter().zip(&original).map(|(after, before)| after / before));
    figures.start = ratio(&deferred).zip(ratio(&eager));
    Ok(())
}

/// Runs PyTorch's operator database in both places, once [`import`] has packed.
///
/// # Errors
/// Unless all results are the same, but for those that vary in the original.
pub fn database(place: &Place, figures: &mut Figures) -> Result<()> {
    let [before, after] = ["before.txt", "after.txt"].map(|name| place.work.join(name));
    place.operators(false, &before, &[])?;
    let said = place.operators(true, &after, &[])?;
    let counts = Counts::of(&before, &after)?;
    let varying = varying(place, &before, &after)?;
    figures.operators = (counts.same, counts.all());
    figures.varying = varying.len();
    let times: Vec<f64> = said.lines().filter_map(operators::chunk).map(|(_, time)| time).collect();
    figures.chunks = Some(times.len()).zip(Summary::of(times));
    if counts.same + varying.len() != counts.all() {
        bail!("{counts:?}, of which vary in the original: {varying:?}");
    }
    Ok(())
}

/// Runs in each place of operators whose results differ.
const TURNS: u32 = 6;

/// The calls whose results differ in two files and that are found to vary: the original has
/// several results, or one that the package has another time. Memory that nobody has written is
/// the reason for most of them.
fn varying(place: &Place, before: &Path, after: &Path) -> Result<BTreeSet<String>> {
    let [original, packed] = [before, after].map(operators::lines);
    let (original, packed) = (original?, packed?);
    let different: Vec<String> =
        original.keys().filter(|call| packed.get(*call) != original.get(*call)).cloned().collect();
    let names: BTreeSet<&str> =
        different.iter().map(|call| call.split('\t').next().unwrap_or(call)).collect();
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names = names.into_iter().collect::<Vec<_>>().join(",");
    let mut results = [vec![original], vec![packed]];
    for _ in 0..TURNS {
        for (packed, results) in [false, true].into_iter().zip(&mut results) {
            let out = place.work.join("again.txt");
            place.operators(packed, &out, &["--ops", &names])?;
            results.push(operators::lines(&out)?);
        }
    }
    let varies = |call: &String| {
        let [original, packed] = results
            .each_ref()
            .map(|all| all.iter().filter_map(|one| one.get(call)).collect::<BTreeSet<_>>());
        original.len() > 1 || !original.is_disjoint(&packed)
    };
    Ok(different.into_iter().filter(|call| varies(call)).collect())
}

/// Runs the programs that watch what PyTorch registers, or `those` alone, once [`import`] has
/// packed. They are written for PyTorch 2.15: one that fails in the original says nothing.
///
/// # Errors
/// Where one sees something else.
pub fn observers(place: &Place, those: &[&str], figures: &mut Figures) -> Result<()> {
    let (bare, package) = (place.bare()?, place.package());
    let folder = examples::repository().join("xtask/checks/observers");
    let mut names: Vec<String> = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new("py")))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| !OTHERS.contains(&name.as_str()))
        .filter(|name| those.is_empty() || those.contains(&name.as_str()))
        .collect();
    names.sort();
    let mut different = Vec::new();
    for name in names {
        let script = folder.join(format!("{name}.py"));
        let run = |mut command: Command, words: &[&str]| {
            command.args(["-W", "ignore"]).arg(&script).args(words).output()
        };
        let original = |words: &[&str]| run(place.python(&place.python, &[], &[]), words);
        let packed = |words: &[&str]| run(place.python(&bare, &[&package], &[]), words);
        let before = original(&[])?;
        if !before.status.success() {
            figures.unable.push(name);
            continue;
        }
        let after = packed(&[])?;
        if after.status.success() && before.stdout == after.stdout {
            figures.observers.push(name);
            continue;
        }
        // Threads may meet otherwise in each run, in the original too.
        let mut results = [vec![before], vec![after]];
        for _ in 0..TURNS {
            results[0].push(original(&[])?);
            results[1].push(packed(&[])?);
        }
        if meet(&results) {
            figures.observers.push(name.clone());
            figures.observers_varying.push(name);
            continue;
        }
        // What is listed by its hash has to be seen.
        let words = ["--names"];
        let again = first_difference(&original(&words)?, &packed(&words)?);
        let seen = again.or_else(|| {
            let first = first_difference(&results[0][0], &results[1][0])?;
            Some(format!("in each run, and the same with --names: {first}"))
        });
        different.push(format!("{name} ({})", seen.unwrap_or_default()));
    }
    if !different.is_empty() {
        bail!("see something else: {}", different.join("; "));
    }
    Ok(())
}

/// Whether each of the package's outputs is one of the original's, or one of them is and the
/// original has several. A package whose runs fail does not meet an original whose runs do not.
fn meet([original, packed]: &[Vec<Output>; 2]) -> bool {
    let said = |all: &[Output]| -> BTreeSet<Option<Vec<u8>>> {
        all.iter().map(|one| one.status.success().then(|| one.stdout.clone())).collect()
    };
    let (before, after) = (said(original), said(packed));
    after.is_subset(&before)
        || (before.len() > 1
            && !before.is_disjoint(&after)
            && (before.contains(&None) || !after.contains(&None)))
}

/// The first line that differs in two outputs, or the last that the second said of why it failed.
fn first_difference(before: &Output, after: &Output) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !after.status.success() {
        let said = text(&after.stderr);
        return Some(format!("{}: {}", after.status, said.lines().last().unwrap_or("")));
    }
    let (before, after) = (text(&before.stdout), text(&after.stdout));
    let short =
        |line: Option<&str>| line.unwrap_or("nothing").chars().take(200).collect::<String>();
    let (mut old, mut new) = (before.lines(), after.lines());
    loop {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (old, new) if old == new => {}
            (old, new) => return Some(format!("{} | {}", short(old), short(new))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_that_vary_meet_where_the_original_has_one_of_the_packages() {
        use std::os::unix::process::ExitStatusExt;
        let run = |said: &str| Output {
            status: std::process::ExitStatus::from_raw(if said == "fails" { 256 } else { 0 }),
            stdout: said.as_bytes().to_vec(),
            stderr: Vec::new(),
        };
        let met = |original: &[&str], packed: &[&str]| {
            meet(&[original, packed].map(|all| all.iter().map(|said| run(said)).collect()))
        };
        assert!(met(&["a", "b"], &["b", "b"]) && met(&["a", "b"], &["b", "c"]));
        assert!(!met(&["a", "a"], &["b", "a"]) && !met(&["a", "b"], &["c", "c"]));
        assert!(!met(&["a", "b"], &["a", "fails"]) && !met(&["a", "a"], &["a", "fails"]));
        assert!(met(&["fails", "a"], &["a", "fails"]));
    }

    #[test]
    fn an_error_is_brief_and_names_no_place_of_this_machine() {
        let cache = examples::cache().unwrap();
        let said = |text: &str| brief(&anyhow::anyhow!("{text}"));
        assert_eq!(said("rm x failed: exit status: 1: no x"), "exit status: 1: no x");
        let text = format!(
            "{0}/taper pack failed: exit status: 1\nscan 1 s\nwarning: {0}/a differs",
            cache.display()
        );
        assert_eq!(said(&text), "warning: …/a differs");
        assert_eq!(said("no such thing"), "no such thing");
    }
}
