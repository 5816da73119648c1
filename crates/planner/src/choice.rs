//! What a person decides: `--cold`, and the names of `--keep` and `--drop`.

use crate::{Error, Feature, Vendor};
use environment::{Environment, File, normalized};
use plan::Cold;
use std::path::Path;

/// What a person decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The fate of what no workload used.
    pub cold: Cold,
    /// Names that stay whatever the trace saw.
    pub keep: Choice,
    /// Names that leave.
    pub drop: Choice,
    /// Features that leave.
    pub without: Vec<&'static Feature>,
    /// What is done with files under NVIDIA's own licence.
    pub vendor: Vendor,
}

/// Names that were given with one flag.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    names: Vec<String>,
}

impl Choice {
    /// A choice of `names`: each a distribution, a dotted module, a path in
    /// site-packages (with all below it), or a file's name.
    pub fn new(names: &[String]) -> Self {
        Self { names: names.to_vec() }
    }

    /// Checks that each name means something in `environment`.
    pub fn check(&self, flag: &'static str, environment: &Environment) -> Result<(), Error> {
        let unmatched = self
            .names
            .iter()
            .find(|name| !environment.files.iter().any(|file| matches(name, environment, file)));
        match unmatched {
            Some(name) => Err(Error::Unmatched { flag, name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Checks, before anything runs, that each name means something in `environment`, or may
    /// mean something that runs bring into scope from folders outside of site-packages.
    pub fn check_early(&self, flag: &'static str, environment: &Environment) -> Result<(), Error> {
        let plain = &environment.interpreter.sources.plain;
        let known = |name: &str| {
            let mut all = environment.files.iter();
            all.any(|file| file.path.split(['/', '.']).next() == Some(first(name)))
        };
        let may_come = |name: &String| {
            // A file of this name may lie in any folder.
            let is_file = name.contains('.') && !name.contains('/') && !known(name);
            plain.iter().any(|(folder, _)| is_file || may_lie(name, folder))
        };
        let names = self.names.iter().filter(|name| !may_come(name)).cloned().collect();
        Self { names }.check(flag, environment)
    }

    /// Whether a name means `file`.
    pub fn contains(&self, environment: &Environment, file: &File) -> bool {
        self.names.iter().any(|name| matches(name, environment, file))
    }
}

fn matches(name: &str, environment: &Environment, file: &File) -> bool {
    let below = |folder: &str| {
        file.path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let name = name.trim_end_matches('/');
    if name.is_empty() {
        return false;
    }
    let module = name.replace('.', "/");
    let distribution =
        file.distribution.map(|index| environment.distributions[index].name.as_str());
    below(name)
        || below(&module)
        || file.path == format!("{module}.py")
        || is_extension(&file.path, &module)
        || file.path.rsplit('/').next() == Some(name)
        || distribution.is_some_and(|owner| normalized(owner) == normalized(name))
}

/// Whether a name may mean something in `folder`: what it begins with is there, or something is
/// installed there under this name.
fn may_lie(name: &str, folder: &Path) -> bool {
    let first = first(name);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|entry| {
        let entry = entry.to_string_lossy();
        let metadata = [".dist-info", ".egg-info"].iter().find_map(|end| entry.strip_suffix(end));
        let installed = metadata.map(|both| both.split('-').next().unwrap_or(both));
        entry.split('.').next() == Some(first)
            || installed.is_some_and(|one| normalized(one) == normalized(name))
    })
}

/// What a path or a dotted module begins with.
fn first(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap_or(name)
}

/// Whether the library at `path` is the extension module at `module`: its name, a dot,
/// and what Python puts between that and `.so`.
fn is_extension(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
    rest.is_some_and(|rest| !rest.contains('/') && rest.rsplit('.').next() == Some("so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_module_is_named_like_any_other() {
        let path = "scipy/special/_ufuncs.cpython-311-x86_64-linux-gnu.so";
        assert!(is_extension(path, "scipy/special/_ufuncs"));
        assert!(is_extension("a/b.so", "a/b"));
        assert!(!is_extension("a/b_c.so", "a/b"));
        assert!(!is_extension("a/b.libs/c.so", "a/b"));
        assert!(!is_extension("a/b.pyi", "a/b"));
    }
}
