//! Builds PyTorch from its sources, with what an application needs.
//!
//! [`prepare`] decides everything from the text of the tree (`source`) and from what profiles
//! show of the parts that an application uses; [`Prepared::run`] does it. That happens in a work
//! folder: a copy of the tree (PyTorch's code generators write into theirs, and two products
//! would find each other's files), the build, the logs. What is there is built on, so an
//! interrupted build goes on.

mod building;
mod prepare;
mod product;
mod steps;
mod text;
mod tools;
mod used_parts;
mod work_folder;

use source::choose::Product;
use std::path::{Path, PathBuf};
use workload::Cpu;

pub use building::{Built, Outcome};
pub use prepare::{Prepared, prepare};

/// What is to be built.
pub struct Request<'a> {
    /// The PyTorch source tree. It is not written to.
    pub source: &'a Path,
    /// What to build.
    pub product: Product,
    /// The processors that it must run on.
    pub cpu: Cpu,
    /// Profiles: parts that no run used are left out.
    pub profiles: &'a [PathBuf],
    /// A file with the operators to build.
    pub operators: Option<&'a Path>,
    /// The interpreter of the environment that was traced.
    pub python: Option<&'a Path>,
    /// The interpreter that runs code generators, where it is another one.
    pub generators: Option<&'a Path>,
    /// The work folder, where it is named.
    pub work: Option<&'a Path>,
    /// How many compilers run at the same time, where it is said.
    pub jobs: Option<u32>,
    /// Options for CMake as they were typed.
    pub options: &'a [String],
    /// How far to go.
    pub until: Until<'a>,
}

/// How far a build goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until<'a> {
    /// Nothing runs; it is said what would.
    Decided,
    /// CMake has configured the build and used every option.
    Configured,
    /// The product is in this folder, which must not exist.
    Built(&'a Path),
}
