//! A Python environment as data: its interpreter, distributions and files.
//!
//! Nothing is changed, and nothing of the environment is run but the interpreter,
//! once, to ask where it imports from.

mod ask;
mod distribution;
mod interpreter;
mod kind;
mod scan;
mod started;

pub use ask::ask;
pub use distribution::Distribution;
pub use interpreter::Interpreter;
pub use kind::Kind;
pub use scan::{Environment, File, Problem};

use std::path::PathBuf;

/// Why an environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such interpreter.
    #[error("there is no Python at {0}; name one with --python")]
    NoInterpreter(PathBuf),
    /// The interpreter does not run or does not answer.
    #[error("{python} does not run: {reason}; name another with --python")]
    Interpreter {
        /// The interpreter.
        python: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The interpreter is too old.
    #[error("{python} is Python {version}; taper needs 3.10 or newer")]
    TooOld {
        /// The interpreter.
        python: PathBuf,
        /// Its version.
        version: String,
    },
    /// torch is not installed.
    #[error(
        "there is no torch in the environment of {0}; install it there, or name another \
         environment with --python"
    )]
    NoTorch(PathBuf),
    /// A site-packages folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
