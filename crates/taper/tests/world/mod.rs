//! A small virtual environment with a make-believe torch; what runs is real.

// Each test program uses its part of this.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a virtual environment, `env`, that disappears when dropped.
pub struct World {
    place: tempfile::TempDir,
}

impl World {
    /// An environment with nothing in it.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        // `cargo xtask test` names others than the first on the PATH.
        let python = std::env::var_os("TAPER_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let made = Command::new(python)
            .args(["-m", "venv", "--without-pip"])
            .arg(place.path().join("env"))
            .status()
            .unwrap();
        assert!(made.success());
        Self { place }
    }

    /// An environment with a distribution named torch that has these files.
    pub fn with_torch(files: &[(&str, &str)]) -> Self {
        let world = Self::new();
        let mut list =
            String::from("torch-2.0.dist-info/METADATA,,\ntorch-2.0.dist-info/RECORD,,\n");
        for (path, text) in files {
            world.install(path, text);
            list.extend([path, ",,\n"]);
        }
        world.install("torch-2.0.dist-info/METADATA", "Name: torch\nVersion: 2.0\n");
        world.install("torch-2.0.dist-info/RECORD", &list);
        world
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.place.path()
    }

    /// The environment's site-packages.
    pub fn packages(&self) -> PathBuf {
        let lib = self.path("env/lib");
        let python = fs::read_dir(lib).unwrap().next().unwrap().unwrap().path();
        python.join("site-packages")
    }

    /// Writes a file of site-packages.
    pub fn install(&self, path: &str, text: &str) {
        let file = self.packages().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Compiles site-packages, as an installer does. A module without bytecode has its
    /// source in a package that drops the others.
    pub fn compile(&self) {
        // It ends with 1 where a module has an error of syntax.
        let compiled = Command::new(self.path("env/bin/python"))
            .args(["-m", "compileall", "-qq"])
            .arg(self.packages())
            .status()
            .unwrap();
        assert!(compiled.code().is_some());
    }

    /// Runs taper on the environment.
    pub fn taper(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_taper"))
            .arg("--python")
            .arg(self.path("env/bin/python"))
            .args(words)
            .current_dir(self.folder())
            .env_remove("VIRTUAL_ENV")
            .env("XDG_CACHE_HOME", self.path("home-cache"))
            .output()
            .unwrap()
    }

    /// The bare interpreter of the environment, with `packages` to import from.
    pub fn python(&self, packages: &Path, words: &[&str]) -> Output {
        self.python_with(packages, words, &[])
    }

    /// The same, with further variables in its environment.
    pub fn python_with(
        &self,
        packages: &Path,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Output {
        Command::new(self.path("env/bin/python").canonicalize().unwrap())
            .args(words)
            .env_clear()
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(variables.iter().copied())
            .current_dir(self.folder())
            .output()
            .unwrap()
    }
}
