//! `cargo xtask setup`: system packages and the examples' environments.
//!
//! Everything lies in the user's cache folder and is made once. An environment
//! counts as complete when a stamp beside it holds the requirements that it was
//! made from; a mark stands beside one that is being made, so that one that was
//! interrupted is made anew.

use crate::fingerprint::Fingerprint;
use crate::{examples, links, python, shell, system};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the task.
pub fn run() -> Result<()> {
    need_compiler()?;
    for name in examples::ENVIRONMENTS {
        environment(name)?;
    }
    database_modules()?;
    build_modules()?;
    need_headers()
}

/// The folder of modules that builds of Python packages need, those of PyTorch among them.
pub fn build_modules() -> Result<PathBuf> {
    modules(
        "build-modules",
        &["setuptools", "wheel", "yaml", "typing_extensions.py"],
        &["setuptools==80.9.0", "wheel==0.45.1", "pyyaml==6.0.3", "typing_extensions==4.15.0"],
    )
}

/// The folder of modules that PyTorch's operator database needs besides PyTorch, setuptools among
/// them, which is in no package, and what older databases find by its hook for `distutils`.
pub fn database_modules() -> Result<PathBuf> {
    let parts = ["expecttest/__init__.py", "packaging/__init__.py", "setuptools/__init__.py"];
    modules("operators", &parts, &["expecttest==0.3.0", "packaging==25.0", "setuptools==80.9.0"])
}

/// NVIDIA's own reader of GPU code.
pub fn cuobjdump() -> Result<PathBuf> {
    let program = "nvidia/cu13/bin/cuobjdump";
    Ok(modules("cuobjdump", &[program], &["nvidia-cuda-cuobjdump==13.5.37"])?.join(program))
}

/// A folder in the cache with these requirements, of which these `parts` are there once it is
/// made.
fn modules(name: &str, parts: &[&str], requirements: &[&str]) -> Result<PathBuf> {
    let folder = examples::cache()?.join(name);
    if !parts.iter().all(|part| folder.join(part).exists()) {
        remove(&folder)?;
        let mut install = Environment::new(examples::BASE)?.command();
        install.args(["-m", "pip", "install", "--no-input", "--quiet", "--no-deps"]);
        install.args(["--disable-pip-version-check", "--target"]).arg(&folder);
        shell::run(install.args(requirements))
            .with_context(|| format!("cannot install {}", requirements.join(" ")))?;
    }
    Ok(folder)
}

/// Tests build modules for the interpreter of the environments.
fn need_headers() -> Result<()> {
    let program = "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')";
    let mut ask = Environment::new(examples::BASE)?.command();
    if shell::succeeds(ask.args(["-c", program])) {
        return Ok(());
    }
    install(&[&format!("python{}-dev", python::VERSION)])
}

/// Waits for other processes that make environments; they wait until what is given is closed.
pub fn lock() -> Result<fs::File> {
    lock_on("setup")
}

/// Waits for other processes that do what has this name; they wait until what is given is closed.
pub fn lock_on(name: &str) -> Result<fs::File> {
    let cache = examples::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let lock = cache.join(format!("{name}.lock"));
    let file =
        fs::File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    system::lock(&file).with_context(|| format!("cannot lock {}", lock.display()))?;
    Ok(file)
}

/// Makes one environment, unless it is there; waits for another process that does.
pub fn environment(name: &str) -> Result<()> {
    let _lock = lock()?;
    let environment = Environment::new(name)?;
    if environment.is_complete() {
        return Ok(());
    }
    if environment.is_usable() {
        eprintln!("{} fits its requirements and is used as it is", environment.folder.display());
    } else {
        environment.make()?;
    }
    environment.complete()
}

/// An environment to make.
struct Environment {
    folder: PathBuf,
    stamp: PathBuf,
    unfinished: PathBuf,
    /// The environment whose site-packages it begins with.
    base: Option<PathBuf>,
    /// The requirements files, relative to the repository.
    files: Vec<PathBuf>,
    /// Their lines, in order, each once.
    requirements: Vec<String>,
}

impl Environment {
    fn new(name: &str) -> Result<Self> {
        let folder = examples::environment(name)?;
        let files = examples::requirements(name);
        let base = match name {
            examples::STRANGERS => Some(examples::environment(examples::BASE)?),
            _ => None,
        };
        let mut requirements = Vec::new();
        for file in &files {
            let text = fs::read_to_string(examples::repository().join(file))
                .with_context(|| format!("cannot read {}", file.display()))?;
            requirements.extend(text.lines().map(str::to_owned).filter(|line| !line.is_empty()));
        }
        requirements.sort();
        requirements.dedup();
        let beside = |ending: &str| folder.with_file_name(format!("env-{name}.{ending}"));
        let (stamp, unfinished) = (beside("stamp"), beside("unfinished"));
        Ok(Self { folder, stamp, unfinished, base, files, requirements })
    }

    fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    fn stamp_text(&self) -> String {
        format!("python=={}\n{}\n", python::VERSION, self.requirements.join("\n"))
    }

