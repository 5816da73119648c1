//! What libraries that stay bind to in libraries that leave.

use elf::{Error, Library, Symbol};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A symbol that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedSymbol {
    /// Its name, mangled.
    pub name: String,
    /// The version that is asked for with it.
    pub version: Option<String>,
}

/// The symbols and versions that libraries which stay ask of one that leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What they bind to.
    pub symbols: BTreeSet<WantedSymbol>,
    /// Every version that is asked for, with a symbol or without.
    pub versions: BTreeSet<String>,
    /// The libraries that ask, by their names there.
    pub by: BTreeSet<String>,
    /// Libraries that leave as well, by their names for the loader.
    pub absent: BTreeSet<String>,
    /// Those of them that kept libraries reach only through another one that leaves:
    /// this one's stand-in loads them if the original did.
    pub through: BTreeSet<String>,
    /// Functions that only libraries which leave define, this one not among them.
    pub absent_symbols: BTreeSet<String>,
    /// Symbols that this library defines, refers to by name, and shares with a kept
    /// library that it loads: C++ templates, inline variables and types. One of all
    /// definitions serves every library, so kept code must not use its own.
    pub shared: BTreeSet<String>,
}

/// A library of either side and what the loader would ask of it.
struct Node<'a> {
    /// The name that other libraries know it by.
    name: &'a str,
    file: &'a str,
    needed: Vec<&'a str>,
    symbols: Vec<Symbol<'a>>,
}

impl<'a> Node<'a> {
    fn new(path: &'a str, library: &Library<'a>) -> Result<Self, Error> {
        let file = path.rsplit('/').next().unwrap_or(path);
        Ok(Self {
            name: library.soname().unwrap_or(file),
            file,
            needed: library.needed(),
            symbols: library.symbols()?,
        })
    }

    fn defined(&self) -> impl Iterator<Item = &Symbol<'a>> {
        self.symbols.iter().filter(|symbol| symbol.is_defined() && !symbol.is_local())
    }
}

/// A group of libraries with one name, of which the loader takes one.
type Group = Vec<usize>;

/// For each of `dropped`, by its name there, what `kept` want of it.
///
/// A symbol that a kept library defines too is bound to that one and is not wanted,
/// nor is one that is asked of a library on neither list, by its version. Of several
/// that leave and define a symbol, it is wanted of the one that the loader would find
/// first, breadth first from the library that asks; of all, where it would find none.
pub fn wanted<'a>(
    kept: &[(&'a str, &Library<'a>)],
    dropped: &[(&'a str, &Library<'a>)],
) -> Result<BTreeMap<String, Wanted>, Error> {
    let nodes = |list: &[(&'a str, &Library<'a>)]| {
        list.iter().map(|(path, library)| Node::new(path, library)).collect::<Result<Vec<_>, _>>()
    };
    let (stays, leaves) = (nodes(kept)?, nodes(dropped)?);
    let kept_names = names(&stays);
    let dropped_names = names(&leaves);
    let here: HashSet<&str> =
        stays.iter().flat_map(|node| node.defined().map(|symbol| symbol.name)).collect();
    let mut definers: HashMap<&str, Group> = HashMap::new();
    for (number, node) in leaves.iter().enumerate() {
        for symbol in node.defined().filter(|symbol| !here.contains(symbol.name)) {
            definers.entry(symbol.name).or_default().push(number);
        }
    }
    let absent: BTreeSet<String> =
        dropped_names.keys().map(|name| (*name).to_owned()).collect();
    let mut all = Vec::with_capacity(leaves.len());
    for (number, node) in leaves.iter().enumerate() {
        let absent_symbols = node
            .symbols
            .iter()
            .filter(|symbol| !symbol.is_defined())
            .filter(|symbol| {
                definers.get(symbol.name).is_some_and(|by| {
                    !by.contains(&number) && by.iter().any(|by| leaves[*by].is_function(symbol.name))
                })
            })
            .map(|symbol| symbol.name.to_owned())
            .collect();
        all.push(Wanted {
            absent: absent.clone(),
            absent_symbols,
            shared: shared(node, dropped[number].1, &stays, &kept_names)?,
            ..Wanted::default()
        });
    }
    let named: HashSet<&str> = stays.iter().flat_map(|node| node.needed.iter().copied()).collect();
    let mut through: BTreeSet<String> = BTreeSet::new();
    for ((path, library), node) in kept.iter().zip(&stays) {
        let versions = library.versions()?;
        for need in &versions.needs {
            for number in dropped_names.get(need.library).into_iter().flatten() {
                let names = need.versions.iter().map(|(_, name)| (*name).to_owned());
                all[*number].versions.extend(names);
            }
        }
        let mut reach: Option<Reach> = None;
        for symbol in node.symbols.iter().filter(|symbol| !symbol.is_defined()) {
            let Some(by) = definers.get(symbol.name) else { continue };
            let version = versions.name(symbol.version);
            if let Some((_, Some(asked))) = version
                && !absent.contains(asked)
            {
                continue;
            }
            let reach = reach.get_or_insert_with(|| {
                Reach::of(node, &stays, &leaves, &kept_names, &dropped_names)
            });
            let symbol = WantedSymbol {
                name: symbol.name.to_owned(),
                version: version.map(|(name, _)| name.to_owned()),
            };
            for number in reach.first(by) {
                all[number].symbols.insert(symbol.clone());
                all[number].by.insert((*path).to_owned());
                if !named.contains(leaves[number].name) {
                    through.insert(leaves[number].name.to_owned());
                }
                // Those on the way must be there for this one to be found.
                for middle in reach.way(number) {
                    all[middle].by.insert((*path).to_owned());
                    if !named.contains(leaves[middle].name) {
                        through.insert(leaves[middle].name.to_owned());
                    }
                }
            }
        }
    }
    for wanted in &mut all {
        wanted.through.clone_from(&through);
    }
    Ok(dropped.iter().map(|(path, _)| (*path).to_owned()).zip(all).collect())
}

