//! The pages of a library by their fates.

use elf::{PAGE, PageSet};
use serde::Serialize;

/// The pages of one library's read-only segments, divided by fate and reason. The sets do
/// not overlap; what is in none of them leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LibraryPages {
    /// Hot: what the loader and the kernel read.
    pub loader: PageSet,
    /// Hot: what a workload touched.
    pub touched: PageSet,
    /// Hot: data whose address the program can give to the kernel, which does not wait for
    /// it to come back, and what runs before the runtime is there.
    pub addressed: PageSet,
    /// What comes back when it is touched: whatever else the program may run.
    pub cold: PageSet,
    /// Pages of read-only segments that leave.
    pub absent: u64,
}

impl LibraryPages {
    /// Every page that stays as it is.
    pub fn hot(&self) -> PageSet {
        let mut hot = self.loader.clone();
        hot.union(&self.touched);
        hot.union(&self.addressed);
        hot
    }

    /// Bytes that are not in the library's file, whole pages.
    pub fn absent_bytes(&self) -> u64 {
        (self.absent + self.cold.len()) * PAGE
    }
}
