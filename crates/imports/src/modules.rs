//! The modules of an environment by name, and what a name in an import means there.

use std::collections::{BTreeMap, BTreeSet};

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A source file.
    Source,
    /// The source file of a package: its `__init__.py`.
    Package,
    /// A shared library.
    Extension,
}

/// The modules of an environment.
#[derive(Debug, Clone, Default)]
pub struct Modules {
    /// By dotted name, what it is and its path in site-packages.
    files: BTreeMap<String, (Form, String)>,
    /// Folders without an `__init__.py` that have modules below them.
    namespaces: BTreeSet<String>,
}

/// The name of the module at `path` in site-packages, and what it is; `None` for a file that
/// Python cannot import by a name.
pub fn name_of(path: &str) -> Option<(String, Form)> {
    let (stem, form) = if let Some(package) = path.strip_suffix("/__init__.py") {
        (package, Form::Package)
    } else if let Some(stem) = path.strip_suffix(".py") {
        (stem, Form::Source)
    } else {
        // `name.so`, `name.abi3.so`, `name.cpython-311-x86_64-linux-gnu.so`.
        let stem = path.strip_suffix(".so")?;
        let (folder, name) =
            stem.rsplit_once('/').map_or(("", stem), |(folder, name)| (folder, name));
        let (name, tag) = name.split_once('.').unwrap_or((name, "abi3"));
        if tag != "abi3" && !tag.starts_with("cpython-") {
            return None;
        }
        (
            &stem[..if folder.is_empty() { 0 } else { folder.len() + 1 } + name.len()],
            Form::Extension,
        )
    };
    stem.split('/').all(is_identifier).then(|| (stem.replace('/', "."), form))
}

/// Whether `name` can be part of a module's name.
fn is_identifier(name: &str) -> bool {
    let letter = |letter: char| letter == '_' || letter.is_alphanumeric();
    name.chars().all(letter) && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

impl Modules {
    /// The modules among the files at `paths` in site-packages. Where two have a name, the one
    /// that Python finds is known: a package before a library before a source file.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let rank = |form: Form| match form {
            Form::Package => 0,
            Form::Extension => 1,
            Form::Source => 2,
        };
        let mut all = Self::default();
        let mut libraries = Vec::new();
        for path in paths {
            let Some((name, form)) = name_of(path) else { continue };
            if form == Form::Extension {
                libraries.push((name, path));
                continue;
            }
            let better = all.files.get(&name).is_none_or(|(known, _)| rank(form) < rank(*known));
            if better {
                all.files.insert(name, (form, path.to_owned()));
            }
        }
        for (name, path) in libraries {
            // Libraries that others link against lie in folders that are no packages.
            let inside = name.rsplit_once('.').is_none_or(|(package, _)| all.is_package(package));
            let better =
                all.files.get(&name).is_none_or(|(known, _)| rank(Form::Extension) < rank(*known));
            if inside && better {
                all.files.insert(name, (Form::Extension, path.to_owned()));
            }
        }
        for name in all.files.keys() {
            let mut around = name.as_str();
            while let Some((package, _)) = around.rsplit_once('.') {
                if !all.files.contains_key(package) {
                    all.namespaces.insert(package.to_owned());
                }
                around = package;
            }
        }
        all
    }

    /// Whether there is a module, or a folder that Python makes one of, with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.namespaces.contains(name)
    }

    /// Its path in site-packages; `None` where it is no file.
    pub fn path(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(|(_, path)| path.as_str())
    }

    /// What it is; `None` where it is no file.
    pub fn form(&self, name: &str) -> Option<Form> {
        self.files.get(name).map(|(form, _)| *form)
    }

    /// Names and paths, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, (_, path))| (name.as_str(), path.as_str()))
    }

    fn is_package(&self, name: &str) -> bool {
        matches!(self.files.get(name), Some((Form::Package, _)))
    }

    /// The package in which imports of the module `name` that begin with a dot are looked for;
    /// empty for a module that is in none.
    pub fn package<'n>(&self, name: &'n str) -> &'n str {
        if self.is_package(name) {
            return name;
        }
        name.rsplit_once('.').map_or("", |(package, _)| package)
    }

    /// The absolute name of `written`, with a dot for each level before it, in `package`;
    /// `None` where it leads out of all packages.
    pub fn absolute(package: &str, written: &str) -> Option<String> {
        let rest = written.trim_start_matches('.');
        let level = written.len() - rest.len();
        if level == 0 {
            return Some(rest.to_owned());
        }
        let mut base = package;
        for _ in 1..level {
            base = base.rsplit_once('.')?.0;
        }
        if base.is_empty() {
            return None;
        }
        Some(if rest.is_empty() { base.to_owned() } else { format!("{base}.{rest}") })
    }

    /// What importing the module `name` runs, outermost first: its packages and itself, as far
    /// as they are modules of the environment. Each with whether it is a package around.
    pub fn run_by(&self, name: &str) -> Vec<(String, bool)> {
        let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
        ends.map(|end| &name[..end])
            .take_while(|part| self.contains(part))
            .map(|part| (part.to_owned(), part.len() < name.len()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        Modules::new([
            "a/__init__.py",
            "a/b.py",
            "a/c.cpython-311-x86_64-linux-gnu.so",
            "a/c.py",
            "a/lib/libx.so",
            "a/x-y.py",
            "n/m/d.py",
            "t.py",
            "t.abi3.so",
            "a/data.json",
        ])
    }

    #[test]
    fn names_are_those_that_python_finds() {
        let all = modules();
        let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "a.b", "a.c", "n.m.d", "t"]);
        assert_eq!(all.form("a.c"), Some(Form::Extension));
        assert_eq!(all.path("t"), Some("t.abi3.so"));
        assert!(all.contains("n.m") && all.path("n.m").is_none());
        assert_eq!((all.package("a"), all.package("a.b"), all.package("t")), ("a", "a", ""));
    }

    #[test]
    fn dots_lead_outwards_and_packages_run_first() {
        let absolute = |package, written| Modules::absolute(package, written);
        assert_eq!(absolute("a.b", ".c").as_deref(), Some("a.b.c"));
        assert_eq!(absolute("a.b", "..").as_deref(), Some("a"));
        assert_eq!(absolute("a.b", "...x"), None);
        assert_eq!(absolute("", ".x"), None);
        assert_eq!(absolute("a", "x.y").as_deref(), Some("x.y"));
        let run = modules().run_by("n.m.d");
        let run: Vec<_> = run.iter().map(|(name, around)| (name.as_str(), *around)).collect();
        assert_eq!(run, [("n", true), ("n.m", true), ("n.m.d", false)]);
        assert!(modules().run_by("os.path").is_empty());
    }
}
