//! The plan as data: what may become of a file, and what becomes of all.

use crate::{LibraryPages, Reason};
use elf::PageSet;
use serde::Serialize;
use std::collections::BTreeMap;

/// What becomes of what the target can run and no workload used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cold {
    /// It is in the package, compressed.
    Keep,
    /// It leaves.
    #[default]
    Drop,
}

impl Cold {
    /// Its name in a package, and as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
        }
    }
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// It enters the package as it is.
    Copy,
    /// It enters as it is, at another path.
    CopyTo {
        /// Its path in the package.
        path: String,
    },
    /// A shared library enters with these pages of its read-only segments.
    Shrink(LibraryPages),
    /// A small library of the same name enters in its place; these pages of the
    /// original stay in it.
    StandIn {
        /// Pages of the original, of any segment.
        keep: PageSet,
    },
    /// A module enters with bytecode that is never checked against its source.
    Module {
        /// Whether its source enters too, as a file: a workload read it, and not only its
        /// bytecode.
        source: bool,
        /// Whether a workload read its source, which comes from the store.
        read: bool,
        /// Its place in the order of the store of modules; `None` for one that stays
        /// a file.
        stored: Option<usize>,
        /// Whether no workload imported it.
        cold: bool,
    },
    /// It enters compressed, and comes back when a compiler is told of it.
    Compress,
    /// Its text enters compressed, beside the sources of modules: a line stands in its place, and
    /// whoever opens it in Python reads the text.
    Text,
    /// The list of a distribution's files is written anew.
    Record,
    /// It does not enter.
    Leave,
}

impl Action {
    /// Whether it is a module that enters with its source.
    pub fn keeps_source(&self) -> bool {
        matches!(self, Self::Module { source: true, .. })
    }
}

/// One file of the environment and its fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilePlan {
    /// Its path in site-packages.
    pub path: String,
    /// Its index in the environment's files.
    #[serde(skip)]
    pub index: usize,
    /// Its size in bytes.
    pub size: u64,
    /// What becomes of it.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// A fate and a reason for every file in scope, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The device.
    pub target: String,
    /// What becomes of code that no workload used.
    pub cold: Cold,
    /// The files.
    pub files: Vec<FilePlan>,
    /// Libraries that are copied whole, and why they were not understood.
    pub whole: BTreeMap<String, String>,
}
