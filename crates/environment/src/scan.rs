//! Every file of an environment.

use crate::distribution::{FOLDERS, owners};
use crate::paths::source_of;
use crate::{Distribution, Error, Interpreter, Kind, Place, normalized};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An environment, as it was when it was scanned.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// Its interpreter.
    pub interpreter: Interpreter,
    /// Where its files lie: the site-packages folders, and then what Python finds by other ways,
    /// each with what it is called in a package.
    pub places: Vec<Place>,
    /// Its distributions, by site-packages folder and then by metadata folder.
    pub distributions: Vec<Distribution>,
    /// Its files, sorted by path. Where two site-packages folders have a file of the
    /// same path, the one that Python would find is here.
    pub files: Vec<File>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    #[serde(skip)]
    by_path: BTreeMap<String, usize>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Its path in site-packages, or where it would be there, `/` between parts.
    pub path: String,
    /// The index of its place in [`Environment::places`].
    pub root: usize,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// When it was last written, in seconds.
    pub mtime: i64,
    /// What it is.
    pub kind: Kind,
    /// The distribution that owns it, an index; `None` where no RECORD lists it.
    pub distribution: Option<usize>,
    /// Whether it belongs to a package's scope.
    pub in_scope: bool,
}

/// A file or folder that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which.
    pub path: PathBuf,
    /// What the system said.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, reason } = self;
        write!(f, "cannot read {}: {reason}; check its permissions", path.display())
    }
}

/// A file before it has an owner.
struct Found {
    path: String,
    size: u64,
    mode: u32,
    mtime: i64,
    kind: Kind,
}

impl Environment {
    /// Walks the site-packages folders of `interpreter` and what is installed in place. Files
    /// that cannot be read are listed as problems and do not end the scan.
    ///
    /// # Errors
    /// [`Error::Folder`] for one of these folders, [`Error::Packed`] for a package of taper's.
    pub fn scan(interpreter: Interpreter) -> Result<Self, Error> {
        let mut all = Self {
            interpreter,
            places: Vec::new(),
            distributions: Vec::new(),
            files: Vec::new(),
            problems: Vec::new(),
            by_path: BTreeMap::new(),
        };
        let roots = all.interpreter.site_packages.clone();
        let plain = all.interpreter.sources.plain.iter().map(|(folder, _)| folder);
        if let Some(packed) =
            roots.iter().chain(plain).find(|root| root.join("_taper/__init__.py").exists())
        {
            return Err(Error::Packed(packed.clone()));
        }
        for root in roots {
            all.add(&root)?;
        }
        all.order();
        let mut shadows = Shadows::of(&all);
        for folder in all.nested() {
            for place in tops(&folder) {
                all.add_place(&place, &mut shadows);
            }
        }
        for place in all.interpreter.sources.places() {
            all.add_place(&place, &mut shadows);
        }
        all.order();
        all.settle_scope();
        Ok(all)
    }

