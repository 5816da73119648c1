//! The examples and the environments that they run in.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A program in `examples/`.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Its folder and the stem of its script.
    pub name: &'static str,
    /// The environment that it runs in.
    pub environment: &'static str,
    /// Words after its name that make it take other paths than it does without.
    pub otherwise: &'static [&'static str],
}

/// Every example. PyTorch takes most of 6 GB, so three of them share an environment.
pub const EXAMPLES: [Example; 4] = [
    Example {
        name: "classify",
        environment: "classify",
        otherwise: &["--size", "160", "--batch", "3", "--dtype", "float64"],
    },
    Example {
        name: "embed",
        environment: "examples",
        otherwise: &["--batch", "3", "--repeat", "9", "--dtype", "float64"],
    },
    Example {
        name: "vad",
        environment: "examples",
        otherwise: &["--rate", "8000", "--seconds", "5"],
    },
    Example {
        name: "train",
        environment: "examples",
        otherwise: &["--start", "spawn", "--batch", "17", "--steps", "5", "--workers", "4"],
    },
];

/// The environment of programs that are not examples: what [`BASE`] has, and distributions
/// that keep their files in ways of their own.
pub const STRANGERS: &str = "strangers";

/// The environment whose files [`STRANGERS`] begins with.
pub const BASE: &str = "classify";

/// The environment of PyTorch's own tests: PyTorch in the version of [`crate::source`]'s tree,
/// and what the tests import. Only `cargo xtask pytorch-tests` makes it.
pub const TESTS: &str = "tests26";

/// Every environment of examples and of tests of taper. The one that another begins with comes before it.
pub const ENVIRONMENTS: [&str; 3] = [BASE, "examples", STRANGERS];

impl Example {
    /// The example of that name.
    pub fn named(name: &str) -> Result<Self> {
        let found = EXAMPLES.into_iter().find(|example| example.name == name);
        found.with_context(|| {
            let known: Vec<_> = EXAMPLES.iter().map(|example| example.name).collect();
            format!("there is no example {name:?}; the examples are {}", known.join(", "))
        })
    }

    /// Its script, relative to the repository.
    pub fn script(&self) -> PathBuf {
        format!("examples/{0}/{0}.py", self.name).into()
    }

    /// Its requirements, relative to the repository.
    pub fn requirements(&self) -> PathBuf {
        format!("examples/{}/requirements.txt", self.name).into()
    }

    /// The interpreter of its environment.
    pub fn python(&self) -> Result<PathBuf> {
        Ok(environment(self.environment)?.join("bin/python"))
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The folder that holds the environments: `taper` in the user's cache folder.
pub fn cache() -> Result<PathBuf> {
    // The XDG specification says to ignore a relative path.
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let folder = match named {
        Some(folder) => folder,
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
        )
        .join(".cache"),
    };
    Ok(folder.join("taper"))
}

/// The requirements files of an environment, relative to the repository.
pub fn requirements(environment: &str) -> Vec<PathBuf> {
    if environment == TESTS {
        return vec!["xtask/tests26.txt".into()];
    }
    let base = if environment == STRANGERS { BASE } else { environment };
    let examples = EXAMPLES.iter().filter(|example| example.environment == base);
    let own = (environment == STRANGERS).then(|| PathBuf::from("xtask/strangers.txt"));
    examples.map(Example::requirements).chain(own).collect()
}

/// The folder of an environment.
pub fn environment(name: &str) -> Result<PathBuf> {
    Ok(cache()?.join(format!("env-{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_has_its_files_and_an_environment() {
        for example in EXAMPLES {
            assert!(repository().join(example.script()).is_file(), "{}", example.name);
            assert!(repository().join(example.requirements()).is_file(), "{}", example.name);
            assert!(ENVIRONMENTS.contains(&example.environment), "{}", example.name);
        }
        for name in ENVIRONMENTS {
            let files = requirements(name);
            assert!(!files.is_empty(), "{name}");
            assert!(files.iter().all(|file| repository().join(file).is_file()), "{name}");
        }
        let folders = std::fs::read_dir(repository().join("examples")).unwrap();
        let folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(folders.count(), EXAMPLES.len());
    }
}