    fn is_complete(&self) -> bool {
        !self.unfinished.exists()
            && self.python().exists()
            && fs::read_to_string(&self.stamp).is_ok_and(|text| text == self.stamp_text())
    }

    /// Whether a finished environment, made by hand or before the requirements
    /// files were edited, holds exactly what they ask for.
    fn is_usable(&self) -> bool {
        let mut versions = self.command();
        versions.args(["-c", VERSIONS, python::VERSION]).args(&self.requirements);
        !self.unfinished.exists()
            && self.python().exists()
            && shell::succeeds(&mut versions)
            && shell::succeeds(self.command().args(["-m", "pip", "check"]))
    }

    fn make(&self) -> Result<()> {
        let base = base_python()?;
        let size = if self.base.is_some() { "1 GB" } else { "6 GB" };
        eprintln!("making {} (some minutes, {size})", self.folder.display());
        fs::write(&self.unfinished, "")
            .with_context(|| format!("cannot write {}", self.unfinished.display()))?;
        remove(&self.folder)?;
        let mut venv = Command::new(base);
        venv.args(["-m", "venv"]).arg(&self.folder);
        // The links bring pip.
        shell::run(if self.base.is_some() { venv.arg("--without-pip") } else { &mut venv })?;
        let Some(base) = &self.base else {
            self.install()?;
            return self.finished();
        };
        let before = Fingerprint::of(base)?;
        links::tree(&site_packages(base), &site_packages(&self.folder))?;
        self.install()?;
        // pip replaces files and never writes into one, so the base must be as it was.
        before.check(base).context("the installer wrote into files that two environments share")?;
        self.finished()
    }

    fn install(&self) -> Result<()> {
        let mut install = self.command();
        // Bytecode as a normal installation has it, whatever the user's settings say.
        install.args([
            "-m",
            "pip",
            "--require-virtualenv",
            "install",
            "--no-input",
            "--compile",
            "--progress-bar",
            "off",
        ]);
        install.args(["--disable-pip-version-check", "--quiet"]);
        for file in &self.files {
            install.arg("-r").arg(file);
        }
        shell::run(&mut install).context(
            "cannot install the examples' requirements; pip says why above \
             (6 GB of disk per environment and a package index are needed)",
        )
    }

    /// Takes the mark of an unfinished environment away.
    fn finished(&self) -> Result<()> {
        fs::remove_file(&self.unfinished)
            .with_context(|| format!("cannot remove {}", self.unfinished.display()))
    }

    fn complete(&self) -> Result<()> {
        fs::write(&self.stamp, self.stamp_text())
            .with_context(|| format!("cannot write {}", self.stamp.display()))
    }

    /// The environment's interpreter, free of what the caller has set for others.
    fn command(&self) -> Command {
        let mut command = Command::new(self.python());
        command
            .current_dir(examples::repository())
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// Fails unless the interpreter and every requirement have the version asked for.
const VERSIONS: &str = "
import importlib.metadata, sys
assert '%d.%d' % sys.version_info[:2] == sys.argv[1]
for requirement in sys.argv[2:]:
    name, version = requirement.split('==')
    assert importlib.metadata.version(name) == version, requirement
";

/// The folder of an environment's modules.
fn site_packages(environment: &Path) -> PathBuf {
    environment.join(format!("lib/python{}/site-packages", python::VERSION))
}

/// Removes a folder, if it is there.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A Python to build on; installs Debian's where there is none.
pub fn base_python() -> Result<PathBuf> {
    if let Ok(found) = python::find() {
        return Ok(found);
    }
    let name = format!("python{}", python::VERSION);
    install(&[&name, &format!("{name}-venv")])?;
    python::find().map_err(|reasons| {
        anyhow::anyhow!("no {name} that can make virtual environments: {}", reasons.join("; "))
    })
}

/// The tests link small libraries of their own, and build small trees as PyTorch's is built.
fn need_compiler() -> Result<()> {
    let there = |tool: &str| shell::succeeds(Command::new(tool).arg("--version"));
    if ["g++", "strip", "cmake", "ninja", "gdb", "ltrace"].into_iter().all(there) {
        return Ok(());
    }
    install(&["g++", "libc6-dev", "binutils", "cmake", "ninja-build", "gdb", "ltrace"])
}

/// Installs system packages, where this is a Debian on which we may.
pub fn install(packages: &[&str]) -> Result<()> {
    let wish = format!("apt-get update && apt-get install -y {}", packages.join(" "));
    if !shell::succeeds(Command::new("apt-get").arg("--version")) {
        bail!(
            "{} are missing, and there is no apt-get; install what this system calls them",
            packages.join(" and ")
        );
    }
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root && !shell::succeeds(Command::new("sudo").args(["-n", "true"])) {
        bail!("{} are missing; as root: {wish}", packages.join(" and "));
    }
    let apt = || {
        let mut command = Command::new(if root { "env" } else { "sudo" });
        if !root {
            command.args(["-n", "env"]);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    };
    shell::run(apt().args(["update", "--quiet"]))?;
    shell::run(
        apt().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages),
    )
}
