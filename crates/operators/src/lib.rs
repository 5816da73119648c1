//! The operators that model files and runs use, as lists that PyTorch's selective build reads.
//!
//! Nothing of a model is run: archives are read with limits, TorchScript's code is compiled
//! here as PyTorch's own compiler does it, to the point where each operator and its overload
//! are known, and an exported program's graphs are read as the data that they are.

mod archive;
mod execution;
mod exported;
mod lists;
mod pickle;
mod script;

pub use schema::{Operator, Schema, Schemas, Signatures};

pub use execution::{Called, Execution};
pub use lists::{Format, list};

use archive::Archive;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

/// Places that are kept for each operator; more are counted.
const MAX_ORIGINS: usize = 16;

/// Where an operator is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Origin(String);

impl Origin {
    /// A place, in words. Line ends and other controls become spaces.
    pub fn new(text: &str) -> Self {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        Self(text.chars().take(200).map(plain).collect())
    }

    /// The place in words.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// How an operator is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Use {
    /// The dtypes of its tensors, arguments and results, where they are known.
    pub dtypes: BTreeSet<String>,
    /// Whether the model calls it itself; otherwise only other operators do.
    pub root: bool,
    /// Whether training needs it.
    pub training: bool,
    /// Calls, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Some of the places that use it.
    pub origins: BTreeSet<Origin>,
    /// Places beyond these.
    pub more_origins: u64,
}

impl Use {
    /// Adds a place.
    pub fn add_origin(&mut self, origin: Origin) {
        if self.origins.contains(&origin) {
        } else if self.origins.len() < MAX_ORIGINS {
            self.origins.insert(origin);
        } else {
            self.more_origins += 1;
        }
    }
}

/// Operators and how they are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operators {
    /// Those that PyTorch registers.
    pub operators: BTreeMap<Operator, Use>,
    /// Functions that a graph calls beside them, such as `_operator.add`.
    pub outside: BTreeSet<String>,
    /// Classes of C++ (`torch.classes`) that are used.
    pub classes: BTreeSet<String>,
    /// The dtypes of the parameters and buffers, where the file has them.
    pub parameters: BTreeSet<String>,
    /// What a reader of the list should know.
    pub notes: BTreeSet<String>,
}

impl Operators {
    /// The record of an operator, which is made if there is none.
    pub fn entry(&mut self, operator: Operator) -> &mut Use {
        self.operators.entry(operator).or_default()
    }

    /// Adds what `other` holds.
    pub fn merge(&mut self, other: Self) {
        for (operator, theirs) in other.operators {
            let mine = self.entry(operator);
            mine.dtypes.extend(theirs.dtypes);
            mine.root |= theirs.root;
            mine.training |= theirs.training;
            if let Some(calls) = theirs.calls {
                mine.calls = Some(mine.calls.unwrap_or(0).saturating_add(calls));
            }
            mine.more_origins += theirs.more_origins;
            theirs.origins.into_iter().for_each(|origin| mine.add_origin(origin));
        }
        self.outside.extend(other.outside);
        self.classes.extend(other.classes);
        self.parameters.extend(other.parameters);
        self.notes.extend(other.notes);
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system did not let it be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is neither TorchScript nor an exported program.
    #[error(
        "{path} is neither a TorchScript archive nor an exported program: {reason}; \
         save a model with torch.jit.save or torch.export.save"
    )]
    NotAModel {
        /// The file.
        path: String,
        /// What it lacks.
        reason: String,
    },
    /// It is damaged, or made to harm who reads it.
    #[error("{path} is refused: {place}: {reason}")]
    Hostile {
        /// The file.
        path: String,
        /// The part of it.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// Its code says what is not understood.
    #[error("{path}: {place}: {reason}")]
    Code {
        /// The file.
        path: String,
        /// The function, or the file and line in the archive.
        place: String,
        /// What is not understood.
        reason: String,
    },
    /// It is of a version that is not known.
    #[error(
        "{path}: {what}, and {known} are read; save it with a version of torch that writes them"
    )]
    Version {
        /// The file.
        path: String,
        /// Its version.
        what: String,
        /// The versions that are known.
        known: String,
    },
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// TorchScript, whose overloads depend on the signatures of an installed PyTorch.
    Script,
    /// An exported program, which names them.
    Exported,
}

/// A file of a model.
pub struct ModelFile<R> {
    archive: Archive<R>,
    /// What it is.
    pub model: Model,
}

/// Bytes of stack for reading TorchScript: parsing and compiling follow the nesting of its
/// code, which is limited, and functions that call each other, which are, too.
const STACK: usize = 1 << 30;

impl<R: Read + Seek + Send> ModelFile<R> {
    /// Opens the archive that `reader` gives; `name` is used in errors.
    ///
    /// # Errors
    /// [`Error::NotAModel`] and [`Error::Hostile`].
    pub fn open(reader: R, name: &str) -> Result<Self, Error> {
        let archive = Archive::new(reader, name)?;
        let model = if script::is_script(&archive) {
            Model::Script
        } else if !exported::graphs(&archive).is_empty() {
            Model::Exported
        } else {
            let reason = if archive.has("data.pkl") {
                "it holds objects and no code, as torch.save writes them"
            } else {
                "it holds neither code nor graphs"
            };
            return Err(Error::NotAModel { path: name.into(), reason: reason.into() });
        };
        Ok(Self { archive, model })
    }

    /// Reads the operators. `signatures` are only asked for TorchScript.
    ///
    /// # Errors
    /// [`Error`].
    pub fn operators(self, signatures: &(dyn Signatures + Sync)) -> Result<Operators, Error> {
        let Self { mut archive, model } = self;
        let path = archive.name().to_owned();
        match model {
            Model::Exported => exported::operators(&mut archive),
            Model::Script => std::thread::scope(|scope| {
                let failed = |source| Error::Read { path: path.clone(), source };
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || script::operators(&mut archive, signatures))
                    .map_err(failed)?
                    .join()
                    .unwrap_or_else(|_| Err(failed(std::io::Error::other("a thread panicked"))))
            }),
        }
    }
}