    /// Sorts the files, and finds them by their paths.
    pub(crate) fn order(&mut self) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.by_path =
            self.files.iter().enumerate().map(|(at, file)| (file.path.clone(), at)).collect();
    }

    fn add(&mut self, root: &Path) -> Result<(), Error> {
        let fail = |source| Error::Folder { path: root.into(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(root).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().into_string().ok();
            let is_metadata = |name: &String| FOLDERS.iter().any(|end| name.ends_with(end));
            names.extend(name.filter(is_metadata).filter(|_| entry.path().is_dir()));
        }
        names.sort();
        let read: Vec<Distribution> =
            names.par_iter().map(|name| Distribution::read(root, name)).collect();
        // Python finds the first of two with one name.
        let (hidden, read): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|one| self.distribution(&one.name).is_some());
        let hidden: BTreeSet<String> = hidden.into_iter().map(|one| one.metadata).collect();
        let first = self.distributions.len();
        let numbered: Vec<(usize, Distribution)> = read
            .into_iter()
            .enumerate()
            .map(|(index, mut one)| {
                let required = self.interpreter.sources.requires.get(&root.join(&one.metadata));
                one.installers = required.cloned().unwrap_or_default();
                (first + index, one)
            })
            .collect();
        let owners = owners(root, &numbered);
        self.distributions.extend(numbered.into_iter().map(|(_, distribution)| distribution));
        let (found, problems) = walk(root, &|_| true);
        self.problems.extend(problems);
        let shadows = Shadows::of(self);
        self.places.push(Place { name: String::new(), path: root.into() });
        for found in found {
            let top = found.path.split('/').next().unwrap_or_default();
            if hidden.contains(top) || shadows.hide(&found.path) {
                continue;
            }
            let distribution = owners
                .get(&found.path)
                .or_else(|| owners.get(&source_of(&found.path)?))
                .copied()
                .or_else(|| self.owner_of_metadata(&found.path));
            self.push(found, distribution);
        }
        Ok(())
    }

    /// Adds the files of a module, a package or a metadata folder that lies elsewhere than in
    /// site-packages. A source tree may hold more than its modules: hidden folders and virtual
    /// environments are no part of them.
    pub(crate) fn add_place(&mut self, place: &Place, shadows: &mut Shadows) {
        if place.path.is_file() {
            let parent = place.path.parent().unwrap_or(Path::new("/")).to_path_buf();
            let (found, _, problems) = list(&parent, &parent);
            self.problems.extend(problems.into_iter().filter(|one| one.path == place.path));
            let name = place.path.strip_prefix(&parent).map(Path::to_path_buf).unwrap_or_default();
            let found: Vec<Found> =
                found.into_iter().filter(|found| Path::new(&found.path) == name).collect();
            return self.add_found(place, found, shadows, |place, _| place.name.clone());
        }
        let visible = |folder: &Path| {
            let hidden = folder.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            !hidden && !folder.join("pyvenv.cfg").exists()
        };
        let (found, problems) = walk(&place.path, &visible);
        self.problems.extend(problems);
        self.add_found(place, found, shadows, |place, found| format!("{}/{found}", place.name));
    }

    fn add_found(
        &mut self,
        place: &Place,
        found: Vec<Found>,
        shadows: &mut Shadows,
        named: fn(&Place, &str) -> String,
    ) {
        let owner = self.owner_of_tree(&place.path).or_else(|| self.owner_of_folder(&place.path));
        self.places.push(place.clone());
        for found in found {
            let path = named(place, &found.path);
            if !shadows.hide(&path) {
                let kind = match found.kind {
                    // What a file is depends on its place.
                    Kind::Data => Kind::of(&path, &[]),
                    kind => kind,
                };
                let owner = owner.or_else(|| self.owner_of_metadata(&path));
                // Once, if two places have it.
                shadows.0.insert(path.clone());
                self.push(Found { path, kind, ..found }, owner);
            }
        }
    }

    /// Adds a file of the last place.
    fn push(&mut self, found: Found, distribution: Option<usize>) {
        let Found { path, size, mode, mtime, kind } = found;
        let root = self.places.len() - 1;
        self.files.push(File { path, root, size, mode, mtime, kind, distribution, in_scope: true });
    }

    /// Folders in site-packages that a `.pth` file makes further ones to look for modules in.
    pub(crate) fn nested(&self) -> Vec<PathBuf> {
        let roots = &self.interpreter.site_packages;
        let plain = self.interpreter.sources.plain.iter().map(|(folder, _)| folder);
        plain.filter(|folder| roots.iter().any(|root| folder.starts_with(root))).cloned().collect()
    }

    /// The distribution that owns what is in `folder` of site-packages, or that file.
    fn owner_of_folder(&self, folder: &Path) -> Option<usize> {
        let inside = self.places.iter().find_map(|place| place.inside(folder))?;
        let below = format!("{inside}/");
        let (_, first) = self
            .by_path
            .range(inside.clone()..)
            .find(|(path, _)| **path == inside || path.starts_with(&below))?;
        self.files[*first].distribution
    }

    /// The distribution that is installed in place from a tree in which `path` lies.
    fn owner_of_tree(&self, path: &Path) -> Option<usize> {
        let trees = self.interpreter.sources.trees.iter();
        let (metadata, _) = trees
            .filter(|(_, tree)| path.starts_with(tree))
            .max_by_key(|(_, tree)| tree.components().count())?;
        let name = metadata.file_name()?.to_str()?;
        self.distributions.iter().position(|distribution| distribution.metadata == name)
    }

    /// The distribution in whose metadata folder `path` lies.
    fn owner_of_metadata(&self, path: &str) -> Option<usize> {
        let (top, _) = path.split_once('/')?;
        self.distributions.iter().position(|distribution| distribution.metadata == top)
    }

    /// Where `file` is.
    pub fn source(&self, file: &File) -> PathBuf {
        let place = &self.places[file.root];
        place.locate(&file.path).unwrap_or_else(|| place.path.clone())
    }

    /// The file with this path in site-packages.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.by_path.get(path).map(|index| &self.files[*index])
    }

    /// Where the file or folder with this path in site-packages is.
    pub fn locate(&self, path: &str) -> Option<PathBuf> {
        let plain = || self.interpreter.sources.plain.iter();
        self.file(path).map(|file| self.source(file)).or_else(|| {
            self.places
                .iter()
                .filter_map(|place| place.locate(path))
                .chain(plain().map(|(folder, _)| folder.join(path)))
                .find(|place| place.exists())
        })
    }

    /// The path in site-packages of an absolute path, if it lies there, or what it would have
    /// there if it lies where modules are found by another way.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let sources = &self.interpreter.sources;
        let named = sources.plain.iter().find_map(|(folder, _)| path.strip_prefix(folder).ok());
        self.places
            .iter()
            .filter_map(|place| Some((place.path.components().count(), place.inside(path)?)))
            .max_by_key(|(depth, _)| *depth)
            .map(|(_, inside)| inside)
            .or_else(|| named.map(|inside| inside.to_string_lossy().into_owned()))
    }

    /// The folders that everything lies in that belongs to it or may.
    pub fn roots(&self) -> Vec<PathBuf> {
        let sources = &self.interpreter.sources;
        let elsewhere = sources
            .plain
            .iter()
            .map(|(folder, _)| folder)
            .chain(sources.lost.iter().map(|(_, tree)| tree));
        let mut roots: Vec<PathBuf> =
            self.places.iter().map(|place| &place.path).chain(elsewhere).cloned().collect();
        roots.dedup();
        roots
    }

    /// Whether `file` only leads to a source tree, the modules of which are in the environment
    /// as if they were installed.
    pub fn leads_away(&self, file: &File) -> bool {
        self.interpreter.sources.leads_away(&self.source(file))
    }

    /// The distribution with this name, however it is written (PEP 503).
    pub fn distribution(&self, name: &str) -> Option<&Distribution> {
        let name = normalized(name);
        self.distributions.iter().find(|distribution| normalized(&distribution.name) == name)
    }

    /// torch.
    ///
    /// # Errors
    /// [`Error::NoTorch`] where there is none.
    pub fn torch(&self) -> Result<&Distribution, Error> {
        self.distribution("torch")
            .ok_or_else(|| Error::NoTorch(self.interpreter.executable.clone()))
    }
}

