//! Which part of an environment only a GPU needs.

use crate::{Error, Feature, GpuCode};
use elf::{Library, PageSet};
use environment::{Change, Environment, File, Kind, MappedFile};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Names of distributions that a GPU's vendor publishes, and of the compiler for GPU
/// kernels. A name alone says nothing: see `vendors`.
const VENDOR: [&str; 3] = ["nvidia-", "cuda-", "triton"];

/// The CUDA runtime stays: it answers "no device" where there is no driver, and
/// `torch.cuda.is_available()` asks it.
const RUNTIME: &str = "libcudart.so";

/// The driver's library, which comes with no distribution.
const DRIVER: &str = "libcuda.so";

/// What functions say of which a package for the CPU has no code.
const NOT_FOR_CPU: &str = "is not in this package: it was made with --target cpu";

/// The libraries and files of the GPU side.
#[derive(Debug, Clone, Default)]
pub struct GpuSide {
    /// Libraries that leave, by path in site-packages.
    pub libraries: BTreeMap<String, GpuLibrary>,
    /// Every other file that leaves, metadata and licences not among them.
    pub files: BTreeSet<String>,
    /// What of their GPU code the libraries keep that stay; none for the CPU.
    pub code: BTreeMap<String, GpuCode>,
    /// Whether the target has a GPU.
    pub has_gpu: bool,
}

/// A library that leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuLibrary {
    /// Where it is.
    pub source: PathBuf,
    /// The libraries that stay and name it in `DT_NEEDED`; it needs a stand-in where
    /// there are any.
    pub needed_by: Vec<String>,
    /// What they may call there that needs no GPU: functions of the C++ library.
    pub standard: BTreeSet<String>,
    /// What its functions say when they are called, behind their names.
    pub message: String,
}

/// What the division reads of each library.
struct Head {
    path: String,
    soname: String,
    needed: Vec<String>,
    /// Folders in site-packages where the loader looks for what it needs.
    folders: Vec<String>,
    distribution: Option<usize>,
    vendor: bool,
    source: PathBuf,
}

impl Head {
    fn is_called(&self, name: &str) -> bool {
        self.soname == name || file_name(&self.path) == name
    }

    /// Whether the loader, looking for what this library needs, takes `other`. A name
    /// that is in none of this library's folders may be found through another
    /// library's, so every file of that name counts.
    fn finds(&self, other: &Self, all: &[Self]) -> bool {
        let Some(name) = self.needed.iter().find(|name| other.is_called(name)) else {
            return false;
        };
        let place = |head: &Self| {
            let folder = head.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.folders.iter().position(|known| known == folder)
        };
        let first = all.iter().filter(|head| head.is_called(name)).filter_map(place).min();
        first.is_none_or(|first| place(other) == Some(first))
    }
}

