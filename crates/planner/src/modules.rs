//! Which modules lie in the store of the package, and which stay files.

use environment::{Environment, source_of};
use plan::{Action, Cold, FilePlan, Reason};
use profile::Profile;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers the modules that can be loaded from a store: those that workloads imported in
/// the order in which they did, so each compressed chunk is unpacked once while a program
/// starts; then the others by path, so a package's modules lie together.
///
/// A module stays a file where Python's own rules would find something else first or
/// where only a file will do: one without a package around it all the way up, one beside
/// an extension module or a package of the same name, one that `--keep` named. Where
/// nothing is lost, such a file holds its source; and the source of a module in the store
/// is a file only if a workload read it before it imported a module from there, which
/// brings what gives sources to readers.
pub fn store(files: &mut [FilePlan], environment: &Environment, profile: &Profile, fate: Cold) {
    let all: BTreeSet<&str> = environment.files.iter().map(|file| file.path.as_str()).collect();
    let mut stored: BTreeMap<String, Option<usize>> = BTreeMap::new();
    // Sorting by depth puts a package's own module before those in it.
    let mut modules: Vec<(&FilePlan, bool)> = files
        .iter()
        .filter(|file| matches!(file.reason, Reason::Opened | Reason::Cold))
        .filter_map(|file| match file.action {
            Action::Module { cold, .. } => Some((file, cold)),
            _ => None,
        })
        .collect();
    modules.sort_by_key(|(file, _)| (depth(&file.path), &file.path));
    let mut cold: BTreeSet<String> = BTreeSet::new();
    for (file, is_cold) in modules {
        if fits(&file.path, &all, |path| stored.contains_key(path), is_cold) {
            stored.insert(file.path.clone(), None);
            if is_cold {
                cold.insert(file.path.clone());
            }
        }
    }
    let mut next = 0..;
    let hot = profile.opened.iter().map(|path| source_of(path).unwrap_or_else(|| path.clone()));
    for path in hot.filter(|path| !cold.contains(path)).collect::<Vec<_>>().iter().chain(&cold) {
        if let Some(place) = stored.get_mut(path)
            && place.is_none()
        {
            *place = next.next();
        }
    }
    let bytecode = |path: &String| source_of(path).is_some_and(|path| stored.contains_key(&path));
    let first = profile.opened.iter().position(bytecode).unwrap_or(usize::MAX);
    for file in files {
        if let Action::Module { source, read, stored: place, .. } = &mut file.action {
            *place = stored.get(&file.path).copied().flatten();
            if fate == Cold::Keep {
                let opened = profile.opened.get_index_of(&file.path);
                *read = place.is_some() && opened.is_some_and(|opened| opened >= first);
                *source = place.is_none() || (*source && !*read);
            }
        }
    }
}

/// Whether the file at `path`, a type stub, can lie in the store beside the sources of modules.
/// Its index divides the names of a folder by spaces, and what lies at the top of the package
/// would be taken for a module.
pub fn is_text(path: &str) -> bool {
    std::path::Path::new(path).extension() == Some("pyi".as_ref())
        && path.contains('/')
        && !path.contains(' ')
}

/// The number of packages around a module, of which the module of a package is one
/// less than the others in it.
fn depth(path: &str) -> usize {
    2 * path.matches('/').count() - usize::from(path.ends_with("/__init__.py"))
}

/// Whether the module at `path` can be loaded from a store that has the modules that
/// `stored` says. A `cold` one may lie in a folder of a package that is none itself (a
/// package's tests often do), where Python makes a namespace of it.
fn fits(path: &str, all: &BTreeSet<&str>, stored: impl Fn(&str) -> bool, cold: bool) -> bool {
    let Some(name) = path.strip_suffix(".py") else { return false };
    if !name.split('/').all(identifier) {
        return false;
    }
    let inside = name.strip_suffix("/__init__");
    if inside.is_none() && all.contains(format!("{name}/__init__.py").as_str()) {
        return false;
    }
    let place = inside.unwrap_or(name);
    // An extension module is named after the module, a dot and more.
    let beside = format!("{place}.");
    let extension = all
        .range(beside.as_str()..)
        .take_while(|other| other.starts_with(&beside))
        .map(|other| &other[beside.len()..])
        .any(|rest| !rest.contains('/') && (rest == "so" || rest.rsplit('.').next() == Some("so")));
    let mut around = place;
    let mut whole = true;
    while let Some((package, _)) = around.rsplit_once('/') {
        let module = format!("{package}/__init__.py");
        let namespace = cold && package.contains('/') && !all.contains(module.as_str());
        whole &= stored(&module) || namespace;
        around = package;
    }
    whole && !extension
}

fn identifier(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && letters.all(|letter| letter == b'_' || letter.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_python_would_find_otherwise_stay_files() {
        let all = [
            "a/__init__.py",
            "a/b.py",
            "a/c.cpython-311-x86_64-linux-gnu.so",
            "a/c.py",
            "a/d.py",
            "a/d/__init__.py",
            "a/n/m.py",
            "a/x-y.py",
            "n/m.py",
            "t.py",
            "a/data.json",
            "a.libs/x.so",
        ];
        let all: BTreeSet<&str> = all.into_iter().collect();
        let mut sorted: Vec<&str> = all.iter().copied().collect();
        sorted.sort_by_key(|path| depth(path));
        let stored = |cold: bool| -> Vec<String> {
            let mut stored: BTreeSet<String> = BTreeSet::new();
            for path in &sorted {
                if fits(path, &all, |path| stored.contains(path), cold) {
                    stored.insert((*path).to_owned());
                }
            }
            stored.into_iter().collect()
        };
        assert_eq!(stored(false), ["a/__init__.py", "a/b.py", "a/d/__init__.py", "t.py"]);
        let namespace = ["a/__init__.py", "a/b.py", "a/d/__init__.py", "a/n/m.py", "t.py"];
        assert_eq!(stored(true), namespace);
    }
}
