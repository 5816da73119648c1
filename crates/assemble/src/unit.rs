//! One file of a package before it is written, and what it is compared with afterwards.

use elf::PageSet;
use environment::Change;
use package::Entry;
use plan::Reason;
use std::path::PathBuf;

/// An entry and what it is.
pub struct Unit<'a> {
    /// The file.
    pub entry: Entry<'a>,
    /// Why it is in the package.
    pub reason: Reason,
    /// Bytes of the original in it.
    pub hot: u64,
    /// What the second reader compares with.
    pub check: Option<Check>,
}

/// What the second reader compares a library with.
pub struct Check {
    /// The original.
    pub source: PathBuf,
    /// How the target sees it, where that is without some of its GPU code.
    pub changes: Vec<Change>,
    /// Where the GPU code begins that stays.
    pub gpu_code: Vec<u64>,
    /// The pages that are in the file.
    pub keep: PageSet,
    /// The pages that come back, where any do.
    pub cold: Option<PageSet>,
}