impl GpuSide {
    /// Divides `environment`. The GPU side is every library of a vendor
    /// distribution (by its name *and* what it holds) but the CUDA runtime, and every other library that holds GPU
    /// code *and* is linked against a vendor library besides the runtime (PyTorch's
    /// own CUDA half is). A library that holds GPU code beside CPU code and needs
    /// only PyTorch (torchvision's) stays; its GPU code is not touched, and leaves
    /// with the read-only pages of which that is true, but not from a writable segment.
    pub fn find(environment: &Environment) -> Result<Self, Error> {
        let mut heads = heads(environment)?;
        let vendors = vendors(environment, &heads)?;
        let is_vendor = |owner: Option<usize>| owner.is_some_and(|index| vendors.contains(&index));
        for head in &mut heads {
            head.vendor = is_vendor(head.distribution);
        }
        let vendor_file = |file: &File| is_vendor(file.distribution);
        let vendor_names: BTreeSet<&str> = heads
            .iter()
            .filter(|head| head.vendor && !head.soname.starts_with(RUNTIME))
            .flat_map(|head| [head.soname.as_str(), file_name(&head.path)])
            .collect();
        let leaves: Vec<bool> = heads
            .par_iter()
            .map(|head| {
                if head.vendor {
                    return Ok(!head.soname.starts_with(RUNTIME));
                }
                if !head.needed.iter().any(|name| vendor_names.contains(name.as_str())) {
                    return Ok(false);
                }
                Ok(fatbin::containers(&MappedFile::open(&head.source)?).next().is_some())
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self::of(environment, &heads, &leaves, &vendor_file, NOT_FOR_CPU))
    }

    /// The side with those libraries of `heads` that leave, and with all other files of which
    /// `is_of` holds. `message` is what functions say that are called there, behind their names.
    fn of(
        environment: &Environment,
        heads: &[Head],
        leaves: &[bool],
        is_of: &dyn Fn(&File) -> bool,
        message: &str,
    ) -> Self {
        let mut side = Self::default();
        for (head, _) in heads.iter().zip(leaves).filter(|(_, leaves)| **leaves) {
            let needed_by = heads
                .iter()
                .zip(leaves)
                .filter(|(other, leaves)| !**leaves && other.finds(head, heads))
                .map(|(other, _)| other.path.clone())
                .collect();
            let (source, message) = (head.source.clone(), message.to_owned());
            let library = GpuLibrary { source, needed_by, message, ..GpuLibrary::default() };
            side.libraries.insert(head.path.clone(), library);
        }
        let stays: BTreeSet<&str> = heads
            .iter()
            .zip(leaves)
            .filter(|(_, leaves)| !**leaves)
            .map(|(head, _)| head.path.as_str())
            .collect();
        side.files = environment
            .files
            .iter()
            .filter(|file| file.in_scope && is_of(file))
            // A licence beside code that leaves goes with it; the distribution's own is
            // in its metadata. A folder that stayed for it would import as a package.
            .filter(|file| !file.path.contains(".dist-info/"))
            .map(|file| file.path.clone())
            .filter(|path| !stays.contains(path.as_str()) && !side.libraries.contains_key(path))
            .collect();
        side
    }

    /// The side of an environment whose GPU code stays as far as `target` runs it: code for
    /// other GPUs leaves, and what is there for the features `without`.
    ///
    /// # Errors
    /// [`Error::Read`] for a library that cannot be read, [`Error::Feature`] for a feature that
    /// the environment has nothing for.
    pub fn for_target(
        environment: &Environment,
        target: &fatbin::Target,
        without: &[&'static Feature],
    ) -> Result<Self, Error> {
        let mut side = Self::default();
        let heads = if without.is_empty() { Vec::new() } else { heads(environment)? };
        // What one leaves out is out for the others too.
        let of = |file: &str, owner| {
            without.iter().find(|feature| feature.has(environment, file, owner)).copied()
        };
        let leaves: Vec<bool> =
            heads.iter().map(|head| of(&head.path, head.distribution).is_some()).collect();
        for feature in without {
            let is_of = |file: &File| feature.has(environment, &file.path, file.distribution);
            let message = format!("is not in this package: it was made --without {feature}");
            let all = Self::of(environment, &heads, &leaves, &is_of, &message);
            let is_own = |path: &str| environment.file(path).is_some_and(is_of);
            let own = all.libraries.into_iter().filter(|(path, _)| is_own(path));
            let before = side.libraries.len() + side.files.len();
            side.libraries.extend(own);
            side.files.extend(all.files);
            if side.libraries.len() + side.files.len() == before {
                return Err(Error::Feature { name: feature.name });
            }
        }
        side.code = crate::gpu_code::gpu_code_for(environment, target)?;
        side.code.retain(|path, _| !side.libraries.contains_key(path));
        side.has_gpu = true;
        Ok(side)
    }

    /// Bytes of files that leave and are there for `feature`.
    pub fn size_of(&self, environment: &Environment, feature: &Feature) -> u64 {
        let leave = environment.files.iter().filter(|file| self.contains(&file.path));
        leave
            .filter(|file| feature.has(environment, &file.path, file.distribution))
            .map(|file| file.size)
            .sum()
    }

    /// The library of `file`, as the target sees it.
    ///
    /// # Errors
    /// [`Error::Read`] where it cannot be read.
    pub fn open(&self, environment: &Environment, file: &File) -> Result<MappedFile, Error> {
        Ok(MappedFile::changed(&environment.source(file), self.changes(&file.path))?)
    }

    /// How the target sees the library at `path`.
    pub fn changes(&self, path: &str) -> &[Change] {
        self.code.get(path).map_or(&[], |code| &code.changes)
    }

    /// Whether the file at `path` belongs to the GPU side.
    pub fn contains(&self, path: &str) -> bool {
        self.libraries.contains_key(path) || self.files.contains(path)
    }

    /// Notes that the libraries `by` bind to symbols of the GPU library at `path`,
    /// which they may reach through others.
    pub fn add_needed_by(&mut self, path: &str, by: &BTreeSet<String>) {
        if let Some(library) = self.libraries.get_mut(path) {
            let fresh: Vec<String> =
                by.iter().filter(|name| !library.needed_by.contains(name)).cloned().collect();
            library.needed_by.extend(fresh);
        }
    }

    /// Notes that libraries which stay may call these functions of the GPU library at `path`,
    /// which belong to the C++ library.
    pub fn add_standard<'a>(&mut self, path: &str, names: impl Iterator<Item = &'a str>) {
        if let Some(library) = self.libraries.get_mut(path) {
            library.standard.extend(names.map(str::to_owned));
        }
    }

    /// The libraries that kept ones bind to.
    pub fn stood_for(&self) -> impl Iterator<Item = (&String, &GpuLibrary)> {
        self.libraries.iter().filter(|(_, library)| !library.needed_by.is_empty())
    }

    /// What a workload must not see: files and whole folders of `environment`,
    /// none below another, in which nothing stays. A folder that kept its name
    /// would still import as an empty namespace package.
    pub fn hidden(&self, environment: &Environment) -> Vec<String> {
        let stays = |path: &str| {
            !self.files.contains(path)
                && self.libraries.get(path).is_none_or(|library| !library.needed_by.is_empty())
        };
        let mut living = BTreeSet::new();
        for file in environment.files.iter().filter(|file| stays(&file.path)) {
            living.extend(folders(&file.path));
        }
        let mut hidden = BTreeSet::new();
        for file in environment.files.iter().filter(|file| !stays(&file.path)) {
            let top = folders(&file.path).find(|folder| !living.contains(folder));
            hidden.insert(top.unwrap_or(&file.path).to_owned());
        }
        hidden.into_iter().collect()
    }
}

/// The distributions that only a GPU needs. Of those that are called so, the ones with code
/// for GPUs or a library that opens the driver; and the ones without Python modules whose
/// files lie among theirs (headers, helper libraries), or whose libraries only such libraries
/// need (a compiler of kernels). A binding in plain Python is no such distribution, whatever
/// its name: programs ask it whether there is a GPU.
fn vendors(environment: &Environment, heads: &[Head]) -> Result<BTreeSet<usize>, Error> {
    let files = |index: usize| {
        let own = move |file: &&File| file.in_scope && file.distribution == Some(index);
        environment.files.iter().filter(own)
    };
    let named: Vec<usize> = (0..environment.distributions.len())
        .filter(|index| is_vendor(&environment.distributions[*index].name))
        .collect();
    let evident: BTreeSet<usize> = named
        .par_iter()
        .map(|&index| {
            for file in files(index) {
                let library = file.kind == Kind::SharedLibrary;
                if file.kind == Kind::GpuCode || (library && is_for_gpu(&environment.source(file))?)
                {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        })
        .collect::<Result<Vec<_>, Error>>()?
        .into_iter()
        .flatten()
        .collect();
    let homes: BTreeSet<&str> = evident
        .iter()
        .flat_map(|index| files(*index))
        .filter(|file| file.kind == Kind::SharedLibrary)
        .filter_map(|file| folders(&file.path).nth(1))
        .collect();
    let no_modules =
        |index: usize| files(index).all(|file| file.kind != Kind::PythonSource || file.size == 0);
    let beside = |index: usize| {
        files(index).all(|file| match file.kind {
            Kind::Metadata | Kind::Licence | Kind::Bytecode | Kind::PythonSource => true,
            _ => folders(&file.path).nth(1).is_none_or(|home| homes.contains(home)),
        })
    };
    let mut all = evident.clone();
    for index in named.into_iter().filter(|index| no_modules(*index)) {
        if beside(index) || only_gpu_needs(index, heads)? {
            all.insert(index);
        }
    }
    Ok(all)
}

/// Whether libraries need one of the distribution `index`, and all that do are for GPUs.
fn only_gpu_needs(index: usize, heads: &[Head]) -> Result<bool, Error> {
    let (own, others): (Vec<&Head>, Vec<&Head>) =
        heads.iter().partition(|head| head.distribution == Some(index));
    let needs = |head: &&Head| {
        head.needed.iter().any(|name| own.iter().any(|library| library.is_called(name)))
    };
    let who: Vec<&Head> = others.into_iter().filter(needs).collect();
    for head in &who {
        if !is_for_gpu(&head.source)? {
            return Ok(false);
        }
    }
    Ok(!who.is_empty())
}

/// Whether a library has code for GPUs, or needs or opens the driver.
fn is_for_gpu(source: &Path) -> Result<bool, Error> {
    let bytes = MappedFile::open(source)?;
    Ok(memchr::memmem::find(&bytes, DRIVER.as_bytes()).is_some()
        || fatbin::containers(&bytes).next().is_some())
}

fn is_vendor(name: &str) -> bool {
    let name = name.replace('_', "-").to_ascii_lowercase();
    VENDOR.iter().any(|prefix| name.starts_with(prefix))
}

/// The folders of a path, outermost first.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// The folder in site-packages that a search path's `folder` means for the library
/// at `path`; `None` for one elsewhere.
fn relative_folder(path: &str, folder: &str) -> Option<String> {
    let rest = folder.strip_prefix("$ORIGIN").or_else(|| folder.strip_prefix("${ORIGIN}"))?;
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in rest.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Every library in scope that is understood.
fn heads(environment: &Environment) -> Result<Vec<Head>, Error> {
    let libraries: Vec<&File> = environment
        .files
        .iter()
        .filter(|file| file.in_scope && file.kind == Kind::SharedLibrary)
        .collect();
    let heads = libraries.par_iter().map(|file| head(environment, file));
    Ok(heads.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// `None` for a library that is not understood: it stays.
fn head(environment: &Environment, file: &File) -> Result<Option<Head>, Error> {
    let source = environment.source(file);
    let bytes = MappedFile::open(&source)?;
    let Ok(library) = Library::parse(&bytes) else { return Ok(None) };
    Ok(Some(Head {
        path: file.path.clone(),
        soname: library.soname().unwrap_or(file_name(&file.path)).to_owned(),
        needed: library.needed().into_iter().map(str::to_owned).collect(),
        folders: library
            .search_path()
            .into_iter()
            .filter_map(|folder| relative_folder(&file.path, folder))
            .collect(),
        distribution: file.distribution,
        vendor: false,
        source,
    }))
}

/// The pages of `library` that hold nothing but GPU code.
pub fn gpu_code(library: &Library<'_>) -> PageSet {
    let ranges: Vec<_> =
        fatbin::containers(library.data()).map(|container| container.range()).collect();
    crate::gpu_code::pages(library, &ranges)
}
