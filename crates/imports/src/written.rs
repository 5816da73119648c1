//! The imports of a module, as they are written.

use ruff_python_ast::{Alias, Stmt, StmtImport, StmtImportFrom};
use ruff_text_size::{Ranged, TextRange};
use serde::Serialize;

/// Where an import stands, and so when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the top of the module: always, when the module is loaded.
    Top,
    /// Behind a condition, in a `try`, a `with` or a loop of the module.
    Conditional,
    /// In a function: whenever it is called. Where it matters when a class uses a name, in a
    /// class too.
    Inside,
    /// In the module's own `__getattr__`: when one of its attributes is first asked for.
    Getattr,
    /// Under `if TYPE_CHECKING`: never.
    TypeChecking,
}

/// One name that an import binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Where it stands.
    pub place: Place,
    /// The statement.
    pub statement: TextRange,
    /// This name's part of it.
    pub alias: TextRange,
    /// This name's number in the statement, and how many it has.
    pub number: (usize, usize),
    /// The module, with a dot for each level of a relative import before it.
    pub module: String,
    /// The name that is taken from it: `from MODULE import MEMBER` (`*` for all); none for
    /// `import MODULE`.
    pub member: Option<String>,
    /// The name after `as`.
    pub renamed: Option<String>,
}

impl Import {
    /// The name that it binds; for `import a.b` that is `a`.
    pub fn bound(&self) -> &str {
        match (&self.renamed, &self.member) {
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => self.top(),
        }
    }

    /// The package at the top of its module; empty for a relative import.
    pub fn top(&self) -> &str {
        self.module.split('.').next().unwrap_or_default()
    }

    /// Whether it is `from … import *`.
    pub fn is_star(&self) -> bool {
        self.member.as_deref() == Some("*")
    }

    /// Whether it is relative to the module's own package.
    pub fn is_relative(&self) -> bool {
        self.module.starts_with('.')
    }

    /// The import of this name alone, as a statement.
    pub fn text(&self) -> String {
        let renamed = self.renamed.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
        match &self.member {
            Some(member) => format!("from {} import {member}{renamed}", self.module),
            None => format!("import {}{renamed}", self.module),
        }
    }
}

/// The names that `statement` binds if it is an import that stands in `place`.
pub fn written(statement: &Stmt, place: Place) -> Vec<Import> {
    let (names, from) = match statement {
        Stmt::Import(StmtImport { names, .. }) => (names, None),
        Stmt::ImportFrom(StmtImportFrom { module, names, level, .. }) => {
            let module = module.as_ref().map_or("", |module| module.as_str());
            (names, Some(format!("{}{module}", ".".repeat(*level as usize))))
        }
        _ => return Vec::new(),
    };
    let import = |(number, alias): (usize, &Alias)| Import {
        place,
        statement: statement.range(),
        alias: alias.range(),
        number: (number, names.len()),
        module: from.clone().unwrap_or_else(|| alias.name.to_string()),
        member: from.is_some().then(|| alias.name.to_string()),
        renamed: alias.asname.as_ref().map(ToString::to_string),
    };
    names.iter().enumerate().map(import).collect()
}
