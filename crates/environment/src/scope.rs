//! What of an environment belongs to a package, once it is known what runs used.

use crate::distribution::FOLDERS;
use crate::paths::source_of;
use crate::scan::Shadows;
use crate::{Distribution, Environment, File, Place, normalized};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How `question.py` says that the variable names a folder.
const PYTHONPATH: &str = "PYTHONPATH";

/// What decides about scope beside the environment itself.
pub struct Used<'a> {
    /// Files that runs opened, as paths in site-packages.
    pub opened: BTreeSet<&'a str>,
    /// Folders that runs' programs lie in, and where they ran: what is in these is the
    /// application's own, not the environment's. Links are resolved.
    pub own: Vec<PathBuf>,
    /// Whether a person named a file to be kept.
    pub kept: &'a dyn Fn(&Environment, &File) -> bool,
}

impl Environment {
    /// The environment as a package of what `used` says sees it: with the modules that runs
    /// imported from PYTHONPATH and folders that `.pth` files name, and with those of pip,
    /// setuptools and wheel that a run used, a person named, or a distribution in scope requires.
    #[must_use]
    pub fn used(mut self, used: &Used<'_>) -> Self {
        let nested = self.nested();
        let mut before = Vec::new();
        for (folder, named_by) in self.interpreter.sources.plain.clone() {
            if nested.contains(&folder) {
                continue;
            }
            let first = named_by == PYTHONPATH;
            self.add_used(&folder, used, first.then_some(&before));
            if first {
                before.push(folder);
            }
        }
        self.order();
        let wanted: BTreeSet<usize> = (0..self.distributions.len())
            .filter(|owner| !self.distributions[*owner].in_scope && self.is_used(*owner, used))
            .collect();
        for owner in wanted {
            self.distributions[owner].in_scope = true;
        }
        self.settle_scope();
        self
    }

    /// Adds what requirements bring, and says of each file whether its distribution is in scope.
    pub(crate) fn settle_scope(&mut self) {
        loop {
            let required: BTreeSet<String> = self
                .distributions
                .iter()
                .filter(|one| one.in_scope)
                .flat_map(|one| one.installers.iter().cloned())
                .collect();
            let fresh = self
                .distributions
                .iter_mut()
                .filter(|one| !one.in_scope && required.contains(&normalized(&one.name)));
            if fresh.map(|one| one.in_scope = true).count() == 0 {
                break;
            }
        }
        for file in &mut self.files {
            file.in_scope =
                file.distribution.is_none_or(|owner| self.distributions[owner].in_scope);
        }
    }

    /// Whether a run used this distribution, or a person named it. What the interpreter opens
    /// whenever it starts says nothing, nor do lists of all distributions and what a search for
    /// entry points opens of each.
    fn is_used(&self, owner: usize, used: &Used<'_>) -> bool {
        let started = &self.interpreter.sources.started;
        let described = |one: &Distribution| {
            ["METADATA", "PKG-INFO"]
                .iter()
                .any(|name| used.opened.contains(format!("{}/{name}", one.metadata).as_str()))
        };
        let other = |one: &&Distribution| {
            let file = |name| self.file(&format!("{}/{name}", one.metadata)).is_some();
            one.in_scope && (file("METADATA") || file("PKG-INFO"))
        };
        let by_name = described(&self.distributions[owner])
            && !self.distributions.iter().filter(other).all(described);
        let mut own = self.files.iter().filter(|file| file.distribution == Some(owner));
        by_name
            || own.any(|file| {
                let start = || {
                    let source = source_of(&file.path).unwrap_or_else(|| file.path.clone());
                    source.rsplit_once('.').is_some_and(|(_, end)| end == "pth")
                        || self.locate(&source).is_some_and(|place| started.contains(&place))
                };
                let metadata = FOLDERS
                    .iter()
                    .any(|end| file.path.split('/').next().is_some_and(|top| top.ends_with(end)));
                (used.opened.contains(file.path.as_str()) && !metadata && !start())
                    || (used.kept)(self, file)
            })
    }

