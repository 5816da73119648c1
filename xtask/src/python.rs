//! Finding a Python 3.11 that can make virtual environments.

use crate::shell;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that the examples' requirements are pinned for.
pub const VERSION: &str = "3.11";

/// Fails where the version is another, or where Debian's python3.11 is installed
/// without python3.11-venv. Prints the interpreter below any virtual environment
/// or launcher.
const CHECK: &str = "
import sys
if sys.version_info[:2] != (3, 11):
    sys.exit('it is Python %d.%d' % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit('it cannot make virtual environments (%s)' % error)
print(getattr(sys, '_base_executable', None) or sys.executable)
";

/// A Python 3.11 that can make virtual environments.
///
/// # Errors
/// Each interpreter that was tried, and why it will not do.
pub fn find() -> Result<PathBuf, Vec<String>> {
    let mut reasons = Vec::new();
    // The second is there when a broken launcher hides it on the PATH.
    for name in ["python3.11", "/usr/bin/python3.11", "python3"] {
        let mut command = Command::new(name);
        command.args(["-c", CHECK]).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        match command.output() {
            Ok(done) if done.status.success() => {
                return Ok(String::from_utf8_lossy(&done.stdout).trim().into());
            }
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                reasons.push(format!("{name}: {}", said.lines().last().unwrap_or("it fails")));
            }
            Err(error) => reasons.push(format!("{name}: {error}")),
        }
    }
    Err(reasons)
}

/// Makes a virtual environment with nothing in it, over the interpreter that the
/// environment of `python` is built on, and gives its interpreter. It hides what
/// the base interpreter may have in its own site-packages.
pub fn bare(python: &Path, folder: &Path) -> Result<PathBuf> {
    let base = shell::output(
        Command::new(python).args(["-c", "import sys; print(sys._base_executable)"]),
    )?;
    let mut make = Command::new(base.trim());
    shell::output(make.args(["-m", "venv", "--without-pip"]).arg(folder))?;
    Ok(folder.join("bin/python"))
}

/// Interpreters of the other versions of Python that packages are made for, one of each
/// that is on the PATH or that pyenv has.
pub fn others() -> Vec<PathBuf> {
    [10, 12, 13, 14, 15].into_iter().filter_map(with_minor).collect()
}

/// An interpreter of Python 3.`minor` that can make virtual environments, on the PATH or of pyenv.
pub fn with_minor(minor: u32) -> Option<PathBuf> {
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = home.and_then(|home| std::fs::read_dir(home.join("versions")).ok());
    let mut folders: Vec<PathBuf> =
        versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let name = format!("python3.{minor}");
    folders.iter().map(|folder| folder.join(&name)).find(|python| {
        // A shim may be there for a version that is not.
        let mut trial = Command::new(python);
        trial.args([
            "-c",
            "import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, int(sys.argv[1])))",
        ]);
        shell::succeeds(trial.arg(minor.to_string()))
    })
}
