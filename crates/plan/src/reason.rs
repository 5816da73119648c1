//! Why a unit has its fate.

use serde::Serialize;

/// A reason, in the words that a person is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A workload opened it.
    Opened,
    /// A workload asked whether it is there, or how large it is.
    Probed,
    /// A workload loaded this library; its pages have reasons of their own.
    Loaded,
    /// No workload used it; it comes back when it is touched.
    Cold,
    /// A library that stays names this one.
    Needed,
    /// Distribution metadata and licences always stay.
    Metadata,
    /// Bytecode of a module that stays.
    Bytecode,
    /// `--keep` named it.
    Kept,
    /// It brings the modules that workloads imported.
    Store,
    /// It stands for a GPU library that kept libraries bind to.
    StandIn,
    /// A shared library that is not understood is copied whole.
    NotUnderstood,
    /// No workload used it.
    Unused,
    /// It belongs to the GPU side, and the target is the CPU.
    GpuSide,
    /// `--drop` named it.
    Dropped,
    /// Bytecode that the package replaces by its own.
    Replaced,
}

impl Reason {
    /// One line for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Opened => "a workload opened it",
            Self::Probed => "a workload asked for its existence or size",
            Self::Loaded => "a workload loaded it",
            Self::Cold => "no workload used it; it comes back when it is touched",
            Self::Needed => "a library that stays needs it",
            Self::Metadata => "metadata and licences always stay",
            Self::Bytecode => "bytecode of a module that stays",
            Self::Kept => "--keep names it",
            Self::Store => "it brings the modules that workloads imported",
            Self::StandIn => "stands for a GPU library that kept libraries bind to",
            Self::NotUnderstood => "a library that is not understood is copied whole",
            Self::Unused => "no workload used it",
            Self::GpuSide => "it belongs to the GPU side and the target is the CPU",
            Self::Dropped => "--drop names it",
            Self::Replaced => "the package has bytecode of its own",
        }
    }
}
