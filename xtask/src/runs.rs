//! Runs of an example in its environment and in a package, and what they leave.

use crate::examples::{self, Example};
use crate::measure::{self, Cost};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where a program finds its modules.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the environment that this interpreter belongs to.
    Original(&'a Path),
    /// In a package.
    Package {
        /// An interpreter with nothing installed.
        bare: &'a Path,
        /// The package.
        folder: &'a Path,
        /// Whether the environments are put out of reach, which [`hiding`] must permit.
        hidden: bool,
    },
}

impl Place<'_> {
    /// `python ARGS` in this place and in the repository's folder, without input.
    /// Its environment variables are `variables`, two that keep it from writing
    /// bytecode and from ordering sets by chance, and `PYTHONPATH` in a package.
    pub fn python(&self, args: &[OsString], variables: &[(&str, &OsStr)]) -> Result<Command> {
        let mut words: Vec<OsString> = Vec::new();
        let (python, package) = match self {
            Self::Original(python) => (python, None),
            Self::Package { bare, folder, hidden } => {
                if *hidden {
                    words.extend(hide()?);
                }
                (bare, Some(folder))
            }
        };
        words
            .extend(["env", "-i", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0"].map(Into::into));
        let package = package.map(|folder| ("PYTHONPATH", folder.as_os_str()));
        for (name, value) in variables.iter().copied().chain(package) {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            words.push(word);
        }
        words.push(python.into());
        words.extend_from_slice(args);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(examples::repository()).stdin(Stdio::null());
        Ok(command)
    }
}

/// How a mount namespace of one's own is made here: as root, as a user, or not at all.
pub fn hiding() -> Option<&'static [&'static str]> {
    static WAY: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    let ways: [&'static [&'static str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    *WAY.get_or_init(|| {
        ways.into_iter().find(|way| {
            let mut trial = Command::new("unshare");
            trial.args(*way).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
            shell::succeeds(&mut trial)
        })
    })
}

/// The words before a command that put the folder of all environments out of its
/// reach: an empty file system lies over it, for this command alone.
fn hide() -> Result<Vec<OsString>> {
    let way = hiding().context("no mount namespace can be made here")?;
    // The command must not run if a part of an environment can still be seen.
    let script = "mount -t tmpfs -o ro,size=4k none \"$1\" && [ -z \"$(ls -A \"$1\")\" ] || exit 97
shift; exec \"$@\"";
    let mut words: Vec<OsString> = vec!["unshare".into()];
    words.extend(way.iter().map(Into::into));
    words.extend(["sh", "-c", script, "sh"].map(Into::into));
    words.push(examples::cache()?.into());
    Ok(words)
}

/// What a run printed and the files that it left.
#[derive(Debug, PartialEq, Eq)]
pub struct Results {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Files by their path in the folder for results.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Results {
    /// Fails unless `self`, which came from the original environment, and `other`
    /// are the same bytes.
    pub fn check(&self, other: &Self) -> Result<()> {
        if self.stdout != other.stdout {
            let text = |results: &Self| String::from_utf8_lossy(&results.stdout).into_owned();
            bail!("standard output differs: original\n{}\npackage\n{}", text(self), text(other));
        }
        let differs = |path: &&PathBuf| self.files.get(*path) != other.files.get(*path);
        if let Some(path) = self.files.keys().chain(other.files.keys()).find(differs) {
            bail!("{} differs or is left by one run only", path.display());
        }
        Ok(())
    }
}

/// Runs an example, with `words` after its name.
///
/// # Errors
/// If it does not end with exit code 0; the last lines of what it said are part
/// of the error.
pub fn run(example: Example, place: Place<'_>, words: &[&str]) -> Result<(Results, Cost)> {
    run_script(&example.script(), place, words)
}

/// Like [`run`], for a script that leaves results as the examples do.
///
/// # Errors
/// As [`run`].
pub fn run_script(path: &Path, place: Place<'_>, words: &[&str]) -> Result<(Results, Cost)> {
    let scratch = tempfile::tempdir()?;
    let (stdout, stderr) = (scratch.path().join("stdout"), scratch.path().join("stderr"));
    let folder = scratch.path().join("results");
    fs::create_dir(&folder)?;
    let mut script: Vec<OsString> = vec![path.into()];
    script.extend(words.iter().map(Into::into));
    let mut command = place.python(&script, &[("TAPER_VERIFY_OUT", folder.as_os_str())])?;
    command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    let cost = measure::measure(&mut command)?;
    if !cost.status.success() {
        let said = fs::read(&stderr)?;
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!("{} failed: {}\n{last}", shell::line(&command), cost.status);
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(&folder)?.to_path_buf();
        files.insert(name, fs::read(&path).with_context(|| path.display().to_string())?);
    }
    if files.is_empty() {
        bail!("{} left no results to compare", shell::line(&command));
    }
    Ok((Results { stdout: fs::read(&stdout)?, files }, cost))
}
