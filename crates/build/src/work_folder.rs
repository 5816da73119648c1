//! The work folder of a build from source.

use crate::Request;
use crate::steps::Step;
use anyhow::{Context, Result};
use report::bad_input;
use source::Tree;
use source::choose::{Choice, Product};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a file unless it has this text: a new time would build things anew.
pub fn write_if_other(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The work folder.
pub struct Work {
    /// The folder.
    pub folder: PathBuf,
    product: Product,
}

impl Work {
    /// The folder that is named, or the one in the user's cache for this tree and product.
    pub fn new(request: &Request<'_>, tree: &Tree) -> Result<Self> {
        let folder = if let Some(folder) = request.work {
            std::path::absolute(folder)?
        } else {
            let hash = blake3::hash(tree.root.to_string_lossy().as_bytes()).to_hex();
            cache()?.join(format!("build/{}-{}", request.product.name(), &hash[..8]))
        };
        Ok(Self { folder, product: request.product })
    }

    /// The copy of the tree.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Where CMake builds. PyTorch's `setup.py` looks in one place.
    pub fn build(&self) -> PathBuf {
        match self.product {
            Product::Python => self.tree().join("build"),
            Product::Lite => self.folder.join("build"),
        }
    }

    /// Where CMake installs to; `setup.py` packs what it finds there.
    pub fn prefix(&self) -> PathBuf {
        match self.product {
            Product::Python => self.tree().join("torch"),
            Product::Lite => self.folder.join("install"),
        }
    }

    /// The mapping of the operators to build.
    pub fn operators(&self) -> PathBuf {
        self.folder.join("operators.yaml")
    }

    /// Where the wheel is put.
    pub fn wheels(&self) -> PathBuf {
        self.folder.join("wheels")
    }

    /// The log of a step.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The commands: configure, build and install, and what makes a wheel of it.
    pub fn steps(&self, choice: &Choice, jobs: Option<u32>, python: &Path) -> Vec<Step> {
        let mut environment: Vec<(String, String)> = choice
            .environment
            .iter()
            .map(|chosen| (chosen.name.clone(), chosen.value.clone()))
            .collect();
        // Paths in what ccache compares are made relative to the folder, so that another work
        // folder finds the same results.
        environment.push(("CCACHE_BASEDIR".into(), self.folder.to_string_lossy().into_owned()));
        environment.push(("CCACHE_NOHASHDIR".into(), "1".into()));
        // The compiler lists what a file includes anyway: no need to preprocess it first.
        environment.push(("CCACHE_DEPEND".into(), "1".into()));
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut words = vec!["cmake".to_owned(), "-GNinja".into()];
        words.extend(["-S".into(), text(self.tree()), "-B".into(), text(self.build())]);
        words.extend(
            choice.options.iter().map(|chosen| format!("-D{}={}", chosen.name, chosen.value)),
        );
        let jobs = jobs.map_or_else(own_jobs, u64::from).to_string();
        let mut steps = vec![
            Step::new(&self.folder, words),
            Step::new(
                &self.folder,
                [
                    "ninja".into(),
                    "-C".into(),
                    text(self.build()),
                    "-j".into(),
                    jobs.clone(),
                    "install".into(),
                ],
            ),
        ];
        if self.product == Product::Python {
            let words = [
                python.to_string_lossy().into_owned(),
                "setup.py".into(),
                "bdist_wheel".into(),
                "--dist-dir".into(),
                text(self.wheels()),
            ];
            let mut step = Step::new(&self.tree(), words);
            step.environment.push(("MAX_JOBS".into(), jobs));
            step.environment.push(("BUILD_TEST".into(), "0".into()));
            steps.push(step);
        }
        for step in &mut steps {
            step.environment.extend(environment.iter().cloned());
        }
        steps
    }

    /// Keeps others out of the folder until the result is dropped.
    pub fn lock(&self) -> Result<fs::File> {
        let context = || format!("cannot use the work folder {}", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        let file = fs::File::create(self.folder.join("lock")).with_context(context)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(bad_input(format!(
                "another build works in {}; wait for it, or name another folder with --work",
                self.folder.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(context),
        }
    }
}

/// The user's cache folder for taper.
fn cache() -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .ok_or_else(|| bad_input("there is no cache folder: set HOME, or give --work DIR"))?;
    Ok(folder.join("taper"))
}

/// One compiler for each processor, as far as there are 2 GB of memory for it: PyTorch's
/// largest files take that much.
fn own_jobs() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    processors.min(memory.map_or(1, |kib| kib / (2 << 20))).max(1)
}
