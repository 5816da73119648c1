//! The compressed store of a package: numbered chunks, each compressed by itself and
//! checked by a hash before it is decompressed.
//!
//! A store is one file, little-endian:
//!
//! ```text
//! header   64 bytes   magic, version, number of chunks, size of the file,
//!                     BLAKE3 hash of the table
//! table    32 bytes   for each chunk: file offset, stored bytes, bytes (the highest bit:
//!                     it is machine code, see `x86.rs`), hash
//! chunks              zstd frames (RFC 8878), one for each chunk
//! ```
//!
//! The hash of a chunk is over its stored bytes, so the decompressor never sees
//! bytes that were not written by taper; the hash of the table ties the chunks to
//! whoever holds the [`Root`].

#![cfg_attr(not(any(test, feature = "write")), no_std)]

mod format;
mod read;
#[cfg(any(test, feature = "write"))]
mod write;

mod x86;

pub use format::{Entry, Error, HEADER, MAX_CHUNK, Root};
pub use read::{Store, Workspace};
#[cfg(any(test, feature = "write"))]
pub use write::{Level, Writer, amounts};
