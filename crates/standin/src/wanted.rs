//! What libraries that stay bind to in libraries that leave.

use crate::code::IMPORTS;
use elf::{Error, Library};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The symbols and versions that libraries which stay ask of one that leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Mangled names, each with the version that is asked for.
    pub symbols: BTreeMap<String, Option<String>>,
    /// Every version that is asked for, with a symbol or without.
    pub versions: BTreeSet<String>,
    /// The libraries that ask.
    pub by: BTreeSet<String>,
    /// Libraries that leave as well, by their names for the loader.
    pub absent: BTreeSet<String>,
    /// Those of them that have stand-ins which no kept library names: this one's
    /// stand-in loads them if the original did.
    pub through: BTreeSet<String>,
    /// Whether this library is one of those.
    pub reached: bool,
    /// Symbols that only libraries which leave define, this one not among them.
    pub absent_symbols: BTreeSet<String>,
}

/// For each of `dropped`, by its name there, what `kept` want of it. Symbols that a
/// kept library defines too are bound to that one and are not wanted.
pub fn wanted(
    kept: &[(&str, &Library<'_>)],
    dropped: &[(&str, &Library<'_>)],
) -> Result<BTreeMap<String, Wanted>, Error> {
    let mut absent = BTreeSet::new();
    let mut definers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, (path, library)) in dropped.iter().enumerate() {
        absent.insert(library.soname().unwrap_or(file_name(path)).to_owned());
        absent.insert(file_name(path).to_owned());
        for symbol in library.symbols()? {
            if symbol.is_defined() && !symbol.is_local() {
                definers.entry(symbol.name).or_default().push(number);
            }
        }
    }
    let mut here: HashSet<&str> = HashSet::new();
    let mut all_symbols = Vec::new();
    for (_, library) in kept {
        let symbols = library.symbols()?;
        here.extend(
            symbols
                .iter()
                .filter(|symbol| symbol.is_defined() && !symbol.is_local())
                .map(|symbol| symbol.name),
        );
        all_symbols.push(symbols);
    }
    // What the system's libraries define, too, is found there: a library that leaves may contain
    // a part of the C++ library, and what was linked against it asks for that without a version.
    here.extend(IMPORTS);
    here.extend(of_system(kept, dropped)?);
    let absent_symbols: HashMap<&str, Vec<usize>> =
        definers.into_iter().filter(|(name, _)| !here.contains(name)).collect();
    let mut all: Vec<Wanted> = Vec::new();
    for (number, (_, library)) in dropped.iter().enumerate() {
        // What a stand-in's own code asks of the others that leave.
        let elsewhere = library
            .symbols()?
            .iter()
            .filter(|symbol| !symbol.is_defined())
            .filter(|symbol| {
                absent_symbols.get(symbol.name).is_some_and(|by| !by.contains(&number))
            })
            .map(|symbol| symbol.name.to_owned())
            .collect();
        all.push(Wanted { absent: absent.clone(), absent_symbols: elsewhere, ..Wanted::default() });
    }
    // Several files may have one name; the loader takes whichever it finds first.
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, (path, library)) in dropped.iter().enumerate() {
        by_name.entry(library.soname().unwrap_or(file_name(path))).or_default().push(number);
    }
    let named: BTreeSet<&str> = kept.iter().flat_map(|(_, library)| library.needed()).collect();
    let names: Vec<&str> =
        dropped.iter().map(|(path, library)| library.soname().unwrap_or(file_name(path))).collect();
    // Only what kept libraries name, and what that names in turn, is loaded with them.
    let mut reachable: BTreeSet<usize> = BTreeSet::new();
    let mut work: Vec<usize> =
        (0..dropped.len()).filter(|number| named.contains(names[*number])).collect();
    while let Some(number) = work.pop() {
        if reachable.insert(number) {
            let needed = dropped[number].1.needed();
            work.extend(needed.iter().filter_map(|name| by_name.get(name)).flatten());
        }
    }
    for ((path, library), symbols) in kept.iter().zip(all_symbols) {
        let versions = library.versions()?;
        for need in &versions.needs {
            for number in by_name.get(need.library).into_iter().flatten() {
                let names = need.versions.iter().map(|(_, name)| (*name).to_owned());
                all[*number].versions.extend(names);
            }
        }
        for symbol in symbols.iter().filter(|symbol| !symbol.is_defined()) {
            let version = versions.name(symbol.version);
            // A version says which library it is asked of: often the system's C++ one,
            // whose functions others contain and export as well.
            if version
                .is_some_and(|(_, asked)| asked.is_some_and(|asked| !by_name.contains_key(asked)))
            {
                continue;
            }
            let definers: Vec<usize> = absent_symbols
                .get(symbol.name)
                .into_iter()
                .flatten()
                .copied()
                .filter(|number| reachable.contains(number))
                .collect();
            let direct = definers.iter().any(|number| named.contains(names[*number]));
            for number in
                definers.iter().filter(|number| !direct || named.contains(names[**number]))
            {
                let version = version.map(|(name, _)| name.to_owned());
                all[*number].symbols.insert(symbol.name.to_owned(), version);
                all[*number].by.insert((*path).to_owned());
            }
        }
    }
    let through: BTreeSet<String> = dropped
        .iter()
        .zip(&all)
        .filter(|(_, wanted)| !wanted.symbols.is_empty())
        .map(|((path, library), _)| library.soname().unwrap_or(file_name(path)))
        .filter(|name| !named.contains(name))
        .map(str::to_owned)
        .collect();
    for (wanted, name) in all.iter_mut().zip(names) {
        wanted.reached = through.contains(name);
        wanted.through.clone_from(&through);
    }
    Ok(dropped.iter().map(|(path, _)| (*path).to_owned()).zip(all).collect())
}

/// Symbols that some library asks, with a version, of one that is in neither list and that a
/// kept one needs.
fn of_system<'a>(
    kept: &[(&str, &'a Library<'a>)],
    dropped: &[(&str, &'a Library<'a>)],
) -> Result<HashSet<&'a str>, Error> {
    let all = || kept.iter().chain(dropped);
    let known: HashSet<&str> = all()
        .flat_map(|(path, library)| [library.soname().unwrap_or(file_name(path)), file_name(path)])
        .collect();
    let needed: HashSet<&str> = kept.iter().flat_map(|(_, library)| library.needed()).collect();
    let mut found = HashSet::new();
    for (_, library) in all() {
        let versions = library.versions()?;
        for symbol in library.symbols()?.iter().filter(|symbol| !symbol.is_defined()) {
            let asked = versions.name(symbol.version).and_then(|(_, asked)| asked);
            if asked.is_some_and(|asked| needed.contains(asked) && !known.contains(asked)) {
                found.insert(symbol.name);
            }
        }
    }
    Ok(found)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
