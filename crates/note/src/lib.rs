//! The note in a shrunk library: which of its pages are cold, and where in the package's
//! store each of them lies; and where the names of the functions are that are in neither.
//!
//! It lies in a read-only segment of the library, little-endian:
//!
//! ```text
//! header   120 bytes   magic, version, numbers of runs and chunks, first chunk, length of
//!                      the name, number of pages, root of the store, chunk of names,
//!                      BLAKE3 hash of all the rest, first bytes of the BLAKE3 hash of the
//!                      library as it was installed
//! runs      16 bytes   each: page, number of pages, rights, chunk, page in the chunk
//! name                 the library's path in the package, for people
//! ```
//!
//! A page is an unrelocated address divided by 4096. Runs ascend and do not overlap, and
//! those of one chunk follow each other. The root ties the note to one store, and the
//! hash of a chunk in that store ties the bytes to the library that they were cut from.
//! The chunk of names comes after those of pages; see [`Names`].

#![cfg_attr(not(any(test, feature = "write")), no_std)]

mod names;
mod place;
mod read;
#[cfg(any(test, feature = "write"))]
mod write;

pub use names::Names;
#[cfg(any(test, feature = "write"))]
pub use names::names;
pub use place::{INITIALISER, named};
pub use read::{Error, HEADER, Note, Rights, Run};
#[cfg(any(test, feature = "write"))]
pub use write::{Draft, FAR, Piece};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
