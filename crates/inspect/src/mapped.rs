//! Files as byte slices. The crate's only `unsafe` is here.

use crate::Error;
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// A file's bytes, mapped read-only.
pub(crate) struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps the file at `path`; an empty file is an empty slice.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Read { path: path.into(), source };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private and only read. Nothing here relies on its
        // content staying the same; a file that another process cuts short meanwhile
        // ends this one with SIGBUS, which no check can rule out.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Self(Some(map)))
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
