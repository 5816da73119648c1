//! The page-granular ELF writer, and the second reader that checks it.
//!
//! A read-only segment becomes one loadable segment for each run of kept pages, at
//! its old address; the pages between are not in the file, and the loader maps the
//! hole without any rights. Nothing that code refers to moves, so nothing is linked
//! again. Tables that only the loader and the unwinder read are written anew where that
//! saves much: unwind entries, relocations, names.

mod absent;
mod allowed;
mod choice;
mod cold;
mod layout;
mod link;
mod loader;
mod made;
mod names;
mod original;
pub mod relative;
pub mod reread;
mod reserve;
mod runs;
mod sections;

pub use cold::{Chunk, Cold, Revive, note_of as note};
pub use layout::{Smaller, shrink};
pub use link::{ANSWERED, FUNCTION, PREFIX};
pub use loader::loads;
pub use original::Original;
pub use reread::check;

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

/// Why a library could not be written or checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library is not understood.
    #[error(transparent)]
    Library(#[from] elf::Error),
    /// What was written is not what was planned. A fault in taper.
    #[error("the written library differs from the plan: {what} at {at:#x}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// At which address, or file offset of a header.
        at: u64,
    },
    /// The second reader cannot read it. A fault in taper.
    #[error("the written library cannot be read: {0}")]
    Unreadable(String),
    /// The loader does not take it.
    #[error("the loader does not take {path}: {reason}")]
    Refused {
        /// The library.
        path: std::path::PathBuf,
        /// What the loader said.
        reason: String,
    },
}
