//! The page-granular ELF writer. `elf-verify` reads again what it writes.
//!
//! A read-only segment becomes one loadable segment for each run of kept pages, at
//! its old address; the pages between are not in the file, and the loader maps the
//! hole without any rights. Nothing that code refers to moves, so nothing is linked
//! again. Tables that only the loader and the unwinder read are written anew where that
//! saves much: unwind entries, relocations, names.

mod absent;
mod choice;
mod cold;
mod layout;
mod link;
mod made;
mod names;
pub mod relative;
mod reserve;
mod runs;
mod sections;

pub use cold::{Chunk, Cold, Revive};
pub use layout::{Smaller, shrink};

/// Bounds on what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most loadable segments of one library. Each is a mapping, of which a
    /// process may have 65,530, and the loader keeps an array of them on the stack
    /// of the thread that loads the library.
    pub mappings: usize,
}

impl Default for Limits {
    /// 1,000: libtorch_cpu has 876 runs for a bare import, and joining runs to this
    /// many costs no bytes that matter; 100 would cost a third more.
    fn default() -> Self {
        Self { mappings: 1_000 }
    }
}

/// What became of a library.
#[derive(Debug, Clone)]
pub enum Shrunk {
    /// Nothing that matters would be saved: copy the file.
    Whole,
    /// A smaller file.
    Smaller(Smaller),
}

/// Why a library could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library is not understood.
    #[error(transparent)]
    Library(#[from] elf::Error),
    /// The code that is added to it could not be made. A fault in taper.
    #[error("cannot make the library's own code: {0}")]
    Code(String),
    /// What was written has not the size that was reserved for it. A fault in taper.
    #[error("{reserved} bytes were reserved for the library, which has {written}")]
    Size {
        /// Bytes.
        reserved: u64,
        /// Bytes.
        written: u64,
    },
}
