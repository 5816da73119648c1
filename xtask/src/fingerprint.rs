//! What a folder holds, to show that nothing in it was touched.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Larger files are compared by size and time of change alone, so that a pass
/// over 6 GB takes seconds; the libraries that taper shrinks are always read.
const LARGE: u64 = 64 << 20;

/// What is known of every file, folder and link below a folder, by path.
#[derive(Debug, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Folder,
    Link(PathBuf),
    Hash(blake3::Hash),
    NotRead,
}

impl Fingerprint {
    /// Reads everything below `folder`.
    pub fn of(folder: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut open = vec![folder.to_path_buf()];
        while let Some(path) = open.pop() {
            let what = || format!("cannot read {}", path.display());
            let metadata = path.symlink_metadata().with_context(what)?;
            let content = if metadata.is_dir() {
                for entry in fs::read_dir(&path).with_context(what)? {
                    open.push(entry.with_context(what)?.path());
                }
                Content::Folder
            } else if metadata.is_symlink() {
                Content::Link(fs::read_link(&path).with_context(what)?)
            } else if metadata.len() < LARGE || is_torch(&path) {
                Content::Hash(hash(&path, metadata.len()).with_context(what)?)
            } else {
                Content::NotRead
            };
            let entry = Entry {
                mode: metadata.mode(),
                // The size of a folder is the file system's affair.
                size: if metadata.is_dir() { 0 } else { metadata.len() },
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                content,
            };
            entries.insert(path, entry);
        }
        Ok(Self(entries))
    }

    /// Fails, with the first paths that differ, unless `folder` is as it was.
    pub fn check(&self, folder: &Path) -> Result<()> {
        let now = Self::of(folder)?;
        let paths = self.0.keys().chain(now.0.keys().filter(|path| !self.0.contains_key(*path)));
        let changed: Vec<_> = paths.filter(|path| self.0.get(*path) != now.0.get(*path)).collect();
        if let Some(first) = changed.first() {
            bail!(
                "{} was changed: {} files and folders differ, {} among them",
                folder.display(),
                changed.len(),
                first.display()
            );
        }
        Ok(())
    }
}

fn is_torch(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libtorch"))
}

fn hash(path: &Path, size: u64) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    if size < 1 << 20 {
        hasher.update(&fs::read(path)?);
    } else {
        hasher.update_mmap_rayon(path)?;
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_every_kind_of_change() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("environment");
        fs::create_dir_all(folder.join("lib")).unwrap();
        let file = folder.join("lib/module.py");
        fs::write(&file, "a = 1\n").unwrap();
        std::os::unix::fs::symlink("lib", folder.join("lib64")).unwrap();
        let before = Fingerprint::of(&folder).unwrap();
        before.check(&folder).unwrap();

        // The same size and time with other content.
        let time = file.metadata().unwrap().modified().unwrap();
        fs::write(&file, "a = 2\n").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert!(before.check(&folder).unwrap_err().to_string().contains("module.py"));
        fs::write(&file, "a = 1\n").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        before.check(&folder).unwrap();

        let extra = folder.join("lib/extra.pyc");
        fs::write(&extra, "").unwrap();
        assert!(before.check(&folder).is_err());
        // The folder's time of change still tells.
        fs::remove_file(&extra).unwrap();
        assert!(before.check(&folder).is_err());
    }
}
