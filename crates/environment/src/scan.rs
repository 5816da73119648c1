//! Every file of an environment.

use crate::distribution::{FOLDERS, owners};
use crate::{Distribution, Error, Interpreter, Kind};
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
    /// Its path in its site-packages folder, `/` between parts.
    pub path: String,
    /// The index of that folder in [`Interpreter::site_packages`].
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
    /// Walks the site-packages folders of `interpreter`. Files that cannot be read
    /// are listed as problems and do not end the scan.
    pub fn scan(interpreter: Interpreter) -> Result<Self, Error> {
        let mut all = Self {
            interpreter,
            distributions: Vec::new(),
            files: Vec::new(),
            problems: Vec::new(),
            by_path: BTreeMap::new(),
        };
        let roots = all.interpreter.site_packages.clone();
        for (number, root) in roots.iter().enumerate() {
            all.add(number, root)?;
        }
        all.files.sort_by(|a, b| a.path.cmp(&b.path));
        all.by_path =
            all.files.iter().enumerate().map(|(index, file)| (file.path.clone(), index)).collect();
        Ok(all)
    }

    fn add(&mut self, number: usize, root: &Path) -> Result<(), Error> {
        let fail = |source| Error::Folder { path: root.into(), source };
        let first = self.distributions.len();
        let mut names = Vec::new();
        for entry in fs::read_dir(root).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().into_string().ok();
            let is_metadata = |name: &String| FOLDERS.iter().any(|end| name.ends_with(end));
            names.extend(name.filter(is_metadata).filter(|_| entry.path().is_dir()));
        }
        names.sort();
        let numbered: Vec<(usize, Distribution)> = names
            .par_iter()
            .enumerate()
            .map(|(index, name)| (first + index, Distribution::read(root, name)))
            .collect();
        let owners = owners(root, &numbered);
        self.distributions.extend(numbered.into_iter().map(|(_, distribution)| distribution));
        let (found, problems) = walk(root);
        self.problems.extend(problems);
        let known: BTreeSet<String> = self.files.iter().map(|file| file.path.clone()).collect();
        for found in found.into_iter().filter(|found| !known.contains(&found.path)) {
            let distribution = owners
                .get(&found.path)
                .or_else(|| owners.get(&source_of(&found.path)?))
                .copied()
                .or_else(|| self.owner_of_metadata(&found.path));
            let in_scope = distribution.is_none_or(|owner| self.distributions[owner].in_scope);
            let Found { path, size, mode, mtime, kind } = found;
            self.files.push(File {
                path,
                root: number,
                size,
                mode,
                mtime,
                kind,
                distribution,
                in_scope,
            });
        }
        Ok(())
    }

    /// The distribution in whose metadata folder `path` lies.
    fn owner_of_metadata(&self, path: &str) -> Option<usize> {
        let (top, _) = path.split_once('/')?;
        self.distributions.iter().position(|distribution| distribution.metadata == top)
    }

    /// Where `file` is.
    pub fn source(&self, file: &File) -> PathBuf {
        self.interpreter.site_packages[file.root].join(&file.path)
    }

    /// The file with this path in site-packages.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.by_path.get(path).map(|index| &self.files[*index])
    }

    /// Where the file or folder with this path in site-packages is.
    pub fn locate(&self, path: &str) -> Option<PathBuf> {
        match self.file(path) {
            Some(file) => Some(self.source(file)),
            None => self
                .interpreter
                .site_packages
                .iter()
                .map(|root| root.join(path))
                .find(|place| place.exists()),
        }
    }

    /// The path in site-packages of an absolute path, if it lies there.
    pub fn relative(&self, path: &Path) -> Option<String> {
        self.interpreter
            .site_packages
            .iter()
            .find_map(|root| path.strip_prefix(root).ok())
            .map(|inside| inside.to_string_lossy().into_owned())
    }

    /// The distribution with this name, however it is written (PEP 503).
    pub fn distribution(&self, name: &str) -> Option<&Distribution> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_', '.'], "-");
        self.distributions.iter().find(|distribution| plain(&distribution.name) == plain(name))
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

/// The source of cached bytecode (PEP 3147).
fn source_of(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let folder = folder.strip_suffix("__pycache__")?;
    let stem = name.strip_suffix(".pyc")?.split('.').next()?;
    Some(format!("{folder}{stem}.py"))
}

/// Every regular file below `root`. A link to a file counts as that file; a link
/// to a folder is followed unless it leads out of `root`'s tree to one seen before.
fn walk(root: &Path) -> (Vec<Found>, Vec<Problem>) {
    let mut level = vec![root.to_path_buf()];
    let mut seen = BTreeSet::new();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    while !level.is_empty() {
        level.retain(|folder| folder.canonicalize().is_ok_and(|real| seen.insert(real)));
        let read: Vec<_> = level.par_iter().map(|folder| list(root, folder)).collect();
        level.clear();
        for (files, folders, troubles) in read {
            found.extend(files);
            level.extend(folders);
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
