//! Installed distributions (PyPA, "Recording installed projects"), and those of the
//! form before it, folders named `.egg-info` (setuptools).

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Distribution {
    /// Its name, as its metadata writes it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its metadata folder, as a path in site-packages.
    pub metadata: String,
    /// Whether it belongs to a package's scope: all but the installers themselves, and these
    /// where one in scope requires them, a run used them or a person named them.
    pub in_scope: bool,
    /// What it requires of pip, setuptools and wheel.
    pub installers: Vec<String>,
}

/// How the names of metadata folders end.
pub(crate) const FOLDERS: [&str; 2] = [".dist-info", ".egg-info"];

/// What installs distributions and is not used by them.
const INSTALLERS: [&str; 3] = ["pip", "setuptools", "wheel"];

/// A distribution's name as PEP 503 compares it.
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(&part.to_ascii_lowercase());
    }
    out
}

impl Distribution {
    /// Reads the distribution whose metadata folder `name` lies in `root`. One
    /// without readable metadata is named after its folder.
    pub(crate) fn read(root: &Path, name: &str) -> Self {
        let stem = FOLDERS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let (fallback, version) = stem.split_once('-').unwrap_or((stem, ""));
        let folder = root.join(name);
        let text = std::fs::read(folder.join("METADATA"))
            .or_else(|_| std::fs::read(folder.join("PKG-INFO")))
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // Headers end at the first empty line.
        let header = |key: &str| {
            text.lines()
                .take_while(|line| !line.is_empty())
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .map(|value| value.trim().to_owned())
        };
        let title = header("Name").unwrap_or_else(|| fallback.to_owned());
        Self {
            in_scope: !INSTALLERS.contains(&normalized(&title).as_str()),
            installers: Vec::new(),
            version: header("Version").unwrap_or_else(|| version.to_owned()),
            name: title,
            metadata: name.to_owned(),
        }
    }

    /// The files that its RECORD lists, as paths in site-packages; those outside of
    /// it (programs in `bin`) are left out.
    pub(crate) fn recorded(&self, root: &Path) -> Vec<String> {
        if self.metadata.ends_with(".egg-info") {
            return self.recorded_by_egg(root);
        }
        let record = root.join(&self.metadata).join("RECORD");
        let Ok(mut reader) =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(record)
        else {
            return Vec::new();
        };
        reader
            .byte_records()
            .filter_map(|row| {
                let row = row.ok()?;
                let path = std::str::from_utf8(row.get(0)?).ok()?;
                let inside = path
                    .strip_prefix(root.to_str()?)
                    .map_or(path, |rest| rest.trim_start_matches('/'));
                let outside = inside.starts_with('/') || inside.split('/').any(|part| part == "..");
                (!outside).then(|| inside.to_owned())
            })
            .collect()
    }

    /// The files that `installed-files.txt` lists, one on a line, each as a path from the
    /// metadata folder, so those in site-packages are `../name` or a plain name.
    fn recorded_by_egg(&self, root: &Path) -> Vec<String> {
        let list = root.join(&self.metadata).join("installed-files.txt");
        let text = std::fs::read(list).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| match line.strip_prefix("../") {
                Some(inside) => Some(inside.to_owned()),
                None if line.is_empty() || line.starts_with('/') => None,
                None => Some(format!("{}/{line}", self.metadata)),
            })
            .filter(|path| path.split('/').all(|part| part != ".."))
            .collect()
    }
}

/// Who owns each file: by RECORD, and bytecode by its source.
pub(crate) fn owners(
    root: &Path,
    distributions: &[(usize, Distribution)],
) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for (index, distribution) in distributions {
        for path in distribution.recorded(root) {
            owners.entry(path).or_insert(*index);
        }
    }
    owners
}
