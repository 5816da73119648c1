//! A source tree of PyTorch: its version, its names, and which of its parts it has.

use crate::forwarding::{self, Forwarding};
use crate::names::Names;
use crate::{Error, cmake};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose CMake files are PyTorch's own; `third_party` holds other projects.
const FOLDERS: [&str; 8] =
    ["cmake", "aten", "c10", "caffe2", "torch", "functorch", "binaries", "modules"];

/// Files without which a folder is no PyTorch tree.
const ESSENTIAL: [&str; 4] = [
    "CMakeLists.txt",
    "version.txt",
    "caffe2/CMakeLists.txt",
    "aten/src/ATen/native/native_functions.yaml",
];

/// The Python files that read the environment, of various versions.
const PYTHON: [&str; 4] = [
    "setup.py",
    "tools/build_pytorch_libs.py",
    "tools/setup_helpers/env.py",
    "tools/generate_torch_version.py",
];

/// The most files that are looked at, and how deep they may lie: several times PyTorch's.
const MAX_FILES: u64 = 20_000;
const MAX_DEPTH: u32 = 16;

/// A tree, as far as its text says what can be configured.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The folder.
    pub root: PathBuf,
    /// The version that it gives itself, as `2.6.0`.
    pub version: String,
    /// The oldest CMake that it asks for, as `3.18`.
    pub cmake: Option<String>,
    /// What its CMake files know.
    pub names: Names,
    /// What its Python build hands on.
    pub forwarding: Forwarding,
    /// CMake files that were read.
    pub files: u64,
    /// Those that were not understood, and why. Their options are not known.
    pub unread: Vec<(String, String)>,
}

impl Tree {
    /// Reads the tree at `root`.
    ///
    /// # Errors
    /// [`Error::NotATree`] for another folder, [`Error::Read`] where the system refuses.
    pub fn open(root: &Path) -> Result<Self, Error> {
        for file in ESSENTIAL {
            if !root.join(file).is_file() {
                return Err(Error::NotATree { path: root.into(), missing: file });
            }
        }
        let root =
            root.canonicalize().map_err(|source| Error::Read { path: root.into(), source })?;
        let version = version(&root)?;
        let mut tree = Self {
            root,
            version,
            cmake: None,
            names: Names::default(),
            forwarding: Forwarding::default(),
            files: 0,
            unread: Vec::new(),
        };
        tree.cmake_file(Path::new("CMakeLists.txt"))?;
        for folder in FOLDERS {
            tree.folder(Path::new(folder), 0)?;
        }
        if let Some(text) = tree.text("tools/setup_helpers/cmake.py", forwarding::MAX_BYTES)? {
            tree.forwarding.add_helper(&text);
        }
        for file in PYTHON {
            if let Some(text) = tree.text(file, forwarding::MAX_BYTES)? {
                tree.forwarding.add_reads(&text);
            }
        }
        Ok(tree)
    }

    /// Whether the tree has any of these files or folders, the latter with something in them:
    /// submodules that were not fetched leave empty ones.
    pub fn has(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| has(&self.root.join(path)))
    }

    fn folder(&mut self, folder: &Path, depth: u32) -> Result<(), Error> {
        let path = self.root.join(folder);
        let Ok(entries) = fs::read_dir(&path) else { return Ok(()) };
        let mut entries: Vec<_> = entries
            .collect::<Result<_, _>>()
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            // Links are not followed: they could lead anywhere.
            if kind.is_dir() && depth < MAX_DEPTH && !matches!(text, "third_party" | "build") {
                self.folder(&folder.join(text), depth + 1)?;
            } else if kind.is_file()
                && (text == "CMakeLists.txt"
                    || Path::new(text).extension().is_some_and(|ending| ending == "cmake"))
                && self.files < MAX_FILES
            {
                self.cmake_file(&folder.join(text))?;
            }
        }
        Ok(())
    }

    fn cmake_file(&mut self, file: &Path) -> Result<(), Error> {
        let name = file.to_string_lossy().into_owned();
        self.files += 1;
        match self.text(&name, cmake::MAX_BYTES)? {
            None => self.unread.push((name, "it is too large".into())),
            Some(text) => match cmake::calls(&text) {
                Ok(calls) => {
                    let mut minimums =
                        calls.iter().filter(|call| call.name == "cmake_minimum_required");
                    if let Some(call) = minimums.next()
                        && self.cmake.is_none()
                        && let [_, version, ..] = &call.arguments[..]
                    {
                        self.cmake = Some(version.text.clone());
                    }
                    self.names.add(&name, &calls);
                }
                Err(error) => self.unread.push((name, error.to_string())),
            },
        }
        Ok(())
    }

    /// A file's text, or none where there is none or it has more than `most` bytes.
    fn text(&self, file: &str, most: u64) -> Result<Option<String>, Error> {
        let path = self.root.join(file);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= most => {}
            _ => return Ok(None),
        }
        let bytes = fs::read(&path).map_err(|source| Error::Read { path, source })?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Whether a path is a file, or a folder that is not empty.
pub(crate) fn has(path: &Path) -> bool {
    path.is_file() || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

/// The number in `version.txt`, without what marks a version in the making.
fn version(root: &Path) -> Result<String, Error> {
    let path = root.join("version.txt");
    let length = fs::metadata(&path).map_or(0, |found| found.len());
    let text = if length > 100 {
        String::new()
    } else {
        fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?
    };
    let number: String =
        text.trim().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let parts: Vec<&str> = number.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(Error::NotATree { path: root.into(), missing: "a version in version.txt" });
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_tree_is_read_by_its_text_alone() {
        let place = testing::tree();
        let tree = Tree::open(place.path()).unwrap();
        assert_eq!(tree.version, "2.6.0");
        assert!(tree.names.knows("USE_CUDA") && tree.names.knows("CXX_AVX512_FOUND"));
        assert!(tree.forwarding.knows("USE_CUDA") && tree.forwarding.knows("MAX_JOBS"));
        assert_eq!(tree.unread.len(), 1, "{:?}", tree.unread);
        assert_eq!(tree.unread[0].0, "cmake/Broken.cmake");
        assert!(!tree.names.knows("OF_ANOTHER_PROJECT"));
        assert!(tree.has(&["version.txt"]) && !tree.has(&["third_party/onnx"]));
    }

    #[test]
    fn another_folder_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let message = Tree::open(place.path()).unwrap_err().to_string();
        assert!(message.contains("CMakeLists.txt"), "{message}");
        let place = testing::tree();
        fs::write(place.path().join("version.txt"), "../..\n").unwrap();
        assert!(matches!(Tree::open(place.path()), Err(Error::NotATree { .. })));
        fs::write(place.path().join("version.txt"), "9".repeat(1000)).unwrap();
        assert!(matches!(Tree::open(place.path()), Err(Error::NotATree { .. })));
    }
}
