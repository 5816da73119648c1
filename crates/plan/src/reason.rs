//! Why a unit has its fate.

use serde::{Deserialize, Serialize};

/// A reason, in the words that a person is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A workload opened it.
    Opened,
    /// A workload asked whether it is there, or how large it is.
    Probed,
    /// A workload loaded this library; its pages have reasons of their own.
    Loaded,
    /// A library that stays names this one.
    Needed,
    /// Distribution metadata and licences always stay.
    Metadata,
    /// Bytecode of a module that stays.
    Bytecode,
    /// Its licence is its vendor's, and `--vendor whole` leaves such files as they are.
    Vendor,
    /// `--keep` named it.
    Kept,
    /// It brings the modules of the package.
    Store,
    /// It says why everything else is there.
    Plan,
    /// It stands for a GPU library that kept libraries bind to.
    StandIn,
    /// A shared library that is not understood is copied whole.
    NotUnderstood,
    /// No workload used it, and the target can.
    Cold,
    /// A program that no workload started and a module may.
    Started,
    /// A program that no module names: only people start it.
    Unstarted,
    /// Only compilers and linkers read it.
    Tools,
    /// No workload used it.
    Unused,
    /// It belongs to the GPU side, and the target is the CPU.
    GpuSide,
    /// `--without` named a feature that it is there for.
    Feature,
    /// `--drop` named it.
    Dropped,
    /// Bytecode that the package replaces by its own.
    Replaced,
    /// It only leads to a source tree, the modules of which are in the package.
    Link,
}

impl Reason {
    /// One line for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Opened => "a workload opened it",
            Self::Probed => "a workload asked for its existence or size",
            Self::Loaded => "a workload loaded it",
            Self::Needed => "a library that stays needs it",
            Self::Metadata => "metadata and licences always stay",
            Self::Bytecode => "bytecode of a module that stays",
            Self::Vendor => "--vendor whole leaves its vendor's files as they are",
            Self::Kept => "--keep names it",
            Self::Store => "it brings the modules of the package",
            Self::Plan => "it says why everything else is there",
            Self::StandIn => "stands for a library that is left out and that kept ones bind to",
            Self::NotUnderstood => "a library that is not understood is copied whole",
            Self::Cold => "no workload used it; it comes back when it is touched",
            Self::Started => "no workload started it, and a module may",
            Self::Unstarted => "a program that only people start",
            Self::Tools => "only compilers read it; it comes back for them",
            Self::Unused => "no workload used it",
            Self::GpuSide => "it belongs to the GPU side and the target is the CPU",
            Self::Feature => "it is there for a feature that --without names",
            Self::Dropped => "--drop names it",
            Self::Replaced => "the package has bytecode of its own",
            Self::Link => "it only leads to modules that lie elsewhere, which are in the package",
        }
    }
}
