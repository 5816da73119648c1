//! The staging folder and the files in it.

use crate::Error;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writes the bytes of one file to a sink.
pub type Writer<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync + 'a>;

/// Where a file's bytes come from.
pub enum Content<'a> {
    /// A file of the environment, as it is.
    File(PathBuf),
    /// Bytes at hand.
    Bytes(Vec<u8>),
    /// Bytes that are made while they are written.
    Stream(Writer<'a>),
}

/// One file of a package.
pub struct Entry<'a> {
    /// Its path in the package, `/` between parts.
    pub path: String,
    /// Whether it may be executed.
    pub executable: bool,
    /// Its bytes.
    pub content: Content<'a>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its path in the package.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 hash of its bytes.
    pub sha256: [u8; 32],
}

/// A folder that becomes the package, or disappears when dropped.
#[derive(Debug)]
pub struct Stage {
    folder: tempfile::TempDir,
    destination: PathBuf,
}

impl Stage {
    /// Makes an empty folder beside `destination`, which must not exist.
    pub fn new(destination: &Path) -> Result<Self, Error> {
        let destination = std::path::absolute(destination)
            .map_err(|source| Error::Write { path: destination.into(), source })?;
        let fail = |source| Error::Write { path: destination.clone(), source };
        if destination.symlink_metadata().is_ok() {
            return Err(Error::Exists(destination));
        }
        let parent = destination.parent().ok_or_else(|| Error::Exists(destination.clone()))?;
        fs::create_dir_all(parent).map_err(fail)?;
        let folder = tempfile::Builder::new().prefix(".taper-").tempdir_in(parent).map_err(fail)?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).map_err(fail)?;
        Ok(Self { folder, destination })
    }

    /// The folder as it is until [`Stage::finish`].
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `entries` side by side; the result is in their order.
    pub fn write(&self, entries: &[Entry<'_>]) -> Result<Vec<Written>, Error> {
        let mut folders = BTreeSet::new();
        let mut paths = BTreeSet::new();
        for entry in entries {
            if !paths.insert(&entry.path) {
                return Err(Error::Twice(entry.path.clone()));
            }
            folders.extend(Path::new(&entry.path).parent());
        }
        for folder in folders {
            fs::create_dir_all(self.path().join(folder))
                .map_err(|source| Error::Write { path: folder.into(), source })?;
        }
        entries.par_iter().map(|entry| self.write_one(entry)).collect()
    }

    fn write_one(&self, entry: &Entry<'_>) -> Result<Written, Error> {
        let fail = |source| Error::Write { path: entry.path.clone().into(), source };
        let path = self.path().join(&entry.path);
        let mode = if entry.executable { 0o755 } else { 0o644 };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = options.open(&path).map_err(fail)?;
        let mut sink = Hashing { sink: file, hash: Sha256::new(), size: 0 };
        match &entry.content {
            Content::Bytes(bytes) => sink.write_all(bytes).map_err(fail)?,
            Content::File(source) => copy(source, &mut sink, &entry.path)?,
            Content::Stream(write) => {
                let mut buffer = BufWriter::with_capacity(1 << 18, &mut sink);
                write(&mut buffer).map_err(fail)?;
                buffer.flush().map_err(fail)?;
            }
        }
        // The process's mask may have taken some; to ask costs less than to set.
        if sink.sink.metadata().map_err(fail)?.permissions().mode() & 0o777 != mode {
            sink.sink.set_permissions(Permissions::from_mode(mode)).map_err(fail)?;
        }
        Ok(Written {
            path: entry.path.clone(),
            size: sink.size,
            sha256: sink.hash.finalize().into(),
        })
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// [`Error::Exists`] when something has taken the name meanwhile.
    pub fn finish(self) -> Result<PathBuf, Error> {
        if self.destination.symlink_metadata().is_ok() {
            return Err(Error::Exists(self.destination));
        }
        fs::rename(self.folder.path(), &self.destination)
            .map_err(|source| Error::Write { path: self.destination.clone(), source })?;
        // The folder is gone under its old name; there is nothing to remove.
        let _ = self.folder.keep();
        Ok(self.destination)
    }
}

fn copy(source: &Path, sink: &mut impl Write, path: &str) -> Result<(), Error> {
    let unreadable = |error| Error::Read { path: source.into(), source: error };
    let mut file = File::open(source).map_err(unreadable)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..count])
            .map_err(|source| Error::Write { path: path.into(), source })?;
    }
}

/// Counts and hashes what passes.
struct Hashing<W> {
    sink: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, bytes: &[u8]) -> Entry<'static> {
        Entry { path: path.into(), executable: false, content: Content::Bytes(bytes.into()) }
    }

    #[test]
    fn a_package_appears_whole_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("deep/dist");
        let stage = Stage::new(&out).unwrap();
        let written = stage.write(&[entry("a/b.py", b"x = 1\n"), entry("c", b"")]).unwrap();
        assert_eq!(written[0].size, 6);
        assert!(!out.exists());
        stage.finish().unwrap();
        assert_eq!(fs::read(out.join("a/b.py")).unwrap(), b"x = 1\n");
        assert!(matches!(Stage::new(&out), Err(Error::Exists(_))));

        let other = place.path().join("other");
        let stage = Stage::new(&other).unwrap();
        let missing = Entry {
            path: "x".into(),
            executable: false,
            content: Content::File(place.path().join("not there")),
        };
        assert!(matches!(stage.write(&[missing]), Err(Error::Read { .. })));
        drop(stage);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_files_with_one_path_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let stage = Stage::new(&place.path().join("dist")).unwrap();
        assert!(matches!(stage.write(&[entry("a", b""), entry("a", b"")]), Err(Error::Twice(_))));
    }
}
