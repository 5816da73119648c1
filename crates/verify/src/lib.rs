//! Proves that a package gives the same results.
//!
//! A command runs in the original environment and in the package; exit code,
//! standard output and the files under `$TAPER_VERIFY_OUT` are compared, and the
//! files and mappings of the whole process tree of the second run show that
//! nothing but the package and the bare interpreter was used.

mod compare;
mod isolation;
mod launch;
mod own;

pub use compare::{Difference, Outcome};
pub use isolation::Leak;
pub use launch::{Bare, in_original, in_package, own_caches};
pub use own::own_folders;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that names the folder whose files are compared.
pub const OUTPUT_VARIABLE: &str = "TAPER_VERIFY_OUT";

/// Why a verification could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The command could not be run.
    #[error(transparent)]
    Run(#[from] tracer::Error),
    /// There is no command.
    #[error("no command was given; put it after --")]
    NoCommand,
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| Self::File { path: path.into(), source }
    }
}

/// What a verification found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Verdict {
    /// Whether there is neither a difference nor a leak.
    pub holds: bool,
    /// The original's exit code, or minus the signal that ended it.
    pub exit: i32,
    /// Files compared, standard output not counted.
    pub files: usize,
    /// Where the two runs differ.
    pub differences: Vec<Difference>,
    /// What the run in the package used from elsewhere.
    pub leaks: Vec<Leak>,
}

/// Runs `command` in the environment of `interpreter` and in `package`, both in
/// the current folder, and compares. Each is stopped after a time, where one is given.
pub fn verify(
    interpreter: &environment::Interpreter,
    package: &Path,
    command: &[OsString],
    stop_after: Option<Duration>,
) -> Result<Verdict, Error> {
    let place = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
    let package = package.canonicalize().map_err(Error::file(package))?;
    let bare = Bare::new(interpreter, &place.path().join("python"))?;
    let original = compare::run(
        in_original(interpreter, command)?,
        &place.path().join("original"),
        &interpreter.site_packages,
        stop_after,
    )?;
    let packed = compare::run(
        in_package(interpreter, &bare, &package, command)?,
        &place.path().join("packed"),
        std::slice::from_ref(&package),
        stop_after,
    )?;
    let differences = compare::differences(&original, &packed)?;
    let leaks = isolation::leaks(interpreter, &bare, &package, command, &packed.observations);
    Ok(Verdict {
        holds: differences.is_empty() && leaks.is_empty(),
        exit: original.exit(),
        files: original.files()?.len(),
        differences,
        leaks,
    })
}