/// What Python does not find because it lies in a package that it finds elsewhere before.
pub(crate) struct Shadows(BTreeSet<String>);

impl Shadows {
    /// By the files of `environment`.
    pub(crate) fn of(environment: &Environment) -> Self {
        let spans = |file: &File| {
            // Packages of several folders, before Python had namespaces.
            let text = fs::read(environment.source(file)).unwrap_or_default();
            let says = |what: &[u8]| text.windows(what.len()).any(|window| window == what);
            says(b"extend_path") || says(b"declare_namespace")
        };
        let mut all: BTreeSet<String> = BTreeSet::new();
        // A folder comes before what lies in it.
        let mut files: Vec<&File> = environment.files.iter().collect();
        files.sort_by_key(|file| (file.path.matches('/').count(), &file.path));
        for file in files {
            let package = file.path.strip_suffix("/__init__.py");
            if let Some(folder) = package
                && !inside(&all, folder)
                && !spans(file)
            {
                all.insert(folder.to_owned());
            } else if let Some(module) = file.path.strip_suffix(".py")
                && package.is_none()
            {
                all.insert(module.to_owned());
            }
        }
        all.extend(environment.files.iter().map(|file| file.path.clone()));
        Self(all)
    }

    /// Whether the file at `path` is hidden by them.
    fn hide(&self, path: &str) -> bool {
        self.0.contains(path) || inside(&self.0, path)
    }
}

