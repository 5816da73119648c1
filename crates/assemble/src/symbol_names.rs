//! Which names of dynamic symbols only one library of a package defines or imports.

use anyhow::Result;
use elf::Library;
use environment::{Environment, Kind, MappedFile};
use plan::{Action, Plan};
use rayon::prelude::*;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Stand-ins for libraries that leave, by path.
pub type StandIns = BTreeMap<String, Vec<u8>>;

/// Names of dynamic symbols that several libraries of a package define or import.
#[derive(Debug, Default)]
pub struct SymbolNames {
    shared: HashSet<String>,
    /// Whether a library's names could not be read: then it may define or import any.
    unknown: bool,
}

/// The names that the library in `bytes` defines or imports, each once; `None` where it is not
/// understood.
fn names(bytes: &[u8]) -> Option<Vec<&str>> {
    let library = Library::parse(bytes).ok()?;
    let symbols = library.symbols().ok()?;
    let names = symbols.iter().filter(|symbol| !symbol.is_local());
    let mut names: Vec<&str> = names.map(|symbol| symbol.name).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// The bytes of a library as it will be in the package, or of its original.
enum Source<'a> {
    StandIn(&'a [u8]),
    File(MappedFile),
}

impl SymbolNames {
    /// Reads the names of every library that `plan` keeps something of.
    pub fn of(environment: &Environment, plan: &Plan, stand_ins: &StandIns) -> Result<Self> {
        let kept = plan.files.iter().filter(|file| file.action != Action::Leave);
        let files = kept.map(|file| &environment.files[file.index]);
        let sources: Vec<Source<'_>> = files
            .filter(|file| file.kind == Kind::SharedLibrary)
            .map(|file| match stand_ins.get(&file.path) {
                Some(bytes) => Ok(Source::StandIn(bytes)),
                None => Ok(Source::File(MappedFile::open(&environment.source(file))?)),
            })
            .collect::<Result<_>>()?;
        let lists: Vec<Option<Vec<&str>>> = sources
            .par_iter()
            .map(|source| match source {
                Source::StandIn(bytes) => names(bytes),
                Source::File(bytes) => names(bytes),
            })
            .collect();
        let unknown = lists.iter().any(Option::is_none);
        let mut seen: HashMap<&str, bool> = HashMap::new();
        for name in lists.into_iter().flatten().flatten() {
            match seen.entry(name) {
                Entry::Occupied(mut twice) => *twice.get_mut() = true,
                Entry::Vacant(once) => {
                    once.insert(false);
                }
            }
        }
        let shared = seen.into_iter().filter(|(_, twice)| *twice);
        Ok(Self { shared: shared.map(|(name, _)| name.to_owned()).collect(), unknown })
    }

    /// Whether no library but the one that speaks of `name` does.
    pub fn is_private(&self, name: &str) -> bool {
        !self.unknown && !self.shared.contains(name)
    }
}
