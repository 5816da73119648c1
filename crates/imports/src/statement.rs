//! Imports in a module's text, as data.

use crate::written::Place;
use serde::Serialize;

/// What a module's text imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Imports whose names the text says, in its order.
    pub statements: Vec<Statement>,
    /// Calls that import what the text does not say, in its order.
    pub unknowns: Vec<Unknown>,
}

/// One name that is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its line, from 1.
    pub line: usize,
    /// Where it stands, and so when it runs.
    pub place: Place,
    /// As it is written: the import of this name alone, or the call.
    pub text: String,
    /// The module, with a dot for each level of a relative import before it.
    pub module: String,
    /// The name that is taken from it, `*` for all.
    pub member: Option<String>,
    /// Whether a call imports it, and not a statement.
    pub dynamic: bool,
    /// What a relative name is relative to.
    pub base: Base,
}

/// What a relative name is relative to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Base {
    /// The module's package.
    #[default]
    Package,
    /// The module itself, as if it were a package.
    Module,
    /// This package.
    Named(String),
}

impl Statement {
    /// Whether it is `from … import *`.
    pub fn is_star(&self) -> bool {
        self.member.as_deref() == Some("*")
    }

    /// Whether its module is relative.
    pub fn is_relative(&self) -> bool {
        self.module.starts_with('.')
    }
}

/// A call that imports something that the text does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Its line, from 1.
    pub line: usize,
    /// Where it stands, and so when it runs.
    pub place: Place,
    /// What is called: `importlib.import_module`.
    pub function: String,
    /// The call as it is written, on one line, cut off if it is long.
    pub text: String,
}
