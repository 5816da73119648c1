//! What the standard library has too, which Python finds before site-packages.
//!
//! A package is found before the standard library. So a module of site-packages that no program
//! could import by its name, as a backport is on a Python that has the original, must not be
//! found in the package either.

use environment::Environment;
use format::place::BEHIND;
use plan::{Action, FilePlan};
use std::collections::BTreeSet;

/// Moves what makes such modules importable, and nothing else: in the folder of a package, what
/// is read by its path stays where it is, and without its `__init__.py` the folder gives way to
/// the standard library's module.
pub fn behind(files: &mut [FilePlan], environment: &Environment) {
    let sources = &environment.interpreter.sources;
    let first: Vec<_> = sources
        .plain
        .iter()
        .filter(|(_, from)| from == "PYTHONPATH")
        .map(|(path, _)| path)
        .collect();
    for file in files {
        let place = &environment.places[environment.files[file.index].root].path;
        let before = first.iter().any(|folder| place.starts_with(folder));
        if !matches!(file.action, Action::Leave) && !before && hides(&file.path, &sources.standard)
        {
            file.action = Action::CopyTo { path: format!("{BEHIND}/{}", file.path) };
        }
    }
}

/// Whether Python would import the file at `path` as a module of `standard`.
fn hides(path: &str, standard: &BTreeSet<String>) -> bool {
    let (name, file) = match path.split_once('/') {
        None => (path.split('.').next().unwrap_or(path), path),
        Some((folder, file)) if file.starts_with("__init__.") => (folder, file),
        Some(_) => return false,
    };
    let module = ["py", "pyc", "so"].iter().any(|end| file.rsplit('.').next() == Some(end));
    module && !file.contains('/') && standard.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_imported_is_hidden() {
        let standard: BTreeSet<String> = ["enum", "_json", "typing"].map(str::to_owned).into();
        let moved = [
            "typing.py",
            "enum/__init__.py",
            "_json.cpython-311-x86_64-linux-gnu.so",
            "enum/__init__.cpython-311-x86_64-linux-gnu.so",
        ];
        assert!(moved.iter().all(|path| hides(path, &standard)));
        let stays = ["typing.txt", "enum/other.py", "typing_extensions.py", "x/enum/__init__.py"];
        assert!(!stays.iter().any(|path| hides(path, &standard)));
    }
}
