//! Which names of dynamic symbols only one library of a package defines or imports.

use anyhow::Result;
use elf::Library;
use environment::{Environment, Kind};
use plan::{Action, MappedFile, Plan};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Stand-ins for libraries that leave, by path.
pub type StandIns = BTreeMap<String, Vec<u8>>;

/// Names of dynamic symbols, and how many libraries of a package define or import them.
#[derive(Debug, Default)]
pub struct SymbolNames {
    libraries: HashMap<String, u32>,
    /// Whether a library's names could not be read: then it may define or import any.
    unknown: bool,
}

/// The names that the library in `bytes` defines or imports; `None` where it is not
/// understood.
fn names(bytes: &[u8]) -> Option<Vec<String>> {
    let library = Library::parse(bytes).ok()?;
    let symbols = library.symbols().ok()?;
    let names = symbols.iter().filter(|symbol| !symbol.is_local());
    let names: BTreeSet<&str> = names.map(|symbol| symbol.name).collect();
    Some(names.into_iter().map(str::to_owned).collect())
}

impl SymbolNames {
    /// Reads the names of every library that `plan` keeps something of.
    pub fn of(environment: &Environment, plan: &Plan, stand_ins: &StandIns) -> Result<Self> {
        let lists: Vec<Option<Vec<String>>> = plan
            .files
            .par_iter()
            .filter(|file| file.action != Action::Leave)
            .map(|file| &environment.files[file.index])
            .filter(|file| file.kind == Kind::SharedLibrary)
            .map(|file| match stand_ins.get(&file.path) {
                Some(bytes) => Ok(names(bytes)),
                None => Ok(names(&MappedFile::open(&environment.source(file))?)),
            })
            .collect::<Result<_>>()?;
        let mut symbol_names = Self::default();
        for list in lists {
            symbol_names.unknown |= list.is_none();
            for name in list.into_iter().flatten() {
                *symbol_names.libraries.entry(name).or_default() += 1;
            }
        }
        Ok(symbol_names)
    }

    /// Whether no library but the one that speaks of `name` does.
    pub fn is_private(&self, name: &str) -> bool {
        !self.unknown && self.libraries.get(name).is_none_or(|count| *count < 2)
    }
}
