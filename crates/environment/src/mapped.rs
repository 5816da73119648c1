//! Files of the environment as byte slices, read by the page when they are looked at.

use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::ops::{Deref, Range};
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

/// A change to what is seen of a mapped file. Places are bytes from its beginning; the file
/// itself stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Bytes are seen at another place, too.
    Move {
        /// Where they are.
        from: Range<u64>,
        /// Where their copy begins.
        to: u64,
    },
    /// Other bytes are seen at a place.
    Put {
        /// Where.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Zeros are seen.
    Zero(Range<u64>),
}

/// Zeros of at least so many bytes take no memory. Each is a mapping, of which a process may have
/// 65,530.
const LONG: u64 = 256 << 10;

/// Bytes of a page of memory.
const PAGE: u64 = 4096;

/// A file that is mapped for reading.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps the file at `path`; an empty one gives an empty slice.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        Self::changed(path, &[])
    }

    /// Maps the file at `path` with `changes`, one after the other. What they change takes
    /// memory, but for long runs of zeros.
    ///
    /// # Errors
    /// Where the file cannot be read, or a change lies past its end.
    pub fn changed(path: &Path, changes: &[Change]) -> Result<Self, Unreadable> {
        let fail = |source| Unreadable { path: path.into(), source };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == 0 && changes.is_empty() {
            return Ok(Self(None));
        }
        if changes.is_empty() {
            // SAFETY: the mapping is private and read-only. A file that another process
            // cuts off while it is mapped ends this one with SIGBUS; installed packages
            // are replaced by installers, not rewritten in place, and a copy of
            // half a gigabyte for each library is what this avoids.
            let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
            return Ok(Self(Some(map)));
        }
        // SAFETY: as above; what is written to a private mapping stays in this process.
        let mut map = unsafe { MmapOptions::new().map_copy(&file) }.map_err(fail)?;
        for change in changes {
            make(&mut map, change).map_err(fail)?;
        }
        Ok(Self(Some(map.make_read_only().map_err(fail)?)))
    }
}

/// Makes one change.
fn make(map: &mut [u8], change: &Change) -> std::io::Result<()> {
    let past = || std::io::Error::other("it ends before a place that is to be changed");
    let place = |range: &Range<u64>, length: usize| {
        let fits = range.start <= range.end && range.end <= length as u64;
        fits.then_some(range.start as usize..range.end as usize).ok_or_else(past)
    };
    match change {
        Change::Move { from, to } => {
            let from = place(from, map.len())?;
            let end = to.checked_add(from.len() as u64).ok_or_else(past)?;
            let to = place(&(*to..end), map.len())?;
            map.copy_within(from, to.start);
        }
        Change::Put { at, bytes } => {
            let end = at.checked_add(bytes.len() as u64).ok_or_else(past)?;
            let to = place(&(*at..end), map.len())?;
            map[to].copy_from_slice(bytes);
        }
        Change::Zero(range) => {
            let range = place(range, map.len())?;
            let whole = (range.start as u64).next_multiple_of(PAGE)..range.end as u64 / PAGE * PAGE;
            if whole.start >= whole.end || whole.end - whole.start < LONG {
                map[range].fill(0);
                return Ok(());
            }
            let (start, end) = (whole.start as usize, whole.end as usize);
            map[range.start..start].fill(0);
            map[end..range.end].fill(0);
            forget(&mut map[start..end])?;
        }
    }
    Ok(())
}

/// Puts zeros that take no memory in the place of `pages`, whole pages of a private mapping.
fn forget(pages: &mut [u8]) -> std::io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let start = pages.as_mut_ptr().cast();
    // SAFETY: the pages are borrowed for writing and belong to one private mapping, which is
    // unmapped by its range, whatever it consists of.
    let done = unsafe { libc::mmap(start, pages.len(), access, kind, -1, 0) };
    if done == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_and_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8 + 1).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut expected = bytes.clone();
        let mut changes = vec![
            Change::Move { from: 5000..9000, to: 4000 },
            Change::Zero(9000..2_500_000),
            Change::Put { at: 10, bytes: vec![7; 3] },
            Change::Zero(2_600_000..2_600_100),
        ];
        expected.copy_within(5000..9000, 4000);
        expected[9000..2_500_000].fill(0);
        expected[10..13].fill(7);
        expected[2_600_000..2_600_100].fill(0);
        let seen = MappedFile::changed(&path, &changes).unwrap();
        assert!(*seen == expected[..]);
        assert!(std::fs::read(&path).unwrap() == bytes);
        let past = [
            Change::Zero(2_999_999..3_000_001),
            Change::Move { from: 0..2, to: u64::MAX },
            Change::Put { at: 3_000_000, bytes: vec![1] },
        ];
        for change in past {
            changes.push(change);
            assert!(MappedFile::changed(&path, &changes).is_err());
            changes.pop();
        }
    }
}
