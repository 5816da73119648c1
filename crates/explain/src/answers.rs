//! What `taper explain` answers, as data; `text` makes text of it.

use crate::code::FunctionsAnswer;
use crate::files::{FileAnswer, LibraryAnswer, SumAnswer};
use crate::gpu::ArchitectureAnswer;
use crate::modules::ModuleAnswer;
use ledger::About;
use serde::Serialize;

/// What is said.
#[derive(Debug, Serialize)]
pub struct Document {
    /// The name that was asked for.
    pub name: Option<String>,
    /// What it means, and why that has its fate.
    pub answers: Vec<Answer>,
    /// How many files and modules of that name are not among them.
    pub more: usize,
    /// What could not be said, and why.
    pub problems: Vec<String>,
}

/// What one meaning of a name has for a fate, and why.
#[derive(Debug, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Answer {
    /// A file.
    File(FileAnswer),
    /// A shared library.
    Library(LibraryAnswer),
    /// A module.
    Module(ModuleAnswer),
    /// A distribution or a folder.
    Sum(SumAnswer),
    /// Functions, perhaps those of an operator.
    Functions(FunctionsAnswer),
    /// A GPU architecture.
    Architecture(ArchitectureAnswer),
    /// The package.
    Summary(SummaryAnswer),
}

/// The package as a whole.
#[derive(Debug, Serialize)]
pub struct SummaryAnswer {
    /// What was asked for, and what is deferred.
    #[serde(flatten)]
    pub about: About,
    /// The files by reason.
    pub sum: SumAnswer,
}
