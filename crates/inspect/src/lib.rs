//! Where the bytes of an environment are.
//!
//! Every byte of every file gets a label under several headings: distribution, kind of
//! file, ELF section, GPU architecture, component. Each heading's rows add up to the
//! sizes on disk; where they do not, [`inspect`] fails and says which file it is, so a
//! table that is shown is complete. What is not known has a name too: "no symbol",
//! "headers and padding", "not understood".
//!
//! It only reads, and prints nothing: [`render`] gives text.

mod account;
pub mod component;
mod elf_file;
mod families;
mod gpu;
mod inspection;
mod library;
mod mapped;
mod render;
mod span;

pub use account::inspect;
pub use inspection::{
    DistributionShare, Division, Entries, Gpu, HEADERS, Inspection, Library, NOT_UNDERSTOOD,
    Section, Share,
};
pub use render::render;

use std::path::PathBuf;

/// Why an environment cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was there at the scan cannot be read.
    #[error("cannot read {path}: {source}; check its permissions and run again")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not as long as it was at the scan.
    #[error(
        "{path} changed while it was inspected: {scanned} bytes, then {found}; \
         run again when nothing is being installed"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size at the scan.
        scanned: u64,
        /// Its size now.
        found: u64,
    },
    /// The parts of something are not as large as the whole: an error in taper.
    #[error(
        "{path}: {what} add up to {parts} bytes of {total}; this is an error in taper, \
         please report it with this file"
    )]
    Unbalanced {
        /// The file, as a path in site-packages, or the whole environment.
        path: String,
        /// Which heading, or which section by name.
        what: String,
        /// What its rows add up to.
        parts: u64,
        /// What they should add up to.
        total: u64,
    },
}
