//! Files of the environment as byte slices, read by the page when they are looked at.

use memmap2::Mmap;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}; check its permissions")]
pub struct Unreadable {
    /// The file.
    path: PathBuf,
    /// What the system said.
    source: std::io::Error,
}

/// A file that is mapped for reading.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps the file at `path`; an empty one gives an empty slice.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        let fail = |source| Unreadable { path: path.into(), source };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private and read-only. A file that another process
        // cuts off while it is mapped ends this one with SIGBUS; installed packages
        // are replaced by installers, not rewritten in place, and a copy of
        // half a gigabyte for each library is what this avoids.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Self(Some(map)))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
