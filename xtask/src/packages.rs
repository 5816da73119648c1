//! Building taper, packing with it, and reading what it wrote.

use crate::examples::{self, Example};
use crate::measure::{self, Cost};
use crate::shell;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the release of taper and gives its path.
pub fn build() -> Result<PathBuf> {
    built(&["build", "--release", "--package", "taper"])
}

/// Builds taper as tests do, which saves a second build of everything, and gives its path.
pub fn build_for_tests() -> Result<PathBuf> {
    built(&["build", "--package", "taper"])
}

fn built(words: &[&str]) -> Result<PathBuf> {
    let mut command = shell::cargo();
    command.args(words);
    shell::run(&mut command)?;
    command.args(["--message-format", "json", "--quiet"]);
    // cargo says where the program is, wherever the user has put the target folder.
    let messages = shell::output(&mut command)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "taper")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo build names no program taper")
}

/// `taper pack` of an example, from its environment for a CPU, where what no run needed is
/// `cold`, `keep` or `drop`; `flags` come before the workload.
pub fn pack(
    taper: &Path,
    example: Example,
    out: &Path,
    cold: &str,
    flags: &[OsString],
) -> Result<Command> {
    let mut command = Command::new(taper);
    command.arg("pack").arg("--python").arg(example.python()?).arg("--to").arg(out);
    command.args(["--target", "cpu", "--cold", cold]).args(flags);
    command.args(["--", "python"]).arg(example.script());
    command.current_dir(examples::repository()).stdin(Stdio::null());
    Ok(command)
}

/// Runs a taper command whose results are of no interest. Its talk and the
/// workload's are shown only if it fails.
pub fn quietly(command: &mut Command) -> Result<Cost> {
    let said = tempfile::NamedTempFile::new()?;
    // Appending, or each of the two outputs would write over the other.
    let file = fs::File::options().append(true).open(said.path())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let cost = measure::measure(command)?;
    if !cost.status.success() {
        let text = String::from_utf8_lossy(&fs::read(said.path())?).into_owned();
        bail!("{} failed: {}\n{text}", shell::line(command), cost.status);
    }
    Ok(cost)
}

/// What a package says of itself in `taper.json`.
#[derive(Debug)]
pub struct Description {
    /// Bytes of the distributions in scope.
    pub original_bytes: u64,
    /// Their files.
    pub original_files: u64,
    /// Bytes of the package.
    pub bytes: u64,
    /// Its files.
    pub files: u64,
    /// Whether its workload gave the same results.
    pub verified: Option<bool>,
}

impl Description {
    /// Reads the description of a package.
    ///
    /// # Errors
    /// If the package's size or number of files is not what it says.
    pub fn of(package: &Path) -> Result<Self> {
        let file = package.join("taper.json");
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let json: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        let number = |group: &str, key: &str| {
            json[group][key]
                .as_u64()
                .with_context(|| format!("{} has no number {group}.{key}", file.display()))
        };
        let own = Self {
            original_bytes: number("bytes", "original")?,
            original_files: number("files", "original")?,
            bytes: number("bytes", "package")?,
            files: number("files", "package")?,
            verified: json["verified"].as_bool(),
        };
        let found = files(package)?;
        let bytes: u64 = found.iter().map(|(_, size)| size).sum();
        if (bytes, found.len() as u64) != (own.bytes, own.files) {
            bail!(
                "{} says {} bytes in {} files; there are {bytes} in {}",
                file.display(),
                own.bytes,
                own.files,
                found.len()
            );
        }
        Ok(own)
    }
}

/// The regular files below a folder, with their sizes.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let what = || format!("cannot read {}", path.display());
        for entry in fs::read_dir(&path).with_context(what)? {
            let entry = entry.with_context(what)?;
            let metadata = entry.metadata().with_context(what)?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}
