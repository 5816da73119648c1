//! What libraries that stay bind to in libraries that leave.

use crate::code::IMPORTS;
use crate::names::is_standard;
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

impl Wanted {
    /// Those of its symbols that are the C++ library's. A library that contains a part of it and
    /// exports that is asked for it by chance, where the system's own is older, and no GPU is
    /// needed to answer: a stand-in keeps their code.
    pub fn standard(&self) -> impl Iterator<Item = &str> {
        self.symbols.keys().map(String::as_str).filter(|name| is_standard(name))
    }
}

/// Libraries by their paths.
type Libraries<'a, 'b> = [(&'a str, &'b Library<'b>)];

/// For each of `dropped`, by its name there, what `kept` want of it. Symbols that a
/// kept library defines too are bound to that one and are not wanted.
pub fn wanted(
    kept: &Libraries<'_, '_>,
    dropped: &Libraries<'_, '_>,
) -> Result<BTreeMap<String, Wanted>, Error> {
    let definers = definers(kept, dropped)?;
    let mut all = unasked(dropped, &definers)?;
    let leaving = Leaving::of(kept, dropped);
    for (path, library) in kept {
        let versions = library.versions()?;
        for need in &versions.needs {
            for number in leaving.by_name.get(need.library).into_iter().flatten() {
                let names = need.versions.iter().map(|(_, name)| (*name).to_owned());
                all[*number].versions.extend(names);
            }
        }
        for symbol in library.symbols()?.iter().filter(|symbol| !symbol.is_defined()) {
            let version = versions.name(symbol.version);
            // A version says which library it is asked of: often the system's C++ one,
            // whose functions others contain and export as well.
            let asked = version.and_then(|(_, asked)| asked);
            if asked.is_some_and(|asked| !leaving.by_name.contains_key(asked)) {
                continue;
            }
            let definers = definers.get(symbol.name).map(Vec::as_slice).unwrap_or_default();
            for number in leaving.bound(definers) {
                let version = version.map(|(name, _)| name.to_owned());
                all[number].symbols.insert(symbol.name.to_owned(), version);
                all[number].by.insert((*path).to_owned());
            }
        }
    }
    let asked = leaving.names.iter().zip(&all).filter(|(_, wanted)| !wanted.symbols.is_empty());
    let through = asked.map(|(name, _)| *name).filter(|name| !leaving.named.contains(name));
    let through: BTreeSet<String> = through.map(str::to_owned).collect();
    for (wanted, name) in all.iter_mut().zip(leaving.names) {
        wanted.reached = through.contains(name);
        wanted.through.clone_from(&through);
    }
    Ok(dropped.iter().map(|(path, _)| (*path).to_owned()).zip(all).collect())
}

/// The symbols that only libraries of `dropped` define, each with the numbers of these.
fn definers<'b>(
    kept: &Libraries<'_, 'b>,
    dropped: &Libraries<'_, 'b>,
) -> Result<HashMap<&'b str, Vec<usize>>, Error> {
    let exported = |library: &'b Library<'b>| -> Result<Vec<&'b str>, Error> {
        let symbols = library.symbols()?.into_iter();
        let symbols = symbols.filter(|symbol| symbol.is_defined() && !symbol.is_local());
        Ok(symbols.map(|symbol| symbol.name).collect())
    };
    let mut definers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, (_, library)) in dropped.iter().enumerate() {
        for name in exported(library)? {
            definers.entry(name).or_default().push(number);
        }
    }
    // What the system's libraries define, too, is found there: a library that leaves may contain
    // a part of the C++ library, and what was linked against it asks for that without a version.
    let mut here: HashSet<&str> = of_system(kept, dropped)?;
    here.extend(IMPORTS);
    for (_, library) in kept {
        here.extend(exported(library)?);
    }
    definers.retain(|name, _| !here.contains(name));
    Ok(definers)
}

/// For each of `dropped` what a stand-in's own code asks of the others that leave.
fn unasked(
    dropped: &Libraries<'_, '_>,
    definers: &HashMap<&str, Vec<usize>>,
) -> Result<Vec<Wanted>, Error> {
    let names = dropped.iter().flat_map(|(path, library)| [name(path, library), file_name(path)]);
    let absent: BTreeSet<String> = names.map(str::to_owned).collect();
    let mut all = Vec::new();
    for (number, (_, library)) in dropped.iter().enumerate() {
        let elsewhere = library
            .symbols()?
            .iter()
            .filter(|symbol| !symbol.is_defined())
            .filter(|symbol| definers.get(symbol.name).is_some_and(|by| !by.contains(&number)))
            .map(|symbol| symbol.name.to_owned())
            .collect();
        all.push(Wanted { absent: absent.clone(), absent_symbols: elsewhere, ..Wanted::default() });
    }
    Ok(all)
}

/// The libraries that leave, as the loader would find them.
struct Leaving<'b> {
    /// Their names for the loader.
    names: Vec<&'b str>,
    /// Several files may have one name; the loader takes whichever it finds first.
    by_name: HashMap<&'b str, Vec<usize>>,
    /// The names that libraries which stay ask for.
    named: BTreeSet<&'b str>,
    /// Those that are loaded with these: what they name, and what that names in turn.
    reachable: BTreeSet<usize>,
}

impl<'b> Leaving<'b> {
    fn of(kept: &Libraries<'_, 'b>, dropped: &Libraries<'b, 'b>) -> Self {
        let names: Vec<&str> = dropped.iter().map(|(path, library)| name(path, library)).collect();
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, name) in names.iter().enumerate() {
            by_name.entry(name).or_default().push(number);
        }
        let named: BTreeSet<&str> = kept.iter().flat_map(|(_, library)| library.needed()).collect();
        let mut reachable: BTreeSet<usize> = BTreeSet::new();
        let mut work: Vec<usize> =
            (0..dropped.len()).filter(|number| named.contains(names[*number])).collect();
        while let Some(number) = work.pop() {
            if reachable.insert(number) {
                let needed = dropped[number].1.needed();
                work.extend(needed.iter().filter_map(|name| by_name.get(name)).flatten());
            }
        }
        Self { names, by_name, named, reachable }
    }

    /// To which of `definers` a symbol of a library that stays may be bound: to one that such
    /// a library names itself, else to any that is loaded.
    fn bound(&self, definers: &[usize]) -> Vec<usize> {
        let loaded = definers.iter().copied().filter(|number| self.reachable.contains(number));
        let (direct, others): (Vec<usize>, Vec<usize>) =
            loaded.partition(|number| self.named.contains(self.names[*number]));
        if direct.is_empty() { others } else { direct }
    }
}

/// Symbols that some library asks, with a version, of one that is in neither list and that a
/// kept one needs.
fn of_system<'a>(
    kept: &Libraries<'_, 'a>,
    dropped: &Libraries<'_, 'a>,
) -> Result<HashSet<&'a str>, Error> {
    let all = || kept.iter().chain(dropped);
    let known: HashSet<&str> =
        all().flat_map(|(path, library)| [name(path, library), file_name(path)]).collect();
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

/// The library at `path` by its name for the loader.
fn name<'a>(path: &'a str, library: &Library<'a>) -> &'a str {
    library.soname().unwrap_or(file_name(path))
}
