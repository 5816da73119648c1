//! Which files are linted, and what the project says about it.

use anyhow::Result;
use lint::Finding;
use report::bad_input;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most files of one run.
const MAX_FILES: usize = 20_000;

/// `[tool.taper.lint]` of the nearest `pyproject.toml` above the first path.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Codes that are not reported.
    pub ignore: BTreeSet<String>,
    /// Files and folders that are left alone, by their path from that file.
    pub exclude: Vec<PathBuf>,
    /// Where the file lies.
    #[serde(skip)]
    root: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    tool: Tools,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tools {
    taper: Own,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Own {
    lint: Settings,
}

impl Settings {
    /// For these paths.
    ///
    /// # Errors
    /// If the file is not understood.
    pub fn of(paths: &[PathBuf]) -> Result<Self> {
        let Some(first) = paths.first() else { return Ok(Self::default()) };
        let first = std::path::absolute(first)?;
        for folder in first.ancestors() {
            let file = folder.join("pyproject.toml");
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let project: Project = toml::from_str(&text).map_err(|error| {
                let what = error.message();
                bad_input(format!("{}: {what}; see [tool.taper.lint]", file.display()))
            })?;
            return Ok(Self { root: folder.into(), ..project.tool.taper.lint });
        }
        Ok(Self::default())
    }

    /// The findings that are reported.
    pub fn chosen<'f>(&self, findings: &'f [Finding]) -> Vec<&'f Finding> {
        findings.iter().filter(|finding| !self.ignore.contains(finding.code.name())).collect()
    }

    fn excludes(&self, path: &Path) -> bool {
        let Ok(path) = std::path::absolute(path) else { return false };
        self.exclude.iter().any(|excluded| path.starts_with(self.root.join(excluded)))
    }
}

/// The Python files among `paths` and below them, without environments and hidden folders.
///
/// # Errors
/// If a path is not there.
pub fn find(paths: &[PathBuf], settings: &Settings) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in paths {
        let about = fs::metadata(path);
        let about = about.map_err(|error| bad_input(format!("{}: {error}", path.display())))?;
        if about.is_file() {
            found.insert(path.clone());
            continue;
        }
        let mut open = vec![path.clone()];
        while let Some(folder) = open.pop() {
            let entries = fs::read_dir(&folder)
                .map_err(|error| bad_input(format!("cannot read {}: {error}", folder.display())))?;
            for entry in entries.flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                let Ok(kind) = entry.file_type() else { continue };
                let skipped = name.starts_with('.')
                    || matches!(&*name, "__pycache__" | "node_modules" | "site-packages")
                    || settings.excludes(&path);
                if skipped {
                    continue;
                }
                if kind.is_dir() && !path.join("pyvenv.cfg").exists() {
                    open.push(path);
                } else if kind.is_file() && path.extension().is_some_and(|end| end == "py") {
                    found.insert(path);
                }
            }
            if found.len() > MAX_FILES {
                return Err(bad_input(format!(
                    "there are more than {MAX_FILES} files; name folders"
                )));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The names of modules and packages that lie beside a file or in one of the `paths`: the
/// application's own.
pub fn beside(file: &Path, paths: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let folders = file.ancestors().skip(1).take(4).chain(paths.iter().map(PathBuf::as_path));
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let module = path.extension().is_some_and(|end| end == "py");
            let package = path.join("__init__.py").exists();
            if (module || package)
                && let Some(name) = path.file_stem()
            {
                names.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    names
}
