//! Writes a package: a folder that Python can import from.
//!
//! Everything is written into a folder beside the destination that gets its name
//! in one step at the end, so a failure leaves nothing half-written.

mod archive;
mod bytecode;
mod folder;
mod headers;
mod installed_files;
mod manifest;
mod marshal;

pub use archive::{Absent, Answers, ENTRANCE, LIBRARY, RUNTIME, StoredModule, archive};
pub use bytecode::{Bytecode, Compiler, cached, checked, renamed, unchecked};
pub use folder::{Content, Entry, Stage, Writer, Written};
pub use headers::headers;
pub use installed_files::record;
pub use manifest::{Bytes, Deferred, FORMAT, Files, MANIFEST, Manifest, Remembered};
pub use store::Level;

use std::path::PathBuf;

/// Why a package could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is something at the destination.
    #[error("{0} exists; remove it or name another folder with --to")]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("cannot write {path}: {source}{}", space(.source))]
    Write {
        /// The file, as it would be in the package.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the environment could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Two units of a plan have the same place.
    #[error("two files of the package have the path {0}; this is a fault in taper")]
    Twice(String),
    /// The modules could not be compressed.
    #[error("cannot compress the modules: {0}")]
    Compress(std::io::Error),
    /// The interpreter that compiles modules failed.
    #[error("{python} could not compile modules: {reason}")]
    Compile {
        /// The interpreter.
        python: PathBuf,
        /// What it said.
        reason: String,
    },
}

fn space(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::StorageFull => "; free space there or name another folder with --to",
        _ => "",
    }
}
