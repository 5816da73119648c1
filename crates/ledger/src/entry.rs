//! What is recorded of each unit.

use plan::{LibraryPages, Reason};
use serde::{Deserialize, Serialize};

/// What was asked for, and what is deferred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The version of taper.
    pub taper: String,
    /// The Python version as `3.11`.
    pub python: String,
    /// The version of torch.
    pub torch: String,
    /// The device, `cpu`.
    pub target: String,
    /// The CPU instruction set, as `--cpu` said it.
    pub cpu: String,
    /// What became of what no workload used: `keep` or `drop`.
    pub cold: String,
    /// Whether no module was to be deferred.
    pub eager: bool,
    /// Names that were given with `--keep`.
    pub keep: Vec<String>,
    /// Names that were given with `--drop`.
    pub drop: Vec<String>,
    /// Names of distributions.
    pub distributions: Vec<String>,
    /// Groups of modules that were to be deferred.
    pub groups: Vec<Group>,
}

/// A group of modules that was to be deferred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The module that begins it.
    pub root: String,
    /// Its modules.
    pub members: Vec<String>,
    /// What speaks against that: with any, it is not.
    pub objections: Vec<String>,
    /// What runs it.
    pub gates: Gates,
}

impl Group {
    /// Whether it is deferred.
    pub fn is_deferred(&self) -> bool {
        self.objections.is_empty() && !self.members.is_empty()
    }
}

/// Where a program passes before it can see that a group has not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Attributes of modules outside of it that are its modules.
    pub attributes: Vec<String>,
    /// Namespaces of operators that it defines or gives kernels to.
    pub namespaces: Vec<String>,
    /// Dispatch keys for which it gives kernels.
    pub keys: Vec<String>,
    /// Functions of `torch._C` that ask the dispatcher.
    pub functions: Vec<String>,
}

/// One file of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in site-packages.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The number of its distribution in [`About::distributions`].
    pub owner: Option<u32>,
    /// What became of it.
    pub form: Form,
    /// Why.
    pub reason: Reason,
    /// For a module that workloads imported, its place in the order in which they opened files.
    pub order: Option<u32>,
}

/// The contract's word for what became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// In the package as it is.
    Hot,
    /// In the package, compressed; it comes back when it is touched.
    Cold,
    /// Not in the package.
    Out,
}

impl Fate {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Out => "out",
        }
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It is not in the package.
    Out,
    /// It is there as it was.
    Copied,
    /// It is there as it was, under another path: in its distribution's metadata folder, or where
    /// it does not hide a module of the standard library.
    Moved,
    /// It was written anew from what is in the package: a list of files.
    Listed,
    /// It is there, compressed, and comes back when a compiler is told of it.
    Compressed,
    /// Its text lies beside the sources of modules, and comes back when Python opens the file.
    Text,
    /// A shared library that is there in part.
    Shrunk,
    /// A small library of the same name stands in its place.
    StandIn,
    /// A module.
    Module {
        /// Whether it lies in the store of modules, and not as files.
        stored: bool,
        /// Whether no workload imported it.
        cold: bool,
        /// Where its source is.
        source: Source,
    },
}

/// Where a module's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Nowhere.
    Out,
    /// In its file.
    File,
    /// In the store; a workload read it.
    Read,
    /// In the store.
    Store,
}

/// The first code of a module; those before are of other forms.
const MODULE: u8 = 16;

impl Form {
    /// Its byte in the record.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Out => 0,
            Self::Copied => 1,
            Self::Moved => 2,
            Self::Listed => 3,
            Self::Compressed => 4,
            Self::Shrunk => 5,
            Self::StandIn => 6,
            Self::Text => 7,
            Self::Module { stored, cold, source } => {
                let source = match source {
                    Source::Out => 0,
                    Source::File => 1,
                    Source::Read => 2,
                    Source::Store => 3,
                };
                MODULE + u8::from(stored) + 2 * u8::from(cold) + 4 * source
            }
        }
    }

    /// What a byte of the record means.
    pub(crate) fn of(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Out,
            1 => Self::Copied,
            2 => Self::Moved,
            3 => Self::Listed,
            4 => Self::Compressed,
            5 => Self::Shrunk,
            6 => Self::StandIn,
            7 => Self::Text,
            MODULE..=31 => {
                let bits = code - MODULE;
                let source = match bits >> 2 {
                    0 => Source::Out,
                    1 => Source::File,
                    2 => Source::Read,
                    _ => Source::Store,
                };
                Self::Module { stored: bits & 1 != 0, cold: bits & 2 != 0, source }
            }
            _ => return None,
        })
    }
}

impl File {
    /// What became of it, in a word. A library is hot where a workload loaded it; its pages
    /// have fates of their own.
    pub fn fate(&self) -> Fate {
        match self.form {
            Form::Out | Form::StandIn => Fate::Out,
            Form::Compressed | Form::Text => Fate::Cold,
            Form::Shrunk if self.reason == Reason::Cold => Fate::Cold,
            Form::Module { stored: true, cold: true, source } if source != Source::File => {
                Fate::Cold
            }
            Form::Copied | Form::Moved | Form::Listed | Form::Shrunk | Form::Module { .. } => {
                Fate::Hot
            }
        }
    }

    /// Whether workloads ran it: a module that they imported, or a library that they loaded.
    pub fn ran(&self) -> bool {
        match self.form {
            Form::Module { cold, .. } => !cold,
            _ => self.reason == Reason::Loaded,
        }
    }
}

/// More about a shared library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Library {
    /// Its `DT_SONAME`.
    pub soname: Option<String>,
    /// The names in its `DT_NEEDED`.
    pub needed: Vec<String>,
    /// For a stand-in, the libraries that bind to its symbols.
    pub bound_by: Vec<String>,
    /// Its build id note, in hexadecimal.
    pub build_id: Option<String>,
    /// The first 16 hexadecimal digits of the BLAKE3 hash of the file, where packing took it.
    pub content: Option<String>,
    /// Why it was not understood, and copied whole.
    pub whole: Option<String>,
    /// Its pages, for one that is there in part; those that stay in a stand-in are `touched`.
    pub pages: LibraryPages,
}