/// Whether `path` lies in one of `folders`.
fn inside(folders: &BTreeSet<String>, path: &str) -> bool {
    path.match_indices('/').any(|(at, _)| folders.contains(&path[..at]))
}

/// The modules and packages that Python finds in `folder`.
fn tops(folder: &Path) -> Vec<Place> {
    let mut tops: Vec<Place> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let (name, path) = (entry.file_name().into_string().ok()?, entry.path());
            let stem = name.split('.').next().unwrap_or_default();
            let plain = stem.chars().all(|letter| letter == '_' || letter.is_alphanumeric());
            let module = path.extension().is_some_and(|end| end == "py" || end == "so");
            let found =
                plain && name != "__pycache__" && (module || (path.is_dir() && stem == name));
            found.then_some(Place { name, path })
        })
        .collect();
    tops.sort();
    tops
}

/// Every regular file below `root`. A link to a file counts as that file; a link
/// to a folder is followed unless it leads out of `root`'s tree to one seen before.
/// Folders below it count if they are `part` of it.
fn walk(root: &Path, part: &dyn Fn(&Path) -> bool) -> (Vec<Found>, Vec<Problem>) {
    let mut level = vec![root.to_path_buf()];
    let mut seen = BTreeSet::new();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    while !level.is_empty() {
        level.retain(|folder| folder.canonicalize().is_ok_and(|real| seen.insert(real)));
        let read: Vec<_> = level.par_iter().map(|folder| list(root, folder)).collect();
        level.clear();
        for (files, folders, troubles) in read {
            found.extend(files);
            level.extend(folders.into_iter().filter(|folder| part(folder)));
            problems.extend(troubles);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    (found, problems)
}

fn list(root: &Path, folder: &Path) -> (Vec<Found>, Vec<PathBuf>, Vec<Problem>) {
    let (mut files, mut folders, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let problem = |path: &Path, error: &dyn ToString| Problem {
        path: path.into(),
        reason: error.to_string(),
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return (files, folders, vec![problem(folder, &error)]),
    };
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                problems.push(problem(folder, &error));
                continue;
            }
        };
        match fs::metadata(&path) {
            Ok(about) if about.is_dir() => folders.push(path),
            Ok(about) if about.is_file() => {
                let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
                    problems.push(problem(&path, &"its name is not UTF-8"));
                    continue;
                };
                match kind(&path, name) {
                    Ok(kind) => files.push(Found {
                        path: name.to_owned(),
                        size: about.size(),
                        mode: about.mode() & 0o7777,
                        mtime: about.mtime(),
                        kind,
                    }),
                    Err(error) => problems.push(problem(&path, &error)),
                }
            }
            // Sockets and the like are not part of a distribution.
            Ok(_) => {}
            // A link that leads nowhere is no file for Python either: distributions of Linux
            // divide a package and link one part to another, which may not be installed.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink()) => {}
            Err(error) => problems.push(problem(&path, &error)),
        }
    }
    (files, folders, problems)
}

/// The kind of a file; of one that its name says is text, nothing is read.
fn kind(path: &Path, name: &str) -> std::io::Result<Kind> {
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path)?;
    let text = ["py", "pyc", "h"].map(|extension| Some(extension.as_ref()));
    if !text.contains(&Path::new(name).extension()) {
        Read::by_ref(&mut file).take(Kind::START).read_to_end(&mut bytes)?;
    }
    let kind = Kind::of(name, &bytes);
    let started = kind == Kind::SharedLibrary && crate::started::is_started(&file)?;
    Ok(if started { Kind::Program } else { kind })
}
