//! What a package says of its plan: a fate and a reason for every file of the environment that
//! was in its scope, the pages of libraries by reason, and what is deferred.
//!
//! It is one file of the package, [`PLAN`], a store of four chunks (`crates/store`), each of
//! which is checked by its hash before it is read:
//!
//! | chunk | holds |
//! |---|---|
//! | 0 | JSON: the version, [`About`], the names of the reasons that occur, and of each library all but its pages |
//! | 1 | paths, ascending: for each the number of bytes that it shares with the one before, the rest, and a zero |
//! | 2 | columns, each with a row for each path: what became of it (a byte), why (a byte, a place in the names of chunk 0), its size, its distribution, its place in the order of loading; then size and reason of the bytecode beside it |
//! | 3 | pages of libraries, in their order: runs of what became of them and how long |
//!
//! Numbers are in LEB128. Bytecode that only repeats its source's name has no path of its own.
//! The same plan gives the same bytes; a reader refuses what it does not understand.

mod entry;
mod numbers;
mod read;
mod write;

pub use entry::{About, Fate, File, Form, Gates, Group, Library, Source};

use format::place::PLAN;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The largest record that is read, in bytes; that of an environment with 25,000 files has
/// 200,000.
const MAX_BYTES: u64 = 1 << 26;

/// What a package says of its plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What was asked for, and what is deferred.
    pub about: About,
    /// Every file in scope, by path.
    pub files: Vec<File>,
    /// More about those that are shared libraries, by path.
    pub libraries: BTreeMap<String, Library>,
}

impl Ledger {
    /// The file at `path` in site-packages.
    pub fn file(&self, path: &str) -> Option<&File> {
        let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(at)
    }

    /// The name of a file's distribution.
    pub fn owner(&self, file: &File) -> Option<&str> {
        self.about.distributions.get(file.owner? as usize).map(String::as_str)
    }
}

/// Why a package's record of its plan is not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error(
        "{0} has no {PLAN}: it is no package, or an earlier version of taper wrote it; pack again"
    )]
    Missing(PathBuf),
    /// It could not be read.
    #[error("cannot read {path}: {source}; check its permissions")]
    Read {
        /// The record.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is damaged, or something else.
    #[error("{path} is not what taper wrote: {reason}; copy the package again, or pack again")]
    Damaged {
        /// The record.
        path: PathBuf,
        /// Where it stops making sense.
        reason: String,
    },
    /// Another version wrote it.
    #[error(
        "{path} has the format {found}, and this taper reads {FORMAT}; use the taper that packed it, or pack again"
    )]
    Version {
        /// The record.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The plan cannot be written down.
    #[error("cannot compress the record of the plan: {0}")]
    Write(std::io::Error),
}
