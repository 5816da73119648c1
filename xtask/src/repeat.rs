//! `cargo xtask repeat`: programs run many times from packages of `--cold drop` that were traced
//! with the same programs, on a machine that is busy. What time and chance decide must be in
//! such a package: each run gives the original's output, and none is refused.

use crate::examples::{self, EXAMPLES, Example};
use crate::runs::{self, Place};
use crate::{packages, python, setup};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What the task runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How often each program runs.
    #[arg(long, default_value_t = 20)]
    pub times: u32,
    /// Only programs whose names hold this.
    #[arg(long)]
    pub only: Option<String>,
}

/// Where the machine is made slow: what stands before the program, and how many processes
/// compute beside it.
const LOADS: [(&[&str], usize); 4] =
    [(&[], 0), (&["nice"], 2), (&["taskset", "-c", "0"], 2), (&["taskset", "-c", "0"], 0)];

/// A program.
struct Program {
    name: String,
    script: PathBuf,
    python: PathBuf,
}

/// Processes that do nothing but compute, until dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn new(count: usize) -> Result<Self> {
        let start = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            command.spawn().context("cannot start a process that computes")
        };
        Ok(Self((0..count).map(|_| start()).collect::<Result<_>>()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    let taper = packages::build()?;
    let mut failed = Vec::new();
    for program in programs()? {
        if arguments.only.as_ref().is_some_and(|part| !program.name.contains(part)) {
            continue;
        }
        let wrong = repeat(&taper, &program, arguments.times)?;
        println!(
            "{:<12} {} of {} runs as the original",
            program.name,
            arguments.times - wrong,
            arguments.times
        );
        if wrong > 0 {
            failed.push(program.name);
        }
    }
    if !failed.is_empty() {
        bail!("not each run of {} was as the original's", failed.join(", "));
    }
    Ok(())
}

/// The examples, and the programs of `xtask/checks/repeat`.
fn programs() -> Result<Vec<Program>> {
    let mut all = Vec::new();
    for example in EXAMPLES {
        let script = examples::repository().join(example.script());
        all.push(Program { name: example.name.into(), script, python: example.python()? });
    }
    let folder = examples::repository().join("xtask/checks/repeat");
    let python = Example::named("classify")?.python()?;
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        scripts.push(entry?.path());
    }
    scripts.sort();
    for script in scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        all.push(Program { name, script, python: python.clone() });
    }
    Ok(all)
}

/// Packs a program and runs it so often; how many runs were not as the original's.
fn repeat(taper: &Path, program: &Program, times: u32) -> Result<u32> {
    let place = tempfile::tempdir()?;
    let package = place.path().join("package");
    let mut pack = Command::new(taper);
    pack.arg("pack").arg("--python").arg(&program.python).arg("--to").arg(&package);
    pack.args(["--cold", "drop", "--level", "fast", "--no-verify", "--", "python"]);
    pack.arg(&program.script).current_dir(examples::repository());
    packages::quietly(&mut pack)?;
    let bare = python::bare(&program.python, &place.path().join("bare"))?;
    let expected = output(&[], Place::Original(&program.python), program, place.path())?;
    if !expected.status.success() {
        bail!("{} fails: {}", program.name, String::from_utf8_lossy(&expected.stderr));
    }
    let mut wrong = 0;
    for number in 0..times {
        let (before, busy) = LOADS[number as usize % LOADS.len()];
        let _busy = Busy::new(busy)?;
        let hidden = runs::hiding().is_some();
        let there = Place::Package { bare: &bare, folder: &package, hidden };
        let found = output(before, there, program, place.path())?;
        if (found.status.code(), &found.stdout) != (Some(0), &expected.stdout) {
            wrong += 1;
            let said = String::from_utf8_lossy(&found.stderr);
            let last = said.lines().rev().take(3).collect::<Vec<_>>().join(" / ");
            eprintln!(
                "{}, run {number} ({before:?}, {busy} busy): {}: {last}",
                program.name, found.status
            );
        }
    }
    Ok(wrong)
}

/// Runs a program once, with the words `before` it.
fn output(before: &[&str], there: Place<'_>, program: &Program, place: &Path) -> Result<Output> {
    let results = tempfile::tempdir_in(place)?;
    let words: [OsString; 1] = [program.script.clone().into()];
    let variables = [
        ("TAPER_VERIFY_OUT", results.path().as_os_str()),
        ("HOME", place.as_os_str()),
        ("PATH", OsStr::new("/usr/local/bin:/usr/bin:/bin")),
    ];
    let command = there.python(&words, &variables)?;
    let Some((first, rest)) = before.split_first() else {
        let mut command = command;
        return command.output().context("cannot run a program");
    };
    let mut slow = Command::new(first);
    slow.args(rest).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        slow.current_dir(folder);
    }
    slow.stdin(Stdio::null()).output().context("cannot run a program")
}
