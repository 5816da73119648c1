//! A PyTorch source tree: the options that it has, what they do for size, which to choose.
//!
//! Trees are read as text. Nothing in them is run or evaluated, links are not followed, sizes
//! and counts are limited; a file that is not understood is counted, and its options are not
//! known.

pub mod choose;
pub mod cmake;
pub mod effects;
mod forwarding;
pub mod names;
pub mod nearest;
pub mod operators;
pub mod parts;
#[cfg(test)]
mod testing;
mod tree;

pub use forwarding::Forwarding;
pub use tree::Tree;

use std::path::PathBuf;

/// Why a tree cannot be built from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is something else.
    #[error(
        "{path} is not a PyTorch source tree: it has no {missing}; name the folder that a \
         checkout or an unpacked source package of PyTorch made"
    )]
    NotATree {
        /// The folder.
        path: PathBuf,
        /// What a tree would have.
        missing: &'static str,
    },
    /// The system refuses to let it be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The lite interpreter is gone.
    #[error(
        "PyTorch {0} has no build for phones with this machine's compiler, which --product lite \
         is made by (2.6 has); build with --product python"
    )]
    NoLite(String),
    /// A selection for Python.
    #[error(
        "operators are selected for --product lite; a Python build would lack registrations that \
         `import torch` asks for"
    )]
    PythonOperators,
}
