//! The original's pages that a stand-in keeps.

use elf::{Library, PAGE, PageSet, ProgramHeader};
use std::ops::Range;

/// A run of the original's pages.
pub(crate) struct Part {
    pub load: ProgramHeader,
    pub addresses: Range<u64>,
    pub memory_end: u64,
}

/// The runs of kept pages, clipped to their segments. The last run of a writable
/// segment has the segment's zero-filled rest.
pub(crate) fn parts(library: &Library<'_>, pages: &PageSet) -> Vec<Part> {
    let mut parts = Vec::new();
    if pages.is_empty() {
        return parts;
    }
    for load in library.loads() {
        let whole = load.file_addresses();
        let mut inside = PageSet::new();
        inside.insert_addresses(whole.clone());
        let kept: PageSet = inside.iter().filter(|page| pages.contains(*page)).collect();
        for run in kept.runs() {
            let range = (run.start * PAGE).max(whole.start)..(run.end * PAGE).min(whole.end);
            let last = range.end == whole.end;
            parts.push(Part {
                load: *load,
                memory_end: if last { load.addresses().end } else { range.end },
                addresses: range,
            });
        }
    }
    parts
}

/// Whether one of `parts` has all of `range` in memory.
pub(crate) fn covered(parts: &[Part], range: Range<u64>) -> bool {
    parts.iter().any(|part| part.addresses.start <= range.start && range.end <= part.memory_end)
}
