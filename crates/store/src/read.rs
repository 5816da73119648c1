//! The reader. It does not allocate, and it reads nothing that it has not checked.

use crate::format::{
    ENTRY, Entry, Error, HEADER, MAGIC, MAX_CHUNK, Root, VERSION, array, chunk_hash, u32_at, u64_at,
};
use core::ffi::c_void;

/// A store in memory, usually a mapped file.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    bytes: &'a [u8],
    table: &'a [u8],
    root: Root,
}

impl<'a> Store<'a> {
    /// Checks the header and the table of the store in `bytes`.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Truncated`] or [`Error::Damaged`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let store = Self::checked(bytes)?;
        if *blake3::hash(store.table).as_bytes() == store.root {
            Ok(store)
        } else {
            Err(Error::Damaged)
        }
    }

    /// Like [`Store::open`], for bytes that it has checked before: the hash of the table
    /// is not computed again.
    ///
    /// # Errors
    /// [`Error::Foreign`] or [`Error::Truncated`].
    pub fn checked(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() < HEADER {
            return Err(Error::Truncated);
        }
        if bytes[..8] != MAGIC || u32_at(bytes, 8) != VERSION {
            return Err(Error::Foreign);
        }
        let end = HEADER as u64 + u64::from(u32_at(bytes, 12)) * ENTRY as u64;
        if u64_at(bytes, 16) != bytes.len() as u64 || end > bytes.len() as u64 {
            return Err(Error::Truncated);
        }
        let table = &bytes[HEADER..end as usize];
        Ok(Self { bytes, table, root: array(bytes, 32) })
    }

    /// The hash of the table.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The number of chunks.
    pub fn len(&self) -> u32 {
        (self.table.len() / ENTRY) as u32
    }

    /// Whether there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Where chunk `number` lies.
    pub fn entry(&self, number: u32) -> Option<Entry> {
        let at = (number as usize).checked_mul(ENTRY)?;
        let bytes = self.table.get(at..)?.first_chunk::<ENTRY>()?;
        Some(Entry::read(bytes))
    }

    /// Fills `out`, which has the chunk's length, with chunk `number`.
    ///
    /// # Errors
    /// [`Error::Range`] for a number or a length that is not the chunk's;
    /// [`Error::Damaged`] where the stored bytes are not what was written: then `out`
    /// holds nothing of them.
    pub fn read(
        &self,
        number: u32,
        out: &mut [u8],
        workspace: &mut Workspace<'_>,
    ) -> Result<(), Error> {
        let entry = self.entry(number).ok_or(Error::Range)?;
        if entry.length as usize != out.len() || entry.length > MAX_CHUNK {
            return Err(Error::Range);
        }
        let start = usize::try_from(entry.offset).map_err(|_| Error::Damaged)?;
        let end = start.checked_add(entry.stored as usize).ok_or(Error::Damaged)?;
        let stored = self.bytes.get(start..end).ok_or(Error::Damaged)?;
        if chunk_hash(stored) != entry.hash {
            return Err(Error::Damaged);
        }
        workspace.decompress(stored, out)?;
        if entry.code {
            crate::x86::turn_back(out);
        }
        Ok(())
    }
}

/// Memory for the decompressor, which asks for none itself.
#[derive(Debug)]
pub struct Workspace<'a> {
    memory: &'a mut [u64],
}

impl<'a> Workspace<'a> {
    /// How many bytes it takes.
    pub fn size() -> usize {
        // SAFETY: it only adds constants.
        unsafe { ZSTD_estimateDCtxSize() }
    }

    /// Uses `memory`, of at least [`Workspace::size`] bytes.
    pub fn new(memory: &'a mut [u64]) -> Option<Self> {
        (size_of_val(memory) >= Self::size()).then_some(Self { memory })
    }

    fn decompress(&mut self, stored: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the memory is aligned to eight bytes, as long as is said, and lent
        // for the call; the context in it ends with the call. Source and
        // destination are slices and do not overlap.
        let done = unsafe {
            let size = size_of_val(self.memory);
            let context = ZSTD_initStaticDCtx(self.memory.as_mut_ptr().cast(), size);
            if context.is_null() {
                return Err(Error::Range);
            }
            ZSTD_decompressDCtx(
                context,
                out.as_mut_ptr().cast(),
                out.len(),
                stored.as_ptr().cast(),
                stored.len(),
            )
        };
        if done == out.len() { Ok(()) } else { Err(Error::Damaged) }
    }
}

// The static interface of zstd 1.5 (`zstd.h`, "experimental API"), which its Rust
// bindings leave out. The library is linked statically, so its version is fixed.
unsafe extern "C" {
    fn ZSTD_estimateDCtxSize() -> usize;
    fn ZSTD_initStaticDCtx(memory: *mut c_void, size: usize) -> *mut zstd_sys::ZSTD_DCtx;
}
use zstd_sys::ZSTD_decompressDCtx;
