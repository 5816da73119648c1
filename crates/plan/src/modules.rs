//! Which modules lie in the store of the package, and which stay files.

use crate::Reason;
use crate::planner::{Action, FilePlan, source_of};
use environment::Environment;
use profile::Profile;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers the modules that can be loaded from a store, in the order in which the
/// workloads loaded them: so each compressed chunk is unpacked once while a program
/// starts.
///
/// A module stays a file where Python's own rules would find something else first or
/// where only a file will do: one without a package around it all the way up, one beside an extension module or
/// a package of the same name, one that `--keep` named.
pub fn store(files: &mut [FilePlan], environment: &Environment, profile: &Profile) {
    let all: BTreeSet<&str> = environment.files.iter().map(|file| file.path.as_str()).collect();
    let mut stored: BTreeSet<String> = BTreeSet::new();
    // Sorting by depth puts a package's own module before those in it.
    let mut modules: Vec<&FilePlan> = files
        .iter()
        .filter(|file| {
            matches!(file.action, Action::Module { .. }) && file.reason == Reason::Opened
        })
        .collect();
    modules.sort_by_key(|file| (depth(&file.path), &file.path));
    for file in modules {
        if fits(&file.path, &all, &stored) {
            stored.insert(file.path.clone());
        }
    }
    let mut order: BTreeMap<String, usize> = BTreeMap::new();
    for path in &profile.opened {
        let source = source_of(path).unwrap_or_else(|| path.clone());
        if stored.contains(&source) {
            let next = order.len();
            order.entry(source).or_insert(next);
        }
    }
    for file in files {
        if let Action::Module { stored, .. } = &mut file.action {
            *stored = order.get(&file.path).copied();
        }
    }
}

/// The number of packages around a module, of which the module of a package is one
/// less than the others in it.
fn depth(path: &str) -> usize {
    2 * path.matches('/').count() - usize::from(path.ends_with("/__init__.py"))
}

fn fits(path: &str, all: &BTreeSet<&str>, stored: &BTreeSet<String>) -> bool {
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
        whole &= stored.contains(&format!("{package}/__init__.py"));
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
            "t.py",
            "a/data.json",
            "a.libs/x.so",
        ];
        let all: BTreeSet<&str> = all.into_iter().collect();
        let mut stored = BTreeSet::new();
        let mut sorted: Vec<&str> = all.iter().copied().collect();
        sorted.sort_by_key(|path| depth(path));
        for path in sorted {
            if fits(path, &all, &stored) {
                stored.insert(path.to_owned());
            }
        }
        let stored: Vec<&str> = stored.iter().map(String::as_str).collect();
        assert_eq!(stored, ["a/__init__.py", "a/b.py", "a/d/__init__.py", "t.py"]);
    }
}
