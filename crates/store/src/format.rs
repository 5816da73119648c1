//! The header and the table.

/// Bytes of the header.
pub const HEADER: usize = 64;

/// The most bytes of one chunk, before compression.
pub const MAX_CHUNK: u32 = 1 << 26;

/// Bytes of one entry of the table.
pub(crate) const ENTRY: usize = 32;

/// In the length of a chunk: it is machine code.
pub(crate) const CODE: u32 = 1 << 31;

pub(crate) const MAGIC: [u8; 8] = *b"taper\0st";

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// The BLAKE3 hash of a store's table, by which another file names the store.
pub type Root = [u8; 32];

/// Why a store, or a chunk of one, is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It is not a store, or one of another version.
    Foreign,
    /// It is shorter or longer than it says.
    Truncated,
    /// The table or a chunk is not what was written.
    Damaged,
    /// There is no such chunk, or the buffer for it has another size.
    Range,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// File offset of its compressed bytes.
    pub offset: u64,
    /// Number of compressed bytes.
    pub stored: u32,
    /// Number of bytes.
    pub length: u32,
    /// Whether it is machine code, which was turned to compress better.
    pub code: bool,
    /// The first half of the BLAKE3 hash of the compressed bytes.
    pub hash: [u8; 16],
}

impl Entry {
    /// Reads an entry of the table.
    pub(crate) fn read(bytes: &[u8; ENTRY]) -> Self {
        let (numbers, hash) = bytes.split_at(16);
        Self {
            offset: u64_at(numbers, 0),
            stored: u32_at(numbers, 8),
            length: u32_at(numbers, 12) & !CODE,
            code: u32_at(numbers, 12) & CODE != 0,
            hash: array(hash, 0),
        }
    }
}

/// The bytes at `at`; zeros past the end, which no caller reaches.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// The hash that an entry holds of a chunk's compressed bytes.
pub(crate) fn chunk_hash(stored: &[u8]) -> [u8; 16] {
    array(blake3::hash(stored).as_bytes(), 0)
}