impl Node<'_> {
    fn is_function(&self, name: &str) -> bool {
        self.defined().any(|symbol| symbol.name == name && symbol.is_code())
    }
}

fn names<'a>(nodes: &[Node<'a>]) -> BTreeMap<&'a str, Group> {
    let mut names: BTreeMap<&str, Group> = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        for name in BTreeSet::from([node.name, node.file]) {
            names.entry(name).or_default().push(number);
        }
    }
    names
}

/// The names that `node` defines and relocates against, and that a kept library
/// which it loads defines as well.
fn shared(
    node: &Node<'_>,
    library: &Library<'_>,
    stays: &[Node<'_>],
    kept_names: &BTreeMap<&str, Group>,
) -> Result<BTreeSet<String>, Error> {
    let mut seen = BTreeSet::new();
    let mut work: Vec<&str> = node.needed.clone();
    while let Some(name) = work.pop() {
        for number in kept_names.get(name).into_iter().flatten() {
            if seen.insert(*number) {
                work.extend(&stays[*number].needed);
            }
        }
    }
    let loaded: HashSet<&str> =
        seen.iter().flat_map(|number| stays[*number].defined().map(|symbol| symbol.name)).collect();
    let mut shared = BTreeSet::new();
    for relocation in library.relocations()? {
        let symbol = node.symbols.get(relocation.symbol as usize);
        if let Some(symbol) = symbol.filter(|symbol| {
            symbol.is_defined() && symbol.is_preemptible() && loaded.contains(symbol.name)
        }) {
            shared.insert(symbol.name.to_owned());
        }
    }
    Ok(shared)
}

/// The libraries that leave, in the order in which the loader comes to them.
struct Reach {
    order: Vec<Group>,
    /// The one that leaves through which another was first reached.
    parents: BTreeMap<usize, usize>,
}

impl Reach {
    fn of(
        from: &Node<'_>,
        stays: &[Node<'_>],
        leaves: &[Node<'_>],
        kept_names: &BTreeMap<&str, Group>,
        dropped_names: &BTreeMap<&str, Group>,
    ) -> Self {
        let mut reach = Self { order: Vec::new(), parents: BTreeMap::new() };
        let mut seen: HashSet<&str> = HashSet::new();
        let mut queue: Vec<(&str, Option<usize>)> =
            from.needed.iter().map(|name| (*name, None)).collect();
        let mut next = 0;
        while let Some((name, parent)) = queue.get(next).copied() {
            next += 1;
            if !seen.insert(name) {
                continue;
            }
            for number in kept_names.get(name).into_iter().flatten() {
                queue.extend(stays[*number].needed.iter().map(|name| (*name, None)));
            }
            let Some(group) = dropped_names.get(name) else { continue };
            for number in group {
                if let Some(parent) = parent {
                    reach.parents.entry(*number).or_insert(parent);
                }
                queue.extend(leaves[*number].needed.iter().map(|name| (*name, Some(*number))));
            }
            reach.order.push(group.clone());
        }
        reach
    }

    /// Of `definers`, those that the loader would take.
    fn first(&self, definers: &[usize]) -> Group {
        self.order
            .iter()
            .map(|group| {
                group.iter().copied().filter(|number| definers.contains(number)).collect::<Group>()
            })
            .find(|found| !found.is_empty())
            .unwrap_or_else(|| definers.to_vec())
    }

    /// Those that leave on the way to `number`.
    fn way(&self, number: usize) -> Group {
        let mut way = Group::new();
        let mut at = number;
        while let Some(parent) = self.parents.get(&at) {
            if *parent == number || way.contains(parent) {
                break;
            }
            way.push(*parent);
            at = *parent;
        }
        way
    }
}
