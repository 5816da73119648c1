//! A fate and a reason for every unit of an environment.
//!
//! The plan is data: it is made from a scan and a profile, changes neither, and
//! is carried out elsewhere. What is not understood is kept, and counted.

mod actions;
mod callable;
mod choice;
mod edit;
mod gpu;
mod headers;
mod libraries;
mod licences;
mod mapped;
mod modules;
mod planner;
mod programs;
mod reason;
mod standard;

pub use actions::{Action, Cold, FilePlan, Options, Plan};
pub use choice::Choice;
pub use edit::{editable, edited};
pub use gpu::{GpuLibrary, GpuSide, gpu_code};
pub use headers::giving;
pub use libraries::{LibraryPages, library_pages};
pub use mapped::MappedFile;
pub use planner::plan;
pub use reason::Reason;

use std::path::PathBuf;

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the environment could not be read.
    #[error("cannot read {path}: {source}; check its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name given with `--keep` or `--drop` matches nothing.
    #[error(
        "--{flag} {name} names no distribution, module, file or library of the environment; \
         `taper inspect` lists them"
    )]
    Unmatched {
        /// `keep` or `drop`.
        flag: &'static str,
        /// The name as given.
        name: String,
    },
}