    /// Adds the modules and packages of `folder` that runs imported, whole, and the metadata of
    /// distributions that they are. With `before`, what site-packages has of the same names is
    /// hidden by them: Python looks there later, and only in the folders `before` earlier.
    fn add_used(&mut self, folder: &Path, used: &Used<'_>, before: Option<&Vec<PathBuf>>) {
        let is_own = |file: &Path| {
            let own = |own: &PathBuf| own.starts_with(folder) && file.starts_with(own);
            used.own.iter().any(own)
        };
        let mut tops = BTreeSet::new();
        for path in &used.opened {
            let module = source_of(path).unwrap_or_else(|| (*path).to_owned());
            let code = ["py", "so"].iter().any(|end| {
                Path::new(&module).extension().is_some_and(|extension| extension == *end)
            });
            let place = folder.join(&module);
            let Some(top) = module.split('/').next() else { continue };
            let whole = folder.join(top).join("__init__.py").exists() || !module.contains('/');
            let later = |file: &File| {
                let from = &self.places[file.root].path;
                before.is_some_and(|before| !before.iter().any(|one| from.starts_with(one)))
            };
            let there = self.file(&module).is_some_and(|file| !(whole && later(file)));
            if code && !there && place.exists() && !is_own(&place) {
                tops.insert((top.to_owned(), whole));
            }
        }
        if tops.is_empty() {
            return;
        }
        if let Some(before) = before {
            let hiding = tops.iter().filter(|(_, whole)| *whole).map(|(top, _)| module_of(top));
            self.hide(&hiding.collect(), before);
        }
        let tops: BTreeSet<String> = tops.into_iter().map(|(top, _)| top).collect();
        let mut shadows = Shadows::of(self);
        for top in &tops {
            self.add_place(&Place { name: top.clone(), path: folder.join(top) }, &mut shadows);
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut metadata: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| FOLDERS.iter().any(|end| name.ends_with(end)))
            .collect();
        metadata.sort();
        for name in metadata {
            let mut found = Distribution::read(folder, &name);
            let list = std::fs::read_to_string(folder.join(&name).join("top_level.txt"));
            let modules: Vec<String> = list.map_or_else(
                |_| vec![normalized(&found.name).replace('-', "_")],
                |text| text.split_whitespace().map(str::to_owned).collect(),
            );
            let has = |top: &String| modules.iter().any(|one| top.split('.').next() == Some(one));
            let known = |one: &Distribution| normalized(&one.name) == normalized(&found.name);
            let known = self.distributions.iter().position(known);
            if !tops.iter().any(has) || (known.is_some() && before.is_none()) {
                continue;
            }
            found.in_scope = true;
            let owner = known.unwrap_or(self.distributions.len());
            if known.is_some() {
                // Python finds the metadata of the first of two with one name.
                let old = format!("{}/", self.distributions[owner].metadata);
                self.files.retain(|file| !file.path.starts_with(&old));
                self.order();
                self.distributions[owner] = found;
            } else {
                self.distributions.push(found);
            }
            let place = Place { name: name.clone(), path: folder.join(&name) };
            self.add_place(&place, &mut shadows);
            let places = &self.places;
            for file in self.files.iter_mut().filter(|file| file.distribution.is_none()) {
                let top = file.path.split('/').next().unwrap_or_default().to_owned();
                if places[file.root].path.starts_with(folder) && has(&top) {
                    file.distribution = Some(owner);
                }
            }
        }
    }

    /// Takes the modules and packages at the top with these names out, but those of folders that
    /// come `before`.
    fn hide(&mut self, modules: &BTreeSet<String>, before: &[PathBuf]) {
        let places = &self.places;
        self.files.retain(|file| {
            let from = &places[file.root].path;
            let source = source_of(&file.path);
            let path = source.as_ref().unwrap_or(&file.path);
            let name = match path.split_once('/') {
                Some((folder, _)) => folder.to_owned(),
                None if [".py", ".so"].iter().any(|end| path.ends_with(end)) => module_of(path),
                None => return true,
            };
            before.iter().any(|one| from.starts_with(one)) || !modules.contains(&name)
        });
        self.order();
    }
}

/// The name of the module or package whose file or folder has this name.
fn module_of(top: &str) -> String {
    top.split('.').next().unwrap_or(top).to_owned()
}
