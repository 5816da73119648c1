//! ELF shared libraries as taper needs them: segments, pages, symbols.
//!
//! Pure functions on byte slices. Everything read is untrusted: bounds are
//! checked, counts are limited, and what is not understood is an [`Error`] that
//! lets the caller copy the library whole.
//!
//! Addresses are unrelocated virtual addresses (`p_vaddr`), as `u64`; places in
//! the file are [`FileOffset`]. Formats: System V gABI and the x86-64 psABI.

mod bytes;
mod dynamic;
mod entries;
mod extents;
mod library;
mod names;
mod pages;
mod relative;
mod sections;
mod symbols;
mod symtab;

pub use dynamic::{Relocation, decode};
pub use entries::{Dynamic, tag};
pub use extents::{Extent, Extents, congruent};
pub use library::{FileOffset, Library, ProgramHeader, flags, machine, segment};
pub use names::{NAMED, NameField};
pub use pages::{MAX_PAGE, PAGE, PageNumber, PageSet};
pub use relative::{Relative, encode};
pub use sections::{LinkTables, Sections, sections};
pub use symbols::{Symbol, VersionNeed, Versions};
pub use symtab::LocalSymbol;

/// Why a library cannot be taken apart. The caller copies it whole and counts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file does not start like an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// ELF, but of a kind that taper does not rewrite.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A structure lies outside the file, or contradicts itself.
    #[error("damaged ELF file: {what} at {at:#x}")]
    Damaged {
        /// The structure that could not be read.
        what: &'static str,
        /// Its file offset or address.
        at: u64,
    },
}

impl Error {
    /// A structure that is damaged, and its file offset or address.
    pub fn damaged(what: &'static str, at: u64) -> Self {
        Self::Damaged { what, at }
    }
}
