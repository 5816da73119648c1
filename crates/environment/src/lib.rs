//! A Python environment as data: its interpreter, distributions and files.
//!
//! Nothing is changed, and nothing of the environment is run but the interpreter,
//! once, to ask where it imports from.

mod ask;
mod child;
mod distribution;
mod interpreter;
mod kind;
mod mapped;
mod paths;
mod scan;
mod scope;
mod sources;
mod started;

pub use ask::{answer, ask};
pub use distribution::{Distribution, normalized};
pub use interpreter::Interpreter;
pub use kind::Kind;
pub use mapped::{Change, MappedFile, Unreadable};
pub use paths::{bytecode_of, module_of, source_of};
pub use scan::{Environment, File, Problem};
pub use scope::Used;
pub use sources::{Place, Sources};

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
    /// taper was never tested with this kind or version of interpreter.
    #[error(
        "{python} is {what}; taper is tested with the usual builds of CPython 3.10 to 3.15: name \
         one of these with --python, and install torch there"
    )]
    Untested {
        /// The interpreter.
        python: PathBuf,
        /// What it is.
        what: String,
    },
    /// torch is not installed.
    #[error(
        "there is no torch in the environment of {0}; install it there, or name another \
         environment with --python"
    )]
    NoTorch(PathBuf),
    /// It is a package of taper's already.
    #[error(
        "{0} holds a package that taper made (_taper); take it off PYTHONPATH, or name the \
         environment that was packed with --python"
    )]
    Packed(PathBuf),
    /// A site-packages folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
