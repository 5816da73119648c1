//! Everything beside site-packages by which an interpreter finds modules.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file or folder and what it is called in a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Its path in a package; empty for a folder that modules are looked for in.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Place {
    /// The path in a package of the file or folder at `path`, if it lies here.
    pub fn inside(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(&self.path).ok()?.to_string_lossy();
        Some(match (self.name.as_str(), rest.as_ref()) {
            ("", rest) => rest.to_owned(),
            (name, "") => name.to_owned(),
            (name, rest) => format!("{name}/{rest}"),
        })
    }

    /// Where the file with this path in a package would be, if that is here.
    pub fn locate(&self, path: &str) -> Option<PathBuf> {
        let rest = path.strip_prefix(&self.name)?;
        if self.name.is_empty() {
            return Some(self.path.join(rest));
        }
        match rest.strip_prefix('/') {
            Some(rest) => Some(self.path.join(rest)),
            None => rest.is_empty().then(|| self.path.clone()),
        }
    }
}

/// Where modules come from that are not installed in site-packages, and what is known of the
/// standard library. Paths are absolute, with links resolved where they say so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Names at the top of the standard library, which is searched before site-packages.
    pub standard: BTreeSet<String>,
    /// Files that the interpreter loads whenever it starts.
    pub started: Vec<PathBuf>,
    /// Folders that modules are looked for in, links resolved, each with where it is named:
    /// `PYTHONPATH` or `.pth`.
    pub plain: Vec<(PathBuf, String)>,
    /// Modules and packages of source trees that are installed in place, links resolved, as
    /// their path in a package and their place.
    pub modules: Vec<(String, PathBuf)>,
    /// By metadata folder, the source trees of distributions that are installed in place.
    pub trees: Vec<(PathBuf, PathBuf)>,
    /// Files of site-packages that only lead to source trees.
    pub links: BTreeSet<PathBuf>,
    /// Distributions installed in place of which no module was found, with their source trees.
    pub lost: Vec<(String, PathBuf)>,
    /// Archives that modules are looked for in.
    pub archives: Vec<PathBuf>,
    /// By metadata folder, what the distribution requires of pip, setuptools and wheel.
    pub requires: BTreeMap<PathBuf, Vec<String>>,
}

impl Sources {
    /// The same with links resolved, as those of site-packages are.
    pub(crate) fn resolved(self) -> Self {
        let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
        // The metadata folder itself may be a link, its parent is what was searched.
        let inside = |path: PathBuf| match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => real(folder.into()).join(name),
            _ => path,
        };
        Self {
            started: self.started.into_iter().map(real).collect(),
            plain: self.plain.into_iter().map(|(path, from)| (real(path), from)).collect(),
            modules: self.modules.into_iter().map(|(name, path)| (name, real(path))).collect(),
            trees: self.trees.into_iter().map(|(one, tree)| (inside(one), real(tree))).collect(),
            lost: self.lost.into_iter().map(|(name, tree)| (name, real(tree))).collect(),
            links: self.links.into_iter().map(inside).collect(),
            requires: self.requires.into_iter().map(|(one, all)| (inside(one), all)).collect(),
            ..self
        }
    }

    /// The places of modules that are installed in place.
    pub fn places(&self) -> Vec<Place> {
        let place =
            |(name, path): &(String, PathBuf)| Place { name: name.clone(), path: path.clone() };
        self.modules.iter().map(place).collect()
    }

    /// Whether `path` is a file that only leads to a source tree.
    pub fn leads_away(&self, path: &Path) -> bool {
        self.links.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_name_in_the_package() {
        let place = Place { name: "own".into(), path: "/src/lib".into() };
        assert_eq!(place.inside(Path::new("/src/lib/a/b.py")).unwrap(), "own/a/b.py");
        assert_eq!(place.inside(Path::new("/src/lib")).unwrap(), "own");
        assert_eq!(place.inside(Path::new("/src/library")), None);
        assert_eq!(place.locate("own/a/b.py").unwrap(), Path::new("/src/lib/a/b.py"));
        assert_eq!(place.locate("own").unwrap(), Path::new("/src/lib"));
        assert_eq!(place.locate("owner"), None);
        let whole = Place { name: String::new(), path: "/site".into() };
        assert_eq!(whole.inside(Path::new("/site/a.py")).unwrap(), "a.py");
        assert_eq!(whole.locate("a.py").unwrap(), Path::new("/site/a.py"));
    }
}
